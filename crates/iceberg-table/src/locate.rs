//! Where the rows with given keys are: found by looking, without an index that could be out of step.
//!
//! The key columns are scanned in those files, row groups and pages that can hold a key by partition, bounds and bloom filters, so the cost follows what a batch
//! touches. Rows that are already deleted are never found. Where the fold (see [`KeyFold`]) lets several rows match a key, a
//! row with the very bytes of the key wins alone; without one, all are returned.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::{SnapshotRef, TableMetadataRef};
use iceberg::table::Table;
use model::{Error, Result, RowEncoder, RowHash, RowHasher, TableSchema};
use tokio::task::JoinSet;

use crate::key::{KeyFold, KeyHash};
use crate::key_blooms::without_absent_keys;
use crate::key_bounds::KeyBounds;
use crate::partition::KeyPartitions;
use crate::read::{DataFileReader, DeletedRows, LiveFile, Projection, RowRanges, live_files};

/// Files that are searched at the same time.
const FILES_AT_ONCE: usize = 4;

/// Where a row is.
#[derive(Debug, Clone)]
pub struct RowLocation {
    /// The data file, with its spec and partition.
    pub file: Arc<LiveFile>,
    /// The row's position in it.
    pub position: u64,
    /// The row's hash over the columns of the schema that it was located with, if it was asked for.
    pub hash: Option<RowHash>,
}

/// Finds the rows of `snapshot` with these keys: for each row of `keys`, which holds the key columns of `schema` in key order, its
/// locations in no order; more than one if the table holds the key more than once. With `hashes` the matching rows are read
/// and hashed.
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
    hashes: bool,
) -> Result<Vec<Vec<RowLocation>>> {
    let files = live_files(table, snapshot).await?;
    locate_in(table, &files, schema, keys, hashes).await
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
    hashes: bool,
) -> Result<Vec<Vec<RowLocation>>> {
    let search = Search::new(table.file_io(), table.metadata_ref(), schema, keys, hashes)?;
    search.run(files).await
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
    by_folded: HashMap<RowHash, Vec<usize>>,
    hashes: bool,
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
        hashes: bool,
    ) -> Result<Self> {
        let rows = Projection::of_table(&metadata, schema)?;
        let key_columns = rows.only(schema.key())?;
        let fold = KeyFold::of(schema);
        let wanted = fold.hashes(keys)?;
        let mut by_folded: HashMap<_, Vec<_>> = HashMap::with_capacity(wanted.len());
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
            hashes,
        })
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
                            hash: None,
                        },
                    });
                }
            }
        }
        if self.hashes {
            self.hash_rows(&reader, &mut matches).await?;
        }
        Ok(matches)
    }

    /// Reads the matching rows, whose positions ascend, and notes their hashes.
    async fn hash_rows(&self, reader: &DataFileReader, matches: &mut [Match]) -> Result<()> {
        let positions = RowRanges::of_sorted(matches.iter().map(|matched| matched.location.position));
        let mut rest = matches.iter_mut().peekable();
        let mut batches = reader.read(&self.rows, positions).await?;
        while let Some(batch) = batches.try_next().await? {
            let mut hasher = RowHasher::new(RowEncoder::whole(&batch.rows)?);
            for (row, position) in batch.positions.into_iter().enumerate() {
                let hash = hasher.hash(row);
                while let Some(matched) = rest.next_if(|matched| matched.location.position == position) {
                    matched.location.hash = Some(hash);
                }
            }
        }
        Ok(())
    }
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
