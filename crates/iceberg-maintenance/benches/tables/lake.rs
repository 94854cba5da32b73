//! A table of orders in a directory of its own.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::{TryStreamExt, stream};
use iceberg_reader::IcebergSource;
use iceberg_table::{Catalog, FileSystemCatalog, TableHandle, live_files};
use iceberg_writer::{IcebergSink, TableOptions, WriterOptions};
use model::{
    BatchId, ChangeBatch, ChangeSink, ChangeSource, Commit, CommitOutcome, Epoch, Mark, Op, Position,
    Prepare, Presence, Replace, Selection, SyncId, TableName,
};
use tempfile::TempDir;
use test_support::{SeededIds, SimClock};

use crate::rows::{Key, schema};

const CENTURY_MS: i64 = 100 * 365 * 86_400_000;

pub(crate) struct Lake {
    pub(crate) catalog: Arc<FileSystemCatalog>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) ids: Arc<SeededIds>,
    pub(crate) options: WriterOptions,
    pub(crate) name: TableName,
    pub(crate) key: Key,
    commits: std::sync::atomic::AtomicUsize,
    /// Holds the directory, unless somebody else looks at it afterwards.
    _directory: Option<TempDir>,
}

impl Lake {
    /// A table in a temporary directory.
    pub(crate) async fn new(key: Key, format: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        Self {
            _directory: Some(directory),
            ..Self::at(&path, "orders", key, format).await
        }
    }

    /// A table in a warehouse that stays.
    pub(crate) async fn at(warehouse: &str, name: &str, key: Key, format: u8) -> Self {
        let (clock, ids) = (Arc::new(SimClock::default()), Arc::new(SeededIds::new(1)));
        // By this clock old metadata files can go: they are stamped with the real time.
        let later = Arc::new(SimClock::default());
        later.advance(CENTURY_MS);
        let catalog = FileSystemCatalog::new(warehouse, later, ids.clone()).unwrap();
        let lake = Self {
            catalog: Arc::new(catalog),
            clock,
            ids,
            options: WriterOptions::default(),
            name: TableName::new("bench", name),
            key,
            commits: Default::default(),
            _directory: None,
        };
        let prepare = Prepare {
            sync: SyncId::new("bench"),
            table: lake.name.clone(),
            schema: schema(key),
            create: true,
            replace: false,
            adopt: false,
            dry_run: false,
        };
        let kind = TableOptions {
            format_version: Some(format),
            ..TableOptions::default()
        };
        let sink = lake.sink().with_tables([(lake.name.clone(), kind)]);
        sink.prepare(&prepare).await.unwrap();
        lake
    }

    pub(crate) fn sink(&self) -> IcebergSink {
        let (clock, ids) = (self.clock.clone(), self.ids.clone());
        IcebergSink::new(self.catalog.clone(), self.options.clone(), clock, ids)
    }

    pub(crate) async fn table(&self) -> TableHandle {
        self.catalog.load(&self.name).await.unwrap().unwrap()
    }

    /// The paths of the live data files.
    pub(crate) async fn files(&self) -> Vec<String> {
        let table = self.table().await;
        let files = live_files(&table, table.head().unwrap()).await.unwrap();
        let paths = files
            .iter()
            .map(|file| file.path.trim_start_matches("file://").to_owned());
        paths.collect()
    }

    /// Stages and commits these rows.
    pub(crate) async fn apply(
        &self,
        rows: impl Iterator<Item = RecordBatch> + Send + 'static,
        op: Op,
        presence: Presence,
    ) {
        let (sync, sink) = (SyncId::new("bench"), self.sink());
        let (table, schema) = (self.name.clone(), schema(self.key));
        let batches = rows.map({
            let (table, schema) = (table.clone(), schema.clone());
            move |rows| ChangeBatch::uniform(table.clone(), schema.clone(), rows, op, presence)
        });
        let staged = sink
            .stage(&sync, &table, &schema, Box::pin(stream::iter(batches)))
            .await
            .unwrap()
            .staged;
        let number = self.commits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("batch {number}");
        let commit = Commit {
            after: sink.committed(&sync, &table).await.unwrap().mark,
            sync,
            table,
            schema,
            batch: BatchId::new(&name),
            epoch: Epoch(1),
            mark: Mark::At(Position {
                kind: "bench".into(),
                incarnation: "1".into(),
                value: name.clone(),
                label: name,
                late_micros: 0,
                lacks: Vec::new(),
            }),
            staged,
            replace: Replace::No,
            moment: None,
        };
        let ended = sink.commit(&commit).await.unwrap();
        assert!(matches!(ended, CommitOutcome::Committed(_)), "{ended:?}");
    }

    /// Reads everything: how many rows there are.
    pub(crate) async fn scan(&self) -> u64 {
        let source = IcebergSource::new(self.catalog.clone());
        let batches = source
            .read(&self.name, &schema(self.key), Selection::All, None)
            .await;
        let rows = batches.unwrap().map_ok(|batch| batch.rows.num_rows() as u64);
        rows.try_fold(0, |sum, rows| async move { Ok(sum + rows) })
            .await
            .unwrap()
    }
}
