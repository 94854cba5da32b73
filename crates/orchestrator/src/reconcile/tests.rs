use model::{ErrorKind, RunStatus, TableName};
use test_support::{
    Faults, FaultySink, FaultySource, FaultyStore, MemorySink, MemorySource, MemoryStore, MemoryTracking,
    SampleRow, SeededIds, SimClock, kill_after,
};

use super::*;
use crate::memory::Memory;
use crate::run::Route;
use tokio::sync::Semaphore;

const DAY: i64 = 24 * 3_600_000;

/// A source whose changes are told by times, so that it tells of no delete.
struct Shop {
    clock: Arc<SimClock>,
    source: MemorySource,
    iceberg: MemorySink,
    /// Reads what is in Iceberg.
    lake: MemorySource,
    store: MemoryStore,
    processes: AtomicI64,
}

fn table() -> TableName {
    TableName::new("dbo", "Orders")
}

impl Shop {
    async fn synchronised() -> Self {
        let clock = Arc::new(SimClock::default());
        let tracking = MemoryTracking::Timestamp { tolerance: 20 };
        let shop = Self {
            store: MemoryStore::new(clock.clone()),
            source: MemorySource::new(clock.clone(), tracking),
            lake: MemorySource::new(clock.clone(), tracking),
            clock,
            iceberg: MemorySink::default(),
            processes: AtomicI64::new(1),
        };
        shop.source.create(&table(), true);
        shop.lake.create(&table(), true);
        shop.put(0..100, "row");
        let outcomes = shop.run(&shop.reconcile(Reconciled::Deletes)).await;
        assert_eq!(outcomes.len(), 1, "a copy needs no comparison: {outcomes:?}");
        shop
    }

    fn put(&self, ids: std::ops::Range<i32>, text: &str) {
        let rows = ids.map(|id| SampleRow::new(id, text, 1));
        self.source.put(&table(), rows);
        self.clock.advance(100);
    }

    /// What a reader of the target sees now.
    fn show(&self) {
        let rows = self.lake.rows(&table());
        self.lake.delete(&table(), rows.iter().map(|row| row.id));
        self.lake.put(&table(), self.iceberg.rows(&table()));
    }

    fn reconcile(&self, what: Reconciled) -> Reconcile {
        Reconcile::new(
            Duration::from_millis(DAY as u64),
            what,
            Arc::new(self.lake.clone()),
        )
    }

    async fn run(&self, reconcile: &Reconcile) -> Vec<TableOutcome> {
        let (runner, route) = self.process(reconcile, &Faults::never());
        runner.run_route(&route, &CancellationToken::new()).await
    }

    /// A process of its own.
    fn process(&self, reconcile: &Reconcile, faults: &Faults) -> (Runner, Route) {
        self.show();
        let seed = self.processes.fetch_add(1, Ordering::SeqCst);
        let mut runner = Runner::new(
            Arc::new(FaultyStore::new(self.store.clone(), faults.clone())),
            self.clock.clone(),
            Arc::new(SeededIds::new(seed as u64)),
        );
        // One share, which a comparison that held it would wait for once it repairs.
        runner.memory = Memory::new(0);
        let source = FaultySource::new(self.source.clone(), faults.clone());
        let sink = FaultySink::new(self.iceberg.clone(), faults.clone());
        let sync = TableSync {
            reconcile: Some(Reconcile {
                times: Reconcile::new(reconcile.every, reconcile.what, reconcile.target.clone()).times,
                ..reconcile.clone()
            }),
            ..TableSync::new(
                SyncId::new("shop/dbo.Orders/export"),
                "source → iceberg",
                (Arc::new(source), table()),
                (Arc::new(sink), table()),
            )
        };
        (runner, Route::new(vec![sync]))
    }

    fn is_equal(&self) -> bool {
        self.iceberg.rows(&table()) == self.source.rows(&table())
    }
}

#[tokio::test(start_paused = true)]
async fn deletes_are_found_when_it_is_time_and_again_when_that_is_forgotten() {
    let shop = Shop::synchronised().await;
    let reconcile = shop.reconcile(Reconciled::Deletes);
    shop.source.delete(&table(), [3, 50]);
    shop.clock.advance(DAY / 2);
    assert_eq!(
        shop.run(&reconcile).await.len(),
        1,
        "half a day after the copy it is not due"
    );
    assert!(!shop.is_equal());
    shop.clock.advance(DAY / 2);
    let outcomes = shop.run(&reconcile).await;
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    assert!(shop.is_equal());
    let counts = outcomes[1].report.statistics;
    assert_eq!((counts.records_deleted, counts.records_written), (2, 2));
    assert_eq!(
        counts.records_processed,
        98 + 2,
        "the source's keys and the two that are gone"
    );
    assert_eq!(outcomes[1].report.mode, "reconcile");

    // What was done is remembered; a store that forgets costs another comparison.
    shop.source.delete(&table(), [4]);
    assert_eq!(shop.run(&reconcile).await.len(), 1);
    shop.store.lose();
    assert_eq!(shop.run(&reconcile).await.len(), 2);
    assert!(shop.is_equal());

    // With nothing to do it is remembered as well, and a clock that goes back puts nothing off.
    shop.clock.advance(DAY);
    assert_eq!(shop.run(&reconcile).await.len(), 2);
    assert_eq!(shop.run(&reconcile).await.len(), 1);
    shop.source.delete(&table(), [5]);
    shop.clock.advance(-2 * DAY);
    assert_eq!(shop.run(&reconcile).await.len(), 2);
    assert!(shop.is_equal());
}

#[tokio::test(start_paused = true)]
async fn everything_that_differs_or_deletes_only() {
    for (what, equal) in [(Reconciled::Deletes, false), (Reconciled::All, true)] {
        let shop = Shop::synchronised().await;
        shop.iceberg.delete_foreign(&table(), |row| row.id == 7);
        shop.source.delete(&table(), [9]);
        shop.clock.advance(DAY);
        let outcomes = shop.run(&shop.reconcile(what)).await;
        let counts = outcomes[1].report.statistics;
        assert_eq!(counts.records_deleted, 1, "{what:?}");
        assert_eq!(counts.records_inserted, u64::from(equal), "{what:?}");
        assert_eq!(shop.is_equal(), equal, "{what:?}");
        let warned = outcomes[1]
            .warnings
            .iter()
            .any(|warning| warning.contains("1 rows of the source"));
        assert_eq!(warned, !equal, "{:?}", outcomes[1].warnings);
    }
}

#[tokio::test(start_paused = true)]
async fn many_deletes_stop_the_comparison_and_not_the_increments() {
    let shop = Shop::synchronised().await;
    shop.source.delete(&table(), 0..11);
    shop.put(200..201, "new");
    shop.clock.advance(DAY);
    let reconcile = shop.reconcile(Reconciled::Deletes);
    for _ in 0..2 {
        let outcomes = shop.run(&reconcile).await;
        assert_eq!(outcomes[0].report.status, RunStatus::Succeeded);
        assert_eq!(outcomes[1].failure, Some(ErrorKind::Config), "{outcomes:?}");
        let error = outcomes[1].error.as_ref().unwrap();
        assert!(
            error
                .message
                .contains("rows would be deleted, which is more than 10 %"),
            "{error:?}"
        );
    }
    assert_eq!(
        shop.iceberg.rows(&table()).len(),
        101,
        "the new row is there, and the deleted ones still are"
    );
    shop.run(&reconcile.most_deletes_percent(11)).await;
    assert!(shop.is_equal());
}

/// In one process a comparison that fails is tried again after a part of the usual time, not with every increment.
#[tokio::test(start_paused = true)]
async fn a_comparison_that_fails_rests() {
    let shop = Shop::synchronised().await;
    shop.source.delete(&table(), 0..50);
    shop.clock.advance(DAY);
    let (runner, route) = shop.process(&shop.reconcile(Reconciled::Deletes), &Faults::never());
    let cancel = CancellationToken::new();
    let mut tried = Vec::new();
    for _ in 0..5 {
        tried.push(runner.run_route(&route, &cancel).await.len() - 1);
        shop.clock.advance(DAY / 48);
    }
    assert_eq!(tried, [1, 0, 1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn killed_anywhere_it_is_done_by_the_next_run() {
    for polls in 1..120 {
        let shop = Shop::synchronised().await;
        let reconcile = shop.reconcile(Reconciled::All);
        shop.source.delete(&table(), [3, 50]);
        shop.iceberg.delete_foreign(&table(), |row| row.id == 7);
        shop.put(60..62, "changed");
        shop.clock.advance(DAY);
        for life in 0..2 {
            let (runner, route) = shop.process(&reconcile, &Faults::seeded(polls as u64 * 7 + life, 10));
            let cancel = CancellationToken::new();
            kill_after(polls, runner.run_route(&route, &cancel)).await;
        }
        let outcomes = shop.run(&reconcile).await;
        let failed = outcomes.iter().any(|outcome| outcome.failure.is_some());
        assert!(
            !failed && shop.is_equal(),
            "killed after {polls} polls: {outcomes:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_do_no_harm_to_each_other() {
    let shop = Shop::synchronised().await;
    let reconcile = shop.reconcile(Reconciled::All);
    shop.source.delete(&table(), [3, 50]);
    shop.put(60..62, "changed");
    shop.clock.advance(DAY);
    let processes = [0, 1].map(|_| shop.process(&reconcile, &Faults::never()));
    let cancel = CancellationToken::new();
    let [(first, of_first), (second, of_second)] = &processes;
    tokio::join!(
        first.run_route(of_first, &cancel),
        second.run_route(of_second, &cancel)
    );
    let outcomes = shop.run(&reconcile).await;
    assert!(shop.is_equal(), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn rows_that_are_doubled_are_told_where_only_deletes_are_brought_in_line() {
    let shop = Shop::synchronised().await;
    shop.lake.create(&table(), false);
    shop.clock.advance(DAY);
    let (runner, route) = shop.process(&shop.reconcile(Reconciled::Deletes), &Faults::never());
    shop.lake.put(&table(), [SampleRow::new(7, "row", 1)]);
    let outcomes = runner.run_route(&route, &CancellationToken::new()).await;
    assert!(outcomes[1].failure.is_none(), "{outcomes:?}");
    let told = &outcomes[1].warnings;
    assert!(
        told.iter()
            .any(|warning| warning.starts_with("1 rows are in the target once more")),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn while_others_are_compared_the_increments_go_on() {
    let shop = Shop::synchronised().await;
    shop.source.delete(&table(), [3]);
    shop.put(200..201, "new");
    shop.clock.advance(DAY);
    let (mut runner, route) = shop.process(&shop.reconcile(Reconciled::Deletes), &Faults::never());
    runner.comparisons = Arc::new(Semaphore::new(1));
    let cancel = CancellationToken::new();
    let other = runner.comparisons.clone().acquire_owned().await;
    let outcomes = runner.run_route(&route, &cancel).await;
    assert_eq!((outcomes.len(), outcomes[0].committed), (1, true), "{outcomes:?}");
    drop(other);
    shop.show();
    assert_eq!(runner.run_route(&route, &cancel).await.len(), 2);
    assert!(shop.is_equal());
}
