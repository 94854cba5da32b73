//! Reading, writing and merging manifests.

use std::collections::BTreeMap;

use iceberg::spec::{
    DataFile, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestWriter, ManifestWriterBuilder,
};
use model::{Error, ErrorKind, Result};

use crate::catalog::TableHandle;
use crate::error::iceberg_error;

/// So many small manifests of one kind are merged. Looking rows up reads them all, so they are kept few.
const MERGE_AT: usize = 20;
/// A manifest of this size is left alone, and merging aims at it.
const TARGET_BYTES: i64 = 8 << 20;
/// Files inherit their sequence number from the manifest.
const INHERITED: i64 = -1;

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

    /// A manifest that adds files; `None` without any.
    pub(crate) async fn add(
        &mut self,
        content: ManifestContentType,
        files: &[DataFile],
    ) -> Result<Option<ManifestFile>> {
        if files.is_empty() {
            return Ok(None);
        }
        let mut writer = self.writer(content, self.table.metadata().default_partition_spec_id())?;
        for file in files {
            writer.add_file(file.clone(), INHERITED).map_err(writing)?;
        }
        finish(writer).await.map(Some)
    }

    /// A manifest that removes every live file of `manifest`, with those files; `None` if none is live.
    pub(crate) async fn remove_all(
        &mut self,
        manifest: &ManifestFile,
    ) -> Result<(Option<ManifestFile>, Vec<DataFile>)> {
        let live = live_entries(self.table, manifest).await?;
        if live.is_empty() {
            return Ok((None, Vec::new()));
        }
        let mut writer = self.writer(manifest.content, manifest.partition_spec_id)?;
        for entry in &live {
            let sequence = sequence_number(entry)?;
            writer
                .add_delete_file(entry.data_file().clone(), sequence, entry.file_sequence_number)
                .map_err(writing)?;
        }
        let files = live.iter().map(|entry| entry.data_file().clone()).collect();
        Ok((Some(finish(writer).await?), files))
    }

    /// Merges small manifests of one content and partition spec where there are many of them.
    pub(crate) async fn merge(&mut self, manifests: Vec<ManifestFile>) -> Result<Vec<ManifestFile>> {
        let mut kept = Vec::new();
        let mut small: BTreeMap<(i32, i32), Vec<ManifestFile>> = BTreeMap::new();
        for manifest in manifests {
            if manifest.manifest_length >= TARGET_BYTES / 2 {
                kept.push(manifest);
            } else {
                small
                    .entry((manifest.content as i32, manifest.partition_spec_id))
                    .or_default()
                    .push(manifest);
            }
        }
        for group in small.into_values() {
            if group.len() < MERGE_AT {
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
        let mut writer = self.writer(first.content, first.partition_spec_id)?;
        let mut any = false;
        for manifest in &bin {
            for entry in live_entries(self.table, manifest).await? {
                let sequence = sequence_number(&entry)?;
                let added_by = entry.snapshot_id().unwrap_or(manifest.added_snapshot_id);
                let file = entry.data_file().clone();
                writer
                    .add_existing_file(file, added_by, sequence, entry.file_sequence_number)
                    .map_err(writing)?;
                any = true;
            }
        }
        if any {
            finish(writer).await.map(Some)
        } else {
            Ok(None)
        }
    }

    fn writer(&mut self, content: ManifestContentType, spec_id: i32) -> Result<ManifestWriter> {
        let metadata = self.table.metadata();
        let spec = metadata.partition_spec_by_id(spec_id).ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                format!("the table has no partition spec {spec_id}"),
            )
        })?;
        let path = format!(
            "{}/metadata/{}-m{}.avro",
            metadata.location(),
            self.prefix,
            self.written.len()
        );
        let output = self.table.table().file_io().new_output(&path).map_err(writing)?;
        self.written.push(path);
        let schema = self.table.iceberg_schema().clone();
        let builder =
            ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec.as_ref().clone());
        Ok(match content {
            ManifestContentType::Data => builder.build_v2_data(),
            ManifestContentType::Deletes => builder.build_v2_deletes(),
        })
    }
}

/// The manifests of the head that have live files.
pub(crate) async fn of_head(table: &TableHandle) -> Result<Vec<ManifestFile>> {
    let Some(head) = table.head() else {
        return Ok(Vec::new());
    };
    let list = table
        .table()
        .manifest_list_reader(head)
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

async fn live_entries(table: &TableHandle, manifest: &ManifestFile) -> Result<Vec<ManifestEntryRef>> {
    let manifest = manifest
        .load_manifest(table.table().file_io())
        .await
        .map_err(reading)?;
    let (entries, _) = manifest.into_parts();
    Ok(entries.into_iter().filter(|entry| entry.is_alive()).collect())
}

async fn finish(writer: ManifestWriter) -> Result<ManifestFile> {
    writer.write_manifest_file().await.map_err(writing)
}

fn sequence_number(entry: &ManifestEntryRef) -> Result<i64> {
    entry.sequence_number().ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "a manifest entry has no sequence number")
            .with("file", entry.file_path())
    })
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

fn reading(error: iceberg::Error) -> Error {
    iceberg_error("cannot read the table's manifests")(error)
}
