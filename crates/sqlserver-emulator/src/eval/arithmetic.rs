//! Operators on values that already have the operation's type.

use super::calendar::{self, DAYS_TO_1900, Moment};
use super::convert::overflow;
use super::decimal;
use crate::ast::BinaryOp;
use crate::error::{SqlError, SqlResult};
use crate::types::SqlType;
use crate::value::Value;

/// `left op right` as `to`. NULL if either is NULL.
pub(crate) fn calculate(op: BinaryOp, left: &Value, right: &Value, to: SqlType) -> SqlResult<Value> {
    if left.is_null() || right.is_null() {
        return Ok(Value::Null);
    }
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => return Ok(Value::Str([&a[..], &b[..]].concat().into())),
        (Value::Bytes(a), Value::Bytes(b)) => return Ok(Value::Bytes([&a[..], &b[..]].concat().into())),
        _ => {}
    }
    let by_zero = matches!(op, BinaryOp::Divide | BinaryOp::Modulo) && is_zero(right);
    if by_zero {
        return Err(SqlError::user(8134, "Divide by zero error encountered."));
    }
    match (left, right) {
        (Value::Decimal(a), Value::Decimal(b)) => {
            let calculated = decimal::calculate(op, *a, *b, to.precision(), to.scale());
            calculated
                .map(Value::Decimal)
                .ok_or_else(|| overflow("numeric", to))
        }
        (Value::Float(a), Value::Float(b)) => float(op, *a, *b, to).map(Value::Float),
        (Value::Real(a), Value::Real(b)) => {
            let result = float(op, f64::from(*a), f64::from(*b), to)? as f32;
            if result.is_finite() {
                Ok(Value::Real(result))
            } else {
                Err(overflow("expression", to))
            }
        }
        (Value::Money(a), Value::Money(b)) => {
            let result = money(op, *a, *b).ok_or_else(|| overflow("expression", to))?;
            Ok(Value::Money(result))
        }
        (Value::SmallMoney(a), Value::SmallMoney(b)) => {
            let result =
                money(op, i64::from(*a), i64::from(*b)).and_then(|result| i32::try_from(result).ok());
            result
                .map(Value::SmallMoney)
                .ok_or_else(|| overflow("expression", to))
        }
        (Value::DateTime { .. }, Value::DateTime { .. }) => datetime(op, left, right, to),
        (Value::SmallDateTime { .. }, Value::SmallDateTime { .. }) => datetime(op, left, right, to),
        _ => match (left.as_integer(), right.as_integer()) {
            (Some(a), Some(b)) => integer(op, a, b, to),
            _ => Err(invalid_operand(to, op)),
        },
    }
}

/// 8117
pub(super) fn invalid_operand(ty: SqlType, op: BinaryOp) -> SqlError {
    let name = match op {
        BinaryOp::Add => "add",
        BinaryOp::Subtract => "subtract",
        BinaryOp::Multiply => "multiply",
        BinaryOp::Divide => "divide",
        BinaryOp::Modulo => "modulo",
        BinaryOp::BitAnd => "'&'",
        BinaryOp::BitOr => "'|'",
        BinaryOp::BitXor => "'^'",
    };
    let message = format!("Operand data type {} is invalid for {name} operator.", ty.name());
    SqlError::new(8117, 16, 1, message)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Decimal(d) => d.unscaled == 0,
        Value::Float(x) => *x == 0.0,
        Value::Real(x) => *x == 0.0,
        Value::Money(n) => *n == 0,
        Value::SmallMoney(n) => *n == 0,
        other => other.as_integer() == Some(0),
    }
}

fn integer(op: BinaryOp, a: i64, b: i64, to: SqlType) -> SqlResult<Value> {
    let result = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Subtract => a.checked_sub(b),
        BinaryOp::Multiply => a.checked_mul(b),
        BinaryOp::Divide => a.checked_div(b),
        BinaryOp::Modulo => Some(a.wrapping_rem(b)),
        BinaryOp::BitAnd => Some(a & b),
        BinaryOp::BitOr => Some(a | b),
        BinaryOp::BitXor => Some(a ^ b),
    };
    let value = result.and_then(|result| integer_value(result, to));
    value.ok_or_else(|| overflow("expression", to))
}

/// None when the type cannot hold it.
pub(super) fn integer_value(number: i64, to: SqlType) -> Option<Value> {
    Some(match to {
        SqlType::Bit => Value::Bit(number != 0),
        SqlType::TinyInt => Value::TinyInt(u8::try_from(number).ok()?),
        SqlType::SmallInt => Value::SmallInt(i16::try_from(number).ok()?),
        SqlType::Int => Value::Int(i32::try_from(number).ok()?),
        _ => Value::BigInt(number),
    })
}

fn float(op: BinaryOp, a: f64, b: f64, to: SqlType) -> SqlResult<f64> {
    let result = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        _ => return Err(invalid_operand(to, op)),
    };
    if result.is_finite() {
        Ok(result)
    } else {
        Err(overflow("expression", to))
    }
}

/// Ten-thousandths; a quotient is cut: `$100 / $339 * 10000` is 2949.
fn money(op: BinaryOp, a: i64, b: i64) -> Option<i64> {
    let (wide_a, wide_b) = (i128::from(a), i128::from(b));
    let result = match op {
        BinaryOp::Add => wide_a + wide_b,
        BinaryOp::Subtract => wide_a - wide_b,
        BinaryOp::Multiply => {
            let product = wide_a * wide_b;
            let rounded = decimal::divide_rounded(product.unsigned_abs(), 10_000) as i128;
            if product < 0 { -rounded } else { rounded }
        }
        BinaryOp::Divide => wide_a * 10_000 / wide_b,
        _ => wide_a % wide_b,
    };
    i64::try_from(result).ok()
}

/// The sum or difference of two spans since 1900-01-01.
fn datetime(op: BinaryOp, left: &Value, right: &Value, to: SqlType) -> SqlResult<Value> {
    let range = || {
        let message = "Adding a value to a 'datetime' column caused an overflow.";
        SqlError::new(517, 16, 1, message)
    };
    let epoch = Moment {
        days: DAYS_TO_1900,
        ticks: 0,
        offset: 0,
    }
    .total();
    let (Some(a), Some(b)) = (Moment::of(left), Moment::of(right)) else {
        return Err(invalid_operand(to, op));
    };
    let total = match op {
        BinaryOp::Add => a.total() + (b.total() - epoch),
        BinaryOp::Subtract => a.total() - (b.total() - epoch),
        _ => return Err(invalid_operand(to, op)),
    };
    let moment = Moment::from_total(total, 0).ok_or_else(range)?;
    let value = if to == SqlType::SmallDateTime {
        calendar::smalldatetime(moment)
    } else {
        calendar::datetime(moment)
    };
    value.ok_or_else(range)
}

/// `-value`
pub(super) fn negate(value: &Value, to: SqlType) -> SqlResult<Value> {
    let failed = || overflow("expression", to);
    Ok(match value {
        Value::Null => Value::Null,
        Value::Decimal(d) => Value::Decimal(crate::value::Decimal {
            unscaled: -d.unscaled,
            ..*d
        }),
        Value::Float(x) => Value::Float(-x),
        Value::Real(x) => Value::Real(-x),
        Value::Money(n) => Value::Money(n.checked_neg().ok_or_else(failed)?),
        Value::SmallMoney(n) => Value::SmallMoney(n.checked_neg().ok_or_else(failed)?),
        other => {
            let number = other
                .as_integer()
                .ok_or_else(|| invalid_operand(to, BinaryOp::Subtract))?;
            number
                .checked_neg()
                .and_then(|number| integer_value(number, to))
                .ok_or_else(failed)?
        }
    })
}

/// `~value`
pub(super) fn bit_not(value: &Value) -> SqlResult<Value> {
    Ok(match *value {
        Value::Null => Value::Null,
        Value::Bit(bit) => Value::Bit(!bit),
        Value::TinyInt(n) => Value::TinyInt(!n),
        Value::SmallInt(n) => Value::SmallInt(!n),
        Value::Int(n) => Value::Int(!n),
        Value::BigInt(n) => Value::BigInt(!n),
        ref other => {
            let name = super::convert::type_of(other).name();
            let message = format!("Operand data type {name} is invalid for '~' operator.");
            return Err(SqlError::new(8117, 16, 1, message));
        }
    })
}
