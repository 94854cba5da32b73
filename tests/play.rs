//! A play: what happens to a table of orders while the engine, or a twin of it, synchronises it.

use std::sync::Arc;

use model::{ChangeSink, RunReport, RunStatus, TableName};
use orchestrator::Route;
use sqlserver_client::{Connection, Isolation};
use sqlserver_emulator::Value;
use test_support::{Fault, Faults, FaultySink};

use crate::twins::{Engine, Leg, Rule};
use crate::world::{MIRROR, SHOP, World};

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const HOUR: i64 = 3_600 * SECOND;

/// A world with an `Orders` table of three rows, in which time stands still, and who synchronises it.
pub(crate) struct Play {
    pub(crate) world: World,
    /// About how many rows are copied at once.
    pub(crate) batch_rows: usize,
    engine: Engine,
}

impl Play {
    pub(crate) async fn begin(without: Option<Rule>) -> Self {
        let mut world = World::start().await;
        world.emulator.clock().freeze();
        world.capture.window.settle_seconds = 0;
        let play = Self {
            world,
            batch_rows: 1_000,
            engine: Engine::new(without),
        };
        play.create("PRIMARY KEY");
        play
    }

    fn create(&self, key: &str) {
        self.sql(&format!(
            "CREATE TABLE dbo.Orders (id int NOT NULL {key}, name nvarchar(40) NULL, updated_at datetime2(3) NULL DEFAULT SYSUTCDATETIME())"
        ));
        self.sql("INSERT INTO dbo.Orders (id, name) VALUES (1, N'one'), (2, N'two'), (3, N'three')");
        self.later(5 * SECOND);
    }

    /// The table has no key.
    pub(crate) fn without_key(&self) {
        self.sql("DROP TABLE dbo.Orders");
        self.create("");
    }

    pub(crate) fn table(&self) -> TableName {
        TableName::new("dbo", "Orders")
    }

    pub(crate) fn sql(&self, batch: &str) {
        self.world.sql(batch);
    }

    pub(crate) fn insert(&self, id: i32) {
        self.sql(&format!(
            "INSERT INTO dbo.Orders (id, name) VALUES ({id}, N'row {id}')"
        ));
    }

    /// Lets time pass on the server, backwards if negative.
    pub(crate) fn later(&self, milliseconds: i64) {
        self.world.emulator.clock().step_ms(milliseconds);
    }

    /// A session of an application, in a transaction.
    pub(crate) async fn transaction(&self) -> Connection {
        let mut options = self.world.connect_options(SHOP);
        options.application_name = "test".to_owned();
        let mut connection = Connection::open(&options).await.unwrap();
        connection.begin(Isolation::ReadCommitted).await.unwrap();
        connection
    }

    /// The row versions of the target's rows.
    pub(crate) fn versions(&self) -> Vec<Vec<Value>> {
        self.world
            .mirror("SELECT id, version FROM dbo.Orders ORDER BY id")
            .remove(0)
            .rows
    }

    fn route(&self, faults: impl Fn(Leg) -> Faults) -> Route {
        let (world, table) = (&self.world, self.table());
        let source = world.source(&table, self.engine.capture(&world.capture));
        let iceberg = FaultySink::new(world.iceberg_sink(), faults(Leg::Capture)).commits_only();
        let target = FaultySink::new(world.target_sink(), faults(Leg::Apply)).commits_only();
        let sink =
            |leg, sink: Arc<dyn ChangeSink>| self.engine.sink(leg, sink, world.connect_options(MIRROR));
        let mut route = world.route(
            &table,
            self.engine.source(source, world.connect_options(SHOP)),
            sink(Leg::Capture, Arc::new(iceberg)),
            sink(Leg::Apply, Arc::new(target)),
        );
        for sync in &mut route.syncs {
            sync.batch_rows = self.batch_rows;
        }
        route
    }

    /// Brings Iceberg and the target up to date, and expects success.
    pub(crate) async fn sync(&self) -> RunReport {
        self.succeeds(self.route(|_| Faults::never())).await
    }

    /// The same, while this happens to the first commit of a leg.
    pub(crate) async fn sync_with(&self, leg: Leg, fault: Fault) -> RunReport {
        self.succeeds(self.route(at_first_commit(leg, &Faults::scripted([Some(fault)]))))
            .await
    }

    /// The same by a process that is killed right after its first commit of a leg, before it knows of it.
    pub(crate) async fn sync_killed(&self, leg: Leg) {
        let faults = Faults::scripted([Some(Fault::Killed)]);
        tokio::select! {
            report = self.world.run(self.route(at_first_commit(leg, &faults))) => panic!("it was not killed: {report:#?}"),
            () = faults.killed() => {}
        }
    }

    /// The same, and expects failure.
    pub(crate) async fn fails(&self) -> RunReport {
        let report = self.world.run(self.route(|_| Faults::never())).await;
        let status = report.metadata.status;
        assert_eq!(status, RunStatus::Failed, "{report:#?}");
        report
    }

    async fn succeeds(&self, route: Route) -> RunReport {
        let report = self.world.run(route).await;
        let status = report.metadata.status;
        assert_eq!(status, RunStatus::Succeeded, "{report:#?}");
        report
    }

    /// Expects that every row is on every side, once and as it is, and none is still to come; without a rule, that `verify` finds a
    /// difference.
    pub(crate) async fn end(self) {
        let report = self.world.verify(&self.table()).await;
        match self.engine.without {
            None => {
                let nothing_pending = report.columns.iter().all(|side| side.pending == 0);
                assert!(report.all_match() && nothing_pending, "{report:#?}");
            }
            Some(rule) => assert!(
                !report.all_match(),
                "nothing is lost without {rule:?}, so the scenario proves nothing: {report:#?}"
            ),
        }
    }
}

fn at_first_commit(leg: Leg, faults: &Faults) -> impl Fn(Leg) -> Faults {
    move |of| {
        if of == leg {
            faults.clone()
        } else {
            Faults::never()
        }
    }
}
