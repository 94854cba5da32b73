//! MERGE.

use std::collections::HashSet;

use super::change::{Set, bind_sets, for_update, set_columns};
use super::draft::{Draft, LeafSource, join, row_id_column};
use super::insert::insertable;
use super::output::{OutputPlan, OutputRow, target_table};
use super::plan::Source;
use super::run::Run;
use super::scope::BoundColumn;
use super::writer::{Change, TableWriter, stored};
use crate::ast::{Expr, JoinKind, Merge, MergeAction, MergeWhen, Target};
use crate::error::{SqlError, SqlResult};
use crate::eval::{BoundExpr, bind_predicate};
use crate::outcome::Flow;
use crate::store::{NewRow, Row, RowId};
use crate::value::Value;

/// A bound WHEN clause.
struct Clause {
    when: MergeWhen,
    condition: Option<BoundExpr>,
    action: Action,
}

enum Action {
    Update(Vec<Set>),
    Delete,
    /// The columns given, and their values; `None` is the column's default.
    Insert(Vec<usize>, Vec<Option<BoundExpr>>),
}

/// A bound MERGE. Rows of the join: the source's columns, the target's, the target's row id.
struct MergePlan {
    joined: Source,
    /// The target alone, for WHEN NOT MATCHED BY SOURCE.
    rest: Option<Source>,
    source_width: usize,
    clauses: Vec<Clause>,
    writer: TableWriter,
    output: Option<OutputPlan>,
}

/// What happens to one row.
struct Step {
    change: Change,
    action: &'static str,
    /// The target's row before.
    before: Option<Row>,
    joined: Row,
}

impl Run<'_> {
    /// Runs MERGE and gives the number of rows changed.
    pub(crate) fn merge(&mut self, merge: &Merge) -> SqlResult<u64> {
        if merge.top.is_some() {
            return Err(SqlError::unsupported("MERGE TOP"));
        }
        let plan = self.bind(|binder| bind_merge(binder, merge))?;
        let rows = self.merge_rows(&plan)?;
        let mut steps = Vec::new();
        let mut touched: HashSet<RowId> = HashSet::new();
        for (row, by_source) in rows {
            if let Some(step) = self.merge_step(&plan, row, by_source)? {
                if step.change.id.is_some_and(|id| !touched.insert(id)) {
                    return Err(SqlError::user(
                        8672,
                        "The MERGE statement attempted to UPDATE or DELETE the same row more than once. This happens when a target row matches more than one source row. A MERGE statement cannot UPDATE/DELETE the same row of the target table multiple times. Refine the ON clause to ensure a target row matches at most one source row, or use the GROUP BY clause to group the source rows.",
                    ));
                }
                steps.push(step);
            }
        }
        self.merge_write(&plan, steps)
    }

    /// The join's rows; true for rows of the target that no source row matches.
    fn merge_rows(&mut self, plan: &MergePlan) -> SqlResult<Vec<(Row, bool)>> {
        let mut rows = Vec::new();
        let mut matched = HashSet::new();
        self.source(&plan.joined, &mut |_, row| {
            if let Some(Value::BigInt(id)) = row.last() {
                matched.insert(*id);
            }
            rows.push((row, false));
            Ok(Flow::Continue)
        })?;
        if let Some(rest) = &plan.rest {
            let nulls = vec![Value::Null; plan.source_width];
            self.source(rest, &mut |_, row| {
                if !matches!(row.last(), Some(Value::BigInt(id)) if matched.contains(id)) {
                    rows.push((nulls.iter().chain(row.iter()).cloned().collect(), true));
                }
                Ok(Flow::Continue)
            })?;
        }
        Ok(rows)
    }

    fn merge_step(&mut self, plan: &MergePlan, row: Row, by_source: bool) -> SqlResult<Option<Step>> {
        let id = row.last().and_then(Value::as_integer).map(|id| id as RowId);
        let when = match (id, by_source) {
            (None, _) => MergeWhen::NotMatchedByTarget,
            (Some(_), true) => MergeWhen::NotMatchedBySource,
            (Some(_), false) => MergeWhen::Matched,
        };
        let mut chosen = None;
        for clause in plan.clauses.iter().filter(|clause| clause.when == when) {
            let fits = match &clause.condition {
                Some(condition) => self.all_hold(std::slice::from_ref(condition), &row)?,
                None => true,
            };
            if fits {
                chosen = Some(clause);
                break;
            }
        }
        let Some(clause) = chosen else { return Ok(None) };
        let width = plan.writer.table.columns.len();
        let own: Row = row[plan.source_width..plan.source_width + width].into();
        let step = match &clause.action {
            Action::Delete => Step {
                change: Change {
                    id,
                    row: None,
                    set: None,
                },
                action: "DELETE",
                before: Some(own),
                joined: row,
            },
            Action::Update(sets) => {
                let mut values = own.to_vec();
                for (column, value) in self.assigned(sets, &row)? {
                    values[column] = value;
                }
                let new = plan.writer.complete(self, values, "UPDATE")?;
                Step {
                    change: Change {
                        id,
                        row: Some(NewRow::Whole(new)),
                        set: Some(set_columns(sets)),
                    },
                    action: "UPDATE",
                    before: Some(own),
                    joined: row,
                }
            }
            Action::Insert(places, exprs) => {
                self.set_row(row.clone());
                let mut given = Vec::with_capacity(exprs.len());
                for (expr, at) in exprs.iter().zip(places) {
                    let value = match expr {
                        Some(expr) => self.value_over(expr, &row)?,
                        None => plan.writer.default(self, *at)?,
                    };
                    given.push((*at, value));
                }
                let values = plan.writer.values(self, given)?;
                let new = plan.writer.complete(self, values, "INSERT")?;
                Step {
                    change: Change::insert(new),
                    action: "INSERT",
                    before: None,
                    joined: row,
                }
            }
        };
        Ok(Some(step))
    }

    /// Deletes first, so that an insert may take a deleted row's key; then updates, then inserts.
    fn merge_write(&mut self, plan: &MergePlan, mut steps: Vec<Step>) -> SqlResult<u64> {
        steps.sort_by_key(|step| match step.action {
            "DELETE" => 0,
            "UPDATE" => 1,
            _ => 2,
        });
        let changes = steps.iter().map(|step| step.change.clone()).collect();
        let written = plan.writer.write(self, changes)?;
        self.check_references(&plan.writer, written.iter().flatten(), "MERGE")?;
        let pairs = steps
            .iter()
            .zip(&written)
            .filter_map(|(step, new)| Some((step.before.as_ref()?, new.as_ref())));
        self.check_referenced(&plan.writer, pairs.collect::<Vec<_>>().into_iter(), "MERGE")?;
        if let Some(output) = &plan.output {
            let mut rows = Vec::with_capacity(steps.len());
            for (step, new) in steps.iter().zip(&written) {
                let over = OutputRow {
                    inserted: new.as_ref(),
                    deleted: step.before.as_ref(),
                    source: &step.joined,
                    action: step.action,
                    width: plan.writer.table.columns.len(),
                };
                rows.push(output.row(self, over)?);
            }
            output.deliver(self, rows)?;
        }
        for action in ["INSERT", "UPDATE", "DELETE"] {
            let own = || {
                steps
                    .iter()
                    .zip(&written)
                    .filter(|(step, _)| step.action == action)
            };
            let inserted: Vec<Row> = own().filter_map(|(_, new)| new.clone()).collect();
            let deleted: Vec<Row> = own().filter_map(|(step, _)| step.before.clone()).collect();
            if !inserted.is_empty() || !deleted.is_empty() {
                self.fire(&plan.writer, action, &inserted, &deleted)?;
            }
        }
        Ok(steps.len() as u64)
    }
}

fn bind_merge(binder: &mut super::scope::Binder<'_>, merge: &Merge) -> SqlResult<MergePlan> {
    binder.ctes.extend(merge.ctes.iter().cloned());
    let id = target_table(binder, &merge.target)?;
    for action in ["INSERT", "UPDATE", "DELETE"] {
        binder.session.allow(id, action)?;
    }
    let table = binder.session.table_definition(id)?;
    let exposed = match (&merge.alias, &merge.target) {
        (Some(alias), _) => alias.clone(),
        (None, Target::Table(name)) => name.name.clone(),
        (None, Target::Variable(name)) => name.clone(),
    };
    let source = binder.draft_source(&merge.source)?;
    let source_columns = source.columns();
    let target = target_leaf(binder, id, &exposed, merge)?;
    let rest = if merge
        .clauses
        .iter()
        .any(|clause| clause.when == MergeWhen::NotMatchedBySource)
    {
        let leaf = target_leaf(binder, id, &exposed, merge)?;
        Some(binder.finish(leaf, None)?.0)
    } else {
        None
    };
    let inserts = merge
        .clauses
        .iter()
        .any(|clause| clause.when == MergeWhen::NotMatchedByTarget);
    let kind = if inserts { JoinKind::Left } else { JoinKind::Inner };
    let draft = join(kind, source, target, Some(&merge.on))?;
    let columns = draft.columns();
    let (joined, _) = binder.finish(draft, None)?;
    binder.block().columns.clone_from(&columns);
    let writer = TableWriter::prepare(binder, id, true)?;
    let clauses = merge.clauses.iter().map(|clause| {
        let condition = clause
            .condition
            .as_ref()
            .map(|condition| bind_predicate(condition, binder))
            .transpose()?;
        let action = bind_action(
            binder,
            &clause.action,
            &writer,
            id,
            &columns[..source_columns.len()],
        )?;
        Ok(Clause {
            when: clause.when,
            condition,
            action,
        })
    });
    let clauses = clauses.collect::<SqlResult<Vec<_>>>()?;
    let output = merge
        .output
        .as_ref()
        .map(|clause| OutputPlan::bind(binder, clause, &table, &columns))
        .transpose()?;
    if let Some(output) = &output {
        binder.session.refuse_output_with_triggers(id, output)?;
    }
    Ok(MergePlan {
        joined,
        rest,
        source_width: source_columns.len(),
        clauses,
        writer,
        output,
    })
}

fn target_leaf(
    binder: &mut super::scope::Binder<'_>,
    id: crate::store::TableId,
    exposed: &str,
    merge: &Merge,
) -> SqlResult<Draft> {
    let mut leaf = binder.draft_table(id, exposed, None, &merge.hints)?;
    if let Draft::Leaf {
        source: LeafSource::Table {
            read, with_row_id, ..
        },
        columns,
        ..
    } = &mut leaf
    {
        *with_row_id = true;
        columns.push(row_id_column(exposed));
        *read = for_update(*read, binder.session.isolation);
    }
    Ok(leaf)
}

fn bind_action(
    binder: &mut super::scope::Binder<'_>,
    action: &MergeAction,
    writer: &TableWriter,
    id: crate::store::TableId,
    source: &[BoundColumn],
) -> SqlResult<Action> {
    match action {
        MergeAction::Delete => Ok(Action::Delete),
        MergeAction::Update(assignments) => {
            Ok(Action::Update(bind_sets(binder, assignments, &writer.table)?))
        }
        MergeAction::Insert { columns, values } => {
            let Some(values) = values else {
                return Ok(Action::Insert(Vec::new(), Vec::new()));
            };
            let places = insertable(binder, &writer.table, id, columns)?;
            if places.len() != values.len() {
                return Err(SqlError::user(
                    213,
                    "Column name or number of supplied values does not match table definition.",
                ));
            }
            let (exprs, _) = binder.over(source.to_vec(), |binder| {
                let bound = values.iter().zip(&places).map(|(value, at)| match value {
                    Expr::Default => Ok(None),
                    value => stored(binder, value, &writer.table.columns[*at]).map(Some),
                });
                bound.collect::<SqlResult<Vec<_>>>()
            });
            Ok(Action::Insert(places, exprs?))
        }
    }
}
