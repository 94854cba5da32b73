//! What Iceberg tables cost: each case in a process of its own, and the compaction against Spark, which does the same to a twin.

use anyhow::{Context, Result};

use crate::cargo::{bench_tables, root, succeed};
use crate::interop::spark_runtime;
use crate::python::Python;

const CASES: [&str; 5] = ["write", "scan", "upsert", "compaction", "commits"];

/// Which cases, and how large.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these; may be repeated.
    #[arg(long = "only", value_parser = CASES)]
    only: Vec<String>,
    /// Rows, files or commits of the case, instead of its own size.
    #[arg(long)]
    size: Option<u64>,
    /// Leave Spark out of the compaction; it needs Java 17, Maven and a download of 500 MB.
    #[arg(long)]
    without_spark: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    for case in CASES {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == case) {
            continue;
        }
        if case == "compaction" && !options.without_spark {
            compaction(options.size)?;
        } else {
            bench_tables(case, options.size, None)?;
        }
        println!();
    }
    Ok(())
}

fn compaction(files: Option<u64>) -> Result<()> {
    let warehouse = root().join("target/bench/iceberg");
    if warehouse.exists() {
        std::fs::remove_dir_all(&warehouse).context("cannot remove the tables of an earlier run")?;
    }
    std::fs::create_dir_all(&warehouse)?;
    let python = Python::prepare(
        "python-interop",
        &["tests/requirements.txt", "tests/readers/interop.txt"],
    )?;
    bench_tables("compaction", files, Some(&warehouse))?;
    let mut spark = python.script("tests/readers/compact_by_spark.py");
    succeed(spark.arg(&warehouse).arg(spark_runtime()?))
}
