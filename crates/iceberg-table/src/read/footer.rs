//! Where a footer says that things are, checked before anybody goes there.

use parquet::arrow::ProjectionMask;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;

/// Whether the chosen columns of a row group lie in a file of `size` bytes, and each one's pages in it, in order. Parquet's readers take
/// a page from wherever they are told.
pub(super) fn check(
    metadata: &ParquetMetaData,
    group: usize,
    mask: &ProjectionMask,
    size: u64,
) -> Result<(), ParquetError> {
    let row_group = metadata.row_group(group);
    let pages = metadata.offset_index().and_then(|index| index.get(group));
    for (leaf, column) in row_group.columns().iter().enumerate() {
        if !mask.leaf_included(leaf) {
            continue;
        }
        let pages = pages.and_then(|pages| pages.get(leaf));
        let pages = pages.map_or(&[][..], |pages| pages.page_locations());
        let is_there = bytes(column, size).is_some_and(|(start, end)| {
            let row_count = row_group.num_rows();
            lie_within(pages, start, end) && are_in_order(pages, row_count)
        });
        if !is_there {
            let name = column.column_path().string();
            let wrong =
                format!("the footer says that column {name:?} of row group {group} is where it cannot be");
            return Err(ParquetError::General(wrong));
        }
    }
    Ok(())
}

/// Where the column begins and ends; `None` if that is not in the file.
fn bytes(column: &ColumnChunkMetaData, size: u64) -> Option<(u64, u64)> {
    let start = column.dictionary_page_offset();
    let start = u64::try_from(start.unwrap_or(column.data_page_offset())).ok()?;
    let end = start.checked_add(u64::try_from(column.compressed_size()).ok()?)?;
    (end <= size).then_some((start, end))
}

fn lie_within(pages: &[PageLocation], start: u64, end: u64) -> bool {
    pages.iter().all(|page| {
        let length = u64::try_from(page.compressed_page_size);
        match (u64::try_from(page.offset), length) {
            (Ok(offset), Ok(length)) => {
                start <= offset && offset.checked_add(length).is_some_and(|last| last <= end)
            }
            _ => false,
        }
    })
}

fn are_in_order(pages: &[PageLocation], row_count: i64) -> bool {
    let ascend = pages
        .array_windows()
        .all(|[page, next]| page.first_row_index <= next.first_row_index && page.offset < next.offset);
    ascend
        && pages.first().is_none_or(|page| page.first_row_index == 0)
        && pages.last().is_none_or(|page| page.first_row_index <= row_count)
}
