//! The bound form of an expression, and its evaluation.

use std::sync::Arc;

use super::arithmetic;
use super::compare::{compare, equals, satisfies};
use super::convert::{convert, convert_typed};
use super::function::Call;
use super::like::Pattern;
use super::{Context, EnvironmentFunction, Global, Slot, SlotInfo};
use crate::ast::{BinaryOp, CompareOp};
use crate::collation::Collation;
use crate::error::{SqlError, SqlResult};
use crate::types::{SqlType, TypeInfo};
use crate::value::Value;

/// An expression whose names are slots and whose type is known.
#[derive(Debug, Clone)]
pub(crate) struct BoundExpr {
    pub(super) node: Node,
    pub(super) info: TypeInfo,
    pub(super) label: Label,
}

/// How strongly an expression holds on to its collation ("Collation precedence"); greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    /// Constants and variables.
    Default,
    /// Columns.
    Implicit,
    /// `COLLATE`.
    Explicit,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Constant(Value),
    Column(Slot),
    Variable(Arc<str>),
    Global(Global),
    Convert {
        operand: Box<BoundExpr>,
        style: Option<Box<BoundExpr>>,
        attempt: bool,
    },
    Arithmetic {
        op: BinaryOp,
        left: Box<BoundExpr>,
        right: Box<BoundExpr>,
    },
    Negate(Box<BoundExpr>),
    BitNot(Box<BoundExpr>),
    Compare {
        op: CompareOp,
        left: Box<BoundExpr>,
        right: Box<BoundExpr>,
        collation: Option<&'static Collation>,
    },
    Distinct {
        left: Box<BoundExpr>,
        right: Box<BoundExpr>,
        collation: Option<&'static Collation>,
        negated: bool,
    },
    And(Box<BoundExpr>, Box<BoundExpr>),
    Or(Box<BoundExpr>, Box<BoundExpr>),
    Not(Box<BoundExpr>),
    IsNull {
        operand: Box<BoundExpr>,
        negated: bool,
    },
    Like(Box<Like>),
    InList {
        operand: Box<BoundExpr>,
        list: Vec<BoundExpr>,
        collation: Option<&'static Collation>,
        negated: bool,
    },
    Quantified(Box<Quantified>),
    Exists(usize),
    Subquery(usize),
    Case {
        branches: Vec<(BoundExpr, BoundExpr)>,
        otherwise: Option<Box<BoundExpr>>,
    },
    Coalesce(Vec<BoundExpr>),
    /// The value that `op` holds for against all others; NULLs are left out.
    Extreme {
        op: CompareOp,
        list: Vec<BoundExpr>,
    },
    Call(Box<Call>),
    Environment {
        function: EnvironmentFunction,
        arguments: Vec<BoundExpr>,
    },
    /// The time of the statement's start, as the type of the expression. The server's local time is UTC.
    Now,
}

#[derive(Debug, Clone)]
pub(super) struct Like {
    pub(super) operand: BoundExpr,
    pub(super) pattern: BoundExpr,
    pub(super) escape: Option<BoundExpr>,
    /// The pattern, when it is constant.
    pub(super) prepared: Option<Pattern>,
    pub(super) collation: &'static Collation,
    /// Either side is.
    pub(super) unicode: bool,
    pub(super) negated: bool,
}

/// `operand op ALL | ANY (SELECT …)`; IN is `= ANY`, NOT IN is `<> ALL`.
#[derive(Debug, Clone)]
pub(super) struct Quantified {
    pub(super) op: CompareOp,
    pub(super) all: bool,
    pub(super) operand: BoundExpr,
    pub(super) query: usize,
    /// The query's type, and what both sides become.
    pub(super) from: SqlType,
    pub(super) common: TypeInfo,
}

impl BoundExpr {
    /// A column's value.
    pub(crate) fn column(column: SlotInfo) -> Self {
        Self {
            node: Node::Column(column.slot),
            info: column.info,
            label: Label::Implicit,
        }
    }

    /// The place of the column that it is, in the query's own row.
    pub(crate) fn as_column(&self) -> Option<usize> {
        match self.node {
            Node::Column(slot) if slot.depth == 0 => Some(slot.index as usize),
            _ => None,
        }
    }

    /// A value of a known type.
    pub(crate) fn constant(value: Value, info: TypeInfo) -> Self {
        Self {
            node: Node::Constant(value),
            info,
            label: Label::Default,
        }
    }

    pub(super) fn new(node: Node, info: TypeInfo) -> Self {
        Self {
            node,
            info,
            label: Label::Default,
        }
    }

    /// A predicate: a bit that may be NULL for unknown.
    pub(super) fn predicate(node: Node) -> Self {
        Self::new(node, TypeInfo::new(SqlType::Bit))
    }

    /// Type, collation and nullability of the result; predicates are `bit`.
    pub(crate) fn info(&self) -> TypeInfo {
        self.info
    }

    /// The value, if it is the same for every row and session.
    pub(crate) fn constant_value(&self) -> Option<&Value> {
        match &self.node {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The value for the row and session that `context` stands for.
    pub(crate) fn eval(&self, context: &mut dyn Context) -> SqlResult<Value> {
        match &self.node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Column(slot) => Ok(context.column(*slot).clone()),
            Node::Variable(name) => context.variable(name),
            Node::Global(global) => context.global(*global),
            Node::Now => super::function::now(context, self.info.ty),
            Node::Convert {
                operand,
                style,
                attempt,
            } => self.convert(operand, style.as_deref(), *attempt, context),
            Node::Arithmetic { op, left, right } => {
                let (left, right) = (left.eval(context)?, right.eval(context)?);
                let value = arithmetic::calculate(*op, &left, &right, self.info.ty)?;
                super::function::within_limits(value, context)
            }
            Node::Negate(operand) => arithmetic::negate(&operand.eval(context)?, self.info.ty),
            Node::BitNot(operand) => arithmetic::bit_not(&operand.eval(context)?),
            Node::Subquery(id) => scalar(*id, context),
            Node::Case { branches, otherwise } => case(branches, otherwise.as_deref(), context),
            Node::Coalesce(list) => coalesce(list, context),
            Node::Extreme { op, list } => extreme(*op, list, self.info.collation, context),
            Node::Call(call) => call.eval(self.info, context),
            Node::Environment { function, arguments } => {
                let values = arguments
                    .iter()
                    .map(|argument| argument.eval(context))
                    .collect::<SqlResult<Vec<_>>>()?;
                context.environment(*function, &values)
            }
            _ => Ok(self.truth(context)?.map_or(Value::Null, Value::Bit)),
        }
    }

    /// A predicate's value; none for unknown.
    pub(super) fn truth(&self, context: &mut dyn Context) -> SqlResult<Option<bool>> {
        match &self.node {
            Node::Compare {
                op,
                left,
                right,
                collation,
            } => {
                let (left, right) = (left.eval(context)?, right.eval(context)?);
                Ok(match op {
                    CompareOp::Equal => equals(&left, &right, *collation),
                    CompareOp::NotEqual => equals(&left, &right, *collation).map(|equal| !equal),
                    _ => compare(&left, &right, *collation).map(|order| satisfies(*op, order)),
                })
            }
            Node::Distinct {
                left,
                right,
                collation,
                negated,
            } => {
                let (left, right) = (left.eval(context)?, right.eval(context)?);
                let equal = match (left.is_null(), right.is_null()) {
                    (false, false) => equals(&left, &right, *collation) == Some(true),
                    (left, right) => left && right,
                };
                Ok(Some(equal == *negated))
            }
            Node::And(left, right) => match left.truth(context)? {
                Some(false) => Ok(Some(false)),
                first => Ok(match (first, right.truth(context)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), second) => second,
                    _ => None,
                }),
            },
            Node::Or(left, right) => match left.truth(context)? {
                Some(true) => Ok(Some(true)),
                first => Ok(match (first, right.truth(context)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), second) => second,
                    _ => None,
                }),
            },
            Node::Not(operand) => Ok(operand.truth(context)?.map(|truth| !truth)),
            Node::IsNull { operand, negated } => Ok(Some(operand.eval(context)?.is_null() != *negated)),
            Node::Like(like) => like.truth(context),
            Node::InList {
                operand,
                list,
                collation,
                negated,
            } => {
                let found = in_list(&operand.eval(context)?, list, *collation, context)?;
                Ok(found.map(|found| found != *negated))
            }
            Node::Quantified(quantified) => quantified.truth(context),
            Node::Exists(id) => {
                let mut found = false;
                context.subquery(*id, &mut |_| {
                    found = true;
                    Ok(false)
                })?;
                Ok(Some(found))
            }
            _ => match self.eval(context)? {
                Value::Bit(bit) => Ok(Some(bit)),
                Value::Int(n) => Ok(Some(n != 0)),
                _ => Ok(None),
            },
        }
    }

    fn convert(
        &self,
        operand: &Self,
        style: Option<&Self>,
        attempt: bool,
        context: &mut dyn Context,
    ) -> SqlResult<Value> {
        let value = operand.eval(context)?;
        let style = match style.map(|style| style.eval(context)).transpose()? {
            None => 0,
            Some(Value::Null) => return Ok(Value::Null),
            Some(style) => style.as_integer().unwrap_or(0) as i32,
        };
        match convert_typed(value, operand.info, self.info, style) {
            Err(_) if attempt => Ok(Value::Null),
            converted => converted,
        }
    }
}

/// 512 for more than one row.
fn scalar(id: usize, context: &mut dyn Context) -> SqlResult<Value> {
    let mut found: Option<Value> = None;
    context.subquery(id, &mut |value| {
        if found.is_some() {
            let message = "Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, \
                           <= , >, >= or when the subquery is used as an expression.";
            return Err(SqlError::user(512, message));
        }
        found = Some(value.clone());
        Ok(true)
    })?;
    Ok(found.unwrap_or_default())
}

fn case(
    branches: &[(BoundExpr, BoundExpr)],
    otherwise: Option<&BoundExpr>,
    context: &mut dyn Context,
) -> SqlResult<Value> {
    for (when, then) in branches {
        if when.truth(context)? == Some(true) {
            return then.eval(context);
        }
    }
    otherwise.map_or(Ok(Value::Null), |otherwise| otherwise.eval(context))
}

fn coalesce(list: &[BoundExpr], context: &mut dyn Context) -> SqlResult<Value> {
    for expr in list {
        let value = expr.eval(context)?;
        if !value.is_null() {
            return Ok(value);
        }
    }
    Ok(Value::Null)
}

fn extreme(
    op: CompareOp,
    list: &[BoundExpr],
    collation: Option<&'static Collation>,
    context: &mut dyn Context,
) -> SqlResult<Value> {
    let mut best = Value::Null;
    for expr in list {
        let value = expr.eval(context)?;
        let better = compare(&value, &best, collation).is_some_and(|order| satisfies(op, order));
        if best.is_null() || better {
            best = value;
        }
    }
    Ok(best)
}

/// None when nothing equals and something is NULL.
fn in_list(
    value: &Value,
    list: &[BoundExpr],
    collation: Option<&'static Collation>,
    context: &mut dyn Context,
) -> SqlResult<Option<bool>> {
    let mut unknown = false;
    for expr in list {
        match equals(value, &expr.eval(context)?, collation) {
            Some(true) => return Ok(Some(true)),
            Some(false) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { None } else { Some(false) })
}

impl Like {
    fn truth(&self, context: &mut dyn Context) -> SqlResult<Option<bool>> {
        let Value::Str(text) = self.operand.eval(context)? else {
            return Ok(None);
        };
        if let Some(pattern) = &self.prepared {
            return Ok(Some(pattern.matches(&text) != self.negated));
        }
        let escape = match self
            .escape
            .as_ref()
            .map(|escape| escape.eval(context))
            .transpose()?
        {
            None => None,
            Some(Value::Str(escape)) if escape.len() == 1 => escape.first().copied(),
            Some(Value::Null) => return Ok(None),
            Some(other) => {
                let shown = other.as_text().unwrap_or_default();
                let message =
                    format!("The invalid escape character \"{shown}\" was specified in a LIKE predicate.");
                return Err(SqlError::user(506, message));
            }
        };
        let Value::Str(pattern) = self.pattern.eval(context)? else {
            return Ok(None);
        };
        Ok(Some(
            self.pattern_of(&pattern, escape).matches(&text) != self.negated,
        ))
    }

    /// The pattern as this LIKE applies it.
    pub(super) fn pattern_of(&self, pattern: &[u16], escape: Option<u16>) -> Pattern {
        let pattern = Pattern::new(pattern, escape, self.collation);
        if self.unicode {
            pattern
        } else {
            pattern.ignoring_trailing_blanks()
        }
    }
}

impl Quantified {
    fn truth(&self, context: &mut dyn Context) -> SqlResult<Option<bool>> {
        let operand = self.operand.eval(context)?;
        let is_membership = self.op
            == if self.all {
                CompareOp::NotEqual
            } else {
                CompareOp::Equal
            };
        if is_membership && let Some(members) = context.members(self.query, self.from, self.common)? {
            return Ok(members
                .contain(&operand, self.common)
                .map(|contained| contained != self.all));
        }
        let (mut unknown, mut decided) = (false, false);
        context.subquery(self.query, &mut |value| {
            let value = convert(value.clone(), self.from, self.common, 0)?;
            match compare(&operand, &value, self.common.collation) {
                None => unknown = true,
                Some(order) => decided = satisfies(self.op, order) != self.all,
            }
            Ok(!decided)
        })?;
        Ok(match (decided, unknown) {
            (true, _) => Some(!self.all),
            (false, true) => None,
            (false, false) => Some(self.all),
        })
    }
}
