//! What files are written for, and which tables are not written at all.

use iceberg::spec::{FormatVersion, TableMetadata};
use model::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::TableHandle;

const ENCRYPTION: &str = "encryption.key-id";

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
/// `Unsupported` if the table is partitioned, encrypted, or not of format v2.
pub fn refuse_what_is_not_understood(table: &TableHandle) -> Result<()> {
    let metadata = table.metadata();
    let version = metadata.format_version();
    let why = if version != FormatVersion::V2 {
        format!("its format is {version}, and only v2 is written")
    } else if !metadata
        .partition_specs_iter()
        .all(|spec| spec.is_unpartitioned())
    {
        "it is partitioned, and partitioned tables are not written yet".to_owned()
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
