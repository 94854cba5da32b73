//! Mathematical functions.

use super::{Arguments, shown};
use crate::error::{SqlError, SqlResult};
use crate::eval::convert::{convert, overflow};
use crate::eval::{arithmetic, decimal, number_text};
use crate::types::{SqlType, TypeInfo};
use crate::value::{Decimal, Value};

/// CEILING and FLOOR: decimals lose their scale.
pub(super) fn whole_type(arguments: &[TypeInfo]) -> TypeInfo {
    let info = arguments.first().copied().unwrap_or(TypeInfo::new(SqlType::Int));
    let ty = match info.ty {
        SqlType::Decimal { precision, .. } => SqlType::Decimal { precision, scale: 0 },
        SqlType::Numeric { precision, .. } => SqlType::Numeric { precision, scale: 0 },
        other => other,
    };
    TypeInfo::new(ty)
}

pub(super) fn abs(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let value = arguments.value(0);
    if sign_of(value) < 0 {
        arithmetic::negate(value, arguments.info.ty)
    } else {
        Ok(value.clone())
    }
}

fn sign_of(value: &Value) -> i8 {
    let signum = |x: f64| if x > 0.0 { 1 } else { -i8::from(x < 0.0) };
    match value {
        Value::Decimal(d) => d.unscaled.signum() as i8,
        Value::Float(x) => signum(*x),
        Value::Real(x) => signum(f64::from(*x)),
        Value::Money(n) => n.signum() as i8,
        Value::SmallMoney(n) => n.signum() as i8,
        other => other.as_integer().map_or(0, |n| n.signum() as i8),
    }
}

pub(super) fn sign(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let sign = Value::Int(i32::from(sign_of(arguments.value(0))));
    convert(sign, SqlType::Int, arguments.info, 0)
}

pub(super) fn ceiling(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    to_whole(arguments, true)
}

pub(super) fn floor(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    to_whole(arguments, false)
}

fn to_whole(arguments: &Arguments<'_>, up: bool) -> SqlResult<Value> {
    let round =
        |value: i128, unit: i128| value.div_euclid(unit) + i128::from(up && value.rem_euclid(unit) != 0);
    Ok(match arguments.value(0) {
        Value::Float(x) => Value::Float(if up { x.ceil() } else { x.floor() }),
        Value::Real(x) => Value::Real(if up { x.ceil() } else { x.floor() }),
        Value::Decimal(d) => {
            let unit = decimal::power_of_ten(u32::from(d.scale)) as i128;
            Value::Decimal(Decimal {
                unscaled: round(d.unscaled, unit),
                precision: d.precision,
                scale: 0,
            })
        }
        Value::Money(n) => {
            let whole = round(i128::from(*n), 10_000) * 10_000;
            Value::Money(i64::try_from(whole).map_err(|_| overflow("expression", SqlType::Money))?)
        }
        Value::SmallMoney(n) => {
            let whole = round(i128::from(*n), 10_000) * 10_000;
            Value::SmallMoney(i32::try_from(whole).map_err(|_| overflow("expression", SqlType::SmallMoney))?)
        }
        other => other.clone(),
    })
}

/// `ROUND(value, length [, truncate])`
pub(super) fn round(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let length = arguments.integer(1).clamp(-40, 40) as i32;
    let cut = arguments.integer(2) != 0;
    let scaled = |unscaled: i128, scale: i32| -> i128 {
        let drop = scale - length;
        if drop <= 0 {
            return unscaled;
        }
        let unit = decimal::power_of_ten(drop.unsigned_abs());
        let magnitude = unscaled.unsigned_abs();
        let kept = if cut {
            magnitude / unit
        } else {
            decimal::divide_rounded(magnitude, unit)
        };
        let value = kept.saturating_mul(unit) as i128;
        if unscaled < 0 { -value } else { value }
    };
    let failed = || overflow("expression", arguments.info.ty);
    Ok(match arguments.value(0) {
        Value::Decimal(d) => {
            let value = Decimal {
                unscaled: scaled(d.unscaled, i32::from(d.scale)),
                ..*d
            };
            let ty = arguments.info.ty;
            let fitted = decimal::rescale(value, ty.precision(), ty.scale());
            Value::Decimal(fitted.ok_or_else(|| overflow("numeric", ty))?)
        }
        Value::Money(n) => Value::Money(i64::try_from(scaled(i128::from(*n), 4)).map_err(|_| failed())?),
        Value::SmallMoney(n) => {
            Value::SmallMoney(i32::try_from(scaled(i128::from(*n), 4)).map_err(|_| failed())?)
        }
        Value::Float(x) => Value::Float(round_float(*x, length, cut)),
        Value::Real(x) => Value::Real(round_float(f64::from(*x), length, cut) as f32),
        other => {
            let number = scaled(i128::from(other.as_integer().unwrap_or(0)), 0);
            let number = i64::try_from(number).map_err(|_| failed())?;
            arithmetic::integer_value(number, arguments.info.ty).ok_or_else(failed)?
        }
    })
}

fn round_float(x: f64, length: i32, cut: bool) -> f64 {
    let unit = 10_f64.powi(length);
    let scaled = x * unit;
    if cut {
        scaled.trunc() / unit
    } else {
        scaled.round() / unit
    }
}

/// A float function; 3623 where it is not defined.
fn float(arguments: &Arguments<'_>, of: impl Fn(f64) -> f64) -> SqlResult<Value> {
    let result = of(arguments.float(0));
    if result.is_nan() {
        return Err(SqlError::user(
            3623,
            "An invalid floating point operation occurred.",
        ));
    }
    if result.is_infinite() {
        return Err(overflow("expression", SqlType::Float));
    }
    Ok(Value::Float(result))
}

pub(super) fn acos(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, f64::acos)
}

pub(super) fn asin(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, f64::asin)
}

pub(super) fn atan(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, f64::atan)
}

pub(super) fn cos(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, f64::cos)
}

pub(super) fn exp(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, f64::exp)
}

pub(super) fn sin(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, f64::sin)
}

pub(super) fn sqrt(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, f64::sqrt)
}

pub(super) fn square(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, |x| x * x)
}

pub(super) fn tan(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, f64::tan)
}

pub(super) fn log10(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    float(arguments, |x| if x > 0.0 { x.log10() } else { f64::NAN })
}

pub(super) fn log(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let base = if arguments.given(1) {
        arguments.float(1)
    } else {
        std::f64::consts::E
    };
    float(arguments, |x| if x > 0.0 { x.ln() / base.ln() } else { f64::NAN })
}

pub(super) fn pi(_: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(Value::Float(std::f64::consts::PI))
}

/// In the type of the first argument.
pub(super) fn power(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let from = arguments.info_of(0);
    let base = convert(
        arguments.value(0).clone(),
        from.ty,
        TypeInfo::new(SqlType::Float),
        0,
    )?;
    let Value::Float(base) = base else {
        return Ok(Value::Null);
    };
    let result = base.powf(arguments.float(1));
    if result.is_nan() {
        return Err(SqlError::user(
            3623,
            "An invalid floating point operation occurred.",
        ));
    }
    if result.is_infinite() {
        return Err(overflow("expression", from.ty));
    }
    convert(Value::Float(result), SqlType::Float, arguments.info, 0)
}

/// At least 0, less than 1; the same seed gives the same number.
pub(super) fn rand(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let bits = if arguments.given(0) && !arguments.value(0).is_null() {
        let seed = arguments.integer(0) as u64;
        let mixed = (seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 31)
    } else {
        let mut bytes = [0; 8];
        arguments.context.random(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    Ok(Value::Float((bits >> 11) as f64 / (1_u64 << 53) as f64))
}

/// `STR(number, length = 10, decimals = 0)`: right-aligned; asterisks where it does not fit.
pub(super) fn str(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let length = if arguments.given(1) {
        arguments.integer(1).clamp(0, 8000) as usize
    } else {
        10
    };
    let decimals = arguments.integer(2).clamp(0, 16) as usize;
    let x = arguments.float(0);
    let whole = format!("{:.0}", x.trunc()).len();
    if whole > length {
        return Ok(Value::text(&"*".repeat(length)));
    }
    let decimals = decimals.min(length.saturating_sub(whole + 1));
    let unit = 10_f64.powi(decimals as i32);
    let rounded = (x * unit).round() / unit;
    Ok(Value::text(&format!("{rounded:>length$.decimals$}")))
}

pub(super) fn is_numeric(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let info = arguments.info_of(0);
    let numeric = match arguments.value(0) {
        Value::Null => false,
        Value::Str(text) => {
            let text = String::from_utf16_lossy(text);
            let bare: String = text
                .trim()
                .trim_start_matches(['$', '+', '-'])
                .chars()
                .filter(|c| *c != ',')
                .collect();
            !text.trim().is_empty()
                && (number_text::parse_decimal(&bare).is_some()
                    || number_text::parse_float(text.trim()).is_some()
                    || bare.is_empty())
        }
        value => super::is_number(info.ty) && !shown(value, info)?.is_empty(),
    };
    Ok(Value::Int(i32::from(numeric)))
}
