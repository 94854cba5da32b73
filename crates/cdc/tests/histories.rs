//! Random histories of writers, clocks and runs: the rules lose no row, and each of them is needed.
//!
//! The server is a model: transactions take their values when they write and show them when they commit; its clock steps back now and
//! then. Seeds are fixed, so a failure repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use cdc::{
    CutRules, IdLook, IdPosition, IdWindow, OldestWriter, RowClass, Ticks, TimestampWindow, Writers,
    timestamp_cut,
};

const MILLI: i64 = 10_000;
const SEEDS: u64 = 200;
const STEPS: usize = 1_200;
/// The furthest that the clock goes back.
const STEP: i64 = 5_000;

/// A small generator of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as i64
    }
}

struct Transaction {
    began: i64,
    writes: BTreeMap<i64, (i64, u64)>,
}

/// Rows by key: a time in milliseconds and a version, which only grows.
#[derive(Default)]
struct Server {
    now: i64,
    /// The latest that the clock has shown.
    latest: i64,
    version: u64,
    next_id: i64,
    open: Vec<Transaction>,
    rows: BTreeMap<i64, (i64, u64)>,
}

impl Server {
    fn new() -> Self {
        Self {
            now: 1_000_000,
            ..Self::default()
        }
    }

    /// One step of history. `append` writes new keys only, as an identity does.
    fn step(&mut self, random: &mut Random, append: bool) {
        self.latest = self.latest.max(self.now);
        match random.below(100) {
            0..=9 => self.open.push(Transaction {
                began: self.now,
                writes: BTreeMap::new(),
            }),
            10..=59 => {
                let at = random.below(self.open.len().max(1) as i64) as usize;
                let key = if append { self.next_id } else { random.below(50) };
                // A row that another transaction has written is locked.
                if self.open.iter().any(|t| t.writes.contains_key(&key)) {
                    return;
                }
                if let Some(transaction) = self.open.get_mut(at) {
                    self.version += 1;
                    self.next_id += 1;
                    transaction.writes.insert(key, (self.now, self.version));
                }
            }
            60..=67 if !self.open.is_empty() => {
                let at = random.below(self.open.len() as i64) as usize;
                self.rows.append(&mut self.open.swap_remove(at).writes);
            }
            68..=69 => self.now = (self.now - random.below(STEP)).max(self.latest - STEP),
            _ => self.now += random.below(400),
        }
    }

    fn clock(&self) -> Ticks {
        Ticks(self.now * MILLI)
    }

    fn writers(&self) -> Writers {
        let began = self.open.iter().map(|t| t.began).min();
        Writers::Known(began.map(|began| OldestWriter {
            age: Duration::from_millis(u64::try_from(self.now - began).unwrap_or(0)),
            who: "a writer".into(),
        }))
    }

    fn finish(&mut self) {
        for transaction in std::mem::take(&mut self.open) {
            self.rows.extend(transaction.writes);
        }
        self.now += 60_000;
    }
}

/// Which rules hold.
#[derive(Clone, Copy)]
struct Rules {
    sees_writers: bool,
    tolerance: u64,
}

const ALL: Rules = Rules {
    sees_writers: true,
    tolerance: STEP as u64,
};

/// How many rows a target lacks, or has in an old version, after a history.
fn lost_by_time(seed: u64, rules: Rules) -> usize {
    let (mut random, mut server) = (Random(seed), Server::new());
    let cut_rules = CutRules {
        tolerance: Duration::from_millis(rules.tolerance),
        margin: Duration::ZERO,
        lag: Duration::ZERO,
        future_after: Duration::from_secs(86_400),
        grain: Duration::from_millis(1),
    };
    let mut target: BTreeMap<i64, (i64, u64)> = BTreeMap::new();
    let mut watermark = Ticks::MIN;
    for step in 0..STEPS {
        server.step(&mut random, false);
        let last = step == STEPS - 1;
        if last {
            server.finish();
        }
        if !last && random.below(20) != 0 {
            continue;
        }
        let now = server.clock();
        let writers = if rules.sees_writers {
            server.writers()
        } else {
            Writers::Known(None)
        };
        // History goes on between the look and the reading.
        for _ in 0..random.below(5) {
            server.step(&mut random, false);
        }
        if last {
            server.finish();
        }
        let hi = timestamp_cut(now, &writers, &cut_rules).hi;
        let window = TimestampWindow::new(watermark, hi, now, &cut_rules);
        let mut greatest = None;
        for (key, (time, version)) in &server.rows {
            let value = Ticks(time * MILLI);
            if value >= window.lo && value < window.hi {
                target.insert(*key, (*time, *version));
                greatest = greatest.max(Some(value).filter(|_| window.class(Some(value)) == RowClass::New));
            }
        }
        watermark = window.advanced(greatest);
    }
    // What was written after the last look is not lost, only later.
    let due = |time: i64| Ticks(time * MILLI) < watermark;
    server
        .rows
        .iter()
        .filter(|(key, row)| due(row.0) && target.get(key) != Some(row))
        .count()
}

#[test]
fn no_history_loses_a_row_by_time() {
    for seed in 0..SEEDS {
        assert_eq!(lost_by_time(seed, ALL), 0, "seed {seed}");
    }
}

#[test]
fn each_rule_is_needed() {
    for (what, rules) in [
        (
            "looking at writers",
            Rules {
                sees_writers: false,
                ..ALL
            },
        ),
        (
            "reading again as far as the clock steps back",
            Rules { tolerance: 0, ..ALL },
        ),
    ] {
        let lost: usize = (0..SEEDS).map(|seed| lost_by_time(seed, rules)).sum();
        assert!(lost > 0, "{what} is not tested");
    }
}

fn lost_by_id(seed: u64, hasty: bool) -> usize {
    let (mut random, mut server) = (Random(seed), Server::new());
    let mut position = IdPosition {
        complete: None,
        seen: None,
        pending: None,
    };
    let mut target: BTreeMap<i64, (i64, u64)> = BTreeMap::new();
    for step in 0..STEPS {
        server.step(&mut random, true);
        if step == STEPS - 1 {
            server.finish();
        } else if random.below(20) != 0 {
            continue;
        }
        let now = server.clock();
        let greatest = server.rows.keys().next_back().copied();
        for _ in 0..random.below(3) {
            server.step(&mut random, true);
        }
        let look = IdLook {
            now,
            greatest,
            writers: server.writers(),
        };
        let (mut upto, _) = look.position(Some(&position), Duration::from_millis(STEP as u64));
        if hasty {
            upto.complete = upto.seen;
        }
        let window = IdWindow::new(&position, &upto, 0);
        for (id, row) in &server.rows {
            if window.above.is_none_or(|above| *id > above) && window.upto.is_some_and(|upto| *id <= upto) {
                target.insert(*id, *row);
            }
        }
        position = upto;
    }
    let seen = position.seen.unwrap_or(-1);
    server
        .rows
        .iter()
        .filter(|(id, row)| **id <= seen && target.get(id) != Some(row))
        .count()
}

#[test]
fn no_history_loses_a_row_by_id() {
    for seed in 0..SEEDS {
        assert_eq!(lost_by_id(seed, false), 0, "seed {seed}");
    }
    let lost: usize = (0..SEEDS).map(|seed| lost_by_id(seed, true)).sum();
    assert!(lost > 0, "waiting for writers is not tested");
}
