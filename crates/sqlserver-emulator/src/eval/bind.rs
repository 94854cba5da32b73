//! From syntax to bound expressions.

use super::{BoundExpr, Scope};
use crate::ast::Expr;
use crate::error::{SqlError, SqlResult};
use crate::types::TypeInfo;

/// Binds an expression that gives a value.
pub(crate) fn bind(expr: &Expr, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    let _ = (expr, scope);
    Err(SqlError::unsupported("expressions"))
}

/// Binds a predicate; its value is a `bit`, NULL for unknown.
pub(crate) fn bind_predicate(expr: &Expr, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    bind(expr, scope)
}

/// `expr` converted implicitly to `target`, as an assignment does. Errors: 206, 257.
pub(crate) fn convert_to(expr: BoundExpr, target: TypeInfo) -> SqlResult<BoundExpr> {
    let _ = target;
    Ok(expr)
}
