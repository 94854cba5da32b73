//! Arrow builders for the types in use, fed one value at a time.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, FixedSizeBinaryBuilder, Float32Builder,
    Float64Builder, Int32Builder, Int64Builder, LargeBinaryBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_schema::{DataType, TimeUnit};
use model::{Error, Result};

use crate::text_column::TextColumn;

/// One column under construction. The typed methods return whether the column takes such a value; if not, nothing is
/// appended.
#[derive(Debug)]
pub(crate) enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(TextColumn<i32>),
    LargeText(TextColumn<i64>),
    Binary(BinaryBuilder),
    LargeBinary(LargeBinaryBuilder),
    Uuid(FixedSizeBinaryBuilder),
}

impl ColumnBuilder {
    /// An empty column with room for so many rows, and for so many bytes if it is of text; it grows.
    pub(crate) fn new(ty: &DataType, rows: usize, text: usize) -> Result<Self> {
        Ok(match ty {
            DataType::Boolean => Self::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Int32 => Self::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            DataType::Float32 => Self::Float32(Float32Builder::with_capacity(rows)),
            DataType::Float64 => Self::Float64(Float64Builder::with_capacity(rows)),
            DataType::Decimal128(_, scale) => Self::Decimal(
                Decimal128Builder::with_capacity(rows).with_data_type(ty.clone()),
                u8::try_from(*scale).map_err(|_| Error::internal("a decimal has a negative scale"))?,
            ),
            DataType::Date32 => Self::Date(Date32Builder::with_capacity(rows)),
            DataType::Time64(TimeUnit::Microsecond) => {
                Self::Time(Time64MicrosecondBuilder::with_capacity(rows))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(ty.clone()))
            }
            DataType::Utf8 => Self::Text(TextColumn::new(rows, text)),
            DataType::LargeUtf8 => Self::LargeText(TextColumn::new(rows, text)),
            DataType::Binary => Self::Binary(BinaryBuilder::with_capacity(rows, 0)),
            DataType::LargeBinary => Self::LargeBinary(LargeBinaryBuilder::with_capacity(rows, 0)),
            DataType::FixedSizeBinary(16) => Self::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16)),
            other => {
                return Err(Error::internal(format!(
                    "no SQL Server column is read as {other}"
                )));
            }
        })
    }

    pub(crate) fn null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal(builder, _) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Text(column) => column.null(),
            Self::LargeText(column) => column.null(),
            Self::Binary(builder) => builder.append_null(),
            Self::LargeBinary(builder) => builder.append_null(),
            Self::Uuid(builder) => builder.append_null(),
        }
    }

    pub(crate) fn bool(&mut self, value: bool) -> bool {
        let Self::Bool(builder) = self else { return false };
        builder.append_value(value);
        true
    }

    pub(crate) fn int(&mut self, value: i64) -> bool {
        match self {
            Self::Int32(builder) => {
                let Ok(value) = i32::try_from(value) else {
                    return false;
                };
                builder.append_value(value);
            }
            Self::Int64(builder) => builder.append_value(value),
            _ => return false,
        }
        true
    }

    pub(crate) fn real(&mut self, value: f32) -> bool {
        let Self::Float32(builder) = self else {
            return false;
        };
        builder.append_value(value);
        true
    }

    pub(crate) fn float(&mut self, value: f64) -> bool {
        let Self::Float64(builder) = self else {
            return false;
        };
        builder.append_value(value);
        true
    }

    pub(crate) fn decimal(&mut self, unscaled: i128, scale: u8) -> bool {
        match self {
            Self::Decimal(builder, expected) if *expected == scale => {
                builder.append_value(unscaled);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn date(&mut self, value: i32) -> bool {
        let Self::Date(builder) = self else { return false };
        builder.append_value(value);
        true
    }

    pub(crate) fn time(&mut self, micros: i64) -> bool {
        let Self::Time(builder) = self else { return false };
        builder.append_value(micros);
        true
    }

    pub(crate) fn timestamp(&mut self, micros: i64) -> bool {
        let Self::Timestamp(builder) = self else {
            return false;
        };
        builder.append_value(micros);
        true
    }

    /// Appends the text that `append` adds to the bytes, and returns its length; `None` if the column takes none. That it is UTF-8 is
    /// checked when the column is finished.
    pub(crate) fn text<E>(
        &mut self,
        append: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), E>,
    ) -> std::result::Result<Option<usize>, E> {
        match self {
            Self::Text(column) => column.push(append),
            Self::LargeText(column) => column.push(append),
            _ => Ok(None),
        }
    }

    /// The bytes of the texts so far; none if it is of another type.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Text(column) => column.bytes(),
            Self::LargeText(column) => column.bytes(),
            _ => 0,
        }
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> bool {
        match self {
            Self::Binary(builder) => builder.append_value(value),
            Self::LargeBinary(builder) => builder.append_value(value),
            _ => return false,
        }
        true
    }

    pub(crate) fn uuid(&mut self, value: &[u8; 16]) -> bool {
        let Self::Uuid(builder) = self else { return false };
        builder.append_value(value).is_ok()
    }

    pub(crate) fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::Int32(mut builder) => Arc::new(builder.finish()),
            Self::Int64(mut builder) => Arc::new(builder.finish()),
            Self::Float32(mut builder) => Arc::new(builder.finish()),
            Self::Float64(mut builder) => Arc::new(builder.finish()),
            Self::Decimal(mut builder, _) => Arc::new(builder.finish()),
            Self::Date(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
            Self::Timestamp(mut builder) => Arc::new(builder.finish()),
            Self::Text(column) => Arc::new(column.finish()?),
            Self::LargeText(column) => Arc::new(column.finish()?),
            Self::Binary(mut builder) => Arc::new(builder.finish()),
            Self::LargeBinary(mut builder) => Arc::new(builder.finish()),
            Self::Uuid(mut builder) => Arc::new(builder.finish()),
        })
    }
}
