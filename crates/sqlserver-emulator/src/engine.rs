//! The server that all sessions share: databases, logins, clock, configuration.

use std::sync::Arc;

use crate::clock::Clock;

/// A login that may connect.
#[derive(Clone, Debug)]
pub struct Login {
    /// The login's name, compared without case.
    pub name: String,
    /// Its password.
    pub password: String,
    /// A member of `sysadmin`: sees and may do everything.
    pub sysadmin: bool,
    /// Holds VIEW SERVER STATE: the dynamic management views show other sessions.
    pub view_server_state: bool,
}

impl Login {
    /// An administrator.
    pub fn sysadmin(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            sysadmin: true,
            view_server_state: true,
        }
    }

    /// A login that owns nothing: it reads and writes the user databases' tables, and sees only itself in server-wide views.
    pub fn limited(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            sysadmin: false,
            view_server_state: false,
        }
    }
}

/// How an engine is set up. `Default` has one administrator, `sa` with password `Emulator!2022`, and the system databases.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Who may connect.
    pub logins: Vec<Login>,
    /// Databases created at start, besides `master` and `tempdb`.
    pub databases: Vec<String>,
    /// `@@SERVERNAME`.
    pub server_name: String,
    /// Decides the order of rows in results without ORDER BY.
    pub seed: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            logins: vec![Login::sysadmin("sa", "Emulator!2022")],
            databases: Vec::new(),
            server_name: "EMULATOR".to_owned(),
            seed: 0,
        }
    }
}

/// The shared state of one emulated server.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    clock: Clock,
}

impl Engine {
    /// A server with the databases and logins of `config`.
    pub fn new(config: EngineConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            clock: Clock::default(),
        })
    }

    /// The clock that every time function reads.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What the engine was set up with.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }
}
