//! Rows of a snapshot's data files, one file after the other.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use iceberg_table::{DataFileReader, DeletedRows, FileRows, LiveFile, Projection, RowRanges, TableHandle};
use model::{Result, TableSchema};

/// Files whose footers and deletes are fetched ahead.
const FILES_AHEAD: usize = 2;

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

    /// The deleted positions of a file.
    pub(crate) async fn deleted(&self, file: &LiveFile) -> Result<Vec<u64>> {
        self.deletes.of(file).await
    }

    /// The rows of `parts` in order, each batch with the index of its part.
    pub(crate) fn read(
        self: &Arc<Self>,
        parts: Vec<FilePart>,
    ) -> BoxStream<'static, Result<(usize, FileRows)>> {
        let scan = self.clone();
        stream::iter(parts.into_iter().enumerate())
            .map(move |(index, part)| {
                let scan = scan.clone();
                async move { scan.open(index, part).await }
            })
            .buffered(FILES_AHEAD)
            .try_flatten()
            .boxed()
    }

    async fn open(
        &self,
        index: usize,
        part: FilePart,
    ) -> Result<BoxStream<'static, Result<(usize, FileRows)>>> {
        let rows = match part.rows {
            Some(rows) => rows,
            None => self.deletes.live_rows(&part.file).await?,
        };
        if rows.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let file_io = self.handle.table().file_io();
        let reader = DataFileReader::of(file_io, &part.file.path, &part.file.data_file).await?;
        let batches = reader.read(&self.projection, rows).await?;
        Ok(batches.map_ok(move |batch| (index, batch)).boxed())
    }
}
