//! The entries of manifests that were read before. A manifest never changes, and a commit looks at those of its table several times.

use std::fmt::{self, Debug};
use std::sync::Arc;

use iceberg::spec::{DataFile, ManifestFile};
use moka::future::Cache;
use uuid::Uuid;

use crate::manifest_entries::Entry;

/// About how many bytes the entries take that are kept. Those that were not used for long make room.
const MAX_BYTES: u64 = 32 << 20;

/// Entries of manifests in memory, up to [`MAX_BYTES`]. Clones share them.
#[derive(Clone)]
pub(crate) struct ManifestCache(Cache<ManifestKey, Arc<[Entry]>>);

/// All that the entries depend on: besides the manifest what they inherit from the list that names it, and the table's types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ManifestKey {
    pub(crate) table: Uuid,
    pub(crate) schema_id: i32,
    /// The schema that tells the types of partitions.
    pub(crate) partition_schema_id: i32,
    pub(crate) manifest: ManifestFile,
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
        let weigh = |_: &ManifestKey, entries: &Arc<[Entry]>| {
            let bytes: usize = entries.iter().map(|entry| bytes_of(&entry.file)).sum();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(MAX_BYTES).weigher(weigh).build())
    }
}

impl ManifestCache {
    pub(crate) async fn get(&self, key: &ManifestKey) -> Option<Arc<[Entry]>> {
        self.0.get(key).await
    }

    pub(crate) async fn insert(&self, key: ManifestKey, entries: Arc<[Entry]>) {
        self.0.insert(key, entries).await;
    }
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
