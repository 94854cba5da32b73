//! Name resolution: columns of the query blocks around an expression, variables, subqueries.

use std::collections::HashMap;
use std::sync::Arc;

use super::plan::QueryPlan;
use super::variables::Variables;
use super::walk::is_aggregate;
use crate::ast::{ColumnName, Cte, Expr, Query};
use crate::collation::Collation;
use crate::error::{SqlError, SqlResult};
use crate::eval::{Scope, Slot, SlotInfo, SubqueryInfo};
use crate::session::SessionState;
use crate::store::Row;
use crate::types::TypeInfo;

/// A column that a query block can name.
#[derive(Clone, Debug)]
pub(crate) struct BoundColumn {
    /// Alias or table name that exposes it.
    pub(crate) table: String,
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
    pub(crate) info: TypeInfo,
    pub(crate) identity: bool,
    pub(crate) read_only: bool,
    /// Not for names: a row id.
    pub(crate) hidden: bool,
}

/// What an expression of the block stands over.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) columns: Vec<BoundColumn>,
    /// After grouping: the key that each input column is, if it is one.
    pub(crate) grouped: Option<HashMap<usize, u32>>,
    /// Aggregates, grouping expressions and window functions with their slots.
    pub(crate) computed: Vec<(Expr, SlotInfo)>,
    pub(crate) correlated: bool,
}

/// Rows that stand in for a table's name: `inserted` and `deleted` of a trigger.
#[derive(Clone, Debug)]
pub(crate) struct PseudoTable {
    pub(crate) columns: Vec<BoundColumn>,
    pub(crate) rows: Arc<Vec<Row>>,
}

/// Binds the statements of one scope of variables.
pub(crate) struct Binder<'b> {
    pub(crate) session: &'b SessionState,
    pub(crate) variables: &'b Variables,
    pub(crate) pseudo: &'b HashMap<String, PseudoTable>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) ctes: Vec<Cte>,
    /// The CTEs whose definitions are being bound.
    pub(crate) defining: Vec<String>,
    pub(crate) subqueries: Vec<Arc<QueryPlan>>,
    /// Reads take update locks: the statement will write.
    pub(crate) for_update: bool,
    /// Probes numbered so far, in the whole statement.
    pub(crate) probes: u64,
}

impl<'b> Binder<'b> {
    pub(crate) fn new(
        session: &'b SessionState,
        variables: &'b Variables,
        pseudo: &'b HashMap<String, PseudoTable>,
    ) -> Self {
        Self {
            session,
            variables,
            pseudo,
            blocks: vec![Block::default()],
            ctes: Vec::new(),
            defining: Vec::new(),
            subqueries: Vec::new(),
            for_update: false,
            probes: 0,
        }
    }

    /// Runs `bind` over `columns` in place of the innermost block's own.
    pub(crate) fn over<T>(
        &mut self,
        columns: Vec<BoundColumn>,
        bind: impl FnOnce(&mut Self) -> T,
    ) -> (T, Vec<BoundColumn>) {
        let current = self.block();
        let before = std::mem::replace(&mut current.columns, columns);
        let result = bind(self);
        let columns = std::mem::replace(&mut self.block().columns, before);
        (result, columns)
    }

    /// The innermost block.
    pub(crate) fn block(&mut self) -> &mut Block {
        if self.blocks.is_empty() {
            self.blocks.push(Block::default());
        }
        let last = self.blocks.len() - 1;
        &mut self.blocks[last]
    }

    fn slot_in(block: &Block, name: &ColumnName) -> SqlResult<Option<usize>> {
        find_column(&block.columns, name)
    }
}

/// The position of a column in a list. Error 209 if two have the name.
pub(crate) fn find_column(columns: &[BoundColumn], name: &ColumnName) -> SqlResult<Option<usize>> {
    let mut found = None;
    for (at, column) in columns.iter().enumerate() {
        if !column.hidden && column.is_called(name) {
            if found.is_some() {
                return Err(SqlError::user(
                    209,
                    format!("Ambiguous column name '{}'.", name.name),
                ));
            }
            found = Some(at);
        }
    }
    Ok(found)
}

impl BoundColumn {
    fn is_called(&self, name: &ColumnName) -> bool {
        same(&self.name, &name.name) && self.is_exposed_by(&name.qualifier)
    }

    /// Whether a qualifier (table, or schema and table) means this column's table.
    pub(crate) fn is_exposed_by(&self, qualifier: &[String]) -> bool {
        let Some((table, outer)) = qualifier.split_last() else {
            return true;
        };
        let schema_fits = match (outer.last(), &self.schema) {
            (Some(given), Some(schema)) => same(given, schema),
            (Some(_), None) => false,
            (None, _) => true,
        };
        same(&self.table, table) && schema_fits
    }
}

/// Names compare without case.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}

impl Scope for Binder<'_> {
    fn column(&mut self, name: &ColumnName) -> SqlResult<SlotInfo> {
        let innermost = self.blocks.len();
        for depth in 0..innermost {
            let at = innermost - 1 - depth;
            let Some(index) = Self::slot_in(&self.blocks[at], name)? else {
                continue;
            };
            let block = &self.blocks[at];
            let info = block.columns[index].info;
            let index = match &block.grouped {
                None => index as u32,
                Some(keys) => *keys
                    .get(&index)
                    .ok_or_else(|| not_grouped(&block.columns[index]))?,
            };
            for inner in &mut self.blocks[at + 1..] {
                inner.correlated = true;
            }
            return Ok(SlotInfo {
                slot: Slot {
                    depth: depth as u16,
                    index,
                },
                info,
            });
        }
        Err(unknown_column(self, name))
    }

    fn variable(&mut self, name: &str) -> SqlResult<TypeInfo> {
        self.variables.info(name)
    }

    fn subquery(&mut self, query: &Query) -> SqlResult<SubqueryInfo> {
        let was = std::mem::replace(&mut self.for_update, false);
        let plan = self.query(query);
        self.for_update = was;
        let plan = plan?;
        let first = plan.columns.first();
        let info = first.map_or(TypeInfo::new(crate::types::SqlType::Int), |column| TypeInfo {
            ty: column.ty,
            collation: column.collation,
            nullable: true,
        });
        let columns = plan.columns.len();
        self.subqueries.push(Arc::new(plan));
        Ok(SubqueryInfo {
            id: self.subqueries.len() - 1,
            info,
            columns,
        })
    }

    fn computed(&mut self, expr: &Expr) -> SqlResult<Option<SlotInfo>> {
        let block = self.block();
        if let Some((_, slot)) = block.computed.iter().find(|(known, _)| known == expr) {
            return Ok(Some(*slot));
        }
        match expr {
            Expr::Function(call) if is_aggregate(call) || call.over.is_some() => {
                Err(misplaced(call.over.is_some()))
            }
            _ => Ok(None),
        }
    }

    fn collation(&self) -> &'static Collation {
        self.session
            .current_database()
            .map_or(Collation::server_default(), |database| database.collation)
    }
}

fn misplaced(windowed: bool) -> SqlError {
    if windowed {
        return SqlError::user(
            4108,
            "Windowed functions can only appear in the SELECT or ORDER BY clauses.",
        );
    }
    SqlError::user(
        147,
        "An aggregate may not appear in the WHERE clause unless it is in a subquery contained in a HAVING clause or a select list, and the column being aggregated is an outer reference.",
    )
}

fn not_grouped(column: &BoundColumn) -> SqlError {
    SqlError::user(
        8120,
        format!(
            "Column '{}.{}' is invalid in the select list because it is not contained in either an aggregate function or the GROUP BY clause.",
            column.table, column.name
        ),
    )
}

fn unknown_column(binder: &Binder<'_>, name: &ColumnName) -> SqlError {
    let exposed = |block: &Block| {
        block
            .columns
            .iter()
            .any(|column| column.is_exposed_by(&name.qualifier))
    };
    if name.qualifier.is_empty() || binder.blocks.iter().any(exposed) {
        return SqlError::user(207, format!("Invalid column name '{}'.", name.name));
    }
    let full = format!("{}.{}", name.qualifier.join("."), name.name);
    SqlError::user(
        4104,
        format!("The multi-part identifier \"{full}\" could not be bound."),
    )
}
