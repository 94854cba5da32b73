//! A [`model::ChangeSink`] over Iceberg tables: changes become Parquet data files and position deletes, and one snapshot commits
//! them together with the mark.
//!
//! # Invariants
//!
//! - Nothing that was staged is visible before its snapshot is; what is thrown away was certainly not committed.
//! - Rows are updated and deleted by position, never by equality: every reader understands that.
//! - Where a key's row is comes from looking at the table, not from memory.
//!
//! This crate must not know the source, nor which catalog holds the table.

mod batch_writer;
mod column_metrics;
mod data_file;
mod key_batch;
mod options;
mod position_delete;
mod prepare;
mod replace;
mod sink;
mod staged;

pub use data_file::{DataFileWriter, FileShape};
pub use options::WriterOptions;
pub use sink::IcebergSink;
