//! The model: columns that keep their identity, and rows of values by column.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use model::TableSchema;
use serde_json::{Value as Json, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Long,
    Text,
    At,
    Money { precision: u8 },
}

/// A column, by an identity that outlives its name.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) identity: usize,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
}

/// Values as they lie in Arrow; text in `text`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Null,
    Number(i64),
    Text(String),
}

pub(crate) type Row = BTreeMap<usize, Value>;

pub(crate) fn schema(columns: &[Column]) -> Arc<TableSchema> {
    let fields: Vec<_> = columns
        .iter()
        .map(|column| Field::new(&column.name, data_type(column.kind), column.nullable))
        .collect();
    let key = columns.iter().position(|column| column.identity == 0).unwrap();
    let count = fields.len();
    TableSchema::new(Arc::new(Schema::new(fields)), vec![key], vec![None; count]).unwrap()
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Int => DataType::Int32,
        Kind::Long => DataType::Int64,
        Kind::Text => DataType::Utf8,
        Kind::At => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::Money { precision } => DataType::Decimal128(precision, 2),
    }
}

pub(crate) fn batch(columns: &[Column], rows: &[Row]) -> RecordBatch {
    let arrays = columns.iter().map(|column| -> ArrayRef {
        let values = rows
            .iter()
            .map(|row| row.get(&column.identity).unwrap_or(&Value::Null));
        let number = |value: &Value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        };
        match column.kind {
            Kind::Int => Arc::new(
                values
                    .map(|v| number(v).map(|v| v as i32))
                    .collect::<Int32Array>(),
            ),
            Kind::Long => Arc::new(values.map(number).collect::<Int64Array>()),
            Kind::At => Arc::new(values.map(number).collect::<TimestampMicrosecondArray>()),
            Kind::Money { precision } => {
                let cents: Decimal128Array = values.map(|v| number(v).map(i128::from)).collect();
                Arc::new(cents.with_precision_and_scale(precision, 2).unwrap())
            }
            Kind::Text => Arc::new(
                values
                    .map(|value| match value {
                        Value::Text(text) => Some(text.as_str()),
                        _ => None,
                    })
                    .collect::<StringArray>(),
            ),
        }
    });
    RecordBatch::try_new(schema(columns).relaxed(), arrays.collect()).unwrap()
}

/// The rows of a batch with the columns of `columns`.
pub(crate) fn rows(columns: &[Column], batch: &RecordBatch) -> Vec<Row> {
    let value = |column: &Column, row: usize| {
        let array = batch.column_by_name(&column.name).unwrap();
        if array.is_null(row) {
            return Value::Null;
        }
        match column.kind {
            Kind::Int => Value::Number(array.as_primitive::<Int32Type>().value(row).into()),
            Kind::Long => Value::Number(array.as_primitive::<Int64Type>().value(row)),
            Kind::At => Value::Number(array.as_primitive::<TimestampMicrosecondType>().value(row)),
            Kind::Money { .. } => Value::Number(array.as_primitive::<Decimal128Type>().value(row) as i64),
            Kind::Text => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        }
    };
    (0..batch.num_rows())
        .map(|row| {
            let values = columns.iter().map(|column| (column.identity, value(column, row)));
            values.filter(|(_, value)| *value != Value::Null).collect()
        })
        .collect()
}

/// Rows as `tests/readers/compare_table.py` expects them.
pub(crate) fn json_rows<'a>(columns: &[Column], rows: impl Iterator<Item = &'a Row>) -> Vec<Json> {
    rows.map(|row| {
        let values = columns.iter().map(|column| match row.get(&column.identity) {
            None | Some(Value::Null) => Json::Null,
            Some(Value::Text(text)) => json!(text),
            Some(Value::Number(number)) => match column.kind {
                Kind::Int | Kind::Long | Kind::Text => json!(number),
                Kind::Money { .. } => json!(format!("{}.{:02}", number / 100, number % 100)),
                Kind::At => json!(instant(*number)),
            },
        });
        values.collect()
    })
    .collect()
}

/// An instant of the first days of 1970, or the last of 1969, in ISO 8601.
fn instant(micros: i64) -> String {
    let (day, second) = (
        micros.div_euclid(86_400_000_000),
        micros.rem_euclid(86_400_000_000) / 1_000_000,
    );
    let date = if day < 0 {
        format!("1969-12-{:02}", 32 + day)
    } else {
        format!("1970-01-{:02}", day + 1)
    };
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{date}T{hour:02}:{minute:02}:{:02}.{:06}",
        second % 60,
        micros.rem_euclid(1_000_000)
    )
}
