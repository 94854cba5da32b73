//! A thousand changed rows in a table, and in one of ten times its size: the newest keys, keys from everywhere, UUIDs, and new UUIDs.

use model::{Op, Presence};

use crate::lake::Lake;
use crate::measure::{Cost, measured, median};
use crate::rows::{Key, batch, batches, mixed};

const KEYS: u64 = 1_000;
const ROUNDS: u64 = 7;

/// What is changed: its name, the keys of the table, and the numbers of a round's rows in a table of so many.
type Case = (&'static str, Key, fn(round: u64, index: u64, rows: u64) -> u64);

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
    let small = costs(rows).await;
    let large = costs(rows * 10).await;
    for (((name, ..), small), large) in CASES.iter().zip(small).zip(large) {
        small.print(&format!("{name}, {rows}"));
        large.print(&format!("{name}, {}", rows * 10));
        println!("{name}: {:.2} times the CPU", large.cpu / small.cpu);
    }
}

async fn costs(rows: u64) -> Vec<Cost> {
    let mut costs = Vec::new();
    for key in [Key::Number, Key::Uuid] {
        let lake = Lake::new(key, 2).await;
        lake.apply(batches(key, rows), Op::Insert, Presence::Absent).await;
        for (_, _, number) in CASES.iter().filter(|(_, of, _)| *of == key) {
            let mut rounds = Vec::new();
            for round in 0..ROUNDS {
                let mut numbers: Vec<u64> = (0..KEYS).map(|index| number(round, index, rows)).collect();
                numbers.sort_unstable();
                numbers.dedup();
                let changed = std::iter::once(batch(key, &numbers, round + 1));
                rounds.push(
                    measured(lake.apply(changed, Op::Upsert, Presence::Unknown))
                        .await
                        .1,
                );
            }
            costs.push(median(rounds));
        }
    }
    costs
}
