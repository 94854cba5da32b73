//! Connections that wait for their next use.

use std::sync::{Mutex, PoisonError};

use model::{Error, ErrorKind, Result};
use sqlserver_client::{ConnectOptions, Connection};

/// At most this many connections are kept open without use.
const IDLE: usize = 8;

/// Opens connections and keeps a few. A connection is put back only after its work ended well and with no
/// transaction; whatever else happens to it, it is closed. A pool of one connection has that alone, which is in a transaction all the time.
#[derive(Debug)]
pub(crate) struct Pool {
    /// `None` in a pool of one.
    options: Option<ConnectOptions>,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// The pool's sessions have a program name of their own, by which they do not wait for one another.
    pub(crate) fn new(options: ConnectOptions) -> Self {
        Self {
            options: Some(options.for_one_pool()),
            idle: Mutex::default(),
        }
    }

    /// A pool whose users see what the transaction of this connection sees. It has one user at a time.
    pub(crate) fn of_one(connection: Connection) -> Self {
        Self {
            options: None,
            idle: Mutex::new(vec![connection]),
        }
    }

    /// A connection of one's own.
    pub(crate) async fn take(&self) -> Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match (idle, &self.options) {
            (Some(connection), _) => Ok(connection),
            (None, Some(options)) => Connection::open(options).await,
            (None, None) => Err(Error::new(
                ErrorKind::Transient,
                "the transaction in which tables are read as of one moment was lost",
            )),
        }
    }

    /// Gives a connection back.
    pub(crate) fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_one = self.options.is_none();
        if !connection.is_dead() && connection.in_transaction() == is_one && idle.len() < IDLE {
            idle.push(connection);
        }
    }
}
