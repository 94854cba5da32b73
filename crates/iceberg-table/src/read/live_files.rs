//! The data files that a snapshot holds, each with the delete files that apply to it.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::metadata_columns::RESERVED_FIELD_ID_DELETE_FILE_PATH;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Datum, Manifest, ManifestFile, PrimitiveLiteral, SnapshotRef,
    Struct,
};
use iceberg::table::Table;
use model::{Error, ErrorKind, Result};

use crate::error::iceberg_error;

/// Manifests that are fetched at the same time.
const MANIFESTS_AT_ONCE: usize = 8;

/// A data file of a snapshot.
#[derive(Debug, Clone)]
pub struct LiveFile {
    /// Its path, byte for byte as in the manifest.
    pub path: Arc<str>,
    /// The partition spec that it was written under.
    pub spec_id: i32,
    /// Its data sequence number.
    pub sequence_number: i64,
    /// Partition, size, row count and column bounds.
    pub data_file: DataFile,
    /// The position delete files that may hold positions of this file.
    pub deletes: Vec<Arc<DeleteFile>>,
}

/// A position delete file of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct DeleteFile {
    /// Its path.
    pub path: Arc<str>,
    /// Its size in bytes.
    pub size: u64,
    /// How many positions it holds.
    pub record_count: u64,
    /// Its data sequence number: it applies to files that are not younger.
    pub sequence_number: i64,
    spec_id: i32,
    partition: Struct,
    /// The least and greatest path of a file that it speaks of, if known.
    paths: Option<(String, String)>,
}

impl DeleteFile {
    /// A position delete file as a manifest tells of it.
    pub(crate) fn new(spec_id: i32, sequence_number: i64, file: &DataFile) -> Self {
        let bound =
            |bounds: &HashMap<i32, Datum>| match bounds.get(&RESERVED_FIELD_ID_DELETE_FILE_PATH)?.literal() {
                PrimitiveLiteral::String(path) => Some(path.clone()),
                _ => None,
            };
        let paths = match file.referenced_data_file() {
            Some(path) => Some((path.clone(), path)),
            None => bound(file.lower_bounds()).zip(bound(file.upper_bounds())),
        };
        Self {
            path: file.file_path().into(),
            size: file.file_size_in_bytes(),
            record_count: file.record_count(),
            sequence_number,
            spec_id,
            partition: file.partition().clone(),
            paths,
        }
    }

    /// Whether it may hold positions of the file at `path`. Sequence number, spec and partition are not looked at.
    fn may_speak_of(&self, path: &str) -> bool {
        self.paths
            .as_ref()
            .is_none_or(|(least, greatest)| least.as_str() <= path && path <= greatest.as_str())
    }
}

/// The live data files of `snapshot` with their position deletes, in the order of the manifests.
///
/// # Errors
///
/// `Unsupported` if the snapshot has equality deletes, deletion vectors, encrypted files or files that are not Parquet; otherwise as
/// the storage says.
///
/// # Cancel safety
///
/// Dropping the future gives up the reads.
pub async fn live_files(table: &Table, snapshot: &SnapshotRef) -> Result<Vec<Arc<LiveFile>>> {
    let list = table
        .manifest_list_reader(snapshot)
        .load()
        .await
        .map_err(|error| {
            iceberg_error("cannot read a manifest list")(error).with("file", snapshot.manifest_list())
        })?;
    let live: Vec<ManifestFile> = list
        .consume_entries()
        .into_iter()
        .filter(|manifest| manifest.added_files_count != Some(0) || manifest.existing_files_count != Some(0))
        .collect();
    let manifests: Vec<(i32, Manifest)> = stream::iter(live)
        .map(|manifest| load(table, manifest))
        .buffered(MANIFESTS_AT_ONCE)
        .try_collect()
        .await?;

    let mut files = Vec::new();
    let mut deletes = DeletesByScope::default();
    for (spec_id, manifest) in manifests {
        for entry in manifest.entries().iter().filter(|entry| entry.is_alive()) {
            let file = entry.data_file();
            let sequence_number = entry.sequence_number().unwrap_or(0);
            refuse_unreadable(file)?;
            match file.content_type() {
                DataContentType::Data => files.push(LiveFile {
                    path: file.file_path().into(),
                    spec_id,
                    sequence_number,
                    data_file: file.clone(),
                    deletes: Vec::new(),
                }),
                _ => deletes.add(DeleteFile::new(spec_id, sequence_number, file)),
            }
        }
    }
    let with_deletes = files.into_iter().map(|file| {
        let deletes = deletes.of(&file);
        Arc::new(LiveFile { deletes, ..file })
    });
    Ok(with_deletes.collect())
}

async fn load(table: &Table, manifest: ManifestFile) -> Result<(i32, Manifest)> {
    let loaded = manifest.load_manifest(table.file_io()).await.map_err(|error| {
        iceberg_error("cannot read a manifest")(error).with("file", &manifest.manifest_path)
    })?;
    Ok((manifest.partition_spec_id, loaded))
}

fn refuse_unreadable(file: &DataFile) -> Result<()> {
    let what = match (file.content_type(), file.file_format()) {
        (DataContentType::EqualityDeletes, _) => "equality deletes",
        (DataContentType::PositionDeletes, DataFileFormat::Puffin) => "deletion vectors",
        _ if file.key_metadata().is_some() => "encrypted files",
        (_, DataFileFormat::Avro) => "Avro files",
        (_, DataFileFormat::Orc) => "ORC files",
        (_, DataFileFormat::Puffin) => "Puffin data files",
        (_, DataFileFormat::Parquet) => return Ok(()),
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the table has {what}, which this program cannot read yet"),
    )
    .with("file", file.file_path())
    .hint(
        "rewrite the table with the engine that wrote it (compaction removes delete files), then run again",
    ))
}

/// Delete files by what they can apply to: one data file, or a partition.
#[derive(Default)]
struct DeletesByScope {
    by_path: HashMap<String, Vec<Arc<DeleteFile>>>,
    by_partition: HashMap<(i32, Struct), Vec<Arc<DeleteFile>>>,
}

impl DeletesByScope {
    fn add(&mut self, delete: DeleteFile) {
        let delete = Arc::new(delete);
        match &delete.paths {
            Some((least, greatest)) if least == greatest => {
                self.by_path.entry(least.clone()).or_default().push(delete);
            }
            _ => {
                let scope = (delete.spec_id, delete.partition.clone());
                self.by_partition.entry(scope).or_default().push(delete);
            }
        }
    }

    fn of(&self, file: &LiveFile) -> Vec<Arc<DeleteFile>> {
        let scope = (file.spec_id, file.data_file.partition().clone());
        let by_path = self.by_path.get(file.path.as_ref()).into_iter().flatten();
        let by_partition = self.by_partition.get(&scope).into_iter().flatten();
        by_path
            .chain(by_partition)
            .filter(|delete| {
                delete.spec_id == file.spec_id && &delete.partition == file.data_file.partition()
            })
            .filter(|delete| {
                delete.sequence_number >= file.sequence_number && delete.may_speak_of(&file.path)
            })
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{DataFileBuilder, Literal};

    use super::*;

    fn entry(content: DataContentType, path: &str, partition: i32) -> DataFileBuilder {
        let mut file = DataFileBuilder::default();
        file.content(content)
            .file_path(path.into())
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::from_iter([Some(Literal::int(partition))]))
            .record_count(1)
            .file_size_in_bytes(1);
        file
    }

    fn data_file(sequence_number: i64) -> LiveFile {
        LiveFile {
            path: "data/m.parquet".into(),
            spec_id: 0,
            sequence_number,
            data_file: entry(DataContentType::Data, "data/m.parquet", 1).build().unwrap(),
            deletes: Vec::new(),
        }
    }

    #[test]
    fn a_delete_file_applies_to_its_partition_and_to_files_that_are_not_younger() {
        let bounds = |path: &str| HashMap::from([(RESERVED_FIELD_ID_DELETE_FILE_PATH, Datum::string(path))]);
        for (spec_id, partition, sequence_number, paths, applies) in [
            (0, 1, 5, None, true),
            (0, 1, 6, None, true),
            (0, 1, 4, None, false),
            (0, 2, 6, None, false),
            (1, 1, 6, None, false),
            (0, 1, 6, Some(("data/a", "data/z")), true),
            (0, 1, 6, Some(("data/a", "data/b")), false),
            (0, 1, 6, Some(("data/m.parquet", "data/m.parquet")), true),
            (0, 2, 6, Some(("data/m.parquet", "data/m.parquet")), false),
            (0, 1, 4, Some(("data/m.parquet", "data/m.parquet")), false),
        ] {
            let mut file = entry(DataContentType::PositionDeletes, "deletes/d.parquet", partition);
            if let Some((least, greatest)) = paths {
                file.lower_bounds(bounds(least)).upper_bounds(bounds(greatest));
            }
            let mut deletes = DeletesByScope::default();
            deletes.add(DeleteFile::new(spec_id, sequence_number, &file.build().unwrap()));
            let found = deletes.of(&data_file(5));
            assert_eq!(
                found.len(),
                usize::from(applies),
                "{spec_id} {partition} {sequence_number} {paths:?}"
            );
        }
    }
}
