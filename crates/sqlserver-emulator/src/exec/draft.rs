//! FROM clauses before their conditions are placed: a tree of tables, derived tables and joins, into which the
//! conditions of ON and WHERE sink as far as they can.

use std::sync::Arc;

use super::plan::{QueryPlan, ReadPlan, RowFunction};
use super::scope::{Binder, BoundColumn, find_column};
use super::walk::{conjuncts, has_subquery, walk};
use crate::ast::{Expr, JoinKind, TableSource};
use crate::error::{SqlError, SqlResult};
use crate::session::SessionState;
use crate::store::{Row, TableId};
use crate::types::{SqlType, TypeInfo};

/// A FROM clause in the making.
#[derive(Debug)]
pub(crate) enum Draft {
    Nothing,
    Leaf {
        source: LeafSource,
        columns: Vec<BoundColumn>,
        conditions: Vec<Expr>,
    },
    Join {
        kind: JoinKind,
        left: Box<Draft>,
        right: Box<Draft>,
        on: Vec<Expr>,
    },
    Apply {
        outer: bool,
        left: Box<Draft>,
        right: Box<Draft>,
    },
}

/// What a leaf reads.
#[derive(Debug)]
pub(crate) enum LeafSource {
    Table {
        id: TableId,
        read: ReadPlan,
        with_row_id: bool,
    },
    Rows(Arc<Vec<Row>>),
    Query(Box<QueryPlan>),
    Function(Box<RowFunction>),
}

impl Draft {
    /// Its columns, left to right.
    pub(crate) fn columns(&self) -> Vec<BoundColumn> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Leaf { columns, .. } => columns.clone(),
            Self::Join {
                kind, left, right, ..
            } => {
                let left_absent = matches!(kind, JoinKind::Right | JoinKind::Full);
                let right_absent = matches!(kind, JoinKind::Left | JoinKind::Full);
                joined_columns(left, left_absent, right, right_absent)
            }
            Self::Apply { outer, left, right } => joined_columns(left, false, right, *outer),
        }
    }

    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Leaf { columns, .. } => columns.len(),
            Self::Join { left, right, .. } | Self::Apply { left, right, .. } => left.width() + right.width(),
        }
    }

    /// Puts tables in the place of derived tables that give their columns and do nothing else, so that a join can use their indexes.
    pub(crate) fn flatten(&mut self, session: &SessionState) -> SqlResult<()> {
        match self {
            Self::Nothing => {}
            Self::Leaf { source, columns, .. } => {
                if let LeafSource::Query(plan) = source
                    && !plan.correlated
                    && let Some((scan, places, page)) = plan.bare_scan()
                    && scan.filter.is_empty()
                    && page.is_whole()
                    && scan.seeks.is_empty()
                    && scan.order.is_none()
                {
                    let (id, read) = (scan.table, scan.read);
                    let width = session.table_definition(id)?.columns.len();
                    *columns = spread(std::mem::take(columns), &places, width);
                    *source = LeafSource::Table {
                        id,
                        read,
                        with_row_id: false,
                    };
                }
            }
            Self::Join { left, right, .. } => {
                left.flatten(session)?;
                right.flatten(session)?;
            }
            Self::Apply { left, .. } => left.flatten(session)?,
        }
        Ok(())
    }

    /// Joins two sources of a comma list.
    pub(crate) fn cross(self, right: Self) -> Self {
        match self {
            Self::Nothing => right,
            left => Self::Join {
                kind: JoinKind::Cross,
                left: Box::new(left),
                right: Box::new(right),
                on: Vec::new(),
            },
        }
    }

    /// Lets a condition on the columns at `places` sink; gives it back if it has to stay above.
    pub(crate) fn sink(&mut self, condition: &Expr, places: &[usize]) -> bool {
        if places.is_empty() {
            return false;
        }
        match self {
            Self::Nothing => false,
            Self::Leaf { conditions, .. } => {
                conditions.push(condition.clone());
                true
            }
            Self::Apply { left, .. } => {
                places.iter().all(|place| *place < left.width()) && left.sink(condition, places)
            }
            Self::Join {
                kind,
                left,
                right,
                on,
            } => {
                let width = left.width();
                let keeps_left = matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Cross);
                let keeps_right = matches!(kind, JoinKind::Inner | JoinKind::Right | JoinKind::Cross);
                if places.iter().all(|place| *place < width) {
                    return keeps_left && left.sink(condition, places);
                }
                if places.iter().all(|place| *place >= width) {
                    let places: Vec<_> = places.iter().map(|place| place - width).collect();
                    return keeps_right && right.sink(condition, &places);
                }
                if matches!(kind, JoinKind::Inner | JoinKind::Cross) {
                    *kind = JoinKind::Inner;
                    on.push(condition.clone());
                    return true;
                }
                false
            }
        }
    }
}

/// The columns of both sides. Those of a side that may have no row for one of the other are NULL then.
fn joined_columns(left: &Draft, left_absent: bool, right: &Draft, right_absent: bool) -> Vec<BoundColumn> {
    let columns = |side: &Draft, absent: bool| {
        side.columns().into_iter().map(move |mut column| {
            column.info.nullable |= absent;
            column
        })
    };
    columns(left, left_absent)
        .chain(columns(right, right_absent))
        .collect()
}

/// The positions of the columns that `expr` names, among `columns`. None if it holds a subquery.
pub(crate) fn places(expr: &Expr, columns: &[BoundColumn]) -> SqlResult<Option<Vec<usize>>> {
    if has_subquery(expr) {
        return Ok(None);
    }
    let mut found = Ok(Vec::new());
    walk(expr, &mut |e| {
        if let (Expr::Column(name), Ok(places)) = (e, &mut found) {
            match find_column(columns, name) {
                Ok(place) => places.extend(place),
                Err(error) => found = Err(error),
            }
        }
        true
    });
    found.map(Some)
}

impl Binder<'_> {
    /// The draft of a FROM clause.
    pub(crate) fn draft(&mut self, from: &[TableSource]) -> SqlResult<Draft> {
        let mut draft = Draft::Nothing;
        for source in from {
            draft = draft.cross(self.draft_source(source)?);
        }
        Ok(draft)
    }

    /// The draft of one source.
    pub(crate) fn draft_source(&mut self, source: &TableSource) -> SqlResult<Draft> {
        match source {
            TableSource::Named { name, alias, hints } => self.draft_named(name, alias.as_deref(), hints),
            TableSource::Variable { name, alias } => {
                let id = self.variables.table(name)?;
                self.draft_table(id, alias.as_deref().unwrap_or(name), None, &[])
            }
            TableSource::Derived {
                query,
                alias,
                columns,
            } => {
                let plan = self.query(query)?;
                derived(plan, alias, columns)
            }
            TableSource::Join {
                kind,
                left,
                right,
                on,
            } => {
                let left = self.draft_source(left)?;
                let right = self.draft_source(right)?;
                join(*kind, left, right, on.as_ref())
            }
            TableSource::Apply { outer, left, right } => {
                let left = self.draft_source(left)?;
                let (right, _) = self.over(left.columns(), |binder| binder.draft_source(right));
                Ok(Draft::Apply {
                    outer: *outer,
                    left: Box::new(left),
                    right: Box::new(right?),
                })
            }
            TableSource::Function {
                name,
                arguments,
                alias,
                ..
            } => self.draft_function(name, arguments, alias.as_deref()),
            TableSource::ChangeTable {
                table,
                request,
                alias,
                columns,
            } => self.draft_change_table(table, request, alias, columns),
        }
    }

    /// A stored table as a leaf.
    pub(crate) fn draft_table(
        &mut self,
        id: TableId,
        exposed: &str,
        schema: Option<&str>,
        hints: &[crate::ast::TableHint],
    ) -> SqlResult<Draft> {
        let table = self.session.table_definition(id)?;
        let columns = table_columns(&table, exposed, schema);
        let read = self.session.read_plan(&table, hints, self.for_update)?;
        Ok(Draft::Leaf {
            source: LeafSource::Table {
                id,
                read,
                with_row_id: false,
            },
            columns,
            conditions: Vec::new(),
        })
    }
}

/// The columns that a stored table exposes.
pub(crate) fn table_columns(
    table: &crate::store::Table,
    exposed: &str,
    schema: Option<&str>,
) -> Vec<BoundColumn> {
    let column = |column: &crate::store::Column| BoundColumn {
        table: exposed.to_owned(),
        schema: schema.map(str::to_owned),
        name: column.name.clone(),
        info: column.info,
        identity: column.identity.is_some(),
        read_only: column.computed.is_some() || column.info.ty == SqlType::RowVersion,
        hidden: false,
    };
    table.columns.iter().map(column).collect()
}

/// The hidden column that carries a row id.
pub(crate) fn row_id_column(exposed: &str) -> BoundColumn {
    hidden_column(exposed, TypeInfo::new(SqlType::BigInt))
}

fn hidden_column(exposed: &str, info: TypeInfo) -> BoundColumn {
    BoundColumn {
        table: exposed.to_owned(),
        schema: None,
        name: String::new(),
        info,
        identity: false,
        read_only: true,
        hidden: true,
    }
}

/// Columns at their places among those of their table, of which the others are hidden.
fn spread(columns: Vec<BoundColumn>, places: &[usize], width: usize) -> Vec<BoundColumn> {
    let exposed = columns
        .first()
        .map(|column| column.table.clone())
        .unwrap_or_default();
    let mut columns = columns.into_iter().zip(places).peekable();
    (0..width)
        .map(|at| match columns.next_if(|(_, place)| **place == at) {
            Some((column, _)) => column,
            None => hidden_column(&exposed, TypeInfo::new(SqlType::Null)),
        })
        .collect()
}

/// A query in parentheses, or a view or CTE, under its name.
pub(crate) fn derived(plan: QueryPlan, exposed: &str, names: &[String]) -> SqlResult<Draft> {
    if !names.is_empty() && names.len() != plan.columns.len() {
        return Err(SqlError::user(
            if names.len() > plan.columns.len() {
                8159
            } else {
                8158
            },
            format!(
                "'{exposed}' has {} columns than were specified in the column list.",
                if names.len() > plan.columns.len() {
                    "fewer"
                } else {
                    "more"
                }
            ),
        ));
    }
    let mut columns = Vec::with_capacity(plan.columns.len());
    for (at, column) in plan.columns.iter().enumerate() {
        let name = names.get(at).unwrap_or(&column.name);
        if name.is_empty() {
            return Err(SqlError::user(
                8155,
                format!(
                    "No column name was specified for column {} of '{exposed}'.",
                    at + 1
                ),
            ));
        }
        if columns
            .iter()
            .any(|known: &BoundColumn| super::scope::same(&known.name, name))
        {
            return Err(SqlError::user(
                8156,
                format!("The column '{name}' was specified multiple times for '{exposed}'."),
            ));
        }
        columns.push(BoundColumn {
            table: exposed.to_owned(),
            schema: None,
            name: name.clone(),
            info: TypeInfo {
                ty: column.ty,
                collation: column.collation,
                nullable: column.nullable,
            },
            identity: column.identity,
            read_only: column.read_only,
            hidden: false,
        });
    }
    Ok(Draft::Leaf {
        source: LeafSource::Query(Box::new(plan)),
        columns,
        conditions: Vec::new(),
    })
}

/// Joins two drafts; conditions on one side sink into it where the join's kind lets them.
pub(crate) fn join(kind: JoinKind, left: Draft, right: Draft, on: Option<&Expr>) -> SqlResult<Draft> {
    let mut joined = Draft::Join {
        kind,
        left: Box::new(left),
        right: Box::new(right),
        on: Vec::new(),
    };
    let columns = joined.columns();
    for condition in on.map(conjuncts).unwrap_or_default() {
        let places = places(condition, &columns)?;
        let Draft::Join { left, right, on, .. } = &mut joined else {
            continue;
        };
        let width = left.width();
        let sunk = match (&places, kind) {
            (Some(places), JoinKind::Inner | JoinKind::Right)
                if !places.is_empty() && places.iter().all(|place| *place < width) =>
            {
                left.sink(condition, places)
            }
            (Some(places), JoinKind::Inner | JoinKind::Left)
                if !places.is_empty() && places.iter().all(|place| *place >= width) =>
            {
                right.sink(
                    condition,
                    &places.iter().map(|place| place - width).collect::<Vec<_>>(),
                )
            }
            _ => false,
        };
        if !sunk {
            on.push(condition.clone());
        }
    }
    Ok(joined)
}
