//! Histories of a column of times.

use futures::StreamExt;
use model::{ChangeSource, Cut, Selection};
use sqlserver_client::{Connection, Isolation, Param};

use crate::shop::{Shop, Target, collect, complete, everything, rows, schema, table};

const TABLE: &str = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20) NULL, \
    updated_at datetime2(3) NULL DEFAULT SYSUTCDATETIME());\
    CREATE INDEX by_time ON dbo.T (updated_at);\
    ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON;\
    INSERT INTO dbo.T (id, v) VALUES (1, N'one'), (2, N'two'), (3, N'three');";

/// The cut without a look at writers: everything up to the clock.
fn blind(_: &mut serde_json::Value, upto: &mut serde_json::Value) {
    upto["watermark"] = upto["now"].clone();
}

fn untouched(_: &mut serde_json::Value, _: &mut serde_json::Value) {}

async fn copied(shop: &Shop, options: &str) -> Target {
    shop.pass(60);
    let mut target = Target::copy(shop.source(options), || ()).await;
    target.increment().await;
    assert!(target.is_equal().await);
    target
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_commits_late_is_not_lost() {
    for (tamper, survives) in [(untouched as fn(&mut _, &mut _), true), (blind, false)] {
        let shop = Shop::open(TABLE).await;
        let mut target = copied(&shop, "{}").await;
        let mut late = shop.writer().await;
        late.begin(Isolation::ReadCommitted).await.unwrap();
        late.execute("INSERT INTO dbo.T (id, v) VALUES (10, N'late')", &[])
            .await
            .unwrap();
        shop.pass(120);
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (11, N'early')");
        shop.pass(30);
        // Row 10 is locked; SNAPSHOT lets the reader pass it.
        let (holding, _) = target.increment_with(tamper).await;
        assert!(holding.is_some_and(|who| who.contains("writer") && who.contains("transaction")));
        late.commit().await;
        shop.pass(60);
        target.increment_with(tamper).await;
        assert_eq!(target.is_equal().await, survives);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_the_same_name_counts_and_the_pools_own_sessions_do_not() {
    let shop = Shop::open(TABLE).await;
    let mut target = copied(&shop, "{}").await;
    // Another process of this engine, on the same machine, that applies rows here.
    let mut late = Connection::open(&shop.connect("sa", "source")).await.unwrap();
    late.begin(Isolation::ReadCommitted).await.unwrap();
    late.execute("INSERT INTO dbo.T (id, v) VALUES (10, N'late')", &[])
        .await
        .unwrap();
    shop.pass(120);
    shop.sql("INSERT INTO dbo.T (id, v) VALUES (11, N'early')");
    shop.pass(30);
    let (holding, _) = target.increment().await;
    assert!(holding.is_some());
    late.commit().await;
    shop.pass(60);
    // A chunk that is being read is a transaction of the pool.
    let schema = schema(&target.source).await;
    let mut reading = target
        .source
        .read(&table(), &schema, Selection::All, None)
        .await
        .unwrap();
    reading.next().await.unwrap().unwrap();
    shop.pass(60);
    let (holding, _) = target.increment().await;
    assert_eq!(holding, None);
    drop(reading);
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_from_before_the_clock_went_back_holds_the_cut() {
    for column in ["updated_at", "id"] {
        let shop = Shop::open(TABLE).await;
        let options = format!(r#"{{"tracking":{{"column":"{column}"}}}}"#);
        let mut target = copied(&shop, &options).await;
        let mut late = shop.writer().await;
        late.begin(Isolation::ReadCommitted).await.unwrap();
        let insert = "INSERT INTO dbo.T (id, v) VALUES (10, N'late')";
        late.execute(insert, &[]).await.unwrap();
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (11, N'early')");
        shop.pass(60 - 3_600);
        // Nobody knows by how much: an age that cannot be told hides none that can.
        let mut young = shop.writer().await;
        young.begin(Isolation::ReadCommitted).await.unwrap();
        let insert = "INSERT INTO dbo.T (id, v) VALUES (12, N'young')";
        young.execute(insert, &[]).await.unwrap();
        shop.pass(10);
        let holding = target.increment().await.0.unwrap();
        assert!(holding.contains("clock went back"), "{column}: {holding}");
        young.commit().await;
        late.commit().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_from_before_autumns_hour_is_as_old_as_it_is() {
    for column in ["updated_at", "id"] {
        let shop = Shop::open(TABLE).await;
        let options = format!(r#"{{"tracking":{{"column":"{column}"}}}}"#);
        let mut target = copied(&shop, &options).await;
        // The last cut was in summer.
        let mut summer: serde_json::Value = serde_json::from_str(&target.position.value).unwrap();
        summer["local"]["offset_minutes"] = 60.into();
        target.position.value = summer.to_string();
        let mut late = shop.writer().await;
        late.begin(Isolation::ReadCommitted).await.unwrap();
        let insert = "INSERT INTO dbo.T (id, v) VALUES (10, N'late')";
        late.execute(insert, &[]).await.unwrap();
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (11, N'early')");
        for (seconds, age) in [(120, "3720.0 s"), (60, "3780.0 s")] {
            shop.pass(seconds);
            let holding = target.increment().await.0.unwrap();
            assert!(holding.contains(age), "{column}: {holding}");
        }
        late.commit().await;
        // What begins after the repeated hour began after it.
        shop.pass(2 * 3_600);
        let mut winter = shop.writer().await;
        winter.begin(Isolation::ReadCommitted).await.unwrap();
        let insert = "INSERT INTO dbo.T (id, v) VALUES (12, N'winter')";
        winter.execute(insert, &[]).await.unwrap();
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (13, N'later')");
        shop.pass(30);
        let holding = target.increment().await.0.unwrap();
        assert!(holding.contains(" 30.0 s"), "{column}: {holding}");
        let cut = target.source.cut(&table(), Some(&target.position)).await;
        let Cut::Complete { holding, .. } = cut.unwrap() else {
            panic!("a gap");
        };
        let age = holding.and_then(|holder| holder.age);
        let half_a_minute = |age: &std::time::Duration| (29..60).contains(&age.as_secs());
        assert!(age.as_ref().is_some_and(half_a_minute), "{column}: {age:?}");
        winter.commit().await;
        shop.pass(60);
        target.increment().await;
        assert!(target.is_equal().await, "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_took_its_time_before_it_waited_is_not_lost() {
    for (tamper, survives) in [(untouched as fn(&mut _, &mut _), true), (blind, false)] {
        let shop = Shop::open(TABLE).await;
        let mut target = copied(&shop, "{}").await;
        let mut first = shop.writer().await;
        first.begin(Isolation::ReadCommitted).await.unwrap();
        first
            .execute("UPDATE dbo.T SET v = N'first' WHERE id = 1", &[])
            .await
            .unwrap();
        let mut second = shop.writer().await;
        let blocked = tokio::spawn(async move {
            let sql = "UPDATE dbo.T SET v = N'second', updated_at = SYSUTCDATETIME() WHERE id = 1";
            second.execute(sql, &[]).await.unwrap();
        });
        shop.until_blocked().await;
        shop.pass(120);
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (11, N'early')");
        shop.pass(30);
        target.increment_with(tamper).await;
        first.commit().await;
        blocked.await.unwrap();
        shop.pass(60);
        target.increment_with(tamper).await;
        assert_eq!(target.is_equal().await, survives);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_has_taken_its_time_and_written_nothing_yet_is_not_lost() {
    for (tamper, survives) in [(untouched as fn(&mut _, &mut _), true), (blind, false)] {
        let shop = Shop::open(TABLE).await;
        let mut target = copied(&shop, "{}").await;
        let mut late = shop.writer().await;
        late.begin(Isolation::ReadCommitted).await.unwrap();
        let now = late.query("SELECT SYSUTCDATETIME() AS now", &[]).await.unwrap();
        let time = Param::new("now", now.one().unwrap().get("now").unwrap().clone());
        shop.pass(120);
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (11, N'early')");
        shop.pass(30);
        target.increment_with(tamper).await;
        let insert = "INSERT INTO dbo.T (id, v, updated_at) VALUES (10, N'late', @now)";
        late.execute(insert, &[time]).await.unwrap();
        late.commit().await;
        shop.pass(60);
        target.increment_with(tamper).await;
        assert_eq!(target.is_equal().await, survives);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_share_the_watermarks_time_are_not_lost() {
    let after_the_watermark: fn(&mut serde_json::Value, &mut serde_json::Value) =
        |after, _| after["watermark"] = (after["watermark"].as_i64().unwrap() + 10_000).into();
    for (tamper, survives) in [
        (untouched as fn(&mut _, &mut _), true),
        (after_the_watermark, false),
    ] {
        let shop = Shop::open(TABLE).await;
        let mut target = copied(&shop, r#"{"window":{"tolerance_seconds":0}}"#).await;
        shop.pass(60);
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (10, N'a')");
        shop.pass(60);
        target.increment().await;
        // The watermark is row 10's time now; another row gets the very same.
        shop.sql(
            "INSERT INTO dbo.T (id, v, updated_at) SELECT 11, N'b', updated_at FROM dbo.T WHERE id = 10",
        );
        target.increment_with(tamper).await;
        assert_eq!(target.is_equal().await, survives);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_time_are_read_every_time() {
    for (options, survives) in [("{}", true), (r#"{"window":{"nulls":"hold"}}"#, false)] {
        let shop = Shop::open(TABLE).await;
        let mut target = copied(&shop, options).await;
        let before = target.position.clone();
        shop.sql("INSERT INTO dbo.T (id, v, updated_at) VALUES (10, N'undated', NULL)");
        shop.pass(60);
        target.increment().await;
        assert_eq!(target.is_equal().await, survives);
        assert_eq!(target.fresh, 0, "an undated row is compared, not taken for new");
        assert_eq!(target.left_out, usize::from(!survives), "what is held is named");
        assert_ne!(target.position, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_never_comes_is_delivered_and_moves_nothing() {
    for (options, survives) in [("{}", true), (r#"{"window":{"future":"hold"}}"#, false)] {
        let shop = Shop::open(TABLE).await;
        let mut target = copied(&shop, options).await;
        shop.sql("INSERT INTO dbo.T (id, v, updated_at) VALUES (10, N'open end', '9999-12-31T00:00:00')");
        shop.pass(60);
        target.increment().await;
        assert_eq!(target.is_equal().await, survives);
        assert!(!target.position.label.contains("9999"), "{}", target.position);
        shop.pass(60);
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (11, N'next')");
        shop.pass(60);
        target.increment().await;
        assert!(target.rows.contains_key(&11), "the row after it is seen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_back_a_little_loses_nothing() {
    for (tolerance, survives) in [(10, true), (0, false)] {
        let shop = Shop::open(TABLE).await;
        let options = format!(r#"{{"window":{{"tolerance_seconds":{tolerance}}}}}"#);
        let mut target = copied(&shop, &options).await;
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (10, N'before')");
        shop.pass(1);
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (11, N'at the cut')");
        shop.pass(2);
        target.increment().await;
        shop.pass(-3);
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (12, N'after the step')");
        shop.pass(30);
        target.increment().await;
        assert_eq!(target.is_equal().await, survives, "tolerance {tolerance} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_back_far_is_noticed_and_reading_finds_the_row() {
    let shop = Shop::open(TABLE).await;
    let mut target = copied(&shop, "{}").await;
    shop.sql("INSERT INTO dbo.T (id, v) VALUES (10, N'before')");
    shop.pass(30);
    target.increment().await;
    shop.pass(-600);
    shop.sql("INSERT INTO dbo.T (id, v) VALUES (11, N'after the step')");
    shop.pass(5);
    let (_, assumed) = target.increment().await;
    assert!(assumed.is_some_and(|why| why.contains("gone back") && why.contains("verify")));
    shop.pass(1_200);
    target.increment().await;
    let all = everything(&target.source).await;
    let missing: Vec<_> = all.keys().filter(|id| !target.rows.contains_key(id)).collect();
    assert_eq!(missing, [&11]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_updated_during_the_copy_is_not_lost() {
    for (cut_first, survives) in [(true, true), (false, false)] {
        let shop = Shop::open(TABLE).await;
        shop.pass(60);
        let update = "UPDATE dbo.T SET v = N'changed', updated_at = SYSUTCDATETIME() WHERE id = 1";
        let mut target = Target::copy(shop.source("{}"), || shop.sql(update)).await;
        shop.pass(60);
        if !cut_first {
            target.position = complete(target.source.cut(&table(), None).await.unwrap()).0;
        }
        target.increment().await;
        assert_eq!(target.is_equal().await, survives);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_again_is_said_to_be() {
    let shop = Shop::open(TABLE).await;
    let mut target = copied(&shop, "{}").await;
    shop.sql("INSERT INTO dbo.T (id, v) VALUES (10, N'a'), (11, N'b')");
    shop.pass(30);
    target.increment().await;
    assert_eq!((target.fresh, target.again), (2, 0));
    target.increment().await;
    assert_eq!(
        (target.fresh, target.again),
        (0, 2),
        "the tolerance reads them again"
    );
    target.increment().await;
    assert_eq!(
        (target.fresh, target.again),
        (0, 0),
        "but a table at rest only once"
    );
    shop.sql("UPDATE dbo.T SET v = N'c', updated_at = SYSUTCDATETIME() WHERE id = 10");
    shop.pass(30);
    target.increment().await;
    assert_eq!((target.fresh, target.again), (1, 0));
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_time_is_bound_as_itself() {
    for (ty, now) in [
        ("datetime", "GETUTCDATE()"),
        ("smalldatetime", "SYSUTCDATETIME()"),
        ("datetime2(0)", "SYSUTCDATETIME()"),
        ("datetime2(6)", "SYSUTCDATETIME()"),
        ("datetime2(7)", "SYSUTCDATETIME()"),
        ("datetimeoffset(3)", "SYSDATETIMEOFFSET()"),
    ] {
        let shop = Shop::open(&format!(
            "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20), \
             modified_at {ty} NOT NULL DEFAULT {now}); INSERT INTO dbo.T (id, v) VALUES (1, N'one')"
        ))
        .await;
        shop.pass(300);
        let options = r#"{"types":{"allow_loss":["datetime2_7","datetimeoffset_offset"]}}"#;
        let mut target = Target::copy(shop.source(options), || ()).await;
        for id in 10..15 {
            shop.sql(&format!("INSERT INTO dbo.T (id, v) VALUES ({id}, N'x')"));
            shop.pass(97);
            target.increment().await;
        }
        shop.pass(120);
        target.increment().await;
        assert!(target.is_equal().await, "{ty}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_delivers_what_was_committed_just_before_it() {
    for (settle, delivers) in [(10, true), (0, false)] {
        let shop = Shop::open(TABLE).await;
        let options = format!(r#"{{"window":{{"settle_seconds":{settle}}}}}"#);
        let mut target = copied(&shop, &options).await;
        // An increment that follows its copy does not wait.
        shop.pass(30);
        shop.emulator.clock().unfreeze();
        target.increment().await;
        shop.sql("INSERT INTO dbo.T (id, v) VALUES (10, N'just now')");
        target.increment().await;
        assert_eq!(target.is_equal().await, delivers, "settle {settle} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_the_cut_stays_behind_and_says_so() {
    let shop = Shop::open(TABLE).await;
    shop.pass(600);
    let mut target = Target::copy(shop.source_as("reader", "{}"), || ()).await;
    shop.sql("INSERT INTO dbo.T (id, v) VALUES (10, N'new')");
    shop.pass(200);
    let (holding, assumed) = target.increment().await;
    let assumed = assumed.unwrap();
    assert!(
        assumed.contains("300 s") && assumed.contains("GRANT VIEW SERVER STATE"),
        "{assumed}"
    );
    assert!(holding.is_none() && !target.rows.contains_key(&10));
    shop.pass(200);
    target.increment().await;
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracking_column_that_nobody_reads_still_tracks() {
    let shop = Shop::open(TABLE).await;
    let mut target = copied(&shop, r#"{"columns":{"exclude":["updated_at"]}}"#).await;
    assert!(
        schema(&target.source)
            .await
            .arrow()
            .index_of("updated_at")
            .is_err()
    );
    shop.sql("UPDATE dbo.T SET v = N'x', updated_at = SYSUTCDATETIME() WHERE id = 2");
    shop.pass(30);
    target.increment().await;
    assert_eq!(target.fresh, 1);
    assert!(target.is_equal().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_increment_has_boundaries_on_its_way() {
    let shop = Shop::open(TABLE).await;
    let source = shop.source(r#"{"batch_size":1}"#);
    shop.pass(60);
    let after = complete(source.cut(&table(), None).await.unwrap()).0;
    for id in 10..13 {
        shop.sql(&format!("INSERT INTO dbo.T (id, v) VALUES ({id}, N'x')"));
        shop.pass(30);
    }
    let upto = complete(source.cut(&table(), Some(&after)).await.unwrap()).0;
    let schema = schema(&source).await;
    let mut events = source.changes(&table(), &schema, &after, &upto).await.unwrap();
    let mut boundaries = Vec::new();
    while let Some(event) = futures::StreamExt::next(&mut events).await {
        if let model::SourceEvent::Boundary { at } = event.unwrap() {
            boundaries.push(at);
        }
    }
    assert!(boundaries.len() >= 2, "{boundaries:?}");
    assert_eq!(
        boundaries.last(),
        boundaries.first(),
        "one batch, and its last time is the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_holds_for_copy_and_increment() {
    let shop = Shop::open(TABLE).await;
    let mut target = copied(&shop, r#"{"where":"id <> 2 -- not that one"}"#).await;
    assert_eq!(target.rows.keys().copied().collect::<Vec<_>>(), [1, 3]);
    shop.sql("UPDATE dbo.T SET v = N'x', updated_at = SYSUTCDATETIME()");
    shop.pass(30);
    target.increment().await;
    assert_eq!(target.fresh, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_life_or_another_column_is_a_gap() {
    let shop = Shop::open(TABLE).await;
    let target = copied(&shop, "{}").await;
    shop.sql("ALTER TABLE dbo.T ADD modified_at datetime2(3) NULL");
    let other = shop.source(r#"{"tracking":{"column":"modified_at"}}"#);
    let by_id = shop.source(r#"{"tracking":{"column":"id"}}"#);
    for (source, say) in [(other, "modified_at"), (by_id, "\"id\"")] {
        match source.cut(&table(), Some(&target.position)).await.unwrap() {
            Cut::Gap { why, .. } => assert!(why.contains(say), "{why}"),
            Cut::Complete { .. } => panic!("another column is no continuation"),
        }
    }
    shop.sql("DROP TABLE dbo.T");
    shop.pass(5);
    shop.sql(TABLE);
    match target.source.cut(&table(), Some(&target.position)).await.unwrap() {
        Cut::Gap { why, .. } => assert!(why.contains("created anew"), "{why}"),
        Cut::Complete { .. } => panic!("a new table is no continuation"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_rows_are_read_by_key() {
    let shop = Shop::open(TABLE).await;
    let source = shop.source("{}");
    let schema = schema(&source).await;
    let keys = |ids: Vec<i32>| {
        let column = arrow_array::Int32Array::from(ids);
        arrow_array::RecordBatch::try_from_iter([("id", std::sync::Arc::new(column) as _)]).unwrap()
    };
    let read = async |ids: Vec<i32>| {
        let selection = Selection::Keys(keys(ids));
        let found = collect(source.read(&table(), &schema, selection, None).await.unwrap()).await;
        found
            .iter()
            .flat_map(|batch| rows(&batch.rows).into_keys())
            .collect::<Vec<_>>()
    };
    assert_eq!(read(vec![3, 99, 1]).await.len(), 2);
    assert_eq!(read((1..4_000).collect()).await.len(), 3);
    assert_eq!(read(vec![]).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cut_leaves_for_later_can_be_selected() {
    let shop = Shop::open(TABLE).await;
    shop.pass(60);
    let source = shop.source("{}");
    let schema = schema(&source).await;
    let mut open = shop.writer().await;
    open.begin(Isolation::ReadCommitted).await.unwrap();
    open.execute("UPDATE dbo.T SET v = N'uncommitted' WHERE id = 1", &[])
        .await
        .unwrap();
    shop.pass(60);
    shop.sql("INSERT INTO dbo.T (id, v) VALUES (10, N'later')");
    shop.sql("INSERT INTO dbo.T (id, v, updated_at) VALUES (11, N'never', '9999-12-31')");
    let Cut::Complete { upto, .. } = source.cut(&table(), None).await.unwrap() else {
        panic!("a first cut is a gap");
    };
    let left = source
        .read(&table(), &schema, Selection::ChangedAfter(upto), None)
        .await
        .unwrap();
    let batches = collect(left).await;
    let ids: Vec<_> = batches
        .iter()
        .flat_map(|batch| rows(&batch.rows).into_keys())
        .collect();
    assert_eq!(ids, [10]);
}
