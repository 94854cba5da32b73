//! From changed files and the head to a new snapshot: its manifests, manifest list, summary and metadata updates.

use std::collections::{HashMap, HashSet};

use iceberg::TableRequirement;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestListWriter, Operation,
    Snapshot, SnapshotRef, Summary,
};
use model::{Error, Ids, Result, Timestamp};
use uuid::Uuid;

use crate::catalog::{Catalog, CatalogCommit, MetadataChange, TableHandle};
use crate::error::iceberg_error;
use crate::layout::TableLayout;
use crate::manifests::{self, FileKey, ManifestFiles, remove_files};
use crate::marks::{RowCounts, Stamp};
use crate::summary::Tally;

/// What a snapshot does to the files of a table.
pub(crate) struct FileChanges<'a> {
    /// New data files with their partition specs,
    pub(crate) data_files: &'a [(i32, DataFile)],
    /// and their data sequence number, if it is not the snapshot's.
    pub(crate) sequence_number: Option<i64>,
    /// New delete files with their partition specs.
    pub(crate) delete_files: &'a [(i32, DataFile)],
    pub(crate) removed: RemovedFiles<'a>,
    /// Whether the rows stay the same.
    pub(crate) is_rewrite: bool,
    /// So many small manifests are merged.
    pub(crate) merge_at: usize,
}

/// The files that are no longer live.
pub(crate) enum RemovedFiles<'a> {
    All,
    These(&'a HashSet<FileKey>),
}

impl RemovedFiles<'_> {
    fn is_none(&self) -> bool {
        matches!(self, Self::These(files) if files.is_empty())
    }

    fn has(&self, file: &DataFile) -> bool {
        match self {
            Self::All => true,
            Self::These(files) => files.contains(&FileKey::of(file)),
        }
    }
}

/// What a commit of ours says of itself.
pub(crate) type Signature<'a> = Option<(&'a Stamp, &'a RowCounts)>;

/// A snapshot that is written and not committed.
pub(crate) struct Produced {
    pub(crate) change: MetadataChange,
    pub(crate) snapshot_id: i64,
    sequence_number: i64,
    /// What it was built for.
    layout: TableLayout,
    /// The manifests and the manifest list.
    pub(crate) written: Vec<String>,
}

impl Produced {
    pub(crate) fn is_in(&self, table: &TableHandle) -> bool {
        table.metadata().snapshot_by_id(self.snapshot_id).is_some()
    }

    /// What a catalog's answer to its commit turns out to mean, when the table is looked at again: `Done` if it has it, whatever was said.
    ///
    /// # Errors
    ///
    /// The catalog's own, if nothing has happened to the table since. What was written is removed then.
    pub(crate) async fn outcome(
        &self,
        catalog: &dyn Catalog,
        base: &TableHandle,
        answer: Result<CatalogCommit>,
    ) -> Result<CatalogCommit> {
        let (why, error) = match answer {
            Ok(CatalogCommit::Done(table)) if self.is_in(&table) => return Ok(CatalogCommit::Done(table)),
            Ok(CatalogCommit::Done(_)) => {
                ("the catalog reported a commit that it does not show".into(), None)
            }
            Ok(CatalogCommit::Unknown { why }) => (why, None),
            Ok(conflict) => return Ok(conflict),
            // A link in between may have sent the request twice, and this is what the second sending was told.
            Err(error) => (error.to_string(), Some(error)),
        };
        let is_unmoved =
            |now: &TableHandle| now.table().metadata_location() == base.table().metadata_location();
        match (catalog.load(base.name()).await, error) {
            (Ok(Some(now)), _) if self.is_in(&now) => Ok(CatalogCommit::Done(Box::new(now))),
            (Ok(Some(now)), Some(error)) if is_unmoved(&now) => {
                remove_files(base, self.written.clone()).await;
                Err(error)
            }
            _ => Ok(CatalogCommit::Unknown { why }),
        }
    }

    /// Whether the table will never have it, after an answer that it lost a race: another snapshot has its sequence number, which no two
    /// have, or the table is not what it was built for. Until then a request that was repeated on its way may still win it; and that the
    /// head is another one proves nothing, for the newer one may be built on this.
    pub(crate) fn has_lost(&self, table: &TableHandle) -> bool {
        let metadata = table.metadata();
        let has_its_number = |snapshot: &SnapshotRef| snapshot.sequence_number() == self.sequence_number;
        let is_overtaken = metadata.snapshots().any(has_its_number);
        !self.is_in(table) && (is_overtaken || TableLayout::of(metadata) != self.layout)
    }
}

/// Writes the manifests of `changes` on top of the head of `table`.
pub(crate) async fn produce(
    table: &TableHandle,
    changes: &FileChanges<'_>,
    signature: Signature<'_>,
    now: Timestamp,
    ids: &dyn Ids,
    attempt: usize,
) -> Result<Produced> {
    let snapshot_id = unused_snapshot_id(table, ids);
    let prefix = Uuid::from_u128(ids.random()).to_string();
    let mut files = ManifestFiles::new(table, snapshot_id, prefix.clone());
    let (manifests, tally) = manifests_of(&mut files, table, changes).await?;
    let mut written = files.into_written();
    let list = format!(
        "{}/metadata/snap-{snapshot_id}-{attempt}-{prefix}.avro",
        table.metadata().location()
    );
    written.push(list.clone());
    let rows = write_list(table, &list, snapshot_id, manifests).await?;
    let mut properties = tally.summary(table.head().map(|head| head.summary()));
    if let Some((stamp, rows)) = signature {
        properties.extend(stamp.summary(rows)?);
    }
    let summary = Summary {
        operation: operation(changes, &tally),
        additional_properties: properties,
    };
    let snapshot = describe(table, snapshot_id, list, rows, summary, now);
    Ok(Produced {
        change: metadata_change(table, signature, snapshot)?,
        snapshot_id,
        sequence_number: table.metadata().next_sequence_number(),
        layout: TableLayout::of(table.metadata()),
        written,
    })
}

async fn manifests_of(
    files: &mut ManifestFiles<'_>,
    table: &TableHandle,
    changes: &FileChanges<'_>,
) -> Result<(Vec<ManifestFile>, Tally)> {
    let mut tally = Tally::default();
    let added = changes.data_files.iter().chain(changes.delete_files);
    added.for_each(|(_, file)| tally.add(file));
    let mut manifests = files
        .add(
            ManifestContentType::Data,
            changes.data_files,
            changes.sequence_number,
        )
        .await?;
    manifests.extend(
        files
            .add(ManifestContentType::Deletes, changes.delete_files, None)
            .await?,
    );
    let mut present = manifests::of_head(table).await?;
    if !changes.removed.is_none() {
        let mut kept = Vec::with_capacity(present.len());
        for manifest in present {
            let (manifest, removed) = files.without(manifest, |file| changes.removed.has(file)).await?;
            removed.iter().for_each(|file| tally.remove(file));
            kept.extend(manifest);
        }
        present = kept;
    }
    manifests.extend(files.merge(present, changes.merge_at).await?);
    Ok((manifests, tally))
}

/// Writes the manifest list. Which row ids the snapshot assigns, the first one and how many, if the format has row ids.
async fn write_list(
    table: &TableHandle,
    path: &str,
    snapshot_id: i64,
    manifests: Vec<ManifestFile>,
) -> Result<Option<(u64, u64)>> {
    let failed = |e| iceberg_error("cannot write a manifest list")(e);
    let output = table.table().file_io().new_output(path).map_err(failed)?;
    let writer = output.writer().await.map_err(failed)?;
    let metadata = table.metadata();
    let (parent, sequence) = (metadata.current_snapshot_id(), metadata.next_sequence_number());
    let first_row = (metadata.format_version() == FormatVersion::V3).then(|| metadata.next_row_id());
    let mut list = match first_row {
        Some(first) => ManifestListWriter::v3(writer, snapshot_id, parent, sequence, Some(first)),
        None => ManifestListWriter::v2(writer, snapshot_id, parent, sequence),
    };
    list.add_manifests(manifests.into_iter()).map_err(failed)?;
    let next_row = list.next_row_id();
    list.close().await.map_err(failed)?;
    Ok(first_row.zip(next_row).map(|(first, next)| (first, next - first)))
}

fn describe(
    table: &TableHandle,
    snapshot_id: i64,
    list: String,
    rows: Option<(u64, u64)>,
    summary: Summary,
    now: Timestamp,
) -> Snapshot {
    let metadata = table.metadata();
    // Never before the parent, or before metadata that a faster clock wrote: readers travel by these times.
    let after_parent = table.head().map_or(i64::MIN, |head| head.timestamp_ms() + 1);
    let timestamp = now.0.max(after_parent).max(metadata.last_updated_ms());
    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(timestamp)
        .with_manifest_list(list)
        .with_summary(summary)
        .with_schema_id(metadata.current_schema_id());
    match rows {
        Some((first, count)) => snapshot.with_row_range(first, count).build(),
        None => snapshot.build(),
    }
}

fn operation(changes: &FileChanges<'_>, tally: &Tally) -> Operation {
    if changes.is_rewrite {
        return Operation::Replace;
    }
    let removes = tally.removes() || !changes.delete_files.is_empty();
    match (changes.data_files.is_empty(), removes) {
        (_, false) => Operation::Append,
        (true, true) => Operation::Delete,
        (false, true) => Operation::Overwrite,
    }
}

fn metadata_change(
    table: &TableHandle,
    signature: Signature<'_>,
    snapshot: Snapshot,
) -> Result<MetadataChange> {
    let failed = |e| iceberg_error("cannot add a snapshot to the table's metadata")(e);
    let metadata = table.metadata();
    let state = signature
        .map(|(stamp, _)| stamp.property(&snapshot))
        .transpose()?;
    // The builder keeps the branch's retention, which has no getter.
    let built = metadata
        .clone()
        .into_builder(None)
        .set_branch_snapshot(snapshot, MAIN_BRANCH)
        .and_then(|builder| builder.set_properties(HashMap::from_iter(state)))
        .and_then(|builder| builder.build())
        .map_err(failed)?;
    let requirements = vec![
        TableRequirement::UuidMatch {
            uuid: metadata.uuid(),
        },
        TableRequirement::RefSnapshotIdMatch {
            r#ref: MAIN_BRANCH.to_owned(),
            snapshot_id: metadata.current_snapshot_id(),
        },
        TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: metadata.current_schema_id(),
        },
        TableRequirement::DefaultSpecIdMatch {
            default_spec_id: metadata.default_partition_spec_id(),
        },
    ];
    if built.changes.is_empty() {
        return Err(Error::internal(
            "a new snapshot changed nothing in the table's metadata",
        ));
    }
    Ok(MetadataChange {
        requirements,
        updates: built.changes,
    })
}

fn unused_snapshot_id(table: &TableHandle, ids: &dyn Ids) -> i64 {
    loop {
        let random = ids.random();
        let id = ((random >> 64) as i64 ^ random as i64) & i64::MAX;
        if id != 0 && table.metadata().snapshot_by_id(id).is_none() {
            return id;
        }
    }
}
