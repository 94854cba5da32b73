//! Rows of small results as values.

use std::borrow::Cow;

use model::{Error, ErrorKind, Result};
use mssql_tds::datatypes::column_values::{
    SqlDate, SqlDateTime, SqlDateTime2, SqlDateTimeOffset, SqlMoney, SqlSmallDateTime, SqlSmallMoney,
    SqlTime, SqlXml,
};
use mssql_tds::datatypes::decoder::DecimalParts;
use mssql_tds::datatypes::row_writer::RowWriter;
use mssql_tds::datatypes::sql_json::SqlJson;
use mssql_tds::datatypes::sql_string::EncodingType;
use mssql_tds::datatypes::sql_vector::SqlVector;
use uuid::Uuid;

use super::text::{self, TextError};
use crate::Value;

/// Collects rows. The trait's methods cannot fail, so the first error is kept until the row is taken.
#[derive(Default)]
pub(super) struct ValueWriter {
    row: Vec<Value>,
    error: Option<Error>,
}

impl ValueWriter {
    /// The row that was just written.
    pub(super) fn take_row(&mut self) -> Result<Vec<Value>> {
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.row)),
        }
    }

    fn fail(&mut self, kind: ErrorKind, col: usize, why: &str) {
        self.row.push(Value::Null);
        self.error
            .get_or_insert_with(|| Error::new(kind, format!("column {} of a result {why}", col + 1)));
    }

    fn write_text(
        &mut self,
        col: usize,
        decode: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), TextError>,
    ) {
        let mut bytes = Vec::new();
        let decoded = decode(&mut bytes);
        match decoded.and_then(|()| String::from_utf8(bytes).map_err(|_| TextError::Malformed)) {
            Ok(text) => self.row.push(Value::Text(text)),
            Err(error) => self.fail(ErrorKind::Data, col, error.describe()),
        }
    }
}

pub(super) fn unscaled(parts: &DecimalParts) -> i128 {
    let magnitude = parts.magnitude() as i128;
    if parts.is_positive { magnitude } else { -magnitude }
}

pub(super) fn money(value: &SqlMoney) -> i64 {
    (i64::from(value.msb_part) << 32) | i64::from(value.lsb_part.cast_unsigned())
}

impl RowWriter for ValueWriter {
    fn write_null(&mut self, _col: usize) {
        self.row.push(Value::Null);
    }

    fn write_bool(&mut self, _col: usize, val: bool) {
        self.row.push(Value::Bit(val));
    }

    fn write_u8(&mut self, _col: usize, val: u8) {
        self.row.push(Value::TinyInt(val));
    }

    fn write_i16(&mut self, _col: usize, val: i16) {
        self.row.push(Value::SmallInt(val));
    }

    fn write_i32(&mut self, _col: usize, val: i32) {
        self.row.push(Value::Int(val));
    }

    fn write_i64(&mut self, _col: usize, val: i64) {
        self.row.push(Value::BigInt(val));
    }

    fn write_f32(&mut self, _col: usize, val: f32) {
        self.row.push(Value::Real(val));
    }

    fn write_f64(&mut self, _col: usize, val: f64) {
        self.row.push(Value::Float(val));
    }

    fn write_string(&mut self, col: usize, bytes: Cow<'_, [u8]>, encoding_type: EncodingType) {
        self.write_text(col, |out| text::decode(&bytes, encoding_type, out));
    }

    fn write_bytes(&mut self, _col: usize, bytes: Cow<'_, [u8]>) {
        self.row.push(Value::Bytes(bytes.into_owned()));
    }

    fn write_decimal(&mut self, _col: usize, val: DecimalParts) {
        self.row.push(Value::Decimal {
            unscaled: unscaled(&val),
            precision: val.precision,
            scale: val.scale,
        });
    }

    fn write_numeric(&mut self, col: usize, val: DecimalParts) {
        self.write_decimal(col, val);
    }

    fn write_date(&mut self, _col: usize, val: SqlDate) {
        self.row.push(Value::Date(val.get_days()));
    }

    fn write_time(&mut self, _col: usize, val: SqlTime) {
        self.row.push(Value::Time {
            ticks: val.time_nanoseconds,
            scale: val.scale,
        });
    }

    fn write_datetime(&mut self, _col: usize, val: SqlDateTime) {
        self.row.push(Value::DateTime {
            days: val.days,
            ticks: val.time,
        });
    }

    fn write_smalldatetime(&mut self, _col: usize, val: SqlSmallDateTime) {
        self.row.push(Value::SmallDateTime {
            days: val.days,
            minutes: val.time,
        });
    }

    fn write_datetime2(&mut self, _col: usize, val: SqlDateTime2) {
        self.row.push(Value::DateTime2 {
            days: val.days,
            ticks: val.time.time_nanoseconds,
            scale: val.time.scale,
        });
    }

    fn write_datetimeoffset(&mut self, _col: usize, val: SqlDateTimeOffset) {
        self.row.push(Value::DateTimeOffset {
            days: val.datetime2.days,
            ticks: val.datetime2.time.time_nanoseconds,
            scale: val.datetime2.time.scale,
            offset: val.offset,
        });
    }

    fn write_money(&mut self, _col: usize, val: SqlMoney) {
        self.row.push(Value::Money(money(&val)));
    }

    fn write_smallmoney(&mut self, _col: usize, val: SqlSmallMoney) {
        self.row.push(Value::SmallMoney(val.int_val));
    }

    fn write_uuid(&mut self, _col: usize, val: Uuid) {
        self.row.push(Value::Guid(val.into_bytes()));
    }

    fn write_xml(&mut self, col: usize, val: SqlXml) {
        self.write_text(col, |out| text::decode_utf16(text::without_bom(&val.bytes), out));
    }

    fn write_json(&mut self, col: usize, _val: SqlJson) {
        self.fail(
            ErrorKind::Unsupported,
            col,
            "has the type json, which is not mapped",
        );
    }

    fn write_vector(&mut self, _col: usize, val: SqlVector) {
        let floats = val.as_f32().unwrap_or_default();
        let bytes = floats.iter().flat_map(|float| float.to_le_bytes());
        self.row.push(Value::Bytes(bytes.collect()));
    }

    fn end_row(&mut self) {}
}
