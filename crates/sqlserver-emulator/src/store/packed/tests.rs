//! Rows that are kept come back as they were, and leave as the encoder would write them.

use super::*;
use crate::tds::layout;
use crate::types::{Length, TypeInfo};
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

fn decimal(unscaled: i128, precision: u8, scale: u8) -> Value {
    Value::Decimal(Decimal {
        unscaled,
        precision,
        scale,
    })
}

fn form_of(ty: SqlType, nullable: bool) -> Option<Form> {
    Form::of(ty, layout(ty, nullable))
}

#[test]
fn every_value_comes_back_as_it_was() {
    let row = values();
    assert_eq!(*Packed::of(&row, &[]).row(), *row);
    for value in row {
        assert_eq!(*Packed::of(std::slice::from_ref(&value), &[]).row(), [value]);
    }
    assert!(Packed::of(&[], &[]).row().is_empty());
    let some = Packed::of(&[Value::Int(1), Value::text("a"), Value::Bit(true)], &[]);
    assert_eq!(
        *some.columns(&[2, 0]),
        [Value::Int(1), Value::Null, Value::Bit(true)]
    );
    assert_eq!(*some.columns(&[1]), [Value::Null, Value::text("a")]);
    assert!(some.columns(&[]).is_empty());
}

/// The number of its NULLs and all its bytes are those of a row that is made anew.
#[test]
fn a_row_with_other_values_is_the_one_that_has_them() {
    let forms: Vec<_> = columns().iter().map(|(ty, _)| form_of(*ty, true)).collect();
    let fitting = columns().into_iter().map(|(_, value)| value).collect();
    let mut other = values();
    other.extend([Value::text(""), Value::Null]);
    for (row, forms) in [(fitting, forms.as_slice()), (other, &[])] {
        let row: Vec<Value> = row;
        let packed = Packed::of(&row, forms);
        assert_eq!(packed.with(&[], forms), packed);
        for at in 0..row.len() {
            let mut without = row.clone();
            without[at] = Value::Null;
            let emptied = packed.with(&[(at, Value::Null)], forms);
            assert_eq!(emptied, Packed::of(&without, forms), "{at}");
            assert_eq!(emptied.with(&[], forms), emptied, "{at}");
            assert_eq!(emptied.with(&[(at, row[at].clone())], forms), packed, "{at}");
        }
        let (last, value) = (row.len() - 1, Value::text("another"));
        let mut both = row.clone();
        (both[0], both[last]) = (Value::Int(3), value.clone());
        assert_eq!(
            packed.with(&[(last, value), (0, Value::Int(3))], forms),
            Packed::of(&both, forms)
        );
    }
}

#[test]
fn a_value_of_any_form_can_be_left_out() {
    let mut row = values();
    row.push(Value::Int(7));
    let last = row.len() - 1;
    assert_eq!(Packed::of(&row, &[]).columns(&[last])[last], Value::Int(7));
    for (ty, value) in columns() {
        for nullable in [false, true] {
            let row = Packed::of(&[value.clone(), Value::Int(7)], &[form_of(ty, nullable)]);
            assert_eq!(*row.columns(&[1]), [Value::Null, Value::Int(7)], "{ty:?}");
            let row = Packed::of(&[Value::Null, Value::Int(7)], &[form_of(ty, true)]);
            assert_eq!(*row.columns(&[1]), [Value::Null, Value::Int(7)], "{ty:?}");
        }
    }
}

/// Columns of every type, with a value that fits.
fn columns() -> Vec<(SqlType, Value)> {
    let len = Length::Chars(10);
    let (days, ticks) = (730_000, 12_345_600_000);
    vec![
        (SqlType::Bit, Value::Bit(true)),
        (SqlType::TinyInt, Value::TinyInt(200)),
        (SqlType::SmallInt, Value::SmallInt(-2)),
        (SqlType::Int, Value::Int(i32::MIN)),
        (SqlType::BigInt, Value::BigInt(-5)),
        (
            SqlType::Decimal {
                precision: 9,
                scale: 2,
            },
            decimal(-1, 9, 2),
        ),
        (
            SqlType::Numeric {
                precision: 38,
                scale: 0,
            },
            decimal(10_i128.pow(37), 38, 0),
        ),
        (SqlType::Money, Value::Money(-123_456)),
        (SqlType::SmallMoney, Value::SmallMoney(7)),
        (SqlType::Real, Value::Real(1.5)),
        (SqlType::Float, Value::Float(-2.5)),
        (SqlType::Date, Value::Date(days)),
        (SqlType::Time { scale: 3 }, Value::Time { ticks, scale: 3 }),
        (
            SqlType::SmallDateTime,
            Value::SmallDateTime { days: 3, minutes: 4 },
        ),
        (SqlType::DateTime, Value::DateTime { days: -3, ticks: 4 }),
        (
            SqlType::DateTime2 { scale: 7 },
            Value::DateTime2 {
                days,
                ticks,
                scale: 7,
            },
        ),
        (
            SqlType::DateTimeOffset { scale: 0 },
            Value::DateTimeOffset {
                days,
                ticks: 0,
                scale: 0,
                offset: 60,
            },
        ),
        (SqlType::Char { len: 3 }, Value::text("abc")),
        (SqlType::VarChar { len }, Value::text("")),
        (SqlType::NChar { len: 2 }, Value::text("\u{1F600}")),
        (SqlType::NVarChar { len }, Value::text("grün")),
        (SqlType::Binary { len: 2 }, Value::bytes(&[0, 255])),
        (SqlType::VarBinary { len }, Value::bytes(&[])),
        (SqlType::UniqueIdentifier, Value::Guid(*b"0123456789abcdef")),
    ]
}

#[test]
fn what_fits_its_column_is_kept_as_the_encoder_writes_it() {
    for nullable in [false, true] {
        let (types, row): (Vec<SqlType>, Vec<Value>) = columns().into_iter().unzip();
        let forms: Vec<_> = types.iter().map(|ty| form_of(*ty, nullable)).collect();
        let mut expected = Vec::new();
        for (ty, value) in types.iter().zip(&row) {
            let encoder = Encoder::new(*ty, None, layout(*ty, nullable));
            assert_eq!(encoder.encode(&mut expected, value), Ok(()), "{ty:?}");
        }
        let packed = Packed::of(&row, &forms);
        assert_eq!(*packed.row(), *row);
        let whole = WholeRow::of(forms.clone()).unwrap();
        assert_eq!(packed.wire(&whole), Some((0, expected.as_slice())));
        // Neither for fewer columns nor for more.
        let fewer = WholeRow::of(forms.iter().copied().skip(1)).unwrap();
        assert_eq!(packed.wire(&fewer), None);
        let more = WholeRow::of(forms.iter().copied().chain([forms[0]])).unwrap();
        assert_eq!(packed.wire(&more), None);
    }
}

#[test]
fn nulls_are_kept_as_the_encoder_writes_them_and_counted() {
    for (ty, value) in columns() {
        let form = form_of(ty, true);
        let packed = Packed::of(&[Value::Null, value.clone()], &[form, form]);
        assert_eq!(*packed.row(), [Value::Null, value.clone()], "{ty:?}");
        let encoder = Encoder::new(ty, None, layout(ty, true));
        let mut expected = Vec::new();
        assert_eq!(encoder.encode(&mut expected, &Value::Null), Ok(()));
        let null = expected.clone();
        assert_eq!(encoder.encode(&mut expected, &value), Ok(()));
        let whole = WholeRow::of([form, form]).unwrap();
        assert_eq!(packed.wire(&whole), Some((1, expected.as_slice())), "{ty:?}");
        let mut values = packed.values();
        let form = form.unwrap();
        assert_eq!(values.wire(form), Some(null.as_slice()));
        assert!(form.is_null(&null));
        let wire = values.wire(form).unwrap();
        assert!(!form.is_null(wire), "{ty:?}");
    }
}

#[test]
fn what_does_not_fit_its_column_keeps_a_form_of_its_own() {
    let limited = |len| Length::Chars(len);
    let decimal_column = SqlType::Decimal {
        precision: 18,
        scale: 2,
    };
    for (ty, nullable, value) in [
        (SqlType::Int, false, Value::Null),
        (SqlType::Int, false, Value::BigInt(1)),
        (SqlType::VarChar { len: limited(9) }, false, Value::text("grün")),
        (SqlType::VarChar { len: limited(9) }, false, Value::Null),
        (
            SqlType::NVarChar { len: limited(9) },
            true,
            Value::text(&"a".repeat(32_768)),
        ),
        (
            SqlType::VarBinary { len: limited(9) },
            true,
            Value::bytes(&[1; 65_535]),
        ),
        (decimal_column, true, decimal(5, 17, 2)),
        (decimal_column, true, decimal(5, 18, 3)),
        (
            SqlType::DateTime2 { scale: 3 },
            true,
            Value::DateTime2 {
                days: 1,
                ticks: 7,
                scale: 7,
            },
        ),
        (SqlType::NVarChar { len: Length::Max }, true, Value::text("long")),
        (SqlType::RowVersion, false, Value::RowVersion(7)),
    ] {
        let packed = Packed::of(std::slice::from_ref(&value), &[form_of(ty, nullable)]);
        assert_eq!(*packed.row(), [value], "{ty:?}");
        let whole = WholeRow::of([form_of(ty, nullable)]);
        let is_null_text = ty.is_character() && packed.values().all(|value| value.is_null());
        assert_eq!(
            whole.is_some_and(|whole| packed.wire(&whole).is_some()),
            is_null_text,
            "{ty:?}"
        );
    }
}
