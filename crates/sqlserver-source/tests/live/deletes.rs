//! Rows that are marked as deleted, and deletes that are not passed on.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch};
use model::{ChangeSource, ErrorKind, Selection, Severity};

use crate::shop::{Shop, Target, collect, rows, schema, table};

/// Every way to learn of changes, and two ways to mark.
const SETUP: &str = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, gone bit NULL, gone_at datetime2(3) NULL, \
    updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(), rv rowversion); \
    INSERT INTO dbo.T (id, v) VALUES (1, N'one'), (2, N'two'), (3, N'three'), (4, N'four'); \
    ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON; ALTER TABLE dbo.T ENABLE CHANGE_TRACKING";
const MODES: [&str; 3] = [
    r#""tracking":{"column":"updated_at"}"#,
    r#""tracking":{"column":"rv"}"#,
    r#""mode":"change_tracking""#,
];

fn keys(target: &Target) -> Vec<i64> {
    target.rows.keys().copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn marked_rows_are_absent_until_the_mark_goes() {
    for mode in MODES {
        for (column, set, clear) in [
            ("gone", "1", "0"),
            ("gone", "1", "NULL"),
            ("gone_at", "SYSUTCDATETIME()", "NULL"),
        ] {
            let shop = Shop::open(SETUP).await;
            let touch = |set: &str, which: &str| {
                shop.sql(&format!(
                    "UPDATE dbo.T SET {column} = {set}, updated_at = SYSUTCDATETIME() WHERE {which}"
                ));
                shop.pass(30);
            };
            touch(set, "id = 1");
            let source = shop.source(&format!(r#"{{{mode},"deletes":{{"soft":"{column}"}}}}"#));
            let mut target = Target::copy(source, || ()).await;
            assert_eq!(keys(&target), [2, 3, 4], "{mode} {column}");
            touch(set, "id = 2");
            shop.sql("INSERT INTO dbo.T (id, v) VALUES (5, N'short-lived')");
            touch(set, "id = 5");
            target.increment().await;
            assert_eq!(keys(&target), [3, 4], "{mode} {column}");
            assert!(target.is_equal().await, "{mode} {column}");
            touch(clear, "id IN (1, 2)");
            target.increment().await;
            assert_eq!(keys(&target), [1, 2, 3, 4], "{mode} {column}");
            assert!(target.is_equal().await, "{mode} {column}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn marked_rows_are_deleted_again_by_every_window_and_delete_nothing_else() {
    let shop = Shop::open(SETUP).await;
    let options = r#"{"tracking":{"column":"updated_at"},"deletes":{"soft":"gone"},"window":{"tolerance_seconds":600}}"#;
    shop.pass(30);
    let mut target = Target::copy(shop.source(options), || ()).await;
    shop.sql("UPDATE dbo.T SET gone = 1, updated_at = SYSUTCDATETIME() WHERE id = 2");
    for _ in 0..3 {
        shop.pass(30);
        target.increment().await;
        assert_eq!(keys(&target), [1, 3, 4]);
    }
}

/// A key whose column cannot hold it is nobody's. That its delete is ignored needs no row, unless a condition judges it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_its_column_cannot_hold_is_gone() {
    let shop = Shop::open(
        "CREATE TABLE dbo.T (id tinyint NOT NULL PRIMARY KEY, v nvarchar(20) NULL); INSERT INTO dbo.T (id) VALUES (1), (2); \
         ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON; ALTER TABLE dbo.T ENABLE CHANGE_TRACKING",
    )
    .await;
    let keys: ArrayRef = Arc::new(Int32Array::from(vec![2, 3, 300, -1]));
    let keys = RecordBatch::try_from_iter([("id", keys)]).unwrap();
    for (deletes, kept) in [
        (r#"{"hard":"apply"}"#, vec![]),
        (r#"{"hard":"ignore"}"#, vec![-1, 3, 300]),
        (r#"{"hard":"ignore","ignore_where":"id > 0"}"#, vec![3]),
    ] {
        let source = shop.source(&format!(r#"{{"mode":"change_tracking","deletes":{deletes}}}"#));
        let schema = schema(&source).await;
        let read = async |selection| {
            let found = source.read(&table(), &schema, selection, None).await.unwrap();
            let found = collect(found).await;
            let ids = found.iter().flat_map(|batch| rows(&batch.rows).into_keys());
            let mut ids: Vec<_> = ids.collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(read(Selection::Keys(keys.clone())).await, [2], "{deletes}");
        assert_eq!(read(Selection::KeptKeys(keys.clone())).await, kept, "{deletes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_cannot_mark_is_refused() {
    let shop = Shop::open(SETUP).await;
    for (column, why) in [("v", "nvarchar"), ("nobody", "does not have")] {
        let source = shop.source(&format!(r#"{{"deletes":{{"soft":"{column}"}}}}"#));
        let error = source.describe(&table()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(why), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_deletes_are_not_told_and_others_are() {
    for (policy, left) in [
        (r#"{"hard":"apply"}"#, vec![4]),
        (r#"{"hard":"ignore"}"#, vec![1, 2, 3, 4]),
        (
            r#"{"hard":"ignore","ignore_where":"id < 3 -- what is old"}"#,
            vec![1, 2, 4],
        ),
        // What is neither true nor false is applied.
        (r#"{"hard":"ignore","ignore_where":"id < NULL"}"#, vec![4]),
    ] {
        for (mode, setup) in [
            ("change_tracking", ""),
            (
                "cdc",
                "EXEC sys.sp_cdc_enable_db; \
                 EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'T', @role_name = NULL",
            ),
        ] {
            let shop = Shop::open(SETUP).await;
            shop.pass(0);
            shop.sql(setup);
            shop.pass(30);
            let source = shop.source(&format!(r#"{{"mode":"{mode}","deletes":{policy}}}"#));
            let mut target = Target::copy(source, || ()).await;
            shop.sql("DELETE FROM dbo.T WHERE id < 4");
            shop.pass(30);
            target.increment().await;
            assert_eq!(keys(&target), left, "{mode} {policy}");
            // Who comes back is there.
            shop.sql("INSERT INTO dbo.T (id, v) VALUES (1, N'back')");
            shop.pass(30);
            target.increment().await;
            assert_eq!(target.rows[&1].as_deref(), Some("back"), "{mode} {policy}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_leaves_the_filter_is_told_although_deletes_are_ignored() {
    let shop = Shop::open(SETUP).await;
    let options = r#"{"mode":"change_tracking","where":"v <> N'private'","deletes":{"hard":"ignore"}}"#;
    let mut target = Target::copy(shop.source(options), || ()).await;
    shop.sql("UPDATE dbo.T SET v = N'private' WHERE id = 1; DELETE FROM dbo.T WHERE id = 2");
    target.increment().await;
    assert_eq!(keys(&target), [2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_the_server_refuses_is_found_before_a_run() {
    let shop = Shop::open(SETUP).await;
    let options = r#"{"mode":"change_tracking","deletes":{"hard":"ignore","ignore_where":"v = N'x'"}}"#;
    let description = shop.source(options).describe(&table()).await.unwrap();
    let refused = description
        .findings
        .iter()
        .find(|f| f.severity == Severity::Error);
    assert!(
        refused.unwrap().message.contains("`capture.deletes`"),
        "only the key is left of a row that is gone"
    );
}
