//! Binding queries: SELECT, VALUES, set operations, ORDER BY.

use super::plan::{Node, Page, QueryPlan, SortKey, SortValue};
use super::scope::{Binder, Block, same};
use crate::ast::{Expr, Literal, OrderItem, Query, QueryBody, Select};
use crate::error::{SqlError, SqlResult};
use crate::eval::{self, BoundExpr, Slot, SlotInfo, bind, convert_to};
use crate::outcome::ResultColumn;
use crate::types::{SqlType, TypeInfo};

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

    pub(super) fn page(&mut self, select: &Select, query: &Query) -> SqlResult<Page> {
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

/// The output column that an ORDER BY item means: a position, or an alias. Error 108 for a position out of range.
pub(super) fn output_position(item: &OrderItem, columns: &[ResultColumn]) -> SqlResult<Option<usize>> {
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
