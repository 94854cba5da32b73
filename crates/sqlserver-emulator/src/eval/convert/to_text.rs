//! To the character types.

use std::sync::Arc;

use super::Target;
use crate::collation::{CodePage, Collation};
use crate::error::{SqlError, SqlResult};
use crate::eval::{number_text, time_format, vector};
use crate::types::SqlType;
use crate::value::Value;

/// The text of a value in a style, without regard to a length.
pub(in crate::eval) fn plain_text(value: &Value, from: SqlType, style: i32) -> SqlResult<String> {
    Ok(match value {
        Value::Null => String::new(),
        Value::Bit(bit) => u8::from(*bit).to_string(),
        Value::TinyInt(n) => n.to_string(),
        Value::SmallInt(n) => n.to_string(),
        Value::Int(n) => n.to_string(),
        Value::BigInt(n) => n.to_string(),
        Value::Decimal(d) => number_text::decimal_text(*d),
        Value::Money(n) => number_text::money_text(*n, style),
        Value::SmallMoney(n) => number_text::money_text(i64::from(*n), style),
        Value::Real(x) => number_text::float_text(f64::from(*x), style, true),
        Value::Float(x) => number_text::float_text(*x, style, false),
        Value::Date(_)
        | Value::Time { .. }
        | Value::SmallDateTime { .. }
        | Value::DateTime { .. }
        | Value::DateTime2 { .. }
        | Value::DateTimeOffset { .. } => time_format::format(value, style).ok_or_else(|| {
            let message = format!(
                "{style} is not a valid style number when converting from {} to a character string.",
                from.name()
            );
            SqlError::user(281, message)
        })?,
        Value::Str(text) | Value::Xml(text) => String::from_utf16_lossy(text),
        Value::Bytes(bytes) => hex(bytes),
        Value::Guid(guid) => guid_text(guid),
        Value::RowVersion(n) => hex(&n.to_be_bytes()),
        Value::Variant(held) => plain_text(&held.value, held.info.ty, style)?,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn guid_text(guid: &[u8; 16]) -> String {
    let digits = hex(guid);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

pub(super) fn convert(value: Value, target: Target) -> SqlResult<Value> {
    if matches!(target.from, SqlType::Clr(_)) {
        return Err(SqlError::unsupported(format_args!(
            "the text of a {}",
            target.from.name()
        )));
    }
    let units: Arc<[u16]> = match &value {
        Value::Bytes(bytes) if matches!(target.from, SqlType::Vector { .. }) => {
            vector::text(bytes).encode_utf16().collect()
        }
        Value::Str(text) | Value::Xml(text) => Arc::clone(text),
        Value::Bytes(bytes) => return Ok(from_bytes(bytes, target)),
        Value::RowVersion(n) => return Ok(from_bytes(&n.to_be_bytes(), target)),
        _ => plain_text(&value, target.from, target.style)?
            .encode_utf16()
            .collect(),
    };
    if let Some(limit) = target.limit()
        && units.len() > limit
        && let Some(outcome) = too_long(&value, target)
    {
        return outcome;
    }
    Ok(fit(units, target))
}

/// Numbers are never cut: an asterisk stands for integers in `varchar`, all else is an error.
fn too_long(value: &Value, target: Target) -> Option<SqlResult<Value>> {
    match value {
        Value::TinyInt(_) | Value::SmallInt(_) | Value::Int(_) if !target.to.is_unicode() => {
            Some(Ok(fit([u16::from(b'*')].as_slice().into(), target)))
        }
        Value::Guid(_) => {
            let message = "Insufficient result space to convert uniqueidentifier value to char.";
            Some(Err(SqlError::new(8170, 16, 2, message)))
        }
        Value::TinyInt(_)
        | Value::SmallInt(_)
        | Value::Int(_)
        | Value::BigInt(_)
        | Value::Decimal(_)
        | Value::Real(_)
        | Value::Float(_) => Some(Err(target.overflow())),
        Value::Money(_) | Value::SmallMoney(_) => {
            let message = format!(
                "There is insufficient result space to convert a {} value to {}.",
                target.from.name(),
                target.to.name()
            );
            Some(Err(SqlError::new(234, 16, 2, message)))
        }
        _ => None,
    }
}

/// Styles 1 and 2 are hexadecimal; otherwise the bytes are the text.
fn from_bytes(bytes: &[u8], target: Target) -> Value {
    let units = match target.style {
        1 | 2 => {
            let prefix = if target.style == 1 { "0x" } else { "" };
            let digits = format!("{prefix}{}", hex(bytes));
            if target.limit().is_some_and(|limit| digits.len() > limit) {
                // Only whole bytes are shown.
                let limit = target.limit().unwrap_or(0);
                let whole = limit.saturating_sub(prefix.len()) / 2 * 2 + prefix.len();
                digits
                    .get(..whole.min(limit))
                    .unwrap_or_default()
                    .encode_utf16()
                    .collect()
            } else {
                digits.encode_utf16().collect()
            }
        }
        _ if target.to.is_unicode() => {
            let pairs = bytes.chunks(2);
            pairs
                .map(|pair| u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
                .collect()
        }
        _ => code_page(target.collation).decode(bytes).into(),
    };
    fit(units, target)
}

fn code_page(collation: Option<&'static Collation>) -> CodePage {
    collation.unwrap_or_else(Collation::server_default).code_page
}

/// Through the target's code page, cut or padded to its length.
fn fit(units: Arc<[u16]>, target: Target) -> Value {
    let ascii = units.iter().all(|unit| *unit < 0x80);
    if target.to.is_unicode() || ascii {
        return fit_units(units, target, None);
    }
    let page = code_page(target.collation);
    let bytes = page.encode(&units);
    let kept = match target.limit() {
        Some(limit) if bytes.len() > limit => page.decode(&bytes[..limit]),
        _ => page.decode(&bytes),
    };
    fit_units(kept.into(), target, Some(bytes.len()))
}

/// `length` is the length in bytes where it is not that in units.
fn fit_units(units: Arc<[u16]>, target: Target, length: Option<usize>) -> Value {
    let Some(limit) = target.limit() else {
        return Value::Str(units);
    };
    if units.len() > limit {
        return Value::Str(units.get(..limit).unwrap_or_default().into());
    }
    let padding = limit.saturating_sub(length.unwrap_or(units.len()));
    if matches!(target.to, SqlType::Char { .. } | SqlType::NChar { .. }) && padding > 0 {
        let mut padded = units.to_vec();
        padded.resize(units.len() + padding, u16::from(b' '));
        return Value::Str(padded.into());
    }
    Value::Str(units)
}
