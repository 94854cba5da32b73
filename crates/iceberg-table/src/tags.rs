//! Tags: names of snapshots, which expiry leaves alone, whoever runs it.

use iceberg::spec::{SnapshotReference, SnapshotRetention};
use iceberg::{TableRequirement, TableUpdate};
use model::{Error, ErrorKind, Result, TableName};

use crate::catalog::{Catalog, CatalogCommit, MetadataChange, TableHandle};
use crate::layout::refuse_what_is_not_understood;

/// Others may commit in between so many times.
const ATTEMPTS: usize = 32;

/// Points a tag to a snapshot, from wherever it pointed before. Repeating it changes nothing.
///
/// # Errors
///
/// `NotFound` without such a table or snapshot, `Unsupported` as [`refuse_what_is_not_understood`], `Transient` if others committed in
/// between every time, otherwise as the catalog says.
///
/// # Cancel safety
///
/// Dropping the future leaves it open whether the tag has moved.
pub async fn set_tag(catalog: &dyn Catalog, name: &TableName, tag: &str, snapshot_id: i64) -> Result<()> {
    let mut obstacle = String::new();
    for _ in 0..ATTEMPTS {
        let table = catalog.load(name).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "cannot set a tag: the table is gone").with("table", name)
        })?;
        if tagged(&table, tag) == Some(snapshot_id) {
            return Ok(());
        }
        refuse_what_is_not_understood(&table)?;
        if table.metadata().snapshot_by_id(snapshot_id).is_none() {
            return Err(
                Error::new(ErrorKind::NotFound, "cannot set a tag: the snapshot has expired")
                    .with("table", name)
                    .with("snapshot", snapshot_id),
            );
        }
        match catalog.commit(&table, change(&table, tag, snapshot_id)).await? {
            CatalogCommit::Done(_) => return Ok(()),
            CatalogCommit::Conflict { why } | CatalogCommit::Unknown { why } => obstacle = why,
        }
    }
    Err(Error::new(
        ErrorKind::Transient,
        "cannot set a tag: the table changed each time",
    )
    .with("table", name)
    .with("cause", obstacle))
}

/// Which snapshot a tag points to.
fn tagged(table: &TableHandle, tag: &str) -> Option<i64> {
    let snapshot = table.metadata().snapshot_for_ref(tag);
    snapshot.map(|snapshot| snapshot.snapshot_id())
}

fn change(table: &TableHandle, tag: &str, snapshot_id: i64) -> MetadataChange {
    let retention = SnapshotRetention::Tag { max_ref_age_ms: None };
    MetadataChange {
        requirements: vec![
            TableRequirement::UuidMatch {
                uuid: table.metadata().uuid(),
            },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: tag.to_owned(),
                snapshot_id: tagged(table, tag),
            },
        ],
        updates: vec![TableUpdate::SetSnapshotRef {
            ref_name: tag.to_owned(),
            reference: SnapshotReference::new(snapshot_id, retention),
        }],
    }
}
