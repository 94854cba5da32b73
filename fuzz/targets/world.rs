//! The server that an input meets.

use sqlserver_emulator::{Engine, EngineConfig, Login};

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
