//! Every type at its edges: inserted and read back by clients that we did not write, against rows typed by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::{Programs, root, succeed};
use crate::python::Python;
use crate::server::Server;
use crate::sync::SyncCli;

/// The databases that [`run`] needs: where the rows come from, and where they go.
pub(crate) const DATABASES: [&str; 2] = ["types", "types_mirror"];

/// pymssql and mssql-jdbc insert, `sync-cli` takes it through Iceberg into the target, mssql-jdbc and PyIceberg read.
pub(crate) fn run(programs: &Programs, server: &Server, python: &Python, directory: &Path) -> Result<()> {
    println!("━━ Every type at its edges\n");
    let directory = directory.join("types");
    std::fs::create_dir_all(&directory)?;
    let [source, target] = DATABASES;
    let java = prepare_java()?;
    let probe = |command: &str| {
        let mut probe = python.script("tests/types/probe.py");
        probe.arg(command).args(server.arguments(source));
        probe.arg("--java").arg(&java);
        probe
    };
    let create = std::fs::read_to_string(root().join("tests/types/create.sql"))
        .context("tests/types/create.sql cannot be read")?;
    server.execute(source, &create)?;
    succeed(&mut probe("insert"))?;

    let sync = SyncCli::new(programs, "tests/types/sync.yaml", server, &directory)?;
    sync.must(&["run"])?;
    sync.must(&["verify"])?;
    succeed(
        probe("compare")
            .args(["--target", target, "--warehouse"])
            .arg(directory.join("warehouse")),
    )?;
    let (code, report) = sync.json(&["run"])?;
    ensure!(
        code == 0 && report["statistics"]["records_written"] == 0,
        "the same values were written again: {report:#}"
    );
    println!();
    Ok(())
}

/// Fetches the driver, compiles the probe, and returns the class path of both.
fn prepare_java() -> Result<PathBuf> {
    let classes = root().join("target/jdbc");
    let needs = "the integration suite needs a JDK 17 or later and Maven";
    succeed(
        Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file", "tests/types/jdbc/pom.xml"])
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", classes.display())),
    )
    .context(needs)?;
    let jars = classes.join("*");
    succeed(
        Command::new("javac")
            .arg("-classpath")
            .arg(&jars)
            .arg("-d")
            .arg(&classes)
            .arg("tests/types/jdbc/TypesProbe.java"),
    )
    .context(needs)?;
    Ok(std::env::join_paths([classes, jars])?.into())
}
