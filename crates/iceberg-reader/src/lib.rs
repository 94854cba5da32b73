//! Iceberg tables as a source of rows and changes: scans of any snapshot, time travel, and the difference of two snapshots as changes
//! by key. What the command line shows of a table comes from here as well.
//!
//! # Invariants
//!
//! - Every read is of one snapshot, with its deletes applied; nothing of an older or newer one is mixed in.
//! - The difference of two snapshots is computed from their rows, not from how they came about: a compaction yields nothing, a
//!   rollback yields what it undid.
//! - Memory does not grow with the table: batches are bounded, and a large difference is paired in passes.
//!
//! This crate must not know where the rows go.

mod background;
mod file_groups;
mod file_lists;
mod file_scan;
mod inspect;
mod row_pairing;
mod snapshot;
mod snapshot_diff;
mod source;

pub use inspect::{FileInfo, SnapshotInfo, files, schema_text, snapshots};
pub use snapshot::SnapshotChoice;
pub use source::IcebergSource;
