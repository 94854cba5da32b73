//! Configurations that cannot be meant.

use crate::world::{CUSTOMERS, ONLY_CUSTOMERS, World, exit};

/// Entries under `tables`, what else is replaced, and what has to be said.
type Case = (
    &'static str,
    Option<(&'static str, &'static str)>,
    &'static [&'static str],
);

const WRONG: [Case; 7] = [
    (
        "- table: dbo.Customers\n  captur: { mode: full }",
        None,
        &["captur", "line 26", "did you mean `capture`?"],
    ),
    (
        "- table: dbo.Customers\n  capture: { mode: sometimes }",
        None,
        &["sometimes", "line 26", "incremental", "full"],
    ),
    ("  []", None, &["`tables`", "- table: dbo.*"]),
    (
        ONLY_CUSTOMERS,
        Some(("database: mirror", "database: ${NO_SUCH_VARIABLE}")),
        &["NO_SUCH_VARIABLE"],
    ),
    (ONLY_CUSTOMERS, Some(("sync: bad", "sync: a/b")), &["`sync`"]),
    (
        ONLY_CUSTOMERS,
        Some(("attempts: 1", "attempts: 0")),
        &["`run`", "at least 1"],
    ),
    (
        "- table: dbo.*\n  iceberg: a.b",
        None,
        &["pattern", "dbo.*", "an entry of its own"],
    ),
];

#[test]
fn a_wrong_configuration_is_told_before_anything_is_tried() {
    let world = World::with(CUSTOMERS);
    for (tables, replace, says) in WRONG {
        world.configure_but(tables, replace.as_slice());
        for command in ["run", "check", "plan", "verify"] {
            let ended = world.call(&[command]);
            ended
                .expect(exit::USAGE, says)
                .expect(exit::USAGE, &["sync.yaml"]);
            ended.never_says(world.emulator.password());
        }
        world.expect_nothing_done();
    }
}

#[test]
fn a_missing_file_is_told_with_the_way_to_one() {
    let world = World::with(CUSTOMERS);
    world
        .call(&["run"])
        .expect(exit::USAGE, &["sync.yaml", "--config", "sync-cli init"]);
}

#[test]
fn a_missing_table_is_told_with_the_nearest_name() {
    let world = World::with(CUSTOMERS);
    world.configure("- table: dbo.customers");
    let says = ["there is no table dbo.customers", "did you mean dbo.Customers?"];
    for command in ["run", "plan", "check"] {
        world.call(&[command]).expect(exit::FAILURE, &says);
    }
    world.configure(ONLY_CUSTOMERS);
    world
        .call(&["run", "--table", "dbo.Orders"])
        .expect(exit::FAILURE, &["there is no table dbo.Orders"]);
    world.configure("- table: sales.*");
    world
        .call(&["run"])
        .expect(exit::FAILURE, &["no table matches", "sync-cli tables"]);
    world.expect_nothing_done();
}

#[test]
fn two_tables_never_meet_in_one() {
    let world = World::with(CUSTOMERS);
    world.sql("shop", "CREATE TABLE dbo.Clients (id int NOT NULL PRIMARY KEY)");
    for (mapped, place) in [
        ("iceberg: dbo.clients", "in Iceberg"),
        ("target: dbo.CLIENTS", "in the target"),
    ] {
        world.configure(&format!(
            "- table: dbo.Customers\n  {mapped}\n- table: dbo.Clients"
        ));
        let says = ["dbo.Clients", "dbo.Customers", place, "another name"];
        world.call(&["run"]).expect(exit::USAGE, &says);
        world.call(&["check"]).expect(exit::FAILURE, &says);
        world.expect_nothing_done();
    }
}
