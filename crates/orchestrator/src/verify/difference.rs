//! Comparing rows key by key, as multisets.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_select::interleave::interleave_record_batch;
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
    /// The key columns of what was read, for the keys' text.
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
        let number = self.batches.len();
        let mut kept = false;
        for (row, (place, key)) in layout
            .places(batch)?
            .into_iter()
            .zip(layout.keys(batch)?)
            .enumerate()
        {
            if !wanted(place, &key) {
                continue;
            }
            kept = true;
            let rows = self.rows.entry(key).or_insert(Rows {
                hashes: Vec::new(),
                batch: number,
                row,
            });
            rows.hashes.push(hasher.hash(row));
        }
        if kept {
            self.batches.push(layout.key_columns(batch)?);
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
    use super::*;

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
