//! Reading, writing and merging manifests.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{
    DataFile, FormatVersion, ManifestContentType, ManifestFile, ManifestWriter, ManifestWriterBuilder,
    SnapshotRef,
};
use model::{Error, Result};

use crate::catalog::TableHandle;
use crate::error::iceberg_error;
use crate::manifest_entries::{Entry, live_entries, schema_to_write, spec_by_id};

/// So many small manifests of one kind are merged. Looking rows up reads them all, so they are kept few.
pub(crate) const MERGE_AT: usize = 20;
/// A manifest of this size is left alone, and merging aims at it.
const TARGET_BYTES: i64 = 8 << 20;
/// Files inherit their sequence number from the manifest.
const INHERITED: i64 = -1;

/// What tells one file of a table from all others: its path, and for a deletion vector where in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FileKey {
    path: String,
    offset: Option<i64>,
}

impl FileKey {
    pub(crate) fn new(path: &str, offset: Option<i64>) -> Self {
        Self {
            path: path.to_owned(),
            offset,
        }
    }

    pub(crate) fn of(file: &DataFile) -> Self {
        Self::new(file.file_path(), file.content_offset())
    }
}

/// Writes the manifests of one snapshot.
pub(crate) struct ManifestFiles<'a> {
    table: &'a TableHandle,
    snapshot_id: i64,
    prefix: String,
    written: Vec<String>,
}

impl<'a> ManifestFiles<'a> {
    /// `prefix` is a name that no other commit uses.
    pub(crate) fn new(table: &'a TableHandle, snapshot_id: i64, prefix: String) -> Self {
        Self {
            table,
            snapshot_id,
            prefix,
            written: Vec::new(),
        }
    }

    /// The files that were written so far.
    pub(crate) fn into_written(self) -> Vec<String> {
        self.written
    }

    /// Manifests that add files, each with its partition spec: one for each spec. Without `sequence_number` they get the snapshot's.
    pub(crate) async fn add(
        &mut self,
        content: ManifestContentType,
        files: &[(i32, DataFile)],
        sequence_number: Option<i64>,
    ) -> Result<Vec<ManifestFile>> {
        let mut by_spec: BTreeMap<i32, Vec<&DataFile>> = BTreeMap::new();
        for (spec_id, file) in files {
            by_spec.entry(*spec_id).or_default().push(file);
        }
        let mut manifests = Vec::with_capacity(by_spec.len());
        for (spec_id, files) in by_spec {
            let mut writer = self.writer(content, spec_id).await?;
            for file in files {
                writer
                    .add_file(file.clone(), sequence_number.unwrap_or(INHERITED))
                    .map_err(writing)?;
            }
            manifests.push(finish(writer).await?);
        }
        Ok(manifests)
    }

    /// `manifest` without the files that are `gone`, which a manifest in its place tells of once; and these files.
    pub(crate) async fn without(
        &mut self,
        manifest: ManifestFile,
        gone: impl Fn(&DataFile) -> bool,
    ) -> Result<(Option<ManifestFile>, Vec<DataFile>)> {
        let live = live_entries(self.table, &manifest).await?;
        let (removed, kept): (Vec<_>, Vec<_>) = live.iter().partition(|entry| gone(&entry.file));
        if removed.is_empty() {
            return Ok((Some(manifest).filter(|_| !kept.is_empty()), Vec::new()));
        }
        let mut writer = self.writer(manifest.content, manifest.partition_spec_id).await?;
        for entry in kept {
            keep(&mut writer, entry)?;
        }
        let mut files = Vec::with_capacity(removed.len());
        for entry in removed {
            let file = DataFile::clone(&entry.file);
            files.push(file.clone());
            writer
                .add_delete_file(file, entry.sequence_number, Some(entry.file_sequence_number))
                .map_err(writing)?;
        }
        Ok((Some(finish(writer).await?), files))
    }

    /// Merges small manifests of one content and partition spec where there are at least so many of them.
    pub(crate) async fn merge(
        &mut self,
        manifests: Vec<ManifestFile>,
        at_least: usize,
    ) -> Result<Vec<ManifestFile>> {
        let mut kept = Vec::new();
        let mut small: BTreeMap<(i32, i32), Vec<ManifestFile>> = BTreeMap::new();
        for manifest in manifests {
            // What a manifest of this snapshot removes is told once, and would be lost.
            let is_new = manifest.added_snapshot_id == self.snapshot_id;
            match mergeable_kind(&manifest).filter(|_| !is_new) {
                Some(kind) => small.entry(kind).or_default().push(manifest),
                None => kept.push(manifest),
            }
        }
        for group in small.into_values() {
            if group.len() < at_least {
                kept.extend(group);
                continue;
            }
            for bin in bins(group) {
                kept.extend(self.merge_bin(bin).await?);
            }
        }
        Ok(kept)
    }

    async fn merge_bin(&mut self, bin: Vec<ManifestFile>) -> Result<Option<ManifestFile>> {
        let Some(first) = bin.first() else {
            return Ok(None);
        };
        let mut writer = self.writer(first.content, first.partition_spec_id).await?;
        let mut any = false;
        for manifest in &bin {
            for entry in live_entries(self.table, manifest).await?.iter() {
                keep(&mut writer, entry)?;
                any = true;
            }
        }
        if any {
            finish(writer).await.map(Some)
        } else {
            Ok(None)
        }
    }

    async fn writer(&mut self, content: ManifestContentType, spec_id: i32) -> Result<ManifestWriter> {
        let metadata = self.table.metadata();
        let spec = spec_by_id(metadata, spec_id)?;
        let path = format!(
            "{}/metadata/{}-m{}.avro",
            metadata.location(),
            self.prefix,
            self.written.len()
        );
        let schema = schema_to_write(self.table, spec).await?;
        let output = self.table.table().file_io().new_output(&path).map_err(writing)?;
        self.written.push(path);
        let builder = ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec.clone());
        Ok(match (content, metadata.format_version()) {
            (ManifestContentType::Data, FormatVersion::V3) => builder.build_v3_data(),
            (ManifestContentType::Deletes, FormatVersion::V3) => builder.build_v3_deletes(),
            (ManifestContentType::Data, _) => builder.build_v2_data(),
            (ManifestContentType::Deletes, _) => builder.build_v2_deletes(),
        })
    }
}

/// Whether two or more of these manifests are small and of one kind.
pub(crate) fn can_merge(manifests: &[ManifestFile]) -> bool {
    let mut kinds = HashSet::new();
    manifests
        .iter()
        .filter_map(mergeable_kind)
        .any(|kind| !kinds.insert(kind))
}

/// Manifests of the same kind can be merged: content and partition spec. `None` for one that is large enough.
fn mergeable_kind(manifest: &ManifestFile) -> Option<(i32, i32)> {
    let kind = (manifest.content as i32, manifest.partition_spec_id);
    Some(kind).filter(|_| manifest.manifest_length < TARGET_BYTES / 2)
}

/// The manifests of the head that have live files.
pub(crate) async fn of_head(table: &TableHandle) -> Result<Vec<ManifestFile>> {
    match table.head() {
        Some(head) => of(table, head).await,
        None => Ok(Vec::new()),
    }
}

/// The manifests of a snapshot that have live files.
pub(crate) async fn of(table: &TableHandle, snapshot: &SnapshotRef) -> Result<Vec<ManifestFile>> {
    let reading = |e| iceberg_error("cannot read a manifest list")(e).with("file", snapshot.manifest_list());
    let list = table
        .table()
        .manifest_list_reader(snapshot)
        .load()
        .await
        .map_err(reading)?;
    let has_live = |m: &ManifestFile| m.added_files_count != Some(0) || m.existing_files_count != Some(0);
    Ok(list.consume_entries().into_iter().filter(has_live).collect())
}

/// Removes files that no metadata refers to. Failures are logged only: an orphan harms nobody.
pub async fn remove_files(table: &TableHandle, files: Vec<String>) {
    for file in files {
        if let Err(error) = table.table().file_io().delete(&file).await {
            tracing::warn!(%error, file, "a file that was not committed is left behind");
        }
    }
}

fn keep(writer: &mut ManifestWriter, entry: &Entry) -> Result<()> {
    writer
        .add_existing_file(
            DataFile::clone(&entry.file),
            entry.snapshot_id,
            entry.sequence_number,
            Some(entry.file_sequence_number),
        )
        .map_err(writing)
}

async fn finish(writer: ManifestWriter) -> Result<ManifestFile> {
    writer.write_manifest_file().await.map_err(writing)
}

/// Splits manifests into runs of about the target size.
fn bins(manifests: Vec<ManifestFile>) -> Vec<Vec<ManifestFile>> {
    let mut bins: Vec<Vec<ManifestFile>> = Vec::new();
    let mut room = 0;
    for manifest in manifests {
        match bins.last_mut() {
            Some(bin) if manifest.manifest_length <= room => {
                room -= manifest.manifest_length;
                bin.push(manifest);
            }
            _ => {
                room = TARGET_BYTES - manifest.manifest_length;
                bins.push(vec![manifest]);
            }
        }
    }
    bins
}

fn writing(error: iceberg::Error) -> Error {
    iceberg_error("cannot write a manifest")(error)
}
