//! The crates and the arrows between them, as `docs/architecture.md` draws them. Any other arrow fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate may depend on, outside tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("cdc", &["model"]),
    ("sqlserver-client", &["model"]),
    ("iceberg-table", &["model"]),
    ("state-store", &["model"]),
    ("sqlserver-source", &["sqlserver-client", "cdc", "model"]),
    ("sqlserver-import", &["sqlserver-client", "model"]),
    ("iceberg-writer", &["iceberg-table", "model"]),
    ("iceberg-reader", &["iceberg-table", "model"]),
    (
        "iceberg-maintenance",
        &["iceberg-table", "iceberg-writer", "model"],
    ),
    ("orchestrator", &["model", "cdc"]),
    ("observability", &["model", "orchestrator"]),
    (
        "sync-cli",
        &[
            "model",
            "cdc",
            "sqlserver-client",
            "sqlserver-source",
            "sqlserver-import",
            "iceberg-table",
            "iceberg-writer",
            "iceberg-reader",
            "iceberg-maintenance",
            "state-store",
            "orchestrator",
            "observability",
        ],
    ),
    ("sqlserver-emulator", &[]),
    ("test-support", &["model"]),
    ("xtask", &["sqlserver-client"]),
    ("end-to-end", &[]),
];

/// Crates that nothing in production may name, whoever draws the arrow: they stay behind the crate named here.
const BEHIND: &[(&str, &[&str])] = &[
    ("mssql-tds", &["sqlserver-client"]),
    (
        "iceberg",
        &[
            "iceberg-table",
            "iceberg-writer",
            "iceberg-reader",
            "iceberg-maintenance",
        ],
    ),
    ("parquet", &["iceberg-table", "iceberg-writer"]),
];

/// The dependencies of each crate that count: all but those of its tests, which may use anything.
fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"]
        .as_array()
        .expect("there are packages")
        .iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"]
                .as_array()
                .expect("a package has dependencies")
                .iter();
            let counted = dependencies.filter(|dependency| dependency["kind"] != "dev");
            let names = counted
                .filter_map(|dependency| dependency["name"].as_str())
                .map(str::to_owned)
                .collect();
            (
                package["name"].as_str().expect("a package has a name").to_owned(),
                names,
            )
        })
        .collect()
}

/// The arrows from `name` that are not allowed.
fn forbidden(name: &str, dependencies: &BTreeSet<String>, ours: &BTreeSet<String>) -> Vec<String> {
    let allowed = ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let Some(allowed) = allowed else {
        return vec![format!("{name} is not in the table of arrows")];
    };
    let mut wrong = Vec::new();
    for to in dependencies.intersection(ours) {
        if !allowed.contains(&to.as_str()) {
            wrong.push(format!("{name} → {to}"));
        }
    }
    for (hidden, users) in BEHIND {
        if dependencies.contains(*hidden) && !users.contains(&name) {
            wrong.push(format!("{name} → {hidden}"));
        }
    }
    wrong
}

#[test]
fn there_is_no_arrow_but_those_of_the_table() {
    let packages = packages();
    let ours: BTreeSet<String> = packages.keys().cloned().collect();
    let wrong: Vec<String> = packages
        .iter()
        .flat_map(|(name, package)| forbidden(name, package, &ours))
        .collect();
    assert!(
        wrong.is_empty(),
        "arrows that docs/architecture.md does not draw:\n{}",
        wrong.join("\n")
    );
    for (name, _) in ARROWS {
        assert!(
            packages.contains_key(*name),
            "the table names {name}, which does not exist"
        );
    }
}

#[test]
fn a_forbidden_arrow_is_found() {
    let ours: BTreeSet<String> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let on = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        forbidden("orchestrator", &on(&["model", "iceberg-table"]), &ours),
        ["orchestrator → iceberg-table"]
    );
    assert_eq!(
        forbidden("sync-cli", &on(&["sqlserver-emulator"]), &ours),
        ["sync-cli → sqlserver-emulator"]
    );
    assert_eq!(
        forbidden("cdc", &on(&["model", "mssql-tds"]), &ours),
        ["cdc → mssql-tds"]
    );
    assert_eq!(
        forbidden("newcomer", &on(&[]), &ours),
        ["newcomer is not in the table of arrows"]
    );
    assert!(forbidden("sqlserver-source", &on(&["model", "cdc", "serde"]), &ours).is_empty());
}
