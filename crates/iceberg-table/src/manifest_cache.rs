//! The entries of manifests that were read before. A manifest never changes, and a commit looks at those of its table several times.

use std::fmt::{self, Debug};
use std::sync::Arc;

use iceberg::spec::{DataFile, ManifestFile, SchemaRef};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use uuid::Uuid;

use crate::manifest_entries::Entry;

/// About how many bytes the entries take that are kept. Those that were not used for longest make room.
const MAX_BYTES: usize = 32 << 20;
/// A manifest whose entries take more is not kept: it would drive out all others.
const MAX_BYTES_OF_ONE: usize = MAX_BYTES / 4;

/// Entries of manifests in memory, up to [`MAX_BYTES`]. Clones share them.
#[derive(Clone)]
pub(crate) struct ManifestCache(Cache<Of, Kept>);

/// The manifest, with what its entries inherit from the list that names it, and the id of the table.
type Of = (Uuid, ManifestFile);

#[derive(Clone)]
struct Kept {
    types: EntryTypes,
    entries: Arc<[Entry]>,
}

/// The schemas whose types the values of entries have got.
#[derive(Clone, PartialEq)]
pub(crate) struct EntryTypes {
    pub(crate) table: SchemaRef,
    pub(crate) partitions: SchemaRef,
}

impl Debug for ManifestCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManifestCache")
            .field(&self.0.entry_count())
            .finish()
    }
}

impl Default for ManifestCache {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(MAX_BYTES as u64)
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, kept: &Kept| u32::try_from(bytes_of_all(&kept.entries)).unwrap_or(u32::MAX));
        Self(cache.build())
    }
}

impl ManifestCache {
    pub(crate) async fn get(
        &self,
        table: Uuid,
        manifest: &ManifestFile,
        types: &EntryTypes,
    ) -> Option<Arc<[Entry]>> {
        let kept = self.0.get(&(table, manifest.clone())).await?;
        (kept.types == *types).then_some(kept.entries)
    }

    pub(crate) async fn insert(
        &self,
        table: Uuid,
        manifest: &ManifestFile,
        types: EntryTypes,
        entries: Arc<[Entry]>,
    ) {
        if bytes_of_all(&entries) > MAX_BYTES_OF_ONE {
            return;
        }
        let kept = Kept { types, entries };
        self.0.insert((table, manifest.clone()), kept).await;
        // What is too much would stay until the cache is asked again.
        self.0.run_pending_tasks().await;
    }
}

fn bytes_of_all(entries: &[Entry]) -> usize {
    1_024 + entries.iter().map(|entry| bytes_of(&entry.file)).sum::<usize>()
}

/// About how much memory the description of a file takes: itself, and its numbers and bounds by column.
fn bytes_of(file: &DataFile) -> usize {
    let numbers = [
        file.column_sizes(),
        file.value_counts(),
        file.null_value_counts(),
        file.nan_value_counts(),
    ];
    let bounds = file.lower_bounds().len() + file.upper_bounds().len();
    let numbers: usize = numbers.iter().map(|numbers| numbers.len()).sum();
    1_024 + file.file_path().len() + 32 * numbers + 160 * bounds
}
