//! Many tables at once: those without anything new are not opened, and none that has something is passed over.

use std::path::Path;
use std::sync::Arc;

use model::{ChangeSource, RunReport, RunStatus, TableName};
use orchestrator::{Route, TableSync};
use sqlserver_client::{Connection, Isolation};
use sqlserver_source::SqlServerSource;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::world::{SHOP, World, capture_id};

/// How many tables there are.
fn tables() -> usize {
    let asked = std::env::var("MANY_TABLES").ok();
    asked.map_or(40, |tables| tables.parse().expect("MANY_TABLES is a number"))
}

/// Configuration, what switches a database on, what switches the table `{t}` on, and how a quiet table is reported.
const MODES: [(&str, &str, &str, &str); 3] = [
    (
        r#"{"mode":"change_tracking"}"#,
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON",
        "ALTER TABLE dbo.{t} ENABLE CHANGE_TRACKING",
        "change_tracking",
    ),
    (
        r#"{"mode":"cdc"}"#,
        "EXEC sys.sp_cdc_enable_db",
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{t}', @role_name = NULL",
        "cdc",
    ),
    (
        r#"{"tracking":{"column":"rv"},"window":{"settle_seconds":0}}"#,
        "",
        "",
        "rowversion",
    ),
];

fn table(number: usize) -> TableName {
    TableName::new("dbo", format!("T{number}"))
}

struct Shop {
    world: World,
    switch_on: &'static str,
    /// What sessions send.
    record: TempDir,
}

impl Shop {
    async fn open((capture, setup, switch_on, _): (&str, &str, &'static str, &str)) -> Self {
        let record = TempDir::new().unwrap();
        let mut world = World::recorded(Some(record.path().to_owned())).await;
        world.emulator.clock().freeze();
        world.capture = serde_json::from_str(capture).unwrap();
        world.sql(setup);
        let shop = Self {
            world,
            switch_on,
            record,
        };
        for number in 0..tables() {
            shop.create(number);
        }
        shop
    }

    fn create(&self, number: usize) {
        let create = "CREATE TABLE dbo.{t} (id int PRIMARY KEY, v nvarchar(20) NULL, rv rowversion)";
        let fill = "INSERT INTO dbo.{t} (id, v) VALUES (1, N'a'), (2, N'b')";
        for sql in [create, self.switch_on, fill] {
            self.sql(number, sql);
        }
    }

    fn sql(&self, number: usize, sql: &str) {
        self.world.sql(&sql.replace("{t}", &format!("T{number}")));
    }

    /// A run over all tables, and how many requests it sent to the source.
    async fn run(&self) -> (RunReport, usize) {
        let world = &self.world;
        world.emulator.clock().step_ms(5_000);
        world.sql("IF EXISTS (SELECT 1 FROM sys.databases WHERE database_id = DB_ID() AND is_cdc_enabled = 1) EXEC sys.sp_cdc_scan");
        let followed = (0..tables()).map(|number| (table(number), world.capture.clone()));
        let source: Arc<dyn ChangeSource> =
            Arc::new(SqlServerSource::new(world.connect_options(SHOP), followed));
        let sink = Arc::new(world.iceberg_sink());
        let routes = (0..tables()).map(|number| {
            let table = table(number);
            let (source, sink) = (source.clone(), sink.clone());
            let sync = TableSync::new(
                capture_id(&table),
                "source → iceberg",
                (source, table.clone()),
                (sink, table),
            );
            Route(vec![sync])
        });
        let before = requests(self.record.path());
        let report = world.run_all(routes.collect()).await;
        (report, requests(self.record.path()) - before)
    }

    async fn expect_equal(&self, but: Option<usize>) {
        for number in (0..tables()).filter(|number| Some(*number) != but) {
            let verify = self.world.capture_comparison(&table(number)).await;
            let report = verify.run(&CancellationToken::new()).await.unwrap().report;
            assert!(
                report.all_match() && report.columns[0].pending == 0,
                "{report:#?}"
            );
        }
    }
}

/// How many messages have arrived: their last packets are marked.
fn requests(record: &Path) -> usize {
    let mut count = 0;
    for file in std::fs::read_dir(record).unwrap() {
        let packets = std::fs::read(file.unwrap().path()).unwrap();
        let mut at = 0;
        while let Some([_, status, high, low]) = packets.get(at..at + 4) {
            count += usize::from(status & 1);
            at += usize::from(u16::from_be_bytes([*high, *low]));
        }
    }
    count
}

#[tokio::test]
async fn quiet_tables_are_asked_for_together() {
    for mode in MODES {
        let shop = Shop::open(mode).await;
        let (_, copying) = shop.run().await;
        let (_, settling) = shop.run().await;
        for _ in 0..2 {
            let (report, requests) = shop.run().await;
            assert_eq!(
                report.metadata.status,
                RunStatus::Succeeded,
                "{:#?}",
                report.errors
            );
            assert!(
                report.tables.iter().all(|table| table.mode == mode.3),
                "{report:#?}"
            );
            assert!(report.tables.iter().all(|table| table.watermark.is_some()));
            println!(
                "{}: {requests} requests for {} tables, {copying} to copy, {settling} thereafter",
                mode.3,
                tables()
            );
            assert!(requests <= 12, "{}: {requests} requests", mode.3);
        }
        shop.expect_equal(None).await;
    }
}

#[tokio::test]
async fn none_that_has_something_is_passed_over() {
    for mode in MODES {
        let shop = Shop::open(mode).await;
        shop.run().await;
        shop.run().await;
        let mut open = Connection::open(&shop.world.connect_options(SHOP)).await.unwrap();
        open.begin(Isolation::ReadCommitted).await.unwrap();
        open.execute("UPDATE dbo.T11 SET v = N'late' WHERE id = 1", &[])
            .await
            .unwrap();
        shop.sql(3, "INSERT INTO dbo.{t} (id, v) VALUES (3, N'c')");
        shop.sql(5, "UPDATE dbo.{t} SET v = N'changed' WHERE id = 1");
        shop.sql(
            7,
            "ALTER TABLE dbo.{t} ADD more int NOT NULL CONSTRAINT more_{t} DEFAULT 7",
        );
        if mode.3 != "rowversion" {
            shop.sql(8, "DELETE FROM dbo.{t} WHERE id = 2");
        }
        shop.sql(9, "DROP TABLE dbo.{t}");
        shop.create(9);
        let (report, _) = shop.run().await;
        let failed: Vec<_> = report.errors.iter().map(|error| error.table.clone()).collect();
        assert_eq!(
            failed,
            [Some("dbo.T7".to_owned()), Some("dbo.T9".to_owned())],
            "{:#?}",
            report.errors
        );
        assert_eq!(report.tables[9].status, RunStatus::Gap);
        open.commit().await;
        // A new column is refused by the default policy, which shows that it was noticed.
        shop.sql(
            7,
            "ALTER TABLE dbo.{t} DROP CONSTRAINT more_{t}; ALTER TABLE dbo.{t} DROP COLUMN more",
        );
        let _ = shop.run().await;
        shop.expect_equal(Some(9)).await;
    }
}

/// A quiet table moves on with the others, so that what the server forgets meanwhile was not its own.
#[tokio::test]
async fn a_quiet_table_keeps_up_with_what_the_server_forgets() {
    let shop = Shop::open(MODES[0]).await;
    shop.run().await;
    for day in 0..4 {
        shop.sql(3, &format!("UPDATE dbo.{{t}} SET v = N'day {day}' WHERE id = 1"));
        shop.world.emulator.clock().step_ms(20 * 3_600_000);
        shop.world.sql("EXEC sys.sp_flush_CT_internal_table_on_demand");
        let (report, _) = shop.run().await;
        assert_eq!(
            report.metadata.status,
            RunStatus::Succeeded,
            "{:#?}",
            report.errors
        );
    }
    shop.expect_equal(None).await;
}
