//! Everything that is stored, and what sessions do to it while they hold the mutex.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::backup::Backups;
use super::capture::{CaptureLog, CommitTime, DdlChange};
use super::change_log::{Origin, RowChange, commands};
use super::packed::Packed;
use super::scan::{Cursor, KeyRange, LockMode, Read, Taker};
use super::schema::{Table, same_name};
use super::table::{Check, NewRow, Row, RowId, TableData, Writer};
use super::tracking::Versions;
use super::transaction::{Transaction, Undo};
use super::{Database, Refusal, TableId, TxId};
use crate::clock::{Clock, Instant};

/// Everything that is stored.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) databases: BTreeMap<i32, Arc<Database>>,
    pub(crate) tables: HashMap<TableId, TableData>,
    pub(crate) transactions: BTreeMap<TxId, Transaction>,
    /// The last rowversion used, by database.
    rowversions: HashMap<i32, u64>,
    /// The number of the last commit.
    commits: u64,
    last_transaction: TxId,
    last_table: u64,
    /// Commits that snapshots in use see, with the number of users.
    pub(super) snapshots: BTreeMap<u64, usize>,
    /// Rows whose older versions wait for snapshots to end.
    garbage: Vec<(u64, TableId, RowId)>,
    /// Change Tracking, by database.
    pub(super) versions: HashMap<i32, Versions>,
    /// CDC, by database.
    pub(crate) capture: HashMap<i32, CaptureLog>,
    pub(super) backups: Backups,
}

impl Store {
    /// Adds a database.
    pub(crate) fn create_database(&mut self, name: &str, created: Instant, guid: [u8; 16]) -> i32 {
        let id = self.databases.keys().next_back().map_or(1, |last| last + 1);
        self.databases
            .insert(id, Arc::new(Database::new(id, name, created, guid)));
        // A new database starts at 2000.
        self.rowversions.insert(id, 2000);
        id
    }

    pub(crate) fn database_named(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases
            .values()
            .find(|database| same_name(&database.name, name))
    }

    pub(crate) fn begin(&mut self, session: u16, name: &str, explicit: bool, clock: &Clock) -> TxId {
        self.begin_at(session, name, explicit, clock.now())
    }

    pub(super) fn begin_at(&mut self, session: u16, name: &str, explicit: bool, now: Instant) -> TxId {
        self.last_transaction += 1;
        let id = self.last_transaction;
        self.transactions
            .insert(id, Transaction::new(id, session, name, explicit, now));
        id
    }

    pub(crate) fn transaction(&mut self, tx: TxId) -> Option<&mut Transaction> {
        self.transactions.get_mut(&tx)
    }

    /// Notes that a transaction writes a database from now on.
    pub(crate) fn touch(&mut self, tx: TxId, database: i32, now: Instant) {
        if let Some(transaction) = self.transactions.get_mut(&tx) {
            transaction
                .databases
                .entry(database)
                .or_default()
                .get_or_insert(now);
        }
    }

    /// Notes that a transaction uses a database.
    pub(crate) fn touch_read(&mut self, tx: TxId, database: i32) {
        if let Some(transaction) = self.transactions.get_mut(&tx) {
            transaction.databases.entry(database).or_default();
        }
    }

    /// Makes the transaction's changes permanent and gives its locks back.
    pub(crate) fn commit(&mut self, tx: TxId, now: CommitTime) {
        let Some(mut transaction) = self.transactions.remove(&tx) else {
            return;
        };
        self.release_snapshot(transaction.snapshot);
        if transaction.wrote() {
            self.commits += 1;
        }
        let at = self.commits;
        let keep = self.snapshots.keys().next().is_some_and(|oldest| *oldest < at);
        for step in &transaction.undo {
            if let Undo::Write { table, row, .. } = step
                && let Some(data) = self.tables.get_mut(table)
                && data.commit(tx, *row, at, keep)
            {
                self.garbage.push((at, *table, *row));
            }
            if let Undo::Replaced { table, before } = step
                && let Some(data) = self.tables.get_mut(table)
                && !Arc::ptr_eq(&before.definition, &data.definition)
            {
                data.redefined = at;
            }
        }
        let commands = commands(transaction.take_changes());
        if !commands.is_empty() {
            self.track(&commands, at, now.at);
        }
        let ddl: Vec<DdlChange> = transaction.ddl().cloned().collect();
        if !commands.is_empty() || !ddl.is_empty() {
            self.log_commit(tx, transaction.began, now, commands, ddl);
        }
        self.release_locks(&transaction);
        self.collect_garbage();
    }

    /// Takes everything back and gives the locks back.
    pub(crate) fn rollback(&mut self, tx: TxId) {
        self.rollback_to(tx, 0, true);
        let Some(transaction) = self.transactions.remove(&tx) else {
            return;
        };
        // What table variables keep of it is committed.
        for step in &transaction.undo {
            if let Undo::Write { table, row, .. } = step
                && let Some(data) = self.tables.get_mut(table)
            {
                data.commit(tx, *row, self.commits, false);
            }
        }
        self.release_snapshot(transaction.snapshot);
        self.release_locks(&transaction);
        self.collect_garbage();
    }

    /// Takes back every step after the first `steps`. Table variables keep their content when `keep_variables`.
    pub(crate) fn rollback_to(&mut self, tx: TxId, steps: usize, keep_variables: bool) {
        self.let_waiters_try(tx);
        let Some(transaction) = self.transactions.get_mut(&tx) else {
            return;
        };
        let undone = transaction.undo.split_off(steps.min(transaction.undo.len()));
        let mut kept = Vec::new();
        for step in undone.into_iter().rev() {
            match step {
                Undo::Write { table, row, change } => {
                    let Some(data) = self.tables.get_mut(&table) else {
                        continue;
                    };
                    if keep_variables && data.definition.variable {
                        kept.push(Undo::Write { table, row, change });
                    } else {
                        data.undo(tx, row);
                    }
                }
                Undo::Ddl(_) => {}
                Undo::Created(table) => {
                    self.tables.remove(&table);
                }
                Undo::Replaced { table, mut before } => {
                    if let Some(current) = self.tables.get_mut(&table) {
                        before.take_locks_of(current);
                    }
                    self.tables.insert(table, *before);
                }
                Undo::Catalog { database, mut before } => {
                    // Numbers of objects are taken without the lock, and are not given out again.
                    if let Some(current) = self.databases.get(&database)
                        && current.last_object_id != before.last_object_id
                    {
                        Arc::make_mut(&mut before).last_object_id = current.last_object_id;
                    }
                    self.databases.insert(database, before);
                }
            }
        }
        if let Some(transaction) = self.transactions.get_mut(&tx) {
            transaction.undo.extend(kept.into_iter().rev());
        }
    }

    /// The number of the last commit, held for reading until released.
    pub(crate) fn take_snapshot(&mut self) -> u64 {
        *self.snapshots.entry(self.commits).or_default() += 1;
        self.commits
    }

    pub(crate) fn release_snapshot(&mut self, snapshot: Option<u64>) {
        let Some(at) = snapshot else { return };
        if let Some(users) = self.snapshots.get_mut(&at) {
            *users -= 1;
            if *users == 0 {
                self.snapshots.remove(&at);
            }
        }
        self.collect_garbage();
    }

    fn collect_garbage(&mut self) {
        let oldest = self.snapshots.keys().next().copied();
        let garbage = std::mem::take(&mut self.garbage);
        for (at, table, row) in garbage {
            if oldest.is_some_and(|oldest| oldest < at) {
                self.garbage.push((at, table, row));
            } else if let Some(data) = self.tables.get_mut(&table) {
                data.prune(row, oldest);
            }
        }
    }

    fn release_locks(&mut self, transaction: &Transaction) {
        self.let_waiters_try(transaction.id);
        for (table, row) in &transaction.row_locks {
            if let Some(data) = self.tables.get_mut(table) {
                data.unlock_row(transaction.id, *row);
            }
        }
        for table in &transaction.range_locks {
            if let Some(data) = self.tables.get_mut(table) {
                data.range_locks.release(transaction.id);
            }
        }
    }

    /// Gives back row locks taken after the first `kept` ones: a READ COMMITTED statement has ended.
    pub(crate) fn release_row_locks_after(&mut self, tx: TxId, kept: usize) {
        self.let_waiters_try(tx);
        let Some(transaction) = self.transactions.get_mut(&tx) else {
            return;
        };
        for (table, row) in transaction
            .row_locks
            .split_off(kept.min(transaction.row_locks.len()))
        {
            if let Some(data) = self.tables.get_mut(&table) {
                data.unlock_row(tx, row);
            }
        }
    }

    /// Registers a new table; the caller names it in its database.
    pub(crate) fn add_table(&mut self, tx: TxId, definition: Arc<Table>) -> TableId {
        self.last_table += 1;
        let id = TableId(self.last_table);
        self.tables.insert(id, TableData::new(definition));
        self.log(tx, Undo::Created(id));
        id
    }

    /// Keeps a database's catalog, which a rollback of `tx` puts back, and with it everybody else from changing it until then.
    pub(crate) fn lock_catalog(&mut self, tx: TxId, database: i32) -> Result<(), Refusal> {
        let keeps = |step: &Undo| matches!(step, Undo::Catalog { database: kept, .. } if *kept == database);
        let others = self.transactions.values().filter(|other| other.id != tx);
        let holders: Vec<_> = others
            .filter(|other| other.undo.iter().any(keeps))
            .map(|other| other.id)
            .collect();
        if !holders.is_empty() {
            return Err(Refusal::Blocked(holders));
        }
        if let Some(before) = self.databases.get(&database).map(Arc::clone) {
            self.log(tx, Undo::Catalog { database, before });
        }
        Ok(())
    }

    /// Changes a database's catalog, for who has locked it; a number for an object is taken without.
    pub(crate) fn alter_catalog<T>(
        &mut self,
        database: i32,
        change: impl FnOnce(&mut Database) -> T,
    ) -> Option<T> {
        let database = self.databases.get_mut(&database)?;
        Some(change(Arc::make_mut(database)))
    }

    pub(crate) fn log(&mut self, tx: TxId, step: Undo) {
        if let Some(transaction) = self.transactions.get_mut(&tx) {
            transaction.undo.push(step);
        }
    }

    pub(crate) fn insert(&mut self, tx: TxId, table: TableId, row: &Row) -> Result<RowId, Refusal> {
        let writer = self.writer(tx);
        let data = self.tables.get_mut(&table).ok_or(Refusal::Stale)?;
        let id = data.insert(writer, row)?;
        self.log_insert(tx, table, id);
        Ok(id)
    }

    /// Adds a row that is made to be kept.
    pub(crate) fn insert_packed(&mut self, tx: TxId, table: TableId, row: &Packed) -> Result<(), Refusal> {
        let writer = self.writer(tx);
        let data = self.tables.get_mut(&table).ok_or(Refusal::Stale)?;
        let id = data.insert_packed(writer, row.clone())?;
        self.log_insert(tx, table, id);
        Ok(())
    }

    fn log_insert(&mut self, tx: TxId, table: TableId, id: RowId) {
        self.log_write(tx, table, id, |origin, after| RowChange {
            before: None,
            after,
            set: None,
            origin,
            position: 0,
        });
    }

    /// A statement is about to write a table: its changes are remembered if someone follows it.
    pub(crate) fn begin_writing(&mut self, tx: TxId, table: TableId, context: Option<Arc<[u8]>>) {
        let followed = self.tables.get(&table).filter(|data| data.is_followed());
        let origin = followed.map(|data| {
            Arc::new(Origin {
                table,
                definition: Arc::clone(&data.definition),
                context,
                captured: data.captured,
            })
        });
        if let Some(transaction) = self.transactions.get_mut(&tx) {
            transaction.origin = origin;
        }
    }

    /// `change` is given the row as it is now.
    fn log_write(
        &mut self,
        tx: TxId,
        table: TableId,
        row: RowId,
        change: impl FnOnce(Arc<Origin>, Option<Packed>) -> RowChange,
    ) {
        let Some(transaction) = self.transactions.get_mut(&tx) else {
            return;
        };
        let origin = transaction.origin.as_ref().filter(|origin| origin.table == table);
        let mut change = origin.cloned().map(|origin| {
            let after = self.tables.get(&table).and_then(|data| data.kept(row));
            Box::new(change(origin, after.cloned()))
        });
        if let Some(change) = change.as_mut().filter(|change| change.origin.captured)
            && let Some(log) = self.capture.get_mut(&change.origin.definition.database)
        {
            // An update that moves the row's key takes two places: a delete and an insert.
            change.position = log.next();
            log.next();
        }
        transaction.undo.push(Undo::Write { table, row, change });
    }

    /// Updates a row (its columns `set`), or deletes it when `row` is none. Says whether a unique key is new.
    pub(crate) fn replace(
        &mut self,
        tx: TxId,
        table: TableId,
        id: RowId,
        row: Option<&NewRow>,
        set: Option<&Arc<[usize]>>,
        check: Check,
    ) -> Result<bool, Refusal> {
        let writer = self.writer(tx);
        let data = self.tables.get_mut(&table).ok_or(Refusal::Stale)?;
        let before = data.kept(id).filter(|_| data.is_followed()).cloned();
        let new_key = data.replace(writer, id, row, check)?;
        self.log_write(tx, table, id, |origin, after| RowChange {
            before,
            after,
            set: set.cloned(),
            origin,
            position: 0,
        });
        Ok(new_key)
    }

    /// Checks the unique keys of a row that was written with `Check::Later`.
    pub(crate) fn check_unique(&self, tx: TxId, table: TableId, id: RowId) -> Result<(), Refusal> {
        self.tables
            .get(&table)
            .map_or(Ok(()), |data| data.check_unique(self.writer(tx), id))
    }

    fn writer(&self, tx: TxId) -> Writer {
        let transaction = self.transactions.get(&tx);
        Writer {
            tx,
            snapshot: transaction.and_then(|transaction| transaction.snapshot),
        }
    }

    /// Gives up to `most` further rows of a scan to `taker`, while the store is locked; false at its end.
    pub(crate) fn scan(
        &mut self,
        tx: TxId,
        table: TableId,
        read: Read,
        cursor: &mut Cursor,
        most: usize,
        taker: Taker<'_>,
    ) -> Result<bool, Refusal> {
        let Some(data) = self.tables.get_mut(&table) else {
            return Ok(false);
        };
        let mut locked = Vec::new();
        let result = data.scan(tx, read, cursor, most, taker, &mut locked);
        if !locked.is_empty()
            && let Some(transaction) = self.transactions.get_mut(&tx)
        {
            transaction
                .row_locks
                .extend(locked.into_iter().map(|row| (table, row)));
        }
        result
    }

    pub(crate) fn lock_range(
        &mut self,
        tx: TxId,
        table: TableId,
        mode: LockMode,
        range: Option<(usize, KeyRange)>,
    ) -> Result<(), Refusal> {
        let Some(data) = self.tables.get_mut(&table) else {
            return Ok(());
        };
        data.lock_range(tx, mode, range)?;
        if let Some(transaction) = self.transactions.get_mut(&tx) {
            transaction.range_locks.push(table);
        }
        Ok(())
    }

    /// The next rowversion of a database, assigned by `tx`.
    pub(crate) fn next_rowversion(&mut self, tx: TxId, database: i32) -> u64 {
        let last = self.rowversions.entry(database).or_insert(2000);
        *last += 1;
        let assigned = *last;
        if let Some(transaction) = self.transactions.get_mut(&tx) {
            transaction.least_rowversion.entry(database).or_insert(assigned);
        }
        assigned
    }

    /// `@@DBTS`: the last rowversion used, committed or not.
    pub(crate) fn last_rowversion(&self, database: i32) -> u64 {
        self.rowversions.get(&database).copied().unwrap_or(2000)
    }

    pub(super) fn set_rowversion(&mut self, database: i32, last: u64) {
        self.rowversions.insert(database, last);
    }

    /// `MIN_ACTIVE_ROWVERSION()`: the least one that an open transaction has assigned, else the next one.
    pub(crate) fn min_active_rowversion(&self, database: i32) -> u64 {
        let held = self
            .transactions
            .values()
            .filter_map(|tx| tx.least_rowversion.get(&database));
        held.min()
            .copied()
            .unwrap_or_else(|| self.last_rowversion(database) + 1)
    }
}
