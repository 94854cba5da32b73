//! The Iceberg sink against real files: the conformance suite, random histories against a model, faults, and other engines.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../../../iceberg-table/tests/catalogs/committing.rs"]
mod committing;
mod conformance;
mod faults;
mod files;
mod history;
mod partitions;
mod prepare;
mod readers;
mod schema_changes;
mod warehouse;
