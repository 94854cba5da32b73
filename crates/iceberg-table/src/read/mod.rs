//! Reading data files: which files a snapshot holds, which of their rows are deleted, and the rows themselves as Arrow
//! batches in the order of a [`TableSchema`](model::TableSchema).
//!
//! # Invariants
//!
//! - Columns are found by field id, never by position; a name is used only where a file carries no ids and the table has a
//!   name mapping.
//! - A row's position is its ordinal in its file, whatever was skipped before it.
//! - What is not understood is refused by name: equality deletes, deletion vectors, other formats than Parquet, encryption.
//!   A row is never read as if such a delete were not there.

mod data_file;
mod live_files;
mod position_deletes;
mod projection;
mod row_ranges;

pub use data_file::{DataFileReader, FileRows, FileRowsStream};
pub use live_files::{DeleteFile, LiveFile, live_files};
pub use position_deletes::PositionDeletes;
pub use projection::Projection;
pub use row_ranges::RowRanges;

#[cfg(test)]
mod tests;
