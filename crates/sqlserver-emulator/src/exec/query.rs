//! Running bound queries: filtering, grouping, windows, DISTINCT, ORDER BY, paging, set operations.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::aggregate::{Accumulator, Piece};
use super::plan::*;
use super::rows::Each;
use super::run::Run;
use super::{bind_query::info_of, window};
use crate::ast::SetOperator;
use crate::error::{SqlError, SqlResult};
use crate::eval::BoundExpr;
use crate::outcome::Flow;
use crate::store::{Row, key};
use crate::types::TypeInfo;
use crate::value::Value;

/// A result row with its place in the order.
type Keyed = (Vec<u8>, Row);

impl Run<'_> {
    /// Pushes a query's rows to `each`, which sees the surrounding query's row as current.
    pub(crate) fn query(&mut self, plan: &QueryPlan, each: Each<'_>) -> SqlResult<()> {
        self.rows.push(Arc::from([]));
        let result = self.query_inside(plan, &mut |run, row| {
            let inner = run.rows.pop();
            let flow = each(run, row);
            run.rows.push(inner.unwrap_or_else(|| Arc::from([])));
            flow
        });
        self.rows.pop();
        result
    }

    fn query_inside(&mut self, plan: &QueryPlan, each: Each<'_>) -> SqlResult<()> {
        match &plan.node {
            Node::Select(select) => self.select(select, each),
            Node::Values(rows) => {
                for row in rows {
                    let row = row
                        .iter()
                        .map(|value| self.value(value))
                        .collect::<SqlResult<Row>>()?;
                    if each(self, row)? == Flow::Stop {
                        break;
                    }
                }
                Ok(())
            }
            Node::SetOperation {
                op,
                left,
                right,
                left_items,
                right_items,
            } => {
                let infos: Vec<TypeInfo> = plan.columns.iter().map(info_of).collect();
                self.set_operation(*op, (left, left_items), (right, right_items), &infos, each)
            }
            Node::Sorted { input, keys, page } => {
                let mut rows: Vec<Keyed> = Vec::new();
                self.query_inside(input, &mut |run, row| {
                    let key = run.sort_key(keys, &row, &row)?;
                    rows.push((key, row));
                    Ok(Flow::Continue)
                })?;
                self.deliver(rows, !keys.is_empty(), page, each)
            }
        }
    }

    fn set_operation(
        &mut self,
        op: SetOperator,
        left: (&QueryPlan, &[BoundExpr]),
        right: (&QueryPlan, &[BoundExpr]),
        infos: &[TypeInfo],
        each: Each<'_>,
    ) -> SqlResult<()> {
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        if op == SetOperator::UnionAll || op == SetOperator::Union {
            for (plan, items) in [left, right] {
                let mut flow = Flow::Continue;
                self.converted(plan, items, &mut |run, row| {
                    if op == SetOperator::UnionAll || seen.insert(row_key(&row, infos)) {
                        flow = each(run, row)?;
                    }
                    Ok(flow)
                })?;
                if flow == Flow::Stop {
                    break;
                }
            }
            return Ok(());
        }
        let mut rights = HashSet::new();
        self.converted(right.0, right.1, &mut |_, row| {
            rights.insert(row_key(&row, infos));
            Ok(Flow::Continue)
        })?;
        self.converted(left.0, left.1, &mut |run, row| {
            let key = row_key(&row, infos);
            let wanted = rights.contains(&key) == (op == SetOperator::Intersect);
            if wanted && seen.insert(key) {
                each(run, row)
            } else {
                Ok(Flow::Continue)
            }
        })
    }

    fn converted(&mut self, plan: &QueryPlan, items: &[BoundExpr], each: Each<'_>) -> SqlResult<()> {
        self.query_inside(plan, &mut |run, row| {
            let row = run.row_of(items, &row)?;
            each(run, row)
        })
    }

    fn row_of(&mut self, items: &[BoundExpr], over: &Row) -> SqlResult<Row> {
        self.set_row(over.clone());
        let mut row = Vec::with_capacity(items.len());
        for item in items {
            row.push(self.value(item)?);
        }
        Ok(row.into())
    }

    fn select(&mut self, plan: &SelectPlan, each: Each<'_>) -> SqlResult<()> {
        let streams = (plan.order.is_empty() || plan.presorted)
            && (!plan.distinct || plan.assignments.is_empty())
            && !plan.page.percent
            && !plan.page.with_ties;
        if streams {
            return self.stream(plan, each);
        }
        // `SELECT @v = @v + c … ORDER BY c` computes its items row by row after sorting: each sees what the last one assigned.
        let late = !plan.assignments.is_empty() && !plan.distinct;
        let mut rows: Vec<Keyed> = Vec::new();
        let mut seen = HashSet::new();
        let infos: Vec<TypeInfo> = plan.items.iter().map(BoundExpr::info).collect();
        self.input(plan, &mut |run, input| {
            let row = run.row_of(&plan.items, &input)?;
            if plan.distinct && !seen.insert(row_key(&row, &infos)) {
                return Ok(Flow::Continue);
            }
            let key = run.sort_key(&plan.order, &row, &input)?;
            rows.push((key, if late { input } else { row }));
            Ok(Flow::Continue)
        })?;
        self.deliver(rows, !plan.order.is_empty(), &plan.page, &mut |run, row| {
            let row = if late { run.row_of(&plan.items, &row)? } else { row };
            each(run, row)
        })
    }

    fn stream(&mut self, plan: &SelectPlan, each: Each<'_>) -> SqlResult<()> {
        let (offset, limit) = self.bounds(&plan.page)?;
        if limit == 0 {
            return Ok(());
        }
        let mut position = 0u64;
        let mut seen = HashSet::new();
        let infos: Vec<TypeInfo> = plan.items.iter().map(BoundExpr::info).collect();
        self.input(plan, &mut |run, input| {
            let mut distinct = None;
            if plan.distinct {
                let row = run.row_of(&plan.items, &input)?;
                if !seen.insert(row_key(&row, &infos)) {
                    return Ok(Flow::Continue);
                }
                distinct = Some(row);
            }
            position += 1;
            if position <= offset {
                return Ok(Flow::Continue);
            }
            let row = match distinct {
                Some(row) => row,
                None => run.row_of(&plan.items, &input)?,
            };
            let flow = each(run, row)?;
            Ok(if position - offset >= limit {
                Flow::Stop
            } else {
                flow
            })
        })
    }

    /// OFFSET and the greatest number of rows. Errors: 10742 negative offset, 1060 NULL.
    pub(super) fn bounds(&mut self, page: &Page) -> SqlResult<(u64, u64)> {
        let mut number = |expr: &Option<BoundExpr>, default: u64| match expr {
            None => Ok(default),
            Some(expr) => match self.value(expr)? {
                Value::BigInt(n) => u64::try_from(n).map_err(|_| {
                    SqlError::new(
                        1014,
                        15,
                        1,
                        "A TOP N or FETCH rowcount value may not be negative.",
                    )
                }),
                _ => Err(SqlError::new(
                    1060,
                    15,
                    1,
                    "The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.",
                )),
            },
        };
        let offset = number(&page.offset, 0)?;
        let limit = if page.percent {
            u64::MAX
        } else {
            number(&page.limit, u64::MAX)?
        };
        Ok((offset, limit.min(self.session.options.row_count_limit())))
    }

    fn deliver(&mut self, mut rows: Vec<Keyed>, sort: bool, page: &Page, each: Each<'_>) -> SqlResult<()> {
        if sort {
            rows.sort_by(|a, b| a.0.cmp(&b.0));
        }
        let (offset, mut limit) = self.bounds(page)?;
        if page.percent
            && let Some(percent) = &page.limit
        {
            let share = self.value(percent)?.as_f64().unwrap_or(100.0);
            limit = (rows.len() as f64 * share / 100.0).ceil() as u64;
        }
        let first = usize::try_from(offset).unwrap_or(usize::MAX).min(rows.len());
        let mut end = first
            .saturating_add(usize::try_from(limit).unwrap_or(usize::MAX))
            .min(rows.len());
        if page.with_ties && end > first {
            while end < rows.len() && rows[end].0 == rows[end - 1].0 {
                end += 1;
            }
        }
        for (_, row) in rows.drain(..end).skip(first) {
            if each(self, row)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    fn sort_key(&mut self, keys: &[SortKey], output: &Row, input: &Row) -> SqlResult<Vec<u8>> {
        let mut out = Vec::new();
        for sort in keys {
            let value = match &sort.value {
                SortValue::Output(at) => output.get(*at).cloned().unwrap_or_default(),
                SortValue::Expr(expr) => self.value_over(expr, input)?,
            };
            key::append(&value, sort.info.collation, sort.descending, &mut out);
        }
        Ok(out)
    }

    /// The rows that the select list stands over: filtered, grouped, with window functions appended.
    fn input(&mut self, plan: &SelectPlan, each: Each<'_>) -> SqlResult<()> {
        if plan.windows.is_empty() {
            return self.grouped(plan, each);
        }
        let mut rows = Vec::new();
        self.grouped(plan, &mut |_, row| {
            rows.push(row);
            Ok(Flow::Continue)
        })?;
        for row in window::append(self, &plan.windows, rows)? {
            if each(self, row)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    fn grouped(&mut self, plan: &SelectPlan, each: Each<'_>) -> SqlResult<()> {
        let Some(group) = &plan.group else {
            return self.filtered(plan, each);
        };
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut groups: Vec<(Vec<Value>, Vec<Accumulator>)> = Vec::new();
        let fresh = |keys| {
            (
                keys,
                group.aggregates.iter().map(Accumulator::new).collect::<Vec<_>>(),
            )
        };
        if group.scalar {
            places.insert(Vec::new(), 0);
            groups.push(fresh(Vec::new()));
        }
        self.filtered(plan, &mut |run, row| {
            run.set_row(row.clone());
            let mut key = Vec::new();
            let mut values = Vec::with_capacity(group.keys.len());
            for expr in &group.keys {
                let value = run.value(expr)?;
                key::append(&value, expr.info().collation, false, &mut key);
                values.push(value);
            }
            let at = *places.entry(key).or_insert_with(|| {
                groups.push(fresh(values));
                groups.len() - 1
            });
            for (aggregate, accumulator) in group.aggregates.iter().zip(&mut groups[at].1) {
                run.accumulate(aggregate, accumulator)?;
                if group.by_first && !accumulator.is_empty() {
                    return Ok(Flow::Stop);
                }
            }
            Ok(Flow::Continue)
        })?;
        for (mut values, accumulators) in groups {
            for (aggregate, accumulator) in group.aggregates.iter().zip(accumulators) {
                values.push(accumulator.finish(aggregate)?);
            }
            let row: Row = values.into();
            let wanted = match &plan.having {
                Some(having) => self.all_hold(std::slice::from_ref(having), &row)?,
                None => true,
            };
            if wanted && each(self, row)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    /// Gives the current row to an aggregate.
    pub(crate) fn accumulate(
        &mut self,
        aggregate: &AggregatePlan,
        accumulator: &mut Accumulator,
    ) -> SqlResult<()> {
        let value = match &aggregate.argument {
            Some(argument) => self.value(argument)?,
            None => Value::Bit(true),
        };
        let separator = match &aggregate.separator {
            Some(separator) => self.value(separator)?,
            None => Value::Null,
        };
        let mut place = Vec::new();
        for (expr, descending) in &aggregate.order {
            let value = self.value(expr)?;
            key::append(&value, expr.info().collation, *descending, &mut place);
        }
        accumulator.add(aggregate, value, Piece { place, separator })
    }

    fn filtered(&mut self, plan: &SelectPlan, each: Each<'_>) -> SqlResult<()> {
        self.source(&plan.source, &mut |run, row| {
            if run.all_hold(&plan.filter, &row)? {
                each(run, row)
            } else {
                Ok(Flow::Continue)
            }
        })?;
        Ok(())
    }
}

/// What makes two rows the same for DISTINCT and set operations.
fn row_key(row: &Row, infos: &[TypeInfo]) -> Vec<u8> {
    let mut out = Vec::new();
    for (value, info) in row.iter().zip(infos) {
        key::append(value, info.collation, false, &mut out);
    }
    out
}
