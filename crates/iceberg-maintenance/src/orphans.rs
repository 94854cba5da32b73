//! Orphans: files in a table's directory that nothing in its metadata refers to, left behind by writers that were killed.
//!
//! A file is taken for an orphan only if it is older than any commit in flight can be, and only if all directories and all metadata
//! could be read. Looked at are `data` and `metadata`, and where properties tell writers to put files, if that is below the table's
//! location: everything else there, and every directory that is itself a table's, may be somebody else's.
//!
//! Locations are compared without what does not tell files apart: `file:/x`, `file:///x` and `/x` are one file, and so are `s3://b/x`
//! and `s3a://b/x`.

use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use iceberg::spec::TableMetadata;
use iceberg_table::{Catalog, TableHandle, io_error, remove_files};
use model::{Clock, Error, ErrorKind, Result, TableName, Timestamp};
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

/// Looks for the orphans of a table on a local or mounted file system, and removes them if told to.
///
/// # Errors
///
/// `NotFound` without such a table; `Unsupported` if it is elsewhere, or its property `gc.enabled` is `false`; as the storage says if
/// anything could not be read: then nothing is removed.
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
    let directories = directories(before.metadata()).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "orphans are found on file systems only")
            .with("table", name)
            .with("location", before.metadata().location())
    })?;
    let listed = tokio::task::spawn_blocking(move || list(directories))
        .await
        .map_err(|e| Error::internal("listing a directory did not finish").caused_by(e))??;
    let table = load(catalog, name).await?;
    refuse_without_garbage_collection(&table)?;
    let referenced = referenced(&table).await?;
    let mut orphans = Orphans::default();
    for file in listed {
        if is_metadata_of_catalog(&file.path) || referenced.contains(&normalised(&file.path)) {
            continue;
        }
        if file.modified.0 > clock.now().0 - options.older_than_ms {
            orphans.too_young += 1;
            continue;
        }
        orphans.bytes += file.bytes;
        orphans.files.push(file.path);
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
    let path = rest.trim_start_matches('/');
    let mut normal = format!("{scheme}:");
    for part in path.split('/').filter(|part| !part.is_empty()) {
        normal.push('/');
        normal.push_str(part);
    }
    normal
}

fn local(location: &str) -> Option<PathBuf> {
    let path = match location.split_once(':') {
        Some(("file", rest)) => rest.strip_prefix("//").unwrap_or(rest),
        Some((scheme, _)) if !scheme.contains('/') => return None,
        _ => location,
    };
    Some(PathBuf::from(path))
}

struct Listed {
    path: String,
    bytes: u64,
    modified: Timestamp,
}

/// Where the files of a table are, if that is on a file system.
fn directories(metadata: &TableMetadata) -> Option<BTreeSet<PathBuf>> {
    let root = local(metadata.location())?;
    let named = WRITE_PATHS
        .iter()
        .filter_map(|name| metadata.properties().get(*name));
    let named = named.filter_map(|location| local(location));
    let named = named.filter(|path| path.starts_with(&root) && *path != root);
    Some(
        named
            .chain(["data", "metadata"].map(|name| root.join(name)))
            .collect(),
    )
}

/// Whether a directory is a table's, as far as its metadata is on the same file system.
fn is_of_table(directory: &Path) -> std::io::Result<bool> {
    let entries = match std::fs::read_dir(directory.join("metadata")) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => return Ok(false),
        Err(e) => return Err(e),
    };
    for entry in entries {
        if is_metadata_of_catalog(&entry?.file_name().to_string_lossy()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All files below these directories, as far as they are there, without those of other tables. Whatever cannot be read is an error;
/// links are not followed.
fn list(roots: BTreeSet<PathBuf>) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    let exists = |root: &PathBuf| std::fs::symlink_metadata(root).is_ok_and(|found| found.is_dir());
    let is_inner = |root: &PathBuf| root.ancestors().skip(1).any(|outer| roots.contains(outer));
    let mut directories: Vec<_> = roots
        .iter()
        .filter(|root| exists(root) && !is_inner(root))
        .cloned()
        .collect();
    while let Some(directory) = directories.pop() {
        let failed = |e| {
            io_error(
                "cannot list the table's directory, so nothing is taken for an orphan",
                &directory,
                e,
            )
        };
        if is_of_table(&directory).map_err(failed)? {
            continue;
        }
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = entry.metadata().map_err(failed)?;
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.is_file() {
                let path = entry.path();
                let path = path.to_str().ok_or_else(|| {
                    Error::new(
                        ErrorKind::Unsupported,
                        "a file's name is not Unicode, so nothing is taken for an orphan",
                    )
                    .with("file", path.display())
                })?;
                files.push(Listed {
                    path: format!("file://{path}"),
                    bytes: metadata.len(),
                    modified: modified(&metadata).map_err(failed)?,
                });
            }
        }
    }
    Ok(files)
}

fn modified(metadata: &std::fs::Metadata) -> std::io::Result<Timestamp> {
    let since_1970 = metadata
        .modified()?
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Timestamp(
        i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX),
    ))
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
            ("/w/a:b", "file:///w/a:b", true),
            ("/w/A", "/w/a", false),
        ] {
            assert_eq!(normalised(a) == normalised(b), same, "{a} {b}");
        }
    }
}
