//! The deleted positions of data files, read from position delete files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::{DataType, Field};
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::metadata_columns::{
    RESERVED_COL_NAME_DELETE_FILE_PATH, RESERVED_COL_NAME_DELETE_FILE_POS,
    RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_FIELD_ID_DELETE_FILE_POS,
};
use model::{Error, ErrorKind, Result};

use super::{DataFileReader, DeleteFile, LiveFile, Projection, RowRanges};

/// Positions that are kept in memory at most (8 bytes each): a delete file that speaks of many data files is then read once,
/// not once for each of them.
const CACHED_POSITIONS: usize = 4 << 20;

type ByPath = Arc<HashMap<String, Vec<u64>>>;

/// Reads position delete files, keeping some of them in memory.
#[derive(Debug)]
pub struct PositionDeletes {
    file_io: FileIO,
    projection: Projection,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    files: HashMap<Arc<str>, ByPath>,
    positions: usize,
}

impl PositionDeletes {
    /// Reads through `file_io`.
    pub fn new(file_io: FileIO) -> Self {
        let column = |name, data_type| Field::new(name, data_type, false);
        Self {
            file_io,
            projection: Projection::of_ids([
                (
                    RESERVED_FIELD_ID_DELETE_FILE_PATH,
                    column(RESERVED_COL_NAME_DELETE_FILE_PATH, DataType::Utf8),
                ),
                (
                    RESERVED_FIELD_ID_DELETE_FILE_POS,
                    column(RESERVED_COL_NAME_DELETE_FILE_POS, DataType::Int64),
                ),
            ]),
            cache: Mutex::default(),
        }
    }

    /// The deleted positions of a data file, ascending, each once.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a delete file is not one; otherwise as the storage says.
    pub async fn of(&self, file: &LiveFile) -> Result<Vec<u64>> {
        let mut deleted = Vec::new();
        for delete in &file.deletes {
            let by_path = self.load(delete).await?;
            if let Some(positions) = by_path.get(file.path.as_ref()) {
                deleted.extend_from_slice(positions);
            }
        }
        deleted.sort_unstable();
        deleted.dedup();
        Ok(deleted)
    }

    /// The positions of a data file that are not deleted.
    ///
    /// # Errors
    ///
    /// As [`PositionDeletes::of`].
    pub async fn live_rows(&self, file: &LiveFile) -> Result<RowRanges> {
        let deleted = self.of(file).await?;
        Ok(RowRanges::all(file.data_file.record_count()).without(&deleted))
    }

    async fn load(&self, delete: &DeleteFile) -> Result<ByPath> {
        if let Some(known) = self.cache().files.get(&delete.path) {
            return Ok(known.clone());
        }
        let by_path = Arc::new(self.read(delete).await?);
        let positions = by_path.values().map(Vec::len).sum::<usize>();
        let mut cache = self.cache();
        if cache.positions + positions > CACHED_POSITIONS {
            *cache = Cache::default();
        }
        if positions <= CACHED_POSITIONS {
            cache.positions += positions;
            cache.files.insert(delete.path.clone(), by_path.clone());
        }
        Ok(by_path)
    }

    async fn read(&self, delete: &DeleteFile) -> Result<HashMap<String, Vec<u64>>> {
        let reader = DataFileReader::open(&self.file_io, &delete.path, delete.size).await?;
        let mut batches = reader
            .read(&self.projection, RowRanges::all(reader.row_count()))
            .await?;
        let mut by_path: HashMap<String, Vec<u64>> = HashMap::new();
        while let Some(batch) = batches.try_next().await? {
            let paths = batch.rows.column(0).as_string::<i32>();
            let positions = batch.rows.column(1).as_primitive::<Int64Type>();
            for (path, position) in paths.iter().flatten().zip(positions.values()) {
                let position = u64::try_from(*position).map_err(|error| {
                    Error::new(
                        ErrorKind::Corrupt,
                        "a position delete file holds a negative position",
                    )
                    .with("file", &delete.path)
                    .caused_by(error)
                })?;
                // The rows are sorted by path, so the entry is nearly always the one of the row before.
                match by_path.get_mut(path) {
                    Some(positions) => positions.push(position),
                    None => {
                        by_path.insert(path.to_owned(), vec![position]);
                    }
                }
            }
        }
        Ok(by_path)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
