//! ChangeSink over iceberg-table.
