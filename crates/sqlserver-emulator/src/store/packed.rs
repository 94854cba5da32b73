//! A row as it is kept: its values one after the other in few bytes. They become [`Value`]s when an expression looks at them, and go
//! to a client without becoming any.
#![warn(clippy::indexing_slicing)]

use std::sync::Arc;

use super::table::Row;
use crate::value::{Decimal, Value};

/// The first byte of each value.
mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const TINY_INT: u8 = 3;
    pub(super) const SMALL_INT: u8 = 4;
    pub(super) const INT: u8 = 5;
    pub(super) const BIG_INT: u8 = 6;
    pub(super) const DECIMAL: u8 = 7;
    pub(super) const MONEY: u8 = 8;
    pub(super) const SMALL_MONEY: u8 = 9;
    pub(super) const REAL: u8 = 10;
    pub(super) const FLOAT: u8 = 11;
    pub(super) const DATE: u8 = 12;
    pub(super) const TIME: u8 = 13;
    pub(super) const SMALL_DATE_TIME: u8 = 14;
    pub(super) const DATE_TIME: u8 = 15;
    pub(super) const DATE_TIME_2: u8 = 16;
    pub(super) const DATE_TIME_OFFSET: u8 = 17;
    pub(super) const ASCII: u8 = 18;
    pub(super) const WIDE: u8 = 19;
    pub(super) const BYTES: u8 = 20;
    pub(super) const GUID: u8 = 21;
    pub(super) const ROW_VERSION: u8 = 22;
    pub(super) const XML: u8 = 23;
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
    let mut fixed = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Null => fixed(tag::NULL, &[]),
        Value::Bit(false) => fixed(tag::FALSE, &[]),
        Value::Bit(true) => fixed(tag::TRUE, &[]),
        Value::TinyInt(n) => fixed(tag::TINY_INT, &[*n]),
        Value::SmallInt(n) => fixed(tag::SMALL_INT, &n.to_le_bytes()),
        Value::Int(n) => fixed(tag::INT, &n.to_le_bytes()),
        Value::BigInt(n) => fixed(tag::BIG_INT, &n.to_le_bytes()),
        Value::Money(n) => fixed(tag::MONEY, &n.to_le_bytes()),
        Value::SmallMoney(n) => fixed(tag::SMALL_MONEY, &n.to_le_bytes()),
        Value::Real(x) => fixed(tag::REAL, &x.to_le_bytes()),
        Value::Float(x) => fixed(tag::FLOAT, &x.to_le_bytes()),
        Value::Date(days) => fixed(tag::DATE, &days.to_le_bytes()),
        Value::Guid(guid) => fixed(tag::GUID, guid),
        Value::RowVersion(n) => fixed(tag::ROW_VERSION, &n.to_le_bytes()),
        Value::Time { ticks, scale } => {
            fixed(tag::TIME, &[*scale]);
            out.extend(ticks.to_le_bytes());
        }
        Value::SmallDateTime { days, minutes } => {
            fixed(tag::SMALL_DATE_TIME, &days.to_le_bytes());
            out.extend(minutes.to_le_bytes());
        }
        Value::DateTime { days, ticks } => {
            fixed(tag::DATE_TIME, &days.to_le_bytes());
            out.extend(ticks.to_le_bytes());
        }
        Value::DateTime2 { days, ticks, scale } => {
            fixed(tag::DATE_TIME_2, &[*scale]);
            out.extend(days.to_le_bytes());
            out.extend(ticks.to_le_bytes());
        }
        Value::DateTimeOffset {
            days,
            ticks,
            scale,
            offset,
        } => {
            fixed(tag::DATE_TIME_OFFSET, &[*scale]);
            out.extend(days.to_le_bytes());
            out.extend(ticks.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        Value::Decimal(decimal) => pack_decimal(decimal, out),
        Value::Str(units) if units.iter().all(|unit| *unit < 0x80) => {
            fixed(tag::ASCII, &[]);
            length(units.len(), out);
            out.extend(units.iter().map(|unit| *unit as u8));
        }
        Value::Str(units) => pack_wide(tag::WIDE, units, out),
        Value::Xml(units) => pack_wide(tag::XML, units, out),
        Value::Bytes(bytes) => {
            fixed(tag::BYTES, &[]);
            length(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
    }
}

/// Eight bytes of digits where they are enough, as they mostly are.
fn pack_decimal(decimal: &Decimal, out: &mut Vec<u8>) {
    out.extend([tag::DECIMAL, decimal.precision, decimal.scale]);
    match i64::try_from(decimal.unscaled) {
        Ok(short) => {
            out.push(8);
            out.extend(short.to_le_bytes());
        }
        Err(_) => {
            out.push(16);
            out.extend(decimal.unscaled.to_le_bytes());
        }
    }
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

    fn decimal(&mut self) -> Option<Value> {
        let [precision, scale, width] = self.array()?;
        let unscaled = match width {
            8 => i128::from(i64::from_le_bytes(self.array()?)),
            _ => i128::from_le_bytes(self.array()?),
        };
        Some(Value::Decimal(Decimal {
            unscaled,
            precision,
            scale,
        }))
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
            tag::FALSE => Value::Bit(false),
            tag::TRUE => Value::Bit(true),
            tag::TINY_INT => Value::TinyInt(self.byte()?),
            tag::SMALL_INT => Value::SmallInt(i16::from_le_bytes(self.array()?)),
            tag::INT => Value::Int(i32::from_le_bytes(self.array()?)),
            tag::BIG_INT => Value::BigInt(i64::from_le_bytes(self.array()?)),
            tag::DECIMAL => self.decimal()?,
            tag::MONEY => Value::Money(i64::from_le_bytes(self.array()?)),
            tag::SMALL_MONEY => Value::SmallMoney(i32::from_le_bytes(self.array()?)),
            tag::REAL => Value::Real(f32::from_le_bytes(self.array()?)),
            tag::FLOAT => Value::Float(f64::from_le_bytes(self.array()?)),
            tag::DATE => Value::Date(i32::from_le_bytes(self.array()?)),
            tag::TIME => Value::Time {
                scale: self.byte()?,
                ticks: u64::from_le_bytes(self.array()?),
            },
            tag::SMALL_DATE_TIME => Value::SmallDateTime {
                days: u16::from_le_bytes(self.array()?),
                minutes: u16::from_le_bytes(self.array()?),
            },
            tag::DATE_TIME => Value::DateTime {
                days: i32::from_le_bytes(self.array()?),
                ticks: u32::from_le_bytes(self.array()?),
            },
            tag::DATE_TIME_2 => Value::DateTime2 {
                scale: self.byte()?,
                days: i32::from_le_bytes(self.array()?),
                ticks: u64::from_le_bytes(self.array()?),
            },
            tag::DATE_TIME_OFFSET => Value::DateTimeOffset {
                scale: self.byte()?,
                days: i32::from_le_bytes(self.array()?),
                ticks: u64::from_le_bytes(self.array()?),
                offset: i16::from_le_bytes(self.array()?),
            },
            tag::GUID => Value::Guid(self.array()?),
            tag::ROW_VERSION => Value::RowVersion(u64::from_le_bytes(self.array()?)),
            _ => Value::Xml(units(self.counted()?)),
        };
        Some(Stored::Other(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of value, at its edges.
    fn values() -> Vec<Value> {
        let decimal = |unscaled| {
            Value::Decimal(Decimal {
                unscaled,
                precision: 38,
                scale: 7,
            })
        };
        let (days, ticks) = (-693_595, 863_999_999_999);
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
