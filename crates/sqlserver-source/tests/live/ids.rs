//! Histories of a column of growing numbers.

use model::ChangeSource;
use sqlserver_client::Isolation;

use crate::shop::{Shop, Target, table};

const TABLE: &str = "CREATE TABLE dbo.T (id int IDENTITY(1,1) NOT NULL PRIMARY KEY, v nvarchar(20) NULL);\
    ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON;\
    INSERT INTO dbo.T (v) VALUES (N'one'), (N'two'), (N'three');";

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_key_is_used_where_no_time_is() {
    let shop = Shop::open(TABLE).await;
    let mut target = Target::copy(shop.source("{}"), || ()).await;
    assert_eq!(target.position.kind, "id");
    shop.sql("INSERT INTO dbo.T (v) VALUES (N'four')");
    target.increment().await;
    assert_eq!((target.fresh, target.again), (1, 0));
    target.increment().await;
    assert_eq!(
        (target.fresh, target.again),
        (0, 0),
        "what is complete is not read again"
    );
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_committed_late_is_not_lost() {
    // The twin takes what it has seen for complete.
    let hasty: fn(&mut serde_json::Value, &mut serde_json::Value) =
        |after, _| after["complete"] = after["seen"].clone();
    for (tamper, survives) in [((|_, _| ()) as fn(&mut _, &mut _), true), (hasty, false)] {
        let shop = Shop::open(TABLE).await;
        let mut target = Target::copy(shop.source("{}"), || ()).await;
        let mut late = shop.writer().await;
        late.begin(Isolation::ReadCommitted).await.unwrap();
        late.execute("INSERT INTO dbo.T (v) VALUES (N'late')", &[])
            .await
            .unwrap();
        shop.sql("INSERT INTO dbo.T (v) VALUES (N'early')");
        let (holding, _) = target.increment_with(tamper).await;
        assert!(holding.is_some_and(|who| who.contains("writer")));
        assert_eq!(target.rows.len(), 4, "what is there is not held back");
        late.commit().await;
        target.increment_with(tamper).await;
        assert_eq!(target.is_equal().await, survives);
        // Once nobody writes, the last increment has made everything complete.
        target.increment_with(tamper).await;
        assert_eq!((target.fresh, target.again), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_ids_are_read_again() {
    let shop = Shop::open(TABLE).await;
    let source = shop.source_as("reader", r#"{"window":{"overlap_ids":2}}"#);
    let mut target = Target::copy(source, || ()).await;
    shop.sql("INSERT INTO dbo.T (v) VALUES (N'four')");
    let (_, assumed) = target.increment().await;
    assert!(assumed.is_some_and(|why| why.contains("GRANT")));
    assert_eq!((target.fresh, target.again), (1, 2));
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_grows() {
    let shop = Shop::open("CREATE TABLE dbo.T (id bigint IDENTITY PRIMARY KEY, v nvarchar(20))").await;
    let mut target = Target::copy(shop.source("{}"), || ()).await;
    target.increment().await;
    assert!(target.rows.is_empty());
    shop.sql("INSERT INTO dbo.T (v) VALUES (N'first')");
    target.increment().await;
    assert!(target.is_equal().await && target.rows.len() == 1);
    assert!(target.source.cut(&table(), Some(&target.position)).await.is_ok());
}
