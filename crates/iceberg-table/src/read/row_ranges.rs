//! Sets of row positions in one file, as ranges.

use std::ops::Range;

use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::metadata::ParquetMetaData;

/// Row positions of one file: ascending ranges that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowRanges(Vec<Range<u64>>);

/// The positions of ranges, taken by and by.
#[derive(Debug)]
pub(crate) struct Positions {
    next: Range<u64>,
    rest: std::vec::IntoIter<Range<u64>>,
}

impl Positions {
    /// The next positions, so many as long as there are.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u64> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            if self.next.is_empty() {
                match self.rest.next() {
                    Some(range) => self.next = range,
                    None => break,
                }
            }
            let missing = (count - taken.len()) as u64;
            let end = self.next.start.saturating_add(missing).min(self.next.end);
            // A whole range at once is written many times as fast as positions one by one.
            taken.extend(self.next.start..end);
            self.next.start = end;
        }
        taken
    }
}

impl RowRanges {
    /// The positions from 0 up to `rows`.
    pub fn all(rows: u64) -> Self {
        Self::of_ranges(std::iter::once(0..rows))
    }

    /// These positions, which must ascend; repeated ones count once.
    pub fn of_sorted(positions: impl IntoIterator<Item = u64>) -> Self {
        let mut ranges = Self::default();
        for position in positions {
            ranges.push(position..position.saturating_add(1));
        }
        ranges
    }

    /// These ranges, which must ascend without overlap.
    pub(crate) fn of_ranges(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut made = Self::default();
        for range in ranges {
            made.push(range);
        }
        made
    }

    /// The positions that are in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut shared = Self::default();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            shared.push(a.start.max(b.start)..a.end.min(b.end));
            if a.end <= b.end {
                left.next();
            } else {
                right.next();
            }
        }
        shared
    }

    /// These positions and those of `later`, which begin where these end or after.
    pub(crate) fn followed_by(mut self, later: &Self) -> Self {
        for range in &later.0 {
            self.push(range.clone());
        }
        self
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
    pub(crate) fn into_positions(self) -> Positions {
        Positions {
            next: 0..0,
            rest: self.0.into_iter(),
        }
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

    /// The positions that are in `range`.
    pub(crate) fn within(&self, range: &Range<u64>) -> Self {
        let first = self.0.partition_point(|own| own.end <= range.start);
        let overlapping = self.0[first..].iter().take_while(|own| own.start < range.end);
        Self::of_ranges(overlapping.map(|own| own.start.max(range.start)..own.end.min(range.end)))
    }

    /// The first position that no row group of a file holds.
    pub(crate) fn beyond(&self, metadata: &ParquetMetaData) -> Option<u64> {
        let end = row_group_rows(metadata).last().map_or(0, |rows| rows.end);
        let last = self.0.last().filter(|range| range.end > end)?;
        Some(self.within(&(end..last.end)).0.first()?.start)
    }

    /// The row groups of a file that hold any of the positions, each with those.
    pub(crate) fn by_row_group(
        &self,
        metadata: &ParquetMetaData,
    ) -> impl Iterator<Item = (usize, InRowGroup)> {
        let groups = row_group_rows(metadata).enumerate();
        groups.filter_map(|(index, of)| {
            let rows = self.within(&of);
            let chosen = InRowGroup {
                first: of.start,
                of: of.end - of.start,
                rows,
            };
            (!chosen.rows.is_empty()).then_some((index, chosen))
        })
    }
}

/// Positions of one row group.
#[derive(Debug)]
pub(crate) struct InRowGroup {
    /// The position in the file of the group's first row.
    first: u64,
    /// How many rows the group has.
    pub(crate) of: u64,
    pub(crate) rows: RowRanges,
}

impl InRowGroup {
    pub(crate) fn selection(&self) -> RowSelection {
        let in_group = |position: u64| (position - self.first) as usize;
        let rows = self.rows.0.iter();
        let ranges = rows.map(|range| in_group(range.start)..in_group(range.end));
        RowSelection::from_consecutive_ranges(ranges, self.of as usize)
    }
}

fn row_group_rows(metadata: &ParquetMetaData) -> impl Iterator<Item = Range<u64>> {
    let mut end = 0_u64;
    metadata.row_groups().iter().map(move |group| {
        let start = end;
        end = end.saturating_add(group.num_rows().max(0) as u64);
        start..end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = &'static [(u64, u64)];

    fn ranges(pairs: Pairs) -> RowRanges {
        RowRanges::of_ranges(pairs.iter().map(|(start, end)| *start..*end))
    }

    #[test]
    fn positions_become_ranges_and_back() {
        let cases: [(&[u64], Pairs); 3] = [
            (&[], &[]),
            (&[3], &[(3, 4)]),
            (&[0, 1, 2, 5, 5, 7, 8], &[(0, 3), (5, 6), (7, 9)]),
        ];
        for (positions, expected) in cases {
            let made = RowRanges::of_sorted(positions.iter().copied());
            assert_eq!(made, ranges(expected));
            let mut once = positions.to_vec();
            once.dedup();
            assert_eq!(made.count(), once.len() as u64);
            for at_once in 1..5 {
                let mut positions = made.clone().into_positions();
                let taken: Vec<u64> = std::iter::from_fn(|| Some(positions.take(at_once)))
                    .take_while(|taken| !taken.is_empty())
                    .flatten()
                    .collect();
                assert_eq!(taken, once);
            }
        }
    }

    #[test]
    fn deleted_positions_are_left_out() {
        let cases: [(Pairs, &[u64], Pairs); 8] = [
            (&[], &[], &[]),
            (&[(0, 4)], &[], &[(0, 4)]),
            (&[(0, 4)], &[0], &[(1, 4)]),
            (&[(0, 4)], &[3], &[(0, 3)]),
            (&[(0, 4)], &[1, 2], &[(0, 1), (3, 4)]),
            (&[(0, 4)], &[0, 1, 2, 3], &[]),
            (&[(0, 4)], &[9], &[(0, 4)]),
            (&[(0, 3), (5, 9)], &[2, 4, 5, 8], &[(0, 2), (6, 8)]),
        ];
        for (rows, deleted, left) in cases {
            assert_eq!(
                ranges(rows).without(deleted),
                ranges(left),
                "{rows:?} {deleted:?}"
            );
        }
    }

    #[test]
    fn an_intersection_has_what_both_have() {
        let cases: [(Pairs, Pairs, Pairs); 4] = [
            (&[], &[(0, 3)], &[]),
            (&[(0, 10)], &[(2, 3), (5, 7)], &[(2, 3), (5, 7)]),
            (&[(0, 3), (5, 9)], &[(2, 6), (8, 20)], &[(2, 3), (5, 6), (8, 9)]),
            (&[(0, 3)], &[(3, 5)], &[]),
        ];
        for (a, b, shared) in cases {
            assert_eq!(ranges(a).intersection(&ranges(b)), ranges(shared));
            assert_eq!(ranges(b).intersection(&ranges(a)), ranges(shared));
        }
    }
}
