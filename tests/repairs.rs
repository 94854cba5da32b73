//! What a comparison finds is brought in line on every side, whatever the source tells meanwhile.

use std::sync::Arc;

use arrow_array::{Int32Array, RecordBatch};
use futures::StreamExt;
use model::{
    BatchId, ChangeSink, Commit, CommitOutcome, Epoch, Presence, Replace, RunStatus, Selection, SyncId,
};
use sqlserver_source::Mode;

use crate::gaps::{expect_equal, run, synchronised, table};
use crate::world::World;

async fn repair(world: &World) {
    let repair = world.repair(&table()).await;
    let status = repair.metadata.status;
    assert_eq!(status, RunStatus::Succeeded, "{:?}", repair.errors);
}

/// Change Tracking tells of a change that made a row what it was. It is not what the target's row waits for.
#[tokio::test]
async fn a_change_that_changed_nothing_excuses_no_difference() {
    for captured in [true, false] {
        let world = synchronised(Mode::ChangeTracking).await;
        world.sql("UPDATE dbo.Orders SET name = name WHERE id = 5");
        if captured {
            run(&world).await;
        }
        world.mirror("UPDATE dbo.Orders SET name = N'damaged' WHERE id = 5");
        let report = world.verify(&table()).await;
        let target = &report.columns[1];
        assert_eq!((target.different, target.pending), (1, 0), "captured: {captured}");
        repair(&world).await;
        run(&world).await;
        expect_equal(&world).await;
    }
}

/// Were its rows deleted first, a kill before the next commit would lose it.
#[tokio::test]
async fn a_row_that_is_there_twice_is_replaced_in_one_commit() {
    let world = synchronised(Mode::ChangeTracking).await;
    double(&world, 3).await;
    assert_eq!(world.verify(&table()).await.columns[0].extra, 1);
    let before = world.snapshots(&table()).await;
    repair(&world).await;
    assert_eq!(world.snapshots(&table()).await, before + 1);
    run(&world).await;
    expect_equal(&world).await;
}

/// Another program writes the row of an order once more.
async fn double(world: &World, id: i32) {
    let (source, sink, table) = (world.iceberg_source(), world.iceberg_sink(), table());
    let schema = source.describe(&table).await.unwrap().schema;
    let keys = RecordBatch::try_from_iter([("id", Arc::new(Int32Array::from(vec![id])) as _)]).unwrap();
    let rows = source.read(&table, &schema, Selection::Keys(keys), None).await;
    let again = rows.unwrap().map(|batch| {
        let mut batch = batch?;
        batch.presence = Presence::Absent;
        Ok(batch)
    });
    let other = SyncId::new("another program");
    let staged = sink.stage(&other, &table, &schema, again.boxed()).await.unwrap();
    let ours = SyncId::new(format!("world/{table}/capture"));
    let mark = sink.committed(&ours, &table).await.unwrap().mark.unwrap();
    let commit = Commit {
        sync: other,
        table,
        schema,
        batch: BatchId::new("twice"),
        epoch: Epoch(1),
        after: None,
        mark,
        staged: staged.staged,
        replace: Replace::No,
    };
    let outcome = sink.commit(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
}
