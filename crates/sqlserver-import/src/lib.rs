//! Applies changes to SQL Server tables: a [`ChangeSink`](model::ChangeSink) over `sqlserver-client`.
//!
//! Rows are bulk loaded into a `#temp` table with the target's exact types and collations, on a connection that is held. A commit is one
//! transaction on that connection: it takes the sync's row of `_sync.applied`, checks mark and epoch, applies the staged rows
//! and records the new mark.
//!
//! # Invariants
//!
//! - Data and mark are committed together or not at all.
//! - A row whose bytes are equal is not written, so triggers and rowversions stay quiet.
//! - A value that the target cannot hold exactly stops the commit.
//!
//! This crate must not know where rows come from.

mod apply;
mod marks;
mod options;
mod preflight;
mod session;
mod sink;
mod target;

pub use options::{ApplyOptions, Existing, Statement, Strategy};
pub use sink::SqlServerSink;
