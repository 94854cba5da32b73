//! A warehouse in a temporary directory, and what the tests do with a table in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::{Int8Array, RecordBatch};
use futures::{TryStreamExt, stream};
use iceberg_table::{
    Catalog, DataFileReader, DeletedRows, FileSystemCatalog, Projection, TableHandle, live_files,
};
use iceberg_writer::{IcebergSink, TableOptions, WriterOptions};
use model::{
    BatchId, Batches, ChangeBatch, ChangeSink, Commit, CommitOutcome, Epoch, Mark, Op, Position, Prepare,
    Prepared, Presence, Receipt, Replace, StageOutcome, Staged, SyncId, TableName, TableSchema,
};
use tempfile::TempDir;
use test_support::{SampleRow, SeededIds, SimClock, kill_after, sample_batch, sample_rows, sample_schema};

pub(crate) struct Warehouse {
    pub(crate) directory: TempDir,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) options: WriterOptions,
    /// What the table under test is to be like.
    pub(crate) table_options: TableOptions,
    seeds: AtomicU64,
}

impl Warehouse {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            directory: tempfile::Builder::new()
                .prefix("ware house ä~%20")
                .tempdir()
                .unwrap(),
            clock: Arc::default(),
            options: WriterOptions::default(),
            table_options: TableOptions::default(),
            seeds: AtomicU64::new(seed << 32),
        }
    }

    /// Small files and lookups, so that few rows already make many.
    pub(crate) fn with_small_files(seed: u64) -> Self {
        let options = WriterOptions {
            target_file_bytes: 900,
            row_group_rows: 8,
            lookup_bytes: 1,
            ..WriterOptions::default()
        };
        Self {
            options,
            ..Self::new(seed)
        }
    }

    /// One of several kinds of table, by the seed: both formats, with and without partitions, small files and large.
    pub(crate) fn of_kind(seed: u64) -> Self {
        let fields = |fields: &[&str]| Some(fields.iter().map(|field| (*field).to_owned()).collect());
        let partition = match seed / 4 % 4 {
            0 => None,
            1 => fields(&["bucket(3, id)"]),
            2 => fields(&["name", "truncate(20, id)"]),
            _ => fields(&["void(id)", "truncate(1, name)"]),
        };
        let mut warehouse = if seed.is_multiple_of(2) {
            Self::with_small_files(seed)
        } else {
            Self::new(seed)
        };
        warehouse.options.open_partitions = 2;
        warehouse.table_options = TableOptions {
            format_version: Some(if (seed / 2).is_multiple_of(2) { 2 } else { 3 }),
            partition,
            sort: fields(&["id desc"]),
            ..TableOptions::default()
        };
        warehouse
    }

    pub(crate) fn ids(&self) -> Arc<SeededIds> {
        Arc::new(SeededIds::new(self.seeds.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn catalog(&self) -> FileSystemCatalog {
        let path = self.directory.path().to_str().unwrap();
        FileSystemCatalog::new(path, self.clock.clone(), self.ids()).unwrap()
    }

    /// The sink of another process.
    pub(crate) fn sink(&self) -> IcebergSink {
        self.sink_over(Arc::new(self.catalog()))
    }

    pub(crate) fn sink_over(&self, catalog: Arc<dyn Catalog>) -> IcebergSink {
        let sink = IcebergSink::new(catalog, self.options.clone(), self.clock.clone(), self.ids());
        sink.with_tables([(table_under_test(), self.table_options.clone())])
    }

    pub(crate) async fn table(&self, name: &TableName) -> TableHandle {
        self.catalog()
            .load(name)
            .await
            .unwrap()
            .expect("the table is there")
    }

    /// The rows that a snapshot shows, read without the sink.
    pub(crate) async fn batches(&self, name: &TableName) -> Vec<RecordBatch> {
        let table = self.table(name).await;
        let Some(head) = table.head() else {
            return Vec::new();
        };
        let deletes = DeletedRows::new(table.table());
        let schema = table.schema().unwrap();
        let projection = Projection::of_table(table.metadata(), &schema).unwrap();
        let mut batches = Vec::new();
        for file in live_files(&table, head).await.unwrap() {
            let rows = deletes.live_rows(&file).await.unwrap();
            let size = file.data_file.file_size_in_bytes();
            let reader = DataFileReader::open(table.table().file_io(), &file.path, size)
                .await
                .unwrap();
            let mut stream = reader.read(&projection, rows).await.unwrap();
            while let Some(batch) = stream.try_next().await.unwrap() {
                batches.push(batch.rows);
            }
        }
        batches
    }

    /// The names of all Parquet files of a table, without those of the metadata.
    pub(crate) fn data_files(&self, name: &TableName) -> Vec<String> {
        let directory = self
            .directory
            .path()
            .join(name.schema())
            .join(name.name())
            .join("data");
        let entries = std::fs::read_dir(directory)
            .map(|entries| entries.collect::<Vec<_>>())
            .unwrap_or_default();
        let mut names: Vec<_> = entries
            .into_iter()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A table of sample rows under one sync.
pub(crate) struct Target<'a> {
    pub(crate) warehouse: &'a Warehouse,
    pub(crate) sink: IcebergSink,
    pub(crate) sync: SyncId,
    pub(crate) name: TableName,
    pub(crate) schema: Arc<TableSchema>,
}

impl<'a> Target<'a> {
    pub(crate) async fn new(warehouse: &'a Warehouse) -> Self {
        Self::with_schema(warehouse, sample_schema(true)).await
    }

    pub(crate) async fn with_schema(warehouse: &'a Warehouse, schema: Arc<TableSchema>) -> Self {
        let target = Self {
            warehouse,
            sink: warehouse.sink(),
            sync: SyncId::new("test/dbo.T/to_iceberg"),
            name: table_under_test(),
            schema,
        };
        target.prepare(|_| ()).await.unwrap();
        target
    }

    pub(crate) async fn prepare(&self, adjust: impl FnOnce(&mut Prepare)) -> model::Result<Prepared> {
        let mut prepare = Prepare {
            sync: self.sync.clone(),
            table: self.name.clone(),
            schema: self.schema.clone(),
            create: true,
            replace: false,
            adopt: false,
            dry_run: false,
        };
        adjust(&mut prepare);
        self.sink.prepare(&prepare).await
    }

    pub(crate) async fn stage_batches(&self, batches: Vec<ChangeBatch>) -> model::Result<StageOutcome> {
        let batches: Batches = Box::pin(stream::iter(batches.into_iter().map(Ok)));
        self.sink
            .stage(&self.sync, &self.name, &self.schema, batches)
            .await
    }

    pub(crate) async fn stage(&self, changes: &[(Op, SampleRow)], presence: Presence) -> StageOutcome {
        let batches = changes.chunks(7).map(|part| {
            let rows: Vec<_> = part.iter().map(|(_, row)| row.clone()).collect();
            let ops: Int8Array = part.iter().map(|(op, _)| Some(*op as i8)).collect();
            ChangeBatch::new(
                self.name.clone(),
                self.schema.clone(),
                sample_batch(&rows),
                ops,
                presence,
            )
            .unwrap()
        });
        self.stage_batches(batches.collect()).await.unwrap()
    }

    /// A commit on what the table says now, with a mark of the batch's name.
    pub(crate) async fn next(&self, batch: &str, staged: Vec<Staged>) -> Commit {
        let newest = self.sink.committed(&self.sync, &self.name).await.unwrap();
        Commit {
            sync: self.sync.clone(),
            table: self.name.clone(),
            schema: self.schema.clone(),
            batch: BatchId::new(batch),
            epoch: Epoch(1).max(newest.epoch),
            after: newest.mark,
            mark: at(batch),
            staged,
            replace: Replace::No,
            moment: None,
        }
    }

    pub(crate) async fn commit(&self, commit: &Commit) -> Receipt {
        match self.sink.commit(commit).await {
            Ok(CommitOutcome::Committed(receipt)) => receipt,
            other => panic!("committing {} ended as {other:?}", commit.batch),
        }
    }

    pub(crate) async fn apply(
        &self,
        batch: &str,
        changes: &[(Op, SampleRow)],
        presence: Presence,
    ) -> Receipt {
        let staged = self.stage(changes, presence).await.staged;
        self.commit(&self.next(batch, staged).await).await
    }

    /// Stages and commits, and is killed after so many polls: the commit, if it got so far.
    pub(crate) async fn killed_commit(
        &self,
        batch: &str,
        changes: &[(Op, SampleRow)],
        presence: Presence,
        polls: usize,
    ) -> Option<Commit> {
        let built = Mutex::new(None);
        let work = async {
            let staged = self.stage(changes, presence).await.staged;
            let commit = self.next(batch, staged).await;
            *built.lock().unwrap() = Some(commit.clone());
            self.sink.commit(&commit).await
        };
        if let Some(ended) = kill_after(polls, work).await {
            assert!(matches!(ended, Ok(CommitOutcome::Committed(_))), "{ended:?}");
        }
        built.into_inner().unwrap()
    }

    pub(crate) async fn replace(&self, batch: &str, changes: &[(Op, SampleRow)]) -> Receipt {
        let staged = self.stage(changes, Presence::Absent).await.staged;
        let commit = self.next(batch, staged).await;
        self.commit(&Commit {
            replace: Replace::Table,
            ..commit
        })
        .await
    }

    pub(crate) async fn rows(&self) -> Vec<SampleRow> {
        sample_rows(&self.warehouse.batches(&self.name).await)
    }
}

fn table_under_test() -> TableName {
    TableName::new("dbo", "T")
}

pub(crate) fn at(value: &str) -> Mark {
    Mark::At(Position {
        kind: "test".into(),
        incarnation: "i".into(),
        value: value.into(),
        label: value.into(),
        late_micros: 0,
        lacks: Vec::new(),
    })
}

pub(crate) fn upserts(ids: impl IntoIterator<Item = i32>, text: &str) -> Vec<(Op, SampleRow)> {
    ids.into_iter()
        .map(|id| (Op::Upsert, SampleRow::new(id, text, i64::from(id))))
        .collect()
}

pub(crate) fn rows_of(changes: &[(Op, SampleRow)]) -> Vec<SampleRow> {
    changes.iter().map(|(_, row)| row.clone()).collect()
}
