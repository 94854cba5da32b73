//! Replacing a whole table, and not doing so if it would change nothing.
//!
//! Two contents are the same if they have as many rows and the same sum of row hashes, whatever the order.

use std::sync::Arc;

use futures::TryStreamExt;
use iceberg::spec::DataFile;
use iceberg_table::{DataFileReader, DeletedRows, LiveFile, Projection, RowRanges, TableHandle, live_files};
use model::{Result, RowEncoder, RowHasher, TableSchema};

/// The live rows of a table's head.
pub(crate) struct Present<'a> {
    table: &'a TableHandle,
    files: Vec<(Arc<LiveFile>, RowRanges)>,
}

impl<'a> Present<'a> {
    pub(crate) async fn of(table: &'a TableHandle) -> Result<Self> {
        let Some(head) = table.head() else {
            return Ok(Self {
                table,
                files: Vec::new(),
            });
        };
        let deletes = DeletedRows::new(table.table());
        let mut files = Vec::new();
        for file in live_files(table, head).await? {
            let rows = deletes.live_rows(&file).await?;
            files.push((file, rows));
        }
        Ok(Self { table, files })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|(_, rows)| rows.count()).sum()
    }

    /// Whether the rows of `staged` are exactly these.
    pub(crate) async fn equals(&self, staged: &[DataFile], schema: &TableSchema) -> Result<bool> {
        let rows: u64 = staged.iter().map(DataFile::record_count).sum();
        if rows != self.rows() {
            return Ok(false);
        }
        let projection = Projection::of_table(self.table.metadata(), schema)?;
        let mut present = 0u128;
        for (file, rows) in &self.files {
            present = present.wrapping_add(
                self.hash_sum(file.spec_id, &file.data_file, rows.clone(), &projection)
                    .await?,
            );
        }
        let spec_id = self.table.metadata().default_partition_spec_id();
        let mut new = 0u128;
        for file in staged {
            let rows = RowRanges::all(file.record_count());
            new = new.wrapping_add(self.hash_sum(spec_id, file, rows, &projection).await?);
        }
        Ok(new == present)
    }

    async fn hash_sum(
        &self,
        spec_id: i32,
        file: &DataFile,
        rows: RowRanges,
        projection: &Projection,
    ) -> Result<u128> {
        let path: Arc<str> = file.file_path().into();
        let reader = DataFileReader::of(self.table.table().file_io(), &path, spec_id, file).await?;
        let mut batches = reader.read(projection, rows).await?;
        let mut sum = 0u128;
        while let Some(batch) = batches.try_next().await? {
            let mut hasher = RowHasher::new(RowEncoder::whole(&batch.rows)?);
            sum = (0..batch.rows.num_rows()).fold(sum, |sum, row| sum.wrapping_add(hasher.hash(row).0));
        }
        Ok(sum)
    }
}
