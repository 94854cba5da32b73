//! Reading rows: whole tables, key ranges, and single keys. Every SELECT of user data is started here.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use model::{Batches, ChangeBatch, Error, Op, Presence, Result, Selection, TableName, TableSchema};
use sqlserver_client::{ArrowRows, BulkColumn, Connection, Param, Value, values_from_bound};

use crate::keyset::Keyset;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::tracker::Tracker;
use crate::window::Window;
use crate::{deletes, polling, trigger};

/// Rows of one Arrow batch.
const BATCH_ROWS: usize = 16_384;

/// A SELECT with its parameters and the shape of its result.
#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) sql: String,
    pub(crate) params: Vec<Param>,
    pub(crate) shape: SchemaRef,
}

/// Runs `select` on a connection of the pool, which gets it back after the last row.
pub(crate) async fn run(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    select: Select,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let connection = pool.take().await?;
    Ok(stream(Some(pool.clone()), start(connection, plan, select)))
}

fn start(connection: Connection, plan: &TablePlan, select: Select) -> ArrowRows {
    connection.select_arrow(
        plan.at_one_moment(&select.sql),
        select.params,
        select.shape,
        BATCH_ROWS,
    )
}

/// The rows of a SELECT that has been started. Without a pool the connection is closed after them.
fn stream(pool: Option<Arc<Pool>>, rows: ArrowRows) -> BoxStream<'static, Result<RecordBatch>> {
    try_unfold(Some((pool, rows)), |state| async move {
        let Some((pool, mut rows)) = state else {
            return Ok(None);
        };
        match rows.next().await {
            Some(batch) => Ok(Some((batch?, Some((pool, rows))))),
            None => {
                if let Some(pool) = pool {
                    pool.put(rows.finish()?);
                }
                Ok(None)
            }
        }
    })
    .boxed()
}

/// Reads a selection of a table's rows.
pub(crate) async fn read(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &Arc<TableSchema>,
    selection: Selection,
) -> Result<Batches> {
    let keyset = Keyset::new(&plan.table, schema)?;
    let rows = match selection {
        Selection::All => run(pool, plan, selected(plan, schema, &[], Vec::new(), "")?).await?,
        Selection::Range { lower, upper } => {
            let (mut conditions, mut params) = (Vec::new(), Vec::new());
            if let Some(lower) = lower {
                conditions.push(keyset.above(0));
                params.extend(keyset.params(0, values_from_bound(&lower, keyset.columns())?));
            }
            conditions.push(keyset.up_to(params.len()));
            params.extend(keyset.params(params.len(), values_from_bound(&upper, keyset.columns())?));
            let order = format!(" ORDER BY {}", keyset.order("t", "ASC"));
            run(pool, plan, selected(plan, schema, &conditions, params, &order)?).await?
        }
        Selection::Between(range) => {
            let (mut conditions, mut params) = (Vec::new(), Vec::new());
            if let Some(from) = range.from() {
                conditions.push(keyset.from(from.num_columns(), 0));
                params.extend(keyset.params(0, values(&keyset, from)?));
            }
            if let Some(to) = range.to() {
                let first = params.len();
                conditions.push(keyset.to(to.num_columns(), first));
                params.extend(keyset.params(first, values(&keyset, to)?));
            }
            run(pool, plan, selected(plan, schema, &conditions, params, "")?).await?
        }
        Selection::Keys(keys) => by_keys(pool, plan, schema, &keyset, keys).await?,
        Selection::ChangedAfter(cut) if plan.tracked.tracker == Tracker::Trigger => {
            return trigger::changed_after(pool, plan, schema, &cut).await;
        }
        Selection::ChangedAfter(cut) if matches!(plan.tracked.tracker, Tracker::Polling { .. }) => {
            return polling::changed_after(pool, plan, schema, &cut).await;
        }
        Selection::ChangedAfter(cut) => {
            let (condition, params) = Window::new(plan, &cut, &cut)?.beyond()?;
            let filter = plan.filtered_with_marked(&[condition]);
            run(pool, plan, select(plan, schema, &filter, params, "")?).await?
        }
        Selection::KeptKeys(keys) => return deletes::kept(pool, plan, schema, keys).await,
    };
    let (table, schema) = (plan.table.name.clone(), schema.clone());
    Ok(rows.map(move |batch| images(&table, &schema, batch?)).boxed())
}

/// The values of an end of a range, in the types of the key.
fn values(keyset: &Keyset, end: &RecordBatch) -> Result<Vec<Value>> {
    let columns = keyset.columns().iter().zip(end.columns());
    columns
        .map(|(column, value)| Value::from_arrow(column.ty, value, 0))
        .collect()
}

fn images(table: &TableName, schema: &Arc<TableSchema>, rows: RecordBatch) -> Result<ChangeBatch> {
    ChangeBatch::uniform(table.clone(), schema.clone(), rows, Op::Insert, Presence::Unknown)
}

fn selected(
    plan: &TablePlan,
    schema: &TableSchema,
    conditions: &[String],
    params: Vec<Param>,
    order: &str,
) -> Result<Select> {
    select(plan, schema, &plan.filtered(conditions), params, order)
}

fn select(
    plan: &TablePlan,
    schema: &TableSchema,
    filter: &str,
    params: Vec<Param>,
    order: &str,
) -> Result<Select> {
    let list = plan.table.select_list(schema)?;
    Ok(Select {
        sql: format!("SELECT {list} FROM {} AS t{filter}{order}", plan.from()),
        params,
        shape: schema.arrow().clone(),
    })
}

async fn by_keys(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &TableSchema,
    keyset: &Keyset,
    keys: RecordBatch,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    if keys.num_rows() == 0 {
        return Ok(futures::stream::empty().boxed());
    }
    let connection = with_keys(pool, plan, keyset, keys).await?;
    let select = selected(plan, schema, &[keyset.among_keys()], Vec::new(), "")?;
    Ok(once(connection, plan, select))
}

/// Runs `select` on a connection that is closed after the last row; its temp tables go with it.
pub(crate) fn once(
    connection: Connection,
    plan: &TablePlan,
    select: Select,
) -> BoxStream<'static, Result<RecordBatch>> {
    stream(None, start(connection, plan, select))
}

/// Keys go to the server as rows of a temp table, `#keys`, with the key's types: so many cannot be bound as parameters, and the server's
/// own rules decide which rows have them. A key may have come without the blanks that a `char` column ends in. One that the key's types
/// cannot hold, as another engine may have written it, is left out: no row has it.
pub(crate) async fn with_keys(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    keyset: &Keyset,
    keys: RecordBatch,
) -> Result<Connection> {
    if keyset.columns().is_empty() {
        return Err(
            Error::internal("rows of a table without a key cannot be read by key")
                .with("table", &plan.table.name),
        );
    }
    let keys = filter_record_batch(&keys, &keyset.can_hold(&keys))
        .map_err(|e| Error::internal("keys cannot be told apart by their types").caused_by(e))?;
    let mut connection = pool.take().await?;
    let definitions: Vec<_> = keyset.columns().iter().map(definition).collect();
    connection
        .execute(&format!("CREATE TABLE #keys ({})", definitions.join(", ")), &[])
        .await?;
    let columns: Vec<_> = keyset
        .columns()
        .iter()
        .map(|c| BulkColumn {
            name: c.name.clone(),
            ty: c.ty.varying(),
        })
        .collect();
    connection
        .bulk_load(
            "#keys",
            &columns,
            futures::stream::once(async { Ok(keys) }).boxed(),
        )
        .await?;
    Ok(connection)
}

fn definition(column: &sqlserver_client::KeyColumn) -> String {
    let collation = column.collation.as_ref().map(|name| format!(" COLLATE {name}"));
    format!(
        "{} {}{} NOT NULL",
        column.quoted(),
        column.ty.varying(),
        collation.unwrap_or_default()
    )
}
