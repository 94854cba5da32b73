//! Whether a table may have something new, asked in one statement. The answer decides only when the table is looked at properly.

use std::sync::Arc;

use model::{Position, Result};
use sqlserver_client::{Param, SqlType, Value, quote};

use crate::column_time::value;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::position::{
    CapturePosition, ChangeTrackingPosition, IdColumnPosition, Kind, RowVersionPosition, TimestampPosition,
    TriggerPosition,
};
use crate::row_version;
use crate::tracker::Tracker;
use crate::trigger_objects::{Objects, VERSION};

/// Rows of which there is one if something is new.
struct Question {
    from: String,
    params: Vec<Param>,
}

/// Asks; the answer is yes wherever the position cannot be compared with anything.
pub(crate) async fn may_have_changed(pool: &Arc<Pool>, plan: &TablePlan, after: &Position) -> Result<bool> {
    let Some(Question { from, params }) = question(plan, after)? else {
        return Ok(true);
    };
    let sql = format!("SELECT CASE WHEN EXISTS (SELECT 1 FROM {from}) THEN 1 ELSE 0 END AS changed");
    let mut connection = pool.take().await?;
    let rows = connection.query(&plan.at_one_moment(&sql), &params).await?;
    pool.put(connection);
    rows.one()?.flag("changed")
}

fn question(plan: &TablePlan, after: &Position) -> Result<Option<Question>> {
    Ok(match &plan.tracked.tracker {
        Tracker::ChangeTracking if after.kind == ChangeTrackingPosition::NAME => {
            let version = ChangeTrackingPosition::read(after)?.version;
            Some(Question {
                from: format!("CHANGETABLE(CHANGES {}, @after) AS c", plan.from()),
                params: vec![Param::typed("after", version, SqlType::BigInt)],
            })
        }
        Tracker::Cdc if after.kind == CapturePosition::NAME => {
            let Some(newest) = plan.instances.last() else {
                return Ok(None);
            };
            let changes = quote::identifier(&format!("{}_CT", newest.name));
            Some(Question {
                from: format!("cdc.{changes} AS c WHERE c.[__$start_lsn] > @after"),
                params: vec![CapturePosition::read(after)?.lsn()?.param("after")],
            })
        }
        Tracker::Trigger if after.kind == TriggerPosition::NAME => {
            let next = TriggerPosition::read(after)?.next;
            let changes = Objects::of(&plan.table, &plan.schema)?.changes();
            Some(Question {
                from: format!("{changes} AS c WHERE c.{} >= @next", quote::identifier(VERSION)),
                params: vec![row_version::param("next", next)],
            })
        }
        Tracker::RowVersion(column) if after.kind == RowVersionPosition::NAME => {
            let next = RowVersionPosition::read(after)?.next;
            Some(Question {
                from: format!("{} AS t WHERE t.{} >= @next", plan.from(), column.quoted()),
                params: vec![row_version::param("next", next)],
            })
        }
        Tracker::Timestamp { column, .. } if after.kind == TimestampPosition::NAME => {
            let watermark = TimestampPosition::read(after)?.watermark;
            let watermark = Param::typed("watermark", value(column.ty, watermark)?, column.ty);
            Some(Question {
                from: format!("{} AS t WHERE t.{} > @watermark", plan.from(), column.quoted()),
                params: vec![watermark],
            })
        }
        Tracker::Id(column) if after.kind == IdColumnPosition::NAME => {
            let ids = IdColumnPosition::read(after)?.ids;
            // Below the greatest id some are still to come.
            let Some(seen) = ids.seen.filter(|_| ids.complete == ids.seen) else {
                return Ok(None);
            };
            Some(Question {
                from: format!("{} AS t WHERE t.{} > @seen", plan.from(), column.quoted()),
                params: vec![Param::typed("seen", Value::BigInt(seen), SqlType::BigInt)],
            })
        }
        _ => None,
    })
}
