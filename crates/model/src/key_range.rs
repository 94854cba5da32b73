//! A range of keys whose order all sources share.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::DataType;

use crate::{Error, ErrorKind, Result, TableSchema};

/// Keys from one to another, both included.
///
/// An end may be open, and may have the first columns of a key only: then all keys that begin so are within. Only numbers, dates and times
/// can be an end: texts and UUIDs have an order of their own on each side.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRange {
    from: Option<RecordBatch>,
    to: Option<RecordBatch>,
}

impl KeyRange {
    /// The range between two ends, each of which is one row of the first key columns of `schema`, in key order and with its types.
    ///
    /// # Errors
    ///
    /// `Config` if an end is something else, a column of it has no order that all sources share, or the first end is above the last.
    pub fn new(schema: &TableSchema, from: Option<RecordBatch>, to: Option<RecordBatch>) -> Result<Self> {
        for end in from.iter().chain(&to) {
            let key = schema.key_names();
            let fields = end.schema_ref().fields();
            let begins = !fields.is_empty()
                && fields.len() <= key.len()
                && fields.iter().zip(key).all(|(field, name)| field.name() == name);
            if end.num_rows() != 1 || !begins {
                return Err(Error::new(
                    ErrorKind::Config,
                    "an end of a key range is not one key, or the first columns of one",
                )
                .with("key", schema.key_names().join(", ")));
            }
            for (field, column) in fields.iter().zip(end.columns()) {
                let expected = schema.arrow().field_with_name(field.name());
                let fits = expected.is_ok_and(|expected| expected.data_type() == field.data_type());
                if !fits {
                    return Err(Error::new(
                        ErrorKind::Config,
                        format!(
                            "column {:?} of a key range has another type than in the key",
                            field.name()
                        ),
                    ));
                }
                if column.is_null(0) || numbers(column).is_none() {
                    return Err(Error::new(
                        ErrorKind::Config,
                        format!(
                            "column {:?} cannot be the end of a key range: only numbers, dates and times have an order that all sides share",
                            field.name()
                        ),
                    ));
                }
            }
        }
        if let (Some(from), Some(to)) = (&from, &to)
            && is_above(from, to)
        {
            return Err(Error::new(
                ErrorKind::Config,
                "the range has no keys: it begins above its end",
            )
            .hint("exchange its two ends"));
        }
        Ok(Self { from, to })
    }

    /// The first key, or how it begins.
    pub fn from(&self) -> Option<&RecordBatch> {
        self.from.as_ref()
    }

    /// The last key, or how it begins.
    pub fn to(&self) -> Option<&RecordBatch> {
        self.to.as_ref()
    }

    /// The first column of the key, and the least and the greatest value that it has within; `None` if no value is outside.
    pub fn of_first_column(&self) -> Option<(&str, RangeInclusive<i128>)> {
        let first = |end: &Option<RecordBatch>| {
            let column = end.as_ref().and_then(|end| end.columns().first())?;
            numbers(column)?.first().copied()
        };
        let named = self.from.as_ref().or(self.to.as_ref())?;
        let least = first(&self.from).unwrap_or(i128::MIN);
        let greatest = first(&self.to).unwrap_or(i128::MAX);
        Some((named.schema_ref().field(0).name(), least..=greatest))
    }

    /// Which of the rows are within. They have the key columns, by name and with the types of the ends.
    ///
    /// # Errors
    ///
    /// `Internal` if they have not.
    pub fn within(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let mut within = vec![true; rows.num_rows()];
        for (end, outside) in [(&self.from, Ordering::Less), (&self.to, Ordering::Greater)] {
            let Some(end) = end else { continue };
            for (within, order) in within.iter_mut().zip(compared(rows, end)?) {
                *within &= order != outside;
            }
        }
        Ok(BooleanArray::from(within))
    }
}

/// How the key of each row compares with that of `end`, as far as this goes.
fn compared(rows: &RecordBatch, end: &RecordBatch) -> Result<Vec<Ordering>> {
    let mut orders = vec![Ordering::Equal; rows.num_rows()];
    for (field, end) in end.schema_ref().fields().iter().zip(end.columns()) {
        let column = rows
            .column_by_name(field.name())
            .filter(|column| column.data_type() == end.data_type());
        let unfit = || {
            Error::internal(format!(
                "rows have no key column {:?} of the type of a range",
                field.name()
            ))
        };
        let values = column.and_then(numbers).ok_or_else(unfit)?;
        let end = numbers(end)
            .and_then(|end| end.first().copied())
            .ok_or_else(unfit)?;
        for (order, value) in orders.iter_mut().zip(values) {
            *order = order.then(value.cmp(&end));
        }
    }
    Ok(orders)
}

/// Whether one end is above the other, as far as both go.
fn is_above(from: &RecordBatch, to: &RecordBatch) -> bool {
    let both = from.columns().iter().zip(to.columns());
    let order = both.map(|(from, to)| numbers(from).cmp(&numbers(to)));
    order.fold(Ordering::Equal, Ordering::then).is_gt()
}

/// The values of a column in their order; `None` if each source has an order of its own.
fn numbers(column: &ArrayRef) -> Option<Vec<i128>> {
    fn wide<T: Copy + Into<i128>>(values: &[T]) -> Vec<i128> {
        values.iter().map(|value| (*value).into()).collect()
    }
    match column.data_type() {
        DataType::Int32 => Some(wide(column.as_primitive::<Int32Type>().values())),
        DataType::Int64 => Some(wide(column.as_primitive::<Int64Type>().values())),
        DataType::Decimal128(..) => Some(column.as_primitive::<Decimal128Type>().values().to_vec()),
        DataType::Date32 => Some(wide(column.as_primitive::<Date32Type>().values())),
        DataType::Time64(_) => {
            let times = column.as_primitive_opt::<Time64MicrosecondType>()?;
            Some(wide(times.values()))
        }
        DataType::Timestamp(..) => {
            let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
            Some(wide(times.values()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, Int64Array, StringArray, TimestampNanosecondArray};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn batch(columns: &[(&str, Vec<i32>)]) -> RecordBatch {
        let columns = columns.iter().map(|(name, values)| {
            let column: ArrayRef = Arc::new(Int32Array::from(values.clone()));
            (*name, column)
        });
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn schema(second: DataType) -> Arc<TableSchema> {
        let fields = vec![
            Field::new("a", DataType::Int32, false),
            Field::new("b", second, false),
        ];
        TableSchema::new(Arc::new(Schema::new(fields)), vec![0, 1], vec![None, None]).unwrap()
    }

    #[test]
    fn both_ends_are_within_and_so_is_whatever_begins_like_them() {
        let rows = batch(&[("b", vec![1, 5, 1, 5, 1, 5]), ("a", vec![1, 1, 2, 2, 3, 3])]);
        let whole = |a, b| Some(batch(&[("a", vec![a]), ("b", vec![b])]));
        let first = |a| Some(batch(&[("a", vec![a])]));
        for (from, to, within) in [
            (None, None, [true; 6]),
            (whole(1, 5), None, [false, true, true, true, true, true]),
            (None, whole(2, 1), [true, true, true, false, false, false]),
            (whole(1, 2), whole(2, 4), [false, true, true, false, false, false]),
            (first(2), first(2), [false, false, true, true, false, false]),
            (first(2), whole(3, 1), [false, false, true, true, true, false]),
        ] {
            let range = KeyRange::new(&schema(DataType::Int32), from, to).unwrap();
            let found: Vec<bool> = range.within(&rows).unwrap().iter().flatten().collect();
            assert_eq!(found, within, "{range:?}");
        }
    }

    #[test]
    fn a_range_does_not_begin_above_its_end() {
        let whole = |a, b| Some(batch(&[("a", vec![a]), ("b", vec![b])]));
        let first = |a| Some(batch(&[("a", vec![a])]));
        for (from, to, fits) in [
            (first(3), first(1), false),
            (whole(2, 2), whole(2, 1), false),
            (whole(2, 2), first(1), false),
            (whole(2, 2), first(2), true),
            (first(2), whole(2, 1), true),
            (whole(1, 5), whole(2, 1), true),
        ] {
            let range = KeyRange::new(&schema(DataType::Int32), from, to);
            assert_eq!(range.is_ok(), fits, "{range:?}");
        }
    }

    #[test]
    fn an_end_is_the_beginning_of_a_key_in_an_order_that_all_share() {
        let text = |name: &str| {
            let column: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
            (name.to_owned(), column)
        };
        let number = |name: &str| {
            let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
            (name.to_owned(), column)
        };
        let long = |name: &str| {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
            (name.to_owned(), column)
        };
        let nanoseconds = |name: &str| {
            let column: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]));
            (name.to_owned(), column)
        };
        for (columns, fits) in [
            (vec![number("a")], true),
            (vec![number("a"), text("b")], false),
            (vec![long("a")], false),
            (vec![nanoseconds("a")], false),
            (vec![number("b")], false),
            (vec![number("a"), number("b"), number("c")], false),
        ] {
            let end = RecordBatch::try_from_iter(columns.clone()).unwrap();
            let range = KeyRange::new(&schema(DataType::Utf8), Some(end), None);
            assert_eq!(range.is_ok(), fits, "{columns:?}");
        }
        let two = batch(&[("a", vec![1, 2])]);
        assert!(KeyRange::new(&schema(DataType::Int32), None, Some(two)).is_err());
    }
}
