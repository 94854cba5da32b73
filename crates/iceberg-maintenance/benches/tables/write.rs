//! A first copy of orders, against a bare Arrow writer with the same properties. A key that is a number has no bloom filter in either.

use std::fs::File;

use iceberg_writer::WriterOptions;
use model::{Op, Presence};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnPath;

use crate::lake::Lake;
use crate::measure::{measured, median};
use crate::rows::{Key, batches, schema};

const ROUNDS: usize = 5;

pub(crate) async fn run(rows: u64) {
    println!("write: {rows} orders, zstd 3, no bloom filters");
    let (mut bare, mut ours, mut making) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let lake = Lake::new(Key::Number, 2).await;
        let write = lake.apply(batches(Key::Number, rows), Op::Insert, Presence::Absent);
        ours.push(measured(write).await.1);
        let properties = properties_like(&lake.files().await[0]);
        bare.push(measured(async { write_bare(rows, properties) }).await.1);
        let make = async { batches(Key::Number, rows).for_each(drop) };
        making.push(measured(make).await.1);
    }
    let (bare, ours, making) = (median(bare), median(ours), median(making));
    bare.print("bare ArrowWriter");
    ours.print("staged and committed");
    making.print("making the rows, which is in both");
    println!(
        "ratio of rows a CPU second, without making them: {:.2}",
        (bare.cpu - making.cpu) / (ours.cpu - making.cpu)
    );
}

/// The options' sizes and compression, the small pages of the key, and dictionaries for the columns that have one in this file.
fn properties_like(path: &str) -> WriterProperties {
    let options = WriterOptions::default();
    let key = ColumnPath::new(vec!["id".to_owned()]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(options.zstd_level).unwrap()))
        .set_max_row_group_row_count(Some(options.row_group_rows))
        .set_max_row_group_bytes(Some(options.row_group_bytes))
        .set_column_data_page_size_limit(key, 8 << 10);
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let columns = file.metadata().row_group(0).columns();
    columns
        .iter()
        .fold(properties, |properties, column| {
            assert!(column.bloom_filter_offset().is_none());
            let has_dictionary = column.dictionary_page_offset().is_some();
            properties.set_column_dictionary_enabled(column.column_path().clone(), has_dictionary)
        })
        .build()
}

fn write_bare(rows: u64, properties: WriterProperties) {
    let file = tempfile::tempfile().unwrap();
    let schema = schema(Key::Number).relaxed();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
    for batch in batches(Key::Number, rows) {
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
}
