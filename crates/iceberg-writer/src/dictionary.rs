//! Which columns of a file get a dictionary: it is worth its price only where values repeat. A sample of the file's first rows tells.

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ord::partition::partition;
use arrow_ord::sort::sort;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

/// Rows that are looked at.
const SAMPLE: usize = 1024;

/// The properties of a file that begins with `rows`: no dictionary for columns in which more than half of the sampled values differ.
/// There the writer would look up each value in a table that grows with the file, and keep the values all the same.
pub(crate) fn chosen_for(rows: &RecordBatch, properties: WriterProperties) -> WriterProperties {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    columns
        .filter(|(_, column)| !repeats(column))
        .fold(properties.into_builder(), |builder, (field, _)| {
            builder.set_column_dictionary_enabled(ColumnPath::new(vec![field.name().clone()]), false)
        })
        .build()
}

fn repeats(column: &ArrayRef) -> bool {
    let sample = column.slice(0, column.len().min(SAMPLE));
    let sorted = sort(&sample, None);
    let runs = sorted.and_then(|sorted| partition(&[sorted]));
    // A type that cannot be sorted keeps its dictionary.
    runs.map_or(true, |runs| runs.len() * 2 <= sample.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Decimal128Array, FixedSizeBinaryArray, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_column_has_a_dictionary_if_its_values_repeat() {
        let numbers = 0..5_000_i64;
        let words = ["new", "paid", "sent"];
        let guids = numbers.clone().map(|n| i128::from(n).to_be_bytes());
        let columns: [(&str, ArrayRef, bool); 6] = [
            (
                "key",
                Arc::new(Int64Array::from_iter_values(numbers.clone())),
                false,
            ),
            (
                "word",
                Arc::new(StringArray::from_iter_values(
                    numbers.clone().map(|n| words[n as usize % 3]),
                )),
                true,
            ),
            (
                "null",
                Arc::new(Float64Array::from_iter(
                    numbers.clone().map(|n| (n % 8 == 0).then_some(n as f64)),
                )),
                true,
            ),
            (
                "amount",
                Arc::new(Decimal128Array::from_iter_values(numbers.clone().map(i128::from))),
                false,
            ),
            (
                "guid",
                Arc::new(FixedSizeBinaryArray::try_from_iter(guids).unwrap()),
                false,
            ),
            (
                "half",
                Arc::new(Int64Array::from_iter_values(numbers.map(|n| n / 2))),
                true,
            ),
        ];
        for (name, array, expected) in columns {
            let rows = RecordBatch::try_from_iter([(name, array)]).unwrap();
            let properties = chosen_for(&rows, WriterProperties::default());
            let path = ColumnPath::new(vec![name.to_owned()]);
            assert_eq!(properties.dictionary_enabled(&path), expected, "{name}");
        }
    }
}
