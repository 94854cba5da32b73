//! Reading everything: without deletes against a bare Parquet reader, with one row of a hundred deleted against that, and on one core
//! against all of them.

use std::fs::File;
use std::process::Command;

use model::{Op, Presence};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::lake::Lake;
use crate::measure::{measured, median};
use crate::rows::{BATCH, Key, batch, batches};

const ROUNDS: usize = 7;
/// Files, as several chunks of a copy make them.
const FILES: u64 = 4;

pub(crate) async fn run(rows: u64) {
    let cores = allowed_cores();
    for format in [2, 3] {
        println!("scan: {rows} orders in {FILES} files, format v{format}");
        let (lake, with_deletes) = (filled(rows, format).await, filled(rows, format).await);
        let deleted: Vec<u64> = (0..rows).filter(|number| number % 100 == 37).collect();
        let left = rows - deleted.len() as u64;
        let gone = std::iter::once(batch(Key::Number, &deleted, 0));
        with_deletes.apply(gone, Op::Delete, Presence::Present).await;
        let paths = lake.files().await;
        let mut costs: [Vec<_>; 3] = Default::default();
        let mut on_one_core = Vec::new();
        for _ in 0..ROUNDS {
            for (costs, (expected, (read, cost))) in costs.iter_mut().zip([
                (rows, measured(async { read_bare(&paths) }).await),
                (rows, measured(lake.scan()).await),
                (left, measured(with_deletes.scan()).await),
            ]) {
                assert_eq!(read, expected);
                costs.push(cost);
            }
            hold_to("0");
            let (read, cost) = measured(lake.scan()).await;
            assert_eq!(read, rows);
            on_one_core.push(cost);
            hold_to(&cores);
        }
        let [bare, whole, with_deletes] = costs.map(median);
        let on_one_core = median(on_one_core);
        bare.print("bare Parquet reader, one core");
        whole.print("scan");
        on_one_core.print("scan on one core");
        with_deletes.print("scan with 1 % of rows deleted");
        println!(
            "rows a CPU second against bare {:.2}, on one core {:.2}; with deletes against without {:.2}",
            bare.cpu / whole.cpu,
            bare.cpu / on_one_core.cpu,
            whole.cpu / with_deletes.cpu * left as f64 / rows as f64,
        );
        println!(
            "rows a second on cores {cores} against one {:.2}; cores in use {:.2}",
            on_one_core.seconds / whole.seconds,
            whole.cpu / whole.seconds
        );
    }
}

async fn filled(rows: u64, format: u8) -> Lake {
    let lake = Lake::new(Key::Number, format).await;
    for part in 0..FILES {
        let is_of_part = move |index: u64| index * BATCH * FILES / rows == part;
        let part = batches(Key::Number, rows)
            .enumerate()
            .filter_map(move |(index, batch)| is_of_part(index as u64).then_some(batch));
        lake.apply(part, Op::Insert, Presence::Absent).await;
    }
    lake
}

fn read_bare(paths: &[String]) -> u64 {
    let read = |path: &String| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        let reader = builder.with_batch_size(8_192).build().unwrap();
        reader.map(|batch| batch.unwrap().num_rows() as u64).sum::<u64>()
    };
    paths.iter().map(read).sum()
}

/// The cores that this process may use, as `taskset` takes them.
fn allowed_cores() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let cores = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cores.unwrap().trim().to_owned()
}

/// Keeps all threads of this process on these cores.
fn hold_to(cores: &str) {
    let process = std::process::id().to_string();
    let done = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", cores, &process])
        .output()
        .unwrap();
    assert!(done.status.success(), "taskset: {done:?}");
}
