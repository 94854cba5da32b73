//! A value as a parameter or a bulk row carries it.
#![warn(clippy::indexing_slicing)]

use std::sync::Arc;

use crate::collation::Collation;
use crate::store::Stored;
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};
use crate::tds::type_info::{Layout, WireType, time_length};
use crate::tds::value_encode::swap_guid;
use crate::tds::variant;
use crate::types::{SqlType, VECTOR_HEADER};
use crate::value::{Decimal, Value};

/// Clients put it before a document; it is no part of it.
const BYTE_ORDER_MARK: u16 = 0xFEFF;
const SHORT_NULL: u16 = 0xFFFF;
const CHUNKED_NULL: u64 = u64::MAX;
/// The length that says NULL of a `text` parameter.
const LONG_NULL: u32 = u32::MAX;
/// No value may be longer than SQL Server's 2 GB.
const LONGEST_VALUE: usize = 0x7FFF_FFFF;
const LAST_DAY: u32 = 3_652_058;
const TICKS_PER_DAY: u64 = 864_000_000_000;
const LARGEST_DECIMAL: u128 = 10u128.pow(38) - 1;

/// Where a value stands, which matters to `text`, `ntext` and `image` only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Four bytes of length.
    Parameter,
    /// A text pointer and a timestamp in front.
    BulkRow,
}

/// Reads one value of type `wire`.
pub(crate) fn decode<S: PacketSource>(
    reader: &mut WireReader<S>,
    wire: &WireType,
    place: Place,
) -> WireResult<Value> {
    match wire.layout {
        Layout::Fixed(0) => Ok(Value::Null),
        Layout::Fixed(length) => scalar(wire.ty, reader.take(usize::from(length))?),
        Layout::ByteLength => match reader.u8()? {
            0 => Ok(Value::Null),
            length => scalar(wire.ty, reader.take(usize::from(length))?),
        },
        Layout::ShortLength => match reader.u16()? {
            SHORT_NULL => Ok(Value::Null),
            length => string(wire, reader.take(usize::from(length))?),
        },
        Layout::Chunked => match chunks(reader)? {
            None => Ok(Value::Null),
            Some(bytes) => string(wire, &bytes),
        },
        Layout::Long => match long(reader, place)? {
            None => Ok(Value::Null),
            Some(bytes) => string(wire, bytes),
        },
        Layout::Variant => variant::decode(reader),
    }
}

/// Reads one value of a bulk row and gives it to `taker`, texts and bytes from where they lie.
pub(crate) fn decode_in_place<S: PacketSource>(
    reader: &mut WireReader<S>,
    wire: &WireType,
    taker: &mut dyn FnMut(Stored<'_>),
) -> WireResult<()> {
    if wire.layout != Layout::ShortLength {
        taker(Stored::Other(decode(reader, wire, Place::BulkRow)?));
        return Ok(());
    }
    let length = match reader.u16()? {
        SHORT_NULL => {
            taker(Stored::Other(Value::Null));
            return Ok(());
        }
        length => usize::from(length),
    };
    let bytes = reader.take(length)?;
    match wire.ty {
        SqlType::NChar { .. } | SqlType::NVarChar { .. } if bytes.len() % 2 == 0 => {
            taker(Stored::Wide(bytes))
        }
        SqlType::Char { .. } | SqlType::VarChar { .. } if bytes.is_ascii() => taker(Stored::Ascii(bytes)),
        SqlType::Binary { .. } | SqlType::VarBinary { .. } => taker(Stored::Bytes(bytes)),
        _ => taker(Stored::Other(string(wire, bytes)?)),
    }
    Ok(())
}

/// All chunks of a PLP value. Its announced length is not trusted.
fn chunks<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Option<Vec<u8>>> {
    if reader.u64()? == CHUNKED_NULL {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    loop {
        let length = reader.u32()? as usize;
        if length == 0 {
            return Ok(Some(bytes));
        }
        if bytes.len().saturating_add(length) > LONGEST_VALUE {
            return Err(WireError::malformed("a value is longer than 2 GB"));
        }
        bytes.extend_from_slice(reader.take(length)?);
    }
}

fn long<S: PacketSource>(reader: &mut WireReader<S>, place: Place) -> WireResult<Option<&[u8]>> {
    if place == Place::BulkRow {
        let pointer = usize::from(reader.u8()?);
        if pointer == 0 {
            return Ok(None);
        }
        reader.skip(pointer + 8)?;
    }
    match reader.u32()? {
        LONG_NULL => Ok(None),
        length => reader.take(length as usize).map(Some),
    }
}

/// A text or binary value of the given bytes.
pub(crate) fn string(wire: &WireType, bytes: &[u8]) -> WireResult<Value> {
    Ok(match wire.ty {
        SqlType::Binary { .. } | SqlType::VarBinary { .. } | SqlType::Image | SqlType::Clr(_) => {
            Value::bytes(bytes)
        }
        SqlType::Vector { dimensions } => {
            let [a, b] = dimensions.to_le_bytes();
            let length = usize::from(VECTOR_HEADER + 4 * dimensions);
            if bytes.len() != length || !bytes.starts_with(&[0xA9, 1, a, b, 0]) {
                return Err(WireError::InvalidValue("vector"));
            }
            Value::bytes(bytes)
        }
        SqlType::Json => {
            let text = std::str::from_utf8(bytes).map_err(|_| WireError::InvalidValue("json"))?;
            Value::text(text)
        }
        SqlType::Xml => {
            let units = utf16(bytes, "xml")?;
            Value::Xml(units.strip_prefix(&[BYTE_ORDER_MARK]).unwrap_or(&units).into())
        }
        ty if ty.is_unicode() => Value::Str(utf16(bytes, "nvarchar")?),
        _ => {
            let collation = wire.collation.unwrap_or_else(Collation::server_default);
            Value::Str(collation.code_page.decode(bytes).into())
        }
    })
}

fn utf16(bytes: &[u8], ty: &'static str) -> WireResult<Arc<[u16]>> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    if odd.is_empty() {
        Ok(pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect())
    } else {
        Err(WireError::InvalidValue(ty))
    }
}

/// A value of at most 255 bytes that is neither text nor binary.
pub(crate) fn scalar(ty: SqlType, bytes: &[u8]) -> WireResult<Value> {
    let invalid = || WireError::InvalidValue(ty.name());
    match ty {
        SqlType::Bit => sized(bytes, ty).map(|[byte]| Value::Bit(byte != 0)),
        SqlType::TinyInt => sized(bytes, ty).map(|[byte]| Value::TinyInt(byte)),
        SqlType::SmallInt => sized(bytes, ty).map(|b| Value::SmallInt(i16::from_le_bytes(b))),
        SqlType::Int | SqlType::Null => sized(bytes, ty).map(|b| Value::Int(i32::from_le_bytes(b))),
        SqlType::BigInt => sized(bytes, ty).map(|b| Value::BigInt(i64::from_le_bytes(b))),
        SqlType::Real => sized(bytes, ty).map(f32::from_le_bytes).and_then(|v| {
            if v.is_finite() {
                Ok(Value::Real(v))
            } else {
                Err(invalid())
            }
        }),
        SqlType::Float => sized(bytes, ty).map(f64::from_le_bytes).and_then(|v| {
            if v.is_finite() {
                Ok(Value::Float(v))
            } else {
                Err(invalid())
            }
        }),
        SqlType::Money => sized(bytes, ty)
            .map(|[e, f, g, h, a, b, c, d]| Value::Money(i64::from_le_bytes([a, b, c, d, e, f, g, h]))),
        SqlType::SmallMoney => sized(bytes, ty).map(|b| Value::SmallMoney(i32::from_le_bytes(b))),
        SqlType::DateTime => sized(bytes, ty).and_then(date_time),
        SqlType::SmallDateTime => sized(bytes, ty).map(|[a, b, c, d]| Value::SmallDateTime {
            days: u16::from_le_bytes([a, b]),
            minutes: u16::from_le_bytes([c, d]),
        }),
        SqlType::UniqueIdentifier => sized(bytes, ty).map(|guid| Value::Guid(swap_guid(guid))),
        SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
            decimal(bytes, precision, scale).ok_or_else(invalid)
        }
        SqlType::Date => date(bytes).map(Value::Date).ok_or_else(invalid),
        SqlType::Time { scale } => time(bytes, scale)
            .map(|ticks| Value::Time { ticks, scale })
            .ok_or_else(invalid),
        SqlType::DateTime2 { scale } => date_time2(bytes, scale).ok_or_else(invalid),
        SqlType::DateTimeOffset { scale } => date_time_offset(bytes, scale).ok_or_else(invalid),
        _ => Err(invalid()),
    }
}

fn sized<const N: usize>(bytes: &[u8], ty: SqlType) -> WireResult<[u8; N]> {
    bytes.try_into().map_err(|_| WireError::InvalidValue(ty.name()))
}

fn date_time(bytes: [u8; 8]) -> WireResult<Value> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let days = i32::from_le_bytes([a, b, c, d]);
    let ticks = u32::from_le_bytes([e, f, g, h]);
    if (-53_690..=2_958_463).contains(&days) && ticks < 25_920_000 {
        Ok(Value::DateTime { days, ticks })
    } else {
        Err(WireError::InvalidValue("datetime"))
    }
}

fn decimal(bytes: &[u8], precision: u8, scale: u8) -> Option<Value> {
    let (sign, magnitude) = bytes.split_first()?;
    let mut wide = [0; 16];
    wide.get_mut(..magnitude.len())?.copy_from_slice(magnitude);
    let magnitude = u128::from_le_bytes(wide);
    if magnitude > LARGEST_DECIMAL {
        return None;
    }
    let magnitude = magnitude as i128;
    Some(Value::Decimal(Decimal {
        unscaled: if *sign == 0 { -magnitude } else { magnitude },
        precision,
        scale,
    }))
}

fn date(bytes: &[u8]) -> Option<i32> {
    let [a, b, c] = *bytes else { return None };
    let days = u32::from_le_bytes([a, b, c, 0]);
    (days <= LAST_DAY).then_some(days as i32)
}

fn time(bytes: &[u8], scale: u8) -> Option<u64> {
    if bytes.len() != usize::from(time_length(scale)) {
        return None;
    }
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let unit = 10u64.pow(u32::from(7 - scale.min(7)));
    let ticks = u64::from_le_bytes(wide).checked_mul(unit)?;
    (ticks < TICKS_PER_DAY).then_some(ticks)
}

fn date_time2(bytes: &[u8], scale: u8) -> Option<Value> {
    let (clock, day) = bytes.split_at_checked(usize::from(time_length(scale)))?;
    Some(Value::DateTime2 {
        days: date(day)?,
        ticks: time(clock, scale)?,
        scale,
    })
}

fn date_time_offset(bytes: &[u8], scale: u8) -> Option<Value> {
    let (rest, offset) = bytes.split_last_chunk::<2>()?;
    let (clock, day) = rest.split_at_checked(usize::from(time_length(scale)))?;
    let offset = i16::from_le_bytes(*offset);
    (-840..=840).contains(&offset).then_some(())?;
    Some(Value::DateTimeOffset {
        days: date(day)?,
        ticks: time(clock, scale)?,
        scale,
        offset,
    })
}

#[cfg(test)]
mod tests;
