//! Rows with an odd time: one before what earlier increments had read, none, or one that lies far ahead.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use cdc::Ticks;
use model::{Error, ExpectedTimes, LateDataReport, OddTime, Result, TableName, TableSchema};

use crate::key_text::key_text;

/// What was done with such rows.
pub(super) const APPLIED: &str = "applied";
pub(crate) const HELD: &str = "held";
pub(super) const REFUSED: &str = "refused";
pub(crate) const DEAD_LETTER: &str = "dead_letter";

/// Which times are expected, and of which table's rows.
#[derive(Debug, Clone)]
pub(super) struct Expected<'a> {
    pub(super) table: &'a TableName,
    pub(super) schema: &'a TableSchema,
    pub(super) times: &'a ExpectedTimes,
}

impl Expected<'_> {
    /// Those of the rows whose time is odd. They hold the key columns and the column of times, others perhaps as well.
    pub(super) fn odd(&self, rows: &RecordBatch, handled: &str) -> Result<Vec<LateDataReport>> {
        let missing = |e| Error::internal("a key column is missing").caused_by(e);
        let places = self
            .schema
            .key_names()
            .into_iter()
            .map(|name| rows.schema().index_of(name));
        let places: Vec<_> = places.collect::<std::result::Result<_, _>>().map_err(missing)?;
        let keys = rows.project(&places).map_err(missing)?;
        let mut odd = Vec::new();
        for (row, time) in self.times_of(rows)?.into_iter().enumerate() {
            let Some((kind, expected)) = self.judged(time) else {
                continue;
            };
            let told = |micros: i64| Ticks::from_unix_micros(micros).to_string();
            odd.push(LateDataReport {
                table: self.table.to_string(),
                record_id: key_text(&keys, row)?,
                kind,
                expected: told(expected),
                actual: time.map_or_else(|| "NULL".to_owned(), told),
                delay_seconds: time.map_or(0.0, |time| expected.saturating_sub(time) as f64 / 1e6),
                handled: handled.to_owned(),
            });
        }
        Ok(odd)
    }

    /// Which of the rows are not applied, but put among the dead letters.
    pub(super) fn dead(&self, rows: &RecordBatch) -> Result<Vec<Option<OddTime>>> {
        let kinds = self.times_of(rows)?.into_iter().map(|time| {
            let (kind, _) = self.judged(time)?;
            self.times.dead_letters.contains(&kind).then_some(kind)
        });
        Ok(kinds.collect())
    }

    /// The latest time of each row.
    fn times_of(&self, rows: &RecordBatch) -> Result<Vec<Option<i64>>> {
        let mut latest = vec![None; rows.num_rows()];
        for name in &self.times.columns {
            let column = rows
                .column_by_name(name)
                .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
                .ok_or_else(|| Error::internal(format!("{name:?} is no column of times")))?;
            for (latest, time) in latest.iter_mut().zip(column) {
                *latest = time.max(*latest);
            }
        }
        Ok(latest)
    }

    /// What is odd about a time, and what was expected instead.
    fn judged(&self, time: Option<i64>) -> Option<(OddTime, i64)> {
        let ExpectedTimes { from, upto, .. } = *self.times;
        match time {
            None => Some((OddTime::Missing, from)),
            Some(time) if time < from => Some((OddTime::Late, from)),
            Some(time) if time > upto => Some((OddTime::Ahead, upto)),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int32Array, TimestampMicrosecondArray};
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn times_that_are_not_expected_are_told() {
        let time = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None);
        let fields = vec![
            Field::new("id", DataType::Int32, false),
            Field::new("updated_at", time, true),
        ];
        let schema = TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None, None]).unwrap();
        let times = [
            Some(1_600_000_000_000_000),
            Some(1_600_000_003_500_000),
            Some(1_600_000_100_000_000),
            Some(1_600_000_100_500_000),
            None,
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5])),
            Arc::new(TimestampMicrosecondArray::from(times.to_vec())),
        ];
        let rows = RecordBatch::try_new(schema.arrow().clone(), columns).unwrap();
        let expected = Expected {
            table: &TableName::new("dbo", "T"),
            schema: &schema,
            times: &ExpectedTimes {
                columns: vec!["updated_at".into()],
                from: 1_600_000_003_500_000,
                upto: 1_600_000_100_000_000,
                late_refused: false,
                dead_letters: vec![OddTime::Late, OddTime::Ahead],
            },
        };
        let from = "2020-09-13 12:26:43.5";
        let told = [
            (1, OddTime::Late, from, "2020-09-13 12:26:40", 3.5),
            (
                4,
                OddTime::Ahead,
                "2020-09-13 12:28:20",
                "2020-09-13 12:28:20.5",
                -0.5,
            ),
            (5, OddTime::Missing, from, "NULL", 0.0),
        ];
        let told = told.map(|(id, kind, expected, actual, delay_seconds)| LateDataReport {
            table: "dbo.T".into(),
            record_id: format!(r#"{{"id":{id}}}"#),
            kind,
            expected: expected.into(),
            actual: actual.into(),
            delay_seconds,
            handled: "applied".into(),
        });
        assert_eq!(expected.odd(&rows, APPLIED).unwrap(), told);
        let dead = [Some(OddTime::Late), None, None, Some(OddTime::Ahead), None];
        assert_eq!(expected.dead(&rows).unwrap(), dead);
    }
}
