//! Tables that are not what the sync takes them for.

use crate::world::{CUSTOMERS, ONLY_CUSTOMERS, World, exit};

#[test]
fn a_target_of_another_shape_is_refused_before_any_row() {
    let adopt = "- table: dbo.Customers\n  adopt: true";
    let cases: &[(&str, &[&str])] = &[
        (
            "CREATE TABLE dbo.Customers (id int NOT NULL PRIMARY KEY, updated_at datetime2(3) NULL)",
            &["name", "missing"],
        ),
        (
            "CREATE TABLE dbo.Customers (id int NOT NULL PRIMARY KEY, name int NULL, updated_at datetime2(3) NULL)",
            &["name", "int"],
        ),
        (
            "CREATE TABLE dbo.Customers (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL, updated_at datetime2(3) NULL,
             region int NOT NULL)",
            &["region", "NOT NULL"],
        ),
        (
            "CREATE VIEW dbo.Customers AS SELECT 1 AS id, N'' AS name, SYSUTCDATETIME() AS updated_at",
            &["dbo.Customers", "view"],
        ),
    ];
    for (target, says) in cases {
        let world = World::with(CUSTOMERS);
        world.sql("mirror", target);
        world.configure(adopt);
        world.call(&["plan"]).expect(exit::FAILURE, says);
        world.call(&["run"]).expect(exit::FAILURE, says);
        if !target.contains("VIEW") {
            assert!(world.target_rows("dbo.Customers").is_empty(), "{target}");
        }
    }
}

#[test]
fn a_value_that_does_not_fit_leaves_the_targets_rows_as_they_were() {
    for (ty, value) in [
        ("nvarchar(4)", "Edsger"),
        ("varchar(20) COLLATE Latin1_General_CI_AS", "Жан"),
        ("varchar(20) COLLATE Japanese_CI_AS", "Zoë"),
    ] {
        let world = World::with(CUSTOMERS);
        world.sql(
            "shop",
            &format!("INSERT dbo.Customers (id, name) VALUES (3, N'{value}')"),
        );
        world.sql(
            "mirror",
            &format!(
                "CREATE TABLE dbo.Customers (id int NOT NULL PRIMARY KEY, name {ty} NULL, updated_at datetime2(3) NULL);
                 INSERT dbo.Customers VALUES (7, N'old', NULL)"
            ),
        );
        world.configure("- table: dbo.Customers\n  adopt: true");
        let before = world.target_rows("dbo.Customers");
        let short = ty.split(' ').next().unwrap();
        world
            .call(&["run"])
            .expect(exit::FAILURE, &["column \"name\"", short]);
        assert_eq!(world.target_rows("dbo.Customers"), before);
        world.sql(
            "mirror",
            "ALTER TABLE dbo.Customers ALTER COLUMN name nvarchar(20) NULL",
        );
        world.call(&["run"]).expect(exit::SUCCESS, &[]);
        assert_eq!(world.target_rows("dbo.Customers").len(), 4);
    }
}

#[test]
fn a_sql_table_of_somebody_else_is_refused_until_it_is_adopted() {
    let world = World::with(CUSTOMERS);
    world.sql(
        "mirror",
        "CREATE TABLE dbo.Customers (id int NOT NULL PRIMARY KEY, name nvarchar(20) NULL, updated_at datetime2(3) NULL);
         INSERT dbo.Customers VALUES (1, N'Theirs', NULL)",
    );
    world.configure(ONLY_CUSTOMERS);
    let before = world.target_rows("dbo.Customers");
    for command in ["plan", "run"] {
        world
            .call(&[command])
            .expect(exit::FAILURE, &["dbo.Customers", "not created by", "adopt: true"]);
    }
    assert_eq!(world.target_rows("dbo.Customers"), before);
    world.configure("- table: dbo.Customers\n  adopt: true");
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
}

#[test]
fn tables_of_another_sync_are_refused_until_both_are_to_write_to_them() {
    let world = World::with(CUSTOMERS);
    world.configure(ONLY_CUSTOMERS);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    let before = world.target_rows("dbo.Customers");
    world.sql(
        "shop",
        "UPDATE dbo.Customers SET name = N'Changed', updated_at = SYSUTCDATETIME()",
    );
    for (warehouse, named) in [
        ("warehouse", "bad/dbo.Customers/capture"),
        ("another", "bad/dbo.Customers/apply"),
    ] {
        let (is, other) = (world.path("warehouse"), world.path(warehouse));
        let replace = [
            ("sync: bad", "sync: other"),
            (is.to_str().unwrap(), other.to_str().unwrap()),
        ];
        world.configure_but(ONLY_CUSTOMERS, &replace);
        for command in ["check", "plan", "run"] {
            let refused = ["dbo.Customers", "another sync", named, "adopt: true"];
            world.call(&[command]).expect(exit::FAILURE, &refused);
        }
        assert_eq!(world.target_rows("dbo.Customers"), before);
    }
    // Its own sync goes on, and another one may take part.
    world.configure(ONLY_CUSTOMERS);
    world
        .call(&["run"])
        .expect(exit::SUCCESS, &["4 rows read, 4 written"]);
    world.configure_but(
        "- table: dbo.Customers\n  adopt: true",
        &[("sync: bad", "sync: other")],
    );
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
}

#[test]
fn a_table_that_is_gone_is_its_own_affair() {
    let world = World::with(CUSTOMERS);
    world.sql(
        "shop",
        "CREATE TABLE dbo.Clients (id int NOT NULL PRIMARY KEY, updated_at datetime2(3) NULL)",
    );
    world.configure("- table: dbo.Clients\n- table: dbo.Customers");
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world.sql(
        "shop",
        "DROP TABLE dbo.Clients; INSERT dbo.Customers (id, name, updated_at) VALUES (9, N'Nine', SYSUTCDATETIME())",
    );
    let gone = "there is no table dbo.Clients";
    for command in ["check", "plan", "run"] {
        world.call(&[command]).expect(exit::FAILURE, &[gone]);
    }
    assert_eq!(world.target_rows("dbo.Customers").len(), 3);
    world.call(&["verify"]).expect(
        exit::FAILURE,
        &[
            "dbo.Clients could not be compared",
            gone,
            "not all tables could be compared",
        ],
    );
    world.call(&["verify", "--repair"]).expect(exit::FAILURE, &[gone]);
    for command in [
        &["verify", "--table", "dbo.Customers"] as &[&str],
        &["maintain", "compact"],
        &["maintain", "expire"],
        &["status"],
    ] {
        world.call(command).expect(exit::SUCCESS, &["dbo.Customers"]);
    }
}

/// `run` writes such values exactly, so `verify` must not call them different.
#[test]
fn an_adopted_table_is_compared_by_its_values_whatever_its_spelling_and_its_types() {
    let world = World::with(
        "CREATE TABLE dbo.Parts (Id int NOT NULL PRIMARY KEY, Weight real NULL, Pieces int NULL, Price decimal(9, 2) NULL);
         INSERT dbo.Parts VALUES (1, 0.1, 5, 1.5), (2, NULL, NULL, NULL), (3, -2.5, 70000, 0)",
    );
    world.sql(
        "mirror",
        "CREATE TABLE dbo.Parts (ID int NOT NULL PRIMARY KEY, WEIGHT float NULL, PIECES decimal(12, 3) NULL, PRICE money NULL)",
    );
    world.configure("- table: dbo.Parts\n  adopt: true\n  capture: { mode: full }");
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
    world.sql(
        "mirror",
        "UPDATE dbo.Parts SET WEIGHT = 0.1 WHERE ID = 1; UPDATE dbo.Parts SET PIECES = 70000.001 WHERE ID = 3;
         INSERT dbo.Parts VALUES (4, NULL, NULL, NULL)",
    );
    let differs = ["different {\"Id\":1}", "different {\"Id\":3}", "extra {\"Id\":4}"];
    world.call(&["verify"]).expect(exit::DIFFERENT, &differs);
    world
        .call(&["verify", "--table", "dbo.Parts", "--from", "2", "--to", "3"])
        .expect(exit::DIFFERENT, &differs[1..2]);
    world
        .call(&["verify", "--repair", "--confirm-deletes"])
        .expect(exit::SUCCESS, &[]);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
}

#[test]
fn a_layout_by_a_column_that_is_not_there_is_refused_before_anything_is_made() {
    let world = World::with(CUSTOMERS);
    world.configure("- table: dbo.Customers\n  layout: { partition: ['day(nope)'] }");
    for command in ["check", "plan", "run"] {
        world
            .call(&[command])
            .expect(exit::FAILURE, &["dbo.Customers", "nope"]);
    }
    assert!(!world.path("warehouse/dbo/Customers").exists());
}

#[test]
fn an_iceberg_table_of_somebody_else_is_refused_until_it_is_adopted() {
    let world = World::with(CUSTOMERS);
    world.configure(ONLY_CUSTOMERS);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    // The same table as another writer would have left it: without any property of ours.
    let metadata = world.path("warehouse/dbo/Customers/metadata");
    let version = std::fs::read_to_string(metadata.join("version-hint.text")).unwrap();
    let newest = metadata.join(format!("v{}.metadata.json", version.trim()));
    let mut table: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&newest).unwrap()).unwrap();
    table["properties"] = serde_json::json!({});
    table["snapshots"] = serde_json::json!([]);
    table["snapshot-log"] = serde_json::json!([]);
    table["refs"] = serde_json::json!({});
    table.as_object_mut().unwrap().remove("current-snapshot-id");
    std::fs::write(&newest, table.to_string()).unwrap();
    std::fs::remove_dir_all(world.path("state")).unwrap();
    world.sql("mirror", "DROP TABLE dbo.Customers; DELETE FROM _sync.applied");

    for command in ["plan", "run"] {
        world
            .call(&[command])
            .expect(exit::FAILURE, &["dbo.Customers", "not created by", "adopt: true"]);
    }
    assert_eq!(world.snapshots("dbo.Customers"), 0);
    world.configure("- table: dbo.Customers\n  adopt: true");
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
}

#[test]
fn a_second_plain_run_of_a_table_without_a_key_is_refused_with_the_choices() {
    let world = World::with(
        "CREATE TABLE dbo.Log (line nvarchar(20) NULL); INSERT dbo.Log VALUES (N'a'), (N'a'), (NULL)",
    );
    world.configure("- table: dbo.Log");
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    let (snapshots, rows) = (world.snapshots("dbo.Log"), world.target_rows("dbo.Log"));
    assert_eq!(rows.len(), 3);
    world.call(&["run"]).expect(
        exit::FAILURE,
        &["dbo.Log", "no key", "--full", "mode: full", "primary key"],
    );
    assert_eq!(world.snapshots("dbo.Log"), snapshots);
    assert_eq!(world.target_rows("dbo.Log"), rows);
    world.sql("shop", "INSERT dbo.Log VALUES (N'b')");
    world.call(&["verify"]).expect(exit::DIFFERENT, &["missing"]);
    world.call(&["run", "--full"]).expect(exit::SUCCESS, &[]);
    assert_eq!(world.target_rows("dbo.Log").len(), 4);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
}

/// A pattern means tables; a view is meant by its name, and has the key that its entry declares.
#[test]
fn a_view_that_is_named_is_synchronised_and_others_are_left_out() {
    let world = World::with(CUSTOMERS);
    for view in ["Named", "Other"] {
        world.sql(
            "shop",
            &format!(
                "CREATE VIEW dbo.{view} AS SELECT id, UPPER(name) AS name, updated_at FROM dbo.Customers"
            ),
        );
    }
    let view =
        "- table: dbo.Named\n  capture: { key: [id], tracking: { column: updated_at } }\n- table: dbo.*";
    world.configure(view);
    world.call(&["check"]).expect(exit::SUCCESS, &["dbo.Named"]);
    let run = world.call(&["run"]);
    run.expect(exit::SUCCESS, &["dbo.Named", "dbo.Customers"]);
    run.never_says("dbo.Other");
    world.sql(
        "shop",
        "UPDATE dbo.Customers SET name = N'Barbara', updated_at = SYSUTCDATETIME() WHERE id = 1",
    );
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    let rows = world.target_rows("dbo.Named");
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0][1], world.sql("shop", "SELECT N'BARBARA'")[0][0]);
    world.call(&["verify"]).expect(exit::SUCCESS, &[]);
    let tables = world.call(&["tables"]);
    tables.expect(exit::SUCCESS, &["dbo.Named"]);
    tables.never_says("dbo.Other");
}

/// A sync that begins in Iceberg has tables and a target to check as well.
#[test]
fn check_looks_at_tables_and_target_where_there_is_no_source() {
    let world = World::with(CUSTOMERS);
    world.configure(ONLY_CUSTOMERS);
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    let text = std::fs::read_to_string(world.path("sync.yaml")).unwrap();
    let (head, rest) = text.split_once("source:").unwrap();
    let (_, rest) = rest.split_once("target:").unwrap();
    std::fs::write(world.path("sync.yaml"), format!("{head}target:{rest}")).unwrap();
    world.call(&["check"]).expect(
        exit::SUCCESS,
        &["dbo.Customers: snapshots", "target: rights are sufficient"],
    );
}

#[test]
fn transactions_that_cannot_be_kept_whole_are_refused_with_what_is_missing() {
    let world = World::with(
        "CREATE TABLE dbo.Orders (id int NOT NULL PRIMARY KEY, total int NOT NULL);
         CREATE TABLE dbo.Lines (id int NOT NULL PRIMARY KEY, amount int NOT NULL);
         INSERT dbo.Orders VALUES (1, 30); INSERT dbo.Lines VALUES (1, 10), (2, 20)",
    );
    world.configure("- table: dbo.*\n  capture: { transactions: whole }");
    let missing = [
        "followed in another way",
        "mode: change_tracking",
        "ALLOW_SNAPSHOT_ISOLATION ON",
    ];
    world.call(&["check"]).expect(exit::FAILURE, &missing);
    world.call(&["run"]).expect(exit::FAILURE, &missing[..1]);
    world.expect_nothing_done();
    world.configure("- table: dbo.*\n  capture: { mode: change_tracking, transactions: whole }");
    world.sql(
        "shop",
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON);
         ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING; ALTER TABLE dbo.Lines ENABLE CHANGE_TRACKING",
    );
    world.call(&["run"]).expect(exit::FAILURE, &missing[2..]);
    world.expect_nothing_done();
    world.sql("master", "ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON");
    world
        .call(&["plan"])
        .expect(exit::SUCCESS, &["bring it to one moment"]);
    let one_moment = ["2 tables have snapshots as of one moment: 2", "succeeded"];
    world.call(&["run"]).expect(exit::SUCCESS, &one_moment);
    assert_eq!(world.target_rows("dbo.Lines").len(), 2);
    world.sql("shop", "INSERT dbo.Orders VALUES (2, 7)");
    world.call(&["run"]).expect(exit::SUCCESS, &one_moment);
    assert_eq!(world.target_rows("dbo.Orders").len(), 2);
    // Copied again, each table by itself: the next run brings them together.
    world.sql("shop", "INSERT dbo.Orders VALUES (3, 9)");
    world
        .call(&["run", "--full"])
        .expect(exit::SUCCESS, &[])
        .never_says("as of one moment");
    world.call(&["run"]).expect(exit::SUCCESS, &one_moment);
    world.call(&["verify"]).expect(exit::SUCCESS, &[]);
}
