//! Folding: a sequence of changes becomes the last change per key.
//!
//! Keys are compared by their canonical bytes ([`model::RowEncoder`]). The index holds a hash and a place per key and
//! looks at the rows themselves when two hashes meet, so it needs about 40 bytes a key whatever the key is.
//! A batch in which no key repeats goes through untouched, without a copy.

use std::collections::hash_map::Entry;

use arrow_array::{BooleanArray, Int8Array};
use arrow_select::filter::{filter, filter_record_batch};
use model::{ChangeBatch, Error, Op, Presence, Result, RowEncoder, RowHash, RowHashMap, RowHasher};

/// Folds the changes of one table between two boundaries.
///
/// The operation that remains is the one that leads from the state before the first change to the state after the last: an
/// insert that is updated is an insert, a row that is deleted and inserted again is an upsert. An insert that is deleted
/// remains a delete, because the target may hold the row from an earlier delivery. Rows of a table without a key are
/// elements of a multiset; nothing is folded.
#[derive(Debug, Default)]
pub struct Fold {
    held: Vec<Held>,
    places: RowHashMap<Place>,
    rows: usize,
}

/// Where the last change of a key is.
#[derive(Debug, Clone, Copy)]
struct Place {
    batch: u32,
    row: u32,
}

#[derive(Debug)]
struct Held {
    batch: ChangeBatch,
    keys: RowEncoder,
    edits: Option<Edits>,
}

/// What folding changed in a batch; absent while nothing has.
#[derive(Debug)]
struct Edits {
    live: Vec<bool>,
    ops: Vec<i8>,
    /// Rows whose key was also in a batch of another presence, so that nothing is known of theirs.
    unknown: Vec<bool>,
}

impl Fold {
    /// Nothing folded yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next changes, which happened after all earlier ones.
    ///
    /// # Errors
    ///
    /// `Internal` if a key column has a type without a canonical encoding.
    pub fn push(&mut self, batch: ChangeBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let key = || batch.schema.key().iter().copied();
        let mut hasher = RowHasher::new(RowEncoder::new(&batch.rows, key())?);
        let keys = RowEncoder::new(&batch.rows, key())?;
        let (rows, keyed) = (batch.len(), batch.schema.has_key());
        let number = small(self.held.len())?;
        self.held.push(Held {
            batch,
            keys,
            edits: None,
        });
        self.rows += rows;
        for row in 0..if keyed { rows } else { 0 } {
            let place = Place {
                batch: number,
                row: small(row)?,
            };
            self.fold_row(hasher.hash(row), place);
        }
        Ok(())
    }

    /// How many rows remain.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether no row remains.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The folded changes, each key once, in the order of the last changes. Each batch is let go as soon as its successor
    /// is asked for.
    pub fn finish(self) -> impl Iterator<Item = Result<ChangeBatch>> + Send {
        self.held.into_iter().flat_map(|held| match held.into_batches() {
            Ok(batches) => batches.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }

    fn fold_row(&mut self, mut hash: RowHash, new: Place) {
        loop {
            match self.places.entry(hash) {
                Entry::Vacant(vacant) => {
                    vacant.insert(new);
                    return;
                }
                Entry::Occupied(mut occupied) => {
                    let old = *occupied.get();
                    if same_key(&self.held, old, new) {
                        occupied.insert(new);
                        self.supersede(old, new);
                        return;
                    }
                    // Two keys with one hash: the later one lives under the next free hash.
                    hash = RowHash(hash.0.wrapping_add(1));
                }
            }
        }
    }

    fn supersede(&mut self, old: Place, new: Place) {
        let (op, presence) = {
            let (before, after) = (&self.held[old.batch as usize], &self.held[new.batch as usize]);
            let presence = before.presence(old.row as usize);
            (
                fold_ops(before.op(old.row as usize), after.op(new.row as usize)),
                (presence == after.batch.presence).then_some(presence),
            )
        };
        self.held[old.batch as usize].edits().live[old.row as usize] = false;
        self.rows -= 1;
        let after = &mut self.held[new.batch as usize];
        if op != after.op(new.row as usize) {
            after.edits().ops[new.row as usize] = op as i8;
        }
        if presence.is_none() {
            after.edits().unknown[new.row as usize] = true;
        }
    }
}

impl Held {
    fn op(&self, row: usize) -> Op {
        let edited = self
            .edits
            .as_ref()
            .and_then(|edits| Op::from_code(edits.ops[row]));
        edited.unwrap_or_else(|| self.batch.op(row))
    }

    fn presence(&self, row: usize) -> Presence {
        match &self.edits {
            Some(edits) if edits.unknown[row] => Presence::Unknown,
            _ => self.batch.presence,
        }
    }

    fn edits(&mut self) -> &mut Edits {
        let batch = &self.batch;
        self.edits.get_or_insert_with(|| Edits {
            live: vec![true; batch.len()],
            ops: batch.ops.values().to_vec(),
            unknown: vec![false; batch.len()],
        })
    }

    /// The live rows: as they came, or in up to two batches if folding made the presence of some unknown.
    fn into_batches(self) -> Result<Vec<ChangeBatch>> {
        let Some(edits) = self.edits else {
            return Ok(vec![self.batch]);
        };
        let ops = Int8Array::from(edits.ops);
        let part = |unknown: bool| -> Result<Option<ChangeBatch>> {
            let rows = edits.live.iter().zip(&edits.unknown);
            let wanted: BooleanArray = rows.map(|(live, u)| Some(*live && *u == unknown)).collect();
            if wanted.true_count() == 0 {
                return Ok(None);
            }
            let arrow = |e| Error::internal("could not filter folded rows").caused_by(e);
            let kept = filter(&ops, &wanted).map_err(arrow)?;
            ChangeBatch::new(
                self.batch.table.clone(),
                self.batch.schema.clone(),
                filter_record_batch(&self.batch.rows, &wanted).map_err(arrow)?,
                Int8Array::from(kept.to_data()),
                if unknown {
                    Presence::Unknown
                } else {
                    self.batch.presence
                },
            )
            .map(Some)
        };
        let parts = [part(false)?, part(true)?];
        Ok(parts.into_iter().flatten().collect())
    }
}

fn same_key(held: &[Held], a: Place, b: Place) -> bool {
    let bytes = |place: Place| {
        let mut bytes = Vec::new();
        held[place.batch as usize]
            .keys
            .encode(place.row as usize, &mut bytes);
        bytes
    };
    bytes(a) == bytes(b)
}

/// The operation that `before` and then `after` amount to.
fn fold_ops(before: Op, after: Op) -> Op {
    match (before, after) {
        (_, Op::Delete) => Op::Delete,
        (Op::Insert, _) => Op::Insert,
        (Op::Update, Op::Update) => Op::Update,
        _ => Op::Upsert,
    }
}

fn small(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::internal("more than four billion rows between two boundaries"))
}

#[cfg(test)]
mod tests;
