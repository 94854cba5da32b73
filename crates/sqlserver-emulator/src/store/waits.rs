//! Who waits for whom, and how a circle of waiters is broken.

use super::TxId;
use super::content::Store;

impl Store {
    pub(super) fn session_of(&self, tx: TxId) -> u16 {
        self.transactions
            .get(&tx)
            .map_or(0, |transaction| transaction.session)
    }

    pub(super) fn is_victim(&self, tx: TxId) -> bool {
        self.transactions
            .get(&tx)
            .is_some_and(|transaction| transaction.victim)
    }

    pub(super) fn is_waiting(&self, tx: TxId) -> bool {
        self.transactions
            .get(&tx)
            .is_some_and(|transaction| !transaction.waits_for.is_empty())
    }

    /// `holder` gave a lock back: who waited for it waits no more, until he has tried again.
    pub(super) fn let_waiters_try(&mut self, holder: TxId) {
        for transaction in self.transactions.values_mut() {
            if transaction.waits_for.contains(&holder) {
                transaction.waits_for.clear();
            }
        }
    }

    pub(super) fn stop_waiting(&mut self, tx: TxId) {
        if let Some(transaction) = self.transactions.get_mut(&tx) {
            transaction.waits_for.clear();
        }
    }

    /// Notes whom `tx` waits for; if that closes a circle, one of its members becomes the victim: the one of least
    /// priority, and among equals the one that has written least.
    pub(super) fn wait_for(&mut self, tx: TxId, blockers: Vec<TxId>) {
        if let Some(transaction) = self.transactions.get_mut(&tx) {
            transaction.waits_for = blockers;
        }
        let mut path = Vec::new();
        if !self.finds_circle(tx, tx, &mut path) {
            return;
        }
        let victim = path
            .iter()
            .filter_map(|id| self.transactions.get(id))
            .min_by_key(|transaction| {
                (
                    transaction.deadlock_priority,
                    transaction.undo.len(),
                    std::cmp::Reverse(transaction.id),
                )
            });
        if let Some(id) = victim.map(|transaction| transaction.id)
            && let Some(transaction) = self.transactions.get_mut(&id)
        {
            transaction.victim = true;
        }
    }

    pub(super) fn finds_circle(&self, start: TxId, at: TxId, path: &mut Vec<TxId>) -> bool {
        path.push(at);
        let next = self
            .transactions
            .get(&at)
            .map(|transaction| transaction.waits_for.as_slice())
            .unwrap_or_default();
        for &blocker in next {
            if blocker == start {
                return true;
            }
            if !path.contains(&blocker) && self.finds_circle(start, blocker, path) {
                return true;
            }
        }
        path.pop();
        false
    }
}
