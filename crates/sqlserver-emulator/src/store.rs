//! The in-memory store: rows in versions, transactions, locks. One mutex guards it; readers take rows out page by
//! page and evaluate outside.
//!
//! Invariants: a row's newest version belongs to at most one open transaction (that is its exclusive lock); an index
//! holds an entry for each key that any version of a row has.

mod backup;
mod capture;
mod change_log;
mod content;
mod database;
mod filter;
mod index_key;
pub(crate) mod key;
mod lsn;
mod packed;
mod range_locks;
mod savepoint;
mod scan;
mod schema;
mod shared;
mod table;
mod tracking;
mod transaction;
mod waits;

pub(crate) use capture::{
    BEFORE_CAPTURED, CaptureInstance, CaptureJobs, CaptureLog, CapturedColumn, Capturing, CommitTime,
    DdlChange, captured_type,
};
pub(crate) use content::Store;
pub(crate) use database::{Database, Module, ModuleKind, Permission, Schema, TableType};
pub(crate) use filter::IndexFilter;
pub(crate) use index_key::Key;
pub(crate) use lsn::Lsn;
pub use packed::Packed;
pub(crate) use packed::{Form, RowBuilder, Stored, Values, WholeRow};
pub(crate) use savepoint::Savepoint;
pub(crate) use scan::{Access, Cursor, KeyRange, LockMode, Read, Taker, successor};
pub(crate) use schema::{
    CheckConstraint, Column, Computed, DefaultConstraint, ForeignKey, Identity, Index, IndexKey, Table,
    same_name,
};
pub(crate) use shared::{Patience, Shared, cancelled, deadlock};
pub(crate) use table::{Check, NewRow, Row, RowId, TableData};
pub(crate) use tracking::{
    ChangeTracking, NetChange, Operation, Retention, RetentionUnit, TrackingOptions, is_in_mask,
};
pub(crate) use transaction::{Transaction, Undo};

/// A transaction's number; never 0 for an open one.
pub(crate) type TxId = u64;

/// A table's number, unique over all databases and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TableId(pub(crate) u64);

/// Why a write or a locking read cannot happen now, or at all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Others' locks are in the way.
    Blocked(Vec<TxId>),
    /// The key exists: which index, as a position in the table's list.
    Duplicate(usize),
    /// A SNAPSHOT transaction would overwrite a newer version (3960).
    Stale,
}
