use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, Literal, PartitionSpec, SortOrder,
    Struct, TableMetadata, TableMetadataBuilder, Transform, UnboundPartitionSpec,
};
use model::{ErrorKind, Result, TableSchema};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::file::properties::WriterProperties;

use super::*;
use crate::schema::iceberg_schema;
use crate::storage::Storage;

mod damaged;

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
fn parquet(columns: Vec<(&str, Option<i32>, ArrayRef)>, properties: WriterProperties) -> Vec<u8> {
    let fields = columns.iter().map(|(name, id, values)| {
        let id = id.map(|id| (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string()));
        Field::new(*name, values.data_type().clone(), true).with_metadata(id.into_iter().collect())
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, _, values)| values).collect();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties)).unwrap();
    writer
        .write(&RecordBatch::try_new(schema, columns).unwrap())
        .unwrap();
    writer.close().unwrap();
    bytes
}

async fn file_at(file_io: &FileIO, path: &str, bytes: Vec<u8>) -> u64 {
    let size = bytes.len() as u64;
    let output = file_io.new_output(path).unwrap();
    output.write(bytes.into()).await.unwrap();
    size
}

/// Reads a file from memory, which is fetched as from an object store, and one on a disk: they must tell the same.
async fn read(
    table: &(TableMetadata, Arc<TableSchema>),
    columns: Vec<(&str, Option<i32>, ArrayRef)>,
    rows: RowRanges,
) -> Result<Vec<FileRows>> {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = local_path_in(&directory);
    let mut all = Vec::new();
    for (file_io, path) in [
        (FileIO::new_with_memory(), PATH),
        (Storage::default().file_io(), &on_disk),
    ] {
        let size = file_at(&file_io, path, parquet(columns.clone(), WriterProperties::new())).await;
        let reader = DataFileReader::open(&file_io, &path.into(), size).await?;
        let projection = Projection::of_table(&table.0, &table.1)?;
        let read = async { reader.read(&projection, rows.clone()).await?.try_collect().await };
        all.push(read.await);
    }
    let on_disk = all.pop().unwrap();
    let from_memory: Result<Vec<FileRows>> = all.pop().unwrap();
    match (&from_memory, &on_disk) {
        (Ok(memory), Ok(disk)) => {
            let told = |read: &[FileRows]| -> Vec<(RecordBatch, Vec<u64>)> {
                let told = read
                    .iter()
                    .map(|batch| (batch.rows.clone(), batch.positions.clone()));
                told.collect()
            };
            assert_eq!(told(memory), told(disk));
        }
        (memory, disk) => {
            let kind = |read: &Result<Vec<FileRows>>| read.as_ref().err().map(|error| error.kind());
            assert_eq!(kind(memory), kind(disk));
        }
    }
    from_memory
}

fn local_path_in(directory: &tempfile::TempDir) -> String {
    format!("file://{}/data.parquet", directory.path().display())
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

/// Every type that a column can have, as two values that differ and NULL, twice over.
fn every_type() -> Vec<ArrayRef> {
    use arrow_array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
        Float64Array, Time64MicrosecondArray, TimestampMicrosecondArray,
    };
    let decimals = |precision| {
        let values = Decimal128Array::from(vec![Some(-105), Some(7), None]);
        values.with_precision_and_scale(precision, 2).unwrap()
    };
    let uuids = [Some([1; 16]), Some([2; 16]), None].into_iter();
    let instants = TimestampMicrosecondArray::from(vec![Some(-1), Some(1), None]);
    let once: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(Int32Array::from(vec![Some(-1), Some(1), None])),
        Arc::new(Int64Array::from(vec![Some(-1), Some(1), None])),
        Arc::new(Float32Array::from(vec![Some(-1.5), Some(1.5), None])),
        Arc::new(Float64Array::from(vec![Some(-1.5), Some(1.5), None])),
        Arc::new(decimals(9)),
        Arc::new(decimals(38)),
        Arc::new(Date32Array::from(vec![Some(-1), Some(1), None])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(0), Some(1), None])),
        Arc::new(instants.clone()),
        Arc::new(instants.with_timezone("UTC")),
        Arc::new(StringArray::from(vec![Some(""), Some("x "), None])),
        Arc::new(BinaryArray::from(vec![Some(&b""[..]), Some(b"\0"), None])),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, 16).unwrap()),
    ];
    let twice = arrow_array::UInt32Array::from(vec![0, 1, 2, 0, 1, 2]);
    once.iter()
        .map(|column| arrow_select::take::take(column, &twice, None).unwrap())
        .collect()
}

/// Rows are deleted by the values of a column of each type, where NULL equals NULL, and of two columns together.
#[tokio::test]
async fn equality_deletes_hold_for_every_type_and_for_null() {
    use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat};
    let columns = every_type();
    let fields: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(i, column)| Field::new(format!("c{i}"), column.data_type().clone(), true))
        .collect();
    let count = fields.len();
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), vec![], vec![None; count]).unwrap();
    let metadata = TableMetadataBuilder::new(
        iceberg_schema(&schema).unwrap(),
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        "memory://t".into(),
        FormatVersion::V2,
        HashMap::new(),
    );
    let metadata = Arc::new(metadata.unwrap().build().unwrap().metadata);
    let file_io = FileIO::new_with_memory();
    let named = |(i, column): (usize, &ArrayRef)| (format!("c{i}"), Some(i as i32 + 1), column.clone());
    let all: Vec<_> = columns.iter().enumerate().map(named).collect();
    let write = async |path: &str, columns: &[(String, Option<i32>, ArrayRef)]| {
        let columns = columns
            .iter()
            .map(|(name, id, values)| (name.as_str(), *id, values.clone()));
        file_at(
            &file_io,
            path,
            parquet(columns.collect(), WriterProperties::new()),
        )
        .await
    };
    let size = write(PATH, &all).await;
    let described = |path: &str, size, content| {
        let mut file = DataFileBuilder::default();
        file.content(content)
            .file_path(path.into())
            .file_format(DataFileFormat::Parquet)
            .record_count(6)
            .file_size_in_bytes(size);
        file
    };
    let wanted = |columns: &[usize], rows: &[u32]| {
        let rows = arrow_array::UInt32Array::from(rows.to_vec());
        let take = |i: &usize| {
            let (name, id, values) = &all[*i];
            (
                name.clone(),
                *id,
                arrow_select::take::take(values, &rows, None).unwrap(),
            )
        };
        columns.iter().map(take).collect::<Vec<_>>()
    };
    let mut cases: Vec<(Vec<usize>, Vec<u32>, Vec<u64>)> = Vec::new();
    for column in 0..count {
        cases.push((vec![column], vec![0], vec![0, 3]));
        cases.push((vec![column], vec![2], vec![2, 5]));
        cases.push((vec![column], vec![1, 2], vec![1, 2, 4, 5]));
        cases.push((vec![column, (column + 1) % count], vec![0, 2], vec![0, 2, 3, 5]));
    }
    for (columns, rows, deleted) in cases {
        let deletes = wanted(&columns, &rows);
        let delete_size = write("memory://t/deletes.parquet", &deletes).await;
        let mut file = described(
            "memory://t/deletes.parquet",
            delete_size,
            DataContentType::EqualityDeletes,
        );
        file.equality_ids(Some(columns.iter().map(|i| *i as i32 + 1).collect()));
        let delete = DeleteFile::new(0, 2, &file.build().unwrap()).unwrap();
        let data_file = described(PATH, size, DataContentType::Data).build().unwrap();
        let live = LiveFile {
            path: PATH.into(),
            spec_id: 0,
            sequence_number: 1,
            data_file: Arc::new(data_file),
            deletes: vec![Arc::new(delete)],
        };
        let found = DeletedRows::of_files(&file_io, metadata.clone())
            .of(&live)
            .await
            .unwrap();
        assert_eq!(found, deleted, "columns {columns:?}, keys of rows {rows:?}");
    }
}

/// Tables that were made of directories have files without the columns that the directories are named after.
#[tokio::test]
async fn a_column_that_a_file_lacks_has_the_value_of_its_partition() {
    let (metadata, schema) = table(&[]);
    let by_amount = UnboundPartitionSpec::builder()
        .add_partition_field(2, "label_trunc", Transform::Truncate(1))
        .and_then(|spec| spec.add_partition_field(3, "amount", Transform::Identity))
        .unwrap()
        .build();
    let partitioned = metadata
        .into_builder(None)
        .add_default_partition_spec(by_amount)
        .and_then(TableMetadataBuilder::build);
    let metadata = partitioned.unwrap().metadata;
    let spec_id = metadata.default_partition_spec_id();
    let projection = Projection::of_table(&metadata, &schema).unwrap();
    let file_io = FileIO::new_with_memory();
    let columns = vec![("id", Some(1), ints(&[1, 2]))];
    let size = file_at(&file_io, PATH, parquet(columns, WriterProperties::new())).await;
    for (spec_id, amount, expected) in [
        (spec_id, Some(Literal::long(7)), Some(7)),
        (spec_id, None, None),
        // The first spec is of no column.
        (0, Some(Literal::long(7)), None),
    ] {
        let file = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(PATH.into())
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::from_iter([Some(Literal::string("x")), amount]))
            .record_count(2)
            .file_size_in_bytes(size)
            .build()
            .unwrap();
        let reader = DataFileReader::of(&file_io, &PATH.into(), spec_id, &file)
            .await
            .unwrap();
        let read = reader.read(&projection, RowRanges::all(2)).await.unwrap();
        let read: Vec<FileRows> = read.try_collect().await.unwrap();
        let amounts = read[0].rows.column(2).as_primitive::<Int64Type>();
        assert_eq!(amounts.iter().collect::<Vec<_>>(), [expected; 2]);
        assert!(read[0].rows.column(1).is_null(0));
    }
}
