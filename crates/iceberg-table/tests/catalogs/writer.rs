//! A writer of one-row files, and the books that it keeps.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{DataFile, Struct};
use iceberg::writer::file_writer::{FileWriter, FileWriterBuilder, ParquetWriterBuilder};
use iceberg_maintenance::{CompactOptions, ExpireOptions, compact, expire, merge_manifests};
use iceberg_table::{
    Catalog, RowCounts, SnapshotCommit, Stamp, TableHandle, TableLayout, commit_snapshot, committed,
    live_files,
};
use model::{
    BatchId, CommitOutcome, Epoch, ErrorKind, Ids, Mark, Position, Replace, Result, SyncId, TableName,
};
use parquet::file::properties::WriterProperties;
use test_support::{SeededIds, SimClock};

use crate::place::late_clock;

/// Sendings of one commit before the test gives up.
const SENDINGS: usize = 50;

/// What changes no row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    Merge,
    Compact,
    Expire,
}

/// One owner of one sync.
#[derive(Debug)]
pub(crate) struct Writer {
    catalog: Arc<dyn Catalog>,
    sync: SyncId,
    table: TableName,
    clock: Arc<SimClock>,
    ids: SeededIds,
    seed: u64,
    commits: AtomicU64,
}

impl Writer {
    /// Writes into `table` under `sync`.
    pub(crate) fn new(catalog: Arc<dyn Catalog>, table: &TableName, sync: &str) -> Self {
        static SEEDS: AtomicU64 = AtomicU64::new(1);
        let seed = SEEDS.fetch_add(1, Ordering::Relaxed);
        Self {
            catalog,
            sync: SyncId::new(sync),
            table: table.clone(),
            clock: Arc::default(),
            ids: SeededIds::new(seed),
            seed,
            commits: AtomicU64::new(0),
        }
    }

    pub(crate) fn with_clock(self, clock: Arc<SimClock>) -> Self {
        Self { clock, ..self }
    }

    pub(crate) async fn load(&self) -> TableHandle {
        self.catalog.load(&self.table).await.unwrap().unwrap()
    }

    /// A commit of one new row on what `table` has of this sync.
    pub(crate) async fn one_row(&self, table: &TableHandle) -> SnapshotCommit {
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        let after = committed(table.metadata(), &self.sync).unwrap().mark;
        let mark = format!("{}.{number}", self.seed);
        SnapshotCommit {
            layout: TableLayout::of(table.metadata()),
            stamp: Stamp {
                sync: self.sync.clone(),
                mark: at(&mark),
                batch: BatchId::new(mark),
                epoch: Epoch(1),
                moment: None,
            },
            after,
            data_files: vec![self.data_file(table).await],
            deletes: [].into(),
            located_at: HashSet::new(),
            replace: Replace::No,
            rows: RowCounts {
                inserted: 1,
                ..RowCounts::default()
            },
        }
    }

    pub(crate) async fn send(&self, commit: &SnapshotCommit) -> Result<CommitOutcome> {
        commit_snapshot(
            self.catalog.as_ref(),
            &self.table,
            commit,
            self.clock.as_ref(),
            &self.ids,
        )
        .await
    }

    /// Sends a commit, the same each time, until its end is known; the path of its file. There is no other owner of the sync.
    pub(crate) async fn send_until_known(&self, commit: &SnapshotCommit) -> String {
        let mut said = Vec::new();
        for _ in 0..SENDINGS {
            match self.send(commit).await {
                Ok(CommitOutcome::Committed(_)) => return path(commit),
                Ok(CommitOutcome::Unknown { why }) => said.push(why),
                Ok(CommitOutcome::Conflict { .. }) => said.push("conflict".into()),
                Err(error) => {
                    let passing = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Transient);
                    assert!(passing, "{error}");
                    said.push(error.to_string());
                }
            }
        }
        panic!("{SENDINGS} sendings, and it is not known: {said:?}");
    }

    /// Does something that changes no row, again until its end is known.
    pub(crate) async fn maintain_until_known(&self, task: Task) {
        let mut said = Vec::new();
        for _ in 0..SENDINGS {
            match self.maintain(task).await {
                Ok(()) => return,
                Err(error) => {
                    let passing = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Transient);
                    assert!(passing, "{task:?}: {error}");
                    said.push(error.to_string());
                }
            }
        }
        panic!("{task:?}: {SENDINGS} times, and it is not known: {said:?}");
    }

    async fn maintain(&self, task: Task) -> Result<()> {
        let (catalog, table) = (self.catalog.as_ref(), &self.table);
        match task {
            Task::Merge => merge_manifests(catalog, table, self.clock.as_ref(), &self.ids)
                .await
                .map(drop),
            Task::Compact => {
                let options = CompactOptions {
                    files_at_least: 2,
                    ..CompactOptions::default()
                };
                let ids = Arc::new(SeededIds::new(self.ids.random() as u64));
                let compacted = compact(catalog, table, &options, self.clock.as_ref(), ids).await;
                compacted.map(drop)
            }
            Task::Expire => {
                let options = ExpireOptions {
                    older_than_ms: Some(0),
                    ..ExpireOptions::default()
                };
                let expired = expire(catalog, table, &options, late_clock().as_ref()).await;
                expired.map(drop)
            }
        }
    }

    async fn data_file(&self, table: &TableHandle) -> DataFile {
        let schema = table.iceberg_schema().clone();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![i64::from(self.ids.random() as u32)])),
            Arc::new(StringArray::from(vec![self.sync.as_str()])),
        ];
        let rows = RecordBatch::try_new(Arc::new(schema_to_arrow_schema(&schema).unwrap()), columns).unwrap();
        let path = format!(
            "{}/data/{:032x}.parquet",
            table.metadata().location(),
            self.ids.random()
        );
        let output = table.table().file_io().new_output(path).unwrap();
        let builder = ParquetWriterBuilder::new(WriterProperties::default(), schema);
        let mut writer = builder.build(output).await.unwrap();
        writer.write(&rows).await.unwrap();
        let mut file = writer.close().await.unwrap().remove(0);
        file.partition(Struct::empty())
            .partition_spec_id(0)
            .build()
            .unwrap()
    }
}

/// The path of the file that a commit adds.
pub(crate) fn path(commit: &SnapshotCommit) -> String {
    commit.data_files[0].file_path().to_owned()
}

fn at(value: &str) -> Mark {
    Mark::At(Position {
        kind: "test".into(),
        incarnation: "suite".into(),
        value: value.into(),
        label: value.into(),
        late_micros: 0,
        lacks: Vec::new(),
    })
}

/// Asserts that the table consists of these files, each once, and that all that its snapshots refer to is there.
pub(crate) async fn assert_files(catalog: &dyn Catalog, table: &TableName, acknowledged: &[String]) {
    let table = catalog.load(table).await.unwrap().unwrap();
    let mut live: BTreeMap<String, usize> = BTreeMap::new();
    if let Some(head) = table.head() {
        for file in live_files(&table, head).await.unwrap() {
            *live.entry(file.path.to_string()).or_default() += 1;
        }
    }
    let expect: BTreeMap<String, usize> = acknowledged.iter().map(|path| (path.clone(), 1)).collect();
    assert_eq!(expect.len(), acknowledged.len(), "a file was acknowledged twice");
    assert_eq!(live, expect);
    assert_whole(&table).await;
}

/// Asserts that the table has so many rows, and that all that its snapshots refer to is there.
pub(crate) async fn assert_rows(catalog: &dyn Catalog, table: &TableName, rows: usize) {
    let table = catalog.load(table).await.unwrap().unwrap();
    let live = live_files(&table, table.head().unwrap()).await.unwrap();
    let live: u64 = live.iter().map(|file| file.data_file.record_count()).sum();
    assert_eq!(live, rows as u64);
    assert_whole(&table).await;
}

async fn assert_whole(table: &TableHandle) {
    let file_io = table.table().file_io();
    for snapshot in table.metadata().snapshots() {
        for file in live_files(table, snapshot).await.unwrap() {
            let path = &file.path;
            assert!(file_io.exists(path).await.unwrap(), "{path} is live and gone");
        }
        let list = table.table().manifest_list_reader(snapshot).load().await;
        for manifest in list.expect("a snapshot's manifest list is there").entries() {
            let path = &manifest.manifest_path;
            assert!(
                file_io.exists(path).await.unwrap(),
                "{path} is referred to and gone"
            );
        }
    }
}
