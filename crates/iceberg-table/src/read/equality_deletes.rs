//! Rows that are deleted by the values of some columns, found by hashing.
//!
//! NULL equals NULL here, as the specification says. Values are compared in the types that the table has now, so that a delete of
//! a narrow column still meets the promoted one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use model::{Result, RowEncoder, RowHash, RowHasher};

use super::live_files::DeleteForm;
use super::{DataFileReader, DeleteFile, LiveFile, Projection, RowRanges};

/// Keys that are kept in memory at most (16 bytes each, and their table).
const CACHED_KEYS: usize = 2 << 20;

type Keys = Arc<HashSet<RowHash>>;

/// Reads equality delete files, keeping some of them in memory.
#[derive(Debug, Default)]
pub(super) struct EqualityDeletes {
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    files: HashMap<Arc<str>, Keys>,
    keys: usize,
}

impl EqualityDeletes {
    /// The positions of `file` that are deleted by value, ascending.
    pub(super) async fn of(
        &self,
        file_io: &FileIO,
        metadata: &TableMetadata,
        file: &LiveFile,
    ) -> Result<Vec<u64>> {
        let mut by_columns: BTreeMap<Vec<i32>, Vec<Keys>> = BTreeMap::new();
        for delete in &file.deletes {
            let DeleteForm::Equality { field_ids } = &delete.form else {
                continue;
            };
            let mut columns = field_ids.clone();
            columns.sort_unstable();
            let keys = self.load(file_io, metadata, delete, &columns).await?;
            by_columns.entry(columns).or_default().push(keys);
        }
        let mut deleted = Vec::new();
        for (columns, sets) in by_columns {
            let projection = Projection::of_fields(metadata, &columns)?;
            let reader = DataFileReader::of(file_io, &file.path, file.spec_id, &file.data_file).await?;
            let all = RowRanges::all(reader.row_count());
            let mut batches = reader.read(&projection, all).await?;
            while let Some(batch) = batches.try_next().await? {
                let mut hasher = RowHasher::new(RowEncoder::whole(&batch.rows)?);
                for (row, position) in batch.positions.into_iter().enumerate() {
                    let key = hasher.hash(row);
                    if sets.iter().any(|set| set.contains(&key)) {
                        deleted.push(position);
                    }
                }
            }
        }
        deleted.sort_unstable();
        deleted.dedup();
        Ok(deleted)
    }

    async fn load(
        &self,
        file_io: &FileIO,
        metadata: &TableMetadata,
        delete: &DeleteFile,
        columns: &[i32],
    ) -> Result<Keys> {
        if let Some(known) = self.cache().files.get(&delete.path) {
            return Ok(known.clone());
        }
        let keys = Arc::new(read(file_io, metadata, delete, columns).await?);
        let mut cache = self.cache();
        if cache.keys + keys.len() > CACHED_KEYS {
            *cache = Cache::default();
        }
        if keys.len() <= CACHED_KEYS {
            cache.keys += keys.len();
            cache.files.insert(delete.path.clone(), keys.clone());
        }
        Ok(keys)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(
    file_io: &FileIO,
    metadata: &TableMetadata,
    delete: &DeleteFile,
    columns: &[i32],
) -> Result<HashSet<RowHash>> {
    let projection = Projection::of_fields(metadata, columns)?;
    let reader = DataFileReader::open(file_io, &delete.path, delete.size).await?;
    let all = RowRanges::all(reader.row_count());
    let mut batches = reader.read(&projection, all).await?;
    let mut keys = HashSet::new();
    while let Some(batch) = batches.try_next().await? {
        let mut hasher = RowHasher::new(RowEncoder::whole(&batch.rows)?);
        keys.extend((0..batch.rows.num_rows()).map(|row| hasher.hash(row)));
    }
    Ok(keys)
}
