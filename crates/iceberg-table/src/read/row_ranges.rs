//! Sets of row positions in one file, as ranges.

use std::ops::Range;

use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::metadata::ParquetMetaData;

/// Row positions of one file: ascending ranges that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowRanges(Vec<Range<u64>>);

impl RowRanges {
    /// The positions from 0 up to `rows`.
    pub fn all(rows: u64) -> Self {
        Self(if rows == 0 { Vec::new() } else { vec![0..rows] })
    }

    /// These positions, which must ascend; repeated ones count once.
    pub fn of_sorted(positions: impl IntoIterator<Item = u64>) -> Self {
        let mut ranges = Self::default();
        for position in positions {
            ranges.push(position..position.saturating_add(1));
        }
        ranges
    }

    /// Without `deleted`, which must ascend.
    pub fn without(&self, deleted: &[u64]) -> Self {
        let mut rest = Self::default();
        for range in &self.0 {
            let mut start = range.start;
            let first = deleted.partition_point(|position| *position < range.start);
            for &position in deleted[first..]
                .iter()
                .take_while(|position| **position < range.end)
            {
                rest.push(start..position);
                start = position + 1;
            }
            rest.push(start..range.end);
        }
        rest
    }

    /// How many positions there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The positions, ascending.
    pub fn into_positions(self) -> impl Iterator<Item = u64> + Send {
        self.0.into_iter().flatten()
    }

    /// Adds a range that starts at or after the end of the last one.
    fn push(&mut self, range: Range<u64>) {
        match self.0.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => self.0.push(range),
        }
    }

    /// The positions of these row groups of a file.
    pub(crate) fn of_row_groups(metadata: &ParquetMetaData, row_groups: &[usize]) -> Self {
        let mut ranges = Self::default();
        for (index, rows) in row_group_rows(metadata).enumerate() {
            if row_groups.contains(&index) {
                ranges.push(rows);
            }
        }
        ranges
    }

    /// The row groups of a file that hold any of the positions, and the selection in just these row groups.
    pub(crate) fn selection(&self, metadata: &ParquetMetaData) -> (Vec<usize>, RowSelection) {
        let mut row_groups = Vec::new();
        let mut selected = Vec::new();
        let mut rows_before = 0;
        for (index, rows) in row_group_rows(metadata).enumerate() {
            let first = self.0.partition_point(|range| range.end <= rows.start);
            let overlapping = self.0[first..]
                .iter()
                .take_while(|range| range.start < rows.end);
            let count_before = selected.len();
            selected.extend(overlapping.map(|range| {
                let in_group = |position: u64| (position - rows.start) as usize + rows_before;
                in_group(range.start.max(rows.start))..in_group(range.end.min(rows.end))
            }));
            if selected.len() > count_before {
                row_groups.push(index);
                rows_before += (rows.end - rows.start) as usize;
            }
        }
        let selection = RowSelection::from_consecutive_ranges(selected.into_iter(), rows_before);
        (row_groups, selection)
    }
}

fn row_group_rows(metadata: &ParquetMetaData) -> impl Iterator<Item = Range<u64>> {
    let mut end = 0;
    metadata.row_groups().iter().map(move |group| {
        let start = end;
        end += group.num_rows().max(0) as u64;
        start..end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_become_ranges_and_back() {
        for (positions, ranges) in [
            (vec![], vec![]),
            (vec![3], vec![3..4]),
            (vec![0, 1, 2, 5, 5, 7, 8], vec![0..3, 5..6, 7..9]),
        ] {
            let made = RowRanges::of_sorted(positions.iter().copied());
            assert_eq!(made.0, ranges);
            let mut once = positions.clone();
            once.dedup();
            assert_eq!(made.count(), once.len() as u64);
            assert_eq!(made.into_positions().collect::<Vec<_>>(), once);
        }
    }

    #[test]
    fn deleted_positions_are_left_out() {
        for (rows, deleted, left) in [
            (0, vec![], vec![]),
            (4, vec![], vec![0..4]),
            (4, vec![0], vec![1..4]),
            (4, vec![3], vec![0..3]),
            (4, vec![1, 2], vec![0..1, 3..4]),
            (4, vec![0, 1, 2, 3], vec![]),
            (4, vec![9], vec![0..4]),
        ] {
            assert_eq!(
                RowRanges::all(rows).without(&deleted).0,
                left,
                "{rows} {deleted:?}"
            );
        }
        let two = RowRanges(vec![0..3, 5..9]);
        assert_eq!(two.without(&[2, 4, 5, 8]).0, [0..2, 6..8]);
    }
}
