//! The source against a server: seeded histories that lose rows in a naive engine. Each has a twin in which the rule that saves it is
//! switched off, and which must find the loss.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may say what they expect")]

mod change_data_capture;
mod change_tracking;
mod conformance;
mod copy;
mod deletes;
mod describe;
mod ids;
mod polling;
mod rowversions;
mod shop;
mod timestamps;
mod triggers;
