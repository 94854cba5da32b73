//! Members of a company that shares one table: a writer, which reads a counter and commits it increased, and a compaction.
//!
//! `cargo xtask company` starts two of these writers and the compaction beside Spark and PyIceberg, and compares the counters with what
//! was acknowledged.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{Int8Array, RecordBatch};
use futures::{TryStreamExt, stream};
use iceberg_maintenance::{CompactOptions, compact};
use iceberg_table::{
    Catalog, DataFileReader, DeletedRows, Projection, RestCatalog, RestOptions, Storage, TableHandle,
    live_files,
};
use iceberg_writer::{IcebergSink, WriterOptions};
use model::{
    Batches, ChangeBatch, ChangeSink, Commit, CommitOutcome, Epoch, Ids, Mark, Op, Position, Prepare,
    Presence, Replace, Staged, SyncId, TableName, TableSchema,
};
use test_support::{SampleRow, SeededIds, SimClock, sample_batch, sample_rows, sample_schema};

/// Keys of the table; the first fifth is everybody's, of the rest each writer has every fourth.
const KEYS: i32 = 200;
const SHARED: i32 = KEYS / 5;
const WRITERS: i32 = 4;

const BETWEEN_COMPACTIONS: Duration = Duration::from_secs(2);
/// Our writers rest for up to so long after each increment: others take a second for one, in which nobody else may commit.
const LONGEST_REST_MS: u64 = 2_000;

struct Company {
    catalog: Arc<dyn Catalog>,
    sink: IcebergSink,
    clock: Arc<SimClock>,
    ids: Arc<SeededIds>,
    sync: SyncId,
    table: TableName,
    schema: Arc<TableSchema>,
    conflicts: u64,
    unknown: u64,
}

/// What the environment says, which `cargo xtask company` sets.
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; `cargo xtask company` sets it"))
}

fn end() -> Instant {
    Instant::now() + Duration::from_secs(setting("COMPANY_SECONDS").parse().unwrap())
}

impl Company {
    fn member(writer: u64) -> Self {
        let options = RestOptions {
            uri: setting("COMPANY_REST"),
            ..RestOptions::default()
        };
        let clock = Arc::new(SimClock::default());
        let catalog: Arc<dyn Catalog> =
            Arc::new(RestCatalog::new(&options, Storage::default(), clock.clone()).unwrap());
        // A seed of its own for each run: what two runs write must not have the same names.
        let seed = u64::from(std::process::id()) << 8 | writer;
        println!("seed {seed}");
        let ids = Arc::new(SeededIds::new(seed));
        Self {
            sink: IcebergSink::new(
                catalog.clone(),
                WriterOptions::default(),
                clock.clone(),
                ids.clone(),
            ),
            catalog,
            clock,
            ids,
            sync: SyncId::new(format!("company/{writer}")),
            table: TableName::new("dbo", "company"),
            schema: sample_schema(true),
            conflicts: 0,
            unknown: 0,
        }
    }

    async fn load(&self) -> TableHandle {
        self.catalog.load(&self.table).await.unwrap().unwrap()
    }

    async fn rows(&self, table: &TableHandle) -> Vec<SampleRow> {
        let deletes = DeletedRows::new(table.table());
        let projection = Projection::of_table(table.metadata(), &self.schema).unwrap();
        let mut batches: Vec<RecordBatch> = Vec::new();
        for file in live_files(table, table.head().unwrap()).await.unwrap() {
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
        sample_rows(&batches)
    }

    async fn stage(&self, rows: &[SampleRow], presence: Presence) -> Vec<Staged> {
        let ops: Int8Array = rows.iter().map(|_| Some(Op::Upsert as i8)).collect();
        let batch = ChangeBatch::new(
            self.table.clone(),
            self.schema.clone(),
            sample_batch(rows),
            ops,
            presence,
        )
        .unwrap();
        let batches: Batches = Box::pin(stream::iter([Ok(batch)]));
        let staged = self
            .sink
            .stage(&self.sync, &self.table, &self.schema, batches)
            .await;
        staged.unwrap().staged
    }

    async fn next(&self, staged: Vec<Staged>) -> Commit {
        let newest = self.sink.committed(&self.sync, &self.table).await.unwrap();
        let batch = self.ids.batch_id();
        Commit {
            sync: self.sync.clone(),
            table: self.table.clone(),
            schema: self.schema.clone(),
            epoch: Epoch(1),
            after: newest.mark,
            mark: Mark::At(Position {
                kind: "company".into(),
                incarnation: self.sync.to_string(),
                value: batch.to_string(),
                label: batch.to_string(),
                late_micros: 0,
                lacks: Vec::new(),
            }),
            batch,
            staged,
            replace: Replace::No,
            moment: None,
        }
    }

    /// Sends a commit, the same each time, until its end is known; whether it happened.
    async fn is_committed(&mut self, commit: &Commit) -> bool {
        loop {
            match self.sink.commit(commit).await.unwrap() {
                CommitOutcome::Committed(_) => return true,
                CommitOutcome::Conflict { .. } => return false,
                CommitOutcome::Unknown { .. } => self.unknown += 1,
            }
        }
    }

    /// Increases the counter of a key once. What others commit between the reading and the staging is seen by the head; what comes
    /// after it, by the commit.
    async fn increment(&mut self, id: i32) {
        loop {
            let table = self.load().await;
            let rows = self.rows(&table).await;
            let mut found = rows.into_iter().filter(|row| row.id == id);
            let mut row = found.next().expect("no key is ever without a row");
            assert_eq!(found.next(), None, "key {id} has two rows");
            row.amount = row.amount.map(|amount| amount + 1);
            let staged = self.stage(&[row], Presence::Unknown).await;
            let read_at = table.metadata().current_snapshot_id();
            if self.load().await.metadata().current_snapshot_id() == read_at {
                let commit = self.next(staged.clone()).await;
                if self.is_committed(&commit).await {
                    return;
                }
            }
            self.conflicts += 1;
            self.sink.discard(staged).await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "the table of `cargo xtask company`, which starts the service that COMPANY_REST names"]
async fn creates_the_table() {
    let company = Company::member(9);
    let prepare = Prepare {
        sync: company.sync.clone(),
        table: company.table.clone(),
        schema: company.schema.clone(),
        create: true,
        replace: false,
        adopt: false,
        dry_run: false,
    };
    company.sink.prepare(&prepare).await.unwrap();
    let rows: Vec<_> = (0..KEYS).map(|id| SampleRow::new(id, "", 0)).collect();
    let staged = company.stage(&rows, Presence::Absent).await;
    let commit = company.next(staged).await;
    let outcome = company.sink.commit(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
}

#[tokio::test]
#[ignore = "a writer of `cargo xtask company`, for COMPANY_SECONDS, as the COMPANY_WRITER-th of four"]
async fn increments_counters() {
    let writer: i32 = setting("COMPANY_WRITER").parse().unwrap();
    let end = end();
    let mut company = Company::member(u64::try_from(writer).unwrap());
    let mut acknowledged = 0_u64;
    while Instant::now() < end {
        let random = company.ids.random();
        let own = SHARED + writer + WRITERS * i32::try_from(random % 40).unwrap();
        let shared = i32::try_from((random >> 64) % 40).unwrap();
        company
            .increment(if (random >> 32).is_multiple_of(5) {
                shared
            } else {
                own
            })
            .await;
        acknowledged += 1;
        let rest = (random >> 96) as u64 % LONGEST_REST_MS;
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
    let (conflicts, unknown) = (company.conflicts, company.unknown);
    assert!(acknowledged > 0);
    println!(r#"RESULT {{"acknowledged": {acknowledged}, "conflicts": {conflicts}, "unknown": {unknown}}}"#);
}

/// So small that there are many groups, of which a delete in flight stops one and not the others.
const COMPACTED_BYTES: u64 = 6 << 10;

#[tokio::test]
#[ignore = "the compaction of `cargo xtask company`, for COMPANY_SECONDS"]
async fn compacts() {
    let end = end();
    let company = Company::member(8);
    let options = CompactOptions {
        write: WriterOptions {
            target_file_bytes: COMPACTED_BYTES,
            ..WriterOptions::default()
        },
        files_at_least: 3,
        ..CompactOptions::default()
    };
    let (mut compactions, mut met_a_delete) = (0_u64, 0_u64);
    while Instant::now() < end {
        let done = compact(
            company.catalog.as_ref(),
            &company.table,
            &options,
            company.clock.as_ref(),
            company.ids.clone(),
        )
        .await
        .unwrap();
        compactions += u64::from(done.snapshot.is_some());
        // Whoever else changes a file of a group deletes rows of it.
        met_a_delete += u64::from(done.groups_left > 0);
        tokio::time::sleep(BETWEEN_COMPACTIONS).await;
    }
    println!(r#"RESULT {{"compactions": {compactions}, "compactions_that_met_a_delete": {met_a_delete}}}"#);
}
