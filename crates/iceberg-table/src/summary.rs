//! The counts in a snapshot's summary, and the totals that follow from the parent's.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFile, DataFileFormat, Struct, Summary};

/// Files and rows of one kind of change.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct FileCounts {
    data_files: u64,
    position_delete_files: u64,
    equality_delete_files: u64,
    vectors: u64,
    records: u64,
    position_deletes: u64,
    equality_deletes: u64,
    bytes: u64,
}

impl FileCounts {
    pub(crate) fn count(&mut self, file: &DataFile) {
        let is_vector = file.file_format() == DataFileFormat::Puffin;
        let (files, rows) = match file.content_type() {
            DataContentType::Data => (&mut self.data_files, &mut self.records),
            DataContentType::PositionDeletes if is_vector => (&mut self.vectors, &mut self.position_deletes),
            DataContentType::PositionDeletes => (&mut self.position_delete_files, &mut self.position_deletes),
            DataContentType::EqualityDeletes => (&mut self.equality_delete_files, &mut self.equality_deletes),
        };
        *files += 1;
        *rows += file.record_count();
        // Vectors share a file, so each counts for its own part.
        let part = file.content_size_in_bytes().map(i64::unsigned_abs);
        self.bytes += part.unwrap_or(file.file_size_in_bytes());
    }
}

/// What a snapshot adds and removes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    added: FileCounts,
    removed: FileCounts,
    partitions: HashSet<Struct>,
}

impl Tally {
    pub(crate) fn add(&mut self, file: &DataFile) {
        self.added.count(file);
        self.partitions.insert(file.partition().clone());
    }

    pub(crate) fn remove(&mut self, file: &DataFile) {
        self.removed.count(file);
        self.partitions.insert(file.partition().clone());
    }

    /// Whether any file is removed.
    pub(crate) fn removes(&self) -> bool {
        self.removed != FileCounts::default()
    }

    /// The summary's entries. A total that the parent does not have, or that would turn negative, is left out, because
    /// nobody knows it; a first snapshot's parent has zero of everything.
    pub(crate) fn summary(&self, parent: Option<&Summary>) -> HashMap<String, String> {
        let mut entries = HashMap::new();
        for (names, added, removed) in self.rows() {
            for (name, count) in [(names.added, added), (names.removed, removed)] {
                if count > 0 && !name.is_empty() {
                    entries.insert(name.to_owned(), count.to_string());
                }
            }
            let before = match parent {
                None => Some(0),
                Some(parent) => parent
                    .additional_properties
                    .get(names.total)
                    .and_then(|total| total.parse::<u64>().ok()),
            };
            let total = before.and_then(|before| (before + added).checked_sub(removed));
            if let (Some(total), false) = (total, names.total.is_empty()) {
                entries.insert(names.total.to_owned(), total.to_string());
            }
        }
        entries.insert(
            "changed-partition-count".to_owned(),
            self.partitions.len().to_string(),
        );
        entries
    }

    fn rows(&self) -> [(Names, u64, u64); 9] {
        let (a, r) = (&self.added, &self.removed);
        let deletes = |counts: &FileCounts| {
            counts.position_delete_files + counts.equality_delete_files + counts.vectors
        };
        [
            (DATA_FILES, a.data_files, r.data_files),
            (RECORDS, a.records, r.records),
            (BYTES, a.bytes, r.bytes),
            (DELETE_FILES, deletes(a), deletes(r)),
            (
                POSITION_DELETE_FILES,
                a.position_delete_files,
                r.position_delete_files,
            ),
            (
                EQUALITY_DELETE_FILES,
                a.equality_delete_files,
                r.equality_delete_files,
            ),
            (VECTORS, a.vectors, r.vectors),
            (POSITION_DELETES, a.position_deletes, r.position_deletes),
            (EQUALITY_DELETES, a.equality_deletes, r.equality_deletes),
        ]
    }
}

/// The keys of one count; an empty one does not exist.
struct Names {
    added: &'static str,
    removed: &'static str,
    total: &'static str,
}

const DATA_FILES: Names = Names {
    added: "added-data-files",
    removed: "deleted-data-files",
    total: "total-data-files",
};
const RECORDS: Names = Names {
    added: "added-records",
    removed: "deleted-records",
    total: "total-records",
};
const BYTES: Names = Names {
    added: "added-files-size",
    removed: "removed-files-size",
    total: "total-files-size",
};
const DELETE_FILES: Names = Names {
    added: "added-delete-files",
    removed: "removed-delete-files",
    total: "total-delete-files",
};
const POSITION_DELETE_FILES: Names = Names {
    added: "added-position-delete-files",
    removed: "removed-position-delete-files",
    total: "",
};
const EQUALITY_DELETE_FILES: Names = Names {
    added: "added-equality-delete-files",
    removed: "removed-equality-delete-files",
    total: "",
};
const VECTORS: Names = Names {
    added: "added-dvs",
    removed: "removed-dvs",
    total: "",
};
const POSITION_DELETES: Names = Names {
    added: "added-position-deletes",
    removed: "removed-position-deletes",
    total: "total-position-deletes",
};
const EQUALITY_DELETES: Names = Names {
    added: "added-equality-deletes",
    removed: "removed-equality-deletes",
    total: "total-equality-deletes",
};

#[cfg(test)]
mod tests {
    use iceberg::spec::{DataFileBuilder, Operation};

    use super::*;

    fn file(content: DataContentType, rows: u64, bytes: u64) -> DataFile {
        let mut file = DataFileBuilder::default();
        file.content(content)
            .file_path("f".into())
            .file_format(DataFileFormat::Parquet);
        file.record_count(rows).file_size_in_bytes(bytes).build().unwrap()
    }

    fn tally(added: &[&DataFile], removed: &[&DataFile]) -> Tally {
        let mut tally = Tally::default();
        added.iter().for_each(|file| tally.add(file));
        removed.iter().for_each(|file| tally.remove(file));
        tally
    }

    fn parent(totals: HashMap<String, String>) -> Summary {
        Summary {
            operation: Operation::Append,
            additional_properties: totals,
        }
    }

    #[test]
    fn totals_go_on_from_the_parent() {
        let data = file(DataContentType::Data, 10, 1000);
        let deletes = file(DataContentType::PositionDeletes, 3, 100);
        let first = tally(&[&data, &data], &[]).summary(None);
        let second = tally(&[&deletes], &[&data]).summary(Some(&parent(first.clone())));
        let third = tally(&[], &[&data, &deletes]).summary(Some(&parent(second.clone())));
        let total = |summary: &HashMap<String, String>| {
            [
                "data-files",
                "records",
                "files-size",
                "delete-files",
                "position-deletes",
                "equality-deletes",
            ]
            .map(|name| summary[&format!("total-{name}")].clone())
        };
        assert_eq!(total(&first), ["2", "20", "2000", "0", "0", "0"]);
        assert_eq!(total(&second), ["1", "10", "1100", "1", "3", "0"]);
        assert_eq!(total(&third), ["0", "0", "0", "0", "0", "0"]);
        let said = |summary: &HashMap<String, String>, name: &str| {
            summary.get(name).map(String::as_str).map(str::to_owned)
        };
        assert_eq!(said(&second, "added-position-delete-files"), Some("1".into()));
        assert_eq!(said(&second, "deleted-records"), Some("10".into()));
        assert_eq!(said(&second, "added-records"), None);
        assert_eq!(said(&third, "removed-delete-files"), Some("1".into()));
    }

    #[test]
    fn an_unknown_or_impossible_total_is_left_out() {
        let data = file(DataContentType::Data, 10, 1000);
        let odd = parent(HashMap::from([
            ("total-records".into(), "5".into()),
            ("total-data-files".into(), "x".into()),
        ]));
        let summary = tally(&[], &[&data]).summary(Some(&odd));
        assert!(
            !summary.keys().any(|key| key.starts_with("total-")),
            "{summary:?}"
        );
    }
}
