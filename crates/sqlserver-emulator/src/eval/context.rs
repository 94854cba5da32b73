//! What evaluation asks of the engine: names while binding, rows and facts while running.

use std::collections::HashSet;
use std::sync::Arc;

use super::{EnvironmentFunction, Global};
use crate::ast::{ColumnName, Expr, Query};
use crate::clock::Instant;
use crate::error::{SqlError, SqlResult};
use crate::types::{SqlType, TypeInfo};
use crate::value::Value;

/// Where a column's value is found: in the row of the query `depth` levels out, at `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// 0 for the query that the expression belongs to, 1 for the one around it.
    pub(crate) depth: u16,
    /// Place in that query's row.
    pub(crate) index: u32,
}

/// A resolved column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotInfo {
    /// Where.
    pub(crate) slot: Slot,
    /// What.
    pub(crate) info: TypeInfo,
}

/// A planned subquery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubqueryInfo {
    /// The engine's number for it.
    pub(crate) id: usize,
    /// Type of the first column.
    pub(crate) info: TypeInfo,
    /// Number of columns; more than one is an error (116) except under EXISTS.
    pub(crate) columns: usize,
}

/// What names mean where an expression stands.
pub(crate) trait Scope {
    /// Finds a column. Errors: 207 unknown name, 209 ambiguous, 4104 unknown qualifier.
    fn column(&mut self, name: &ColumnName) -> SqlResult<SlotInfo>;

    /// Type of a variable, given with its `@`. Error: 137.
    fn variable(&mut self, name: &str) -> SqlResult<TypeInfo>;

    /// Plans a subquery.
    fn subquery(&mut self, query: &Query) -> SqlResult<SubqueryInfo>;

    /// A slot that already holds the value of `expr`: a grouping expression, an aggregate, a window function.
    /// Asked before each subexpression is bound. An aggregate where none may stand is an error (147).
    fn computed(&mut self, expr: &Expr) -> SqlResult<Option<SlotInfo>> {
        let _ = expr;
        Ok(None)
    }

    /// Collation of literals and variables: the current database's.
    fn collation(&self) -> &'static crate::collation::Collation {
        crate::collation::Collation::server_default()
    }
}

/// A subquery's values as a set, for IN and NOT IN.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// The values' index keys.
    pub(crate) keys: HashSet<Vec<u8>>,
    /// NULL is among them.
    pub(crate) null: bool,
}

impl Members {
    /// Whether `value` is among them; none for unknown.
    pub(crate) fn contain(&self, value: &Value, info: TypeInfo) -> Option<bool> {
        if self.keys.is_empty() && !self.null {
            return Some(false);
        }
        if value.is_null() {
            return None;
        }
        let mut key = Vec::new();
        crate::store::key::append(value, info.collation, false, &mut key);
        if self.keys.contains(&key) {
            Some(true)
        } else {
            (!self.null).then_some(false)
        }
    }
}

/// What an expression is evaluated against: the current rows, the variables, the session and the server.
pub(crate) trait Context {
    /// The value of a column.
    fn column(&self, slot: Slot) -> &Value;

    /// The value of a variable, given with its `@`.
    fn variable(&self, name: &str) -> SqlResult<Value>;

    /// Runs a subquery and hands over its first column, row by row, until `each` returns false.
    fn subquery(&mut self, id: usize, each: &mut dyn FnMut(&Value) -> SqlResult<bool>) -> SqlResult<()>;

    /// The values of a subquery that depends on no outer row, converted to `common`; none if it does depend.
    fn members(&mut self, id: usize, from: SqlType, common: TypeInfo) -> SqlResult<Option<Arc<Members>>> {
        let _ = (id, from, common);
        Ok(None)
    }

    /// The time of the statement's start, in UTC.
    fn now(&self) -> Instant;

    /// Fills `bytes` with random ones, for NEWID, RAND and CRYPT_GEN_RANDOM.
    fn random(&mut self, bytes: &mut [u8]);

    /// The value of `@@x`.
    fn global(&self, global: Global) -> SqlResult<Value>;

    /// A function that asks about the session, the catalog or the server; arguments have been converted.
    fn environment(&mut self, function: EnvironmentFunction, arguments: &[Value]) -> SqlResult<Value>;

    /// How many bytes a value of a `(max)` type may have.
    fn longest_value(&self) -> usize {
        i32::MAX as usize
    }

    /// The error that the surrounding CATCH handles.
    fn caught(&self) -> Option<&SqlError>;
}
