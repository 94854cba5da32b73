//! Passes over rows whose keys nobody asks for, before they are hashed: of the rows on pages that can hold a key, most do not.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{DataType, TimeUnit};
use arrow_select::take::take_record_batch;
use model::{Error, Result};

use crate::key::KeyFold;
use crate::read::FileRows;

/// Bits for each key, of which it sets one: of so many other rows, one is let through by mistake.
const BITS_PER_KEY: usize = 32;

/// The values of one key column that are looked for, and some others: a set of bits by what the values are mixed to.
#[derive(Debug)]
pub(crate) struct KeyFilter {
    column: usize,
    bits: Vec<u64>,
    /// What of a mixed value is not its bit's number.
    shift: u32,
}

impl KeyFilter {
    /// A filter by the column that tells most of `keys` apart, which are the key columns in key order; `None` where all are texts, bytes
    /// of any length, or lacking somewhere.
    pub(crate) fn of(keys: &RecordBatch, fold: &KeyFold) -> Option<Self> {
        let bits = (keys.num_rows() * BITS_PER_KEY).next_power_of_two().max(64);
        let shift = 64 - bits.trailing_zeros();
        let unfolded = (0..keys.num_columns()).filter(|column| fold.column(*column).is_none());
        let filters = unfolded.filter_map(|column| {
            let mut set = vec![0; bits / 64];
            for value in mixed(keys.column(column))? {
                let bit = value >> shift;
                set[(bit / 64) as usize] |= 1 << (bit % 64);
            }
            Some(Self {
                column,
                bits: set,
                shift,
            })
        });
        filters.max_by_key(|filter| filter.bits.iter().map(|bits| bits.count_ones()).sum::<u32>())
    }

    /// Those of the rows, which are key columns in key order, that may have one of the keys.
    ///
    /// # Errors
    ///
    /// `Internal` if the rows do not have the key's columns.
    pub(crate) fn sift(&self, rows: FileRows) -> Result<FileRows> {
        let Some(values) = rows.rows.columns().get(self.column).and_then(mixed) else {
            return Ok(rows);
        };
        let has = |value: u64| {
            let bit = value >> self.shift;
            self.bits[(bit / 64) as usize] & (1 << (bit % 64)) != 0
        };
        let likely = (0..).zip(values).filter(|(_, value)| has(*value));
        let likely: UInt32Array = likely.map(|(row, _): (u32, _)| row).collect();
        if likely.len() == rows.rows.num_rows() {
            return Ok(rows);
        }
        let taken = take_record_batch(&rows.rows, &likely)
            .map_err(|error| Error::internal("rows cannot be chosen by their keys").caused_by(error))?;
        let positions = likely.values().iter().map(|row| rows.positions[*row as usize]);
        Ok(FileRows {
            positions: positions.collect(),
            rows: taken,
        })
    }
}

/// The values of a column, mixed so that any of the upper bits tell them apart. Equal values are mixed to the same; `None` where that cannot be
/// said of their bytes.
fn mixed(column: &ArrayRef) -> Option<Vec<u64>> {
    if column.null_count() > 0 {
        return None;
    }
    let numbers = |values: &[i64]| values.iter().map(|value| mix(*value as u64, 0)).collect();
    let small = |values: &[i32]| values.iter().map(|value| mix(*value as u64, 0)).collect();
    Some(match column.data_type() {
        DataType::Int32 => small(column.as_primitive::<Int32Type>().values()),
        DataType::Date32 => small(column.as_primitive::<Date32Type>().values()),
        DataType::Int64 => numbers(column.as_primitive::<Int64Type>().values()),
        DataType::Time64(TimeUnit::Microsecond) => {
            numbers(column.as_primitive::<Time64MicrosecondType>().values())
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            numbers(column.as_primitive::<TimestampMicrosecondType>().values())
        }
        DataType::Decimal128(..) => {
            let values = column.as_primitive::<Decimal128Type>().values().iter();
            values
                .map(|value| mix(*value as u64, (*value >> 64) as u64))
                .collect()
        }
        DataType::FixedSizeBinary(16) => {
            let values = column.as_fixed_size_binary().values().chunks_exact(16);
            let halves = |value: &[u8]| {
                let number = u128::from_le_bytes(value.try_into().unwrap_or_default());
                mix(number as u64, (number >> 64) as u64)
            };
            values.map(halves).collect()
        }
        _ => return None,
    })
}

fn mix(low: u64, high: u64) -> u64 {
    let product = u128::from(low ^ 0x9E37_79B9_7F4A_7C15) * u128::from(high ^ 0xBF58_476D_1CE4_E5B9);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        Date32Array, Decimal128Array, FixedSizeBinaryArray, Int32Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };
    use arrow_schema::{Field, Schema};
    use model::TableSchema;

    use super::*;

    /// Columns as key columns, and how they are compared.
    fn keys(columns: Vec<ArrayRef>) -> (RecordBatch, KeyFold) {
        let fields = columns.iter().enumerate().map(|(number, column)| {
            Field::new(
                number.to_string(),
                column.data_type().clone(),
                column.null_count() > 0,
            )
        });
        let shape = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let count = columns.len();
        let schema = TableSchema::new(shape.clone(), (0..count).collect(), vec![None; count]);
        let rows = RecordBatch::try_new(shape, columns).unwrap();
        (rows, KeyFold::of(&schema.unwrap()))
    }

    fn sifted(filter: &KeyFilter, columns: Vec<ArrayRef>) -> Vec<u64> {
        let rows = keys(columns).0;
        // Positions that are not the rows' numbers.
        let positions = (0..rows.num_rows() as u64).map(|row| row * 3).collect();
        let sifted = filter.sift(FileRows { rows, positions }).unwrap();
        assert_eq!(sifted.rows.num_rows(), sifted.positions.len());
        sifted.positions
    }

    #[test]
    fn every_value_that_is_looked_for_is_let_through_and_few_others() {
        let uuid = |number: i64| (u128::from(number as u64) * 0x1_0001_0001).to_be_bytes();
        let columns: [fn(&[i64]) -> ArrayRef; 6] = [
            |n| Arc::new(n.iter().map(|n| *n as i32).collect::<Int32Array>()),
            |n| Arc::new(Int64Array::from(n.to_vec())),
            |n| Arc::new(Date32Array::from_iter_values(n.iter().map(|n| *n as i32))),
            |n| Arc::new(TimestampMicrosecondArray::from(n.to_vec())),
            |n| Arc::new(n.iter().map(|n| i128::from(*n)).collect::<Decimal128Array>()),
            |_| unreachable!(),
        ];
        for (number, column) in columns.iter().enumerate() {
            let column = |numbers: &[i64]| match number {
                5 => Arc::new(FixedSizeBinaryArray::try_from_iter(numbers.iter().map(|n| uuid(*n))).unwrap()),
                _ => column(numbers),
            };
            let wanted: Vec<i64> = (0..1_000).map(|n| n * 10 - 5_000).collect();
            let (rows, fold) = keys(vec![column(&wanted)]);
            let filter = KeyFilter::of(&rows, &fold).unwrap();
            let there: Vec<i64> = (-5_000..5_000).collect();
            let found = sifted(&filter, vec![column(&there)]);
            let expected = (0..1_000).map(|n| n * 10 * 3);
            let missed = expected.filter(|position| !found.contains(position)).count();
            assert_eq!(missed, 0, "column {number}");
            assert!(
                found.len() < 2_000,
                "column {number} lets {} through",
                found.len()
            );
        }
    }

    #[test]
    fn the_column_that_tells_most_keys_apart_is_taken() {
        let tenants = || Arc::new(Int32Array::from(vec![7; 100]));
        let numbers = |from| Arc::new(Int64Array::from_iter_values(from..from + 100));
        let (rows, fold) = keys(vec![tenants(), numbers(0)]);
        let filter = KeyFilter::of(&rows, &fold).unwrap();
        assert_eq!(filter.column, 1);
        let others = sifted(&filter, vec![tenants(), numbers(1_000)]).len();
        assert!(others < 50, "{others}");
    }

    #[test]
    fn texts_and_values_that_lack_are_not_sifted() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let (rows, fold) = keys(vec![texts]);
        assert!(KeyFilter::of(&rows, &fold).is_none());
        let (rows, fold) = keys(vec![Arc::new(Int64Array::from(vec![1, 2]))]);
        let filter = KeyFilter::of(&rows, &fold).unwrap();
        let lacking = Int64Array::from(vec![None, Some(9), Some(1)]);
        let shape = Schema::new(vec![Field::new("0", DataType::Int64, true)]);
        let rows = RecordBatch::try_new(Arc::new(shape), vec![Arc::new(lacking)]).unwrap();
        let positions = vec![4, 5, 6];
        let sifted = filter.sift(FileRows { rows, positions }).unwrap();
        assert_eq!(sifted.positions, [4, 5, 6]);
    }
}
