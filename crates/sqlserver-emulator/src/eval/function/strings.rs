//! String functions. Positions and lengths count UTF-16 units.

use super::{Arguments, grown, length, shown, text};
use crate::collation::Collation;
use crate::error::{SqlError, SqlResult};
use crate::eval::compare::plain_equals;
use crate::eval::like::Pattern;
use crate::eval::types::text_width;
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

const BLANK: u16 = b' ' as u16;

/// LEN, DATALENGTH: bigint for the `(max)` types.
pub(super) fn length_type(arguments: &[TypeInfo]) -> TypeInfo {
    let max = arguments
        .first()
        .is_some_and(|info| length(info.ty) == Some(Length::Max));
    TypeInfo::new(if max { SqlType::BigInt } else { SqlType::Int })
}

/// CHARINDEX, PATINDEX: bigint when the searched text is `(max)`.
pub(super) fn position_type(arguments: &[TypeInfo]) -> TypeInfo {
    length_type(arguments.get(1..).unwrap_or_default())
}

/// CONCAT: the lengths added, in Unicode if anything is.
pub(super) fn concat_type(arguments: &[TypeInfo]) -> TypeInfo {
    let widths: Option<Vec<u16>> = arguments.iter().map(|info| text_width(info.ty)).collect();
    joined_type(
        arguments,
        widths.map(|widths| widths.iter().map(|width| usize::from(*width)).sum()),
    )
}

/// CONCAT_WS: as CONCAT, with the separator between every two.
pub(super) fn concat_ws_type(arguments: &[TypeInfo]) -> TypeInfo {
    let widths: Option<Vec<u16>> = arguments.iter().map(|info| text_width(info.ty)).collect();
    let total = widths.map(|widths| {
        let separators =
            widths.first().map_or(0, |width| usize::from(*width)) * widths.len().saturating_sub(2);
        separators
            + widths
                .iter()
                .skip(1)
                .map(|width| usize::from(*width))
                .sum::<usize>()
    });
    joined_type(arguments, total)
}

fn joined_type(arguments: &[TypeInfo], total: Option<usize>) -> TypeInfo {
    let unicode = arguments.iter().any(|info| info.ty.is_unicode());
    let limit = if unicode { 4000 } else { 8000 };
    let len = total.map_or(Length::Max, |total| Length::Chars(total.clamp(1, limit) as u16));
    let ty = if unicode {
        SqlType::NVarChar { len }
    } else {
        SqlType::VarChar { len }
    };
    TypeInfo::new(ty).not_null()
}

/// A position or length as the result type wants it.
fn counted(arguments: &Arguments<'_>, count: usize) -> Value {
    if arguments.info.ty == SqlType::BigInt {
        Value::BigInt(count as i64)
    } else {
        Value::Int(count as i32)
    }
}

fn collation(arguments: &Arguments<'_>) -> &'static Collation {
    let of = |at: usize| arguments.info_of(at).collation;
    of(0).or(of(1)).unwrap_or_else(Collation::server_default)
}

/// 536 and 537: lengths must not be negative.
fn non_negative(length: i64, function: &str) -> SqlResult<usize> {
    usize::try_from(length).map_err(|_| {
        let message = format!("Invalid length parameter passed to the {function} function.");
        SqlError::new(if function == "SUBSTRING" { 537 } else { 536 }, 16, 2, message)
    })
}

pub(super) fn ascii(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let page = collation(arguments).code_page;
    let first = arguments.text(0).get(..1).map(|unit| page.encode(unit));
    Ok(first
        .and_then(|bytes| bytes.first().copied())
        .map_or(Value::Null, |byte| Value::Int(i32::from(byte))))
}

pub(super) fn char(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let page = Collation::server_default().code_page;
    let byte = u8::try_from(arguments.integer(0));
    Ok(byte.map_or(Value::Null, |byte| text(page.decode(&[byte]))))
}

pub(super) fn nchar(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(u16::try_from(arguments.integer(0)).map_or(Value::Null, |unit| text([unit])))
}

pub(super) fn unicode(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(arguments
        .text(0)
        .first()
        .map_or(Value::Null, |unit| Value::Int(i32::from(*unit))))
}

pub(super) fn char_index(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let start = (arguments.integer(2).max(1) - 1) as usize;
    let found = find(arguments.text(0), arguments.text(1), start, collation(arguments));
    Ok(counted(arguments, found.map_or(0, |at| at + 1)))
}

/// Where `needle` is in `haystack`, by the collation, at or after `start`.
fn find(needle: &[u16], haystack: &[u16], start: usize, collation: &'static Collation) -> Option<usize> {
    if needle.is_empty() || needle.len() > haystack.len() {
        return None;
    }
    (start..=haystack.len() - needle.len()).find(|at| {
        let part = &haystack[*at..*at + needle.len()];
        // Of equal lengths, so that the blanks at the end count here too.
        let plain = plain_equals(part, needle, collation);
        plain.unwrap_or_else(|| unpadded_key(part, collation) == unpadded_key(needle, collation))
    })
}

/// A sort key for which blanks at the end count.
fn unpadded_key(text: &[u16], collation: &'static Collation) -> Vec<u8> {
    let mut marked = text.to_vec();
    marked.push(b'.'.into());
    collation.sort_key(&marked)
}

pub(super) fn pat_index(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let pattern = arguments.text(0).to_vec();
    let searched = arguments.text(1);
    let percent = u16::from(b'%');
    // Without a leading `%` the pattern must match at the start.
    let anchored = pattern.first() != Some(&percent);
    let body = if anchored { &pattern[..] } else { &pattern[1..] };
    let pattern = Pattern::new(body, None, collation(arguments));
    let last = if anchored { 0 } else { searched.len() };
    let found = (0..=last).find(|at| pattern.matches(searched.get(*at..).unwrap_or_default()));
    Ok(counted(arguments, found.map_or(0, |at| at + 1)))
}

pub(super) fn concat(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let mut out = Vec::new();
    for at in 0..arguments.values.len() {
        out.extend(shown(arguments.value(at), arguments.info_of(at))?);
        grown(2 * out.len(), arguments.context)?;
    }
    Ok(text(out))
}

/// NULLs are left out together with their separator.
pub(super) fn concat_ws(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let separator = shown(arguments.value(0), arguments.info_of(0))?;
    let mut out = Vec::new();
    let mut first = true;
    for at in 1..arguments.values.len() {
        if arguments.value(at).is_null() {
            continue;
        }
        if !first {
            out.extend(&separator);
        }
        first = false;
        out.extend(shown(arguments.value(at), arguments.info_of(at))?);
        grown(2 * out.len(), arguments.context)?;
    }
    Ok(text(out))
}

pub(super) fn left(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let count = non_negative(arguments.integer(1), "left")?;
    let units = arguments.text(0);
    Ok(text(&units[..count.min(units.len())]))
}

pub(super) fn right(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let count = non_negative(arguments.integer(1), "right")?;
    let units = arguments.text(0);
    Ok(text(&units[units.len() - count.min(units.len())..]))
}

/// Blanks at the end do not count.
pub(super) fn len(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let units = arguments.text(0);
    let length = units
        .iter()
        .rposition(|unit| *unit != BLANK)
        .map_or(0, |at| at + 1);
    let counts_code_points = arguments
        .info_of(0)
        .collation
        .is_some_and(|collation| collation.supplementary);
    let length = if counts_code_points {
        char::decode_utf16(units[..length].iter().copied()).count()
    } else {
        length
    };
    Ok(counted(arguments, length))
}

pub(super) fn lower(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(Value::text(&arguments.string(0).to_lowercase()))
}

/// Letters that have no single capital stay.
pub(super) fn upper(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let mut out = String::new();
    for c in arguments.string(0).chars() {
        let mut capitals = c.to_uppercase();
        match (capitals.next(), capitals.next()) {
            (Some(capital), None) => out.push(capital),
            _ => out.push(c),
        }
    }
    Ok(Value::text(&out))
}

pub(super) fn ltrim(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(text(trimmed(arguments.text(0), &[BLANK], true, false)))
}

pub(super) fn rtrim(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(text(trimmed(arguments.text(0), &[BLANK], false, true)))
}

pub(super) fn trim(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let set = if arguments.given(1) {
        arguments.text(1).to_vec()
    } else {
        vec![BLANK]
    };
    Ok(text(trimmed(arguments.text(0), &set, true, true)))
}

fn trimmed<'a>(units: &'a [u16], set: &[u16], start: bool, end: bool) -> &'a [u16] {
    let kept = |unit: &u16| !set.contains(unit);
    let from = if start {
        units.iter().position(kept).unwrap_or(units.len())
    } else {
        0
    };
    let to = if end {
        units.iter().rposition(kept).map_or(0, |at| at + 1)
    } else {
        units.len()
    };
    units.get(from..to).unwrap_or_default()
}

pub(super) fn replace(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let (source, from, to) = (arguments.text(0), arguments.text(1), arguments.text(2));
    let collation = collation(arguments);
    let mut out = Vec::with_capacity(source.len());
    let mut at = 0;
    while let Some(found) = find(from, source, at, collation) {
        out.extend(&source[at..found]);
        out.extend(to);
        grown(2 * out.len(), arguments.context)?;
        at = found + from.len();
    }
    out.extend(&source[at..]);
    Ok(text(out))
}

/// NULL for a negative count; cut at 8000 bytes unless the text is `(max)`, which may come to 7119.
pub(super) fn replicate(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let Ok(count) = usize::try_from(arguments.integer(1)) else {
        return Ok(Value::Null);
    };
    let units = arguments.text(0);
    let mut wanted = units.len().saturating_mul(count);
    match length(arguments.info.ty) {
        Some(Length::Chars(len)) => wanted = wanted.min(usize::from(len)),
        _ => grown(wanted.saturating_mul(2), arguments.context)?,
    }
    let repeated = units.iter().copied().cycle().take(wanted);
    Ok(text(repeated.collect::<Vec<_>>()))
}

/// What JSON demands of a string ("STRING_ESCAPE"); `json` is the only kind there is.
pub(super) fn string_escape(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    if !arguments.string(1).trim_end().eq_ignore_ascii_case("json") {
        return Err(SqlError::unsupported("this kind of STRING_ESCAPE"));
    }
    let mut escaped = Vec::with_capacity(arguments.text(0).len());
    for &unit in arguments.text(0) {
        let short = match u8::try_from(unit) {
            Ok(byte @ (b'"' | b'\\' | b'/')) => Some(byte),
            Ok(0x08) => Some(b'b'),
            Ok(0x0C) => Some(b'f'),
            Ok(b'\n') => Some(b'n'),
            Ok(b'\r') => Some(b'r'),
            Ok(b'\t') => Some(b't'),
            _ => None,
        };
        match short {
            Some(byte) => escaped.extend([u16::from(b'\\'), u16::from(byte)]),
            None if unit < 0x20 => escaped.extend(format!("\\u{unit:04x}").encode_utf16()),
            None => escaped.push(unit),
        }
    }
    Ok(Value::Str(escaped.into()))
}

pub(super) fn reverse(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(text(arguments.text(0).iter().rev().copied().collect::<Vec<_>>()))
}

pub(super) fn space(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let count = usize::try_from(arguments.integer(0));
    Ok(count.map_or(Value::Null, |count| text(vec![BLANK; count.min(8000)])))
}

/// NULL when the start is outside of the text or the length is negative.
pub(super) fn stuff(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let units = arguments.text(0);
    let start = usize::try_from(arguments.integer(1))
        .ok()
        .and_then(|start| start.checked_sub(1));
    let (Some(start), Ok(count)) = (
        start.filter(|start| *start < units.len()),
        usize::try_from(arguments.integer(2)),
    ) else {
        return Ok(Value::Null);
    };
    let end = start.saturating_add(count).min(units.len());
    Ok(text([&units[..start], arguments.text(3), &units[end..]].concat()))
}

/// A start before the text takes from the length.
pub(super) fn substring(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let (start, count) = (arguments.integer(1), arguments.integer(2));
    non_negative(count, "SUBSTRING")?;
    let range = |length: usize| {
        let end = (start.saturating_add(count).saturating_sub(1)).clamp(0, length as i64) as usize;
        let begin = start.saturating_sub(1).clamp(0, end as i64) as usize;
        begin..end
    };
    Ok(match arguments.value(0) {
        Value::Bytes(bytes) => Value::Bytes(bytes[range(bytes.len())].into()),
        Value::Str(units) => Value::Str(units[range(units.len())].into()),
        _ => {
            let name = arguments.info_of(0).ty.name();
            let message =
                format!("Argument data type {name} is invalid for argument 1 of substring function.");
            return Err(SqlError::user(8116, message));
        }
    })
}

/// 9828 when the two lists differ in length.
pub(super) fn translate(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let (from, to) = (arguments.text(1), arguments.text(2));
    if from.len() != to.len() {
        let message = "The second and third arguments of the TRANSLATE built-in function must contain an equal number of \
                       characters.";
        return Err(SqlError::user(9828, message));
    }
    let replaced = |unit: &u16| {
        from.iter()
            .position(|known| known == unit)
            .map_or(*unit, |at| to[at])
    };
    Ok(text(arguments.text(0).iter().map(replaced).collect::<Vec<_>>()))
}
