//! To the date and time types.

use super::Target;
use crate::error::{SqlError, SqlResult};
use crate::eval::calendar::{self, DAYS_TO_1900, Moment, TICKS_PER_DAY};
use crate::eval::time_parse::{FieldOrder, parse};
use crate::types::SqlType;
use crate::value::Value;

pub(super) fn convert(value: &Value, target: Target) -> SqlResult<Value> {
    let moment = match value {
        Value::Str(text) | Value::Xml(text) => from_text(&String::from_utf16_lossy(text), target)?,
        Value::Bytes(bytes) => from_bytes(bytes, target)?,
        _ => match Moment::of(value) {
            Some(moment) => moment,
            None => from_number(value, target)?,
        },
    };
    let converted = match target.to {
        SqlType::Date => Some(Value::Date(moment.days)),
        SqlType::Time { scale } => Some(calendar::time(moment, scale)),
        SqlType::DateTime => calendar::datetime(moment),
        SqlType::SmallDateTime => calendar::smalldatetime(moment),
        SqlType::DateTime2 { scale } => calendar::datetime2(moment, scale),
        SqlType::DateTimeOffset { scale } => calendar::datetimeoffset(moment, scale),
        _ => None,
    };
    converted.ok_or_else(|| out_of_range(target))
}

fn from_text(text: &str, target: Target) -> SqlResult<Moment> {
    let failed = || {
        let message = "Conversion failed when converting date and/or time from character string.";
        SqlError::new(241, 16, 1, message)
    };
    let old = matches!(target.to, SqlType::DateTime | SqlType::SmallDateTime);
    let Some(parsed) = parse(text, FieldOrder::of_style(target.style)) else {
        // A date that has the form of one and does not exist is out of range for the older types.
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let dated = old
            && digits >= 6
            && text
                .bytes()
                .all(|byte| !byte.is_ascii_alphabetic() || byte == b'T');
        return Err(if dated { out_of_range(target) } else { failed() });
    };
    if old && (parsed.fraction_digits > 3 || (parsed.has_offset && parsed.moment.offset != 0)) {
        return Err(failed());
    }
    Ok(parsed.moment)
}

/// 242, or 517-like overflow for types other than text.
fn out_of_range(target: Target) -> SqlError {
    let message = format!(
        "The conversion of a {} data type to a {} data type resulted in an out-of-range value.",
        target.from.name(),
        target.to.name()
    );
    SqlError::new(242, 16, 3, message)
}

/// Days since 1900-01-01; the newer types take no numbers.
fn from_number(value: &Value, target: Target) -> SqlResult<Moment> {
    if !matches!(target.to, SqlType::DateTime | SqlType::SmallDateTime) {
        return Err(target.refused());
    }
    let float = super::TypeInfo::new(SqlType::Float);
    let Value::Float(days) = super::convert(value.clone(), target.from, float, 0)? else {
        return Err(target.refused());
    };
    if days.abs() > 3_000_000.0 {
        return Err(target.overflow());
    }
    let whole = days.floor();
    let ticks = ((days - whole) * TICKS_PER_DAY as f64).round() as u64;
    let moment = Moment {
        days: whole as i32 + DAYS_TO_1900,
        ticks: ticks.min(TICKS_PER_DAY - 1),
        offset: 0,
    };
    Ok(moment)
}

/// The storage form of datetime: days and 1/300 s, four bytes each.
fn from_bytes(bytes: &[u8], target: Target) -> SqlResult<Moment> {
    if target.to != SqlType::DateTime {
        return Err(target.refused());
    }
    let mut padded = [0_u8; 8];
    let kept = &bytes[bytes.len().saturating_sub(8)..];
    padded[8 - kept.len()..].copy_from_slice(kept);
    let [a, b, c, d, e, f, g, h] = padded;
    let (days, ticks) = (i32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    let in_range = (calendar::MIN_DATETIME_DAYS..=calendar::MAX_DAYS - DAYS_TO_1900).contains(&days);
    if !in_range || ticks >= 300 * 86_400 {
        return Err(out_of_range(target));
    }
    Moment::of(&Value::DateTime { days, ticks }).ok_or_else(|| out_of_range(target))
}
