//! Locks on ranges of an index, or on a whole table. Each owner's are kept apart: he passes over his own, of which he may have one for each row
//! that he merges.

use std::collections::BTreeMap;

use super::table::blocked_by;
use super::{KeyRange, LockMode, Refusal, TxId};

/// A range of an index (or of the whole table) that a transaction has locked against inserts.
#[derive(Clone, Debug)]
pub(super) struct RangeLock {
    pub(super) mode: LockMode,
    /// None: the whole table.
    pub(super) range: Option<(usize, KeyRange)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RangeLocks(BTreeMap<TxId, Vec<RangeLock>>);

impl RangeLocks {
    /// Refuses what others than `tx` keep it from.
    pub(super) fn refuse(&self, tx: TxId, in_the_way: impl Fn(&RangeLock) -> bool) -> Result<(), Refusal> {
        let others = self.0.iter().filter(|(owner, _)| **owner != tx);
        let blocking = others.filter(|(_, locks)| locks.iter().any(&in_the_way));
        blocked_by(blocking.map(|(owner, _)| *owner))
    }

    pub(super) fn add(&mut self, tx: TxId, lock: RangeLock) {
        self.0.entry(tx).or_default().push(lock);
    }

    /// Gives back what a transaction has locked last.
    pub(super) fn release_last(&mut self, tx: TxId) {
        if let Some(locks) = self.0.get_mut(&tx) {
            locks.pop();
            if locks.is_empty() {
                self.0.remove(&tx);
            }
        }
    }

    pub(super) fn release(&mut self, tx: TxId) {
        self.0.remove(&tx);
    }
}
