//! What keeps Iceberg tables small and their files few: compaction, manifest rewrite, snapshot expiry, removal of orphans.
//!
//! # Invariants
//!
//! - No row changes: compaction commits `replace` snapshots, which readers of changes pass over.
//! - It never fights the ingest: what somebody else touched meanwhile drops out of a rewrite, and a commit is tried again.
//! - A file is removed only if it is certain that nothing refers to it: after a commit that certainly happened, and never on a partial
//!   view of the table.
//! - A table whose owner says `gc.enabled=false` keeps all its files.
//!
//! This crate must not know where rows come from or go to.

mod compact;
mod expire;
mod groups;
mod orphans;
mod reachable;

pub use compact::{CompactOptions, Compacted, Due, compact, compaction_due};
pub use expire::{ExpireOptions, Expired, Kept, expire, expiry_is_due};
pub use iceberg_table::merge_manifests;
pub use orphans::{OrphanOptions, Orphans, remove_orphans};

use iceberg_table::TableHandle;
use model::{Error, ErrorKind, Result};

const GARBAGE_COLLECTION: &str = "gc.enabled";

/// Whether the table's owner wants all its files to stay.
fn forbids_garbage_collection(table: &TableHandle) -> bool {
    let value = table.metadata().properties().get(GARBAGE_COLLECTION);
    value.is_some_and(|value| value == "false")
}

/// Refuses to remove files of a table whose owner forbids it.
fn refuse_without_garbage_collection(table: &TableHandle) -> Result<()> {
    if !forbids_garbage_collection(table) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "the table's owner forbids to remove files: its property gc.enabled is false",
    )
    .with("table", table.name())
    .hint("its files may belong to another table as well; ask its owner before you change the property"))
}
