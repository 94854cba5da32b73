//! The files that snapshots of a table refer to.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{Manifest, ManifestFile, ManifestList, SnapshotRef};
use iceberg::table::Table;
use iceberg_table::iceberg_error;
use model::Result;

/// Manifest lists or manifests that are read at the same time.
const READ_AT_ONCE: usize = 16;

/// The manifest lists and manifests of some snapshots.
#[derive(Debug, Default)]
pub(crate) struct Reachable {
    pub(crate) lists: HashSet<String>,
    /// By their path.
    pub(crate) manifests: HashMap<String, ManifestFile>,
}

/// Which entries of a manifest count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entries {
    Live,
    /// Also those that the manifest's snapshot removed.
    All,
}

impl Reachable {
    /// What these snapshots refer to.
    ///
    /// # Errors
    ///
    /// As the storage says: a list that cannot be read makes the whole answer worthless.
    pub(crate) async fn of(table: &Table, snapshots: impl IntoIterator<Item = &SnapshotRef>) -> Result<Self> {
        let lists: Vec<_> = snapshots
            .into_iter()
            .map(|snapshot| manifest_list(table, snapshot))
            .collect();
        let mut lists = stream::iter(lists).buffer_unordered(READ_AT_ONCE);
        let mut reachable = Self::default();
        while let Some((path, list)) = lists.try_next().await? {
            reachable.lists.insert(path);
            for manifest in list.consume_entries() {
                reachable
                    .manifests
                    .insert(manifest.manifest_path.clone(), manifest);
            }
        }
        Ok(reachable)
    }
}

/// The data and delete files in these manifests.
///
/// # Errors
///
/// As the storage says.
pub(crate) async fn files_of(
    table: &Table,
    manifests: impl IntoIterator<Item = &ManifestFile>,
    entries: Entries,
) -> Result<HashSet<String>> {
    let loaded: Vec<_> = manifests
        .into_iter()
        .map(|manifest| load_manifest(table, manifest))
        .collect();
    let mut loaded = stream::iter(loaded).buffer_unordered(READ_AT_ONCE);
    let mut files = HashSet::new();
    while let Some(manifest) = loaded.try_next().await? {
        let wanted = manifest
            .entries()
            .iter()
            .filter(|entry| entries == Entries::All || entry.is_alive());
        files.extend(wanted.map(|entry| entry.file_path().to_owned()));
    }
    Ok(files)
}

async fn manifest_list(table: &Table, snapshot: &SnapshotRef) -> Result<(String, ManifestList)> {
    let path = snapshot.manifest_list();
    let loaded = table.manifest_list_reader(snapshot).load().await;
    let list = loaded.map_err(|e| iceberg_error("cannot read a manifest list")(e).with("file", path))?;
    Ok((path.to_owned(), list))
}

async fn load_manifest(table: &Table, manifest: &ManifestFile) -> Result<Manifest> {
    let loaded = manifest.load_manifest(table.file_io()).await;
    loaded.map_err(|e| iceberg_error("cannot read a manifest")(e).with("file", &manifest.manifest_path))
}
