//! What a comparison finds is brought in line on every side, whatever the source tells meanwhile.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int32Array, RecordBatch};
use futures::StreamExt;
use model::{
    BatchId, ChangeSink, Commit, CommitOutcome, Epoch, Presence, Replace, RunStatus, Selection, SyncId,
};
use orchestrator::{Reconcile, Reconciled, Verify, key_range};
use sqlserver_source::Mode;
use test_support::{Fault, Faults, FaultySink};
use tokio_util::sync::CancellationToken;

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

/// No row of the source has such a key, so there is nothing to wait for.
#[tokio::test]
async fn a_key_that_the_source_cannot_hold_is_a_row_too_many() {
    let mut world = World::start().await;
    world.capture.mode = Mode::Full;
    world.sql("CREATE TABLE dbo.Orders (id tinyint NOT NULL PRIMARY KEY, name nvarchar(40) NULL)");
    for id in 0..20 {
        world.sql(&format!("INSERT INTO dbo.Orders VALUES ({id}, N'row')"));
    }
    run(&world).await;
    plant(&world, 1, 300).await;
    let found = world.verify(&table()).await;
    let extra: Vec<_> = found.columns.iter().map(|side| side.extra).collect();
    assert_eq!(extra, [1, 0], "{found:#?}");
    repair_all(&world).await;
}

/// To the source a key is the same in capital letters, and to Iceberg it is not. Were the old spelling deleted first, a kill before the
/// next commit would lose the row: a comparison that only deletes does not bring it.
#[tokio::test]
async fn a_key_that_changed_its_letters_is_replaced_in_one_commit() {
    for what in [Reconciled::Deletes, Reconciled::All] {
        let mut world = World::start().await;
        world.emulator.clock().freeze();
        world.capture.window.settle_seconds = 0;
        world.sql(
            "CREATE TABLE dbo.Orders (id nvarchar(10) COLLATE Latin1_General_CI_AS NOT NULL PRIMARY KEY, name nvarchar(40) NULL,
             updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME())",
        );
        for id in 0..20 {
            world.sql(&format!(
                "INSERT INTO dbo.Orders (id, name) VALUES (N'id{id}', N'row')"
            ));
        }
        run(&world).await;
        // So late that no window reads the row again.
        world.emulator.clock().step_ms(3_600_000);
        world.sql("INSERT INTO dbo.Orders (id, name) VALUES (N'id20', N'row')");
        world.emulator.clock().step_ms(60_000);
        run(&world).await;
        expect_equal(&world).await;
        world.sql("UPDATE dbo.Orders SET id = N'ID7' WHERE id = N'id7'");
        let reconciling = |faults: Faults| {
            let iceberg = FaultySink::new(world.iceberg_sink(), faults).commits_only();
            let source = world.source(&table(), world.capture.clone());
            let target = Arc::new(world.target_sink());
            let mut route = world.route(&table(), source, Arc::new(iceberg), target);
            let reconcile = Reconcile::new(Duration::ZERO, what, world.iceberg_source());
            route.syncs[0].reconcile = Some(reconcile);
            world.run(route)
        };
        let killed = Faults::scripted([Some(Fault::Killed)]);
        tokio::select! {
            report = reconciling(killed.clone()) => panic!("it was not killed: {report:#?}"),
            () = killed.killed() => {}
        }
        let report = reconciling(Faults::never()).await;
        assert_eq!(report.metadata.status, RunStatus::Succeeded, "{report:#?}");
        expect_equal(&world).await;
        // Nor does the target tell the two spellings apart.
        world.mirror("UPDATE dbo.Orders SET id = N'ID3' WHERE id = N'id3'");
        let found = world.verify(&table()).await;
        let target = &found.columns[1];
        assert_eq!((target.missing, target.extra), (1, 1), "{found:#?}");
        repair(&world).await;
        expect_equal(&world).await;
    }
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

/// A range is made what the source has, rows that are gone included; the rest stays as it is, and increments go on.
#[tokio::test]
async fn a_range_of_keys_is_brought_in_line_by_itself() {
    let world = World::start().await;
    world.emulator.clock().freeze();
    world.sql("CREATE TABLE dbo.Orders (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL, updated_at datetime2(3) NOT NULL)");
    for id in 50..250 {
        world.sql(&format!(
            "INSERT INTO dbo.Orders (id, name, updated_at) VALUES ({id}, N'row', '2001-01-01')"
        ));
    }
    run(&world).await;
    // Their times tell nobody.
    world.sql("UPDATE dbo.Orders SET name = N'changed' WHERE id IN (99, 100, 199, 200)");
    world.sql("DELETE FROM dbo.Orders WHERE id IN (98, 101)");
    world.sql("INSERT INTO dbo.Orders (id, name, updated_at) VALUES (5000, N'on', SYSUTCDATETIME())");
    world.emulator.clock().step_ms(60_000);
    let schema = world.iceberg_source().describe(&table()).await.unwrap().schema;
    let range = key_range(&schema, Some("100"), Some(r#"{"id":199}"#)).unwrap();
    let repair = world.repair_range(&table(), Some(range.clone())).await;
    assert_eq!(
        repair.metadata.status,
        RunStatus::Succeeded,
        "{:?}",
        repair.errors
    );
    let counts = &repair.tables[0].statistics;
    assert_eq!((counts.records_updated, counts.records_deleted), (2, 1));
    let again = world.repair_range(&table(), Some(range)).await;
    assert_eq!(again.statistics.records_written, 0, "{again:#?}");
    run(&world).await;
    let found = world.verify(&table()).await;
    for side in &found.columns {
        let differing = (side.different, side.missing, side.extra);
        assert_eq!(differing, (2, 0, 1), "{found:#?}");
    }
    repair_all(&world).await;
}

/// A range cannot end a gap: what changed outside of it would never be told.
#[tokio::test]
async fn a_range_of_keys_ends_no_gap() {
    let world = synchronised(Mode::ChangeTracking).await;
    world.sql("ALTER TABLE dbo.Orders DISABLE CHANGE_TRACKING");
    world.sql("UPDATE dbo.Orders SET name = N'changed' WHERE id IN (99, 100)");
    world.sql("ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING");
    let schema = world.iceberg_source().describe(&table()).await.unwrap().schema;
    let verify = Verify {
        range: Some(key_range(&schema, Some("100"), None).unwrap()),
        ..world.capture_comparison(&table()).await
    };
    let refused = verify
        .run_for_repair(&CancellationToken::new())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("range"), "{refused}");
    repair_all(&world).await;
}

async fn repair_all(world: &World) {
    repair(world).await;
    run(world).await;
    expect_equal(world).await;
}

/// Another program writes the row of an order once more.
async fn double(world: &World, id: i32) {
    plant(world, id, id).await;
}

/// Another program writes the row of an order once more, as that of another one.
async fn plant(world: &World, like: i32, id: i32) {
    let (source, sink, table) = (world.iceberg_source(), world.iceberg_sink(), table());
    let schema = source.describe(&table).await.unwrap().schema;
    let ids = |id: i32| Arc::new(Int32Array::from(vec![id])) as ArrayRef;
    let keys = RecordBatch::try_from_iter([("id", ids(like))]).unwrap();
    let rows = source.read(&table, &schema, Selection::Keys(keys), None).await;
    let again = rows.unwrap().map(move |batch| {
        let mut batch = batch?;
        let mut columns = batch.rows.columns().to_vec();
        columns[0] = ids(id);
        batch.rows = RecordBatch::try_new(batch.rows.schema(), columns).unwrap();
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
        moment: None,
    };
    let outcome = sink.commit(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
}
