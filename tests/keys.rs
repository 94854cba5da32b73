//! Tables whose key is declared, because their server knows none.

use model::RunReport;

use crate::play::{Play, SECOND};

async fn declared() -> Play {
    let mut play = Play::begin(None).await;
    play.without_key();
    play.world.capture.key = vec!["id".to_owned()];
    play
}

fn refusal(report: &RunReport) -> &str {
    &report.errors[0].message
}

#[tokio::test]
async fn a_declared_key_makes_a_table_without_one_incremental() {
    let play = declared().await;
    play.sync().await;
    let copied = play.world.snapshots(&play.table()).await;
    play.sql("UPDATE dbo.Orders SET name = N'changed', updated_at = SYSUTCDATETIME() WHERE id = 2");
    play.insert(10);
    play.later(5 * SECOND);
    let report = play.sync().await;
    let counts = &report.tables[0].statistics;
    assert_eq!(
        (counts.records_inserted, counts.records_updated),
        (1, 1),
        "{report:#?}"
    );
    assert_eq!(play.world.snapshots(&play.table()).await, copied + 1);
    play.end().await;
}

#[tokio::test]
async fn a_declared_key_that_two_rows_share_stops_the_copy_until_they_differ() {
    let play = declared().await;
    play.sql("INSERT INTO dbo.Orders (id, name) VALUES (2, N'a twin')");
    play.later(5 * SECOND);
    let report = play.fails().await;
    assert!(
        refusal(&report).contains("2 rows have the same id"),
        "{report:#?}"
    );
    play.sql("UPDATE dbo.Orders SET id = 20 WHERE name = N'a twin'");
    play.sync().await;
    // A twin that comes later is not looked for by increments; `verify` tells it.
    play.sql("INSERT INTO dbo.Orders (id, name) VALUES (3, N'a later twin')");
    play.later(5 * SECOND);
    play.sync().await;
    play.insert(11);
    play.later(5 * SECOND);
    play.sync().await;
    let found = play.world.verify(&play.table()).await;
    assert!(found.columns.iter().all(|side| side.missing == 1), "{found:#?}");
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused() {
    for (key, why) in [("nothing", "there is no column"), ("name", "may be NULL")] {
        let mut play = declared().await;
        play.world.capture.key = vec![key.to_owned()];
        let report = play.fails().await;
        assert!(refusal(&report).contains(why), "{report:#?}");
    }
}
