//! A thousand changed rows in a table, and in one of ten times its size: the newest keys, keys from everywhere, UUIDs, and new UUIDs.

use model::{Op, Presence};

use crate::lake::Lake;
use crate::measure::{Cost, measured, median};
use crate::rows::{Key, batch, batches, mixed};

const KEYS: u64 = 1_000;
const ROUNDS: u64 = 15;

/// The number of one of a round's rows in a table of so many.
type Number = fn(round: u64, index: u64, rows: u64) -> u64;

/// What is changed: its name, the keys of the table, and the numbers of the rows.
type Case = (&'static str, Key, Number);

const CASES: [Case; 4] = [
    ("newest 1 % of numbers", Key::Number, |round, index, rows| {
        rows - 1 - mixed(round * KEYS + index) % (rows / 100)
    }),
    ("uniform numbers", Key::Number, |round, index, rows| {
        mixed(round * KEYS + index) % rows
    }),
    ("UUIDs that are there", Key::Uuid, |round, index, rows| {
        mixed(round * KEYS + index) % rows
    }),
    ("UUIDs that are new", Key::Uuid, |round, index, rows| {
        rows + round * KEYS + index
    }),
];

/// `rows` is the size of the smaller table.
pub(crate) async fn run(rows: u64) {
    println!(
        "upsert: {KEYS} rows into {rows} and into {} orders, staged and committed",
        rows * 10
    );
    for key in [Key::Number, Key::Uuid] {
        let (small, large) = (filled(key, rows).await, filled(key, rows * 10).await);
        for (name, _, number) in CASES.iter().filter(|(_, of, _)| *of == key) {
            // In turns: a machine is not as fast at all times.
            let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
            for round in 0..ROUNDS {
                of_small.push(upsert(&small, round, rows, *number).await);
                of_large.push(upsert(&large, round, rows * 10, *number).await);
            }
            let (of_small, of_large) = (median(of_small), median(of_large));
            of_small.print(&format!("{name}, {rows}"));
            of_large.print(&format!("{name}, {}", rows * 10));
            println!("{name}: {:.2} times the CPU", of_large.cpu / of_small.cpu);
        }
    }
}

async fn filled(key: Key, rows: u64) -> Lake {
    let lake = Lake::new(key, 2).await;
    lake.apply(batches(key, rows), Op::Insert, Presence::Absent).await;
    lake
}

async fn upsert(lake: &Lake, round: u64, rows: u64, number: Number) -> Cost {
    let mut numbers: Vec<u64> = (0..KEYS).map(|index| number(round, index, rows)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let changed = std::iter::once(batch(lake.key, &numbers, round + 1));
    measured(lake.apply(changed, Op::Upsert, Presence::Unknown))
        .await
        .1
}
