//! What the tests of every crate share: a source, a sink and a store in memory, wrappers that fail on purpose,
//! a simulated clock, and one conformance suite per seam.
//!
//! # Invariants
//!
//! - Everything is driven by a seed and a [`SimClock`]; a failure prints its seed, and the seed repeats it.
//! - The parts in memory keep their seam's contract. A rule of the contract can be switched off by a knob here, so that
//!   a test can show that the rule is what saves the rows; production code has no such knobs.
//!
//! Only dev-dependencies may name this crate.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "what supports a test fails it by panicking"
)]

mod conformance;
mod damage;
mod faults;
mod faulty;
mod memory_sink;
mod memory_source;
mod memory_store;
mod sample;
mod simulation;

pub use conformance::{
    SinkUnderTest, SourceUnderTest, sink_conformance, source_conformance, store_conformance,
};
pub use damage::damage;
pub use faults::{Fault, Faults};
pub use faulty::{FaultySink, FaultySource, FaultyStore};
pub use memory_sink::{MemorySink, SinkRule};
pub use memory_source::{MemorySource, MemoryTracking, SourceRule, Transaction};
pub use memory_store::MemoryStore;
pub use sample::{SampleRow, sample_batch, sample_rows, sample_schema};
pub use simulation::{SeededIds, SimClock, for_each_seed, kill_after};
