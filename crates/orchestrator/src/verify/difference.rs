//! Comparing rows key by key, as multisets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use model::{Error, Result, RowHash};

use super::layout::Layout;

/// How the rows of one key compare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) matched: u64,
    pub(super) different: u64,
    pub(super) missing: u64,
    pub(super) extra: u64,
}

impl Counts {
    pub(super) fn all_match(&self) -> bool {
        (self.different, self.missing, self.extra) == (0, 0, 0)
    }

    /// Whether the first side has no row of the key, and the other one has.
    pub(super) fn is_extra(&self) -> bool {
        self.extra > 0 && (self.matched, self.different) == (0, 0)
    }

    /// Compares two multisets of rows that share a key.
    fn of(first: &[RowHash], other: &[RowHash]) -> Self {
        let mut left = other.to_vec();
        let mut matched = 0;
        for hash in first {
            if let Some(at) = left.iter().position(|have| have == hash) {
                left.swap_remove(at);
                matched += 1;
            }
        }
        let (alone, left) = (first.len() as u64 - matched, left.len() as u64);
        let different = alone.min(left);
        Self {
            matched,
            different,
            missing: alone - different,
            extra: left - different,
        }
    }
}

/// Rows of one side by key.
#[derive(Debug, Default)]
pub(super) struct Collected {
    rows: HashMap<Vec<u8>, Rows>,
    /// The key columns of one row of each key, for the keys' text.
    batches: Vec<RecordBatch>,
    /// How many rows were read, wanted or not.
    pub(super) read: u64,
}

#[derive(Debug)]
struct Rows {
    hashes: Vec<RowHash>,
    batch: usize,
    row: usize,
}

impl Collected {
    /// Keeps the rows of a projected batch whose place and key are wanted.
    pub(super) fn push(
        &mut self,
        layout: &Layout,
        batch: &RecordBatch,
        wanted: &impl Fn(i64, &[u8]) -> bool,
    ) -> Result<()> {
        self.read += batch.num_rows() as u64;
        let mut hasher = layout.row_hasher(batch)?;
        let mut kept = Vec::new();
        let keys = layout.places(batch)?.into_iter().zip(layout.keys(batch)?);
        for ((row, number), (place, key)) in (0..batch.num_rows()).zip(0_u32..).zip(keys) {
            if !wanted(place, &key) {
                continue;
            }
            let hash = hasher.hash(row);
            match self.rows.entry(key) {
                Entry::Occupied(mut rows) => rows.get_mut().hashes.push(hash),
                Entry::Vacant(rows) => {
                    rows.insert(Rows {
                        hashes: vec![hash],
                        batch: self.batches.len(),
                        row: kept.len(),
                    });
                    kept.push(number);
                }
            }
        }
        if !kept.is_empty() {
            let keys = take_record_batch(&layout.key_columns(batch)?, &UInt32Array::from(kept));
            self.batches
                .push(keys.map_err(|e| Error::internal("keys that differ cannot be kept").caused_by(e))?);
        }
        Ok(())
    }

    /// Compares every key of either side.
    pub(super) fn compare<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (Vec<u8>, Counts)> + 'a {
        let hashes = |side: &'a Self, key: &[u8]| side.rows.get(key).map_or(&[][..], |rows| &rows.hashes);
        let theirs = other.rows.keys().filter(|key| !self.rows.contains_key(*key));
        self.rows
            .keys()
            .chain(theirs)
            .map(move |key| (key.clone(), Counts::of(hashes(self, key), hashes(other, key))))
    }

    /// The key columns of `keys`, in their order, each from the side that has it.
    pub(super) fn key_rows(&self, other: &Self, keys: &[&[u8]]) -> Result<RecordBatch> {
        let ours = self.batches.len();
        let batches: Vec<&RecordBatch> = self.batches.iter().chain(&other.batches).collect();
        let places: Vec<(usize, usize)> = keys
            .iter()
            .filter_map(|key| {
                let here = self.rows.get(*key).map(|rows| (rows.batch, rows.row));
                here.or_else(|| other.rows.get(*key).map(|rows| (ours + rows.batch, rows.row)))
            })
            .collect();
        let failed = |e| Error::internal("keys of two sides cannot be put together").caused_by(e);
        let schema = batches
            .first()
            .map(|batch| batch.schema())
            .ok_or_else(|| Error::internal("there is no row to take a key from"))?;
        // The sides may tell texts with different offsets.
        let alike: Vec<RecordBatch> = batches
            .iter()
            .map(|batch| {
                let columns = batch.columns().iter().zip(schema.fields());
                let columns = columns
                    .map(|(column, field)| arrow_cast::cast(column, field.data_type()))
                    .collect::<std::result::Result<Vec<_>, _>>()?;
                RecordBatch::try_new(schema.clone(), columns)
            })
            .collect::<std::result::Result<_, _>>()
            .map_err(failed)?;
        interleave_record_batch(&alike.iter().collect::<Vec<_>>(), &places).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::{ArrayRef, FixedSizeBinaryArray, Int32Array};
    use arrow_schema::{DataType, Field, Schema};
    use model::TableSchema;

    use super::super::buckets::MOST;
    use super::*;

    const ROWS_OF_A_BATCH: i32 = 1_024;

    /// A table whose key is a UUID.
    fn layout() -> Layout {
        let fields = vec![
            Field::new("id", DataType::FixedSizeBinary(16), false),
            Field::new("v", DataType::Int32, false),
        ];
        Layout::new(&TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None, None]).unwrap())
    }

    fn uuid(row: i32) -> [u8; 16] {
        u128::from(row.unsigned_abs()).to_be_bytes()
    }

    fn batch(number: i32, value: impl Fn(i32) -> i32) -> RecordBatch {
        let rows = number * ROWS_OF_A_BATCH..(number + 1) * ROWS_OF_A_BATCH;
        let ids = FixedSizeBinaryArray::try_from_iter(rows.clone().map(uuid)).unwrap();
        let values = Int32Array::from_iter_values(rows.map(value));
        let columns: [(_, ArrayRef); 2] = [("id", Arc::new(ids)), ("v", Arc::new(values))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// One key differs, and the rows of its bucket lie in many batches.
    #[test]
    fn of_the_batches_with_rows_of_a_bucket_only_those_rows_are_held() {
        let layout = layout();
        let batches = 40 * MOST as i32 / ROWS_OF_A_BATCH;
        let differs = 70_001;
        let places = layout.places(&batch(differs / ROWS_OF_A_BATCH, |_| 0)).unwrap();
        let bucket = places[(differs % ROWS_OF_A_BATCH) as usize];
        let collected = |value: fn(i32) -> i32| {
            let mut side = Collected::default();
            for number in 0..batches {
                let wanted = |place: i64, _: &[u8]| place == bucket;
                side.push(&layout, &batch(number, value), &wanted).unwrap();
            }
            side
        };
        let (first, other) = (collected(|_| 0), collected(|row| i32::from(row == 70_001)));
        for side in [&first, &other] {
            assert_eq!(side.read, u64::from((batches * ROWS_OF_A_BATCH).unsigned_abs()));
            let held: usize = side.batches.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(held, side.rows.len());
            assert!((10..100).contains(&held), "{held} rows are held");
        }
        // What is held still tells each key.
        let compared: Vec<_> = first.compare(&other).collect();
        let keys: Vec<&[u8]> = compared.iter().map(|(key, _)| key.as_slice()).collect();
        let rows = first.key_rows(&other, &keys).unwrap();
        assert_eq!(layout.keys_of(&rows).unwrap(), keys);
        let ids = rows.column(0).as_fixed_size_binary();
        let differing = (0..compared.len()).filter(|row| !compared[*row].1.all_match());
        let differing: Vec<_> = differing.map(|row| ids.value(row)).collect();
        assert_eq!(differing, [uuid(differs)]);
    }

    #[test]
    fn rows_of_a_key_compare_as_multisets() {
        let counts = |matched, different, missing, extra| Counts {
            matched,
            different,
            missing,
            extra,
        };
        for (first, other, expect) in [
            (&[1][..], &[1][..], counts(1, 0, 0, 0)),
            (&[1], &[2], counts(0, 1, 0, 0)),
            (&[1], &[], counts(0, 0, 1, 0)),
            (&[], &[1], counts(0, 0, 0, 1)),
            (&[1], &[1, 1], counts(1, 0, 0, 1)),
            (&[1, 1, 2], &[2, 1], counts(2, 0, 1, 0)),
            (&[1, 2], &[1, 3, 4], counts(1, 1, 0, 1)),
        ] {
            let hashes = |of: &[u128]| of.iter().map(|hash| RowHash(*hash)).collect::<Vec<_>>();
            assert_eq!(
                Counts::of(&hashes(first), &hashes(other)),
                expect,
                "{first:?} {other:?}"
            );
        }
    }
}
