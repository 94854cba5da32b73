//! `sp_rename` of a column.

use std::sync::Arc;

use super::capture::Arguments;
use super::run::Run;
use super::scope::same;
use crate::ast::ExprText;
use crate::catalog::ObjectReference;
use crate::error::{SqlError, SqlResult};
use crate::lexer::{TokenKind, tokenize};
use crate::store::{Table, TableId};

impl Run<'_> {
    /// `sp_rename 'schema.table.column', 'name', 'COLUMN'`. Errors: 4928, 15248, 15335, 15336.
    pub(super) fn rename(&mut self, arguments: &Arguments<'_>) -> SqlResult<()> {
        let text = |name, place| arguments.text(name, place).unwrap_or_default();
        let (object, new) = (text("@objname", 0), text("@newname", 1));
        if !text("@objtype", 2).eq_ignore_ascii_case("COLUMN") {
            return Err(SqlError::unsupported("sp_rename of anything but a column"));
        }
        let unknown = || {
            let message =
                "Either the parameter @objname is ambiguous or the claimed @objtype (COLUMN) is wrong.";
            SqlError::user(15_248, message)
        };
        // What comes before the column is the table, which has a schema or none.
        let reference = ObjectReference::parse(&object).ok_or_else(unknown)?;
        let table = ObjectReference {
            database: None,
            schema: reference.database,
            name: reference.schema.ok_or_else(unknown)?,
        };
        let (id, table) = self.existing(&table.into_name(), 15_248).map_err(|_| unknown())?;
        let at = table.column(&reference.name).ok_or_else(unknown)?;
        self.session.allow(id, "ALTER")?;
        self.refuse_rename(id, &table, at, &object, &new)?;
        let now = self.statement.now;
        self.replace_table(id, |_, data| {
            let mut table = (*data.definition).clone();
            if let Some(column) = table.columns.get_mut(at) {
                column.name.clone_from(&new);
            }
            table.modified = now;
            data.redefine(Arc::new(table));
            Ok(())
        })?;
        let caution =
            "Caution: Changing any part of an object name could break scripts and stored procedures.";
        self.out.message(&SqlError::new(15_477, 10, 1, caution));
        Ok(())
    }

    fn refuse_rename(&self, id: TableId, table: &Table, at: usize, object: &str, new: &str) -> SqlResult<()> {
        let Some(column) = table.columns.get(at) else {
            return Ok(());
        };
        if table.column(new).is_some_and(|other| other != at) {
            let message = format!(
                "Error: The new name '{new}' is already in use as a COLUMN name and would cause a duplicate that is not permitted."
            );
            return Err(SqlError::new(15_335, 11, 1, message));
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

/// Whether an expression names a column.
fn names(expression: &ExprText, column: &str) -> bool {
    let tokens = tokenize(&expression.text, true).unwrap_or_default();
    tokens.iter().any(|token| match &token.kind {
        TokenKind::Word(word) | TokenKind::Quoted(word) => same(word, column),
        _ => false,
    })
}
