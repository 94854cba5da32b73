//! Variables and table variables of one scope: a batch, a procedure, `sp_executesql`.

use std::collections::HashMap;

use crate::ast::ObjectName;
use crate::error::{SqlError, SqlResult};
use crate::store::TableId;
use crate::types::TypeInfo;
use crate::value::Value;

/// A scope's variables; names are kept in lower case.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    scalars: HashMap<String, (TypeInfo, Value)>,
    tables: HashMap<String, TableVariable>,
}

/// A table variable, or a table that is an argument.
#[derive(Clone, Debug)]
pub(crate) struct TableVariable {
    pub(crate) id: TableId,
    /// The table type that it was declared with.
    pub(crate) ty: Option<ObjectName>,
    /// An argument is never written to.
    pub(crate) read_only: bool,
    /// It belongs to the caller, and outlives this scope.
    pub(crate) borrowed: bool,
}

impl Variables {
    /// Declares a variable that is NULL. Error 134 if it exists.
    pub(crate) fn declare(&mut self, name: &str, info: TypeInfo) -> SqlResult<()> {
        let key = name.to_lowercase();
        if self.scalars.contains_key(&key) || self.tables.contains_key(&key) {
            return Err(SqlError::new(
                134,
                15,
                2,
                format!(
                    "The variable name '{name}' has already been declared. Variable names must be unique within a query batch or stored procedure."
                ),
            ));
        }
        self.scalars.insert(key, (info, Value::Null));
        Ok(())
    }

    /// A second visit of a DECLARE (in a loop) keeps the variable.
    pub(crate) fn is_declared(&self, name: &str) -> bool {
        self.scalars.contains_key(&name.to_lowercase())
    }

    pub(crate) fn declare_table(&mut self, name: &str, table: TableVariable) {
        self.tables.insert(name.to_lowercase(), table);
    }

    pub(crate) fn table_variable(&self, name: &str) -> Option<&TableVariable> {
        self.tables.get(&name.to_lowercase())
    }

    /// A table to write to. Error 10700 if it is an argument.
    pub(crate) fn writable_table(&self, name: &str) -> SqlResult<TableId> {
        if self.table_variable(name).is_some_and(|table| table.read_only) {
            let message =
                format!("The table-valued parameter \"{name}\" is READONLY and cannot be modified.");
            return Err(SqlError::user(10700, message));
        }
        self.table(name)
    }

    pub(crate) fn table(&self, name: &str) -> SqlResult<TableId> {
        let found = self.table_variable(name).map(|table| table.id);
        found.ok_or_else(|| {
            SqlError::new(
                1087,
                15,
                2,
                format!("Must declare the table variable \"{name}\"."),
            )
        })
    }

    /// The tables that end with this scope.
    pub(crate) fn own_tables(&self) -> impl Iterator<Item = TableId> + '_ {
        self.tables
            .values()
            .filter(|table| !table.borrowed)
            .map(|table| table.id)
    }

    pub(crate) fn info(&self, name: &str) -> SqlResult<TypeInfo> {
        self.entry(name).map(|(info, _)| *info)
    }

    pub(crate) fn value(&self, name: &str) -> SqlResult<&Value> {
        self.entry(name).map(|(_, value)| value)
    }

    /// Sets a variable to a value that has already been converted.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        if let Some((_, current)) = self.scalars.get_mut(&name.to_lowercase()) {
            *current = value;
        }
    }

    fn entry(&self, name: &str) -> SqlResult<&(TypeInfo, Value)> {
        self.scalars.get(&name.to_lowercase()).ok_or_else(|| {
            SqlError::new(
                137,
                15,
                2,
                format!("Must declare the scalar variable \"{name}\"."),
            )
        })
    }
}
