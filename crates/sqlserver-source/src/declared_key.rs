//! A key that the configuration declares and no index of the server's sees to, so that two rows may have the same one.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use futures::StreamExt;
use model::{Error, ErrorKind, Result};
use sqlserver_client::{TableInfo, quote};

use crate::keyset::Keyset;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::read::{self, Select};

/// So many keys are asked for again that two rows seem to have.
const SUSPECTS: usize = 100;

/// Whether these are the columns that the table's own key has, so that declaring them says nothing new.
pub(crate) fn is_own(table: &TableInfo, columns: &[String]) -> bool {
    table.key().is_some_and(|key| {
        let named = key.columns.iter().all(|(name, _)| columns.contains(name));
        named && key.columns.len() == columns.len()
    })
}

fn is_assumed(plan: &TablePlan) -> bool {
    plan.table.declared_key.is_some() && !plan.table.is_unique(&plan.options.key)
}

/// The condition on marked rows of the table `t` that they are deletes: where the key is assumed, an unmarked row may have the same one,
/// having been made in place of a marked one. `None` if every marked row is one.
pub(crate) fn unreplaced(plan: &TablePlan) -> Option<String> {
    let unmarked = plan.unmarked.as_ref().filter(|_| is_assumed(plan))?;
    let equal = plan.options.key.iter().map(|name| {
        let name = quote::identifier(name);
        format!("live.{name} = t.{name}")
    });
    Some(format!(
        "({unmarked} OR NOT EXISTS (SELECT 1 FROM {} AS live{}))",
        plan.from(),
        plan.filtered(&equal.collect::<Vec<_>>())
    ))
}

/// Why the declared key does not tell rows apart, if it is so: the server counts the rows of every key. A row that moves meanwhile may be
/// counted twice, so those keys are asked for again, alone.
pub(crate) async fn shared(pool: &Arc<Pool>, plan: &TablePlan) -> Result<Option<Error>> {
    if !is_assumed(plan) {
        return Ok(None);
    }
    let keyset = Keyset::new(&plan.table, &plan.schema)?;
    let mut suspects = suspects(pool, plan, &keyset).await?;
    while let Some(keys) = suspects.next().await {
        let mut connection = read::with_keys(pool, plan, &keyset, keys?).await?;
        let sql = format!(
            "SELECT TOP (1) COUNT_BIG(*) AS n FROM {} AS t{}{}",
            plan.from(),
            plan.filtered(&[keyset.among_keys()]),
            twice(&keyset)
        );
        let rows = connection.query(&plan.at_one_moment(&sql), &[]).await?;
        if let Some(row) = rows.first() {
            return Ok(Some(refusal(plan, row.need_i64("n")?)));
        }
    }
    Ok(None)
}

async fn suspects(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    keyset: &Keyset,
) -> Result<futures::stream::BoxStream<'static, Result<RecordBatch>>> {
    let fields: Vec<Arc<Field>> = plan
        .schema
        .key()
        .iter()
        .map(|&index| plan.schema.arrow().fields()[index].clone())
        .collect();
    let select = Select {
        sql: format!(
            "SELECT TOP ({SUSPECTS}) {} FROM {} AS t{}{}",
            keyset.select_list(),
            plan.from(),
            plan.filtered(&[]),
            twice(keyset)
        ),
        params: Vec::new(),
        shape: Arc::new(Schema::new(fields)),
    };
    read::run(pool, plan, select).await
}

fn twice(keyset: &Keyset) -> String {
    format!(" GROUP BY {} HAVING COUNT_BIG(*) > 1", keyset.list())
}

fn refusal(plan: &TablePlan, rows: i64) -> Error {
    let why = format!(
        "`capture.key` does not tell rows apart: {rows} rows have the same {}",
        plan.options.key.join(", ")
    );
    Error::new(ErrorKind::Config, why)
        .with("table", &plan.table.name)
        .hint("name further columns in `capture.key`, or make the rows differ")
}
