//! Snapshot expiry: old snapshots go, and with them the files that no other snapshot has.
//!
//! Kept are the heads of all branches and what came shortly before them, all tags, the snapshots that the marks of syncs and the
//! positions of readers name, and what the caller adds. Every branch and tag that was looked at is required to be as it was, and a file
//! is removed only if what the catalog has after the commit does not refer to it. A REST catalog has no requirement for a branch or tag
//! that is new: one that is set meanwhile on a snapshot that expires is gone with it. Other catalogs refuse the commit then.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use iceberg::spec::{SnapshotRef, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use iceberg_table::{
    Catalog, CatalogCommit, MetadataChange, TableHandle, marked_snapshots, refuse_what_is_not_understood,
    remove_files,
};
use model::{Clock, Error, ErrorKind, Result, TableName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::reachable::{Entries, Reachable, files_of};
use crate::{forbids_garbage_collection, refuse_without_garbage_collection};

/// Races that are lost before expiry gives up.
const ATTEMPTS: usize = 8;
const DAY_MS: i64 = 86_400_000;

/// [`expiry_is_due`] once so many of a hundred snapshots can expire: what it costs to find the files that go is shared by them.
const DUE_PERCENT: usize = 10;

/// What expires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpireOptions {
    /// Snapshots younger than this stay, unless their branch says otherwise; by default what the table's property
    /// `history.expire.max-snapshot-age-ms` says, or 5 days.
    pub older_than_ms: Option<i64>,
    /// So many of the newest ancestors of each branch stay; by default what the property `history.expire.min-snapshots-to-keep` says,
    /// or 1.
    pub keep_at_least: Option<usize>,
    /// So many of the newest ancestors of each branch stay at most, however young the others are, unless the branch or the table's
    /// property `history.expire.max-snapshot-age-ms` says how long they stay; and at least one. By default as many as there are.
    pub keep_at_most: Option<usize>,
    /// A snapshot of a branch stays in any case until another one has followed it for so long: a query that began on it just before may
    /// still be reading its files.
    pub grace_ms: Option<i64>,
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
    let mut lost: Option<Removal> = None;
    for _ in 0..ATTEMPTS {
        let table = load(catalog, name).await?;
        // A link in between may have repeated a request that had won, and then the lost race was one against ourselves.
        if let Some(won) = lost.filter(|removal| removal.has_happened(&table)) {
            return won.finish(&table).await;
        }
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
        let removal = Removal {
            before: table,
            expired,
            files,
        };
        match catalog.commit(&removal.before, removal.change()?).await {
            Ok(CatalogCommit::Done(now)) => return removal.finish(&now).await,
            Ok(CatalogCommit::Conflict { why }) => {
                tracing::debug!(table = %name, why, "expiry lost a race and is tried again");
                lost = Some(removal);
            }
            Ok(CatalogCommit::Unknown { why }) => {
                let unknown = Error::new(
                    ErrorKind::Unavailable,
                    "it is not known whether snapshots have expired",
                )
                .with("table", name)
                .with("cause", why)
                .hint("no file was removed; run it again, and `maintain orphans` later");
                return removal.look_again(catalog, name, unknown).await;
            }
            // A REST server that gets the request twice refuses it the second time.
            Err(error) => return removal.look_again(catalog, name, error).await,
        }
    }
    Err(Error::new(
        ErrorKind::Transient,
        "the table changed each time that snapshots were about to expire",
    )
    .with("table", name))
}

/// Whether [`expire`] would pay: a tenth of the snapshots can go, not counting those that are in use. Nothing but the metadata is looked at.
///
/// # Errors
///
/// `Internal` if the metadata's branches and tags cannot be told.
pub fn expiry_is_due(table: &TableHandle, options: &ExpireOptions, clock: &dyn Clock) -> Result<bool> {
    if forbids_garbage_collection(table) {
        return Ok(false);
    }
    let expired = chosen(table.metadata(), options, clock.now())?.snapshots.len();
    Ok(expired > 0 && expired * 100 >= table.metadata().snapshots().len() * DUE_PERCENT)
}

async fn load(catalog: &dyn Catalog, name: &TableName) -> Result<TableHandle> {
    catalog
        .load(name)
        .await?
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such Iceberg table").with("table", name))
}

/// Snapshots on their way out.
struct Removal {
    /// The table that has them.
    before: TableHandle,
    expired: Expired,
    /// What nothing else of it refers to.
    files: Vec<String>,
}

impl Removal {
    fn change(&self) -> Result<MetadataChange> {
        let metadata = self.before.metadata();
        let mut requirements = vec![TableRequirement::UuidMatch {
            uuid: metadata.uuid(),
        }];
        for (r#ref, reference) in references(metadata)? {
            let snapshot_id = Some(reference.snapshot_id);
            requirements.push(TableRequirement::RefSnapshotIdMatch { r#ref, snapshot_id });
        }
        Ok(MetadataChange {
            requirements,
            updates: vec![TableUpdate::RemoveSnapshots {
                snapshot_ids: self.expired.snapshots.clone(),
            }],
        })
    }

    /// Whether the snapshots are gone, whoever removed them.
    fn has_happened(&self, now: &TableHandle) -> bool {
        let is_gone = |id: &i64| now.metadata().snapshot_by_id(*id).is_none();
        now.metadata().uuid() == self.before.metadata().uuid() && self.expired.snapshots.iter().all(is_gone)
    }

    /// Ends as done if the table shows that it is, and otherwise as it seemed.
    async fn look_again(self, catalog: &dyn Catalog, name: &TableName, otherwise: Error) -> Result<Expired> {
        match load(catalog, name).await {
            Ok(now) if self.has_happened(&now) => self.finish(&now).await,
            _ => Err(otherwise),
        }
    }

    /// Removes the files that nothing in the table refers to now.
    async fn finish(mut self, now: &TableHandle) -> Result<Expired> {
        let in_use = self.added_meanwhile(now).await.map_err(|e| {
            e.hint("the snapshots have expired and no file was removed; run `maintain orphans` later")
        })?;
        self.files.retain(|file| !in_use.contains(file));
        self.expired.files = self.files.len();
        remove_files(&self.before, self.files).await;
        Ok(self.expired)
    }

    /// Everything that is referred to by snapshots that are there `now` and were not among those that stay.
    async fn added_meanwhile(&self, now: &TableHandle) -> Result<HashSet<String>> {
        let before = self.before.metadata();
        let stays = |id| before.snapshot_by_id(id).is_some() && !self.expired.snapshots.contains(&id);
        let snapshots = now.metadata().snapshots();
        let added = snapshots.filter(|snapshot| !stays(snapshot.snapshot_id()));
        let added = Reachable::of(now.table(), added).await?;
        let mut files = files_of(now.table(), added.manifests.values(), Entries::Live).await?;
        files.extend(added.manifests.into_keys());
        files.extend(added.lists);
        Ok(files)
    }
}

/// Which snapshots expire, and which are held.
fn chosen(metadata: &TableMetadata, options: &ExpireOptions, now: Timestamp) -> Result<Expired> {
    let number = |property: &str| {
        let text = metadata.properties().get(property)?;
        text.parse::<i64>().ok()
    };
    let age_of_table = number("history.expire.max-snapshot-age-ms");
    let age = options.older_than_ms.or(age_of_table).unwrap_or(5 * DAY_MS);
    let keep = options
        .keep_at_least
        .or_else(|| {
            number("history.expire.min-snapshots-to-keep").and_then(|keep| usize::try_from(keep).ok())
        })
        .unwrap_or(1)
        .max(1);
    let at_most = options.keep_at_most.map_or(usize::MAX, |at_most| at_most.max(1));
    let is_older = |snapshot: &SnapshotRef, age: i64| snapshot.timestamp_ms() < now.0 - age;
    let references = references(metadata)?;
    // Each branch says for itself how long its snapshots stay.
    let mut is_old: BTreeMap<i64, bool> = BTreeMap::new();
    for branch in references.values().filter(|reference| reference.is_branch()) {
        let age_here = branch.max_snapshot_age_ms.or(age_of_table);
        let mut follower = None;
        for (newer, snapshot) in ancestors(metadata, branch.snapshot_id).enumerate() {
            let is_beyond = age_here.is_none() && newer >= at_most;
            let is_old_here = is_beyond || is_older(snapshot, branch.max_snapshot_age_ms.unwrap_or(age));
            let is_left = |grace| follower.is_some_and(|follower| is_older(follower, grace));
            let is_old_here = is_old_here && options.grace_ms.is_none_or(is_left);
            *is_old.entry(snapshot.snapshot_id()).or_insert(true) &= is_old_here;
            follower = Some(snapshot);
        }
    }
    let is_old = |snapshot: &SnapshotRef| {
        let on_branches = is_old.get(&snapshot.snapshot_id()).copied();
        on_branches.unwrap_or_else(|| is_older(snapshot, age))
    };
    let held = held(metadata, &references, options, keep);
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
    references: &BTreeMap<String, Reference>,
    options: &ExpireOptions,
    keep: usize,
) -> BTreeMap<i64, BTreeSet<String>> {
    let mut held: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    let mut hold = |snapshot: i64, by: String| {
        held.entry(snapshot).or_default().insert(by);
    };
    for (name, reference) in references {
        hold(reference.snapshot_id, format!("{} {name}", reference.kind));
        if reference.is_branch() {
            let newest = ancestors(metadata, reference.snapshot_id);
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
    held
}

/// A snapshot and its ancestors, newest first, as far as they have not expired.
fn ancestors(metadata: &TableMetadata, snapshot: i64) -> impl Iterator<Item = &SnapshotRef> {
    let walk = std::iter::successors(metadata.snapshot_by_id(snapshot), |snapshot| {
        snapshot
            .parent_snapshot_id()
            .and_then(|id| metadata.snapshot_by_id(id))
    });
    // In damaged metadata parents may form a circle.
    walk.take(metadata.snapshots().len())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Reference {
    snapshot_id: i64,
    #[serde(rename = "type")]
    kind: String,
    min_snapshots_to_keep: Option<usize>,
    max_snapshot_age_ms: Option<i64>,
}

impl Reference {
    fn is_branch(&self) -> bool {
        self.kind == "branch"
    }
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
