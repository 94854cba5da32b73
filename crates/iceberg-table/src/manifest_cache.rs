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
    /// Its types are those of the entries' values.
    schema: SchemaRef,
    entries: Arc<[Entry]>,
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
        schema: &SchemaRef,
    ) -> Option<Arc<[Entry]>> {
        let kept = self.0.get(&(table, manifest.clone())).await?;
        (kept.schema == *schema).then_some(kept.entries)
    }

    pub(crate) async fn insert(
        &self,
        table: Uuid,
        manifest: &ManifestFile,
        schema: SchemaRef,
        entries: Arc<[Entry]>,
    ) {
        if bytes_of_all(&entries) > MAX_BYTES_OF_ONE {
            return;
        }
        let kept = Kept { schema, entries };
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

#[cfg(test)]
mod tests {
    use iceberg::spec::{
        DataContentType, DataFileBuilder, DataFileFormat, ManifestContentType, NestedField, PrimitiveType,
        Schema, Struct, Type,
    };

    use super::*;

    fn manifest(path: &str) -> ManifestFile {
        ManifestFile {
            manifest_path: path.to_owned(),
            manifest_length: 1,
            partition_spec_id: 0,
            content: ManifestContentType::Data,
            sequence_number: 1,
            min_sequence_number: 1,
            added_snapshot_id: 1,
            added_files_count: Some(1),
            existing_files_count: Some(0),
            deleted_files_count: Some(0),
            added_rows_count: Some(1),
            existing_rows_count: Some(0),
            deleted_rows_count: Some(0),
            partitions: None,
            key_metadata: None,
            first_row_id: None,
        }
    }

    /// The types of a table with one column, under one id whatever its type.
    fn types(column: PrimitiveType) -> SchemaRef {
        let field = NestedField::required(1, "id", Type::Primitive(column)).into();
        Arc::new(Schema::builder().with_fields([field]).build().unwrap())
    }

    fn entries(count: usize) -> Arc<[Entry]> {
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data)
            .file_path("data/a.parquet".into())
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .record_count(1)
            .file_size_in_bytes(1);
        let entry = Entry {
            file: Arc::new(file.build().unwrap()),
            spec_id: 0,
            snapshot_id: 1,
            sequence_number: 1,
            file_sequence_number: 1,
        };
        vec![entry; count].into()
    }

    #[tokio::test]
    async fn entries_are_told_for_their_table_and_types_and_inheritance_alone() {
        let (cache, table) = (ManifestCache::default(), Uuid::from_u128(1));
        let (here, narrow) = (manifest("a"), types(PrimitiveType::Int));
        cache.insert(table, &here, narrow.clone(), entries(1)).await;
        assert!(cache.get(table, &here, &narrow).await.is_some());
        assert!(cache.get(Uuid::from_u128(2), &here, &narrow).await.is_none());
        assert!(
            cache
                .get(table, &here, &types(PrimitiveType::Long))
                .await
                .is_none()
        );
        let listed_anew = ManifestFile {
            first_row_id: Some(7),
            ..here
        };
        assert!(cache.get(table, &listed_anew, &narrow).await.is_none());
    }

    #[tokio::test]
    async fn what_is_kept_stays_within_its_bound_and_the_newest_stay() {
        let (cache, table, types) = (
            ManifestCache::default(),
            Uuid::from_u128(1),
            types(PrimitiveType::Int),
        );
        let large = manifest("large");
        cache
            .insert(table, &large, types.clone(), entries(MAX_BYTES_OF_ONE / 1_024))
            .await;
        assert!(
            cache.get(table, &large, &types).await.is_none(),
            "it would drive out all others"
        );
        for number in 0..100 {
            let manifest = manifest(&number.to_string());
            cache
                .insert(table, &manifest, types.clone(), entries(2_000))
                .await;
            let held = cache.0.iter().map(|(_, kept)| bytes_of_all(&kept.entries));
            assert!(held.sum::<usize>() <= MAX_BYTES, "after {number}");
        }
        assert!(cache.get(table, &manifest("99"), &types).await.is_some());
        assert!(cache.get(table, &manifest("0"), &types).await.is_none());
    }
}
