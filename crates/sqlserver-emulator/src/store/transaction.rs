//! One open transaction: what it wrote, what it locked, what it waits for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::capture::DdlChange;
use super::change_log::{Origin, RowChange};
use super::table::{RowId, TableData};
use super::{TableId, TxId};
use crate::clock::Instant;

/// How to take back one step.
#[derive(Debug)]
pub(crate) enum Undo {
    /// A row version was written; with the change, where someone follows the table.
    Write {
        table: TableId,
        row: RowId,
        change: Option<Box<RowChange>>,
    },
    /// The definition of a table that CDC captures was changed; what that needs to be undone is another step.
    Ddl(Box<DdlChange>),
    /// A table came to be.
    Created(TableId),
    /// A table, or its definition or content, was replaced.
    Replaced { table: TableId, before: Box<TableData> },
    /// A database's catalog as it was when the transaction locked it.
    Catalog {
        database: i32,
        before: Arc<super::Database>,
    },
}

/// An open transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) id: TxId,
    /// `@@SPID` of its session.
    pub(crate) session: u16,
    /// `user_transaction`, or the statement's kind when it commits by itself.
    pub(crate) name: String,
    /// Begun by BEGIN TRANSACTION or a client's request.
    pub(crate) explicit: bool,
    pub(crate) began: Instant,
    /// The commit it sees, once a SNAPSHOT transaction has read.
    pub(crate) snapshot: Option<u64>,
    pub(crate) undo: Vec<Undo>,
    /// The statement that writes, if someone follows its table.
    pub(super) origin: Option<Arc<Origin>>,
    /// The least rowversion it has assigned, by database.
    pub(crate) least_rowversion: BTreeMap<i32, u64>,
    /// Databases it has touched, with the time of its first write there.
    pub(crate) databases: BTreeMap<i32, Option<Instant>>,
    /// DEADLOCK_PRIORITY, −10 to 10.
    pub(crate) deadlock_priority: i8,
    /// Chosen to end a deadlock; learns of it when it wakes.
    pub(super) victim: bool,
    pub(super) waits_for: Vec<TxId>,
    /// In the order in which they were taken, as `range_locks` are.
    pub(crate) row_locks: Vec<(TableId, RowId)>,
    pub(crate) range_locks: Vec<TableId>,
}

impl Transaction {
    pub(super) fn new(id: TxId, session: u16, name: &str, explicit: bool, began: Instant) -> Self {
        Self {
            id,
            session,
            name: name.to_owned(),
            explicit,
            began,
            snapshot: None,
            undo: Vec::new(),
            origin: None,
            least_rowversion: BTreeMap::new(),
            databases: BTreeMap::new(),
            deadlock_priority: 0,
            victim: false,
            waits_for: Vec::new(),
            row_locks: Vec::new(),
            range_locks: Vec::new(),
        }
    }

    /// The transaction that it waits for, as `sys.dm_exec_requests.blocking_session_id` wants to know; a deadlock's victim
    /// waits no more.
    pub(crate) fn blocked_by(&self) -> Option<TxId> {
        self.waits_for.first().copied().filter(|_| !self.victim)
    }

    /// Its changes to tables that someone follows.
    pub(super) fn changes(&self) -> impl Iterator<Item = &RowChange> {
        self.undo.iter().filter_map(|step| match step {
            Undo::Write {
                change: Some(change), ..
            } => Some(&**change),
            _ => None,
        })
    }

    /// Its changes to tables that someone follows, which are its own no more.
    pub(super) fn take_changes(&mut self) -> impl Iterator<Item = Box<RowChange>> {
        self.undo.iter_mut().filter_map(|step| match step {
            Undo::Write { change, .. } => change.take(),
            _ => None,
        })
    }

    /// Its changes to the definitions of captured tables.
    pub(super) fn ddl(&self) -> impl Iterator<Item = &DdlChange> {
        self.undo.iter().filter_map(|step| match step {
            Undo::Ddl(change) => Some(&**change),
            _ => None,
        })
    }

    /// Whether it has changed anything.
    pub(crate) fn wrote(&self) -> bool {
        !self.undo.is_empty()
    }
}
