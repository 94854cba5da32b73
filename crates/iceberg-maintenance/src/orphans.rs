//! Orphans: files in a table's directory that nothing in its metadata refers to, left behind by writers that were killed.
//!
//! A file is taken for an orphan only if it is older than any commit in flight can be, and only if all directories and all metadata
//! could be read. Looked at are `data` and `metadata`, and where properties tell writers to put files, if that is below the table's
//! location: everything else there, and every directory that is itself a table's, may be somebody else's.
//!
//! Locations are compared without what does not tell files apart: `file:/x`, `file:///x` and `/x` are one file, and so are `s3://b/x`
//! and `s3a://b/x`. In Azure an account has two hosts, and Hadoop's client decodes names that Iceberg has encoded, so that one blob goes by both.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::TableMetadata;
use iceberg_table::{Catalog, StoredFile, TableHandle, remove_files};
use model::{Clock, Error, ErrorKind, Result, TableName};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::reachable::{Entries, Reachable, files_of};
use crate::refuse_without_garbage_collection;

/// A commit in flight is never older than this.
pub(crate) const THREE_DAYS_MS: i64 = 3 * 86_400_000;

/// The properties that tell writers where to put files: the present ones, and those that came before.
const WRITE_PATHS: [&str; 4] = [
    "write.data.path",
    "write.metadata.path",
    "write.object-storage.path",
    "write.folder-storage.path",
];

/// What is taken for an orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrphanOptions {
    /// Files younger than this are spared: they may belong to a commit in flight.
    pub older_than_ms: i64,
    /// Whether orphans are only counted.
    pub dry_run: bool,
}

impl Default for OrphanOptions {
    fn default() -> Self {
        Self {
            older_than_ms: THREE_DAYS_MS,
            dry_run: true,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Orphans {
    /// Their locations, in order.
    pub files: Vec<String>,
    /// Their size in bytes.
    pub bytes: u64,
    /// Files that nothing refers to and that are too young to be sure of.
    pub too_young: usize,
    /// Whether they were removed.
    pub removed: bool,
}

/// Looks for the orphans of a table, and removes them if told to.
///
/// # Errors
///
/// `NotFound` without such a table; `Unsupported` if its property `gc.enabled` is `false`; as the storage says if anything could not be
/// read: then nothing is removed.
///
/// # Cancel safety
///
/// Dropping the future leaves some orphans behind.
pub async fn remove_orphans(
    catalog: &dyn Catalog,
    name: &TableName,
    options: OrphanOptions,
    clock: &dyn Clock,
) -> Result<Orphans> {
    // The directory is read first: what is committed afterwards is in the metadata that is read then.
    let before = load(catalog, name).await?;
    refuse_without_garbage_collection(&before)?;
    let listed = listed(&before).await?;
    let table = load(catalog, name).await?;
    refuse_without_garbage_collection(&table)?;
    let referenced = referenced(&table).await?;
    let mut orphans = Orphans::default();
    for file in listed {
        if is_metadata_of_catalog(&file.location) || referenced.contains(&normalised(&file.location)) {
            continue;
        }
        if file.modified.0 > clock.now().0 - options.older_than_ms {
            orphans.too_young += 1;
            continue;
        }
        orphans.bytes += file.bytes;
        orphans.files.push(file.location);
    }
    orphans.files.sort();
    if !options.dry_run {
        remove_files(&table, orphans.files.clone()).await;
        orphans.removed = true;
    }
    Ok(orphans)
}

async fn load(catalog: &dyn Catalog, name: &TableName) -> Result<TableHandle> {
    catalog
        .load(name)
        .await?
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such Iceberg table").with("table", name))
}

/// All files that any snapshot refers to, normalised.
async fn referenced(table: &TableHandle) -> Result<HashSet<String>> {
    let metadata = table.metadata();
    let reachable = Reachable::of(table.table(), metadata.snapshots()).await?;
    let mut files = files_of(table.table(), reachable.manifests.values(), Entries::All).await?;
    files.extend(reachable.manifests.into_keys());
    files.extend(reachable.lists);
    files.extend(
        metadata
            .statistics_iter()
            .map(|file| file.statistics_path.clone()),
    );
    files.extend(
        metadata
            .partition_statistics_iter()
            .map(|file| file.statistics_path.clone()),
    );
    Ok(files.iter().map(|file| normalised(file)).collect())
}

/// The metadata itself is the catalog's to prune.
fn is_metadata_of_catalog(path: &str) -> bool {
    path.contains(".metadata.json") || path.ends_with("version-hint.text")
}

/// A location without what does not tell files apart.
fn normalised(location: &str) -> String {
    let (scheme, rest) = match location.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
        _ => ("file", location),
    };
    let scheme = match scheme {
        "s3a" | "s3n" => "s3",
        "abfs" | "wasb" | "wasbs" => "abfss",
        "gcs" => "gs",
        other => other,
    };
    let path = match scheme {
        "abfss" => percent_decode_str(rest)
            .decode_utf8_lossy()
            .replacen(".blob.", ".dfs.", 1),
        _ => rest.to_owned(),
    };
    let mut normal = format!("{scheme}:");
    for part in path.split('/').filter(|part| !part.is_empty()) {
        normal.push('/');
        normal.push_str(part);
    }
    normal
}

/// The directories of a table's files, none of which is in another one.
fn directories(metadata: &TableMetadata) -> Vec<String> {
    let root = metadata.location().trim_end_matches('/');
    let inside = |path: &str| path.starts_with(&format!("{}/", normalised(root)));
    let named = WRITE_PATHS
        .iter()
        .filter_map(|name| metadata.properties().get(*name));
    let own = ["data", "metadata"].map(|name| format!("{root}/{name}"));
    let by_path: BTreeMap<String, String> = named
        .cloned()
        .chain(own)
        .map(|directory| (normalised(&directory), directory))
        .filter(|(path, _)| inside(path))
        .collect();
    let outermost = by_path
        .iter()
        .filter(|(path, _)| !outer(path).any(|outer| by_path.contains_key(outer)));
    outermost.map(|(_, directory)| directory.clone()).collect()
}

/// The directories that a normalised location is in, from the innermost.
fn outer(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path))
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// The files in a table's directories, without those of other tables there.
async fn listed(table: &TableHandle) -> Result<Vec<StoredFile>> {
    let mut files = Vec::new();
    for directory in directories(table.metadata()) {
        let found = table.files_below(&directory).await.map_err(|e| {
            e.with("directory", &directory)
                .hint("what cannot be listed hides what is there, so nothing was taken for an orphan")
        })?;
        files.extend(without_other_tables(found, &normalised(&directory)));
    }
    Ok(files)
}

/// Without files in a directory of a table, which may be `root` itself.
fn without_other_tables(files: Vec<StoredFile>, root: &str) -> impl Iterator<Item = StoredFile> {
    let paths = files.iter().map(|file| normalised(&file.location));
    let tables = paths
        .filter(|path| is_metadata_of_catalog(path))
        .filter_map(|path| {
            let table = parent(&path)?.strip_suffix("/metadata")?;
            (table == root || outer(table).any(|outer| outer == root)).then(|| table.to_owned())
        });
    let tables: HashSet<String> = tables.collect();
    files.into_iter().filter(move |file| {
        let path = normalised(&file.location);
        !outer(&path).any(|outer| tables.contains(outer))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_of_one_file_are_the_same() {
        for (a, b, same) in [
            ("file:///w/t/a", "/w/t/a", true),
            ("file:/w/t/a", "file:///w//t/a", true),
            ("s3://b/t/a", "s3a://b/t/a", true),
            ("s3n://b/t/a", "s3://b/t/a", true),
            ("s3://b/t/a", "s3://c/t/a", false),
            ("s3://b/t/a", "gs://b/t/a", false),
            (
                "abfss://c@acc.dfs.core.windows.net/t/a",
                "wasbs://c@acc.blob.core.windows.net/t/a",
                true,
            ),
            (
                "abfs://c@acc.dfs.core.windows.net/t/p=a%20b",
                "abfss://c@acc.dfs.core.windows.net/t/p=a b",
                true,
            ),
            (
                "abfss://c@acc.dfs.core.windows.net/t/a",
                "abfss://c@bcc.dfs.core.windows.net/t/a",
                false,
            ),
            ("s3://b/t/p=a%20b", "s3://b/t/p=a b", false),
            ("/w/a:b", "file:///w/a:b", true),
            ("/w/A", "/w/a", false),
        ] {
            assert_eq!(normalised(a) == normalised(b), same, "{a} {b}");
        }
    }
}
