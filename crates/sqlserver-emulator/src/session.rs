//! One client's session: what the protocol drives. Calls block; each session lives on its own thread.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::collation::Collation;
use crate::engine::Engine;
use crate::error::{SqlError, SqlResult};
use crate::outcome::{Output, ResultColumn};
use crate::types::SqlType;
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
    engine: Arc<Engine>,
    cancel: Arc<AtomicBool>,
}

impl Session {
    /// Authenticates: error 18456 for a wrong login, 4060 for an unknown database.
    pub fn new(engine: &Arc<Engine>, login: LoginInfo) -> SqlResult<Self> {
        let known = engine
            .config()
            .logins
            .iter()
            .any(|l| l.name.eq_ignore_ascii_case(&login.user) && l.password == login.password);
        if !known {
            return Err(SqlError::new(
                18_456,
                14,
                1,
                format!("Login failed for user '{}'.", login.user),
            ));
        }
        Ok(Self {
            engine: Arc::clone(engine),
            cancel: Arc::default(),
        })
    }

    /// The server that this session is connected to.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// `@@SPID`.
    pub fn id(&self) -> u16 {
        51
    }

    /// The current database.
    pub fn database(&self) -> &str {
        "master"
    }

    /// Set by the protocol on ATTENTION; scans, lock waits and WAITFOR look at it. The protocol clears it
    /// when it acknowledges; the engine never does, or an early ATTENTION would be lost.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        false
    }

    /// Runs a batch. Errors and results go to `out`; the last DONE of the batch is emitted here.
    /// A batch whose only statement is `INSERT BULK` leaves its target in `bulk_target`.
    pub fn batch(&mut self, sql: &str, out: &mut dyn Output) {
        let _ = sql;
        out.message(&SqlError::unsupported("batches"));
    }

    /// Calls a procedure by name: `sp_executesql`, `sp_prepare`, `sp_prepexec`, `sp_execute`, `sp_unprepare` and the catalog's.
    /// Emits the statements' results (`in_proc`), then the return status and OUTPUT values; not DONEPROC, which is the protocol's.
    pub fn call(&mut self, procedure: &str, params: Vec<Param>, out: &mut dyn Output) {
        let _ = params;
        out.message(&SqlError::user(
            2812,
            format!("Could not find stored procedure '{procedure}'."),
        ));
    }

    /// Transaction manager request: begin, with the isolation level if the client gave one.
    pub fn begin(&mut self, name: &str, isolation: Option<Isolation>, out: &mut dyn Output) -> SqlResult<()> {
        let _ = (name, isolation, out);
        Err(SqlError::unsupported("transactions"))
    }

    /// Transaction manager request: commit.
    pub fn commit(&mut self, name: &str, out: &mut dyn Output) -> SqlResult<()> {
        let _ = (name, out);
        Err(SqlError::unsupported("transactions"))
    }

    /// Transaction manager request: roll back, to a savepoint if `name` is one.
    pub fn rollback(&mut self, name: &str, out: &mut dyn Output) -> SqlResult<()> {
        let _ = (name, out);
        Err(SqlError::unsupported("transactions"))
    }

    /// Transaction manager request: set a savepoint.
    pub fn save(&mut self, name: &str, out: &mut dyn Output) -> SqlResult<()> {
        let _ = (name, out);
        Err(SqlError::unsupported("transactions"))
    }

    /// The target of an `INSERT BULK` that waits for its rows.
    pub fn bulk_target(&self) -> Option<&BulkTarget> {
        None
    }

    /// One bulk row, in the target's column order. After an error the rest of the stream must be drained and `bulk_end` called.
    pub fn bulk_row(&mut self, row: Vec<Value>) -> SqlResult<()> {
        let _ = row;
        Err(SqlError::unsupported("bulk load"))
    }

    /// The stream ended: emits the error that stopped it, if any, and DONE with the row count.
    pub fn bulk_end(&mut self, out: &mut dyn Output) {
        let _ = out;
    }

    /// The client gave the load up or broke the stream: nothing of it stays.
    pub fn bulk_cancel(&mut self) {}

    /// The connection is reused (RESETCONNECTION): rolls back, drops temporary tables, restores SET options.
    /// `keep_transaction` is RESETCONNECTIONSKIPTRAN.
    pub fn reset(&mut self, keep_transaction: bool) {
        let _ = keep_transaction;
    }
}
