//! Deletes that are not passed on, from the source to the target and in `verify`.

use std::time::Duration;

use model::RunStatus;
use orchestrator::{Reconcile, Reconciled, Route};
use sqlserver_source::{DeleteOptions, HardDeletes, Mode};

use crate::play::{Play, SECOND};

async fn keeping(ignore_where: Option<&str>) -> Play {
    let mut play = Play::begin(None).await;
    play.sql(
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON; ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING",
    );
    play.world.capture.mode = Mode::ChangeTracking;
    play.world.capture.deletes = DeleteOptions {
        hard: HardDeletes::Ignore,
        ignore_where: ignore_where.map(str::to_owned),
        ..DeleteOptions::default()
    };
    play.sync().await;
    play
}

#[tokio::test]
async fn a_purge_of_the_source_does_not_empty_the_lake() {
    let play = keeping(Some("id < 3")).await;
    play.sql("DELETE FROM dbo.Orders");
    play.insert(9);
    play.later(5 * SECOND);
    play.sync().await;
    let report = play.world.verify(&play.table()).await;
    for side in &report.columns {
        assert_eq!(
            (side.rows, side.rows_here, side.kept, side.extra),
            (1, 3, 2, 0),
            "{report:#?}"
        );
    }
    // However many they are.
    let mut route = play.world.plain_route(&play.table());
    let iceberg = play.world.iceberg_source();
    route.syncs[0].reconcile = Some(Reconcile::new(Duration::ZERO, Reconciled::All, iceberg));
    let report = play.world.run(route).await;
    let compared = report.tables.iter().find(|table| table.mode == "reconcile");
    assert_eq!(
        compared.map(|table| table.status),
        Some(RunStatus::Succeeded),
        "{report:#?}"
    );
    // A repair has nothing to do, and a later delete of the same key is kept as well.
    play.sql("INSERT INTO dbo.Orders (id, name) VALUES (1, N'back')");
    play.later(5 * SECOND);
    play.sync().await;
    play.sql("DELETE FROM dbo.Orders WHERE id = 1");
    play.later(5 * SECOND);
    play.sync().await;
    let report = play.world.verify(&play.table()).await;
    assert!(report.all_match(), "{report:#?}");
    assert_eq!(
        play.world.mirror("SELECT name FROM dbo.Orders WHERE id = 1")[0]
            .rows
            .len(),
        1
    );
}

/// What is not kept on purpose is still found, and repaired alone.
#[tokio::test]
async fn rows_that_nobody_wanted_to_keep_are_extra() {
    let play = keeping(None).await;
    // A repair that deletes more than a tenth of a table would have to be confirmed.
    (100..130).for_each(|id| play.insert(id));
    play.sql("DELETE FROM dbo.Orders WHERE id IN (1, 2)");
    play.later(5 * SECOND);
    play.sync().await;
    play.world.mirror("INSERT INTO dbo.Orders (id, name) VALUES (77, N'stray'); UPDATE dbo.Orders SET name = N'damaged' WHERE id = 2");
    let report = play.world.verify(&play.table()).await;
    let kept: Vec<_> = report
        .columns
        .iter()
        .map(|side| (side.kept, side.extra))
        .collect();
    assert_eq!(kept, [(2, 0), (1, 2)], "{report:#?}");
    play.world.repair(&play.table()).await;
    let report = play.world.verify(&play.table()).await;
    assert!(report.all_match(), "{report:#?}");
    assert_eq!(report.columns[1].kept, 2);
}

/// A full copy would remove what is kept, and is refused.
#[tokio::test]
async fn a_full_copy_is_refused() {
    let play = keeping(None).await;
    play.sql("DELETE FROM dbo.Orders WHERE id = 1");
    let mut route: Route = play.world.plain_route(&play.table());
    route.syncs.truncate(1);
    route.syncs[0].full = true;
    let report = play.world.run(route).await;
    assert_eq!(report.errors[0].kind, "config", "{report:#?}");
    assert!(report.errors[0].message.contains("kept"), "{report:#?}");
}
