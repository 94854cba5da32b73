//! What an operator watches a run by: metrics in Prometheus' text format, over HTTP or in a file, and the health of each table.
//!
//! # Invariants
//!
//! - Everything is counted from what the loop tells as it happens ([`orchestrator::ProgressEvent`]); nothing is asked of a source or
//!   a target for a scrape, however often one comes.
//! - A value that is not known has no sample; none is made up.
//! - Labels hold the names of the sync and of its tables, never a host, a login, a message or a row's value.
//! - Watching changes nothing: a scrape that fails, and a file that cannot be written, fail no table.
//!
//! This crate must not know any driver, catalog or store.

mod counts;
mod exposition;
mod families;
mod health;
mod metrics;
mod server;
mod textfile;

pub use health::{Health, Unhealthy};
pub use metrics::{Capture, Metrics};
pub use server::Server;
pub use textfile::{check_textfile, write_textfile};
