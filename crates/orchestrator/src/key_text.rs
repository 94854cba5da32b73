//! Keys as people read them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_cast::display::array_value_to_string;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Schema};
use model::{Error, ErrorKind, KeyRange, Result, TableSchema};

/// One row of key columns as JSON: `{"OrderId":7}`.
pub(crate) fn key_text(keys: &RecordBatch, row: usize) -> Result<String> {
    let fields = keys.schema();
    let pairs = fields.fields().iter().zip(keys.columns()).map(|(field, column)| {
        Ok(format!(
            "{}:{}",
            serde_json::Value::from(field.name().as_str()),
            value_text(column, row)?
        ))
    });
    Ok(format!("{{{}}}", pairs.collect::<Result<Vec<_>>>()?.join(",")))
}

fn value_text(column: &ArrayRef, row: usize) -> Result<String> {
    if column.is_null(row) {
        return Ok("null".into());
    }
    let text = array_value_to_string(column, row)
        .map_err(|e| Error::internal("a key cannot be shown").caused_by(e))?;
    Ok(match column.data_type() {
        DataType::Int32 | DataType::Int64 | DataType::Boolean => text,
        _ => serde_json::Value::from(text).to_string(),
    })
}

/// The range between two keys of a table, or beginnings of keys, as people write them: a value of the first column, or JSON as reports have
/// it, `{"OrderId":7,"Line":1}`.
///
/// # Errors
///
/// `Config` if that is no key of the table, or one that cannot be the end of a range.
pub fn key_range(schema: &TableSchema, from: Option<&str>, to: Option<&str>) -> Result<KeyRange> {
    let end = |text: Option<&str>| text.map(|text| key_of(schema, text)).transpose();
    KeyRange::new(schema, end(from)?, end(to)?)
}

/// One key, or its first columns.
fn key_of(schema: &TableSchema, text: &str) -> Result<RecordBatch> {
    let refused = || {
        Error::new(ErrorKind::Config, format!("{text:?} is no key of the table"))
            .with("key", schema.key_names().join(", "))
            .hint(r#"name a value of the first column, or columns as `verify` does: '{"OrderId":7}'"#)
    };
    let key = schema.key_names();
    let first = key.first().copied().ok_or_else(refused)?;
    let mut values = match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(columns)) => columns,
        _ => [(first.to_owned(), text.into())].into_iter().collect(),
    };
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for name in key {
        let Some(value) = values.remove(name) else { break };
        let field = schema.arrow().field_with_name(name);
        let field = field.map_err(|e| refused().caused_by(e))?;
        let value = match (value, field.data_type()) {
            (serde_json::Value::String(text), _) => text,
            // Beyond 15 digits the number that JSON gives is not the one that was written.
            (serde_json::Value::Number(_), DataType::Decimal128(..)) => {
                return Err(refused().hint(format!(
                    "{name} is a decimal: write it in quotes, '{{\"{name}\":\"1.50\"}}'"
                )));
            }
            (other, _) => other.to_string(),
        };
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let column = cast_with_options(&StringArray::from(vec![value]), field.data_type(), &strict);
        columns.push(column.map_err(|e| refused().caused_by(e))?);
        fields.push(field.clone());
    }
    if !values.is_empty() || columns.is_empty() {
        return Err(refused());
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| refused().caused_by(e))
}

#[cfg(test)]
mod tests {
    use arrow_array::{BinaryArray, Date32Array, Int64Array, TimestampMicrosecondArray};
    use arrow_schema::{Field, TimeUnit};

    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_shown() {
        let fields = vec![
            Field::new("day", DataType::Date32, false),
            Field::new("no", DataType::Int64, false),
            Field::new("name", DataType::Utf8, false),
        ];
        let schema = Arc::new(Schema::new(fields));
        let schema = TableSchema::new(schema, vec![0, 1, 2], vec![None, None, None]).unwrap();
        for (text, shown) in [
            ("2026-11-21", Some(r#"{"day":"2026-11-21"}"#)),
            (r#"{"day":"2026-11-21"}"#, Some(r#"{"day":"2026-11-21"}"#)),
            (
                r#"{"no":-7,"day":"2026-11-21"}"#,
                Some(r#"{"day":"2026-11-21","no":-7}"#),
            ),
            (r#"{"no":7}"#, None),
            (r#"{"day":"2026-11-21","line":7}"#, None),
            (r#"{"day":"2026-11-21","no":"seven"}"#, None),
            ("2026-11-41", None),
            ("", None),
            // Texts have no order that all share.
            (r#"{"day":"2026-11-21","no":7,"name":"x"}"#, None),
        ] {
            let range = key_range(&schema, Some(text), None);
            let found = range
                .ok()
                .map(|range| key_text(range.from().unwrap(), 0).unwrap());
            assert_eq!(found.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn a_range_that_begins_above_its_end_is_refused() {
        for (key, from, to) in [
            (DataType::Int64, "5", "1"),
            (DataType::Int32, "-1", "-5"),
            (DataType::Date32, "2026-11-21", "2026-11-20"),
            (DataType::Decimal128(38, 2), "1.51", "1.50"),
            (
                DataType::Timestamp(TimeUnit::Microsecond, None),
                "2026-11-21T00:00:01",
                "2026-11-21T00:00:00",
            ),
        ] {
            let schema = Arc::new(Schema::new(vec![Field::new("key", key, false)]));
            let schema = TableSchema::new(schema, vec![0], vec![None]).unwrap();
            let error = key_range(&schema, Some(from), Some(to)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains("above its end"), "{error}");
            assert!(key_range(&schema, Some(to), Some(from)).is_ok(), "{to} to {from}");
        }
    }

    #[test]
    fn a_decimal_is_read_from_text_only() {
        let fields = vec![Field::new("amount", DataType::Decimal128(38, 2), false)];
        let schema = TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None]).unwrap();
        let digits = "12345678901234567890.12";
        for text in [digits.to_owned(), format!(r#"{{"amount":"{digits}"}}"#)] {
            let range = key_range(&schema, Some(&text), None).unwrap();
            let shown = key_text(range.from().unwrap(), 0).unwrap();
            assert_eq!(shown, format!(r#"{{"amount":"{digits}"}}"#));
        }
        let error = key_range(&schema, Some(&format!(r#"{{"amount":{digits}}}"#)), None).unwrap_err();
        assert!(error.advice().contains("quotes"), "{error}");
    }

    #[test]
    fn a_key_of_any_type_can_be_shown() {
        let instants = TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC");
        for (column, text) in [
            (Arc::new(Int64Array::from(vec![-7])) as ArrayRef, "-7"),
            (Arc::new(StringArray::from(vec!["a\"b"])), r#""a\"b""#),
            (Arc::new(Date32Array::from(vec![0])), r#""1970-01-01""#),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![0])),
                r#""1970-01-01T00:00:00""#,
            ),
            (Arc::new(instants), r#""1970-01-01T00:00:00Z""#),
            (Arc::new(BinaryArray::from(vec![&b"\x01\xff"[..]])), r#""01ff""#),
        ] {
            assert_eq!(value_text(&column, 0).unwrap(), text);
        }
    }
}
