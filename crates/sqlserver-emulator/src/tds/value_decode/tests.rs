use super::*;
use crate::tds::type_info;
use crate::tds::value_encode::Encoder;
use crate::types::{ClrType, Length, TypeInfo};

fn text(text: &str) -> Value {
    Value::text(text)
}

fn dec(unscaled: i128, precision: u8, scale: u8) -> (SqlType, Value) {
    let value = Decimal {
        unscaled,
        precision,
        scale,
    };
    (SqlType::Decimal { precision, scale }, Value::Decimal(value))
}

/// Every type with its edge values.
fn edge_values() -> Vec<(SqlType, Value)> {
    let max = Length::Max;
    let chars = Length::Chars;
    let last_tick = TICKS_PER_DAY - 1;
    vec![
        (SqlType::Bit, Value::Bit(true)),
        (SqlType::Bit, Value::Bit(false)),
        (SqlType::TinyInt, Value::TinyInt(255)),
        (SqlType::SmallInt, Value::SmallInt(i16::MIN)),
        (SqlType::Int, Value::Int(i32::MIN)),
        (SqlType::BigInt, Value::BigInt(i64::MIN)),
        (SqlType::Real, Value::Real(f32::MIN_POSITIVE)),
        (SqlType::Float, Value::Float(-0.0)),
        (SqlType::Money, Value::Money(i64::MIN)),
        (SqlType::Money, Value::Money(-1)),
        (SqlType::Money, Value::Money(0x1_0000_0002)),
        (SqlType::SmallMoney, Value::SmallMoney(i32::MAX)),
        dec(-1, 9, 9),
        dec(9_999_999_999_999_999_999, 19, 0),
        dec(-(10i128.pow(28) - 1), 28, 14),
        dec(10i128.pow(38) - 1, 38, 38),
        dec(0, 38, 0),
        (SqlType::Date, Value::Date(0)),
        (SqlType::Date, Value::Date(3_652_058)),
        (
            SqlType::Time { scale: 7 },
            Value::Time {
                ticks: last_tick,
                scale: 7,
            },
        ),
        (
            SqlType::Time { scale: 0 },
            Value::Time {
                ticks: 863_990_000_000,
                scale: 0,
            },
        ),
        (
            SqlType::Time { scale: 3 },
            Value::Time {
                ticks: 10_000,
                scale: 3,
            },
        ),
        (
            SqlType::DateTime2 { scale: 7 },
            Value::DateTime2 {
                days: 3_652_058,
                ticks: last_tick,
                scale: 7,
            },
        ),
        (
            SqlType::DateTime2 { scale: 2 },
            Value::DateTime2 {
                days: 0,
                ticks: 0,
                scale: 2,
            },
        ),
        (
            SqlType::DateTimeOffset { scale: 4 },
            Value::DateTimeOffset {
                days: 730_000,
                ticks: 1000,
                scale: 4,
                offset: -840,
            },
        ),
        (
            SqlType::DateTime,
            Value::DateTime {
                days: -53_690,
                ticks: 0,
            },
        ),
        (
            SqlType::DateTime,
            Value::DateTime {
                days: 2_958_463,
                ticks: 25_919_999,
            },
        ),
        (
            SqlType::SmallDateTime,
            Value::SmallDateTime {
                days: 65_535,
                minutes: 1439,
            },
        ),
        (SqlType::Char { len: 3 }, text("a  ")),
        (SqlType::VarChar { len: chars(10) }, text("é€")),
        (SqlType::VarChar { len: chars(10) }, text("")),
        (SqlType::VarChar { len: max }, text("€uro")),
        (SqlType::NChar { len: 2 }, text("Ж ")),
        (SqlType::NVarChar { len: chars(4000) }, text(&"😀".repeat(2000))),
        (SqlType::NVarChar { len: max }, text("")),
        (SqlType::NVarChar { len: max }, Value::Str([0xD800, 0x41].into())),
        (SqlType::NVarChar { len: max }, text(&"x".repeat(100_000))),
        (SqlType::Text, text("long")),
        (SqlType::NText, text("Ж")),
        (SqlType::Image, Value::bytes(&[0, 255])),
        (SqlType::Binary { len: 2 }, Value::bytes(&[0, 0])),
        (SqlType::VarBinary { len: chars(8000) }, Value::bytes(&[1; 8000])),
        (SqlType::VarBinary { len: max }, Value::bytes(&[])),
        (SqlType::UniqueIdentifier, Value::Guid(*b"0123456789abcdef")),
        (SqlType::Xml, Value::Xml("<a/>".encode_utf16().collect())),
        (SqlType::SqlVariant, Value::Int(-7)),
        (
            SqlType::SqlVariant,
            held(SqlType::NVarChar { len: chars(9) }, text("variant")),
        ),
        (SqlType::SqlVariant, held(SqlType::Char { len: 3 }, text("é  "))),
        (
            SqlType::SqlVariant,
            held(SqlType::Binary { len: 1 }, Value::bytes(&[9])),
        ),
        (SqlType::Json, text("{\"a\":\"Ж\"}")),
        (
            SqlType::SqlVariant,
            Value::DateTime2 {
                days: 5,
                ticks: 10,
                scale: 6,
            },
        ),
    ]
}

fn held(ty: SqlType, value: Value) -> Value {
    value.in_variant(TypeInfo::new(ty))
}

fn round_trip(ty: SqlType, value: &Value, nullable: bool) -> WireResult<Value> {
    let collation = ty.is_character().then(Collation::server_default);
    let mut out = Vec::new();
    let layout = type_info::write(&mut out, ty, collation, nullable);
    Encoder::new(ty, collation, layout)
        .encode(&mut out, value)
        .map_err(|_| WireError::InvalidValue("encoder"))?;
    let mut reader = WireReader::over(out);
    let wire = WireType::read(&mut reader)?;
    let decoded = decode(&mut reader, &wire, Place::BulkRow)?;
    assert_eq!(reader.at_end(), Ok(true), "{ty}: bytes are left over");
    Ok(decoded)
}

#[test]
fn edge_values_survive_both_ways() {
    for (ty, value) in edge_values() {
        for nullable in [true, false] {
            assert_eq!(round_trip(ty, &value, nullable), Ok(value.clone()), "{ty}");
        }
    }
}

#[test]
fn null_survives_in_every_type() {
    for (ty, _) in edge_values() {
        assert_eq!(round_trip(ty, &Value::Null, true), Ok(Value::Null), "{ty}");
    }
}

/// MS-TDS 2.2.5.5.2: a parameter names the type and not its class, as a column does.
#[test]
fn clr_types_are_named() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let named = |name: &str| {
        [
            vec![0xF0, 0, 3],
            utf16("sys"),
            vec![name.len() as u8],
            utf16(name),
        ]
        .concat()
    };
    let mut parameter = named("hierarchyid");
    parameter.extend([1_u64.to_le_bytes().as_slice(), &[1, 0, 0, 0, 0x58, 0, 0, 0, 0]].concat());
    let mut reader = WireReader::over(parameter);
    let wire = WireType::read(&mut reader).unwrap();
    assert_eq!(wire.ty, SqlType::Clr(ClrType::HierarchyId));
    let value = decode(&mut reader, &wire, Place::Parameter);
    assert_eq!(value, Ok(Value::bytes(&[0x58])));
    assert!(WireType::read(&mut WireReader::over(named("Point"))).is_err());

    let mut column = Vec::new();
    let layout = type_info::write(&mut column, wire.ty, None, false);
    assert_eq!((layout, &column[..3]), (Layout::Chunked, &[0xF0, 0x7C, 0x03][..]));
    assert!(column.ends_with(&utf16("PublicKeyToken=89845dcd8080cc91")));
}

#[test]
fn bytes_on_the_wire_are_the_specified_ones() {
    for (ty, value, expect) in [
        (
            SqlType::Money,
            Value::Money(0x1_0000_0002),
            vec![8, 1, 0, 0, 0, 2, 0, 0, 0],
        ),
        (
            SqlType::UniqueIdentifier,
            Value::Guid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            vec![16, 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15],
        ),
        (dec(-258, 9, 2).0, dec(-258, 9, 2).1, vec![5, 0, 2, 1, 0, 0]),
        (SqlType::Date, Value::Date(719_162), vec![3, 0x3A, 0xF9, 0x0A]),
        (
            SqlType::RowVersion,
            Value::RowVersion(2001),
            vec![8, 0, 0, 0, 0, 0, 0, 0, 7, 0xD1],
        ),
        (
            SqlType::NVarChar {
                len: Length::Chars(5),
            },
            text("Aé"),
            vec![4, 0, 0x41, 0, 0xE9, 0],
        ),
    ] {
        let mut out = Vec::new();
        let layout = type_info::write(&mut Vec::new(), ty, None, true);
        Encoder::new(ty, None, layout).encode(&mut out, &value).unwrap();
        assert_eq!(out, expect, "{ty}");
    }
}

#[test]
fn a_text_parameter_has_no_pointer() {
    let wire = WireType {
        ty: SqlType::Text,
        collation: None,
        layout: Layout::Long,
    };
    let mut reader = WireReader::over(vec![2, 0, 0, 0, b'h', b'i', 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(decode(&mut reader, &wire, Place::Parameter), Ok(text("hi")));
    assert_eq!(decode(&mut reader, &wire, Place::Parameter), Ok(Value::Null));
}

#[test]
fn values_outside_their_type_are_refused() {
    for (ty, bytes) in [
        (SqlType::Date, vec![3, 0xFF, 0xFF, 0xFF]),
        (SqlType::Time { scale: 7 }, vec![5, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        (SqlType::Time { scale: 7 }, vec![3, 0, 0, 0]),
        (SqlType::DateTime, vec![8, 0, 0, 0, 0, 0, 0x82, 0x8B, 0x01]),
        (
            SqlType::Float,
            [vec![8], f64::NAN.to_le_bytes().to_vec()].concat(),
        ),
        (SqlType::Int, vec![3, 1, 2, 3]),
        (dec(0, 38, 0).0, [vec![17, 1], vec![0xFF; 16]].concat()),
        (dec(0, 38, 0).0, [vec![18, 1], vec![0; 17]].concat()),
        (
            SqlType::DateTimeOffset { scale: 0 },
            vec![8, 0, 0, 0, 0, 0, 0, 0x49, 0x03],
        ),
    ] {
        let wire = WireType {
            ty,
            collation: None,
            layout: Layout::ByteLength,
        };
        let mut reader = WireReader::over(bytes.clone());
        let result = decode(&mut reader, &wire, Place::Parameter);
        assert!(
            matches!(result, Err(WireError::InvalidValue(_))),
            "{ty}: {result:?}"
        );
    }
}

#[test]
fn a_value_of_another_type_than_announced_is_not_written() {
    for (ty, value) in [
        (SqlType::Int, Value::BigInt(1)),
        (SqlType::BigInt, Value::Int(1)),
        (
            SqlType::NVarChar {
                len: Length::Chars(1),
            },
            Value::Int(1),
        ),
        (SqlType::VarBinary { len: Length::Max }, text("a")),
        (dec(0, 9, 2).0, dec(0, 9, 3).1),
        (dec(0, 9, 0).0, dec(10i128.pow(20), 9, 0).1),
    ] {
        let layout = type_info::write(&mut Vec::new(), ty, None, true);
        let encoder = Encoder::new(ty, None, layout);
        assert!(encoder.encode(&mut Vec::new(), &value).is_err(), "{ty}");
    }
    let layout = type_info::write(&mut Vec::new(), SqlType::Int, None, false);
    let encoder = Encoder::new(SqlType::Int, None, layout);
    assert!(encoder.encode(&mut Vec::new(), &Value::Null).is_err());
}

#[test]
fn damaged_bytes_never_panic() {
    for (ty, value) in edge_values() {
        let mut out = Vec::new();
        let collation = ty.is_character().then(Collation::server_default);
        let layout = type_info::write(&mut out, ty, collation, true);
        Encoder::new(ty, collation, layout)
            .encode(&mut out, &value)
            .unwrap();
        for at in 0..out.len().min(64) {
            for byte in [0, 1, 0x7F, 0xFF] {
                let mut damaged = out.clone();
                damaged[at] = byte;
                damaged.truncate(out.len() - at % 3);
                let mut reader = WireReader::over(damaged);
                if let Ok(wire) = WireType::read(&mut reader) {
                    let _ = decode(&mut reader, &wire, Place::BulkRow);
                }
            }
        }
    }
}
