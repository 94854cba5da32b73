//! Results on their way to the client: SELECT as a statement, SET TEXTSIZE, SELECT INTO.

use std::sync::Arc;

use super::bind_query::info_of;
use super::change::combined;
use super::insert::contains_name;
use super::plan::{Node, QueryPlan};
use super::run::Run;
use super::sent_join::SentJoin;
use super::writer::{Change, TableWriter};
use crate::ast::{Expr, ObjectName, Query, QueryBody, SelectStatement};
use crate::error::{SqlError, SqlResult};
use crate::eval::{BoundExpr, bind, convert_to};
use crate::outcome::{Command, Flow, ResultColumn};
use crate::store::{Column, Identity, Row};
use crate::types::{SqlType, TypeInfo};
use crate::value::Value;

impl Run<'_> {
    /// A SELECT statement: rows for the client, assignments, or SELECT INTO.
    pub(crate) fn select_statement(&mut self, select: &SelectStatement) -> SqlResult<()> {
        if let Some(into) = into_of(&select.query) {
            self.refuse_if_doomed()?;
            let rows = self.in_transaction("SELECT INTO", |run| run.select_into(&select.query, into))?;
            return self.selected(Command::SelectInto, rows);
        }
        let fmt_only = self.session.options.fmt_only;
        let rows = self.in_transaction("SELECT", |run| {
            let plan = run.bind(|binder| binder.query(&select.query))?;
            if let Node::Select(body) = &plan.node
                && !body.assignments.is_empty()
            {
                return run.assign(&plan);
            }
            run.start_result(&plan.columns);
            let mut rows = 0;
            if fmt_only {
                return Ok(rows);
            }
            if run.sends_as_kept() {
                if let Some((scan, columns, page)) = plan.bare_scan() {
                    return run.send_stored(scan, &columns, page);
                }
                if let Some(sent) = SentJoin::of(&plan)
                    && let Some(rows) = run.send_joined(sent)?
                {
                    return Ok(rows);
                }
            }
            run.query(&plan, &mut |run, row| {
                rows += 1;
                run.emit(&row)?;
                Ok(Flow::Continue)
            })?;
            Ok(rows)
        })?;
        self.selected(Command::Select, rows)
    }

    /// Whether a result's values go to the client as tables keep them: all of them, and whole.
    fn sends_as_kept(&self) -> bool {
        let uncut = self.text_limits.iter().flatten().all(|limit| *limit >= LONGEST);
        let unlimited = self.session.options.row_count_limit() == u64::MAX;
        uncut && unlimited && self.captured.is_none()
    }

    fn selected(&mut self, command: Command, rows: u64) -> SqlResult<()> {
        self.session.row_count = rows as i64;
        self.session.last_error = 0;
        self.done(command, Some(rows));
        Ok(())
    }

    /// `SELECT @a = x, @b += y`: every row assigns; the last one stays.
    fn assign(&mut self, plan: &QueryPlan) -> SqlResult<u64> {
        let Node::Select(body) = &plan.node else {
            return Ok(0);
        };
        let infos: Vec<TypeInfo> = plan.columns.iter().map(info_of).collect();
        let mut sets: Vec<(String, BoundExpr)> = Vec::with_capacity(body.assignments.len());
        for (at, assignment) in body.assignments.iter().enumerate() {
            let target = self.variables.info(&assignment.variable)?;
            // The row's values stand in a block of their own, named by position.
            let bound = self.bind(|binder| {
                let column = value_column(at, &infos);
                let (bound, _) = binder.over(column, |binder| {
                    let value = Expr::Column(crate::ast::ColumnName {
                        qualifier: Vec::new(),
                        name: VALUE.to_owned(),
                    });
                    bind(
                        &combined(
                            &Expr::Variable(assignment.variable.clone()),
                            assignment.op,
                            &value,
                        ),
                        binder,
                    )
                });
                convert_to(bound?, target)
            })?;
            sets.push((assignment.variable.clone(), bound));
        }
        let mut rows = 0;
        self.query(plan, &mut |run, row| {
            rows += 1;
            run.set_row(row);
            for (variable, value) in &sets {
                let value = run.value(value)?;
                run.variables.set(variable, value);
            }
            Ok(Flow::Continue)
        })?;
        Ok(rows)
    }

    fn select_into(&mut self, query: &Query, into: &ObjectName) -> SqlResult<u64> {
        let plan = self.bind(|binder| binder.query(query))?;
        let columns: Vec<Column> = plan
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| new_column(at, column))
            .collect();
        if columns.iter().any(|column| column.name.is_empty()) {
            return Err(SqlError::user(
                1038,
                "An object or column name is missing or empty. For SELECT INTO statements, verify each column has a name. For other statements, look for empty alias names. Aliases defined as \"\" or [] are not allowed. Change the alias to a valid name.",
            ));
        }
        let names: Vec<String> = plan.columns.iter().map(|column| column.name.clone()).collect();
        if let Some(name) = names
            .iter()
            .enumerate()
            .find(|(at, name)| contains_name(&names[..*at], name))
            .map(|(_, name)| name)
        {
            return Err(SqlError::user(
                2705,
                format!(
                    "Column names in each table must be unique. Column name '{name}' in table '{}' is specified more than once.",
                    into.name
                ),
            ));
        }
        let id = self.create_table_of(into, columns)?;
        let writer = self.bind(|binder| TableWriter::prepare(binder, id, false))?;
        let mut changes = Vec::new();
        let rowversion = writer
            .table
            .columns
            .iter()
            .any(|column| column.info.ty == SqlType::RowVersion);
        self.query(&plan, &mut |_, row| {
            changes.push(Change::insert(row));
            Ok(Flow::Continue)
        })?;
        let count = changes.len() as u64;
        if rowversion {
            // SELECT INTO copies rowversions; only the type of the column is kept for later writes.
            return self.copy_rows(&writer, changes).map(|()| count);
        }
        writer.write(self, changes)?;
        Ok(count)
    }

    fn copy_rows(&mut self, writer: &TableWriter, changes: Vec<Change>) -> SqlResult<()> {
        let tx = self.statement.tx;
        let engine = Arc::clone(&self.session.engine);
        let mut store = engine.store().lock();
        for row in changes.iter().filter_map(Change::whole) {
            super::rows::refused(store.insert(tx, writer.id, row))?;
        }
        Ok(())
    }
}

const VALUE: &str = "value";
/// No value is longer: half of the greatest TEXTSIZE, in UTF-16 units.
const LONGEST: usize = (i32::MAX / 2) as usize;

fn value_column(at: usize, infos: &[TypeInfo]) -> Vec<super::scope::BoundColumn> {
    let column = |(place, info): (usize, &TypeInfo)| super::scope::BoundColumn {
        table: String::new(),
        schema: None,
        name: VALUE.to_owned(),
        info: *info,
        identity: false,
        read_only: true,
        hidden: place != at,
    };
    infos.iter().enumerate().map(column).collect()
}

fn new_column(at: usize, column: &ResultColumn) -> Column {
    Column {
        id: at as i32 + 1,
        name: column.name.clone(),
        info: TypeInfo {
            ty: if column.ty == SqlType::Null {
                SqlType::Int
            } else {
                column.ty
            },
            ..info_of(column)
        },
        alias: None,
        identity: column.identity.then_some(Identity {
            seed: 1,
            increment: 1,
        }),
        computed: None,
        default: None,
        rowguid: false,
        sparse: false,
        masked: None,
    }
}

fn into_of(query: &Query) -> Option<&ObjectName> {
    fn first(body: &QueryBody) -> Option<&ObjectName> {
        match body {
            QueryBody::Select(select) => select.into.as_ref(),
            QueryBody::SetOperation { left, .. } => first(left),
            QueryBody::Values(_) => None,
        }
    }
    first(&query.body)
}

/// By column: how many bytes SET TEXTSIZE leaves, for the types that it cuts.
pub(crate) fn text_limits(columns: &[ResultColumn], text_size: i32) -> Vec<Option<usize>> {
    let cut = |ty: SqlType| {
        ty.is_max() && !matches!(ty, SqlType::Xml | SqlType::Clr(_) | SqlType::Json)
            || matches!(ty, SqlType::Text | SqlType::NText | SqlType::Image)
    };
    let limit = usize::try_from(text_size).unwrap_or(usize::MAX);
    columns
        .iter()
        .map(|column| cut(column.ty).then_some(if column.ty.is_unicode() { limit / 2 } else { limit }))
        .collect()
}

/// The row with what SET TEXTSIZE forbids cut off; none if it fits.
pub(crate) fn cut(row: &Row, limits: &[Option<usize>]) -> Option<Row> {
    let length = |value: &Value| match value {
        Value::Str(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    let too_long = row
        .iter()
        .zip(limits)
        .any(|(value, limit)| limit.is_some_and(|limit| length(value) > limit));
    too_long.then(|| {
        let shorten = |(value, limit): (&Value, &Option<usize>)| match (value, limit) {
            (Value::Str(text), Some(limit)) if text.len() > *limit => Value::Str(text[..*limit].into()),
            (Value::Bytes(bytes), Some(limit)) if bytes.len() > *limit => {
                Value::Bytes(bytes[..*limit].into())
            }
            (value, _) => value.clone(),
        };
        row.iter().zip(limits).map(shorten).collect()
    })
}
