//! Stores for the states of table syncs. So far there is one: [`FileStore`], a directory.
//!
//! # Invariants
//!
//! - A state is replaced wholly and durably, or not at all.
//! - A damaged state is told and kept aside, never guessed at: the marks in the target rebuild it.
//!
//! This crate must not know any source or target.

mod file_lock;
mod file_name;
mod file_store;
mod state_file;

pub use file_store::FileStore;
