//! Values as keys: what an index on a column can find, what a hash can compare.

use crate::store::key;
use crate::types::{SqlType, TypeInfo};
use crate::value::{Decimal, Value};

/// `value` as one of the column's type, if it is exactly one.
pub(crate) fn key_value(value: Value, column: SqlType) -> Option<Value> {
    let integer = |value: &Value| match value {
        Value::Decimal(d) if d.scale == 0 => i64::try_from(d.unscaled).ok(),
        Value::Bit(_) => None,
        other => other.as_integer(),
    };
    match column {
        SqlType::TinyInt => u8::try_from(integer(&value)?).ok().map(Value::TinyInt),
        SqlType::SmallInt => i16::try_from(integer(&value)?).ok().map(Value::SmallInt),
        SqlType::Int => i32::try_from(integer(&value)?).ok().map(Value::Int),
        SqlType::BigInt => integer(&value).map(Value::BigInt),
        SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
            let (unscaled, from) = match &value {
                Value::Decimal(d) => (d.unscaled, d.scale),
                other => (i128::from(integer(other)?), 0),
            };
            let unscaled = unscaled.checked_mul(10i128.checked_pow(u32::from(scale.checked_sub(from)?))?)?;
            Some(Value::Decimal(Decimal {
                unscaled,
                precision,
                scale,
            }))
        }
        SqlType::RowVersion => match value {
            Value::RowVersion(_) => Some(value),
            Value::Bytes(bytes) if bytes.len() <= 8 => {
                let mut eight = [0; 8];
                eight[..bytes.len()].copy_from_slice(&bytes);
                Some(Value::RowVersion(u64::from_be_bytes(eight)))
            }
            _ => None,
        },
        SqlType::Binary { .. } | SqlType::VarBinary { .. } => match value {
            Value::RowVersion(version) => Some(Value::bytes(&version.to_be_bytes())),
            Value::Bytes(_) => Some(value),
            _ => None,
        },
        _ => Some(value),
    }
}

/// Appends what makes two values of joinable types equal: exact numbers by value, text by sort key.
pub(crate) fn append_hash(value: &Value, info: TypeInfo, out: &mut Vec<u8>) {
    let exact = |mut unscaled: i128, mut scale: u8, out: &mut Vec<u8>| {
        while scale > 0 && unscaled % 10 == 0 {
            unscaled /= 10;
            scale -= 1;
        }
        out.extend(unscaled.to_be_bytes());
        out.push(scale);
    };
    match value {
        Value::Decimal(d) => exact(d.unscaled, d.scale, out),
        Value::TinyInt(_) | Value::SmallInt(_) | Value::Int(_) | Value::BigInt(_) => {
            exact(i128::from(value.as_integer().unwrap_or_default()), 0, out);
        }
        Value::RowVersion(version) => key::append(&Value::bytes(&version.to_be_bytes()), None, false, out),
        other => key::append(other, info.collation, false, out),
    }
}

fn is_integer(ty: SqlType) -> bool {
    matches!(
        ty,
        SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt
    )
}

/// Whether values of `value` can be found in an index on a column of type `column` by its own order.
pub(super) fn same_order(column: SqlType, value: SqlType) -> bool {
    match (column, value) {
        (a, b) if is_integer(a) && is_integer(b) => true,
        (a, b) if a.is_character() && b.is_character() => true,
        (a, SqlType::Decimal { scale: 0, .. } | SqlType::Numeric { scale: 0, .. }) if is_integer(a) => true,
        (SqlType::Decimal { scale, .. } | SqlType::Numeric { scale, .. }, value) => match value {
            SqlType::Decimal { scale: s, .. } | SqlType::Numeric { scale: s, .. } => s <= scale,
            other => is_integer(other),
        },
        (
            SqlType::Binary { .. } | SqlType::VarBinary { .. } | SqlType::RowVersion,
            SqlType::Binary { .. } | SqlType::VarBinary { .. } | SqlType::RowVersion,
        ) => true,
        (a, b) => std::mem::discriminant(&a) == std::mem::discriminant(&b),
    }
}

/// Whether equality of the two types is equality of their hash keys.
pub(super) fn same_hash(a: TypeInfo, b: TypeInfo) -> bool {
    let exact =
        |ty: SqlType| is_integer(ty) || matches!(ty, SqlType::Decimal { .. } | SqlType::Numeric { .. });
    match (a.ty, b.ty) {
        (x, y) if exact(x) && exact(y) => true,
        (x, y) if x.is_character() && y.is_character() => a.collation == b.collation,
        (SqlType::SqlVariant, _) | (_, SqlType::SqlVariant) => false,
        (x, y) => same_order(x, y),
    }
}

/// Whether values of the two types are equal exactly if their keys in an index are: each has one form only.
pub(super) fn is_exact(a: SqlType, b: SqlType) -> bool {
    (is_integer(a) && is_integer(b)) || (a == b && matches!(a, SqlType::Date | SqlType::UniqueIdentifier))
}
