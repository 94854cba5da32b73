//! Transactions that are larger than what an increment may hold in memory: they wait in files, and are committed once.

use std::path::Path;

use model::{RunReport, RunStatus};
use orchestrator::{RunOutcome, SpillOptions};
use sqlserver_source::Mode;
use tokio_util::sync::CancellationToken;

use crate::gaps::{expect_equal, synchronised, table};
use crate::world::{World, run_of};

/// A run that holds next to nothing in memory.
async fn run(world: &World, spill: &Path) -> RunReport {
    world.emulator.clock().step_ms(1_000);
    let mut runner = world.runner();
    runner.spill = SpillOptions {
        directory: spill.to_owned(),
    };
    let mut route = world.plain_route(&table());
    for sync in &mut route.syncs {
        sync.flush.bytes = 1;
    }
    match runner.run(&run_of(vec![route]), &CancellationToken::new()).await {
        RunOutcome::Finished(report) => *report,
        RunOutcome::Busy { holder } => panic!("the sync is held by {holder}"),
    }
}

#[tokio::test]
async fn a_transaction_larger_than_memory_is_committed_once_or_not_at_all() {
    for mode in [Mode::Cdc, Mode::ChangeTracking, Mode::Trigger] {
        let world = synchronised(mode).await;
        // More than one batch of it.
        world.sql(
            "BEGIN TRANSACTION;
             UPDATE dbo.Orders SET name = N'changed';
             INSERT INTO dbo.Orders (id, name) SELECT a.id * 1000 + b.id + 1000000, N'new' FROM dbo.Orders AS a CROSS JOIN dbo.Orders AS b WHERE b.id < 18;
             DELETE FROM dbo.Orders WHERE id % 10 = 3;
             UPDATE dbo.Orders SET id = id + 5000 WHERE id < 50;
             COMMIT",
        );
        let before = world.snapshots(&table()).await;
        let nowhere = run(&world, Path::new("/dev/null/spill")).await;
        assert_eq!(nowhere.metadata.status, RunStatus::Failed, "{mode:?}");
        assert!(
            nowhere.errors[0].message.contains("do not fit into memory"),
            "{:?}",
            nowhere.errors
        );
        assert_eq!(
            world.snapshots(&table()).await,
            before,
            "{mode:?}: part of it was applied"
        );

        let directory = tempfile::tempdir().unwrap();
        let report = run(&world, directory.path()).await;
        assert_eq!(
            report.metadata.status,
            RunStatus::Succeeded,
            "{:?}",
            report.errors
        );
        assert_eq!(world.snapshots(&table()).await, before + 1, "{mode:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        expect_equal(&world).await;
    }
}
