//! Increments: the rows of a window, told apart into new ones and ones that were probably delivered before.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field};
use arrow_select::filter::filter_record_batch;
use futures::stream::{BoxStream, StreamExt, once, try_unfold};
use futures::{Stream, TryStreamExt};
use model::{Error, Op, Position, Presence, Result, SourceEvent, TableName, TableSchema};
use sqlserver_client::quote;

use crate::incarnation::Lacking;
use crate::key_feed::{THERE, images};
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::read::{Select, run};
use crate::tracker::Tracker;
use crate::window::Window;
use crate::{added_columns, change_data_capture, change_tracking, declared_key, polling, trigger};

/// So many rows of each kind are named that an increment leaves out.
const LEFT_OUT_NAMED: usize = 1_000;

/// Events as they are read.
pub(crate) type Changes = Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>;

/// Reads the changes above `after` up to `upto`.
pub(crate) async fn changes(
    pool: &Arc<Pool>,
    plan: &Arc<TablePlan>,
    schema: &Arc<TableSchema>,
    after: &Position,
    upto: &Position,
) -> Result<Changes> {
    let lacking = plan.lacking(schema, after);
    if lacking == Lacking::Nothing {
        return told(pool, plan, schema, after, upto, true).await;
    }
    let rows = added_columns::rows(pool, plan, schema, &lacking, after, upto).await?;
    // One after the other: what is read later is as it was later.
    let (pool, plan, schema) = (pool.clone(), plan.clone(), schema.clone());
    let (after, upto) = (after.clone(), upto.clone());
    let told = async move { told(&pool, &plan, &schema, &after, &upto, false).await };
    Ok(rows.chain(once(told).try_flatten()).boxed())
}

/// What the table's way of telling changes tells. `in_time` as for [`by_column`].
async fn told(
    pool: &Arc<Pool>,
    plan: &Arc<TablePlan>,
    schema: &Arc<TableSchema>,
    after: &Position,
    upto: &Position,
    in_time: bool,
) -> Result<Changes> {
    match plan.tracked.tracker {
        Tracker::ChangeTracking => change_tracking::changes(pool, plan, schema, after, upto).await,
        Tracker::Cdc => change_data_capture::changes(pool, plan, schema, after, upto).await,
        Tracker::Trigger => trigger::changes(pool, plan, schema, after, upto).await,
        Tracker::Polling { .. } => polling::changes(pool, plan, schema, after, upto).await,
        _ => by_column(pool, plan, schema, after, upto, in_time).await,
    }
}

/// `in_time` says whether no row comes for another reason than its time, so that one before what is expected comes late.
async fn by_column(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &Arc<TableSchema>,
    after: &Position,
    upto: &Position,
    in_time: bool,
) -> Result<Changes> {
    let mut window = Window::new(plan, after, upto)?;
    if !in_time {
        // Rows of this window differ for another reason than their time, and may be told by it as well.
        window = window.without_dead_letters();
    }
    let shape = Shape::new(plan, schema, &window)?;
    let (condition, params) = window.conditions()?;
    let conditions: Vec<_> = [condition]
        .into_iter()
        .chain(declared_key::unreplaced(plan))
        .collect();
    let order = if window.is_ordered() {
        format!(" ORDER BY {}", window.quoted_column())
    } else {
        String::new()
    };
    let select = Select {
        sql: format!(
            "SELECT {} FROM {} AS t{}{order}",
            shape.list,
            plan.from(),
            plan.filtered_with_marked(&conditions)
        ),
        params,
        shape: shape.arrow.clone(),
    };
    let is_synced = window
        .columns()
        .all(|column| schema.arrow().index_of(column).is_ok());
    let expected = window.expected().filter(|_| is_synced && in_time);
    let mut ready: VecDeque<_> = expected.map(SourceEvent::Expected).into_iter().collect();
    ready.extend(left_out(pool, plan, schema, &window).await?);
    let increment = Increment {
        rows: Some(run(pool, plan, select).await?),
        table: plan.table.name.clone(),
        schema: schema.clone(),
        shape,
        window,
        part_rows: plan.options.batch_size,
        since_boundary: 0,
        ready,
    };
    let events = try_unfold(increment, |mut increment| async move {
        Ok(increment.next().await?.map(|event| (event, increment)))
    });
    Ok(events.boxed())
}

/// The first rows that the increment leaves out because of their time: their keys and times.
async fn left_out(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &TableSchema,
    window: &Window,
) -> Result<Vec<SourceEvent>> {
    let Some(times) = window.expected() else {
        return Ok(Vec::new());
    };
    let names = schema.key_names().into_iter().chain(window.columns());
    let names: BTreeSet<&str> = names.collect();
    let columns: Vec<_> = plan
        .table
        .columns
        .iter()
        .filter(|column| names.contains(column.name.as_str()))
        .collect();
    let mut fields = Vec::new();
    for column in &columns {
        let ty = column.ty.mapped(&column.name)?.arrow();
        fields.push(Field::new(&column.name, ty, column.nullable));
    }
    let shape = Arc::new(arrow_schema::Schema::new(fields));
    let list: Vec<_> = columns.iter().map(|column| column.select()).collect();
    let mut events = Vec::new();
    for (condition, params, refused) in window.left_out()? {
        let sql = format!(
            "SELECT TOP ({LEFT_OUT_NAMED}) {} FROM {}{}",
            list.join(", "),
            plan.from(),
            plan.filtered_with_marked(&[condition])
        );
        let shape = shape.clone();
        let mut rows = run(pool, plan, Select { sql, params, shape }).await?;
        while let Some(rows) = rows.next().await {
            events.push(SourceEvent::LeftOut {
                times: times.clone(),
                rows: rows?,
                refused,
            });
        }
    }
    Ok(events)
}

/// The columns that are selected: those of the schema; tracking columns that are not among them; whether the row is there, if a
/// column marks rows as deleted.
struct Shape {
    list: String,
    arrow: arrow_schema::SchemaRef,
    tracking: Vec<usize>,
    there: Option<usize>,
}

impl Shape {
    fn new(plan: &TablePlan, schema: &TableSchema, window: &Window) -> Result<Self> {
        let mut list = plan.table.select_list(schema)?;
        let mut fields = schema.arrow().fields().to_vec();
        let mut tracking = Vec::new();
        for name in window.columns() {
            if let Ok(index) = schema.arrow().index_of(name) {
                tracking.push(index);
                continue;
            }
            let column = plan.table.column(name).ok_or_else(|| gone(name))?;
            let ty = column.ty.mapped(name)?.arrow();
            tracking.push(fields.len());
            fields.push(Arc::new(Field::new(name, ty, column.nullable)));
            list = format!("{list}, {}", column.select());
        }
        let mut there = None;
        if let Some(unmarked) = &plan.unmarked {
            fields.push(Arc::new(Field::new(THERE, DataType::Boolean, false)));
            let flag = quote::identifier(THERE);
            list = format!("{list}, CAST(CASE WHEN {unmarked} THEN 1 ELSE 0 END AS bit) AS {flag}");
            there = Some(fields.len() - 1);
        }
        Ok(Self {
            list,
            arrow: Arc::new(arrow_schema::Schema::new(fields)),
            tracking,
            there,
        })
    }
}

fn gone(tracking: &str) -> Error {
    Error::internal(format!("the tracking column {tracking:?} is gone"))
}

struct Increment {
    rows: Option<BoxStream<'static, Result<RecordBatch>>>,
    table: TableName,
    schema: Arc<TableSchema>,
    shape: Shape,
    window: Window,
    part_rows: usize,
    since_boundary: usize,
    ready: VecDeque<SourceEvent>,
}

impl Increment {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(rows) = &mut self.rows else {
                return Ok(None);
            };
            match rows.next().await {
                Some(batch) => self.take(batch?)?,
                None => {
                    self.rows = None;
                    self.ready.push_back(SourceEvent::Boundary {
                        at: self.window.end()?,
                    });
                }
            }
        }
    }

    fn take(&mut self, rows: RecordBatch) -> Result<()> {
        let columns: Vec<_> = self
            .shape
            .tracking
            .iter()
            .map(|index| rows.column(*index))
            .collect();
        let (tracking, also) = columns
            .split_first()
            .ok_or_else(|| Error::internal("an increment has no tracking column"))?;
        let new = self.window.take(tracking, also)?;
        let there = self.shape.there.map(|index| rows.column(index).as_boolean());
        self.since_boundary += rows.num_rows();
        for (op, marked) in [(Op::Upsert, false), (Op::Delete, true)] {
            for (presence, is_new) in [(Presence::Unknown, true), (Presence::PerhapsIdentical, false)] {
                let wanted = |row: usize| {
                    let is_marked = there.is_some_and(|there| !there.value(row));
                    Some(is_marked == marked && new.value(row) == is_new)
                };
                let wanted = (0..rows.num_rows()).map(wanted).collect();
                self.push(&rows, &wanted, op, presence)?;
            }
        }
        if self.since_boundary >= self.part_rows
            && let Some(at) = self.window.part()?
        {
            self.since_boundary = 0;
            self.ready.push_back(SourceEvent::Boundary { at });
        }
        Ok(())
    }

    fn push(&mut self, rows: &RecordBatch, wanted: &BooleanArray, op: Op, presence: Presence) -> Result<()> {
        let rows = match wanted.true_count() {
            0 => return Ok(()),
            all if all == rows.num_rows() => rows.clone(),
            _ => filter_record_batch(rows, wanted)
                .map_err(|e| Error::internal("could not tell new rows from old ones").caused_by(e))?,
        };
        let batch = images(&self.table, &self.schema, &rows, op, presence)?;
        self.ready.push_back(SourceEvent::Changes(batch));
        Ok(())
    }
}
