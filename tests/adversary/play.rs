//! One history: the writers, runs among them that are killed now and then, and the comparison when all is quiet.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use model::{ChangeSink, ChangeSource, RunStatus, TableName};
use orchestrator::{Repair, Route, TableSync, Verified};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::Mode;
use super::history::History;
use super::others;
use super::rules::{Beset, Endangered, Rule, Stage};
use crate::world::{World, capture_id};

/// How many runs a history has before it ends.
const RUNS: usize = 16;
/// Before which runs others meddle with the Iceberg table.
const ROLLED_BACK: usize = 6;
const COMPACTED: usize = 11;
/// Rows of a chunk, so that the writers meet the copy many times.
const CHUNK_ROWS: usize = 10;

/// How Iceberg compared with the source at the end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    rows: u64,
    different: u64,
    missing: u64,
    extra: u64,
    pending: u64,
    killed: u64,
}

impl Outcome {
    /// Whether something is lost that the mode promises to keep.
    pub(super) fn loses(&self, mode: Mode) -> bool {
        let left_over = if mode.sees_deletes { self.extra } else { 0 };
        self.different + self.missing + self.pending + left_over > 0
    }
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.different += other.different;
        self.missing += other.missing;
        self.extra += other.extra;
        self.pending += other.pending;
        self.killed += other.killed;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows, {} different, {} missing, {} left over; {} runs killed",
            self.rows, self.different, self.missing, self.extra, self.killed
        )
    }
}

fn table() -> TableName {
    TableName::new("dbo", "T")
}

/// Plays the history of `seed`, without `rule` if one is given.
pub(super) async fn play(mode: Mode, seed: u64, rule: Option<Rule>) -> Outcome {
    let mut world = World::start().await;
    let id = if mode.appends { "IDENTITY(1,1)" } else { "" };
    world.sql(&format!(
        "CREATE TABLE dbo.T (id int {id} NOT NULL PRIMARY KEY, v nvarchar(40) NOT NULL, updated_at datetime2(3) NULL, rv rowversion);
         CREATE INDEX by_time ON dbo.T (updated_at); CREATE INDEX by_version ON dbo.T (rv);"
    ));
    world.emulator.clock().freeze();
    world.sql(mode.setup);
    world.capture = serde_json::from_str(mode.capture).expect("the configuration can be read");
    // As much as the clock steps back, and a second; less than transactions last, so that it does not stand in for another rule.
    world.capture.window.tolerance_seconds = if mode.steady { 0 } else { 3 };
    if let Some(rule) = rule {
        rule.forgo(&mut world.capture.window);
    }
    if world.capture.trigger.install {
        // A trigger is made before anybody writes: it waits for who has written, and the writers here wait for it.
        let source = world.source(&table(), world.capture.clone());
        source.cut(&table(), None).await.expect("the trigger is made");
    }
    let mut history = History::new(world.emulator.clone(), seed, mode);
    history.steps(200);
    let stage = Stage::new(history, world.emulator.clone(), rule);
    let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
    let mut outcome = Outcome::default();
    for number in 0..RUNS {
        stage
            .history
            .lock()
            .expect("no writer panics")
            .steps(random.random_range(5..25));
        if number % 2 == 1 {
            stage.becalm(number % 4 == 1);
        }
        let calls = if number == 0 { 30 } else { 6 };
        match number {
            COMPACTED => {
                others::compact_and_expire(&world, &table()).await;
                if !mode.appends {
                    stage.history.lock().expect("no writer panics").purge();
                }
                stage.expire();
            }
            ROLLED_BACK => others::roll_back(&world, &table()).await,
            _ => {}
        }
        // Once the snapshots of a table have expired, nobody can tell whether it had been rolled back before.
        let killed = random.random_ratio(1, 3) && number != ROLLED_BACK;
        stage.kill_at(if killed {
            random.random_range(0..calls)
        } else {
            i64::MAX
        });
        if random.random_ratio(1, 6) && number > 0 {
            world.lose_state();
        }
        outcome.killed += u64::from(!run(&world, &stage).await);
    }
    stage.end();
    assert!(run(&world, &stage).await, "nobody kills the last run");
    let found = compare(&world).await;
    let column = &found.report.columns[0];
    let outcome = Outcome {
        rows: column.rows,
        different: column.different,
        missing: column.missing,
        extra: column.extra,
        pending: column.pending,
        ..outcome
    };
    repaired(&world, found).await;
    outcome
}

/// Brings Iceberg up to date, or dies. Whether it lived.
async fn run(world: &World, stage: &Arc<Stage>) -> bool {
    let source: Arc<dyn ChangeSource> = Arc::new(Beset {
        source: world.source(&table(), world.capture.clone()),
        stage: stage.clone(),
    });
    let sink: Arc<dyn ChangeSink> = Arc::new(Endangered {
        sink: Arc::new(world.iceberg_sink()),
        stage: stage.clone(),
    });
    let mut sync = table_sync(source, sink);
    sync.batch_rows = CHUNK_ROWS;
    tokio::select! {
        biased;
        () = succeed(world, sync) => true,
        () = stage.killed.notified() => false,
    }
}

fn table_sync(source: Arc<dyn ChangeSource>, sink: Arc<dyn ChangeSink>) -> TableSync {
    TableSync::new(
        capture_id(&table()),
        "source → iceberg",
        (source, table()),
        (sink, table()),
    )
}

async fn succeed(world: &World, sync: TableSync) {
    let report = world.run(Route::new(vec![sync])).await;
    assert_eq!(
        report.metadata.status,
        RunStatus::Succeeded,
        "{:#?}",
        report.errors
    );
}

/// Repairs what was found, and expects every row.
async fn repaired(world: &World, found: Verified) {
    let mut sync = table_sync(
        world.source(&table(), world.capture.clone()),
        Arc::new(world.iceberg_sink()),
    );
    sync.repair = Some(Repair {
        differing: found.differing[0].clone(),
        rows: found.report.columns[0].rows_here,
        most_deletes_percent: 100,
    });
    succeed(world, sync).await;
    let left = compare(world).await.report;
    assert!(left.all_match(), "after the repair: {left:#?}");
}

async fn compare(world: &World) -> Verified {
    let verify = world.capture_comparison(&table()).await;
    let compared = verify.run(&CancellationToken::new()).await;
    compared.expect("both sides can be read")
}
