//! Cuts: the clock first, then the writers, and the rows only afterwards.

use std::time::Duration;

use cdc::{IdLook, OldestWriter, TimestampCut, Writers, timestamp_cut};
use model::{Cut, Error, ErrorKind, Holder, Position, Result};
use sqlserver_client::{Connection, LocalFall, OpenWork, SqlType};
use tokio::time::Instant;

use crate::clock::{ColumnClock, ServerClock};
use crate::column_time::{floor, grain, value};
use crate::options::WindowOptions;
use crate::plan::TablePlan;
use crate::position::{
    Fall, FullPosition, IdColumnPosition, Kind, LocalTime, RowVersionPosition, TimestampPosition,
};
use crate::tracker::{Tracker, TrackingColumn};
use crate::{change_data_capture, change_tracking, row_version, trigger};

/// How often writers are looked at while they are waited for.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Takes the cut of one table. `settle` says whether what was committed just before is waited for.
pub(crate) async fn cut(
    connection: &mut Connection,
    plan: &TablePlan,
    after: Option<&Position>,
    settle: bool,
) -> Result<Cut> {
    match &plan.tracked.tracker {
        Tracker::Full => full(connection, plan).await,
        Tracker::Timestamp { column, clock } | Tracker::Polling { column, clock, .. } => {
            let late = after.map_or(0, |after| after.late_micros);
            let after = match continued::<TimestampPosition>(plan, after, |p| &p.column, column)? {
                Continued::Gap(gap) => return Ok(*gap),
                Continued::From(after) => after,
            };
            let after = after.map(|after| (after, Duration::from_micros(late)));
            timestamp(connection, plan, column, *clock, after, Settle::new(plan, settle)).await
        }
        Tracker::Id(column) => {
            let after = match continued::<IdColumnPosition>(plan, after, |p| &p.column, column)? {
                Continued::Gap(gap) => return Ok(*gap),
                Continued::From(after) => after,
            };
            id(connection, plan, column, after).await
        }
        Tracker::RowVersion(column) => {
            let after = match continued::<RowVersionPosition>(plan, after, |p| &p.column, column)? {
                Continued::Gap(gap) => return Ok(*gap),
                Continued::From(after) => after,
            };
            row_version::cut(connection, plan, column, after, Settle::new(plan, settle)).await
        }
        Tracker::ChangeTracking => change_tracking::cut(connection, plan, after).await,
        Tracker::Cdc => change_data_capture::cut(connection, plan, after).await,
        Tracker::Trigger => trigger::cut(connection, plan, after, Settle::new(plan, settle)).await,
    }
}

enum Continued<P> {
    From(Option<P>),
    Gap(Box<Cut>),
}

/// What increments continue from, or why they cannot.
fn continued<P: Kind>(
    plan: &TablePlan,
    after: Option<&Position>,
    column_of: impl Fn(&P) -> &str,
    column: &TrackingColumn,
) -> Result<Continued<P>> {
    let Some(after) = after else {
        return Ok(Continued::From(None));
    };
    if let Some(why) = plan.lost(after, P::NAME) {
        return Ok(Continued::Gap(Box::new(plan.gap(why))));
    }
    let position = P::read(after)?;
    let before = column_of(&position);
    let now = column.label();
    if before != now {
        let why = format!("the last run was tracked by {before:?}, this one by {now:?}");
        return Ok(Continued::Gap(Box::new(plan.gap(why))));
    }
    Ok(Continued::From(Some(position)))
}

async fn full(connection: &mut Connection, plan: &TablePlan) -> Result<Cut> {
    let now = ServerClock::ask(connection).await?.utc;
    let upto = FullPosition { now }.position(&plan.incarnation().to_string())?;
    Ok(Cut::Complete {
        upto,
        holding: None,
        assumed: None,
        warning: None,
        keeps: None,
    })
}

async fn timestamp(
    connection: &mut Connection,
    plan: &TablePlan,
    column: &TrackingColumn,
    clock: ColumnClock,
    after: Option<(TimestampPosition, Duration)>,
    settle: Settle,
) -> Result<Cut> {
    let (after, mut late) = after.map_or((None, Duration::ZERO), |(after, late)| (Some(after), late));
    let grain = grain(column.ty).unwrap_or_default();
    let rules = plan.options.window.rules(grain, late);
    let mut began = None;
    let (server, local, taken) = loop {
        let server = ServerClock::ask(connection).await?;
        if let Some(why) = clock.contradicted(&server) {
            return Err(Error::new(ErrorKind::Config, why).with("table", &plan.table.name));
        }
        // Local time of a zone is complete up to a moment in UTC.
        let now = match clock {
            ColumnClock::Zoned { .. } => server.utc,
            _ => clock.now(&server),
        };
        let local = LocalTime::after(after.as_ref().and_then(|after| after.local), &server);
        let taken = timestamp_cut(now, &writers_of(connection, plan, local.fall).await?, &rules);
        // What was there before the run began is below this; a value may have been rounded up by half a grain.
        let goal = *began.get_or_insert(now.after(rules.grain));
        let reached = taken.hi >= goal || taken.assumed.is_some();
        if reached || !settle.again(goal.since(taken.hi), taken.holding.is_some()).await {
            break (server, local, taken);
        }
    };
    let upto = next_position(column, &server, local, clock, &taken, after.as_ref())?;
    if let Some(after) = after.as_ref().filter(|_| upto.repeated_from.is_none()) {
        late = late.max(went_back(after, &upto));
    }
    let rules = plan.options.window.rules(grain, late);
    let assumed = after.and_then(|after| stepped_back(&after, &upto, rules.tolerance));
    let upto = upto.position(&plan.incarnation().to_string())?;
    Ok(Cut::Complete {
        upto: Position {
            late_micros: u64::try_from(late.as_micros()).unwrap_or(u64::MAX),
            ..upto
        },
        holding: taken.holding.map(holder),
        assumed: assumed.or(taken.assumed),
        warning: widened(&plan.options.window, late, rules.tolerance),
        keeps: None,
    })
}

/// That the tolerance is wider than declared, and how wide.
fn widened(window: &WindowOptions, late: Duration, tolerance: Duration) -> Option<String> {
    let most = window.tolerance_max_seconds?;
    let seconds = tolerance.as_secs_f64().ceil();
    (seconds > f64::from(window.tolerance_seconds)).then(|| {
        format!(
            "rows have come late, or the server's clock has gone back, by up to {:.1} s, so the tolerance is {seconds} s (at most {most} s); \
             set `capture: {{ window: {{ tolerance_seconds: {seconds} }} }}` if that is to be expected",
            late.as_secs_f64()
        )
    })
}

fn next_position(
    column: &TrackingColumn,
    server: &ServerClock,
    local: LocalTime,
    clock: ColumnClock,
    taken: &TimestampCut,
    after: Option<&TimestampPosition>,
) -> Result<TimestampPosition> {
    let (hi, open_from) = match clock {
        ColumnClock::Zoned { zone, .. } => {
            let open = floor(column.ty, zone.earliest_from(taken.hi))?;
            (zone.latest_until(taken.hi), Some(open))
        }
        _ => (taken.hi, None),
    };
    let hi = floor(column.ty, hi)?;
    let (offset_minutes, repeated_from) = match (clock, open_from) {
        (_, Some(open)) => (0, Some(open).filter(|open| *open < hi)),
        (ColumnClock::Utc, _) => (0, after.and_then(|after| after.repeated_from(0, taken.hi))),
        _ => {
            let offset = local.offset_minutes;
            (
                offset,
                after.and_then(|after| after.repeated_from(offset, taken.hi)),
            )
        }
    };
    Ok(TimestampPosition {
        column: column.label(),
        declared: column.ty.to_string(),
        watermark: after.map_or(hi, |after| hi.max(after.watermark)),
        now: clock.now(server),
        offset_minutes,
        repeated_from,
        local: Some(local),
    })
}

/// How far the clock has gone back since the last run, or since the time up to which rows have been read: that is what several steps of it
/// add up to.
fn went_back(after: &TimestampPosition, upto: &TimestampPosition) -> Duration {
    after.now.max(after.watermark).since(upto.now)
}

/// Whether the clock has gone back by more than the window reads again. The hour that local time repeats is read again by another rule.
fn stepped_back(after: &TimestampPosition, upto: &TimestampPosition, tolerance: Duration) -> Option<String> {
    let back = went_back(after, upto);
    (back > tolerance && upto.repeated_from.is_none()).then(|| {
        format!(
            "the server's clock has gone back by {} s or more; rows that were written meanwhile with \
             times before {} are found by `sync-cli verify` only",
            back.as_secs(),
            after.watermark
        )
    })
}

/// Ids need no settling: what is there is delivered, whether everything below it is complete or not.
async fn id(
    connection: &mut Connection,
    plan: &TablePlan,
    column: &TrackingColumn,
    after: Option<IdColumnPosition>,
) -> Result<Cut> {
    let window = &plan.options.window;
    let server = ServerClock::ask(connection).await?;
    let local = LocalTime::after(after.as_ref().and_then(|after| after.local), &server);
    let greatest = greatest(connection, plan, column).await?;
    let look = IdLook {
        now: server.utc,
        greatest,
        writers: writers(connection, plan, local.fall).await?,
    };
    let before = after.map(|after| after.ids);
    let (ids, holding) = look.position(
        before.as_ref(),
        window.rules(Duration::ZERO, Duration::ZERO).tolerance,
    );
    let assumed = match &look.writers {
        Writers::Known(_) => None,
        Writers::Unseen { why } => Some(format!(
            "ids are assumed to be committed before {} further ones are given out: {why}",
            window.overlap_ids
        )),
    };
    let upto = IdColumnPosition {
        column: column.name.clone(),
        ids,
        assumed: assumed.is_some(),
        local: Some(local),
    };
    Ok(Cut::Complete {
        upto: upto.position(&plan.incarnation().to_string())?,
        holding: holding.map(holder),
        assumed,
        warning: None,
        keeps: None,
    })
}

async fn greatest(
    connection: &mut Connection,
    plan: &TablePlan,
    column: &TrackingColumn,
) -> Result<Option<i64>> {
    let sql = format!(
        "SELECT CAST(MAX({}) AS bigint) AS greatest FROM {}",
        column.quoted(),
        plan.from()
    );
    connection
        .query(&plan.at_one_moment(&sql), &[])
        .await?
        .one()?
        .i64("greatest")
}

/// Who may be writing values that were set earlier. Nobody knows that of times that applications set before they came to the server.
pub(crate) async fn writers_of(
    connection: &mut Connection,
    plan: &TablePlan,
    fall: Option<Fall>,
) -> Result<Writers> {
    if let Tracker::Timestamp { column, clock } | Tracker::Polling { column, clock, .. } =
        &plan.tracked.tracker
        && let ColumnClock::Zoned {
            zone,
            of_server: false,
        } = clock
    {
        return Ok(Writers::Unseen {
            why: format!(
                "{} is set by applications in {zone}, and what they have not sent yet cannot be seen",
                column.name
            ),
        });
    }
    writers(connection, plan, fall).await
}

/// Who may be writing. `fall` is when the server's local time last went back.
pub(crate) async fn writers(
    connection: &mut Connection,
    plan: &TablePlan,
    fall: Option<Fall>,
) -> Result<Writers> {
    if !plan.database.writable {
        let why = "the database is read-only here, and its writers cannot be seen".to_owned();
        return Ok(Writers::Unseen { why });
    }
    let fall = fall.map(local_fall).transpose()?;
    Ok(match connection.oldest_work(fall).await? {
        OpenWork::Seen(work) => Writers::Known(work.map(|work| OldestWriter {
            age: work.age.unwrap_or(Duration::MAX),
            who: work.to_string(),
        })),
        OpenWork::Hidden { grant } => Writers::Unseen {
            why: format!("the login may not see other sessions' transactions; {grant}"),
        },
    })
}

/// Whom a cut waits for, as reports have it.
pub(crate) fn holder(writer: OldestWriter) -> Holder {
    Holder {
        age: Some(writer.age).filter(|age| *age != Duration::MAX),
        who: writer.who,
    }
}

fn local_fall(fall: Fall) -> Result<LocalFall> {
    Ok(LocalFall {
        until: value(SqlType::DateTime2 { scale: 7 }, fall.until)?,
        by: Duration::from_secs(u64::from(fall.minutes) * 60),
    })
}

/// How long an increment waits for what was changed just before it.
pub(crate) struct Settle {
    until: Instant,
}

impl Settle {
    fn new(plan: &TablePlan, wanted: bool) -> Self {
        let seconds = if wanted {
            plan.options.window.settle_seconds
        } else {
            0
        };
        Self {
            until: Instant::now() + Duration::from_secs(u64::from(seconds)),
        }
    }

    /// Waits for `missing` to pass, or for a holder to end, and says whether to look again.
    pub(crate) async fn again(&self, missing: Duration, may_end: bool) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        let pause = if may_end { LOOK_AGAIN } else { missing };
        if pause > left {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
