//! The files that snapshots of a table refer to.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{ManifestFile, SnapshotRef};
use iceberg::table::Table;
use iceberg_table::iceberg_error;
use model::Result;

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
        let mut reachable = Self::default();
        for snapshot in snapshots {
            let list = table.manifest_list_reader(snapshot).load().await.map_err(|e| {
                iceberg_error("cannot read a manifest list")(e).with("file", snapshot.manifest_list())
            })?;
            reachable.lists.insert(snapshot.manifest_list().to_owned());
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
    let mut files = HashSet::new();
    for manifest in manifests {
        let loaded = manifest
            .load_manifest(table.file_io())
            .await
            .map_err(|e| iceberg_error("cannot read a manifest")(e).with("file", &manifest.manifest_path))?;
        let wanted = loaded
            .entries()
            .iter()
            .filter(|entry| entries == Entries::All || entry.is_alive());
        files.extend(wanted.map(|entry| entry.file_path().to_owned()));
    }
    Ok(files)
}
