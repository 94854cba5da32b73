//! Where the rows with given keys are: found by looking, without an index that could be out of step.
//!
//! The key columns are scanned in those files, row groups and pages that can hold a key by partition, bounds and bloom filters, so the cost follows what a batch
//! touches. Rows that are already deleted are never found. Where the fold (see [`KeyFold`]) lets several rows match a key, a
//! row with the very bytes of the key wins alone; without one, all are returned.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema};
use arrow_select::concat::concat_batches;
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::{SnapshotRef, TableMetadataRef};
use model::{Error, Result, RowHash, RowHashMap, TableSchema};
use tokio::task::JoinSet;

use crate::catalog::TableHandle;
use crate::key::KeyFold;
use crate::key_blooms::without_absent_keys;
use crate::key_bounds::KeyBounds;
use crate::key_filter::KeyFilter;
use crate::partition::KeyPartitions;
use crate::read::{DataFileReader, DeletedRows, LiveFile, Projection, live_files};
use crate::row_comparison::{Pair, RowComparison};

/// Files that are searched at the same time.
const FILES_AT_ONCE: usize = 4;

/// Where the rows with some keys are. Takes some twenty bytes a row, and four a key.
#[derive(Debug, Clone, Default)]
pub struct LocatedRows {
    files: Vec<Arc<LiveFile>>,
    rows: Vec<RowLocation>,
    /// How many rows there are up to the end of each key's.
    ends: Vec<u32>,
}

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLocation {
    /// The row's position in its file.
    pub position: u64,
    /// The file, among those of its [`LocatedRows`].
    pub file: u32,
    /// Whether it is the delivered row byte for byte, if it was compared.
    pub is_same: Option<bool>,
}

impl LocatedRows {
    /// So many keys that no row has.
    pub fn none(keys: usize) -> Self {
        Self {
            ends: vec![0; keys],
            ..Self::default()
        }
    }

    /// How many keys were looked for.
    pub fn keys(&self) -> usize {
        self.ends.len()
    }

    /// The rows with the key of this number, in no order; more than one if the table holds the key more than once.
    pub fn of(&self, key: usize) -> &[RowLocation] {
        let begin = key.checked_sub(1).and_then(|before| self.ends.get(before));
        let range = (begin, self.ends.get(key));
        let (begin, Some(end)) = range else { return &[] };
        let begin = begin.map_or(0, |begin| *begin as usize);
        self.rows.get(begin..*end as usize).unwrap_or_default()
    }

    /// The rows of each key.
    pub fn iter(&self) -> impl Iterator<Item = &[RowLocation]> {
        (0..self.keys()).map(|key| self.of(key))
    }

    /// The positions of the rows with these keys, ascending, with their data files.
    pub fn by_file(&self, keys: impl IntoIterator<Item = usize>) -> Vec<(Arc<LiveFile>, Vec<u64>)> {
        let rows = keys.into_iter().flat_map(|key| self.of(key));
        self.rows_by_file(rows)
    }

    /// The positions of these rows of it, ascending, with their data files.
    pub fn rows_by_file<'r>(
        &self,
        rows: impl IntoIterator<Item = &'r RowLocation>,
    ) -> Vec<(Arc<LiveFile>, Vec<u64>)> {
        let mut positions = vec![Vec::new(); self.files.len()];
        for row in rows {
            if let Some(positions) = positions.get_mut(row.file as usize) {
                positions.push(row.position);
            }
        }
        let of_files = self.files.iter().cloned().zip(positions);
        let mut of_files: Vec<_> = of_files.filter(|(_, positions)| !positions.is_empty()).collect();
        for (_, positions) in &mut of_files {
            positions.sort_unstable();
        }
        of_files
    }

    /// The matches of each file, by key. Where a key has a row with its very bytes, others do not count.
    fn new(keys: usize, found: Vec<(Arc<LiveFile>, Vec<Match>)>) -> Result<Self> {
        let matches = || found.iter().flat_map(|(_, matches)| matches);
        let mut has_exact = vec![false; keys];
        for matched in matches().filter(|matched| matched.is_exact) {
            has_exact[matched.key as usize] = true;
        }
        let counts = |matched: &Match| matched.is_exact || !has_exact[matched.key as usize];
        let mut ends = vec![0_u32; keys];
        for matched in matches().filter(|matched| counts(matched)) {
            ends[matched.key as usize] += 1;
        }
        let mut sum = 0_u32;
        for end in &mut ends {
            // Where the rows of the key begin, as long as none is placed.
            let count = std::mem::replace(end, sum);
            sum = sum.checked_add(count).ok_or_else(too_many)?;
        }
        let nowhere = RowLocation {
            position: 0,
            file: 0,
            is_same: None,
        };
        let mut located = Self {
            files: Vec::with_capacity(found.len()),
            rows: vec![nowhere; sum as usize],
            ends,
        };
        for (file, matches) in &found {
            let number = small(located.files.len())?;
            located.files.push(file.clone());
            for matched in matches.iter().filter(|matched| counts(matched)) {
                let place = &mut located.ends[matched.key as usize];
                located.rows[*place as usize] = RowLocation {
                    position: matched.position,
                    file: number,
                    is_same: matched.is_same,
                };
                *place += 1;
            }
        }
        Ok(located)
    }
}

/// Finds the rows of `snapshot` with these keys. `keys` holds the key columns of `schema` in key order.
///
/// # Errors
///
/// As [`live_files`], `SchemaMismatch` if the table lacks a column of `schema`.
///
/// # Cancel safety
///
/// Dropping the future gives up the reads.
pub async fn locate(
    table: &TableHandle,
    snapshot: &SnapshotRef,
    schema: &TableSchema,
    keys: &RecordBatch,
) -> Result<LocatedRows> {
    let files = live_files(table, snapshot).await?;
    locate_in(table, &files, schema, keys).await
}

/// Finds rows as [`locate`] does, but only in these files.
///
/// # Errors
///
/// As [`locate`].
pub async fn locate_in(
    table: &TableHandle,
    files: &[Arc<LiveFile>],
    schema: &TableSchema,
    keys: &RecordBatch,
) -> Result<LocatedRows> {
    let search = Search::new(
        table.table().file_io(),
        table.table().metadata_ref(),
        schema,
        keys,
    )?;
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
    table: &TableHandle,
    snapshot: &SnapshotRef,
    schema: &TableSchema,
    rows: &[RecordBatch],
) -> Result<LocatedRows> {
    let files = live_files(table, snapshot).await?;
    let keys = keys_of(schema, rows)
        .map_err(|e| Error::internal("rows do not have the columns of their key").caused_by(e))?;
    let search = Search::new(
        table.table().file_io(),
        table.table().metadata_ref(),
        schema,
        &keys,
    )?;
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
    filter: Option<KeyFilter>,
    partitions: KeyPartitions,
    /// The exact hash of each key.
    wanted: Vec<RowHash>,
    /// The first of the keys with a folded form,
    by_folded: RowHashMap<u32>,
    /// and after each key the next one with the same; [`NONE`] is none.
    next: Vec<u32>,
    comparison: Option<RowComparison>,
}

/// No key.
const NONE: u32 = u32::MAX;

/// A row that has the folded form of a key.
#[derive(Debug, Clone, Copy)]
struct Match {
    position: u64,
    key: u32,
    is_exact: bool,
    is_same: Option<bool>,
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
        let hashes = fold.hashes(keys)?;
        small(hashes.len())?;
        let mut by_folded = RowHashMap::with_capacity_and_hasher(hashes.len(), Default::default());
        let mut next = Vec::with_capacity(hashes.len());
        for (key, hash) in (0..).zip(&hashes) {
            next.push(by_folded.insert(hash.folded, key).unwrap_or(NONE));
        }
        let ids: Vec<i32> = key_columns.ids().collect();
        Ok(Self {
            file_io: file_io.clone(),
            partitions: KeyPartitions::of(&metadata, keys, &ids, &fold)?,
            deletes: DeletedRows::of_files(file_io, metadata),
            bounds: KeyBounds::of(keys, &key_columns, &fold),
            filter: KeyFilter::of(keys, &fold),
            keys: key_columns,
            rows,
            fold,
            wanted: hashes.into_iter().map(|hash| hash.exact).collect(),
            by_folded,
            next,
            comparison: None,
        })
    }

    /// A search that compares what it finds with `rows`.
    fn comparing(mut self, rows: &[RecordBatch], schema: &TableSchema) -> Result<Self> {
        self.comparison = Some(RowComparison::new(rows, schema, &self.rows)?);
        Ok(self)
    }

    async fn run(self, files: &[Arc<LiveFile>]) -> Result<LocatedRows> {
        let search = Arc::new(self);
        let mut found = Vec::new();
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
                tasks.spawn(async move {
                    let matches = search.search(&file).await?;
                    Ok::<_, Error>((file, matches))
                });
                continue;
            }
            let Some(searched) = tasks.join_next().await else {
                return LocatedRows::new(search.wanted.len(), found);
            };
            let (file, matches) =
                searched.map_err(|error| Error::internal("a search ended early").caused_by(error))??;
            if !matches.is_empty() {
                found.push((file, matches));
            }
        }
    }

    async fn search(&self, file: &LiveFile) -> Result<Vec<Match>> {
        let reader = DataFileReader::of(&self.file_io, &file.path, file.spec_id, &file.data_file).await?;
        let candidates = self.bounds.may_be_at(reader.metadata());
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = without_absent_keys(&self.bounds, &reader, candidates).await?;
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = candidates.without(&self.deletes.of(file).await?);
        let mut matches = Vec::new();
        let mut batches = reader.read(&self.keys, candidates).await?;
        while let Some(batch) = batches.try_next().await? {
            let batch = match &self.filter {
                Some(filter) => filter.sift(batch)?,
                None => batch,
            };
            let hashes = self.fold.hashes(&batch.rows)?;
            for (hash, position) in hashes.into_iter().zip(batch.positions) {
                let mut key = self.by_folded.get(&hash.folded).copied().unwrap_or(NONE);
                while let Some(wanted) = self.wanted.get(key as usize) {
                    matches.push(Match {
                        position,
                        key,
                        is_exact: *wanted == hash.exact,
                        is_same: None,
                    });
                    key = self.next[key as usize];
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
        matched.is_same = Some(false);
    }
    let exact: Vec<&mut Match> = matches.iter_mut().filter(|matched| matched.is_exact).collect();
    let pairs: Vec<Pair> = exact
        .iter()
        .map(|matched| Pair {
            position: matched.position,
            delivered: matched.key as usize,
        })
        .collect();
    let same = comparison.compare(file, &pairs).await?;
    for (matched, same) in exact.into_iter().zip(same) {
        matched.is_same = Some(same);
    }
    Ok(())
}

/// A number that fits beside [`NONE`].
fn small(number: usize) -> Result<u32> {
    let number = u32::try_from(number).ok().filter(|number| *number != NONE);
    number.ok_or_else(too_many)
}

fn too_many() -> Error {
    Error::internal("more than four billion rows are looked up at once")
}

#[cfg(test)]
mod tests;
