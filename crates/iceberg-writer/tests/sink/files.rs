//! What lies in the files: sizes, compression, bounds, and rows that cannot be written.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use iceberg::TableUpdate;
use iceberg::spec::{DataContentType, Datum};
use iceberg_table::{Catalog, CatalogCommit, LiveFile, MetadataChange, live_files};
use model::{ChangeBatch, ChangeSink, ErrorKind, Op, Presence, TableSchema};
use test_support::sample_schema;

use crate::warehouse::{Target, Warehouse, upserts};

async fn files(target: &Target<'_>) -> Vec<Arc<LiveFile>> {
    let table = target.warehouse.table(&target.name).await;
    live_files(&table, table.head().unwrap()).await.unwrap()
}

fn batch(target: &Target<'_>, columns: Vec<ArrayRef>) -> ChangeBatch {
    let rows = RecordBatch::try_new(target.schema.relaxed(), columns).unwrap();
    ChangeBatch::uniform(
        target.name.clone(),
        target.schema.clone(),
        rows,
        Op::Insert,
        Presence::Absent,
    )
    .unwrap()
}

#[tokio::test]
async fn files_roll_at_their_target_size() {
    let warehouse = Warehouse::with_small_files(1);
    let target = Target::new(&warehouse).await;
    target
        .apply("a", &upserts(0..400, "text"), Presence::Absent)
        .await;
    let files = files(&target).await;
    assert!(files.len() > 5, "{} files", files.len());
    for file in &files {
        let size = std::fs::metadata(file.path.strip_prefix("file://").unwrap())
            .unwrap()
            .len();
        assert_eq!(file.data_file.file_size_in_bytes(), size);
        let split = file.data_file.split_offsets().unwrap();
        assert!(split.len() > 1 && split.is_sorted() && split[0] == 4, "{split:?}");
    }
    assert_eq!(
        files
            .iter()
            .map(|file| file.data_file.record_count())
            .sum::<u64>(),
        400
    );
}

/// Parquet shortens long texts. A bound must still hold, also where only one row group has a long one.
#[tokio::test]
async fn bounds_hold_for_long_texts_nulls_decimals_and_nan() {
    let warehouse = Warehouse::with_small_files(2);
    let fields = vec![
        Field::new("id", DataType::Int32, false),
        Field::new("text", DataType::Utf8, true),
        Field::new("money", DataType::Decimal128(19, 4), true),
        Field::new("small", DataType::Decimal128(9, 2), true),
        Field::new("ratio", DataType::Float64, true),
        Field::new("nothing", DataType::Utf8, true),
    ];
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None; 6]).unwrap();
    let target = Target::with_schema(&warehouse, schema).await;
    let (low, high) = (format!("a{}", "ä".repeat(100)), format!("z{}", "𝒳".repeat(100)));
    let texts = (0..20).map(|i| match i {
        9 => Some(high.clone()),
        10 => Some(low.clone()),
        _ => (i % 2 == 0).then(|| "m".into()),
    });
    let texts: Vec<Option<String>> = texts.collect();
    let money = Decimal128Array::from_iter_values((0..20).map(|i| (i - 10) * 10_000))
        .with_precision_and_scale(19, 4)
        .unwrap();
    let small = Decimal128Array::from_iter_values((0..20).map(|i| (i - 10) * 100))
        .with_precision_and_scale(9, 2)
        .unwrap();
    let ratio: Float64Array = (0..20)
        .map(|i| Some(if i == 3 { f64::NAN } else { f64::from(i) }))
        .collect();
    let rows = batch(
        &target,
        vec![
            Arc::new(Int32Array::from_iter_values(0..20)),
            Arc::new(StringArray::from(texts)),
            Arc::new(money),
            Arc::new(small),
            Arc::new(ratio),
            Arc::new(StringArray::from(vec![None::<&str>; 20])),
        ],
    );
    let slices: Vec<_> = (0..20)
        .map(|i| ChangeBatch {
            rows: rows.rows.slice(i, 1),
            ops: rows.ops.slice(i, 1),
            ..rows.clone()
        })
        .collect();
    let staged = target.stage_batches(slices).await.unwrap().staged;
    target.commit(&target.next("a", staged).await).await;

    let files = files(&target).await;
    let least = |id| {
        files
            .iter()
            .filter_map(|f| f.data_file.lower_bounds().get(&id))
            .min_by(|a, b| a.partial_cmp(b).unwrap())
            .unwrap()
            .clone()
    };
    let greatest = |id| {
        files
            .iter()
            .filter_map(|f| f.data_file.upper_bounds().get(&id))
            .max_by(|a, b| a.partial_cmp(b).unwrap())
            .unwrap()
            .clone()
    };
    assert!(least(2) <= Datum::string(&low) && greatest(2) >= Datum::string(&high));
    for file in &files {
        assert!(
            file.data_file.lower_bounds()[&2].to_string().len() < 80,
            "bounds are short"
        );
    }
    for (id, width, bound) in [(3, 19, 10_i64), (4, 9, 10)] {
        assert_eq!(
            least(id).to_string().split('.').next(),
            Some(format!("-{bound}").as_str()),
            "decimal({width})"
        );
        assert_eq!(
            greatest(id).to_string().split('.').next(),
            Some("9"),
            "decimal({width})"
        );
    }
    assert_eq!((least(5), greatest(5)), (Datum::double(0.0), Datum::double(19.0)));
    assert_eq!(
        files
            .iter()
            .map(|f| f.data_file.nan_value_counts()[&5])
            .sum::<u64>(),
        1
    );
    assert!(files.iter().all(|f| !f.data_file.lower_bounds().contains_key(&6)));
    assert_eq!(
        files
            .iter()
            .map(|f| f.data_file.null_value_counts()[&6])
            .sum::<u64>(),
        20
    );
}

#[tokio::test]
async fn position_deletes_name_their_file() {
    let warehouse = Warehouse::new(3);
    let target = Target::new(&warehouse).await;
    target.apply("a", &upserts(0..10, "a"), Presence::Absent).await;
    target
        .apply("b", &upserts([7, 2, 5], "b"), Presence::Unknown)
        .await;
    let table = warehouse.table(&target.name).await;
    let list = table
        .table()
        .manifest_list_reader(table.head().unwrap())
        .load()
        .await
        .unwrap();
    let mut seen = 0;
    for manifest in list.entries() {
        let manifest = manifest.load_manifest(table.table().file_io()).await.unwrap();
        for entry in manifest
            .entries()
            .iter()
            .filter(|entry| entry.content_type() == DataContentType::PositionDeletes)
        {
            let file = entry.data_file();
            let path = file.referenced_data_file().unwrap();
            assert_eq!(file.lower_bounds()[&2_147_483_546], Datum::string(&path));
            assert_eq!(file.upper_bounds()[&2_147_483_546], Datum::string(&path));
            assert_eq!(
                (
                    &file.lower_bounds()[&2_147_483_545],
                    &file.upper_bounds()[&2_147_483_545]
                ),
                (&Datum::long(2), &Datum::long(7))
            );
            assert_eq!(file.record_count(), 3);
            seen += 1;
        }
    }
    assert_eq!(seen, 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_written_leaves_no_files() {
    let warehouse = Warehouse::with_small_files(4);
    let fields = vec![
        Field::new("id", DataType::Int32, false),
        Field::new("must", DataType::Utf8, false),
    ];
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None; 2]).unwrap();
    let target = Target::with_schema(&warehouse, schema).await;
    let good = |from: i32| {
        let texts: Vec<String> = (0..50).map(|i| format!("{i}")).collect();
        batch(
            &target,
            vec![
                Arc::new(Int32Array::from_iter_values(from..from + 50)),
                Arc::new(StringArray::from(texts)),
            ],
        )
    };
    let bad = batch(
        &target,
        vec![
            Arc::new(Int32Array::from(vec![1000])),
            Arc::new(StringArray::from(vec![None::<&str>])),
        ],
    );
    let error = target
        .stage_batches(vec![good(0), good(50), bad])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert_eq!(warehouse.data_files(&target.name), Vec::<String>::new());
}

#[tokio::test]
async fn discarding_removes_what_was_staged() {
    let warehouse = Warehouse::with_small_files(5);
    let target = Target::new(&warehouse).await;
    let staged = target.stage(&upserts(0..100, "x"), Presence::Absent).await.staged;
    assert!(!warehouse.data_files(&target.name).is_empty());
    target.sink.discard(staged).await.unwrap();
    assert_eq!(warehouse.data_files(&target.name), Vec::<String>::new());
}

#[tokio::test]
async fn without_a_key_only_new_rows_are_taken() {
    let warehouse = Warehouse::new(6);
    let target = Target::with_schema(&warehouse, sample_schema(false)).await;
    for (op, presence) in [
        (Op::Delete, Presence::Unknown),
        (Op::Update, Presence::Unknown),
        (Op::Insert, Presence::PerhapsIdentical),
    ] {
        let rows = test_support::sample_batch(&[test_support::SampleRow::new(1, "x", 1)]);
        let batch =
            ChangeBatch::uniform(target.name.clone(), target.schema.clone(), rows, op, presence).unwrap();
        let error = target.stage_batches(vec![batch]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{op:?} {presence:?}");
    }
}

#[tokio::test]
async fn columns_are_told_of_and_files_put_as_the_table_asks() {
    let warehouse = Warehouse::new(4);
    let columns = ["nothing", "counts", "short", "whole", "usual"];
    let mut fields = vec![Field::new("id", DataType::Int32, false)];
    fields.extend(columns.map(|name| Field::new(name, DataType::Utf8, true)));
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None; 6]).unwrap();
    let target = Target::with_schema(&warehouse, schema).await;
    let elsewhere = warehouse.directory.path().join("elsewhere");
    let elsewhere = format!("file://{}", elsewhere.display());
    let metrics = [
        ("default", "truncate(20)"),
        ("column.nothing", "none"),
        ("column.counts", "counts"),
        ("column.short", "truncate(3)"),
        ("column.whole", "full"),
    ];
    let mut updates: HashMap<_, _> = metrics
        .map(|(name, mode)| (format!("write.metadata.metrics.{name}"), mode.to_owned()))
        .into();
    updates.insert("write.data.path".into(), format!("{elsewhere}/"));
    let change = MetadataChange {
        requirements: vec![],
        updates: vec![TableUpdate::SetProperties { updates }],
    };
    let table = warehouse.table(&target.name).await;
    let ended = warehouse.catalog().commit(&table, change).await.unwrap();
    assert!(matches!(ended, CatalogCommit::Done(_)), "{ended:?}");

    let text = |letter: &str| Some(letter.repeat(100));
    let texts = || Arc::new(StringArray::from(vec![text("a"), None, text("z")])) as ArrayRef;
    let ids = Arc::new(Int32Array::from_iter_values(0..3)) as ArrayRef;
    let rows = std::iter::once(ids).chain(columns.map(|_| texts())).collect();
    let rows = batch(&target, rows);
    let staged = target.stage_batches(vec![rows]).await.unwrap().staged;
    target.commit(&target.next("a", staged).await).await;

    let file = files(&target).await.remove(0);
    assert!(file.path.starts_with(&format!("{elsewhere}/")), "{}", file.path);
    assert!(!file.path.starts_with(&format!("{elsewhere}//")), "{}", file.path);
    let file = &file.data_file;
    let bound = |letter: &str, length| Datum::string(letter.repeat(length));
    let above = |length: usize| Datum::string(format!("{}{{", "z".repeat(length - 1)));
    for (id, counts, lower, upper) in [
        (2, None, None, None),
        (3, Some(1), None, None),
        (4, Some(1), Some(bound("a", 3)), Some(above(3))),
        (5, Some(1), Some(bound("a", 100)), Some(bound("z", 100))),
        (6, Some(1), Some(bound("a", 20)), Some(above(20))),
    ] {
        assert_eq!(file.null_value_counts().get(&id).copied(), counts, "{id}");
        assert_eq!(file.column_sizes().contains_key(&id), counts.is_some(), "{id}");
        assert_eq!(file.lower_bounds().get(&id), lower.as_ref(), "{id}");
        assert_eq!(file.upper_bounds().get(&id), upper.as_ref(), "{id}");
    }
}
