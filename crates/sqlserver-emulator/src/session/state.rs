//! What a session remembers between requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::options::Options;
use super::{Isolation, LoginInfo, lesser};
use crate::ast::{Batch, ObjectName, ParameterDefinition, TableHint};
use crate::catalog::{SessionFacts, Viewer};
use crate::engine::{Engine, Login};
use crate::error::{SqlError, SqlResult};
use crate::exec::ReadPlan;
use crate::outcome::{EnvChange, Output};
use crate::parser::parse_batch;
use crate::random::Random;
use crate::shuffle::Shuffle;
use crate::store::{Database, LockMode, Patience, Read, Savepoint, Table, TableId, TxId, same_name};
use crate::types::{SqlType, TypeInfo};
use crate::value::Value;

/// A statement prepared by `sp_prepare` or `sp_prepexec`.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) sql: String,
    /// The parameters as the client declared them.
    pub(crate) declarations: String,
    pub(crate) parameters: Vec<ParameterDefinition>,
}

/// A session's settings before a scope within it began.
#[derive(Debug)]
pub(crate) struct ScopeSettings {
    options: Options,
    isolation: Isolation,
    identity_insert: Option<TableId>,
    temporary: HashMap<String, TableId>,
}

/// A session's state.
#[derive(Debug)]
pub(crate) struct SessionState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) cancel: Arc<AtomicBool>,
    pub(crate) id: u16,
    pub(crate) login: Login,
    pub(crate) info: LoginInfo,
    pub(crate) database: i32,
    first_database: i32,
    pub(crate) options: Options,
    pub(crate) isolation: Isolation,
    /// The open explicit transaction.
    pub(crate) transaction: Option<TxId>,
    /// The transaction of the statement that runs, when it commits by itself.
    pub(crate) statement_transaction: Option<TxId>,
    /// `@@TRANCOUNT`.
    pub(crate) nesting: u32,
    /// XACT_STATE() is −1: nothing but a rollback is left.
    pub(crate) doomed: bool,
    pub(crate) savepoints: Vec<(String, Savepoint)>,
    pub(crate) row_count: i64,
    /// `@@ERROR`.
    pub(crate) last_error: i32,
    /// `@@IDENTITY` and `SCOPE_IDENTITY()`.
    pub(crate) last_identity: Option<i64>,
    pub(crate) scope_identity: Option<i64>,
    pub(crate) identity_insert: Option<TableId>,
    pub(crate) temporary: HashMap<String, TableId>,
    pub(crate) prepared: HashMap<i32, Prepared>,
    pub(crate) last_handle: i32,
    pub(crate) context_info: Vec<u8>,
    pub(crate) session_context: HashMap<String, Value>,
    /// How deep procedures and triggers are nested.
    pub(crate) nest_level: u32,
    /// The triggers that run, outermost first: their tables and names.
    pub(crate) running_triggers: Vec<(TableId, String)>,
    /// The level under which the open transaction first accessed data.
    began_under: Option<Isolation>,
    /// An INSERT BULK that waits for its rows, or takes them.
    pub(crate) bulk: Option<super::BulkLoad>,
    random: Random,
}

impl SessionState {
    pub(crate) fn new(engine: &Arc<Engine>, login: Login, info: LoginInfo, database: i32) -> Self {
        let now = engine.clock().now();
        let options = Options::at_login(info.odbc);
        let facts = |id| SessionFacts {
            id,
            login_time: now,
            host_name: info.host_name.clone(),
            host_process_id: info.process_id,
            program_name: info.program_name.clone(),
            login_name: login.name.clone(),
            database,
            isolation: 2,
            lock_timeout: -1,
            deadlock_priority: 0,
            open_transactions: 0,
            row_count: 0,
            text_size: options.text_size,
            language: "us_english".to_owned(),
            date_format: "mdy".to_owned(),
            date_first: 7,
            quoted_identifier: true,
            arithabort: false,
            ansi_null_dflt_on: true,
            ansi_warnings: true,
            ansi_padding: true,
            ansi_nulls: true,
            concat_null_yields_null: true,
            request: None,
        };
        let id = engine.register(facts);
        Self {
            engine: Arc::clone(engine),
            cancel: Arc::default(),
            id,
            login,
            info,
            database,
            first_database: database,
            options,
            isolation: Isolation::ReadCommitted,
            transaction: None,
            statement_transaction: None,
            nesting: 0,
            doomed: false,
            savepoints: Vec::new(),
            row_count: 0,
            last_error: 0,
            last_identity: None,
            scope_identity: None,
            identity_insert: None,
            temporary: HashMap::new(),
            prepared: HashMap::new(),
            last_handle: 0,
            context_info: Vec::new(),
            session_context: HashMap::new(),
            nest_level: 0,
            running_triggers: Vec::new(),
            began_under: None,
            bulk: None,
            random: Random::new(engine.config().seed ^ (u64::from(id) << 32)),
        }
    }

    /// The state after RESETCONNECTION. The isolation level stays, as SQL Server leaves it.
    pub(crate) fn reset(&mut self) {
        self.drop_temporary();
        self.options = Options::at_login(self.info.odbc);
        self.database = self.first_database;
        self.row_count = 0;
        self.last_error = 0;
        self.last_identity = None;
        self.scope_identity = None;
        self.identity_insert = None;
        self.prepared.clear();
        self.context_info.clear();
        self.session_context.clear();
        self.publish();
    }

    pub(crate) fn drop_temporary(&mut self) {
        let mut store = self.engine.store().lock();
        for (_, id) in self.temporary.drain() {
            store.tables.remove(&id);
        }
    }

    /// What a procedure or `sp_executesql` puts back when it ends.
    pub(crate) fn scope(&self) -> ScopeSettings {
        ScopeSettings {
            options: self.options.clone(),
            isolation: self.isolation,
            identity_insert: self.identity_insert,
            temporary: self.temporary.clone(),
        }
    }

    /// Ends a procedure's scope: its SET options and its temporary tables go.
    pub(crate) fn leave_scope(&mut self, before: ScopeSettings) {
        let mut store = self.engine.store().lock();
        for (name, id) in &self.temporary {
            if before.temporary.get(name) != Some(id) {
                store.tables.remove(id);
            }
        }
        let outer = before
            .temporary
            .into_iter()
            .filter(|(name, _)| self.temporary.contains_key(name));
        let outer = outer.collect();
        drop(store);
        self.temporary = outer;
        self.options = before.options;
        self.isolation = before.isolation;
        self.identity_insert = before.identity_insert;
        self.publish();
    }

    /// Lets others see the session's settings.
    pub(crate) fn publish(&self) {
        self.engine.change_session(self.id, |facts| {
            facts.database = self.database;
            facts.isolation = match self.isolation {
                Isolation::ReadUncommitted => 1,
                Isolation::ReadCommitted => 2,
                Isolation::RepeatableRead => 3,
                Isolation::Serializable => 4,
                Isolation::Snapshot => 5,
            };
            facts.lock_timeout = self.options.lock_timeout;
            facts.deadlock_priority = i32::from(self.options.deadlock_priority);
            facts.open_transactions = self.nesting as i32;
            facts.row_count = self.row_count;
            facts.text_size = self.options.text_size;
            facts.language.clone_from(&self.options.language);
            facts.date_format.clone_from(&self.options.date_format);
            facts.date_first = i16::from(self.options.date_first);
            facts.quoted_identifier = self.options.quoted_identifier;
            facts.arithabort = self.options.arithabort;
            facts.ansi_null_dflt_on = self.options.ansi_null_dflt_on;
            facts.ansi_warnings = self.options.ansi_warnings;
            facts.ansi_padding = self.options.ansi_padding;
            facts.ansi_nulls = self.options.ansi_nulls;
            facts.concat_null_yields_null = self.options.concat_null_yields_null;
        });
    }

    pub(crate) fn current_database(&self) -> Option<Arc<Database>> {
        self.engine.store().lock().databases.get(&self.database).cloned()
    }

    /// The database that a table is in.
    pub(crate) fn database_with(&self, table: &Table) -> SqlResult<Arc<Database>> {
        let database = self.engine.store().lock().databases.get(&table.database).cloned();
        database.ok_or_else(|| SqlError::unsupported("a table without database"))
    }

    pub(crate) fn database_name(&self, id: i32) -> String {
        self.engine
            .store()
            .lock()
            .databases
            .get(&id)
            .map(|database| database.name.clone())
            .unwrap_or_default()
    }

    pub(crate) fn compatibility_level(&self, id: i32) -> u8 {
        self.engine
            .store()
            .lock()
            .databases
            .get(&id)
            .map_or(160, |database| database.options.compatibility_level)
    }

    /// Makes a database current. Error 911.
    pub(crate) fn use_database(&mut self, name: &str, out: &mut dyn Output) -> SqlResult<()> {
        let found = self
            .engine
            .store()
            .lock()
            .database_named(name)
            .map(|database| (database.id, database.name.clone()));
        let (id, name) = found.ok_or_else(|| {
            SqlError::user(
                911,
                format!("Database '{name}' does not exist. Make sure that the name is entered correctly."),
            )
        })?;
        let old = self.database_name(self.database);
        self.database = id;
        out.env(EnvChange::Database {
            new: name.clone(),
            old,
        });
        let changed = SqlError {
            number: 5701,
            ..SqlError::new(5701, 0, 2, format!("Changed database context to '{name}'."))
        };
        out.message(&changed);
        Ok(())
    }

    /// Error 208 if the table is gone.
    pub(crate) fn table_definition(&self, id: TableId) -> SqlResult<Arc<Table>> {
        let store = self.engine.store().lock();
        let data = store.tables.get(&id);
        data.map(|data| Arc::clone(&data.definition))
            .ok_or_else(|| SqlError::user(208, "Invalid object name."))
    }

    /// The table that a name means, in the current database's `dbo` unless the name says otherwise.
    pub(crate) fn find_table(&self, name: &ObjectName) -> SqlResult<Option<TableId>> {
        if name.name.starts_with('#') {
            return Ok(self.temporary.get(&name.name.to_lowercase()).copied());
        }
        let database = self.database_of(name)?;
        Ok(database.table(name.schema.as_deref().unwrap_or("dbo"), &name.name))
    }

    /// The database that a name means. Error 911 if it does not exist.
    pub(crate) fn database_of(&self, name: &ObjectName) -> SqlResult<Arc<Database>> {
        let store = self.engine.store().lock();
        let found = match &name.database {
            Some(database) => store.database_named(database),
            None => store.databases.get(&self.database),
        };
        found.cloned().ok_or_else(|| {
            let database = name.database.as_deref().unwrap_or_default();
            SqlError::user(
                911,
                format!(
                    "Database '{database}' does not exist. Make sure that the name is entered correctly."
                ),
            )
        })
    }

    /// How a table is read, by its hints, the isolation level and its database's options.
    pub(crate) fn read_plan(
        &self,
        table: &Table,
        hints: &[TableHint],
        for_update: bool,
    ) -> SqlResult<ReadPlan> {
        let has = |hint: &TableHint| hints.contains(hint);
        if has(&TableHint::NoWait) {
            return Err(SqlError::unsupported("the hint NOWAIT"));
        }
        let update = for_update || has(&TableHint::UpdLock) || has(&TableHint::XLock);
        if table.variable || (table.name.starts_with('#') && !update) {
            return Ok(ReadPlan::As(Read::Committed { lock: None }));
        }
        if has(&TableHint::NoLock) {
            return Ok(ReadPlan::As(Read::Dirty));
        }
        let serializable = has(&TableHint::HoldLock) || self.isolation == Isolation::Serializable;
        let repeatable =
            serializable || has(&TableHint::RepeatableRead) || self.isolation == Isolation::RepeatableRead;
        let lock = match (update, repeatable) {
            (true, _) => Some(LockMode::Update),
            (false, true) => Some(LockMode::Shared),
            _ => None,
        };
        if has(&TableHint::TabLockX) {
            return Ok(ReadPlan::Range(LockMode::Exclusive));
        }
        if serializable {
            return Ok(ReadPlan::Range(lock.unwrap_or(LockMode::Shared)));
        }
        if has(&TableHint::ReadPast) {
            return Ok(ReadPlan::As(Read::SkipLocked { lock }));
        }
        self.unlocked_read(table, hints, lock)
    }

    fn unlocked_read(
        &self,
        table: &Table,
        hints: &[TableHint],
        lock: Option<LockMode>,
    ) -> SqlResult<ReadPlan> {
        let locking = hints.contains(&TableHint::ReadCommittedLock) || lock.is_some();
        let store = self.engine.store().lock();
        let Some(database) = store.databases.get(&table.database) else {
            return Ok(ReadPlan::As(Read::Committed { lock }));
        };
        let in_tempdb = same_name(&database.name, "tempdb");
        match self.isolation {
            Isolation::ReadUncommitted if lock.is_none() => Ok(ReadPlan::As(Read::Dirty)),
            Isolation::Snapshot if !in_tempdb => {
                if !database.options.allow_snapshot_isolation {
                    return Err(SqlError::user(
                        3952,
                        format!(
                            "Snapshot isolation transaction failed accessing database '{}' because snapshot isolation is not allowed in this database. Use ALTER DATABASE to allow snapshot isolation.",
                            database.name
                        ),
                    ));
                }
                Ok(if locking {
                    ReadPlan::As(Read::Committed { lock })
                } else {
                    ReadPlan::Snapshot
                })
            }
            Isolation::ReadCommitted if database.options.read_committed_snapshot && !locking => {
                Ok(ReadPlan::Snapshot)
            }
            _ => Ok(ReadPlan::As(Read::Committed { lock })),
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            timeout: self.options.lock_wait(),
            cancel: Arc::clone(&self.cancel),
        }
    }

    /// Data is accessed now.
    pub(crate) fn note_access(&mut self) {
        if self.transaction.is_some() {
            self.began_under.get_or_insert(self.isolation);
        }
    }

    /// Whether the open transaction first accessed data under another level than SNAPSHOT.
    pub(crate) fn began_unversioned(&self) -> bool {
        self.transaction.is_some() && self.began_under.is_some_and(|level| level != Isolation::Snapshot)
    }

    /// That a new transaction has accessed nothing yet.
    pub(crate) fn forget_access(&mut self) {
        self.began_under = None;
    }

    pub(crate) fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    pub(crate) fn dice(&mut self) -> u64 {
        self.random.next()
    }

    pub(crate) fn shuffled<T>(&mut self, things: Vec<T>) -> Vec<T> {
        Shuffle::new(things.len(), self.dice()).apply(things)
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.random.next() & 1 == 1
    }

    /// Asks the catalog, as this session and in the database `database`.
    pub(crate) fn with_viewer<T>(
        &self,
        database: i32,
        ask: impl FnOnce(&Viewer<'_>) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let sessions = self.engine.sessions();
        let store = self.engine.store().lock();
        let Some(database) = store.databases.get(&database).cloned() else {
            return Err(SqlError::user(911, "Database does not exist."));
        };
        let temporary = |name: &str| self.temporary.get(&name.to_lowercase()).copied();
        ask(&Viewer {
            store: &store,
            database: &database,
            config: self.engine.config(),
            session: self.id,
            login: &self.login,
            agent_runs: self.engine.agent_runs(),
            sessions: &sessions,
            temporary: &temporary,
        })
    }

    /// Parses a batch by the session's settings and what the server knows.
    pub(crate) fn parse(&self, sql: &str) -> SqlResult<Batch> {
        let quoted_identifier = self.options.quoted_identifier;
        lesser::refuse(sql, quoted_identifier, &self.engine.config().lacks)?;
        parse_batch(sql, quoted_identifier)
    }

    /// Type of text in the current database.
    pub(crate) fn in_database(&self, ty: SqlType) -> TypeInfo {
        let mut info = TypeInfo::new(ty);
        if info.collation.is_some() {
            info.collation = self
                .current_database()
                .map(|database| database.collation)
                .or(info.collation);
        }
        info
    }
}
