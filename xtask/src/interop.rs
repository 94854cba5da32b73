//! Tables between us and engines that we did not write, both ways: theirs are read and written into here, and ours, with long random
//! histories, are read by PyIceberg, DuckDB and Spark.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{interop_test, root, succeed};
use crate::python::Python;

/// Spark's way to Iceberg.
const RUNTIME: &str = "org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:1.11.0";

/// What is read by whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many histories; they go round eight kinds of table (v2 and v3; whole, and by day, bucket and truncate).
    #[arg(long, default_value_t = 24)]
    seeds: u32,
    /// How many operations a history has.
    #[arg(long, default_value_t = 200)]
    operations: u32,
    /// Leave Spark out, which needs Java 17, Maven and a download of 500 MB.
    #[arg(long)]
    without_spark: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let warehouse = root().join("target/interop");
    if warehouse.exists() {
        std::fs::remove_dir_all(&warehouse).context("cannot remove the tables of an earlier run")?;
    }
    std::fs::create_dir_all(&warehouse)?;
    let mut requirements = vec!["tests/requirements.txt"];
    if !options.without_spark {
        requirements.push("tests/readers/interop.txt");
    }
    let python = Python::prepare("python-interop", &requirements)?;
    if !options.without_spark {
        foreign_tables(&python, &warehouse)?;
    }
    println!(
        "━━ Histories of {} operations, at every retained snapshot\n",
        options.operations
    );
    let settings = [
        ("INTEROP_SEEDS", options.seeds),
        ("INTEROP_OPERATIONS", options.operations),
    ];
    interop_test("tables_for_other_engines", &warehouse, &settings)?;
    let mut read = python.script("tests/readers/interop.py");
    read.arg(&warehouse).arg("--mutants");
    if !options.without_spark {
        read.arg("--spark").arg(spark_runtime()?);
    }
    succeed(&mut read)
}

/// Tables of other engines are read here and written into, and read there again.
fn foreign_tables(python: &Python, warehouse: &Path) -> Result<()> {
    println!("━━ Tables that Spark and PyIceberg write\n");
    let runtime = spark_runtime()?;
    let foreign = |action: &str| {
        let mut command = python.script("tests/readers/foreign.py");
        command.arg(action).arg(warehouse).arg("--spark").arg(&runtime);
        succeed(&mut command)
    };
    foreign("write")?;
    interop_test("tables_of_other_engines", warehouse, &[])?;
    foreign("check")
}

/// The runtime's jar, fetched by Maven.
pub(crate) fn spark_runtime() -> Result<PathBuf> {
    let directory = root().join("target/spark");
    let name: Vec<_> = RUNTIME.split(':').skip(1).collect();
    let jar = directory.join(format!("{}.jar", name.join("-")));
    if !jar.exists() {
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode", "dependency:copy"]);
        maven.arg(format!("-Dartifact={RUNTIME}"));
        maven.arg(format!("-DoutputDirectory={}", directory.display()));
        succeed(&mut maven).context("Spark needs Maven and Java 17; --without-spark does without")?;
    }
    Ok(jar)
}
