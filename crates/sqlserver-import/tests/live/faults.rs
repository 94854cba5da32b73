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
