//! Changes from a feed of keys: whichever keys the server names, each is told with its present row, or as deleted if there is none.
//!
//! What changes after the feed was cut is told as it is by now, and told again by the next increment. So no image depends on what
//! the server's change tables keep: a large value that was not logged, a computed column, a column that was added since.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use futures::TryStreamExt;
use futures::stream::StreamExt;
use model::{Batches, ChangeBatch, Error, Op, Presence, Result, SourceEvent, TableName, TableSchema};
use sqlserver_client::{Param, quote};

use crate::changes::Changes;
use crate::deletes;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::read::{Select, run};

/// The column that says whether a key's row is there; named so that no table has it by chance.
pub(crate) const THERE: &str = "sync$there";

/// The keys that changed.
pub(crate) struct KeyFeed {
    /// What has to stand before the statement that selects from `keys`: common table expressions, or nothing.
    pub(crate) with: String,
    /// A row source of T-SQL that has the key columns, each key once.
    pub(crate) keys: String,
    /// Its parameters.
    pub(crate) params: Vec<Param>,
    /// Whether keys may be named that did not change.
    pub(crate) presence: Presence,
}

impl KeyFeed {
    /// The changes, without a boundary.
    pub(crate) async fn events(
        self,
        pool: &Arc<Pool>,
        plan: &TablePlan,
        schema: &Arc<TableSchema>,
    ) -> Result<Changes> {
        let select = Select {
            sql: self.select(plan, schema)?,
            params: self.params,
            shape: shape(schema),
        };
        let (table, schema, presence) = (plan.table.name.clone(), schema.clone(), self.presence);
        let events = run(pool, plan, select)
            .await?
            .map(move |rows| told(&table, &schema, &rows?, presence))
            .map_ok(|batches| futures::stream::iter(batches.into_iter().map(Ok)))
            .try_flatten();
        Ok(events.boxed())
    }

    /// The changes alone.
    pub(crate) async fn batches(
        self,
        pool: &Arc<Pool>,
        plan: &TablePlan,
        schema: &Arc<TableSchema>,
    ) -> Result<Batches> {
        let events = self.events(pool, plan, schema).await?;
        let batches = events.try_filter_map(async |event| {
            Ok(match event {
                SourceEvent::Changes(batch) => Some(batch),
                _ => None,
            })
        });
        Ok(batches.boxed())
    }

    /// Every key, with its row where there is one. A row that the configured filter does not let through is none.
    fn select(&self, plan: &TablePlan, schema: &TableSchema) -> Result<String> {
        let key = schema.key_names();
        let quoted: Vec<_> = key.iter().map(|name| quote::identifier(name)).collect();
        let first = quoted.first().ok_or_else(|| {
            Error::internal("a table without a key is not followed by its keys")
                .with("table", &plan.table.name)
        })?;
        let columns = schema.arrow().fields().iter().map(|field| {
            let name = quote::identifier(field.name());
            if key.contains(&field.name().as_str()) {
                format!("CASE WHEN t.{name} IS NULL THEN c.{name} ELSE t.{name} END AS {name}")
            } else {
                format!("t.{name}")
            }
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let equal: Vec<_> = quoted.iter().map(|name| format!("t.{name} = c.{name}")).collect();
        let flag = quote::identifier(THERE);
        let told = deletes::ignored(plan, schema).map_or_else(String::new, |ignored| {
            format!(" WHERE {flag} = 1 OR NOT ({ignored})")
        });
        Ok(format!(
            "{with}SELECT {list}, {flag} FROM (SELECT {columns}, CAST(CASE WHEN t.{first} IS NULL THEN 0 ELSE 1 END AS bit) AS {flag} \
             FROM {keys} AS c LEFT JOIN (SELECT {names} FROM {table}{filter}) AS t ON {equal}) AS changed{told}",
            with = self.with,
            list = plan.table.select_list(schema)?,
            names = quote::list(schema.arrow().fields().iter().map(|field| field.name().as_str())),
            keys = self.keys,
            table = plan.from(),
            filter = plan.filtered(&[]),
            equal = equal.join(" AND "),
        ))
    }
}

/// The columns of the table, relaxed because a deleted row has only its key, and [`THERE`].
fn shape(schema: &TableSchema) -> SchemaRef {
    let mut fields = schema.relaxed().fields().to_vec();
    fields.push(Arc::new(Field::new(THERE, DataType::Boolean, false)));
    Arc::new(Schema::new(fields))
}

/// Rows that are there and rows that are not, each in a batch of its own.
fn told(
    table: &TableName,
    schema: &Arc<TableSchema>,
    rows: &RecordBatch,
    presence: Presence,
) -> Result<Vec<SourceEvent>> {
    let columns = schema.arrow().fields().len();
    let there = rows.column(columns).as_boolean().clone();
    let gone = BooleanArray::from_iter(there.values().iter().map(|there| Some(!there)));
    let mut events = Vec::new();
    for (wanted, op) in [(there, Op::Upsert), (gone, Op::Delete)] {
        if wanted.true_count() == 0 {
            continue;
        }
        let kept = filter_record_batch(rows, &wanted)
            .map_err(|e| Error::internal("rows that changed do not fit their schema").caused_by(e))?;
        let batch = images(table, schema, &kept, op, presence)?;
        events.push(SourceEvent::Changes(batch));
    }
    Ok(events)
}

/// The first columns of `rows`, which are those of the table, as changed or as deleted.
pub(crate) fn images(
    table: &TableName,
    schema: &Arc<TableSchema>,
    rows: &RecordBatch,
    op: Op,
    presence: Presence,
) -> Result<ChangeBatch> {
    let shape = match op {
        Op::Delete => schema.relaxed(),
        _ => schema.arrow().clone(),
    };
    let columns = rows.columns().iter().take(shape.fields().len()).cloned();
    let rows = RecordBatch::try_new(shape, columns.collect())
        .map_err(|e| Error::internal("rows that changed do not fit their schema").caused_by(e))?;
    ChangeBatch::uniform(table.clone(), schema.clone(), rows, op, presence)
}
