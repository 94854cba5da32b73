//! How files are written.

use iceberg::spec::TableMetadata;
use model::{Error, ErrorKind, Result};
use parquet::basic::ZstdLevel;
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
    /// A row group is closed at about this many bytes, which are held in memory until then.
    pub row_group_bytes: usize,
    /// A row group is closed at this many rows, if it has not reached its bytes before.
    pub row_group_rows: usize,
    /// So many partitions are written at a time; before one more, the file of the one that waited longest is closed. Together they
    /// hold at most `row_group_bytes` in memory.
    pub open_partitions: usize,
    /// Rows that may be dropped as unchanged are held in memory up to this many bytes, then looked up together.
    pub lookup_bytes: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            target_file_bytes: 256 << 20,
            zstd_level: 3,
            row_group_bytes: 32 << 20,
            row_group_rows: 1 << 20,
            open_partitions: 32,
            lookup_bytes: 32 << 20,
        }
    }
}

impl WriterOptions {
    /// Checks that files can be written like this.
    ///
    /// # Errors
    ///
    /// `Config`, naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        self.compression_level()?;
        let sizes = [
            ("target_file_bytes", self.target_file_bytes == 0),
            ("row_group_bytes", self.row_group_bytes == 0),
            ("row_group_rows", self.row_group_rows == 0),
            ("open_partitions", self.open_partitions == 0),
        ];
        match sizes.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(Error::new(
                ErrorKind::Config,
                format!("{name} is 0, and nothing can be written with that"),
            )
            .hint(format!("leave {name} out to use the default"))),
            None => Ok(()),
        }
    }

    /// At about how many bytes a data file of this table is closed: its own property goes before ours.
    pub fn target_file_bytes_of(&self, table: &TableMetadata) -> u64 {
        let own = table.properties().get("write.target-file-size-bytes");
        own.and_then(|bytes| bytes.parse().ok())
            .filter(|bytes| *bytes > 0)
            .unwrap_or(self.target_file_bytes)
    }

    pub(crate) fn compression_level(&self) -> Result<ZstdLevel> {
        ZstdLevel::try_new(self.zstd_level).map_err(|e| {
            Error::new(
                ErrorKind::Config,
                format!("zstd_level is {}, which does not exist", self.zstd_level),
            )
            .hint("set zstd_level to a number from 1 to 22")
            .caused_by(e)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_range_are_named() {
        let default = WriterOptions::default;
        default().validate().unwrap();
        for (options, name) in [
            (
                WriterOptions {
                    zstd_level: 0,
                    ..default()
                },
                "zstd_level",
            ),
            (
                WriterOptions {
                    zstd_level: 23,
                    ..default()
                },
                "zstd_level",
            ),
            (
                WriterOptions {
                    target_file_bytes: 0,
                    ..default()
                },
                "target_file_bytes",
            ),
            (
                WriterOptions {
                    row_group_bytes: 0,
                    ..default()
                },
                "row_group_bytes",
            ),
            (
                WriterOptions {
                    row_group_rows: 0,
                    ..default()
                },
                "row_group_rows",
            ),
        ] {
            let error = options.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().starts_with(name), "{error}");
        }
    }
}
