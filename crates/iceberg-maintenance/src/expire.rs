//! Snapshot expiry: old snapshots go, and with them the files that no other snapshot has.
//!
//! Kept are the heads of all branches and what came shortly before them, all tags, the snapshots that the marks of syncs and the
//! positions of readers name, and what the caller adds. The catalog swaps the metadata that was looked at or nothing, so a reference that
//! somebody sets meanwhile is seen on the next attempt.

use std::collections::{BTreeMap, BTreeSet};

use iceberg::spec::{SnapshotRef, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use iceberg_table::{
    Catalog, CatalogCommit, MetadataChange, TableHandle, marked_snapshots, refuse_what_is_not_understood,
    remove_files,
};
use model::{Clock, Error, ErrorKind, Result, TableName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::reachable::{Entries, Reachable, files_of};
use crate::refuse_without_garbage_collection;

/// Races that are lost before expiry gives up.
const ATTEMPTS: usize = 8;
const DAY_MS: i64 = 86_400_000;

/// What expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpireOptions {
    /// Snapshots younger than this stay; by default what the table's property `history.expire.max-snapshot-age-ms` says, or 5 days.
    pub older_than_ms: Option<i64>,
    /// So many of the newest ancestors of each branch stay; by default what the property `history.expire.min-snapshots-to-keep` says,
    /// or 1.
    pub keep_at_least: Option<usize>,
    /// Snapshots that somebody still reads from, with who that is.
    pub in_use: Vec<(i64, String)>,
    /// Whether anything is done at all.
    pub dry_run: bool,
}

/// A snapshot that would have expired and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The snapshot.
    pub snapshot: i64,
    /// What holds it.
    pub held_by: String,
}

/// What expiry did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// Snapshots that expired, oldest first.
    pub snapshots: Vec<i64>,
    /// Snapshots that are old enough and were kept, and why.
    pub kept: Vec<Kept>,
    /// Files that were removed, or would be.
    pub files: usize,
}

/// Expires old snapshots of a table and removes the files that only they have.
///
/// # Errors
///
/// `NotFound` without such a table; `Unsupported` as [`refuse_what_is_not_understood`], or if its property `gc.enabled` is `false`;
/// `Unavailable` if it is not known whether the commit happened: then no file is removed. Otherwise as the storage says.
///
/// # Cancel safety
///
/// Dropping the future leaves files behind that [`crate::remove_orphans`] finds.
pub async fn expire(
    catalog: &dyn Catalog,
    name: &TableName,
    options: &ExpireOptions,
    clock: &dyn Clock,
) -> Result<Expired> {
    for _ in 0..ATTEMPTS {
        let table = catalog.load(name).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no such Iceberg table").with("table", name)
        })?;
        refuse_what_is_not_understood(&table)?;
        refuse_without_garbage_collection(&table)?;
        let mut expired = chosen(table.metadata(), options, clock.now())?;
        if expired.snapshots.is_empty() {
            return Ok(expired);
        }
        let files = files_to_remove(&table, &expired.snapshots).await?;
        expired.files = files.len();
        if options.dry_run {
            return Ok(expired);
        }
        match catalog
            .commit(&table, removal(&table, &expired.snapshots))
            .await?
        {
            CatalogCommit::Done(_) => {
                remove_files(&table, files).await;
                return Ok(expired);
            }
            CatalogCommit::Conflict { why } => {
                tracing::debug!(table = %name, why, "expiry lost a race and is tried again");
            }
            CatalogCommit::Unknown { why } => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "it is not known whether snapshots have expired",
                )
                .with("table", name)
                .with("cause", why)
                .hint("no file was removed; run it again, and `maintain orphans` later"));
            }
        }
    }
    Err(Error::new(
        ErrorKind::Transient,
        "the table changed each time that snapshots were about to expire",
    )
    .with("table", name))
}

fn removal(table: &TableHandle, snapshots: &[i64]) -> MetadataChange {
    let metadata = table.metadata();
    MetadataChange {
        requirements: vec![
            TableRequirement::UuidMatch {
                uuid: metadata.uuid(),
            },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: iceberg::spec::MAIN_BRANCH.to_owned(),
                snapshot_id: metadata.current_snapshot_id(),
            },
        ],
        updates: vec![TableUpdate::RemoveSnapshots {
            snapshot_ids: snapshots.to_vec(),
        }],
    }
}

/// Which snapshots expire, and which are held.
fn chosen(metadata: &TableMetadata, options: &ExpireOptions, now: Timestamp) -> Result<Expired> {
    let number = |property: &str| {
        let text = metadata.properties().get(property)?;
        text.parse::<i64>().ok()
    };
    let age = options
        .older_than_ms
        .or_else(|| number("history.expire.max-snapshot-age-ms"))
        .unwrap_or(5 * DAY_MS);
    let keep = options
        .keep_at_least
        .or_else(|| {
            number("history.expire.min-snapshots-to-keep").and_then(|keep| usize::try_from(keep).ok())
        })
        .unwrap_or(1)
        .max(1);
    let is_old = |snapshot: &SnapshotRef| snapshot.timestamp_ms() < now.0 - age;
    let held = held(metadata, options, keep)?;
    let mut snapshots: Vec<_> = metadata.snapshots().filter(|snapshot| is_old(snapshot)).collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    let mut expired = Expired::default();
    for snapshot in snapshots {
        match held.get(&snapshot.snapshot_id()) {
            None => expired.snapshots.push(snapshot.snapshot_id()),
            Some(held_by) => expired.kept.push(Kept {
                snapshot: snapshot.snapshot_id(),
                held_by: held_by.iter().cloned().collect::<Vec<_>>().join(", "),
            }),
        }
    }
    Ok(expired)
}

/// What holds which snapshot.
fn held(
    metadata: &TableMetadata,
    options: &ExpireOptions,
    keep: usize,
) -> Result<BTreeMap<i64, BTreeSet<String>>> {
    let mut held: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    let mut hold = |snapshot: i64, by: String| {
        held.entry(snapshot).or_default().insert(by);
    };
    for (name, reference) in references(metadata)? {
        hold(reference.snapshot_id, format!("{} {name}", reference.kind));
        if reference.kind == "branch" {
            let newest = std::iter::successors(metadata.snapshot_by_id(reference.snapshot_id), |snapshot| {
                snapshot
                    .parent_snapshot_id()
                    .and_then(|id| metadata.snapshot_by_id(id))
            });
            let keep = keep.max(reference.min_snapshots_to_keep.unwrap_or(0));
            for snapshot in newest.take(keep) {
                hold(
                    snapshot.snapshot_id(),
                    format!("the newest {keep} of branch {name}"),
                );
            }
        }
    }
    for (snapshot, sync) in marked_snapshots(metadata) {
        hold(snapshot, format!("the mark of sync {sync}"));
    }
    for (snapshot, by) in &options.in_use {
        hold(*snapshot, by.clone());
    }
    Ok(held)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Reference {
    snapshot_id: i64,
    #[serde(rename = "type")]
    kind: String,
    min_snapshots_to_keep: Option<usize>,
}

/// The branches and tags, which the library shows only in the metadata's JSON.
fn references(metadata: &TableMetadata) -> Result<BTreeMap<String, Reference>> {
    let unreadable = |e| Error::internal("cannot tell the table's branches and tags").caused_by(e);
    let json = serde_json::to_value(metadata).map_err(unreadable)?;
    match json.get("refs") {
        Some(refs) => serde_json::from_value(refs.clone()).map_err(unreadable),
        None => Ok(BTreeMap::new()),
    }
}

/// The files that only these snapshots refer to.
async fn files_to_remove(table: &TableHandle, expired: &[i64]) -> Result<Vec<String>> {
    let iceberg = table.table();
    let (gone, kept): (Vec<_>, Vec<_>) = table
        .metadata()
        .snapshots()
        .partition(|snapshot| expired.contains(&snapshot.snapshot_id()));
    let gone = Reachable::of(iceberg, gone).await?;
    let kept = Reachable::of(iceberg, kept).await?;
    let only_gone = gone
        .manifests
        .iter()
        .filter(|(path, _)| !kept.manifests.contains_key(*path))
        .map(|(_, manifest)| manifest);
    let only_gone: Vec<_> = only_gone.collect();
    let mut files = files_of(iceberg, only_gone.iter().copied(), Entries::All).await?;
    if !files.is_empty() {
        for still_live in files_of(iceberg, kept.manifests.values(), Entries::Live).await? {
            files.remove(&still_live);
        }
    }
    files.extend(only_gone.iter().map(|manifest| manifest.manifest_path.clone()));
    files.extend(gone.lists.difference(&kept.lists).cloned());
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort();
    Ok(files)
}
