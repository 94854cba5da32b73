//! From syntax to bound expressions: names become slots, operands take their common type.

mod operators;
mod predicates;

pub(super) use predicates::comparison;

use std::sync::Arc;

use super::bound::{BoundExpr, Label, Node};
use super::convert::{Way, check, convert_typed, length_of};
use super::types::unify;
use super::{Global, Scope, function};
use crate::ast::{Expr, Literal};
use crate::collation::Collation;
use crate::error::{SqlError, SqlResult};
use crate::types::{SqlType, TypeInfo};
use crate::value::{Decimal, Value};

/// Binds an expression that gives a value.
pub(crate) fn bind(expr: &Expr, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    if let Some(slot) = scope.computed(expr)? {
        return Ok(BoundExpr::column(slot));
    }
    match expr {
        Expr::Literal(value) => Ok(literal(value, scope)),
        Expr::Variable(name) => {
            let info = scope.variable(name)?;
            Ok(BoundExpr::new(Node::Variable(name.as_str().into()), info))
        }
        Expr::Global(name) => global(name),
        Expr::Column(name) => Ok(BoundExpr::column(scope.column(name)?)),
        Expr::MergeAction => {
            let name = crate::ast::ColumnName {
                qualifier: Vec::new(),
                name: "$action".to_owned(),
            };
            Ok(BoundExpr::column(scope.column(&name)?))
        }
        Expr::Default => Err(SqlError::new(
            156,
            15,
            1,
            "Incorrect syntax near the keyword 'DEFAULT'.",
        )),
        Expr::Unary { op, operand } => operators::unary(*op, operand, scope),
        Expr::Binary { op, left, right } => operators::binary(*op, left, right, scope),
        Expr::Subquery(query) => {
            let planned = scope.subquery(query)?;
            require_one_column(planned.columns)?;
            let info = TypeInfo {
                nullable: true,
                ..planned.info
            };
            Ok(BoundExpr {
                node: Node::Subquery(planned.id),
                info,
                label: Label::Implicit,
            })
        }
        Expr::Case {
            operand,
            branches,
            otherwise,
        } => operators::case(operand.as_deref(), branches, otherwise.as_deref(), scope),
        Expr::Cast { operand, ty, attempt } => explicit(operand, *ty, None, *attempt, scope),
        Expr::Convert {
            operand,
            ty,
            style,
            attempt,
        } => explicit(operand, *ty, style.as_deref(), *attempt, scope),
        Expr::Collate { operand, collation } => collate(operand, collation, scope),
        Expr::Function(call) => function::bind(call, scope),
        _ => predicates::bind(expr, scope),
    }
}

/// Binds a predicate; its value is a `bit`, NULL for unknown.
pub(crate) fn bind_predicate(expr: &Expr, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    bind(expr, scope)
}

/// `expr` converted implicitly to `target`, as an assignment does. Errors: 206, 257.
pub(crate) fn convert_to(expr: BoundExpr, target: TypeInfo) -> SqlResult<BoundExpr> {
    check(Way::Implicit, expr.info.ty, target.ty)?;
    Ok(implicit(expr, target))
}

/// The conversion itself; a constant is converted at once if it can be.
pub(super) fn implicit(expr: BoundExpr, target: TypeInfo) -> BoundExpr {
    let same_page = match (expr.info.collation, target.collation) {
        (Some(from), Some(to)) => from.code_page == to.code_page || expr.info.ty.is_unicode(),
        _ => true,
    };
    let info = TypeInfo {
        nullable: expr.info.nullable,
        ..target
    };
    if expr.info.ty == target.ty && same_page {
        return BoundExpr { info, ..expr };
    }
    if let Some(value) = expr.constant_value()
        && let Ok(value) = convert_typed(value.clone(), expr.info, target, 0)
    {
        return BoundExpr {
            node: Node::Constant(value),
            info,
            label: expr.label,
        };
    }
    let label = expr.label;
    BoundExpr {
        node: Node::Convert {
            operand: Box::new(expr),
            style: None,
            attempt: false,
        },
        info,
        label,
    }
}

fn explicit(
    operand: &Expr,
    ty: SqlType,
    style: Option<&Expr>,
    attempt: bool,
    scope: &mut dyn Scope,
) -> SqlResult<BoundExpr> {
    let operand = bind(operand, scope)?;
    check(Way::Explicit, operand.info.ty, ty)?;
    let style = style
        .map(|style| bind(style, scope))
        .transpose()?
        .map(|style| implicit(style, TypeInfo::new(SqlType::Int)));
    let keeps_collation = operand.info.ty.is_character() && ty.is_character();
    let collation = if keeps_collation {
        operand.info.collation
    } else {
        Some(scope.collation())
    };
    let info = TypeInfo {
        ty,
        collation: collation.filter(|_| ty.is_character()),
        nullable: operand.info.nullable || attempt || style.is_some(),
    };
    let label = if keeps_collation {
        operand.label
    } else {
        Label::Default
    };
    let style = style.map(Box::new);
    Ok(BoundExpr {
        node: Node::Convert {
            operand: Box::new(operand),
            style,
            attempt,
        },
        info,
        label,
    })
}

fn collate(operand: &Expr, collation: &str, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    let operand = bind(operand, scope)?;
    let found = match collation.to_ascii_lowercase().as_str() {
        "database_default" | "catalog_default" => Some(scope.collation()),
        _ => Collation::find(collation),
    };
    let Some(found) = found else {
        return Err(SqlError::new(
            448,
            16,
            1,
            format!("Invalid collation '{collation}'."),
        ));
    };
    if !operand.info.ty.is_character() && operand.info.ty != SqlType::Null {
        let message = format!(
            "Expression type {} is invalid for COLLATE clause.",
            operand.info.ty.name()
        );
        return Err(SqlError::new(447, 16, 0, message));
    }
    let info = TypeInfo {
        collation: Some(found),
        ..operand.info
    };
    Ok(BoundExpr {
        label: Label::Explicit,
        ..implicit(operand, info)
    })
}

fn global(name: &str) -> SqlResult<BoundExpr> {
    let Some(global) = Global::find(name) else {
        return Err(SqlError::new(
            137,
            15,
            2,
            format!("Must declare the scalar variable \"{name}\"."),
        ));
    };
    Ok(BoundExpr::new(Node::Global(global), TypeInfo::new(global.ty())))
}

fn literal(literal: &Literal, scope: &dyn Scope) -> BoundExpr {
    let (ty, value) = match literal {
        Literal::Null => return BoundExpr::constant(Value::Null, TypeInfo::new(SqlType::Null)),
        Literal::Int(n) => (SqlType::Int, Value::Int(*n)),
        Literal::Decimal {
            unscaled,
            precision,
            scale,
        } => {
            let (unscaled, precision, scale) = (*unscaled, *precision, *scale);
            (
                SqlType::Numeric { precision, scale },
                Value::Decimal(Decimal {
                    unscaled,
                    precision,
                    scale,
                }),
            )
        }
        Literal::Float(x) => (SqlType::Float, Value::Float(*x)),
        Literal::Money(n) => (SqlType::Money, Value::Money(*n)),
        Literal::Binary(bytes) => (
            SqlType::VarBinary {
                len: length_of(bytes.len(), 8000),
            },
            Value::Bytes(Arc::clone(bytes)),
        ),
        Literal::Str { text, national: true } => (
            SqlType::NVarChar {
                len: length_of(text.len(), 4000),
            },
            Value::Str(Arc::clone(text)),
        ),
        Literal::Str {
            text,
            national: false,
        } => {
            // The text passes through the database's code page.
            let page = scope.collation().code_page;
            let bytes = page.encode(text);
            let ascii = bytes.len() == text.len() && bytes.is_ascii();
            let text = if ascii {
                Arc::clone(text)
            } else {
                page.decode(&bytes).into()
            };
            (
                SqlType::VarChar {
                    len: length_of(bytes.len(), 8000),
                },
                Value::Str(text),
            )
        }
    };
    let collation = ty.is_character().then(|| scope.collation());
    BoundExpr::constant(
        value,
        TypeInfo {
            ty,
            collation,
            nullable: false,
        },
    )
}

/// 116
fn require_one_column(columns: usize) -> SqlResult<()> {
    if columns == 1 {
        return Ok(());
    }
    let message = "Only one expression can be specified in the select list when the subquery is not introduced with EXISTS.";
    Err(SqlError::user(116, message))
}

/// The collation of an operation on two texts. Error 468 when two columns disagree.
fn common_collation(
    left: &BoundExpr,
    right: &BoundExpr,
    operation: &str,
) -> SqlResult<Option<&'static Collation>> {
    let (Some(a), Some(b)) = (left.info.collation, right.info.collation) else {
        return Ok(left.info.collation.or(right.info.collation));
    };
    if a == b || left.label > right.label {
        return Ok(Some(a));
    }
    if right.label > left.label || left.label == Label::Default {
        return Ok(Some(b));
    }
    let message = format!(
        "Cannot resolve the collation conflict between \"{}\" and \"{}\" in the {operation} operation.",
        a.name, b.name
    );
    Err(SqlError::new(468, 16, 9, message))
}

/// Both operands in their common type, with the collation of the operation.
fn unified(left: BoundExpr, right: BoundExpr, operation: &str) -> SqlResult<(BoundExpr, BoundExpr)> {
    let collation = common_collation(&left, &right, operation)?;
    let common = TypeInfo {
        collation,
        ..unify(left.info, right.info)
    };
    let common = TypeInfo {
        collation: common.collation.filter(|_| common.ty.is_character()),
        ..common
    };
    check(Way::Implicit, left.info.ty, common.ty)?;
    check(Way::Implicit, right.info.ty, common.ty)?;
    Ok((implicit(left, common), implicit(right, common)))
}

/// Several expressions in one type, as CASE, COALESCE and IN need them.
pub(super) fn unify_all(
    list: Vec<BoundExpr>,
    operation: &str,
) -> SqlResult<(Vec<BoundExpr>, TypeInfo, Label)> {
    let mut common: Option<BoundExpr> = None;
    for expr in &list {
        let Some(so_far) = common else {
            common = Some(BoundExpr {
                node: Node::Constant(Value::Null),
                ..*expr
            });
            continue;
        };
        let collation = common_collation(&so_far, expr, operation)?;
        let info = TypeInfo {
            collation,
            ..unify(so_far.info, expr.info)
        };
        common = Some(BoundExpr {
            node: Node::Constant(Value::Null),
            info,
            label: so_far.label.max(expr.label),
        });
    }
    let (info, label) = common.map_or((TypeInfo::new(SqlType::Int), Label::Default), |common| {
        (common.info, common.label)
    });
    let info = TypeInfo {
        collation: info.collation.filter(|_| info.ty.is_character()),
        ..info
    };
    let converted = list
        .into_iter()
        .map(|expr| convert_to(expr, info))
        .collect::<SqlResult<Vec<_>>>()?;
    Ok((converted, info, label))
}
