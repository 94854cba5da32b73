//! The contract of the catalog seam, asked of every catalog: see [`suite`].

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod azure;
mod bucket;
mod committing;
mod faults;
mod faulty_disk;
mod filesystem;
mod foreign;
mod place;
mod proxy;
mod rest;
mod s3;
mod s3_tables;
mod sql;
mod suite;
mod withheld;
mod writer;
