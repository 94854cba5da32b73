//! Each way in which a commit can end, one at a time.

use std::time::Duration;

use model::{ErrorKind, RunStatus};
use test_support::{Fault, Faults, FaultySink, MemorySink, MemoryTracking, SinkRule};

use super::world::{Process, TIMESTAMP, World, failed_as};
use crate::table_sync::Flush;

const HIDDEN: [Fault; 3] = [Fault::AnswerLost, Fault::RequestLost, Fault::LandsLate];

fn process(world: &World, calls: impl IntoIterator<Item = Option<Fault>>) -> Process {
    let sink = FaultySink::new(world.sink.clone(), Faults::scripted(calls)).commits_only();
    world.process_with(world.store.clone(), world.source.clone(), sink)
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_found_out() {
    for keyed in [true, false] {
        for faults in HIDDEN.map(|fault| vec![Some(fault)]).into_iter().chain([
            vec![
                Some(Fault::RequestLost),
                Some(Fault::AnswerLost),
                Some(Fault::RequestLost),
            ],
            vec![Some(Fault::LandsLate), Some(Fault::LandsLate)],
            vec![
                Some(Fault::RequestLost),
                Some(Fault::Before(ErrorKind::Transient)),
            ],
        ]) {
            let world = World::new(1, TIMESTAMP, keyed);
            world.put([1, 2, 3], "row");
            let outcome = process(&world, faults.clone()).run().await;
            assert_eq!(
                outcome.report.status,
                RunStatus::Succeeded,
                "{faults:?}: {:?}",
                outcome.error
            );
            world.assert_equal(&format!("after {faults:?}"));
            assert_eq!(world.sink.commits(&world.table), 1, "{faults:?}");
            assert_eq!(
                outcome.report.statistics.records_inserted, 3,
                "{faults:?}: the report counts what was committed"
            );
        }
    }
}

/// A target may say that it moved on, and that it moved on by this very commit.
#[tokio::test(start_paused = true)]
async fn a_conflict_with_ones_own_commit_is_success() {
    let world = World::new(1, TIMESTAMP, false).with_sink(|sink| sink.without(SinkRule::RecogniseBatch));
    world.put([1, 2, 3], "row");
    let outcome = process(&world, [Some(Fault::AnswerLost)]).run().await;
    assert_eq!(outcome.report.status, RunStatus::Succeeded, "{:?}", outcome.error);
    assert!(
        outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("how many rows")),
        "{:?}",
        outcome.warnings
    );
    world.assert_equal("after an answer was lost");
}

/// The twin: two owners of a target that does not compare marks copy the same rows twice.
#[tokio::test(start_paused = true)]
async fn without_marks_two_owners_double_rows() {
    let careless = |sink: MemorySink| sink.without(SinkRule::CompareMark);
    for (change, doubled) in [
        (careless as fn(MemorySink) -> MemorySink, true),
        (|sink| sink, false),
    ] {
        let world = World::new(1, TIMESTAMP, false).with_sink(change);
        world.put([1, 2, 3], "row");
        let (one, two) = (process(&world, []), process(&world, []));
        tokio::join!(one.run(), two.run());
        assert_eq!(world.sink.rows(&world.table).len(), if doubled { 6 } else { 3 });
    }
}

/// The twin: a caller that cannot find its batch again takes its own commit for somebody else's.
#[tokio::test(start_paused = true)]
async fn without_the_batch_id_a_commit_that_happened_looks_foreign() {
    let world = World::new(1, TIMESTAMP, false);
    world.put([1, 2, 3], "row");
    let sink = FaultySink::new(world.sink.clone(), Faults::scripted([Some(Fault::AnswerLost)]))
        .commits_only()
        .hiding_batches();
    let outcome = world
        .process_with(world.store.clone(), world.source.clone(), sink)
        .run()
        .await;
    assert!(failed_as(&outcome, ErrorKind::Unsupported), "{:?}", outcome.error);
    world.assert_equal("although the run could not know it");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_without_another_commit_is_redone() {
    for calls in 1..4 {
        let world = World::new(1, TIMESTAMP, true);
        world.put(0..9, "row");
        let outcome = process(&world, vec![Some(Fault::Conflict); calls]).run().await;
        assert_eq!(outcome.report.status, RunStatus::Succeeded, "{:?}", outcome.error);
        world.assert_equal("after conflicts");
    }
}

/// Nobody else is blamed for rows that were lost with their connection.
#[tokio::test(start_paused = true)]
async fn conflicts_without_another_commit_are_told_as_what_they_are() {
    let world = World::new(1, TIMESTAMP, true);
    world.put(0..9, "row");
    let outcome = process(&world, vec![Some(Fault::Conflict); 20]).run().await;
    let error = outcome.error.as_ref().unwrap();
    assert!(failed_as(&outcome, ErrorKind::Transient), "{error:?}");
    assert!(error.message.contains("void"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_staged_is_thrown_away_only_after_a_definite_conflict() {
    for (faults, thrown_away) in [
        (vec![Some(Fault::Conflict)], true),
        (vec![Some(Fault::RequestLost), Some(Fault::Conflict)], false),
    ] {
        let world = World::new(1, TIMESTAMP, true);
        world.put([1, 2, 3], "row");
        process(&world, faults.clone()).run().await;
        assert_eq!(world.sink.staged_left() == 0, thrown_away, "{faults:?}");
        world.assert_equal("after a conflict");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_stays_unknown_fails_and_is_found_by_the_next_run() {
    let world = World::new(1, TIMESTAMP, true);
    world.put([1, 2, 3], "row");
    let mut unlucky = process(&world, vec![Some(Fault::LandsLate); 20]);
    unlucky.runner.retry.attempts = 2;
    let outcome = unlucky.run().await;
    assert!(failed_as(&outcome, ErrorKind::Unavailable), "{:?}", outcome.error);
    let outcome = world.run().await;
    assert_eq!(outcome.report.status, RunStatus::Succeeded);
    world.assert_equal("after the second run");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_overtaken_twice_is_fenced() {
    let world = World::new(1, TIMESTAMP, true);
    world.put(0..9, "row");
    let old = world.process(Faults::never());
    let mut run = old.table_run();
    let (mut session, newest) = run.open().await.unwrap();
    world.succeeds().await;
    world.put(3..6, "newer");
    world.succeeds().await;
    let error = run.attempt(&mut session, &newest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    world.assert_equal("after the old owner tried");
    assert_eq!(world.sink.staged_left(), 0);
}

/// The twin: a target that compares neither marks nor epochs lets the old owner's copy in.
#[tokio::test(start_paused = true)]
async fn without_fencing_an_old_owner_overwrites_newer_rows() {
    let world = World::new(1, TIMESTAMP, true).with_sink(|sink| {
        sink.without(SinkRule::CompareMark)
            .without(SinkRule::CompareEpoch)
    });
    world.put(0..3, "row");
    let old = world.process(Faults::never());
    let mut run = old.table_run();
    let (mut session, newest) = run.open().await.unwrap();
    world.succeeds().await;
    let _ = run.attempt(&mut session, &newest).await;
    assert!(!world.is_equal(), "the rule is not what keeps rows single");
}

/// An increment is committed by and by, at the boundaries that its source allows.
#[tokio::test(start_paused = true)]
async fn a_large_increment_is_flushed_by_rows_bytes_and_age() {
    let flush = Flush {
        rows: u64::MAX,
        bytes: usize::MAX,
        age: Duration::MAX,
    };
    for (flush, commits) in [
        (flush, 1),
        (Flush { rows: 1, ..flush }, 6),
        (Flush { rows: 4, ..flush }, 3),
        (Flush { bytes: 1, ..flush }, 6),
        (
            Flush {
                age: Duration::ZERO,
                ..flush
            },
            6,
        ),
    ] {
        let world = World::new(1, MemoryTracking::Versions, true);
        world.put(0..20, "first");
        world.succeeds().await;
        let before = world.sink.commits(&world.table);
        // Six transactions of two rows.
        for first in 0..6 {
            world.put(first..first + 2, "changed");
        }
        let mut process = world.process(Faults::never());
        process.sync.flush = flush;
        let outcome = process.run().await;
        assert_eq!(outcome.report.status, RunStatus::Succeeded, "{:?}", outcome.error);
        world.assert_equal("after the increment");
        assert_eq!(world.sink.commits(&world.table) - before, commits, "{flush:?}");
    }
}
