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

/// Of the rows that are equal, few are read once more where those that differ lie together.
#[tokio::test]
async fn little_is_read_again_where_differences_lie_together() {
    const ROWS: u64 = 100_000;
    for (differing, together) in [("id / 100 % 100 = 7", true), ("id % 100 = 7", false)] {
        let mut world = World::start().await;
        world.emulator.clock().freeze();
        world.capture.mode = Mode::ChangeTracking;
        world.sql(
            "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON;
             CREATE TABLE dbo.Orders (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL);
             INSERT INTO dbo.Orders (id, name) VALUES (0, N'row')",
        );
        world.sql("ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING");
        world.sql(&format!(
            "DECLARE @n int = 1;
             WHILE @n < {ROWS} BEGIN
                 INSERT INTO dbo.Orders (id, name) SELECT id + @n, name FROM dbo.Orders WHERE id + @n < {ROWS}; SET @n += @n
             END"
        ));
        run(&world).await;
        world.sql("ALTER TABLE dbo.Orders DISABLE CHANGE_TRACKING");
        world.sql(&format!(
            "UPDATE dbo.Orders SET name = N'changed' WHERE {differing}"
        ));
        world.sql("ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING");
        let found = world.verify(&table()).await.columns.remove(0);
        assert_eq!((found.rows, found.different), (ROWS, ROWS / 100));
        let repair = world.repair(&table()).await;
        let status = repair.metadata.status;
        assert_eq!(status, RunStatus::Succeeded, "{:?}", repair.errors);
        let fetched = found.read_again + repair.tables[0].statistics.records_processed;
        println!(
            "{differing}: ranges of {} keys, {fetched} of {ROWS} rows fetched to mend {}",
            found.range_keys, found.different
        );
        assert!(!together || fetched <= ROWS / 20, "{fetched} rows were fetched");
        run(&world).await;
        expect_equal(&world).await;
    }
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
