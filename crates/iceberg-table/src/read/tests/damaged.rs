//! Files that are not what they say. What is wrong is told, and nothing is made up for what is missing.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::basic::Encoding;
use parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaDataBuilder,
};
use parquet::file::page_index::offset_index::{OffsetIndexMetaData, PageLocation};

use super::*;

/// Rows of a row group.
const GROUP: i32 = 100;

/// Two row groups of a page for each column: `id` counts, `amount` is ten times as much.
fn two_groups() -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(GROUP as usize))
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::PLAIN)
        .build();
    let amounts = (0..2 * i64::from(GROUP)).map(|id| 10 * id);
    let columns: Vec<(_, _, ArrayRef)> = vec![
        ("id", Some(1), ints(&(0..2 * GROUP).collect::<Vec<_>>())),
        ("amount", Some(3), Arc::new(Int64Array::from_iter_values(amounts))),
    ];
    parquet(columns, properties)
}

fn footer(file: &[u8]) -> ParquetMetaData {
    ParquetMetaDataReader::new()
        .parse_and_finish(&bytes::Bytes::copy_from_slice(file))
        .unwrap()
}

/// What is read of these rows, by position, from memory and from a disk; each ends with what it was ended by.
async fn read_twice(file: &[u8], rows: &RowRanges) -> [Vec<Result<FileRows>>; 2] {
    let (metadata, schema) = table(&[]);
    let projection = Projection::of_table(&metadata, &schema).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let on_disk = local_path_in(&directory);
    let mut read = Vec::new();
    for (file_io, path) in [
        (FileIO::new_with_memory(), PATH),
        (Storage::default().file_io(), &on_disk),
    ] {
        let size = file_at(&file_io, path, file.to_vec()).await;
        let reader = DataFileReader::open(&file_io, &path.into(), size).await.unwrap();
        let batches = reader.read(&projection, rows.clone()).await.unwrap();
        read.push(batches.collect().await);
    }
    read.try_into().unwrap()
}

/// That reading `rows` ends with `Corrupt`, and that each row before that is one that was written, at its place.
async fn is_refused(file: &[u8], rows: RowRanges, why: &str) {
    for mut batches in read_twice(file, &rows).await {
        let last = batches.pop().unwrap();
        assert_eq!(last.unwrap_err().kind(), ErrorKind::Corrupt, "{why}");
        for batch in batches {
            let batch = batch.expect("an error ends it");
            let column = |index: usize| batch.rows.column(index).as_primitive::<Int64Type>().clone();
            let (ids, amounts) = (column(0), column(2));
            let rows = ids.values().iter().zip(amounts.values()).zip(&batch.positions);
            for ((id, amount), position) in rows {
                assert_eq!((*id, *amount), (*position as i64, 10 * id), "{why}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_row_group_lacks_is_not_taken_from_the_next() {
    let sound = two_groups();
    // Thrift's compact form of the header's part about data pages, and in it of a hundred values: one bit less are 96.
    let (values, fewer) = ([0x2C, 0x15, 0xC8, 0x01], [0x2C, 0x15, 0xC0, 0x01]);
    let group = footer(&sound).row_group(0).clone();
    for (damaged, name) in [(vec![0], "id"), (vec![1], "amount"), (vec![0, 1], "both")] {
        let mut file = sound.clone();
        for leaf in damaged {
            let page = group.column(leaf).data_page_offset() as usize;
            let at = file[page..].windows(4).position(|bytes| bytes == values).unwrap();
            file[page + at..][..4].copy_from_slice(&fewer);
        }
        for until in [97, 100, 150, 200] {
            is_refused(&file, RowRanges::all(until), &format!("{name}, up to {until}")).await;
        }
        is_refused(&file, RowRanges::of_sorted([98, 120]), name).await;
    }
    for read in read_twice(&sound, &RowRanges::all(150)).await {
        let rows: usize = read.into_iter().map(|batch| batch.unwrap().rows.num_rows()).sum();
        assert_eq!(rows, 150);
    }
}

/// The same file with another number of rows in its footer, in which `change` has changed the rest of a row group.
fn with_footer(
    file: &[u8],
    more: i64,
    change: impl Fn(RowGroupMetaDataBuilder) -> RowGroupMetaDataBuilder,
) -> Vec<u8> {
    let footer = footer(file);
    let told = footer.file_metadata();
    let told = FileMetaData::new(
        told.version(),
        told.num_rows() + more,
        None,
        None,
        told.schema_descr_ptr(),
        None,
    );
    let groups = footer.row_groups().iter().map(|group| {
        let rows = group.num_rows() + more;
        change(group.clone().into_builder().set_num_rows(rows))
            .build()
            .unwrap()
    });
    let footer = ParquetMetaDataBuilder::new(told)
        .set_row_groups(groups.collect())
        .build();
    let mut written = file.to_vec();
    ParquetMetaDataWriter::new(&mut written, &footer)
        .finish()
        .unwrap();
    written
}

#[tokio::test]
async fn rows_that_no_footer_tells_of_are_not_read() {
    let columns = vec![
        ("id", Some(1), ints(&[0, 1, 2])),
        (
            "amount",
            Some(3),
            Arc::new(Int64Array::from(vec![0, 10, 20])) as ArrayRef,
        ),
    ];
    let file = with_footer(&parquet(columns, WriterProperties::new()), -1, |group| group);
    is_refused(&file, RowRanges::all(2), "two of three").await;
}

#[tokio::test]
async fn rows_that_no_row_group_has_are_missed() {
    let rows = i64::from(GROUP);
    let file = with_footer(&two_groups(), 5, |group| group.set_num_rows(rows));
    is_refused(&file, RowRanges::all(205), "all").await;
    is_refused(&file, RowRanges::of_sorted([3, 200]), "one").await;
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
        let file = with_footer(&parquet(columns, WriterProperties::new()), 2, |group| group);
        let size = file_at(&file_io, path, file).await;
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
    let size = file_at(&file_io, &path, parquet(columns, WriterProperties::new())).await;
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
    let opened = DataFileReader::open(&file_io, &path.as_str().into(), size).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::create_dir(&local).unwrap();
    let not_a_file = read().await.unwrap_err();
    assert_eq!(not_a_file.kind(), ErrorKind::Unavailable, "{not_a_file}");
    assert!(not_a_file.to_string().contains("os error"), "{not_a_file}");
}

/// Where no file has anything, another column is, or in another order.
#[tokio::test]
async fn what_is_not_where_the_footer_says_is_not_looked_for() {
    let sound = two_groups();
    let all = RowRanges::all(200);
    for (offset, length) in [
        (1_i64 << 50, 10),
        (-5, 10),
        (4, 1 << 40),
        (4, -1),
        (i64::MAX, 10),
        (4, i64::MAX / 4),
    ] {
        let moved = with_footer(&sound, 0, |group| {
            let group = group.build().unwrap();
            let mut columns = group.columns().to_vec();
            columns[1] = columns[1]
                .clone()
                .into_builder()
                .set_data_page_offset(offset)
                .set_total_compressed_size(length)
                .build()
                .unwrap();
            group.into_builder().set_column_metadata(columns)
        });
        is_refused(&moved, all.clone(), &format!("{offset} {length}")).await;
    }
    let file = footer(&sound);
    let (start, length) = file.row_group(0).column(1).byte_range();
    let page = |offset: i64, size: i32, first_row_index: i64| PageLocation {
        offset,
        compressed_page_size: size,
        first_row_index,
    };
    let (begin, half) = (start as i64, length as i32 / 2);
    let next = begin + i64::from(half);
    for (pages, are_right) in [
        (vec![], true),
        (vec![page(begin, half, 0)], true),
        (vec![page(begin, half, 0), page(next, half, 50)], true),
        (vec![page(begin - 1, half, 0)], false),
        (vec![page(begin, length as i32 + 1, 0)], false),
        (vec![page(begin, -1, 0)], false),
        (vec![page(i64::MAX, half, 0)], false),
        (vec![page(-1, half, 0)], false),
        (vec![page(begin, half, 1)], false),
        (vec![page(begin, half, 0), page(next, half, 101)], false),
        (vec![page(begin, half, 0), page(next, half, -1)], false),
        (vec![page(next, half, 0), page(begin, half, 50)], false),
    ] {
        let told = format!("{pages:?}");
        let none = || OffsetIndexMetaData {
            page_locations: vec![],
            unencoded_byte_array_data_bytes: None,
        };
        let index = OffsetIndexMetaData {
            page_locations: pages,
            ..none()
        };
        let file = file
            .clone()
            .into_builder()
            .set_offset_index(Some(vec![vec![none(), index]]));
        let checked = footer::check(&file.build(), 0, &ProjectionMask::all(), sound.len() as u64);
        assert_eq!(checked.is_ok(), are_right, "{told}");
    }
}
