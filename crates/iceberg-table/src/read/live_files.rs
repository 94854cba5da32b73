//! The data files that a snapshot holds, each with the delete files that apply to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::metadata_columns::RESERVED_FIELD_ID_DELETE_FILE_PATH;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Datum, ManifestContentType, PrimitiveLiteral, SnapshotRef,
    Struct,
};
use model::{Error, ErrorKind, Result};

use crate::catalog::TableHandle;
use crate::manifest_entries::{Entry, live_entries};
use crate::manifests::{self, FileKey};

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
    /// Partition, size, row count, column bounds and, if the format has row ids, the first of them.
    pub data_file: Arc<DataFile>,
    /// The delete files that may delete rows of this file.
    pub deletes: Vec<Arc<DeleteFile>>,
}

impl LiveFile {
    /// Whether it is `other` in another snapshot, and the same rows are deleted by position: a file that was removed and added again is
    /// another one.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let place = |file: &Self| (file.sequence_number, file.data_file.first_row_id());
        self.path == other.path && place(self) == place(other) && self.has_same_position_deletes(other)
    }

    fn has_same_position_deletes(&self, other: &Self) -> bool {
        let by_position = |file: &Self| {
            let deletes = file.deletes.iter();
            let by_position = deletes.filter(|delete| !matches!(delete.form, DeleteForm::Equality { .. }));
            by_position.map(|delete| delete.key()).collect::<HashSet<_>>()
        };
        by_position(self) == by_position(other)
    }
}

/// A delete file of a snapshot, or one vector of such a file.
#[derive(Debug, PartialEq, Eq)]
pub struct DeleteFile {
    /// Its path.
    pub path: Arc<str>,
    /// The size of the file in bytes.
    pub size: u64,
    /// How many rows it deletes, or how many keys it holds.
    pub record_count: u64,
    /// Its data sequence number: it applies to files that are not younger, or, if it holds keys, to older ones.
    pub sequence_number: i64,
    pub(super) form: DeleteForm,
    spec_id: i32,
    partition: Struct,
}

/// How a delete file says which rows it deletes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DeleteForm {
    /// By path and position.
    Positions {
        /// The least and greatest path of a file that it speaks of, if known.
        paths: Option<(String, String)>,
    },
    /// By position in one data file.
    Vector {
        data_file: String,
        /// Where it is in the Puffin file.
        offset: u64,
        length: u64,
    },
    /// By the values of these columns.
    Equality { field_ids: Vec<i32> },
}

impl DeleteFile {
    /// A delete file as a manifest tells of it.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a deletion vector lacks its place or its data file.
    pub(crate) fn new(spec_id: i32, sequence_number: i64, file: &DataFile) -> Result<Self> {
        Ok(Self {
            path: file.file_path().into(),
            size: file.file_size_in_bytes(),
            record_count: file.record_count(),
            sequence_number,
            form: DeleteForm::of(file)?,
            spec_id,
            partition: file.partition().clone(),
        })
    }

    /// Whether it deletes rows of one data file and no other, by position.
    pub fn is_of_one_file(&self) -> bool {
        match &self.form {
            DeleteForm::Positions { paths } => {
                paths.as_ref().is_some_and(|(least, greatest)| least == greatest)
            }
            DeleteForm::Vector { .. } => true,
            DeleteForm::Equality { .. } => false,
        }
    }

    /// Where in its file it starts, if it is a vector.
    pub fn offset(&self) -> Option<u64> {
        match &self.form {
            DeleteForm::Vector { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    pub(crate) fn key(&self) -> FileKey {
        FileKey::new(&self.path, self.offset().map(|offset| offset as i64))
    }

    /// Whether it can delete rows of `file`, spec and partition left aside.
    fn may_apply_to(&self, file: &LiveFile) -> bool {
        let path = file.path.as_ref();
        match &self.form {
            DeleteForm::Positions { paths } => {
                self.sequence_number >= file.sequence_number
                    && paths
                        .as_ref()
                        .is_none_or(|(least, greatest)| least.as_str() <= path && path <= greatest.as_str())
            }
            DeleteForm::Vector { data_file, .. } => {
                self.sequence_number >= file.sequence_number && data_file == path
            }
            DeleteForm::Equality { .. } => self.sequence_number > file.sequence_number,
        }
    }
}

impl DeleteForm {
    fn of(file: &DataFile) -> Result<Self> {
        let path =
            |bounds: &HashMap<i32, Datum>| match bounds.get(&RESERVED_FIELD_ID_DELETE_FILE_PATH)?.literal() {
                PrimitiveLiteral::String(path) => Some(path.clone()),
                _ => None,
            };
        let referenced = file.referenced_data_file();
        if file.content_type() == DataContentType::EqualityDeletes {
            return Ok(Self::Equality {
                field_ids: file.equality_ids().unwrap_or_default(),
            });
        }
        if file.file_format() != DataFileFormat::Puffin {
            let one = referenced.map(|path| (path.clone(), path));
            return Ok(Self::Positions {
                paths: one.or_else(|| path(file.lower_bounds()).zip(path(file.upper_bounds()))),
            });
        }
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        match (
            referenced,
            number(file.content_offset()),
            number(file.content_size_in_bytes()),
        ) {
            (Some(data_file), Some(offset), Some(length)) => Ok(Self::Vector {
                data_file,
                offset,
                length,
            }),
            _ => Err(Error::new(
                ErrorKind::Corrupt,
                "a deletion vector does not say where it is, or whose rows it deletes",
            )
            .with("file", file.file_path())),
        }
    }
}

/// The live data files of `snapshot` with their deletes, in the order of the manifests.
///
/// # Errors
///
/// `Unsupported` if the snapshot has encrypted files or files that are not Parquet; otherwise as the storage says.
///
/// # Cancel safety
///
/// Dropping the future gives up the reads.
pub async fn live_files(table: &TableHandle, snapshot: &SnapshotRef) -> Result<Vec<Arc<LiveFile>>> {
    let manifests: Vec<Arc<[Entry]>> = stream::iter(manifests::of(table, snapshot).await?)
        .map(|manifest| async move { live_entries(table, &manifest).await })
        .buffered(MANIFESTS_AT_ONCE)
        .try_collect()
        .await?;

    let mut files = Vec::new();
    let mut deletes = DeletesByScope::default();
    for entry in manifests.iter().flat_map(|entries| entries.iter()) {
        let file = &entry.file;
        refuse_unreadable(file)?;
        if file.content_type() == DataContentType::Data {
            files.push(LiveFile {
                path: file.file_path().into(),
                spec_id: entry.spec_id,
                sequence_number: entry.sequence_number,
                data_file: file.clone(),
                deletes: Vec::new(),
            });
        } else {
            let spec = table.metadata().partition_spec_by_id(entry.spec_id);
            let is_global = spec.is_some_and(|spec| spec.is_unpartitioned());
            deletes.add(
                DeleteFile::new(entry.spec_id, entry.sequence_number, file)?,
                is_global,
            );
        }
    }
    let with_deletes = files.into_iter().map(|file| {
        let deletes = deletes.of(&file);
        Arc::new(LiveFile { deletes, ..file })
    });
    Ok(with_deletes.collect())
}

/// Whether a snapshot has deletes by value that are younger than this sequence number.
///
/// # Errors
///
/// As the storage says.
pub(crate) async fn has_equality_deletes_since(
    table: &TableHandle,
    snapshot: &SnapshotRef,
    sequence_number: i64,
) -> Result<bool> {
    let manifests = manifests::of(table, snapshot).await?;
    let of_deletes = manifests
        .iter()
        .filter(|manifest| manifest.content == ManifestContentType::Deletes);
    for manifest in of_deletes {
        let entries = live_entries(table, manifest).await?;
        let is_younger = |entry: &Entry| {
            entry.file.content_type() == DataContentType::EqualityDeletes
                && entry.sequence_number > sequence_number
        };
        if entries.iter().any(is_younger) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn refuse_unreadable(file: &DataFile) -> Result<()> {
    let what = match (file.content_type(), file.file_format()) {
        _ if file.key_metadata().is_some() => "encrypted files",
        (DataContentType::PositionDeletes, DataFileFormat::Puffin) => return Ok(()),
        (_, DataFileFormat::Avro) => "Avro files",
        (_, DataFileFormat::Orc) => "ORC files",
        (_, DataFileFormat::Puffin) => "Puffin data files",
        (_, DataFileFormat::Parquet) => return Ok(()),
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the table has {what}, which this program cannot read"),
    )
    .with("file", file.file_path())
    .hint("rewrite the table's files as Parquet with the engine that wrote them, then run again"))
}

/// Delete files by what they can apply to: one data file, a partition, or (equality deletes of an unpartitioned spec) everything.
#[derive(Default)]
struct DeletesByScope {
    by_path: HashMap<String, Vec<Arc<DeleteFile>>>,
    by_partition: HashMap<(i32, Struct), Vec<Arc<DeleteFile>>>,
    global: Vec<Arc<DeleteFile>>,
}

impl DeletesByScope {
    fn add(&mut self, delete: DeleteFile, spec_is_unpartitioned: bool) {
        let delete = Arc::new(delete);
        match &delete.form {
            DeleteForm::Positions {
                paths: Some((least, greatest)),
            } if least == greatest => {
                self.by_path.entry(least.clone()).or_default().push(delete);
            }
            DeleteForm::Vector { data_file, .. } => {
                self.by_path.entry(data_file.clone()).or_default().push(delete);
            }
            DeleteForm::Equality { .. } if spec_is_unpartitioned => self.global.push(delete),
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
        let mut deletes: Vec<_> = by_path
            .chain(by_partition)
            .filter(|delete| {
                delete.spec_id == file.spec_id && &delete.partition == file.data_file.partition()
            })
            .chain(&self.global)
            .filter(|delete| delete.may_apply_to(file))
            .cloned()
            .collect();
        // A vector stands for all positions that were deleted before it.
        if deletes
            .iter()
            .any(|delete| matches!(delete.form, DeleteForm::Vector { .. }))
        {
            deletes.retain(|delete| !matches!(delete.form, DeleteForm::Positions { .. }));
        }
        deletes
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
            data_file: Arc::new(entry(DataContentType::Data, "data/m.parquet", 1).build().unwrap()),
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
            let file = file.build().unwrap();
            deletes.add(DeleteFile::new(spec_id, sequence_number, &file).unwrap(), false);
            let found = deletes.of(&data_file(5));
            assert_eq!(
                found.len(),
                usize::from(applies),
                "{spec_id} {partition} {sequence_number} {paths:?}"
            );
        }
    }

    #[test]
    fn an_equality_delete_applies_to_older_files_of_its_partition_or_everywhere() {
        for (spec_id, partition, sequence_number, is_global, applies) in [
            (0, 1, 6, false, true),
            (0, 1, 5, false, false),
            (0, 2, 6, false, false),
            (1, 1, 6, false, false),
            (1, 2, 6, true, true),
            (1, 2, 5, true, false),
        ] {
            let file = entry(DataContentType::EqualityDeletes, "deletes/d.parquet", partition);
            let mut deletes = DeletesByScope::default();
            let file = DeleteFile::new(spec_id, sequence_number, &file.clone().build().unwrap());
            deletes.add(file.unwrap(), is_global);
            assert_eq!(
                deletes.of(&data_file(5)).len(),
                usize::from(applies),
                "{spec_id} {partition} {sequence_number} {is_global}"
            );
        }
    }

    #[test]
    fn a_vector_stands_for_the_position_deletes_before_it() {
        let mut deletes = DeletesByScope::default();
        let positions = entry(DataContentType::PositionDeletes, "deletes/d.parquet", 1);
        let positions = DeleteFile::new(0, 6, &positions.build().unwrap()).unwrap();
        deletes.add(positions, false);
        let mut vector = entry(DataContentType::PositionDeletes, "deletes/d.puffin", 1);
        vector.file_format(DataFileFormat::Puffin);
        let placeless = DeleteFile::new(0, 7, &vector.build().unwrap()).unwrap_err();
        assert_eq!(placeless.kind(), ErrorKind::Corrupt);
        vector
            .referenced_data_file(Some("data/m.parquet".into()))
            .content_offset(Some(4))
            .content_size_in_bytes(Some(50));
        deletes.add(DeleteFile::new(0, 7, &vector.build().unwrap()).unwrap(), false);
        let found = deletes.of(&data_file(5));
        let paths: Vec<_> = found.iter().map(|delete| delete.path.as_ref()).collect();
        assert_eq!(paths, ["deletes/d.puffin"]);
    }
}
