//! Sums of row hashes per bucket, in bounded memory.

use std::collections::{BTreeMap, HashSet};

use model::RowHash;

/// How many buckets are kept; beyond it, neighbours are united.
pub(super) const MOST: usize = 4_096;

/// Sums per bucket. A bucket holds the places that agree in all but the lowest `shift` bits: a range of places.
#[derive(Debug, Clone, Default)]
pub(super) struct Buckets {
    shift: u32,
    sums: BTreeMap<i64, Sum>,
}

/// The sum does not depend on the order of rows, and does on how often each is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hashes: u128,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.hashes = self.hashes.wrapping_add(other.hashes);
    }
}

impl Buckets {
    pub(super) fn add(&mut self, place: i64, hash: RowHash) {
        let row = Sum {
            rows: 1,
            hashes: hash.0,
        };
        self.sums.entry(place >> self.shift).or_default().add(row);
        while self.sums.len() > MOST {
            self.widen_to(self.shift + 1);
        }
    }

    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    pub(super) fn rows(&self) -> u64 {
        self.sums.values().map(|sum| sum.rows).sum()
    }

    /// Unites neighbours until buckets are at least as wide as `shift` says.
    pub(super) fn widen_to(&mut self, shift: u32) {
        let Some(more) = shift.checked_sub(self.shift).filter(|more| *more > 0) else {
            return;
        };
        let mut wider: BTreeMap<i64, Sum> = BTreeMap::new();
        for (bucket, sum) in std::mem::take(&mut self.sums) {
            wider.entry(bucket >> more).or_default().add(sum);
        }
        self.sums = wider;
        self.shift = shift;
    }

    /// How many rows lie in buckets that are equal, and the other buckets in groups of at most about `rows` rows. Both sides
    /// must have the same width.
    pub(super) fn compare(&self, other: &Self, rows: u64) -> (u64, Vec<HashSet<i64>>) {
        let nothing = Sum::default();
        let buckets: HashSet<i64> = self.sums.keys().chain(other.sums.keys()).copied().collect();
        let (mut equal, mut held) = (0, 0);
        let mut groups: Vec<HashSet<i64>> = Vec::new();
        for bucket in buckets {
            let ours = self.sums.get(&bucket).unwrap_or(&nothing);
            let theirs = other.sums.get(&bucket).unwrap_or(&nothing);
            if ours == theirs {
                equal += ours.rows;
                continue;
            }
            let here = ours.rows + theirs.rows;
            match groups.last_mut().filter(|_| held + here <= rows) {
                Some(group) => {
                    group.insert(bucket);
                    held += here;
                }
                None => {
                    groups.push(HashSet::from([bucket]));
                    held = here;
                }
            }
        }
        (equal, groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(places: impl IntoIterator<Item = i64>) -> Buckets {
        let mut buckets = Buckets::default();
        for place in places {
            buckets.add(
                place,
                RowHash((place as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            );
        }
        buckets
    }

    #[test]
    fn memory_is_bounded_and_no_row_is_lost() {
        let spread = (0..50_000).map(|i| (i - 25_000) * 1_000_003);
        let buckets = buckets(spread);
        assert!(buckets.sums.len() <= MOST);
        assert_eq!(buckets.rows(), 50_000);
    }

    #[test]
    fn a_difference_lies_in_one_bucket_whatever_the_widths() {
        let mut small = buckets((0..10_000).filter(|place| *place != 7_777));
        let mut large = buckets(0..1_000_000);
        small.widen_to(large.shift());
        large.widen_to(small.shift());
        let part = |buckets: &Buckets| Buckets {
            sums: buckets
                .sums
                .range(..(9_000 >> buckets.shift))
                .map(|(bucket, sum)| (*bucket, *sum))
                .collect(),
            shift: buckets.shift,
        };
        let (_, groups) = part(&small).compare(&part(&large), 1_000);
        assert_eq!(groups, [HashSet::from([7_777 >> small.shift()])]);
    }

    #[test]
    fn a_doubled_row_is_a_difference_and_order_is_none() {
        let forwards = buckets(0..100);
        assert!(forwards.compare(&buckets((0..100).rev()), 10).1.is_empty());
        assert_eq!(forwards.compare(&buckets((0..100).chain([5])), 10).1.len(), 1);
    }

    #[test]
    fn groups_hold_only_so_many_rows() {
        let (equal, groups) = buckets(0..100).compare(&buckets(50..60), 10);
        assert_eq!(equal, 10);
        assert_eq!(groups.iter().map(HashSet::len).sum::<usize>(), 90);
        assert!(groups.iter().all(|group| group.len() <= 10));
    }
}
