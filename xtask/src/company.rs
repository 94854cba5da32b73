//! Four writers and a compaction on one table: two of ours, Spark and PyIceberg, in a REST catalog. Each counter is increased by whoever
//! commits first; at the end the counters amount to what was acknowledged.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::cargo::{root, succeed, test_program};
use crate::catalogs::{Process, quietly, servers, tempdir};
use crate::python::Python;

/// How long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Minutes that the writers write.
    #[arg(long, default_value_t = FULL_MINUTES)]
    minutes: u64,
}

const KEYS: u64 = 200;
/// After so long there must have been conflicts.
const FULL_MINUTES: u64 = 10;

/// And each writer must have been first so many times.
const LEAST_OF_EACH: u64 = 10;

/// Starts everybody, waits, and compares.
pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = tempdir()?;
    let requirements = ["tests/requirements.txt", "tests/company/requirements.txt"];
    let python = Python::prepare("company", &requirements)?;
    let jars = root().join("target/catalogs/spark");
    quietly(
        Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file", "tests/company/spark/pom.xml"])
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", jars.display())),
    )
    .context("Iceberg for Spark needs Maven")?;
    let service = servers::rest(&directory)?;
    succeed(&mut ours("creates_the_table", &service, options))?;
    let mut members = Vec::new();
    for writer in 0..2 {
        let mut command = ours("increments_counters", &service, options);
        command.env("COMPANY_WRITER", writer.to_string());
        members.push(Member::start("ours", &mut command)?);
    }
    for (writer, kind) in [(2, "pyiceberg"), (3, "spark")] {
        let mut command = python.script("tests/company/member.py");
        command
            .args([kind, &service.url, "--writer", &writer.to_string()])
            .args(["--seconds", &(options.minutes * 60).to_string(), "--jars"])
            .arg(&jars);
        members.push(Member::start(kind, &mut command)?);
    }
    members.push(Member::start(
        "compaction",
        &mut ours("compacts", &service, options),
    )?);
    // Everybody is waited for, also where one has failed.
    let results: Vec<_> = members.into_iter().map(Member::finish).collect();
    let results = results.into_iter().collect::<Result<Vec<_>>>()?;
    let mut totals = python.script("tests/company/member.py");
    totals.args(["totals", &service.url, "--jars"]).arg(&jars);
    let totals = Member::start("totals", &mut totals)?.finish()?;
    drop(service);
    std::fs::remove_dir_all(&directory).context("the service's directory cannot be removed")?;
    compare(&results, &totals, options)
}

fn ours(test: &str, service: &Process, options: &Options) -> Command {
    let mut command = test_program(&["company"]);
    command
        .args(["--", "--ignored", "--nocapture", "--exact", test])
        .current_dir(root())
        .env("COMPANY_REST", &service.url)
        .env("COMPANY_SECONDS", (options.minutes * 60).to_string());
    command
}

fn compare(results: &[Value], totals: &Value, options: &Options) -> Result<()> {
    let sum = |name: &str| {
        results
            .iter()
            .filter_map(|result| result[name].as_u64())
            .sum::<u64>()
    };
    let (acknowledged, conflicts) = (sum("acknowledged"), sum("conflicts"));
    let met = sum("compactions_that_met_a_delete");
    println!(
        "\nacknowledged: {acknowledged}; conflicts: {conflicts}; compactions: {} committed, and {met} that met a delete in flight",
        sum("compactions"),
    );
    let expected = serde_json::json!([KEYS, KEYS, acknowledged]);
    let engines = totals.as_object().context("the totals are not by engine")?;
    for (engine, found) in engines {
        ensure!(
            *found == expected,
            "{engine} reads {found} (rows, keys, sum), but {expected} were acknowledged"
        );
        println!("{engine}: {KEYS} rows, {KEYS} keys, and their counters amount to {acknowledged}");
    }
    if options.minutes >= FULL_MINUTES {
        let each = results
            .iter()
            .filter_map(|result| result["acknowledged"].as_u64());
        ensure!(
            conflicts >= 50 && met >= 5 && each.min().is_some_and(|least| least >= LEAST_OF_EACH),
            "there was too little company for the result to mean much: 50 conflicts, 5 compactions that met a delete and \
             {LEAST_OF_EACH} acknowledged increments of each writer are asked for"
        );
    }
    Ok(())
}

/// A process that prints its result on a line of its own.
struct Member {
    name: &'static str,
    child: Child,
}

impl Member {
    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?} did not start"))?;
        Ok(Self { name, child })
    }

    fn finish(self) -> Result<Value> {
        let output = self.child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "{} ended with {}:\n{text}",
            self.name,
            output.status
        );
        let result = text
            .lines()
            .find_map(|line| line.split_once("RESULT "))
            .map(|(_, result)| result);
        let result = result.with_context(|| format!("{} printed no result:\n{text}", self.name))?;
        println!("{}: {result}", self.name);
        Ok(serde_json::from_str(result)?)
    }
}
