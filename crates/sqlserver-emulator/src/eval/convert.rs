//! Conversion of values between types: what CAST, CONVERT and assignments do.

mod allowed;
mod to_binary;
mod to_number;
mod to_text;
mod to_time;

#[cfg(test)]
mod tests;

pub(super) use allowed::{Way, check};
pub(super) use to_text::plain_text;

use std::sync::Arc;

use super::{json, vector};
use crate::collation::Collation;
use crate::error::{SqlError, SqlResult};
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::{Held, Value};

/// `value` of type `from` as a value of type `to`, cut where it is longer. Style 0 is CONVERT's default.
pub(crate) fn convert(value: Value, from: SqlType, to: TypeInfo, style: i32) -> SqlResult<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if let Value::Variant(held) = &value {
        return convert_held(held, to, style);
    }
    let from = if matches!(from, SqlType::SqlVariant) {
        type_of(&value)
    } else {
        from
    };
    let target = Target {
        from,
        to: to.ty,
        collation: to.collation,
        style,
    };
    match to.ty {
        SqlType::Bit | SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => {
            to_number::integer(&value, target)
        }
        SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
            to_number::decimal(&value, target, precision, scale)
        }
        SqlType::Money | SqlType::SmallMoney => to_number::money(&value, target),
        SqlType::Real | SqlType::Float => to_number::float(&value, target),
        SqlType::Date
        | SqlType::Time { .. }
        | SqlType::SmallDateTime
        | SqlType::DateTime
        | SqlType::DateTime2 { .. }
        | SqlType::DateTimeOffset { .. } => to_time::convert(&value, target),
        SqlType::Char { .. }
        | SqlType::VarChar { .. }
        | SqlType::NChar { .. }
        | SqlType::NVarChar { .. }
        | SqlType::Text
        | SqlType::NText => to_text::convert(value, target),
        SqlType::Binary { .. } | SqlType::VarBinary { .. } | SqlType::Image => {
            to_binary::convert(&value, target)
        }
        SqlType::UniqueIdentifier => to_binary::guid(&value, target),
        SqlType::RowVersion => to_binary::rowversion(&value, target),
        SqlType::Xml => Ok(Value::Xml(
            to_text::plain_text(&value, from, style)?.encode_utf16().collect(),
        )),
        SqlType::Clr(_) => to_binary::clr(value, target),
        SqlType::Vector { dimensions } => vector::convert(&value, dimensions),
        SqlType::Json => {
            let text = plain_text(&value, from, style)?;
            let units: Vec<u16> = text.encode_utf16().collect();
            Ok(Value::Str(json::normal(&units)?.into()))
        }
        SqlType::SqlVariant | SqlType::Null => Ok(value),
    }
}

/// As [`convert`]; a `sql_variant` keeps the type that its value comes from.
pub(crate) fn convert_typed(value: Value, from: TypeInfo, to: TypeInfo, style: i32) -> SqlResult<Value> {
    match to.ty {
        SqlType::SqlVariant => Ok(value.in_variant(from)),
        _ => convert(value, from.ty, to, style),
    }
}

fn convert_held(held: &Held, to: TypeInfo, style: i32) -> SqlResult<Value> {
    let to = match to.ty {
        SqlType::SqlVariant => return Ok(Value::Variant(Arc::new(held.clone()))),
        // The bytes of text are those of its own code page.
        SqlType::Binary { .. } | SqlType::VarBinary { .. } => TypeInfo {
            collation: held.info.collation,
            ..to
        },
        _ => to,
    };
    convert(held.value.clone(), held.info.ty, to, style)
}

/// What a conversion aims at.
#[derive(Clone, Copy)]
struct Target {
    from: SqlType,
    to: SqlType,
    collation: Option<&'static Collation>,
    style: i32,
}

impl Target {
    /// The wider length of the target, in units or bytes; none for `(max)`.
    fn limit(self) -> Option<usize> {
        match self.to {
            SqlType::Char { len } | SqlType::NChar { len } | SqlType::Binary { len } => {
                Some(usize::from(len))
            }
            SqlType::VarChar { len } | SqlType::NVarChar { len } | SqlType::VarBinary { len } => match len {
                Length::Chars(len) => Some(usize::from(len)),
                Length::Max => None,
            },
            _ => None,
        }
    }

    /// 8115 for a value that the target cannot hold.
    fn overflow(self) -> SqlError {
        let what = match self.from {
            SqlType::Decimal { .. } | SqlType::Numeric { .. } => "numeric",
            _ => "expression",
        };
        overflow(what, self.to)
    }

    /// 8114, for text that is no number of the target's kind.
    fn not_a_number(self) -> SqlError {
        let message = format!(
            "Error converting data type {} to {}.",
            self.from.name(),
            numeric_name(self.to)
        );
        SqlError::new(8114, 16, 5, message)
    }

    /// 529, or 206 where the types have nothing in common.
    fn refused(self) -> SqlError {
        allowed::not_allowed(Way::Explicit, self.from, self.to)
    }
}

/// 8115
pub(super) fn overflow(what: &str, to: SqlType) -> SqlError {
    let message = format!(
        "Arithmetic overflow error converting {what} to data type {}.",
        numeric_name(to)
    );
    SqlError::new(8115, 16, 2, message)
}

/// Messages call decimal numeric.
fn numeric_name(ty: SqlType) -> &'static str {
    match ty {
        SqlType::Decimal { .. } => "numeric",
        other => other.name(),
    }
}

/// The type of a value that a `sql_variant` holds.
pub(super) fn type_of(value: &Value) -> SqlType {
    match *value {
        Value::Null => SqlType::Null,
        Value::Bit(_) => SqlType::Bit,
        Value::TinyInt(_) => SqlType::TinyInt,
        Value::SmallInt(_) => SqlType::SmallInt,
        Value::Int(_) => SqlType::Int,
        Value::BigInt(_) => SqlType::BigInt,
        Value::Decimal(d) => SqlType::Decimal {
            precision: d.precision,
            scale: d.scale,
        },
        Value::Money(_) => SqlType::Money,
        Value::SmallMoney(_) => SqlType::SmallMoney,
        Value::Real(_) => SqlType::Real,
        Value::Float(_) => SqlType::Float,
        Value::Date(_) => SqlType::Date,
        Value::Time { scale, .. } => SqlType::Time { scale },
        Value::SmallDateTime { .. } => SqlType::SmallDateTime,
        Value::DateTime { .. } => SqlType::DateTime,
        Value::DateTime2 { scale, .. } => SqlType::DateTime2 { scale },
        Value::DateTimeOffset { scale, .. } => SqlType::DateTimeOffset { scale },
        Value::Str(ref text) => SqlType::NVarChar {
            len: length_of(text.len(), 4000),
        },
        Value::Bytes(ref bytes) => SqlType::VarBinary {
            len: length_of(bytes.len(), 8000),
        },
        Value::Guid(_) => SqlType::UniqueIdentifier,
        Value::RowVersion(_) => SqlType::RowVersion,
        Value::Xml(_) => SqlType::Xml,
        Value::Variant(ref held) => held.info.ty,
    }
}

/// The declared length that holds `units`, at least 1.
pub(super) fn length_of(units: usize, limit: u16) -> Length {
    match u16::try_from(units.max(1)) {
        Ok(len) if len <= limit => Length::Chars(len),
        _ => Length::Max,
    }
}
