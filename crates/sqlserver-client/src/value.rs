//! Single values: parameters, small results, key bounds. Bulk data never passes through here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::datetime::civil_from_days;

/// One value with the type that it is bound with. It loses nothing: dates and times keep SQL Server's own form.
///
/// Its JSON is the text of a [`Bound`](model::Bound).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// NULL.
    Null,
    /// `bit`.
    Bit(bool),
    /// `tinyint`.
    TinyInt(u8),
    /// `smallint`.
    SmallInt(i16),
    /// `int`.
    Int(i32),
    /// `bigint`.
    BigInt(i64),
    /// `decimal` and `numeric`.
    Decimal {
        /// The value times 10 to the power of `scale`.
        #[serde(with = "as_text")]
        unscaled: i128,
        /// Total digits.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `money`, times 10,000.
    Money(i64),
    /// `smallmoney`, times 10,000.
    SmallMoney(i32),
    /// `real`.
    Real(f32),
    /// `float`.
    Float(f64),
    /// `date`, in days since 0001-01-01.
    Date(u32),
    /// `time`, in ticks of 100 ns.
    Time {
        /// Ticks since midnight.
        ticks: u64,
        /// Fractional digits.
        scale: u8,
    },
    /// `smalldatetime`.
    SmallDateTime {
        /// Days since 1900-01-01.
        days: u16,
        /// Minutes since midnight.
        minutes: u16,
    },
    /// `datetime`.
    DateTime {
        /// Days since 1900-01-01.
        days: i32,
        /// 1/300 s since midnight.
        ticks: u32,
    },
    /// `datetime2`.
    DateTime2 {
        /// Days since 0001-01-01.
        days: u32,
        /// Ticks of 100 ns since midnight.
        ticks: u64,
        /// Fractional digits.
        scale: u8,
    },
    /// `datetimeoffset`; days and ticks are UTC.
    DateTimeOffset {
        /// Days since 0001-01-01.
        days: u32,
        /// Ticks of 100 ns since midnight.
        ticks: u64,
        /// Fractional digits.
        scale: u8,
        /// Minutes east of UTC.
        offset: i16,
    },
    /// Characters of any type; bound as `nvarchar`.
    Text(String),
    /// `binary`, `varbinary`, `rowversion`, `image`.
    #[serde(with = "as_hex")]
    Bytes(Vec<u8>),
    /// `uniqueidentifier`, in the byte order of RFC 4122.
    #[serde(with = "as_guid")]
    Guid([u8; 16]),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::BigInt(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bit(value)
    }
}

impl Value {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Its type's name, for messages: they never show a value.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Bit(_) => "bit",
            Self::TinyInt(_) => "tinyint",
            Self::SmallInt(_) => "smallint",
            Self::Int(_) => "int",
            Self::BigInt(_) => "bigint",
            Self::Decimal { .. } => "decimal",
            Self::Money(_) => "money",
            Self::SmallMoney(_) => "smallmoney",
            Self::Real(_) => "real",
            Self::Float(_) => "float",
            Self::Date(_) => "date",
            Self::Time { .. } => "time",
            Self::SmallDateTime { .. } => "smalldatetime",
            Self::DateTime { .. } => "datetime",
            Self::DateTime2 { .. } => "datetime2",
            Self::DateTimeOffset { .. } => "datetimeoffset",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Guid(_) => "uniqueidentifier",
        }
    }

    /// An integer of any width, or a bit.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Bit(value) => Some(i64::from(value)),
            Self::TinyInt(value) => Some(i64::from(value)),
            Self::SmallInt(value) => Some(i64::from(value)),
            Self::Int(value) => Some(i64::from(value)),
            Self::BigInt(value) => Some(value),
            _ => None,
        }
    }

    /// Text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// For people: labels of positions and bounds. Dates are ISO 8601, bytes are `0x…`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bit(value) => write!(f, "{}", u8::from(*value)),
            Self::TinyInt(value) => write!(f, "{value}"),
            Self::SmallInt(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::BigInt(value) => write!(f, "{value}"),
            Self::Decimal { unscaled, scale, .. } => write_scaled(f, *unscaled, *scale),
            Self::Money(value) => write_scaled(f, i128::from(*value), 4),
            Self::SmallMoney(value) => write_scaled(f, i128::from(*value), 4),
            Self::Real(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Date(days) => write_date(f, *days),
            Self::Time { ticks, scale } => write_time(f, *ticks, *scale),
            Self::SmallDateTime { days, minutes } => {
                write_date(f, u32::from(*days) + DAYS_TO_1900)?;
                write!(f, "T{:02}:{:02}:00", minutes / 60, minutes % 60)
            }
            Self::DateTime { days, ticks } => {
                write_date(f, DAYS_TO_1900.saturating_add_signed(*days))?;
                f.write_str("T")?;
                write_time(f, (u64::from(*ticks) * 10 + 1) / 3 * 10_000, 3)
            }
            Self::DateTime2 { days, ticks, scale } => {
                write_date(f, *days)?;
                f.write_str("T")?;
                write_time(f, *ticks, *scale)
            }
            Self::DateTimeOffset {
                days, ticks, scale, ..
            } => {
                write_date(f, *days)?;
                f.write_str("T")?;
                write_time(f, *ticks, *scale)?;
                f.write_str("Z")
            }
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => write!(f, "0x{}", hex(bytes)),
            Self::Guid(bytes) => f.write_str(&guid_text(bytes)),
        }
    }
}

const DAYS_TO_1900: u32 = 693_595;

fn write_scaled(f: &mut fmt::Formatter<'_>, unscaled: i128, scale: u8) -> fmt::Result {
    let digits = format!(
        "{:0width$}",
        unscaled.unsigned_abs(),
        width = usize::from(scale) + 1
    );
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    let sign = if unscaled < 0 { "-" } else { "" };
    if fraction.is_empty() {
        write!(f, "{sign}{whole}")
    } else {
        write!(f, "{sign}{whole}.{fraction}")
    }
}

fn write_date(f: &mut fmt::Formatter<'_>, days: u32) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    write!(f, "{year:04}-{month:02}-{day:02}")
}

fn write_time(f: &mut fmt::Formatter<'_>, ticks: u64, scale: u8) -> fmt::Result {
    let seconds = ticks / 10_000_000;
    write!(
        f,
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )?;
    if scale > 0 {
        let fraction = format!("{:07}", ticks % 10_000_000);
        write!(f, ".{}", fraction.split_at(usize::from(scale.min(7))).0)?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(
        digits
            .chunks(2)
            .map(|pair| (pair[0] * 16 + pair[1]) as u8)
            .collect(),
    )
}

fn guid_text(bytes: &[u8; 16]) -> String {
    let digits = hex(bytes);
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32)
    )
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &i128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

mod as_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::hex(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        super::unhex(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

mod as_guid {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::guid_text(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(deserializer)?.replace('-', "");
        super::unhex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| D::Error::custom("not a uniqueidentifier"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<(Value, &'static str)> {
        let guid = [
            0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
        ];
        vec![
            (Value::Null, "NULL"),
            (Value::Bit(true), "1"),
            (Value::TinyInt(255), "255"),
            (Value::BigInt(i64::MIN), "-9223372036854775808"),
            (
                Value::Decimal {
                    unscaled: -(10_i128.pow(38) - 1),
                    precision: 38,
                    scale: 38,
                },
                "-0.99999999999999999999999999999999999999",
            ),
            (
                Value::Decimal {
                    unscaled: -5,
                    precision: 9,
                    scale: 0,
                },
                "-5",
            ),
            (Value::Money(i64::MIN), "-922337203685477.5808"),
            (Value::Date(3_652_058), "9999-12-31"),
            (
                Value::Time {
                    ticks: 863_999_999_999,
                    scale: 7,
                },
                "23:59:59.9999999",
            ),
            (
                Value::Time {
                    ticks: 10_000_000,
                    scale: 0,
                },
                "00:00:01",
            ),
            (
                Value::SmallDateTime {
                    days: 65_535,
                    minutes: 1_439,
                },
                "2079-06-06T23:59:00",
            ),
            (
                Value::DateTime {
                    days: 2_958_463,
                    ticks: 25_919_999,
                },
                "9999-12-31T23:59:59.997",
            ),
            (
                Value::DateTime {
                    days: -53_690,
                    ticks: 0,
                },
                "1753-01-01T00:00:00.000",
            ),
            (
                Value::DateTime2 {
                    days: 0,
                    ticks: 1,
                    scale: 7,
                },
                "0001-01-01T00:00:00.0000001",
            ),
            (
                Value::DateTimeOffset {
                    days: 719_162,
                    ticks: 0,
                    scale: 3,
                    offset: -840,
                },
                "1970-01-01T00:00:00.000Z",
            ),
            (Value::Text("a ]'\u{1F600}".into()), "a ]'\u{1F600}"),
            (Value::Bytes(vec![0, 255]), "0x00ff"),
            (Value::Guid(guid), "00112233-4455-6677-8899-aabbccddeeff"),
        ]
    }

    #[test]
    fn values_are_shown_for_people() {
        for (value, shown) in samples() {
            assert_eq!(value.to_string(), shown);
        }
    }

    #[test]
    fn every_value_survives_its_json() {
        for (value, _) in samples() {
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value, "{json}");
        }
        for bad in [
            r#"{"bytes":"0"}"#,
            r#"{"bytes":"zz"}"#,
            r#"{"guid":"00"}"#,
            r#"{"what":1}"#,
        ] {
            assert!(serde_json::from_str::<Value>(bad).is_err(), "{bad}");
        }
    }
}
