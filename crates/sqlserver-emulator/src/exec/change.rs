//! UPDATE and DELETE: find the rows (with update locks), then change them.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::draft::{Draft, LeafSource, row_id_column};
use super::output::{OutputPlan, OutputRow, target_table};
use super::plan::{ReadPlan, Source};
use super::run::Run;
use super::scope::{Binder, BoundColumn, same};
use super::writer::{Change, TableWriter, stored};
use crate::ast::{
    Assignment, BinaryOp, ColumnName, Delete, Expr, OutputClause, TableHint, TableSource, Target, Top, Update,
};
use crate::error::{SqlError, SqlResult};
use crate::eval::{BoundExpr, bind, convert_to};
use crate::outcome::Flow;
use crate::session::Isolation;
use crate::store::{LockMode, NewRow, Read, Row, RowId, Table, TableId};
use crate::types::SqlType;
use crate::value::Value;

/// The rows that a statement changes, and where in them its table stands.
pub(crate) struct TargetPlan {
    pub(crate) source: Source,
    pub(crate) filter: Vec<BoundExpr>,
    pub(crate) columns: Vec<BoundColumn>,
    /// Where the row id is; the table's columns stand before it.
    pub(crate) row_id: usize,
    pub(crate) table: Arc<Table>,
    pub(crate) id: TableId,
}

/// A bound assignment: a column, a variable, or both.
pub(crate) struct Set {
    pub(crate) column: Option<usize>,
    variable: Option<String>,
    value: BoundExpr,
    /// For a variable whose type differs from the column's.
    variable_value: Option<BoundExpr>,
}

impl TargetPlan {
    /// Places the target among the sources of FROM.
    fn bind(
        binder: &mut Binder<'_>,
        target: &Target,
        hints: &[TableHint],
        from: &[TableSource],
        filter: Option<&Expr>,
    ) -> SqlResult<Self> {
        let mut draft = binder.draft(from)?;
        let (id, exposed) = match target {
            Target::Table(name) if name.schema.is_none() && name.database.is_none() => {
                match exposed_table(&draft, &name.name) {
                    Some(id) => (id, name.name.clone()),
                    None => (target_table(binder, target)?, name.name.clone()),
                }
            }
            Target::Table(name) => (target_table(binder, target)?, name.name.clone()),
            Target::Variable(name) => (target_table(binder, target)?, name.clone()),
        };
        let table = binder.session.table_definition(id)?;
        if !mark_target(&mut draft, id, &exposed) {
            let schema = table.schema.clone();
            let own = binder.draft_table(id, &exposed, Some(&schema), hints)?;
            draft = if matches!(draft, Draft::Nothing) {
                own
            } else {
                own.cross(draft)
            };
            mark_target(&mut draft, id, &exposed);
        }
        strengthen(&mut draft, id, binder.session.isolation);
        let columns = draft.columns();
        let residual = binder.place_filter(&mut draft, filter, &columns)?;
        let (source, _) = binder.finish(draft, None)?;
        binder.block().columns.clone_from(&columns);
        let filter = binder.predicates(&residual)?;
        let row_id = columns
            .iter()
            .position(|column| column.hidden)
            .unwrap_or_default();
        Ok(Self {
            source,
            filter,
            columns,
            row_id,
            table,
            id,
        })
    }

    /// The target's part of a row of the source.
    pub(crate) fn own<'r>(&self, row: &'r Row) -> &'r [Value] {
        let first = self.row_id - self.table.columns.len();
        &row[first..self.row_id]
    }
}

/// The table that a name in FROM means.
fn exposed_table(draft: &Draft, name: &str) -> Option<TableId> {
    match draft {
        Draft::Leaf {
            source: LeafSource::Table { id, .. },
            columns,
            ..
        } => columns
            .first()
            .filter(|column| same(&column.table, name))
            .map(|_| *id),
        Draft::Join { left, right, .. } | Draft::Apply { left, right, .. } => {
            exposed_table(left, name).or_else(|| exposed_table(right, name))
        }
        _ => None,
    }
}

/// Makes the target's leaf carry row ids. False if it is not there.
fn mark_target(draft: &mut Draft, target: TableId, exposed: &str) -> bool {
    fn mark(draft: &mut Draft, wanted: &dyn Fn(TableId, &str) -> bool) -> bool {
        match draft {
            Draft::Leaf {
                source: LeafSource::Table { id, with_row_id, .. },
                columns,
                ..
            } => {
                let name = columns
                    .first()
                    .map(|column| column.table.clone())
                    .unwrap_or_default();
                if *with_row_id || !wanted(*id, &name) {
                    return false;
                }
                *with_row_id = true;
                columns.push(row_id_column(&name));
                true
            }
            Draft::Join { left, right, .. } | Draft::Apply { left, right, .. } => {
                mark(left, wanted) || mark(right, wanted)
            }
            _ => false,
        }
    }
    mark(draft, &|id, name| id == target && same(name, exposed)) || mark(draft, &|id, _| id == target)
}

/// The target is read with update locks, or in the snapshot it will be checked against.
fn strengthen(draft: &mut Draft, target: TableId, isolation: Isolation) {
    match draft {
        Draft::Leaf {
            source:
                LeafSource::Table {
                    id,
                    read,
                    with_row_id: true,
                },
            ..
        } if *id == target => *read = for_update(*read, isolation),
        Draft::Join { left, right, .. } | Draft::Apply { left, right, .. } => {
            strengthen(left, target, isolation);
            strengthen(right, target, isolation);
        }
        _ => {}
    }
}

/// How a table is read that the statement will change. Only SNAPSHOT may find its rows in a snapshot, for it notices
/// at the write that they are stale; under READ_COMMITTED_SNAPSHOT the target is read with locks.
pub(crate) fn for_update(read: ReadPlan, isolation: Isolation) -> ReadPlan {
    match read {
        ReadPlan::Range(_) => ReadPlan::Range(LockMode::Update),
        ReadPlan::As(Read::SkipLocked { .. }) => ReadPlan::As(Read::SkipLocked {
            lock: Some(LockMode::Update),
        }),
        ReadPlan::Snapshot if isolation == Isolation::Snapshot => ReadPlan::Snapshot,
        _ => ReadPlan::As(Read::Committed {
            lock: Some(LockMode::Update),
        }),
    }
}

impl Run<'_> {
    /// Runs UPDATE and gives the number of rows.
    pub(crate) fn update(&mut self, update: &Update) -> SqlResult<u64> {
        let (plan, sets, writer, output, top) = self.bind(|binder| {
            binder.ctes.extend(update.ctes.iter().cloned());
            let plan = TargetPlan::bind(
                binder,
                &update.target,
                &update.hints,
                &update.from,
                update.filter.as_ref(),
            )?;
            binder.session.allow(plan.id, "UPDATE")?;
            let sets = bind_sets(binder, &update.assignments, &plan.table)?;
            let writer = TableWriter::prepare(binder, plan.id, true)?;
            let output = bind_output(binder, update.output.as_ref(), &plan)?;
            let top = bind_top(binder, update.top.as_ref())?;
            Ok((plan, sets, writer, output, top))
        })?;
        let found = self.targets(&plan, top)?;
        let set = set_columns(&sets);
        // Whoever asks for the new rows needs them whole.
        let is_asked = output.is_some()
            || !self.session.triggers(writer.id, writer.table.database).is_empty()
            || !self.references_to(writer.id).is_empty();
        let sets_alone = !is_asked && writer.sets_alone(&set);
        let mut changes = Vec::with_capacity(found.len());
        for (id, row) in &found {
            let assigned = self.assigned(&sets, row)?;
            let row = if sets_alone {
                NewRow::Set(writer.complete_set(self, assigned)?)
            } else {
                let mut values = plan.own(row).to_vec();
                for (column, value) in assigned {
                    values[column] = value;
                }
                NewRow::Whole(writer.complete(self, values, "UPDATE")?)
            };
            changes.push(Change::update(*id, row, Arc::clone(&set)));
        }
        let written = writer.write(self, changes)?;
        self.check_references(&writer, written.iter().flatten(), "UPDATE")?;
        let inserted: Vec<Row> = written.into_iter().flatten().collect();
        self.report(&plan, output.as_ref(), &found, Some(&inserted), "UPDATE")?;
        let deleted = self.old_rows(&writer, &plan, &found);
        self.check_referenced(&writer, deleted.iter().zip(inserted.iter().map(Some)), "UPDATE")?;
        self.fire(&writer, "UPDATE", &inserted, &deleted)?;
        Ok(found.len() as u64)
    }

    /// Runs DELETE and gives the number of rows.
    pub(crate) fn delete(&mut self, delete: &Delete) -> SqlResult<u64> {
        let (plan, writer, output, top) = self.bind(|binder| {
            binder.ctes.extend(delete.ctes.iter().cloned());
            let plan = TargetPlan::bind(
                binder,
                &delete.target,
                &delete.hints,
                &delete.from,
                delete.filter.as_ref(),
            )?;
            binder.session.allow(plan.id, "DELETE")?;
            let writer = TableWriter::prepare(binder, plan.id, false)?;
            let output = bind_output(binder, delete.output.as_ref(), &plan)?;
            let top = bind_top(binder, delete.top.as_ref())?;
            Ok((plan, writer, output, top))
        })?;
        let found = self.targets(&plan, top)?;
        let changes = found.iter().map(|(id, _)| Change::delete(*id)).collect();
        writer.write(self, changes)?;
        self.report(&plan, output.as_ref(), &found, None, "DELETE")?;
        let deleted = self.old_rows(&writer, &plan, &found);
        self.check_referenced(&writer, deleted.iter().map(|row| (row, None)), "DELETE")?;
        self.fire(&writer, "DELETE", &[], &deleted)?;
        Ok(found.len() as u64)
    }

    /// The rows as they were, if a foreign key or a trigger may ask for them.
    fn old_rows(&self, writer: &TableWriter, plan: &TargetPlan, found: &[(RowId, Row)]) -> Vec<Row> {
        let triggers = self.session.triggers(writer.id, writer.table.database);
        if triggers.is_empty() && self.references_to(writer.id).is_empty() {
            return Vec::new();
        }
        found.iter().map(|(_, row)| plan.own(row).into()).collect()
    }

    /// The rows to change, each once.
    fn targets(&mut self, plan: &TargetPlan, top: Option<BoundExpr>) -> SqlResult<Vec<(RowId, Row)>> {
        let limit = match top {
            Some(top) => self.value(&top)?.as_integer().unwrap_or_default().max(0) as usize,
            None => usize::MAX,
        };
        let limit = limit.min(usize::try_from(self.session.options.row_count_limit()).unwrap_or(usize::MAX));
        let mut seen = FxHashSet::default();
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.source(&plan.source, &mut |run, row| {
            if !run.all_hold(&plan.filter, &row)? {
                return Ok(Flow::Continue);
            }
            if let Some(id) = row.get(plan.row_id).and_then(Value::as_integer)
                && seen.insert(id as RowId)
            {
                found.push((id as RowId, row));
            }
            Ok(if found.len() >= limit {
                Flow::Stop
            } else {
                Flow::Continue
            })
        })?;
        Ok(found)
    }

    /// The columns' new values over a row of the source; variables are set on the way.
    pub(crate) fn assigned(&mut self, sets: &[Set], row: &Row) -> SqlResult<Vec<(usize, Value)>> {
        let mut values = Vec::with_capacity(sets.len());
        for set in sets {
            let value = self.value_over(&set.value, row)?;
            if let Some(variable) = &set.variable {
                let value = match &set.variable_value {
                    Some(expr) => self.value_over(expr, row)?,
                    None => value.clone(),
                };
                self.variables.set(variable, value);
            }
            if let Some(column) = set.column {
                values.push((column, value));
            }
        }
        Ok(values)
    }

    fn report(
        &mut self,
        plan: &TargetPlan,
        output: Option<&OutputPlan>,
        found: &[(RowId, Row)],
        inserted: Option<&[Row]>,
        action: &'static str,
    ) -> SqlResult<()> {
        let Some(output) = output else { return Ok(()) };
        let mut rows = Vec::with_capacity(found.len());
        for (at, (_, source)) in found.iter().enumerate() {
            let deleted: Row = plan.own(source).into();
            let over = OutputRow {
                inserted: inserted.and_then(|rows| rows.get(at)),
                deleted: Some(&deleted),
                source,
                action,
                width: plan.table.columns.len(),
            };
            rows.push(output.row(self, over)?);
        }
        output.deliver(self, rows)
    }
}

fn bind_output(
    binder: &mut Binder<'_>,
    clause: Option<&OutputClause>,
    plan: &TargetPlan,
) -> SqlResult<Option<OutputPlan>> {
    let Some(clause) = clause else { return Ok(None) };
    let output = OutputPlan::bind(binder, clause, &plan.table, &plan.columns)?;
    binder.session.refuse_output_with_triggers(plan.id, &output)?;
    Ok(Some(output))
}

fn bind_top(binder: &mut Binder<'_>, top: Option<&Top>) -> SqlResult<Option<BoundExpr>> {
    binder.count(top.map(|top| &top.count))
}

/// The columns that SET items assign, in their order.
pub(crate) fn set_columns(sets: &[Set]) -> Arc<[usize]> {
    sets.iter().filter_map(|set| set.column).collect()
}

/// Binds SET items over the current block's columns.
pub(crate) fn bind_sets(
    binder: &mut Binder<'_>,
    assignments: &[Assignment],
    table: &Table,
) -> SqlResult<Vec<Set>> {
    let mut sets: Vec<Set> = Vec::with_capacity(assignments.len());
    for assignment in assignments {
        let set = match assignment {
            Assignment::Column { column, op, value } => {
                let at = settable(table, column)?;
                if sets.iter().any(|set| set.column == Some(at)) {
                    return Err(SqlError::user(
                        264,
                        format!(
                            "The column name '{}' is specified more than once in the SET clause or column list of an INSERT. A column cannot be assigned more than one value in the same clause.",
                            column.name
                        ),
                    ));
                }
                let value = default_or(value, table, at);
                let value = combined(&Expr::Column(column.clone()), *op, &value);
                Set {
                    column: Some(at),
                    variable: None,
                    value: stored(binder, &value, &table.columns[at])?,
                    variable_value: None,
                }
            }
            Assignment::Variable {
                variable,
                column,
                op,
                value,
            } => {
                let info = crate::eval::Scope::variable(binder, variable)?;
                let left = match column {
                    Some(column) => Expr::Column(column.clone()),
                    None => Expr::Variable(variable.clone()),
                };
                let value = combined(&left, *op, value);
                let for_variable = convert_to(bind(&value, binder)?, info)?;
                match column {
                    Some(column) => {
                        let at = settable(table, column)?;
                        Set {
                            column: Some(at),
                            variable: Some(variable.clone()),
                            value: stored(binder, &value, &table.columns[at])?,
                            variable_value: Some(for_variable),
                        }
                    }
                    None => Set {
                        column: None,
                        variable: Some(variable.clone()),
                        value: for_variable,
                        variable_value: None,
                    },
                }
            }
        };
        sets.push(set);
    }
    Ok(sets)
}

/// `SET c = DEFAULT` takes the column's default.
fn default_or(value: &Expr, table: &Table, at: usize) -> Expr {
    match value {
        Expr::Default => {
            let default = table.columns[at].default.as_ref();
            default.map_or(Expr::Literal(crate::ast::Literal::Null), |default| {
                default.value.expr.clone()
            })
        }
        value => value.clone(),
    }
}

/// `a op= b` as `a op b`.
pub(crate) fn combined(left: &Expr, op: Option<BinaryOp>, value: &Expr) -> Expr {
    match op {
        None => value.clone(),
        Some(op) => Expr::Binary {
            op,
            left: Box::new(left.clone()),
            right: Box::new(value.clone()),
        },
    }
}

/// Errors: 207, 271, 272, 8102.
fn settable(table: &Table, name: &ColumnName) -> SqlResult<usize> {
    let at = table
        .column(&name.name)
        .ok_or_else(|| SqlError::user(207, format!("Invalid column name '{}'.", name.name)))?;
    let column = &table.columns[at];
    if column.computed.is_some() {
        return Err(SqlError::user(
            271,
            format!(
                "The column \"{}\" cannot be modified because it is either a computed column or is the result of a UNION operator.",
                column.name
            ),
        ));
    }
    if column.info.ty == SqlType::RowVersion {
        return Err(SqlError::user(272, "Cannot update a timestamp column."));
    }
    if column.identity.is_some() {
        return Err(SqlError::user(
            8102,
            format!("Cannot update identity column '{}'.", column.name),
        ));
    }
    Ok(at)
}
