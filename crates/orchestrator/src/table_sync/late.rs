//! Rows that came late: their time lies before what earlier increments had read, and the target did not hold them as they are.

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use cdc::Ticks;
use model::{Error, LateDataReport, Result, TableName, TableSchema};

use crate::key_text::key_text;

/// From where on the source expects rows, see [`model::SourceEvent::Expected`].
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) column: String,
    pub(super) from: i64,
}

impl Expected {
    /// Those of the rows that came late. A row without a time is not expected at any.
    pub(super) fn late(
        &self,
        table: &TableName,
        schema: &TableSchema,
        rows: &RecordBatch,
    ) -> Result<Vec<LateDataReport>> {
        let times = rows
            .column_by_name(&self.column)
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| Error::internal(format!("{:?} is no column of times", self.column)))?;
        let keys = rows
            .project(schema.key())
            .map_err(|e| Error::internal("a key column is missing").caused_by(e))?;
        let late = (0..rows.num_rows()).filter(|row| times.is_valid(*row) && times.value(*row) < self.from);
        late.map(|row| {
            let actual = times.value(row);
            Ok(LateDataReport {
                table: table.to_string(),
                record_id: key_text(&keys, row)?,
                expected: Ticks::from_unix_micros(self.from).to_string(),
                actual: Ticks::from_unix_micros(actual).to_string(),
                delay_seconds: self.from.saturating_sub(actual) as f64 / 1e6,
                handled: "applied".into(),
            })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int32Array, TimestampMicrosecondArray};
    use arrow_schema::{DataType, Field, Schema, TimeUnit};

    use super::*;

    #[test]
    fn rows_before_what_is_expected_are_late() {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let fields = vec![
            Field::new("id", DataType::Int32, false),
            Field::new("updated_at", time, true),
        ];
        let schema = TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None, None]).unwrap();
        let times = [
            Some(1_600_000_000_000_000),
            Some(1_600_000_003_500_000),
            Some(1_600_000_003_500_001),
            None,
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![1, 2, 3, 4])),
            Arc::new(TimestampMicrosecondArray::from(times.to_vec())),
        ];
        let rows = RecordBatch::try_new(schema.arrow().clone(), columns).unwrap();
        let expected = Expected {
            column: "updated_at".into(),
            from: 1_600_000_003_500_000,
        };
        let late = expected
            .late(&TableName::new("dbo", "T"), &schema, &rows)
            .unwrap();
        let only = LateDataReport {
            table: "dbo.T".into(),
            record_id: r#"{"id":1}"#.into(),
            expected: "2020-09-13 12:26:43.5".into(),
            actual: "2020-09-13 12:26:40".into(),
            delay_seconds: 3.5,
            handled: "applied".into(),
        };
        assert_eq!(late, [only]);
    }
}
