//! Whether rows that were found are the ones that were delivered.
//!
//! Any column that differs tells a changed row from an equal one, so most changed rows need not be read whole. The first rows are, and say how
//! often which column differs. Of the others one column is read after the other, first the one that, by these, tells most for what it costs, and each
//! only of rows that are equal so far. Where a column tells few of them, the rest is read whole: a row on a page of its own in each column would cost
//! more than everything before.

use std::sync::{Mutex, PoisonError};

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use model::{Error, Result, RowEncoder, TableSchema};
use parquet::file::metadata::ParquetMetaData;

use crate::key_bounds::leaf_of;
use crate::read::{DataFileReader, Projection, RowRanges};

/// Rows that are read whole before columns are chosen. One row costs a page of each column.
const SAMPLE: usize = 4;
/// A column that tells less than this part of the rows that are left is the last that is read alone.
const TOLD: usize = 4;

/// Delivered rows that others are compared with, and what is known of how they differ.
pub(crate) struct RowComparison {
    /// The columns that are not of the key,
    columns: Projection,
    /// and the delivered rows in them, by batch and column;
    delivered: Vec<Vec<RowEncoder>>,
    /// with the number of rows up to the end of each batch.
    ends: Vec<usize>,
    seen: Mutex<Seen>,
}

/// A row of a file, and the index of the delivered row that it is compared with.
pub(crate) struct Pair {
    pub(crate) position: u64,
    pub(crate) delivered: usize,
}

/// Pairs that were compared whole,
struct Seen {
    pairs: usize,
    /// and how many of them differed in each column.
    differing: Vec<usize>,
}

impl RowComparison {
    /// A comparison with `delivered`, batches of `schema`, whose columns are those of `projection`.
    pub(crate) fn new(
        delivered: &[RecordBatch],
        schema: &TableSchema,
        projection: &Projection,
    ) -> Result<Self> {
        let count = schema.arrow().fields().len();
        let columns: Vec<usize> = (0..count).filter(|index| !schema.key().contains(index)).collect();
        let encoders = |batch: &RecordBatch| columns.iter().map(|i| RowEncoder::new(batch, [*i])).collect();
        let ends = delivered.iter().scan(0, |end, batch| {
            *end += batch.num_rows();
            Some(*end)
        });
        Ok(Self {
            delivered: delivered.iter().map(encoders).collect::<Result<_>>()?,
            ends: ends.collect(),
            seen: Mutex::new(Seen {
                pairs: 0,
                differing: vec![0; columns.len()],
            }),
            columns: projection.only(&columns)?,
        })
    }

    /// Whether the rows of each pair, whose keys are the same, are the same. `pairs` ascend by position.
    ///
    /// # Errors
    ///
    /// As reading the file.
    pub(crate) async fn compare(&self, file: &DataFileReader, pairs: &[Pair]) -> Result<Vec<bool>> {
        let all: Vec<usize> = (0..self.columns.schema().fields().len()).collect();
        let mut same = vec![true; pairs.len()];
        let mut sample: Vec<usize> = (0..pairs.len()).collect();
        let missing = SAMPLE.saturating_sub(self.seen().pairs);
        let mut rest = sample.split_off(missing.min(pairs.len()));
        let differing = self.read(file, &all, pairs, &sample, &mut same).await?;
        self.seen().add(sample.len(), &differing);

        let mut others = all;
        for column in self.telling(file.metadata()) {
            let before = rest.len();
            self.read(file, &[column], pairs, &rest, &mut same).await?;
            rest.retain(|pair| same[*pair]);
            others.retain(|other| *other != column);
            if (before - rest.len()) * TOLD < before {
                break;
            }
        }
        self.read(file, &others, pairs, &rest, &mut same).await?;
        Ok(same)
    }

    /// The columns to begin with, first those that tell most rows for what they cost, unless it costs less to read all rows whole.
    fn telling(&self, file: &ParquetMetaData) -> Vec<usize> {
        let costs: Vec<f64> = self
            .columns
            .ids()
            .map(|id| stored_bytes(file, id) as f64)
            .collect();
        let whole: f64 = costs.iter().sum();
        let seen = self.seen();
        let differing = seen
            .differing
            .iter()
            .map(|rows| *rows as f64 / seen.pairs.max(1) as f64);
        let costs = costs.into_iter().zip(differing).enumerate();
        // Where a column is read first, rows that are equal in it cost the others as well.
        let mut worthwhile: Vec<(usize, f64)> = costs
            .filter(|(_, (cost, differing))| *cost < differing * whole)
            .map(|(column, (cost, differing))| (column, cost / differing))
            .collect();
        worthwhile.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        worthwhile.into_iter().map(|(column, _)| column).collect()
    }

    /// Reads these columns of the `chosen` pairs, and notes which pairs are not the same: how many differ in each column.
    async fn read(
        &self,
        file: &DataFileReader,
        columns: &[usize],
        pairs: &[Pair],
        chosen: &[usize],
        same: &mut [bool],
    ) -> Result<Vec<usize>> {
        let mut differing = vec![0; columns.len()];
        if columns.is_empty() || chosen.is_empty() {
            return Ok(differing);
        }
        let positions = RowRanges::of_sorted(chosen.iter().map(|pair| pairs[*pair].position));
        let mut rest = chosen.iter().copied().peekable();
        let mut batches = file.read(&self.columns.only(columns)?, positions).await?;
        let (mut here, mut there) = (Vec::new(), Vec::new());
        while let Some(batch) = batches.try_next().await? {
            let encoders = (0..columns.len()).map(|place| RowEncoder::new(&batch.rows, [place]));
            let encoders = encoders.collect::<Result<Vec<_>>>()?;
            for (row, position) in batch.positions.into_iter().enumerate() {
                while let Some(pair) = rest.next_if(|pair| pairs[*pair].position == position) {
                    for ((place, column), encoder) in columns.iter().enumerate().zip(&encoders) {
                        here.clear();
                        there.clear();
                        encoder.encode(row, &mut here);
                        self.encode(pairs[pair].delivered, *column, &mut there)?;
                        if here != there {
                            same[pair] = false;
                            differing[place] += 1;
                        }
                    }
                }
            }
        }
        match rest.next() {
            // It would count as one whose rows are the same.
            Some(_) => Err(Error::internal("a row that is to be compared was not read")),
            None => Ok(differing),
        }
    }

    /// Encodes one column of a delivered row.
    fn encode(&self, row: usize, column: usize, into: &mut Vec<u8>) -> Result<()> {
        let batch = self.ends.partition_point(|end| *end <= row);
        let before = batch.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        let encoder = self.delivered.get(batch).and_then(|columns| columns.get(column));
        let encoder =
            encoder.ok_or_else(|| Error::internal("a row is compared with one that is not there"))?;
        encoder.encode(row - before, into);
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn add(&mut self, pairs: usize, differing: &[usize]) {
        self.pairs += pairs;
        for (sum, more) in self.differing.iter_mut().zip(differing) {
            *sum += more;
        }
    }
}

/// What a column takes in a file; nothing if the file is older than the column.
fn stored_bytes(file: &ParquetMetaData, id: i32) -> i64 {
    let groups = file.row_groups().iter();
    let bytes = leaf_of(file, id).map(|leaf| groups.map(|group| group.column(leaf).compressed_size()).sum());
    bytes.unwrap_or(0)
}
