//! Reading data files: which files a snapshot holds, which of their rows are deleted, and the rows themselves as Arrow
//! batches in the order of a [`TableSchema`](model::TableSchema).
//!
//! # Invariants
//!
//! - Columns are found by field id, never by position; a name is used only where a file carries no ids and the table has a
//!   name mapping.
//! - A row's position is its ordinal in its file, whatever was skipped before it.
//! - What is not understood is refused by name: other formats than Parquet, encryption.

mod data_file;
mod deleted_rows;
mod equality_deletes;
mod footer;
mod live_files;
mod local_pages;
mod projection;
mod row_ranges;

pub use data_file::{DataFileReader, FileRows, FileRowsStream};
pub use deleted_rows::DeletedRows;
pub(crate) use live_files::has_equality_deletes_since;
pub use live_files::{DeleteFile, LiveFile, live_files};
pub use projection::{NAME_MAPPING, Projection, ROW_IDS};
pub use row_ranges::RowRanges;

#[cfg(test)]
mod tests;
