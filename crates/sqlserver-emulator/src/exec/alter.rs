//! ALTER TABLE and the statements about indexes: definitions change, and the rows with them.

use std::collections::HashSet;
use std::sync::Arc;

use super::change_tracking::refuse_tracked_key;
use super::ddl::stored_key;
use super::define::{add_index, drop_items};
use super::draft::table_columns;
use super::output::spelled;
use super::run::Run;
use super::scope::same;
use crate::ast::{
    AlterIndexAction, AlterTable, ColumnDefinition, ColumnName, CreateIndex, Expr, ObjectName,
    TableDefinition,
};
use crate::collation::Collation;
use crate::error::{SqlError, SqlResult};
use crate::eval::{bind, bind_predicate, convert_to};
use crate::store::{Column, ForeignKey, ModuleKind, Row, Table, TableData, TableId};
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::{Decimal, Value};

impl Run<'_> {
    pub(super) fn alter_table(&mut self, name: &ObjectName, action: &AlterTable) -> SqlResult<()> {
        let (id, table) = self.existing(name, 4902)?;
        self.session.allow(id, "ALTER")?;
        match action {
            AlterTable::Add { items, check } => self.add_items(id, &table, items, check.unwrap_or(true)),
            AlterTable::AlterColumn(definition) => self.alter_column(id, &table, definition),
            AlterTable::Drop { .. } => {
                let now = self.statement.now;
                self.replace_table(id, |_, data| {
                    refuse_tracked_key(data, action)?;
                    let mut table = (*data.definition).clone();
                    let gone = drop_items(&mut table, action, now)?;
                    data.rewrite(Arc::new(table), |row| {
                        let kept = row.iter().enumerate().filter(|(at, _)| !gone.contains(at));
                        kept.map(|(_, value)| value.clone()).collect()
                    });
                    Ok(())
                })
            }
            AlterTable::Check {
                enable,
                validate,
                constraints,
            } => self.switch_constraints(id, *enable, *validate, constraints),
            AlterTable::Trigger { enable, names } => self.switch_triggers(id, *enable, names),
            AlterTable::ChangeTracking {
                enable: true,
                track_columns,
            } => self.enable_change_tracking(id, &table, *track_columns),
            AlterTable::ChangeTracking { enable: false, .. } => self.disable_change_tracking(id, &table),
            AlterTable::NoEffect => Ok(()),
        }
    }

    fn add_items(
        &mut self,
        id: TableId,
        table: &Table,
        items: &TableDefinition,
        check: bool,
    ) -> SqlResult<()> {
        let database = self.session.database_with(table)?;
        let before = (table.checks.len(), table.foreign_keys.len());
        self.replace_table(id, |run, data| {
            let mut table = (*data.definition).clone();
            let width = table.columns.len();
            run.definer(&database, |definer| definer.add(&mut table, items, check))?;
            let is_empty = data.newest_rows().next().is_none();
            let new = table.columns.get(width..).unwrap_or_default().to_vec();
            if !is_empty {
                new.iter()
                    .try_for_each(|column| refuse_not_null(column, &table))?;
            }
            if new.is_empty() {
                data.redefine(Arc::new(table));
            } else {
                run.append_columns(data, table, &new)?;
            }
            refuse_duplicates(data)?;
            if check {
                run.validate(data, before)?;
            }
            Ok(())
        })
    }

    /// Gives every row a value for each new column.
    fn append_columns(&mut self, data: &mut TableData, table: Table, new: &[Column]) -> SqlResult<()> {
        let columns = table_columns(&table, &table.name, None);
        let mut failure = None;
        let mut identity = None;
        let database = table.database;
        let definition = Arc::new(table);
        data.rewrite(Arc::clone(&definition), |row| {
            let mut values = row.to_vec();
            for column in new {
                let value = match column.identity {
                    Some(rule) => {
                        let next = identity.map_or(rule.seed, |last: i64| last + rule.increment);
                        identity = Some(next);
                        Ok(integer(next, column.info.ty))
                    }
                    None => self.value_for(column, &values, &columns, database),
                };
                values.push(value.unwrap_or_else(|error| {
                    failure = Some(error);
                    Value::Null
                }));
            }
            values.into()
        });
        data.identity = identity.or(data.identity);
        failure.map_or(Ok(()), Err)
    }

    fn value_for(
        &mut self,
        column: &Column,
        row: &[Value],
        columns: &[super::scope::BoundColumn],
        database: i32,
    ) -> SqlResult<Value> {
        if column.info.ty == SqlType::RowVersion {
            let tx = self.statement.tx;
            return Ok(Value::RowVersion(
                self.session.engine.store().lock().next_rowversion(tx, database),
            ));
        }
        let expr = match (&column.computed, &column.default) {
            (Some(computed), _) => &computed.value.expr,
            // Without WITH VALUES a nullable column starts as NULL.
            (None, Some(default)) if !column.info.nullable => &default.value.expr,
            _ => return Ok(Value::Null),
        };
        let bound = self.bind(|binder| {
            binder
                .over(columns.to_vec(), |binder| {
                    convert_to(bind(expr, binder)?, column.info)
                })
                .0
        })?;
        self.value_over(&bound, &row.into())
    }

    fn alter_column(&mut self, id: TableId, table: &Table, definition: &ColumnDefinition) -> SqlResult<()> {
        let database = self.session.database_with(table)?;
        self.replace_table(id, |run, data| {
            let mut table = (*data.definition).clone();
            let columns = table_columns(&table, &table.name, None);
            run.definer(&database, |definer| definer.alter_column(&mut table, definition))?;
            let Some(at) = table.column(&definition.name) else {
                return Ok(());
            };
            let Some(column) = table.columns.get(at).cloned() else {
                return Ok(());
            };
            let name = ColumnName {
                qualifier: Vec::new(),
                name: column.name.clone(),
            };
            let converted = run.bind(|binder| {
                binder
                    .over(columns, |binder| {
                        convert_to(bind(&Expr::Column(name), binder)?, column.info)
                    })
                    .0
            })?;
            let mut failure = None;
            let full_name = table.qualified();
            data.rewrite(Arc::new(table), |row| {
                let value = refuse_cut(row.get(at), &column, &full_name)
                    .and_then(|()| run.value_over(&converted, row))
                    .and_then(|value| refuse_null(value, &column, &full_name));
                let mut values = row.to_vec();
                match (value, values.get_mut(at)) {
                    (Ok(value), Some(place)) => *place = value,
                    (Err(error), _) => failure = Some(error),
                    (Ok(_), None) => {}
                }
                values.into()
            });
            failure.map_or(Ok(()), Err)?;
            refuse_duplicates(data)
        })
    }

    /// Checks the rows against the constraints after the first `known` ones. Error 547.
    fn validate(&mut self, data: &TableData, known: (usize, usize)) -> SqlResult<()> {
        let table = Arc::clone(&data.definition);
        let columns = table_columns(&table, &table.name, Some(&table.schema));
        for check in table.checks.iter().skip(known.0) {
            let columns = columns.clone();
            let bound = self.bind(|binder| {
                binder
                    .over(columns, |binder| bind_predicate(&check.condition.expr, binder))
                    .0
            })?;
            for (_, row) in data.newest_rows() {
                if self.value_over(&bound, &row)? == Value::Bit(false) {
                    return Err(self.broken(&table, "CHECK", &check.name));
                }
            }
        }
        for key in table.foreign_keys.iter().skip(known.1) {
            if !self.refers_to_rows(data, key) {
                return Err(self.broken(&table, "FOREIGN KEY", &key.name));
            }
        }
        Ok(())
    }

    fn broken(&self, table: &Table, kind: &str, name: &str) -> SqlError {
        SqlError::new(
            547,
            16,
            0,
            format!(
                "The ALTER TABLE statement conflicted with the {kind} constraint \"{name}\". The conflict occurred in database \"{}\", table \"{}\".",
                self.session.database_name(table.database),
                table.qualified()
            ),
        )
    }

    fn refers_to_rows(&self, data: &TableData, key: &ForeignKey) -> bool {
        let store = self.session.engine.store().lock();
        let target = store.tables.get(&key.referenced).unwrap_or(data);
        let existing: HashSet<Vec<u8>> = target
            .newest_rows()
            .filter_map(|(_, row)| stored_key(&target.definition, &row, &key.referenced_columns))
            .collect();
        data.newest_rows()
            .filter_map(|(_, row)| stored_key(&data.definition, &row, &key.columns))
            .all(|wanted| existing.contains(&wanted))
    }

    fn switch_constraints(
        &mut self,
        id: TableId,
        enable: bool,
        validate: bool,
        names: &[String],
    ) -> SqlResult<()> {
        let concerns = |name: &str| names.is_empty() || names.iter().any(|wanted| same(wanted, name));
        self.replace_table(id, |run, data| {
            let mut table = (*data.definition).clone();
            for check in table.checks.iter_mut().filter(|check| concerns(&check.name)) {
                check.disabled = !enable;
                check.trusted = enable && (validate || check.trusted);
            }
            for key in table.foreign_keys.iter_mut().filter(|key| concerns(&key.name)) {
                key.disabled = !enable;
                key.trusted = enable && (validate || key.trusted);
            }
            data.redefine(Arc::new(table));
            if enable && validate {
                run.validate(data, (0, 0))
            } else {
                Ok(())
            }
        })
    }

    /// ENABLE and DISABLE TRIGGER; no names means all.
    pub(super) fn switch_triggers(&mut self, id: TableId, enable: bool, names: &[String]) -> SqlResult<()> {
        let database = self.session.table_definition(id)?.database;
        self.change_catalog(database, |database| {
            for module in &mut database.modules {
                let concerned = names.is_empty() || names.iter().any(|name| same(name, &module.name));
                if let ModuleKind::Trigger { table, disabled, .. } = &mut module.kind
                    && *table == id
                    && concerned
                {
                    *disabled = !enable;
                }
            }
        })
    }

    pub(super) fn create_index(&mut self, definition: &CreateIndex) -> SqlResult<()> {
        let (id, _) = self.existing(&definition.table, 1088)?;
        self.session.allow(id, "ALTER")?;
        self.replace_table(id, |_, data| {
            let mut table = (*data.definition).clone();
            add_index(&mut table, definition)?;
            data.redefine(Arc::new(table));
            refuse_long_entries(data)?;
            refuse_duplicates(data)
        })
    }

    pub(super) fn alter_index(
        &mut self,
        name: Option<&str>,
        table: &ObjectName,
        action: AlterIndexAction,
    ) -> SqlResult<()> {
        let (id, _) = self.existing(table, 1088)?;
        let disabled = match action {
            AlterIndexAction::Reorganize => return Ok(()),
            AlterIndexAction::Rebuild => false,
            AlterIndexAction::Disable => true,
        };
        self.replace_table(id, |_, data| {
            let mut definition = (*data.definition).clone();
            for index in &mut definition.indexes {
                if name.is_none_or(|name| same(name, &index.name)) {
                    index.disabled = disabled;
                }
            }
            data.redefine(Arc::new(definition));
            Ok(())
        })
    }

    /// Errors: 3701 for an unknown index, 3723 for one that a constraint made.
    pub(super) fn drop_index(&mut self, name: &str, table: &ObjectName, if_exists: bool) -> SqlResult<()> {
        let (id, definition) = match self.existing(table, 1088) {
            Err(_) if if_exists => return Ok(()),
            found => found?,
        };
        let full = format!("{}.{name}", spelled(table));
        match definition.indexes.iter().find(|index| same(&index.name, name)) {
            None if if_exists => return Ok(()),
            None => {
                let message = format!(
                    "Cannot drop the index '{full}', because it does not exist or you do not have permission."
                );
                return Err(SqlError::new(3701, 11, 7, message));
            }
            Some(index) if index.constraint.is_some() => {
                let kind = if index.primary { "PRIMARY KEY" } else { "UNIQUE" };
                let message = format!(
                    "An explicit DROP INDEX is not allowed on index '{full}'. It is being used for {kind} constraint enforcement."
                );
                return Err(SqlError::new(3723, 16, 4, message));
            }
            Some(_) => {}
        }
        self.replace_table(id, |_, data| {
            let mut table = (*data.definition).clone();
            table.indexes.retain(|index| !same(&index.name, name));
            data.redefine(Arc::new(table));
            Ok(())
        })
    }
}

/// An identity value in its column's type.
fn integer(number: i64, ty: SqlType) -> Value {
    match ty {
        SqlType::TinyInt => Value::TinyInt(number as u8),
        SqlType::SmallInt => Value::SmallInt(number as i16),
        SqlType::Int => Value::Int(number as i32),
        SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
            Value::Decimal(Decimal {
                unscaled: i128::from(number),
                precision,
                scale,
            })
        }
        _ => Value::BigInt(number),
    }
}

/// Error 4901: rows exist, and a new column has no value for them.
fn refuse_not_null(column: &Column, table: &Table) -> SqlResult<()> {
    let has_value = column.default.is_some()
        || column.identity.is_some()
        || column.computed.is_some()
        || column.info.ty == SqlType::RowVersion;
    if column.info.nullable || has_value {
        return Ok(());
    }
    Err(SqlError::user(
        4901,
        format!(
            "ALTER TABLE only allows columns to be added that can contain nulls, or have a DEFAULT definition specified, or the column being added is an identity or timestamp column, or alternatively if none of the previous conditions are satisfied the table must be empty to allow addition of this column. Column '{}' cannot be added to non-empty table '{}' because it does not satisfy these conditions.",
            column.name, table.name
        ),
    ))
}

/// Error 1505: a unique index finds two rows with one key.
fn refuse_duplicates(data: &TableData) -> SqlResult<()> {
    let table = &data.definition;
    for index in table
        .indexes
        .iter()
        .filter(|index| index.unique && !index.disabled && index.filter.is_none())
    {
        let mut seen = HashSet::new();
        for (_, row) in data.newest_rows() {
            if !seen.insert(data.key_of(index, &row)) {
                return Err(SqlError::user(
                    1505,
                    format!(
                        "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name '{}' and the index name '{}'. The duplicate key value is ({}).",
                        table.qualified(),
                        index.name,
                        shown_key(&row, index.keys.iter().map(|key| key.column))
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Error 1946: a row's entry is longer than an index of its kind takes. Rows that are written later are not looked at.
fn refuse_long_entries(data: &TableData) -> SqlResult<()> {
    let table = &data.definition;
    for index in table.indexes.iter().filter(|index| !index.columnstore) {
        let (most, kind) = match index.clustered {
            true => (900, "clustered"),
            false => (1700, "nonclustered"),
        };
        for (_, row) in data.newest_rows() {
            let parts = index.keys.iter().filter_map(|key| {
                let column = table.columns.get(key.column)?;
                Some(entry_bytes(row.get(key.column)?, column.info))
            });
            let length: usize = parts.sum();
            if length > most {
                let message = format!(
                    "Operation failed. The index entry of length {length} bytes for the index '{}' exceeds the maximum length of {most} bytes for {kind} indexes.",
                    index.name
                );
                return Err(SqlError::user(1946, message));
            }
        }
    }
    Ok(())
}

/// Of the types that are long enough to matter.
fn entry_bytes(value: &Value, info: TypeInfo) -> usize {
    match value {
        Value::Str(text) if info.ty.is_unicode() => text.len() * 2,
        Value::Str(text) => {
            let collation = info.collation.unwrap_or_else(Collation::server_default);
            collation.code_page.encode(text).len()
        }
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

fn shown_key(row: &Row, columns: impl Iterator<Item = usize>) -> String {
    let shown = |value: &Value| match (value.as_text(), value.as_integer()) {
        (Some(text), _) => text,
        (None, Some(number)) => number.to_string(),
        (None, None) if value.is_null() => "<NULL>".to_owned(),
        (None, None) => "…".to_owned(),
    };
    columns
        .filter_map(|column| row.get(column))
        .map(shown)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Error 515.
fn refuse_null(value: Value, column: &Column, table: &str) -> SqlResult<Value> {
    if value.is_null() && !column.info.nullable {
        return Err(SqlError::new(
            515,
            16,
            2,
            format!(
                "Cannot insert the value NULL into column '{}', table '{table}'; column does not allow nulls. UPDATE fails.",
                column.name
            ),
        ));
    }
    Ok(value)
}

/// Error 2628: text or bytes that the column's new type would cut.
fn refuse_cut(value: Option<&Value>, column: &Column, table: &str) -> SqlResult<()> {
    let limit = match column.info.ty {
        SqlType::Char { len } | SqlType::NChar { len } | SqlType::Binary { len } => usize::from(len),
        SqlType::VarChar {
            len: Length::Chars(len),
        }
        | SqlType::NVarChar {
            len: Length::Chars(len),
        }
        | SqlType::VarBinary {
            len: Length::Chars(len),
        } => usize::from(len),
        _ => return Ok(()),
    };
    let length = match (value, column.info.collation) {
        (Some(Value::Str(text)), Some(collation)) if !column.info.ty.is_unicode() => {
            collation.code_page.encode(text).trim_ascii_end().len()
        }
        (Some(Value::Str(text)), _) => text.len(),
        (Some(Value::Bytes(bytes)), _) => bytes.len(),
        _ => 0,
    };
    if length <= limit {
        return Ok(());
    }
    Err(SqlError::user(
        2628,
        format!(
            "String or binary data would be truncated in table '{table}', column '{}'. Truncated value: ''.",
            column.name
        ),
    ))
}
