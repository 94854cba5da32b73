//! One Parquet data file: chosen rows and columns of it, with their positions.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use iceberg::arrow::ArrowFileReader;
use iceberg::io::{FileIO, FileMetadata};
use iceberg::spec::{DataFile, Struct};
use model::{Error, ErrorKind, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderBuilder, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
    RowSelection, RowSelectionPolicy,
};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::local_pages::LocalPages;
use super::projection::FileProjection;
use super::row_ranges::InRowGroup;
use super::{Projection, RowRanges, footer};
use crate::error::iceberg_error;
use crate::storage::{LocalRead, local_path};

/// Batches have at most this many rows,
const BATCH_ROWS: u64 = 8_192;
/// and about this many bytes, unless a single row is larger.
const BATCH_BYTES: u64 = 8 << 20;
/// Where few rows are left out, and runs of rows that are in or out have fewer rows than this on average, all are decoded and then
/// filtered. Otherwise decoding stops and goes on at each run.
const FILTERED_BELOW: usize = 128;

/// Rows of one data file and where they are in it.
#[derive(Debug)]
pub struct FileRows {
    /// The rows, in the shape of the projection.
    pub rows: RecordBatch,
    /// The position of each row.
    pub positions: Vec<u64>,
}

/// Rows of one file, by ascending position. Dropping it closes the file.
pub type FileRowsStream = BoxStream<'static, Result<FileRows>>;

/// An opened data file: its footer is read, rows are read on demand.
pub struct DataFileReader {
    file_io: FileIO,
    path: Arc<str>,
    size: u64,
    metadata: ArrowReaderMetadata,
    /// The partition spec that it was written under, and its partition.
    partition: Option<(i32, Struct)>,
}

impl std::fmt::Debug for DataFileReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataFileReader")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl DataFileReader {
    /// Opens the Parquet file at `path`, which has `size` bytes.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Unavailable` or `Corrupt`, as the storage says.
    pub async fn open(file_io: &FileIO, path: &Arc<str>, size: u64) -> Result<Self> {
        let mut reader = file_reader(file_io, path, size).await?;
        // The Arrow schema that a writer may have embedded is its own idea of the types, not the table's.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load_async(&mut reader, options)
            .await
            .map_err(|error| damaged(path, error))?;
        Ok(Self {
            file_io: file_io.clone(),
            path: path.clone(),
            size,
            metadata,
            partition: None,
        })
    }

    /// Opens the data file at `path` that a manifest of the partition spec `spec_id` describes as `data_file`. Columns that it lacks because
    /// every row of it has the value of its partition have that.
    ///
    /// # Errors
    ///
    /// As [`DataFileReader::open`]; `Corrupt` if it does not hold as many rows as the manifest says: rows are told by their positions,
    /// and those beyond that number would be passed over.
    pub async fn of(file_io: &FileIO, path: &Arc<str>, spec_id: i32, data_file: &DataFile) -> Result<Self> {
        let mut reader = Self::open(file_io, path, data_file.file_size_in_bytes()).await?;
        if reader.row_count() != data_file.record_count() {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "a data file does not hold as many rows as its manifest says",
            )
            .with("file", path)
            .with("rows", reader.row_count())
            .with("in the manifest", data_file.record_count()));
        }
        reader.partition = Some((spec_id, data_file.partition().clone()));
        Ok(reader)
    }

    /// How many rows the file holds, deleted ones included.
    pub fn row_count(&self) -> u64 {
        self.metadata().file_metadata().num_rows().max(0) as u64
    }

    /// The positions `rows` by the row groups that hold them, each with about how many bytes it takes to decode its row group: what it takes
    /// in the file, and three batches, as one is decoded, one waits and one is taken.
    pub fn by_row_group(&self, rows: &RowRanges) -> Vec<(RowRanges, u64)> {
        let groups = rows.by_row_group(self.metadata());
        groups
            .map(|(index, of_group)| {
                let (group, all) = (self.metadata().row_group(index), ProjectionMask::all());
                let rows = rows_per_batch(group, &all) as u64;
                let batch = rows.saturating_mul(row_bytes(group, &all));
                let stored = group.columns().iter().map(|column| column.compressed_size());
                (
                    of_group.rows,
                    total(stored).saturating_add(batch.saturating_mul(3)),
                )
            })
            .collect()
    }

    /// The file's footer.
    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    /// The bloom filter of one column of one row group, if it has one.
    ///
    /// # Errors
    ///
    /// As [`DataFileReader::open`].
    pub(crate) async fn bloom_filter(&self, group: usize, leaf: usize) -> Result<Option<Sbbf>> {
        let reader = file_reader(&self.file_io, &self.path, self.size).await?;
        ParquetRecordBatchStreamBuilder::new_with_metadata(reader, self.metadata.clone())
            .get_row_group_column_bloom_filter(group, leaf)
            .await
            .map_err(|error| damaged(&self.path, error))
    }

    /// Reads the rows at the positions `rows`, in order. Row groups and pages without any of them are not fetched. The stream ends with its
    /// first error.
    ///
    /// # Errors
    ///
    /// As [`DataFileReader::open`]; `Unsupported` if a column is stored in a way that Iceberg does not allow. The stream ends with `Corrupt`
    /// if a row group does not hold just the rows that the footer says.
    pub async fn read(&self, projection: &Projection, rows: RowRanges) -> Result<FileRowsStream> {
        if rows.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let columns = projection
            .in_file(self.metadata.parquet_schema(), self.partition.as_ref())
            .map_err(|error| error.with("file", &self.path))?;
        let groups: Vec<_> = rows.by_row_group(self.metadata()).collect();
        let beyond = rows.beyond(self.metadata());
        let reader = Arc::new(GroupReader {
            file_io: self.file_io.clone(),
            path: self.path.clone(),
            size: self.size,
            metadata: self.metadata.clone(),
            local: self.local_pages()?,
            columns,
        });
        let path = self.path.clone();
        let rows = stream::iter(groups)
            .then(move |(index, rows)| reader.clone().read(index, rows))
            .try_flatten()
            .chain(stream::iter(beyond.map(|position| Err(short(&path, position)))));
        Ok(until_error(rows).boxed())
    }

    /// The file itself, if it is a local one.
    fn local_pages(&self) -> Result<Option<LocalPages>> {
        let Some(local) = local_path(&self.path) else {
            return Ok(None);
        };
        let file = LocalRead::open(local)
            .map_err(|e| iceberg_error("cannot open a data file")(e).with("file", &self.path))?;
        Ok(Some(LocalPages::new(file, self.size)))
    }
}

/// Reads row groups, each by itself: a reader of several would take what is missing in one from the next, for each column by itself, and
/// rows would be made of values that belong to different ones.
struct GroupReader {
    file_io: FileIO,
    path: Arc<str>,
    size: u64,
    metadata: ArrowReaderMetadata,
    /// A local file is read page by page, an object all at once.
    local: Option<LocalPages>,
    columns: FileProjection,
}

type Decoded = std::result::Result<RecordBatch, ParquetError>;

impl GroupReader {
    async fn read(self: Arc<Self>, index: usize, chosen: InRowGroup) -> Result<FileRowsStream> {
        let group = self.metadata.metadata().row_group(index);
        if let Err(wrong) = footer::check(self.metadata.metadata(), index, &self.columns.mask, self.size) {
            return Err(damaged(&self.path, wrong));
        }
        let batches = self.batches(index, group, &chosen).await?;
        let mut positions = chosen.rows.into_positions();
        let batches = batches.map(Some).chain(stream::iter([None]));
        let rows = batches.map(move |batch| {
            let Some(batch) = batch else {
                return match positions.take(1).first() {
                    Some(position) => Err(short(&self.path, *position)),
                    None => Ok(None),
                };
            };
            let batch = batch.map_err(|error| damaged(&self.path, error))?;
            let columns = self.columns.convert(&batch);
            let rows = columns.map_err(|error| error.with("file", &self.path))?;
            let positions = positions.take(rows.num_rows());
            if positions.len() < rows.num_rows() {
                return Err(long(&self.path));
            }
            Ok(Some(FileRows { rows, positions }))
        });
        Ok(rows
            .filter_map(|rows| std::future::ready(rows.transpose()))
            .boxed())
    }

    async fn batches(
        &self,
        index: usize,
        group: &RowGroupMetaData,
        chosen: &InRowGroup,
    ) -> Result<BoxStream<'static, Decoded>> {
        let (metadata, mask) = (self.metadata.clone(), self.columns.mask.clone());
        let choice = Choice {
            group: index,
            batch_rows: rows_per_batch(group, &mask),
            mask,
            // A whole row group is read without a selection, which would fetch and look for each page.
            selection: (chosen.rows.count() < chosen.of).then(|| chosen.selection()),
        };
        let wrong = |error| damaged(&self.path, error);
        let Some(pages) = &self.local else {
            let reader = file_reader(&self.file_io, &self.path, self.size).await?;
            let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
            return Ok(choice.of(builder).build().map_err(wrong)?.boxed());
        };
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pages.clone(), metadata);
        let reader = choice.of(builder).build().map_err(wrong)?;
        Ok(stream::iter(pages.clone().batches(reader)).boxed())
    }
}

/// What is read of a row group.
struct Choice {
    group: usize,
    batch_rows: usize,
    mask: ProjectionMask,
    selection: Option<RowSelection>,
}

impl Choice {
    fn of<T>(self, builder: ArrowReaderBuilder<T>) -> ArrowReaderBuilder<T> {
        let builder = builder
            .with_projection(self.mask)
            .with_row_groups(vec![self.group])
            .with_batch_size(self.batch_rows);
        let Some(selection) = self.selection else {
            return builder;
        };
        let policy = policy_for(&selection);
        builder
            .with_row_selection(selection)
            .with_row_selection_policy(policy)
    }
}

/// What comes before the first error, and that.
fn until_error<T: Send>(rows: impl Stream<Item = Result<T>> + Send) -> impl Stream<Item = Result<T>> + Send {
    rows.scan(false, |failed, next| {
        let over = std::mem::replace(failed, next.is_err());
        std::future::ready((!over).then_some(next))
    })
}

fn policy_for(selection: &RowSelection) -> RowSelectionPolicy {
    if selection.row_count() > selection.skipped_row_count() {
        RowSelectionPolicy::Auto {
            threshold: FILTERED_BELOW,
        }
    } else {
        RowSelectionPolicy::default()
    }
}

async fn file_reader(file_io: &FileIO, path: &str, size: u64) -> Result<ArrowFileReader> {
    let opened = async { file_io.new_input(path)?.reader().await };
    let reader = opened
        .await
        .map_err(|error| iceberg_error("cannot open a data file")(error).with("file", path))?;
    Ok(ArrowFileReader::new(FileMetadata { size }, reader))
}

/// How many rows of a row group make a batch. Dictionaries can make wide values look small, so the size before encoding
/// counts where the file tells it.
fn rows_per_batch(group: &RowGroupMetaData, mask: &ProjectionMask) -> usize {
    (BATCH_BYTES / row_bytes(group, mask)).clamp(1, BATCH_ROWS) as usize
}

/// About how many bytes a row takes once decoded.
fn row_bytes(group: &RowGroupMetaData, mask: &ProjectionMask) -> u64 {
    let columns = group.columns().iter().enumerate();
    let bytes = total(
        columns
            .filter(|(leaf, _)| mask.leaf_included(*leaf))
            .map(|(_, column)| {
                let decoded = column.unencoded_byte_array_data_bytes().unwrap_or_default();
                column.uncompressed_size().max(decoded)
            }),
    );
    (bytes / group.num_rows().max(1) as u64).max(1)
}

/// What a footer may say has any sum.
fn total(bytes: impl Iterator<Item = i64>) -> u64 {
    bytes.fold(0, |sum, bytes| sum.saturating_add(bytes.max(0) as u64))
}

/// A column can hold fewer rows than the footer says.
fn short(path: &str, position: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "a data file holds fewer rows than its footer says",
    )
    .with("file", path)
    .with("first row that is not there", position)
}

fn long(path: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "a data file holds more rows than its footer says",
    )
    .with("file", path)
}

/// Storage errors keep their kind; everything else means that the file is damaged.
fn damaged(path: &str, error: ParquetError) -> Error {
    let error = match error {
        ParquetError::External(inner) => match inner.downcast::<iceberg::Error>() {
            Ok(storage) => return iceberg_error("cannot read a data file")(*storage).with("file", path),
            Err(inner) => ParquetError::External(inner),
        },
        other => other,
    };
    Error::new(ErrorKind::Corrupt, "cannot read a data file as Parquet")
        .with("file", path)
        .caused_by(error)
}
