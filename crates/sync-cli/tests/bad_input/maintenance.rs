//! Maintenance while one direction of a sync stands still.

use crate::world::{CUSTOMERS, ONLY_CUSTOMERS, World, exit};

/// The target was at a compacted snapshot already, so its mark names the one before; capture goes on, and both are old.
#[test]
fn the_snapshot_that_the_target_has_reached_without_a_commit_does_not_expire() {
    let world = World::with(CUSTOMERS);
    world.configure(ONLY_CUSTOMERS);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world.sql(
        "shop",
        "UPDATE dbo.Customers SET name = N'Ada L.', updated_at = SYSUTCDATETIME() WHERE id = 1",
    );
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world
        .call(&["maintain", "compact"])
        .expect(exit::SUCCESS, &["2 rows of 2 files written into 1"]);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);

    world.sql("shop", "INSERT dbo.Customers (id, name) VALUES (3, N'Edsger')");
    world.configure_but(ONLY_CUSTOMERS, &[("database: mirror", "database: away")]);
    let ended = world.call(&["run"]);
    assert_ne!(ended.code, exit::SUCCESS, "{}", ended.text);
    world.configure(ONLY_CUSTOMERS);
    let expired = world.call(&["maintain", "expire", "--older-than", "0"]);
    expired.expect(exit::SUCCESS, &["1 snapshots expired"]);
    assert_eq!(
        expired
            .text
            .matches("the position of dbo.Customers in the target")
            .count(),
        2,
        "{}",
        expired.text
    );
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
}

/// Every run changes a row; nobody calls for maintenance, and the snapshots are few all the same.
#[test]
fn old_snapshots_go_by_themselves() {
    for (after_runs, grace, left) in [(true, "0s", 3), (true, "1h", 7), (false, "0s", 7)] {
        let world = World::with(CUSTOMERS);
        let settings =
            format!("iceberg:\n  expire: {{ after_runs: {after_runs}, keep_at_most: 3, grace: {grace} }}\n");
        world.configure_but(ONLY_CUSTOMERS, &[("iceberg:\n", &settings)]);
        world.call(&["run"]).expect(exit::SUCCESS, &[]);
        for name in ["a", "b", "c", "d", "e", "f"] {
            let change = format!(
                "UPDATE dbo.Customers SET name = N'{name}', updated_at = SYSUTCDATETIME() WHERE id = 1"
            );
            world.sql("shop", &change);
            world.call(&["run"]).expect(exit::SUCCESS, &[]);
        }
        assert_eq!(world.snapshots("dbo.Customers"), left, "{after_runs} {grace}");
        world
            .call(&["verify"])
            .expect(exit::SUCCESS, &["every row matches"]);
    }
}
