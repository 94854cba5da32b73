//! Histories of a table that a trigger of ours follows.

use futures::StreamExt;
use model::{ChangeSource, Cut, ErrorKind, Severity};
use sqlserver_client::{Connection, Isolation};

use crate::shop::{Shop, Target, schema, table};

const SETUP: &str = "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON; \
    CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, n int IDENTITY(100, 1)); \
    INSERT INTO dbo.T (id, v) VALUES (1, N'one'), (2, N'two'), (3, N'three'), (4, N'four'), (5, N'five');";
const MODE: &str = r#"{"mode":"trigger","trigger":{"install":true}}"#;

async fn followed() -> (Shop, Target) {
    let shop = Shop::open(SETUP).await;
    let target = Target::copy(shop.source(MODE), || ()).await;
    (shop, target)
}

/// One number that a statement answers.
async fn number(connection: &mut Connection, sql: &str) -> i64 {
    let rows = connection.query(sql, &[]).await.unwrap();
    rows.one().unwrap().need_i64("n").unwrap()
}

/// A name in the table's schema with the table's id.
async fn object(shop: &Shop, what: &str) -> String {
    let id = number(&mut shop.writer().await, "SELECT OBJECT_ID(N'dbo.T') AS n").await;
    format!("[dbo].[sync_{what}_{id}]")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_net_effect_of_every_change_arrives() {
    let (shop, mut target) = followed().await;
    assert_eq!(target.position.kind, "trigger");
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
            "INSERT INTO dbo.T (id, v) VALUES (6, N'new'), (7, N'new'), (8, N'new')",
            3,
        ),
        ("UPDATE dbo.T SET id = id + 100 WHERE id > 5", 8),
        ("UPDATE dbo.T SET v = N'nobody' WHERE id = 99", 0),
        (
            "MERGE dbo.T AS t USING (VALUES (1, N'merged'), (9, N'merged')) AS s (id, v) ON t.id = s.id \
             WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED BY TARGET THEN INSERT (id, v) VALUES (s.id, s.v) \
             WHEN NOT MATCHED BY SOURCE AND t.id = 5 THEN DELETE;",
            3,
        ),
        ("BEGIN TRANSACTION; DELETE FROM dbo.T; ROLLBACK", 0),
    ] {
        shop.sql(changes);
        target.increment().await;
        assert_eq!(target.fresh, told, "{changes}");
        assert!(target.is_equal().await, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_commits_late_is_not_lost() {
    let (shop, mut target) = followed().await;
    let mut late = shop.writer().await;
    late.begin(Isolation::ReadCommitted).await.unwrap();
    late.execute("UPDATE dbo.T SET v = N'late' WHERE id = 1", &[])
        .await
        .unwrap();
    shop.sql("UPDATE dbo.T SET v = N'early' WHERE id = 2");
    let (holding, assumed) = target.increment().await;
    assert!(holding.is_some() && assumed.is_none(), "{holding:?}");
    // What is committed and waits for the other is pending for `verify`.
    assert_eq!(target.pending().await, [2]);
    late.commit().await;
    target.increment().await;
    assert_eq!(target.fresh, 2);
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_rows_are_copied_is_delivered() {
    let shop = Shop::open(SETUP).await;
    let meanwhile = || {
        shop.sql("UPDATE dbo.T SET v = N'changed' WHERE id = 1");
        shop.sql("DELETE FROM dbo.T WHERE id = 2");
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (0, N'below')");
    };
    let mut target = Target::copy(shop.source(MODE), meanwhile).await;
    target.increment().await;
    assert!(target.is_equal().await);
}

/// The trigger waits for a writer that was there before it, or that writer's changes would be seen by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_open_when_the_trigger_is_made_is_waited_for() {
    let shop = Shop::open(SETUP).await;
    let mut early = shop.writer().await;
    early.begin(Isolation::ReadCommitted).await.unwrap();
    early
        .execute("UPDATE dbo.T SET v = N'early' WHERE id = 1", &[])
        .await
        .unwrap();
    let source = shop.source(MODE);
    let ended = async {
        shop.until_blocked().await;
        early.commit().await;
    };
    let (mut target, _) = tokio::join!(Target::copy(source, || ()), ended);
    target.increment().await;
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_notice_nothing() {
    let (shop, mut target) = followed().await;
    let mut writer = shop.writer().await;
    let counts = writer
        .execute("UPDATE dbo.T SET v = N'two' WHERE id < 3", &[])
        .await
        .unwrap();
    assert_eq!(counts, [2]);
    for (sql, answer) in [
        ("UPDATE dbo.T SET id = id + 10; SELECT @@ROWCOUNT AS n", 5),
        (
            "INSERT INTO dbo.T (id) VALUES (21); SELECT CONVERT(int, @@IDENTITY) AS n",
            105,
        ),
        (
            "INSERT INTO dbo.T (id) VALUES (22); SELECT CONVERT(int, SCOPE_IDENTITY()) AS n",
            106,
        ),
        // The limit is the writer's, and so it stays; all four keys of the two rows are told.
        (
            "SET ROWCOUNT 2; UPDATE dbo.T SET id = id + 100 WHERE id < 100; SELECT @@ROWCOUNT AS n",
            2,
        ),
        (
            "UPDATE dbo.T SET v = N'limited'; SELECT @@ROWCOUNT AS n; SET ROWCOUNT 0",
            2,
        ),
    ] {
        assert_eq!(number(&mut writer, sql).await, answer, "{sql}");
        target.increment().await;
        assert!(target.is_equal().await, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_meddles_with_the_objects_makes_a_gap() {
    for (meddling, why, is_made_anew) in [
        ("DROP TRIGGER {capture}", "no trigger", true),
        ("DISABLE TRIGGER ALL ON dbo.T", "disabled", false),
        ("DROP TABLE {changes}", "is gone", false),
        ("TRUNCATE TABLE {changes}", "emptied", true),
        ("DELETE FROM {changes}", "emptied", true),
        ("DELETE FROM {changes} WHERE id IS NULL", "removed", false),
        (
            "ALTER TABLE {changes} ALTER COLUMN id bigint NULL",
            "another type",
            true,
        ),
        (
            "EXEC(N'ALTER TRIGGER {capture} ON dbo.T AFTER DELETE AS BEGIN SET NOCOUNT ON; END')",
            "another one",
            true,
        ),
    ] {
        let (shop, target) = followed().await;
        shop.sql("UPDATE dbo.T SET v = N'told' WHERE id = 1");
        let (capture, changes) = (object(&shop, "capture").await, object(&shop, "changes").await);
        shop.sql(
            &meddling
                .replace("{capture}", &capture)
                .replace("{changes}", &changes),
        );
        let told = target.gap(&target.position).await;
        assert!(told.contains(why), "{meddling}: {told}");
        if is_made_anew {
            let mut again = Target::copy(shop.source(MODE), || ()).await;
            shop.sql("DELETE FROM dbo.T WHERE id = 2");
            again.increment().await;
            assert!(again.is_equal().await, "{meddling}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_were_made_anew_have_another_history() {
    let (shop, target) = followed().await;
    let capture = object(&shop, "capture").await;
    shop.sql(&format!("DROP TRIGGER {capture}"));
    shop.sql("UPDATE dbo.T SET v = N'unseen' WHERE id = 1");
    let mut again = Target::copy(shop.source(MODE), || ()).await;
    assert!(target.gap(&target.position).await.contains("anew"));
    shop.sql("DELETE FROM dbo.T WHERE id = 2");
    again.increment().await;
    assert!(again.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_that_was_not_asked_for() {
    let shop = Shop::open(SETUP).await;
    let source = shop.source(r#"{"mode":"trigger"}"#);
    let description = source.describe(&table()).await.unwrap();
    let refused = description
        .findings
        .iter()
        .find(|f| f.severity == Severity::Error);
    let script = refused.unwrap().remedy.clone().unwrap();
    let error = source.cut(&table(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let triggers = "SELECT COUNT(*) AS n FROM sys.triggers";
    assert_eq!(number(&mut shop.writer().await, triggers).await, 0);
    for batch in script.split("\nGO") {
        shop.sql(batch);
    }
    let description = source.describe(&table()).await.unwrap();
    assert!(
        description.findings.iter().all(|f| f.severity == Severity::Note),
        "{description:?}"
    );
    let mut target = Target::copy(source, || ()).await;
    shop.sql("DELETE FROM dbo.T WHERE id = 1");
    target.increment().await;
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_nobody_reads_is_found_and_removed() {
    let (shop, _) = followed().await;
    let source = shop.source("{}");
    let note = |description: model::Description| {
        let notes = description.findings.into_iter();
        notes
            .filter(|f| f.message.contains("still follows"))
            .find_map(|f| f.remedy)
    };
    let remedy = note(source.describe(&table()).await.unwrap()).unwrap();
    shop.sql(&remedy);
    assert_eq!(note(source.describe(&table()).await.unwrap()), None);
    let left = "SELECT COUNT(*) AS n FROM sys.objects WHERE name LIKE N'sync[_]%'";
    assert_eq!(number(&mut shop.writer().await, left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_and_old_is_removed_and_nothing_else() {
    let shop = Shop::open(SETUP).await;
    shop.pass(0);
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    let start = target.position.clone();
    let changes = object(&shop, "changes").await;
    let left = format!("SELECT COUNT(*) AS n FROM {changes}");
    let mut looker = shop.writer().await;
    shop.sql("UPDATE dbo.T SET v = N'old'");
    target.increment().await;
    let old = target.position.clone();
    shop.sql("UPDATE dbo.T SET v = N'not applied' WHERE id < 3");
    target.source.acknowledge(&table(), &old).await.unwrap();
    assert_eq!(number(&mut looker, &left).await, 8, "nothing is old");
    shop.pass(49 * 3_600);
    target.source.acknowledge(&table(), &old).await.unwrap();
    assert_eq!(
        number(&mut looker, &left).await,
        3,
        "the newest of the old, and what is not applied"
    );
    assert!(target.gap(&start).await.contains("removed"));
    // A reader that had begun before finds out at its end.
    let schema = schema(&target.source).await;
    let events = target
        .source
        .changes(&table(), &schema, &start, &old)
        .await
        .unwrap();
    let last = events.collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().kind(), ErrorKind::Gap);
    target.increment().await;
    assert_eq!(target.fresh, 2);
    assert!(target.is_equal().await);
    // Again, and again: it changes nothing.
    for _ in 0..2 {
        target
            .source
            .acknowledge(&table(), &target.position)
            .await
            .unwrap();
        assert_eq!(number(&mut looker, &left).await, 1);
    }
    assert!(matches!(
        target.source.cut(&table(), Some(&target.position)).await.unwrap(),
        Cut::Complete { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_removed_in_small_steps() {
    let shop = Shop::open(SETUP).await;
    shop.pass(0);
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    shop.sql("DECLARE @i int = 0; WHILE @i < 700 BEGIN UPDATE dbo.T SET v = N'again'; SET @i += 1; END");
    target.increment().await;
    shop.pass(49 * 3_600);
    target
        .source
        .acknowledge(&table(), &target.position)
        .await
        .unwrap();
    let changes = object(&shop, "changes").await;
    let left = format!("SELECT COUNT(*) AS n FROM {changes}");
    assert_eq!(number(&mut shop.writer().await, &left).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_several_columns_and_of_text_are_followed() {
    let shop = Shop::open(
        "CREATE TABLE dbo.T (id int NOT NULL, [k]]2] nvarchar(10) COLLATE Latin1_General_CI_AS NOT NULL, v nvarchar(20) NULL, \
         PRIMARY KEY (id, [k]]2])); INSERT INTO dbo.T VALUES (1, N'a', N'one'), (2, N'b', N'two');",
    )
    .await;
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    shop.sql("UPDATE dbo.T SET v = N'changed' WHERE [k]]2] = N'A'; DELETE FROM dbo.T WHERE id = 2");
    target.increment().await;
    assert_eq!(target.fresh, 2);
    assert!(target.is_equal().await);
}
