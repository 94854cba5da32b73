//! The pieces that rows pass through, each alone and over the same orders: `cargo bench --bench pieces`.
//!
//! What they amount to together is measured by `cargo xtask bench`.

#![expect(clippy::unwrap_used, reason = "a measurement that fails has nothing to show")]
#![expect(missing_docs, reason = "of what the macros of criterion make")]

#[expect(dead_code, reason = "made for the other measurements")]
#[path = "tables/lake.rs"]
mod lake;
#[expect(dead_code, reason = "made for the other measurements")]
#[path = "tables/rows.rs"]
mod rows;

use std::hint::black_box;

use arrow_array::RecordBatch;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::TryStreamExt;
use iceberg_table::{
    DataFileReader, DeletedRows, LocatedRows, Projection, live_files, locate, locate_and_compare,
};
use iceberg_writer::{FileShape, PartitionedWriter};
use model::{Op, Presence, RowEncoder, RowHasher};
use tokio::runtime::Runtime;

use crate::lake::Lake;
use crate::rows::{BATCH, Key, batch, batches, mixed, schema};

/// Rows of the table that is read and searched.
const ROWS: u64 = 1_000_000;
/// Keys that are looked for at once.
const KEYS: u64 = 1_000;

fn one_batch() -> RecordBatch {
    batch(Key::Number, &(0..BATCH).collect::<Vec<_>>(), 0)
}

/// The canonical encoding of rows, and its hash.
fn hash(criterion: &mut Criterion) {
    let rows = one_batch();
    let mut group = criterion.benchmark_group("canonical");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("encode", |bencher| {
        let encoder = RowEncoder::whole(&rows).unwrap();
        let mut bytes = Vec::new();
        bencher.iter(|| {
            for row in 0..rows.num_rows() {
                bytes.clear();
                encoder.encode(row, &mut bytes);
                black_box(&bytes);
            }
        });
    });
    group.bench_function("hash", |bencher| {
        let mut hasher = RowHasher::new(RowEncoder::whole(&rows).unwrap());
        bencher.iter(|| {
            for row in 0..rows.num_rows() {
                black_box(hasher.hash(row));
            }
        });
    });
    group.finish();
}

/// Arrow into a Parquet file of one batch.
fn encode(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (rows, schema) = (one_batch(), schema(Key::Number));
    let lake = runtime.block_on(Lake::new(Key::Number, 2));
    let table = runtime.block_on(lake.table());
    let mut group = criterion.benchmark_group("data file");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("encode", |bencher| {
        bencher.iter_batched(
            || {
                let shape = FileShape::new(&table, &schema).unwrap();
                PartitionedWriter::new(&table, shape, &lake.options, lake.ids.clone()).unwrap()
            },
            |mut writer| {
                runtime.block_on(async {
                    writer.write(&rows).await.unwrap();
                    writer.close().await.unwrap()
                })
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// A data file into Arrow, and keys found in it, and changed rows found and compared.
fn decode_and_locate(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let schema = schema(Key::Number);
    let lake = runtime.block_on(async {
        let lake = Lake::new(Key::Number, 2).await;
        lake.apply(batches(Key::Number, ROWS), Op::Insert, Presence::Absent)
            .await;
        lake
    });
    let table = runtime.block_on(lake.table());
    let head = table.head().unwrap();
    let files = runtime.block_on(live_files(&table, head)).unwrap();
    let mut group = criterion.benchmark_group("data file");
    group.sample_size(20).throughput(Throughput::Elements(ROWS));
    group.bench_function("decode", |bencher| {
        let projection = Projection::of_table(table.metadata(), &schema).unwrap();
        bencher.iter(|| {
            runtime.block_on(async {
                for file in &files {
                    let rows = DeletedRows::new(table.table()).live_rows(file).await.unwrap();
                    let reader = DataFileReader::of(
                        table.table().file_io(),
                        &file.path,
                        file.spec_id,
                        &file.data_file,
                    )
                    .await;
                    let batches = reader.unwrap().read(&projection, rows).await.unwrap();
                    let read =
                        batches.try_fold(0, |sum, batch| async move { Ok(sum + batch.rows.num_rows()) });
                    assert_eq!(read.await.unwrap() as u64, ROWS);
                }
            });
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("locate");
    group.sample_size(20).throughput(Throughput::Elements(KEYS));
    let newest: Vec<u64> = (0..KEYS)
        .map(|index| ROWS - 1 - mixed(index) % (ROWS / 100))
        .collect();
    let uniform: Vec<u64> = (0..KEYS).map(|index| mixed(index) % ROWS).collect();
    for (name, numbers) in [("newest 1 %", newest), ("uniform", uniform)] {
        let changed = [batch(Key::Number, &numbers, 1)];
        let keys = changed[0].project(schema.key()).unwrap();
        let is_one = |found: LocatedRows| found.iter().all(|found| found.len() == 1);
        group.bench_function(BenchmarkId::new(name, "found"), |bencher| {
            bencher.iter(|| {
                let found = runtime.block_on(locate(&table, head, &schema, &keys));
                assert!(is_one(found.unwrap()));
            });
        });
        group.bench_function(BenchmarkId::new(name, "compared"), |bencher| {
            bencher.iter(|| {
                let found = runtime.block_on(locate_and_compare(&table, head, &schema, &changed));
                assert!(is_one(found.unwrap()));
            });
        });
    }
    group.finish();
}

criterion_group!(pieces, hash, encode, decode_and_locate);
criterion_main!(pieces);
