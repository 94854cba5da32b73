//! From syntax to bound expressions.

use super::{BoundExpr, Scope};
use crate::ast::Expr;
use crate::error::{SqlError, SqlResult};
use crate::types::TypeInfo;
use crate::value::Value;

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

/// The common type of two values by precedence, as CASE, UNION and VALUES find it (decimal digits and lengths united).
pub(crate) fn unify(a: TypeInfo, b: TypeInfo) -> TypeInfo {
    let _ = b;
    a
}

/// A value converted implicitly outside of any expression: bulk rows, parameters. Errors as an assignment's.
pub(crate) fn convert_value(value: Value, from: TypeInfo, to: TypeInfo) -> SqlResult<Value> {
    let _ = (from, to);
    Ok(value)
}
