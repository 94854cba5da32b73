//! One Iceberg table in a directory of its own, written file by file so that a test decides where each row lies.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, RecordBatch};
use iceberg::TableUpdate;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{DataFile, DataFileBuilder, FormatVersion, NestedFieldRef, Schema, Struct};
use iceberg::writer::file_writer::{FileWriter, FileWriterBuilder, ParquetWriterBuilder};
use iceberg_reader::IcebergSource;
use iceberg_table::{
    Catalog, CatalogCommit, FileSystemCatalog, LiveFile, MetadataChange, NewTable, RowCounts, RowsToDelete,
    SnapshotCommit, Stamp, TableHandle, TableLayout, commit_snapshot, iceberg_schema, locate,
    locate_and_compare, schema_properties,
};
use model::{BatchId, CommitOutcome, Epoch, Ids, Mark, Position, Replace, SyncId, TableName, TableSchema};
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;
use test_support::{SeededIds, SimClock};

/// A table, and the catalog that has nothing else.
pub(crate) struct Lake {
    _directory: TempDir,
    catalog: Arc<FileSystemCatalog>,
    schema: Arc<TableSchema>,
    clock: Arc<SimClock>,
    ids: Arc<SeededIds>,
    commits: AtomicU64,
}

/// What one commit does.
#[derive(Default)]
pub(crate) struct Change {
    /// The rows of each new data file.
    pub(crate) files: Vec<RecordBatch>,
    /// Rows to delete by position: the key columns of each.
    pub(crate) delete: Option<RecordBatch>,
    /// Rows to delete by position, whole: others of their keys stay.
    pub(crate) delete_rows: Option<RecordBatch>,
    /// Whether everything that is there goes.
    pub(crate) replace: bool,
}

impl Lake {
    /// An empty table of format v2.
    pub(crate) async fn new(schema: Arc<TableSchema>, seed: u64) -> Self {
        Self::of_format(FormatVersion::V2, schema, seed).await
    }

    /// An empty table.
    pub(crate) async fn of_format(format: FormatVersion, schema: Arc<TableSchema>, seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(SimClock::default());
        let ids = Arc::new(SeededIds::new(seed));
        let warehouse = directory.path().to_str().unwrap();
        let catalog = FileSystemCatalog::new(warehouse, clock.clone(), ids.clone()).unwrap();
        let lake = Self {
            _directory: directory,
            catalog: Arc::new(catalog),
            schema,
            clock,
            ids,
            commits: AtomicU64::new(0),
        };
        let iceberg = iceberg_schema(&lake.schema).unwrap();
        let new = NewTable {
            format,
            properties: schema_properties(&lake.schema, &iceberg).unwrap(),
            ..NewTable::new(iceberg)
        };
        lake.catalog.create(&lake.table(), new).await.unwrap().unwrap();
        lake
    }

    pub(crate) fn table(&self) -> TableName {
        TableName::new("dbo", "t")
    }

    pub(crate) fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    pub(crate) fn clock(&self) -> &SimClock {
        &self.clock
    }

    pub(crate) fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog.clone()
    }

    pub(crate) fn source(&self) -> IcebergSource {
        IcebergSource::new(self.catalog.clone())
    }

    pub(crate) async fn handle(&self) -> TableHandle {
        self.catalog.load(&self.table()).await.unwrap().unwrap()
    }

    /// Commits a change and returns the new snapshot's id.
    pub(crate) async fn commit(&self, change: Change) -> i64 {
        let table = self.handle().await;
        let mut data_files = Vec::new();
        for rows in &change.files {
            data_files.push(self.data_file(&table, rows).await);
        }
        let mut deletes = match &change.delete {
            Some(keys) => self.positions(&table, keys).await,
            None => RowsToDelete::new(),
        };
        if let Some(rows) = change.delete_rows {
            let head = table.head().unwrap();
            let located = locate_and_compare(&table, head, &self.schema, &[rows]).await;
            let located = located.unwrap();
            let same = located.iter().flatten().filter(|row| row.is_same == Some(true));
            note(&mut deletes, located.rows_by_file(same));
        }
        let replace = if change.replace {
            Replace::Table
        } else {
            Replace::No
        };
        self.commit_files(&table, data_files, deletes, replace).await
    }

    /// Gives the table other columns, as another engine does.
    pub(crate) async fn evolve(&self, columns: impl FnOnce(Vec<NestedFieldRef>) -> Vec<NestedFieldRef>) {
        let table = self.handle().await;
        let present = table.iceberg_schema();
        let newest = table
            .metadata()
            .schemas_iter()
            .map(|schema| schema.schema_id())
            .max();
        let schema = Schema::builder()
            .with_fields(columns(present.as_struct().fields().to_vec()))
            .with_identifier_field_ids(present.identifier_field_ids())
            .with_schema_id(newest.unwrap() + 1)
            .build()
            .unwrap();
        let change = MetadataChange {
            updates: vec![
                TableUpdate::AddSchema { schema },
                TableUpdate::SetCurrentSchema { schema_id: -1 },
            ],
            ..MetadataChange::default()
        };
        let outcome = self.catalog.commit(&table, change).await.unwrap();
        assert!(matches!(outcome, CatalogCommit::Done(_)), "{outcome:?}");
    }

    async fn commit_files(
        &self,
        table: &TableHandle,
        data_files: Vec<DataFile>,
        deletes: RowsToDelete,
        replace: Replace,
    ) -> i64 {
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        let commit = SnapshotCommit {
            layout: TableLayout::of(table.metadata()),
            stamp: Stamp {
                sync: SyncId::new("lake"),
                mark: mark(number + 1),
                batch: BatchId::new(format!("b{number}")),
                epoch: Epoch::default(),
                moment: None,
            },
            after: (number > 0).then(|| mark(number)),
            data_files,
            deletes,
            located_at: HashSet::from([table.metadata().current_snapshot_id()]),
            replace,
            rows: RowCounts::default(),
        };
        let (clock, ids) = (self.clock.as_ref(), self.ids.as_ref());
        match commit_snapshot(self.catalog.as_ref(), &self.table(), &commit, clock, ids).await {
            Ok(CommitOutcome::Committed(receipt)) => receipt.reference.parse().unwrap(),
            other => panic!("the commit ended as {other:?}"),
        }
    }

    async fn positions(&self, table: &TableHandle, keys: &RecordBatch) -> RowsToDelete {
        let mut by_path = RowsToDelete::new();
        let Some(head) = table.head() else {
            return by_path;
        };
        let located = locate(table, head, &self.schema, keys).await.unwrap();
        note(&mut by_path, located.by_file(0..located.keys()));
        by_path
    }

    async fn data_file(&self, table: &TableHandle, rows: &RecordBatch) -> DataFile {
        let schema = table.iceberg_schema().clone();
        let file = self.write(table, schema, rows.columns().to_vec()).await;
        finish(file)
    }

    /// Writes a Parquet file with row groups of 8 rows and pages of 3, so that a few rows are enough to be skipped.
    async fn write(
        &self,
        table: &TableHandle,
        schema: Arc<Schema>,
        columns: Vec<ArrayRef>,
    ) -> DataFileBuilder {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(8))
            .set_data_page_row_count_limit(3)
            .set_write_batch_size(3)
            .build();
        let rows = RecordBatch::try_new(Arc::new(schema_to_arrow_schema(&schema).unwrap()), columns).unwrap();
        let path = format!(
            "{}/data/{:032x}.parquet",
            table.metadata().location(),
            self.ids.random()
        );
        let output = table.table().file_io().new_output(path).unwrap();
        let mut writer = ParquetWriterBuilder::new(properties, schema)
            .build(output)
            .await
            .unwrap();
        writer.write(&rows).await.unwrap();
        writer.close().await.unwrap().remove(0)
    }
}

fn note(deletes: &mut RowsToDelete, rows: Vec<(Arc<LiveFile>, Vec<u64>)>) {
    for (file, positions) in rows {
        deletes
            .entry(file.path.to_string())
            .or_default()
            .extend(positions);
    }
}

fn finish(mut file: DataFileBuilder) -> DataFile {
    file.partition(Struct::empty()).partition_spec_id(0);
    file.build().unwrap()
}

fn mark(number: u64) -> Mark {
    Mark::At(Position {
        kind: "test".into(),
        incarnation: "lake".into(),
        value: number.to_string(),
        label: number.to_string(),
        late_micros: 0,
        lacks: Vec::new(),
    })
}
