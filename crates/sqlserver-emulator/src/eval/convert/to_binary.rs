//! To binary types, uniqueidentifier and rowversion.

use super::Target;
use crate::collation::Collation;
use crate::error::{SqlError, SqlResult};
use crate::types::SqlType;
use crate::value::Value;

pub(super) fn convert(value: &Value, target: Target) -> SqlResult<Value> {
    let number = |bytes: &[u8]| Ok(fit_number(bytes, target));
    let bytes = match value {
        Value::Bytes(bytes) => bytes.to_vec(),
        Value::Str(text) if matches!(target.style, 1 | 2) => {
            from_hex(&String::from_utf16_lossy(text), target)?
        }
        Value::Str(text) | Value::Xml(text) => text_bytes(text, target),
        Value::Guid(guid) => stored_guid(guid).to_vec(),
        Value::Bit(bit) => return number(&[u8::from(*bit)]),
        Value::TinyInt(n) => return number(&[*n]),
        Value::SmallInt(n) => return number(&n.to_be_bytes()),
        Value::Int(n) | Value::SmallMoney(n) => return number(&n.to_be_bytes()),
        Value::BigInt(n) | Value::Money(n) => return number(&n.to_be_bytes()),
        Value::RowVersion(n) => return number(&n.to_be_bytes()),
        Value::Real(x) => return number(&x.to_be_bytes()),
        Value::Float(x) => return number(&x.to_be_bytes()),
        Value::Decimal(d) => {
            let mut bytes = vec![d.precision, d.scale, 0, u8::from(d.unscaled >= 0)];
            let magnitude = d.unscaled.unsigned_abs().to_le_bytes();
            bytes.extend(&magnitude[..usize::from(storage_bytes(d.precision))]);
            bytes
        }
        Value::DateTime { days, ticks } => [days.to_be_bytes(), ticks.to_be_bytes()].concat(),
        Value::SmallDateTime { days, minutes } => [days.to_be_bytes(), minutes.to_be_bytes()].concat(),
        Value::Date(days) => days.to_le_bytes()[..3].to_vec(),
        Value::Time { ticks, scale } => {
            let mut bytes = vec![*scale];
            bytes.extend(time_bytes(*ticks, *scale));
            bytes
        }
        Value::DateTime2 { days, ticks, scale } => {
            let mut bytes = vec![*scale];
            bytes.extend(time_bytes(*ticks, *scale));
            bytes.extend(&days.to_le_bytes()[..3]);
            bytes
        }
        Value::DateTimeOffset {
            days,
            ticks,
            scale,
            offset,
        } => {
            let mut bytes = vec![*scale];
            bytes.extend(time_bytes(*ticks, *scale));
            bytes.extend(&days.to_le_bytes()[..3]);
            bytes.extend(offset.to_le_bytes());
            bytes
        }
        Value::Null => return Ok(Value::Null),
        Value::Variant(_) => return Err(target.refused()),
    };
    Ok(fit(bytes, target))
}

/// The bytes are the value: nothing looks into them.
pub(super) fn clr(value: Value, target: Target) -> SqlResult<Value> {
    match value {
        Value::Bytes(_) => Ok(value),
        _ => Err(SqlError::unsupported(format_args!(
            "making a {} of anything but its bytes",
            target.to.name()
        ))),
    }
}

fn storage_bytes(precision: u8) -> u8 {
    match precision {
        0..=9 => 4,
        10..=19 => 8,
        20..=28 => 12,
        _ => 16,
    }
}

/// Units of the scale, little-endian, in as many bytes as the scale needs.
fn time_bytes(ticks: u64, scale: u8) -> Vec<u8> {
    let width = match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    };
    let units = ticks / 10_u64.pow(u32::from(7 - scale.min(7)));
    units.to_le_bytes()[..width].to_vec()
}

/// UTF-16LE for the national types, the code page's bytes for the others.
fn text_bytes(text: &[u16], target: Target) -> Vec<u8> {
    let national = target.from.is_unicode() || matches!(target.from, SqlType::SqlVariant | SqlType::Null);
    if national {
        return text.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    }
    target
        .collation
        .unwrap_or_else(Collation::server_default)
        .code_page
        .encode(text)
}

/// Style 1 demands the `0x`, style 2 forbids it.
fn from_hex(text: &str, target: Target) -> SqlResult<Vec<u8>> {
    let failed = || target.not_a_number();
    let digits = match (
        target.style,
        text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")),
    ) {
        (1, Some(digits)) => digits,
        (2, None) => text,
        _ => return Err(failed()),
    };
    if digits.len() % 2 == 1 || !digits.is_ascii() {
        return Err(failed());
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| failed()))
        .collect()
}

/// Numbers are aligned to the right: `binary(2)` of the int 0x01020304 is 0x0304.
fn fit_number(bytes: &[u8], target: Target) -> Value {
    let limit = target.limit().unwrap_or(bytes.len());
    let kept = &bytes[bytes.len().saturating_sub(limit)..];
    match target.to {
        SqlType::Binary { .. } => {
            let mut padded = vec![0; limit - kept.len()];
            padded.extend(kept);
            Value::Bytes(padded.into())
        }
        _ => Value::Bytes(kept.into()),
    }
}

fn fit(mut bytes: Vec<u8>, target: Target) -> Value {
    if let Some(limit) = target.limit() {
        bytes.truncate(limit);
        if matches!(target.to, SqlType::Binary { .. }) {
            bytes.resize(limit, 0);
        }
    }
    Value::Bytes(bytes.into())
}

/// The storage form: the first three groups are little-endian.
pub(super) fn stored_guid(guid: &[u8; 16]) -> [u8; 16] {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    ORDER.map(|at| guid[at])
}

pub(super) fn guid(value: &Value, target: Target) -> SqlResult<Value> {
    match value {
        Value::Guid(guid) => Ok(Value::Guid(*guid)),
        Value::Str(text) => guid_from_text(&String::from_utf16_lossy(text)),
        Value::Bytes(bytes) => {
            let mut stored = [0; 16];
            let length = bytes.len().min(16);
            stored[..length].copy_from_slice(&bytes[..length]);
            Ok(Value::Guid(stored_guid(&stored)))
        }
        _ => Err(target.refused()),
    }
}

/// With or without braces; what follows the 36 characters is ignored.
fn guid_from_text(text: &str) -> SqlResult<Value> {
    let failed = || {
        let message = "Conversion failed when converting from a character string to uniqueidentifier.";
        SqlError::new(8169, 16, 2, message)
    };
    let body = text.trim_start().strip_prefix('{').unwrap_or(text.trim_start());
    let form = body.get(..36).ok_or_else(failed)?;
    let dashed = [8, 13, 18, 23].iter().all(|at| form.as_bytes()[*at] == b'-');
    let digits: String = form.chars().filter(|c| *c != '-').collect();
    if !dashed || digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(failed());
    }
    let number = u128::from_str_radix(&digits, 16).map_err(|_| failed())?;
    Ok(Value::Guid(number.to_be_bytes()))
}

pub(super) fn rowversion(value: &Value, target: Target) -> SqlResult<Value> {
    let binary = Target {
        to: SqlType::Binary { len: 8 },
        ..target
    };
    let Value::Bytes(bytes) = convert(value, binary)? else {
        return Err(target.refused());
    };
    let number = bytes
        .iter()
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Ok(Value::RowVersion(number))
}
