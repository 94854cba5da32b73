//! SQL_VARIANT_PROPERTY.

use super::Arguments;
use crate::error::SqlResult;
use crate::eval::convert::type_of;
use crate::types::SqlType;
use crate::value::Value;

/// What a value would be in a `sql_variant`: `BaseType`, `Precision`, `Scale`, `MaxLength`, `Collation`.
pub(super) fn property(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let value = arguments.value(0);
    if value.is_null() {
        return Ok(Value::Null);
    }
    let declared = match value {
        Value::Variant(held) => held.info,
        _ => arguments.info_of(0),
    };
    let ty = match declared.ty {
        SqlType::SqlVariant => type_of(value),
        ty => ty,
    };
    let int = |number: i32| Value::Int(number);
    Ok(match arguments.string(1).trim_end().to_uppercase().as_str() {
        "BASETYPE" => Value::text(ty.name()),
        "PRECISION" => int(i32::from(ty.precision())),
        "SCALE" => int(i32::from(ty.scale())),
        "MAXLENGTH" => int(i32::from(ty.max_length())),
        "COLLATION" => declared
            .collation
            .map_or(Value::Null, |collation| Value::text(collation.name)),
        _ => Value::Null,
    })
}
