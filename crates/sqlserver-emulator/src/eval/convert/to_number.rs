//! To the numeric types.

use super::Target;
use crate::error::{SqlError, SqlResult};
use crate::eval::calendar::{DAYS_TO_1900, Moment, TICKS_PER_DAY};
use crate::eval::{decimal, number_text};
use crate::types::SqlType;
use crate::value::{Decimal, Value};

pub(super) fn integer(value: &Value, target: Target) -> SqlResult<Value> {
    let number = match value {
        Value::Str(text) | Value::Xml(text) => {
            return integer_from_text(&String::from_utf16_lossy(text), target);
        }
        Value::Decimal(d) if target.to == SqlType::Bit => i128::from(d.unscaled != 0),
        Value::Decimal(d) => d.unscaled / decimal::power_of_ten(u32::from(d.scale)) as i128,
        Value::Money(n) => rounded_money(*n, target),
        Value::SmallMoney(n) => rounded_money(i64::from(*n), target),
        Value::Real(x) => from_float(f64::from(*x), target)?,
        Value::Float(x) => from_float(*x, target)?,
        Value::Bytes(bytes) => from_bytes(bytes, target.to),
        Value::RowVersion(n) => from_bytes(&n.to_be_bytes(), target.to),
        Value::DateTime { .. } | Value::SmallDateTime { .. } => days_since_1900(value).round() as i128,
        other => match other.as_integer() {
            Some(number) => i128::from(number),
            None => return Err(target.refused()),
        },
    };
    integer_value(number, target.to).ok_or_else(|| integer_overflow(number, target))
}

fn rounded_money(ten_thousandths: i64, target: Target) -> i128 {
    if target.to == SqlType::Bit {
        return i128::from(ten_thousandths != 0);
    }
    let rounded = decimal::divide_rounded(u128::from(ten_thousandths.unsigned_abs()), 10_000) as i128;
    if ten_thousandths < 0 { -rounded } else { rounded }
}

fn from_float(x: f64, target: Target) -> SqlResult<i128> {
    if target.to == SqlType::Bit {
        return Ok(i128::from(x != 0.0));
    }
    let number = if x.abs() < 1e30 {
        x.trunc() as i128
    } else {
        i128::MAX
    };
    if target.to != SqlType::BigInt && integer_value(number, target.to).is_none() {
        return Err(float_overflow(x, target));
    }
    Ok(number)
}

/// 232
fn float_overflow(x: f64, target: Target) -> SqlError {
    let name = target.to.name();
    SqlError::new(
        232,
        16,
        3,
        format!("Arithmetic overflow error for type {name}, value = {x:.6}."),
    )
}

/// The last bytes count, as many as the type has.
fn from_bytes(bytes: &[u8], to: SqlType) -> i128 {
    let width = to.max_length().unsigned_abs() as usize;
    let kept = &bytes[bytes.len().saturating_sub(width)..];
    let unsigned = kept
        .iter()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    match to {
        SqlType::SmallInt => i128::from(unsigned as u16 as i16),
        SqlType::Int => i128::from(unsigned as u32 as i32),
        SqlType::BigInt => i128::from(unsigned as i64),
        SqlType::Bit => i128::from(bytes.iter().any(|byte| *byte != 0)),
        _ => i128::from(unsigned as u8),
    }
}

/// None when the type cannot hold it.
fn integer_value(number: i128, to: SqlType) -> Option<Value> {
    Some(match to {
        SqlType::Bit => Value::Bit(number != 0),
        SqlType::TinyInt => Value::TinyInt(u8::try_from(number).ok()?),
        SqlType::SmallInt => Value::SmallInt(i16::try_from(number).ok()?),
        SqlType::Int => Value::Int(i32::try_from(number).ok()?),
        _ => Value::BigInt(i64::try_from(number).ok()?),
    })
}

/// 220 from an integer to a smaller one, 8115 otherwise.
fn integer_overflow(number: i128, target: Target) -> SqlError {
    let small = matches!(target.to, SqlType::TinyInt | SqlType::SmallInt);
    let integral = matches!(
        target.from,
        SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt
    );
    if small && integral && i32::try_from(number).is_ok() {
        let name = target.to.name();
        let message = format!("Arithmetic overflow error for data type {name}, value = {number}.");
        return SqlError::new(
            220,
            16,
            if target.to == SqlType::TinyInt { 2 } else { 1 },
            message,
        );
    }
    target.overflow()
}

fn integer_from_text(text: &str, target: Target) -> SqlResult<Value> {
    let trimmed = text.trim();
    if target.to == SqlType::Bit {
        for (word, bit) in [("true", true), ("false", false)] {
            if trimmed.eq_ignore_ascii_case(word) {
                return Ok(Value::Bit(bit));
            }
        }
    }
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed).trim_start();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || (digits.is_empty() && !trimmed.is_empty()) {
        return Err(not_an_integer(text, target));
    }
    let magnitude: i128 = format!("0{digits}").parse().unwrap_or(i128::MAX);
    let number = if trimmed.starts_with('-') {
        -magnitude
    } else {
        magnitude
    };
    integer_value(number, target.to).ok_or_else(|| text_overflow(trimmed, target))
}

/// 245; for bigint 8114.
fn not_an_integer(text: &str, target: Target) -> SqlError {
    if target.to == SqlType::BigInt {
        return target.not_a_number();
    }
    let message = format!(
        "Conversion failed when converting the {} value '{text}' to data type {}.",
        target.from.name(),
        target.to.name()
    );
    SqlError::new(245, 16, 1, message)
}

/// 244 and 248; for bigint 8115.
fn text_overflow(text: &str, target: Target) -> SqlError {
    let from = target.from.name();
    match target.to {
        SqlType::Int => SqlError::user(
            248,
            format!("The conversion of the {from} value '{text}' overflowed an int column."),
        ),
        SqlType::TinyInt | SqlType::SmallInt => {
            let (column, state) = if target.to == SqlType::TinyInt {
                ("INT1", 1)
            } else {
                ("INT2", 2)
            };
            let message = format!(
                "The conversion of the {from} value '{text}' overflowed an {column} column. Use a larger integer column."
            );
            SqlError::new(244, 16, state, message)
        }
        _ => target.overflow(),
    }
}

pub(super) fn decimal(value: &Value, target: Target, precision: u8, scale: u8) -> SqlResult<Value> {
    let exact = match value {
        Value::Str(text) | Value::Xml(text) => {
            let text = String::from_utf16_lossy(text);
            number_text::parse_decimal(&text).ok_or_else(|| target.not_a_number())?
        }
        Value::Decimal(d) => *d,
        Value::Money(n) => Decimal {
            unscaled: i128::from(*n),
            precision: 19,
            scale: 4,
        },
        Value::SmallMoney(n) => Decimal {
            unscaled: i128::from(*n),
            precision: 10,
            scale: 4,
        },
        Value::Real(x) => from_float_exactly(f64::from(*x), scale).ok_or_else(|| target.overflow())?,
        Value::Float(x) => from_float_exactly(*x, scale).ok_or_else(|| target.overflow())?,
        Value::DateTime { .. } | Value::SmallDateTime { .. } => {
            from_float_exactly(days_since_1900(value), scale).ok_or_else(|| target.overflow())?
        }
        other => match other.as_integer() {
            Some(number) => Decimal {
                unscaled: i128::from(number),
                precision: 19,
                scale: 0,
            },
            None => return Err(target.refused()),
        },
    };
    let rescaled = decimal::rescale(exact, precision, scale);
    rescaled.map(Value::Decimal).ok_or_else(|| target.overflow())
}

/// A float has about 17 digits; what is behind them is zero.
fn from_float_exactly(x: f64, scale: u8) -> Option<Decimal> {
    let text = format!("{x:.16e}");
    let (mantissa, exponent) = text.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let unscaled: i128 = mantissa.replace('.', "").parse().ok()?;
    let shift = exponent - 16 + i32::from(scale);
    let scaled = if shift >= 0 {
        unscaled.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?
    } else {
        let rounded = decimal::divide_rounded(
            unscaled.unsigned_abs(),
            decimal::power_of_ten(shift.unsigned_abs()),
        );
        if unscaled < 0 {
            -(rounded as i128)
        } else {
            rounded as i128
        }
    };
    Some(Decimal {
        unscaled: scaled,
        precision: 38,
        scale,
    })
}

pub(super) fn money(value: &Value, target: Target) -> SqlResult<Value> {
    let exact = match value {
        Value::Str(text) | Value::Xml(text) => {
            let text = String::from_utf16_lossy(text);
            let cleaned: String = text.trim().chars().filter(|c| !matches!(c, ',' | '$')).collect();
            let empty = cleaned.is_empty().then_some(Decimal {
                unscaled: 0,
                precision: 1,
                scale: 0,
            });
            empty
                .or_else(|| number_text::parse_decimal(&cleaned))
                .ok_or_else(|| {
                    let message =
                        "Cannot convert a char value to money. The char value has incorrect syntax.";
                    SqlError::user(235, message)
                })?
        }
        Value::Bytes(bytes) => {
            let number = from_bytes(
                bytes,
                if target.to == SqlType::Money {
                    SqlType::BigInt
                } else {
                    SqlType::Int
                },
            );
            Decimal {
                unscaled: number,
                precision: 19,
                scale: 4,
            }
        }
        other => match decimal(other, target, 38, 4)? {
            Value::Decimal(d) => d,
            _ => return Err(target.refused()),
        },
    };
    let ten_thousandths = decimal::rescale(exact, 38, 4)
        .ok_or_else(|| target.overflow())?
        .unscaled;
    if target.to == SqlType::SmallMoney {
        return i32::try_from(ten_thousandths)
            .map(Value::SmallMoney)
            .map_err(|_| target.overflow());
    }
    i64::try_from(ten_thousandths)
        .map(Value::Money)
        .map_err(|_| target.overflow())
}

pub(super) fn float(value: &Value, target: Target) -> SqlResult<Value> {
    let x = match value {
        Value::Str(text) | Value::Xml(text) => {
            number_text::parse_float(&String::from_utf16_lossy(text)).ok_or_else(|| target.not_a_number())?
        }
        Value::Decimal(d) => number_text::decimal_text(*d).parse().unwrap_or(0.0),
        Value::Money(n) => *n as f64 / 10_000.0,
        Value::SmallMoney(n) => f64::from(*n) / 10_000.0,
        Value::Real(x) => f64::from(*x),
        Value::Float(x) => *x,
        Value::DateTime { .. } | Value::SmallDateTime { .. } => days_since_1900(value),
        other => match other.as_integer() {
            Some(number) => number as f64,
            None => return Err(target.refused()),
        },
    };
    if target.to == SqlType::Float {
        return Ok(Value::Float(x));
    }
    let real = x as f32;
    if real.is_finite() {
        Ok(Value::Real(real))
    } else {
        Err(float_overflow(x, target))
    }
}

fn days_since_1900(value: &Value) -> f64 {
    let moment = Moment::of(value);
    moment.map_or(0.0, |moment| {
        f64::from(moment.days - DAYS_TO_1900) + moment.ticks as f64 / TICKS_PER_DAY as f64
    })
}
