//! Conversions against their documentation: "CAST and CONVERT (Transact-SQL)" and the pages of the types.

use super::*;
use crate::value::Decimal;

fn nvarchar(len: u16) -> SqlType {
    SqlType::NVarChar {
        len: Length::Chars(len),
    }
}

fn varchar(len: u16) -> SqlType {
    SqlType::VarChar {
        len: Length::Chars(len),
    }
}

fn run(value: Value, from: SqlType, to: SqlType, style: i32) -> SqlResult<Value> {
    convert(value, from, TypeInfo::new(to), style)
}

fn decimal(unscaled: i128, precision: u8, scale: u8) -> Value {
    Value::Decimal(Decimal {
        unscaled,
        precision,
        scale,
    })
}

#[test]
fn values_become_values_of_other_types() {
    let text = Value::text;
    let max = SqlType::VarChar { len: Length::Max };
    for (value, from, to, style, expected) in [
        (text("abcdef"), nvarchar(6), varchar(3), 0, text("abc")),
        (text("ab"), nvarchar(2), SqlType::Char { len: 4 }, 0, text("ab  ")),
        (text("a\u{4e2d}"), nvarchar(2), varchar(10), 0, text("a?")),
        (Value::Int(12345), SqlType::Int, varchar(3), 0, text("*")),
        (text(" 12 "), varchar(4), SqlType::Int, 0, Value::Int(12)),
        (text(""), varchar(1), SqlType::Int, 0, Value::Int(0)),
        (text("TRUE"), varchar(4), SqlType::Bit, 0, Value::Bit(true)),
        (
            decimal(-199, 3, 2),
            SqlType::Decimal {
                precision: 3,
                scale: 2,
            },
            SqlType::Int,
            0,
            Value::Int(-1),
        ),
        (
            Value::Money(15_000),
            SqlType::Money,
            SqlType::Int,
            0,
            Value::Int(2),
        ),
        (Value::Float(2.99), SqlType::Float, SqlType::Int, 0, Value::Int(2)),
        (
            Value::Float(0.125),
            SqlType::Float,
            SqlType::Decimal {
                precision: 5,
                scale: 2,
            },
            0,
            decimal(13, 5, 2),
        ),
        (
            decimal(1255, 5, 3),
            SqlType::Decimal {
                precision: 5,
                scale: 3,
            },
            SqlType::Decimal {
                precision: 5,
                scale: 2,
            },
            0,
            decimal(126, 5, 2),
        ),
        (
            text("$1,234.5"),
            varchar(9),
            SqlType::Money,
            0,
            Value::Money(12_345_000),
        ),
        (
            Value::Int(258),
            SqlType::Int,
            SqlType::VarBinary {
                len: Length::Chars(8),
            },
            0,
            Value::bytes(&[0, 0, 1, 2]),
        ),
        (
            Value::Int(258),
            SqlType::Int,
            SqlType::Binary { len: 8 },
            0,
            Value::bytes(&[0, 0, 0, 0, 0, 0, 1, 2]),
        ),
        (
            Value::bytes(&[1, 2, 3, 4, 5]),
            SqlType::VarBinary { len: Length::Max },
            SqlType::Int,
            0,
            Value::Int(0x0203_0405),
        ),
        (
            text("ab"),
            nvarchar(2),
            SqlType::VarBinary {
                len: Length::Chars(30),
            },
            0,
            Value::bytes(&[97, 0, 98, 0]),
        ),
        (
            text("0x0aFF"),
            varchar(6),
            SqlType::VarBinary {
                len: Length::Chars(30),
            },
            1,
            Value::bytes(&[10, 255]),
        ),
        (
            Value::bytes(&[10, 255]),
            SqlType::VarBinary { len: Length::Max },
            max,
            1,
            text("0x0AFF"),
        ),
        (
            Value::bytes(&[10, 255]),
            SqlType::VarBinary { len: Length::Max },
            max,
            2,
            text("0AFF"),
        ),
        (
            Value::bytes(&[97, 98]),
            SqlType::VarBinary { len: Length::Max },
            max,
            0,
            text("ab"),
        ),
        (
            Value::RowVersion(255),
            SqlType::RowVersion,
            SqlType::BigInt,
            0,
            Value::BigInt(255),
        ),
        (
            text("00112233-4455-6677-8899-aabbccddeeff"),
            varchar(36),
            SqlType::UniqueIdentifier,
            0,
            Value::Guid([
                0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
            ]),
        ),
        (
            text("2024-01-02"),
            varchar(10),
            SqlType::Date,
            0,
            Value::Date(738_886),
        ),
        (Value::Date(738_886), SqlType::Date, varchar(4), 0, text("2024")),
        (
            text("1900-01-01 00:00:00.999"),
            varchar(30),
            SqlType::DateTime,
            0,
            Value::DateTime { days: 0, ticks: 300 },
        ),
        (
            Value::DateTime { days: 0, ticks: 1 },
            SqlType::DateTime,
            SqlType::DateTime2 { scale: 7 },
            0,
            Value::DateTime2 {
                days: 693_595,
                ticks: 33_333,
                scale: 7,
            },
        ),
        (
            Value::Int(1),
            SqlType::Int,
            SqlType::DateTime,
            0,
            Value::DateTime { days: 1, ticks: 0 },
        ),
        (Value::text("x"), SqlType::SqlVariant, varchar(5), 0, text("x")),
    ] {
        let shown = format!("{value:?} to {to}");
        assert_eq!(
            run(value, from, to, style).unwrap_or_else(|error| panic!("{shown}: {error}")),
            expected,
            "{shown}"
        );
    }
}

/// Titles of the errors' pages: 220, 235, 241, 242, 244, 245, 248, 8114, 8115, 8169, 8170.
#[test]
fn what_does_not_fit_has_its_own_error() {
    let text = Value::text;
    for (value, from, to, number) in [
        (Value::Int(300), SqlType::Int, SqlType::TinyInt, 220),
        (Value::BigInt(1 << 40), SqlType::BigInt, SqlType::Int, 8115),
        (text("abc"), varchar(3), SqlType::Int, 245),
        (text("1.5"), varchar(3), SqlType::Int, 245),
        (text("abc"), varchar(3), SqlType::BigInt, 8114),
        (
            text("abc"),
            varchar(3),
            SqlType::Decimal {
                precision: 5,
                scale: 0,
            },
            8114,
        ),
        (text("99999999999"), varchar(11), SqlType::Int, 248),
        (text("300"), varchar(3), SqlType::TinyInt, 244),
        (text("x"), varchar(1), SqlType::Money, 235),
        (text("x"), varchar(1), SqlType::DateTime, 241),
        (text("2024-02-30"), varchar(10), SqlType::DateTime, 242),
        (text("2024-02-30"), varchar(10), SqlType::Date, 241),
        (
            text("1900-01-01 00:00:00.1234567"),
            varchar(30),
            SqlType::DateTime,
            241,
        ),
        (text("x"), varchar(1), SqlType::UniqueIdentifier, 8169),
        (Value::Guid([0; 16]), SqlType::UniqueIdentifier, varchar(10), 8170),
        (
            decimal(12345, 5, 0),
            SqlType::Decimal {
                precision: 5,
                scale: 0,
            },
            SqlType::Decimal {
                precision: 4,
                scale: 0,
            },
            8115,
        ),
        (Value::Int(12345), SqlType::Int, nvarchar(3), 8115),
        (Value::Date(0), SqlType::Date, SqlType::DateTime, 242),
    ] {
        let shown = format!("{value:?} to {to}");
        let error = run(value, from, to, 0).unwrap_err();
        assert_eq!(error.number, number, "{shown}: {error}");
    }
}

#[test]
fn conversions_that_do_not_exist_are_refused() {
    let binary = SqlType::VarBinary { len: Length::Max };
    for (way, from, to, number) in [
        (Way::Implicit, varchar(1), binary, Some(257)),
        (Way::Explicit, varchar(1), binary, None),
        (Way::Implicit, SqlType::Int, SqlType::Date, Some(206)),
        (Way::Explicit, SqlType::Int, SqlType::Date, Some(529)),
        (Way::Implicit, SqlType::DateTime, SqlType::Int, Some(257)),
        (Way::Implicit, SqlType::Int, SqlType::DateTime, None),
        (Way::Implicit, SqlType::UniqueIdentifier, SqlType::Int, Some(206)),
        (Way::Implicit, SqlType::Int, varchar(5), None),
    ] {
        assert_eq!(
            check(way, from, to).err().map(|error| error.number),
            number,
            "{way:?} {from} to {to}"
        );
    }
}
