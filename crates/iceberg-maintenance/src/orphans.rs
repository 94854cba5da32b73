//! Orphans: files in a table's directory that nothing in its metadata refers to, left behind by writers that were killed.
//!
//! A file is taken for an orphan only if it is older than any commit in flight can be, and only if all directories and all metadata
//! could be read. Looked at are `data` and `metadata`, and where properties tell writers to put files, if that is below the table's
//! location: everything else there, and every directory that is itself a table's, may be somebody else's.
//!
//! Files are known by their names alone, the last parts of their locations: one file has many locations (`s3a:` for `s3:`, the two hosts of
//! an account in Azure, a bucket by its URL, names that a client has decoded), and not all of them can be known. Writers put a random part
//! into names; where somebody has not, an orphan that has the name of a file in use stays.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::TableMetadata;
use iceberg_table::{Catalog, StoredFile, TableHandle, remove_files, same_scheme};
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
        if is_metadata_of_catalog(&file.location) || referenced.contains(&name_of(&file.location)) {
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

/// The names of all files that any snapshot refers to.
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
    Ok(files.iter().map(|file| name_of(file)).collect())
}

/// The metadata itself is the catalog's to prune.
fn is_metadata_of_catalog(path: &str) -> bool {
    path.contains(".metadata.json") || path.ends_with("version-hint.text")
}

/// The last part of a location, as it is if whatever can be decoded in it was: how often clients did that cannot be told.
fn name_of(location: &str) -> String {
    let location = location.trim_end_matches('/');
    let mut name = location.rsplit('/').next().unwrap_or(location).to_owned();
    loop {
        let decoded = percent_decode_str(&name).decode_utf8_lossy().into_owned();
        if decoded == name {
            return name;
        }
        name = decoded;
    }
}

/// A directory's location without what does not tell directories apart.
fn normalised(location: &str) -> String {
    let location = same_scheme(location);
    let (scheme, rest) = match location.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
        _ => ("file", location.as_ref()),
    };
    let mut normal = format!("{scheme}:");
    for (number, part) in rest.split('/').filter(|part| !part.is_empty()).enumerate() {
        normal.push('/');
        match (scheme, number) {
            // An account has two hosts.
            ("abfss", 0) => normal.push_str(&part.replacen(".blob.", ".dfs.", 1)),
            _ => normal.push_str(part),
        }
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
    use iceberg::spec::{FormatVersion, PartitionSpec, Schema, SortOrder, TableMetadataBuilder};

    use super::*;

    #[test]
    fn locations_of_one_directory_are_the_same() {
        for (a, b, same) in [
            ("file:///w/t/a", "/w/t/a", true),
            ("file:/w/t/a", "file:///w//t/a", true),
            ("s3://b/t/a", "s3a://b/t/a", true),
            ("s3n://b/t/a", "s3://b/t/a", true),
            ("gcs://b/t/a", "gs://b/t/a", true),
            ("s3://b/t/a", "s3://c/t/a", false),
            ("s3://b/t/a", "gs://b/t/a", false),
            (
                "abfss://c@acc.dfs.core.windows.net/t/a",
                "wasbs://c@acc.blob.core.windows.net/t/a",
                true,
            ),
            (
                "abfss://c@acc.dfs.core.windows.net/t.dfs.a",
                "abfss://c@acc.dfs.core.windows.net/t.blob.a",
                false,
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

    #[test]
    fn a_file_has_one_name_however_it_is_located() {
        for (a, b, same) in [
            (
                "abfss://c@acc.dfs.core.windows.net/t/p=50%2520x/a.parquet",
                "abfss://c@acc.dfs.core.windows.net/t/p=50%20x/a.parquet",
                true,
            ),
            (
                "abfss://c@acc.dfs.core.windows.net/t/a.parquet",
                "abfss://c/t/a.parquet",
                true,
            ),
            (
                "az://c/t/a.parquet",
                "https://acc.blob.core.windows.net/c/t/a.parquet",
                true,
            ),
            ("s3://b/t/10%253A00.parquet", "s3://b/t/10:00.parquet", true),
            ("s3://b/t/100%.parquet", "s3://b/t/100%25.parquet", true),
            ("s3://b/t/a.parquet", "s3://b/t/b.parquet", false),
            ("s3://b/t/A.parquet", "s3://b/t/a.parquet", false),
        ] {
            assert_eq!(name_of(a) == name_of(b), same, "{a} {b}");
        }
    }

    #[test]
    fn directories_are_those_below_the_tables_location() {
        for (location, written, expected) in [
            ("s3://b", None, vec!["s3://b/data", "s3://b/metadata"]),
            ("s3://b/", None, vec!["s3://b/data", "s3://b/metadata"]),
            (
                "s3://b/t",
                Some("s3a://b/t/files"),
                vec!["s3://b/t/data", "s3a://b/t/files", "s3://b/t/metadata"],
            ),
            (
                "s3://b/t",
                Some("s3://b/t/data/more"),
                vec!["s3://b/t/data", "s3://b/t/metadata"],
            ),
            (
                "s3://b/t",
                Some("s3://b/tt/data"),
                vec!["s3://b/t/data", "s3://b/t/metadata"],
            ),
        ] {
            let properties = written.map(|path| ("write.data.path".to_owned(), path.to_owned()));
            let metadata = TableMetadataBuilder::new(
                Schema::builder().build().unwrap(),
                PartitionSpec::unpartition_spec(),
                SortOrder::unsorted_order(),
                location.to_owned(),
                FormatVersion::V2,
                properties.into_iter().collect(),
            );
            let metadata = metadata.unwrap().build().unwrap().metadata;
            assert_eq!(directories(&metadata), expected, "{location} {written:?}");
        }
    }
}
