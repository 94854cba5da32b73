//! Increments by triggers of ours: the keys that they write into a change table, in the transaction that changes the rows.
//!
//! A row of the change table carries a rowversion, so a cut is the one of that mode: everything below the least version that is still to
//! be committed. Rows are removed in the order of their versions, once they have been applied and are old enough, and the newest one
//! that might be removed stays. So what is kept is told by the change table itself, whoever has removed rows: the history above a version is
//! whole as long as a row below it is there, or the row that was written when the table was created.
//!
//! The trigger and its change table are created by [`crate::trigger_objects`]; any other life of either than that of a position is a gap.

use std::sync::Arc;

use futures::stream::{StreamExt, once};
use model::{Batches, Cut, Error, ErrorKind, Position, Presence, Result, SourceEvent, TableSchema};
use sqlserver_client::{Connection, Param, SqlType, quote};

use crate::changes::Changes;
use crate::cut::Settle;
use crate::key_feed::KeyFeed;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::position::{Kind, TriggerPosition};
use crate::row_version;
use crate::trigger_objects::{AT, Objects, Standing, VERSION};

/// So many rows of the change table are removed at once: few enough that the server keeps locking rows.
const REMOVED_AT_ONCE: usize = 1_000;

/// Takes the cut. Before a first copy the objects are created, if the configuration asks for it.
pub(crate) async fn cut(
    connection: &mut Connection,
    plan: &TablePlan,
    after: Option<&Position>,
    settle: Settle,
) -> Result<Cut> {
    let after = match after {
        None => None,
        Some(after) => match plan.lost(after, TriggerPosition::NAME) {
            Some(why) => return Ok(plan.gap(why)),
            None => Some(TriggerPosition::read(after)?),
        },
    };
    let objects = Objects::of(&plan.table, &plan.schema)?;
    let mut standing = objects.standing(connection, &plan.table).await?;
    if after.is_none() && plan.options.trigger.install && standing.can_be_installed() {
        standing = objects.install(connection, &plan.table).await?;
    }
    let life = match (standing, &after) {
        (Standing::Follows { life }, None) => life,
        (Standing::Follows { life }, Some(after)) if after.life == life => life,
        (Standing::Follows { .. }, Some(_)) => {
            return Ok(plan.gap("the trigger or its change table has been created, changed or switched anew since the last run"));
        }
        (Standing::Lacks { why, .. }, Some(_)) => return Ok(plan.gap(why)),
        (Standing::Lacks { why, .. }, None) => {
            return Err(Error::new(ErrorKind::Unsupported, why)
                .with("table", &plan.table.name)
                .hint(objects.script()));
        }
    };
    let (next, holding) = row_version::complete_below(connection, plan, settle).await?;
    if let Some(after) = &after {
        if after.next > next {
            return Ok(plan.gap(row_version::behind(next, after.next)));
        }
        if !keeps(connection, plan, &objects, after.next).await? {
            return Ok(plan.gap(forgotten(after.next)));
        }
    }
    Ok(Cut::Complete {
        upto: TriggerPosition { next, life }.position(&plan.incarnation().to_string())?,
        holding,
        assumed: None,
        warning: None,
        keeps: None,
    })
}

fn forgotten(next: u64) -> String {
    format!("rows of the change table at and above 0x{next:016X} have been removed")
}

/// Whether every change at and above `next` is kept. The first question is a seek below what is not committed, and mostly answers.
async fn keeps(connection: &mut Connection, plan: &TablePlan, objects: &Objects, next: u64) -> Result<bool> {
    let (changes, version) = (objects.changes(), quote::identifier(VERSION));
    let sql = format!(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM {changes} WHERE {version} < @next) THEN 1 \
         WHEN EXISTS (SELECT 1 FROM {changes} WHERE {} IS NULL) THEN 1 ELSE 0 END AS kept",
        objects.first_key()
    );
    let params = [row_version::param("next", next)];
    let rows = connection.query(&plan.at_one_moment(&sql), &params).await?;
    rows.one()?.flag("kept")
}

/// Reads the keys that changed at and above `after` and below `upto`, with their present rows.
pub(crate) async fn changes(
    pool: &Arc<Pool>,
    plan: &Arc<TablePlan>,
    schema: &Arc<TableSchema>,
    after: &Position,
    upto: &Position,
) -> Result<Changes> {
    let (from, to) = (TriggerPosition::read(after)?, TriggerPosition::read(upto)?);
    let objects = Objects::of(&plan.table, &plan.schema)?;
    let feed = feed(&objects, schema, from.next, Some(to.next));
    let events = feed.events(pool, plan, schema).await?;
    let end = end(pool.clone(), plan.clone(), objects, from.next, upto.clone());
    Ok(events.chain(once(end)).boxed())
}

/// The rows that changed at and above `cut`, as far as that is committed.
pub(crate) async fn changed_after(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &Arc<TableSchema>,
    cut: &Position,
) -> Result<Batches> {
    let objects = Objects::of(&plan.table, &plan.schema)?;
    let feed = feed(&objects, schema, TriggerPosition::read(cut)?.next, None);
    feed.batches(pool, plan, schema).await
}

/// The keys with a version at and above `from`, and below `to`.
fn feed(objects: &Objects, schema: &TableSchema, from: u64, to: Option<u64>) -> KeyFeed {
    let version = quote::identifier(VERSION);
    let mut params = vec![row_version::param("from", from)];
    let mut below = String::new();
    if let Some(to) = to {
        below = format!(" AND {version} < @next");
        params.push(row_version::param("next", to));
    }
    KeyFeed {
        with: String::new(),
        keys: format!(
            "(SELECT DISTINCT {} FROM {} WHERE {version} >= @from{below} AND {} IS NOT NULL)",
            quote::list(schema.key_names()),
            objects.changes(),
            objects.first_key()
        ),
        params,
        presence: Presence::Unknown,
    }
}

/// The boundary, if everything that was to be read was there until now.
async fn end(
    pool: Arc<Pool>,
    plan: Arc<TablePlan>,
    objects: Objects,
    from: u64,
    upto: Position,
) -> Result<SourceEvent> {
    let mut connection = pool.take().await?;
    let kept = keeps(&mut connection, &plan, &objects, from).await?;
    pool.put(connection);
    if kept {
        Ok(SourceEvent::Boundary { at: upto })
    } else {
        Err(Error::new(
            ErrorKind::Gap,
            format!("while they were read, {}", forgotten(from)),
        )
        .with("table", &plan.table.name))
    }
}

/// Removes what has been applied up to `upto` and is old enough, the oldest first and never the newest of it. A position of another life
/// says nothing of what may go.
pub(crate) async fn acknowledge(
    connection: &mut Connection,
    plan: &TablePlan,
    upto: &Position,
) -> Result<()> {
    if plan.lost(upto, TriggerPosition::NAME).is_some() {
        return Ok(());
    }
    let applied = TriggerPosition::read(upto)?.next;
    let objects = Objects::of(&plan.table, &plan.schema)?;
    let (changes, version, at) = (
        objects.changes(),
        quote::identifier(VERSION),
        quote::identifier(AT),
    );
    let sql = format!(
        "DECLARE @kept binary(8) = (SELECT TOP (1) {version} FROM (SELECT TOP ({REMOVED_AT_ONCE}) {version} FROM {changes} \
         WHERE {version} < @applied AND {at} < DATEADD(hour, -@hours, SYSUTCDATETIME()) ORDER BY {version}) AS oldest \
         ORDER BY {version} DESC);\n\
         DELETE FROM {changes} WHERE {version} < @kept;"
    );
    let hours = i32::from(plan.options.trigger.keep_hours);
    let params = [
        row_version::param("applied", applied),
        Param::typed("hours", hours, SqlType::Int),
    ];
    loop {
        let removed = connection.execute(&sql, &params).await?.last().copied();
        if removed.unwrap_or(0) == 0 {
            return Ok(());
        }
    }
}
