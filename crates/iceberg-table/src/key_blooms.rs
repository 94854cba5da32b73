//! Which keys a row group surely lacks, by the bloom filters of its key columns.
//!
//! A filter is read only where it can pay: it must be smaller than the pages that it may spare, and there must be so few keys that those
//! it takes for present by mistake leave pages out.

use parquet::basic::Type as PhysicalType;
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::ParquetMetaData;

use model::Result;

use crate::key_bounds::{KeyBounds, Values, leaf_of, pages_with};
use crate::read::{DataFileReader, RowRanges};

/// About how often a filter is wrong.
const FALSE_POSITIVES: f64 = 0.05;

/// Those of `rows` that can have any of the keys.
///
/// # Errors
///
/// As reading the file.
pub(crate) async fn without_absent_keys(
    bounds: &KeyBounds,
    reader: &DataFileReader,
    rows: RowRanges,
) -> Result<RowRanges> {
    let file = reader.metadata();
    let mut rows = rows;
    for (id, values) in bounds.columns() {
        let Some(leaf) = leaf_of(file, id) else { continue };
        let mut possible = RowRanges::default();
        for group in 0..file.num_row_groups() {
            let in_group = RowRanges::of_row_groups(file, &[group]);
            let wanted = rows.intersection(&in_group);
            let kept = match may_pay(file, group, leaf, values, &wanted) {
                true => match reader.bloom_filter(group, leaf).await? {
                    Some(filter) => in_filter(&filter, file, leaf, values)
                        .map_or(in_group, |present| pages_of(file, group, leaf, &present)),
                    None => in_group,
                },
                false => in_group,
            };
            possible = possible.followed_by(&kept);
        }
        rows = rows.intersection(&possible);
    }
    Ok(rows)
}

fn may_pay(file: &ParquetMetaData, group: usize, leaf: usize, values: &Values, wanted: &RowRanges) -> bool {
    let column = file.row_group(group).column(leaf);
    let (Some(filter), Some(keys)) = (column.bloom_filter_length(), values.count()) else {
        return false;
    };
    let rows = file.row_group(group).num_rows().max(1) as f64;
    let part = wanted.count() as f64 / rows;
    let pages = file
        .offset_index()
        .and_then(|index| index.get(group)?.get(leaf))
        .map_or(1, |index| index.page_locations().len());
    let spared = column.compressed_size() as f64 * part;
    f64::from(filter) < spared && keys as f64 * FALSE_POSITIVES < pages as f64 * part
}

/// The values that the filter may have; `None` if it says nothing about values of this kind.
fn in_filter(filter: &Sbbf, file: &ParquetMetaData, leaf: usize, values: &Values) -> Option<Values> {
    let column = file.file_metadata().schema_descr().column(leaf);
    let width = usize::try_from(column.type_length()).unwrap_or_default();
    let has = |number: i128| match column.physical_type() {
        PhysicalType::INT32 => i32::try_from(number).is_ok_and(|number| filter.check(&number)),
        PhysicalType::INT64 => i64::try_from(number).is_ok_and(|number| filter.check(&number)),
        PhysicalType::FIXED_LEN_BYTE_ARRAY => number
            .to_be_bytes()
            .get(16_usize.saturating_sub(width)..)
            .is_some_and(|bytes| filter.check(bytes)),
        _ => true,
    };
    match values {
        Values::Numbers { sorted, decimal } => Some(Values::Numbers {
            sorted: sorted.iter().copied().filter(|number| has(*number)).collect(),
            decimal: *decimal,
        }),
        Values::Bytes {
            sorted,
            padding: None,
        } => Some(Values::Bytes {
            sorted: sorted
                .iter()
                .filter(|bytes| filter.check(bytes.as_slice()))
                .cloned()
                .collect(),
            padding: None,
        }),
        // A value is stored with its padding, which the key may not have.
        Values::Bytes { .. } | Values::Unordered => None,
    }
}

fn pages_of(file: &ParquetMetaData, group: usize, leaf: usize, present: &Values) -> RowRanges {
    match present.count() {
        Some(0) => RowRanges::default(),
        _ => pages_with(file, &[group], leaf, present)
            .unwrap_or_else(|| RowRanges::of_row_groups(file, &[group])),
    }
}
