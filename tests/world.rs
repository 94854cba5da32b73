//! A relay on the emulator: `shop` → Iceberg → `mirror`, wired by hand from the crates, as a program of its own would.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use iceberg_reader::IcebergSource;
use iceberg_table::{Catalog, FileSystemCatalog};
use iceberg_writer::{IcebergSink, TableOptions, WriterOptions};
use model::{
    ChangeSink, ChangeSource, Committed, KeyRange, RunReport, RunStatus, StateStore, SyncId, TableName,
    VerifyReport,
};
use orchestrator::{
    DeadLetters, Follow, Following, Repair, Route, Run, RunOutcome, Runner, Side, TableSync, Upstream, Verify,
};
use sqlserver_client::{ConnectOptions, Secret, TypePolicy};
use sqlserver_emulator::{Emulator, EmulatorConfig, EngineConfig, ResultSet, Value};
use sqlserver_import::{ApplyOptions, SqlServerSink};
use sqlserver_source::{CaptureOptions, SqlServerSource};
use state_store::FileStore;
use tempfile::TempDir;
use test_support::{SeededIds, SimClock};
use tokio_util::sync::CancellationToken;

/// The databases on the emulator.
pub(crate) const SHOP: &str = "shop";
pub(crate) const MIRROR: &str = "mirror";

/// An emulator, a warehouse and a state directory.
pub(crate) struct World {
    pub(crate) emulator: Arc<Emulator>,
    directory: TempDir,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) ids: Arc<SeededIds>,
    pub(crate) catalog: Arc<dyn Catalog>,
    /// How every table is captured.
    pub(crate) capture: CaptureOptions,
    /// How Iceberg tables are laid out, where that is declared.
    pub(crate) layouts: Vec<(TableName, TableOptions)>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::recorded(EmulatorConfig::default().record).await
    }

    /// With the sessions recorded in this directory.
    pub(crate) async fn recorded(record: Option<PathBuf>) -> Self {
        let engine = EngineConfig {
            databases: vec![SHOP.into(), MIRROR.into()],
            ..EngineConfig::default()
        };
        let emulator = Emulator::start(EmulatorConfig {
            engine,
            record,
            ..EmulatorConfig::default()
        })
        .await
        .unwrap();
        emulator
            .execute(
                "master",
                &format!("ALTER DATABASE {SHOP} SET ALLOW_SNAPSHOT_ISOLATION ON"),
            )
            .unwrap();
        let directory = TempDir::new().unwrap();
        let (clock, ids) = (Arc::new(SimClock::default()), Arc::new(SeededIds::new(7)));
        let warehouse = directory.path().join("warehouse");
        let catalog =
            FileSystemCatalog::new(warehouse.to_str().unwrap(), clock.clone(), ids.clone()).unwrap();
        let types = TypePolicy::lenient();
        let capture = CaptureOptions {
            types,
            ..CaptureOptions::default()
        };
        Self {
            emulator: Arc::new(emulator),
            directory,
            clock,
            ids,
            catalog: Arc::new(catalog),
            capture,
            layouts: Vec::new(),
        }
    }

    /// Runs a batch in the source database, without the wire.
    pub(crate) fn sql(&self, batch: &str) -> Vec<ResultSet> {
        self.emulator
            .execute(SHOP, batch)
            .unwrap_or_else(|error| panic!("{batch}: {error:?}"))
    }

    /// Runs a batch in the target database, without the wire.
    pub(crate) fn mirror(&self, batch: &str) -> Vec<ResultSet> {
        self.emulator
            .execute(MIRROR, batch)
            .unwrap_or_else(|error| panic!("{batch}: {error:?}"))
    }

    pub(crate) fn connect_options(&self, database: &str) -> ConnectOptions {
        let password = Secret::new(self.emulator.password());
        let port = self.emulator.address().port();
        let mut options = ConnectOptions::new("localhost", port, database, self.emulator.user(), password);
        options.trust_server_certificate = true;
        options
    }

    /// Waits until a session of the source database waits for another one.
    pub(crate) async fn until_blocked(&self) {
        for _ in 0..500 {
            let waiting =
                self.sql("SELECT session_id FROM sys.dm_exec_requests WHERE blocking_session_id <> 0");
            if !waiting[0].rows.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no session waits for another one");
    }

    /// Puts the source database back to a backup, once everybody has left it.
    pub(crate) async fn restore(&self, path: &str) {
        let sql = format!("SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE database_id = DB_ID(N'{SHOP}')");
        for _ in 0..500 {
            let sessions = self.emulator.execute("master", &sql).unwrap();
            if sessions[0].rows[0][0] == Value::Int(0) {
                let restore = format!("RESTORE DATABASE {SHOP} FROM DISK = N'{path}' WITH REPLACE");
                self.emulator.execute("master", &restore).unwrap();
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("somebody stays in the database");
    }

    pub(crate) fn store(&self) -> Arc<dyn StateStore> {
        Arc::new(FileStore::new(
            self.directory.path().join("state"),
            self.clock.clone(),
        ))
    }

    /// Loses the state store, as a disk does.
    pub(crate) fn lose_state(&self) {
        std::fs::remove_dir_all(self.directory.path().join("state")).unwrap();
    }

    pub(crate) fn source(&self, table: &TableName, capture: CaptureOptions) -> Arc<dyn ChangeSource> {
        Arc::new(SqlServerSource::new(
            self.connect_options(SHOP),
            [(table.clone(), capture)],
        ))
    }

    pub(crate) fn iceberg_sink(&self) -> IcebergSink {
        IcebergSink::new(
            self.catalog.clone(),
            WriterOptions::default(),
            self.clock.clone(),
            self.ids.clone(),
        )
        .with_tables(self.layouts.clone())
    }

    pub(crate) fn iceberg_source(&self) -> Arc<dyn ChangeSource> {
        Arc::new(IcebergSource::new(self.catalog.clone()))
    }

    pub(crate) fn target_sink(&self) -> SqlServerSink {
        SqlServerSink::new(self.connect_options(MIRROR), ApplyOptions::default()).unwrap()
    }

    fn target_source(&self, table: &TableName) -> Arc<dyn ChangeSource> {
        let options = CaptureOptions {
            types: TypePolicy::lenient(),
            ..CaptureOptions::default()
        };
        Arc::new(SqlServerSource::new(
            self.connect_options(MIRROR),
            [(table.clone(), options)],
        ))
    }

    /// The way of a table from this source through Iceberg into the target, by these sinks.
    pub(crate) fn route(
        &self,
        table: &TableName,
        source: Arc<dyn ChangeSource>,
        iceberg: Arc<dyn ChangeSink>,
        target: Arc<dyn ChangeSink>,
    ) -> Route {
        let mut capture = TableSync::new(
            capture_id(table),
            "source → iceberg",
            (source, table.clone()),
            (iceberg, table.clone()),
        );
        if !self.capture.window.dead_letters().is_empty() {
            capture.dead_letters = Some(DeadLetters {
                table: dead_letters(table),
                reader: self.iceberg_source(),
            });
        }
        let apply = TableSync::new(
            apply_id(table),
            "iceberg → target",
            (self.iceberg_source(), table.clone()),
            (target, table.clone()),
        );
        Route::new(vec![capture, apply])
    }

    /// The same, by the engine as it is.
    pub(crate) fn plain_route(&self, table: &TableName) -> Route {
        let source = self.source(table, self.capture.clone());
        self.route(
            table,
            source,
            Arc::new(self.iceberg_sink()),
            Arc::new(self.target_sink()),
        )
    }

    /// What runs routes.
    pub(crate) fn runner(&self) -> Runner {
        Runner::new(self.store(), self.clock.clone(), self.ids.clone())
    }

    /// Runs one route.
    pub(crate) async fn run(&self, route: Route) -> RunReport {
        let (runner, run) = (self.runner(), run_of(vec![route]));
        match runner.run(&run, &CancellationToken::new()).await {
            RunOutcome::Finished(report) => *report,
            RunOutcome::Busy { holder } => panic!("the sync is held by {holder}"),
        }
    }

    /// Follows the routes until it is cancelled, with pauses between these.
    pub(crate) async fn follow(
        &self,
        routes: Vec<Route>,
        (interval, max_interval): (Duration, Duration),
        then: &dyn Following,
        cancel: &CancellationToken,
    ) -> RunReport {
        let follow = Follow {
            interval,
            max_interval,
            ..Follow::default()
        };
        let outcome = self.runner().follow(&run_of(routes), &follow, then, cancel).await;
        let RunOutcome::Finished(report) = outcome else {
            panic!("the sync is held by another process");
        };
        assert_eq!(
            report.metadata.status,
            RunStatus::Succeeded,
            "{:#?}",
            report.errors
        );
        *report
    }

    /// Compares source, Iceberg and target.
    pub(crate) async fn verify(&self, table: &TableName) -> VerifyReport {
        let verify = self.comparison(table).await;
        verify.run(&CancellationToken::new()).await.unwrap().report
    }

    /// Compares, and brings the sides that differ in line, each with the one before it.
    pub(crate) async fn repair(&self, table: &TableName) -> RunReport {
        self.repair_range(table, None).await
    }

    /// The same for these keys only.
    pub(crate) async fn repair_range(&self, table: &TableName, range: Option<KeyRange>) -> RunReport {
        let verify = Verify {
            range,
            ..self.comparison(table).await
        };
        let found = verify.run_for_repair(&CancellationToken::new()).await.unwrap();
        let mut route = self.plain_route(table);
        let ends = found.report.columns.iter().zip(found.differing);
        for (sync, (column, differing)) in route.syncs.iter_mut().zip(ends) {
            sync.repair = Some(Repair {
                differing,
                rows: column.rows_here,
                most_deletes_percent: 10,
            });
        }
        let differs = |sync: &TableSync| sync.repair.as_ref().is_some_and(|r| !r.differing.is_empty());
        route.syncs.retain(differs);
        self.run(route).await
    }

    /// The comparison of source, Iceberg and target.
    async fn comparison(&self, table: &TableName) -> Verify {
        let mut verify = self.capture_comparison(table).await;
        let applied = self
            .target_sink()
            .committed(&apply_id(table), table)
            .await
            .unwrap();
        let mut upstreams = verify.others[0].upstream.clone();
        upstreams.push(upstream(table, self.iceberg_source(), applied));
        verify
            .others
            .push(side(table, "target", self.target_source(table), upstreams));
        verify
    }

    /// The comparison of source and Iceberg.
    pub(crate) async fn capture_comparison(&self, table: &TableName) -> Verify {
        let source = self.source(table, self.capture.clone());
        let captured = self
            .iceberg_sink()
            .committed(&capture_id(table), table)
            .await
            .unwrap();
        let by_capture = upstream(table, source.clone(), captured);
        Verify {
            table: table.to_string(),
            first: side(table, "source", source, vec![]),
            others: vec![side(table, "iceberg", self.iceberg_source(), vec![by_capture])],
            keys_named: 10,
            range: None,
            keys_only: false,
            most_deletes_percent: None,
        }
    }

    /// How many snapshots the Iceberg table has.
    pub(crate) async fn snapshots(&self, table: &TableName) -> usize {
        let handle = self.catalog.load(table).await.unwrap().unwrap();
        iceberg_reader::snapshots(&handle).len()
    }
}

/// A run of these routes.
pub(crate) fn run_of(routes: Vec<Route>) -> Run {
    Run {
        name: "world".into(),
        holder: "a test".into(),
        source: SHOP.into(),
        destination: MIRROR.into(),
        routes,
    }
}

fn upstream(table: &TableName, source: Arc<dyn ChangeSource>, committed: Committed) -> Upstream {
    Upstream {
        source,
        table: table.clone(),
        applied: committed.mark.unwrap().position().clone(),
    }
}

fn side(table: &TableName, name: &str, source: Arc<dyn ChangeSource>, upstream: Vec<Upstream>) -> Side {
    Side {
        name: name.into(),
        source,
        table: table.clone(),
        upstream,
    }
}

pub(crate) fn capture_id(table: &TableName) -> SyncId {
    SyncId::new(format!("world/{table}/capture"))
}

/// The table of the rows that are not applied because of their time.
pub(crate) fn dead_letters(table: &TableName) -> TableName {
    TableName::new(table.schema(), format!("{}__dead_letters", table.name()))
}

fn apply_id(table: &TableName) -> SyncId {
    SyncId::new(format!("world/{table}/apply"))
}
