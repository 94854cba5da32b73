//! Rows of a snapshot's data files. Row groups are decoded by tasks of their own, as many at a time as there are cores and memory for.

use std::num::NonZero;
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use iceberg_table::{
    DataFileReader, DeletedRows, FileRows, LiveFile, Projection, RowRanges, TableHandle, locate_in,
};
use model::{Error, Result, TableSchema};
use tokio::sync::Semaphore;

use crate::background::produce;

/// Files whose footers and deletes are fetched ahead.
const FILES_AHEAD: usize = 2;
/// Row groups that are decoded at the same time at most,
const GROUPS_AT_ONCE: usize = 8;
/// and about what they may take together. A larger one is decoded alone.
const KIB_AT_ONCE: u32 = 64 << 10;

/// Some rows of one data file.
#[derive(Debug, Clone)]
pub(crate) struct FilePart {
    pub(crate) file: Arc<LiveFile>,
    /// The rows; `None` for all that are not deleted.
    pub(crate) rows: Option<RowRanges>,
}

impl FilePart {
    /// The rows of a file that are not deleted.
    pub(crate) fn live(file: Arc<LiveFile>) -> Self {
        Self { file, rows: None }
    }

    /// How many rows there are at most.
    pub(crate) fn rows_at_most(&self) -> u64 {
        match &self.rows {
            Some(rows) => rows.count(),
            None => self.file.data_file.record_count(),
        }
    }
}

/// Reads the data files of one table in the shape of one schema.
#[derive(Debug)]
pub(crate) struct FileScan {
    handle: TableHandle,
    projection: Projection,
    deletes: DeletedRows,
}

impl FileScan {
    pub(crate) fn new(handle: &TableHandle, schema: &TableSchema) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            projection: Projection::of_table(handle.metadata(), schema)?,
            deletes: DeletedRows::new(handle.table()),
            handle: handle.clone(),
        }))
    }

    /// Reads only the columns with these indexes.
    pub(crate) fn only(&self, columns: &[usize]) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            projection: self.projection.only(columns)?,
            deletes: DeletedRows::new(self.handle.table()),
            handle: self.handle.clone(),
        }))
    }

    /// The rows of `files` with these keys, which are in the order of the key of `schema`.
    pub(crate) async fn with_keys(
        &self,
        files: &[Arc<LiveFile>],
        schema: &TableSchema,
        keys: &RecordBatch,
    ) -> Result<Vec<FilePart>> {
        let located = locate_in(&self.handle, files, schema, keys).await?;
        let mut by_file = located.by_file(0..located.keys());
        by_file.sort_unstable_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        let parts = by_file.into_iter().map(|(file, positions)| FilePart {
            file,
            rows: Some(RowRanges::of_sorted(positions)),
        });
        Ok(parts.collect())
    }

    /// The deleted positions of a file.
    pub(crate) async fn deleted(&self, file: &LiveFile) -> Result<Vec<u64>> {
        self.deletes.of(file).await
    }

    /// The rows of `parts`, each batch with the index of its part. Batches of a row group come in order.
    pub(crate) fn read(
        self: &Arc<Self>,
        parts: Vec<FilePart>,
    ) -> BoxStream<'static, Result<(usize, FileRows)>> {
        let scan = self.clone();
        let room = Arc::new(Semaphore::new(KIB_AT_ONCE as usize));
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        stream::iter(parts.into_iter().enumerate())
            .map(move |(index, part)| {
                let scan = scan.clone();
                async move { scan.open(index, part).await }
            })
            .buffered(FILES_AHEAD)
            .map_ok(|groups| stream::iter(groups.into_iter().map(Ok::<_, Error>)))
            .try_flatten()
            .map_ok(move |group| group.read(room.clone()))
            .try_flatten_unordered(GROUPS_AT_ONCE.min(cores))
            .boxed()
    }

    async fn open(self: Arc<Self>, index: usize, part: FilePart) -> Result<Vec<RowGroup>> {
        let rows = match part.rows {
            Some(rows) => rows,
            None => self.deletes.live_rows(&part.file).await?,
        };
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let file_io = self.handle.table().file_io();
        let reader =
            DataFileReader::of(file_io, &part.file.path, part.file.spec_id, &part.file.data_file).await?;
        let reader = Arc::new(reader);
        let groups = reader.by_row_group(&rows).into_iter();
        let groups = groups.map(|(rows, bytes)| RowGroup {
            scan: self.clone(),
            part: index,
            reader: reader.clone(),
            rows,
            kib: u32::try_from(bytes >> 10)
                .unwrap_or(u32::MAX)
                .clamp(1, KIB_AT_ONCE),
        });
        Ok(groups.collect())
    }
}

/// Rows of one row group.
struct RowGroup {
    scan: Arc<FileScan>,
    part: usize,
    reader: Arc<DataFileReader>,
    rows: RowRanges,
    kib: u32,
}

impl RowGroup {
    fn read(self, room: Arc<Semaphore>) -> BoxStream<'static, Result<(usize, FileRows)>> {
        produce(|output| {
            Box::pin(async move {
                let _room = room
                    .acquire_many(self.kib)
                    .await
                    .map_err(|e| Error::internal("nobody closes the room for row groups").caused_by(e))?;
                let mut batches = self.reader.read(&self.scan.projection, self.rows).await?;
                while let Some(batch) = batches.try_next().await? {
                    output.send((self.part, batch)).await?;
                }
                Ok(())
            })
        })
    }
}
