use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Epoch, ErrorKind, Look, StateStore, SyncId, TableName};
use test_support::{
    Fault, Faults, FaultySink, FaultySource, FaultyStore, MemorySink, MemorySource, MemoryStore,
    MemoryTracking, SampleRow, SeededIds, SimClock, kill_after,
};

use super::*;
use crate::progress::{Progress, ProgressEvent};
use crate::reconcile::{Reconcile, Reconciled};
use crate::table_sync::TableSync;

const SECOND: Duration = Duration::from_secs(1);

/// A source with tables of ten rows, and a target.
struct Shop {
    clock: Arc<SimClock>,
    source: MemorySource,
    iceberg: MemorySink,
    store: MemoryStore,
    processes: AtomicU64,
}

impl Shop {
    fn new(tables: &[&str]) -> Self {
        let clock = Arc::new(SimClock::default());
        let source = MemorySource::new(clock.clone(), MemoryTracking::Versions);
        let shop = Self {
            store: MemoryStore::new(clock.clone()),
            clock,
            source,
            iceberg: MemorySink::default(),
            processes: AtomicU64::new(1),
        };
        for table in tables {
            shop.create(table);
        }
        shop
    }

    fn create(&self, table: &str) {
        self.source.create(&name(table), true);
        self.put(table, 0..10, "row");
    }

    fn put(&self, table: &str, ids: std::ops::Range<i32>, text: &str) {
        let rows = ids.map(|id| SampleRow::new(id, text, 1));
        self.source.put(&name(table), rows);
    }

    /// A process of its own.
    fn runner(&self) -> Runner {
        let seed = self.processes.fetch_add(1, Ordering::SeqCst);
        Runner::new(
            Arc::new(self.store.clone()),
            self.clock.clone(),
            Arc::new(SeededIds::new(seed)),
        )
    }

    fn route(&self, table: &str, of_source: Faults, of_sink: Faults) -> Route {
        Route::new(vec![TableSync::new(
            SyncId::new(format!("shop/dbo.{table}/export")),
            "source → iceberg",
            (
                Arc::new(FaultySource::new(self.source.clone(), of_source)),
                name(table),
            ),
            (
                Arc::new(FaultySink::new(self.iceberg.clone(), of_sink)),
                name(table),
            ),
        )])
    }

    fn plain(&self, table: &str) -> Route {
        self.route(table, Faults::never(), Faults::never())
    }

    fn is_equal(&self, table: &str) -> bool {
        self.iceberg.rows(&name(table)) == self.source.rows(&name(table))
    }
}

fn name(table: &str) -> TableName {
    TableName::new("dbo", table)
}

fn run_of(routes: Vec<Route>) -> Run {
    Run {
        name: "shop".into(),
        holder: "process 1 on h".into(),
        source: "mssql://h/shop".into(),
        destination: "warehouse".into(),
        routes,
    }
}

/// Keeps what it is told, and goes on as the test says.
struct Watch<F> {
    told: Mutex<Vec<RunReport>>,
    new: Mutex<Vec<Route>>,
    then: F,
}

impl<F: Fn(&RunReport) + Send + Sync> Watch<F> {
    fn new(then: F) -> Self {
        Self {
            told: Mutex::default(),
            new: Mutex::default(),
            then,
        }
    }

    /// The tables of the cycles that were told of, with how each ended.
    fn told(&self) -> Vec<(String, RunStatus)> {
        let told = self.told.lock().unwrap();
        let tables = told.iter().flat_map(|report| &report.tables);
        tables.map(|table| (table.table.clone(), table.status)).collect()
    }
}

#[async_trait]
impl<F: Fn(&RunReport) + Send + Sync> Following for Watch<F> {
    fn cycle_ended(&self, report: &RunReport) {
        (self.then)(report);
        self.told.lock().unwrap().push(report.clone());
    }

    async fn look_around(&self) -> Result<Vec<Route>> {
        Ok(std::mem::take(&mut *self.new.lock().unwrap()))
    }
}

/// A watch that cancels once the target is told to be equal so many times, each time after more was written.
fn rounds<'a>(
    shop: &'a Shop,
    tables: &'a [&'a str],
    rounds: u64,
    cancel: &CancellationToken,
) -> Watch<impl Fn(&RunReport) + Send + Sync + 'a> {
    let (cancel, done) = (cancel.clone(), AtomicU64::new(0));
    Watch::new(move |_| {
        if !tables.iter().all(|table| shop.is_equal(table)) {
            return;
        }
        let round = done.fetch_add(1, Ordering::SeqCst);
        if round >= rounds {
            cancel.cancel();
            return;
        }
        for table in tables {
            let first = (round % 20) as i32;
            shop.put(table, first..first + 3, &format!("round {round}"));
            shop.source.delete(&name(table), [first + 1]);
        }
    })
}

async fn follow<F: Fn(&RunReport) + Send + Sync>(
    runner: &Runner,
    routes: Vec<Route>,
    watch: &Watch<F>,
    cancel: &CancellationToken,
) -> RunReport {
    match runner
        .follow(&run_of(routes), &Follow::default(), watch, cancel)
        .await
    {
        RunOutcome::Finished(report) => *report,
        RunOutcome::Busy { holder } => panic!("busy with {holder}"),
    }
}

#[tokio::test(start_paused = true)]
async fn changes_arrive_until_it_is_cancelled_and_quiet_cycles_tell_nothing() {
    let shop = Shop::new(&["A", "B"]);
    let cancel = CancellationToken::new();
    let watch = rounds(&shop, &["A", "B"], 5, &cancel);
    let report = follow(
        &shop.runner(),
        vec![shop.plain("A"), shop.plain("B")],
        &watch,
        &cancel,
    )
    .await;
    assert!(shop.is_equal("A") && shop.is_equal("B"));
    assert_eq!(report.metadata.status, RunStatus::Succeeded, "{report:#?}");
    let told = watch.told.lock().unwrap();
    assert!(told.iter().all(|report| report.statistics.records_written > 0));
    assert!(told.iter().all(|report| report.metadata.cycle.is_some()));
    let written: u64 = told.iter().map(|report| report.statistics.records_written).sum();
    assert_eq!(
        report.statistics.records_written, written,
        "the sum of all cycles"
    );
    let commits = shop.iceberg.commits(&name("A")) + shop.iceberg.commits(&name("B"));
    assert_eq!(
        told.len() as u64,
        commits,
        "a cycle without changes commits nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn looks_between_cycles_are_told() {
    #[derive(Default)]
    struct Looks(Mutex<Vec<Look>>);
    impl Progress for Looks {
        fn hear(&self, _sync: &SyncId, event: &ProgressEvent) {
            if let ProgressEvent::Looked(look) = event {
                self.0.lock().unwrap().push(look.clone());
            }
        }
    }
    let shop = Shop::new(&["A"]);
    let (cancel, looks) = (CancellationToken::new(), Arc::new(Looks::default()));
    let mut runner = shop.runner();
    runner.progress = looks.clone();
    let watch = Watch::new(|_: &RunReport| {});
    let change = async {
        tokio::time::sleep(100 * SECOND).await;
        shop.put("A", 0..3, "changed");
        tokio::time::sleep(100 * SECOND).await;
        cancel.cancel();
    };
    tokio::join!(follow(&runner, vec![shop.plain("A")], &watch, &cancel), change);
    let looks = looks.0.lock().unwrap();
    let changed = looks.iter().filter(|look| **look == Look::Perhaps).count();
    assert_eq!(changed, 1, "{looks:?}");
    assert!(looks.contains(&Look::Quiet), "{looks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_fails_holds_up_no_other_one_and_counts_until_it_recovers() {
    for (kind, failures, recovers) in [
        (ErrorKind::Unavailable, 40, true),
        (ErrorKind::Denied, 3, true),
        (ErrorKind::Denied, 1_000, false),
    ] {
        let shop = Shop::new(&["A", "B"]);
        let mut runner = shop.runner();
        runner.parallel = 1;
        let cancel = CancellationToken::new();
        let rounds = AtomicU64::new(0);
        let watch = Watch::new(|_: &RunReport| {
            if shop.is_equal("B") {
                let round = rounds.fetch_add(1, Ordering::SeqCst);
                if round >= 20 && shop.is_equal("A") == recovers {
                    cancel.cancel();
                }
                shop.put("B", 0..3, &format!("round {round}"));
            }
        });
        let failing = Faults::scripted(vec![Some(Fault::Before(kind)); failures]);
        let routes = vec![shop.route("A", failing, Faults::never()), shop.plain("B")];
        let report = follow(&runner, routes, &watch, &cancel).await;
        let told = watch.told();
        let failed = told
            .iter()
            .filter(|(_, status)| *status == RunStatus::Failed)
            .count();
        assert!((1..10).contains(&failed), "{kind:?}: {failed} cycles failed");
        assert!(rounds.into_inner() >= 20, "{told:?}");
        let status = if recovers {
            RunStatus::Succeeded
        } else {
            RunStatus::Failed
        };
        assert_eq!(report.metadata.status, status, "{kind:?} {told:?}");
        assert_eq!(report.errors.is_empty(), recovers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_takes_long_holds_up_no_other_one() {
    let shop = Shop::new(&["A", "B"]);
    let mut runner = shop.runner();
    runner.parallel = 1;
    let cancel = CancellationToken::new();
    let watch = rounds(&shop, &["B"], 5, &cancel);
    // A commit that does not return until the process ends.
    let stuck = Faults::scripted([Some(Fault::Killed)]);
    let mut route = shop.plain("A");
    route.syncs[0].sink = Arc::new(FaultySink::new(shop.iceberg.clone(), stuck).commits_only());
    let routes = vec![route, shop.plain("B")];
    let began = tokio::time::Instant::now();
    let report = follow(&runner, routes, &watch, &cancel).await;
    assert!(shop.is_equal("B"));
    assert_eq!(shop.iceberg.commits(&name("A")), 1, "the commit was reached");
    // The stop is bounded although the commit does not return.
    assert!(
        began.elapsed() < Duration::from_secs(120),
        "{:?}",
        began.elapsed()
    );
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.contains("not every commit had ended")),
        "{:?}",
        report.warnings
    );
}

/// A look that is never answered must not keep a table waiting for ever, nor the tables of other sources.
#[tokio::test(start_paused = true)]
async fn a_source_that_leaves_looks_open_is_read_by_cycles() {
    let shop = Shop::new(&["A", "B"]);
    let mut runner = shop.runner();
    runner.parallel = 1;
    let cancel = CancellationToken::new();
    let watch = rounds(&shop, &["A", "B"], 5, &cancel);
    let mut silent = shop.plain("A");
    silent.syncs[0].source =
        Arc::new(FaultySource::new(shop.source.clone(), Faults::never()).leaving_looks_open());
    let routes = vec![silent, shop.plain("B")];
    let ended = follow(&runner, routes, &watch, &cancel);
    let report = tokio::time::timeout(SECOND * 600, ended)
        .await
        .expect("it goes on");
    assert_eq!(report.metadata.status, RunStatus::Succeeded, "{report:#?}");
}

/// A comparison that takes long leaves its place to others, whose comparisons must not join it.
#[tokio::test(start_paused = true)]
async fn tables_are_compared_one_at_a_time() {
    let shop = Shop::new(&["A", "B"]);
    let mut runner = shop.runner();
    runner.parallel = 1;
    let lake = MemorySource::new(shop.clock.clone(), MemoryTracking::Versions);
    let mut routes = Vec::new();
    for (table, of_commits) in [
        ("A", Faults::scripted([None, Some(Fault::Killed)])),
        ("B", Faults::never()),
    ] {
        lake.create(&name(table), true);
        lake.put(&name(table), shop.source.rows(&name(table)));
        let mut route = shop.plain(table);
        route.syncs[0].sink = Arc::new(FaultySink::new(shop.iceberg.clone(), of_commits).commits_only());
        let target = Arc::new(lake.clone());
        route.syncs[0].reconcile = Some(Reconcile::new(Duration::ZERO, Reconciled::Deletes, target));
        routes.push(route);
    }
    // What is to be deleted there is a commit that does not return.
    lake.put(&name("A"), [SampleRow::new(99, "extra", 1)]);
    let cancel = CancellationToken::new();
    let watch = rounds(&shop, &["B"], 5, &cancel);
    let report = follow(&runner, routes, &watch, &cancel).await;
    assert!(shop.is_equal("B"));
    assert_eq!(
        shop.iceberg.commits(&name("A")),
        2,
        "the comparison was under way"
    );
    let compared = report.tables.iter().any(|table| table.mode == "reconcile");
    assert!(!compared, "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn tables_that_appear_are_followed() {
    let shop = Shop::new(&["A"]);
    let cancel = CancellationToken::new();
    let watch = Watch::new(|report: &RunReport| {
        if report.tables[0].table == "dbo.New" {
            cancel.cancel();
        }
    });
    shop.create("New");
    watch.new.lock().unwrap().push(shop.plain("New"));
    let report = follow(&shop.runner(), vec![shop.plain("A")], &watch, &cancel).await;
    assert!(shop.is_equal("New"));
    let tables: Vec<_> = report.tables.iter().map(|table| table.table.as_str()).collect();
    assert_eq!(tables, ["dbo.A", "dbo.New"]);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_another_process_took_over_is_left_to_it() {
    let shop = Shop::new(&["A", "B"]);
    let cancel = CancellationToken::new();
    let watch = rounds(&shop, &["B"], 10, &cancel);
    let (first, second) = (shop.runner(), shop.runner());
    let taken_over = async {
        // Another process whose state store is another one, so that no lease keeps it away.
        tokio::time::sleep(SECOND * 7 / 2).await;
        let mut other = second;
        other.store = Arc::new(MemoryStore::new(shop.clock.clone()));
        shop.put("A", 0..2, "taken over");
        let outcomes = other.run_route(&shop.plain("A"), &CancellationToken::new()).await;
        assert_eq!(outcomes[0].epoch, Some(Epoch(2)));
        shop.put("A", 3..5, "later");
    };
    let routes = vec![shop.plain("A"), shop.plain("B")];
    let (report, ()) = tokio::join!(follow(&first, routes, &watch, &cancel), taken_over);
    assert!(!shop.is_equal("A"), "it is the other process's");
    let kinds: Vec<_> = report.errors.iter().map(|error| error.kind.as_str()).collect();
    assert_eq!(kinds, ["fenced"], "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn when_every_table_was_taken_over_the_run_ends_by_itself() {
    let shop = Shop::new(&["A"]);
    let mut route = shop.plain("A");
    shop.runner().run_route(&route, &CancellationToken::new()).await;
    shop.put("A", 0..1, "changed");
    shop.runner().run_route(&route, &CancellationToken::new()).await;
    route.syncs[0].epoch = Some(Epoch(1));
    let watch = Watch::new(|_: &RunReport| {});
    let report = follow(&shop.runner(), vec![route], &watch, &CancellationToken::new()).await;
    assert_eq!(report.errors[0].kind, "fenced");
}

#[tokio::test(start_paused = true)]
async fn a_second_process_is_told_the_holder() {
    let shop = Shop::new(&["A"]);
    let _held = shop.store.lease("shop", "process 9 on h").await.unwrap();
    let watch = Watch::new(|_: &RunReport| {});
    let run = run_of(vec![shop.plain("A")]);
    let cancel = CancellationToken::new();
    let outcome = shop
        .runner()
        .follow(&run, &Follow::default(), &watch, &cancel)
        .await;
    assert!(matches!(outcome, RunOutcome::Busy { holder } if holder == "process 9 on h"));
}

/// Faults everywhere, a death at every point where the process waits, a new process, another death: nothing is lost or doubled.
#[tokio::test(start_paused = true)]
async fn killed_anywhere_the_next_process_goes_on() {
    for polls in (1..400).step_by(13) {
        let shop = Shop::new(&["A", "B"]);
        for life in 0..3 {
            let faults = Faults::seeded(polls as u64 * 10 + life, 12);
            let mut runner = shop.runner();
            runner.store = Arc::new(FaultyStore::new(shop.store.clone(), faults.clone()));
            let cancel = CancellationToken::new();
            let watch = rounds(&shop, &["A", "B"], 1_000, &cancel);
            let routes = ["A", "B"].map(|table| shop.route(table, faults.clone(), faults.clone()));
            let run = run_of(routes.into());
            let how = Follow::default();
            let dies = kill_after(polls, runner.follow(&run, &how, &watch, &cancel));
            assert!(dies.await.is_none(), "it goes on until it dies");
            // Tasks of the dead process end before the next one begins.
            tokio::time::sleep(SECOND).await;
            if life == 1 {
                shop.store.lose();
            }
        }
        let cancel = CancellationToken::new();
        let watch = rounds(&shop, &["A", "B"], 2, &cancel);
        let routes = vec![shop.plain("A"), shop.plain("B")];
        follow(&shop.runner(), routes, &watch, &cancel).await;
        assert!(
            shop.is_equal("A") && shop.is_equal("B"),
            "killed after {polls} polls"
        );
    }
}

/// Tasks and what is held for the report are as many after thousands of cycles as after ten.
#[tokio::test(start_paused = true)]
async fn thousands_of_cycles_leave_nothing_behind() {
    const CYCLES: u64 = 5_000;
    let shop = Shop::new(&["A"]);
    let cancel = CancellationToken::new();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (most, cycles) = (AtomicU64::new(0), AtomicU64::new(0));
    let watch = Watch::new(|_: &RunReport| {
        most.fetch_max(tasks() as u64, Ordering::SeqCst);
        let cycle = cycles.fetch_add(1, Ordering::SeqCst);
        if cycle == CYCLES {
            cancel.cancel();
        }
        // The same few rows again, so that the parts in memory do not grow themselves.
        shop.put("A", 0..3, &format!("cycle {cycle}"));
    });
    let report = follow(&shop.runner(), vec![shop.plain("A")], &watch, &cancel).await;
    assert!(most.into_inner() <= 3, "tasks are left behind");
    assert_eq!(report.tables.len(), 1);
    assert!(report.statistics.records_written > 3 * CYCLES, "{report:#?}");
    assert_eq!(shop.iceberg.staged_left(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_target_of_a_quiet_table_rests() {
    let shop = Shop::new(&["A"]);
    let cancel = CancellationToken::new();
    let watch = Watch::new(|_| {});
    let stop = async {
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!(shop.iceberg.rests(), 0, "the table may change again in a moment");
        tokio::time::sleep(60 * SECOND).await;
        cancel.cancel();
    };
    let runner = shop.runner();
    tokio::join!(follow(&runner, vec![shop.plain("A")], &watch, &cancel), stop);
    assert!(shop.iceberg.rests() > 0);
}
