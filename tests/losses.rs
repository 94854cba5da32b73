//! What a naive engine loses, and this one does not. A scenario of [`plays`] is played twice: by the engine, which must end equal on all sides,
//! and by its twin, which reads `WHERE updated_at > @last` and must end with a difference, or the scenario proves nothing. Kills, lost answers
//! and the ten-minute step of the clock have no twin here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use model::{SyncId, TableName};
use orchestrator::{Progress, ProgressEvent};
use sqlserver_client::{Connection, Isolation};
use sqlserver_emulator::{CommitFault, Value};
use tokio_util::sync::CancellationToken;

use crate::world::World;

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;

fn table() -> TableName {
    TableName::new("dbo", "Orders")
}

/// A world with an `Orders` table of three rows, and who synchronises it.
struct Play {
    world: World,
    twin: bool,
}

impl Play {
    async fn begin(twin: bool) -> Self {
        let world = World::start().await;
        world.sql(
            "CREATE TABLE dbo.Orders (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL, updated_at datetime2(3) NULL DEFAULT SYSUTCDATETIME())",
        );
        world.sql("INSERT INTO dbo.Orders (id, name) VALUES (1, N'one'), (2, N'two'), (3, N'three')");
        world.sql("CREATE TABLE dbo.twin (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL, updated_at datetime2(3) NULL)");
        let play = Self { world, twin };
        play.later(5 * SECOND);
        play
    }

    fn sql(&self, batch: &str) {
        self.world.sql(batch);
    }

    fn insert(&self, id: i32) {
        self.sql(&format!(
            "INSERT INTO dbo.Orders (id, name) VALUES ({id}, N'row {id}')"
        ));
    }

    /// Lets time pass on the server.
    fn later(&self, milliseconds: i64) {
        self.world.emulator.clock().step_ms(milliseconds);
    }

    /// The row versions of the target's rows.
    fn versions(&self) -> Vec<Vec<Value>> {
        self.world
            .mirror("SELECT id, version FROM dbo.Orders ORDER BY id")
            .remove(0)
            .rows
    }

    async fn sync(&self) {
        if !self.twin {
            self.world.run(&table()).await;
            return;
        }
        self.sql(
            "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION;
             DECLARE @last datetime2(3) = (SELECT MAX(updated_at) FROM dbo.twin);
             DELETE t FROM dbo.twin AS t INNER JOIN dbo.Orders AS o ON o.id = t.id WHERE o.updated_at > @last;
             INSERT INTO dbo.twin (id, name, updated_at)
             SELECT id, name, updated_at FROM dbo.Orders WHERE @last IS NULL OR updated_at > @last;
             COMMIT",
        );
    }

    /// Ends the play: the engine has every row, the twin has not.
    async fn end(self) {
        if !self.twin {
            self.world.expect_equal(&table()).await;
            return;
        }
        let different = self.world.sql(
            "SELECT COUNT(*) AS n FROM dbo.Orders AS o FULL JOIN dbo.twin AS t ON t.id = o.id
             WHERE o.id IS NULL OR t.id IS NULL
                OR EXISTS (SELECT CAST(o.name AS varbinary(80)), o.updated_at EXCEPT SELECT CAST(t.name AS varbinary(80)), t.updated_at)",
        );
        assert_ne!(
            different[0].rows[0][0],
            Value::Int(0),
            "the twin loses nothing, so the scenario proves nothing"
        );
    }
}

async fn begin(connection: &mut Connection, statement: &str) {
    connection.begin(Isolation::ReadCommitted).await.unwrap();
    connection.execute(statement, &[]).await.unwrap();
}

macro_rules! plays {
    ($($(#[$doc:meta])* $name:ident => $scenario:expr;)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn scenario(play: &Play) {
                let scenario: for<'a> fn(&'a Play) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>> = $scenario;
                scenario(play).await;
            }

            #[tokio::test]
            async fn the_engine_loses_nothing() {
                let play = Play::begin(false).await;
                scenario(&play).await;
                play.end().await;
            }

            #[tokio::test]
            async fn the_twin_loses_rows() {
                let play = Play::begin(true).await;
                scenario(&play).await;
                play.end().await;
            }
        }
    )*};
}

plays! {
    /// A transaction that commits after the sync with an older timestamp.
    late_commit => |play| Box::pin(async move {
        play.sync().await;
        let mut writer = play.world.session().await;
        begin(&mut writer, "INSERT INTO dbo.Orders (id, name) VALUES (10, N'late')").await;
        play.later(HOUR);
        play.insert(11);
        play.later(5 * SECOND);
        play.sync().await;
        assert!(matches!(writer.commit().await, sqlserver_client::CommitEnd::Committed));
        play.later(5 * SECOND);
        play.sync().await;
    });

    /// An UPDATE that took its time before it waited for a lock, and so logged nothing yet when the sync looked.
    blocked_update => |play| Box::pin(async move {
        play.sync().await;
        let mut holder = play.world.session().await;
        begin(&mut holder, "UPDATE dbo.Orders SET name = N'held' WHERE id = 1").await;
        let mut blocked = play.world.session().await;
        let waiting = tokio::spawn(async move {
            let update = "UPDATE dbo.Orders SET name = N'blocked', updated_at = SYSUTCDATETIME() WHERE id = 1";
            blocked.execute(update, &[]).await.unwrap();
        });
        play.world.until_blocked().await;
        play.later(HOUR);
        play.insert(11);
        play.later(5 * SECOND);
        play.sync().await;
        holder.rollback().await.unwrap();
        waiting.await.unwrap();
        play.later(5 * SECOND);
        play.sync().await;
    });

    /// A row that appears with the very timestamp of the watermark.
    tie_at_the_watermark => |play| Box::pin(async move {
        play.sync().await;
        play.insert(10);
        play.later(5 * SECOND);
        play.sync().await;
        play.sql("INSERT INTO dbo.Orders (id, name, updated_at) SELECT 11, N'tie', updated_at FROM dbo.Orders WHERE id = 10");
        play.later(5 * SECOND);
        play.sync().await;
    });

    /// Rows without a timestamp, new and changed.
    null_timestamps => |play| Box::pin(async move {
        play.sql("INSERT INTO dbo.Orders (id, name, updated_at) VALUES (10, N'no time', NULL)");
        play.sync().await;
        play.sql("INSERT INTO dbo.Orders (id, name, updated_at) VALUES (11, N'no time', NULL)");
        play.sql("UPDATE dbo.Orders SET name = N'changed without a time' WHERE id = 10");
        play.sync().await;
    });

    /// A server clock that steps back by two seconds.
    clock_steps_back => |play| Box::pin(async move {
        play.insert(10);
        play.later(2 * SECOND);
        play.sync().await;
        play.insert(11);
        play.later(2 * SECOND);
        play.sync().await;
        play.later(-4 * SECOND);
        play.insert(12);
        play.later(6 * SECOND);
        play.sync().await;
    });

    /// A date that stands for "never" does not move the watermark.
    sentinel_in_the_future => |play| Box::pin(async move {
        play.sync().await;
        play.sql("INSERT INTO dbo.Orders (id, name, updated_at) VALUES (10, N'for ever', '9999-12-31T00:00:00')");
        play.later(5 * SECOND);
        play.sync().await;
        play.insert(11);
        play.later(5 * SECOND);
        play.sync().await;
    });
}

/// Rows that change while the first copy is under way: row 1 after it was copied, then row 3 before it is.
const CHANGE_1: &str =
    "UPDATE dbo.Orders SET name = N'changed meanwhile', updated_at = SYSUTCDATETIME() WHERE id = 1";
const CHANGE_3: &str =
    "UPDATE dbo.Orders SET name = N'changed later', updated_at = SYSUTCDATETIME() WHERE id = 3";

#[tokio::test]
async fn a_row_that_changes_during_the_copy_is_not_lost() {
    let play = Play::begin(false).await;
    let (clock, sql) = (play.world.emulator.clock(), |batch: &str| play.sql(batch));
    let mut route = play
        .world
        .route(&table(), play.world.iceberg_sink(), play.world.target_sink());
    for sync in &mut route.0 {
        sync.batch_rows = 1;
    }
    // The first chunk is committed, then the process dies; the next one resumes after what changed meanwhile.
    let cancel = CancellationToken::new();
    let first_commit = CancelsAtCommit::new(cancel.clone(), 1);
    play.world
        .run_until(route.clone(), Arc::new(first_commit), &cancel)
        .await;
    sql(CHANGE_1);
    clock.step_ms(SECOND);
    sql(CHANGE_3);
    let report = play.world.run_route(route, play.world.store()).await;
    assert_eq!(
        report.metadata.status,
        model::RunStatus::Succeeded,
        "{:#?}",
        report.errors
    );
    play.later(5 * SECOND);
    play.sync().await;
    play.end().await;
}

/// Ends a run at its n-th commit, as a kill does: what comes after a commit does not happen.
struct CancelsAtCommit {
    cancel: CancellationToken,
    left: AtomicU32,
}

impl CancelsAtCommit {
    fn new(cancel: CancellationToken, commits: u32) -> Self {
        Self {
            cancel,
            left: AtomicU32::new(commits),
        }
    }
}

impl Progress for CancelsAtCommit {
    fn hear(&self, _sync: &SyncId, event: &ProgressEvent) {
        if matches!(event, ProgressEvent::Committed(_)) && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.cancel.cancel();
        }
    }
}

/// Its twin: a copy whose increments start at the greatest time that it has read.
#[tokio::test]
async fn a_copy_that_forgets_when_it_began_loses_a_row_that_changes_meanwhile() {
    let play = Play::begin(true).await;
    let copy = "INSERT INTO dbo.twin (id, name, updated_at) SELECT id, name, updated_at FROM dbo.Orders";
    play.sql(&format!("{copy} WHERE id = 1"));
    play.sql(CHANGE_1);
    play.later(SECOND);
    play.sql(CHANGE_3);
    play.sql(&format!("{copy} WHERE id > 1"));
    play.sync().await;
    play.end().await;
}

/// Updates that change only what a collation does not see: case, a trailing blank, a trailing NUL.
#[tokio::test]
async fn what_a_collation_does_not_see_is_applied() {
    let play = Play::begin(false).await;
    play.sql("UPDATE dbo.Orders SET name = N'abc'");
    play.sync().await;
    play.later(5 * SECOND);
    play.sql(CHANGE_UNSEEN);
    play.later(5 * SECOND);
    play.sync().await;
    let names = play
        .world
        .emulator
        .execute(crate::world::MIRROR, "SELECT name FROM dbo.Orders ORDER BY id")
        .unwrap();
    let names: Vec<_> = names[0]
        .rows
        .iter()
        .map(|row| row[0].as_text().unwrap())
        .collect();
    assert_eq!(names, ["ABC", "abc ", "abc\0"]);
    play.end().await;
}

/// Its twin: an UPDATE that asks `EXCEPT` what has changed.
#[tokio::test]
async fn a_comparison_by_collation_does_not_see_it() {
    let play = Play::begin(true).await;
    play.sql("UPDATE dbo.Orders SET name = N'abc'");
    play.sync().await;
    play.sql(CHANGE_UNSEEN);
    play.sql(
        "UPDATE t SET name = o.name FROM dbo.twin AS t INNER JOIN dbo.Orders AS o ON o.id = t.id
         WHERE EXISTS (SELECT o.name EXCEPT SELECT t.name)",
    );
    play.end().await;
}

const CHANGE_UNSEEN: &str = "UPDATE dbo.Orders SET updated_at = SYSUTCDATETIME(),
    name = CASE id WHEN 1 THEN N'ABC' WHEN 2 THEN N'abc ' ELSE N'abc' + NCHAR(0) END";

/// A clock that steps back by more than the tolerance hides a row until it changes again; `verify` names it.
#[tokio::test]
async fn a_step_back_of_ten_minutes_is_named_by_verify() {
    let play = Play::begin(false).await;
    play.sync().await;
    play.insert(10);
    play.later(5 * SECOND);
    play.sync().await;
    play.later(-600 * SECOND);
    play.insert(11);
    play.later(600 * SECOND);
    play.sync().await;
    let report = play.world.verify(&table()).await;
    assert_eq!(report.columns[0].keys, [r#"missing {"id":11}"#], "{report:#?}");
}

/// Two runs without changes, the second inside the tolerance window: nothing is written anywhere, and no row of the target is touched. The
/// same without the state store.
#[tokio::test]
async fn a_run_without_changes_writes_nothing() {
    let play = Play::begin(false).await;
    play.sync().await;
    play.world.mirror("ALTER TABLE dbo.Orders ADD version rowversion");
    play.later(SECOND);
    play.sync().await;
    let (snapshots, versions) = (play.world.snapshots(&table()).await, play.versions());
    for lost in [false, true] {
        if lost {
            play.world.lose_state();
        }
        let report = play.world.run(&table()).await;
        assert_eq!(report.statistics.records_written, 0, "{report:#?}");
        assert_eq!(play.world.snapshots(&table()).await, snapshots);
        assert_eq!(play.versions(), versions);
    }
    play.end().await;
}

/// A process that dies after a commit, in Iceberg or in the target, and before it saved its state: the next one finds the old state.
#[tokio::test]
async fn a_kill_between_commit_and_checkpoint_doubles_nothing() {
    for commits in [1, 2] {
        let play = Play::begin(false).await;
        play.sync().await;
        play.insert(10);
        play.later(5 * SECOND);
        let cancel = CancellationToken::new();
        let route = play
            .world
            .route(&table(), play.world.iceberg_sink(), play.world.target_sink());
        let progress = Arc::new(CancelsAtCommit::new(cancel.clone(), commits));
        let saved = play.world.state_files();
        play.world.run_until(route, progress, &cancel).await;
        play.world.restore_state_files(&saved);
        let snapshots = play.world.snapshots(&table()).await;
        play.sync().await;
        assert_eq!(
            play.world.snapshots(&table()).await,
            snapshots,
            "the commit was repeated"
        );
        play.end().await;
    }
}

/// The connection is lost at a commit in the target: before the server has it, or after, with the answer lost.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_neither_lost_nor_doubled() {
    for fault in [CommitFault::Before, CommitFault::After] {
        let play = Play::begin(false).await;
        play.sync().await;
        play.insert(10);
        play.later(5 * SECOND);
        play.world
            .emulator
            .faults()
            .lose_connection_at_commit(fault, crate::world::MIRROR, 0);
        play.sync().await;
        play.end().await;
    }
}
