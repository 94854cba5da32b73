//! One client's session: what the protocol drives. Calls block; each session lives on its own thread.

mod bulk;
mod facts;
mod lesser;
mod options;
mod state;

pub(crate) use bulk::{BulkLoad, BulkRows};
pub(crate) use state::{Prepared, SessionState};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::collation::Collation;
use crate::engine::Engine;
use crate::error::{SqlError, SqlResult};
use crate::exec::{Failure, Run};
use crate::outcome::{Command, Done, EnvChange, Output, ResultColumn};
use crate::store::Packed;
use crate::types::{SqlType, TypeInfo};
use crate::value::Value;

/// What a client said when it logged in.
#[derive(Clone, Debug, Default)]
pub struct LoginInfo {
    /// The login.
    pub user: String,
    /// Its password in clear text.
    pub password: String,
    /// The database asked for; the login's default (`master`) otherwise.
    pub database: Option<String>,
    /// The client's machine.
    pub host_name: String,
    /// The client's program.
    pub program_name: String,
    /// The client's process id.
    pub process_id: u32,
    /// Negotiated packet size.
    pub packet_size: u32,
    /// Logged in as ODBC drivers and most others do: TEXTSIZE starts at its greatest value rather than 4096.
    pub odbc: bool,
}

/// A parameter of a remote procedure call.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// With its `@`; empty when given by position.
    pub name: String,
    /// As the client declared it.
    pub ty: SqlType,
    /// Present exactly for text.
    pub collation: Option<&'static Collation>,
    /// The value.
    pub value: Value,
    /// Whether the client wants the final value back.
    pub output: bool,
    /// A table instead of a value.
    pub table: Option<TableValue>,
}

/// The rows of a table-valued parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct TableValue {
    /// By column of the table type, as the client declared it; none where the type's own default is wanted.
    pub(crate) columns: Vec<Option<TypeInfo>>,
    pub(crate) rows: Vec<Packed>,
}

impl TableValue {
    /// Rows with a value for each column that is not none.
    pub fn new(columns: Vec<Option<TypeInfo>>, rows: &[Vec<Value>]) -> Self {
        let rows = rows.iter().map(|row| Packed::of(row, &[])).collect();
        Self { columns, rows }
    }
}

/// The isolation level of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are T-SQL's own level names")]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
    Snapshot,
}

/// The table and columns that an `INSERT BULK` statement named, in the statement's order.
#[derive(Clone, Debug)]
pub struct BulkTarget {
    /// The columns that each bulk row carries.
    pub columns: Vec<ResultColumn>,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    state: SessionState,
    database: String,
}

impl Session {
    /// Authenticates: error 18456 for a wrong login, 4060 for an unknown database.
    pub fn new(engine: &Arc<Engine>, login: LoginInfo) -> SqlResult<Self> {
        let known = engine
            .login(&login.user)
            .filter(|known| known.password == login.password);
        let Some(known) = known else {
            return Err(SqlError::new(
                18_456,
                14,
                1,
                format!("Login failed for user '{}'.", login.user),
            ));
        };
        let name = login
            .database
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "master".to_owned());
        let found = engine
            .store()
            .lock()
            .database_named(&name)
            .map(|database| (database.id, database.name.clone()));
        let Some((id, database)) = found else {
            return Err(SqlError::new(
                4060,
                11,
                1,
                format!("Cannot open database \"{name}\" requested by the login. The login failed."),
            ));
        };
        Ok(Self {
            state: SessionState::new(engine, known, login, id),
            database,
        })
    }

    /// The server that this session is connected to.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.state.engine
    }

    /// `@@SPID`.
    pub fn id(&self) -> u16 {
        self.state.id
    }

    /// The current database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Set by the protocol on ATTENTION; scans, lock waits and WAITFOR look at it. The protocol clears it
    /// when it acknowledges; the engine never does, or an early ATTENTION would be lost.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.state.cancel)
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.state.transaction.is_some()
    }

    /// Runs a batch. Errors and results go to `out`; the last DONE of the batch is emitted here.
    /// A batch whose only statement is `INSERT BULK` leaves its target in `bulk_target`.
    pub fn batch(&mut self, sql: &str, out: &mut dyn Output) {
        self.start_request();
        let parsed = self.state.parse(sql);
        let mut run = Run::new(&mut self.state, out, false);
        match parsed {
            Ok(batch) => {
                if let Err(Failure::Error { error, .. }) = run.batch(&batch) {
                    run.report_error(error);
                }
                run.drop_table_variables();
            }
            Err(error) => run.report_error(error),
        }
        self.end_request(out);
    }

    /// Calls a procedure by name: `sp_executesql`, `sp_prepare`, `sp_prepexec`, `sp_execute`, `sp_unprepare` and the catalog's.
    /// Emits the statements' results (`in_proc`), then the return status and OUTPUT values; not DONEPROC, which is the protocol's.
    pub fn call(&mut self, procedure: &str, params: Vec<Param>, out: &mut dyn Output) {
        self.start_request();
        let mut run = Run::new(&mut self.state, out, true);
        run.remote_call(procedure, params);
        self.end_request(out);
    }

    /// Transaction manager request: begin, with the isolation level if the client gave one.
    pub fn begin(&mut self, name: &str, isolation: Option<Isolation>, out: &mut dyn Output) -> SqlResult<()> {
        if let Some(isolation) = isolation {
            self.state.isolation = isolation;
        }
        if let Some(tx) = self.state.begin(name) {
            out.env(EnvChange::BeginTran(tx));
        }
        Ok(())
    }

    /// Transaction manager request: commit. Errors: 3902 without a transaction, 3930 in a doomed one.
    pub fn commit(&mut self, name: &str, out: &mut dyn Output) -> SqlResult<()> {
        let _ = name;
        Run::new(&mut self.state, out, false).commit_request()
    }

    /// Transaction manager request: roll back, to a savepoint if `name` is one. Errors: 3903, 6401.
    pub fn rollback(&mut self, name: &str, out: &mut dyn Output) -> SqlResult<()> {
        Run::new(&mut self.state, out, false).rollback_request(name)
    }

    /// Transaction manager request: set a savepoint. Error 628 without a transaction.
    pub fn save(&mut self, name: &str, out: &mut dyn Output) -> SqlResult<()> {
        let _ = out;
        if self.state.save(name) {
            return Ok(());
        }
        Err(SqlError::new(
            628,
            16,
            0,
            "Cannot issue SAVE TRANSACTION when there is no active transaction.",
        ))
    }

    /// The connection is reused (RESETCONNECTION): rolls back, drops temporary tables, restores SET options.
    /// `keep_transaction` is RESETCONNECTIONSKIPTRAN.
    pub fn reset(&mut self, keep_transaction: bool) {
        self.state.bulk = None;
        if !keep_transaction {
            self.state.rollback();
        }
        self.state.reset();
        self.database = self.state.database_name(self.state.database);
    }

    fn start_request(&mut self) {
        let now = self.state.engine.clock().now();
        self.state.engine.change_session(self.state.id, |facts| {
            facts.request = Some((now, "SELECT".to_owned()))
        });
    }

    /// A doomed transaction does not outlive its batch (3998).
    fn end_request(&mut self, out: &mut dyn Output) {
        if self.state.doomed {
            let error = SqlError::user(
                3998,
                "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
            );
            out.message(&error);
            if let Some(tx) = self.state.rollback() {
                out.env(EnvChange::RollbackTran(tx));
            }
            out.done(Done {
                command: Command::None,
                rows: None,
                error: true,
                in_proc: false,
            });
        }
        self.state
            .engine
            .change_session(self.state.id, |facts| facts.request = None);
        self.state.publish();
        self.database = self.state.database_name(self.state.database);
    }
}

impl Drop for Session {
    /// A client that goes away leaves nothing behind: its transaction is rolled back, its temporary tables are gone.
    fn drop(&mut self) {
        self.bulk_cancel();
        self.state.rollback();
        self.state.drop_temporary();
        self.state.engine.unregister(self.state.id);
    }
}

impl Run<'_> {
    fn commit_request(&mut self) -> SqlResult<()> {
        if self.session.transaction.is_none() {
            return Err(SqlError::user(
                3902,
                "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            ));
        }
        self.refuse_if_doomed()?;
        self.end_outermost()
    }

    fn rollback_request(&mut self, name: &str) -> SqlResult<()> {
        if self.session.transaction.is_none() {
            return Err(SqlError::user(
                3903,
                "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.",
            ));
        }
        self.rollback_named((!name.is_empty()).then_some(name))
    }
}
