//! Names that break whoever does not quote.

use crate::world::{World, exit};

/// Names as they are. Each has what ends an identifier, a literal, a path or a YAML scalar somewhere.
const SCHEMA: &str = "s]c.h 'e' \"m\" 𝒳";
const TABLE: &str = "t]a.b/l%e 'n' \"m\" 𝒳; --";
const KEY: &str = "k]e.y 'k' \"k\" 𝒳";
const VALUE: &str = "v]a.l 'v' \"v\" 𝒳 /*";

fn quoted(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

#[test]
fn hostile_names_go_through_the_whole_relay() {
    let table = format!("{}.{}", quoted(SCHEMA), quoted(TABLE));
    let (key, value) = (quoted(KEY), quoted(VALUE));
    let world = World::with(&format!("CREATE SCHEMA {}", quoted(SCHEMA)));
    world.sql(
        "shop",
        &format!(
            "CREATE TABLE {table} ({key} nvarchar(20) NOT NULL PRIMARY KEY, {value} nvarchar(20) NULL,
             updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME());
             INSERT {table} ({key}, {value}) VALUES (N'a''b', N'1'), (N'c]d', N'2'), (N'𝒳', NULL)"
        ),
    );
    world.configure(&format!("- table: '{}'", table.replace('\'', "''")));
    for command in ["check", "plan", "run", "status", "tables", "verify"] {
        world.call(&[command]).expect(exit::SUCCESS, &[&table]);
    }
    world.sql(
        "shop",
        &format!(
            "UPDATE {table} SET {value} = N'3', updated_at = SYSUTCDATETIME() WHERE {key} = N'c]d';
             INSERT {table} ({key}, {value}) VALUES (N'é', N'4')"
        ),
    );
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
    world
        .call(&["inspect", &table])
        .expect(exit::SUCCESS, &[KEY, VALUE]);
    assert_eq!(world.snapshots(&table), 2);
    world
        .call(&["state", "show", "--table", &table])
        .expect(exit::SUCCESS, &[&table]);

    world.sql(
        "mirror",
        &format!("UPDATE {table} SET {value} = N'x' WHERE {key} = N'é'"),
    );
    world
        .call(&["verify"])
        .expect(exit::DIFFERENT, &["different", "\"é\""]);
}
