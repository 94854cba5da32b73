//! The emulator over the wire, driven by clients that others wrote.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests may say what they expect, their helpers too"
)]

mod faults;
mod hostile;
mod mssql;
mod program;
mod tiberius_client;

use sqlserver_emulator::{Emulator, EmulatorConfig, EngineConfig};

/// An emulator with two user databases.
async fn emulator() -> Emulator {
    let config = EmulatorConfig {
        engine: EngineConfig {
            databases: vec!["Source".to_owned(), "Target".to_owned()],
            ..EngineConfig::default()
        },
        ..EmulatorConfig::default()
    };
    Emulator::start(config).await.unwrap()
}
