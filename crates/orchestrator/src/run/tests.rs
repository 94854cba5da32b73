use std::sync::Mutex;

use async_trait::async_trait;
use model::{ErrorKind, Loaded, Result, SaveOutcome, StoredState, SyncId, TableName, TableState};
use test_support::{
    Fault, Faults, FaultySource, FaultyStore, MemorySink, MemorySource, MemoryStore, MemoryTracking,
    SampleRow, SeededIds, SimClock,
};

use super::*;

struct Shop {
    clock: Arc<SimClock>,
    source: MemorySource,
    iceberg: MemorySink,
    store: MemoryStore,
}

impl Shop {
    fn new(tables: &[&str]) -> Self {
        let clock = Arc::new(SimClock::default());
        let source = MemorySource::new(clock.clone(), MemoryTracking::Versions);
        for table in tables {
            let table = TableName::new("dbo", *table);
            source.create(&table, true);
            source.put(&table, (0..10).map(|id| SampleRow::new(id, "row", 1)));
        }
        Self {
            store: MemoryStore::new(clock.clone()),
            clock,
            source,
            iceberg: MemorySink::default(),
        }
    }

    fn runner(&self) -> Runner {
        Runner::new(
            Arc::new(self.store.clone()),
            self.clock.clone(),
            Arc::new(SeededIds::new(1)),
        )
    }

    fn export(&self, table: &str, faults: Faults) -> TableSync {
        let name = TableName::new("dbo", table);
        TableSync::new(
            SyncId::new(format!("shop/dbo.{table}/export")),
            "source → iceberg",
            (
                Arc::new(FaultySource::new(self.source.clone(), faults)),
                name.clone(),
            ),
            (Arc::new(self.iceberg.clone()), name),
        )
    }
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

async fn finished(runner: &Runner, routes: Vec<Route>) -> RunReport {
    match runner.run(&run_of(routes), &CancellationToken::new()).await {
        RunOutcome::Finished(report) => *report,
        RunOutcome::Busy { holder } => panic!("busy with {holder}"),
    }
}

fn broken() -> Faults {
    Faults::scripted([Some(Fault::Before(ErrorKind::Denied))])
}

#[tokio::test(start_paused = true)]
async fn a_table_that_fails_does_not_stop_the_others() {
    let shop = Shop::new(&["A", "B", "C"]);
    let routes = [("A", Faults::never()), ("B", broken()), ("C", Faults::never())];
    let routes = routes.map(|(table, faults)| Route::new(vec![shop.export(table, faults)]));
    let report = finished(&shop.runner(), routes.into()).await;
    let statuses: Vec<_> = report
        .tables
        .iter()
        .map(|table| (table.table.as_str(), table.status))
        .collect();
    assert_eq!(
        statuses,
        [
            ("dbo.A", RunStatus::Succeeded),
            ("dbo.B", RunStatus::Failed),
            ("dbo.C", RunStatus::Succeeded)
        ]
    );
    assert_eq!(report.metadata.status, RunStatus::Failed);
    assert_eq!(
        (report.statistics.records_inserted, report.statistics.errors),
        (20, 1)
    );
    assert_eq!(report.errors.len(), 1);
    assert_eq!(report.errors[0].kind, "denied");
    assert_eq!(report.checkpoint.state_version, 1);
    assert_eq!(report.metadata.started_at, "2026-01-01T00:00:00.000Z");
    assert_eq!(
        shop.iceberg.rests(),
        3,
        "each target rests at the end of its table"
    );
}

#[tokio::test(start_paused = true)]
async fn a_route_ends_with_the_table_sync_that_fails() {
    let shop = Shop::new(&["A"]);
    let next = shop.export("A", Faults::never());
    let report = finished(
        &shop.runner(),
        vec![Route::new(vec![shop.export("A", broken()), next])],
    )
    .await;
    let statuses: Vec<_> = report.tables.iter().map(|table| table.status).collect();
    assert_eq!(statuses, [RunStatus::Failed, RunStatus::Skipped]);
    assert_eq!(shop.iceberg.commits(&TableName::new("dbo", "A")), 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_of_the_same_sync_is_told_the_holder() {
    let shop = Shop::new(&["A"]);
    let held = shop.store.lease("shop", "process 9 on h").await.unwrap();
    let run = run_of(vec![Route::new(vec![shop.export("A", Faults::never())])]);
    match shop.runner().run(&run, &CancellationToken::new()).await {
        RunOutcome::Busy { holder } => assert_eq!(holder, "process 9 on h"),
        RunOutcome::Finished(report) => panic!("it ran: {report:?}"),
    }
    drop(held);
    finished(&shop.runner(), run.routes).await;
}

/// The lease and the state are for convenience.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_costs_warnings_only() {
    let shop = Shop::new(&["A"]);
    let mut runner = shop.runner();
    let away = Faults::scripted(vec![Some(Fault::Before(ErrorKind::Unavailable)); 100]);
    runner.store = Arc::new(FaultyStore::new(shop.store.clone(), away));
    for inserted in [10, 0] {
        let report = finished(&runner, vec![Route::new(vec![shop.export("A", Faults::never())])]).await;
        assert_eq!(report.metadata.status, RunStatus::Succeeded);
        assert_eq!(report.statistics.records_inserted, inserted);
        assert_eq!(report.warnings.len(), 3, "{:?}", report.warnings);
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<ProgressEvent>>);

impl Heard {
    /// How each table sync ended, and of what.
    fn ends(&self) -> Vec<(RunStatus, Option<String>)> {
        let heard = self.0.lock().unwrap();
        let ends = heard.iter().filter_map(|event| match event {
            ProgressEvent::Ended { report, error, .. } => {
                Some((report.status, error.as_ref().map(|error| error.kind.clone())))
            }
            _ => None,
        });
        ends.collect()
    }
}

impl Progress for Heard {
    fn hear(&self, _sync: &SyncId, event: &ProgressEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn progress_tells_every_end_and_every_repetition() {
    let shop = Shop::new(&["A", "B"]);
    let heard = Arc::new(Heard::default());
    let mut runner = shop.runner();
    runner.progress = Arc::new(vec![heard.clone() as Arc<dyn Progress>, heard.clone()]);
    let next = shop.export("A", Faults::never());
    finished(&runner, vec![Route::new(vec![shop.export("A", broken()), next])]).await;
    let failed = (RunStatus::Failed, Some("denied".to_owned()));
    let skipped = (RunStatus::Skipped, None);
    assert_eq!(heard.ends(), [failed.clone(), failed, skipped.clone(), skipped]);

    let heard = Arc::new(Heard::default());
    runner.progress = heard.clone();
    let passing = Faults::scripted(vec![Some(Fault::Before(ErrorKind::Unavailable)); 3]);
    finished(&runner, vec![Route::new(vec![shop.export("B", passing)])]).await;
    assert_eq!(heard.ends(), [(RunStatus::Succeeded, None)]);
    let heard = heard.0.lock().unwrap();
    let repeated = heard.iter().filter(|event| **event == ProgressEvent::Repeating);
    assert_eq!(repeated.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn progress_tells_cuts_and_what_does_not_fit() {
    let shop = Shop::new(&["A"]);
    let export = TableSync {
        flush: crate::Flush {
            bytes: 1,
            ..crate::Flush::default()
        },
        ..shop.export("A", Faults::never())
    };
    finished(&shop.runner(), vec![Route::new(vec![export.clone()])]).await;
    let table = TableName::new("dbo", "A");
    shop.source
        .put(&table, (0..10).map(|id| SampleRow::new(id, "changed", 2)));
    let heard = Arc::new(Heard::default());
    let mut runner = shop.runner();
    runner.progress = heard.clone();
    finished(&runner, vec![Route::new(vec![export])]).await;
    let heard = heard.0.lock().unwrap();
    let cut = ProgressEvent::Cut {
        holding: None,
        assumed: false,
        keeps: None,
    };
    assert!(heard.contains(&cut), "{heard:?}");
    let spilled = heard.iter().map(|event| match event {
        ProgressEvent::Spilled { bytes } => *bytes,
        _ => 0,
    });
    assert!(spilled.sum::<u64>() > 0, "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn progress_tells_rows_and_receipts() {
    let shop = Shop::new(&["A"]);
    let heard = Arc::new(Heard::default());
    let mut runner = shop.runner();
    runner.progress = heard.clone();
    finished(&runner, vec![Route::new(vec![shop.export("A", Faults::never())])]).await;
    let heard = heard.0.lock().unwrap();
    let read: u64 = heard
        .iter()
        .map(|event| match event {
            ProgressEvent::Read { rows, .. } => *rows,
            _ => 0,
        })
        .sum();
    let inserted: u64 = heard
        .iter()
        .map(|event| match event {
            ProgressEvent::Committed(receipt) => receipt.inserted,
            _ => 0,
        })
        .sum();
    assert_eq!((read, inserted), (10, 10));
    assert_eq!(heard.first(), Some(&ProgressEvent::Started { rows: Some(10) }));
    let Some(ProgressEvent::Ended { report, error, .. }) = heard.last() else {
        panic!("the end is not told: {heard:?}");
    };
    assert_eq!(
        (report.status, report.statistics.records_inserted),
        (RunStatus::Succeeded, 10)
    );
    assert_eq!(*error, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_holds_its_lease_to_the_end() {
    let shop = Shop::new(&["A"]);
    let run = run_of(vec![Route::new(vec![shop.export("A", Faults::never())])]);
    let (runner, token) = (shop.runner(), CancellationToken::new());
    let second = async {
        tokio::task::yield_now().await;
        runner.run(&run, &token).await
    };
    let (first, second) = tokio::join!(runner.run(&run, &token), second);
    assert!(matches!(first, RunOutcome::Finished(_)));
    assert!(matches!(second, RunOutcome::Busy { .. }));
    let free = shop.store.lease("shop", "next").await.unwrap();
    assert!(matches!(free, LeaseOutcome::Held(_)));
}

/// A store that gives a lease to everybody who asks.
struct Liar(MemoryStore);

#[async_trait]
impl StateStore for Liar {
    async fn load(&self, sync: &SyncId) -> Result<Loaded> {
        self.0.load(sync).await
    }

    async fn save(&self, sync: &SyncId, expected: Option<u64>, state: &TableState) -> Result<SaveOutcome> {
        self.0.save(sync, expected, state).await
    }

    async fn history(&self, sync: &SyncId) -> Result<Vec<StoredState>> {
        self.0.history(sync).await
    }

    async fn list(&self) -> Result<Vec<SyncId>> {
        self.0.list().await
    }

    async fn remove(&self, sync: &SyncId) -> Result<()> {
        self.0.remove(sync).await
    }

    async fn lease(&self, name: &str, holder: &str) -> Result<LeaseOutcome> {
        self.0.lease(&format!("{name} for {holder}"), holder).await
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_runs_that_both_hold_the_lease_one_copies() {
    let shop = Shop::new(&["A"]);
    let runs = [(1, "process 1"), (2, "process 2")].map(|(seed, holder)| {
        let store = Arc::new(Liar(shop.store.clone()));
        let runner = Runner::new(store, shop.clock.clone(), Arc::new(SeededIds::new(seed)));
        let mut run = run_of(vec![Route::new(vec![shop.export("A", Faults::never())])]);
        run.holder = holder.into();
        async move { runner.run(&run, &CancellationToken::new()).await }
    });
    let [one, two] = runs;
    let (one, two) = tokio::join!(one, two);
    let reports = [one, two].map(|outcome| match outcome {
        RunOutcome::Finished(report) => report,
        RunOutcome::Busy { holder } => panic!("busy with {holder}"),
    });
    let read = reports
        .each_ref()
        .map(|report| report.statistics.records_processed);
    assert_eq!(read, [10, 10], "both were at it");
    let inserted: u64 = reports
        .iter()
        .map(|report| report.statistics.records_inserted)
        .sum();
    let table = TableName::new("dbo", "A");
    assert_eq!((inserted, shop.iceberg.commits(&table)), (10, 1));
    assert_eq!(shop.iceberg.rows(&table).len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_one_table_is_that_tables_failure() {
    #[derive(Default)]
    struct Defect(Heard);
    impl Progress for Defect {
        fn hear(&self, sync: &SyncId, event: &ProgressEvent) {
            if sync.as_str().contains("dbo.B") {
                let started = matches!(event, ProgressEvent::Started { .. });
                assert!(!started, "the test's defect");
                self.0.hear(sync, event);
            }
        }
    }
    let shop = Shop::new(&["A", "B"]);
    let mut runner = shop.runner();
    let heard = Arc::new(Defect::default());
    runner.progress = heard.clone();
    let routes = ["A", "B"].map(|table| Route::new(vec![shop.export(table, Faults::never())]));
    let report = finished(&runner, routes.into()).await;
    let statuses: Vec<_> = report.tables.iter().map(|table| table.status).collect();
    assert_eq!(statuses, [RunStatus::Succeeded, RunStatus::Failed]);
    assert_eq!(report.errors[0].table.as_deref(), Some("dbo.B"));
    assert_eq!(report.errors[0].kind, "internal");
    assert_eq!(heard.0.ends(), [(RunStatus::Failed, Some("internal".to_owned()))]);
}
