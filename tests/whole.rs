//! Transactions that write several tables arrive as a whole, if that is asked for: of each, all tables show everything or nothing at the moments
//! that their snapshots name.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{Stream, TryStreamExt};
use iceberg_reader::{IcebergSource, SnapshotChoice};
use iceberg_table::SYNC_MOMENT;
use iceberg_writer::{SchemaPolicy, TableOptions};
use model::{
    Batches, Bound, ChangeSink, ChangeSource, Chunk, Cut, Description, ErrorKind, Moment, Position, Result,
    RunReport, RunStatus, Selection, SourceEvent, TableName, TableSchema,
};
use orchestrator::{Following, Route, Run, RunOutcome, TableSync};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlserver_emulator::{Emulator, Fault as ServerFault};
use sqlserver_source::{CaptureOptions, Mode, SqlServerSource, Transactions};
use test_support::{Fault, Faults, FaultySink};
use tokio_util::sync::CancellationToken;

use crate::adversary::others::roll_back;
use crate::adversary::seeds;
use crate::world::{SHOP, World, capture_id, run_of};

/// What all accounts hold together, at all times.
const TOTAL: i32 = 2 * 20 * 100;

fn accounts() -> [TableName; 2] {
    [
        TableName::new("dbo", "Checking"),
        TableName::new("dbo", "Savings"),
    ]
}

/// Two tables of accounts, between which money moves, and accounts do.
struct Bank {
    world: World,
    busy: Arc<Busy>,
    sinks: [Arc<dyn ChangeSink>; 2],
    whole: usize,
}

impl Bank {
    async fn open() -> Self {
        let world = World::start().await;
        world.sql(
            "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)",
        );
        for table in accounts() {
            let name = table.name();
            world.sql(&format!(
                "CREATE TABLE dbo.{name} (id int NOT NULL PRIMARY KEY, amount int NOT NULL);
                 ALTER TABLE dbo.{name} ENABLE CHANGE_TRACKING;"
            ));
        }
        for id in 0..20 {
            world.sql(&format!(
                "INSERT INTO dbo.Checking VALUES ({id}, 100); INSERT INTO dbo.Savings VALUES ({}, 100)",
                id + 20
            ));
        }
        let busy = Arc::new(Busy {
            emulator: world.emulator.clone(),
            transfers: AtomicU32::new(0),
            open: AtomicBool::new(true),
            meanwhile: Mutex::default(),
        });
        let sinks = [0, 1].map(|_| Arc::new(world.iceberg_sink()) as Arc<dyn ChangeSink>);
        Self {
            world,
            busy,
            sinks,
            whole: 2,
        }
    }

    async fn run(&self) -> RunReport {
        self.world.run(self.route()).await
    }

    fn route(&self) -> Route {
        let capture = CaptureOptions {
            mode: Mode::ChangeTracking,
            transactions: Transactions::Whole,
            batch_size: 7,
            ..self.world.capture.clone()
        };
        let tables = accounts().map(|table| (table, capture.clone()));
        let source: Arc<dyn ChangeSource> = Arc::new(BusySource {
            source: Arc::new(SqlServerSource::new(self.world.connect_options(SHOP), tables)),
            busy: self.busy.clone(),
        });
        let syncs = accounts().into_iter().zip(&self.sinks).map(|(table, sink)| {
            let mut sync = TableSync::new(
                capture_id(&table),
                "source → iceberg",
                (source.clone(), table.clone()),
                (sink.clone(), table.clone()),
            );
            sync.batch_rows = 7;
            sync.flush.rows = 5;
            sync
        });
        Route {
            syncs: syncs.collect(),
            whole: self.whole,
        }
    }

    async fn succeed(&self) -> RunReport {
        let report = self.run().await;
        assert_eq!(
            report.metadata.status,
            RunStatus::Succeeded,
            "{:#?}",
            report.errors
        );
        report
    }

    /// The accounts of a table in a snapshot, or now.
    async fn amounts(&self, table: &TableName, snapshot: SnapshotChoice) -> BTreeMap<i32, i32> {
        let source = IcebergSource::new(self.world.catalog.clone()).pinned(snapshot);
        let schema = source.describe(table).await.unwrap().schema;
        let rows = source.read(table, &schema, Selection::All, None).await.unwrap();
        let batches: Vec<_> = rows.try_collect().await.unwrap();
        let columns = batches.iter().flat_map(|batch| {
            let numbers = |at: usize| {
                batch
                    .rows
                    .column(at)
                    .as_primitive::<Int32Type>()
                    .values()
                    .to_vec()
            };
            numbers(0).into_iter().zip(numbers(1))
        });
        columns.collect()
    }

    /// The snapshots of each table that name a moment.
    async fn moments(&self) -> [BTreeMap<String, i64>; 2] {
        let mut moments = [BTreeMap::new(), BTreeMap::new()];
        for (table, moments) in accounts().iter().zip(&mut moments) {
            let handle = self.world.catalog.load(table).await.unwrap().unwrap();
            for snapshot in iceberg_reader::snapshots(&handle) {
                if let Some(moment) = snapshot.summary.get(SYNC_MOMENT) {
                    let before = moments.insert(moment.clone(), snapshot.id);
                    assert_eq!(before, None, "{table} names {moment} twice: once too early");
                }
            }
        }
        moments
    }

    /// At each moment that both tables name, nothing is missing and no account is twice. How many there are.
    async fn balances(&self) -> usize {
        let [checking, savings] = self.moments().await;
        let both: BTreeSet<_> = checking
            .keys()
            .filter(|moment| savings.contains_key(*moment))
            .collect();
        for moment in &both {
            let [one, other] = accounts();
            let one = self.amounts(&one, SnapshotChoice::Id(checking[*moment])).await;
            let other = self.amounts(&other, SnapshotChoice::Id(savings[*moment])).await;
            assert_eq!(
                one.values().sum::<i32>() + other.values().sum::<i32>(),
                TOTAL,
                "{moment}"
            );
            assert!(
                one.keys().all(|id| !other.contains_key(id)),
                "{moment}: {one:?} {other:?}"
            );
            assert_eq!(one.len() + other.len(), 40, "{moment}");
        }
        both.len()
    }

    /// What the newest snapshots hold together.
    async fn sum_now(&self) -> i32 {
        let mut sum = 0;
        for table in &accounts() {
            sum += self
                .amounts(table, SnapshotChoice::Current)
                .await
                .values()
                .sum::<i32>();
        }
        sum
    }

    async fn snapshots(&self) -> usize {
        let [one, other] = accounts();
        self.world.snapshots(&one).await + self.world.snapshots(&other).await
    }
}

/// Applications, which do something whenever the source is asked something.
struct Busy {
    emulator: Arc<Emulator>,
    transfers: AtomicU32,
    open: AtomicBool,
    /// What happens once, just after a moment has begun.
    meanwhile: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Busy {
    /// Moves money and an account from one table to the other, in one transaction.
    fn transfer(&self) {
        let number = self.transfers.fetch_add(1, Ordering::Relaxed);
        let amount = number % 7 + 1;
        let (from, to, which) = match number % 2 {
            0 => ("Checking", "Savings", "MIN"),
            _ => ("Savings", "Checking", "MAX"),
        };
        let transfer = format!(
            "BEGIN TRANSACTION;
             DECLARE @moves int = (SELECT {which}(id) FROM dbo.{from}), @amount int;
             SELECT @amount = amount FROM dbo.{from} WHERE id = @moves;
             DELETE FROM dbo.{from} WHERE id = @moves;
             INSERT INTO dbo.{to} VALUES (@moves, @amount);
             UPDATE dbo.{from} SET amount = amount - {amount} WHERE id = (SELECT MAX(id) FROM dbo.{from});
             UPDATE dbo.{to} SET amount = amount + {amount} WHERE id = (SELECT MAX(id) FROM dbo.{to});
             COMMIT;"
        );
        match self.emulator.execute(SHOP, &transfer) {
            // A fault that was ordered has met it; the server has rolled it back.
            Err(error) if error.number == 1205 => {}
            ended => drop(ended.unwrap()),
        }
    }
}

/// A source whose applications go on between any two calls, as long as they are open.
struct BusySource {
    source: Arc<dyn ChangeSource>,
    busy: Arc<Busy>,
}

impl BusySource {
    fn go_on(&self) {
        if self.busy.open.load(Ordering::Relaxed) {
            self.busy.transfer();
        }
    }
}

#[async_trait]
impl ChangeSource for BusySource {
    async fn describe(&self, table: &TableName) -> Result<Description> {
        self.go_on();
        self.source.describe(table).await
    }

    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut> {
        self.go_on();
        let cut = self.source.cut(table, after).await;
        self.go_on();
        cut
    }

    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        self.go_on();
        self.source.chunks(table, schema, start, after, rows).await
    }

    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches> {
        self.go_on();
        self.source.read(table, schema, selection, at).await
    }

    async fn changes(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>> {
        self.go_on();
        self.source.changes(table, schema, after, upto).await
    }

    async fn at_one_moment(&self) -> Result<Moment> {
        self.go_on();
        let moment = self.source.at_one_moment().await?;
        self.go_on();
        let meanwhile = self.busy.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        Ok(Moment {
            source: Arc::new(Self {
                source: moment.source,
                busy: self.busy.clone(),
            }),
            ..moment
        })
    }

    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        self.source.acknowledge(table, upto).await
    }
}

#[tokio::test]
async fn what_a_transaction_wrote_into_several_tables_arrives_as_a_whole() {
    let bank = Bank::open().await;
    for run in 1..=6 {
        let report = bank.succeed().await;
        assert_eq!(bank.balances().await, run);
        assert_eq!(
            bank.sum_now().await,
            TOTAL,
            "the newest snapshots are of one moment"
        );
        let moments: BTreeSet<_> = report.tables.iter().map(|table| &table.moment).collect();
        assert!(
            moments.len() == 1 && report.tables[0].moment.is_some(),
            "{moments:?}"
        );
    }
}

/// Otherwise the test above would prove nothing.
#[tokio::test]
async fn apart_it_does_not() {
    let mut bank = Bank::open().await;
    bank.whole = 0;
    let mut torn = 0;
    for _ in 0..6 {
        bank.succeed().await;
        torn += u32::from(bank.sum_now().await != TOTAL);
    }
    assert!(torn > 0);
    assert_eq!(bank.balances().await, 0, "nobody names a moment");
}

#[tokio::test]
async fn a_quiet_table_names_the_moment_and_quiet_tables_get_no_snapshots() {
    let bank = Bank::open().await;
    bank.succeed().await;
    bank.busy.open.store(false, Ordering::Relaxed);
    bank.succeed().await;
    let (moments, snapshots) = (bank.balances().await, bank.snapshots().await);
    bank.succeed().await;
    bank.world.lose_state();
    bank.succeed().await;
    assert_eq!(
        (bank.balances().await, bank.snapshots().await),
        (moments, snapshots)
    );
    bank.world.sql(
        "UPDATE dbo.Savings SET amount = amount + 7 WHERE id = (SELECT MIN(id) FROM dbo.Savings);
                    UPDATE dbo.Savings SET amount = amount - 7 WHERE id = (SELECT MAX(id) FROM dbo.Savings)",
    );
    let report = bank.succeed().await;
    assert_eq!(
        (bank.balances().await, bank.snapshots().await),
        (moments + 1, snapshots + 2)
    );
    let written: Vec<_> = report
        .tables
        .iter()
        .map(|table| table.statistics.records_written)
        .collect();
    assert_eq!(written, [0, 2]);
}

#[tokio::test]
async fn a_moment_that_not_all_tables_reached_is_made_up_for_although_nothing_changes() {
    let mut bank = Bank::open().await;
    bank.succeed().await;
    let moments = bank.balances().await;
    // The first table is committed, the second one is not.
    let refused = Faults::scripted([Some(Fault::Before(ErrorKind::Denied))]);
    let sound = bank.sinks[1].clone();
    bank.sinks[1] = Arc::new(FaultySink::new(bank.world.iceberg_sink(), refused).commits_only());
    let report = bank.run().await;
    let statuses: Vec<_> = report.tables.iter().map(|table| table.status).collect();
    assert_eq!(
        statuses,
        [RunStatus::Succeeded, RunStatus::Failed],
        "{:#?}",
        report.errors
    );
    assert_eq!(
        bank.balances().await,
        moments,
        "a moment that one table names is none"
    );
    bank.busy.open.store(false, Ordering::Relaxed);
    bank.sinks[1] = sound;
    bank.succeed().await;
    assert_eq!(bank.balances().await, moments + 1);
    assert_eq!(bank.sum_now().await, TOTAL);
}

#[tokio::test]
async fn a_table_that_lost_its_history_holds_moments_back_and_no_rows_of_others() {
    let bank = Bank::open().await;
    bank.succeed().await;
    let moments = bank.balances().await;
    bank.world.sql(
        "ALTER TABLE dbo.Checking DISABLE CHANGE_TRACKING; ALTER TABLE dbo.Checking ENABLE CHANGE_TRACKING",
    );
    let report = bank.run().await;
    let statuses: Vec<_> = report.tables.iter().map(|table| table.status).collect();
    assert_eq!(
        statuses,
        [RunStatus::Gap, RunStatus::Succeeded],
        "{:#?}",
        report.errors
    );
    assert!(report.tables[1].statistics.records_written > 0);
    assert_eq!(bank.balances().await, moments);
}

#[tokio::test]
async fn a_table_that_is_gone_lets_the_others_go_on() {
    let bank = Bank::open().await;
    bank.succeed().await;
    let moments = bank.balances().await;
    bank.busy.open.store(false, Ordering::Relaxed);
    bank.world
        .sql("UPDATE dbo.Savings SET amount = 1; DROP TABLE dbo.Checking");
    let report = bank.run().await;
    let statuses: Vec<_> = report.tables.iter().map(|table| table.status).collect();
    assert_eq!(
        statuses,
        [RunStatus::Failed, RunStatus::Succeeded],
        "{:#?}",
        report.errors
    );
    assert!(report.tables[1].statistics.records_written >= 20);
    assert_eq!(bank.balances().await, moments);
}

#[tokio::test]
async fn a_target_that_stays_away_lets_the_others_go_on() {
    let mut bank = Bank::open().await;
    bank.succeed().await;
    let moments = bank.balances().await;
    // Commits of the first table only: what its target holds can be asked.
    let away = Faults::scripted(vec![Some(Fault::Before(ErrorKind::Unavailable)); 100]);
    bank.sinks[0] = Arc::new(FaultySink::new(bank.world.iceberg_sink(), away).commits_only());
    let report = bank.run().await;
    let statuses: Vec<_> = report.tables.iter().map(|table| table.status).collect();
    assert_eq!(
        statuses,
        [RunStatus::Failed, RunStatus::Succeeded],
        "{:#?}",
        report.errors
    );
    assert!(report.tables[1].statistics.records_written > 0);
    assert_eq!(bank.balances().await, moments);
}

#[tokio::test]
async fn a_column_that_is_added_is_there_at_the_moment() {
    let mut bank = Bank::open().await;
    bank.succeed().await;
    let [_, savings] = accounts();
    let evolving = TableOptions {
        schema_changes: SchemaPolicy::Evolve,
        ..TableOptions::default()
    };
    bank.world.layouts = vec![(savings.clone(), evolving)];
    bank.sinks[1] = Arc::new(bank.world.iceberg_sink());
    bank.world
        .sql("ALTER TABLE dbo.Savings ADD note int NOT NULL CONSTRAINT note DEFAULT 5");
    // An application that names its columns.
    bank.busy.open.store(false, Ordering::Relaxed);
    for run in 2..=4 {
        bank.world.sql(&format!(
            "BEGIN TRANSACTION; UPDATE dbo.Checking SET amount = amount - {run} WHERE id = (SELECT MAX(id) FROM dbo.Checking);
             UPDATE dbo.Savings SET amount = amount + {run} WHERE id = (SELECT MIN(id) FROM dbo.Savings); COMMIT"
        ));
        bank.succeed().await;
        assert_eq!(bank.balances().await, run);
    }
    let source = bank.world.iceberg_source();
    let schema = source.describe(&savings).await.unwrap().schema;
    let rows = source
        .read(&savings, &schema, Selection::All, None)
        .await
        .unwrap();
    let batches: Vec<_> = rows.try_collect().await.unwrap();
    assert!(
        batches
            .iter()
            .all(|batch| batch.rows.num_columns() == 3 && batch.rows.column(2).null_count() == 0)
    );
}

#[tokio::test]
async fn a_group_is_followed_moment_by_moment() {
    let bank = Bank::open().await;
    let cancel = CancellationToken::new();
    let watch = async {
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let [one, other] = accounts();
            let begun = bank.world.catalog.load(&one).await.unwrap().is_some()
                && bank.world.catalog.load(&other).await.unwrap().is_some();
            if begun && bank.balances().await >= 4 {
                break;
            }
        }
        cancel.cancel();
    };
    let pauses = (Duration::from_millis(10), Duration::from_millis(50));
    let route = vec![bank.route()];
    let (report, ()) = tokio::join!(bank.world.follow(route, pauses, &Nobody, &cancel), watch);
    assert!(bank.balances().await >= 4);
    let tables: Vec<_> = report.tables.iter().map(|table| table.table.as_str()).collect();
    assert_eq!(tables, ["dbo.Checking", "dbo.Savings"]);
}

/// Hears of no cycle, and looks for no tables.
struct Nobody;

#[async_trait]
impl Following for Nobody {
    fn cycle_ended(&self, _: &RunReport) {}

    async fn look_around(&self) -> Result<Vec<Route>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn what_another_process_brings_in_between_is_of_no_moment() {
    let bank = Bank::open().await;
    bank.succeed().await;
    let moments = bank.balances().await;
    // It goes on from the same mark, and has seen no later epoch either.
    let mut route = bank.route();
    route.whole = 0;
    route.syncs.remove(0);
    let (runner, run) = (bank.world.runner(), run_of_other(route));
    *bank.busy.meanwhile.lock().unwrap() = Some(Box::pin(async move {
        let RunOutcome::Finished(report) = runner.run(&run, &CancellationToken::new()).await else {
            panic!("the other process found the sync busy");
        };
        assert!(report.statistics.records_written > 0, "{report:#?}");
    }));
    bank.succeed().await;
    assert_eq!(bank.balances().await, moments + 1);
    assert_eq!(bank.sum_now().await, TOTAL);
}

#[tokio::test]
async fn a_moment_that_is_lost_is_begun_anew() {
    let bank = Bank::open().await;
    bank.succeed().await;
    // So that the faults meet the engine.
    bank.busy.open.store(false, Ordering::Relaxed);
    for (skip, fault) in [
        (3, ServerFault::Deadlock),
        (9, ServerFault::DamagedPacket),
        (14, ServerFault::Busy),
    ] {
        let moments = bank.balances().await;
        bank.busy.transfer();
        bank.world.emulator.faults().order(fault, SHOP, skip);
        bank.succeed().await;
        assert_eq!(bank.balances().await, moments + 1, "{fault:?}");
        assert_eq!(bank.sum_now().await, TOTAL);
    }
}

/// Histories under faults of the server and of Iceberg's commits, kills, a lost state store and a rollback of a table by others.
#[tokio::test]
async fn every_moment_that_all_tables_name_is_whole_whatever_goes_wrong() {
    let mut total = 0;
    for seed in 0..seeds() {
        let mut bank = Bank::open().await;
        let mut random = StdRng::seed_from_u64(seed);
        for run in 0..10 {
            let faults = Faults::seeded(seed * 100 + run, 8);
            bank.sinks = [0, 1].map(|_| {
                let sink = FaultySink::new(bank.world.iceberg_sink(), faults.clone());
                Arc::new(sink) as Arc<dyn ChangeSink>
            });
            if random.random_ratio(1, 2) {
                let fault = [ServerFault::Deadlock, ServerFault::DamagedPacket][random.random_range(0..2)];
                // Either the engine meets it, or an application, whose transaction is rolled back.
                let skip = random.random_range(0..200);
                bank.world.emulator.faults().order(fault, SHOP, skip);
            }
            if random.random_ratio(1, 6) && run > 0 {
                bank.world.lose_state();
            }
            let killed_after = Duration::from_millis(random.random_range(100..2_000));
            // Dropped wherever it is, or ended as it ends.
            let _ = tokio::time::timeout(killed_after, bank.run()).await;
            if random.random_ratio(1, 8) {
                let table = accounts()[random.random_range(0..2)].clone();
                if bank.world.catalog.load(&table).await.unwrap().is_some() {
                    roll_back(&bank.world, &table).await;
                }
            }
        }
        bank.sinks = [0, 1].map(|_| Arc::new(bank.world.iceberg_sink()) as Arc<dyn ChangeSink>);
        bank.succeed().await;
        assert_eq!(bank.sum_now().await, TOTAL, "seed {seed}");
        total += bank.balances().await;
    }
    println!("{} histories, {total} moments, each whole", seeds());
    assert!(total as u64 >= seeds());
}

/// A run that does not know of the others' lease.
fn run_of_other(route: Route) -> Run {
    Run {
        name: "other".into(),
        ..run_of(vec![route])
    }
}
