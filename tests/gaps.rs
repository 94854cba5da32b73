//! History that the source has lost is recognised each time, and repaired without a new copy.

use model::{RunStatus, TableName};
use sqlserver_source::Mode;

use crate::world::World;

pub(crate) fn table() -> TableName {
    TableName::new("dbo", "Orders")
}

/// A thousand orders under Change Tracking, in step on all sides.
pub(crate) async fn synchronised() -> World {
    let mut world = World::start().await;
    world.capture.mode = Mode::ChangeTracking;
    world.sql(
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON);
         CREATE TABLE dbo.Orders (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL, updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME());
         ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING",
    );
    for id in 0..1_000 {
        world.sql(&format!(
            "INSERT INTO dbo.Orders (id, name) VALUES ({id}, N'row {id}')"
        ));
    }
    run(&world).await;
    world
}

/// Brings Iceberg and the target up to date.
pub(crate) async fn run(world: &World) {
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

/// Ten rows in a cluster are changed and one is deleted, and nobody will be told of it.
fn change(world: &World) {
    world.sql("UPDATE dbo.Orders SET name = N'changed' WHERE id BETWEEN 500 AND 509; DELETE FROM dbo.Orders WHERE id = 7");
}

/// Expects a gap that says why, repairs it, and expects that runs go on from there.
async fn mended(world: &World, why: &str) {
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
    let world = synchronised().await;
    change(&world);
    world.emulator.clock().step_ms(3 * 86_400_000);
    world.sql("INSERT INTO dbo.Orders (id, name) VALUES (1000, N'new')");
    world.sql("EXEC sys.sp_flush_CT_internal_table_on_demand @TableToClean = N'dbo.Orders'");
    mended(&world, "forgotten").await;
}

#[tokio::test]
async fn change_tracking_that_was_off_for_a_while() {
    let world = synchronised().await;
    world.sql("ALTER TABLE dbo.Orders DISABLE CHANGE_TRACKING");
    change(&world);
    world.sql("ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING");
    mended(&world, "switched off").await;
}

#[tokio::test]
async fn another_mode_than_before() {
    let mut world = synchronised().await;
    change(&world);
    world.capture.mode = Mode::Incremental;
    world.emulator.clock().step_ms(10_000);
    let report = world.run(world.plain_route(&table())).await;
    assert_eq!(report.metadata.status, RunStatus::Gap);
    world.repair(&table()).await;
    run(&world).await;
    expect_equal(&world).await;
}
