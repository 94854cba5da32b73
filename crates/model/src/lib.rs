//! The shared vocabulary of the sync engine: changes, positions, marks, table schemas, errors,
//! reports, the canonical row encoding, and the three seams ([`ChangeSource`], [`ChangeSink`],
//! [`StateStore`]) that every concrete part fills. No I/O happens here.
//!
//! # Invariants
//!
//! - A [`Position`] is compared only by the source that made it; everybody else moves it around.
//! - A target commits data and [`Mark`] together or not at all, so the target alone can say how far
//!   it has got.
//! - An outcome that a caller must expect ([`CommitOutcome`], [`SaveOutcome`], [`Loaded`], [`Cut`]) is
//!   a value, not an [`Error`].
//!
//! This crate must not know any driver, catalog, store or file format.

mod canonical;
mod change;
mod clock;
mod error;
mod key_range;
mod names;
mod position;
mod report;
mod schema;
mod secret;
mod sink;
mod source;
mod store;

pub use canonical::{AlreadyHashed, RowEncoder, RowHash, RowHashMap, RowHasher};
pub use change::{Batches, ChangeBatch, ExpectedTimes, Op, Presence, SourceEvent};
pub use clock::{Clock, Ids, RandomIds, SystemClock, Timestamp};
pub use error::{Error, ErrorKind, Result, Retry};
pub use key_range::KeyRange;
pub use names::TableName;
pub use position::{BatchId, Bound, Epoch, Mark, Position, SyncId};
pub use report::{
    CheckpointReport, ConflictReport, ErrorReport, LateDataReport, OddTime, RunMetadata, RunReport,
    RunStatus, Statistics, TableReport, VerifyColumn, VerifyReport,
};
pub use schema::{DeclaredType, TableSchema, column_like};
pub use secret::Secret;
pub use sink::{
    ChangeSink, Commit, CommitOutcome, Committed, Prepare, Prepared, Receipt, Replace, StageOutcome, Staged,
};
pub use source::{
    ChangeSource, Chunk, Cut, Description, Finding, Holder, Look, Moment, Selection, Severity, Tracking,
};
pub use store::{Lease, LeaseOutcome, Loaded, SaveOutcome, StateStore, StoredState, TableState};
