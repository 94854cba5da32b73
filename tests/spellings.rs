//! A key that is spelled anew in a way that its collation ignores: the row is one all the time.

use std::sync::Arc;

use iceberg_reader::IcebergSource;
use model::RunStatus;
use orchestrator::{Flush, Route};
use sqlserver_source::Mode;
use test_support::{Fault, Faults, FaultySink};

use crate::gaps::{expect_equal, table};
use crate::world::World;

/// A street and 300 other orders, copied to every side.
async fn copied(mode: Mode, collation: &str) -> World {
    let mut world = World::start().await;
    world.capture.mode = mode;
    world.sql("ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON");
    world.sql(&format!(
        "CREATE TABLE dbo.Orders (id nvarchar(10) COLLATE {collation} NOT NULL PRIMARY KEY, name nvarchar(40) NULL)"
    ));
    if mode == Mode::ChangeTracking {
        world.sql("ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING");
    }
    world.sql("INSERT INTO dbo.Orders VALUES (N'Strasse', N'row')");
    for id in 0..300 {
        world.sql(&format!("INSERT INTO dbo.Orders VALUES (N'id{id}', N'row')"));
    }
    run(&world, false).await;
    world
}

/// Brings Iceberg and the target up to date, the target perhaps in many commits.
async fn run(world: &World, in_parts: bool) {
    let report = world.run(route(world, in_parts, Faults::never())).await;
    assert_eq!(
        report.metadata.status,
        RunStatus::Succeeded,
        "{:#?}",
        report.errors
    );
}

fn route(world: &World, in_parts: bool, faults: Faults) -> Route {
    let target = FaultySink::new(world.target_sink(), faults).commits_only();
    let source = world.source(&table(), world.capture.clone());
    let mut route = world.route(&table(), source, Arc::new(world.iceberg_sink()), Arc::new(target));
    let apply = &mut route.syncs[1];
    apply.adopt = true;
    if in_parts {
        apply.source = Arc::new(IcebergSource::new(world.catalog.clone()).difference_memory(6_000));
        apply.flush = Flush {
            rows: 1,
            ..Flush::default()
        };
    }
    route
}

#[tokio::test]
async fn a_row_whose_key_is_spelled_anew_is_neither_lost_nor_held_up() {
    for mode in [Mode::Full, Mode::ChangeTracking] {
        for in_parts in [false, true] {
            let world = copied(mode, "Latin1_General_CI_AI").await;
            for spelling in ["Straße", "STRASSE", "Strasse"] {
                world.sql(&format!(
                    "UPDATE dbo.Orders SET id = N'{spelling}' WHERE id = N'Strasse'"
                ));
                world.sql("UPDATE dbo.Orders SET name = name + N'.'");
                run(&world, in_parts).await;
                // Where changes are told by key, Iceberg has both spellings until it is compared.
                let repair = world.repair(&table()).await;
                assert_eq!(
                    repair.metadata.status,
                    RunStatus::Succeeded,
                    "{:?}",
                    repair.errors
                );
                run(&world, in_parts).await;
                expect_equal(&world).await;
            }
        }
    }
}

#[tokio::test]
async fn a_target_that_tells_spellings_apart_has_the_new_one_alone() {
    let world = copied(Mode::ChangeTracking, "Latin1_General_CI_AS").await;
    world.mirror("DROP TABLE dbo.Orders");
    world.mirror(
        "CREATE TABLE dbo.Orders (id nvarchar(10) COLLATE Latin1_General_CS_AS NOT NULL PRIMARY KEY, name nvarchar(40) NULL)",
    );
    let mut route = world.plain_route(&table());
    (route.syncs[1].adopt, route.syncs[1].full) = (true, true);
    let copy = world.run(route).await;
    assert_eq!(copy.metadata.status, RunStatus::Succeeded, "{:#?}", copy.errors);
    for in_parts in [false, true] {
        world.sql("UPDATE dbo.Orders SET id = CASE WHEN id = UPPER(id) COLLATE Latin1_General_BIN2 THEN LOWER(id) ELSE UPPER(id) END");
        run(&world, in_parts).await;
        expect_equal(&world).await;
    }
}

/// What was told in part is told again before what came later, all of it in one commit.
#[tokio::test]
async fn a_key_may_be_spelled_anew_again_before_a_difference_was_told_whole() {
    let world = copied(Mode::ChangeTracking, "Latin1_General_CI_AS").await;
    world.sql("UPDATE dbo.Orders SET id = UPPER(id), name = N'first'");
    let killed = Faults::scripted([None, Some(Fault::Killed)]);
    tokio::select! {
        report = world.run(route(&world, true, killed.clone())) => panic!("it was not killed: {report:#?}"),
        () = killed.killed() => {}
    }
    world.sql("UPDATE dbo.Orders SET id = LOWER(id), name = N'second'");
    run(&world, false).await;
    expect_equal(&world).await;
}
