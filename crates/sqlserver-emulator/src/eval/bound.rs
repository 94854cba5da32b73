//! The bound form of an expression.

use super::Context;
use crate::error::{SqlError, SqlResult};
use crate::types::TypeInfo;
use crate::value::Value;

/// An expression whose names are slots and whose type is known.
#[derive(Debug, Clone)]
pub(crate) struct BoundExpr {
    info: TypeInfo,
}

impl BoundExpr {
    /// A column whose slot is known.
    pub(crate) fn column(slot: super::SlotInfo) -> Self {
        Self { info: slot.info }
    }

    /// Type, collation and nullability of the result; predicates are `bit`.
    pub(crate) fn info(&self) -> TypeInfo {
        self.info
    }

    /// The value for the row and session that `context` stands for.
    pub(crate) fn eval(&self, context: &mut dyn Context) -> SqlResult<Value> {
        let _ = context;
        Err(SqlError::unsupported("expressions"))
    }
}
