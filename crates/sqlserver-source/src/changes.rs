//! Increments: the rows of a window, told apart into new ones and ones that were probably delivered before.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use futures::Stream;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use model::{ChangeBatch, Error, Op, Position, Presence, Result, SourceEvent, TableName, TableSchema};

use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::read::{Select, run};
use crate::tracker::Tracker;
use crate::window::Window;
use crate::{added_columns, change_data_capture, change_tracking};

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
    let changes = match plan.tracked.tracker {
        Tracker::ChangeTracking => change_tracking::changes(pool, plan, schema, after, upto).await?,
        Tracker::Cdc => change_data_capture::changes(pool, plan, schema, after, upto).await?,
        _ => by_column(pool, plan, schema, after, upto).await?,
    };
    let lacking = plan.lacking(schema, after);
    if lacking.is_empty() {
        return Ok(changes);
    }
    let filled = added_columns::filled(pool, plan, schema, &lacking, after).await?;
    Ok(filled.chain(changes).boxed())
}

async fn by_column(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &Arc<TableSchema>,
    after: &Position,
    upto: &Position,
) -> Result<Changes> {
    let window = Window::new(plan, after, upto)?;
    let shape = Shape::new(plan, schema, window.column())?;
    let (conditions, params) = window.conditions()?;
    let order = if window.is_ordered() {
        format!(" ORDER BY {}", window.quoted_column())
    } else {
        String::new()
    };
    let select = Select {
        sql: format!(
            "SELECT {} FROM {}{}{order}",
            shape.list,
            plan.from(),
            plan.filtered(&[conditions])
        ),
        params,
        shape: shape.arrow.clone(),
    };
    let is_synced = schema.arrow().index_of(window.column()).is_ok();
    let expected = window.expected().filter(|_| is_synced);
    let increment = Increment {
        rows: Some(run(pool, plan, select).await?),
        table: plan.table.name.clone(),
        schema: schema.clone(),
        shape,
        window,
        part_rows: plan.options.batch_size,
        since_boundary: 0,
        ready: expected.into_iter().collect(),
    };
    let events = try_unfold(increment, |mut increment| async move {
        Ok(increment.next().await?.map(|event| (event, increment)))
    });
    Ok(events.boxed())
}

/// The columns that are selected: those of the schema, and the tracking column if it is not among them.
struct Shape {
    list: String,
    arrow: arrow_schema::SchemaRef,
    tracking: usize,
}

impl Shape {
    fn new(plan: &TablePlan, schema: &TableSchema, tracking: &str) -> Result<Self> {
        let list = plan.table.select_list(schema)?;
        if let Ok(index) = schema.arrow().index_of(tracking) {
            return Ok(Self {
                list,
                arrow: schema.arrow().clone(),
                tracking: index,
            });
        }
        let column = plan
            .table
            .column(tracking)
            .ok_or_else(|| Error::internal(format!("the tracking column {tracking:?} is gone")))?;
        let mut fields = schema.arrow().fields().to_vec();
        let ty = column.ty.mapped(tracking)?.arrow();
        fields.push(Arc::new(arrow_schema::Field::new(tracking, ty, column.nullable)));
        Ok(Self {
            list: format!("{list}, {}", column.select()),
            tracking: fields.len() - 1,
            arrow: Arc::new(arrow_schema::Schema::new(fields)),
        })
    }

    /// The tracking column, and the rows without it if nobody asked for it.
    fn split(&self, rows: RecordBatch, columns: usize) -> Result<(ArrayRef, RecordBatch)> {
        let tracking = rows.column(self.tracking).clone();
        if rows.num_columns() == columns {
            return Ok((tracking, rows));
        }
        let kept: Vec<_> = (0..columns).collect();
        let rows = rows
            .project(&kept)
            .map_err(|e| Error::internal("could not leave out the tracking column").caused_by(e))?;
        Ok((tracking, rows))
    }
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

    fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let (tracking, rows) = self.shape.split(batch, self.schema.arrow().fields().len())?;
        let new = self.window.take(&tracking)?;
        self.since_boundary += rows.num_rows();
        self.push(&rows, &new, Presence::Unknown)?;
        let again = new.values().iter().map(|new| Some(!new)).collect();
        self.push(&rows, &again, Presence::PerhapsIdentical)?;
        if self.since_boundary >= self.part_rows
            && let Some(at) = self.window.part()?
        {
            self.since_boundary = 0;
            self.ready.push_back(SourceEvent::Boundary { at });
        }
        Ok(())
    }

    fn push(&mut self, rows: &RecordBatch, wanted: &BooleanArray, presence: Presence) -> Result<()> {
        let rows = match wanted.true_count() {
            0 => return Ok(()),
            all if all == rows.num_rows() => rows.clone(),
            _ => filter_record_batch(rows, wanted)
                .map_err(|e| Error::internal("could not tell new rows from old ones").caused_by(e))?,
        };
        let (table, schema) = (self.table.clone(), self.schema.clone());
        let batch = ChangeBatch::uniform(table, schema, rows, Op::Upsert, presence)?;
        self.ready.push_back(SourceEvent::Changes(batch));
        Ok(())
    }
}
