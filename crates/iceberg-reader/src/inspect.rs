//! What a person wants to know of a table: its snapshots, files and schema.

use std::collections::BTreeMap;

use iceberg::spec::SnapshotRef;
use iceberg_table::{TableHandle, live_files};
use model::{Result, Timestamp};
use serde::Serialize;

/// One snapshot of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotInfo {
    /// Its id.
    pub id: i64,
    /// The snapshot that it followed.
    pub parent: Option<i64>,
    /// Its sequence number.
    pub sequence_number: i64,
    /// When it was made.
    pub timestamp: Timestamp,
    /// `append`, `overwrite`, `replace` or `delete`.
    pub operation: String,
    /// The rest of its summary.
    pub summary: BTreeMap<String, String>,
    /// Whether it is the head of the main branch.
    pub is_current: bool,
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileInfo {
    /// Its path.
    pub path: String,
    /// Whether it holds deletes and not rows. A file with several deletion vectors is listed once for each.
    pub is_deletes: bool,
    /// Rows, deleted positions or deleted keys in it.
    pub records: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its data sequence number.
    pub sequence_number: i64,
}

/// The snapshots that a table still has, oldest first.
pub fn snapshots(table: &TableHandle) -> Vec<SnapshotInfo> {
    let current = table.head().map(|snapshot| snapshot.snapshot_id());
    let mut snapshots: Vec<_> = table
        .metadata()
        .snapshots()
        .map(|snapshot| SnapshotInfo {
            id: snapshot.snapshot_id(),
            parent: snapshot.parent_snapshot_id(),
            sequence_number: snapshot.sequence_number(),
            timestamp: Timestamp(snapshot.timestamp_ms()),
            operation: snapshot.summary().operation.as_str().to_owned(),
            summary: snapshot
                .summary()
                .additional_properties
                .clone()
                .into_iter()
                .collect(),
            is_current: current == Some(snapshot.snapshot_id()),
        })
        .collect();
    snapshots.sort_by_key(|snapshot| (snapshot.sequence_number, snapshot.timestamp));
    snapshots
}

/// The files of a snapshot: data files, then the delete files that apply to them.
///
/// # Errors
///
/// As [`live_files`].
pub async fn files(table: &TableHandle, snapshot: &SnapshotRef) -> Result<Vec<FileInfo>> {
    let live = live_files(table, snapshot).await?;
    let mut deletes = BTreeMap::new();
    let mut files = Vec::with_capacity(live.len());
    for file in live {
        for delete in &file.deletes {
            let key = (delete.path.clone(), delete.offset());
            deletes.entry(key).or_insert_with(|| FileInfo {
                path: delete.path.to_string(),
                is_deletes: true,
                records: delete.record_count,
                bytes: delete.size,
                sequence_number: delete.sequence_number,
            });
        }
        files.push(FileInfo {
            path: file.path.to_string(),
            is_deletes: false,
            records: file.data_file.record_count(),
            bytes: file.data_file.file_size_in_bytes(),
            sequence_number: file.sequence_number,
        });
    }
    files.extend(deletes.into_values());
    Ok(files)
}

/// The current schema, a column a line: field id, name, type, and whether it is required or of the key.
pub fn schema_text(table: &TableHandle) -> String {
    let schema = table.iceberg_schema();
    let lines = schema.as_struct().fields().iter().map(|field| {
        let required = if field.required { " not null" } else { "" };
        let is_key = schema.identifier_field_ids().any(|id| id == field.id);
        let key = if is_key { " key" } else { "" };
        format!(
            "{}: {} {}{required}{key}\n",
            field.id, field.name, field.field_type
        )
    });
    lines.collect()
}
