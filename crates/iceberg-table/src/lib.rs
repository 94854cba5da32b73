//! Iceberg tables below the sync engine: catalogs, the mapping between [`model::TableSchema`] and Iceberg's schema, and the commit
//! kinds that the `iceberg` crate lacks.
//!
//! # Invariants
//!
//! - Metadata is swapped by [`Catalog::commit`] alone, and only against the metadata that was loaded.
//! - A field keeps its id for ever; columns are paired by id in files and by name with a source.
//! - What a commit refers to is durable before the commit.
//!
//! This crate must not know where rows come from or go to.

mod catalog;
mod commit;
mod delete_files;
mod deletion_vector;
mod error;
mod filesystem;
mod key;
mod key_blooms;
mod key_bounds;
mod key_filter;
mod layout;
mod locate;
mod manifest_cache;
mod manifest_entries;
mod manifests;
mod marks;
mod metadata;
mod partition;
mod position_delete;
mod read;
mod rest;
mod rewrite;
mod row_comparison;
mod schema;
mod segment;
mod snapshot;
mod sql;
mod storage;
mod summary;
mod tags;

/// The program's name in files that it writes.
pub(crate) const CREATOR: &str = concat!("sync-cli ", env!("CARGO_PKG_VERSION"));

pub use catalog::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
pub use commit::{SnapshotCommit, commit_snapshot};
pub use delete_files::RowsToDelete;
pub use error::{iceberg_error, io_error};
pub use filesystem::FileSystemCatalog;
pub use key::{KeyFold, KeyHash};
pub use key_bounds::may_hold;
pub use layout::{TableLayout, data_directory, refuse_what_is_not_understood};
pub use locate::{LocatedRows, RowLocation, locate, locate_and_compare, locate_in};
pub use manifests::remove_files;
pub use marks::{
    CREATED_BY, RowCounts, SYNC_BATCH, SYNC_EPOCH, SYNC_ID, SYNC_MARK, SYNC_MOMENT, Stamp, committed,
    marked_snapshots, receipt, snapshot_of_batch, writers,
};
pub use partition::PartitionSplitter;
pub use read::{
    DataFileReader, DeleteFile, DeletedRows, FileRows, FileRowsStream, LiveFile, NAME_MAPPING, Projection,
    ROW_IDS, RowRanges, live_files,
};
pub use rest::{OAuth2Options, RestCatalog, RestOptions, SigV4Options};
pub use rewrite::{Rewrite, RewriteOutcome, RewrittenGroup, commit_rewrite, merge_manifests};
pub use schema::{KEY, SOURCE_SCHEMA, field_ids, iceberg_schema, schema_properties, table_schema};
pub use sql::{SqlCatalog, SqlOptions};
pub use storage::{AzureOptions, GcsOptions, S3Options, Storage, StorageOptions, StoredFile, same_scheme};
pub use tags::set_tag;
