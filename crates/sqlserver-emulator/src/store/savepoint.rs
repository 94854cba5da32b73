//! Savepoints. Going back to one gives back the locks that were taken after it, but for those that were converted: they stay as
//! they are (ROLLBACK TRANSACTION (Transact-SQL), "Locking behavior").

use super::TxId;
use super::content::Store;
use super::transaction::{Transaction, Undo};

/// How far a transaction had got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Savepoint {
    steps: usize,
    row_locks: usize,
    range_locks: usize,
}

impl Transaction {
    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint {
            steps: self.undo.len(),
            row_locks: self.row_locks.len(),
            range_locks: self.range_locks.len(),
        }
    }
}

impl Store {
    /// Takes back what a transaction did after a savepoint. Table variables keep their content.
    pub(crate) fn return_to(&mut self, tx: TxId, savepoint: Savepoint) {
        self.convert_locks_of_writes(tx, savepoint.steps);
        self.rollback_to(tx, savepoint.steps, true);
        self.release_row_locks_after(tx, savepoint.row_locks);
        self.release_range_locks_after(tx, savepoint.range_locks);
    }

    /// A row that was locked and then written is locked exclusively, also when it is written no more.
    fn convert_locks_of_writes(&mut self, tx: TxId, steps: usize) {
        let Some(transaction) = self.transactions.get(&tx) else {
            return;
        };
        for step in transaction.undo.iter().skip(steps) {
            if let Undo::Write { table, row, .. } = step
                && let Some(data) = self.tables.get_mut(table)
            {
                data.lock_exclusively(tx, *row);
            }
        }
    }

    fn release_range_locks_after(&mut self, tx: TxId, kept: usize) {
        let Some(transaction) = self.transactions.get_mut(&tx) else {
            return;
        };
        let kept = kept.min(transaction.range_locks.len());
        for table in transaction.range_locks.split_off(kept) {
            if let Some(data) = self.tables.get_mut(&table) {
                data.range_locks.release_last(tx);
            }
        }
    }
}
