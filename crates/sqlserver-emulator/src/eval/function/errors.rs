//! What CATCH blocks ask; NULL outside of them.

use super::Arguments;
use crate::error::{SqlError, SqlResult};
use crate::value::Value;

fn caught(arguments: &Arguments<'_>, of: impl Fn(&SqlError) -> Value) -> SqlResult<Value> {
    Ok(arguments.context.caught().map_or(Value::Null, of))
}

pub(super) fn line(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    caught(arguments, |error| Value::Int(error.line as i32))
}

pub(super) fn message(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    caught(arguments, |error| Value::text(&error.message))
}

pub(super) fn number(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    caught(arguments, |error| Value::Int(error.number))
}

pub(super) fn procedure(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    caught(arguments, |error| {
        if error.procedure.is_empty() {
            Value::Null
        } else {
            Value::text(&error.procedure)
        }
    })
}

pub(super) fn severity(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    caught(arguments, |error| Value::Int(i32::from(error.class)))
}

pub(super) fn state(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    caught(arguments, |error| Value::Int(i32::from(error.state)))
}
