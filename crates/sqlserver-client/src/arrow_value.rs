//! One Arrow value as a parameter of a column's exact type.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use model::{Error, ErrorKind, Result};

use crate::{SqlType, Value, datetime};

impl Value {
    /// The value in `row` of `array`, bound as `ty`.
    ///
    /// # Errors
    ///
    /// `Data` if the type cannot hold the value exactly; `SchemaMismatch` if it cannot hold the array's type.
    pub fn from_arrow(ty: SqlType, array: &ArrayRef, row: usize) -> Result<Self> {
        if array.is_null(row) {
            return Ok(Self::Null);
        }
        let misfit = || Error::new(ErrorKind::Data, format!("a value does not fit the type {ty}"));
        let value = match array.data_type() {
            DataType::Boolean if ty == SqlType::Bit => Some(Self::Bit(array.as_boolean().value(row))),
            DataType::Int32 => integer(ty, i64::from(array.as_primitive::<Int32Type>().value(row))),
            DataType::Int64 => integer(ty, array.as_primitive::<Int64Type>().value(row)),
            DataType::Float32 => Some(Self::Real(array.as_primitive::<Float32Type>().value(row))),
            DataType::Float64 => Some(Self::Float(array.as_primitive::<Float64Type>().value(row))),
            DataType::Decimal128(..) => decimal(ty, array.as_primitive::<Decimal128Type>().value(row)),
            DataType::Date32 => {
                datetime::days_from_date(array.as_primitive::<Date32Type>().value(row)).map(Self::Date)
            }
            DataType::Time64(_) => time(ty, array.as_primitive::<Time64MicrosecondType>().value(row)),
            DataType::Timestamp(..) => {
                timestamp(ty, array.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            DataType::Utf8 => Some(Self::Text(array.as_string::<i32>().value(row).to_owned())),
            DataType::LargeUtf8 => Some(Self::Text(array.as_string::<i64>().value(row).to_owned())),
            DataType::Binary => Some(Self::Bytes(array.as_binary::<i32>().value(row).to_vec())),
            DataType::LargeBinary => Some(Self::Bytes(array.as_binary::<i64>().value(row).to_vec())),
            DataType::FixedSizeBinary(_) => array
                .as_fixed_size_binary()
                .value(row)
                .try_into()
                .ok()
                .map(Self::Guid),
            other => {
                return Err(Error::new(
                    ErrorKind::SchemaMismatch,
                    format!("a column of type {ty} takes no values of type {other}"),
                ));
            }
        };
        value.ok_or_else(misfit)
    }
}

fn integer(ty: SqlType, value: i64) -> Option<Value> {
    match ty {
        SqlType::TinyInt => u8::try_from(value).ok().map(Value::TinyInt),
        SqlType::SmallInt => i16::try_from(value).ok().map(Value::SmallInt),
        SqlType::Int => i32::try_from(value).ok().map(Value::Int),
        SqlType::BigInt => Some(Value::BigInt(value)),
        SqlType::Decimal { precision, scale } => value
            .checked_mul(10_i64.checked_pow(u32::from(scale))?)
            .map(|value| Value::Decimal {
                unscaled: i128::from(value),
                precision,
                scale,
            }),
        _ => None,
    }
}

fn decimal(ty: SqlType, unscaled: i128) -> Option<Value> {
    match ty {
        SqlType::Decimal { precision, scale } => Some(Value::Decimal {
            unscaled,
            precision,
            scale,
        }),
        SqlType::Money => i64::try_from(unscaled).ok().map(Value::Money),
        SqlType::SmallMoney => i32::try_from(unscaled).ok().map(Value::SmallMoney),
        _ => None,
    }
}

fn time(ty: SqlType, micros: i64) -> Option<Value> {
    let SqlType::Time { scale } = ty else { return None };
    let within_a_day = (0..datetime::DAY_MICROS).contains(&micros);
    let ticks = u64::try_from(micros).ok().filter(|_| within_a_day)? * 10;
    datetime::fits_scale(ticks, scale).then_some(Value::Time { ticks, scale })
}

fn timestamp(ty: SqlType, micros: i64) -> Option<Value> {
    match ty {
        SqlType::DateTime => {
            datetime::datetime_from_micros(micros).map(|(days, ticks)| Value::DateTime { days, ticks })
        }
        SqlType::SmallDateTime => datetime::smalldatetime_from_micros(micros)
            .map(|(days, minutes)| Value::SmallDateTime { days, minutes }),
        SqlType::DateTime2 { scale } => {
            let (days, ticks) = datetime::datetime2_from_micros(micros)?;
            datetime::fits_scale(ticks, scale).then_some(Value::DateTime2 { days, ticks, scale })
        }
        SqlType::DateTimeOffset { scale } => {
            let (days, ticks) = datetime::datetime2_from_micros(micros)?;
            datetime::fits_scale(ticks, scale).then_some(Value::DateTimeOffset {
                days,
                ticks,
                scale,
                offset: 0,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Decimal128Array, Int32Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn values_take_the_columns_type() {
        let int: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None]));
        let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![3_000, 1]));
        let money: ArrayRef = Arc::new(
            Decimal128Array::from(vec![15])
                .with_precision_and_scale(19, 4)
                .unwrap(),
        );
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        for (ty, array, row, value) in [
            ("tinyint", &int, 0, Value::TinyInt(7)),
            ("bigint", &int, 1, Value::Null),
            (
                "datetime",
                &at,
                0,
                Value::DateTime {
                    days: 25_567,
                    ticks: 1,
                },
            ),
            (
                "datetime2(6)",
                &at,
                1,
                Value::DateTime2 {
                    days: 719_162,
                    ticks: 10,
                    scale: 6,
                },
            ),
            ("money", &money, 0, Value::Money(15)),
            ("varchar(3)", &text, 0, Value::Text("x".into())),
        ] {
            assert_eq!(Value::from_arrow(ty.parse().unwrap(), array, row).unwrap(), value);
        }
        for (ty, array, row) in [("datetime", &at, 1), ("datetime2(0)", &at, 1), ("bit", &int, 0)] {
            let error = Value::from_arrow(ty.parse().unwrap(), array, row).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "{ty}");
        }
    }

    /// An Iceberg file of others may hold any value that its type can.
    #[test]
    fn values_at_the_ends_of_arrows_types_fit_or_do_not() {
        let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
        let narrow: Vec<i32> = ends.iter().map(|end| (*end >> 32) as i32).collect();
        let wide: Vec<i128> = ends.iter().map(|end| i128::from(*end) << 60).collect();
        let arrays: [ArrayRef; 6] = [
            Arc::new(arrow_array::Int64Array::from(ends.to_vec())),
            Arc::new(Int32Array::from(narrow.clone())),
            Arc::new(arrow_array::Date32Array::from(narrow)),
            Arc::new(arrow_array::Time64MicrosecondArray::from(ends.to_vec())),
            Arc::new(TimestampMicrosecondArray::from(ends.to_vec())),
            Arc::new(Decimal128Array::from(wide)),
        ];
        let types = [
            "bit",
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "decimal(38,38)",
            "decimal(1,0)",
            "money",
            "smallmoney",
            "date",
            "time(0)",
            "time(7)",
            "datetime",
            "smalldatetime",
            "datetime2(0)",
            "datetime2(7)",
            "datetimeoffset(7)",
        ];
        let mut fit = 0;
        for array in &arrays {
            for ty in types {
                for row in 0..array.len() {
                    if let Ok(value) = Value::from_arrow(ty.parse().unwrap(), array, row) {
                        assert!(!value.to_string().is_empty());
                        fit += 1;
                    }
                }
            }
        }
        assert!(fit > 50, "{fit}");
    }
}
