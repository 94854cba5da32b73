//! One SQL value, in the form that storage and evaluation share.

use std::sync::Arc;

use crate::types::{Length, SqlType, TypeInfo};

/// A `decimal` or `numeric`: `unscaled × 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// All digits as one integer, at most 38 of them.
    pub unscaled: i128,
    /// Declared digits, 1 to 38.
    pub precision: u8,
    /// Digits behind the point.
    pub scale: u8,
}

/// A value of any type. Equality here is representational; SQL comparison lives in `eval`.
#[derive(Clone, Debug, PartialEq, Default)]
#[expect(missing_docs, reason = "the variants are T-SQL's own type names")]
pub enum Value {
    #[default]
    Null,
    Bit(bool),
    TinyInt(u8),
    SmallInt(i16),
    Int(i32),
    BigInt(i64),
    Decimal(Decimal),
    /// Ten-thousandths.
    Money(i64),
    /// Ten-thousandths.
    SmallMoney(i32),
    Real(f32),
    Float(f64),
    /// Days since 0001-01-01.
    Date(i32),
    /// 100 ns since midnight, already rounded to `scale`.
    Time {
        ticks: u64,
        scale: u8,
    },
    /// Days since 1900-01-01 and minutes since midnight.
    SmallDateTime {
        days: u16,
        minutes: u16,
    },
    /// Days since 1900-01-01 and 1/300 s since midnight.
    DateTime {
        days: i32,
        ticks: u32,
    },
    /// Days since 0001-01-01 and 100 ns since midnight.
    DateTime2 {
        days: i32,
        ticks: u64,
        scale: u8,
    },
    /// UTC days and ticks as in `DateTime2`, and the offset in minutes.
    DateTimeOffset {
        days: i32,
        ticks: u64,
        scale: u8,
        offset: i16,
    },
    /// UTF-16 units of any character type, so that LEN and lone surrogates are exact.
    Str(Arc<[u16]>),
    Bytes(Arc<[u8]>),
    /// In RFC 4122 byte order, as the text form reads.
    Guid([u8; 16]),
    RowVersion(u64),
    Xml(Arc<[u16]>),
    /// What a `sql_variant` holds, where the value alone does not show its type.
    Variant(Arc<Held>),
}

/// A value with its declared type.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// `char`, `varchar`, `nchar`, `nvarchar` with a collation, `binary`, `varbinary`, or `numeric`.
    pub info: TypeInfo,
    /// Text, bytes, or a decimal.
    pub value: Value,
}

impl Value {
    /// Text from UTF-8.
    pub fn text(text: &str) -> Self {
        Self::Str(text.encode_utf16().collect())
    }

    /// Bytes of any binary type.
    pub fn bytes(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.into())
    }

    /// The value as a `sql_variant` holds it, whose type is `info`.
    pub(crate) fn in_variant(self, info: TypeInfo) -> Self {
        let hidden = matches!(
            (&self, info.ty),
            (
                Self::Str(_),
                SqlType::Char { .. }
                    | SqlType::NChar { .. }
                    | SqlType::VarChar {
                        len: Length::Chars(_),
                    }
                    | SqlType::NVarChar {
                        len: Length::Chars(_),
                    },
            ) | (
                Self::Bytes(_),
                SqlType::Binary { .. }
                    | SqlType::VarBinary {
                        len: Length::Chars(_),
                    },
            ) | (Self::Decimal(_), SqlType::Numeric { .. })
        );
        if hidden {
            Self::Variant(Arc::new(Held { info, value: self }))
        } else {
            self
        }
    }

    /// True for NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Text as UTF-8 with lone surrogates replaced; none for other types.
    pub fn as_text(&self) -> Option<String> {
        match self {
            Self::Str(units) | Self::Xml(units) => Some(String::from_utf16_lossy(units)),
            _ => None,
        }
    }

    /// Any number, as a float; none for other types.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Decimal(d) => Some(d.unscaled as f64 / 10f64.powi(i32::from(d.scale))),
            Self::Money(n) => Some(*n as f64 / 10_000.0),
            Self::SmallMoney(n) => Some(f64::from(*n) / 10_000.0),
            Self::Real(x) => Some(f64::from(*x)),
            Self::Float(x) => Some(*x),
            other => other.as_integer().map(|n| n as f64),
        }
    }

    /// Any integer type, widened; none for other types.
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Self::Bit(b) => Some(i64::from(b)),
            Self::TinyInt(n) => Some(i64::from(n)),
            Self::SmallInt(n) => Some(i64::from(n)),
            Self::Int(n) => Some(i64::from(n)),
            Self::BigInt(n) => Some(n),
            _ => None,
        }
    }

    /// The type that it has by itself; none for NULL.
    pub(crate) fn own_type(&self) -> Option<SqlType> {
        Some(match self {
            Self::Null => return None,
            Self::Bit(_) => SqlType::Bit,
            Self::TinyInt(_) => SqlType::TinyInt,
            Self::SmallInt(_) => SqlType::SmallInt,
            Self::Int(_) => SqlType::Int,
            Self::BigInt(_) => SqlType::BigInt,
            Self::Decimal(d) => SqlType::Decimal {
                precision: d.precision,
                scale: d.scale,
            },
            Self::Money(_) => SqlType::Money,
            Self::SmallMoney(_) => SqlType::SmallMoney,
            Self::Real(_) => SqlType::Real,
            Self::Float(_) => SqlType::Float,
            Self::Date(_) => SqlType::Date,
            Self::Time { scale, .. } => SqlType::Time { scale: *scale },
            Self::SmallDateTime { .. } => SqlType::SmallDateTime,
            Self::DateTime { .. } => SqlType::DateTime,
            Self::DateTime2 { scale, .. } => SqlType::DateTime2 { scale: *scale },
            Self::DateTimeOffset { scale, .. } => SqlType::DateTimeOffset { scale: *scale },
            Self::Str(_) => SqlType::NVarChar { len: Length::Max },
            Self::Bytes(_) => SqlType::VarBinary { len: Length::Max },
            Self::Guid(_) => SqlType::UniqueIdentifier,
            Self::RowVersion(_) => SqlType::RowVersion,
            Self::Xml(_) => SqlType::Xml,
            Self::Variant(_) => SqlType::SqlVariant,
        })
    }
}
