//! Where the rows with given keys are: found by looking, without an index that could be out of step.
//!
//! The key columns are scanned in those files, row groups and pages that can hold a key by partition, bounds and bloom filters, so the cost follows what a batch
//! touches. Rows that are already deleted are never found. Where the fold (see [`KeyFold`]) lets several rows match a key, a
//! row with the very bytes of the key wins alone; without one, all are returned.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema};
use arrow_select::concat::concat_batches;
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::{SnapshotRef, TableMetadataRef};
use iceberg::table::Table;
use model::{Error, Result, RowHash, TableSchema};
use tokio::task::JoinSet;

use crate::key::{KeyFold, KeyHash};
use crate::key_blooms::without_absent_keys;
use crate::key_bounds::KeyBounds;
use crate::partition::KeyPartitions;
use crate::read::{DataFileReader, DeletedRows, LiveFile, Projection, live_files};
use crate::row_comparison::{Pair, RowComparison};

/// Files that are searched at the same time.
const FILES_AT_ONCE: usize = 4;

/// Where a row is.
#[derive(Debug, Clone)]
pub struct RowLocation {
    /// The data file, with its spec and partition.
    pub file: Arc<LiveFile>,
    /// The row's position in it.
    pub position: u64,
    /// Whether it is the delivered row byte for byte, if it was compared.
    pub is_same: Option<bool>,
}

/// Finds the rows of `snapshot` with these keys: for each row of `keys`, which holds the key columns of `schema` in key order, its
/// locations in no order; more than one if the table holds the key more than once.
///
/// # Errors
///
/// As [`live_files`], `SchemaMismatch` if the table lacks a column of `schema`.
///
/// # Cancel safety
///
/// Dropping the future gives up the reads.
pub async fn locate(
    table: &Table,
    snapshot: &SnapshotRef,
    schema: &TableSchema,
    keys: &RecordBatch,
) -> Result<Vec<Vec<RowLocation>>> {
    let files = live_files(table, snapshot).await?;
    locate_in(table, &files, schema, keys).await
}

/// Finds rows as [`locate`] does, but only in these files.
///
/// # Errors
///
/// As [`locate`].
pub async fn locate_in(
    table: &Table,
    files: &[Arc<LiveFile>],
    schema: &TableSchema,
    keys: &RecordBatch,
) -> Result<Vec<Vec<RowLocation>>> {
    let search = Search::new(table.file_io(), table.metadata_ref(), schema, keys)?;
    search.run(files).await
}

/// Finds the rows of `snapshot` with the keys of `rows`, batches of `schema`, as [`locate`] does, and compares them.
///
/// # Errors
///
/// As [`locate`].
///
/// # Cancel safety
///
/// As [`locate`].
pub async fn locate_and_compare(
    table: &Table,
    snapshot: &SnapshotRef,
    schema: &TableSchema,
    rows: &[RecordBatch],
) -> Result<Vec<Vec<RowLocation>>> {
    let files = live_files(table, snapshot).await?;
    let keys = keys_of(schema, rows)
        .map_err(|e| Error::internal("rows do not have the columns of their key").caused_by(e))?;
    let search = Search::new(table.file_io(), table.metadata_ref(), schema, &keys)?;
    search.comparing(rows, schema)?.run(&files).await
}

fn keys_of(schema: &TableSchema, rows: &[RecordBatch]) -> std::result::Result<RecordBatch, ArrowError> {
    let keys = rows.iter().map(|batch| batch.project(schema.key()));
    let shape: Schema = schema.arrow().project(schema.key())?;
    concat_batches(
        &Arc::new(shape),
        &keys.collect::<std::result::Result<Vec<_>, _>>()?,
    )
}

struct Search {
    file_io: FileIO,
    deletes: DeletedRows,
    rows: Projection,
    keys: Projection,
    fold: KeyFold,
    bounds: KeyBounds,
    partitions: KeyPartitions,
    wanted: Vec<KeyHash>,
    /// The indexes of the keys with a folded form.
    by_folded: HashMap<RowHash, Vec<usize>, BuildHasherDefault<AlreadyHashed>>,
    comparison: Option<RowComparison>,
}

/// Takes the hash of a row for what it is: every row of a page is looked up by it.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A row that has the folded form of a key.
struct Match {
    key: usize,
    is_exact: bool,
    location: RowLocation,
}

impl Search {
    fn new(
        file_io: &FileIO,
        metadata: TableMetadataRef,
        schema: &TableSchema,
        keys: &RecordBatch,
    ) -> Result<Self> {
        let rows = Projection::of_table(&metadata, schema)?;
        let key_columns = rows.only(schema.key())?;
        let fold = KeyFold::of(schema);
        let wanted = fold.hashes(keys)?;
        let mut by_folded: HashMap<_, Vec<_>, _> =
            HashMap::with_capacity_and_hasher(wanted.len(), BuildHasherDefault::default());
        for (index, key) in wanted.iter().enumerate() {
            by_folded.entry(key.folded).or_default().push(index);
        }
        let ids: Vec<i32> = key_columns.ids().collect();
        Ok(Self {
            file_io: file_io.clone(),
            partitions: KeyPartitions::of(&metadata, keys, &ids, &fold)?,
            deletes: DeletedRows::of_files(file_io, metadata),
            bounds: KeyBounds::of(keys, &key_columns, &fold),
            keys: key_columns,
            rows,
            fold,
            wanted,
            by_folded,
            comparison: None,
        })
    }

    /// A search that compares what it finds with `rows`.
    fn comparing(mut self, rows: &[RecordBatch], schema: &TableSchema) -> Result<Self> {
        self.comparison = Some(RowComparison::new(rows, schema, &self.rows)?);
        Ok(self)
    }

    async fn run(self, files: &[Arc<LiveFile>]) -> Result<Vec<Vec<RowLocation>>> {
        let search = Arc::new(self);
        let mut found: Vec<Vec<Match>> = search.wanted.iter().map(|_| Vec::new()).collect();
        let mut candidates = files.iter().filter(|file| {
            !search.wanted.is_empty()
                && search.partitions.may_hold(file)
                && search.bounds.may_be_in(&file.data_file)
        });
        // Tasks of their own, so that several cores decode; they end with this future.
        let mut tasks = JoinSet::new();
        loop {
            let next = (tasks.len() < FILES_AT_ONCE).then(|| candidates.next()).flatten();
            if let Some(file) = next.cloned() {
                let search = search.clone();
                tasks.spawn(async move { search.search(file).await });
                continue;
            }
            let Some(searched) = tasks.join_next().await else {
                return Ok(found.into_iter().map(prefer_exact).collect());
            };
            let matches =
                searched.map_err(|error| Error::internal("a search ended early").caused_by(error))??;
            for matched in matches {
                found[matched.key].push(matched);
            }
        }
    }

    async fn search(&self, file: Arc<LiveFile>) -> Result<Vec<Match>> {
        let reader = DataFileReader::of(&self.file_io, &file.path, &file.data_file).await?;
        let candidates = self.bounds.may_be_at(reader.metadata());
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = without_absent_keys(&self.bounds, &reader, candidates).await?;
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = candidates.without(&self.deletes.of(&file).await?);
        let mut matches = Vec::new();
        let mut batches = reader.read(&self.keys, candidates).await?;
        while let Some(batch) = batches.try_next().await? {
            let hashes = self.fold.hashes(&batch.rows)?;
            for (hash, position) in hashes.into_iter().zip(batch.positions) {
                for &key in self.by_folded.get(&hash.folded).into_iter().flatten() {
                    matches.push(Match {
                        key,
                        is_exact: self.wanted[key].exact == hash.exact,
                        location: RowLocation {
                            file: file.clone(),
                            position,
                            is_same: None,
                        },
                    });
                }
            }
        }
        if let Some(comparison) = &self.comparison {
            compare(comparison, &reader, &mut matches).await?;
        }
        Ok(matches)
    }
}

/// Notes of the matching rows, whose positions ascend, which are the same as those that they are compared with.
async fn compare(comparison: &RowComparison, file: &DataFileReader, matches: &mut [Match]) -> Result<()> {
    // A row with other bytes in its key is another one.
    for matched in matches.iter_mut() {
        matched.location.is_same = Some(false);
    }
    let exact: Vec<&mut Match> = matches.iter_mut().filter(|matched| matched.is_exact).collect();
    let pairs: Vec<Pair> = exact
        .iter()
        .map(|matched| Pair {
            position: matched.location.position,
            delivered: matched.key,
        })
        .collect();
    let same = comparison.compare(file, &pairs).await?;
    for (matched, same) in exact.into_iter().zip(same) {
        matched.location.is_same = Some(same);
    }
    Ok(())
}

fn prefer_exact(matches: Vec<Match>) -> Vec<RowLocation> {
    let any_exact = matches.iter().any(|matched| matched.is_exact);
    matches
        .into_iter()
        .filter(|matched| matched.is_exact || !any_exact)
        .map(|matched| matched.location)
        .collect()
}

#[cfg(test)]
mod tests;
