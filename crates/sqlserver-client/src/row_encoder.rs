//! Arrow values in the wire form of a bulk load, each exactly or not at all.
//!
//! Every type is sent in its nullable form: a length, then the value ([MS-TDS] 2.2.5.5). An error names the column and never
//! the value.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, TimeUnit};
use model::{Error, ErrorKind, Result};

use crate::bulk::BulkColumn;
use crate::{Length, SqlType, datetime};

type EncodeText = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// The code page of a `varchar` column: turns text into its bytes, or `None` if a character is not in it.
#[derive(Clone)]
pub(crate) struct CodePage(EncodeText);

impl CodePage {
    pub(crate) fn new(encode: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(encode))
    }
}

type Encode<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> std::result::Result<(), &'static str> + Send + 'a>;

/// Appends all rows of `batch` to `out`, with `row_token` before each row but the first.
pub(crate) fn encode_batch(
    batch: &RecordBatch,
    columns: &[(BulkColumn, Option<CodePage>)],
    row_token: u8,
    out: &mut Vec<u8>,
) -> Result<()> {
    if batch.num_columns() != columns.len() {
        return Err(Error::internal(
            "a batch does not have the columns of its bulk load",
        ));
    }
    let schema = batch.schema();
    let encoders = columns
        .iter()
        .zip(batch.columns())
        .zip(schema.fields())
        .map(|(((column, code_page), array), field)| {
            encoder(column.ty, array.as_ref(), code_page.as_ref()).ok_or_else(|| mismatch(field, column.ty))
        })
        .collect::<Result<Vec<_>>>()?;
    for row in 0..batch.num_rows() {
        if row > 0 {
            out.push(row_token);
        }
        let cells = encoders.iter().zip(batch.columns()).zip(columns);
        for (((encode, array), (column, _)), field) in cells.zip(schema.fields()) {
            if array.is_null(row) {
                null(column.ty, out);
            } else {
                encode(row, out).map_err(|why| refused(field, column.ty, why))?;
            }
        }
    }
    Ok(())
}

// The errors name the batch's column: that of a staging table would tell nobody anything.

fn mismatch(field: &Field, ty: SqlType) -> Error {
    let (name, values) = (field.name(), field.data_type());
    Error::new(
        ErrorKind::SchemaMismatch,
        format!("column {name:?} of type {ty} cannot take values of type {values}"),
    )
}

fn refused(field: &Field, ty: SqlType, why: &'static str) -> Error {
    let name = field.name();
    let error = Error::new(
        ErrorKind::Data,
        format!("a value does not fit column {name:?} of type {ty}: {why}"),
    );
    match why {
        PADDED => {
            error.hint("make it a varchar, nvarchar or varbinary column, which keeps values as they are")
        }
        _ => error,
    }
}

/// Whether values of this Arrow type can be loaded into a column of this type at all.
pub(crate) fn accepts(ty: SqlType, arrow: &DataType) -> bool {
    match ty {
        SqlType::Bit => *arrow == DataType::Boolean,
        SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => {
            matches!(arrow, DataType::Int32 | DataType::Int64)
        }
        SqlType::Decimal { .. } | SqlType::Money | SqlType::SmallMoney => {
            matches!(
                arrow,
                DataType::Decimal128(..) | DataType::Int32 | DataType::Int64
            )
        }
        SqlType::Real => *arrow == DataType::Float32,
        SqlType::Float => matches!(arrow, DataType::Float32 | DataType::Float64),
        SqlType::Date => *arrow == DataType::Date32,
        SqlType::Time { .. } => *arrow == DataType::Time64(TimeUnit::Microsecond),
        SqlType::SmallDateTime | SqlType::DateTime | SqlType::DateTime2 { .. } => {
            *arrow == DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        SqlType::DateTimeOffset { .. } => {
            matches!(arrow, DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
        }
        SqlType::Char { .. }
        | SqlType::VarChar { .. }
        | SqlType::NChar { .. }
        | SqlType::NVarChar { .. }
        | SqlType::Xml => {
            matches!(arrow, DataType::Utf8 | DataType::LargeUtf8)
        }
        SqlType::Binary { .. } | SqlType::VarBinary { .. } => {
            matches!(arrow, DataType::Binary | DataType::LargeBinary)
        }
        SqlType::UniqueIdentifier => *arrow == DataType::FixedSizeBinary(16),
        // These are loaded as another type.
        SqlType::Text
        | SqlType::NText
        | SqlType::Image
        | SqlType::RowVersion
        | SqlType::SqlVariant
        | SqlType::HierarchyId
        | SqlType::Geometry
        | SqlType::Geography
        | SqlType::Clr
        | SqlType::Json
        | SqlType::Vector { .. } => false,
    }
}

/// Whether a column of this type can hold each of the values. Of characters in a code page only the number is looked at.
pub(crate) fn can_hold(ty: SqlType, values: &dyn Array) -> BooleanArray {
    let one_byte_each = CodePage::new(|text| Some(vec![0; text.chars().count()]));
    let encode = encoder(ty, values, Some(&one_byte_each));
    let mut bytes = Vec::new();
    let rows = (0..values.len()).map(|row| {
        bytes.clear();
        // Values of another type altogether are told of when they are loaded.
        let held = |encode: &Encode<'_>| encode(row, &mut bytes).is_ok();
        Some(values.is_null(row) || encode.as_ref().is_none_or(held))
    });
    rows.collect()
}

fn encoder<'a>(ty: SqlType, array: &'a dyn Array, code_page: Option<&'a CodePage>) -> Option<Encode<'a>> {
    if !accepts(ty, array.data_type()) {
        return None;
    }
    Some(match ty {
        SqlType::Bit => {
            let values = array.as_boolean();
            Box::new(move |row, out| {
                out.extend([1, u8::from(values.value(row))]);
                Ok(())
            })
        }
        SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::BigInt => integer(ty, array),
        SqlType::Decimal { .. } | SqlType::Money | SqlType::SmallMoney => decimal(ty, array),
        SqlType::Real | SqlType::Float => float(ty, array),
        SqlType::Date => {
            let values = array.as_primitive::<Date32Type>();
            Box::new(move |row, out| {
                let days = datetime::days_from_date(values.value(row)).ok_or(YEARS)?;
                out.push(3);
                push_days(days, out);
                Ok(())
            })
        }
        SqlType::Time { scale } => {
            let values = array.as_primitive::<Time64MicrosecondType>();
            Box::new(move |row, out| {
                let micros = u64::try_from(values.value(row))
                    .ok()
                    .filter(|micros| *micros < 86_400_000_000);
                let ticks = micros.ok_or("it is no time of day")? * 10;
                out.push(time_length(scale));
                push_time(ticks, scale, out)
            })
        }
        SqlType::SmallDateTime
        | SqlType::DateTime
        | SqlType::DateTime2 { .. }
        | SqlType::DateTimeOffset { .. } => timestamp(ty, array),
        SqlType::Char { length } => code_page_text(array, Width::Fixed(length.into()), code_page?),
        SqlType::VarChar { length } => code_page_text(array, Width::varying(length, 1), code_page?),
        SqlType::NChar { length } => national_text(array, Width::Fixed(usize::from(length) * 2)),
        SqlType::NVarChar { length } => national_text(array, Width::varying(length, 2)),
        SqlType::Xml => national_text(array, Width::Unlimited),
        SqlType::Binary { length } => binary(array, Width::Fixed(length.into())),
        SqlType::VarBinary { length } => binary(array, Width::varying(length, 1)),
        SqlType::UniqueIdentifier => {
            let values = array.as_fixed_size_binary();
            Box::new(move |row, out| {
                out.push(16);
                push_guid(values.value(row), out);
                Ok(())
            })
        }
        SqlType::Text
        | SqlType::NText
        | SqlType::Image
        | SqlType::RowVersion
        | SqlType::SqlVariant
        | SqlType::HierarchyId
        | SqlType::Geometry
        | SqlType::Geography
        | SqlType::Clr
        | SqlType::Json
        | SqlType::Vector { .. } => return None,
    })
}

const YEARS: &str = "it lies outside the years 0001 to 9999";
const RANGE: &str = "it is out of range";
const DIGITS: &str = "it has more digits than the column";
const FRACTION: &str = "it has more fractional digits than the column";
const LENGTH: &str = "it is too long";
const PADDED: &str = "it is shorter, and the server would pad it";

/// How many bytes the values of a column have.
#[derive(Clone, Copy)]
enum Width {
    Fixed(usize),
    UpTo(usize),
    /// The form of the MAX types.
    Unlimited,
}

impl Width {
    fn varying(length: Length, bytes_each: usize) -> Self {
        match length {
            Length::Limited(length) => Self::UpTo(usize::from(length) * bytes_each),
            Length::Max => Self::Unlimited,
        }
    }
}

/// Marks the NULL of a MAX type.
const PLP_NULL: [u8; 8] = [0xFF; 8];

fn is_max(ty: SqlType) -> bool {
    matches!(
        ty,
        SqlType::VarChar { length: Length::Max }
            | SqlType::NVarChar { length: Length::Max }
            | SqlType::VarBinary { length: Length::Max }
            | SqlType::Xml
    )
}

fn null(ty: SqlType, out: &mut Vec<u8>) {
    if is_max(ty) {
        out.extend(PLP_NULL);
    } else if ty.is_text() || ty.is_binary() {
        out.extend([0xFF, 0xFF]);
    } else {
        out.push(0);
    }
}

fn integer<'a>(ty: SqlType, array: &'a dyn Array) -> Encode<'a> {
    let value: Box<dyn Fn(usize) -> i64 + Send + 'a> = match array.data_type() {
        DataType::Int32 => {
            let values = array.as_primitive::<Int32Type>();
            Box::new(move |row| i64::from(values.value(row)))
        }
        _ => {
            let values = array.as_primitive::<Int64Type>();
            Box::new(move |row| values.value(row))
        }
    };
    Box::new(move |row, out| {
        let value = value(row);
        match ty {
            SqlType::TinyInt => out.extend([1, u8::try_from(value).map_err(|_| RANGE)?]),
            SqlType::SmallInt => {
                let value = i16::try_from(value).map_err(|_| RANGE)?;
                out.push(2);
                out.extend(value.to_le_bytes());
            }
            SqlType::Int => {
                let value = i32::try_from(value).map_err(|_| RANGE)?;
                out.push(4);
                out.extend(value.to_le_bytes());
            }
            _ => {
                out.push(8);
                out.extend(value.to_le_bytes());
            }
        }
        Ok(())
    })
}

/// Brings an unscaled value from one scale to another, exactly.
fn rescale(unscaled: i128, from: i8, to: u8) -> std::result::Result<i128, &'static str> {
    let shift = i32::from(to) - i32::from(from);
    let factor = 10_i128.checked_pow(shift.unsigned_abs()).ok_or(DIGITS)?;
    if shift >= 0 {
        unscaled.checked_mul(factor).ok_or(DIGITS)
    } else if unscaled % factor == 0 {
        Ok(unscaled / factor)
    } else {
        Err(FRACTION)
    }
}

fn decimal<'a>(ty: SqlType, array: &'a dyn Array) -> Encode<'a> {
    let value: Box<dyn Fn(usize) -> i128 + Send + 'a> = match array.data_type() {
        DataType::Int32 => {
            let values = array.as_primitive::<Int32Type>();
            Box::new(move |row| i128::from(values.value(row)))
        }
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>();
            Box::new(move |row| i128::from(values.value(row)))
        }
        _ => {
            let values = array.as_primitive::<Decimal128Type>();
            Box::new(move |row| values.value(row))
        }
    };
    let from = match array.data_type() {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    Box::new(move |row, out| {
        let value = value(row);
        match ty {
            SqlType::Decimal { precision, scale } => {
                let value = rescale(value, from, scale)?;
                if value.unsigned_abs() >= 10_u128.pow(u32::from(precision)) {
                    return Err(DIGITS);
                }
                let length = decimal_length(precision);
                out.extend([length, u8::from(value >= 0)]);
                out.extend(
                    value
                        .unsigned_abs()
                        .to_le_bytes()
                        .iter()
                        .take(usize::from(length) - 1),
                );
            }
            SqlType::SmallMoney => {
                let value = i32::try_from(rescale(value, from, 4)?).map_err(|_| RANGE)?;
                out.push(4);
                out.extend(value.to_le_bytes());
            }
            _ => {
                let value = i64::try_from(rescale(value, from, 4)?).map_err(|_| RANGE)?;
                out.push(8);
                out.extend(((value >> 32) as i32).to_le_bytes());
                out.extend((value as u32).to_le_bytes());
            }
        }
        Ok(())
    })
}

/// Bytes of a decimal with its sign.
fn decimal_length(precision: u8) -> u8 {
    match precision {
        0..=9 => 5,
        10..=19 => 9,
        20..=28 => 13,
        _ => 17,
    }
}

fn float<'a>(ty: SqlType, array: &'a dyn Array) -> Encode<'a> {
    const FINITE: &str = "SQL Server has no NaN and no infinity";
    if ty == SqlType::Real {
        let values = array.as_primitive::<Float32Type>();
        return Box::new(move |row, out| {
            let value = values.value(row);
            if !value.is_finite() {
                return Err(FINITE);
            }
            out.push(4);
            out.extend(value.to_le_bytes());
            Ok(())
        });
    }
    let value: Box<dyn Fn(usize) -> f64 + Send + 'a> = match array.data_type() {
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            Box::new(move |row| f64::from(values.value(row)))
        }
        _ => {
            let values = array.as_primitive::<Float64Type>();
            Box::new(move |row| values.value(row))
        }
    };
    Box::new(move |row, out| {
        let value = value(row);
        if !value.is_finite() {
            return Err(FINITE);
        }
        out.push(8);
        out.extend(value.to_le_bytes());
        Ok(())
    })
}

fn timestamp<'a>(ty: SqlType, array: &'a dyn Array) -> Encode<'a> {
    let values = array.as_primitive::<TimestampMicrosecondType>();
    Box::new(move |row, out| {
        let micros = values.value(row);
        match ty {
            SqlType::DateTime => {
                let (days, ticks) = datetime::datetime_from_micros(micros)
                    .ok_or("it lies outside 1753 to 9999 or is no multiple of 1/300 s")?;
                out.push(8);
                out.extend(days.to_le_bytes());
                out.extend(ticks.to_le_bytes());
            }
            SqlType::SmallDateTime => {
                let (days, minutes) = datetime::smalldatetime_from_micros(micros)
                    .ok_or("it lies outside 1900 to 2079-06-06 or is no whole minute")?;
                out.push(4);
                out.extend(days.to_le_bytes());
                out.extend(minutes.to_le_bytes());
            }
            SqlType::DateTime2 { scale } => {
                let (days, ticks) = datetime::datetime2_from_micros(micros).ok_or(YEARS)?;
                out.push(time_length(scale) + 3);
                push_time(ticks, scale, out)?;
                push_days(days, out);
            }
            SqlType::DateTimeOffset { scale } => {
                let (days, ticks) = datetime::datetime2_from_micros(micros).ok_or(YEARS)?;
                out.push(time_length(scale) + 5);
                push_time(ticks, scale, out)?;
                push_days(days, out);
                out.extend(0_i16.to_le_bytes());
            }
            _ => return Err("its type holds no timestamps"),
        }
        Ok(())
    })
}

fn time_length(scale: u8) -> u8 {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    }
}

fn push_time(ticks: u64, scale: u8, out: &mut Vec<u8>) -> std::result::Result<(), &'static str> {
    if !datetime::fits_scale(ticks, scale) {
        return Err(FRACTION);
    }
    let scaled = ticks / 10_u64.pow(7 - u32::from(scale.min(7)));
    out.extend(scaled.to_le_bytes().iter().take(usize::from(time_length(scale))));
    Ok(())
}

fn push_days(days: u32, out: &mut Vec<u8>) {
    out.extend(days.to_le_bytes().iter().take(3));
}

/// RFC 4122 order to SQL Server's: the first three groups are little-endian.
fn push_guid(bytes: &[u8], out: &mut Vec<u8>) {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    out.extend(ORDER.iter().filter_map(|&i| bytes.get(i)));
}

/// Writes a value behind its length: two bytes, or in the form of the MAX types one chunk of a known total length and the terminator.
fn framed(
    width: Width,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) -> std::result::Result<(), &'static str> {
    let header = out.len();
    let length_bytes = if matches!(width, Width::Unlimited) { 12 } else { 2 };
    out.resize(header + length_bytes, 0);
    let body = out.len();
    write(out);
    let length = out.len() - body;
    let mut patch = |at: usize, bytes: &[u8]| {
        if let Some(place) = out.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    match width {
        Width::Fixed(limit) | Width::UpTo(limit) if length > limit => return Err(LENGTH),
        Width::Fixed(limit) if length < limit => return Err(PADDED),
        Width::Fixed(_) | Width::UpTo(_) => patch(header, &(length as u16).to_le_bytes()),
        // No chunk: the four bytes of its length are the terminator.
        Width::Unlimited if length == 0 => {}
        Width::Unlimited => {
            let chunk = i32::try_from(length).map_err(|_| LENGTH)?;
            patch(header, &(length as u64).to_le_bytes());
            patch(header + 8, &chunk.to_le_bytes());
            out.extend([0; 4]);
        }
    }
    Ok(())
}

fn text_of<'a>(array: &'a dyn Array) -> Box<dyn Fn(usize) -> &'a str + Send + 'a> {
    match array.data_type() {
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            Box::new(move |row| values.value(row))
        }
        _ => {
            let values = array.as_string::<i64>();
            Box::new(move |row| values.value(row))
        }
    }
}

fn national_text<'a>(array: &'a dyn Array, width: Width) -> Encode<'a> {
    let text = text_of(array);
    Box::new(move |row, out| {
        let text = text(row);
        framed(width, out, |out| {
            if text.is_ascii() {
                out.extend(text.bytes().flat_map(|byte| [byte, 0]));
            } else {
                out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            }
        })
    })
}

fn code_page_text<'a>(array: &'a dyn Array, width: Width, code_page: &'a CodePage) -> Encode<'a> {
    let text = text_of(array);
    Box::new(move |row, out| {
        let text = text(row);
        if text.is_ascii() {
            return framed(width, out, |out| out.extend_from_slice(text.as_bytes()));
        }
        let bytes = (code_page.0)(text).ok_or("it holds a character that the column's code page lacks")?;
        framed(width, out, |out| out.extend_from_slice(&bytes))
    })
}

fn binary<'a>(array: &'a dyn Array, width: Width) -> Encode<'a> {
    let bytes: Box<dyn Fn(usize) -> &'a [u8] + Send + 'a> = match array.data_type() {
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            Box::new(move |row| values.value(row))
        }
        _ => {
            let values = array.as_binary::<i64>();
            Box::new(move |row| values.value(row))
        }
    };
    Box::new(move |row, out| framed(width, out, |out| out.extend_from_slice(bytes(row))))
}

#[cfg(test)]
mod tests;
