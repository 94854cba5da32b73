//! Orders for what has none: the same key gives the same order.

use crate::random::Random;

/// So many places are shuffled one by one; of more, whole blocks are, whose rows lie side by side in memory.
const SINGLY: usize = 4096;
/// Places in a block.
const BLOCK: usize = 64;

/// A permutation of places. What has come behind them since stays there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shuffle {
    blocks: u64,
    block: usize,
    /// Factors, which are odd, and summands.
    rounds: [(u64, u64); 3],
}

impl Shuffle {
    /// A permutation of at least `count` places.
    pub(crate) fn new(count: usize, key: u64) -> Self {
        let block = if count > SINGLY { BLOCK } else { 1 };
        let mut random = Random::new(key);
        Self {
            blocks: count.div_ceil(block) as u64,
            block,
            rounds: std::array::from_fn(|_| (random.next() | 1, random.next())),
        }
    }

    /// How many places there are to visit, if there are things in the first `count` now.
    pub(crate) fn places(&self, count: usize) -> usize {
        count.max(self.blocks as usize * self.block)
    }

    /// The place that is visited after `visited` others.
    pub(crate) fn place(&self, visited: usize) -> usize {
        if visited >= self.blocks as usize * self.block {
            return visited;
        }
        self.permuted((visited / self.block) as u64) as usize * self.block + visited % self.block
    }

    /// The same things in another order.
    pub(crate) fn apply<T>(&self, things: Vec<T>) -> Vec<T> {
        let mut things: Vec<Option<T>> = things.into_iter().map(Some).collect();
        (0..self.places(things.len()))
            .filter_map(|visited| things.get_mut(self.place(visited))?.take())
            .collect()
    }

    /// Each round is a bijection of the numbers of so many bits; what is beyond the last block goes round again.
    fn permuted(&self, block: u64) -> u64 {
        let bits = u64::BITS - (self.blocks - 1).leading_zeros();
        let mask = (1 << bits) - 1;
        let mut block = block;
        loop {
            for (factor, summand) in self.rounds {
                block = block.wrapping_mul(factor).wrapping_add(summand) & mask;
                block ^= block >> bits.div_ceil(2).max(1);
            }
            if block < self.blocks {
                return block;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_place_is_visited_once_and_new_ones_last() {
        for count in [0, 1, 2, 3, 4, 5, 7, 64, 100, 4096, 4097, 10_000] {
            for key in 0..20 {
                let shuffle = Shuffle::new(count, key);
                let places = shuffle.places(count + 200);
                let visited: Vec<usize> = (0..places).map(|visited| shuffle.place(visited)).collect();
                let distinct: BTreeSet<usize> = visited.iter().copied().collect();
                assert_eq!(distinct, (0..places).collect(), "{count} by {key}");
                let behind = shuffle.places(count);
                assert!(
                    visited
                        .iter()
                        .skip(behind)
                        .eq((behind..places).collect::<Vec<_>>().iter())
                );
            }
        }
    }

    #[test]
    fn few_things_come_in_every_order() {
        for (count, orders) in [(1, 1), (2, 2), (3, 6), (4, 24), (5, 120)] {
            let all: BTreeSet<Vec<usize>> = (0..5000)
                .map(|key| Shuffle::new(count, key).apply((0..count).collect()))
                .collect();
            assert_eq!(all.len(), orders, "{count} things");
        }
    }

    #[test]
    fn many_things_come_in_blocks() {
        let things = Shuffle::new(10_000, 1).apply((0..10_000).collect());
        let steps = things.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count();
        assert!(
            (9_700..9_900).contains(&steps),
            "{steps} of 9999 follow each other"
        );
    }
}
