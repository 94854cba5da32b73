//! Keys that a comparison found different are brought in line, and nothing else is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{BooleanArray, Int32Array, RecordBatch};
use futures::FutureExt;
use model::{ChangeSource, Cut, ErrorKind, Position, RunStatus, SyncId, TableName};
use test_support::{Faults, MemoryTracking, SampleRow, kill_after, sample_batch, sample_schema};

use super::world::{Process, TIMESTAMP, World, failed_as};
use crate::memory::Memory;
use crate::progress::{Progress, ProgressEvent};
use crate::table_sync::Repair;
use crate::verify::{Differing, DifferingKeys};

/// Keys that differ, and whether the source lacks them.
fn differing(keys: &[(i32, bool)]) -> Differing {
    let part = |part: &[(i32, bool)]| {
        let ids = Int32Array::from_iter_values(part.iter().map(|(id, _)| *id));
        DifferingKeys {
            keys: RecordBatch::try_from_iter([("id", Arc::new(ids) as _)]).unwrap(),
            extra: part
                .iter()
                .map(|(_, extra)| Some(*extra))
                .collect::<BooleanArray>(),
        }
    };
    Differing {
        keys: keys.chunks(2).map(part).collect(),
        ..Differing::default()
    }
}

fn repair(world: &World, keys: &[(i32, bool)], deletes_confirmed: bool) -> Process {
    let mut process = world.process(Faults::never());
    process.sync.repair = Some(Repair {
        differing: differing(keys),
        rows: world.sink.rows(&world.table).len() as u64,
        most_deletes_percent: if deletes_confirmed { 100 } else { 10 },
    });
    process
}

/// Twenty rows, of which one is then changed, two are lost and one is added behind the sync's back.
async fn tampered() -> World {
    let world = World::new(1, TIMESTAMP, true);
    world.put(0..20, "row");
    world.succeeds().await;
    let foreign = sample_batch(&[SampleRow::new(5, "foreign", 0), SampleRow::new(99, "foreign", 0)]);
    world
        .sink
        .write_foreign(&world.table, &sample_schema(true), &foreign)
        .unwrap();
    world
        .sink
        .delete_foreign(&world.table, |row| [7, 8].contains(&row.id));
    world.clock.advance(100);
    world
}

const TAMPERED: [(i32, bool); 4] = [(5, false), (7, false), (8, false), (99, true)];

async fn position(world: &World) -> Position {
    let sync = world.process(Faults::never()).sync;
    let committed = sync.sink.committed(&sync.sync, &world.table).await.unwrap();
    committed.mark.unwrap().position().clone()
}

#[tokio::test(start_paused = true)]
async fn what_differs_is_brought_in_line_and_the_position_stays() {
    let world = tampered().await;
    let before = world.succeeds().await.position.unwrap();
    assert!(!world.is_equal(), "increments see nothing of it");
    let outcome = repair(&world, &TAMPERED, false).run().await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    world.assert_equal("after the repair");
    let counts = outcome.report.statistics;
    assert_eq!((counts.records_written, counts.records_deleted), (4, 1));
    assert_eq!(counts.records_processed, 4, "only the keys were fetched");
    assert_eq!(position(&world).await, before);
    // The next run goes on as if nothing had been.
    world.put([3, 21], "later");
    world.succeeds().await;
    world.assert_equal("after an increment");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_has_come_back_meanwhile_is_written_again() {
    let world = tampered().await;
    world.put([99], "back");
    let outcome = repair(&world, &TAMPERED, false).run().await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    world.assert_equal("after the repair");
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_ended_by_a_position_that_was_taken_before() {
    let world = World::new(1, MemoryTracking::Versions, true);
    world.put(0..20, "row");
    world.succeeds().await;
    world.put([4], "forgotten");
    world.source.forget_history();
    let gap = world.run().await;
    assert_eq!(gap.report.status, RunStatus::Gap);
    let restart = match world.source.cut(&world.table, None).await.unwrap() {
        Cut::Complete { upto, .. } => upto,
        Cut::Gap { why, .. } => panic!("{why}"),
    };
    // After the cut, and before the repair reads its keys.
    world.put([5], "meanwhile");
    let mut process = repair(&world, &[(4, false)], false);
    process.sync.repair.as_mut().unwrap().differing.restart = Some(restart);
    let outcome = process.run().await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    world.succeeds().await;
    world.assert_equal("after the gap");
}

/// The process dies before it saves its state, and what the source keeps begins after the mark that was there before the repair.
#[tokio::test(start_paused = true)]
async fn the_mark_of_a_repair_is_as_far_as_empty_increments_have_come() {
    let world = World::new(1, MemoryTracking::Versions, true);
    world.put(0..20, "row");
    world.succeeds().await;
    let other = TableName::new("dbo", "Other");
    world.source.create(&other, true);
    world.source.put(&other, [SampleRow::new(1, "elsewhere", 1)]);
    let applied = world.succeeds().await.position.unwrap();
    assert_ne!(position(&world).await, applied, "the mark stays behind");
    world.source.forget_history();
    world.sink.delete_foreign(&world.table, |row| row.id == 7);
    let outcome = repair(&world, &[(7, false)], false).run().await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(position(&world).await, applied);
    world.store.lose();
    world.put([3], "later");
    world.succeeds().await;
    world.assert_equal("after the repair");
}

/// What the comparison found to be gone may be gone in the backup only, and nothing tells any more what was pending.
#[tokio::test(start_paused = true)]
async fn a_source_that_was_restored_since_the_comparison_is_a_gap() {
    for restored in [true, false] {
        let world = World::new(1, MemoryTracking::Versions, true);
        world.put(0..20, "row");
        world.succeeds().await;
        if restored {
            world.source.restore();
        } else {
            world.put([4], "forgotten");
            world.source.forget_history();
        }
        world.source.delete(&world.table, [3]);
        let before = world.sink.rows(&world.table);
        let outcome = repair(&world, &[(3, true), (4, false)], false).run().await;
        assert_eq!(outcome.report.status, RunStatus::Gap, "{:?}", outcome.error);
        assert_eq!(world.sink.rows(&world.table), before);
        assert_eq!(world.sink.staged_left(), 0);
    }
}

/// What went into files, each time.
#[derive(Default)]
struct Spilled(Mutex<Vec<u64>>);

impl Progress for Spilled {
    fn hear(&self, _sync: &SyncId, event: &ProgressEvent) {
        if let ProgressEvent::Spilled { bytes } = event {
            self.0.lock().unwrap().push(*bytes);
        }
    }
}

/// Every row was changed, some are gone since, some of these are back, and some were lost.
#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_memory_waits_in_files_and_is_committed_once() {
    const ROWS: i32 = 600;
    /// More than a batch, and far less than the rows that differ.
    const FITS: u64 = 32 << 10;
    for (bytes, waits) in [(64 << 20, false), (FITS as usize, true)] {
        let world = World::new(1, MemoryTracking::Versions, true);
        world.put(0..ROWS, "row");
        world.succeeds().await;
        world
            .sink
            .delete_foreign(&world.table, |row| (100..150).contains(&row.id));
        world.put(0..ROWS, "changed");
        world.source.delete(&world.table, 200..300);
        let keys: Vec<_> = (0..ROWS).map(|id| (id, (200..300).contains(&id))).collect();
        world.put(250..280, "back");
        let commits = world.sink.commits(&world.table);
        let mut process = repair(&world, &keys, true);
        let spilled = Arc::new(Spilled::default());
        process.runner.progress = spilled.clone();
        process.sync.flush.bytes = bytes;
        let outcome = process.run().await;
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        world.assert_equal("after the repair");
        assert_eq!(world.sink.commits(&world.table), commits + 1);
        assert_eq!(world.sink.staged_left(), 0);
        let counts = outcome.report.statistics;
        let changed = (
            counts.records_inserted,
            counts.records_updated,
            counts.records_deleted,
        );
        assert_eq!(changed, (50, 480, 70));
        assert_eq!(counts.records_processed, 600, "each key once");
        let spilled = spilled.0.lock().unwrap();
        assert_eq!(!spilled.is_empty(), waits, "{spilled:?}");
        assert!(spilled.iter().all(|bytes| *bytes <= FITS), "{spilled:?}");
        assert!(!waits || spilled.iter().sum::<u64>() > 10 * FITS, "{spilled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_finds_no_room_for_files_changes_nothing() {
    let world = tampered().await;
    let before = world.sink.rows(&world.table);
    let mut process = repair(&world, &TAMPERED, false);
    process.sync.flush.bytes = 0;
    process.runner.spill.directory = "/dev/null/spill".into();
    let outcome = process.run().await;
    assert!(failed_as(&outcome, ErrorKind::Config), "{:?}", outcome.error);
    assert_eq!(world.sink.rows(&world.table), before);
    assert_eq!(world.sink.staged_left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repair_holds_a_share_of_the_memory() {
    let world = tampered().await;
    let mut process = repair(&world, &TAMPERED, false);
    process.runner.memory = Memory::new(0);
    let share = process.runner.memory.share().await.unwrap();
    let mut run = Box::pin(process.run());
    let waits = tokio::time::timeout(Duration::from_secs(3_600), &mut run).await;
    assert!(waits.is_err(), "another stream holds the memory");
    assert!(!world.is_equal());
    drop(share);
    let outcome = run.await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    world.assert_equal("after the repair");
    assert!(process.runner.memory.share().now_or_never().is_some());
}

/// Nothing is deleted before what replaces it is there.
#[tokio::test(start_paused = true)]
async fn killed_anywhere_a_repair_has_happened_or_not() {
    for polls in 1..60 {
        for bytes in [64 << 20, 0] {
            let world = tampered().await;
            let before = world.sink.rows(&world.table);
            let mut process = repair(&world, &TAMPERED, false);
            process.sync.flush.bytes = bytes;
            kill_after(polls, process.run()).await;
            assert!(
                world.is_equal() || world.sink.rows(&world.table) == before,
                "killed after {polls} polls, with {bytes} bytes in memory"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_deletes_must_be_confirmed() {
    let world = World::new(1, TIMESTAMP, true);
    world.put(0..20, "row");
    world.succeeds().await;
    world.source.delete(&world.table, 0..3);
    let gone = [(0, true), (1, true), (2, true)];
    let outcome = repair(&world, &gone, false).run().await;
    assert!(failed_as(&outcome, ErrorKind::Config), "{:?}", outcome.error);
    assert_eq!(world.sink.rows(&world.table).len(), 20);
    let outcome = repair(&world, &gone, true).run().await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    world.assert_equal("after the confirmed repair");
}

#[tokio::test(start_paused = true)]
async fn only_a_table_with_a_key_that_was_copied_can_be_repaired() {
    let world = World::new(1, TIMESTAMP, true);
    let outcome = repair(&world, &[(1, false)], false).run().await;
    assert!(failed_as(&outcome, ErrorKind::NotFound), "{:?}", outcome.error);
    let world = World::new(1, TIMESTAMP, false);
    world.put(0..3, "row");
    world.succeeds().await;
    let outcome = repair(&world, &[(1, false)], false).run().await;
    assert!(failed_as(&outcome, ErrorKind::Unsupported), "{:?}", outcome.error);
}
