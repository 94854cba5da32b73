//! Histories of a table under Change Data Capture.

use futures::StreamExt;
use model::{ChangeSource, Cut, ErrorKind, Finding, Severity, SourceEvent};
use sqlserver_client::Isolation;
use sqlserver_source::{CaptureSigns, SqlServerSource};

use crate::shop::{Shop, Target, complete, schema, table};

const DATABASE: &str = "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON; EXEC sys.sp_cdc_enable_db;";
const TABLE: &str =
    "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(max) NULL, n int NULL, twice AS n * 2);";
const CAPTURE: &str =
    "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'T', @role_name = NULL;";
const ROWS: &str =
    "INSERT INTO dbo.T (id, v) VALUES (1, N'one'), (2, N'two'), (3, N'three'), (4, N'four'), (5, N'five');";

const MODE: &str = r#"{"mode":"cdc"}"#;

async fn captured() -> Shop {
    let shop = Shop::open(&format!("{DATABASE}{TABLE}")).await;
    shop.pass(0);
    shop.sql(&format!("{CAPTURE}{ROWS}"));
    shop.pass(1);
    shop
}

#[tokio::test(flavor = "multi_thread")]
async fn the_net_effect_of_every_change_arrives() {
    let shop = captured().await;
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    assert_eq!(target.position.kind, "cdc");
    for (changes, told) in [
        ("UPDATE dbo.T SET v = N'changed' WHERE id = 1", 1),
        // The large value that was left alone is not in the change table.
        ("UPDATE dbo.T SET n = 7 WHERE id = 1", 1),
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
        // One transaction that takes a key to and fro.
        (
            "BEGIN TRANSACTION; UPDATE dbo.T SET id = 50 WHERE id = 5; UPDATE dbo.T SET id = 5, v = N'fro' WHERE id = 50; COMMIT",
            2,
        ),
        ("UPDATE dbo.T SET v = N'nobody' WHERE id = 99", 0),
    ] {
        shop.sql(changes);
        shop.pass(1);
        target.increment().await;
        assert_eq!(target.fresh, told, "{changes}");
        assert!(target.is_equal().await, "{changes}");
    }
}

/// Whether an increment tells a row as it was captured, though it has changed since. `more` are further columns of the table.
async fn tells_as_captured(more: &str, options: &str) -> bool {
    let made = format!("CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL{more});");
    let shop = Shop::open(&format!("{DATABASE}{made}")).await;
    shop.sql("IF DATABASE_PRINCIPAL_ID(N'reader') IS NULL CREATE USER reader FOR LOGIN reader");
    shop.pass(0);
    shop.sql(&format!("{CAPTURE}{ROWS}"));
    shop.pass(1);
    let user = if options.contains("denied") {
        shop.sql("DENY SELECT ON cdc.dbo_T_CT TO reader");
        "reader"
    } else {
        "sa"
    };
    let source = shop.source_as(user, &options.replace("denied", "cdc"));
    let mut target = Target::copy(source, || ()).await;
    shop.sql("UPDATE dbo.T SET v = N'captured' WHERE id = 1; DELETE FROM dbo.T WHERE id = 2");
    shop.pass(1);
    shop.sql("UPDATE dbo.T SET v = N'later' WHERE id = 1; INSERT INTO dbo.T (id, v) VALUES (2, N'later')");
    target.increment().await;
    let told = (target.rows[&1].clone(), target.rows.get(&2).cloned());
    shop.pass(1);
    target.increment().await;
    assert!(target.is_equal().await, "{more} {options}");
    match (told.0.as_deref(), told.1) {
        (Some("captured"), None) => true,
        (Some("later"), Some(_)) => false,
        other => panic!("{more} {options}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_told_as_they_were_captured_where_the_change_table_has_them_whole() {
    let shipped = ", n int NULL, at datetime2(3) NULL, b varbinary(9) NULL, rv rowversion, c char(3) NULL, \
                   g uniqueidentifier NULL, m money NULL, d decimal(9, 2) NOT NULL DEFAULT 1";
    for (more, options, whole) in [
        (shipped, MODE, true),
        (", n int NULL, twice AS n * 2", MODE, false),
        // Not if it is not read.
        (
            ", n int NULL, twice AS n * 2",
            r#"{"mode":"cdc","columns":{"exclude":["twice"]}}"#,
            true,
        ),
        (", large nvarchar(max) NULL", MODE, false),
        (", large varbinary(max) NULL", MODE, false),
        (", old ntext NULL", MODE, false),
        (", x xml NULL", MODE, false),
        (", x sql_variant NULL", MODE, false),
        (", x hierarchyid NULL", MODE, false),
        (
            ", other varchar(9) COLLATE Latin1_General_CS_AS NULL",
            MODE,
            false,
        ),
        (
            ", other nvarchar(9) COLLATE Latin1_General_CS_AS NULL",
            MODE,
            true,
        ),
        ("", r#"{"mode":"cdc","where":"id > 0"}"#, false),
        (
            "",
            r#"{"mode":"cdc","deletes":{"hard":"ignore","ignore_where":"id > 9"}}"#,
            false,
        ),
        (
            ", gone bit NOT NULL DEFAULT 0",
            r#"{"mode":"cdc","deletes":{"soft":"gone"}}"#,
            false,
        ),
        ("", r#"{"mode":"denied"}"#, false),
    ] {
        assert_eq!(tells_as_captured(more, options).await, whole, "{more} {options}");
    }
}

/// As it is told with its present rows, but with each of its changes.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_arrives_as_it_was_captured() {
    let made = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL);";
    let shop = Shop::open(&format!("{DATABASE}{made}")).await;
    shop.pass(0);
    shop.sql(&format!("{CAPTURE}{ROWS}"));
    shop.pass(1);
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    for (changes, told) in [
        ("UPDATE dbo.T SET v = N'changed' WHERE id = 1", 1),
        ("DELETE FROM dbo.T WHERE id = 2", 1),
        ("UPDATE dbo.T SET id = 30 WHERE id = 3", 2),
        (
            "DELETE FROM dbo.T WHERE id = 4; INSERT INTO dbo.T (id, v) VALUES (4, N'back')",
            2,
        ),
        (
            "INSERT INTO dbo.T (id, v) VALUES (6, N'new'); UPDATE dbo.T SET v = N'newer' WHERE id = 6",
            2,
        ),
        (
            "BEGIN TRANSACTION; UPDATE dbo.T SET id = 50 WHERE id = 5; UPDATE dbo.T SET id = 5, v = N'fro' WHERE id = 50; COMMIT",
            4,
        ),
        // Each key takes the place of another one.
        (
            "UPDATE dbo.T SET id = CASE id WHEN 1 THEN 4 ELSE 1 END WHERE id IN (1, 4)",
            4,
        ),
        (
            "INSERT INTO dbo.T (id, v) VALUES (7, N'in vain'); DELETE FROM dbo.T WHERE id = 7",
            2,
        ),
        ("UPDATE dbo.T SET v = N'nobody' WHERE id = 99", 0),
    ] {
        shop.sql(changes);
        shop.pass(1);
        target.increment().await;
        assert_eq!(target.fresh, told, "{changes}");
        assert!(target.is_equal().await, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_captured_is_told_with_boundaries_between_transactions() {
    let made = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL);";
    let shop = Shop::open(&format!("{DATABASE}{made}")).await;
    shop.pass(0);
    shop.sql(&format!("{CAPTURE}{ROWS}"));
    shop.pass(1);
    let mut target = Target::copy(shop.source(r#"{"mode":"cdc","batch_size":2}"#), || ()).await;
    let changes = [
        "UPDATE dbo.T SET v = N'1' WHERE id <= 3",
        "DELETE FROM dbo.T WHERE id = 4",
        "INSERT INTO dbo.T (id, v) VALUES (6, N'six')",
        "UPDATE dbo.T SET id = 10 WHERE id = 1",
        "UPDATE dbo.T SET v = N'3' WHERE id = 5",
    ];
    for sql in changes {
        shop.sql(sql);
        shop.pass(1);
    }
    target.increment().await;
    // Three updates, a delete and an insert, a key that moves, and the last update.
    let fresh_after = [5, 3, 1, 0];
    assert_eq!(target.parts.len(), fresh_after.len());
    assert!(target.is_equal().await);
    let parts = target.parts.clone();
    let end = target.position.clone();
    for (at, fresh) in parts.iter().zip(fresh_after) {
        target.apply_changes(at, &end).await;
        assert_eq!(target.fresh, fresh);
        assert_eq!(target.position, end);
    }
    assert!(target.is_equal().await);
}

/// They are read by more than one statement.
#[tokio::test(flavor = "multi_thread")]
async fn many_parts_of_what_was_captured_follow_one_another() {
    let made = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL);";
    let shop = Shop::open(&format!("{DATABASE}{made}")).await;
    shop.pass(0);
    shop.sql(&format!("{CAPTURE}{ROWS}"));
    shop.pass(1);
    let mut target = Target::copy(shop.source(r#"{"mode":"cdc","batch_size":1}"#), || ()).await;
    for round in 0..40 {
        shop.sql(&format!(
            "UPDATE dbo.T SET v = N'{round}' WHERE id = {}",
            round % 5 + 1
        ));
    }
    shop.pass(1);
    target.increment().await;
    assert_eq!((target.fresh, target.parts.len()), (40, 40));
    assert!(target.is_equal().await);
}

/// The server logs them as updates: of two rows that take each other's keys, and of one that takes them in turn, the same is told.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_no_primary_key_may_pass_from_row_to_row() {
    for table in [
        "CREATE TABLE dbo.T (id int NOT NULL UNIQUE, v nvarchar(20) NULL)",
        "CREATE TABLE dbo.T (id int NOT NULL UNIQUE NONCLUSTERED, v nvarchar(20) NULL, c int NULL); CREATE CLUSTERED INDEX ci ON dbo.T (c);",
    ] {
        for changes in [
            "UPDATE dbo.T SET id = id + 1",
            "UPDATE dbo.T SET id = id - 1",
            "UPDATE dbo.T SET id = CASE id WHEN 1 THEN 4 ELSE 1 END WHERE id IN (1, 4)",
            "BEGIN TRANSACTION; UPDATE dbo.T SET id = 12 WHERE id = 1; UPDATE dbo.T SET id = 13 WHERE id = 12; COMMIT",
            "UPDATE dbo.T SET v = N'x'; UPDATE dbo.T SET id = id + 1; DELETE FROM dbo.T WHERE id = 3; INSERT INTO dbo.T (id, v) VALUES (1, N'new')",
        ] {
            let shop = Shop::open(&format!("{DATABASE}{table}")).await;
            shop.pass(0);
            shop.sql(&format!("{CAPTURE}{ROWS}"));
            shop.pass(1);
            let mut target = Target::copy(shop.source(MODE), || ()).await;
            shop.sql(changes);
            shop.pass(1);
            target.increment().await;
            assert!(target.is_equal().await, "{table} {changes}");
        }
    }
}

/// It is seen by the mask, whose last byte has the first eight columns.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_changes_is_seen_wherever_its_column_stands() {
    let between: String = (0..12).map(|n| format!(", c{n} int NULL")).collect();
    let made =
        format!("CREATE TABLE dbo.T (v nvarchar(20) NULL{between}, d0 int NULL, id int NOT NULL UNIQUE);");
    let shop = Shop::open(&format!("{DATABASE}{made}")).await;
    shop.pass(0);
    shop.sql(&format!("{CAPTURE}{ROWS}"));
    shop.pass(1);
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    for (changes, told) in [
        ("UPDATE dbo.T SET c3 = 1, c7 = 2, c8 = 3, d0 = 4", 5),
        ("UPDATE dbo.T SET id = 30 WHERE id = 3", 2),
    ] {
        shop.sql(changes);
        shop.pass(1);
        target.increment().await;
        assert_eq!(target.fresh, told, "{changes}");
        assert!(target.is_equal().await, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_captured_in_another_shape_are_told_as_they_are() {
    let made = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, n int NULL);";
    for (changes, capture_came_by) in [
        // The change table keeps `n` as int until the capture has come to the ALTER.
        ("ALTER TABLE dbo.T ALTER COLUMN n bigint NULL", false),
        ("ALTER TABLE dbo.T ALTER COLUMN n bigint NULL", true),
        // What was captured has no value where each row has one by now.
        (
            "UPDATE dbo.T SET n = 0; ALTER TABLE dbo.T ALTER COLUMN n int NOT NULL",
            false,
        ),
        (
            "UPDATE dbo.T SET n = 0; ALTER TABLE dbo.T ALTER COLUMN n int NOT NULL",
            true,
        ),
    ] {
        let shop = Shop::open(&format!("{DATABASE}{made}")).await;
        shop.pass(0);
        shop.sql(&format!("{CAPTURE}{ROWS}"));
        shop.pass(1);
        let mut target = Target::copy(shop.source(MODE), || ()).await;
        shop.sql("UPDATE dbo.T SET v = N'before' WHERE id <= 3; DELETE FROM dbo.T WHERE id = 4");
        shop.pass(1);
        shop.sql(changes);
        if capture_came_by {
            shop.pass(1);
        }
        shop.sql("UPDATE dbo.T SET v = N'after', n = 5000 WHERE id = 1");
        target.increment().await;
        shop.pass(1);
        target.increment().await;
        assert!(target.is_equal().await, "{changes} {capture_came_by}");
    }
}

/// The server logs it as an update, with the old key in the row before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_that_is_no_primary_key_leaves_no_row_behind() {
    let shop = Shop::open(&format!(
        "{DATABASE}CREATE TABLE dbo.T (id int NOT NULL UNIQUE, v nvarchar(20) NULL)"
    ))
    .await;
    shop.pass(0);
    shop.sql(&format!("{CAPTURE}{ROWS}"));
    shop.pass(1);
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    for (changes, told) in [
        ("UPDATE dbo.T SET v = N'changed' WHERE id = 1", 1),
        ("UPDATE dbo.T SET id = 30 WHERE id = 3", 2),
        ("UPDATE dbo.T SET id = id + 100", 10),
    ] {
        shop.sql(changes);
        shop.pass(1);
        target.increment().await;
        assert_eq!(target.fresh, told, "{changes}");
        assert!(target.is_equal().await, "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_increment_comes_in_parts_of_whole_transactions() {
    let shop = captured().await;
    let mut target = Target::copy(shop.source(r#"{"mode":"cdc","batch_size":2}"#), || ()).await;
    let changes = [
        "UPDATE dbo.T SET n = 1 WHERE id <= 3",
        "DELETE FROM dbo.T WHERE id = 4",
        "INSERT INTO dbo.T (id, v) VALUES (6, N'six')",
        "UPDATE dbo.T SET n = 2 WHERE id = 1",
        "UPDATE dbo.T SET n = 3 WHERE id = 5",
    ];
    for sql in changes {
        shop.sql(sql);
        shop.pass(1);
    }
    target.increment().await;
    // The second change lies in the first transaction, the fourth and fifth in one each, and so the last two.
    let fresh_after = [4, 2, 0];
    assert_eq!(target.parts.len(), fresh_after.len());
    assert!(target.is_equal().await);
    // Whoever was stopped after a part goes on from there, and is told the rest.
    let parts = target.parts.clone();
    let end = target.position.clone();
    for (at, fresh) in parts.iter().zip(fresh_after) {
        target.apply_changes(at, &end).await;
        assert_eq!(target.fresh, fresh);
        assert_eq!(target.position, end);
    }
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_can_be_respelled_is_told_once_by_an_increment() {
    // Where the change table has no column's value, rows are told as they are present; without such a column the key alone decides.
    const COMPUTED: &str = ", w AS v * 2";
    const TEXT: &str = "varchar(9) COLLATE Latin1_General_CI_AS";
    // Under no collation do trailing blanks count.
    const BINARY_TEXT: &str = "nvarchar(9) COLLATE Latin1_General_100_BIN2";
    for (ty, computed, before, after, told) in [
        (TEXT, COMPUTED, "'abc'", "'ABC'", (1, 1)),
        (TEXT, "", "'abc'", "'ABC'", (1, 1)),
        (BINARY_TEXT, COMPUTED, "N'a'", "N'a '", (1, 1)),
        (BINARY_TEXT, "", "N'a'", "N'a '", (1, 1)),
        ("varbinary(9)", COMPUTED, "0x01", "0x0100", (1, 1)),
        ("varbinary(9)", "", "0x01", "0x0100", (1, 1)),
        // Always of the same length.
        ("binary(2)", COMPUTED, "0x01", "0x01", (2, 2)),
        ("int", COMPUTED, "1", "1", (2, 2)),
    ] {
        let made = format!("CREATE TABLE dbo.T (id {ty} NOT NULL PRIMARY KEY, v int NULL{computed});");
        let shop = Shop::open(&format!("{DATABASE}{made}")).await;
        shop.pass(0);
        shop.sql(&format!("{CAPTURE}INSERT INTO dbo.T (id) VALUES ({before})"));
        shop.pass(1);
        let source = shop.source(r#"{"mode":"cdc","batch_size":1}"#);
        let (from, ..) = complete(source.cut(&table(), None).await.unwrap());
        for change in ["v = 1".to_owned(), format!("id = {after}, v = 2")] {
            shop.sql(&format!("UPDATE dbo.T SET {change}"));
            shop.pass(1);
        }
        let (to, ..) = complete(source.cut(&table(), Some(&from)).await.unwrap());
        let schema = schema(&source).await;
        let events = source.changes(&table(), &schema, &from, &to).await.unwrap();
        let (mut parts, mut keys) = (0, 0);
        for event in events.map(Result::unwrap).collect::<Vec<_>>().await {
            match event {
                SourceEvent::Changes(batch) => keys += batch.len(),
                SourceEvent::Boundary { .. } => parts += 1,
                SourceEvent::Expected(_) | SourceEvent::LeftOut { .. } => {}
            }
        }
        assert_eq!((parts, keys), told, "{ty}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_captured_yet_is_delivered_when_it_is() {
    let shop = captured().await;
    let mut target = Target::copy(shop.source(MODE), || ()).await;
    let mut late = shop.writer().await;
    late.begin(Isolation::ReadCommitted).await.unwrap();
    late.execute("UPDATE dbo.T SET v = N'late' WHERE id = 1", &[])
        .await
        .unwrap();
    shop.sql("UPDATE dbo.T SET v = N'early' WHERE id = 2");
    shop.pass(1);
    let (holding, assumed) = target.increment().await;
    assert_eq!((holding, assumed, target.fresh), (None, None, 1));
    late.commit().await;
    // Committed, and the capture has not come to it.
    target.increment().await;
    assert_eq!(target.fresh, 0);
    shop.pass(1);
    target.increment().await;
    assert_eq!(target.fresh, 1);
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_is_handed_over_to_a_capture_that_lags() {
    // With a capture that has come to nothing yet, not even to its own beginning, and with one that has.
    for captured_before in [false, true] {
        let shop = Shop::open(&format!("{DATABASE}{TABLE}{ROWS}")).await;
        shop.pass(0);
        shop.sql(CAPTURE);
        if captured_before {
            shop.sql("UPDATE dbo.T SET v = N'captured' WHERE id = 5");
            shop.pass(1);
        }
        shop.sql("UPDATE dbo.T SET v = N'before' WHERE id = 4");
        let meanwhile = || {
            shop.sql("UPDATE dbo.T SET v = N'changed' WHERE id = 1");
            shop.sql("DELETE FROM dbo.T WHERE id = 2");
            shop.sql("INSERT INTO dbo.T (id, v) VALUES (0, N'below')");
        };
        let mut target = Target::copy(shop.source(MODE), meanwhile).await;
        target.increment().await;
        shop.pass(1);
        target.increment().await;
        assert!(target.is_equal().await, "{captured_before}");
        shop.sql("DELETE FROM dbo.T WHERE id = 3");
        shop.pass(1);
        target.increment().await;
        assert_eq!(target.fresh, 1);
        assert!(target.is_equal().await, "{captured_before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_handed_from_one_instance_to_the_next() {
    let shop = captured().await;
    let source = shop.source(r#"{"mode":"cdc","columns":{"exclude":["twice"]}}"#);
    let mut target = Target::copy(source, || ()).await;
    shop.sql("ALTER TABLE dbo.T ADD w int NULL");
    shop.sql("UPDATE dbo.T SET v = N'old shape', w = 1 WHERE id = 1");
    // Of a column that is not captured, nothing is told.
    shop.sql("UPDATE dbo.T SET w = 2 WHERE id = 2");
    shop.pass(1);
    target.increment().await;
    assert_eq!((target.fresh, target.again), (1, 2));
    let finding = |findings: Vec<model::Finding>| {
        let found = findings
            .into_iter()
            .find(|finding| finding.message.contains("does not capture w"));
        found.map(|finding| finding.remedy.unwrap())
    };
    let remedy = finding(target.source.describe(&table()).await.unwrap().findings).unwrap();
    shop.sql("UPDATE dbo.T SET w = 3 WHERE id = 3");
    shop.sql(&remedy);
    shop.sql("UPDATE dbo.T SET w = 4 WHERE id = 4");
    shop.pass(1);
    // The old instance reaches back to the position, the new one does not.
    target.increment().await;
    shop.sql("EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'T', @capture_instance = N'dbo_T'");
    target.increment().await;
    assert_eq!(target.again, 4, "the last time");
    assert_eq!(
        finding(target.source.describe(&table()).await.unwrap().findings),
        None
    );
    shop.sql("UPDATE dbo.T SET w = 5 WHERE id = 5");
    shop.pass(1);
    target.increment().await;
    assert_eq!((target.fresh, target.again), (1, 0));
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_has_cleaned_up_is_a_gap() {
    let shop = captured().await;
    let target = Target::copy(shop.source(MODE), || ()).await;
    for n in 0..3 {
        shop.sql(&format!("UPDATE dbo.T SET n = {n} WHERE id = 1"));
        shop.pass(1);
    }
    shop.sql("DECLARE @all binary(10) = sys.fn_cdc_get_max_lsn(); EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_T', @low_water_mark = @all");
    let why = target.gap(&target.position).await;
    assert!(why.contains("cleaned up"), "{why}");
    // A cut that was taken before does not help.
    let Cut::Complete { upto, .. } = target.source.cut(&table(), None).await.unwrap() else {
        panic!("a gap");
    };
    let schema = schema(&target.source).await;
    let Err(error) = target
        .source
        .changes(&table(), &schema, &target.position, &upto)
        .await
    else {
        panic!("changes that are gone");
    };
    assert_eq!(error.kind(), ErrorKind::Gap);
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_up_while_changes_are_read_is_a_gap() {
    // Told as they were captured, and as they are.
    for made in [
        "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, n int NULL);",
        TABLE,
    ] {
        let shop = Shop::open(&format!("{DATABASE}{made}")).await;
        shop.pass(0);
        shop.sql(&format!("{CAPTURE}{ROWS}"));
        shop.pass(1);
        cleaned_up_while_read(&shop).await;
    }
}

async fn cleaned_up_while_read(shop: &Shop) {
    let target = Target::copy(shop.source(MODE), || ()).await;
    for n in 0..3 {
        shop.sql(&format!("UPDATE dbo.T SET n = {n} WHERE id = 1"));
        shop.pass(1);
    }
    let Cut::Complete { upto, .. } = target.source.cut(&table(), Some(&target.position)).await.unwrap()
    else {
        panic!("a gap");
    };
    let schema = schema(&target.source).await;
    let mut events = target
        .source
        .changes(&table(), &schema, &target.position, &upto)
        .await
        .unwrap();
    events.next().await.unwrap().unwrap();
    shop.sql("DECLARE @all binary(10) = sys.fn_cdc_get_max_lsn(); EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_T', @low_water_mark = @all");
    let last = events.collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().kind(), ErrorKind::Gap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_was_off_or_a_table_that_is_another_is_a_gap() {
    let off = "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'T', @capture_instance = N'all';";
    for (between, why) in [
        (off.to_owned(), "switched off"),
        (
            format!("{off}UPDATE dbo.T SET v = N'unseen' WHERE id = 1;{CAPTURE}"),
            "was not captured",
        ),
        (format!("DROP TABLE dbo.T;{TABLE}{CAPTURE}"), "created anew"),
    ] {
        let shop = captured().await;
        let target = Target::copy(shop.source(MODE), || ()).await;
        shop.pass(5);
        shop.sql(&between);
        shop.pass(1);
        let found = target.gap(&target.position).await;
        assert!(found.contains(why), "{between}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_has_stopped_is_seen() {
    let shop = captured().await;
    let target = Target::copy(shop.source(MODE), || ()).await;
    shop.sql("EXEC sys.sp_cdc_stop_job @job_type = N'capture'; UPDATE dbo.T SET v = N'waits' WHERE id = 1");
    for (minutes, seen) in [(10, false), (10, true)] {
        shop.pass(minutes * 60);
        let Cut::Complete { warning, .. } =
            target.source.cut(&table(), Some(&target.position)).await.unwrap()
        else {
            panic!("a gap");
        };
        assert_eq!(
            warning.is_some_and(|warning| warning.contains("has said nothing for 20 min")),
            seen
        );
    }
    shop.sql("EXEC sys.sp_cdc_start_job @job_type = N'capture'");
    // What it catches up with is as old as it is; an entry of its own follows when there is nothing to capture.
    shop.pass(1);
    shop.sql("SELECT 1");
    shop.pass(301);
    let cut = target.source.cut(&table(), Some(&target.position)).await;
    assert!(matches!(cut.unwrap(), Cut::Complete { warning: None, .. }));
}

/// What is said of the capture, by severity, with the numbers.
async fn state(source: &SqlServerSource) -> (Vec<Finding>, CaptureSigns) {
    let state = source.capture_state(&[table()]).await.unwrap().unwrap();
    assert_eq!(state.tables, [table()]);
    (state.findings, state.signs)
}

/// Many tables would each wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_asked_once_how_the_capture_stands() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shop = captured().await;
    let mut connect = shop.connect("sa", "source");
    connect.port = listener.local_addr().unwrap().port();
    let source = SqlServerSource::new(connect, []);
    let closing = async {
        let mut asked = 0;
        loop {
            drop(listener.accept().await.unwrap());
            asked += 1;
            assert_eq!(asked, 1, "it is asked again");
        }
    };
    let tables = [table(), table(), table()];
    let error = tokio::select! {
        state = source.capture_state(&tables) => state.unwrap_err(),
        () = closing => unreachable!("it has no end"),
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_drives_the_capture_is_seen_to_fail_and_its_remedy_mends_it() {
    let shop = captured().await;
    let source = shop.source(MODE);
    assert_eq!(state(&source).await.0, []);
    let (error, warning) = (Severity::Error, Severity::Warning);
    for (fails, severity, message, job_running, mends) in [
        (
            "EXEC sys.sp_cdc_stop_job @job_type = N'capture'",
            error,
            "the capture job does not run",
            Some(false),
            None,
        ),
        (
            "EXEC sys.sp_cdc_drop_job @job_type = N'capture'",
            error,
            "no capture job on this server",
            None,
            None,
        ),
        (
            "EXEC sys.sp_cdc_drop_job @job_type = N'cleanup'",
            warning,
            "no clean-up job on this server",
            Some(true),
            None,
        ),
        (
            "EXEC sp_emulator_fault N'capture stopped'",
            error,
            "the capture job does not run",
            Some(false),
            None,
        ),
        (
            "EXEC sp_emulator_fault N'agent stopped'",
            error,
            "SQL Server Agent does not run",
            Some(false),
            Some("EXEC sp_emulator_fault N'agent started'"),
        ),
    ] {
        shop.sql(fails);
        shop.sql(
            "UPDATE dbo.T SET n = n + 1 WHERE id = 1; INSERT INTO dbo.T (id) SELECT MAX(id) + 1 FROM dbo.T",
        );
        shop.pass(60);
        let (findings, signs) = state(&source).await;
        let first = &findings[0];
        assert_eq!(first.severity, severity, "{fails}: {findings:?}");
        assert!(first.message.contains(message), "{fails}: {findings:?}");
        // What was written meanwhile is only in the log, unless the capture itself works.
        let awaited = if job_running == Some(true) {
            "NOTHING"
        } else {
            "REPLICATION"
        };
        assert_eq!(signs.log_reuse_wait, awaited, "{fails}");
        let held = findings
            .iter()
            .any(|f| f.severity == warning && f.message.contains("cannot be truncated"));
        assert_eq!(held, awaited == "REPLICATION", "{fails}: {findings:?}");
        assert_eq!(signs.job_running, job_running, "{fails}");
        assert_eq!(signs.agent_running, Some(!fails.contains("agent")), "{fails}");
        shop.sql(mends.or(first.remedy.as_deref()).unwrap());
        shop.pass(1);
        shop.sql("SELECT 1");
        let (findings, signs) = state(&source).await;
        assert_eq!(findings, [], "{fails}");
        assert_eq!(signs.job_running, Some(true));
    }
}

/// Its scheduler is no SQL Server Agent and shows nothing of itself but the jobs, in the database.
#[tokio::test(flavor = "multi_thread")]
async fn azure_sql_database_has_the_jobs_in_the_database() {
    const AZURE_SQL_DATABASE: i32 = 5;
    let shop = Shop::open_edition(AZURE_SQL_DATABASE, &format!("{DATABASE}{TABLE}")).await;
    shop.pass(0);
    shop.sql(&format!("{CAPTURE}{ROWS}"));
    shop.pass(1);
    let source = shop.source(MODE);
    let (findings, signs) = state(&source).await;
    assert_eq!(findings, []);
    assert_eq!((signs.agent_running, signs.job_running), (None, None));
    assert_eq!(signs.retention_seconds, Some(3 * 24 * 60 * 60));
    shop.sql("EXEC sys.sp_cdc_drop_job @job_type = N'cleanup'");
    let (findings, signs) = state(&source).await;
    assert_eq!(findings, []);
    assert_eq!(signs.retention_seconds, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_cannot_keep_up_is_seen() {
    let shop = captured().await;
    let source = shop.source(MODE);
    assert_eq!(state(&source).await.0, []);
    shop.emulator
        .engine()
        .set_capture_delay(std::time::Duration::from_secs(600));
    for (seconds, late) in [(0, false), (599, false), (2, true), (601, false)] {
        if seconds == 0 {
            shop.sql("UPDATE dbo.T SET n = 5 WHERE id = 1");
        }
        shop.pass(seconds);
        let (findings, signs) = state(&source).await;
        let found = findings
            .iter()
            .any(|f| f.severity == Severity::Warning && f.message.contains("10 min behind"));
        assert_eq!(found, late, "{seconds}: {findings:?} {signs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_seen_of_the_capture_is_said_with_the_right_that_shows_it() {
    let shop = captured().await;
    let source = shop.source_as("reader", MODE);
    let (findings, signs) = state(&source).await;
    let [finding] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!(finding.severity, Severity::Note);
    for part in [
        "whether SQL Server Agent runs",
        "the capture job runs",
        "how late",
    ] {
        assert!(finding.message.contains(part), "{finding:?}");
    }
    let remedy = finding.remedy.as_ref().unwrap();
    assert!(remedy.contains("GRANT VIEW SERVER STATE TO"), "{remedy}");
    assert!(
        remedy.contains("GRANT SELECT ON dbo.sysjobactivity TO"),
        "{remedy}"
    );
    assert_eq!((signs.agent_running, signs.job_running), (None, None));
    shop.sql("USE master; GRANT VIEW SERVER STATE TO [reader]; USE msdb; GRANT SELECT TO [reader];");
    let (findings, signs) = state(&shop.source_as("reader", MODE)).await;
    assert_eq!(findings, []);
    assert_eq!((signs.agent_running, signs.job_running), (Some(true), Some(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retention_is_known_to_a_login_that_may_read_the_jobs_and_nothing_else_there() {
    for (retention_hours, warned) in [(168, false), (72, true)] {
        let shop = captured().await;
        shop.sql(&format!(
            "EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = {}; \
             USE msdb; CREATE USER [reader] FOR LOGIN [reader]; GRANT SELECT ON dbo.cdc_jobs TO [reader];",
            retention_hours * 60
        ));
        let target = Target::copy(shop.source_as("reader", MODE), || ()).await;
        shop.sql("UPDATE dbo.T SET n = 5 WHERE id = 1");
        shop.pass(40 * 3_600);
        // An entry of the capture's own, so that it is not silent.
        shop.sql("SELECT 1");
        shop.pass(301);
        let cut = target.source.cut(&table(), Some(&target.position)).await;
        let Cut::Complete { warning, .. } = cut.unwrap() else {
            panic!("a gap");
        };
        let found = warning
            .as_deref()
            .is_some_and(|warning| warning.contains("retention"));
        assert_eq!(found, warned, "{retention_hours}: {warning:?}");
        let (findings, signs) = state(&shop.source_as("reader", MODE)).await;
        assert_eq!(signs.job_running, None);
        let hidden = findings.last().unwrap();
        assert!(hidden.message.contains("the capture job runs"), "{findings:?}");
        assert!(!hidden.message.contains("the jobs"), "{findings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_remedy_switches_it_on() {
    let shop = Shop::open(&format!("{TABLE}{ROWS}")).await;
    shop.pass(0);
    let source = shop.source(MODE);
    let finding = |description: model::Description| {
        let errors = description
            .findings
            .into_iter()
            .filter(|f| f.severity == Severity::Error);
        errors.map(|f| f.remedy.unwrap()).next()
    };
    let remedy = finding(source.describe(&table()).await.unwrap()).unwrap();
    shop.sql("CREATE USER [<user>] WITHOUT LOGIN");
    for statement in remedy.split_inclusive(';') {
        shop.sql(statement);
    }
    assert_eq!(finding(source.describe(&table()).await.unwrap()), None);
    let mut target = Target::copy(source, || ()).await;
    shop.sql("DELETE FROM dbo.T WHERE id = 1");
    shop.pass(1);
    target.increment().await;
    assert!(target.is_equal().await);
}

/// The instance goes on with the old column, which is gone, and captures nothing of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_was_dropped_and_added_again_is_not_captured() {
    let shop = captured().await;
    let source = shop.source(r#"{"mode":"cdc","columns":{"exclude":["twice"]}}"#);
    let mut target = Target::copy(source, || ()).await;
    shop.sql("ALTER TABLE dbo.T ADD w int NULL");
    shop.sql("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'T', @capture_instance = N'with_w', @role_name = NULL");
    shop.sql("UPDATE dbo.T SET w = 1 WHERE id = 1");
    shop.pass(1);
    target.source.describe(&table()).await.unwrap();
    target.increment().await;
    shop.sql("ALTER TABLE dbo.T DROP COLUMN w");
    shop.sql("ALTER TABLE dbo.T ADD w int NULL");
    for value in 7..10 {
        shop.sql(&format!("UPDATE dbo.T SET w = {value} WHERE id = 2"));
        shop.pass(1);
        let findings = target.source.describe(&table()).await.unwrap().findings;
        let uncaptured = |finding: &Finding| finding.message.contains("does not capture w");
        assert!(findings.iter().any(uncaptured), "{findings:?}");
        target.increment().await;
        assert!(target.is_equal().await, "{value}");
    }
}
