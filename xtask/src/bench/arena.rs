//! What the contestants work with: a server with a filled table, and a place for what they write.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::process::{self, Usage, measured};
use super::tables::{Sums, Table};
use crate::cargo::{Programs, root};
use crate::python::Python;
use crate::server::Server;

/// The database that is read.
pub(crate) const SOURCE: &str = "bench";
/// The database that is written.
pub(crate) const TARGET: &str = "mirror";

/// One table on one server.
#[derive(Debug)]
pub(crate) struct Arena<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) server: &'a Server,
    /// None where nothing that is measured needs it.
    pub(crate) python: Option<&'a Python>,
    pub(crate) table: Table,
    pub(crate) expected: Sums,
    pub(crate) directory: PathBuf,
    /// Chunks of a first copy that are read at once.
    pub(crate) connections: usize,
}

/// One run of one contestant.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) client: Usage,
    /// Bytes on the wire, where the contestant counts them.
    pub(crate) bytes: u64,
    pub(crate) sums: Sums,
    /// What the move cost the server.
    pub(crate) server: Usage,
}

impl<'a> Arena<'a> {
    /// Creates the table and loads `rows` rows.
    pub(crate) fn fill(
        programs: &'a Programs,
        server: &'a Server,
        python: Option<&'a Python>,
        table: Table,
        rows: u64,
        directory: PathBuf,
    ) -> Result<Self> {
        let mut arena = Self {
            programs,
            server,
            python,
            table,
            expected: Sums::default(),
            directory,
            connections: 1,
        };
        server.execute(SOURCE, &table.ddl())?;
        let before = process::resident(server.process()?);
        let loaded = arena.worker(SOURCE, &["load", "--rows", &rows.to_string()])?;
        arena.expected = loaded.sums;
        let held = process::resident(server.process()?).saturating_sub(before);
        println!(
            "{}: {rows} rows loaded in {:.1} s; the server holds {} MB, {} bytes a row",
            table.name(),
            loaded.client.seconds,
            held >> 20,
            held / rows.max(1)
        );
        Ok(arena)
    }

    /// Runs work of ours in a process of its own.
    pub(crate) fn worker(&self, database: &str, work: &[&str]) -> Result<Outcome> {
        let mut command = Command::new(self.programs.path("xtask"));
        command
            .args(["bench", "worker"])
            .args(self.server.arguments(database));
        if let Some(server_certificate) = &self.server.server_certificate {
            command.arg("--server-certificate").arg(server_certificate);
        }
        command.args(["--table", self.table.name()]).args(work);
        self.reported(&mut command)
    }

    /// Runs one of our Python scripts on the source.
    pub(crate) fn peer(&self, name: &str, out: &Path) -> Result<Outcome> {
        let mut command = self.script("xtask/src/bench/peers.py")?;
        command
            .arg(name)
            .arg("--out")
            .arg(out)
            .args(["--table", self.table.name()]);
        command.args(self.server.arguments(SOURCE));
        self.reported(&mut command)
    }

    fn script(&self, path: &str) -> Result<Command> {
        let python = self.python.context("this contestant needs Python")?;
        Ok(python.script(path))
    }

    /// Runs `sync-cli` on a configuration of this table alone, with these sections besides or instead.
    pub(crate) fn sync(&self, config: &str, sections: &[Value]) -> Result<Outcome> {
        let config = self.configure(config, sections)?;
        Ok(self.run_sync(&config)?.0)
    }

    /// Writes a configuration.
    pub(crate) fn configure(&self, config: &str, sections: &[Value]) -> Result<PathBuf> {
        let path = self.directory.join(config);
        let mut all = serde_json::json!({
            "sync": "bench",
            "iceberg": { "filesystem": { "warehouse": self.warehouse() } },
            "state": { "file": self.directory.join("state") },
            "tables": [{
                "table": format!("dbo.{}", self.table.name()),
                "capture": { "connections": self.connections },
            }],
        });
        for section in sections {
            let (Some(all), Some(section)) = (all.as_object_mut(), section.as_object()) else {
                continue;
            };
            all.extend(section.clone());
        }
        // JSON is YAML.
        std::fs::write(&path, serde_json::to_string_pretty(&all)?)?;
        Ok(path)
    }

    /// A call of `sync-cli` that answers in JSON.
    pub(crate) fn sync_cli(&self, config: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.path("sync-cli"));
        command
            .arg("--config")
            .arg(config)
            .args(["--output", "json"])
            .args(arguments);
        command
    }

    /// Runs it, and returns what it cost and its report.
    pub(crate) fn run_sync(&self, config: &Path) -> Result<(Outcome, Value)> {
        let (outcome, report) = self.measured(&mut self.sync_cli(config, &["run"]))?;
        let report: Value = serde_json::from_str(&report).context("sync-cli printed no report")?;
        ensure!(report["status"] != "failed", "sync-cli reported {report}");
        Ok((outcome, report))
    }

    /// Compares source and Iceberg row by row.
    pub(crate) fn verified(&self, config: &Path) -> Result<()> {
        let output = self.sync_cli(config, &["verify"]).output()?;
        ensure!(
            output.status.success(),
            "what arrived is not what the source has: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        Ok(())
    }

    /// The configuration section of a database.
    pub(crate) fn end(&self, name: &str, database: &str) -> Value {
        let mut section = serde_json::json!({
            "host": self.server.host,
            "port": self.server.port,
            "database": database,
            "user": self.server.user,
            "password": self.server.password,
            "encrypt": "optional",
            "trust_server_certificate": self.server.server_certificate.is_none(),
        });
        if let Some(server_certificate) = &self.server.server_certificate {
            section["server_certificate"] = server_certificate.display().to_string().into();
        }
        serde_json::json!({ name: { "sqlserver": section } })
    }

    pub(crate) fn warehouse(&self) -> PathBuf {
        self.directory.join("warehouse")
    }

    /// An empty directory for what a contestant writes.
    pub(crate) fn empty(&self, name: &str) -> Result<PathBuf> {
        let directory = self.directory.join(name);
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// The sums of the files that a contestant wrote, as PyArrow reads them.
    pub(crate) fn sums_of(&self, kind: &str, path: &Path) -> Result<Sums> {
        let mut command = self.script("xtask/src/bench/sums.py")?;
        command.arg(kind).arg(path).args(self.table.summed());
        let (_, out) = measured(&mut command)?;
        serde_json::from_str(&out).with_context(|| format!("sums.py printed {out:?}"))
    }

    /// The sums of a table on the server.
    pub(crate) fn sums_on_server(&self, database: &str) -> Result<Sums> {
        let row = self.server.query(database, &self.table.select_sums())?;
        let [rows, key, amount, text] = row.as_slice() else {
            anyhow::bail!("the server gave no sums");
        };
        Ok(Sums {
            rows: u64::try_from(*rows)?,
            key: *key,
            amount: *amount,
            text: *text,
        })
    }

    /// Runs a command to its end, and returns what it cost itself and the server, and what it printed.
    pub(crate) fn measured(&self, command: &mut Command) -> Result<(Outcome, String)> {
        let server = self.server.process()?;
        process::forget_peak(server);
        let before = process::cpu_seconds(server)?;
        let (client, out) = measured(command.current_dir(root()))?;
        let outcome = Outcome {
            client,
            server: Usage {
                seconds: client.seconds,
                cpu_seconds: process::cpu_seconds(server)? - before,
                peak_bytes: process::peak(server),
            },
            ..Outcome::default()
        };
        Ok((outcome, out))
    }

    /// Runs a command that prints its outcome as its last line.
    fn reported(&self, command: &mut Command) -> Result<Outcome> {
        let (mut outcome, out) = self.measured(command)?;
        let line = out.lines().next_back().unwrap_or_default();
        let report: Value =
            serde_json::from_str(line).with_context(|| format!("a contestant printed {out:?}"))?;
        // Its own clock leaves out what a long-running process would do once: starting an interpreter, importing.
        let own = |name: &str, whole: f64| report[name].as_f64().unwrap_or(whole);
        outcome.client.seconds = own("seconds", outcome.client.seconds);
        outcome.client.cpu_seconds = own("cpu_seconds", outcome.client.cpu_seconds);
        outcome.bytes = report["bytes"].as_u64().unwrap_or(0);
        if let Some(sums) = report.get("sums") {
            outcome.sums = serde_json::from_value(sums.clone())?;
        }
        Ok(outcome)
    }
}
