//! A row as it is kept: its values one after the other in few bytes, numbers and times as TDS sends them, so that most of a row goes
//! to a client by being copied. They become [`Value`]s when an expression looks at them.
#![warn(clippy::indexing_slicing)]

use std::sync::Arc;

use super::table::Row;
use crate::tds::{Encoder, Layout, decode_variant, encode_variant, scalar};
use crate::types::SqlType;
use crate::value::Value;

/// The first byte of each value.
mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const BIT: u8 = 1;
    pub(super) const TINY_INT: u8 = 2;
    pub(super) const SMALL_INT: u8 = 3;
    pub(super) const INT: u8 = 4;
    pub(super) const BIG_INT: u8 = 5;
    pub(super) const DECIMAL: u8 = 6;
    pub(super) const MONEY: u8 = 7;
    pub(super) const SMALL_MONEY: u8 = 8;
    pub(super) const REAL: u8 = 9;
    pub(super) const FLOAT: u8 = 10;
    pub(super) const DATE: u8 = 11;
    pub(super) const TIME: u8 = 12;
    pub(super) const SMALL_DATE_TIME: u8 = 13;
    pub(super) const DATE_TIME: u8 = 14;
    pub(super) const DATE_TIME_2: u8 = 15;
    pub(super) const DATE_TIME_OFFSET: u8 = 16;
    pub(super) const GUID: u8 = 17;
    pub(super) const ASCII: u8 = 18;
    pub(super) const WIDE: u8 = 19;
    pub(super) const BYTES: u8 = 20;
    pub(super) const ROW_VERSION: u8 = 21;
    pub(super) const XML: u8 = 22;
    pub(super) const VARIANT: u8 = 23;
}

/// A row in few bytes, shared by everyone who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

/// A value where it lies: texts and bytes stay in place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stored<'a> {
    /// A `Str` of ASCII characters, a byte each.
    Ascii(&'a [u8]),
    /// A `Str` in UTF-16LE.
    Wide(&'a [u8]),
    Bytes(&'a [u8]),
    /// Any other, which owns no memory, but for XML.
    Other(Value),
}

/// What stands in front of a number or a time: its type, with precision and scale, in one byte to three. With the value's own length
/// and its first byte there are three bytes at least, so that all heads are compared alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    bytes: [u8; 3],
    /// All ones where `bytes` count.
    mask: [u8; 3],
    length: usize,
}

impl Head {
    /// None for types whose values are not kept as they travel.
    pub(crate) fn of(ty: SqlType) -> Option<Self> {
        let (bytes, length) = match ty {
            SqlType::Bit => ([tag::BIT, 0, 0], 1),
            SqlType::TinyInt => ([tag::TINY_INT, 0, 0], 1),
            SqlType::SmallInt => ([tag::SMALL_INT, 0, 0], 1),
            SqlType::Int => ([tag::INT, 0, 0], 1),
            SqlType::BigInt => ([tag::BIG_INT, 0, 0], 1),
            SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
                ([tag::DECIMAL, precision, scale], 3)
            }
            SqlType::Money => ([tag::MONEY, 0, 0], 1),
            SqlType::SmallMoney => ([tag::SMALL_MONEY, 0, 0], 1),
            SqlType::Real => ([tag::REAL, 0, 0], 1),
            SqlType::Float => ([tag::FLOAT, 0, 0], 1),
            SqlType::Date => ([tag::DATE, 0, 0], 1),
            SqlType::Time { scale } => ([tag::TIME, scale, 0], 2),
            SqlType::SmallDateTime => ([tag::SMALL_DATE_TIME, 0, 0], 1),
            SqlType::DateTime => ([tag::DATE_TIME, 0, 0], 1),
            SqlType::DateTime2 { scale } => ([tag::DATE_TIME_2, scale, 0], 2),
            SqlType::DateTimeOffset { scale } => ([tag::DATE_TIME_OFFSET, scale, 0], 2),
            SqlType::UniqueIdentifier => ([tag::GUID, 0, 0], 1),
            _ => return None,
        };
        let mask = [0, 1, 2].map(|at| if at < length { u8::MAX } else { 0 });
        Some(Self { bytes, mask, length })
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn begins(&self, [a, b, c]: [u8; 3]) -> bool {
        let [x, y, z] = self.mask;
        [a & x, b & y, c & z] == self.bytes
    }
}

impl Packed {
    pub(crate) fn of(row: &[Value]) -> Self {
        thread_local! {
            static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        SCRATCH.with_borrow_mut(|out| {
            out.clear();
            row.iter().for_each(|value| pack(value, out));
            Self(out.as_slice().into())
        })
    }

    /// The values.
    pub(crate) fn row(&self) -> Row {
        self.values().map(Stored::into_value).collect()
    }

    /// The values of these columns, NULL for all others: texts that nobody looks at cost nothing.
    pub(crate) fn columns(&self, columns: &[usize]) -> Row {
        let pick = |(at, value): (usize, Stored<'_>)| match columns.contains(&at) {
            true => value.into_value(),
            false => Value::Null,
        };
        self.values().enumerate().map(pick).collect()
    }

    /// The values where they lie.
    pub(crate) fn values(&self) -> Values<'_> {
        Values(&self.0)
    }
}

impl Stored<'_> {
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Ascii(bytes) => Value::Str(bytes.iter().map(|byte| u16::from(*byte)).collect()),
            Self::Wide(bytes) => Value::Str(units(bytes)),
            Self::Bytes(bytes) => Value::Bytes(bytes.into()),
            Self::Other(value) => value,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Other(Value::Null))
    }
}

fn units(bytes: &[u8]) -> Arc<[u16]> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

fn pack(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(tag::NULL),
        Value::RowVersion(n) => {
            out.push(tag::ROW_VERSION);
            out.extend(n.to_le_bytes());
        }
        Value::Str(units) if units.iter().all(|unit| *unit < 0x80) => {
            out.push(tag::ASCII);
            length(units.len(), out);
            out.extend(units.iter().map(|unit| *unit as u8));
        }
        Value::Str(units) => pack_wide(tag::WIDE, units, out),
        Value::Xml(units) => pack_wide(tag::XML, units, out),
        Value::Variant(_) => pack_variant(value, out),
        Value::Bytes(bytes) => {
            out.push(tag::BYTES);
            length(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        Value::Decimal(decimal) => {
            let digits = decimal.unscaled.unsigned_abs().checked_ilog10().unwrap_or(0) as u8 + 1;
            let precision = decimal.precision.max(digits);
            let scale = decimal.scale;
            pack_scalar(SqlType::Decimal { precision, scale }, value, out);
        }
        scalar => {
            if let Some(ty) = scalar.own_type() {
                pack_scalar(ty, scalar, out);
            }
        }
    }
}

/// Its head, its length in one byte, and its bytes.
fn pack_scalar(ty: SqlType, value: &Value, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(Head::of(ty).as_ref().map_or(&[], Head::bytes));
    let written = Encoder::new(ty, None, Layout::ByteLength).encode(out, value);
    debug_assert_eq!(written, Ok(()), "every value has a form in its own type");
    if written.is_err() {
        out.truncate(start);
        out.push(tag::NULL);
    }
}

/// As it travels.
fn pack_variant(value: &Value, out: &mut Vec<u8>) {
    let mut form = Vec::new();
    let written = encode_variant(&mut form, value);
    debug_assert_eq!(written, Ok(()), "every variant has a form");
    out.push(tag::VARIANT);
    length(form.len(), out);
    out.extend(form);
}

fn pack_wide(tag: u8, units: &[u16], out: &mut Vec<u8>) {
    out.push(tag);
    length(units.len() * 2, out);
    out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
}

/// Seven bits a byte, the lowest first.
fn length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// The values of a row, in order.
pub(crate) struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let (mut length, mut shift) = (0_usize, 0_u32);
        loop {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next value as it travels behind one byte of length, if it has this head.
    pub(crate) fn scalar_behind(&mut self, head: Head) -> Option<&'a [u8]> {
        self.0.first_chunk().filter(|first| head.begins(**first))?;
        let form = self.0.get(head.length..)?;
        let (form, rest) = form.split_at_checked(1 + usize::from(*form.first()?))?;
        self.0 = rest;
        Some(form)
    }

    /// The next value, if it is text of ASCII characters.
    pub(crate) fn ascii(&mut self) -> Option<&'a [u8]> {
        let mut behind = Self(self.0.strip_prefix(&[tag::ASCII])?);
        let text = behind.counted()?;
        *self = behind;
        Some(text)
    }

    /// A number or a time whose head begins with `first`.
    fn scalar(&mut self, first: u8) -> Option<Value> {
        let ty = match first {
            tag::BIT => SqlType::Bit,
            tag::TINY_INT => SqlType::TinyInt,
            tag::SMALL_INT => SqlType::SmallInt,
            tag::INT => SqlType::Int,
            tag::BIG_INT => SqlType::BigInt,
            tag::DECIMAL => SqlType::Decimal {
                precision: self.byte()?,
                scale: self.byte()?,
            },
            tag::MONEY => SqlType::Money,
            tag::SMALL_MONEY => SqlType::SmallMoney,
            tag::REAL => SqlType::Real,
            tag::FLOAT => SqlType::Float,
            tag::DATE => SqlType::Date,
            tag::TIME => SqlType::Time { scale: self.byte()? },
            tag::SMALL_DATE_TIME => SqlType::SmallDateTime,
            tag::DATE_TIME => SqlType::DateTime,
            tag::DATE_TIME_2 => SqlType::DateTime2 { scale: self.byte()? },
            tag::DATE_TIME_OFFSET => SqlType::DateTimeOffset { scale: self.byte()? },
            _ => SqlType::UniqueIdentifier,
        };
        let length = usize::from(self.byte()?);
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        scalar(ty, bytes).ok()
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Stored<'a>;

    fn next(&mut self) -> Option<Stored<'a>> {
        let value = match self.byte()? {
            tag::ASCII => return Some(Stored::Ascii(self.counted()?)),
            tag::WIDE => return Some(Stored::Wide(self.counted()?)),
            tag::BYTES => return Some(Stored::Bytes(self.counted()?)),
            tag::NULL => Value::Null,
            tag::ROW_VERSION => Value::RowVersion(u64::from_le_bytes(self.array()?)),
            tag::XML => Value::Xml(units(self.counted()?)),
            tag::VARIANT => decode_variant(self.counted()?).ok()?,
            first => self.scalar(first)?,
        };
        Some(Stored::Other(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TypeInfo;
    use crate::value::Decimal;

    /// Every kind of value, at its edges.
    fn values() -> Vec<Value> {
        let decimal = |unscaled| {
            Value::Decimal(Decimal {
                unscaled,
                precision: 38,
                scale: 7,
            })
        };
        let (days, ticks) = (3_652_058, 863_990_000_000);
        vec![
            Value::Null,
            Value::Bit(false),
            Value::Bit(true),
            Value::TinyInt(255),
            Value::SmallInt(i16::MIN),
            Value::Int(i32::MIN),
            Value::BigInt(i64::MAX),
            decimal(0),
            decimal(-1),
            decimal(i128::from(i64::MIN)),
            decimal(i128::from(i64::MAX) + 1),
            decimal(-(10_i128.pow(38) - 1)),
            Value::Money(i64::MIN),
            Value::SmallMoney(-1),
            Value::Real(-0.0),
            Value::Float(f64::MIN_POSITIVE),
            Value::Date(3_652_058),
            Value::Time { ticks, scale: 7 },
            Value::SmallDateTime {
                days: u16::MAX,
                minutes: 1439,
            },
            Value::DateTime {
                days: -53_690,
                ticks: 25_919_999,
            },
            Value::DateTime2 {
                days,
                ticks,
                scale: 3,
            },
            Value::DateTimeOffset {
                days,
                ticks,
                scale: 0,
                offset: -840,
            },
            Value::text(""),
            Value::text("plain"),
            Value::text("grün 日本 \u{1F600}"),
            Value::text(&"a".repeat(127)),
            Value::text(&"a".repeat(128)),
            Value::text(&"ä".repeat(70_000)),
            Value::Str([0xD83D, 0x61].into()),
            Value::bytes(&[]),
            Value::bytes(&[0, 255].repeat(10_000)),
            Value::Guid(*b"0123456789abcdef"),
            Value::RowVersion(u64::MAX),
            Value::Xml([0x3C, 0x61, 0x2F, 0x3E].into()),
            Value::text("Ж ").in_variant(TypeInfo::new(SqlType::NChar { len: 2 })),
            Value::bytes(&[0; 200]).in_variant(TypeInfo::new(SqlType::Binary { len: 200 })),
            decimal(-15).in_variant(TypeInfo::new(SqlType::Numeric {
                precision: 38,
                scale: 7,
            })),
        ]
    }

    #[test]
    fn every_value_comes_back_as_it_was() {
        let row = values();
        assert_eq!(*Packed::of(&row).row(), *row);
        for value in row {
            assert_eq!(*Packed::of(std::slice::from_ref(&value)).row(), [value]);
        }
        assert!(Packed::of(&[]).row().is_empty());
        let some = Packed::of(&[Value::Int(1), Value::text("a"), Value::Bit(true)]).columns(&[0, 2]);
        assert_eq!(*some, [Value::Int(1), Value::Null, Value::Bit(true)]);
    }

    #[test]
    fn a_row_of_orders_is_short() {
        let row = [
            Value::BigInt(1),
            Value::Int(1),
            Value::Date(739_000),
            Value::text("shipped"),
            Value::Decimal(Decimal {
                unscaled: 12_345,
                precision: 18,
                scale: 2,
            }),
            Value::text("Copenhagen"),
        ];
        assert!(Packed::of(&row).0.len() < 64);
    }
}
