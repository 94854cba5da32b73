//! The reader against tables in a directory: the seam's conformance suite, seeded histories, and tables that PyIceberg wrote.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what supports a test fails it by panicking"
)]

mod columns;
mod conformance;
mod histories;
mod lake;
mod looks;
mod py_iceberg;
mod time_travel;
