//! The server that all sessions share: databases, logins, clock, configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::background::Background;
use crate::catalog::SessionFacts;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::random::Random;
use crate::store::{CommitTime, Shared};
use crate::sync::lock;

/// In the order of their ids.
const SYSTEM_DATABASES: [&str; 4] = ["master", "tempdb", "model", "msdb"];

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

/// `SERVERPROPERTY('EngineEdition')` of Azure SQL Database.
pub(crate) const AZURE_SQL_DATABASE: i32 = 5;

/// How an engine is set up. `Default` has one administrator, `sa` with password `Emulator!2022`, and the system databases.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Who may connect.
    pub logins: Vec<Login>,
    /// Databases created at start, besides `master` and `tempdb`.
    pub databases: Vec<String>,
    /// `@@SERVERNAME`.
    pub server_name: String,
    /// `SERVERPROPERTY('EngineEdition')`: 3 is SQL Server, 5 Azure SQL Database, where the jobs of CDC are in `cdc.cdc_jobs`.
    pub edition: i32,
    /// Decides the order of rows in results without ORDER BY. A table's rows come in any order if there are up to 4,096, in blocks of 64 if
    /// there are more; what an index finds, by ranges in any order, each of them forwards or backwards.
    pub seed: u64,
    /// How long after its commit CDC captures a change, at the soonest, on the server's clock.
    pub capture_delay: Duration,
    /// How many bytes a value of a `(max)` type may have; an expression that makes a longer one fails with 7119.
    pub longest_value: usize,
    /// Keywords and functions that this server does not know, as a lesser one: a batch with one fails with 102, or 195 for a function.
    pub lacks: Vec<String>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            logins: vec![Login::sysadmin("sa", "Emulator!2022")],
            databases: Vec::new(),
            server_name: "EMULATOR".to_owned(),
            edition: 3,
            seed: 0,
            capture_delay: Duration::from_millis(100),
            longest_value: i32::MAX as usize,
            lacks: Vec::new(),
        }
    }
}

/// The shared state of one emulated server.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    clock: Clock,
    store: Shared,
    logins: Mutex<Vec<Login>>,
    sessions: Mutex<BTreeMap<u16, SessionFacts>>,
    background: Background,
    faults: Arc<Faults>,
}

impl Engine {
    /// A server with the databases and logins of `config`.
    pub fn new(config: EngineConfig) -> Arc<Self> {
        let clock = Clock::default();
        let engine = Self {
            background: Background::new(clock.now(), config.capture_delay),
            clock,
            faults: Arc::default(),
            store: Shared::new(),
            logins: Mutex::new(config.logins.clone()),
            sessions: Mutex::default(),
            config,
        };
        for name in SYSTEM_DATABASES {
            engine.create_database(name);
        }
        for name in &engine.config.databases {
            engine.create_database(name);
        }
        Arc::new(engine)
    }

    /// The clock that every time function reads.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Faults that can be ordered.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// What the engine was set up with.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// A commit now.
    pub(crate) fn commit_time(&self) -> CommitTime {
        CommitTime {
            at: self.clock.now(),
            elapsed: self.clock.elapsed(),
        }
    }

    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    pub(crate) fn store(&self) -> &Shared {
        &self.store
    }

    /// Adds a database and gives its id.
    pub(crate) fn create_database(&self, name: &str) -> i32 {
        let mut store = self.store.lock();
        let guid = self.guid(store.databases.len() as u64);
        store.create_database(name, self.clock.now(), guid)
    }

    /// The recovery fork that the restore of this number begins.
    pub(crate) fn fork_guid(&self, restored: u64) -> [u8; 16] {
        self.guid(u64::MAX - restored)
    }

    fn guid(&self, number: u64) -> [u8; 16] {
        let mut guid = [0; 16];
        Random::new(self.config.seed ^ number).fill(&mut guid);
        guid
    }

    pub(crate) fn login(&self, name: &str) -> Option<Login> {
        lock(&self.logins)
            .iter()
            .find(|login| login.name.eq_ignore_ascii_case(name))
            .cloned()
    }

    pub(crate) fn add_login(&self, login: Login) {
        lock(&self.logins).push(login);
    }

    /// Changes a login, as GRANT VIEW SERVER STATE does.
    pub(crate) fn change_login(&self, name: &str, change: impl FnOnce(&mut Login)) {
        if let Some(login) = lock(&self.logins)
            .iter_mut()
            .find(|login| login.name.eq_ignore_ascii_case(name))
        {
            change(login);
        }
    }

    pub(crate) fn drop_login(&self, name: &str) {
        lock(&self.logins).retain(|login| !login.name.eq_ignore_ascii_case(name));
    }

    /// Registers a session under the least free number above 50.
    pub(crate) fn register(&self, facts: impl FnOnce(u16) -> SessionFacts) -> u16 {
        let mut sessions = lock(&self.sessions);
        let mut id = 51;
        while sessions.contains_key(&id) {
            id += 1;
        }
        sessions.insert(id, facts(id));
        id
    }

    pub(crate) fn unregister(&self, id: u16) {
        lock(&self.sessions).remove(&id);
    }

    pub(crate) fn change_session(&self, id: u16, change: impl FnOnce(&mut SessionFacts)) {
        if let Some(facts) = lock(&self.sessions).get_mut(&id) {
            change(facts);
        }
    }

    pub(crate) fn sessions(&self) -> Vec<SessionFacts> {
        lock(&self.sessions).values().cloned().collect()
    }
}
