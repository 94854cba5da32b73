//! Deletes by policy: rows that a column marks as deleted count as absent, and deletes that are not passed on leave their rows in the
//! target.
//!
//! A mark is a condition on the row like the configured filter, so the copy, `verify` and the feeds of keys need no further rule. Only
//! increments by a column of the table read marked rows as well, and tell them as deleted.
//!
//! A delete is ignored only if the row is gone from the table itself: one that leaves the filter is told as deleted nevertheless.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch, new_null_array};
use arrow_schema::{Field, Schema};
use arrow_select::filter::filter_record_batch;
use futures::StreamExt;
use model::{Batches, ChangeBatch, Error, ErrorKind, Finding, Op, Presence, Result, Severity, TableSchema};
use sqlserver_client::{SqlType, TableInfo, quote};

use crate::keyset::Keyset;
use crate::options::{CaptureOptions, HardDeletes};
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::read::{self, Select};
use crate::tracker::Tracker;

/// The name under which the condition of `deletes.ignore_where` sees the rows whose deletes are judged.
const JUDGED: &str = "changed";

/// The condition that rows meet which nothing marks as deleted, if a column marks them.
///
/// # Errors
///
/// `Config` if there is no such column, or its type cannot mark.
pub(crate) fn unmarked(table: &TableInfo, options: &CaptureOptions) -> Result<Option<String>> {
    let Some(name) = &options.deletes.soft else {
        return Ok(None);
    };
    let wrong = |why: &str| {
        Error::new(ErrorKind::Config, format!("`deletes.soft` names {name:?}, {why}"))
            .with("table", &table.name)
    };
    let column = table
        .column(name)
        .ok_or_else(|| wrong("which the table does not have"))?;
    let quoted = quote::identifier(name);
    match column.ty.mapped(name)? {
        SqlType::Bit | SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => {
            Ok(Some(format!("({quoted} IS NULL OR {quoted} = 0)")))
        }
        SqlType::Date
        | SqlType::SmallDateTime
        | SqlType::DateTime
        | SqlType::DateTime2 { .. }
        | SqlType::DateTimeOffset { .. } => Ok(Some(format!("{quoted} IS NULL"))),
        other => Err(wrong(&format!(
            "which is {other}: a bit, a whole number, a date or a date with a time can mark a row as deleted"
        ))),
    }
}

/// The condition on rows of [`JUDGED`], which have the key columns, that their deletes are ignored.
pub(crate) fn ignored(plan: &TablePlan, schema: &TableSchema) -> Option<String> {
    let deletes = &plan.options.deletes;
    if deletes.hard == HardDeletes::Apply {
        return None;
    }
    let equal = schema.key_names().into_iter().map(|name| {
        let name = quote::identifier(name);
        format!("present.{name} = {JUDGED}.{name}")
    });
    let gone = format!(
        "NOT EXISTS (SELECT 1 FROM {} AS present WHERE {})",
        plan.from(),
        equal.collect::<Vec<_>>().join(" AND ")
    );
    Some(match &deletes.ignore_where {
        // On lines of its own, so that a comment at its end hides nothing. What is neither true nor false is no reason to ignore.
        Some(condition) => format!("CASE WHEN (\n{condition}\n) THEN 1 ELSE 0 END = 1 AND {gone}"),
        None => gone,
    })
}

/// Those of the keys whose rows are gone and whose deletes are ignored, told as deleted.
pub(crate) async fn kept(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &Arc<TableSchema>,
    keys: RecordBatch,
) -> Result<Batches> {
    let Some(condition) = ignored(plan, schema).filter(|_| keys.num_rows() > 0) else {
        return Ok(futures::stream::empty().boxed());
    };
    let keyset = Keyset::new(&plan.table, schema)?;
    // Their column held them once, perhaps. Only a condition could tell them from others that are gone.
    let strange = not(&keyset.can_hold(&keys));
    let strange = filter_record_batch(&keys, &strange)
        .map_err(|e| Error::internal("keys cannot be told apart by their types").caused_by(e))?;
    let strange = plan.options.deletes.ignore_where.is_none().then_some(Ok(strange));
    let connection = read::with_keys(pool, plan, &keyset, keys).await?;
    let fields: Vec<Arc<Field>> = schema
        .key()
        .iter()
        .map(|&index| schema.arrow().fields()[index].clone())
        .collect();
    let select = Select {
        sql: format!(
            "SELECT {} FROM #keys AS {JUDGED} WHERE {condition}",
            keyset.select_list()
        ),
        params: Vec::new(),
        shape: Arc::new(Schema::new(fields)),
    };
    let (table, schema) = (plan.table.name.clone(), schema.clone());
    let keys = read::once(connection, plan, select).chain(futures::stream::iter(strange));
    let rows = keys.map(move |keys| {
        let keys = keys?;
        let columns = schema.arrow().fields().iter().map(|field| {
            let key = keys.column_by_name(field.name()).cloned();
            key.unwrap_or_else(|| new_null_array(field.data_type(), keys.num_rows()))
        });
        let rows = RecordBatch::try_new(schema.relaxed(), columns.collect())
            .map_err(|e| Error::internal("keys do not fit their table").caused_by(e))?;
        ChangeBatch::uniform(table.clone(), schema.clone(), rows, Op::Delete, Presence::Unknown)
    });
    Ok(rows.boxed())
}

fn not(rows: &BooleanArray) -> BooleanArray {
    rows.values().iter().map(|row| Some(!row)).collect()
}

/// A SELECT of nothing that the server refuses if the configured condition is wrong.
pub(crate) fn probe(plan: &TablePlan) -> Option<String> {
    let condition = ignored(plan, &plan.schema)?;
    let keys = quote::list(plan.schema.key_names());
    Some(format!(
        "SELECT TOP (0) {keys} FROM (SELECT {keys} FROM {}) AS {JUDGED} WHERE {condition}",
        plan.from()
    ))
}

/// What an operator should know of the policy.
pub(crate) fn findings(plan: &TablePlan) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |severity, message: String| {
        findings.push(Finding {
            severity,
            message,
            remedy: None,
        });
    };
    let deletes = &plan.options.deletes;
    if let Some(soft) = &deletes.soft {
        match &plan.tracked.tracker {
            Tracker::Id(_) => find(
                Severity::Warning,
                format!(
                    "ids tell of new rows only: a row that {soft} marks later is found by `sync-cli verify` only"
                ),
            ),
            Tracker::Timestamp { column, .. } => find(
                Severity::Note,
                format!(
                    "a row counts as deleted once {soft} says so, if the same statement sets {}",
                    column.name
                ),
            ),
            _ => {}
        }
    }
    if deletes.hard == HardDeletes::Ignore {
        if !plan.schema.has_key() || plan.tracked.tracker == Tracker::Full {
            find(
                Severity::Error,
                "the table is read whole, so rows that are gone cannot be kept".to_owned(),
            );
        }
        let which = deletes
            .ignore_where
            .as_ref()
            .map_or_else(String::new, |condition| format!(" where {condition}"));
        find(
            Severity::Note,
            format!("rows that are deleted{which} stay in Iceberg; `verify` counts them as kept"),
        );
        find(
            Severity::Note,
            "a row whose key changes stays under the old one as well, because its delete is ignored like others".to_owned(),
        );
        if plan.options.filter.is_some() {
            find(
                Severity::Warning,
                "a row that stops meeting `where` and is deleted before the next run is kept, although it had left".to_owned(),
            );
        }
    }
    findings
}
