//! Binding one SELECT: its FROM and WHERE, its list, its order.

use super::access::named_columns;
use super::bind_query::{info_of, output_position, result_column};
use super::draft::{Draft, places};
use super::plan::{Node, QueryPlan, RowFunction, SelectPlan, SortKey, SortValue, Source, VariableAssignment};
use super::scope::{Binder, Block, BoundColumn, same};
use super::walk::{collect_functions, conjuncts};
use crate::ast::{ColumnName, Expr, Literal, OrderItem, Query, Select, SelectItem};
use crate::error::{SqlError, SqlResult};
use crate::eval::{BoundExpr, bind, bind_predicate};
use crate::outcome::ResultColumn;

/// A select list's entry, stars expanded.
struct Item {
    expr: Expr,
    name: String,
    assignment: Option<VariableAssignment>,
}

impl Binder<'_> {
    pub(super) fn select(&mut self, select: &Select, query: &Query) -> SqlResult<QueryPlan> {
        self.blocks.push(Block::default());
        let plan = self.select_in_block(select, query);
        let correlated = self.blocks.pop().is_some_and(|block| block.correlated);
        plan.map(|(columns, plan)| QueryPlan {
            columns,
            node: Node::Select(Box::new(plan)),
            correlated,
        })
    }

    fn select_in_block(
        &mut self,
        select: &Select,
        query: &Query,
    ) -> SqlResult<(Vec<ResultColumn>, SelectPlan)> {
        let mut draft = self.draft(&select.from)?;
        draft.flatten(self.session)?;
        let columns = draft.columns();
        let residual = self.place_filter(&mut draft, select.filter.as_ref(), &columns)?;
        let items = expand_items(&select.items, &columns)?;
        let (aggregates, windows) = functions(&items, select, &query.order_by);
        let grouped = !select.group_by.is_empty() || !aggregates.is_empty() || select.having.is_some();
        let plain = !grouped && windows.is_empty() && !select.distinct;
        let wanted = if plain {
            wanted_order(&query.order_by, &items, &draft)
        } else if select.group_by.is_empty() {
            extreme_order(&aggregates, &draft)
        } else {
            None
        };
        let (mut source, presorted) = self.finish(draft, wanted.as_ref())?;
        self.block().columns = columns;
        let filter = self.predicates(&residual)?;
        let group = if grouped {
            let mut group = self.group(&select.group_by, &aggregates)?;
            group.by_first = presorted;
            Some(group)
        } else {
            None
        };
        let having = select
            .having
            .as_ref()
            .map(|having| bind_predicate(having, self))
            .transpose()?;
        let windows = self.windows(&windows, group.as_ref())?;
        let bound = items
            .iter()
            .map(|item| bind(&item.expr, self))
            .collect::<SqlResult<Vec<_>>>()?;
        let named: Vec<ResultColumn> = items
            .iter()
            .zip(&bound)
            .map(|(item, bound)| self.describe(item, bound))
            .collect();
        let order = self.order(&query.order_by, &items, &named, select.distinct)?;
        let page = self.page(select, query)?;
        let computed = items.iter().map(|item| &item.expr);
        let computed = computed.filter(|expr| !matches!(expr, Expr::Column(_)));
        let looked_at = named_columns(computed, &self.block().columns);
        let assignments = assignments(items)?;
        if !grouped && windows.is_empty() && filter.is_empty() {
            let bare = bound.iter().map(BoundExpr::as_column);
            let sorted = order.iter().map(|sort| match &sort.value {
                SortValue::Output(_) => None,
                SortValue::Expr(expr) => Some(expr.as_column()),
            });
            let wanted = bare.chain(sorted.flatten()).collect();
            match &mut source {
                Source::Scan(scan) if scan.probe.is_none() => scan.wanted = wanted,
                Source::Function { function, filter } if filter.is_empty() => {
                    if let RowFunction::Captured(range) = &mut **function {
                        range.wanted = wanted;
                    }
                }
                _ => {}
            }
        }
        let plan = SelectPlan {
            source,
            filter,
            group,
            having,
            windows,
            items: bound,
            looked_at,
            assignments,
            distinct: select.distinct,
            order,
            presorted,
            page,
        };
        Ok((named, plan.flattened()))
    }

    /// Lets WHERE's conditions sink into the draft; what has to stay above is given back.
    pub(crate) fn place_filter(
        &mut self,
        draft: &mut Draft,
        filter: Option<&Expr>,
        columns: &[BoundColumn],
    ) -> SqlResult<Vec<Expr>> {
        let mut residual = Vec::new();
        for condition in filter.map(conjuncts).unwrap_or_default() {
            let sunk = match places(condition, columns)? {
                Some(places) => draft.sink(condition, &places),
                None => false,
            };
            if !sunk {
                residual.push(condition.clone());
            }
        }
        Ok(residual)
    }

    fn describe(&mut self, item: &Item, bound: &BoundExpr) -> ResultColumn {
        let mut column = result_column(item.name.clone(), bound.info());
        column.read_only = true;
        let block = self.block();
        if block.grouped.is_none()
            && let Expr::Column(name) = &item.expr
            && let Ok(Some(at)) = super::scope::find_column(&block.columns, name)
        {
            column.identity = block.columns[at].identity;
            column.read_only = block.columns[at].read_only;
        }
        column
    }

    fn order(
        &mut self,
        order: &[OrderItem],
        items: &[Item],
        named: &[ResultColumn],
        distinct: bool,
    ) -> SqlResult<Vec<SortKey>> {
        let mut keys = Vec::with_capacity(order.len());
        for item in order {
            let output = output_position(item, named)?
                .or_else(|| items.iter().position(|known| known.expr == item.expr));
            let key = match output {
                Some(at) => SortKey {
                    value: SortValue::Output(at),
                    info: info_of(&named[at]),
                    descending: item.descending,
                },
                None if distinct => {
                    return Err(SqlError::new(
                        145,
                        15,
                        1,
                        "ORDER BY items must appear in the select list if SELECT DISTINCT is specified.",
                    ));
                }
                None => {
                    let bound = bind(&item.expr, self)?;
                    SortKey {
                        info: bound.info(),
                        value: SortValue::Expr(bound),
                        descending: item.descending,
                    }
                }
            };
            keys.push(key);
        }
        Ok(keys)
    }
}

fn assignments(items: Vec<Item>) -> SqlResult<Vec<VariableAssignment>> {
    let count = items.len();
    let assignments: Vec<_> = items.into_iter().filter_map(|item| item.assignment).collect();
    if !assignments.is_empty() && assignments.len() != count {
        return Err(SqlError::new(
            141,
            15,
            1,
            "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval operations.",
        ));
    }
    Ok(assignments)
}

fn functions(items: &[Item], select: &Select, order: &[OrderItem]) -> (Vec<Expr>, Vec<Expr>) {
    let (mut aggregates, mut windows) = (Vec::new(), Vec::new());
    let exprs = items
        .iter()
        .map(|item| &item.expr)
        .chain(&select.having)
        .chain(order.iter().map(|item| &item.expr));
    for expr in exprs {
        collect_functions(expr, &mut aggregates, &mut windows);
    }
    (aggregates, windows)
}

/// A query's ORDER BY in terms of its only table's columns, if it can be put so.
fn wanted_order(order: &[OrderItem], items: &[Item], draft: &Draft) -> Option<Vec<(usize, bool)>> {
    let Draft::Leaf { columns, .. } = draft else {
        return None;
    };
    let mut wanted = Vec::with_capacity(order.len());
    for item in order {
        let expr = match &item.expr {
            Expr::Literal(Literal::Int(position)) => {
                &items.get(usize::try_from(*position).ok()?.checked_sub(1)?)?.expr
            }
            Expr::Column(name) if name.qualifier.is_empty() => items
                .iter()
                .find(|known| same(&known.name, &name.name))
                .map_or(&item.expr, |known| &known.expr),
            other => other,
        };
        let Expr::Column(name) = expr else { return None };
        wanted.push((super::scope::find_column(columns, name).ok()??, item.descending));
    }
    (!wanted.is_empty()).then_some(wanted)
}

/// The order in which the only aggregate's result comes first, if that is the least or greatest value of the only table's column.
fn extreme_order(aggregates: &[Expr], draft: &Draft) -> Option<Vec<(usize, bool)>> {
    let (Draft::Leaf { columns, .. }, [Expr::Function(call)]) = (draft, aggregates) else {
        return None;
    };
    let ([Expr::Column(name)], "MIN" | "MAX") = (call.arguments.as_slice(), call.name.as_str()) else {
        return None;
    };
    let column = super::scope::find_column(columns, name).ok()??;
    Some(vec![(column, call.name == "MAX")])
}

fn expand_items(items: &[SelectItem], columns: &[BoundColumn]) -> SqlResult<Vec<Item>> {
    let mut expanded = Vec::with_capacity(items.len());
    for item in items {
        match item {
            SelectItem::Star { qualifier } => {
                let before = expanded.len();
                for column in columns
                    .iter()
                    .filter(|column| !column.hidden && column.is_exposed_by(qualifier))
                {
                    let name = ColumnName {
                        qualifier: vec![column.table.clone()],
                        name: column.name.clone(),
                    };
                    expanded.push(Item {
                        expr: Expr::Column(name),
                        name: column.name.clone(),
                        assignment: None,
                    });
                }
                if expanded.len() == before {
                    return Err(match qualifier.last() {
                        None => SqlError::user(263, "Must specify table to select from."),
                        Some(table) => SqlError::new(
                            107,
                            15,
                            1,
                            format!(
                                "The column prefix '{table}' does not match with a table name or alias name used in the query."
                            ),
                        ),
                    });
                }
            }
            SelectItem::Expr { expr, alias } => {
                let name = alias.clone().unwrap_or_else(|| match expr {
                    Expr::Column(name) => name.name.clone(),
                    _ => String::new(),
                });
                expanded.push(Item {
                    expr: expr.clone(),
                    name,
                    assignment: None,
                });
            }
            SelectItem::Assign { variable, op, value } => expanded.push(Item {
                expr: value.clone(),
                name: String::new(),
                assignment: Some(VariableAssignment {
                    variable: variable.clone(),
                    op: *op,
                }),
            }),
        }
    }
    Ok(expanded)
}
