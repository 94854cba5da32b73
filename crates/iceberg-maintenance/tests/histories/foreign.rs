//! Tables that Spark and PyIceberg wrote (`tests/readers/foreign.py`) are read at every snapshot, adopted, written into and compacted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, Int8Array, Int64Array, RecordBatch};
use arrow_schema::DataType;
use futures::{TryStreamExt, stream};
use iceberg_maintenance::{CompactOptions, compact};
use iceberg_reader::{IcebergSource, SnapshotChoice};
use iceberg_table::{Catalog, FileSystemCatalog};
use iceberg_writer::IcebergSink;
use model::{
    BatchId, ChangeBatch, ChangeSink, ChangeSource, Commit, CommitOutcome, Epoch, ErrorKind, Mark, Op,
    Position, Prepare, Presence, Replace, Selection, SyncId, TableName, TableSchema,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use test_support::{SeededIds, SimClock};

/// What `foreign.py` says of a table.
#[derive(Deserialize)]
struct Expected {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    kept: Vec<String>,
    snapshots: BTreeMap<i64, Vec<Vec<Value>>>,
}

/// What it reads afterwards.
#[derive(Serialize)]
struct Written {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

struct Foreign {
    catalog: Arc<FileSystemCatalog>,
    clock: Arc<SimClock>,
    ids: Arc<SeededIds>,
    name: TableName,
}

#[tokio::test]
#[ignore = "cargo xtask interop runs it over tables that other engines wrote"]
async fn tables_of_other_engines() {
    let directory = std::env::var("INTEROP_DIRECTORY").unwrap();
    let file = std::fs::read(Path::new(&directory).join("foreign.json")).unwrap();
    let all: BTreeMap<String, Expected> = serde_json::from_slice(&file).unwrap();
    let mut written = BTreeMap::new();
    for (name, expected) in all {
        let (clock, ids) = (Arc::new(SimClock::default()), Arc::new(SeededIds::new(1)));
        let catalog = FileSystemCatalog::new(&directory, clock.clone(), ids.clone()).unwrap();
        let foreign = Foreign {
            catalog: Arc::new(catalog),
            clock,
            ids,
            name: TableName::new("foreign", &name),
        };
        foreign.is_read_as(&expected).await;
        let left = foreign.adopted_and_changed(&expected).await;
        if name.ends_with("parts") || name.ends_with("imported") {
            foreign.compacted().await;
        }
        let schema = foreign.schema().await;
        assert_eq!(
            sorted(foreign.rows(&schema, None).await),
            sorted(left.clone()),
            "{name}"
        );
        println!(
            "{name}: {} snapshots are read, and it is written into",
            expected.snapshots.len()
        );
        let columns = expected.columns;
        written.insert(name, Written { columns, rows: left });
    }
    let file = Path::new(&directory).join("written.json");
    std::fs::write(file, serde_json::to_vec(&written).unwrap()).unwrap();
}

impl Foreign {
    async fn schema(&self) -> Arc<TableSchema> {
        let table = self.catalog.load(&self.name).await.unwrap().unwrap();
        table.schema().unwrap()
    }

    async fn batches(&self, schema: &Arc<TableSchema>, snapshot: Option<i64>) -> Vec<RecordBatch> {
        let choice = snapshot.map_or(SnapshotChoice::Current, SnapshotChoice::Id);
        let source = IcebergSource::new(self.catalog.clone()).pinned(choice);
        let batches = source
            .read(&self.name, schema, Selection::All, None)
            .await
            .unwrap();
        let batches: Vec<ChangeBatch> = batches.try_collect().await.unwrap();
        batches.into_iter().map(|batch| batch.rows).collect()
    }

    async fn rows(&self, schema: &Arc<TableSchema>, snapshot: Option<i64>) -> Vec<Vec<Value>> {
        let batches = self.batches(schema, snapshot).await;
        let rows = |batch: &RecordBatch| {
            let rows =
                (0..batch.num_rows()).map(|row| batch.columns().iter().map(|c| stored(c, row)).collect());
            rows.collect::<Vec<_>>()
        };
        batches.iter().flat_map(rows).collect()
    }

    async fn is_read_as(&self, expected: &Expected) {
        let schema = self.schema().await;
        let names: Vec<_> = schema
            .arrow()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        assert_eq!(names, expected.columns, "{}", self.name);
        let head = sorted(self.rows(&schema, None).await);
        assert_eq!(head, sorted(expected.rows.clone()), "{}", self.name);
        let indexes: Vec<_> = expected
            .kept
            .iter()
            .map(|name| schema.arrow().index_of(name).unwrap())
            .collect();
        let kept = Arc::new(schema.arrow().project(&indexes).unwrap());
        let kept = TableSchema::new(kept, vec![0], vec![None; indexes.len()]).unwrap();
        for (snapshot, rows) in &expected.snapshots {
            let found = sorted(self.rows(&kept, Some(*snapshot)).await);
            assert_eq!(found, sorted(rows.clone()), "{} at {snapshot}", self.name);
        }
    }

    /// Deletes five rows, gives the next three the values of the three after them, and adds these under new keys.
    async fn adopted_and_changed(&self, expected: &Expected) -> Vec<Vec<Value>> {
        let sink = IcebergSink::new(
            self.catalog.clone(),
            Default::default(),
            self.clock.clone(),
            self.ids.clone(),
        );
        let schema = self.schema().await;
        let mut prepare = Prepare {
            sync: SyncId::new("foreign"),
            table: self.name.clone(),
            schema: schema.clone(),
            create: true,
            replace: false,
            adopt: false,
            dry_run: false,
        };
        assert_eq!(
            sink.prepare(&prepare).await.unwrap_err().kind(),
            ErrorKind::Config
        );
        prepare.adopt = true;
        sink.prepare(&prepare).await.unwrap();

        let key = schema.key()[0];
        let batches = self.batches(&schema, None).await;
        let all = arrow_select::concat::concat_batches(&schema.relaxed(), &batches).unwrap();
        let ids = all.column(key).as_primitive::<Int64Type>().values().to_vec();
        let with_key = |rows: RecordBatch, keys: Vec<i64>| {
            let mut columns = rows.columns().to_vec();
            columns[key] = Arc::new(Int64Array::from(keys));
            RecordBatch::try_new(schema.relaxed(), columns).unwrap()
        };
        let added: Vec<i64> = ids[8..11].iter().map(|id| id + 1_000_000).collect();
        let upserts = arrow_select::concat::concat_batches(
            &schema.relaxed(),
            &[
                with_key(all.slice(8, 3), ids[5..8].to_vec()),
                with_key(all.slice(8, 3), added.clone()),
            ],
        );
        let changes = [(all.slice(0, 5), Op::Delete), (upserts.unwrap(), Op::Upsert)].map(|(rows, op)| {
            let ops = Int8Array::from(vec![op as i8; rows.num_rows()]);
            ChangeBatch::new(self.name.clone(), schema.clone(), rows, ops, Presence::Unknown)
        });
        let changes = Box::pin(stream::iter(changes));
        let staged = sink
            .stage(&prepare.sync, &self.name, &schema, changes)
            .await
            .unwrap();
        let commit = Commit {
            sync: prepare.sync,
            table: self.name.clone(),
            schema: schema.clone(),
            batch: BatchId::new("foreign"),
            epoch: Epoch(1),
            after: None,
            mark: Mark::At(Position {
                kind: "interop".into(),
                incarnation: "1".into(),
                value: "1".into(),
                label: "1".into(),
                late_micros: 0,
                lacks: Vec::new(),
            }),
            staged: staged.staged,
            replace: Replace::No,
            moment: None,
        };
        let ended = sink.commit(&commit).await.unwrap();
        assert!(matches!(ended, CommitOutcome::Committed(_)), "{ended:?}");

        let mut left: BTreeMap<i64, Vec<Value>> = expected
            .rows
            .iter()
            .map(|row| (row[key].as_i64().unwrap(), row.clone()))
            .collect();
        for (place, from) in ids[8..11].iter().enumerate() {
            for to in [ids[5 + place], added[place]] {
                let mut row = left[from].clone();
                row[key] = json!(to);
                left.insert(to, row);
            }
        }
        for id in &ids[..5] {
            left.remove(id);
        }
        left.into_values().collect()
    }

    async fn compacted(&self) {
        let options = CompactOptions {
            files_at_least: 2,
            deleted_part: 0.0,
            ..CompactOptions::default()
        };
        let (catalog, clock) = (self.catalog.as_ref(), self.clock.as_ref());
        let done = compact(catalog, &self.name, &options, clock, self.ids.clone()).await;
        assert!(done.unwrap().snapshot.is_some());
    }
}

fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort_by_cached_key(|row| json!(row).to_string());
    rows
}

/// A value as Arrow holds it.
fn stored(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Int32 => json!(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => json!(column.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(..) => json!(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Decimal128(..) => json!(column.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        _ => unreachable!("foreign.py has no other types"),
    }
}
