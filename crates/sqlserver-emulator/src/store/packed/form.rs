//! In which form a value is kept: two bytes that tell how the bytes behind them are read.
#![warn(clippy::indexing_slicing)]

use crate::tds::Layout;
use crate::types::{Length, SqlType};

/// The first byte of a form. Decimals have one of their own: [`DECIMAL`] and the precision.
pub(super) mod kind {
    pub(in super::super) const NULL: u8 = 0;
    /// Text of ASCII characters, a byte each, behind its length in as few bytes as it takes.
    pub(in super::super) const ASCII: u8 = 1;
    /// Other text in UTF-16, behind such a length.
    pub(in super::super) const WIDE: u8 = 2;
    pub(in super::super) const BYTES: u8 = 3;
    pub(in super::super) const XML: u8 = 4;
    pub(in super::super) const ROW_VERSION: u8 = 5;
    /// A `sql_variant` that knows its own type, as it travels.
    pub(in super::super) const VARIANT: u8 = 6;
    /// A `char` or `varchar` of ASCII characters, which are the same in every code page, behind two bytes of length.
    pub(in super::super) const NARROW: u8 = 8;
    /// An `nchar` or `nvarchar` in UTF-16 behind two bytes of length.
    pub(in super::super) const NATIONAL: u8 = 9;
    /// A `binary` or `varbinary` behind two bytes of length.
    pub(in super::super) const BINARY: u8 = 10;
    pub(super) const BIT: u8 = 16;
    pub(super) const TINY_INT: u8 = 17;
    pub(super) const SMALL_INT: u8 = 18;
    pub(super) const INT: u8 = 19;
    pub(super) const BIG_INT: u8 = 20;
    pub(super) const MONEY: u8 = 21;
    pub(super) const SMALL_MONEY: u8 = 22;
    pub(super) const REAL: u8 = 23;
    pub(super) const FLOAT: u8 = 24;
    pub(super) const DATE: u8 = 25;
    pub(super) const TIME: u8 = 26;
    pub(super) const SMALL_DATE_TIME: u8 = 27;
    pub(super) const DATE_TIME: u8 = 28;
    pub(super) const DATE_TIME_2: u8 = 29;
    pub(super) const DATE_TIME_OFFSET: u8 = 30;
    pub(super) const GUID: u8 = 31;
}

/// Marks a number of a column that is never NULL: it has no length in front.
const FIXED: u8 = 0x40;
const DECIMAL: u8 = 0x80;

/// The length that says NULL in a two-byte length.
pub(super) const SHORT_NULL: u16 = 0xFFFF;

/// A form: what the value is, and the scale where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form(pub(super) [u8; 2]);

impl Form {
    /// The form in which values of a column travel; none if they are not kept as they travel.
    pub(crate) fn of(ty: SqlType, layout: Layout) -> Option<Self> {
        let text = |kind| (layout == Layout::ShortLength).then_some(Self::own(kind));
        match ty {
            SqlType::Char { .. }
            | SqlType::VarChar {
                len: Length::Chars(_),
            } => text(kind::NARROW),
            SqlType::NChar { .. }
            | SqlType::NVarChar {
                len: Length::Chars(_),
            } => text(kind::NATIONAL),
            SqlType::Binary { .. }
            | SqlType::VarBinary {
                len: Length::Chars(_),
            } => text(kind::BINARY),
            _ => Self::of_scalar(ty, layout),
        }
    }

    fn of_scalar(ty: SqlType, layout: Layout) -> Option<Self> {
        let (kind, scale) = match ty {
            SqlType::Bit => (kind::BIT, 0),
            SqlType::TinyInt => (kind::TINY_INT, 0),
            SqlType::SmallInt => (kind::SMALL_INT, 0),
            SqlType::Int => (kind::INT, 0),
            SqlType::BigInt => (kind::BIG_INT, 0),
            SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
                (DECIMAL | precision, scale)
            }
            SqlType::Money => (kind::MONEY, 0),
            SqlType::SmallMoney => (kind::SMALL_MONEY, 0),
            SqlType::Real => (kind::REAL, 0),
            SqlType::Float => (kind::FLOAT, 0),
            SqlType::Date => (kind::DATE, 0),
            SqlType::Time { scale } => (kind::TIME, scale),
            SqlType::SmallDateTime => (kind::SMALL_DATE_TIME, 0),
            SqlType::DateTime => (kind::DATE_TIME, 0),
            SqlType::DateTime2 { scale } => (kind::DATE_TIME_2, scale),
            SqlType::DateTimeOffset { scale } => (kind::DATE_TIME_OFFSET, scale),
            SqlType::UniqueIdentifier => (kind::GUID, 0),
            _ => return None,
        };
        match layout {
            Layout::ByteLength => Some(Self([kind, scale])),
            Layout::Fixed(_) => Some(Self([kind | FIXED, scale])),
            _ => None,
        }
    }

    /// A form without a scale.
    pub(super) fn own(kind: u8) -> Self {
        Self([kind, 0])
    }

    pub(super) fn kind(self) -> u8 {
        let [kind, _] = self.0;
        kind
    }

    /// The type of a number or a time.
    pub(super) fn scalar_type(self) -> Option<SqlType> {
        let [first, scale] = self.0;
        if first & DECIMAL != 0 {
            let precision = first & !DECIMAL;
            return Some(SqlType::Decimal { precision, scale });
        }
        Some(match first & !FIXED {
            kind::BIT => SqlType::Bit,
            kind::TINY_INT => SqlType::TinyInt,
            kind::SMALL_INT => SqlType::SmallInt,
            kind::INT => SqlType::Int,
            kind::BIG_INT => SqlType::BigInt,
            kind::MONEY => SqlType::Money,
            kind::SMALL_MONEY => SqlType::SmallMoney,
            kind::REAL => SqlType::Real,
            kind::FLOAT => SqlType::Float,
            kind::DATE => SqlType::Date,
            kind::TIME => SqlType::Time { scale },
            kind::SMALL_DATE_TIME => SqlType::SmallDateTime,
            kind::DATE_TIME => SqlType::DateTime,
            kind::DATE_TIME_2 => SqlType::DateTime2 { scale },
            kind::DATE_TIME_OFFSET => SqlType::DateTimeOffset { scale },
            kind::GUID => SqlType::UniqueIdentifier,
            _ => return None,
        })
    }

    /// Whether it is one of a number, a time or a GUID.
    pub(crate) fn is_scalar(self) -> bool {
        self.scalar_type().is_some()
    }

    /// How a number or a time travels.
    pub(super) fn scalar_layout(self) -> Layout {
        self.fixed_length().map_or(Layout::ByteLength, Layout::Fixed)
    }

    /// The bytes of a number that has no length in front.
    pub(super) fn fixed_length(self) -> Option<u8> {
        let [first, _] = self.0;
        if first & (DECIMAL | FIXED) != FIXED {
            return None;
        }
        Some(match first & !FIXED {
            kind::BIT | kind::TINY_INT => 1,
            kind::SMALL_INT => 2,
            kind::INT | kind::REAL | kind::SMALL_MONEY | kind::SMALL_DATE_TIME => 4,
            _ => 8,
        })
    }

    /// Whether it is one of a text or of bytes behind two bytes of length.
    pub(super) fn has_short_length(self) -> bool {
        matches!(self.kind(), kind::NARROW | kind::NATIONAL | kind::BINARY)
    }

    /// The bytes that a value takes as it travels, its length included, of which `bytes` begin with it.
    pub(super) fn wire_length(self, bytes: &[u8]) -> Option<usize> {
        if let Some(length) = self.fixed_length() {
            return Some(usize::from(length));
        }
        if self.has_short_length() {
            return Some(match u16::from_le_bytes(*bytes.first_chunk()?) {
                SHORT_NULL => 2,
                length => 2 + usize::from(length),
            });
        }
        Some(1 + usize::from(*bytes.first()?))
    }

    /// Whether a value as it travels is NULL.
    pub(crate) fn is_null(self, wire: &[u8]) -> bool {
        if self.has_short_length() {
            wire == SHORT_NULL.to_le_bytes()
        } else {
            self.fixed_length().is_none() && wire == [0]
        }
    }
}
