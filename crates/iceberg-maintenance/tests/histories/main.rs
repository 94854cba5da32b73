//! Random histories of all that happens to a table (changes of rows, columns and partitioning, compaction, expiry) against a simple model:
//! read back here after every step, and by engines of others where `cargo xtask interop` runs them.

#![expect(clippy::unwrap_used, reason = "what supports a test fails it by panicking")]

mod buckets;
#[path = "../../../iceberg-table/tests/catalogs/committing.rs"]
mod committing;
#[path = "../../../iceberg-table/tests/catalogs/faults.rs"]
mod faults;
mod foreign;
mod history;
mod lake;
mod link;
mod maintenance;
mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::history::History;
use crate::lake::{KINDS, Lake};

/// Histories that are written at the same time.
const THREADS: usize = 4;

/// Every kind of table, read back by our own reader at every retained snapshot.
#[tokio::test]
async fn every_retained_snapshot_holds_what_the_model_says() {
    for (seed, kind) in KINDS.iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::new(directory.path(), *kind, seed as u64);
        let mut history = History::new(lake, 30 + seed as u64).await;
        for step in 0..25 {
            history.step(step).await;
        }
        history.check_all().await;
    }
}

/// Writes a table for each seed into `INTEROP_DIRECTORY`, with what every snapshot must hold; seeds go round the kinds of table.
#[test]
#[ignore = "cargo xtask interop runs it and has other engines read the tables"]
fn tables_for_other_engines() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set"));
    let directory = variable("INTEROP_DIRECTORY");
    let seeds: u64 = variable("INTEROP_SEEDS").parse().unwrap();
    let operations: usize = variable("INTEROP_OPERATIONS").parse().unwrap();
    let next = AtomicU64::new(0);
    let tables = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let (name, expected) =
                        runtime.block_on(history_of(seed, operations, Path::new(&directory)));
                    tables.lock().unwrap().insert(name, expected);
                }
            });
        }
    });
    let file = Path::new(&directory).join("expected.json");
    std::fs::write(file, serde_json::to_vec(&*tables.lock().unwrap()).unwrap()).unwrap();
}

async fn history_of(seed: u64, operations: usize, directory: &Path) -> (String, serde_json::Value) {
    let lake = Lake::new(directory, KINDS[seed as usize % KINDS.len()], seed);
    let name = lake.name.name().to_owned();
    let mut history = History::new(lake, seed).await;
    for step in 0..operations {
        history.step(step).await;
    }
    history.check_all().await;
    (name, history.expected().await)
}
