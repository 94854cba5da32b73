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
fn a_secret_that_is_written_in_the_file_is_a_warning_of_check() {
    let world = World::with(CUSTOMERS);
    let password = world.emulator.password();
    let check = || {
        let mut command = world.command(&["check"]);
        let ended = Ended::new(&command.env("SOURCE_PASSWORD", password).output().unwrap());
        ended.expect(exit::SUCCESS, &[]).never_says(password);
        ended
    };
    world.configure(ONLY_CUSTOMERS);
    #[cfg(unix)]
    for (mode, others) in [(0o600, false), (0o640, true), (0o604, true)] {
        use std::os::unix::fs::PermissionsExt;

        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(world.path("sync.yaml"), permissions).unwrap();
        let told = check().text.contains("other users of this machine can read");
        assert_eq!(told, others, "{mode:o}");
    }
    check().expect(
        exit::SUCCESS,
        &[
            "! configuration: `source.sqlserver.password` is written in",
            "sync.yaml",
            "use `${SOURCE_PASSWORD}`",
            "use `${TARGET_PASSWORD}`",
        ],
    );
    let literal = format!("password: {password}");
    world.configure_but(ONLY_CUSTOMERS, &[(&literal, "password: ${SOURCE_PASSWORD}")]);
    check().never_says("configuration:");
}

#[test]
fn what_is_not_found_is_told_with_where_to_look() {
    let world = World::with(CUSTOMERS);
    world.configure(ONLY_CUSTOMERS);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    for (command, advice) in [
        (
            ["inspect", "dbo.Customers", "--snapshot", "nope"],
            "`sync-cli snapshots` lists what there is",
        ),
        (
            ["state", "reset", "-t", "dbo.Nope"],
            "`sync-cli state show` lists what it holds",
        ),
        (
            ["status", "-t", "dbo.Nope", "-v"],
            "check the name and that the login can see it",
        ),
    ] {
        world.call(&command).expect(exit::FAILURE, &[advice]);
    }
    world.configure("- table: dbo.Customers\n  capture: { where: nope = 1 }");
    for command in ["check", "run"] {
        world
            .call(&[command])
            .expect(exit::FAILURE, &["207", "correct `capture.where`"]);
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
