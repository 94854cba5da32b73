//! Data files by partition, with a bound on how many are open and on what they hold in memory together.

use std::sync::Arc;

use arrow_array::RecordBatch;
use iceberg::spec::{DataFile, Struct};
use iceberg_table::{PartitionSplitter, TableHandle};
use model::{Ids, Result};

use crate::data_file::{DataFileWriter, FileShape};
use crate::options::WriterOptions;

/// Writes rows into Parquet files of their partitions; into one file after the other where the table has none.
#[derive(Debug)]
pub struct PartitionedWriter {
    splitter: Option<PartitionSplitter>,
    /// What the writer of each partition is made of.
    template: DataFileWriter,
    /// By their last use, the latest at the end.
    open: Vec<DataFileWriter>,
    open_at_most: usize,
    bytes_at_most: usize,
    closed: Vec<DataFile>,
    /// The paths of the files that were begun by writers that are no longer open.
    begun: Vec<String>,
}

impl PartitionedWriter {
    /// Writes rows of `shape` by the present partition spec of `table`.
    ///
    /// # Errors
    ///
    /// `Config` if the options are out of range.
    pub fn new(
        table: &TableHandle,
        shape: FileShape,
        options: &WriterOptions,
        ids: Arc<dyn Ids>,
    ) -> Result<Self> {
        let spec = table.metadata().default_partition_spec();
        // A spec of void fields alone counts as unpartitioned, and its partitions have these fields all the same.
        let splitter = if spec.fields().is_empty() {
            None
        } else {
            Some(PartitionSplitter::new(spec, table.iceberg_schema(), shape.ids())?)
        };
        Ok(Self {
            splitter,
            template: DataFileWriter::new(table, shape, options, ids)?,
            open: Vec::new(),
            open_at_most: options.open_partitions,
            bytes_at_most: options.row_group_bytes,
            closed: Vec::new(),
            begun: Vec::new(),
        })
    }

    /// Writes rows, which have the columns that the shape was made for.
    ///
    /// # Errors
    ///
    /// `Data` if a required column holds NULL; otherwise as the storage says. The writer is of no use after that.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = self.template.shape().of_rows(rows)?;
        match &self.splitter {
            None => self.write_into(self.template.partition().clone(), &rows).await,
            Some(splitter) => {
                for (partition, rows) in splitter.split(&rows)? {
                    self.write_into(partition, &rows).await?;
                }
                Ok(())
            }
        }
    }

    async fn write_into(&mut self, partition: Struct, rows: &RecordBatch) -> Result<()> {
        let known = self
            .open
            .iter()
            .position(|writer| writer.partition() == &partition);
        let mut writer = match known {
            Some(index) => self.open.remove(index),
            None => {
                if self.open.len() >= self.open_at_most {
                    let mut waited_longest = self.open.remove(0);
                    let closed = waited_longest.close().await;
                    self.begun.extend(waited_longest.abandon());
                    self.closed.extend(closed?);
                }
                self.template.for_partition(partition)
            }
        };
        let written = writer.write(rows).await;
        self.open.push(writer);
        written?;
        self.release_memory().await
    }

    /// All open files together hold no more than one row group may.
    async fn release_memory(&mut self) -> Result<()> {
        if self.open.len() < 2 {
            return Ok(());
        }
        let held: usize = self.open.iter().map(DataFileWriter::held_bytes).sum();
        if held < self.bytes_at_most {
            return Ok(());
        }
        match self.open.iter_mut().max_by_key(|writer| writer.held_bytes()) {
            Some(largest) => largest.end_row_group().await,
            None => Ok(()),
        }
    }

    /// Closes what is open. All files.
    ///
    /// # Errors
    ///
    /// As the storage says.
    pub async fn close(&mut self) -> Result<Vec<DataFile>> {
        for writer in &mut self.open {
            self.closed.extend(writer.close().await?);
        }
        Ok(std::mem::take(&mut self.closed))
    }

    /// Gives up, after an error as well: the paths of the files that may exist, finished or not.
    pub fn abandon(self) -> Vec<String> {
        let open = self.open.into_iter().flat_map(DataFileWriter::abandon);
        self.begun.into_iter().chain(open).collect()
    }
}
