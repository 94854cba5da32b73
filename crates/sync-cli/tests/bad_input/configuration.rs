//! Configurations that cannot be meant.

use crate::world::{CUSTOMERS, Ended, ONLY_CUSTOMERS, World, exit};

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
        &[
            "the environment variable NO_SUCH_VARIABLE is not set (line 14)",
            "${NO_SUCH_VARIABLE:-default}",
        ],
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
    let password = world.emulator.password().to_owned();
    let literal = format!("password: {password}");
    for ((tables, replace, says), variable) in WRONG.iter().flat_map(|case| [(case, false), (case, true)]) {
        let mut replace: Vec<_> = replace.iter().copied().collect();
        if variable {
            replace.push((&literal, "password: ${PASSWORD}"));
        }
        world.configure_but(tables, &replace);
        for command in ["run", "check", "plan", "verify"] {
            let mut command = world.command(&[command]);
            let ended = Ended::new(&command.env("PASSWORD", &password).output().unwrap());
            ended
                .expect(exit::USAGE, says)
                .expect(exit::USAGE, &["sync.yaml"]);
            ended.never_says(&password);
        }
        world.expect_nothing_done();
    }
}

#[test]
fn nothing_is_verified_where_nothing_is_meant() {
    let world = World::with(CUSTOMERS);
    world.configure(ONLY_CUSTOMERS);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    let verify = |from, to| world.call(&["verify", "-t", "dbo.Customers", "--from", from, "--to", to]);
    verify("1", "2").expect(exit::SUCCESS, &["every row matches"]);
    verify("5", "1").expect(exit::USAGE, &["begins above its end"]);
    let nothing = verify("5", "9");
    nothing.expect(exit::SUCCESS, &["no row was compared: nothing is in this range"]);
    nothing.never_says("every row matches");
    world.configure("- table: dbo.Customers\n  enabled: false");
    for command in ["run", "verify"] {
        world.call(&[command]).expect(
            exit::USAGE,
            &["every table that was meant is disabled", "enabled: true"],
        );
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
