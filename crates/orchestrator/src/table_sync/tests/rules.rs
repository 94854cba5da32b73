//! The rules by which a table takes its way, each where possible with a twin without the rule.

use model::{ErrorKind, Loaded, Mark, RunStatus, StateStore};
use test_support::{
    Fault, Faults, FaultySink, MemoryTracking, SampleRow, SinkRule, SourceRule, sample_batch, sample_schema,
};

use super::world::{TIMESTAMP, World, failed_as};

async fn mark(world: &World) -> Option<Mark> {
    let process = world.process(Faults::never());
    let committed = process.sync.sink.committed(&process.sync.sync, &world.table);
    committed.await.unwrap().mark
}

#[tokio::test(start_paused = true)]
async fn a_small_table_is_one_commit_and_an_empty_one_too() {
    for rows in [0, 3] {
        let world = World::new(1, TIMESTAMP, true);
        world.put(0..rows, "row");
        let outcome = world.succeeds().await;
        assert_eq!(world.sink.commits(&world.table), 1);
        assert_eq!(outcome.report.mode, "copy");
        assert!(matches!(mark(&world).await, Some(Mark::At(_))));
    }
}

/// Rows in the tolerance window are read again and dropped, with the state store and without.
#[tokio::test(start_paused = true)]
async fn an_increment_without_news_commits_nothing() {
    for lost in [false, true] {
        let world = World::new(1, TIMESTAMP, true);
        world.put(0..9, "row");
        world.succeeds().await;
        let (before, commits) = (mark(&world).await, world.sink.commits(&world.table));
        if lost {
            world.store.lose();
        }
        world.clock.advance(1);
        let outcome = world.succeeds().await;
        assert_eq!(outcome.report.statistics.records_written, 0);
        assert_eq!(
            outcome.report.statistics.records_unchanged, 9,
            "the window was read again"
        );
        assert_eq!(world.sink.commits(&world.table), commits);
        assert_eq!(mark(&world).await, before);
        let Loaded::Found(found) = world
            .store
            .load(&world.process(Faults::never()).sync.sync)
            .await
            .unwrap()
        else {
            panic!("the state was not saved");
        };
        assert_ne!(
            found.state.position.as_ref(),
            before.as_ref().map(Mark::position),
            "the position moved"
        );
    }
}

/// The twin: a target that does not compare rewrites the window.
#[tokio::test(start_paused = true)]
async fn without_comparing_an_increment_without_news_commits() {
    let world = World::new(1, TIMESTAMP, true).with_sink(|sink| sink.without(SinkRule::DropIdentical));
    world.put(0..9, "row");
    world.succeeds().await;
    let commits = world.sink.commits(&world.table);
    world.clock.advance(1);
    world.succeeds().await;
    assert!(world.sink.commits(&world.table) > commits);
}

/// A transaction that writes before a run and commits after it.
async fn late_commit(world: &World) {
    world.put(0..3, "row");
    world.succeeds().await;
    let mut open = world.source.begin();
    world.clock.advance(1);
    open.put(&world.table, SampleRow::new(9, "late", 9));
    world.clock.advance(100);
    world.put([4], "meanwhile");
    world.run().await;
    open.commit();
    world.clock.advance(100);
    world.run().await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_commits_late_is_not_lost() {
    let world = World::new(1, TIMESTAMP, true);
    late_commit(&world).await;
    world.assert_equal("after a late commit");
}

/// The twin: a cut that is the clock loses the row.
#[tokio::test(start_paused = true)]
async fn without_the_cut_a_transaction_that_commits_late_is_lost() {
    let world =
        World::new(1, TIMESTAMP, true).with_source(|source| source.without(SourceRule::OpenTransactions));
    late_commit(&world).await;
    assert!(!world.is_equal(), "the rule is not what saves the row");
}

async fn clock_steps_back(world: &World) {
    world.put(0..3, "row");
    world.clock.advance(100);
    world.succeeds().await;
    world.clock.advance(-15);
    world.put([1], "written in the past");
    world.clock.advance(50);
    world.succeeds().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_stamped_below_the_watermark_is_found_within_the_tolerance() {
    let world = World::new(1, TIMESTAMP, true);
    clock_steps_back(&world).await;
    world.assert_equal("after the clock stepped back");
}

/// The twin: no tolerance.
#[tokio::test(start_paused = true)]
async fn without_tolerance_a_row_stamped_below_the_watermark_is_lost() {
    let world = World::new(1, MemoryTracking::Timestamp { tolerance: 0 }, true);
    clock_steps_back(&world).await;
    assert!(!world.is_equal(), "the rule is not what saves the row");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_updated_during_the_copy_ends_as_it_is() {
    for yields in 0..40 {
        let world = World::new(1, TIMESTAMP, true);
        world.put(0..12, "row");
        let process = world.process(Faults::never());
        let update = async {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            world.put([2, 7, 40], "updated");
        };
        tokio::join!(process.run(), update);
        world.succeeds().await;
        world.assert_equal(&format!("updated after {yields} yields"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_history_is_a_gap_until_a_full_run() {
    let lose: [fn(&World); 2] = [
        |world| world.source.restore(),
        |world| world.source.forget_history(),
    ];
    for lose in lose {
        let world = World::new(1, MemoryTracking::Versions, true);
        world.put(0..6, "row");
        world.succeeds().await;
        world.put(4..8, "changed");
        world.source.delete(&world.table, [0]);
        lose(&world);
        let before = world.sink.rows(&world.table);
        let outcome = world.run().await;
        assert_eq!(outcome.report.status, RunStatus::Gap);
        assert!(failed_as(&outcome, ErrorKind::Gap));
        assert_eq!(world.sink.rows(&world.table), before, "a gap changed rows");
        let outcome = world.process(Faults::never()).full().run().await;
        assert_eq!(outcome.report.status, RunStatus::Succeeded);
        world.assert_equal("after the full run");
        world.succeeds().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_without_a_key_is_copied_once_and_then_refused_with_the_choices() {
    let world = World::new(1, TIMESTAMP, false);
    world.put([1, 1, 2], "twin");
    assert_eq!(world.succeeds().await.report.statistics.records_inserted, 3);
    world.put([1], "twin");
    for lost in [false, true] {
        if lost {
            world.store.lose();
        }
        let refused = world.run().await;
        assert!(failed_as(&refused, ErrorKind::Unsupported));
        let advice = refused.error.unwrap().advice;
        for choice in ["--full", "mode: full", "primary key"] {
            assert!(advice.contains(choice), "{advice}");
        }
    }
    let outcome = world.process(Faults::never()).full().run().await;
    assert_eq!(outcome.report.status, RunStatus::Succeeded);
    world.assert_equal("after the full run");
}

#[tokio::test(start_paused = true)]
async fn a_table_without_a_key_may_be_replaced_in_each_run() {
    let world = World::new(1, MemoryTracking::Nothing, false);
    world.put([1, 1, 2], "twin");
    for commits in [1, 2] {
        let mut process = world.process(Faults::never());
        process.sync.replace_keyless = true;
        assert_eq!(process.run().await.report.status, RunStatus::Succeeded);
        // The source has not moved since.
        assert_eq!(process.run().await.report.status, RunStatus::Succeeded);
        assert_eq!(world.sink.commits(&world.table), commits);
        world.assert_equal("after a run that replaces");
        world.put([1], "twin");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_somebody_else_wrote_are_not_doubled() {
    for before_the_copy in [true, false] {
        let world = World::new(1, MemoryTracking::Versions, true);
        world.put(0..12, "row");
        let foreign = sample_batch(&[SampleRow::new(10, "foreign", 0)]);
        let schema = sample_schema(true);
        if !before_the_copy {
            interrupted_copy(&world).await;
        }
        world.sink.write_foreign(&world.table, &schema, &foreign).unwrap();
        world.succeeds().await;
        world.assert_equal("after the copy met a foreign row");
    }
}

/// A copy of chunks of four rows that fails at the third one.
async fn interrupted_copy(world: &World) {
    let faults = Faults::scripted([None, None, Some(Fault::Before(ErrorKind::Denied))]);
    let sink = FaultySink::new(world.sink.clone(), faults).commits_only();
    let process = world.process_with(world.store.clone(), world.source.clone(), sink);
    assert!(failed_as(&process.run().await, ErrorKind::Denied));
    assert!(matches!(mark(world).await, Some(Mark::Copying { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_copy_resumes_where_it_stopped() {
    let world = World::new(1, MemoryTracking::Versions, true);
    world.put(0..12, "row");
    interrupted_copy(&world).await;
    assert_eq!(
        world.sink.staged_left(),
        0,
        "a commit that failed left rows behind"
    );
    let outcome = world.succeeds().await;
    assert_eq!(outcome.report.statistics.records_processed, 4);
    world.assert_equal("after the copy was resumed");
}

#[tokio::test(start_paused = true)]
async fn an_increment_with_news_moves_the_mark_with_them() {
    let world = World::new(1, MemoryTracking::Versions, true);
    world.put(0..3, "row");
    world.succeeds().await;
    for news in 0..3 {
        let before = mark(&world).await;
        world.put([news], "changed");
        world.succeeds().await;
        assert_ne!(mark(&world).await, before);
        world.store.lose();
        let again = world.succeeds().await;
        assert_eq!(again.report.statistics.records_processed, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_not_tracked_is_replaced_in_one_commit() {
    let world = World::new(1, MemoryTracking::Nothing, true);
    world.put(0..11, "row");
    for round in 1..4 {
        world.succeeds().await;
        assert_eq!(world.sink.commits(&world.table), round);
        world.assert_equal("after a full run");
        world.source.delete(&world.table, [round as i32]);
        world.put([3, 20 + round as i32], "changed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_run_removes_what_timestamps_cannot_see() {
    let world = World::new(1, TIMESTAMP, true);
    world.put(0..5, "row");
    world.succeeds().await;
    world.source.delete(&world.table, [2]);
    world.succeeds().await;
    assert!(!world.is_equal(), "timestamps do not see deletes");
    world.process(Faults::never()).full().run().await;
    world.assert_equal("after the full run");
    assert_eq!(world.sink.commits(&world.table), 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_run_copies_once_although_its_increment_is_repeated() {
    for yields in 0..30 {
        let world = World::new(1, MemoryTracking::Versions, true);
        world.put(0..12, "row");
        world.succeeds().await;
        let faults = Faults::scripted([None, Some(Fault::Conflict)]);
        let sink = FaultySink::new(world.sink.clone(), faults).commits_only();
        let process = world
            .process_with(world.store.clone(), world.source.clone(), sink)
            .full();
        let update = async {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            world.put([3], "meanwhile");
        };
        let (outcome, ()) = tokio::join!(process.run(), update);
        assert_eq!(outcome.report.status, RunStatus::Succeeded);
        assert!(
            outcome.report.statistics.records_processed < 24,
            "it was copied twice"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_state_is_told_and_rebuilt() {
    let world = World::new(1, TIMESTAMP, true);
    world.put(0..5, "row");
    world.succeeds().await;
    let sync = world.process(Faults::never()).sync.sync;
    world.store.damage(&sync);
    let commits = world.sink.commits(&world.table);
    let outcome = world.succeeds().await;
    assert!(
        outcome.warnings.iter().any(|warning| warning.contains("damaged")),
        "{:?}",
        outcome.warnings
    );
    assert_eq!(
        outcome.report.mode,
        format!("{TIMESTAMP:?}"),
        "it was not taken for a first run"
    );
    assert_eq!(world.sink.commits(&world.table), commits);
    assert!(matches!(world.store.load(&sync).await.unwrap(), Loaded::Found(_)));
}

/// A position in the store counts only for the state of the target that it extends.
#[tokio::test(start_paused = true)]
async fn a_position_of_another_state_of_the_target_is_void() {
    let world = World::new(1, TIMESTAMP, true);
    world.put(0..5, "row");
    world.succeeds().await;
    let sync = world.process(Faults::never()).sync.sync;
    let Loaded::Found(mut found) = world.store.load(&sync).await.unwrap() else {
        panic!("the state was not saved");
    };
    world.put([2], "must not be skipped");
    let position = found.state.position.as_mut().unwrap();
    position.value = (position.value.parse::<i64>().unwrap() + 1_000_000).to_string();
    found.state.reference = Some("another".into());
    world
        .store
        .save(&sync, Some(found.version), &found.state)
        .await
        .unwrap();
    world.succeeds().await;
    world.assert_equal("although the store was ahead");
}

/// A snapshot at which empty increments have arrived may expire, while the one that the mark names is held.
#[tokio::test(start_paused = true)]
async fn where_the_remembered_position_is_lost_the_mark_is_gone_on_from() {
    let world = World::new(1, MemoryTracking::Versions, true);
    world.put(0..5, "row");
    world.succeeds().await;
    let sync = world.process(Faults::never()).sync.sync;
    let Loaded::Found(mut found) = world.store.load(&sync).await.unwrap() else {
        panic!("the state was not saved");
    };
    found.state.position.as_mut().unwrap().incarnation = "expired".into();
    let saved = world.store.save(&sync, Some(found.version), &found.state);
    saved.await.unwrap();
    world.put([2, 7], "changed");
    world.succeeds().await;
    world.assert_equal("after the remembered position was lost");
}

#[tokio::test(start_paused = true)]
async fn the_source_is_told_only_what_the_target_holds() {
    let world = World::new(1, TIMESTAMP, true);
    world.put(0..5, "row");
    for _ in 0..3 {
        world.succeeds().await;
        let held = mark(&world).await.unwrap().position().clone();
        assert_eq!(world.source.acknowledged(&world.table), Some(held));
        world.clock.advance(500);
    }
}

/// What a copy began with is held before its first commit, not only at its end.
#[tokio::test(start_paused = true)]
async fn a_source_is_told_where_a_copy_begins() {
    let world = World::new(1, TIMESTAMP, true);
    world.put([1, 2, 3], "row");
    let refused = Faults::scripted([Some(Fault::Before(ErrorKind::Unsupported))]);
    let sink = FaultySink::new(world.sink.clone(), refused).commits_only();
    let process = world.process_with(world.store.clone(), world.source.clone(), sink);
    let outcome = process.run().await;
    assert!(failed_as(&outcome, ErrorKind::Unsupported), "{:?}", outcome.error);
    assert_eq!(world.sink.commits(&world.table), 0);
    assert!(world.source.acknowledged(&world.table).is_some());
}
