//! The table that most tests use: `id int`, `name nvarchar(100)`, `amount bigint`.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use model::{DeclaredType, TableSchema};

/// One row of the sample table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SampleRow {
    /// The key, in the table that has one.
    pub id: i32,
    /// Text, or NULL.
    pub name: Option<String>,
    /// A number, or NULL.
    pub amount: Option<i64>,
}

impl SampleRow {
    /// A row without NULLs.
    pub fn new(id: i32, name: &str, amount: i64) -> Self {
        Self {
            id,
            name: Some(name.to_owned()),
            amount: Some(amount),
        }
    }
}

/// The sample table's schema, with `id` as its key or without a key.
pub fn sample_schema(keyed: bool) -> Arc<TableSchema> {
    let columns = [
        ("id", DataType::Int32, false, "int"),
        ("name", DataType::Utf8, true, "nvarchar(100)"),
        ("amount", DataType::Int64, true, "bigint"),
    ];
    let fields = columns
        .iter()
        .map(|(name, ty, nullable, _)| Field::new(*name, ty.clone(), *nullable));
    let arrow = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let declared = columns.iter().map(|(.., declared)| {
        Some(DeclaredType {
            declared: (*declared).to_owned(),
            collation: None,
        })
    });
    let key = if keyed { vec![0] } else { vec![] };
    TableSchema::new(arrow, key, declared.collect()).expect("the sample schema is sound")
}

/// The rows as a batch.
pub fn sample_batch(rows: &[SampleRow]) -> RecordBatch {
    let ids: Int32Array = rows.iter().map(|row| Some(row.id)).collect();
    let names: StringArray = rows.iter().map(|row| row.name.as_deref()).collect();
    let amounts: Int64Array = rows.iter().map(|row| row.amount).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(names), Arc::new(amounts)];
    RecordBatch::try_new(sample_schema(true).arrow().clone(), columns).expect("the sample columns fit")
}

/// The rows of some batches, in order of `id`. The three columns are found by name; others are passed over.
pub fn sample_rows(batches: &[RecordBatch]) -> Vec<SampleRow> {
    let mut rows: Vec<_> = batches.iter().flat_map(rows_of).collect();
    rows.sort();
    rows
}

fn rows_of(batch: &RecordBatch) -> Vec<SampleRow> {
    let column = |name| {
        batch
            .column_by_name(name)
            .unwrap_or_else(|| panic!("there is no column {name}"))
    };
    let ids = column("id").as_primitive::<Int32Type>();
    let names = column("name");
    let amounts = column("amount").as_primitive::<Int64Type>();
    let name = |row| match names.data_type() {
        _ if names.is_null(row) => None,
        DataType::LargeUtf8 => Some(names.as_string::<i64>().value(row).to_owned()),
        _ => Some(names.as_string::<i32>().value(row).to_owned()),
    };
    (0..batch.num_rows())
        .map(|row| SampleRow {
            id: ids.value(row),
            name: name(row),
            amount: amounts.is_valid(row).then(|| amounts.value(row)),
        })
        .collect()
}
