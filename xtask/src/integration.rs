//! Real data through the whole way, and readers that we did not write as judges.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::cargo::{Profile, Programs, root, succeed};
use crate::python::Python;
use crate::server::Server;
use crate::sync::SyncCli;
use crate::types;

/// How the suite runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Use the real SQL Server image by testcontainers instead of the emulator.
    #[arg(long)]
    pub(crate) docker: bool,
}

const DATABASES: [&str; 2] = ["flights", "mirror"];
const TABLES: [&str; 6] = [
    "airlines",
    "airports",
    "planes",
    "weather",
    "flights",
    "flights_raw",
];

/// Keys that `verify` has to name after `plant.sql`: table and the key as it prints it.
const PLANTED: [(&str, &str); 9] = [
    ("dbo.airlines", r#"different {"carrier":"AA"}"#),
    ("dbo.airports", r#"different {"faa":"06A"}"#),
    ("dbo.airports", r#"different {"faa":"ATL"}"#),
    ("dbo.planes", r#"different {"tailnum":"N103US"}"#),
    ("dbo.planes", r#"different {"tailnum":"N102UW"}"#),
    (
        "dbo.weather",
        r#"different {"origin":"EWR","time_hour":"2013-06-01T12:00:00"}"#,
    ),
    (
        "dbo.weather",
        r#"different {"origin":"LGA","time_hour":"2013-06-01T12:00:00"}"#,
    ),
    ("dbo.flights", r#"different {"flight_id":11}"#),
    ("dbo.flights", r#"different {"flight_id":12}"#),
];

/// Runs the suite; ends with an error at the first thing that is not as it should be.
pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = root().join("target/integration");
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("the last run's directory cannot be removed")?;
    }
    std::fs::create_dir_all(&directory)?;
    let databases = [DATABASES, types::DATABASES].concat();
    let container = options
        .docker
        .then(|| Server::container(&databases))
        .transpose()?;
    let python = Python::prepare("python", &["tests/requirements.txt"])?;
    println!("━━ Random histories, written by the engine, are read by PyIceberg and DuckDB\n");
    crate::cargo::test_readers(python.program())?;
    let programs = Programs::build(Profile::Dev)?;
    let server = match container {
        Some(server) => server,
        None => Server::emulator(&programs, &databases, &directory, None)?,
    };
    types::run(&programs, &server, &python, &directory)?;
    let suite = Suite {
        sync: SyncCli::new(&programs, "tests/flights/sync.yaml", &server, &directory)?,
        server,
        python,
        directory: &directory,
    };
    suite.first_copy()?;
    suite.changes()?;
    suite.nothing_new()?;
    suite.planted_differences()?;
    println!("\nintegration: everything is as it should be");
    Ok(())
}

struct Suite<'a> {
    sync: SyncCli,
    server: Server,
    python: Python,
    directory: &'a Path,
}

impl Suite<'_> {
    fn first_copy(&self) -> Result<()> {
        println!("━━ The flights data is loaded and copied\n");
        let mut load = self.python.script("tests/flights/load.py");
        succeed(load.args(self.server.arguments("flights")))?;
        self.sync.must(&["run"])?;
        self.sync.must(&["verify"])?;
        self.metrics()?;
        self.compare()
    }

    fn changes(&self) -> Result<()> {
        println!("━━ A part changes\n");
        self.server.execute("flights", &script("change.sql")?)?;
        self.sync.must(&["run"])?;
        self.sync.must(&["verify"])?;
        self.compare()?;
        println!(
            "━━ Flights are deleted, which their timestamp cannot show; a full copy brings it in line\n"
        );
        self.server.execute("flights", &script("delete.sql")?)?;
        self.sync.must(&["run", "--table", "dbo.flights"])?;
        let code = self.sync.show(&["verify", "--table", "dbo.flights"])?;
        ensure!(
            code == 3,
            "verify ended with {code}, but it should find the deleted flights"
        );
        self.sync.must(&["run", "--table", "dbo.flights", "--full"])?;
        self.sync.must(&["verify"])?;
        self.compare()
    }

    fn nothing_new(&self) -> Result<()> {
        println!("━━ Nothing changes: PyIceberg sees no new snapshot and no new file\n");
        let before = self.seen_by_pyiceberg()?;
        self.sync.must(&["run"])?;
        ensure!(
            self.seen_by_pyiceberg()? == before,
            "a run without changes made a snapshot or a file"
        );
        std::fs::remove_dir_all(self.directory.join("state")).context("the state store cannot be removed")?;
        self.sync.must(&["run"])?;
        ensure!(
            self.seen_by_pyiceberg()? == before,
            "a run without changes and without its state made a snapshot or a file"
        );
        Ok(())
    }

    /// The snapshots and data files of all tables.
    fn seen_by_pyiceberg(&self) -> Result<serde_json::Value> {
        let mut files = self.python.script("tests/readers/files.py");
        let output = files
            .args(self.warehouses())
            .output()
            .context("Python did not start")?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn warehouses(&self) -> Vec<std::path::PathBuf> {
        TABLES
            .iter()
            .map(|table| self.directory.join("warehouse/dbo").join(table))
            .collect()
    }

    fn planted_differences(&self) -> Result<()> {
        println!(
            "━━ One byte and one NULL are planted in the target, one duplicate in Iceberg: verify names each\n"
        );
        self.server.execute("mirror", &script("plant.sql")?)?;
        let mut plant = self.python.script("tests/readers/plant_duplicate.py");
        succeed(plant.args(self.warehouses()))?;
        let code = self.sync.show(&["verify"])?;
        ensure!(
            code == 3,
            "verify ended with {code}, but it should find what was planted"
        );
        let (_, report) = self.sync.json(&["verify"])?;
        let tables = report.as_array().context("verify prints a list")?;
        for (table, key) in PLANTED {
            let entry = tables
                .iter()
                .find(|entry| entry["table"] == table)
                .with_context(|| format!("{table} is missing"))?;
            ensure!(
                names(entry, "target", key),
                "verify should name {key} in the target's {table}: {entry}"
            );
        }
        for entry in tables {
            let doubled = count(entry, "iceberg", "extra");
            ensure!(
                doubled == Some(1),
                "verify should find one doubled row in Iceberg: {entry}"
            );
        }
        // Without a key a row that differs is one that is missing and one that is extra, each named whole.
        let raw = tables
            .iter()
            .find(|entry| entry["table"] == "dbo.flights_raw")
            .context("dbo.flights_raw is missing")?;
        let differing = ["missing", "extra"].map(|kind| count(raw, "target", kind));
        ensure!(
            differing == [Some(2), Some(2)],
            "verify should find two rows that differ in the target: {raw}"
        );
        Ok(())
    }

    /// What the runs so far have left for node_exporter, as Prometheus' client reads it, against the state store.
    fn metrics(&self) -> Result<()> {
        let (_, status) = self.sync.json(&["status"])?;
        let mut read = self.python.script("tests/readers/metrics.py");
        succeed(
            read.arg(self.directory.join("sync_flights.prom"))
                .arg(status.to_string()),
        )
    }

    /// Every row, sorted, against DuckDB and PyIceberg: of the source, and of the target.
    fn compare(&self) -> Result<()> {
        for database in DATABASES {
            let mut command = self.python.script("tests/flights/compare.py");
            command
                .args(self.server.arguments(database))
                .arg("--warehouse")
                .arg(self.directory.join("warehouse"))
                .args(TABLES);
            succeed(&mut command)?;
        }
        println!();
        Ok(())
    }
}

fn script(name: &str) -> Result<String> {
    std::fs::read_to_string(root().join("tests/flights").join(name))
        .with_context(|| format!("tests/flights/{name} cannot be read"))
}

fn count(entry: &serde_json::Value, side: &str, kind: &str) -> Option<u64> {
    let sides = entry["columns"].as_array().into_iter().flatten();
    sides
        .filter(|column| column["side"] == side)
        .find_map(|column| column[kind].as_u64())
}

fn names(entry: &serde_json::Value, side: &str, key: &str) -> bool {
    let sides = entry["columns"].as_array().into_iter().flatten();
    sides
        .filter(|column| column["side"] == side)
        .flat_map(|column| column["keys"].as_array().into_iter().flatten())
        .any(|named| named == key)
}
