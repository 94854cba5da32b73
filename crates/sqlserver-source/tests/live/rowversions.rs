//! Histories of a column of rowversions.

use model::{ChangeSource, Cut, Tracking};
use sqlserver_client::Isolation;

use crate::shop::{Shop, Target, table};

const TABLE: &str = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, \
    updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(), rv rowversion);\
    CREATE INDEX by_version ON dbo.T (rv);\
    ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON;\
    INSERT INTO dbo.T (id, v) VALUES (1, N'one'), (2, N'two'), (3, N'three');";

/// The counter that a hasty reader takes for a cut, as a position has it.
async fn behind_the_last_used(shop: &Shop) -> u64 {
    let sql = "SELECT CONVERT(bigint, @@DBTS) AS last_used";
    let rows = shop.writer().await.query(sql, &[]).await.unwrap();
    u64::try_from(rows.one().unwrap().need_i64("last_used").unwrap()).unwrap() + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rowversion_is_preferred_and_told() {
    let shop = Shop::open(TABLE).await;
    let description = shop.source("{}").describe(&table()).await.unwrap();
    match description.tracking {
        Tracking::Incremental {
            how, sees_deletes, ..
        } => assert_eq!((how.as_str(), sees_deletes), ("rowversion(rv)", false)),
        full => panic!("{full:?}"),
    }
    let by_time = shop.source(r#"{"tracking":{"column":"updated_at"}}"#);
    let tracking = by_time.describe(&table()).await.unwrap().tracking;
    assert!(matches!(tracking, Tracking::Incremental { how, .. } if how == "timestamp(updated_at)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_committed_late_is_not_lost() {
    // The twin cuts behind @@DBTS, which counts what is not committed yet.
    for (hasty, survives) in [(false, true), (true, false)] {
        let shop = Shop::open(TABLE).await;
        let mut target = Target::copy(shop.source("{}"), || ()).await;
        assert_eq!(target.position.kind, "rowversion");
        let mut late = shop.writer().await;
        late.begin(Isolation::ReadCommitted).await.unwrap();
        late.execute("UPDATE dbo.T SET v = N'late' WHERE id = 2", &[])
            .await
            .unwrap();
        shop.sql("UPDATE dbo.T SET v = N'early' WHERE id = 3");
        let last = behind_the_last_used(&shop).await;
        let tamper = |_: &mut serde_json::Value, upto: &mut serde_json::Value| {
            if hasty {
                upto["next"] = last.into();
            }
        };
        let (holding, assumed) = target.increment_with(tamper).await;
        assert!(holding.is_some_and(|who| who.contains("writer") && who.contains("transaction")));
        assert_eq!(assumed, None);
        late.commit().await;
        let (holding, _) = target.increment().await;
        assert_eq!(holding, None);
        assert_eq!(target.is_equal().await, survives);
        target.increment().await;
        assert_eq!(
            (target.fresh, target.again),
            (0, 0),
            "what is complete is not read again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_rows_are_copied_is_delivered() {
    let shop = Shop::open(TABLE).await;
    let meanwhile = || {
        shop.sql("UPDATE dbo.T SET v = N'changed' WHERE id = 1");
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (0, N'below')");
    };
    let mut target = Target::copy(shop.source("{}"), meanwhile).await;
    target.increment().await;
    assert_eq!(target.fresh, 2);
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_version_holds_nothing_and_rows_without_a_right_are_complete() {
    let shop = Shop::open(TABLE).await;
    let mut target = Target::copy(shop.source_as("reader", "{}"), || ()).await;
    let mut undone = shop.writer().await;
    undone.begin(Isolation::ReadCommitted).await.unwrap();
    undone
        .execute("UPDATE dbo.T SET v = N'undone'", &[])
        .await
        .unwrap();
    let (holding, assumed) = target.increment().await;
    // Completeness needs no right; only the holder's name does.
    assert!(holding.is_some_and(|who| who.contains("GRANT")));
    assert_eq!(assumed, None);
    undone.rollback().await.unwrap();
    shop.sql("UPDATE dbo.T SET v = v WHERE id = 2");
    let (holding, _) = target.increment().await;
    assert_eq!((holding, target.fresh), (None, 1));
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_behind_the_position_is_a_gap() {
    let shop = Shop::open(TABLE).await;
    let target = Target::copy(shop.source("{}"), || ()).await;
    let mut ahead = target.position.clone();
    let mut value: serde_json::Value = serde_json::from_str(&ahead.value).unwrap();
    value["next"] = (value["next"].as_u64().unwrap() + 1_000).into();
    ahead.value = value.to_string();
    match target.source.cut(&table(), Some(&ahead)).await.unwrap() {
        Cut::Gap { why, .. } => assert!(why.contains("restored"), "{why}"),
        Cut::Complete { .. } => panic!("a counter that went back is no continuation"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cut_leaves_for_later_can_be_selected() {
    let shop = Shop::open(TABLE).await;
    let target = Target::copy(shop.source("{}"), || ()).await;
    shop.sql("UPDATE dbo.T SET v = N'later' WHERE id = 3");
    assert_eq!(target.pending().await, [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_increment_is_told_in_parts_that_can_be_resumed() {
    let shop = Shop::open(TABLE).await;
    let mut target = Target::copy(shop.source(r#"{"batch_size":1}"#), || ()).await;
    shop.sql("UPDATE dbo.T SET v = N'again'");
    let before = target.position.clone();
    target.increment().await;
    assert!(target.parts.len() > 1, "an index leads with the column");
    let whole = target.rows.clone();
    // From every part on, the rest is delivered.
    for part in target.parts.clone() {
        target.position = part;
        target.increment().await;
        assert_eq!(target.rows, whole);
    }
    assert_ne!(target.position, before);
    assert!(target.is_equal().await);
}
