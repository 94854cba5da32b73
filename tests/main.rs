//! End-to-end suites per direction, and the rules of the workspace.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod adversary;
mod arrows;
mod columns;
mod deletes;
mod follow;
mod gaps;
mod keys;
mod large;
mod losses;
mod many;
mod odd_times;
mod odd_types;
mod play;
mod repairs;
mod spellings;
mod twins;
mod whole;
mod world;
