//! The deleted positions of data files, from whatever kind of delete file says so.

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
use iceberg::spec::TableMetadataRef;
use iceberg::table::Table;
use model::{Error, ErrorKind, Result};

use super::equality_deletes::EqualityDeletes;
use super::live_files::DeleteForm;
use super::{DataFileReader, DeleteFile, LiveFile, Projection, RowRanges};
use crate::deletion_vector;
use crate::error::iceberg_error;

/// Positions that are kept in memory at most (8 bytes each): a delete file that speaks of many data files is then read once,
/// not once for each of them.
const CACHED_POSITIONS: usize = 4 << 20;

type ByPath = Arc<HashMap<String, Vec<u64>>>;

/// Reads the delete files of one table, keeping some of them in memory.
#[derive(Debug)]
pub struct DeletedRows {
    file_io: FileIO,
    metadata: TableMetadataRef,
    projection: Projection,
    cache: Mutex<Cache>,
    by_value: EqualityDeletes,
}

#[derive(Debug, Default)]
struct Cache {
    files: HashMap<Arc<str>, ByPath>,
    positions: usize,
}

impl DeletedRows {
    /// The deletes of `table`.
    pub fn new(table: &Table) -> Self {
        Self::of_files(table.file_io(), table.metadata_ref())
    }

    pub(crate) fn of_files(file_io: &FileIO, metadata: TableMetadataRef) -> Self {
        let column = |name, data_type| Field::new(name, data_type, false);
        Self {
            file_io: file_io.clone(),
            metadata,
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
            by_value: EqualityDeletes::default(),
        }
    }

    /// The deleted positions of a data file, ascending, each once.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a delete file is not one; otherwise as the storage says.
    pub async fn of(&self, file: &LiveFile) -> Result<Vec<u64>> {
        let mut deleted = self.by_position(file).await?;
        let by_value = self.by_value.of(&self.file_io, &self.metadata, file).await?;
        if !by_value.is_empty() {
            deleted.extend(by_value);
            deleted.sort_unstable();
            deleted.dedup();
        }
        Ok(deleted)
    }

    /// The positions of a data file that are not deleted.
    ///
    /// # Errors
    ///
    /// As [`DeletedRows::of`].
    pub async fn live_rows(&self, file: &LiveFile) -> Result<RowRanges> {
        let deleted = self.of(file).await?;
        Ok(RowRanges::all(file.data_file.record_count()).without(&deleted))
    }

    /// The positions that are deleted as such, and not by value: ascending, each once.
    pub(crate) async fn by_position(&self, file: &LiveFile) -> Result<Vec<u64>> {
        let mut deleted = Vec::new();
        for delete in &file.deletes {
            match &delete.form {
                DeleteForm::Positions { .. } => {
                    let by_path = self.load(delete).await?;
                    if let Some(positions) = by_path.get(file.path.as_ref()) {
                        deleted.extend_from_slice(positions);
                    }
                }
                DeleteForm::Vector { offset, length, .. } => {
                    deleted.extend(self.vector(delete, *offset, *length).await?);
                }
                DeleteForm::Equality { .. } => {}
            }
        }
        deleted.sort_unstable();
        deleted.dedup();
        Ok(deleted)
    }

    async fn vector(&self, delete: &DeleteFile, offset: u64, length: u64) -> Result<Vec<u64>> {
        let read = async {
            let input = self.file_io.new_input(&delete.path)?;
            input.reader().await?.read(offset..offset + length).await
        };
        let blob = read
            .await
            .map_err(|e| iceberg_error("cannot read a deletion vector")(e).with("file", &delete.path))?;
        let positions = deletion_vector::decode(&blob).map_err(|e| e.with("file", &delete.path))?;
        if positions.len() != delete.record_count {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "a deletion vector does not hold what its manifest says",
            )
            .with("file", &delete.path)
            .with("positions", positions.len())
            .with("in the manifest", delete.record_count));
        }
        Ok(positions.into_iter().collect())
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
