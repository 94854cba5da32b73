use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::{FormatVersion, PartitionSpec, SortOrder, TableMetadata, TableMetadataBuilder};
use model::{ErrorKind, Result, TableSchema};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};

use super::*;
use crate::schema::iceberg_schema;

const PATH: &str = "memory://t/data.parquet";

/// The table `id int not null, label string, amount long`, with field ids 1 to 3.
fn table(properties: &[(&str, &str)]) -> (TableMetadata, Arc<TableSchema>) {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("amount", DataType::Int64, true),
    ];
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None; 3]).unwrap();
    let properties: HashMap<_, _> = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let metadata = TableMetadataBuilder::new(
        iceberg_schema(&schema).unwrap(),
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        "memory://t".into(),
        FormatVersion::V2,
        properties,
    );
    (metadata.unwrap().build().unwrap().metadata, schema)
}

/// A file with these columns: name, field id, values.
async fn file(file_io: &FileIO, columns: Vec<(&str, Option<i32>, ArrayRef)>) -> u64 {
    let fields = columns.iter().map(|(name, id, values)| {
        let id = id.map(|id| (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string()));
        Field::new(*name, values.data_type().clone(), true).with_metadata(id.into_iter().collect())
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, _, values)| values).collect();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), None).unwrap();
    writer
        .write(&RecordBatch::try_new(schema, columns).unwrap())
        .unwrap();
    writer.close().unwrap();
    let size = bytes.len() as u64;
    file_io
        .new_output(PATH)
        .unwrap()
        .write(bytes.into())
        .await
        .unwrap();
    size
}

async fn read(
    table: &(TableMetadata, Arc<TableSchema>),
    columns: Vec<(&str, Option<i32>, ArrayRef)>,
    rows: RowRanges,
) -> Result<Vec<FileRows>> {
    let file_io = FileIO::new_with_memory();
    let size = file(&file_io, columns).await;
    let reader = DataFileReader::open(&file_io, &PATH.into(), size).await?;
    let projection = Projection::of_table(&table.0, &table.1)?;
    reader.read(&projection, rows).await?.try_collect().await
}

fn ints(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// What the table shows of a file: `id` widened, `label` under a former name, `amount` missing.
fn expected(schema: &TableSchema, ids: &[i64], labels: &[&str]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        texts(labels),
        Arc::new(Int64Array::from(vec![None; ids.len()])),
    ];
    RecordBatch::try_new(schema.arrow().clone(), columns).unwrap()
}

#[tokio::test]
async fn columns_are_found_by_id_widened_and_filled_with_null() {
    let table = table(&[]);
    let columns = vec![
        ("amount", Some(9), texts(&["dropped", "long", "ago"])),
        ("name", Some(2), texts(&["a", "b", "c"])),
        ("id", Some(1), ints(&[1, 2, 3])),
    ];
    let read = read(&table, columns, RowRanges::of_sorted([0, 2])).await.unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].rows, expected(&table.1, &[1, 3], &["a", "c"]));
    assert_eq!(read[0].positions, [0, 2]);
}

#[tokio::test]
async fn files_without_ids_need_a_name_mapping() {
    let columns = || vec![("id", None, ints(&[1])), ("tag", None, texts(&["a"]))];
    let refused = read(&table(&[]), columns(), RowRanges::all(1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let mapping = r#"[{"field-id":1,"names":["id"]},{"field-id":2,"names":["label","tag"]}]"#;
    let table = table(&[("schema.name-mapping.default", mapping)]);
    let read = read(&table, columns(), RowRanges::all(1)).await.unwrap();
    assert_eq!(read[0].rows, expected(&table.1, &[1], &["a"]));
}

#[tokio::test]
async fn what_does_not_fit_the_table_is_refused() {
    for (columns, kind) in [
        (vec![("label", Some(2), texts(&["a"]))], ErrorKind::Corrupt),
        (
            vec![("id", Some(1), Arc::new(Int64Array::from(vec![None])) as ArrayRef)],
            ErrorKind::Corrupt,
        ),
        (vec![("id", Some(1), texts(&["1"]))], ErrorKind::Unsupported),
    ] {
        let refused = read(&table(&[]), columns, RowRanges::all(1)).await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_parquet_is_damaged() {
    let file_io = FileIO::new_with_memory();
    file_io
        .new_output(PATH)
        .unwrap()
        .write(vec![0; 100].into())
        .await
        .unwrap();
    let opened = DataFileReader::open(&file_io, &PATH.into(), 100).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Wide values come in small batches, also where a dictionary makes them look small.
#[tokio::test]
async fn batches_are_bounded_by_bytes() {
    let table = table(&[]);
    let wide = "x".repeat(1 << 20);
    let columns = vec![
        ("id", Some(1), ints(&(0..100).collect::<Vec<_>>())),
        ("label", Some(2), texts(&vec![wide.as_str(); 100])),
    ];
    let read = read(&table, columns, RowRanges::all(100)).await.unwrap();
    let largest = read.iter().map(|batch| batch.rows.num_rows()).max();
    assert!(largest <= Some(8), "a batch has {largest:?} rows of 1 MiB");
    let positions: Vec<_> = read.into_iter().flat_map(|batch| batch.positions).collect();
    assert_eq!(positions, (0..100).collect::<Vec<_>>());
}
