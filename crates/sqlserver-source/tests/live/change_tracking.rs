//! Histories of a table under Change Tracking.

use futures::StreamExt;
use model::{ChangeSource, Cut, ErrorKind, Severity, Tracking};
use sqlserver_client::Isolation;

use crate::shop::{Shop, Target, complete, schema, table};

const DATABASE: &str = "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON);\
    ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON;";
const TABLE: &str =
    "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, region nvarchar(2) NULL);";
const ROWS: &str =
    "INSERT INTO dbo.T (id, v) VALUES (1, N'one'), (2, N'two'), (3, N'three'), (4, N'four'), (5, N'five');";

const MODE: &str = r#"{"mode":"change_tracking"}"#;

async fn tracked() -> Shop {
    Shop::open(&format!(
        "{DATABASE}{TABLE}ALTER TABLE dbo.T ENABLE CHANGE_TRACKING;{ROWS}"
    ))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_net_effect_of_every_change_arrives() {
    let shop = tracked().await;
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    assert_eq!(target.position.kind, "change_tracking");
    for (changes, told) in [
        ("UPDATE dbo.T SET v = N'changed' WHERE id = 1", 1),
        ("DELETE FROM dbo.T WHERE id = 2", 1),
        // The old key is gone, and the new one there.
        ("UPDATE dbo.T SET id = 30 WHERE id = 3", 2),
        (
            "DELETE FROM dbo.T WHERE id = 4; INSERT INTO dbo.T (id, v) VALUES (4, N'back')",
            1,
        ),
        (
            "INSERT INTO dbo.T (id, v) VALUES (6, N'new'); UPDATE dbo.T SET v = N'newer' WHERE id = 6",
            1,
        ),
        ("UPDATE dbo.T SET v = v WHERE id = 5", 1),
        ("UPDATE dbo.T SET v = N'nobody' WHERE id = 99", 0),
    ] {
        shop.sql(changes);
        target.increment().await;
        assert_eq!(target.fresh, told, "{changes}");
        assert!(target.is_equal().await, "{changes}");
    }
    shop.sql("INSERT INTO dbo.T (id, v) VALUES (7, N'short-lived'); DELETE FROM dbo.T WHERE id = 7");
    target.increment().await;
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_commits_late_is_not_lost_and_holds_nobody() {
    let shop = tracked().await;
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    let mut late = shop.writer().await;
    late.begin(Isolation::ReadCommitted).await.unwrap();
    late.execute("UPDATE dbo.T SET v = N'late' WHERE id = 1", &[])
        .await
        .unwrap();
    shop.sql("UPDATE dbo.T SET v = N'early' WHERE id = 2");
    let (holding, assumed) = target.increment().await;
    assert_eq!((holding, assumed, target.fresh), (None, None, 1));
    late.commit().await;
    target.increment().await;
    assert_eq!(target.fresh, 1);
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_rows_are_copied_is_delivered() {
    let shop = tracked().await;
    let meanwhile = || {
        shop.sql("UPDATE dbo.T SET v = N'changed' WHERE id = 1");
        shop.sql("DELETE FROM dbo.T WHERE id = 2");
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (0, N'below')");
    };
    let mut target = Target::copy(shop.source(MODE), meanwhile).await;
    target.increment().await;
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_changes_are_read_comes_again() {
    for snapshot in ["ON", "OFF"] {
        let shop = tracked().await;
        shop.sql(&format!(
            "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION {snapshot}"
        ));
        let mut target = Target::copy(shop.source(MODE), || ()).await;
        shop.sql("UPDATE dbo.T SET v = N'first' WHERE id IN (1, 2)");
        let Cut::Complete { upto, .. } = target.source.cut(&table(), Some(&target.position)).await.unwrap()
        else {
            panic!("a gap");
        };
        // After the cut and before its rows are read.
        shop.sql("UPDATE dbo.T SET v = N'second' WHERE id = 1; DELETE FROM dbo.T WHERE id = 2");
        target.apply_changes(&target.position.clone(), &upto).await;
        assert_eq!(target.position, upto, "later versions are not claimed");
        target.increment().await;
        assert!(target.is_equal().await, "snapshot isolation {snapshot}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_table_is_a_gap() {
    let shop = tracked().await;
    let target = Target::copy(shop.source(MODE), || ()).await;
    shop.sql("UPDATE dbo.T SET v = N'seen' WHERE id = 1");
    shop.sql("TRUNCATE TABLE dbo.T");
    let why = target.gap(&target.position).await;
    assert!(why.contains("truncated"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_another_life_is_a_gap() {
    let shop = tracked().await;
    let target = Target::copy(shop.source(MODE), || ()).await;
    let mut ahead = target.position.clone();
    let mut value: serde_json::Value = serde_json::from_str(&ahead.value).unwrap();
    value["version"] = (value["version"].as_i64().unwrap() + 1_000).into();
    ahead.value = value.to_string();
    assert!(target.gap(&ahead).await.contains("restored"));
    shop.pass(5);
    shop.sql(&format!(
        "DROP TABLE dbo.T;{TABLE}ALTER TABLE dbo.T ENABLE CHANGE_TRACKING;"
    ));
    assert!(target.gap(&target.position).await.contains("created anew"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_leaves_the_filter_is_deleted() {
    let shop = tracked().await;
    shop.sql("UPDATE dbo.T SET region = N'EU' WHERE id < 4");
    let options = r#"{"mode":"change_tracking","where":"region = N'EU'"}"#;
    let mut target = Target::copy(shop.source(options), || ()).await;
    assert_eq!(target.rows.len(), 3);
    shop.sql("UPDATE dbo.T SET region = N'US' WHERE id = 1; UPDATE dbo.T SET region = N'EU' WHERE id = 5");
    target.increment().await;
    assert_eq!(target.rows.keys().copied().collect::<Vec<_>>(), [2, 3, 5]);
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_remedy_switches_it_on() {
    let shop = Shop::open(&format!("{TABLE}{ROWS}")).await;
    let source = shop.source(MODE);
    let finding = |description: model::Description| {
        let errors = description
            .findings
            .into_iter()
            .filter(|f| f.severity == Severity::Error);
        errors.map(|f| f.remedy.unwrap()).next()
    };
    let remedy = finding(source.describe(&table()).await.unwrap()).unwrap();
    let error = source.cut(&table(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    shop.sql("CREATE USER [<user>] WITHOUT LOGIN");
    shop.sql(&remedy);
    assert_eq!(finding(source.describe(&table()).await.unwrap()), None);
    let mut target = Target::copy(source, || ()).await;
    shop.sql("DELETE FROM dbo.T WHERE id = 1");
    target.increment().await;
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_takes_what_tells_most() {
    let how = async |shop: &Shop| {
        let tracking = shop
            .source(r#"{"mode":"auto"}"#)
            .describe(&table())
            .await
            .unwrap();
        let remedy: Vec<_> = tracking
            .findings
            .iter()
            .filter_map(|f| f.remedy.clone())
            .collect();
        match tracking.tracking {
            Tracking::Incremental {
                how, sees_deletes, ..
            } => (how, sees_deletes, remedy.concat()),
            Tracking::Full { reason } => (format!("full: {reason}"), true, remedy.concat()),
        }
    };
    let (name, deletes, _) = how(&tracked().await).await;
    assert_eq!((name.as_str(), deletes), ("change_tracking", true));
    for (columns, expect) in [
        ("rv rowversion, updated_at datetime2(3)", "rowversion(rv)"),
        ("updated_at datetime2(3)", "timestamp(updated_at)"),
        ("n int", "full: no column tells of changes"),
    ] {
        let shop = Shop::open(&format!(
            "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, {columns})"
        ))
        .await;
        let (name, _, remedy) = how(&shop).await;
        assert_eq!(name, expect);
        assert!(remedy.contains("ENABLE CHANGE_TRACKING"), "{remedy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_forgets_is_warned_of_and_then_a_gap() {
    let shop = tracked().await;
    shop.pass(0);
    let target = Target::copy(shop.source(MODE), || ()).await;
    for (hours, warned) in [(20, false), (10, true)] {
        shop.pass(hours * 3_600);
        shop.sql("UPDATE dbo.T SET v = v WHERE id = 1");
        match target.source.cut(&table(), Some(&target.position)).await.unwrap() {
            Cut::Complete { warning, .. } => assert_eq!(warning.is_some(), warned, "{warning:?}"),
            Cut::Gap { why, .. } => panic!("{why}"),
        }
    }
    shop.pass(40 * 3_600);
    shop.sql("UPDATE dbo.T SET v = v WHERE id = 1");
    forget(&shop);
    let why = target.gap(&target.position).await;
    assert!(why.contains("forgotten"), "{why}");
    // A cut that was taken before the server forgot does not help.
    let schema = schema(&target.source).await;
    let events = target
        .source
        .changes(&table(), &schema, &target.position, &target.position)
        .await
        .unwrap();
    let last = events.collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().kind(), ErrorKind::Gap);
}

/// Runs the clean-up that the server would run by and by.
fn forget(shop: &Shop) {
    shop.sql("EXEC sys.sp_flush_CT_internal_table_on_demand @TableToClean = N'dbo.T'");
}

/// The old values go with the old column, also where the new one is NULL, and whatever a declaration changed is read again.
#[tokio::test(flavor = "multi_thread")]
async fn all_rows_are_read_once_under_a_name_or_a_declaration_that_means_something_else_now() {
    for (ddl, read) in [
        (
            "ALTER TABLE dbo.T DROP COLUMN v; ALTER TABLE dbo.T ADD v nvarchar(20) NULL",
            5,
        ),
        (
            "ALTER TABLE dbo.T DROP COLUMN v; EXEC sp_rename N'dbo.T.region', N'v', N'COLUMN'",
            5,
        ),
        ("ALTER TABLE dbo.T ALTER COLUMN v nchar(10) NULL", 5),
        ("ALTER TABLE dbo.T ALTER COLUMN v nvarchar(21) NULL", 0),
    ] {
        let shop = tracked().await;
        let mut target = Target::copy(shop.source(MODE), || ()).await;
        for batch in ddl.split("; ") {
            shop.sql(batch);
        }
        for read in [read, 0] {
            target.source.describe(&table()).await.unwrap();
            target.increment().await;
            assert_eq!((target.fresh, target.again), (0, read), "{ddl}");
            assert!(target.is_equal().await, "{ddl}");
        }
    }
}

/// What a target kept of a column that was not read meanwhile is of no use.
#[tokio::test(flavor = "multi_thread")]
async fn all_rows_are_read_of_a_column_that_was_excluded_for_a_while() {
    let shop = tracked().await;
    let excluding = shop.source(r#"{"mode":"change_tracking","columns":{"exclude":["v"]}}"#);
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    excluding.describe(&table()).await.unwrap();
    shop.sql("UPDATE dbo.T SET v = NULL WHERE id = 1");
    let cut = excluding.cut(&table(), Some(&target.position)).await.unwrap();
    target.position = complete(cut).0;
    target.source.describe(&table()).await.unwrap();
    target.increment().await;
    assert_eq!((target.fresh, target.again), (0, 5));
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_lacks_is_read_again_whatever_the_position_claims() {
    let shop = tracked().await;
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    let position = target.position.clone();
    for (lacks, read) in [("v", 5), ("of another table", 0)] {
        target.position = position.clone().lacking(&[lacks.to_owned()]);
        target.increment().await;
        assert_eq!((target.fresh, target.again), (0, read), "{lacks}");
        assert!(target.position.lacks.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_condition_on_rows_is_a_gap() {
    let shop = tracked().await;
    let filtered = r#"{"mode":"change_tracking","where":"region = N'EU'"}"#;
    let soft = r#"{"mode":"change_tracking","deletes":{"soft":"gone"}}"#;
    shop.sql("ALTER TABLE dbo.T ADD gone bit NULL");
    for (before, now) in [(MODE, filtered), (filtered, MODE), (MODE, soft), (soft, filtered)] {
        let mut target = Target::copy(shop.source(before), || ()).await;
        let position = target.position.clone();
        target.increment().await;
        target.source = shop.source(now);
        let why = target.gap(&position).await;
        assert!(why.contains("`capture.where`"), "{before} {now}: {why}");
    }
}
