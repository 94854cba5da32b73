//! Histories of a table whose changes a query names.

use model::{ChangeSource, ErrorKind, Look};
use sqlserver_client::Isolation;

use crate::shop::{Shop, Target, complete, table};

/// A table with a log of its own: whoever changes a row writes its key there.
const SETUP: &str = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL); \
    CREATE TABLE dbo.T_log (n int IDENTITY PRIMARY KEY, id int NULL, changed datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME()); \
    INSERT INTO dbo.T (id, v) VALUES (1, N'one'), (2, N'two'), (3, N'three'), (4, N'four'), (5, N'five');";

const QUERY: &str = "WITH news (id, changed) AS (SELECT l.id, l.changed FROM dbo.T_log AS l -- one per change\n) \
    SELECT n.id, n.changed FROM news AS n WHERE n.changed >= :last_sync AND n.changed < :this_sync -- ':last_sync'";

fn mode(query: &str) -> String {
    serde_json::json!({
        "mode": "polling", "query": query, "tracking": { "column": "changed", "clock": "utc" }
    })
    .to_string()
}

async fn followed() -> (Shop, Target) {
    let shop = Shop::open(SETUP).await;
    shop.pass(30);
    let mut target = Target::copy(shop.source(&mode(QUERY)), || ()).await;
    shop.pass(30);
    target.increment().await;
    (shop, target)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_query_names_are_told_as_they_are_now() {
    let (shop, mut target) = followed().await;
    for (changes, told) in [
        (
            "UPDATE dbo.T SET v = N'changed' WHERE id = 1; INSERT dbo.T_log (id) VALUES (1)",
            1,
        ),
        (
            "INSERT INTO dbo.T (id, v) VALUES (6, N'new'); INSERT dbo.T_log (id) VALUES (6), (6)",
            1,
        ),
        // The log knows of what is gone.
        (
            "DELETE FROM dbo.T WHERE id = 2; INSERT dbo.T_log (id) VALUES (2)",
            1,
        ),
        (
            "UPDATE dbo.T SET id = 30 WHERE id = 3; INSERT dbo.T_log (id) VALUES (3), (30)",
            2,
        ),
        // In vain, and of no row.
        ("INSERT dbo.T_log (id) VALUES (4), (NULL), (99)", 2),
        ("SELECT 1 AS nothing", 0),
    ] {
        shop.sql(changes);
        shop.pass(30);
        target.increment().await;
        assert_eq!((target.fresh, target.again), (0, told), "{changes}");
        assert!(target.is_equal().await, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_commits_late_is_not_lost() {
    let (shop, mut target) = followed().await;
    let mut late = shop.writer().await;
    late.begin(Isolation::ReadCommitted).await.unwrap();
    shop.sql("ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH NO_WAIT");
    late.execute(
        "UPDATE dbo.T SET v = N'late' WHERE id = 1; INSERT dbo.T_log (id) VALUES (1)",
        &[],
    )
    .await
    .unwrap();
    shop.pass(60);
    shop.sql("UPDATE dbo.T SET v = N'early' WHERE id = 2; INSERT dbo.T_log (id) VALUES (2)");
    shop.pass(60);
    let (holding, assumed) = target.increment().await;
    assert!(holding.is_some() && assumed.is_none(), "{holding:?} {assumed:?}");
    // What is committed and waits for the other is pending for `verify`.
    assert_eq!(target.pending().await, [2]);
    late.commit().await;
    target.increment().await;
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_rows_are_copied_is_delivered() {
    let shop = Shop::open(SETUP).await;
    shop.pass(30);
    let meanwhile = || {
        shop.sql("UPDATE dbo.T SET v = N'changed' WHERE id = 1; INSERT dbo.T_log (id) VALUES (1)");
        shop.sql("DELETE FROM dbo.T WHERE id = 2; INSERT dbo.T_log (id) VALUES (2)");
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (0, N'below'); INSERT dbo.T_log (id) VALUES (0)");
    };
    let mut target = Target::copy(shop.source(&mode(QUERY)), meanwhile).await;
    shop.pass(30);
    target.increment().await;
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_sees_what_the_query_would_name() {
    let (shop, target) = followed().await;
    let asked = [(table(), target.position.clone())];
    for (changes, look) in [
        ("UPDATE dbo.T SET v = N'of nobody' WHERE id = 1", Look::Quiet),
        ("INSERT dbo.T_log (id) VALUES (1)", Look::Perhaps),
    ] {
        shop.sql(changes);
        assert_eq!(
            target.source.may_have_changed(&asked).await.unwrap(),
            [look],
            "{changes}"
        );
    }
}

/// What another query would have named since is not known.
#[tokio::test(flavor = "multi_thread")]
async fn another_query_is_a_gap_and_another_layout_is_not() {
    let (shop, mut target) = followed().await;
    let position = target.position.clone();
    target.source = shop.source(&mode(&QUERY.replace(" AND ", "\n    AND /* both */ ")));
    complete(target.source.cut(&table(), Some(&position)).await.unwrap());
    target.source = shop.source(&mode(
        &QUERY.replace("dbo.T_log AS l", "dbo.T_log AS l WHERE l.id > 2"),
    ));
    assert!(target.gap(&position).await.contains("query"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_does_not_fit_is_refused_with_the_reason() {
    let shop = Shop::open(SETUP).await;
    shop.sql("CREATE TABLE dbo.U (id bigint, changed datetime2(3), day date, other int)");
    for (query, why) in [
        (
            "SELECT n, changed FROM dbo.T_log WHERE changed >= :last_sync",
            "key column id",
        ),
        (
            "SELECT id, changed FROM dbo.U WHERE changed >= :last_sync",
            "id as bigint, the table has int",
        ),
        (
            "SELECT id FROM dbo.T_log WHERE changed >= :last_sync",
            "does not return the column changed",
        ),
        (
            "SELECT l.id, u.day AS changed FROM dbo.T_log AS l, dbo.U AS u WHERE l.changed >= :last_sync",
            "date",
        ),
        (
            "SELECT id, changed FROM dbo.Nobody WHERE changed >= :last_sync",
            "Nobody",
        ),
        (
            "SELECT id, changed FROM dbo.T_log WHERE chnaged >= :last_sync",
            "chnaged",
        ),
        (
            "SELECT id, changed FROM dbo.T_log WHERE changed >= :last_sync ORDER BY id",
            "ORDER BY",
        ),
        (
            "SELECT id, changed INTO dbo.V FROM dbo.T_log WHERE changed >= :last_sync",
            "cannot be used",
        ),
        (
            "SELECT id, changed FROM dbo.T_log WHERE changed >= :last_sync DELETE dbo.T",
            "cannot be used",
        ),
    ] {
        let error = shop.source(&mode(query)).describe(&table()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{query}: {error}");
        assert!(error.to_string().contains(why), "{query}: {error}");
    }
}
