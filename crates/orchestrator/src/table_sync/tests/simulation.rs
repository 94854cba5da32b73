//! Everything at once: random writes, open transactions, failures of every call, lost and damaged stores.

use model::{ErrorKind, RunStatus};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use test_support::{Faults, MemorySink, MemoryTracking, SampleRow, Transaction, for_each_seed};

use super::world::{TIMESTAMP, World, failed_as};

/// Writes to the source while a run goes on.
struct Writer<'a> {
    world: &'a World,
    random: StdRng,
    deletes: bool,
    open: Vec<Transaction>,
    written: i64,
}

impl<'a> Writer<'a> {
    fn new(world: &'a World, seed: u64, deletes: bool) -> Self {
        Self {
            world,
            random: StdRng::seed_from_u64(seed),
            deletes,
            open: Vec::new(),
            written: 0,
        }
    }

    fn step(&mut self) {
        let World {
            clock, source, table, ..
        } = self.world;
        clock.advance(self.random.random_range(0..5));
        match self.random.random_range(0..10) {
            0..4 => source.put(table, [self.row()]),
            4 if self.deletes => source.delete(table, [self.random.random_range(0..30)]),
            4 | 5 => {
                let mut transaction = source.begin();
                for _ in 0..self.random.random_range(1..4) {
                    transaction.put(table, self.row());
                    clock.advance(1);
                }
                self.open.push(transaction);
            }
            6 | 7 => {
                if let Some(transaction) = self.open.pop() {
                    transaction.commit();
                }
            }
            8 => drop(self.open.pop()),
            _ => {}
        }
    }

    fn row(&mut self) -> SampleRow {
        self.written += 1;
        SampleRow::new(
            self.random.random_range(0..30),
            &format!("v{}", self.written),
            self.written,
        )
    }

    async fn write(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            for _ in 0..self.random.random_range(0..4) {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Every other four seeds have a target that wants rows of a first copy alone.
fn world(seed: u64, tracking: MemoryTracking, keyed: bool) -> World {
    let world = World::new(seed, tracking, keyed);
    match seed & 4 {
        0 => world,
        _ => world.with_sink(MemorySink::staging_alone),
    }
}

async fn no_row_is_lost_doubled_or_altered(seed: u64, tracking: MemoryTracking) {
    let world = world(seed, tracking, true);
    let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
    let deletes = tracking == MemoryTracking::Versions;
    let mut writer = Writer::new(&world, seed, deletes);
    let faults = Faults::seeded(seed, random.random_range(4..60));
    let sync = world.process(Faults::never()).sync.sync;
    writer.write(30).await;
    for _ in 0..6 {
        match random.random_range(0..8) {
            0 => world.store.lose(),
            1 => world.store.damage(&sync),
            _ => {}
        }
        let mut process = world.process(faults.clone());
        process.runner.retry.attempts = 4;
        process.sync.full = random.random_ratio(1, 8);
        let (outcome, ()) = tokio::join!(process.run(), writer.write(12));
        assert!(
            outcome.error.is_none()
                || [ErrorKind::Transient, ErrorKind::Unavailable]
                    .iter()
                    .any(|kind| failed_as(&outcome, *kind)),
            "{:?}",
            outcome.error
        );
    }
    faults.stop();
    writer.open.clear();
    world.clock.advance(10);
    world.succeeds().await;
    world.assert_equal("after the last run");
    let commits = world.sink.commits(&world.table);
    world.succeeds().await;
    assert_eq!(world.sink.commits(&world.table), commits, "a quiet run committed");
}

#[test]
fn changes_by_version_survive_everything() {
    for_each_seed(0..300, |seed| {
        no_row_is_lost_doubled_or_altered(seed, MemoryTracking::Versions)
    });
}

#[test]
fn changes_by_timestamp_survive_everything() {
    for_each_seed(0..300, |seed| no_row_is_lost_doubled_or_altered(seed, TIMESTAMP));
}

#[test]
fn a_table_without_a_key_is_copied_once_whatever_fails() {
    for_each_seed(0..300, |seed| async move {
        let world = world(seed, TIMESTAMP, false);
        world.put([1, 1, 1, 2, 3, 3, 4, 5, 6, 7], "twin");
        let faults = Faults::seeded(seed, 3);
        for _ in 0..20 {
            let mut process = world.process(faults.clone());
            process.runner.retry.attempts = 3;
            let outcome = process.run().await;
            if outcome.report.status == RunStatus::Succeeded {
                world.assert_equal("after a copy that succeeded");
            }
        }
        faults.stop();
        let outcome = world.run().await;
        assert!(outcome.report.status == RunStatus::Succeeded || failed_as(&outcome, ErrorKind::Unsupported));
        world.assert_equal("after all copies");
    });
}

#[test]
fn two_owners_do_not_harm_each_other() {
    for_each_seed(0..300, |seed| async move {
        let keyed = seed % 3 != 0;
        let world = world(
            seed,
            if seed % 2 == 0 {
                TIMESTAMP
            } else {
                MemoryTracking::Versions
            },
            keyed,
        );
        world.put(0..20, "first");
        let faults = Faults::seeded(seed, 30);
        let (one, two) = (world.process(faults.clone()), world.process(faults.clone()));
        let mut writer = Writer::new(&world, seed, false);
        let late = async {
            for _ in 0..seed % 90 {
                tokio::task::yield_now().await;
            }
            two.run().await
        };
        let writes = if keyed { 20 } else { 0 };
        tokio::join!(one.run(), late, writer.write(writes));
        faults.stop();
        writer.open.clear();
        world.clock.advance(10);
        if keyed {
            world.succeeds().await;
        } else {
            world.run().await;
        }
        world.assert_equal("after two owners");
    });
}
