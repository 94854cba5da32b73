//! Commits whose answer is lost.

use model::{ChangeSink, CommitOutcome, Op};
use sqlserver_emulator::CommitFault;
use sqlserver_import::ApplyOptions;
use test_support::{SampleRow, sample_batch, sample_rows, sample_schema};

use crate::{Case, Place};

const CREATE: &str =
    "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100) NULL, amount bigint NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_commit_is_found_out_and_never_doubled() {
    for (fault, happened) in [(CommitFault::Before, false), (CommitFault::After, true)] {
        let place = Place::new(ApplyOptions::default()).await;
        place.run(&[CREATE]).await;
        let case = Case::new(place, sample_schema(true));
        case.sink.prepare(&case.prepare(true)).await.unwrap();
        let rows = [SampleRow::new(1, "one", 1), SampleRow::new(2, "two", 2)];
        let staged = case.stage(sample_batch(&rows), &[Op::Insert; 2]).await.unwrap();
        let commit = case.next("lost", staged).await;
        case.place
            .emulator
            .faults()
            .lose_connection_at_commit(fault, "target", 0);
        let outcome = case.sink.commit(&commit).await.unwrap();
        assert!(
            matches!(outcome, CommitOutcome::Unknown { .. }),
            "{fault:?}: {outcome:?}"
        );

        let newest = case.sink.committed(&case.sync, &case.table).await.unwrap();
        assert_eq!(
            newest.batch.as_ref() == Some(&commit.batch),
            happened,
            "{fault:?}"
        );
        match (case.sink.commit(&commit).await.unwrap(), happened) {
            (CommitOutcome::Committed(receipt), true) => assert_eq!(receipt.inserted, 2),
            (CommitOutcome::Conflict { newest }, false) => assert_eq!(newest.mark, None),
            (other, _) => panic!("{fault:?}: sent again it ended as {other:?}"),
        }
        if !happened {
            case.apply("again", sample_batch(&rows), &[Op::Insert; 2])
                .await
                .unwrap();
        }
        assert_eq!(
            sample_rows(&case.place.rows(&case.table).await),
            rows,
            "{fault:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_commits_nothing_and_the_session_goes_on() {
    let place = Place::new(ApplyOptions::default()).await;
    place
        .run(&["CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100) NULL, amount bigint NULL CHECK (amount > 0))"])
        .await;
    let case = Case::new(place, sample_schema(true));
    case.sink.prepare(&case.prepare(true)).await.unwrap();
    let rows = [SampleRow::new(1, "good", 1), SampleRow::new(2, "bad", -1)];
    let error = case
        .apply("bad", sample_batch(&rows), &[Op::Insert; 2])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::Constraint, "{error}");
    let newest = case.sink.committed(&case.sync, &case.table).await.unwrap();
    assert_eq!(newest.mark, None);
    case.apply("good", sample_batch(&rows[..1]), &[Op::Insert])
        .await
        .unwrap();
    assert_eq!(sample_rows(&case.place.rows(&case.table).await), rows[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_waits_for_a_commit_that_may_still_happen() {
    let place = Place::new(ApplyOptions::default()).await;
    place.run(&[CREATE]).await;
    let case = Case::new(place, sample_schema(true));
    case.sink.prepare(&case.prepare(true)).await.unwrap();
    case.apply(
        "first",
        sample_batch(&[SampleRow::new(1, "one", 1)]),
        &[Op::Insert],
    )
    .await
    .unwrap();
    let mut open = case.place.connect().await;
    open.begin(sqlserver_client::Isolation::ReadCommitted)
        .await
        .unwrap();
    open.execute("UPDATE [_sync].[applied] SET [batch_id] = N'still open'", &[])
        .await
        .unwrap();
    let hasty = sqlserver_client::ConnectOptions {
        lock_timeout_seconds: 1,
        ..case.place.options()
    };
    let hasty = sqlserver_import::SqlServerSink::new(hasty, ApplyOptions::default()).unwrap();
    let error = hasty.committed(&case.sync, &case.table).await.unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::Transient, "{error}");
    assert!(matches!(
        open.commit().await,
        sqlserver_client::CommitEnd::Committed
    ));
    let newest = hasty.committed(&case.sync, &case.table).await.unwrap();
    assert_eq!(newest.batch, Some(model::BatchId::new("still open")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_target_never_has_a_reference_twice() {
    let place = Place::new(ApplyOptions::default()).await;
    place.run(&[CREATE]).await;
    let case = Case::new(place, sample_schema(true));
    case.sink.prepare(&case.prepare(true)).await.unwrap();
    let mut references = Vec::new();
    for batch in ["lost", "after the restore"] {
        let rows = sample_batch(&[SampleRow::new(1, batch, 1)]);
        let receipt = case.apply(batch, rows, &[Op::Upsert]).await.unwrap();
        let newest = case.sink.committed(&case.sync, &case.table).await.unwrap();
        assert_eq!(newest.reference.as_ref(), Some(&receipt.reference));
        references.push(receipt.reference);
        case.place.run(&["DELETE FROM _sync.applied"]).await;
    }
    assert_ne!(references[0], references[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trigger_throws_is_no_defect_of_ours() {
    let place = Place::new(ApplyOptions::default()).await;
    place
        .run(&[
            CREATE,
            "CREATE TRIGGER dbo.no_sundays ON dbo.T AFTER INSERT AS THROW 50001, N'not on a Sunday', 1;",
        ])
        .await;
    let case = Case::new(place, sample_schema(true));
    case.sink.prepare(&case.prepare(true)).await.unwrap();
    let row = sample_batch(&[SampleRow::new(1, "one", 1)]);
    let error = case.apply("first", row, &[Op::Insert]).await.unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::Constraint, "{error}");
    assert!(error.message().contains("not on a Sunday"), "{error}");
    assert!(error.advice().contains("trigger"), "{}", error.advice());
    assert!(case.place.rows(&case.table).await.is_empty());
}
