//! Parameters in the driver's types.

use model::{Error, ErrorKind, Result};
use mssql_tds::datatypes::column_values::{
    SqlDate, SqlDateTime, SqlDateTime2, SqlDateTimeOffset, SqlMoney, SqlSmallDateTime, SqlSmallMoney, SqlTime,
};
use mssql_tds::datatypes::decoder::DecimalParts;
use mssql_tds::datatypes::sql_string::SqlString;
use mssql_tds::datatypes::sqltypes::SqlType as TdsType;
use mssql_tds::message::parameters::rpc_parameters::{RpcParameter, RpcTypeMetadata, StatusFlags};

use crate::{Length, Param, SqlType, Value};

pub(super) fn parameter(param: &Param) -> Result<RpcParameter> {
    let value = match &param.value {
        Value::Null => return null(param),
        value => bind(value, param.ty)?,
    };
    Ok(RpcParameter::new(
        Some(format!("@{}", param.name)),
        StatusFlags::NONE,
        value,
    ))
}

fn bind(value: &Value, ty: Option<SqlType>) -> Result<TdsType> {
    Ok(match value {
        Value::Null => return Err(Error::internal("a NULL is bound by its type")),
        Value::Bit(value) => TdsType::Bit(Some(*value)),
        Value::TinyInt(value) => TdsType::TinyInt(Some(*value)),
        Value::SmallInt(value) => TdsType::SmallInt(Some(*value)),
        Value::Int(value) => TdsType::Int(Some(*value)),
        Value::BigInt(value) => TdsType::BigInt(Some(*value)),
        Value::Decimal {
            unscaled,
            precision,
            scale,
        } => TdsType::Decimal(Some(DecimalParts::new(
            *unscaled >= 0,
            *precision,
            *scale,
            unscaled.unsigned_abs(),
        ))),
        Value::Money(value) => TdsType::Money(Some(SqlMoney {
            lsb_part: *value as i32,
            msb_part: (*value >> 32) as i32,
        })),
        Value::SmallMoney(value) => TdsType::SmallMoney(Some(SqlSmallMoney { int_val: *value })),
        Value::Real(value) => TdsType::Real(Some(*value)),
        Value::Float(value) => TdsType::Float(Some(*value)),
        Value::Date(days) => TdsType::Date(Some(date(*days)?)),
        Value::Time { ticks, scale } => TdsType::Time(Some(time(*ticks, *scale))),
        Value::SmallDateTime { days, minutes } => TdsType::SmallDateTime(Some(SqlSmallDateTime {
            days: *days,
            time: *minutes,
        })),
        Value::DateTime { days, ticks } => TdsType::DateTime(Some(SqlDateTime {
            days: *days,
            time: *ticks,
        })),
        Value::DateTime2 { days, ticks, scale } => TdsType::DateTime2(Some(SqlDateTime2 {
            days: *days,
            time: time(*ticks, *scale),
        })),
        Value::DateTimeOffset {
            days,
            ticks,
            scale,
            offset,
        } => TdsType::DateTimeOffset(Some(SqlDateTimeOffset {
            datetime2: SqlDateTime2 {
                days: *days,
                time: time(*ticks, *scale),
            },
            offset: *offset,
        })),
        Value::Text(text) => text_value(text),
        Value::Bytes(bytes) => bytes_value(bytes, ty),
        Value::Guid(bytes) => TdsType::Uuid(Some(uuid::Uuid::from_bytes(*bytes))),
    })
}

fn time(ticks: u64, scale: u8) -> SqlTime {
    // The field holds ticks of 100 ns, whatever its name says.
    SqlTime {
        time_nanoseconds: ticks,
        scale,
    }
}

fn date(days: u32) -> Result<SqlDate> {
    SqlDate::create(days)
        .map_err(|error| Error::new(ErrorKind::Data, "a date is outside 0001..9999").caused_by(error))
}

fn text_value(text: &str) -> TdsType {
    let units = text.encode_utf16().count();
    let string = SqlString::from_utf8_string(text.to_owned());
    match u16::try_from(units) {
        // One declared length for all short texts keeps the plan cache small.
        Ok(..=4000) => TdsType::NVarchar(Some(string), 4000),
        _ => TdsType::NVarcharMax(Some(string)),
    }
}

fn bytes_value(bytes: &[u8], ty: Option<SqlType>) -> TdsType {
    match (ty, u16::try_from(bytes.len())) {
        (Some(SqlType::RowVersion), Ok(8)) => TdsType::Binary(Some(bytes.to_vec()), 8),
        (Some(SqlType::Binary { length }), Ok(len)) if len <= length => {
            TdsType::Binary(Some(bytes.to_vec()), length)
        }
        (_, Ok(..=8000)) => TdsType::VarBinary(Some(bytes.to_vec()), 8000),
        _ => TdsType::VarBinaryMax(Some(bytes.to_vec())),
    }
}

fn null(param: &Param) -> Result<RpcParameter> {
    let (value, metadata) = match param.ty {
        None => (TdsType::NVarchar(None, 4000), None),
        Some(ty) => null_of(ty),
    };
    let parameter = RpcParameter::new(Some(format!("@{}", param.name)), StatusFlags::NONE, value);
    Ok(match metadata {
        Some(metadata) => parameter.with_type_metadata(metadata),
        None => parameter,
    })
}

fn null_of(ty: SqlType) -> (TdsType, Option<RpcTypeMetadata>) {
    let scaled = |scale| {
        Some(RpcTypeMetadata {
            precision: None,
            scale: Some(scale),
        })
    };
    match ty {
        SqlType::Bit => (TdsType::Bit(None), None),
        SqlType::TinyInt => (TdsType::TinyInt(None), None),
        SqlType::SmallInt => (TdsType::SmallInt(None), None),
        SqlType::Int => (TdsType::Int(None), None),
        SqlType::BigInt => (TdsType::BigInt(None), None),
        SqlType::Decimal { precision, scale } => (
            TdsType::Decimal(None),
            Some(RpcTypeMetadata {
                precision: Some(precision),
                scale: Some(scale),
            }),
        ),
        SqlType::Money => (TdsType::Money(None), None),
        SqlType::SmallMoney => (TdsType::SmallMoney(None), None),
        SqlType::Real => (TdsType::Real(None), None),
        SqlType::Float => (TdsType::Float(None), None),
        SqlType::Date => (TdsType::Date(None), None),
        SqlType::Time { scale } => (TdsType::Time(None), scaled(scale)),
        SqlType::SmallDateTime => (TdsType::SmallDateTime(None), None),
        SqlType::DateTime => (TdsType::DateTime(None), None),
        SqlType::DateTime2 { scale } => (TdsType::DateTime2(None), scaled(scale)),
        SqlType::DateTimeOffset { scale } => (TdsType::DateTimeOffset(None), scaled(scale)),
        SqlType::Binary { length } => (TdsType::Binary(None, length), None),
        SqlType::RowVersion => (TdsType::Binary(None, 8), None),
        SqlType::VarBinary {
            length: Length::Limited(length),
        } => (TdsType::VarBinary(None, length), None),
        SqlType::HierarchyId => (TdsType::VarBinary(None, 892), None),
        SqlType::VarBinary { length: Length::Max }
        | SqlType::Image
        | SqlType::Geometry
        | SqlType::Geography
        | SqlType::Clr => (TdsType::VarBinaryMax(None), None),
        SqlType::UniqueIdentifier => (TdsType::Uuid(None), None),
        SqlType::Char { .. }
        | SqlType::NChar { .. }
        | SqlType::VarChar {
            length: Length::Limited(_),
        }
        | SqlType::NVarChar {
            length: Length::Limited(_),
        } => (TdsType::NVarchar(None, 4000), None),
        SqlType::VarChar { length: Length::Max }
        | SqlType::NVarChar { length: Length::Max }
        | SqlType::Text
        | SqlType::NText
        | SqlType::Xml
        | SqlType::SqlVariant
        | SqlType::Json
        | SqlType::Vector { .. } => (TdsType::NVarcharMax(None), None),
    }
}
