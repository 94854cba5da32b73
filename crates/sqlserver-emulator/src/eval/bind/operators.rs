//! Arithmetic, signs, concatenation and CASE.

use super::{bind, common_collation, implicit, unify_all};
use crate::ast::{BinaryOp, CompareOp, Expr, UnaryOp};
use crate::error::{SqlError, SqlResult};
use crate::eval::Scope;
use crate::eval::bound::{BoundExpr, Node};
use crate::eval::convert::{Way, check};
use crate::eval::types::{as_decimal, operation};
use crate::types::{SqlType, TypeInfo};
use crate::value::Value;

pub(super) fn unary(op: UnaryOp, operand: &Expr, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    let operand = bind(operand, scope)?;
    let info = operand.info;
    match op {
        UnaryOp::Plus => Ok(operand),
        UnaryOp::Negate if as_decimal(info.ty).is_some() || is_float(info.ty) => {
            Ok(BoundExpr::new(Node::Negate(Box::new(operand)), info))
        }
        UnaryOp::Negate => {
            let message = format!(
                "Operand data type {} is invalid for minus operator.",
                info.ty.name()
            );
            Err(SqlError::new(8117, 16, 1, message))
        }
        UnaryOp::BitNot => Ok(BoundExpr::new(Node::BitNot(Box::new(operand)), info)),
    }
}

fn is_float(ty: SqlType) -> bool {
    matches!(ty, SqlType::Float | SqlType::Real)
}

pub(super) fn binary(op: BinaryOp, left: &Expr, right: &Expr, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    let left = bind(left, scope)?;
    let right = bind(right, scope)?;
    arithmetic(op, left, right)
}

/// `left op right`, each converted to what the operation needs.
pub(super) fn arithmetic(op: BinaryOp, left: BoundExpr, right: BoundExpr) -> SqlResult<BoundExpr> {
    let digits = [constant_digits(&left), constant_digits(&right)];
    let types = operation(op, left.info.ty, right.info.ty, digits)?;
    let label = left.label.max(right.label);
    let collation = if types.result.is_character() {
        common_collation(&left, &right, "add")?
    } else {
        None
    };
    let info = TypeInfo {
        ty: types.result,
        collation,
        nullable: left.info.nullable || right.info.nullable,
    };
    let [left_type, right_type] = types.operands;
    let left = Box::new(operand(left, left_type, info)?);
    let right = Box::new(operand(right, right_type, info)?);
    Ok(BoundExpr {
        node: Node::Arithmetic { op, left, right },
        info,
        label,
    })
}

fn operand(expr: BoundExpr, ty: Option<SqlType>, result: TypeInfo) -> SqlResult<BoundExpr> {
    let Some(ty) = ty else { return Ok(expr) };
    check(Way::Implicit, expr.info.ty, ty)?;
    Ok(implicit(expr, TypeInfo { ty, ..result }))
}

/// An integer constant counts with the digits it has, not with those of `int`.
fn constant_digits(expr: &BoundExpr) -> Option<(u8, u8)> {
    let number = expr.constant_value()?.as_integer()?;
    let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
    Some((digits as u8, 0))
}

pub(super) fn case(
    operand: Option<&Expr>,
    branches: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    scope: &mut dyn Scope,
) -> SqlResult<BoundExpr> {
    let mut conditions = Vec::with_capacity(branches.len());
    let mut values = Vec::with_capacity(branches.len() + 1);
    for (when, then) in branches {
        conditions.push(match operand {
            None => bind(when, scope)?,
            Some(operand) => {
                let (operand, when) = (bind(operand, scope)?, bind(when, scope)?);
                super::predicates::comparison(CompareOp::Equal, operand, when)?
            }
        });
        values.push(bind(then, scope)?);
    }
    if let Some(otherwise) = otherwise {
        values.push(bind(otherwise, scope)?);
    }
    let all_null = values
        .iter()
        .all(|value| value.constant_value() == Some(&Value::Null));
    if all_null {
        let message = "At least one of the result expressions in a CASE specification must be an expression other than the \
                       NULL constant.";
        return Err(SqlError::user(8133, message));
    }
    let (mut values, info, label) = unify_all(values, "CASE")?;
    let nullable = otherwise.is_none() || values.iter().any(|value| value.info.nullable);
    let otherwise = if otherwise.is_some() {
        values.pop().map(Box::new)
    } else {
        None
    };
    let branches = conditions.into_iter().zip(values).collect();
    let info = TypeInfo { nullable, ..info };
    Ok(BoundExpr {
        node: Node::Case { branches, otherwise },
        info,
        label,
    })
}
