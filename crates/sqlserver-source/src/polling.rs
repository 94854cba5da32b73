//! Increments by a query of the operator's own: it names the keys of rows that changed between two moments, and the rows that have these
//! keys now are told, or that there is none.
//!
//! The moments are cut as those of a column of times are, so that a transaction that commits late is still asked for, and the tolerance is
//! asked for again. What the query names in vain costs a comparison; what it does not name is found by `verify` only.

use std::sync::Arc;

use cdc::Zone;
use futures::stream::{StreamExt, once};
use model::{
    Batches, Error, ErrorKind, Finding, Position, Presence, Result, Severity, SourceEvent, TableSchema,
};
use sqlserver_client::{ColumnType, Connection, Param, TableInfo, quote};

use crate::changes::Changes;
use crate::clock::ColumnClock;
use crate::column_time::{grain, value};
use crate::key_feed::KeyFeed;
use crate::options::{CaptureOptions, TrackingOptions};
use crate::plan::TablePlan;
use crate::polling_query::{LAST, POLLED, PollingQuery, THIS};
use crate::pool::Pool;
use crate::position::{Kind, TimestampPosition};
use crate::tracker::{Tracked, Tracker, TrackingColumn};
use crate::window::{late, timestamp_window};

/// Looks at what the query returns, and how it can be used.
///
/// # Errors
///
/// `Config` if the query, or what it returns, does not fit the table.
pub(crate) async fn tracked(
    connection: &mut Connection,
    table: &TableInfo,
    schema: &TableSchema,
    options: &CaptureOptions,
) -> Result<Tracked> {
    let wrong = |why: String| {
        Error::new(ErrorKind::Config, format!("`capture.query` {why}")).with("table", &table.name)
    };
    let (Some(text), Some(tracking)) = (&options.query, &options.tracking) else {
        return Err(wrong(
            "and `capture.tracking.column` are needed by `mode: polling`".into(),
        ));
    };
    let query = PollingQuery::parse(text).map_err(|error| error.with("table", &table.name))?;
    if !schema.has_key() {
        return Err(wrong("names rows by their key, and the table has none".into()));
    }
    let returned = returned(connection, &query, &wrong).await?;
    let find = |name: &str| {
        returned
            .iter()
            .find(|(column, _)| column == name)
            .map(|(_, ty)| ty)
    };
    for name in schema.key_names() {
        let declared = table.column(name).map(|column| &column.ty);
        match find(name) {
            Some(ty) if Some(ty) == declared => {}
            Some(ty) => {
                let declared = declared.map_or_else(String::new, spelled);
                let why = format!(
                    "returns the key column {name} as {}, the table has {declared}",
                    spelled(ty)
                );
                return Err(wrong(why));
            }
            None => return Err(wrong(format!("does not return the key column {name}"))),
        }
    }
    let ty = find(&tracking.column)
        .ok_or_else(|| {
            wrong(format!(
                "does not return the column {}, which `tracking` names",
                tracking.column
            ))
        })?
        .mapped(&tracking.column)?;
    if grain(ty).is_none() {
        return Err(wrong(format!(
            "returns {} as {ty}: :{LAST} is a date with a time, and is bound in that column's type",
            tracking.column
        )));
    }
    let zone = tracking.zone.as_deref().and_then(Zone::named);
    let clock = ColumnClock::of(ty, tracking.clock, zone, None);
    let findings = findings(tracking, clock);
    let column = TrackingColumn {
        name: format!("{} of {}", tracking.column, query.name()),
        ty,
        leads_index: false,
        also: Vec::new(),
    };
    Ok(Tracked {
        tracker: Tracker::Polling { query, column, clock },
        reason: "the configuration says `mode: polling`".to_owned(),
        findings,
    })
}

fn spelled(ty: &ColumnType) -> String {
    match ty {
        ColumnType::Mapped(ty) => ty.to_string(),
        ColumnType::Unmapped(name) => name.clone(),
    }
}

fn findings(tracking: &TrackingOptions, clock: ColumnClock) -> Vec<Finding> {
    let note = |severity, message: String| Finding {
        severity,
        message,
        remedy: None,
    };
    let mut findings = vec![
        note(
            Severity::Note,
            format!(
                "changes are what the query names: it has to compare {} with :{LAST}, and with :{THIS} where rows may be \
                 dated ahead; what it does not name is found by `sync-cli verify` only",
                tracking.column
            ),
        ),
        note(
            Severity::Note,
            "a deleted row is told if the query names its key, as one over a table of audits can; otherwise `reconcile` or \
             `sync-cli verify --repair` finds it"
                .to_owned(),
        ),
    ];
    findings.extend(clock.finding(&tracking.column));
    findings
}

/// The columns that the query returns. That the server describes it as a derived table shows that it is a query and nothing else.
async fn returned(
    connection: &mut Connection,
    query: &PollingQuery,
    wrong: &impl Fn(String) -> Error,
) -> Result<Vec<(String, ColumnType)>> {
    let sql = format!("{}SELECT * FROM {}", query.with, query.rows());
    let declared = format!("@{LAST} datetime2(7), @{THIS} datetime2(7)");
    match connection.result_columns(&sql, &declared).await {
        Err(error) if matches!(error.kind(), ErrorKind::Transient | ErrorKind::Unavailable) => Err(error),
        Err(error) => Err(wrong(format!("cannot be used: {error}")).hint(
            "it must work as `SELECT … FROM (query) AS polled`: no ORDER BY, and a name for every column",
        )),
        described => described,
    }
}

/// The keys that changed between two positions, with their present rows.
pub(crate) async fn changes(
    pool: &Arc<Pool>,
    plan: &Arc<TablePlan>,
    schema: &Arc<TableSchema>,
    after: &Position,
    upto: &Position,
) -> Result<Changes> {
    let feed = feed(plan, schema, after, Some(upto))?;
    let events = feed.events(pool, plan, schema).await?;
    let end = SourceEvent::Boundary { at: upto.clone() };
    Ok(events.chain(once(async { Ok(end) })).boxed())
}

/// The rows that changed after `cut`, as far as that is committed.
pub(crate) async fn changed_after(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &Arc<TableSchema>,
    cut: &Position,
) -> Result<Batches> {
    feed(plan, schema, cut, None)?.batches(pool, plan, schema).await
}

fn feed(
    plan: &TablePlan,
    schema: &TableSchema,
    after: &Position,
    upto: Option<&Position>,
) -> Result<KeyFeed> {
    let (query, params) = asked(plan, after, upto)?;
    let keys: Vec<_> = schema.key_names().into_iter().map(quote::identifier).collect();
    let there = keys.iter().map(|key| format!("{POLLED}.{key} IS NOT NULL"));
    Ok(KeyFeed {
        with: query.with.clone(),
        keys: format!(
            "(SELECT DISTINCT {} FROM {} WHERE {})",
            keys.join(", "),
            query.rows(),
            there.collect::<Vec<_>>().join(" AND ")
        ),
        params,
        presence: Presence::PerhapsIdentical,
    })
}

/// The query with its bounds: between two positions with the tolerance, or whatever is committed after one.
pub(crate) fn asked<'a>(
    plan: &'a TablePlan,
    after: &Position,
    upto: Option<&Position>,
) -> Result<(&'a PollingQuery, Vec<Param>)> {
    let Tracker::Polling { query, column, .. } = &plan.tracked.tracker else {
        return Err(Error::internal("the table's changes are not told by a query"));
    };
    let late = late(after, upto.unwrap_or(after));
    let after = TimestampPosition::read(after)?;
    let upto = upto.map(TimestampPosition::read).transpose()?;
    let rules = plan
        .options
        .window
        .rules(grain(column.ty).unwrap_or_default(), late);
    let window = timestamp_window(&after, upto.as_ref().unwrap_or(&after), &rules);
    let (last, this) = match upto {
        Some(_) => (window.lo, window.hi),
        // Of an hour that local time repeats, more may come.
        None => {
            let open = after
                .repeated_from
                .map_or(after.watermark, |from| from.min(after.watermark));
            (open, window.future)
        }
    };
    let bound = |name, moment| Ok::<_, Error>(Param::typed(name, value(column.ty, moment)?, column.ty));
    Ok((query, vec![bound(LAST, last)?, bound(THIS, this)?]))
}
