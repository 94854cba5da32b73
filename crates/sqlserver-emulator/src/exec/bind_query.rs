//! Binding queries: SELECT, VALUES, set operations, ORDER BY.

use std::collections::HashMap;

use super::draft::{Draft, places};
use super::plan::*;
use super::scope::{Binder, Block, BoundColumn, same};
use super::walk::{collect_functions, conjuncts};
use crate::ast::{
    ColumnName, Expr, FrameBound, FunctionCall, Literal, OrderItem, Query, QueryBody, Select, SelectItem,
};
use crate::error::{SqlError, SqlResult};
use crate::eval::{self, BoundExpr, Slot, SlotInfo, bind, bind_predicate, convert_to};
use crate::outcome::ResultColumn;
use crate::types::{SqlType, TypeInfo};

/// A select list's entry, stars expanded.
struct Item {
    expr: Expr,
    name: String,
    assignment: Option<VariableAssignment>,
}

impl Binder<'_> {
    /// Binds a query with its CTEs and its ORDER BY.
    pub(crate) fn query(&mut self, query: &Query) -> SqlResult<QueryPlan> {
        if let Some(what) = &query.for_clause {
            return Err(SqlError::unsupported(format_args!("FOR {what}")));
        }
        let outer_ctes = self.ctes.len();
        self.ctes.extend(query.ctes.iter().cloned());
        let plan = match &query.body {
            QueryBody::Select(select) => self.select(select, query),
            body => self.sorted(body, query),
        };
        self.ctes.truncate(outer_ctes);
        plan
    }

    fn sorted(&mut self, body: &QueryBody, query: &Query) -> SqlResult<QueryPlan> {
        let input = self.body(body)?;
        if query.order_by.is_empty() && query.offset.is_none() {
            return Ok(input);
        }
        let keys = query
            .order_by
            .iter()
            .map(|item| output_key(item, &input.columns))
            .collect::<SqlResult<_>>()?;
        let page = Page {
            offset: self.count(query.offset.as_ref())?,
            limit: self.count(query.fetch.as_ref())?,
            ..Page::default()
        };
        Ok(QueryPlan {
            columns: input.columns.clone(),
            correlated: input.correlated,
            node: Node::Sorted {
                input: Box::new(input),
                keys,
                page,
            },
        })
    }

    fn body(&mut self, body: &QueryBody) -> SqlResult<QueryPlan> {
        match body {
            QueryBody::Select(select) => {
                let plain = Query {
                    ctes: Vec::new(),
                    body: QueryBody::Values(Vec::new()),
                    order_by: Vec::new(),
                    offset: None,
                    fetch: None,
                    for_clause: None,
                    options: Vec::new(),
                };
                self.select(select, &plain)
            }
            QueryBody::SetOperation { op, left, right } => {
                let left = self.body(left)?;
                let right = self.body(right)?;
                self.set_operation(*op, left, right)
            }
            QueryBody::Values(rows) => self.values(rows),
        }
    }

    fn values(&mut self, rows: &[Vec<Expr>]) -> SqlResult<QueryPlan> {
        self.blocks.push(Block::default());
        let bound: SqlResult<Vec<Vec<BoundExpr>>> = rows
            .iter()
            .map(|row| row.iter().map(|value| bind(value, self)).collect())
            .collect();
        let correlated = self.blocks.pop().is_some_and(|block| block.correlated);
        let mut bound = bound?;
        let width = bound.first().map_or(0, Vec::len);
        if bound.iter().any(|row| row.len() != width) {
            return Err(SqlError::user(
                10709,
                "The number of columns for each row in a table value constructor must be the same.",
            ));
        }
        let mut columns = Vec::with_capacity(width);
        for at in 0..width {
            let infos = bound.iter().filter_map(|row| row.get(at)).map(BoundExpr::info);
            let info = infos.reduce(eval::unify).unwrap_or(TypeInfo::new(SqlType::Int));
            columns.push(result_column(String::new(), info));
        }
        for row in &mut bound {
            let converted = std::mem::take(row)
                .into_iter()
                .zip(&columns)
                .map(|(value, column)| convert_to(value, info_of(column)));
            *row = converted.collect::<SqlResult<_>>()?;
        }
        Ok(QueryPlan {
            columns,
            node: Node::Values(bound),
            correlated,
        })
    }

    fn set_operation(
        &mut self,
        op: crate::ast::SetOperator,
        left: QueryPlan,
        right: QueryPlan,
    ) -> SqlResult<QueryPlan> {
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::user(
                205,
                "All queries combined using a UNION, INTERSECT or EXCEPT operator must have an equal number of expressions in their target lists.",
            ));
        }
        let infos: Vec<TypeInfo> = left
            .columns
            .iter()
            .zip(&right.columns)
            .map(|(a, b)| eval::unify(info_of(a), info_of(b)))
            .collect();
        let left_items = self.converted(&left.columns, &infos)?;
        let right_items = self.converted(&right.columns, &infos)?;
        let named = left
            .columns
            .iter()
            .zip(&infos)
            .map(|(column, info)| result_column(column.name.clone(), *info));
        Ok(QueryPlan {
            columns: named.collect(),
            correlated: left.correlated || right.correlated,
            node: Node::SetOperation {
                op,
                left: Box::new(left),
                right: Box::new(right),
                left_items,
                right_items,
            },
        })
    }

    /// The columns of a query's result, converted to other types.
    fn converted(&mut self, columns: &[ResultColumn], infos: &[TypeInfo]) -> SqlResult<Vec<BoundExpr>> {
        self.blocks.push(Block::default());
        let items = columns.iter().zip(infos).enumerate().map(|(at, (column, info))| {
            let slot = SlotInfo {
                slot: Slot {
                    depth: 0,
                    index: at as u32,
                },
                info: info_of(column),
            };
            convert_to(BoundExpr::column(slot), *info)
        });
        let items = items.collect();
        self.blocks.pop();
        items
    }

    fn select(&mut self, select: &Select, query: &Query) -> SqlResult<QueryPlan> {
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
        let columns = draft.columns();
        let residual = self.place_filter(&mut draft, select.filter.as_ref(), &columns)?;
        let items = expand_items(&select.items, &columns)?;
        let (aggregates, windows) = functions(&items, select, &query.order_by);
        let grouped = !select.group_by.is_empty() || !aggregates.is_empty() || select.having.is_some();
        let plain = !grouped && windows.is_empty() && !select.distinct;
        let wanted = plain
            .then(|| wanted_order(&query.order_by, &items, &draft))
            .flatten();
        let (source, presorted) = self.finish(draft, wanted.as_ref())?;
        self.block().columns = columns;
        let filter = self.predicates(&residual)?;
        let group = if grouped {
            Some(self.group(&select.group_by, &aggregates)?)
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
        let assignments = assignments(items)?;
        Ok((
            named,
            SelectPlan {
                source,
                filter,
                group,
                having,
                windows,
                items: bound,
                assignments,
                distinct: select.distinct,
                order,
                presorted,
                page,
            },
        ))
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

    fn group(&mut self, keys: &[Expr], aggregates: &[Expr]) -> SqlResult<GroupPlan> {
        let bound = keys
            .iter()
            .map(|key| bind(key, self))
            .collect::<SqlResult<Vec<_>>>()?;
        let mut plans = Vec::with_capacity(aggregates.len());
        for aggregate in aggregates {
            let Expr::Function(call) = aggregate else { continue };
            plans.push(self.aggregate(call)?);
        }
        let mut places = HashMap::new();
        let mut computed = Vec::new();
        let columns = self.block().columns.clone();
        let slot = |index: usize, info| SlotInfo {
            slot: Slot {
                depth: 0,
                index: index as u32,
            },
            info,
        };
        for (at, (key, bound)) in keys.iter().zip(&bound).enumerate() {
            if let Expr::Column(name) = key
                && let Some(column) = super::scope::find_column(&columns, name)?
            {
                places.insert(column, at as u32);
            }
            computed.push((key.clone(), slot(at, bound.info())));
        }
        for (at, (aggregate, plan)) in aggregates.iter().zip(&plans).enumerate() {
            computed.push((aggregate.clone(), slot(keys.len() + at, plan.info)));
        }
        let block = self.block();
        block.grouped = Some(places);
        block.computed = computed;
        Ok(GroupPlan {
            keys: bound,
            aggregates: plans,
            scalar: keys.is_empty(),
        })
    }

    fn aggregate(&mut self, call: &FunctionCall) -> SqlResult<AggregatePlan> {
        let kind = match call.name.as_str() {
            "COUNT" => AggregateKind::Count,
            "COUNT_BIG" => AggregateKind::CountBig,
            "SUM" => AggregateKind::Sum,
            "AVG" => AggregateKind::Avg,
            "MIN" => AggregateKind::Min,
            "MAX" => AggregateKind::Max,
            "STDEV" => AggregateKind::StdDev { population: false },
            "STDEVP" => AggregateKind::StdDev { population: true },
            "VAR" => AggregateKind::Variance { population: false },
            "VARP" => AggregateKind::Variance { population: true },
            "STRING_AGG" => AggregateKind::StringAgg,
            "CHECKSUM_AGG" => AggregateKind::ChecksumAgg,
            other => {
                return Err(SqlError::new(
                    195,
                    15,
                    10,
                    format!("'{other}' is not a recognized built-in function name."),
                ));
            }
        };
        let argument = match call.arguments.first() {
            Some(argument) if !call.star => Some(bind(argument, self)?),
            _ => None,
        };
        let argument = match argument {
            Some(bound) if kind == AggregateKind::StringAgg && !bound.info().ty.is_character() => {
                Some(convert_to(
                    bound,
                    TypeInfo::new(SqlType::NVarChar {
                        len: crate::types::Length::Chars(4000),
                    }),
                )?)
            }
            other => other,
        };
        let separator = call
            .arguments
            .get(1)
            .map(|separator| bind(separator, self))
            .transpose()?;
        let info = aggregate_type(kind, argument.as_ref().map(BoundExpr::info))?;
        Ok(AggregatePlan {
            kind,
            argument,
            separator,
            distinct: call.distinct,
            info,
        })
    }

    fn windows(&mut self, windows: &[Expr], group: Option<&GroupPlan>) -> SqlResult<Vec<WindowPlan>> {
        let base = group.map_or(self.block().columns.len(), |group| {
            group.keys.len() + group.aggregates.len()
        });
        let mut plans = Vec::with_capacity(windows.len());
        for window in windows {
            let Expr::Function(call) = window else { continue };
            plans.push(self.window(call)?);
        }
        for (at, (window, plan)) in windows.iter().zip(&plans).enumerate() {
            let slot = SlotInfo {
                slot: Slot {
                    depth: 0,
                    index: (base + at) as u32,
                },
                info: plan.info,
            };
            self.block().computed.push((window.clone(), slot));
        }
        Ok(plans)
    }

    fn window(&mut self, call: &FunctionCall) -> SqlResult<WindowPlan> {
        let window = call.over.clone().unwrap_or(crate::ast::Window {
            partition_by: Vec::new(),
            order_by: Vec::new(),
            frame: None,
        });
        let partition = window
            .partition_by
            .iter()
            .map(|e| bind(e, self))
            .collect::<SqlResult<Vec<_>>>()?;
        let order: Vec<(BoundExpr, bool)> = window
            .order_by
            .iter()
            .map(|item| Ok((bind(&item.expr, self)?, item.descending)))
            .collect::<SqlResult<_>>()?;
        let big = TypeInfo::new(SqlType::BigInt).not_null();
        let argument =
            |binder: &mut Self, at: usize| call.arguments.get(at).map(|e| bind(e, binder)).transpose();
        let required = |value: Option<BoundExpr>| {
            value.ok_or_else(|| {
                SqlError::new(
                    174,
                    15,
                    1,
                    format!(
                        "The {} function requires 1 argument(s).",
                        call.name.to_lowercase()
                    ),
                )
            })
        };
        let (function, info) = match call.name.as_str() {
            "ROW_NUMBER" => (WindowFunction::RowNumber, big),
            "RANK" => (WindowFunction::Rank, big),
            "DENSE_RANK" => (WindowFunction::DenseRank, big),
            "NTILE" => (WindowFunction::Ntile(required(argument(self, 0)?)?), big),
            "LAG" | "LEAD" => {
                let value = required(argument(self, 0)?)?;
                let info = TypeInfo {
                    nullable: true,
                    ..value.info()
                };
                let default = argument(self, 2)?
                    .map(|default| convert_to(default, info))
                    .transpose()?;
                let function = WindowFunction::Shift {
                    value,
                    offset: argument(self, 1)?,
                    default,
                    ahead: call.name == "LEAD",
                };
                (function, info)
            }
            "FIRST_VALUE" | "LAST_VALUE" => {
                let value = required(argument(self, 0)?)?;
                let info = TypeInfo {
                    nullable: true,
                    ..value.info()
                };
                let first = call.name == "FIRST_VALUE";
                (
                    if first {
                        WindowFunction::FirstValue(value)
                    } else {
                        WindowFunction::LastValue(value)
                    },
                    info,
                )
            }
            _ => {
                let plan = self.aggregate(call)?;
                let info = plan.info;
                let (running, rows) = frame(&window, !order.is_empty())?;
                (WindowFunction::Aggregate { plan, running, rows }, info)
            }
        };
        if order.is_empty() && !matches!(function, WindowFunction::Aggregate { .. }) {
            return Err(SqlError::user(
                4112,
                format!(
                    "The function '{}' must have an OVER clause with ORDER BY.",
                    call.name
                ),
            ));
        }
        Ok(WindowPlan {
            function,
            partition,
            order,
            info,
        })
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

    fn page(&mut self, select: &Select, query: &Query) -> SqlResult<Page> {
        if let Some(top) = &select.top {
            if top.with_ties && query.order_by.is_empty() {
                return Err(SqlError::new(
                    1062,
                    15,
                    1,
                    "The TOP N WITH TIES clause is not allowed without a corresponding ORDER BY clause.",
                ));
            }
            let limit = if top.percent {
                Some(bind(&top.count, self)?)
            } else {
                self.count(Some(&top.count))?
            };
            return Ok(Page {
                offset: None,
                limit,
                percent: top.percent,
                with_ties: top.with_ties,
            });
        }
        Ok(Page {
            offset: self.count(query.offset.as_ref())?,
            limit: self.count(query.fetch.as_ref())?,
            ..Page::default()
        })
    }

    /// A number of rows, as `bigint`.
    pub(crate) fn count(&mut self, expr: Option<&Expr>) -> SqlResult<Option<BoundExpr>> {
        let Some(expr) = expr else { return Ok(None) };
        let (bound, _) = self.over(Vec::new(), |binder| bind(expr, binder));
        convert_to(bound?, TypeInfo::new(SqlType::BigInt)).map(Some)
    }
}

/// Which frame: (running, by rows).
fn frame(window: &crate::ast::Window, ordered: bool) -> SqlResult<(bool, bool)> {
    match &window.frame {
        None => Ok((ordered, false)),
        Some(frame) => match (&frame.start, &frame.end) {
            (FrameBound::UnboundedPreceding, FrameBound::UnboundedFollowing) => Ok((false, frame.rows)),
            (FrameBound::UnboundedPreceding, FrameBound::CurrentRow) => Ok((true, frame.rows)),
            _ => Err(SqlError::unsupported(
                "window frames other than UNBOUNDED PRECEDING to CURRENT ROW or UNBOUNDED FOLLOWING",
            )),
        },
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

/// The output column that an ORDER BY item means: a position, or an alias. Error 108 for a position out of range.
fn output_position(item: &OrderItem, columns: &[ResultColumn]) -> SqlResult<Option<usize>> {
    match &item.expr {
        Expr::Literal(Literal::Int(position)) => {
            let at = usize::try_from(*position)
                .ok()
                .and_then(|p| p.checked_sub(1))
                .filter(|at| *at < columns.len());
            at.map(Some).ok_or_else(|| {
                SqlError::new(108, 15, 1, format!("The ORDER BY position number {position} is out of range of the number of items in the select list."))
            })
        }
        Expr::Column(name) if name.qualifier.is_empty() => {
            Ok(columns.iter().position(|column| same(&column.name, &name.name)))
        }
        _ => Ok(None),
    }
}

fn output_key(item: &OrderItem, columns: &[ResultColumn]) -> SqlResult<SortKey> {
    let at = output_position(item, columns)?.ok_or_else(|| {
        SqlError::new(104, 15, 1, "ORDER BY items must appear in the select list if the statement contains a UNION, INTERSECT or EXCEPT operator.")
    })?;
    Ok(SortKey {
        value: SortValue::Output(at),
        info: info_of(&columns[at]),
        descending: item.descending,
    })
}

pub(crate) fn info_of(column: &ResultColumn) -> TypeInfo {
    TypeInfo {
        ty: column.ty,
        collation: column.collation,
        nullable: column.nullable,
    }
}

pub(crate) fn result_column(name: String, info: TypeInfo) -> ResultColumn {
    ResultColumn {
        name,
        ty: info.ty,
        collation: info.collation,
        nullable: info.nullable,
        identity: false,
        read_only: true,
        table: None,
    }
}

fn aggregate_type(kind: AggregateKind, argument: Option<TypeInfo>) -> SqlResult<TypeInfo> {
    let argument_type = argument.map_or(SqlType::Int, |info| info.ty);
    let wrong = |name: &str| {
        Err(SqlError::user(
            8117,
            format!(
                "Operand data type {} is invalid for {name} operator.",
                argument_type.name()
            ),
        ))
    };
    let ty = match kind {
        AggregateKind::Count => return Ok(TypeInfo::new(SqlType::Int).not_null()),
        AggregateKind::CountBig => return Ok(TypeInfo::new(SqlType::BigInt).not_null()),
        AggregateKind::Min | AggregateKind::Max => match argument_type {
            SqlType::Bit | SqlType::Xml | SqlType::Image | SqlType::Text | SqlType::NText => {
                return wrong(if kind == AggregateKind::Min { "min" } else { "max" });
            }
            _ => {
                return Ok(TypeInfo {
                    nullable: true,
                    ..argument.unwrap_or(TypeInfo::new(SqlType::Int))
                });
            }
        },
        AggregateKind::Sum | AggregateKind::Avg => match argument_type {
            SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::Null => SqlType::Int,
            SqlType::BigInt => SqlType::BigInt,
            SqlType::Decimal { scale, .. } | SqlType::Numeric { scale, .. } => {
                let scale = if kind == AggregateKind::Avg {
                    scale.max(6)
                } else {
                    scale
                };
                SqlType::Decimal { precision: 38, scale }
            }
            SqlType::Money | SqlType::SmallMoney => SqlType::Money,
            SqlType::Real | SqlType::Float => SqlType::Float,
            _ => return wrong(if kind == AggregateKind::Sum { "sum" } else { "avg" }),
        },
        AggregateKind::StdDev { .. } | AggregateKind::Variance { .. } => SqlType::Float,
        AggregateKind::StringAgg => {
            let unicode = argument_type.is_unicode() || !argument_type.is_character();
            let len = match (argument_type.is_max(), unicode) {
                (true, _) => crate::types::Length::Max,
                (false, true) => crate::types::Length::Chars(4000),
                (false, false) => crate::types::Length::Chars(8000),
            };
            let ty = if unicode {
                SqlType::NVarChar { len }
            } else {
                SqlType::VarChar { len }
            };
            let collation = argument
                .and_then(|info| info.collation)
                .or(TypeInfo::new(ty).collation);
            return Ok(TypeInfo {
                ty,
                collation,
                nullable: true,
            });
        }
        AggregateKind::ChecksumAgg => SqlType::Int,
    };
    Ok(TypeInfo::new(ty))
}
