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
mod follow;
mod gaps;
mod losses;
mod play;
mod repairs;
mod twins;
mod world;
