//! Rows that have something in columns that were not delivered before.
//!
//! A column that is added or renamed tells nobody of the rows that have a value in it: a default, or what an UPDATE wrote that the way in
//! which changes are told does not see. So the next increment begins with them; or with all rows, where the target may hold other values
//! under the column's name than NULL. Its end claims the column, and nothing before it does.

use std::sync::Arc;

use futures::stream::{StreamExt, try_unfold};
use model::{ChangeBatch, Op, Position, Presence, Result, SourceEvent, TableSchema};
use sqlserver_client::quote;

use crate::changes::Changes;
use crate::incarnation::Lacking;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::read::{Select, run};
use crate::tracker::Tracker;
use crate::window::Window;

/// The rows that `lacking` names, but for those that increments leave out because of their time. A commit between them stays `after`.
pub(crate) async fn rows(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &Arc<TableSchema>,
    lacking: &Lacking,
    after: &Position,
    upto: &Position,
) -> Result<Changes> {
    let (mut conditions, params) = match plan.tracked.tracker {
        Tracker::Timestamp { .. } => Window::new(plan, after, upto)?
            .without_dead_letters()
            .not_left_out()?,
        _ => Default::default(),
    };
    if let Lacking::Columns(columns) = lacking {
        let filled: Vec<_> = columns
            .iter()
            .map(|name| format!("{} IS NOT NULL", quote::identifier(name)))
            .collect();
        conditions.push(format!("({})", filled.join(" OR ")));
    }
    let select = Select {
        sql: format!(
            "SELECT {} FROM {}{}",
            plan.table.select_list(schema)?,
            plan.from(),
            plan.filtered(&conditions)
        ),
        params,
        shape: schema.arrow().clone(),
    };
    let rows = run(pool, plan, select).await?;
    let (table, schema) = (plan.table.name.clone(), schema.clone());
    let (part_rows, at) = (plan.options.batch_size, after.clone());
    let events = try_unfold((rows, 0), move |(mut rows, uncommitted)| {
        let (table, schema, at) = (table.clone(), schema.clone(), at.clone());
        async move {
            if uncommitted >= part_rows {
                return Ok(Some((SourceEvent::Boundary { at }, (rows, 0))));
            }
            let Some(batch) = rows.next().await else {
                return Ok(None);
            };
            let batch = batch?;
            let uncommitted = uncommitted + batch.num_rows();
            let batch = ChangeBatch::uniform(table, schema, batch, Op::Upsert, Presence::PerhapsIdentical)?;
            Ok(Some((SourceEvent::Changes(batch), (rows, uncommitted))))
        }
    });
    Ok(events.boxed())
}
