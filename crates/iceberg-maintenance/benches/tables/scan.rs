//! Reading everything: without deletes against a bare Parquet reader, with one row of a hundred deleted against that, and by one thread against
//! as many as there are cores.

use std::fs::File;

use model::{Op, Presence};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::lake::Lake;
use crate::measure::{Cost, measured, median};
use crate::rows::{BATCH, Key, batch, batches};

const ROUNDS: usize = 7;
/// Files, as several chunks of a copy make them.
const FILES: u64 = 4;

pub(crate) async fn run(rows: u64) {
    for format in [2, 3] {
        println!("scan: {rows} orders in {FILES} files, format v{format}");
        let (lake, with_deletes) = (filled(rows, format).await, filled(rows, format).await);
        let deleted: Vec<u64> = (0..rows).filter(|number| number % 100 == 37).collect();
        let left = rows - deleted.len() as u64;
        let gone = std::iter::once(batch(Key::Number, &deleted, 0));
        with_deletes.apply(gone, Op::Delete, Presence::Present).await;
        let paths = lake.files().await;
        let mut costs: [Vec<_>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (costs, (expected, (read, cost))) in costs.iter_mut().zip([
                (rows, measured(async { read_bare(&paths) }).await),
                (rows, measured(lake.scan()).await),
                (left, measured(with_deletes.scan()).await),
            ]) {
                assert_eq!(read, expected);
                costs.push(cost);
            }
        }
        let [bare, whole, with_deletes] = costs.map(median);
        let (one, all) = by_threads(&lake, rows);
        bare.print("bare Parquet reader, one core");
        whole.print("scan");
        with_deletes.print("scan with 1 % of rows deleted");
        one.print("scan by one thread");
        all.print("scan by a thread for each core");
        println!(
            "rows a CPU second against bare {:.2}; with deletes against without {:.2}; rows a second by all threads against one {:.2}",
            bare.cpu / whole.cpu,
            whole.cpu / with_deletes.cpu * left as f64 / rows as f64,
            one.seconds / all.seconds
        );
    }
}

/// The same scan by one worker thread, and by as many as there are cores, in turn: what each took at best, because other work only adds to
/// it.
fn by_threads(lake: &Lake, rows: u64) -> (Cost, Cost) {
    let cores = std::thread::available_parallelism().unwrap().get();
    let runtimes = [1, cores].map(|threads| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(threads).enable_all().build().unwrap()
    });
    let mut best = [None::<Cost>; 2];
    tokio::task::block_in_place(|| {
        for _ in 0..ROUNDS {
            for (runtime, best) in runtimes.iter().zip(&mut best) {
                let (read, cost) = runtime.block_on(measured(lake.scan()));
                assert_eq!(read, rows);
                if best.is_none_or(|best| cost.seconds < best.seconds) {
                    *best = Some(cost);
                }
            }
        }
        // Not within the other runtime, where it may not wait for its threads.
        drop(runtimes);
    });
    let [one, all] = best.map(Option::unwrap);
    (one, all)
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
