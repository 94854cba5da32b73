//! Orders: ten columns, some of which compress well.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use model::TableSchema;

/// Rows of a batch.
pub(crate) const BATCH: u64 = 16_384;

/// What the key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A number that grows.
    Number,
    /// A UUID, in no order.
    Uuid,
}

pub(crate) fn schema(key: Key) -> Arc<TableSchema> {
    let key = match key {
        Key::Number => DataType::Int64,
        Key::Uuid => DataType::FixedSizeBinary(16),
    };
    let fields = vec![
        Field::new("id", key, false),
        Field::new("customer", DataType::Int32, false),
        Field::new("product", DataType::Int32, false),
        Field::new("quantity", DataType::Int32, true),
        Field::new("price", DataType::Decimal128(12, 2), false),
        Field::new("discount", DataType::Float64, true),
        Field::new("paid", DataType::Boolean, false),
        Field::new("state", DataType::Utf8, false),
        Field::new("note", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ];
    let count = fields.len();
    TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None; count]).unwrap()
}

/// Well mixed bits of a number.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The rows with these numbers, in their `version`.
pub(crate) fn batch(key: Key, numbers: &[u64], version: u64) -> RecordBatch {
    let random: Vec<u64> = numbers
        .iter()
        .map(|number| mixed(number ^ (version << 40)))
        .collect();
    let ints = |f: fn(u64) -> i32| -> ArrayRef {
        Arc::new(random.iter().map(|r| Some(f(*r))).collect::<Int32Array>())
    };
    let prices: Decimal128Array = random.iter().map(|r| Some(i128::from(r % 1_000_000))).collect();
    let states = ["new", "picked", "packed", "sent", "returned"];
    let notes = random
        .iter()
        .map(|r| (r % 3 == 0).then(|| format!("please leave it at door {} of house {}", r % 977, r % 8_191)));
    let columns: Vec<ArrayRef> = vec![
        keys(key, numbers),
        ints(|r| (r % 50_000) as i32),
        ints(|r| (r >> 20) as i32 % 5_000),
        ints(|r| (r >> 40) as i32 % 20),
        Arc::new(prices.with_precision_and_scale(12, 2).unwrap()),
        Arc::new(
            random
                .iter()
                .map(|r| (r % 4 == 0).then_some((r % 100) as f64 / 200.0))
                .collect::<Float64Array>(),
        ),
        Arc::new(random.iter().map(|r| Some(r % 2 == 0)).collect::<BooleanArray>()),
        Arc::new(StringArray::from_iter_values(
            random.iter().map(|r| states[(r >> 8) as usize % 5]),
        )),
        Arc::new(notes.collect::<StringArray>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(
            numbers
                .iter()
                .map(|number| 1_700_000_000_000_000 + *number as i64 * 250_000),
        )),
    ];
    RecordBatch::try_new(schema(key).relaxed(), columns).unwrap()
}

fn keys(key: Key, numbers: &[u64]) -> ArrayRef {
    match key {
        Key::Number => Arc::new(Int64Array::from_iter_values(
            numbers.iter().map(|number| *number as i64),
        )),
        Key::Uuid => {
            let uuids = numbers.iter().map(|number| {
                let (high, low) = (mixed(*number), mixed(!*number));
                ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
            });
            Arc::new(FixedSizeBinaryArray::try_from_iter(uuids).unwrap())
        }
    }
}

/// The batches of a table of so many rows.
pub(crate) fn batches(key: Key, rows: u64) -> impl Iterator<Item = RecordBatch> + Send {
    (0..rows.div_ceil(BATCH)).map(move |index| {
        let numbers: Vec<u64> = (index * BATCH..((index + 1) * BATCH).min(rows)).collect();
        batch(key, &numbers, 0)
    })
}
