//! Comparing a table on two or three sides, row by row, by canonical hashes.
//!
//! The first pass reads each side once and sums hashes per bucket: ranges of an integer or date key, else buckets of the key's
//! hash. Only buckets whose sums differ are looked into for the keys: by the whole numbers that lie in them, where those are few, else by
//! reading everything again. The sides are not read at one moment, so each suspicious key is then looked at again by itself; what still
//! differs and has changed upstream since the last applied position is pending, unless the change comes from farther away and the row
//! is not even as in the table that is nearest. Memory is bounded by the number of buckets, by the rows that a second pass takes at a
//! time, and by the keys that differ.

mod buckets;
mod difference;
mod layout;
mod pair;
mod reader;

use std::fmt;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use futures::StreamExt;
use model::{
    ChangeSource, Error, ErrorKind, KeyRange, Position, Result, Selection, TableName, TableSchema,
    VerifyReport, column_like,
};
use tokio_util::sync::CancellationToken;

use buckets::Buckets;
use layout::Layout;
use pair::Pair;
use reader::Reader;

/// A comparison of one table.
#[derive(Debug, Clone)]
pub struct Verify {
    /// The table for the report, by its name in the source.
    pub table: String,
    /// What the others are compared with.
    pub first: Side,
    /// What is compared with it.
    pub others: Vec<Side>,
    /// How many keys the report names per side.
    pub keys_named: usize,
    /// Whether only the keys are compared, and rows that have the same one taken for equal. Other columns are not read then, and of the
    /// keys that differ only those are kept that the first side does not have.
    pub keys_only: bool,
    /// The keys that are compared; all of them by default.
    pub range: Option<KeyRange>,
    /// Stops with an error once more than so many percent of another side's rows would have to be deleted.
    pub most_deletes_percent: Option<u64>,
}

/// What a comparison found.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The report.
    pub report: VerifyReport,
    /// The keys that differ, one entry per other side, for [`TableSync::repair`](crate::TableSync::repair).
    pub differing: Vec<Differing>,
}

/// The keys by which one side differs from the first one. What is pending is not among them.
#[derive(Debug, Clone, Default)]
pub struct Differing {
    pub(crate) keys: Vec<DifferingKeys>,
    /// How many rows are here besides others of a key that the first side has.
    pub(crate) doubled: u64,
    /// Where increments can go on once the keys are repaired, if the history after the applied position is lost. It was taken
    /// before the first row was compared, so that what changed since is read again.
    pub(crate) restart: Option<Position>,
}

/// Some of them.
#[derive(Debug, Clone)]
pub(crate) struct DifferingKeys {
    /// The key columns, by their names.
    pub(crate) keys: RecordBatch,
    /// Which of them have rows here and none on the first side. Other keys are not deleted: writing them replaces all of their rows.
    pub(crate) extra: BooleanArray,
}

impl Differing {
    /// Whether there is nothing to repair: neither a key nor a lost position.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.restart.is_none()
    }

    /// How many keys have rows here and none on the first side.
    pub fn extra(&self) -> u64 {
        self.keys.iter().map(|part| part.extra.true_count() as u64).sum()
    }
}

/// One side of a comparison.
#[derive(Clone)]
pub struct Side {
    /// Its name in the report: `source`, `iceberg` or `target`.
    pub name: String,
    /// What reads it.
    pub source: Arc<dyn ChangeSource>,
    /// The table, by its name there.
    pub table: TableName,
    /// What has been applied to it, from each table before it on the way from the first side.
    pub upstream: Vec<Upstream>,
}

/// A table that changes come from, and up to where they have been applied.
#[derive(Clone)]
pub struct Upstream {
    /// What tells its changes.
    pub source: Arc<dyn ChangeSource>,
    /// The table, by its name there.
    pub table: TableName,
    /// Up to where its changes have been applied.
    pub applied: Position,
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side")
            .field("name", &self.name)
            .field("table", &self.table)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("table", &self.table)
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl Verify {
    /// Compares. Nothing is changed on any side.
    ///
    /// # Errors
    ///
    /// `SchemaMismatch` if a side lacks a column of the first one; `Config` if too much would have to be deleted; what reading a side
    /// fails with; `Cancelled`.
    ///
    /// # Cancel safety
    ///
    /// May be dropped or cancelled at any point.
    pub async fn run(&self, cancel: &CancellationToken) -> Result<Verified> {
        let ended = cancel.run_until_cancelled(self.compare_all(&[])).await;
        ended.unwrap_or_else(|| Err(Error::cancelled()))
    }

    /// Compares, having asked first whether the history after what was applied is lost, so that a repair can end the gap.
    ///
    /// # Errors
    ///
    /// As [`Verify::run`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped or cancelled at any point.
    pub async fn run_for_repair(&self, cancel: &CancellationToken) -> Result<Verified> {
        let compared = async {
            let mut restarts = Vec::new();
            for side in &self.others {
                restarts.push(match side.upstream.last() {
                    Some(upstream) => upstream.restart().await?,
                    None => None,
                });
            }
            if self.range.is_some() && restarts.iter().any(Option::is_some) {
                return Err(Error::new(
                    ErrorKind::Config,
                    "the source lost the history that increments would continue from, which a range of keys cannot mend",
                )
                .hint("repair the table without `--from` and `--to`"));
            }
            self.compare_all(&restarts).await
        };
        let ended = cancel.run_until_cancelled(compared).await;
        ended.unwrap_or_else(|| Err(Error::cancelled()))
    }

    /// The columns of a side that are read.
    fn compared(&self, side: &Arc<TableSchema>, first: &TableSchema) -> Result<Arc<TableSchema>> {
        if self.keys_only && first.has_key() {
            keys_of(side, first)
        } else {
            Ok(side.clone())
        }
    }

    /// `restarts` has an entry per other side, or none.
    async fn compare_all(&self, restarts: &[Option<Position>]) -> Result<Verified> {
        let description = self.first.source.describe(&self.first.table).await?;
        let schema = self.compared(&description.schema, &description.schema)?;
        let mut layout = Layout::new(&schema);
        let mut schemas = Vec::new();
        for side in &self.others {
            let described = side.source.describe(&side.table).await?.schema;
            let there = self.compared(&described, &description.schema)?;
            layout.meet(&there);
            schemas.push(there);
        }
        let range = self.range.as_ref();
        let first = Reader::new(&self.first, schema, &layout, range)?;
        let readers = self.others.iter().zip(schemas);
        let readers = readers.map(|(side, schema)| Reader::new(side, schema, &layout, range));
        let readers: Vec<_> = readers.collect::<Result<_>>()?;
        let sums = futures::future::try_join(
            summed(&first, &layout),
            futures::future::try_join_all(readers.iter().map(|reader| summed(reader, &layout))),
        );
        let (first_sums, other_sums) = sums.await?;
        let (mut columns, mut differing) = (Vec::new(), Vec::new());
        for (place, (reader, sums)) in readers.iter().zip(other_sums).enumerate() {
            let pair = Pair {
                layout: &layout,
                first: &first,
                other: reader,
                keys_named: self.keys_named,
                only_extra: self.keys_only,
                most_deletes_percent: self.most_deletes_percent,
                keeps_deleted: description.keeps_deleted,
            };
            let (column, found) = pair.compare(first_sums.clone(), sums).await?;
            columns.push(column);
            differing.push(Differing {
                restart: restarts.get(place).cloned().flatten(),
                ..found
            });
        }
        let report = VerifyReport {
            table: self.table.clone(),
            against: self.first.name.clone(),
            columns,
            error: None,
        };
        Ok(Verified { report, differing })
    }
}

/// The columns of a side that are the key of the first one, and nothing else.
pub(crate) fn keys_of(side: &TableSchema, first: &TableSchema) -> Result<Arc<TableSchema>> {
    let names = first.key_names();
    let found = names.iter().map(|name| column_like(side.arrow(), name));
    let columns: Vec<usize> = found.collect::<Option<_>>().ok_or_else(|| {
        Error::new(
            ErrorKind::SchemaMismatch,
            "cannot compare: a side lacks a column of the key",
        )
    })?;
    let arrow = side
        .arrow()
        .project(&columns)
        .map_err(|e| Error::internal("a key column is missing").caused_by(e))?;
    let declared = columns.iter().map(|column| side.declared()[*column].clone());
    TableSchema::new(Arc::new(arrow), (0..columns.len()).collect(), declared.collect())
}

/// The first pass over one side.
async fn summed(reader: &Reader<'_>, layout: &Layout) -> Result<Buckets> {
    let mut buckets = Buckets::default();
    let mut rows = reader.read(Selection::All).await?;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let mut hasher = layout.row_hasher(&batch)?;
        let places = layout.places(&batch)?;
        for (row, place) in places.into_iter().enumerate() {
            buckets.add(place, hasher.hash(row));
        }
    }
    Ok(buckets)
}

/// A column that one side lacks.
fn lacks(side: &Side, column: &str) -> Error {
    Error::new(
        ErrorKind::SchemaMismatch,
        format!("cannot compare: the {} side has no column {column:?}", side.name),
    )
    .with("table", &side.table)
}

#[cfg(test)]
mod tests;
