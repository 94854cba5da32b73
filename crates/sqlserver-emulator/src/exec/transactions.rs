//! BEGIN, COMMIT, ROLLBACK, SAVE.

use super::run::Run;
use super::scope::same;
use crate::ast::TransactionName;
use crate::error::{SqlError, SqlResult};
use crate::outcome::{Command, EnvChange, Flow};
use crate::session::SessionState;
use crate::store::TxId;

impl Run<'_> {
    pub(crate) fn begin_transaction(&mut self, name: Option<&TransactionName>) -> SqlResult<()> {
        let name = name
            .map(|name| self.transaction_name(name))
            .transpose()?
            .unwrap_or_else(|| "user_transaction".to_owned());
        self.open_transaction(&name);
        self.session.row_count = 0;
        self.done(Command::BeginTran, None);
        Ok(())
    }

    /// Begins a transaction, or counts a nested one.
    pub(crate) fn open_transaction(&mut self, name: &str) {
        if let Some(tx) = self.session.begin(name) {
            self.out.env(EnvChange::BeginTran(tx));
        }
    }

    /// Errors: 3902 without a transaction, 3930 in a doomed one.
    pub(crate) fn commit_transaction(&mut self) -> SqlResult<()> {
        if self.session.transaction.is_none() {
            return Err(SqlError::user(
                3902,
                "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            ));
        }
        self.refuse_if_doomed()?;
        self.end_outermost()?;
        self.session.row_count = 0;
        self.done(Command::CommitTran, None);
        Ok(())
    }

    /// Commits one level; the outermost for good, unless the client is lost.
    pub(crate) fn end_outermost(&mut self) -> SqlResult<()> {
        if self.session.nesting == 1 && self.out.before_commit() == Flow::Stop {
            self.rollback_all();
            return Err(crate::store::cancelled());
        }
        if let Some(tx) = self.session.commit() {
            self.out.env(EnvChange::CommitTran(tx));
        }
        Ok(())
    }

    /// Errors: 3903 without a transaction, 6401 for an unknown savepoint.
    pub(crate) fn rollback_transaction(&mut self, name: Option<&TransactionName>) -> SqlResult<()> {
        if self.session.transaction.is_none() {
            return Err(SqlError::user(
                3903,
                "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            ));
        }
        let name = name.map(|name| self.transaction_name(name)).transpose()?;
        self.rollback_named(name.as_deref())?;
        self.session.row_count = 0;
        self.done(Command::RollbackTran, None);
        Ok(())
    }

    /// To the savepoint of that name, or everything. Error 6401 for an unknown name.
    pub(crate) fn rollback_named(&mut self, name: Option<&str>) -> SqlResult<()> {
        match name {
            Some(name) if self.session.savepoints.iter().any(|(known, _)| same(known, name)) => {
                self.refuse_if_doomed()?;
                self.session.rollback_to(name);
            }
            Some(name) if !self.session.is_transaction_name(name) => {
                return Err(SqlError::user(
                    6401,
                    format!("Cannot roll back {name}. No transaction or savepoint of that name was found."),
                ));
            }
            _ => self.rollback_all(),
        }
        Ok(())
    }

    /// Error 628 without a transaction.
    pub(crate) fn save_transaction(&mut self, name: &TransactionName) -> SqlResult<()> {
        let name = self.transaction_name(name)?;
        self.refuse_if_doomed()?;
        if !self.session.save(&name) {
            return Err(SqlError::new(
                628,
                16,
                0,
                "Cannot issue SAVE TRANSACTION when there is no active transaction.",
            ));
        }
        self.session.row_count = 0;
        self.done(Command::Other, None);
        Ok(())
    }

    fn transaction_name(&mut self, name: &TransactionName) -> SqlResult<String> {
        match name {
            TransactionName::Name(name) => Ok(name.clone()),
            TransactionName::Variable(variable) => {
                Ok(self.variables.value(variable)?.as_text().unwrap_or_default())
            }
        }
    }
}

impl SessionState {
    /// Begins a transaction and gives its number, or none if one was open and this is only nested.
    pub(crate) fn begin(&mut self, name: &str) -> Option<TxId> {
        self.nesting += 1;
        if self.transaction.is_some() {
            self.publish();
            return None;
        }
        let mut store = self.engine.store().lock();
        let name = if name.is_empty() { "user_transaction" } else { name };
        let tx = store.begin(self.id, name, true, self.engine.clock());
        if let Some(transaction) = store.transaction(tx) {
            transaction.deadlock_priority = self.options.deadlock_priority;
        }
        drop(store);
        self.transaction = Some(tx);
        self.forget_access();
        self.savepoints.clear();
        self.publish();
        Some(tx)
    }

    /// Commits, and gives the transaction's number if it was the outermost.
    pub(crate) fn commit(&mut self) -> Option<TxId> {
        let tx = self.transaction?;
        self.nesting = self.nesting.saturating_sub(1);
        if self.nesting > 0 {
            self.publish();
            return None;
        }
        self.transaction = None;
        self.savepoints.clear();
        let now = self.engine.commit_time();
        self.engine.store().lock().commit(tx, now);
        self.engine.store().notify();
        self.publish();
        Some(tx)
    }

    /// Rolls everything back and gives the transaction's number.
    pub(crate) fn rollback(&mut self) -> Option<TxId> {
        let tx = self.transaction.take()?;
        self.nesting = 0;
        self.doomed = false;
        self.savepoints.clear();
        {
            let mut store = self.engine.store().lock();
            store.rollback(tx);
            // Temporary tables that the transaction made are gone.
            self.temporary.retain(|_, id| store.tables.contains_key(id));
        }
        self.engine.store().notify();
        self.publish();
        Some(tx)
    }

    /// Sets a savepoint; false without a transaction.
    pub(crate) fn save(&mut self, name: &str) -> bool {
        let Some(tx) = self.transaction else { return false };
        let savepoint = self
            .engine
            .store()
            .lock()
            .transaction(tx)
            .map(|transaction| transaction.savepoint());
        self.savepoints
            .push((name.to_owned(), savepoint.unwrap_or_default()));
        true
    }

    /// Returns to the last savepoint of that name, which stays.
    pub(crate) fn rollback_to(&mut self, name: &str) {
        let at = self.savepoints.iter().rposition(|(known, _)| same(known, name));
        let (Some(tx), Some(at)) = (self.transaction, at) else {
            return;
        };
        let savepoint = self.savepoints[at].1;
        self.savepoints.truncate(at + 1);
        let mut store = self.engine.store().lock();
        store.return_to(tx, savepoint);
        self.temporary.retain(|_, id| store.tables.contains_key(id));
        drop(store);
        self.engine.store().notify();
    }

    /// Whether the open transaction has that name.
    pub(crate) fn is_transaction_name(&self, name: &str) -> bool {
        let mut store = self.engine.store().lock();
        self.transaction
            .and_then(|tx| store.transaction(tx))
            .is_some_and(|transaction| same(&transaction.name, name))
    }
}
