//! Keys as people read them.

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::array_value_to_string;
use arrow_schema::DataType;
use model::{Error, Result};

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BinaryArray, Date32Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

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
