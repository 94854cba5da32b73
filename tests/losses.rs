//! What loses rows, and the rules that save them. Each scenario is played by the engine, which must end with every row on every side, and by
//! a twin of it for each rule named, in which exactly that rule is switched off: there `verify` must find a difference, or the scenario
//! proves nothing.

use model::RunReport;
use sqlserver_client::{CommitEnd, Param};
use sqlserver_emulator::{CommitFault, Value};
use sqlserver_source::TrackingOptions;
use test_support::Fault;

use crate::play::{HOUR, Play, SECOND};
use crate::twins::{Leg, Rule};
use crate::world::MIRROR;

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident, saved by $rules:expr, |$play:ident| $scenario:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn scenario($play: &mut Play) $scenario

            #[tokio::test]
            async fn nothing_is_lost() {
                let mut play = Play::begin(None).await;
                scenario(&mut play).await;
                play.end().await;
            }

            #[tokio::test]
            async fn without_the_rule_the_loss_is_found() {
                for rule in $rules {
                    let mut play = Play::begin(Some(rule)).await;
                    scenario(&mut play).await;
                    play.end().await;
                }
            }
        }
    )*};
}

scenarios! {
    /// A transaction that commits after the sync with an older timestamp.
    late_commit, saved by [Rule::EndBeforeOpenTransactions], |play| {
        play.sync().await;
        let mut late = play.transaction().await;
        let insert = "INSERT INTO dbo.Orders (id, name) VALUES (10, N'late')";
        late.execute(insert, &[]).await.unwrap();
        play.later(HOUR);
        play.insert(11);
        play.later(5 * SECOND);
        play.sync().await;
        assert!(matches!(late.commit().await, CommitEnd::Committed));
        play.later(5 * SECOND);
        play.sync().await;
    }

    /// An UPDATE that took its time before it waited for a lock, so that it has logged nothing when the sync looks.
    blocked_update, saved by [Rule::EndBeforeOpenTransactions, Rule::CountTransactionsThatLoggedNothing], |play| {
        play.sync().await;
        let mut blocked = play.transaction().await;
        let now = blocked.query("SELECT SYSUTCDATETIME() AS now", &[]).await.unwrap();
        let now = Param::new("now", now.one().unwrap().get("now").unwrap().clone());
        play.later(HOUR);
        play.insert(11);
        play.later(30 * SECOND);
        let mut holder = play.transaction().await;
        holder.execute("UPDATE dbo.Orders SET name = N'held' WHERE id = 1", &[]).await.unwrap();
        let waiting = tokio::spawn(async move {
            let update = "UPDATE dbo.Orders SET name = N'blocked', updated_at = @now WHERE id = 1";
            blocked.execute(update, &[now]).await.unwrap();
            blocked
        });
        play.world.until_blocked().await;
        play.later(5 * SECOND);
        play.sync().await;
        holder.rollback().await.unwrap();
        assert!(matches!(waiting.await.unwrap().commit().await, CommitEnd::Committed));
        play.later(5 * SECOND);
        play.sync().await;
    }

    /// A row that appears with the very timestamp of the watermark, where nothing before it is read again.
    tie_at_the_watermark, saved by [Rule::BeginAtTheWatermark], |play| {
        play.world.capture.window.tolerance_seconds = 0;
        play.sync().await;
        play.insert(10);
        play.later(5 * SECOND);
        play.sync().await;
        play.sql("INSERT INTO dbo.Orders (id, name, updated_at) SELECT 11, N'tie', updated_at FROM dbo.Orders WHERE id = 10");
        play.later(5 * SECOND);
        play.sync().await;
    }

    /// Rows without a timestamp, new and changed.
    null_timestamps, saved by [Rule::ReadUndatedRows], |play| {
        play.sql("INSERT INTO dbo.Orders (id, name, updated_at) VALUES (10, N'no time', NULL)");
        play.sync().await;
        play.sql("INSERT INTO dbo.Orders (id, name, updated_at) VALUES (11, N'no time', NULL)");
        play.sql("UPDATE dbo.Orders SET name = N'changed without a time' WHERE id = 10");
        play.sync().await;
    }

    /// A server clock that steps back by two seconds.
    clock_steps_back_2_s, saved by [Rule::BeginBeforeTheWatermark], |play| {
        clock_steps_back(play, 2 * SECOND).await;
    }

    /// A server clock that steps back by ten minutes, within a tolerance of fifteen.
    clock_steps_back_10_min, saved by [Rule::BeginBeforeTheWatermark], |play| {
        play.world.capture.window.tolerance_seconds = 900;
        clock_steps_back(play, 600 * SECOND).await;
    }

    /// Applications write the local time of New York, whose clocks fall from 02:00 to 01:00; the server is elsewhere.
    the_hour_that_new_york_repeats, saved by [Rule::ReadTheRepeatedHour], |play| {
        repeated_hour(play, &Autumn { zone: "America/New_York", fall: "2027-11-07T06:00:00", shown: "2027-11-07T02:00:00", by: 60 }).await;
    }

    /// The same by half an hour in April on Lord Howe Island, named as Windows does.
    the_half_hour_that_lord_howe_repeats, saved by [Rule::ReadTheRepeatedHour], |play| {
        repeated_hour(play, &Autumn { zone: "Lord Howe Standard Time", fall: "2027-04-03T15:00:00", shown: "2027-04-04T02:00:00", by: 30 }).await;
    }

    /// A date that stands for "for ever": it is delivered, and rows after it as well.
    sentinel_9999_12_31, saved by [Rule::ReadFutureRows, Rule::KeepTheWatermarkFromTheFuture], |play| {
        play.sync().await;
        play.sql("INSERT INTO dbo.Orders (id, name, updated_at) VALUES (10, N'for ever', '9999-12-31T00:00:00')");
        play.later(5 * SECOND);
        play.sync().await;
        play.insert(11);
        play.later(5 * SECOND);
        play.sync().await;
    }

    /// A row that changes after it was copied, while the copy goes on in another process.
    change_during_the_copy, saved by [Rule::ReplayTheCopy], |play| {
        play.batch_rows = 1;
        play.sync_killed(Leg::Capture).await;
        let change = "UPDATE dbo.Orders SET name = N'changed', updated_at = SYSUTCDATETIME()";
        play.sql(&format!("{change} WHERE id = 1"));
        play.later(SECOND);
        play.sql(&format!("{change} WHERE id = 3"));
        play.later(HOUR);
        play.sync().await;
        play.insert(11);
        play.later(5 * SECOND);
        play.sync().await;
    }

    /// A process that is killed between its commit in Iceberg and its checkpoint; a second copy would double every row.
    kill_between_iceberg_commit_and_checkpoint, saved by [Rule::AskTheTarget(Leg::Capture)], |play| {
        play.without_key();
        play.sync_killed(Leg::Capture).await;
        play.sync().await;
    }

    /// The same between its commit in the target and its checkpoint.
    kill_between_target_commit_and_checkpoint, saved by [Rule::AskTheTarget(Leg::Apply)], |play| {
        play.without_key();
        play.sync_killed(Leg::Apply).await;
        play.sync().await;
    }

    /// A commit in Iceberg happens, and nobody hears of it.
    lost_answer_of_iceberg, saved by [Rule::FindOutTheUnknown(Leg::Capture)], |play| {
        play.without_key();
        play.sync_with(Leg::Capture, Fault::AnswerLost).await;
    }

    /// A commit in the target happens, the one after that which creates the table, and the connection is lost before the answer.
    lost_answer_of_the_target, saved by [Rule::FindOutTheUnknown(Leg::Apply)], |play| {
        play.without_key();
        play.world.emulator.faults().lose_connection_at_commit(CommitFault::After, MIRROR, 1);
        play.sync().await;
    }

    /// An update that changes case only, which a collation does not see.
    update_of_case_only, saved by [Rule::CompareBytes(Leg::Capture), Rule::CompareBytes(Leg::Apply)], |play| {
        unseen_update(play, "N'ABC'").await;
    }

    /// An update that adds a trailing blank.
    update_of_a_trailing_blank, saved by [Rule::CompareBytes(Leg::Capture), Rule::CompareBytes(Leg::Apply)], |play| {
        unseen_update(play, "N'abc '").await;
    }

    /// An update that adds a trailing NUL.
    update_of_a_trailing_nul, saved by [Rule::CompareBytes(Leg::Capture), Rule::CompareBytes(Leg::Apply)], |play| {
        unseen_update(play, "N'abc' + NCHAR(0)").await;
    }
}

/// A row changes while the clock shows a time that the watermark has passed.
/// Clocks that fall.
struct Autumn {
    zone: &'static str,
    /// When, in UTC.
    fall: &'static str,
    /// What they show then.
    shown: &'static str,
    /// By how many minutes they fall.
    by: i64,
}

/// Rows every few minutes before and after the clocks fall, with the time that they show, and a sync now and then.
async fn repeated_hour(play: &mut Play, autumn: &Autumn) {
    let Autumn {
        zone,
        fall,
        shown,
        by,
    } = *autumn;
    play.world.capture.tracking = Some(TrackingOptions {
        column: "updated_at".into(),
        kind: None,
        clock: None,
        zone: Some(zone.to_owned()),
        also: Vec::new(),
    });
    let ask = format!("SELECT DATEDIFF_BIG(millisecond, SYSUTCDATETIME(), '{fall}')");
    let Value::BigInt(until) = play.world.sql(&ask)[0].rows[0][0] else {
        panic!("no number");
    };
    let minute = 60 * SECOND;
    play.later(until - 100 * minute);
    // What was there before is older than anything.
    play.sql(&format!(
        "UPDATE dbo.Orders SET updated_at = DATEADD(hour, -9, '{shown}')"
    ));
    play.sync().await;
    for after in (-100_i64..130).step_by(7) {
        let back = if after < 0 { 0 } else { by };
        play.sql(&format!(
            "INSERT INTO dbo.Orders (id, name, updated_at) VALUES ({}, N'row', DATEADD(minute, {}, '{shown}'))",
            1_000 + after,
            after - back
        ));
        if after % 3 == 0 {
            play.sync().await;
        }
        play.later(7 * minute);
    }
    play.sync().await;
}

async fn clock_steps_back(play: &Play, by: i64) -> RunReport {
    play.sync().await;
    play.later(HOUR);
    play.insert(10);
    play.later(SECOND + 500);
    play.sync().await;
    play.later(-by);
    play.sql("UPDATE dbo.Orders SET name = N'changed', updated_at = SYSUTCDATETIME() WHERE id = 1");
    play.later(by + 5 * SECOND);
    play.sync().await
}

/// A name changes to what is equal by the collation, in a row that every increment compares, and another row appears.
async fn unseen_update(play: &Play, name: &str) {
    play.sql("UPDATE dbo.Orders SET name = N'abc', updated_at = NULL");
    play.sync().await;
    play.sql(&format!("UPDATE dbo.Orders SET name = {name} WHERE id = 2"));
    play.insert(11);
    play.later(5 * SECOND);
    play.sync().await;
}

/// A clock that steps back by more than the tolerance hides a change until the row changes again. Comparing rows, `verify` names it; the
/// twin, which counts them, finds nothing.
#[tokio::test]
async fn a_step_of_the_clock_beyond_the_tolerance_is_named_by_verify() {
    let play = Play::begin(None).await;
    clock_steps_back(&play, 600 * SECOND).await;
    let count = "SELECT COUNT_BIG(*) AS n FROM dbo.Orders";
    assert_eq!(play.world.sql(count)[0].rows, play.world.mirror(count)[0].rows);
    let report = play.world.verify(&play.table()).await;
    for side in &report.columns {
        assert_eq!(side.keys, [r#"different {"id":1}"#], "{report:#?}");
    }
}

/// A change with a time that had been read already is named by the report, once.
#[tokio::test]
async fn rows_that_come_late_are_named_by_the_report() {
    let play = Play::begin(None).await;
    let report = clock_steps_back(&play, 2 * SECOND).await;
    let [late] = &report.late_arriving_data[..] else {
        panic!("{report:#?}")
    };
    let told = (late.record_id.as_str(), late.delay_seconds, late.handled.as_str());
    assert_eq!(told, (r#"{"id":1}"#, 0.5, "applied"));
    assert_eq!(report.statistics.records_late, 1);
    play.insert(11);
    play.later(5 * SECOND);
    let report = play.sync().await;
    assert_eq!(report.late_arriving_data, []);
    play.end().await;
}

/// Two runs without changes, the second inside the tolerance window: nothing is written anywhere, and no row of the target is touched. The
/// same without the state store.
#[tokio::test]
async fn a_run_without_changes_writes_nothing() {
    let play = Play::begin(None).await;
    play.sync().await;
    play.world.mirror("ALTER TABLE dbo.Orders ADD version rowversion");
    play.later(SECOND);
    play.sync().await;
    let (snapshots, versions) = (play.world.snapshots(&play.table()).await, play.versions());
    for lost in [false, true] {
        if lost {
            play.world.lose_state();
        }
        let report = play.sync().await;
        assert_eq!(report.statistics.records_written, 0, "{report:#?}");
        assert_eq!(play.world.snapshots(&play.table()).await, snapshots);
        assert_eq!(play.versions(), versions);
    }
    play.end().await;
}

/// A process that is killed after a commit repeats none of it.
#[tokio::test]
async fn a_commit_before_a_kill_is_not_repeated() {
    for leg in [Leg::Capture, Leg::Apply] {
        let play = Play::begin(None).await;
        play.sync().await;
        play.insert(10);
        play.later(5 * SECOND);
        play.sync_killed(leg).await;
        let snapshots = play.world.snapshots(&play.table()).await;
        let report = play.sync().await;
        assert_eq!(play.world.snapshots(&play.table()).await, snapshots);
        let written = if leg == Leg::Capture { 1 } else { 0 };
        assert_eq!(report.statistics.records_written, written, "{report:#?}");
        play.end().await;
    }
}

/// The copy of a table without a key is taken over from a run that was killed, once: the run after it would double the rows.
#[tokio::test]
async fn a_copy_without_a_key_is_taken_over_from_a_killed_run_only() {
    for leg in [Leg::Capture, Leg::Apply] {
        let play = Play::begin(None).await;
        play.without_key();
        play.sync_killed(leg).await;
        let report = play.sync().await;
        let told = report
            .warnings
            .iter()
            .filter(|w| w.contains("did not end"))
            .count();
        assert_eq!(told, if leg == Leg::Capture { 1 } else { 2 }, "{report:#?}");
        assert_eq!(play.fails().await.errors[0].kind, "unsupported");
        play.end().await;
    }
}

/// A commit that is lost on its way, or happens late, is neither lost nor doubled.
#[tokio::test]
async fn a_commit_that_is_lost_on_its_way_is_sent_again() {
    for keyed in [true, false] {
        for (leg, fault) in [
            (Leg::Capture, Some(Fault::RequestLost)),
            (Leg::Capture, Some(Fault::LandsLate)),
            (Leg::Apply, None),
        ] {
            let play = Play::begin(None).await;
            if !keyed {
                play.without_key();
            }
            match fault {
                Some(fault) => play.sync_with(leg, fault).await,
                None => {
                    let faults = play.world.emulator.faults();
                    faults.lose_connection_at_commit(CommitFault::Before, MIRROR, 0);
                    play.sync().await
                }
            };
            play.end().await;
        }
    }
}
