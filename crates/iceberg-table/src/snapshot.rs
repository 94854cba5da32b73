//! From a commit and the head to a new snapshot: its manifests, manifest list, summary and metadata updates.

use iceberg::TableRequirement;
use iceberg::spec::{
    MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestListWriter, Operation, Snapshot, Summary,
};
use model::{Error, Ids, Replace, Result, Timestamp};
use uuid::Uuid;

use crate::catalog::{MetadataChange, TableHandle};
use crate::commit::SnapshotCommit;
use crate::error::iceberg_error;
use crate::manifests::{self, ManifestFiles};
use crate::summary::Tally;

/// A snapshot that is written and not committed.
pub(crate) struct Produced {
    pub(crate) change: MetadataChange,
    pub(crate) snapshot_id: i64,
    /// The head that it was built on.
    pub(crate) parent: Option<i64>,
    /// The manifests and the manifest list.
    pub(crate) written: Vec<String>,
}

/// Writes the manifests of `commit` on top of the head of `table`.
pub(crate) async fn produce(
    table: &TableHandle,
    commit: &SnapshotCommit,
    now: Timestamp,
    ids: &dyn Ids,
    attempt: usize,
) -> Result<Produced> {
    let snapshot_id = unused_snapshot_id(table, ids);
    let prefix = Uuid::from_u128(ids.random()).to_string();
    let mut files = ManifestFiles::new(table, snapshot_id, prefix.clone());
    let (manifests, tally) = manifests_of(&mut files, table, commit).await?;
    let mut written = files.into_written();
    let list = format!(
        "{}/metadata/snap-{snapshot_id}-{attempt}-{prefix}.avro",
        table.metadata().location()
    );
    written.push(list.clone());
    write_list(table, &list, snapshot_id, manifests).await?;
    let snapshot = describe(table, commit, snapshot_id, list, &tally, now)?;
    Ok(Produced {
        change: metadata_change(table, commit, snapshot)?,
        snapshot_id,
        parent: table.metadata().current_snapshot_id(),
        written,
    })
}

async fn manifests_of(
    files: &mut ManifestFiles<'_>,
    table: &TableHandle,
    commit: &SnapshotCommit,
) -> Result<(Vec<ManifestFile>, Tally)> {
    let mut tally = Tally::default();
    let mut manifests = Vec::new();
    commit
        .data_files
        .iter()
        .chain(&commit.delete_files)
        .for_each(|file| tally.added.count(file));
    manifests.extend(files.add(ManifestContentType::Data, &commit.data_files).await?);
    manifests.extend(
        files
            .add(ManifestContentType::Deletes, &commit.delete_files)
            .await?,
    );
    let present = manifests::of_head(table).await?;
    match commit.replace {
        Replace::No => manifests.extend(files.merge(present).await?),
        Replace::Table => {
            for manifest in &present {
                let (removal, removed) = files.remove_all(manifest).await?;
                removed.iter().for_each(|file| tally.removed.count(file));
                manifests.extend(removal);
            }
        }
    }
    Ok((manifests, tally))
}

async fn write_list(
    table: &TableHandle,
    path: &str,
    snapshot_id: i64,
    manifests: Vec<ManifestFile>,
) -> Result<()> {
    let failed = |e| iceberg_error("cannot write a manifest list")(e);
    let output = table.table().file_io().new_output(path).map_err(failed)?;
    let writer = output.writer().await.map_err(failed)?;
    let metadata = table.metadata();
    let parent = metadata.current_snapshot_id();
    let mut list = ManifestListWriter::v2(writer, snapshot_id, parent, metadata.next_sequence_number());
    list.add_manifests(manifests.into_iter()).map_err(failed)?;
    list.close().await.map_err(failed)
}

fn describe(
    table: &TableHandle,
    commit: &SnapshotCommit,
    snapshot_id: i64,
    list: String,
    tally: &Tally,
    now: Timestamp,
) -> Result<Snapshot> {
    let metadata = table.metadata();
    let mut properties = tally.summary(table.head().map(|head| head.summary()));
    properties.extend(commit.stamp.summary(&commit.rows)?);
    // Never before the parent, or before metadata that a faster clock wrote: readers travel by these times.
    let after_parent = table.head().map_or(i64::MIN, |head| head.timestamp_ms() + 1);
    let timestamp = now.0.max(after_parent).max(metadata.last_updated_ms());
    Ok(Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(timestamp)
        .with_manifest_list(list)
        .with_summary(Summary {
            operation: operation(commit, tally),
            additional_properties: properties,
        })
        .with_schema_id(metadata.current_schema_id())
        .build())
}

fn operation(commit: &SnapshotCommit, tally: &Tally) -> Operation {
    let removes = tally.removed.any() || !commit.delete_files.is_empty();
    match (commit.data_files.is_empty(), removes) {
        (_, false) => Operation::Append,
        (true, true) => Operation::Delete,
        (false, true) => Operation::Overwrite,
    }
}

fn metadata_change(
    table: &TableHandle,
    commit: &SnapshotCommit,
    snapshot: Snapshot,
) -> Result<MetadataChange> {
    let failed = |e| iceberg_error("cannot add a snapshot to the table's metadata")(e);
    let metadata = table.metadata();
    let state = commit.stamp.property(&snapshot)?;
    // The builder keeps the branch's retention, which has no getter.
    let built = metadata
        .clone()
        .into_builder(None)
        .set_branch_snapshot(snapshot, MAIN_BRANCH)
        .and_then(|builder| builder.set_properties([state].into()))
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
