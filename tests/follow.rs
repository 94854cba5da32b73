//! A run that goes on: what it costs while nothing happens, and that nothing is left behind.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use model::{
    Batches, Bound, ChangeSource, Chunk, Cut, Description, Look, Position, Result, RunReport, RunStatus,
    Selection, SourceEvent, TableName, TableSchema,
};
use orchestrator::{Following, Route};
use sqlserver_emulator::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::columns::MODES;
use crate::world::World;

/// So often the source is asked in vain.
const LOOKS: u64 = 2_000;

/// So many cycles find something.
const ROUNDS: u64 = 30;

fn table() -> TableName {
    TableName::new("dbo", "Orders")
}

/// Five orders, followed in this mode.
async fn shop((capture, setup): (&str, &str), record: &Path) -> World {
    let mut world = World::recorded(Some(record.to_owned())).await;
    world.emulator.clock().freeze();
    world.capture = serde_json::from_str(capture).unwrap();
    world.sql(
        "CREATE TABLE dbo.Orders (id int IDENTITY(1,1) PRIMARY KEY, name nvarchar(40) NULL,
            updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(), rv rowversion)",
    );
    world.sql(setup);
    world.sql("INSERT INTO dbo.Orders (name) VALUES (N'a'), (N'b'), (N'c'), (N'd'), (N'e')");
    pass(&world);
    world
}

/// Lets time pass and the capture come to what was written.
fn pass(world: &World) {
    world.emulator.clock().step_ms(5_000);
    world.sql("IF EXISTS (SELECT 1 FROM sys.databases WHERE database_id = DB_ID() AND is_cdc_enabled = 1) EXEC sys.sp_cdc_scan");
}

/// How many messages have arrived: their last packets are marked.
pub(crate) fn requests(record: &Path) -> u64 {
    let mut count = 0;
    for file in std::fs::read_dir(record).unwrap() {
        let packets = std::fs::read(file.unwrap().path()).unwrap();
        let mut at = 0;
        while let Some([_, status, high, low]) = packets.get(at..at + 4) {
            count += u64::from(status & 1);
            at += usize::from(u16::from_be_bytes([*high, *low]));
        }
    }
    count
}

/// A source whose looks are counted.
pub(crate) struct Counted {
    inner: Arc<dyn ChangeSource>,
    looks: AtomicU64,
    at: Box<AtLook>,
}

/// What is done at a look, by its number and its tables.
type AtLook = dyn Fn(u64, &[(TableName, Position)]) + Send + Sync;

impl Counted {
    pub(crate) fn new(
        inner: Arc<dyn ChangeSource>,
        at: impl Fn(u64, &[(TableName, Position)]) + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            looks: AtomicU64::new(0),
            at: Box::new(at),
        }
    }
}

#[async_trait]
impl ChangeSource for Counted {
    async fn describe(&self, table: &TableName) -> Result<Description> {
        self.inner.describe(table).await
    }

    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut> {
        self.inner.cut(table, after).await
    }

    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        self.inner.chunks(table, schema, start, after, rows).await
    }

    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches> {
        self.inner.read(table, schema, selection, at).await
    }

    async fn changes(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>> {
        self.inner.changes(table, schema, after, upto).await
    }

    async fn may_have_changed(&self, tables: &[(TableName, Position)]) -> Result<Vec<Look>> {
        (self.at)(self.looks.fetch_add(1, Ordering::SeqCst), tables);
        self.inner.may_have_changed(tables).await
    }

    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        self.inner.acknowledge(table, upto).await
    }
}

/// Does something after each cycle that is told of.
pub(crate) struct AfterCycle<F>(pub(crate) F);

#[async_trait]
impl<F: Fn(&RunReport) + Send + Sync> Following for AfterCycle<F> {
    fn cycle_ended(&self, report: &RunReport) {
        assert_eq!(
            report.metadata.status,
            RunStatus::Succeeded,
            "{:#?}",
            report.errors
        );
        (self.0)(report);
    }

    async fn look_around(&self) -> Result<Vec<Route>> {
        Ok(Vec::new())
    }
}

/// Follows the table without any pause.
async fn follow(
    world: &World,
    source: Arc<dyn ChangeSource>,
    then: &dyn Following,
    cancel: &CancellationToken,
) {
    let route = world.route(
        &table(),
        source,
        Arc::new(world.iceberg_sink()),
        Arc::new(world.target_sink()),
    );
    let no_pause = (Duration::ZERO, Duration::ZERO);
    world.follow(vec![route], no_pause, then, cancel).await;
}

#[tokio::test]
async fn a_look_at_a_quiet_table_is_one_request_to_the_source_and_none_to_the_target() {
    for mode in MODES {
        let record = TempDir::new().unwrap();
        let world = shop(mode, record.path()).await;
        // What the window of the first increments reads again is behind it then.
        for _ in 0..2 {
            world.run(world.plain_route(&table())).await;
            pass(&world);
        }
        let cancel = CancellationToken::new();
        let (ended, first, last) = (
            cancel.clone(),
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicU64::new(0)),
        );
        let (from, to, path) = (first.clone(), last.clone(), record.path().to_owned());
        let source = world.source(&table(), world.capture.clone());
        let counted = Counted::new(source, move |look, _| match look {
            // The first few looks find the connections that the first cycle has left.
            10 => from.store(requests(&path), Ordering::SeqCst),
            LOOKS => {
                to.store(requests(&path), Ordering::SeqCst);
                ended.cancel();
            }
            _ => {}
        });
        let quiet = AfterCycle(|report: &RunReport| panic!("there was nothing to tell: {report:#?}"));
        let snapshots = world.snapshots(&table()).await;
        follow(&world, Arc::new(counted), &quiet, &cancel).await;
        let sent = last.load(Ordering::SeqCst) - first.load(Ordering::SeqCst);
        println!("{}: {sent} requests for {} looks", mode.0, LOOKS - 10);
        assert_eq!(sent, LOOKS - 10, "{}", mode.0);
        assert_eq!(
            world.snapshots(&table()).await,
            snapshots,
            "an empty cycle makes no snapshot"
        );
    }
}

#[tokio::test]
async fn sessions_are_kept_and_not_left_behind() {
    for mode in MODES {
        let record = TempDir::new().unwrap();
        let world = shop(mode, record.path()).await;
        let cancel = CancellationToken::new();
        let (rounds, most) = (AtomicU64::new(0), AtomicUsize::new(0));
        let files = || std::fs::read_dir(record.path()).unwrap().count();
        let sessions_before = AtomicUsize::new(0);
        let then = AfterCycle(|_: &RunReport| {
            let open = world.sql("SELECT session_id FROM sys.dm_exec_sessions WHERE is_user_process = 1");
            most.fetch_max(open[0].rows.len(), Ordering::SeqCst);
            let round = rounds.fetch_add(1, Ordering::SeqCst);
            match round {
                5 => sessions_before.store(files(), Ordering::SeqCst),
                ROUNDS => cancel.cancel(),
                _ => {}
            }
            world.sql(&format!(
                "INSERT INTO dbo.Orders (name) VALUES (N'round {round}')"
            ));
            pass(&world);
        });
        follow(
            &world,
            world.source(&table(), world.capture.clone()),
            &then,
            &cancel,
        )
        .await;
        // Sessions are recorded in a file each.
        let opened = files() - sessions_before.load(Ordering::SeqCst);
        println!(
            "{}: {opened} sessions opened in {} cycles, {} at once",
            mode.0,
            ROUNDS - 5,
            most.load(Ordering::SeqCst)
        );
        assert!(opened <= 2, "{}: {opened} more sessions", mode.0);
        assert!(most.into_inner() <= 8, "{}", mode.0);
        world.run(world.plain_route(&table())).await;
        let report = world.verify(&table()).await;
        assert!(report.all_match(), "{report:#?}");
        let count = world.mirror("SELECT COUNT(*) FROM dbo.Orders");
        assert_eq!(count[0].rows[0][0], Value::Int(5 + ROUNDS as i32 + 1));
    }
}
