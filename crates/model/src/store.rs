//! The seam to the state store.
//!
//! The store is a convenience: whatever it says is checked against the target's marks, and what it lost is rebuilt from
//! them. It saves empty increments, keeps history, and holds the lease.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{BatchId, Epoch, Position, Result, SyncId, Timestamp};

/// What is remembered about a table sync.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The epoch of the last owner.
    pub epoch: Epoch,
    /// Up to where the source has been read; at or beyond the target's mark.
    pub position: Option<Position>,
    /// The target's state that `position` extends; with another one `position` is void.
    pub reference: Option<String>,
    /// When a run last succeeded.
    pub last_success: Option<Timestamp>,
    /// Rows that have been applied over all runs.
    pub rows_applied: u64,
    /// The batch that copies a table without a key, until the run that commits it has ended. If it is the target's newest, a run
    /// goes on behind it instead of refusing to copy such a table twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<BatchId>,
    /// When the table was last compared with its source, or copied from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciled: Option<Timestamp>,
}

/// A state with its version in the store. Versions of one sync only grow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredState {
    /// The version.
    pub version: u64,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// The state.
    pub state: TableState,
}

/// What loading found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// Nothing was ever saved.
    Absent,
    /// The newest state.
    Found(Box<StoredState>),
    /// Something is there and cannot be read. It has been kept aside; saving with `expected: None` starts anew.
    Damaged {
        /// Why it cannot be read, and where it is kept.
        why: String,
    },
}

/// How saving ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaveOutcome {
    /// Saved under this version.
    Saved(u64),
    /// Somebody else saved in between.
    Stale {
        /// The version that is there now.
        newest: Option<u64>,
    },
}

/// Held until dropped.
pub trait Lease: Send + Sync + std::fmt::Debug {}

/// How taking the lease ended.
#[derive(Debug)]
pub enum LeaseOutcome {
    /// It is ours until dropped.
    Held(Box<dyn Lease>),
    /// Somebody else has it.
    Busy {
        /// Who: process, host and since when.
        holder: String,
    },
}

/// Keeps states by compare-and-set.
///
/// # Contract
///
/// - **Guarantees.** A saved state is durable when `save` returns and replaces the old one wholly; of two saves that expect
///   the same version one wins.
/// - **Does not guarantee** that the lease excludes anybody: it is for liveness. Safety is the target's compare of mark
///   and epoch.
/// - **Errors.** [`Unavailable`](crate::ErrorKind::Unavailable) or [`Denied`](crate::ErrorKind::Denied) where the store cannot be reached or used; what is
///   damaged is [`Loaded::Damaged`] and no error.
/// - **Cancel safety.** A failed or dropped `save` leaves the old state or the new one, and nobody knows which; the next `load` tells. A
///   dropped `lease` holds nothing.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// The newest state of a sync.
    async fn load(&self, sync: &SyncId) -> Result<Loaded>;

    /// Saves a state if the newest version is still `expected`; `None` means that none is there.
    async fn save(&self, sync: &SyncId, expected: Option<u64>, state: &TableState) -> Result<SaveOutcome>;

    /// The states that are still kept, newest first.
    async fn history(&self, sync: &SyncId) -> Result<Vec<StoredState>>;

    /// The syncs that have a state, in order.
    async fn list(&self) -> Result<Vec<SyncId>>;

    /// Forgets a sync, its history included.
    async fn remove(&self, sync: &SyncId) -> Result<()>;

    /// Takes the lease called `name` for `holder`, without waiting.
    async fn lease(&self, name: &str, holder: &str) -> Result<LeaseOutcome>;
}
