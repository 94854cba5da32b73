//! What a person gets for bad input: `sync-cli` as a process, against the emulator. Each case looks at the exit code, at what the
//! message says, and that nothing is half-done. Signals are bad input too.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod configuration;
mod damage;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(unix)]
mod follow;
mod init;
mod maintenance;
#[cfg(unix)]
mod metrics;
mod names;
#[cfg(unix)]
mod scrape;
mod servers;
mod tables;
mod types;
mod world;
