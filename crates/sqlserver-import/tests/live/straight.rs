//! Rows that go straight into the target, in a transaction that their commit ends.

use arrow_array::{Int8Array, RecordBatch};
use futures::{StreamExt, stream};
use model::{Batches, ChangeBatch, ChangeSink, CommitOutcome, ErrorKind, Op, Presence, Result, Staged};
use sqlserver_emulator::CommitFault;
use sqlserver_import::ApplyOptions;
use test_support::{SampleRow, sample_batch, sample_schema};

use crate::{Case, Place, at, sample};

const CREATE: &str =
    "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100) NULL, amount bigint NULL)";

impl Case {
    async fn created() -> Self {
        let place = Place::new(ApplyOptions::default()).await;
        place.run(&[CREATE]).await;
        let case = Self::new(place, sample_schema(true));
        case.sink.prepare(&case.prepare(true)).await.unwrap();
        case
    }

    async fn is_loaded_straight(&self) -> bool {
        let alone = self.sink.stages_alone(&self.sync, &self.table, &self.schema);
        alone.await.unwrap()
    }

    async fn stage_alone(&self, rows: &[SampleRow]) -> Result<Vec<Staged>> {
        let rows: RecordBatch = sample_batch(rows);
        let ops = Int8Array::from(vec![Op::Insert as i8; rows.num_rows()]);
        let (table, schema) = (self.table.clone(), self.schema.clone());
        let batch = ChangeBatch::new(table, schema, rows, ops, Presence::Absent).unwrap();
        let batches: Batches = stream::iter([Ok(batch)]).boxed();
        let staged = self
            .sink
            .stage_alone(&self.sync, &self.table, &self.schema, batches)
            .await?;
        Ok(staged.staged)
    }

    async fn copy(&self, batch: &str, rows: &[SampleRow]) {
        let staged = self.stage_alone(rows).await.unwrap();
        let commit = self.next(batch, staged).await;
        let outcome = self.sink.commit(&commit).await.unwrap();
        let CommitOutcome::Committed(receipt) = outcome else {
            panic!("the commit ended as {outcome:?}");
        };
        assert_eq!(receipt.inserted, rows.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_in_the_table_before_the_commit_and_seen_after_it() {
    let case = Case::created().await;
    assert!(case.is_loaded_straight().await);
    let staged = case.stage_alone(&sample(1..=3)).await.unwrap();
    let dirty = "SELECT COUNT(*) FROM dbo.T WITH (NOLOCK)";
    assert_eq!(case.place.value(dirty).await, "3", "they were staged elsewhere");
    let passed_over = "SELECT COUNT(*) FROM dbo.T WITH (READPAST)";
    assert_eq!(case.place.value(passed_over).await, "0");
    case.sink.discard(staged).await.unwrap();
    assert_eq!(case.place.value(dirty).await, "0");
    case.copy("first", &sample(1..=3)).await;
    assert_eq!(case.sample_rows().await, sample(1..=3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_there_already_refuses_the_chunk_and_nothing_of_it_stays() {
    let case = Case::created().await;
    case.place
        .run(&["INSERT dbo.T (id, name, amount) VALUES (2, N'mine', 0)"])
        .await;
    let error = case.stage_alone(&sample(1..=3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
    assert_eq!(case.sample_rows().await, [SampleRow::new(2, "mine", 0)]);
    // Staged, they are compared with it.
    case.apply("staged", sample_batch(&sample(1..=3)), &[Op::Upsert; 3])
        .await
        .unwrap();
    assert_eq!(case.sample_rows().await, sample(1..=3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_out() {
    for (fault, happened) in [(CommitFault::Before, false), (CommitFault::After, true)] {
        let case = Case::created().await;
        case.copy("first", &sample(1..=2)).await;
        let staged = case.stage_alone(&sample(3..=4)).await.unwrap();
        let commit = case.next("lost", staged).await;
        let faults = case.place.emulator.faults();
        faults.lose_connection_at_commit(fault, "target", 0);
        let outcome = case.sink.commit(&commit).await.unwrap();
        assert!(
            matches!(outcome, CommitOutcome::Unknown { .. }),
            "{fault:?}: {outcome:?}"
        );
        match (case.sink.commit(&commit).await.unwrap(), happened) {
            (CommitOutcome::Committed(receipt), true) => assert_eq!(receipt.inserted, 2),
            (CommitOutcome::Conflict { newest }, false) => {
                assert_eq!(newest.mark, Some(at("first")));
                assert_eq!(case.sample_rows().await, sample(1..=2));
                case.copy("again", &sample(3..=4)).await;
            }
            (other, _) => panic!("{fault:?}: sent again it ended as {other:?}"),
        }
        assert_eq!(case.sample_rows().await, sample(1..=4), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_gets_meanwhile_is_obeyed() {
    let case = Case::created().await;
    case.copy("first", &sample(1..=2)).await;
    case.place
        .run(&["ALTER TABLE dbo.T ADD colour varchar(9) NULL DEFAULT 'red'"])
        .await;
    assert!(!case.is_loaded_straight().await);
    case.copy("second", &sample(3..=4)).await;
    let red = "SELECT COUNT(*) FROM dbo.T WHERE colour = 'red'";
    assert_eq!(case.place.value(red).await, "2");

    let case = Case::created().await;
    case.copy("first", &sample(1..=2)).await;
    case.place
        .run(&[
            "CREATE TABLE dbo.audit (id int NOT NULL)",
            "CREATE TRIGGER dbo.audited ON dbo.T AFTER INSERT AS INSERT INTO dbo.audit SELECT id FROM inserted;",
        ])
        .await;
    assert!(!case.is_loaded_straight().await);
    case.copy("second", &sample(3..=4)).await;
    assert_eq!(case.place.value("SELECT COUNT(*) FROM dbo.audit").await, "2");
    assert_eq!(case.sample_rows().await, sample(1..=4));
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_refuse_what_an_insert_may_not_bring() {
    let case = Case::created().await;
    case.place
        .run(&["ALTER TABLE dbo.T ADD CONSTRAINT small CHECK (amount < 3)"])
        .await;
    assert!(case.is_loaded_straight().await);
    let error = case.stage_alone(&sample(1..=3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
    assert!(case.sample_rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_failed_has_nothing_left_to_send_again() {
    let case = Case::created().await;
    case.copy("first", &sample(1..=2)).await;
    let staged = case.stage_alone(&sample(3..=4)).await.unwrap();
    let commit = case.next("failed", staged).await;
    case.place
        .run(&[
            "CREATE TRIGGER [_sync].[no_marks] ON [_sync].[applied] AFTER UPDATE AS THROW 50001, N'not now', 1;",
        ])
        .await;
    let error = case.sink.commit(&commit).await.unwrap_err();
    assert!(error.message().contains("not now"), "{error}");
    case.place.run(&["DROP TRIGGER [_sync].[no_marks]"]).await;
    let outcome = case.sink.commit(&commit).await.unwrap();
    assert!(
        matches!(outcome, CommitOutcome::Conflict { ref newest } if newest.mark == Some(at("first"))),
        "sent again it ended as {outcome:?}"
    );
    assert_eq!(case.sample_rows().await, sample(1..=2));
    case.copy("again", &sample(3..=4)).await;
    assert_eq!(case.sample_rows().await, sample(1..=4));
}
