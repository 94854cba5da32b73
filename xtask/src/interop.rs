//! Tables with long random histories, read by engines that we did not write: PyIceberg, DuckDB and, if told to, Spark.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{root, succeed, write_histories};
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
    write_histories(&warehouse, options.seeds, options.operations)?;
    let mut requirements = vec!["tests/requirements.txt"];
    if !options.without_spark {
        requirements.push("tests/readers/spark.txt");
    }
    let python = Python::prepare("python-interop", &requirements)?;
    let mut read = python.script("tests/readers/interop.py");
    read.arg(&warehouse).arg("--mutants");
    if !options.without_spark {
        read.arg("--spark").arg(spark_runtime()?);
    }
    succeed(&mut read)
}

/// The runtime's jar, fetched by Maven.
fn spark_runtime() -> Result<PathBuf> {
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
