//! The transaction around a single statement: the open one, or one of its own.

use super::run::{Run, StatementState};
use crate::error::{SqlError, SqlResult};
use crate::outcome::Command;
use crate::session::Isolation;
use crate::store::TxId;

/// A statement that has run: its transaction, whether that ends with it, and the marks from its start.
struct Ended {
    tx: TxId,
    own: bool,
    failed: bool,
    undo: usize,
    locks: usize,
}

impl Run<'_> {
    /// Runs work in the open transaction, or in one of its own that commits at the end. With IMPLICIT_TRANSACTIONS it
    /// opens one that stays.
    pub(crate) fn in_transaction<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> SqlResult<T>,
    ) -> SqlResult<T> {
        self.meet_fault()?;
        let outer = self.session.transaction.or(self.session.statement_transaction);
        if outer.is_none() && self.session.options.implicit_transactions {
            self.open_transaction("implicit_transaction");
        }
        self.reading(name, work)
    }

    /// The error that a test ordered for this statement.
    fn meet_fault(&self) -> SqlResult<()> {
        let session = &self.session;
        let faults = session.engine.faults();
        if !faults.are_ordered() {
            return Ok(());
        }
        let database = session.database_name(session.database);
        faults.at_statement(&database, session.id).map_or(Ok(()), Err)
    }

    /// Like `in_transaction`, for expressions of conditions and variables, which open no implicit transaction.
    pub(crate) fn reading<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let engine = std::sync::Arc::clone(&self.session.engine);
        let outer = self.session.transaction.or(self.session.statement_transaction);
        let tx = match outer {
            Some(tx) => tx,
            None => {
                let mut store = engine.store().lock();
                let tx = store.begin(self.session.id, name, false, engine.clock());
                if let Some(transaction) = store.transaction(tx) {
                    transaction.deadlock_priority = self.session.options.deadlock_priority;
                }
                tx
            }
        };
        if outer.is_none() {
            self.session.statement_transaction = Some(tx);
        }
        let before = self.statement;
        let (undo, locks) = self.start_statement(tx);
        engine.change_session(self.session.id, |facts| {
            if let Some((_, command)) = &mut facts.request {
                name.clone_into(command);
            }
        });
        let result = work(self);
        if self.session.isolation != Isolation::Snapshot {
            engine.store().lock().release_snapshot(self.statement.snapshot);
        }
        self.statement = before;
        if outer.is_none() {
            self.session.statement_transaction = None;
        }
        let ended = Ended {
            tx,
            own: outer.is_none(),
            failed: result.is_err(),
            undo,
            locks,
        };
        self.end_statement(ended, matches!(name, "UPDATE" | "DELETE"));
        result
    }

    /// Takes the statement's time. Gives the marks to return to.
    fn start_statement(&mut self, tx: TxId) -> (usize, usize) {
        let engine = std::sync::Arc::clone(&self.session.engine);
        engine.catch_up();
        let now = engine.clock().now();
        let mut store = engine.store().lock();
        store.touch_read(tx, self.session.database);
        let Some(transaction) = store.transaction(tx) else {
            return (0, 0);
        };
        let snapshot = transaction
            .snapshot
            .filter(|_| self.session.isolation == Isolation::Snapshot);
        self.statement = StatementState { tx, snapshot, now };
        (transaction.undo.len(), transaction.row_locks.len())
    }

    /// `searches`: its update locks on rows that it did not change end with it.
    fn end_statement(&mut self, ended: Ended, searches: bool) {
        let Ended {
            tx,
            own,
            failed,
            undo,
            locks,
        } = ended;
        let engine = std::sync::Arc::clone(&self.session.engine);
        let mut store = engine.store().lock();
        if failed {
            store.rollback_to(tx, undo, false);
        }
        let keeps_locks = matches!(
            self.session.isolation,
            Isolation::RepeatableRead | Isolation::Serializable
        );
        match (own, failed) {
            (true, false) => store.commit(tx, engine.commit_time()),
            (true, true) => store.rollback(tx),
            (false, _) if !keeps_locks && searches => store.release_row_locks_after(tx, locks),
            (false, _) => {}
        }
        drop(store);
        engine.store().notify();
    }

    /// Runs a statement that changes rows. Error 3930 in a doomed transaction.
    pub(super) fn counted(
        &mut self,
        name: &str,
        command: Command,
        work: impl FnOnce(&mut Self) -> SqlResult<u64>,
    ) -> SqlResult<()> {
        self.refuse_if_doomed()?;
        if self.session.options.fmt_only {
            return Ok(());
        }
        let rows = self.in_transaction(name, work)?;
        self.session.row_count = rows as i64;
        self.session.last_error = 0;
        self.done(command, Some(rows));
        Ok(())
    }

    pub(crate) fn refuse_if_doomed(&self) -> SqlResult<()> {
        if self.session.doomed {
            return Err(SqlError::user(
                3930,
                "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
            ));
        }
        Ok(())
    }
}
