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

#[tokio::test]
async fn a_column_of_the_key_is_read() {
    let mut play = declared().await;
    play.world.capture.columns.exclude = vec!["id".to_owned()];
    let report = play.fails().await;
    assert!(
        refusal(&report).contains("names a column that is not read"),
        "{report:#?}"
    );
}

/// Orders that are marked as deleted, whose numbers may be given out again.
async fn renumbered() -> Play {
    let mut play = declared().await;
    play.sql("ALTER TABLE dbo.Orders ADD gone bit NOT NULL DEFAULT 0");
    play.sql("CREATE UNIQUE INDEX live ON dbo.Orders (id) WHERE gone = 0");
    play.world.capture.deletes.soft = Some("gone".to_owned());
    play
}

const MARK: &str = "UPDATE dbo.Orders SET gone = 1, updated_at = SYSUTCDATETIME() WHERE id = 1 AND gone = 0";

#[tokio::test]
async fn a_marked_row_does_not_delete_the_live_one_with_its_key() {
    for marked_before in [true, false] {
        let play = renumbered().await;
        if marked_before {
            play.sql(MARK);
            play.insert(1);
        }
        play.later(5 * SECOND);
        play.sync().await;
        // Both rows are in one window, then the marked one alone.
        play.sql(MARK);
        play.insert(1);
        play.later(5 * SECOND);
        play.sync().await;
        play.sql("UPDATE dbo.Orders SET name = N'touched', updated_at = SYSUTCDATETIME() WHERE gone = 1");
        play.later(5 * SECOND);
        play.sync().await;
        let left = play.world.mirror("SELECT name FROM dbo.Orders WHERE id = 1");
        assert_eq!(left[0].rows.len(), 1, "{marked_before}");
        // Without a successor it is a delete.
        play.sql(MARK);
        play.later(5 * SECOND);
        play.sync().await;
        let left = play.world.mirror("SELECT name FROM dbo.Orders WHERE id = 1");
        assert_eq!(left[0].rows.len(), 0, "{marked_before}");
        play.end().await;
    }
}

#[tokio::test]
async fn the_key_of_the_servers_own_needs_no_declaration() {
    let mut play = Play::begin(None).await;
    play.sql(
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON; ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING",
    );
    play.world.capture.key = vec!["id".to_owned()];
    play.world.capture.mode = sqlserver_source::Mode::Auto;
    let tracking = play
        .world
        .source(&play.table(), play.world.capture.clone())
        .describe(&play.table())
        .await
        .unwrap()
        .tracking;
    assert!(
        format!("{tracking:?}").contains("change_tracking"),
        "{tracking:?}"
    );
}
