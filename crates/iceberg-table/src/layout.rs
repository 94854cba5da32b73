//! What files are written for, and which tables are not written at all.

use iceberg::spec::{FormatVersion, TableMetadata};
use model::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::TableHandle;

const ENCRYPTION: &str = "encryption.key-id";
const WRITE_AUDIT_PUBLISH: &str = "write.wap.enabled";

const DATA_PATH: &str = "write.data.path";

/// The directory that data files and delete files are written into: what the table's property `write.data.path` says, or `data` in
/// its location.
pub fn data_directory(metadata: &TableMetadata) -> String {
    match metadata.properties().get(DATA_PATH) {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{}/data", metadata.location()),
    }
}

/// What data files of a table are written for. Files for one layout do not go into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLayout {
    /// The table. One of the same name that was dropped and created again is another one.
    pub table_uuid: Uuid,
    /// The current schema.
    pub schema_id: i32,
    /// The default partition spec.
    pub spec_id: i32,
}

impl TableLayout {
    /// The present layout of a table.
    pub fn of(metadata: &TableMetadata) -> Self {
        Self {
            table_uuid: metadata.uuid(),
            schema_id: metadata.current_schema_id(),
            spec_id: metadata.default_partition_spec_id(),
        }
    }
}

/// Refuses tables that are not written.
///
/// # Errors
///
/// `Unsupported` if the table is encrypted, of format v1, or publishes commits only after an audit. The iceberg library
/// does not load tables of a later format than v3, or with types that it does not know.
pub fn refuse_what_is_not_understood(table: &TableHandle) -> Result<()> {
    let metadata = table.metadata();
    let version = metadata.format_version();
    let why = if version == FormatVersion::V1 {
        "its format is v1, which has no row deletes: upgrade it to v2".to_owned()
    } else if metadata
        .properties()
        .get(WRITE_AUDIT_PUBLISH)
        .is_some_and(|value| value == "true")
    {
        format!(
            "its property {WRITE_AUDIT_PUBLISH} asks for commits that an audit publishes, and every commit here is published"
        )
    } else if metadata.properties().contains_key(ENCRYPTION) {
        "it is encrypted".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("cannot write into the Iceberg table: {why}"),
    )
    .with("table", table.name())
    .hint("let the sync create a table of its own under another name"))
}
