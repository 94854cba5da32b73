//! One suite per seam: what its contract promises, asked of any implementation.
//!
//! A suite is an async function that a crate calls in a test of its own, with a function that makes a fresh place to
//! test in. It panics where the contract is not kept.

mod sink;
mod source;
mod store;

pub use sink::{SinkUnderTest, sink_conformance};
pub use source::{SourceUnderTest, source_conformance};
pub use store::store_conformance;
