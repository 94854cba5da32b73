//! How files are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sizes and compression of the files that are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WriterOptions {
    /// A data file is closed at about this many bytes. The table property `write.target-file-size-bytes` goes before it.
    pub target_file_bytes: u64,
    /// The zstd level, 1 to 22.
    pub zstd_level: i32,
    /// A row group is closed at about this many bytes, which are held in memory until then,
    pub row_group_bytes: usize,
    /// or at this many rows.
    pub row_group_rows: usize,
    /// Rows that may be dropped as unchanged are held in memory up to this many bytes, then looked up together.
    pub lookup_bytes: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            target_file_bytes: 256 << 20,
            zstd_level: 3,
            row_group_bytes: 64 << 20,
            row_group_rows: 1 << 20,
            lookup_bytes: 32 << 20,
        }
    }
}
