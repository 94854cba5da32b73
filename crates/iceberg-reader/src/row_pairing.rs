//! Which removed row became which added row.
//!
//! Rows are paired by the hash of their folded key, so memory is a fixed number of bytes per removed row.

use arrow_array::{Int8Array, RecordBatch};
use arrow_select::filter::filter_record_batch;
use iceberg_table::{FileRows, KeyFold, KeyHash};
use model::{Error, Op, Result, RowEncoder, RowHash, RowHasher, TableSchema};

/// A row that the older snapshot has and the newer one does not have at that place.
#[derive(Debug)]
struct Removed {
    key: KeyHash,
    row: RowHash,
    position: u64,
    part: u32,
    /// Whether an added row of the very same key took its place.
    paired: bool,
}

/// What a removed row takes in memory.
pub(crate) const REMOVED_BYTES: usize = size_of::<Removed>();

/// The removed rows of one pass, by key.
#[derive(Debug)]
pub(crate) struct RowPairing<'a> {
    schema: &'a TableSchema,
    fold: &'a KeyFold,
    pass: Pass,
    removed: Vec<Removed>,
}

/// One of several passes over the same rows; each takes the keys whose hashes fall to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) number: u64,
    pub(crate) of: u64,
}

impl Pass {
    fn takes(self, key: KeyHash) -> bool {
        key.folded.0 % u128::from(self.of.max(1)) == u128::from(self.number)
    }
}

impl<'a> RowPairing<'a> {
    pub(crate) fn new(schema: &'a TableSchema, fold: &'a KeyFold, pass: Pass) -> Self {
        Self {
            schema,
            fold,
            pass,
            removed: Vec::new(),
        }
    }

    /// Notes removed rows, which are in the part with this index.
    pub(crate) fn remove(&mut self, part: usize, batch: &FileRows) -> Result<()> {
        let part = u32::try_from(part)
            .map_err(|error| Error::internal("a difference has too many files").caused_by(error))?;
        let mut hasher = RowHasher::new(RowEncoder::whole(&batch.rows)?);
        for (row, (key, position)) in self
            .keys(&batch.rows)?
            .into_iter()
            .zip(&batch.positions)
            .enumerate()
        {
            if self.pass.takes(key) {
                self.removed.push(Removed {
                    key,
                    row: hasher.hash(row),
                    position: *position,
                    part,
                    paired: false,
                });
            }
        }
        Ok(())
    }

    /// Ends the removed rows.
    pub(crate) fn seal(&mut self) {
        self.removed.sort_unstable_by_key(|removed| removed.key.folded);
    }

    /// What of an added batch is a change: its rows without those that only moved, and whether they are new or took the place of a
    /// removed row. `seal` comes before it.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<(RecordBatch, Int8Array)> {
        let mut hasher = RowHasher::new(RowEncoder::whole(rows)?);
        let ops: Vec<Option<Op>> = self
            .keys(rows)?
            .into_iter()
            .enumerate()
            .map(|(row, key)| {
                self.pass
                    .takes(key)
                    .then(|| self.pair(key, || hasher.hash(row)))
                    .flatten()
            })
            .collect();
        let changed = ops.iter().map(|op| Some(op.is_some())).collect();
        let rows = filter_record_batch(rows, &changed)
            .map_err(|error| Error::internal("cannot filter added rows").caused_by(error))?;
        let ops = ops.into_iter().flatten().map(|op| op as i8).collect::<Vec<_>>();
        Ok((rows, Int8Array::from(ops)))
    }

    /// The removed rows whose place no row of the same key took, as ascending positions by part. Their keys are gone, or are held by
    /// rows that stayed, or by rows that came for another one, which Iceberg does not prevent, or are spelled anew.
    pub(crate) fn unpaired(self) -> Vec<(usize, Vec<u64>)> {
        let unpaired = self.removed.iter().filter(|removed| !removed.paired);
        let mut places: Vec<(usize, u64)> = unpaired
            .map(|removed| (removed.part as usize, removed.position))
            .collect();
        places.sort_unstable();
        places
            .chunk_by(|a, b| a.0 == b.0)
            .map(|places| (places[0].0, places.iter().map(|place| place.1).collect()))
            .collect()
    }

    /// Finds the removed row that an added one takes the place of; `None` if nothing but its place changed.
    fn pair(&mut self, key: KeyHash, row: impl FnOnce() -> RowHash) -> Option<Op> {
        let folded = |removed: &Removed| removed.key.folded;
        let start = self
            .removed
            .partition_point(|removed| folded(removed) < key.folded);
        let length = self.removed[start..].partition_point(|removed| folded(removed) == key.folded);
        let same_key = &mut self.removed[start..start + length];
        if same_key.is_empty() {
            return Some(Op::Insert);
        }
        let row = row();
        let free = |removed: &&mut Removed| !removed.paired;
        if let Some(equal) = same_key
            .iter_mut()
            .filter(free)
            .find(|removed| removed.row == row)
        {
            equal.paired = true;
            return None;
        }
        let mut free = same_key.iter_mut().filter(free);
        if let Some(older) = free.find(|removed| removed.key.exact == key.exact) {
            older.paired = true;
        }
        Some(Op::Update)
    }

    fn keys(&self, rows: &RecordBatch) -> Result<Vec<KeyHash>> {
        let keys = rows
            .project(self.schema.key())
            .map_err(|error| Error::internal("rows do not have the key's columns").caused_by(error))?;
        self.fold.hashes(&keys)
    }
}
