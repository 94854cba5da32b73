//! Tables in the making: what CREATE TABLE, ALTER TABLE and CREATE INDEX say, turned into definitions.
//!
//! Works on definitions alone; rows, names of objects and locks are the statements' affair.

mod index;
mod removal;

pub(crate) use index::add_index;
pub(crate) use removal::drop_items;

use std::sync::Arc;

use index::{has_clustered, index_keys, is_candidate_key, push_index};

use crate::ast::{
    ColumnDefinition, ColumnType, ConstraintKind, Expr, ExprText, IndexColumn, ObjectName, TableConstraint,
    TableDefinition,
};
use crate::clock::Instant;
use crate::collation::Collation;
use crate::error::{SqlError, SqlResult};
use crate::store::{
    CheckConstraint, Column, Computed, DefaultConstraint, ForeignKey, Identity, Index, Table, TableId,
};
use crate::types::{Length, SqlType, TypeInfo};

/// What a definition asks of the session around it.
pub(crate) trait Surroundings {
    /// A number for a new object.
    fn new_object_id(&mut self) -> i32;

    /// The type of a computed column's expression over the columns so far.
    fn type_of(&mut self, expr: &Expr, table: &Table) -> SqlResult<TypeInfo>;

    /// The table that a foreign key of `from` references, which may be `from` itself.
    fn referenced(&mut self, name: &ObjectName, from: &Table) -> SqlResult<(TableId, Arc<Table>)>;
}

/// Builds and changes definitions.
pub(crate) struct Definer<'a> {
    pub(crate) world: &'a mut dyn Surroundings,
    /// The database's collation, for text without COLLATE.
    pub(crate) collation: &'static Collation,
    pub(crate) now: Instant,
}

/// A table without columns.
pub(crate) fn empty_table(object_id: i32, database: i32, schema: &str, name: &str, now: Instant) -> Table {
    Table {
        object_id,
        database,
        schema: schema.to_owned(),
        name: name.to_owned(),
        created: now,
        modified: now,
        columns: Vec::new(),
        indexes: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        last_column_id: 0,
        variable: false,
    }
}

impl Definer<'_> {
    /// Adds columns, constraints and indexes; `trusted` is false after WITH NOCHECK.
    pub(crate) fn add(&mut self, table: &mut Table, items: &TableDefinition, trusted: bool) -> SqlResult<()> {
        table.modified = self.now;
        for definition in &items.columns {
            self.column(table, definition)?;
        }
        let at_columns = items.columns.iter().flat_map(|column| {
            column
                .constraints
                .iter()
                .map(|constraint| (Some(column.name.as_str()), constraint))
        });
        let at_table = items.constraints.iter().map(|constraint| (None, constraint));
        let all: Vec<_> = at_columns.chain(at_table).collect();
        let primary = |constraint: &TableConstraint| {
            matches!(constraint.kind, ConstraintKind::Key { primary: true, .. })
        };
        let (keys, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, constraint)| primary(constraint));
        for (column, constraint) in keys.into_iter().chain(others) {
            self.constraint(table, column, constraint, trusted, &items.columns)?;
        }
        items.indexes.iter().try_for_each(|index| add_index(table, index))
    }

    fn column(&mut self, table: &mut Table, definition: &ColumnDefinition) -> SqlResult<()> {
        if table.column(&definition.name).is_some() {
            return Err(SqlError::new(
                2705,
                16,
                3,
                format!(
                    "Column names in each table must be unique. Column name '{}' in table '{}' is specified more than once.",
                    definition.name, table.name
                ),
            ));
        }
        let info = self.column_type(table, definition)?;
        check_special_types(table, definition, info)?;
        table.last_column_id += 1;
        let default = definition.default.as_ref().map(|default| {
            self.default_constraint(table, &definition.name, default.name.as_deref(), &default.value)
        });
        table.columns.push(Column {
            id: table.last_column_id,
            name: definition.name.clone(),
            info,
            alias: alias(definition),
            identity: definition.identity.map(|identity| Identity {
                seed: identity.seed,
                increment: identity.increment,
            }),
            computed: definition.computed.as_ref().map(|computed| Computed {
                value: computed.value.clone(),
                persisted: computed.persisted,
            }),
            default,
            rowguid: definition.rowguidcol,
            sparse: definition.sparse,
            masked: definition.masked.clone(),
        });
        Ok(())
    }

    fn column_type(&mut self, table: &Table, definition: &ColumnDefinition) -> SqlResult<TypeInfo> {
        if let Some(computed) = &definition.computed {
            let mut info = self.world.type_of(&computed.value.expr, table)?;
            info.nullable = definition.nullable.unwrap_or(info.nullable);
            return Ok(info);
        }
        let ty = match &definition.ty {
            Some(ColumnType::Builtin(ty)) => *ty,
            Some(ColumnType::Alias(name)) if name.name.eq_ignore_ascii_case("sysname") => SqlType::NVarChar {
                len: Length::Chars(128),
            },
            Some(ColumnType::Alias(name)) => return Err(unknown_type(&name.name)),
            None => {
                return Err(SqlError::user(
                    173,
                    format!(
                        "The definition for column '{}' must include a data type.",
                        definition.name
                    ),
                ));
            }
        };
        let collation = match &definition.collation {
            _ if !ty.is_character() => None,
            None => Some(self.collation),
            Some(name) if name.eq_ignore_ascii_case("DATABASE_DEFAULT") => Some(self.collation),
            Some(name) => Some(
                Collation::find(name)
                    .ok_or_else(|| SqlError::user(448, format!("Invalid collation '{name}'.")))?,
            ),
        };
        let not_null_by_nature =
            definition.identity.is_some() || ty == SqlType::RowVersion || alias(definition).is_some();
        Ok(TypeInfo {
            ty,
            collation,
            nullable: definition.nullable.unwrap_or(!not_null_by_nature),
        })
    }

    fn default_constraint(
        &mut self,
        table: &Table,
        column: &str,
        name: Option<&str>,
        value: &ExprText,
    ) -> DefaultConstraint {
        let object_id = self.world.new_object_id();
        DefaultConstraint {
            object_id,
            name: name.map_or_else(
                || system_name("DF", &table.name, column, object_id),
                str::to_owned,
            ),
            system_named: name.is_none(),
            value: value.clone(),
        }
    }

    fn constraint(
        &mut self,
        table: &mut Table,
        column: Option<&str>,
        constraint: &TableConstraint,
        trusted: bool,
        new_columns: &[ColumnDefinition],
    ) -> SqlResult<()> {
        let name = constraint.name.as_deref();
        match &constraint.kind {
            ConstraintKind::Key {
                primary,
                clustered,
                columns,
            } => {
                let own = column.map(|name| {
                    vec![IndexColumn {
                        name: name.to_owned(),
                        descending: false,
                    }]
                });
                let columns = if columns.is_empty() {
                    own.unwrap_or_default()
                } else {
                    columns.clone()
                };
                self.key(table, name, *primary, *clustered, &columns, new_columns)
            }
            ConstraintKind::ForeignKey(key) => {
                let own = column.map(|name| vec![name.to_owned()]);
                let columns = if key.columns.is_empty() {
                    own.unwrap_or_default()
                } else {
                    key.columns.clone()
                };
                self.foreign_key(table, name, &columns, key, trusted)
            }
            ConstraintKind::Check(condition) => {
                let object_id = self.world.new_object_id();
                table.checks.push(CheckConstraint {
                    object_id,
                    name: name.map_or_else(
                        || system_name("CK", &table.name, column.unwrap_or_default(), object_id),
                        str::to_owned,
                    ),
                    system_named: name.is_none(),
                    condition: condition.clone(),
                    disabled: false,
                    trusted,
                });
                Ok(())
            }
            ConstraintKind::Default { column, value } => {
                let at = position(table, column)?;
                if table
                    .columns
                    .get(at)
                    .is_some_and(|column| column.default.is_some())
                {
                    return Err(SqlError::user(1781, "Column already has a DEFAULT bound to it."));
                }
                let default = self.default_constraint(table, column, name, value);
                if let Some(column) = table.columns.get_mut(at) {
                    column.default = Some(default);
                }
                Ok(())
            }
        }
    }

    fn key(
        &mut self,
        table: &mut Table,
        name: Option<&str>,
        primary: bool,
        clustered: Option<bool>,
        columns: &[IndexColumn],
        new_columns: &[ColumnDefinition],
    ) -> SqlResult<()> {
        if primary && table.primary_key().is_some() {
            let message = format!("Table '{}' already has a primary key defined on it.", table.name);
            return Err(SqlError::new(1779, 16, 0, message));
        }
        let keys = index_keys(table, columns)?;
        if primary {
            for key in &keys {
                require_not_null(table, key.column, new_columns)?;
            }
        }
        let clustered = clustered.unwrap_or(primary && !has_clustered(table));
        let constraint = self.world.new_object_id();
        let prefix = if primary { "PK" } else { "UQ" };
        let index = Index {
            id: 0,
            name: name.map_or_else(|| system_key_name(prefix, &table.name, constraint), str::to_owned),
            unique: true,
            primary,
            constraint: Some(constraint),
            system_named: name.is_none(),
            clustered,
            columnstore: false,
            keys,
            included: Vec::new(),
            filter: None,
            ignore_dup_key: false,
            disabled: false,
        };
        push_index(table, index)
    }

    fn foreign_key(
        &mut self,
        table: &mut Table,
        name: Option<&str>,
        columns: &[String],
        key: &crate::ast::ForeignKey,
        trusted: bool,
    ) -> SqlResult<()> {
        let (id, target) = self.world.referenced(&key.table, table)?;
        let own = columns
            .iter()
            .map(|column| position(table, column))
            .collect::<SqlResult<Vec<_>>>()?;
        let theirs = if key.references.is_empty() {
            let primary = target.primary_key().and_then(|at| target.indexes.get(at));
            primary
                .map(|index| index.keys.iter().map(|key| key.column).collect())
                .unwrap_or_default()
        } else {
            key.references
                .iter()
                .map(|column| position(&target, column))
                .collect::<SqlResult<Vec<_>>>()?
        };
        let object_id = self.world.new_object_id();
        let first = columns.first().map_or("", String::as_str);
        let label = name.map_or_else(|| system_name("FK", &table.name, first, object_id), str::to_owned);
        if own.len() != theirs.len() || !is_candidate_key(&target, &theirs) {
            return Err(SqlError::new(
                1776,
                16,
                0,
                format!(
                    "There are no primary or candidate keys in the referenced table '{}' that match the referencing column list in the foreign key '{label}'.",
                    target.qualified()
                ),
            ));
        }
        table.foreign_keys.push(ForeignKey {
            object_id,
            name: label,
            system_named: name.is_none(),
            columns: own,
            referenced: id,
            referenced_columns: theirs,
            on_delete: key.on_delete,
            on_update: key.on_update,
            disabled: false,
            trusted,
        });
        Ok(())
    }

    /// ALTER COLUMN: a new type; identity, default and constraints stay.
    pub(crate) fn alter_column(&mut self, table: &mut Table, definition: &ColumnDefinition) -> SqlResult<()> {
        let at = table.column(&definition.name).ok_or_else(|| {
            SqlError::user(
                4924,
                format!(
                    "ALTER TABLE ALTER COLUMN failed because column '{}' does not exist in table '{}'.",
                    definition.name, table.name
                ),
            )
        })?;
        let info = self.column_type(table, definition)?;
        table.modified = self.now;
        if let Some(column) = table.columns.get_mut(at) {
            column.info = TypeInfo {
                nullable: definition.nullable.unwrap_or(true),
                ..info
            };
            column.alias = alias(definition);
        }
        Ok(())
    }
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn alias(definition: &ColumnDefinition) -> Option<String> {
    match &definition.ty {
        Some(ColumnType::Alias(name)) => Some(name.name.to_lowercase()),
        _ => None,
    }
}

fn unknown_type(name: &str) -> SqlError {
    SqlError::user(
        2715,
        format!("Column, parameter, or variable #1: Cannot find data type {name}."),
    )
}

fn position(table: &Table, column: &str) -> SqlResult<usize> {
    table.column(column).ok_or_else(|| {
        SqlError::user(
            1911,
            format!("Column name '{column}' does not exist in the target table or view."),
        )
    })
}

/// A primary key makes new columns NOT NULL unless they say NULL; existing ones have to be so (error 8111).
fn require_not_null(table: &mut Table, at: usize, new_columns: &[ColumnDefinition]) -> SqlResult<()> {
    let table_name = table.name.clone();
    let Some(column) = table.columns.get_mut(at) else {
        return Ok(());
    };
    let silent = new_columns
        .iter()
        .any(|new| same(&new.name, &column.name) && new.nullable.is_none());
    if silent {
        column.info.nullable = false;
    }
    if column.info.nullable {
        return Err(SqlError::user(
            8111,
            format!("Cannot define PRIMARY KEY constraint on nullable column in table '{table_name}'."),
        ));
    }
    Ok(())
}

/// One identity column of an exact type, one rowversion.
fn check_special_types(table: &Table, definition: &ColumnDefinition, info: TypeInfo) -> SqlResult<()> {
    if definition.identity.is_some() {
        let exact = matches!(
            info.ty,
            SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt
        ) || matches!(
            info.ty,
            SqlType::Decimal { scale: 0, .. } | SqlType::Numeric { scale: 0, .. }
        );
        if !exact || info.nullable {
            return Err(SqlError::new(
                2749,
                16,
                2,
                format!(
                    "Identity column '{}' must be of data type int, bigint, smallint, tinyint, or decimal or numeric with a scale of 0, unencrypted, and constrained to be nonnullable.",
                    definition.name
                ),
            ));
        }
        if table.identity().is_some() {
            return Err(SqlError::new(
                2744,
                16,
                2,
                format!(
                    "Multiple identity columns specified for table '{}'. Only one identity column per table is allowed.",
                    table.name
                ),
            ));
        }
    }
    if info.ty == SqlType::RowVersion
        && table
            .columns
            .iter()
            .any(|column| column.info.ty == SqlType::RowVersion)
    {
        return Err(SqlError::new(
            2738,
            16,
            2,
            format!(
                "A table can only have one timestamp column. Because table '{}' already has one, the column '{}' cannot be added.",
                table.name, definition.name
            ),
        ));
    }
    Ok(())
}

/// `DF__Orders__status__3B75D760`
fn system_name(prefix: &str, table: &str, column: &str, object_id: i32) -> String {
    let cut = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    format!("{prefix}__{}__{}__{object_id:08X}", cut(table, 9), cut(column, 5))
}

/// `PK__Orders__3213E83F00AABBCC`
fn system_key_name(prefix: &str, table: &str, object_id: i32) -> String {
    let table: String = table.chars().take(8).collect();
    format!("{prefix}__{table}__3213E83F{object_id:08X}")
}

#[cfg(test)]
mod tests;
