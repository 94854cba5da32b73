//! ChangeSource over iceberg-table.
