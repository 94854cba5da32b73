//! Expressions: bound once per statement (names become slots, types become known), evaluated once per row.
//!
//! Evaluation knows no tables and no sessions. What it needs of them comes through [`Scope`] while binding and
//! through [`Context`] while evaluating.

mod arithmetic;
mod bind;
mod bound;
mod calendar;
mod compare;
mod context;
mod convert;
mod decimal;
mod environment;
mod function;
mod json;
mod like;
mod number_text;
mod time_format;
mod time_parse;
mod types;
mod vector;
mod wide;

#[cfg(test)]
mod tests;

pub(crate) use bind::{bind, bind_predicate, convert_to};
pub(crate) use bound::BoundExpr;
pub(crate) use context::{Context, Members, Scope, Slot, SlotInfo, SubqueryInfo};
pub(crate) use environment::{EnvironmentFunction, Global};
pub(crate) use function::unknown as unknown_function;
pub(crate) use types::unify;
pub(crate) use vector::text as vector_text;

use crate::error::SqlResult;
use crate::types::TypeInfo;
use crate::value::Value;

/// Whether a predicate is true; false and unknown are alike for WHERE, ON, IF and WHILE.
pub(crate) fn holds(predicate: &BoundExpr, context: &mut dyn Context) -> SqlResult<bool> {
    Ok(matches!(predicate.eval(context)?, Value::Bit(true)))
}

/// `value` as a value of another type, cut where it is longer, as variables and parameters take it.
pub(crate) fn convert_value(value: Value, from: TypeInfo, to: TypeInfo) -> SqlResult<Value> {
    convert::convert_typed(value, from, to, 0)
}
