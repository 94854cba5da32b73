//! History that the source has lost is recognised each time, and repaired without a new copy.

use model::{ChangeSink, RunStatus, TableName};
use sqlserver_source::{Mode, SqlServerSource};

use crate::columns::MODES;
use crate::world::{SHOP, World, capture_id};

pub(crate) fn table() -> TableName {
    TableName::new("dbo", "Orders")
}

const CREATE: &str = "CREATE TABLE dbo.Orders (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL, updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME())";
const TRACK: &str = "ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING";
const CAPTURE: &str =
    "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'Orders', @role_name = NULL";

/// A thousand orders, followed in this mode and in step on all sides.
pub(crate) async fn synchronised(mode: Mode) -> World {
    let mut world = World::start().await;
    world.emulator.clock().freeze();
    world.capture.mode = mode;
    world.sql(
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)",
    );
    world.sql(CREATE);
    match mode {
        Mode::Cdc => drop(world.sql(&format!("EXEC sys.sp_cdc_enable_db; {CAPTURE}"))),
        Mode::Trigger => world.capture.trigger.install = true,
        _ => drop(world.sql(TRACK)),
    }
    for id in 0..1_000 {
        world.sql(&format!(
            "INSERT INTO dbo.Orders (id, name) VALUES ({id}, N'row {id}')"
        ));
    }
    run(&world).await;
    world
}

/// Brings Iceberg and the target up to date, once everything has been captured.
pub(crate) async fn run(world: &World) {
    pass(world);
    let report = world.run(world.plain_route(&table())).await;
    assert_eq!(
        report.metadata.status,
        RunStatus::Succeeded,
        "{:#?}",
        report.errors
    );
}

/// Expects every row on every side, with nothing pending.
pub(crate) async fn expect_equal(world: &World) {
    let report = world.verify(&table()).await;
    let nothing_pending = report.columns.iter().all(|side| side.pending == 0);
    assert!(report.all_match() && nothing_pending, "{report:#?}");
}

/// Lets the capture come to what was written.
fn pass(world: &World) {
    world.emulator.clock().step_ms(1_000);
}

/// Ten rows in a cluster are changed and one is deleted, and nobody will be told of it.
fn change(world: &World) {
    world.sql("UPDATE dbo.Orders SET name = N'changed' WHERE id BETWEEN 500 AND 509; DELETE FROM dbo.Orders WHERE id = 7");
}

/// Expects a gap that says why, repairs it, and expects that runs go on from there.
async fn mended(world: &World, why: &str) {
    pass(world);
    let report = world.run(world.plain_route(&table())).await;
    assert_eq!(report.metadata.status, RunStatus::Gap);
    assert!(report.errors[0].message.contains(why), "{:?}", report.errors);
    let repair = world.repair(&table()).await;
    assert_eq!(
        repair.metadata.status,
        RunStatus::Succeeded,
        "{:?}",
        repair.errors
    );
    let fetched = repair.tables[0].statistics.records_processed;
    assert!(fetched <= 50, "{fetched} of 1,000 rows were fetched to mend 11");
    run(world).await;
    expect_equal(world).await;
    world.sql("UPDATE dbo.Orders SET name = N'later' WHERE id = 1; DELETE FROM dbo.Orders WHERE id = 2");
    run(world).await;
    expect_equal(world).await;
}

#[tokio::test]
async fn changes_that_the_server_has_forgotten() {
    let world = synchronised(Mode::ChangeTracking).await;
    change(&world);
    world.emulator.clock().step_ms(3 * 86_400_000);
    world.sql("INSERT INTO dbo.Orders (id, name) VALUES (1000, N'new')");
    world.sql("EXEC sys.sp_flush_CT_internal_table_on_demand @TableToClean = N'dbo.Orders'");
    mended(&world, "forgotten").await;
}

#[tokio::test]
async fn change_tracking_that_was_off_for_a_while() {
    let world = synchronised(Mode::ChangeTracking).await;
    world.sql("ALTER TABLE dbo.Orders DISABLE CHANGE_TRACKING");
    change(&world);
    world.sql("ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING");
    mended(&world, "switched off").await;
}

#[tokio::test]
async fn a_trigger_that_was_dropped() {
    let world = synchronised(Mode::Trigger).await;
    world.sql(
        "DECLARE @drop nvarchar(300) = (SELECT N'DROP TRIGGER dbo.' + name FROM sys.triggers); EXEC(@drop)",
    );
    change(&world);
    mended(&world, "no trigger").await;
}

/// Nobody is told of it: only `verify` finds it.
#[tokio::test]
async fn a_table_that_was_truncated_under_a_trigger() {
    let world = synchronised(Mode::Trigger).await;
    world.sql("TRUNCATE TABLE dbo.Orders; INSERT INTO dbo.Orders (id, name) VALUES (1, N'alone')");
    run(&world).await;
    let report = world.verify(&table()).await;
    assert_eq!(report.columns[0].extra, 999, "{report:#?}");
}

#[tokio::test]
async fn another_mode_than_before() {
    let mut world = synchronised(Mode::ChangeTracking).await;
    change(&world);
    world.capture.mode = Mode::Incremental;
    world.emulator.clock().step_ms(10_000);
    let report = world.run(world.plain_route(&table())).await;
    assert_eq!(report.metadata.status, RunStatus::Gap);
    world.repair(&table()).await;
    run(&world).await;
    expect_equal(&world).await;
}

/// Rows come and go by a condition that is changed, and nobody tells of them.
#[tokio::test]
async fn another_condition_on_rows_than_before() {
    let mut world = synchronised(Mode::ChangeTracking).await;
    for filter in [Some("id <> 500"), Some("id <> 600"), None] {
        world.capture.filter = filter.map(str::to_owned);
        mended(&world, "`capture.where`").await;
    }
}

#[tokio::test]
async fn changes_that_the_clean_up_has_removed() {
    let world = synchronised(Mode::Cdc).await;
    change(&world);
    pass(&world);
    world.sql("UPDATE dbo.Orders SET name = N'kept' WHERE id = 900");
    pass(&world);
    world.sql(
        "DECLARE @all binary(10) = sys.fn_cdc_get_max_lsn();
         EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_Orders', @low_water_mark = @all",
    );
    mended(&world, "cleaned up").await;
}

#[tokio::test]
async fn a_log_that_was_cut_before_it_was_captured() {
    let world = synchronised(Mode::Cdc).await;
    world.sql("EXEC sys.sp_cdc_stop_job @job_type = N'capture'");
    change(&world);
    world.sql("EXEC sp_emulator_fault 'log truncated'; EXEC sys.sp_cdc_start_job @job_type = N'capture'");
    mended(&world, "was not captured").await;
}

#[tokio::test]
async fn a_capture_that_was_off_for_a_while() {
    let world = synchronised(Mode::Cdc).await;
    world.sql("EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'Orders', @capture_instance = N'all'");
    change(&world);
    pass(&world);
    world.sql(CAPTURE);
    mended(&world, "was not captured").await;
}

#[tokio::test]
async fn a_table_that_was_dropped_and_created_again() {
    for (mode, follow) in [
        (Mode::ChangeTracking, TRACK),
        (Mode::Cdc, CAPTURE),
        (Mode::Incremental, TRACK),
        (Mode::Trigger, ""),
    ] {
        let world = synchronised(mode).await;
        change(&world);
        world.sql("SELECT id, name, updated_at INTO dbo.Kept FROM dbo.Orders; DROP TABLE dbo.Orders");
        pass(&world);
        world.sql(CREATE);
        world.sql(follow);
        world.sql("INSERT INTO dbo.Orders (id, name, updated_at) SELECT id, name, updated_at FROM dbo.Kept");
        pass(&world);
        let report = world.run(world.plain_route(&table())).await;
        assert_eq!(
            report.metadata.status,
            RunStatus::Gap,
            "{mode:?}: {:?}",
            report.errors
        );
        let why = &report.errors[0].message;
        assert!(why.contains("created anew"), "{mode:?}: {why}");
        world.repair(&table()).await;
        run(&world).await;
        expect_equal(&world).await;
    }
}

/// Whether its counters are still behind the position, or have passed it on another way.
#[tokio::test]
async fn a_database_that_was_restored() {
    for (capture, setup) in MODES {
        for more in [0, 30] {
            let mut world = World::start().await;
            world.emulator.clock().freeze();
            world.capture = serde_json::from_str(capture).unwrap();
            world.sql(
                "CREATE TABLE dbo.Orders (id int IDENTITY(1,1) PRIMARY KEY, name nvarchar(40) NULL,
                    updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(), rv rowversion)",
            );
            world.sql(setup);
            insert(&world, "before", 500);
            synchronise(&world).await;
            world.sql(&format!("BACKUP DATABASE {SHOP} TO DISK = N'shop.bak'"));
            insert(&world, "lost", 20);
            synchronise(&world).await;
            world.restore("shop.bak").await;
            insert(&world, "other", more);
            world.emulator.clock().step_ms(5_000);
            let report = world.run(world.plain_route(&table())).await;
            assert_eq!(
                report.metadata.status,
                RunStatus::Gap,
                "{capture}: {:?}",
                report.errors
            );
            let why = &report.errors[0].message;
            assert!(why.contains("restored"), "{capture}: {why}");
            let repair = world.repair(&table()).await;
            assert_eq!(
                repair.metadata.status,
                RunStatus::Succeeded,
                "{capture}: {:?}",
                repair.errors
            );
            let fetched = repair.tables[0].statistics.records_processed;
            assert_eq!(fetched, more.max(20), "{capture}");
            synchronise(&world).await;
            expect_equal(&world).await;
            insert(&world, "later", 10);
            synchronise(&world).await;
            expect_equal(&world).await;
        }
    }
}

fn insert(world: &World, name: &str, rows: u64) {
    for _ in 0..rows {
        world.sql(&format!("INSERT INTO dbo.Orders (name) VALUES (N'{name}')"));
    }
}

/// Like [`run`], in every mode.
async fn synchronise(world: &World) {
    world.emulator.clock().step_ms(5_000);
    run(world).await;
}

/// However the rows that differ lie, those are fetched and no others.
#[tokio::test]
async fn a_repair_fetches_the_rows_that_differ() {
    for (differing, rows) in [
        ("id BETWEEN 500 AND 509", 10),
        ("id % 100 = 3", 10),
        ("id % 2 = 0", 500),
    ] {
        let world = synchronised(Mode::ChangeTracking).await;
        world.sql("ALTER TABLE dbo.Orders DISABLE CHANGE_TRACKING");
        world.sql(&format!(
            "UPDATE dbo.Orders SET name = N'changed' WHERE {differing}"
        ));
        world.sql(TRACK);
        pass(&world);
        let repair = world.repair(&table()).await;
        assert_eq!(
            repair.metadata.status,
            RunStatus::Succeeded,
            "{:?}",
            repair.errors
        );
        assert_eq!(repair.tables[0].statistics.records_processed, rows, "{differing}");
        run(&world).await;
        expect_equal(&world).await;
    }
}

/// Before a table is a gap, `check`, `status` and every run say how near it is.
#[tokio::test]
async fn a_table_that_the_source_will_soon_forget() {
    const HOUR: i64 = 3_600_000;
    for (mode, setup) in [
        (
            Mode::ChangeTracking,
            "ALTER DATABASE CURRENT SET CHANGE_TRACKING (CHANGE_RETENTION = 41 HOURS)",
        ),
        (
            Mode::Cdc,
            "EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = 2460",
        ),
    ] {
        let world = synchronised(mode).await;
        world.sql(setup);
        let source = SqlServerSource::new(world.connect_options(SHOP), [(table(), world.capture.clone())]);
        let sink = world.iceberg_sink();
        let committed = sink.committed(&capture_id(&table()), &table()).await.unwrap();
        let position = committed.mark.unwrap().position().clone();
        for (hours, warned) in [(20, false), (18, true)] {
            world.emulator.clock().step_ms(hours * HOUR);
            // The capture is at work, so that it is not its silence that is told.
            world.sql("UPDATE dbo.Orders SET name = N'changed' WHERE id = 3");
            pass(&world);
            let findings = source.outlook(&table(), &position).await.unwrap();
            let told: Vec<_> = findings.iter().map(|finding| finding.message.as_str()).collect();
            assert_eq!(told.len(), usize::from(warned), "{mode:?}: {told:?}");
        }
        let told = "the server keeps changes for 41 h, and the table is 38 h behind";
        let findings = source.outlook(&table(), &position).await.unwrap();
        assert!(findings[0].message.contains(told), "{mode:?}: {findings:?}");
        let report = world.run(world.plain_route(&table())).await;
        assert_eq!(report.metadata.status, RunStatus::Succeeded);
        assert!(
            report.warnings.iter().any(|warning| warning.contains(told)),
            "{mode:?}: {:?}",
            report.warnings
        );
        expect_equal(&world).await;
    }
}

#[tokio::test]
async fn a_target_that_was_dropped_is_copied_again_and_not_continued() {
    let world = synchronised(Mode::ChangeTracking).await;
    let again = "DROP TABLE dbo.Orders; CREATE TABLE dbo.Orders (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL, \
                 updated_at datetime2(3) NOT NULL)";
    for (drop, status) in [
        (again, RunStatus::Gap),
        ("DROP TABLE dbo.Orders", RunStatus::Failed),
    ] {
        world.mirror(drop);
        world.sql("UPDATE dbo.Orders SET name = N'later' WHERE id = 1");
        pass(&world);
        let report = world.run(world.plain_route(&table())).await;
        assert_eq!(report.metadata.status, status, "{:?}", report.errors);
        let mut full = world.plain_route(&table());
        full.syncs.iter_mut().for_each(|sync| sync.full = true);
        let report = world.run(full).await;
        assert_eq!(
            report.metadata.status,
            RunStatus::Succeeded,
            "{:?}",
            report.errors
        );
        expect_equal(&world).await;
        world.sql("DELETE FROM dbo.Orders WHERE id = (SELECT MAX(id) FROM dbo.Orders)");
        run(&world).await;
        expect_equal(&world).await;
    }
}
