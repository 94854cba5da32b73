//! The OUTPUT clause: to the client or into a table.

use std::sync::Arc;

use super::bind_query::result_column;
use super::insert::insertable;
use super::run::Run;
use super::scope::{Binder, BoundColumn};
use super::writer::{Change, TableWriter, unlimited};
use crate::ast::{ColumnName, Expr, OutputClause, SelectItem, Target};
use crate::error::{SqlError, SqlResult};
use crate::eval::{BoundExpr, Slot, SlotInfo, bind, convert_to};
use crate::outcome::ResultColumn;
use crate::store::{ModuleKind, Row, Table, TableId};
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

/// A bound OUTPUT clause. Its expressions stand over `inserted`, `deleted`, the source's columns, then `$action`.
pub(crate) struct OutputPlan {
    items: Vec<BoundExpr>,
    columns: Vec<ResultColumn>,
    into: Option<(TableWriter, Vec<usize>)>,
}

impl OutputPlan {
    pub(crate) fn bind(
        binder: &mut Binder<'_>,
        clause: &OutputClause,
        table: &Arc<Table>,
        source: &[BoundColumn],
    ) -> SqlResult<Self> {
        let inserted = super::draft::table_columns(table, "inserted", None);
        let deleted = super::draft::table_columns(table, "deleted", None);
        let mut columns: Vec<BoundColumn> = inserted.into_iter().chain(deleted).collect();
        columns.extend(source.iter().cloned());
        let action = SlotInfo {
            slot: Slot {
                depth: 0,
                index: columns.len() as u32,
            },
            info: TypeInfo::new(SqlType::NVarChar {
                len: Length::Chars(10),
            })
            .not_null(),
        };
        binder.block().computed.push((Expr::MergeAction, action));
        let (bound, _) = binder.over(columns, |binder| Self::bind_items(binder, clause));
        binder.block().computed.pop();
        let (items, columns) = bound?;
        match &clause.into {
            None => Ok(Self {
                items,
                columns,
                into: None,
            }),
            Some(into) => Self::bind_into(binder, items, columns, into),
        }
    }

    fn bind_items(
        binder: &mut Binder<'_>,
        clause: &OutputClause,
    ) -> SqlResult<(Vec<BoundExpr>, Vec<ResultColumn>)> {
        let mut exprs = Vec::new();
        for item in &clause.items {
            match item {
                SelectItem::Star { qualifier } => {
                    let columns = binder.block().columns.clone();
                    let exposed = columns
                        .iter()
                        .filter(|column| !column.hidden && column.is_exposed_by(qualifier));
                    exprs.extend(exposed.map(|column| {
                        let name = ColumnName {
                            qualifier: vec![column.table.clone()],
                            name: column.name.clone(),
                        };
                        (Expr::Column(name), column.name.clone())
                    }));
                }
                SelectItem::Expr { expr, alias } => {
                    let name = match (alias, expr) {
                        (Some(alias), _) => alias.clone(),
                        (None, Expr::Column(name)) => name.name.clone(),
                        (None, Expr::MergeAction) => "$action".to_owned(),
                        _ => String::new(),
                    };
                    exprs.push((expr.clone(), name));
                }
                SelectItem::Assign { .. } => return Err(SqlError::unsupported("assignments in OUTPUT")),
            }
        }
        let mut items = Vec::with_capacity(exprs.len());
        let mut columns = Vec::with_capacity(exprs.len());
        for (expr, name) in exprs {
            let bound = bind(&expr, binder)?;
            let mut info = bound.info();
            // The row may be missing: `deleted` of an insert.
            info.nullable = true;
            columns.push(result_column(name, info));
            items.push(bound);
        }
        Ok((items, columns))
    }

    fn bind_into(
        binder: &mut Binder<'_>,
        items: Vec<BoundExpr>,
        columns: Vec<ResultColumn>,
        into: &crate::ast::OutputTarget,
    ) -> SqlResult<Self> {
        let id = target_table(binder, &into.target)?;
        let writer = TableWriter::prepare(binder, id, true)?;
        let places = insertable(binder, &writer.table, id, &into.columns)?;
        if places.len() != items.len() {
            return Err(SqlError::user(
                213,
                "Column name or number of supplied values does not match table definition.",
            ));
        }
        let converted = items
            .into_iter()
            .zip(&places)
            .map(|(item, at)| convert_to(item, unlimited(writer.table.columns[*at].info)));
        Ok(Self {
            items: converted.collect::<SqlResult<_>>()?,
            columns,
            into: Some((writer, places)),
        })
    }

    /// Whether the rows go to the client.
    pub(crate) fn to_client(&self) -> bool {
        self.into.is_none()
    }

    /// One row of output.
    pub(crate) fn row(&self, run: &mut Run<'_>, over: OutputRow<'_>) -> SqlResult<Row> {
        let empty = || std::iter::repeat_n(Value::Null, over.width);
        let side =
            |row: Option<&Row>| -> Vec<Value> { row.map_or_else(|| empty().collect(), |row| row.to_vec()) };
        let mut values = side(over.inserted);
        values.extend(side(over.deleted));
        values.extend(over.source.iter().cloned());
        values.push(Value::text(over.action));
        run.set_row(values.into());
        self.items.iter().map(|item| run.value(item)).collect()
    }

    /// Delivers the rows.
    pub(crate) fn deliver(&self, run: &mut Run<'_>, rows: Vec<Row>) -> SqlResult<()> {
        let Some((writer, places)) = &self.into else {
            run.start_result(&self.columns);
            for row in &rows {
                run.emit(row)?;
            }
            return Ok(());
        };
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            let given = places.iter().copied().zip(row.iter().cloned());
            let values = writer.values(run, given)?;
            changes.push(Change::insert(writer.complete(run, values, "INSERT")?));
        }
        writer.write(run, changes)?;
        Ok(())
    }
}

/// What one row of output is made of.
pub(crate) struct OutputRow<'r> {
    pub(crate) inserted: Option<&'r Row>,
    pub(crate) deleted: Option<&'r Row>,
    /// The source's columns.
    pub(crate) source: &'r [Value],
    /// `INSERT`, `UPDATE` or `DELETE`.
    pub(crate) action: &'static str,
    /// The table's number of columns.
    pub(crate) width: usize,
}

/// The table that a target means. Error 208.
pub(crate) fn target_table(binder: &Binder<'_>, target: &Target) -> SqlResult<TableId> {
    let name = match target {
        Target::Variable(name) => return binder.variables.writable_table(name),
        Target::Table(name) => name,
    };
    if name.schema.is_none()
        && binder
            .ctes
            .iter()
            .any(|cte| super::scope::same(&cte.name, &name.name))
    {
        return Err(SqlError::unsupported(
            "changing rows through a common table expression",
        ));
    }
    if let Some(id) = binder.session.find_table(name)? {
        return Ok(id);
    }
    let database = binder.session.database_of(name)?;
    let module = database.module(name.schema.as_deref().unwrap_or("dbo"), &name.name);
    if module.is_some_and(|module| matches!(module.kind, ModuleKind::View { .. })) {
        return Err(SqlError::unsupported("changing rows through a view"));
    }
    Err(unknown_object(name))
}

/// Error 208.
pub(crate) fn unknown_object(name: &crate::ast::ObjectName) -> SqlError {
    SqlError::user(208, format!("Invalid object name '{}'.", spelled(name)))
}

/// A name as it was written.
pub(crate) fn spelled(name: &crate::ast::ObjectName) -> String {
    let parts = [
        name.server.as_deref(),
        name.database.as_deref(),
        name.schema.as_deref(),
        Some(name.name.as_str()),
    ];
    let first = parts.iter().position(Option::is_some).unwrap_or(3);
    parts[first..]
        .iter()
        .map(|part| part.unwrap_or_default())
        .collect::<Vec<_>>()
        .join(".")
}
