//! The smallest measurement: rows, seconds and what was written, from the reports of two runs.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cargo::{Profile, Programs, root};
use crate::server::Server;
use crate::sync::SyncCli;

const ORDERS: u64 = 10_000;
const CHANGES: u64 = 100;

/// 10,000 orders end to end, then 100 changes.
pub(crate) fn run() -> Result<()> {
    let directory = root().join("target/bench/smoke");
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("the last run's directory cannot be removed")?;
    }
    std::fs::create_dir_all(&directory)?;
    let programs = Programs::build(Profile::Release)?;
    let server = Server::emulator(&programs, &["shop", "mirror"], &directory, None)?;
    server.execute(
        "shop",
        &std::fs::read_to_string(root().join("demo/sql/bench.sql"))?,
    )?;
    let sync = SyncCli::new(&programs, "demo/sync.yaml", &server, &directory)?;

    let copy = measured(&sync)?;
    println!("copy:      {}", shown(&copy));
    ensure!(
        written(&copy) == [ORDERS, ORDERS],
        "each direction should write {ORDERS} rows: {copy}"
    );
    server.execute(
        "shop",
        &format!("UPDATE TOP ({CHANGES}) dbo.Orders SET Status = N'x', updated_at = SYSUTCDATETIME()"),
    )?;
    let increment = measured(&sync)?;
    println!("increment: {}", shown(&increment));
    ensure!(
        written(&increment) == [CHANGES, CHANGES],
        "each direction should write {CHANGES} rows: {increment}"
    );
    Ok(())
}

fn measured(sync: &SyncCli) -> Result<Value> {
    let (code, report) = sync.json(&["run"])?;
    ensure!(code == 0, "the run ended with {code}: {report}");
    Ok(report)
}

/// The rows written per direction.
fn written(report: &Value) -> Vec<u64> {
    report["tables"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|table| table["records_written"].as_u64())
        .collect()
}

fn shown(report: &Value) -> String {
    let mut text = format!(
        "{:.2} s end to end",
        report["metadata"]["duration_seconds"]
            .as_f64()
            .unwrap_or_default()
    );
    for table in report["tables"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "; {}: {} read, {} written",
            table["direction"].as_str().unwrap_or_default(),
            table["records_processed"],
            table["records_written"]
        ));
    }
    text
}
