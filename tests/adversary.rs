//! Every mode of capture against writers that do their worst: transactions of up to five seconds that commit out of order or roll
//! back, values that were taken when the transaction began, changed keys, rows that are deleted and come back, statements that wait
//! for locks with their time already taken, times that are missing or will never come, a transaction that is open in another database all the time, a clock that steps by two
//! seconds either way, and a process that is killed and started again, while others roll the Iceberg table back, compact it and expire its
//! snapshots. When all is quiet, Iceberg holds what the source holds.
//!
//! Each rule that saves rows is then switched off by itself, and nearly every history must lose some: else the suite proves nothing.
//! `cargo xtask adversary --seeds 200` plays as many histories; the tests play a few.

mod history;
pub(crate) mod others;
mod play;
mod rules;

use play::{Outcome, play};
use rules::Rule;

/// How changes are captured, and what the writers do.
#[derive(Debug, Clone, Copy)]
struct Mode {
    name: &'static str,
    /// The configuration section `capture`.
    capture: &'static str,
    /// T-SQL that switches on, for `dbo.T`, what tells of changes.
    setup: &'static str,
    /// Whether rows are only ever added, which is all that ids tell of.
    appends: bool,
    /// Whether the clock never steps, so that no time before the watermark need be read again.
    steady: bool,
    /// Whether deletes and changed keys are seen, so that no row is left over in Iceberg.
    sees_deletes: bool,
}

const TIMESTAMP: Mode = Mode {
    name: "timestamp",
    capture: r#"{"tracking":{"column":"updated_at"},"window":{"settle_seconds":0}}"#,
    setup: "",
    appends: false,
    steady: false,
    sees_deletes: false,
};
/// Without a tolerance, which would hide for a while what other rules are good for.
const STEADY: Mode = Mode {
    name: "timestamp, steady",
    steady: true,
    ..TIMESTAMP
};
const ID: Mode = Mode {
    name: "id",
    capture: r#"{"tracking":{"column":"id"},"window":{"settle_seconds":0}}"#,
    setup: "",
    appends: true,
    steady: false,
    sees_deletes: false,
};
const ROWVERSION: Mode = Mode {
    name: "rowversion",
    capture: r#"{"tracking":{"column":"rv"},"window":{"settle_seconds":0}}"#,
    setup: "",
    appends: false,
    steady: false,
    sees_deletes: false,
};
const CHANGE_TRACKING: Mode = Mode {
    name: "change_tracking",
    capture: r#"{"mode":"change_tracking"}"#,
    setup: "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON);
            ALTER TABLE dbo.T ENABLE CHANGE_TRACKING;",
    appends: false,
    steady: false,
    sees_deletes: true,
};
const CDC: Mode = Mode {
    name: "cdc",
    capture: r#"{"mode":"cdc"}"#,
    setup: "EXEC sys.sp_cdc_enable_db;
            EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'T', @role_name = NULL;",
    appends: false,
    steady: false,
    sees_deletes: true,
};

/// With a condition, under which only keys are taken from the change table.
const CDC_PRESENT: Mode = Mode {
    name: "cdc, present rows",
    capture: r#"{"mode":"cdc","where":"id > 0"}"#,
    ..CDC
};

const TRIGGER: Mode = Mode {
    name: "trigger",
    capture: r#"{"mode":"trigger","trigger":{"install":true},"window":{"settle_seconds":0}}"#,
    setup: "",
    appends: false,
    steady: false,
    sees_deletes: true,
};

/// The query asks again for rows without a time and with one that will not come, as the mode of timestamps does by itself.
const POLLING: Mode = Mode {
    name: "polling",
    capture: r#"{"mode":"polling","tracking":{"column":"updated_at"},"window":{"settle_seconds":0},
        "query":"SELECT id, updated_at FROM dbo.T WHERE (updated_at >= :last_sync AND updated_at < :this_sync) OR updated_at IS NULL OR updated_at > '9000-01-01'"}"#,
    setup: "",
    appends: false,
    steady: false,
    sees_deletes: false,
};

/// How many histories each test plays.
pub(crate) fn seeds() -> u64 {
    let asked = std::env::var("ADVERSARY_SEEDS").ok();
    asked.map_or(5, |seeds| seeds.parse().expect("ADVERSARY_SEEDS is a number"))
}

async fn every_history_ends_equal(mode: Mode) {
    let mut totals = Outcome::default();
    for seed in 0..seeds() {
        let outcome = play(mode, seed, None).await;
        assert!(
            !outcome.loses(mode),
            "{} with seed {seed}: {outcome:?}",
            mode.name
        );
        totals += outcome;
    }
    println!(
        "{:<17} {} histories, none with a difference: {totals}",
        mode.name,
        seeds()
    );
}

/// Nine of ten histories must lose rows: of five, one may not.
async fn histories_lose_rows(mode: Mode, rule: Rule) {
    let (mut losing, mut totals) = (0, Outcome::default());
    for seed in 0..seeds() {
        let outcome = play(mode, seed, Some(rule)).await;
        losing += u64::from(outcome.loses(mode));
        totals += outcome;
    }
    println!(
        "{:<17} without {rule:?}: {losing} of {} histories differ, {} %: {totals}",
        mode.name,
        seeds(),
        losing * 100 / seeds()
    );
    assert!(
        seeds() - losing <= seeds().div_ceil(10),
        "{} without {rule:?}: only {losing} of {} histories lose rows",
        mode.name,
        seeds()
    );
}

macro_rules! modes {
    ($($name:ident: $mode:expr, without $($rule:ident as $twin:ident),+;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn every_history_ends_equal() {
                super::every_history_ends_equal($mode).await;
            }

            $(#[tokio::test]
            async fn $twin() {
                histories_lose_rows($mode, Rule::$rule).await;
            })+
        }
    )*};
}

modes! {
    timestamp: TIMESTAMP, without
        OtherDatabases as transactions_elsewhere_do_not,
        Tolerance as the_clock_may_step_back,
        UndatedRows as rows_without_a_time_are_read_again,
        FutureRows as rows_of_the_future_are_read_again,
        FutureWatermark as the_future_moves_no_watermark,
        MarkWithRows as the_mark_is_in_the_commit,
        AskTheTarget as the_target_is_asked;
    steady: STEADY, without
        OpenTransactions as open_transactions_hold_the_cut,
        UnloggedTransactions as transactions_count_from_their_beginning,
        Ties as ties_with_the_watermark_are_read,
        Replay as what_changes_during_the_copy_is_replayed,
        CutFirst as the_cut_is_taken_before_rows_are_read;
    // An id counts as complete one cut after it was seen, which makes up for a cut that was taken late, or during the copy.
    id: ID, without
        OpenTransactions as open_transactions_hold_the_cut,
        MarkWithRows as the_mark_is_in_the_commit,
        AskTheTarget as the_target_is_asked;
    rowversion: ROWVERSION, without
        OpenTransactions as open_transactions_hold_the_cut,
        Ties as the_bound_itself_is_read,
        Replay as what_changes_during_the_copy_is_replayed,
        CutFirst as the_cut_is_taken_before_rows_are_read,
        MarkWithRows as the_mark_is_in_the_commit,
        AskTheTarget as the_target_is_asked;
    change_tracking: CHANGE_TRACKING, without
        Ties as the_version_after_the_last_is_read,
        Replay as what_changes_during_the_copy_is_replayed,
        CutFirst as the_cut_is_taken_before_rows_are_read,
        Deletes as deletes_are_changes,
        MarkWithRows as the_mark_is_in_the_commit,
        AskTheTarget as the_target_is_asked,
        MarkOutlivesSnapshots as an_expired_mark_is_no_first_run;
    // The one row whose version is the bound is often rolled back, or told again by a later one of its key.
    trigger: TRIGGER, without
        OpenTransactions as open_transactions_hold_the_cut,
        Replay as what_changes_during_the_copy_is_replayed,
        CutFirst as the_cut_is_taken_before_rows_are_read,
        Deletes as deletes_are_changes,
        MarkWithRows as the_mark_is_in_the_commit,
        AskTheTarget as the_target_is_asked,
        MarkOutlivesSnapshots as an_expired_mark_is_no_first_run;
    polling: POLLING, without
        Tolerance as the_clock_may_step_back,
        OpenTransactions as open_transactions_hold_the_cut,
        MarkWithRows as the_mark_is_in_the_commit,
        AskTheTarget as the_target_is_asked;
    cdc: CDC, without
        Replay as what_changes_during_the_copy_is_replayed,
        CutFirst as the_cut_is_taken_before_rows_are_read,
        Deletes as deletes_are_changes,
        MarkWithRows as the_mark_is_in_the_commit,
        AskTheTarget as the_target_is_asked,
        MarkOutlivesSnapshots as an_expired_mark_is_no_first_run;
    cdc_present: CDC_PRESENT, without
        Replay as what_changes_during_the_copy_is_replayed,
        CutFirst as the_cut_is_taken_before_rows_are_read,
        Deletes as deletes_are_changes;
}
