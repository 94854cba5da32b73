//! The server that an input meets.

use sqlserver_emulator::{Engine, EngineConfig, Login};
use std::sync::Arc;

/// SQL builds long values from short ones, as long as the server lets it.
const LONGEST_VALUE: usize = 1 << 18;

/// The database that inputs are in.
pub const DATABASE: &str = "Source";

/// Its login.
pub fn login() -> Login {
    Login::sysadmin("sa", "fuzz")
}

/// Two databases, and tables of every type below.
pub fn config() -> EngineConfig {
    EngineConfig {
        logins: vec![login()],
        longest_value: LONGEST_VALUE,
        databases: vec![DATABASE.to_owned(), "Target".to_owned()],
        ..EngineConfig::default()
    }
}

/// What is there before the input.
pub const SCHEMA: &str = include_str!("schema.sql");

/// Waits until nobody but the caller has the engine.
pub fn abandoned(engine: &Arc<Engine>) {
    let begun = std::time::Instant::now();
    while Arc::strong_count(engine) > 1 {
        assert!(
            begun.elapsed().as_secs() < 10,
            "a session outlives its connection"
        );
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}
