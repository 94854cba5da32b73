//! `sp_rename` of a column or a table.

use std::sync::Arc;

use super::capture::Arguments;
use super::run::Run;
use super::scope::same;
use crate::ast::{ExprText, ObjectName};
use crate::catalog::ObjectReference;
use crate::error::{SqlError, SqlResult};
use crate::lexer::{TokenKind, tokenize};
use crate::store::{Database, Table, TableId};

impl Run<'_> {
    /// `sp_rename 'schema.table.column', 'name', 'COLUMN'` or `sp_rename 'schema.table', 'name', 'OBJECT'`, which is the default.
    pub(super) fn rename(&mut self, arguments: &Arguments<'_>) -> SqlResult<()> {
        let text = |name, place| arguments.text(name, place).unwrap_or_default();
        let (object, new) = (text("@objname", 0), text("@newname", 1));
        match text("@objtype", 2).to_uppercase().as_str() {
            "COLUMN" => self.rename_column(&object, &new)?,
            kind @ ("" | "OBJECT") => self.rename_table(&object, &new, kind)?,
            _ => {
                return Err(SqlError::unsupported(
                    "sp_rename of anything but a table or a column",
                ));
            }
        }
        let caution =
            "Caution: Changing any part of an object name could break scripts and stored procedures.";
        self.out.message(&SqlError::new(15_477, 10, 1, caution));
        Ok(())
    }

    /// Errors: 15225 if there is no such object, 15335. What knows a table by its number, as keys, triggers and capture instances do, keeps it.
    fn rename_table(&mut self, object: &str, new: &str, kind: &str) -> SqlResult<()> {
        let reference = ObjectReference::parse(object).map(ObjectReference::into_name);
        let found = match &reference {
            Some(name) => self.session.find_table(name)?,
            None => None,
        };
        let Some(id) = found else {
            return Err(self.nothing_to_rename(reference.as_ref(), object, kind));
        };
        let table = self.session.table_definition(id)?;
        self.session.allow(id, "ALTER")?;
        self.lock_catalog(table.database)?;
        let database = self.session.database_with(&table)?;
        if database.table(&table.schema, new).is_some() || database.module(&table.schema, new).is_some() {
            return Err(taken(new, "OBJECT"));
        }
        let now = self.statement.now;
        self.replace_table(id, |_, data| {
            let mut table = (*data.definition).clone();
            new.clone_into(&mut table.name);
            table.modified = now;
            data.redefine(Arc::new(table));
            Ok(())
        })?;
        self.change_catalog(database.id, |database| {
            database
                .tables
                .remove(&Database::table_key(&table.schema, &table.name));
            database
                .tables
                .insert(Database::table_key(&table.schema, new), id);
        })
    }

    /// Why an object that is no table is not renamed.
    fn nothing_to_rename(&self, name: Option<&ObjectName>, object: &str, kind: &str) -> SqlError {
        let database = self.session.current_database();
        let module = name.zip(database.as_ref()).and_then(|(name, database)| {
            database.module(name.schema.as_deref().unwrap_or("dbo"), &name.name)
        });
        if module.is_some() {
            return SqlError::unsupported("sp_rename of anything but a table or a column");
        }
        let kind = if kind.is_empty() { "(null)" } else { kind };
        let message = format!(
            "No item by the name of '{object}' could be found in the current database '{}', given that @itemtype was input as '{kind}'.",
            database.map(|database| database.name.clone()).unwrap_or_default()
        );
        SqlError::new(15_225, 11, 1, message)
    }

    /// Errors: 4928, 15248, 15335, 15336.
    fn rename_column(&mut self, object: &str, new: &str) -> SqlResult<()> {
        let unknown = || {
            let message =
                "Either the parameter @objname is ambiguous or the claimed @objtype (COLUMN) is wrong.";
            SqlError::user(15_248, message)
        };
        // What comes before the column is the table, which has a schema or none.
        let reference = ObjectReference::parse(object).ok_or_else(unknown)?;
        let table = ObjectReference {
            database: None,
            schema: reference.database,
            name: reference.schema.ok_or_else(unknown)?,
        };
        let (id, table) = self.existing(&table.into_name(), 15_248).map_err(|_| unknown())?;
        let at = table.column(&reference.name).ok_or_else(unknown)?;
        self.session.allow(id, "ALTER")?;
        self.refuse_rename(id, &table, at, object, new)?;
        let now = self.statement.now;
        self.replace_table(id, |_, data| {
            let mut table = (*data.definition).clone();
            if let Some(column) = table.columns.get_mut(at) {
                new.clone_into(&mut column.name);
            }
            table.modified = now;
            data.redefine(Arc::new(table));
            Ok(())
        })
    }

    fn refuse_rename(&self, id: TableId, table: &Table, at: usize, object: &str, new: &str) -> SqlResult<()> {
        let Some(column) = table.columns.get(at) else {
            return Ok(());
        };
        if table.column(new).is_some_and(|other| other != at) {
            return Err(taken(new, "COLUMN"));
        }
        let capturing = self.session.database_with(table)?.capturing.clone();
        let mut instances = capturing
            .iter()
            .flat_map(|capturing| &capturing.instances)
            .filter(|instance| instance.source == id);
        if instances.any(|instance| instance.columns.iter().any(|captured| captured.id == column.id)) {
            let message = format!(
                "Cannot alter column '{}' because it is 'REPLICATED'.",
                column.name
            );
            return Err(SqlError::user(4928, message));
        }
        let computed = table.columns.iter().filter_map(|column| column.computed.as_ref());
        let checks = table.checks.iter().map(|check| &check.condition);
        let filters = table.indexes.iter().filter_map(|index| index.filter.as_ref());
        let mut expressions = checks
            .chain(filters)
            .chain(computed.map(|computed| &computed.value));
        if expressions.any(|expression| names(expression, &column.name)) {
            let message = format!(
                "Object '{object}' cannot be renamed because the object participates in enforced dependencies."
            );
            return Err(SqlError::user(15_336, message));
        }
        Ok(())
    }
}

/// Error 15335.
fn taken(new: &str, kind: &str) -> SqlError {
    let message = format!(
        "Error: The new name '{new}' is already in use as a {kind} name and would cause a duplicate that is not permitted."
    );
    SqlError::new(15_335, 11, 1, message)
}

/// Whether an expression names a column.
fn names(expression: &ExprText, column: &str) -> bool {
    let tokens = tokenize(&expression.text, true).unwrap_or_default();
    tokens.iter().any(|token| match &token.kind {
        TokenKind::Word(word) | TokenKind::Quoted(word) => same(word, column),
        _ => false,
    })
}
