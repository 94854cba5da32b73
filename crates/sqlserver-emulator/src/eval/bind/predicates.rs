//! Comparisons, LIKE, IN, EXISTS and the connectives.

use super::{common_collation, convert_to, implicit, require_one_column, unified, unify_all};
use crate::ast::{CompareOp, Expr, Query};
use crate::error::{SqlError, SqlResult};
use crate::eval::Scope;
use crate::eval::bound::{BoundExpr, Label, Like, Node, Quantified};
use crate::types::{ClrType, Length, SqlType, TypeInfo};
use crate::value::Value;

pub(super) fn bind(expr: &Expr, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    let node = match expr {
        Expr::Compare { op, left, right } => {
            let (left, right) = (super::bind(left, scope)?, super::bind(right, scope)?);
            return comparison(*op, left, right);
        }
        Expr::And(left, right) => Node::And(boxed(left, scope)?, boxed(right, scope)?),
        Expr::Or(left, right) => Node::Or(boxed(left, scope)?, boxed(right, scope)?),
        Expr::Not(operand) => Node::Not(boxed(operand, scope)?),
        Expr::IsNull { operand, negated } => Node::IsNull {
            operand: boxed(operand, scope)?,
            negated: *negated,
        },
        Expr::IsDistinct { left, right, negated } => {
            let (left, right) = (super::bind(left, scope)?, super::bind(right, scope)?);
            let (left, right) = unified(left, right, "is distinct from")?;
            let collation = left.info.collation;
            Node::Distinct {
                left: Box::new(left),
                right: Box::new(right),
                collation,
                negated: *negated,
            }
        }
        Expr::Like {
            operand,
            pattern,
            escape,
            negated,
        } => like(operand, pattern, escape.as_deref(), *negated, scope)?,
        Expr::Between {
            operand,
            low,
            high,
            negated,
        } => return between(operand, low, high, *negated, scope),
        Expr::InList {
            operand,
            list,
            negated,
        } => in_list(operand, list, *negated, scope)?,
        Expr::InQuery {
            operand,
            query,
            negated,
        } => {
            // `NOT IN` is `<> ALL`, by their definitions.
            let op = if *negated {
                CompareOp::NotEqual
            } else {
                CompareOp::Equal
            };
            quantified(op, operand, *negated, query, scope)?
        }
        Expr::Quantified { op, left, all, query } => quantified(*op, left, *all, query, scope)?,
        Expr::Exists(query) => Node::Exists(scope.subquery(query)?.id),
        _ => return Err(SqlError::unsupported("this expression")),
    };
    Ok(BoundExpr::predicate(node))
}

fn boxed(expr: &Expr, scope: &mut dyn Scope) -> SqlResult<Box<BoundExpr>> {
    super::bind(expr, scope).map(Box::new)
}

/// `left op right`, both in their common type.
pub(in crate::eval) fn comparison(op: CompareOp, left: BoundExpr, right: BoundExpr) -> SqlResult<BoundExpr> {
    refuse_incomparable(left.info.ty, op)?;
    refuse_incomparable(right.info.ty, op)?;
    let (left, right) = unified(left, right, operation_name(op))?;
    let collation = left.info.collation;
    let node = Node::Compare {
        op,
        left: Box::new(left),
        right: Box::new(right),
        collation,
    };
    Ok(BoundExpr::predicate(node))
}

fn operation_name(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Equal => "equal to",
        CompareOp::NotEqual => "not equal to",
        CompareOp::Less => "less than",
        CompareOp::LessOrEqual => "less than or equal to",
        CompareOp::Greater => "greater than",
        CompareOp::GreaterOrEqual => "greater than or equal to",
    }
}

/// 403: spatial values do not compare. 402: text, ntext, image, xml and json do not compare.
fn refuse_incomparable(ty: SqlType, op: CompareOp) -> SqlResult<()> {
    if let SqlType::Clr(ClrType::Geometry | ClrType::Geography) = ty {
        let message = format!(
            "Invalid operator for data type. Operator equals {}, type equals {}.",
            operation_name(op),
            ty.name()
        );
        return Err(SqlError::user(403, message));
    }
    if let SqlType::Vector { .. } = ty {
        return Err(SqlError::unsupported("comparing vectors"));
    }
    let compares = !matches!(
        ty,
        SqlType::Text | SqlType::NText | SqlType::Image | SqlType::Xml | SqlType::Json
    );
    if compares {
        return Ok(());
    }
    let (name, operation) = (ty.name(), operation_name(op));
    let message = format!("The data types {name} and {name} are incompatible in the {operation} operator.");
    Err(SqlError::user(402, message))
}

fn between(
    operand: &Expr,
    low: &Expr,
    high: &Expr,
    negated: bool,
    scope: &mut dyn Scope,
) -> SqlResult<BoundExpr> {
    let operand = super::bind(operand, scope)?;
    let low = comparison(
        CompareOp::GreaterOrEqual,
        operand.clone(),
        super::bind(low, scope)?,
    )?;
    let high = comparison(CompareOp::LessOrEqual, operand, super::bind(high, scope)?)?;
    let within = BoundExpr::predicate(Node::And(Box::new(low), Box::new(high)));
    Ok(if negated {
        BoundExpr::predicate(Node::Not(Box::new(within)))
    } else {
        within
    })
}

fn in_list(operand: &Expr, list: &[Expr], negated: bool, scope: &mut dyn Scope) -> SqlResult<Node> {
    let mut all = vec![super::bind(operand, scope)?];
    for expr in list {
        all.push(super::bind(expr, scope)?);
    }
    let (all, info, _) = unify_all(all, "equal to")?;
    let mut all = all.into_iter();
    let operand = all
        .next()
        .map(Box::new)
        .ok_or_else(|| SqlError::unsupported("an empty IN list"))?;
    Ok(Node::InList {
        operand,
        list: all.collect(),
        collation: info.collation,
        negated,
    })
}

fn quantified(
    op: CompareOp,
    operand: &Expr,
    all: bool,
    query: &Query,
    scope: &mut dyn Scope,
) -> SqlResult<Node> {
    let operand = super::bind(operand, scope)?;
    let planned = scope.subquery(query)?;
    require_one_column(planned.columns)?;
    let element = BoundExpr {
        node: Node::Subquery(planned.id),
        info: planned.info,
        label: Label::Implicit,
    };
    let (operand, element) = unified(operand, element, operation_name(op))?;
    let common = element.info;
    let quantified = Quantified {
        op,
        all,
        operand,
        query: planned.id,
        from: planned.info.ty,
        common,
    };
    Ok(Node::Quantified(Box::new(quantified)))
}

fn like(
    operand: &Expr,
    pattern: &Expr,
    escape: Option<&Expr>,
    negated: bool,
    scope: &mut dyn Scope,
) -> SqlResult<Node> {
    let operand = text(super::bind(operand, scope)?)?;
    let pattern = text(super::bind(pattern, scope)?)?;
    let escape = escape
        .map(|escape| super::bind(escape, scope))
        .transpose()?
        .map(text)
        .transpose()?;
    let collation = common_collation(&operand, &pattern, "like")?.unwrap_or_else(|| scope.collation());
    let unicode = operand.info.ty.is_unicode() || pattern.info.ty.is_unicode();
    let mut like = Like {
        operand,
        pattern,
        escape,
        prepared: None,
        collation,
        unicode,
        negated,
    };
    like.prepared = match (
        like.pattern.constant_value(),
        like.escape.as_ref().map(BoundExpr::constant_value),
    ) {
        (Some(Value::Str(pattern)), None) => Some(like.pattern_of(pattern, None)),
        (Some(Value::Str(pattern)), Some(Some(Value::Str(escape)))) if escape.len() == 1 => {
            Some(like.pattern_of(pattern, escape.first().copied()))
        }
        _ => None,
    };
    Ok(Node::Like(Box::new(like)))
}

/// What is not text becomes text.
fn text(expr: BoundExpr) -> SqlResult<BoundExpr> {
    if expr.info.ty.is_character() {
        return Ok(expr);
    }
    let target = TypeInfo::new(SqlType::VarChar {
        len: Length::Chars(8000),
    });
    if matches!(expr.info.ty, SqlType::Null) {
        Ok(implicit(expr, target))
    } else {
        convert_to(expr, target)
    }
}
