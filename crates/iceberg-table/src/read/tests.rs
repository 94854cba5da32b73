use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::{FormatVersion, PartitionSpec, SortOrder, TableMetadata, TableMetadataBuilder};
use model::{ErrorKind, Result, TableSchema};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::file::metadata::{
    FileMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter,
};

use super::*;
use crate::schema::iceberg_schema;
use crate::storage::Storage;

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
async fn file_at(file_io: &FileIO, path: &str, columns: Vec<(&str, Option<i32>, ArrayRef)>) -> u64 {
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
        .new_output(path)
        .unwrap()
        .write(bytes.into())
        .await
        .unwrap();
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
        let size = file_at(&file_io, path, columns.clone()).await;
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

/// The same file, whose footer tells of `more` rows than its columns hold.
fn with_more_rows(parquet: Vec<u8>, more: i64) -> Vec<u8> {
    let parquet = bytes::Bytes::from(parquet);
    let footer = ParquetMetaDataReader::new().parse_and_finish(&parquet).unwrap();
    let file = footer.file_metadata();
    let file = FileMetaData::new(
        file.version(),
        file.num_rows() + more,
        None,
        None,
        file.schema_descr_ptr(),
        None,
    );
    let group = footer.row_group(0).clone().into_builder();
    let group = group.set_num_rows(footer.row_group(0).num_rows() + more);
    let groups = vec![group.build().unwrap()];
    let mut written = parquet.to_vec();
    let footer = ParquetMetaDataBuilder::new(file).set_row_groups(groups).build();
    ParquetMetaDataWriter::new(&mut written, &footer)
        .finish()
        .unwrap();
    written
}

/// Whoever goes on without them takes them for deleted, or for unchanged.
#[tokio::test]
async fn rows_that_a_column_does_not_hold_are_missed() {
    let table = table(&[]);
    let directory = tempfile::tempdir().unwrap();
    let on_disk = local_path_in(&directory);
    for (file_io, path) in [
        (FileIO::new_with_memory(), PATH),
        (Storage::default().file_io(), &on_disk),
    ] {
        let columns = vec![
            ("id", Some(1), ints(&[1, 2, 3])),
            ("label", Some(2), texts(&["a", "b", "c"])),
        ];
        file_at(&file_io, path, columns).await;
        let parquet = file_io.new_input(path).unwrap().read().await.unwrap();
        let parquet = with_more_rows(parquet.to_vec(), 2);
        let size = parquet.len() as u64;
        let output = file_io.new_output(path).unwrap();
        output.write(parquet.into()).await.unwrap();
        let reader = DataFileReader::open(&file_io, &path.into(), size).await.unwrap();
        assert_eq!(reader.row_count(), 5);
        let projection = Projection::of_table(&table.0, &table.1).unwrap();
        for (rows, are_there) in [
            (vec![], true),
            (vec![0, 2], true),
            (vec![0, 1, 2, 3], false),
            (vec![0, 1, 2, 3, 4], false),
            (vec![1, 4], false),
            (vec![4], false),
            (vec![0, 5], false),
            (vec![5], false),
        ] {
            let batches = reader
                .read(&projection, RowRanges::of_sorted(rows.clone()))
                .await
                .unwrap();
            let read: Result<Vec<_>> = batches.try_collect().await;
            let refused = read.err().map(|error| error.kind());
            assert_eq!(
                refused,
                (!are_there).then_some(ErrorKind::Corrupt),
                "{rows:?} of {path}"
            );
        }
    }
}

/// What the storage says must come through Parquet's reader, which keeps the text of errors alone.
#[tokio::test]
async fn a_local_file_that_lost_its_end_or_is_gone_is_told_as_such() {
    let table = table(&[]);
    let directory = tempfile::tempdir().unwrap();
    let path = local_path_in(&directory);
    let file_io = Storage::default().file_io();
    let columns = vec![
        ("id", Some(1), ints(&[1, 2, 3])),
        ("label", Some(2), texts(&["a", "b", "c"])),
    ];
    let size = file_at(&file_io, &path, columns).await;
    let reader = DataFileReader::open(&file_io, &path.as_str().into(), size)
        .await
        .unwrap();
    let projection = Projection::of_table(&table.0, &table.1).unwrap();
    let read = async || {
        let batches = reader.read(&projection, RowRanges::all(3)).await?;
        batches.try_collect::<Vec<_>>().await
    };
    assert_eq!(read().await.unwrap().len(), 1);
    let local = directory.path().join("data.parquet");
    std::fs::File::options()
        .write(true)
        .open(&local)
        .unwrap()
        .set_len(20)
        .unwrap();
    let short = read().await.unwrap_err();
    assert_eq!(short.kind(), ErrorKind::Corrupt);
    assert!(short.to_string().contains("bytes early"), "{short}");
    std::fs::remove_file(&local).unwrap();
    assert_eq!(read().await.unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::create_dir(&local).unwrap();
    let not_a_file = read().await.unwrap_err();
    assert_eq!(not_a_file.kind(), ErrorKind::Unavailable, "{not_a_file}");
    assert!(not_a_file.to_string().contains("os error"), "{not_a_file}");
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
        file_at(&file_io, path, columns.collect()).await
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
