//! A thousand small files made into one, here; Spark does the same with a twin of the table (`tests/readers/compact_by_spark.py`).
//!
//! The tables are in `BENCH_WAREHOUSE`, with what ours cost in `ours.json`, or in a temporary directory if nobody else takes part.

use iceberg_maintenance::{CompactOptions, compact};
use model::{Op, Presence};

use crate::lake::Lake;
use crate::measure::measured;
use crate::rows::{Key, batch};

const ROWS_OF_A_FILE: u64 = 1_000;

pub(crate) async fn run(files: u64) {
    println!("compaction: {files} files of {ROWS_OF_A_FILE} orders");
    let warehouse = std::env::var("BENCH_WAREHOUSE").ok();
    let lake = match &warehouse {
        Some(warehouse) => {
            filled(Lake::at(warehouse, "warm", Key::Number, 2).await, 20).await;
            filled(Lake::at(warehouse, "twin", Key::Number, 2).await, files).await;
            Lake::at(warehouse, "ours", Key::Number, 2).await
        }
        None => Lake::new(Key::Number, 2).await,
    };
    let lake = filled(lake, files).await;
    let options = CompactOptions::default();
    let (catalog, clock) = (lake.catalog.as_ref(), lake.clock.as_ref());
    let work = compact(catalog, &lake.name, &options, clock, lake.ids.clone());
    let (done, cost) = measured(work).await;
    let done = done.unwrap();
    assert_eq!(done.files_before as u64, files);
    cost.print(&format!("compacted into {}", done.files_after));
    if let Some(warehouse) = warehouse {
        let ours = serde_json::json!({ "seconds": cost.seconds, "cpu_seconds": cost.cpu });
        std::fs::write(format!("{warehouse}/ours.json"), ours.to_string()).unwrap();
    }
}

async fn filled(lake: Lake, files: u64) -> Lake {
    for file in 0..files {
        let numbers: Vec<u64> = (file * ROWS_OF_A_FILE..(file + 1) * ROWS_OF_A_FILE).collect();
        let rows = std::iter::once(batch(lake.key, &numbers, 0));
        lake.apply(rows, Op::Insert, Presence::Absent).await;
    }
    lake
}
