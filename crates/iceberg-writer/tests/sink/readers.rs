//! Engines that we did not write read what we commit, snapshot by snapshot: PyIceberg and DuckDB, run by `tests/readers/compare_table.py`.
//!
//! Run with `READERS_PYTHON=<python with tests/requirements.txt> cargo test -p iceberg-writer -- --ignored`.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int32Array, Int64Array, LargeBinaryArray, LargeStringArray, RecordBatch, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use model::{ChangeBatch, Op, Presence, TableSchema};
use serde_json::{Value, json};
use test_support::SampleRow;

use crate::history::run_history;
use crate::warehouse::{Target, Warehouse, upserts};

fn compare(target: &Target<'_>, expected: &Value) {
    let python =
        std::env::var("READERS_PYTHON").expect("READERS_PYTHON names a Python with tests/requirements.txt");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/readers/compare_table.py");
    let file = target.warehouse.directory.path().join("expected.json");
    std::fs::write(&file, expected.to_string()).unwrap();
    let table = target.warehouse.directory.path().join("dbo/T");
    let output = Command::new(python)
        .arg(script)
        .args([&table, &file])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{printed}");
}

fn json_rows(rows: &[SampleRow]) -> Vec<Value> {
    rows.iter()
        .map(|row| json!([row.id, row.name, row.amount]))
        .collect()
}

#[tokio::test]
#[ignore = "needs Python with PyIceberg and DuckDB"]
async fn random_histories_read_the_same_everywhere() {
    for seed in 16..32 {
        let warehouse = Warehouse::of_kind(seed);
        let target = Target::new(&warehouse).await;
        let expected = run_history(&target, seed, 15).await;
        let snapshots: serde_json::Map<_, _> = expected
            .iter()
            .map(|(id, rows)| (id.clone(), json_rows(rows).into()))
            .collect();
        let head = json_rows(&target.rows().await);
        compare(
            &target,
            &json!({"columns": ["id", "name", "amount"], "snapshots": snapshots, "head": head}),
        );
    }
}

#[tokio::test]
#[ignore = "needs Python with PyIceberg and DuckDB"]
async fn every_type_reads_the_same_everywhere() {
    let warehouse = Warehouse::new(22);
    let target = Target::with_schema(&warehouse, every_type()).await;
    let rows = RecordBatch::try_new(target.schema.arrow().clone(), every_value()).unwrap();
    let batch = ChangeBatch::uniform(
        target.name.clone(),
        target.schema.clone(),
        rows,
        Op::Insert,
        Presence::Absent,
    );
    let staged = target.stage_batches(vec![batch.unwrap()]).await.unwrap().staged;
    target.commit(&target.next("a", staged).await).await;
    let columns: Vec<_> = target
        .schema
        .arrow()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let head = json!([
        [
            1,
            true,
            i64::MAX,
            "1.5",
            "-0.0",
            "-123456789012345678901234567.8901",
            "-1.05",
            "1969-12-31",
            "23:59:59.999999",
            "0001-01-01T00:00:00.000000",
            "9999-12-31T23:59:59.999999+00:00",
            "größer 𝒳\u{0} ",
            "wide",
            "00ff",
            "",
            "f79c3e09-677c-4bbd-a479-3f349cb785e7",
        ],
        [
            2, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null
        ],
    ]);
    compare(
        &target,
        &json!({"columns": columns, "snapshots": {}, "head": head}),
    );
}

#[tokio::test]
#[ignore = "needs Python with PyIceberg and DuckDB"]
async fn a_table_without_snapshots_and_one_without_rows_read_as_empty() {
    let warehouse = Warehouse::new(23);
    let target = Target::new(&warehouse).await;
    let expected = json!({"columns": ["id", "name", "amount"], "snapshots": {}, "head": []});
    compare(&target, &expected);
    target.apply("empty", &[], Presence::Absent).await;
    compare(&target, &expected);
    target.apply("rows", &upserts(0..3, "x"), Presence::Absent).await;
    target.replace("emptied", &[]).await;
    compare(&target, &expected);
}

fn every_type() -> Arc<TableSchema> {
    use DataType::{
        Binary, Boolean, Date32, Decimal128, FixedSizeBinary, Float32, Float64, Int32, Int64, LargeBinary,
        LargeUtf8, Utf8,
    };
    let types = [
        Int32,
        Boolean,
        Int64,
        Float32,
        Float64,
        Decimal128(38, 4),
        Decimal128(9, 2),
        Date32,
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Utf8,
        LargeUtf8,
        Binary,
        LargeBinary,
        FixedSizeBinary(16),
    ];
    let fields = types
        .iter()
        .enumerate()
        .map(|(i, ty)| Field::new(format!("a column.{i}'\""), ty.clone(), i > 0));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    TableSchema::new(schema, vec![0], vec![None; types.len()]).unwrap()
}

fn every_value() -> Vec<ArrayRef> {
    let decimal = |value: i128, precision, scale| -> ArrayRef {
        Arc::new(
            Decimal128Array::from(vec![Some(value), None])
                .with_precision_and_scale(precision, scale)
                .unwrap(),
        )
    };
    let uuid = 0xf79c_3e09_677c_4bbd_a479_3f34_9cb7_85e7_u128.to_be_bytes();
    let uuids =
        FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some(uuid), None].into_iter(), 16).unwrap();
    let last_microsecond = 253_402_300_799_999_999;
    vec![
        Arc::new(Int32Array::from(vec![1, 2])),
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        Arc::new(Int64Array::from(vec![Some(i64::MAX), None])),
        Arc::new(Float32Array::from(vec![Some(1.5), None])),
        Arc::new(Float64Array::from(vec![Some(-0.0), None])),
        decimal(-1_234_567_890_123_456_789_012_345_678_901, 38, 4),
        decimal(-105, 9, 2),
        Arc::new(Date32Array::from(vec![Some(-1), None])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(86_399_999_999), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![
            Some(-62_135_596_800_000_000),
            None,
        ])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(last_microsecond), None]).with_timezone("UTC")),
        Arc::new(StringArray::from(vec![Some("größer 𝒳\0 "), None])),
        Arc::new(LargeStringArray::from(vec![Some("wide"), None])),
        Arc::new(BinaryArray::from(vec![Some(&[0x00, 0xff][..]), None])),
        Arc::new(LargeBinaryArray::from(vec![Some(&b""[..]), None])),
        Arc::new(uuids),
    ]
}
