//! The types of results: precedence, common types, operators.

use super::decimal;
use crate::ast::BinaryOp;
use crate::error::{SqlError, SqlResult};
use crate::types::{Length, SqlType, TypeInfo};

/// Greater wins ("Data type precedence").
fn precedence(ty: SqlType) -> u8 {
    match ty {
        SqlType::Json => 32,
        SqlType::Clr(_) => 31,
        SqlType::SqlVariant => 30,
        SqlType::Xml => 29,
        SqlType::DateTimeOffset { .. } => 28,
        SqlType::DateTime2 { .. } => 27,
        SqlType::DateTime => 26,
        SqlType::SmallDateTime => 25,
        SqlType::Date => 24,
        SqlType::Time { .. } => 23,
        SqlType::Float => 22,
        SqlType::Real => 21,
        SqlType::Decimal { .. } | SqlType::Numeric { .. } => 20,
        SqlType::Money => 19,
        SqlType::SmallMoney => 18,
        SqlType::BigInt => 17,
        SqlType::Int => 16,
        SqlType::SmallInt => 15,
        SqlType::TinyInt => 14,
        SqlType::Bit => 13,
        SqlType::NText => 12,
        SqlType::Text => 11,
        SqlType::Image => 10,
        SqlType::RowVersion => 9,
        SqlType::UniqueIdentifier => 8,
        SqlType::NVarChar { .. } => 7,
        SqlType::NChar { .. } => 6,
        SqlType::VarChar { .. } => 5,
        SqlType::Char { .. } => 4,
        SqlType::VarBinary { .. } => 3,
        SqlType::Binary { .. } => 2,
        SqlType::Vector { .. } => 1,
        SqlType::Null => 0,
    }
}

/// The type that both operands of a comparison, CASE or UNION become.
pub(crate) fn unify(a: TypeInfo, b: TypeInfo) -> TypeInfo {
    let ty = common_type(a.ty, b.ty);
    let collation = if ty.is_character() {
        a.collation.or(b.collation)
    } else {
        None
    };
    TypeInfo {
        ty,
        collation,
        nullable: a.nullable || b.nullable,
    }
}

pub(super) fn common_type(a: SqlType, b: SqlType) -> SqlType {
    if a == b {
        return a;
    }
    let (high, low) = if precedence(a) >= precedence(b) {
        (a, b)
    } else {
        (b, a)
    };
    match high {
        SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
            let Some(other) = as_decimal(low) else { return high };
            let (precision, scale) = decimal::common_type((precision, scale), other);
            match high {
                SqlType::Decimal { .. } => SqlType::Decimal { precision, scale },
                _ => SqlType::Numeric { precision, scale },
            }
        }
        SqlType::Time { .. } | SqlType::DateTime2 { .. } | SqlType::DateTimeOffset { .. } => {
            with_scale(high, low)
        }
        _ => match (length(high), length(low)) {
            (Some(x), Some(y)) => with_length(high, longer(x, y)),
            _ => high,
        },
    }
}

fn with_scale(high: SqlType, low: SqlType) -> SqlType {
    let least = match low {
        SqlType::Time { scale } | SqlType::DateTime2 { scale } | SqlType::DateTimeOffset { scale } => scale,
        SqlType::DateTime => 3,
        _ => 0,
    };
    match high {
        SqlType::Time { scale } => SqlType::Time {
            scale: scale.max(least),
        },
        SqlType::DateTime2 { scale } => SqlType::DateTime2 {
            scale: scale.max(least),
        },
        SqlType::DateTimeOffset { scale } => SqlType::DateTimeOffset {
            scale: scale.max(least),
        },
        other => other,
    }
}

/// The declared length of a character or binary type.
pub(super) fn length(ty: SqlType) -> Option<Length> {
    match ty {
        SqlType::Char { len } | SqlType::NChar { len } | SqlType::Binary { len } => Some(Length::Chars(len)),
        SqlType::VarChar { len } | SqlType::NVarChar { len } | SqlType::VarBinary { len } => Some(len),
        SqlType::Text | SqlType::NText | SqlType::Image => Some(Length::Max),
        _ => None,
    }
}

fn longer(a: Length, b: Length) -> Length {
    match (a, b) {
        (Length::Chars(a), Length::Chars(b)) => Length::Chars(a.max(b)),
        _ => Length::Max,
    }
}

/// The longest text that a value of this type has; none for `(max)`.
pub(super) fn text_width(ty: SqlType) -> Option<u16> {
    let fraction = |scale: u8| if scale == 0 { 0 } else { u16::from(scale) + 1 };
    Some(match ty {
        SqlType::Null | SqlType::Bit => 1,
        SqlType::TinyInt => 4,
        SqlType::SmallInt => 6,
        SqlType::Int => 12,
        SqlType::BigInt => 24,
        SqlType::Decimal { .. } | SqlType::Numeric { .. } => 41,
        SqlType::Date => 10,
        SqlType::Time { scale } => 8 + fraction(scale),
        SqlType::DateTime2 { scale } => 19 + fraction(scale),
        SqlType::DateTimeOffset { scale } => 26 + fraction(scale),
        SqlType::UniqueIdentifier => 36,
        SqlType::Xml => return None,
        other => match length(other) {
            Some(Length::Chars(len)) => len,
            Some(Length::Max) => return None,
            None => 30,
        },
    })
}

/// The variable-length form of a character or binary type with another length.
pub(super) fn with_length(ty: SqlType, len: Length) -> SqlType {
    let limit = |most: u16| match len {
        Length::Chars(len) => Length::Chars(len.min(most)),
        Length::Max => Length::Max,
    };
    match (ty, len) {
        (SqlType::Char { .. }, Length::Chars(len)) => SqlType::Char { len },
        (SqlType::NChar { .. }, Length::Chars(len)) => SqlType::NChar { len: len.min(4000) },
        (SqlType::Binary { .. }, Length::Chars(len)) => SqlType::Binary { len },
        (SqlType::NChar { .. } | SqlType::NVarChar { .. } | SqlType::NText, _) => {
            SqlType::NVarChar { len: limit(4000) }
        }
        (SqlType::Binary { .. } | SqlType::VarBinary { .. } | SqlType::Image, _) => {
            SqlType::VarBinary { len: limit(8000) }
        }
        _ => SqlType::VarChar { len: limit(8000) },
    }
}

/// The precision and scale of an exact number type.
pub(super) fn as_decimal(ty: SqlType) -> Option<(u8, u8)> {
    match ty {
        SqlType::Bit => Some((1, 0)),
        SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => Some((ty.precision(), 0)),
        SqlType::Money | SqlType::SmallMoney => Some((ty.precision(), 4)),
        SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
            Some((precision, scale))
        }
        _ => None,
    }
}

/// What an arithmetic operator does with its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// What each operand becomes first; none leaves it.
    pub(super) operands: [Option<SqlType>; 2],
    pub(super) result: SqlType,
}

impl Operation {
    fn uniform(ty: SqlType) -> Self {
        Self {
            operands: [Some(ty); 2],
            result: ty,
        }
    }
}

/// The types of `left op right`. `digits` are the precision and scale of exact operands, which for constants are
/// those of the constant and not of its type.
pub(super) fn operation(
    op: BinaryOp,
    left: SqlType,
    right: SqlType,
    digits: [Option<(u8, u8)>; 2],
) -> SqlResult<Operation> {
    let (left, right) = match (left, right) {
        (SqlType::Null, SqlType::Null) => (SqlType::Int, SqlType::Int),
        (SqlType::Null, other) | (other, SqlType::Null) => (other, other),
        both => both,
    };
    if length(left).is_some() && length(right).is_some() {
        return concatenation(op, left, right);
    }
    let common = common_type(left, right);
    match common {
        SqlType::Decimal { .. } | SqlType::Numeric { .. } if !is_bitwise(op) => {
            let exact = |ty, digits: Option<(u8, u8)>| digits.or_else(|| as_decimal(ty)).unwrap_or((38, 0));
            let operand = if length(left).is_some() || length(right).is_some() {
                None
            } else {
                Some(())
            };
            let [a, b] = [(left, digits[0]), (right, digits[1])].map(|(ty, digits)| match operand {
                Some(()) => exact(ty, digits),
                None => as_decimal(common).unwrap_or((38, 0)),
            });
            let (precision, scale) = decimal::result_type(op, a, b);
            // `decimal` and `numeric` are one type by two names; a declared `decimal` gives the name.
            let declared = [left, right]
                .iter()
                .any(|ty| matches!(ty, SqlType::Decimal { .. }));
            let named = |(precision, scale)| match declared {
                true => SqlType::Decimal { precision, scale },
                false => SqlType::Numeric { precision, scale },
            };
            Ok(Operation {
                operands: [Some(named(a)), Some(named(b))],
                result: named((precision, scale)),
            })
        }
        SqlType::Bit => Err(super::arithmetic::invalid_operand(SqlType::Bit, op)),
        SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => {
            Ok(Operation::uniform(common))
        }
        SqlType::Money | SqlType::SmallMoney if !is_bitwise(op) => Ok(Operation::uniform(common)),
        SqlType::Float | SqlType::Real if !is_bitwise(op) && op != BinaryOp::Modulo => {
            Ok(Operation::uniform(common))
        }
        SqlType::DateTime | SqlType::SmallDateTime if matches!(op, BinaryOp::Add | BinaryOp::Subtract) => {
            Ok(Operation::uniform(common))
        }
        SqlType::Date | SqlType::Time { .. } | SqlType::DateTime2 { .. } | SqlType::DateTimeOffset { .. }
            if left != right =>
        {
            let other = if common == left { right } else { left };
            let message = format!(
                "Operand type clash: {} is incompatible with {}",
                common.name(),
                other.name()
            );
            Err(SqlError::new(206, 16, 2, message))
        }
        other => Err(super::arithmetic::invalid_operand(other, op)),
    }
}

fn is_bitwise(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor)
}

fn concatenation(op: BinaryOp, left: SqlType, right: SqlType) -> SqlResult<Operation> {
    if op != BinaryOp::Add || matches!(left, SqlType::Text | SqlType::NText | SqlType::Image) {
        return Err(super::arithmetic::invalid_operand(left, op));
    }
    let binary = |ty| matches!(ty, SqlType::Binary { .. } | SqlType::VarBinary { .. });
    if binary(left) != binary(right) {
        let (from, to) = if binary(left) {
            (right, left)
        } else {
            (left, right)
        };
        super::convert::check(super::convert::Way::Implicit, from, to)?;
    }
    let total = match (length(left), length(right)) {
        (Some(Length::Chars(a)), Some(Length::Chars(b))) => Length::Chars(a.saturating_add(b)),
        _ => Length::Max,
    };
    let common = common_type(left, right);
    let result = match with_length(common, Length::Max) {
        SqlType::NVarChar { .. } => with_length(SqlType::NVarChar { len: Length::Max }, total),
        SqlType::VarBinary { .. } => with_length(SqlType::VarBinary { len: Length::Max }, total),
        _ => with_length(SqlType::VarChar { len: Length::Max }, total),
    };
    // Each side only changes its kind: its own length, and the padding of char, stay.
    let operand = |ty| {
        let same_kind = binary(ty) == binary(result) && ty.is_unicode() == result.is_unicode();
        (!same_kind).then(|| with_length(result, length(ty).unwrap_or(Length::Max)))
    };
    Ok(Operation {
        operands: [operand(left), operand(right)],
        result,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documentation: "Data type precedence" and "+ (String concatenation)".
    #[test]
    fn types_combine_as_documented() {
        let varchar = |n| SqlType::VarChar {
            len: Length::Chars(n),
        };
        let nvarchar = |n| SqlType::NVarChar {
            len: Length::Chars(n),
        };
        let numeric = |precision, scale| SqlType::Numeric { precision, scale };
        for (a, b, expected) in [
            (varchar(5), nvarchar(3), nvarchar(5)),
            (SqlType::Char { len: 3 }, varchar(2), varchar(3)),
            (SqlType::Int, varchar(5), SqlType::Int),
            (SqlType::Int, numeric(5, 2), numeric(12, 2)),
            (
                SqlType::Date,
                SqlType::DateTime2 { scale: 3 },
                SqlType::DateTime2 { scale: 3 },
            ),
            (SqlType::Null, SqlType::Money, SqlType::Money),
            (
                SqlType::VarBinary { len: Length::Max },
                nvarchar(3),
                SqlType::NVarChar { len: Length::Max },
            ),
        ] {
            assert_eq!(
                (common_type(a, b), common_type(b, a)),
                (expected, expected),
                "{a} {b}"
            );
        }
        let result = |a, b| operation(BinaryOp::Add, a, b, [None, None]).unwrap().result;
        assert_eq!(result(varchar(5), nvarchar(3)), nvarchar(8));
        assert_eq!(result(SqlType::Money, SqlType::Int), SqlType::Money);
        assert_eq!(
            operation(BinaryOp::Add, SqlType::Bit, SqlType::Bit, [None, None])
                .unwrap_err()
                .number,
            8117
        );
        assert_eq!(
            operation(BinaryOp::Add, SqlType::Date, SqlType::Int, [None, None])
                .unwrap_err()
                .number,
            206
        );
    }
}
