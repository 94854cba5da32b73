//! Parquet data files: rows go in, a file is closed when it is large enough, and each closed file is described for a manifest.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::future::BoxFuture;
use iceberg::io::{FileIO, FileWrite};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Struct};
use iceberg_table::{ROW_IDS, TableHandle, data_directory, field_ids, iceberg_error};
use model::{Error, ErrorKind, Ids, Result, TableSchema};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_writer::{AsyncArrowWriter, AsyncFileWriter};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use uuid::Uuid;

use crate::column_metrics::ColumnMetrics;
use crate::dictionary;
use crate::file_properties::writer_properties;
use crate::metrics_mode::MetricsMode;
use crate::options::WriterOptions;

/// How rows of one schema lie in a table's files.
#[derive(Debug, Clone)]
pub struct FileShape {
    schema: SchemaRef,
    /// For each column of the file, its index in the delivered rows; `None` for a column that is not delivered and is left NULL,
    columns: Vec<Option<usize>>,
    /// and its field id.
    ids: Vec<i32>,
    iceberg: iceberg::spec::SchemaRef,
    delivered: usize,
}

impl FileShape {
    /// The shape of files of `table` that take rows of `delivered`, whose columns are the table's, perhaps in another order and without
    /// some that may be NULL.
    ///
    /// # Errors
    ///
    /// `SchemaMismatch` if a column is not the table's, or a required one is missing.
    pub fn new(table: &TableHandle, delivered: &TableSchema) -> Result<Self> {
        let iceberg = table.iceberg_schema().clone();
        let present = table.schema()?;
        let delivered_ids = field_ids(delivered, &iceberg)?;
        let mut shape = Self {
            schema: Arc::new(Schema::empty()),
            columns: Vec::new(),
            ids: Vec::new(),
            delivered: delivered_ids.len(),
            iceberg: iceberg.clone(),
        };
        let mut fields = Vec::new();
        for (nested, field) in iceberg.as_struct().fields().iter().zip(present.arrow().fields()) {
            let index = delivered_ids.iter().position(|id| *id == nested.id);
            if index.is_none() && nested.required {
                return Err(Error::new(
                    ErrorKind::SchemaMismatch,
                    "a required column of the table is not delivered",
                )
                .with("column", &nested.name));
            }
            let field = index.map_or(field.as_ref(), |index| delivered.arrow().field(index));
            fields.push(with_id(field, nested.id).with_nullable(!nested.required));
            shape.columns.push(index);
            shape.ids.push(nested.id);
        }
        shape.schema = Arc::new(Schema::new(fields));
        Ok(shape)
    }

    /// With the two columns that keep a row's identity (format v3), which come after all others in the delivered rows.
    pub fn with_row_ids(mut self) -> Self {
        let mut fields: Vec<_> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        for (id, name) in ROW_IDS {
            fields.push(with_id(&Field::new(name, DataType::Int64, true), id));
            self.columns.push(Some(self.delivered));
            self.ids.push(id);
            self.delivered += 1;
        }
        self.schema = Arc::new(Schema::new(fields));
        self
    }

    /// Whether every column of the file is delivered.
    pub(crate) fn is_whole(&self) -> bool {
        self.columns.iter().all(Option::is_some)
    }

    /// The field ids of the file's columns.
    pub(crate) fn ids(&self) -> &[i32] {
        &self.ids
    }

    /// Delivered rows in the shape of the file.
    pub(crate) fn of_rows(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().zip(self.schema.fields());
        let columns = columns
            .map(|(index, field)| match index {
                Some(index) => rows.column(*index).clone(),
                None => new_null_array(field.data_type(), rows.num_rows()),
            })
            .collect();
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| {
            Error::new(ErrorKind::Data, "rows do not fit the table")
                .with("cause", &e)
                .caused_by(e)
        })
    }
}

fn with_id(field: &Field, id: i32) -> Field {
    let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    field.clone().with_metadata(metadata)
}

/// Writes rows into as many files as their size asks for.
pub(crate) struct DataFileWriter {
    shape: FileShape,
    file_io: FileIO,
    directory: String,
    spec_id: i32,
    partition: Struct,
    properties: WriterProperties,
    /// What is told of each column.
    modes: Arc<[MetricsMode]>,
    target_bytes: u64,
    ids: Arc<dyn Ids>,
    /// The path of every file that was begun.
    begun: Vec<String>,
    open: Option<OpenFile>,
    closed: Vec<DataFile>,
}

struct OpenFile {
    path: String,
    writer: AsyncArrowWriter<Output>,
    nan_counts: HashMap<i32, u64>,
}

impl std::fmt::Debug for DataFileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataFileWriter")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl DataFileWriter {
    /// Writes rows of `shape` into `table`'s directory. Nothing is created before the first row.
    ///
    /// # Errors
    ///
    /// `Config` if the options are out of range.
    pub(crate) fn new(
        table: &TableHandle,
        shape: FileShape,
        options: &WriterOptions,
        ids: Arc<dyn Ids>,
    ) -> Result<Self> {
        options.validate()?;
        let metadata = table.metadata();
        let properties = writer_properties(metadata, &shape.iceberg, options)?;
        let columns = shape.schema.fields().iter();
        let modes = columns.map(|column| MetricsMode::of(metadata, column.name()));
        let modes = modes.collect::<Result<_>>()?;
        Ok(Self {
            shape,
            file_io: table.table().file_io().clone(),
            directory: data_directory(metadata),
            spec_id: metadata.default_partition_spec_id(),
            partition: Struct::empty(),
            properties,
            modes,
            target_bytes: options.target_file_bytes_of(metadata),
            ids,
            begun: Vec::new(),
            open: None,
            closed: Vec::new(),
        })
    }

    /// A writer like this one, without files, for rows of another partition.
    pub(crate) fn for_partition(&self, partition: Struct) -> Self {
        Self {
            shape: self.shape.clone(),
            file_io: self.file_io.clone(),
            directory: self.directory.clone(),
            spec_id: self.spec_id,
            partition,
            properties: self.properties.clone(),
            modes: self.modes.clone(),
            target_bytes: self.target_bytes,
            ids: self.ids.clone(),
            begun: Vec::new(),
            open: None,
            closed: Vec::new(),
        }
    }

    pub(crate) fn shape(&self) -> &FileShape {
        &self.shape
    }

    pub(crate) fn partition(&self) -> &Struct {
        &self.partition
    }

    /// What the open row group holds in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.open
            .as_ref()
            .map_or(0, |open| open.writer.in_progress_size())
    }

    /// Writes the open row group out.
    pub(crate) async fn end_row_group(&mut self) -> Result<()> {
        match &mut self.open {
            Some(open) => open.writer.flush().await.map_err(|e| failed(&open.path, e)),
            None => Ok(()),
        }
    }

    /// Writes rows that have the shape of the file.
    ///
    /// # Errors
    ///
    /// As the storage says. The writer is of no use after that.
    pub(crate) async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.start(rows).await?,
        };
        count_nans(rows, &self.shape.ids, &mut open.nan_counts);
        open.writer.write(rows).await.map_err(|e| failed(&open.path, e))?;
        let bytes = open.writer.bytes_written() + open.writer.in_progress_size();
        if bytes as u64 >= self.target_bytes {
            self.finish(open).await
        } else {
            self.open = Some(open);
            Ok(())
        }
    }

    /// Closes the last file. The files, in the order of their rows.
    ///
    /// # Errors
    ///
    /// As the storage says.
    pub(crate) async fn close(&mut self) -> Result<Vec<DataFile>> {
        if let Some(open) = self.open.take() {
            self.finish(open).await?;
        }
        Ok(std::mem::take(&mut self.closed))
    }

    /// Gives up, after an error as well: the paths of the files that may exist, finished or not.
    pub(crate) fn abandon(self) -> Vec<String> {
        self.begun
    }

    /// Opens a file for rows that begin with `first`.
    async fn start(&mut self, first: &RecordBatch) -> Result<OpenFile> {
        let path = format!(
            "{}/{}.parquet",
            self.directory,
            Uuid::from_u128(self.ids.random())
        );
        self.begun.push(path.clone());
        let output = Output::create(&self.file_io, &path).await?;
        // Readers take the types from the table's schema, so the file does not carry Arrow's.
        let options = ArrowWriterOptions::new()
            .with_properties(dictionary::chosen_for(first, self.properties.clone()))
            .with_skip_arrow_metadata(true);
        let writer = AsyncArrowWriter::try_new_with_options(output, self.shape.schema.clone(), options)
            .map_err(|e| failed(&path, e))?;
        Ok(OpenFile {
            path,
            writer,
            nan_counts: HashMap::new(),
        })
    }

    async fn finish(&mut self, mut open: OpenFile) -> Result<()> {
        let metadata = open.writer.finish().await.map_err(|e| failed(&open.path, e))?;
        let size = open.writer.bytes_written() as u64;
        let mut file = describe(&metadata, &open.path, size);
        file.partition(self.partition.clone())
            .partition_spec_id(self.spec_id);
        let (ids, nans) = (&self.shape.ids, open.nan_counts);
        ColumnMetrics::of(&metadata, ids, &self.modes, nans, &self.shape.iceberg).describe(&mut file);
        file.content(DataContentType::Data);
        self.closed.push(built(&file)?);
        Ok(())
    }
}

/// Where a Parquet writer puts its bytes.
struct Output(Box<dyn FileWrite>);

impl Output {
    async fn create(file_io: &FileIO, path: &str) -> Result<Self> {
        let output = file_io
            .new_output(path)
            .map_err(iceberg_error("cannot create a data file"))?;
        output
            .writer()
            .await
            .map(Self)
            .map_err(|e| iceberg_error("cannot create a data file")(e).with("file", path))
    }
}

impl AsyncFileWriter for Output {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, ParquetResult<()>> {
        Box::pin(async move {
            self.0
                .write(bytes)
                .await
                .map_err(|e| ParquetError::External(Box::new(e)))
        })
    }

    fn complete(&mut self) -> BoxFuture<'_, ParquetResult<()>> {
        Box::pin(async move {
            self.0
                .close()
                .await
                .map_err(|e| ParquetError::External(Box::new(e)))
        })
    }
}

/// What the file itself says of a data file.
fn describe(metadata: &ParquetMetaData, path: &str, size: u64) -> DataFileBuilder {
    let groups = metadata.row_groups().iter();
    let mut file = DataFileBuilder::default();
    file.file_path(path.to_owned())
        .file_format(DataFileFormat::Parquet)
        .record_count(metadata.file_metadata().num_rows().unsigned_abs())
        .file_size_in_bytes(size)
        .split_offsets(Some(groups.filter_map(|group| group.file_offset()).collect()));
    file
}

fn built(file: &DataFileBuilder) -> Result<DataFile> {
    file.build()
        .map_err(|e| Error::internal("a data file is described incompletely").caused_by(e))
}

/// Wraps an error of the Parquet writer, whose own cause says more than it does, and may be wrapped in another one of its errors.
fn failed(path: &str, error: ParquetError) -> Error {
    let cause = match error {
        ParquetError::External(cause) => cause,
        other => {
            return Error::new(ErrorKind::Data, "cannot encode rows as Parquet")
                .with("file", path)
                .with("cause", &other)
                .caused_by(other);
        }
    };
    let cause = match cause.downcast::<ParquetError>() {
        Ok(wrapped) => return failed(path, *wrapped),
        Err(cause) => cause,
    };
    match cause.downcast::<iceberg::Error>() {
        Ok(cause) => iceberg_error("cannot write a data file")(*cause).with("file", path),
        Err(cause) => Error::new(ErrorKind::Unavailable, "cannot write a data file")
            .with("file", path)
            .caused_by(cause),
    }
}

fn count_nans(rows: &RecordBatch, ids: &[i32], counts: &mut HashMap<i32, u64>) {
    for (column, id) in rows.columns().iter().zip(ids) {
        let nans = match column.data_type() {
            DataType::Float32 => column
                .as_primitive::<Float32Type>()
                .iter()
                .flatten()
                .filter(|v| v.is_nan())
                .count(),
            DataType::Float64 => column
                .as_primitive::<Float64Type>()
                .iter()
                .flatten()
                .filter(|v| v.is_nan())
                .count(),
            _ => continue,
        };
        *counts.entry(*id).or_default() += nans as u64;
    }
}
