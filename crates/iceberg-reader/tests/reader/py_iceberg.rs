//! A table that PyIceberg wrote, read as PyIceberg reads it.
//!
//! Run with `READERS_PYTHON=<python with tests/requirements.txt> cargo test -p iceberg-reader -- --ignored`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use iceberg_reader::{IcebergSource, SnapshotChoice, snapshots};
use iceberg_table::{Catalog, FileSystemCatalog};
use model::{ChangeSource, Cut, Op, Position, RowEncoder, Selection, SourceEvent, TableName, TableSchema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use test_support::{SeededIds, SimClock};

/// Rows by encoded key, each encoded whole.
type Encoded = BTreeMap<Vec<u8>, Vec<u8>>;

#[tokio::test]
#[ignore = "needs Python with PyIceberg; `cargo xtask integration` has it"]
async fn a_table_of_py_iceberg_is_read_as_py_iceberg_reads_it() {
    let python =
        std::env::var("READERS_PYTHON").expect("READERS_PYTHON names a Python with tests/requirements.txt");
    let warehouse = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reader/py_iceberg.py");
    let written = Command::new(python)
        .arg(script)
        .arg(warehouse.path())
        .output()
        .unwrap();
    assert!(
        written.status.success(),
        "{}",
        String::from_utf8_lossy(&written.stderr)
    );

    let catalog = catalog(warehouse.path());
    let table = TableName::new("py", "t");
    let source = IcebergSource::new(catalog.clone());
    let schema = source.describe(&table).await.unwrap().schema;
    assert_eq!(schema.key_names(), ["id"]);
    let expected = expected(&warehouse.path().join("expected.parquet"), &schema);
    assert_eq!(expected.len(), 59);
    let head = rows(&source, &table, &schema, None).await;
    assert_eq!(head, expected);

    let made = snapshots(&catalog.load(&table).await.unwrap().unwrap());
    assert!(made.len() >= 5, "PyIceberg made {} snapshots", made.len());
    let upto = cut(&source, &table).await;
    for snapshot in made {
        let pinned = IcebergSource::new(catalog.clone()).pinned(SnapshotChoice::Id(snapshot.id));
        let after = cut(&pinned, &table).await;
        let mut changed = rows(&source, &table, &schema, Some(&after)).await;
        let events = source.changes(&table, &schema, &after, &upto).await.unwrap();
        for event in events.try_collect::<Vec<_>>().await.unwrap() {
            if let SourceEvent::Changes(batch) = event {
                for (index, (key, row)) in encoded(&batch.rows, &schema).into_iter().enumerate() {
                    match batch.op(index) {
                        Op::Delete => changed.remove(&key),
                        _ => changed.insert(key, row),
                    };
                }
            }
        }
        assert_eq!(changed, expected, "from snapshot {} to the head", snapshot.id);
    }
}

fn catalog(warehouse: &Path) -> Arc<dyn Catalog> {
    let (clock, ids) = (Arc::new(SimClock::default()), Arc::new(SeededIds::new(1)));
    Arc::new(FileSystemCatalog::new(warehouse.to_str().unwrap(), clock, ids).unwrap())
}

async fn cut(source: &IcebergSource, table: &TableName) -> Position {
    match source.cut(table, None).await.unwrap() {
        Cut::Complete { upto, .. } => upto,
        gap => panic!("{gap:?}"),
    }
}

async fn rows(
    source: &IcebergSource,
    table: &TableName,
    schema: &Arc<TableSchema>,
    at: Option<&Position>,
) -> Encoded {
    let batches = source.read(table, schema, Selection::All, at).await.unwrap();
    let batches: Vec<_> = batches.try_collect().await.unwrap();
    batches
        .iter()
        .flat_map(|batch| encoded(&batch.rows, schema))
        .collect()
}

fn encoded(rows: &RecordBatch, schema: &TableSchema) -> Vec<(Vec<u8>, Vec<u8>)> {
    let keys = RowEncoder::new(rows, schema.key().iter().copied()).unwrap();
    let whole = RowEncoder::whole(rows).unwrap();
    let encode = |encoder: &RowEncoder, row| {
        let mut bytes = Vec::new();
        encoder.encode(row, &mut bytes);
        bytes
    };
    (0..rows.num_rows())
        .map(|row| (encode(&keys, row), encode(&whole, row)))
        .collect()
}

/// What PyIceberg read, in the types of `schema`.
fn expected(path: &Path, schema: &TableSchema) -> Encoded {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let batches = reader.build().unwrap().map(|batch| {
        let batch = batch.unwrap();
        let names: Vec<_> = batch
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let wanted: Vec<_> = schema
            .arrow()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!(names, wanted);
        let columns = batch.columns().iter().zip(schema.arrow().fields());
        let columns = columns.map(|(column, field)| arrow_cast::cast(column, field.data_type()).unwrap());
        RecordBatch::try_new(schema.arrow().clone(), columns.collect()).unwrap()
    });
    batches.flat_map(|batch| encoded(&batch, schema)).collect()
}
