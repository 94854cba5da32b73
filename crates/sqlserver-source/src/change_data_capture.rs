//! Increments by Change Data Capture: what its change tables name above a place in the log.
//!
//! The capture follows the log by and by, in the order of commits, so nothing at or below its greatest place can still appear. The
//! least place of an instance is asked for with the cut and again after the last key, because the clean-up runs meanwhile. Any
//! instance that reaches back far enough names every key, so a table may be handed from one instance to another while it is
//! followed. What an instance does not capture leaves no trace in it: a position does not claim such columns, so that what they hold is
//! read again, the last time when an instance has taken over that captures them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use futures::stream::{BoxStream, StreamExt, empty, once, try_unfold};
use futures::{FutureExt, TryStreamExt};
use model::{Cut, Error, ErrorKind, Finding, Position, Presence, Severity, SourceEvent, TableSchema};
use sqlserver_client::{CaptureInstance, ColumnType, Connection, Lsn, SqlType, TableInfo, quote};
use tokio_util::task::AbortOnDropHandle;

use crate::captured_rows::{self, Captured};
use crate::change_tracking::close_call;
use crate::changes::Changes;
use crate::key_feed::KeyFeed;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::position::{CapturePosition, Kind};
use crate::tracker::Seen;

/// A capture that works says something every five minutes, even if nothing happens.
pub(crate) const SILENCE: Duration = Duration::from_secs(15 * 60);

/// A table that is less behind is not near the end of what is kept.
const NOT_BEHIND: Duration = Duration::from_secs(10 * 60);

/// So many parts of what was captured are read by one statement: while it goes on, the capture can follow no ALTER of the table.
const PARTS_AT_ONCE: usize = 8;

/// What the clean-up spares if nobody has said otherwise.
const USUAL_RETENTION: Duration = Duration::from_secs(3 * 24 * 3_600);

/// Takes the cut: the place that the capture has reached.
pub(crate) async fn cut(
    connection: &mut Connection,
    plan: &TablePlan,
    after: Option<&Position>,
) -> model::Result<Cut> {
    let after = match after {
        None => None,
        Some(after) => match plan.lost(after, CapturePosition::NAME) {
            Some(why) => return Ok(plan.gap(why)),
            None => Some(CapturePosition::read(after)?.lsn()?),
        },
    };
    // The progress first: what is cleaned up meanwhile is then found missing.
    let progress = connection.capture_progress(after).await?;
    let instances = connection.capture_instances(&plan.table).await?;
    let (upto, read) = match after {
        Some(after) => match reaching(after, progress.greatest, &instances) {
            Ok(instance) => (
                progress.greatest.map_or(after, |reached| reached.max(after)),
                instance,
            ),
            Err(why) => return Ok(plan.gap(why)),
        },
        // What was committed before the newest instance began is in the rows that are copied from now on.
        None => match instances.last().filter(|newest| newest.least != Lsn::default()) {
            Some(newest) => (progress.greatest.unwrap_or_default().max(newest.least), newest),
            None => return Err(off(plan)),
        },
    };
    let incarnation = plan.incarnation().not_following(&plan.uncaptured(read));
    Ok(Cut::Complete {
        upto: CapturePosition::at(upto).position(&incarnation.to_string())?,
        holding: None,
        assumed: None,
        warning: match silent(progress.behind) {
            None => nearly_forgotten(connection, plan, progress.since).await?,
            said => said,
        },
        keeps: None,
    })
}

/// Warns of a table that is behind by more than half of what the clean-up spares. Where the login may not see how much that is, the
/// usual time is taken.
async fn nearly_forgotten(
    connection: &mut Connection,
    plan: &TablePlan,
    behind: Option<Duration>,
) -> model::Result<Option<String>> {
    let Some(behind) = behind.filter(|behind| *behind > NOT_BEHIND) else {
        return Ok(None);
    };
    let jobs = connection.capture_jobs(&plan.database).await?;
    let retention = jobs.seen().and_then(|jobs| {
        jobs.iter()
            .find_map(|job| job.retention.filter(|_| job.kind == "cleanup"))
    });
    let more = "raise the clean-up job's retention (EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = <minutes>;)";
    Ok(close_call(behind, retention.unwrap_or(USUAL_RETENTION), more))
}

/// The newest instance that has everything above `after`, or why there is none.
fn reaching(
    after: Lsn,
    reached: Option<Lsn>,
    instances: &[CaptureInstance],
) -> Result<&CaptureInstance, String> {
    let Some(first) = instances.first() else {
        return Err("Change Data Capture has been switched off for the table since the last run".into());
    };
    // A copy may begin where an instance does that the capture has not come to yet.
    let begins_there = instances.iter().any(|instance| instance.least == after);
    if let Some(reached) = reached.filter(|reached| *reached < after && !begins_there) {
        return Err(format!(
            "the capture is at {reached}, behind {after} of the last run: the database has been restored"
        ));
    }
    instance(after, instances).ok_or_else(|| {
        format!(
            "the change tables begin at {}, and the last run ended at {after}: what lay between has been cleaned up, or was not \
             captured",
            first.least
        )
    })
}

/// The newest instance that has everything above `after`. An instance without a least place may not be read.
fn instance(after: Lsn, instances: &[CaptureInstance]) -> Option<&CaptureInstance> {
    let reaches = |instance: &&CaptureInstance| instance.least != Lsn::default() && instance.least <= after;
    instances.iter().rev().find(reaches)
}

/// That the capture seems to have stopped, if it does.
pub(crate) fn silent(behind: Duration) -> Option<String> {
    (behind > SILENCE).then(|| {
        format!(
            "the capture has said nothing for {} min: its job or SQL Server Agent may have stopped, and the log cannot be \
             truncated meanwhile (EXEC sys.sp_cdc_start_job @job_type = N'capture';)",
            behind.as_secs() / 60
        )
    })
}

fn off(plan: &TablePlan) -> Error {
    Error::new(
        ErrorKind::Denied,
        "there is no capture instance: Change Data Capture is off for the table, or the login may not see it",
    )
    .with("table", &plan.table.name)
}

/// Reads what changed above `after` up to `upto`: [as it was captured](captured_rows), or as keys with their present rows.
pub(crate) async fn changes(
    pool: &Arc<Pool>,
    plan: &Arc<TablePlan>,
    schema: &Arc<TableSchema>,
    after: &Position,
    upto: &Position,
) -> model::Result<Changes> {
    let (from, to) = (
        CapturePosition::read(after)?.lsn()?,
        CapturePosition::read(upto)?.lsn()?,
    );
    let end = SourceEvent::Boundary { at: upto.clone() };
    if to <= from {
        return Ok(once(async { Ok(end) }).boxed());
    }
    let mut connection = pool.take().await?;
    let instances = connection.capture_instances(&plan.table).await?;
    let Some(instance) = instance(from, &instances).cloned() else {
        return Err(forgotten(plan, from));
    };
    pool.put(connection);
    let capture = Arc::new(Capture {
        pool: pool.clone(),
        plan: plan.clone(),
        schema: schema.clone(),
        instance,
        end: upto.clone(),
        to,
    });
    if has_one_spelling(plan, schema) && captured_rows::are_whole(plan, &capture.instance) {
        capture.as_captured(from).await
    } else {
        Ok(capture.as_present(from))
    }
}

/// Whether equal keys of the table are always the same bytes. Where they are not, as `abc` and `ABC`, `a` and `a` with a blank, or 0x01 and
/// 0x0100, only one reading of present rows tells each key once: what is read later may call a key otherwise.
fn has_one_spelling(plan: &TablePlan, schema: &TableSchema) -> bool {
    use SqlType::{
        BigInt, Binary, Bit, Date, DateTime, DateTime2, Decimal, Int, Money, SmallDateTime, SmallInt,
        SmallMoney, Time, TinyInt, UniqueIdentifier,
    };
    schema.key_names().into_iter().all(|name| {
        let column = plan.table.column(name).map(|column| &column.ty);
        matches!(
            column,
            Some(ColumnType::Mapped(
                Bit | TinyInt
                    | SmallInt
                    | Int
                    | BigInt
                    | Decimal { .. }
                    | Money
                    | SmallMoney
                    | Date
                    | Time { .. }
                    | SmallDateTime
                    | DateTime
                    | DateTime2 { .. }
                    | Binary { .. }
                    | UniqueIdentifier
            ))
        )
    })
}

/// An increment of what is captured of a table.
struct Capture {
    pool: Arc<Pool>,
    plan: Arc<TablePlan>,
    schema: Arc<TableSchema>,
    instance: CaptureInstance,
    /// Its end,
    end: Position,
    /// and the end's place.
    to: Lsn,
}

/// What is told, one after the other.
enum Telling {
    /// By a statement that has told of so many parts.
    Captured(BoxStream<'static, model::Result<Captured>>, usize),
    Present(Changes),
    Ended,
}

impl Capture {
    /// What changed above `from`, as it was captured. Each boundary lies between two transactions.
    async fn as_captured(self: Arc<Self>, from: Lsn) -> model::Result<Changes> {
        let telling = self.statement(from).await?;
        let events = try_unfold((from, telling), move |(from, mut telling)| {
            let capture = self.clone();
            async move {
                loop {
                    match &mut telling {
                        Telling::Captured(rows, parts) => match rows.try_next().await? {
                            Some(Captured::Changes(batch)) => {
                                return Ok(Some((SourceEvent::Changes(batch), (from, telling))));
                            }
                            Some(Captured::Upto(at)) => {
                                *parts += 1;
                                if *parts == PARTS_AT_ONCE {
                                    telling = capture.statement(at).await?;
                                }
                                let boundary = capture.boundary(from, at).await?;
                                return Ok(Some((boundary, (at, telling))));
                            }
                            // What has been told since the last boundary is told once more.
                            Some(Captured::Unclear) => {
                                telling = Telling::Present(capture.clone().as_present(from));
                            }
                            None => {
                                let boundary = capture.boundary(from, capture.to).await?;
                                return Ok(Some((boundary, (capture.to, Telling::Ended))));
                            }
                        },
                        Telling::Present(events) => {
                            let event = events.try_next().await?;
                            return Ok(event.map(|event| (event, (from, telling))));
                        }
                        Telling::Ended => return Ok(None),
                    }
                }
            }
        });
        Ok(events.boxed())
    }

    /// Begins to read what was captured above `from`.
    async fn statement(&self, from: Lsn) -> model::Result<Telling> {
        let (plan, schema) = (&self.plan, &self.schema);
        let (range, part) = ((from, self.to), plan.options.batch_size);
        let rows = captured_rows::changes(&self.pool, plan, schema, &self.instance, range, part).await?;
        Ok(Telling::Captured(rows, 0))
    }

    /// What changed above `from`, as keys with their present rows.
    fn as_present(self: Arc<Self>, from: Lsn) -> Changes {
        let parts = Parts {
            most: has_one_spelling(&self.plan, &self.schema).then_some(self.plan.options.batch_size as u64),
            reached: Some(from),
            capture: self,
        };
        try_unfold(Reading::of(parts), Reading::next).boxed()
    }

    /// The boundary at `to`, if the change table still begins where it did, or at least before what was read.
    async fn boundary(&self, from: Lsn, to: Lsn) -> model::Result<SourceEvent> {
        let mut connection = self.pool.take().await?;
        let least = connection.least_captured(&self.instance.name).await?;
        self.pool.put(connection);
        if least == Lsn::default() || least > from {
            return Err(forgotten(&self.plan, from));
        }
        Ok(SourceEvent::Boundary { at: self.at(to)? })
    }

    fn at(&self, place: Lsn) -> model::Result<Position> {
        if place < self.to {
            CapturePosition::at(place).position(&self.end.incarnation)
        } else {
            Ok(self.end.clone())
        }
    }
}

/// An increment of present rows that is read in parts, each of whole transactions and with a boundary of its own: what is gathered of a key is
/// bounded, and can be committed, however long the source has not been read.
struct Parts {
    capture: Arc<Capture>,
    /// After how many changes a part ends, with the transaction of the last; `None`: after all.
    most: Option<u64>,
    /// Where the last part ended; `None` after the last one.
    reached: Option<Lsn>,
}

impl Parts {
    async fn next(mut self) -> model::Result<Option<(Changes, Self)>> {
        let Some(from) = self.reached else {
            return Ok(None);
        };
        let capture = self.capture.clone();
        let to = match self.most {
            None => capture.to,
            Some(most) => {
                let mut connection = capture.pool.take().await?;
                let name = &capture.instance.name;
                let last = connection.captured_after(name, from, capture.to, most).await?;
                capture.pool.put(connection);
                last.unwrap_or(capture.to)
            }
        };
        self.reached = (to < capture.to).then_some(to);
        // With rows as they were before an update: where the key is no primary key, a change of it is logged as an update.
        let function = quote::identifier(&format!("fn_cdc_get_all_changes_{}", capture.instance.name));
        let feed = KeyFeed {
            with: String::new(),
            keys: format!(
                "(SELECT DISTINCT {} FROM cdc.{function}(sys.fn_cdc_increment_lsn(@from), @to, N'all update old'))",
                quote::list(capture.schema.key_names())
            ),
            params: vec![from.param("from"), to.param("to")],
            presence: Presence::Unknown,
        };
        let events = feed.events(&capture.pool, &capture.plan, &capture.schema).await?;
        let boundary = once(async move { capture.boundary(from, to).await });
        Ok(Some((events.chain(boundary).boxed(), self)))
    }
}

/// Parts that are read in turn.
struct Reading {
    current: Changes,
    /// The part behind it, and what brings those behind that.
    next: BoxFuture<'static, model::Result<Option<(Changes, Parts)>>>,
    /// Whether the next one may be begun while this one is read.
    overlap: bool,
    begun: bool,
}

impl Reading {
    fn of(parts: Parts) -> Self {
        Self {
            current: empty().boxed(),
            overlap: parts.capture.plan.reads_one_moment(),
            next: parts.next().boxed(),
            begun: false,
        }
    }

    async fn next(mut self) -> model::Result<Option<(SourceEvent, Self)>> {
        loop {
            if let Some(event) = self.current.try_next().await? {
                self.begin_next();
                return Ok(Some((event, self)));
            }
            let Some((changes, parts)) = self.next.await? else {
                return Ok(None);
            };
            self.current = changes;
            self.next = parts.next().boxed();
            self.begun = false;
        }
    }

    /// Begins the next part, over a connection of its own, where each is read as of one moment: that of this part has passed, because rows
    /// have come, so no key is told as it was before it was told last.
    fn begin_next(&mut self) {
        if self.begun || !self.overlap {
            return;
        }
        self.begun = true;
        let next = std::mem::replace(&mut self.next, ready(Ok(None)).boxed());
        let task = AbortOnDropHandle::new(tokio::spawn(next));
        self.next = async {
            task.await
                .map_err(|e| Error::internal("reading ahead ended early").caused_by(e))?
        }
        .boxed();
    }
}

fn forgotten(plan: &TablePlan, from: Lsn) -> Error {
    Error::new(
        ErrorKind::Gap,
        format!("while changes above {from} were read, the server cleaned some of them up"),
    )
    .with("table", &plan.table.name)
}

/// What is missing before a table can be followed by Change Data Capture, with the T-SQL that mends it.
pub(crate) fn missing(seen: &Seen<'_>) -> Option<Finding> {
    let refused = |message: &str, remedy: String| {
        Some(Finding {
            severity: Severity::Error,
            message: message.to_owned(),
            remedy: Some(remedy),
        })
    };
    if !seen.schema.has_key() {
        return refused(
            "the rows of the table are not told apart by a key, which changes are named by",
            "give it a primary key, or a unique index on columns that are NOT NULL".to_owned(),
        );
    }
    let Some(newest) = seen.instances.last() else {
        return refused(
            "Change Data Capture is off for the table, or hidden from the login",
            enable(seen),
        );
    };
    if newest.least == Lsn::default() {
        return refused(
            "the login may not read the table's changes, or the capture has not come to the new instance yet",
            "GRANT SELECT ON SCHEMA::cdc TO [<user>]; -- or the instance's gating role; if it may, run again in a minute"
                .to_owned(),
        );
    }
    let captured = |name: &&str| {
        seen.table
            .column(name)
            .is_some_and(|column| newest.captures(column))
    };
    if !seen.schema.key_names().iter().all(captured) {
        return refused(
            "the capture instance leaves out a column of the key",
            format!("enable another instance with them:\n{}", enable(seen)),
        );
    }
    None
}

/// Warns of columns that the newest instance does not capture, as those are that were added since it began.
pub(crate) fn uncaptured(plan: &TablePlan) -> Option<Finding> {
    let newest = plan.instances.last()?;
    let columns = plan.uncaptured(newest);
    if columns.is_empty() {
        return None;
    }
    Some(Finding {
        severity: Severity::Warning,
        message: format!(
            "the capture instance {} does not capture {}: rows with a value there are read again by every run, and one that is taken back \
             to NULL is found by `sync-cli verify` only",
            newest.name,
            columns.join(", ")
        ),
        remedy: Some(another_instance(plan)),
    })
}

/// The T-SQL that has every column captured. A table has two instances at most.
fn another_instance(plan: &TablePlan) -> String {
    let name = &plan.table.name;
    let (schema, table) = (quote::literal(name.schema()), quote::literal(name.name()));
    let of = |instance: &str| {
        format!(
            "@source_schema = {schema}, @source_name = {table}, @capture_instance = {}",
            quote::literal(instance)
        )
    };
    let oldest = plan.instances.first().filter(|_| plan.instances.len() > 1);
    let disable = oldest.map_or_else(String::new, |oldest| {
        format!(
            "EXEC sys.sp_cdc_disable_table {}; -- once a run has passed it\n",
            of(&oldest.name)
        )
    });
    let names: Vec<_> = plan
        .instances
        .iter()
        .map(|instance| instance.name.as_str())
        .collect();
    let fresh = (2..)
        .map(|number| format!("{}_{}_{number}", name.schema(), name.name()))
        .find(|fresh| !names.contains(&fresh.as_str()));
    format!(
        "{disable}EXEC sys.sp_cdc_enable_table {}, @role_name = NULL;",
        of(&fresh.unwrap_or_default())
    )
}

/// The T-SQL that switches it on.
fn enable(seen: &Seen<'_>) -> String {
    let TableInfo { name, .. } = seen.table;
    let database = if seen.database.cdc {
        ""
    } else {
        "EXEC sys.sp_cdc_enable_db;\n"
    };
    format!(
        "{database}EXEC sys.sp_cdc_enable_table @source_schema = {}, @source_name = {}, @role_name = NULL;\n\
         GRANT SELECT ON SCHEMA::cdc TO [<user>];",
        quote::literal(name.schema()),
        quote::literal(name.name())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_instance_that_reaches_back_is_read() {
        let lsn = |place: u8| Lsn([0, 0, 0, 0, 0, 0, 0, 0, 0, place]);
        let of = |least: &[u8]| -> Vec<CaptureInstance> {
            let named = least.iter().enumerate().map(|(i, least)| CaptureInstance {
                name: i.to_string(),
                least: lsn(*least),
                readable: true,
                columns: Vec::new(),
            });
            named.collect()
        };
        for (after, least, found) in [
            (5, &[5][..], Some("0")),
            (5, &[6], None),
            (5, &[], None),
            (5, &[3, 4], Some("1")),
            (5, &[3, 9], Some("0")),
            // The login may not read the newest.
            (5, &[3, 0], Some("0")),
            (5, &[0], None),
        ] {
            let instances = of(least);
            let reaching = reaching(lsn(after), Some(lsn(9)), &instances);
            let name = reaching.as_ref().map(|instance| instance.name.as_str());
            assert_eq!(name.ok(), found, "{after} {least:?}: {reaching:?}");
        }
    }

    #[test]
    fn a_capture_behind_the_position_was_restored_unless_the_instance_begins_there() {
        let lsn = |place: u8| Lsn([0, 0, 0, 0, 0, 0, 0, 0, 0, place]);
        for (least, reached, restored) in [
            (3, Some(4), true),
            (5, Some(4), false),
            (3, None, false),
            (3, Some(5), false),
        ] {
            let instances = [CaptureInstance {
                name: "one".into(),
                least: lsn(least),
                readable: true,
                columns: Vec::new(),
            }];
            let found = reaching(lsn(5), reached.map(lsn), &instances);
            assert_eq!(
                found.is_err_and(|why| why.contains("restored")),
                restored,
                "{least} {reached:?}"
            );
        }
    }
}
