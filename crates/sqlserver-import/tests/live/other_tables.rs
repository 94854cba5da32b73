//! A target that is not what it was: another table of its name, or of another name, or one that was altered.

use model::{ChangeSink, CommitOutcome, ErrorKind, Op, Prepare, Replace, TableName};
use sqlserver_import::{ApplyOptions, Strategy};
use test_support::{SampleRow, sample_batch, sample_rows, sample_schema};

use crate::{Case, Place, at};

const CREATE: &str =
    "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100) NULL, amount bigint NULL)";

/// A table that rows 1 and 2 have been applied to.
async fn applied() -> Case {
    let place = Place::new(ApplyOptions::default()).await;
    place.run(&[CREATE]).await;
    let case = Case::new(place, sample_schema(true));
    case.sink.prepare(&case.prepare(true)).await.unwrap();
    case.apply("first", sample_batch(&rows(&[1, 2])), &[Op::Insert; 2])
        .await
        .unwrap();
    case
}

fn rows(ids: &[i32]) -> Vec<SampleRow> {
    ids.iter()
        .map(|id| SampleRow::new(*id, "row", i64::from(*id)))
        .collect()
}

async fn is_a_gap(case: &Case) {
    let error = case.sink.prepare(&case.prepare(true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
    assert!(error.advice().contains("--full"), "{}", error.advice());
}

/// Replaces everything by rows 1 to 3, on what the target says now.
async fn replace(case: &Case) {
    let staged = case
        .stage(sample_batch(&rows(&[1, 2, 3])), &[Op::Insert; 3])
        .await
        .unwrap();
    let mut commit = case.next("everything", staged).await;
    commit.replace = Replace::Table;
    let outcome = case.sink.commit(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    case.sink.prepare(&case.prepare(false)).await.unwrap();
    let held = sample_rows(&case.place.rows(&case.table).await);
    assert_eq!(held, rows(&[1, 2, 3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_created_again_is_replaced_and_not_continued() {
    let case = applied().await;
    case.place.run(&["DROP TABLE dbo.T", CREATE]).await;
    is_a_gap(&case).await;
    let fresh = Case {
        sink: case.place.sink(),
        ..case
    };
    let staged = fresh
        .stage(sample_batch(&rows(&[3])), &[Op::Insert])
        .await
        .unwrap();
    let increment = fresh.next("second", staged).await;
    let error = fresh.sink.commit(&increment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
    assert!(fresh.place.rows(&fresh.table).await.is_empty());
    let full = Prepare {
        replace: true,
        ..fresh.prepare(false)
    };
    fresh.sink.prepare(&full).await.unwrap();
    replace(&fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn emptying_a_table_makes_no_other_table_of_it() {
    let case = applied().await;
    case.place.run(&["TRUNCATE TABLE dbo.T"]).await;
    case.sink.prepare(&case.prepare(false)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_is_created_only_to_replace_everything() {
    let case = applied().await;
    case.place.run(&["DROP TABLE dbo.T"]).await;
    let create = Prepare {
        create: true,
        ..case.prepare(false)
    };
    let error = case.sink.prepare(&create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.advice().contains("--full"), "{}", error.advice());
    let full = Prepare {
        replace: true,
        ..create
    };
    assert!(case.sink.prepare(&full).await.unwrap().created);
    let newest = case.sink.committed(&case.sync, &case.table).await.unwrap();
    assert_eq!(newest.mark, None, "a table that was created anew carries no mark");
    assert_eq!(newest.epoch, model::Epoch(1));
    replace(&case).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_with_another_target_begins_there_anew() {
    let mut case = applied().await;
    case.place.run(&[&CREATE.replace("dbo.T", "dbo.U")]).await;
    case.table = TableName::new("dbo", "U");
    is_a_gap(&case).await;
    let full = Prepare {
        replace: true,
        ..case.prepare(false)
    };
    let error = case.sink.prepare(&full).await.unwrap_err();
    assert!(error.advice().contains("adopt"), "{error}");
    case.sink.prepare(&Prepare { adopt: true, ..full }).await.unwrap();
    replace(&case).await;
    case.table = TableName::new("dbo", "T");
    is_a_gap(&case).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_of_an_older_version_belong_to_the_table_that_they_name() {
    let case = applied().await;
    case.place
        .run(&["ALTER TABLE _sync.applied DROP COLUMN incarnation"])
        .await;
    let newest = case.sink.committed(&case.sync, &case.table).await.unwrap();
    assert_eq!(newest.mark, Some(at("first")));
    let dry = Prepare {
        dry_run: true,
        ..case.prepare(false)
    };
    case.sink.prepare(&dry).await.unwrap();
    let remapped = Prepare {
        table: TableName::new("dbo", "U"),
        ..case.prepare(true)
    };
    case.place.run(&[&CREATE.replace("dbo.T", "dbo.U")]).await;
    let error = case.sink.prepare(&remapped).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap, "{error}");
    case.sink.prepare(&case.prepare(false)).await.unwrap();
    case.apply("second", sample_batch(&rows(&[3])), &[Op::Insert])
        .await
        .unwrap();
    case.place.run(&["DROP TABLE dbo.T", CREATE]).await;
    is_a_gap(&case).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_replaces_everything_may_begin_with_foreign_rows() {
    let place = Place::new(ApplyOptions {
        strategy: Strategy::Mirror,
        ..ApplyOptions::default()
    })
    .await;
    place
        .run(&[CREATE, "INSERT INTO dbo.T VALUES (9, N'foreign', 9)"])
        .await;
    let case = Case::new(place, sample_schema(true));
    let full = Prepare {
        replace: true,
        ..case.prepare(true)
    };
    case.sink.prepare(&full).await.unwrap();
    replace(&case).await;
}

const NARROW: &str = "ALTER TABLE dbo.T ALTER COLUMN name varchar(100) COLLATE Latin1_General_CI_AS NULL";

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_staged_for_the_target_as_it_is_now() {
    let case = applied().await;
    case.place.run(&[NARROW]).await;
    let foreign = sample_batch(&[SampleRow::new(3, "日本", 3)]);
    let error = case.stage(foreign, &[Op::Insert]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    case.apply("second", sample_batch(&rows(&[3])), &[Op::Insert])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_staged_for_other_types_are_not_converted() {
    let case = applied().await;
    let foreign = sample_batch(&[SampleRow::new(3, "日本", 3)]);
    let staged = case.stage(foreign, &[Op::Insert]).await.unwrap();
    case.place.run(&[NARROW]).await;
    let commit = case.next("second", staged).await;
    let error = case.sink.commit(&commit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    let again = case.sink.commit(&commit).await.unwrap();
    assert!(matches!(again, CommitOutcome::Conflict { newest } if newest.mark == commit.after));
    assert_eq!(sample_rows(&case.place.rows(&case.table).await), rows(&[1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_came_after_the_newest_mark_are_told_until_the_next_one() {
    let case = applied().await;
    let added = async || {
        let newest = case.sink.committed(&case.sync, &case.table).await.unwrap();
        newest.added
    };
    assert!(added().await.is_empty());
    case.place.run(&["ALTER TABLE dbo.T ADD more int NULL"]).await;
    assert_eq!(added().await, ["more"]);
    let altered = "ALTER TABLE dbo.T DROP COLUMN amount; ALTER TABLE dbo.T ADD amount bigint NULL";
    case.place.run(&altered.split("; ").collect::<Vec<_>>()).await;
    assert_eq!(added().await, ["more", "amount"]);
    case.apply("second", sample_batch(&rows(&[3])), &[Op::Insert])
        .await
        .unwrap();
    assert!(added().await.is_empty());
}

/// A mark of an older version does not say which columns there were, so they are noted before others are added.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_added_to_a_table_of_an_older_version_is_told() {
    let place = Place::new(ApplyOptions::default()).await;
    let mut case = Case::new(place, sample_schema(true));
    let create = Prepare {
        create: true,
        ..case.prepare(false)
    };
    case.sink.prepare(&create).await.unwrap();
    case.apply("first", sample_batch(&rows(&[1])), &[Op::Insert])
        .await
        .unwrap();
    case.place
        .run(&[
            "ALTER TABLE _sync.applied DROP COLUMN greatest_column",
            "ALTER TABLE dbo.T DROP COLUMN amount",
        ])
        .await;
    assert!(
        case.sink
            .committed(&case.sync, &case.table)
            .await
            .unwrap()
            .added
            .is_empty()
    );
    case.sink = case.place.sink();
    let prepared = case.sink.prepare(&case.prepare(false)).await.unwrap();
    assert!(prepared.altered, "{prepared:?}");
    let newest = case.sink.committed(&case.sync, &case.table).await.unwrap();
    assert_eq!(newest.added, ["amount"]);
}
