//! What is staged, as a value that outlives the process: files with their descriptions, and the positions to delete.

use std::collections::{BTreeMap, BTreeSet};

use iceberg::spec::{DataFile, FormatVersion, deserialize_data_file_from_json, serialize_data_file_to_json};
use iceberg_table::{RowCounts, TableHandle, TableLayout, iceberg_error};
use model::{Error, ErrorKind, Result, Staged, TableName};
use serde::{Deserialize, Serialize};

/// The value in a [`Staged`] of ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StagedFiles {
    /// The table that the files were written for, by name
    pub(crate) table: TableName,
    /// and by what it was.
    pub(crate) layout: TableLayout,
    /// The head in which rows were looked for, if they were; `Some(None)` is a table without snapshots.
    pub(crate) located_at: Option<Located>,
    /// The new data files.
    pub(crate) data_files: Vec<StagedFile>,
    /// The rows to delete, by the path of their data file.
    pub(crate) deletes: BTreeMap<String, Positions>,
    /// What it amounts to.
    pub(crate) rows: RowCounts,
}

/// A head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Located {
    pub(crate) snapshot: Option<i64>,
}

/// A data file and its description for a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StagedFile {
    pub(crate) path: String,
    spec_id: i32,
    description: String,
}

/// Positions in one data file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Positions(#[serde(with = "runs")] pub(crate) BTreeSet<u64>);

impl StagedFiles {
    /// Nothing, for `table`.
    pub(crate) fn new(table: &TableHandle) -> Self {
        Self {
            table: table.name().clone(),
            layout: TableLayout::of(table.metadata()),
            located_at: None,
            data_files: Vec::new(),
            deletes: BTreeMap::new(),
            rows: RowCounts::default(),
        }
    }

    pub(crate) fn from_staged(staged: &Staged) -> Result<Self> {
        serde_json::from_value(staged.value.clone()).map_err(|e| {
            Error::new(
                ErrorKind::Corrupt,
                "what was staged for an Iceberg table cannot be read",
            )
            .caused_by(e)
        })
    }

    pub(crate) fn into_staged(self) -> Result<Staged> {
        let rows = self.rows.inserted + self.rows.updated + self.rows.deleted;
        let value = serde_json::to_value(self)
            .map_err(|e| Error::internal("what was staged cannot be written as JSON").caused_by(e))?;
        Ok(Staged { rows, value })
    }

    /// Adds what another one of the same table holds.
    pub(crate) fn merge(&mut self, other: Self) {
        self.data_files.extend(other.data_files);
        for (path, rows) in other.deletes {
            let deleted = self.deletes.entry(path).or_default();
            deleted.0.extend(rows.0);
        }
        self.rows += other.rows;
    }
}

impl StagedFile {
    pub(crate) fn new(table: &TableHandle, file: DataFile) -> Result<Self> {
        let metadata = table.metadata();
        let path = file.file_path().to_owned();
        let spec_id = metadata.default_partition_spec_id();
        let description =
            serialize_data_file_to_json(file, metadata.default_partition_type(), FormatVersion::V2)
                .map_err(iceberg_error("cannot describe a data file"))?;
        Ok(Self {
            path,
            spec_id,
            description,
        })
    }

    pub(crate) fn data_file(&self, table: &TableHandle) -> Result<DataFile> {
        let metadata = table.metadata();
        deserialize_data_file_from_json(
            &self.description,
            self.spec_id,
            metadata.default_partition_type(),
            table.iceberg_schema(),
        )
        .map_err(|e| {
            iceberg_error("cannot read the description of a staged file")(e).with("file", &self.path)
        })
    }
}

/// Positions as text, runs of them by their ends: `3-7,9`. A list of numbers in JSON would take many times the memory.
mod runs {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        positions: &BTreeSet<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        let mut positions = positions.iter().copied().peekable();
        while let Some(first) = positions.next() {
            let mut last = first;
            while let Some(next) = positions.next_if(|next| *next == last + 1) {
                last = next;
            }
            let comma = if text.is_empty() { "" } else { "," };
            let written = if first == last {
                write!(text, "{comma}{first}")
            } else {
                write!(text, "{comma}{first}-{last}")
            };
            written.map_err(serde::ser::Error::custom)?;
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<u64>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut positions = BTreeSet::new();
        for run in text.split(',').filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            let ends = first.parse().and_then(|first: u64| Ok((first, last.parse()?)));
            let (first, last): (u64, u64) = ends.map_err(|e: std::num::ParseIntError| D::Error::custom(e))?;
            positions.extend(first..=last);
        }
        Ok(positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_their_text() {
        for (positions, text) in [
            (vec![], ""),
            (vec![0], "0"),
            (vec![1, 2], "1-2"),
            (
                vec![3, 4, 5, 7, 9, 10, u64::MAX],
                "3-5,7,9-10,18446744073709551615",
            ),
        ] {
            let rows = Positions(positions.into_iter().collect());
            let json = serde_json::to_value(&rows).unwrap();
            assert_eq!(json, text);
            assert_eq!(serde_json::from_value::<Positions>(json).unwrap(), rows);
        }
        for damaged in ["x", "1-", "-", "1,,x"] {
            assert!(
                serde_json::from_value::<Positions>(damaged.into()).is_err(),
                "{damaged}"
            );
        }
    }
}
