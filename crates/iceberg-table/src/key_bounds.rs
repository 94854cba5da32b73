//! Which files, row groups and pages can hold a key, by the bounds of the key columns.
//!
//! Pruning is sound only where equality of keys implies an order of their bytes: numbers, dates, times, decimals, UUIDs and bytes;
//! text without a collation; text of a binary collation and binary keys of the source with their padding taken into account. Other
//! text prunes nothing.

use std::collections::HashMap;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use iceberg::spec::{DataFile, Datum, PrimitiveLiteral, Schema};
use model::KeyRange;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::statistics::Statistics;

use crate::key::{ColumnFold, KeyFold, without_padding};
use crate::read::{Projection, RowRanges};

/// The values of the key columns that are looked for.
#[derive(Debug)]
pub(crate) struct KeyBounds {
    columns: Vec<KeyColumn>,
}

#[derive(Debug)]
struct KeyColumn {
    id: i32,
    values: Values,
}

/// The values of one column, ascending.
#[derive(Debug)]
pub(crate) enum Values {
    Numbers {
        sorted: Vec<i128>,
        decimal: bool,
    },
    /// With the byte that is ignored at their ends, if any.
    Bytes {
        sorted: Vec<Vec<u8>>,
        padding: Option<u8>,
    },
    Unordered,
}

/// A bound as it is stored.
#[derive(Debug, Clone, PartialEq)]
enum Bound {
    Number(i128),
    Bytes(Vec<u8>),
}

impl KeyBounds {
    /// The values in `keys`, which holds the key columns in the order of `projection`.
    pub(crate) fn of(keys: &RecordBatch, projection: &Projection, fold: &KeyFold) -> Self {
        let columns = projection.ids().zip(keys.columns()).enumerate();
        let columns = columns.map(|(index, (id, column))| KeyColumn {
            id,
            values: Values::of(column, index, fold),
        });
        Self {
            columns: columns.collect(),
        }
    }

    /// The field id and the values of each key column.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (i32, &Values)> {
        self.columns.iter().map(|column| (column.id, &column.values))
    }

    /// Whether a data file can hold any of the keys.
    pub(crate) fn may_be_in(&self, file: &DataFile) -> bool {
        let bound = |bounds: &HashMap<i32, Datum>, id| bounds.get(&id).and_then(of_datum);
        self.columns.iter().all(|column| {
            let lower = bound(file.lower_bounds(), column.id);
            let upper = bound(file.upper_bounds(), column.id);
            column.values.may_be_between(lower, upper)
        })
    }

    /// The rows of a file that can have any of the keys: pages whose bounds and row groups whose bounds allow it.
    pub(crate) fn may_be_at(&self, file: &ParquetMetaData) -> RowRanges {
        let leaves: Vec<_> = self
            .columns
            .iter()
            .filter_map(|column| Some((leaf_of(file, column.id)?, &column.values)))
            .collect();
        let candidates = (0..file.num_row_groups()).filter(|&group| {
            leaves.iter().all(|(leaf, values)| {
                let statistics = file.row_group(group).column(*leaf).statistics();
                statistics.is_none_or(|statistics| values.may_be_in(statistics))
            })
        });
        let groups: Vec<usize> = candidates.collect();
        let mut rows = RowRanges::of_row_groups(file, &groups);
        for (leaf, values) in leaves {
            if let Some(pages) = pages_with(file, &groups, leaf, values) {
                rows = rows.intersection(&pages);
            }
        }
        rows
    }
}

/// Whether a data file of a table with this schema can hold keys within a range, by the bounds of the key's first column.
pub fn may_hold(file: &DataFile, schema: &Schema, range: &KeyRange) -> bool {
    let Some((column, within)) = range.of_first_column() else {
        return true;
    };
    let Some(id) = schema.field_id_by_name(column) else {
        return true;
    };
    let bound = |bounds: &HashMap<i32, Datum>| match bounds.get(&id).and_then(of_datum) {
        Some(Bound::Number(number)) => Some(number),
        _ => None,
    };
    let lower = bound(file.lower_bounds());
    let upper = bound(file.upper_bounds());
    lower.is_none_or(|lower| lower <= *within.end()) && upper.is_none_or(|upper| upper >= *within.start())
}

impl Values {
    fn of(column: &ArrayRef, index: usize, fold: &KeyFold) -> Self {
        let padding = match fold.column(index).map(ColumnFold::padding) {
            Some(None) => return Self::Unordered,
            padding => padding.flatten(),
        };
        let numbers = |values: Vec<i128>| Self::numbers(values, false);
        match column.data_type() {
            DataType::Int32 => numbers(widened(column.as_primitive::<Int32Type>().values())),
            DataType::Int64 => numbers(widened(column.as_primitive::<Int64Type>().values())),
            DataType::Date32 => numbers(widened(column.as_primitive::<Date32Type>().values())),
            DataType::Time64(_) => numbers(widened(column.as_primitive::<Time64MicrosecondType>().values())),
            DataType::Timestamp(..) => numbers(widened(
                column.as_primitive::<TimestampMicrosecondType>().values(),
            )),
            DataType::Decimal128(..) => {
                Self::numbers(column.as_primitive::<Decimal128Type>().values().to_vec(), true)
            }
            DataType::Utf8 => Self::bytes(
                column.as_string::<i32>().iter().flatten().map(str::as_bytes),
                padding,
            ),
            DataType::LargeUtf8 => Self::bytes(
                column.as_string::<i64>().iter().flatten().map(str::as_bytes),
                padding,
            ),
            DataType::Binary => Self::bytes(column.as_binary::<i32>().iter().flatten(), padding),
            DataType::LargeBinary => Self::bytes(column.as_binary::<i64>().iter().flatten(), padding),
            DataType::FixedSizeBinary(_) => Self::bytes(column.as_fixed_size_binary().iter().flatten(), None),
            _ => Self::Unordered,
        }
    }

    fn numbers(mut sorted: Vec<i128>, decimal: bool) -> Self {
        sorted.sort_unstable();
        sorted.dedup();
        Self::Numbers { sorted, decimal }
    }

    fn bytes<'a>(values: impl Iterator<Item = &'a [u8]>, padding: Option<u8>) -> Self {
        let mut sorted: Vec<Vec<u8>> = values
            .map(|value| {
                padding
                    .map_or(value, |padding| without_padding(value, padding))
                    .to_vec()
            })
            .collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self::Bytes { sorted, padding }
    }

    /// How many values there are; `None` if they are not told apart by their bytes.
    pub(crate) fn count(&self) -> Option<usize> {
        match self {
            Self::Numbers { sorted, .. } => Some(sorted.len()),
            Self::Bytes { sorted, .. } => Some(sorted.len()),
            Self::Unordered => None,
        }
    }

    /// Whether any of the values can lie between these bounds; an unknown bound, or one of another kind, excludes nothing.
    fn may_be_between(&self, lower: Option<Bound>, upper: Option<Bound>) -> bool {
        match self {
            Self::Unordered => true,
            Self::Numbers { sorted, .. } => {
                let number = |bound, unknown| match bound {
                    Some(Bound::Number(number)) => number,
                    _ => unknown,
                };
                any_between(sorted, &number(lower, i128::MIN), Some(&number(upper, i128::MAX)))
            }
            Self::Bytes { sorted, padding } => {
                let bytes = |bound| match bound {
                    Some(Bound::Bytes(bytes)) => Some(bytes),
                    _ => None,
                };
                let mut lower = bytes(lower).unwrap_or_default();
                if let Some(padding) = padding {
                    lower.truncate(padded_lower(&lower, *padding));
                }
                any_between(sorted, &lower, bytes(upper).as_ref())
            }
        }
    }

    fn may_be_in(&self, statistics: &Statistics) -> bool {
        // Old writers compared bytes as signed numbers.
        let trusted = !statistics.is_min_max_deprecated();
        match (self, statistics) {
            (_, Statistics::Int32(s)) => {
                self.may_be_between(s.min_opt().map(number), s.max_opt().map(number))
            }
            (_, Statistics::Int64(s)) => {
                self.may_be_between(s.min_opt().map(number), s.max_opt().map(number))
            }
            (_, Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_)) if trusted => {
                let bound = |bytes: Option<&[u8]>| bytes.and_then(|bytes| self.of_bytes(bytes));
                self.may_be_between(
                    bound(statistics.min_bytes_opt()),
                    bound(statistics.max_bytes_opt()),
                )
            }
            _ => true,
        }
    }

    fn may_be_on_page(&self, index: &ColumnIndexMetaData, page: usize) -> bool {
        let bound = |bytes: Option<&[u8]>| bytes.and_then(|bytes| self.of_bytes(bytes));
        match index {
            _ if index.is_null_page(page) => false,
            ColumnIndexMetaData::INT32(pages) => self.may_be_between(
                pages.min_value(page).map(number),
                pages.max_value(page).map(number),
            ),
            ColumnIndexMetaData::INT64(pages) => self.may_be_between(
                pages.min_value(page).map(number),
                pages.max_value(page).map(number),
            ),
            ColumnIndexMetaData::BYTE_ARRAY(pages) | ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(pages) => {
                self.may_be_between(bound(pages.min_value(page)), bound(pages.max_value(page)))
            }
            _ => true,
        }
    }

    /// A bound that Parquet stores as bytes.
    fn of_bytes(&self, bytes: &[u8]) -> Option<Bound> {
        match self {
            Self::Numbers { decimal: true, .. } => big_endian(bytes).map(Bound::Number),
            Self::Bytes { .. } => Some(Bound::Bytes(bytes.to_vec())),
            _ => None,
        }
    }
}

/// Whether `sorted` has a value from `lower` to `upper`.
fn any_between<T: Ord>(sorted: &[T], lower: &T, upper: Option<&T>) -> bool {
    let first = sorted.partition_point(|value| value < lower);
    sorted
        .get(first)
        .is_some_and(|value| upper.is_none_or(|upper| value <= upper))
}

/// How much of a lower bound still is one for values without their padding: a value may be followed by any number of these bytes, so
/// whatever the bound has from its first such (or lesser) byte on says nothing.
fn padded_lower(bound: &[u8], padding: u8) -> usize {
    bound
        .iter()
        .position(|byte| *byte <= padding)
        .unwrap_or(bound.len())
}

fn widened<T: Copy + Into<i128>>(values: &[T]) -> Vec<i128> {
    values.iter().map(|value| (*value).into()).collect()
}

fn number<T: Copy + Into<i128>>(value: &T) -> Bound {
    Bound::Number((*value).into())
}

/// A signed number, big-endian, of at most 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 == 0 { 0x00 } else { 0xff };
    let mut wide = [sign; 16];
    let start = wide.len().checked_sub(bytes.len())?;
    wide[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

fn of_datum(datum: &Datum) -> Option<Bound> {
    match datum.literal() {
        PrimitiveLiteral::Int(v) => Some(Bound::Number((*v).into())),
        PrimitiveLiteral::Long(v) => Some(Bound::Number((*v).into())),
        PrimitiveLiteral::Int128(v) => Some(Bound::Number(*v)),
        PrimitiveLiteral::UInt128(v) => Some(Bound::Bytes(v.to_be_bytes().to_vec())),
        PrimitiveLiteral::String(v) => Some(Bound::Bytes(v.clone().into_bytes())),
        PrimitiveLiteral::Binary(v) => Some(Bound::Bytes(v.clone())),
        _ => None,
    }
}

/// The leaf column that is the top-level column with this field id.
pub(crate) fn leaf_of(file: &ParquetMetaData, id: i32) -> Option<usize> {
    file.file_metadata()
        .schema_descr()
        .columns()
        .iter()
        .position(|leaf| {
            let info = leaf.self_type().get_basic_info();
            leaf.path().parts().len() == 1 && info.has_id() && info.id() == id
        })
}

/// The rows of the pages of one column, in these row groups, that can hold any of the values; `None` without a page index.
pub(crate) fn pages_with(
    file: &ParquetMetaData,
    groups: &[usize],
    leaf: usize,
    values: &Values,
) -> Option<RowRanges> {
    let mut kept = Vec::new();
    for &group in groups {
        let index = file.column_index()?.get(group)?.get(leaf)?;
        let pages = file.offset_index()?.get(group)?.get(leaf)?.page_locations();
        let start: u64 = file.row_groups()[..group].iter().map(group_rows).sum();
        let rows = group_rows(file.row_group(group));
        if matches!(index, ColumnIndexMetaData::NONE) || index.num_pages() != pages.len() as u64 {
            return None;
        }
        let allowed = (0..pages.len()).filter(|page| values.may_be_on_page(index, *page));
        kept.extend(allowed.map(|page| {
            let within = page_rows(pages, page, rows);
            start + within.start..start + within.end
        }));
    }
    Some(RowRanges::of_ranges(kept))
}

fn page_rows(pages: &[PageLocation], page: usize, rows_in_group: u64) -> Range<u64> {
    let first = |page: &PageLocation| page.first_row_index.max(0) as u64;
    first(&pages[page])..pages.get(page + 1).map_or(rows_in_group, first)
}

fn group_rows(group: &parquet::file::metadata::RowGroupMetaData) -> u64 {
    group.num_rows().max(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sought_between_bounds() {
        let values = Values::numbers(vec![30, 10, 10], false);
        for (lower, upper, found) in [
            (Some(0), Some(9), false),
            (Some(0), Some(10), true),
            (Some(11), Some(29), false),
            (Some(31), None, false),
            (None, Some(5), false),
            (None, None, true),
        ] {
            let bound = |b: Option<i128>| b.map(Bound::Number);
            assert_eq!(
                values.may_be_between(bound(lower), bound(upper)),
                found,
                "{lower:?} {upper:?}"
            );
        }
        assert!(values.may_be_between(Some(Bound::Bytes(vec![255])), None));
    }

    #[test]
    fn padded_values_are_found_under_bounds_with_padding() {
        let bytes = |text: &str| Some(Bound::Bytes(text.as_bytes().to_vec()));
        let (none, blank, zero) = (None, Some(b' '), Some(0));
        for (key, padding, lower, upper, found) in [
            ("a", none, "a ", "b", false),
            ("a", blank, "a ", "b", true),
            ("a  ", blank, "a", "a", true),
            ("a", blank, "a \u{1}", "b", true),
            ("a", blank, "b ", "c", false),
            ("c", blank, "a ", "b ", false),
            ("a", none, "a\0", "b", false),
            ("a", zero, "a\0", "b", true),
            ("a\0\0", zero, "a", "a", true),
            ("a", zero, "a ", "b", false),
            ("c", zero, "a\0", "b\0", false),
        ] {
            let values = Values::bytes([key.as_bytes()].into_iter(), padding);
            assert_eq!(
                values.may_be_between(bytes(lower), bytes(upper)),
                found,
                "{key:?} {lower:?}"
            );
        }
    }

    #[test]
    fn decimals_are_read_with_their_sign() {
        for (bytes, value) in [
            (vec![0x01, 0x00], Some(256)),
            (vec![0xff], Some(-1)),
            (vec![0x80, 0x00], Some(-32_768)),
            (vec![], None),
            (vec![0; 17], None),
        ] {
            assert_eq!(big_endian(&bytes), value);
        }
    }
}
