//! Connections that wait for their next use.

use std::sync::{Mutex, PoisonError};

use model::Result;
use sqlserver_client::{ConnectOptions, Connection};

/// At most this many connections are kept open without use.
const IDLE: usize = 8;

/// Opens connections and keeps a few. A connection is put back only after its work ended well and with no
/// transaction; whatever else happens to it, it is closed.
#[derive(Debug)]
pub(crate) struct Pool {
    options: ConnectOptions,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// The pool's sessions have a program name of their own, by which they do not wait for one another.
    pub(crate) fn new(options: ConnectOptions) -> Self {
        Self {
            options: options.for_one_pool(),
            idle: Mutex::default(),
        }
    }

    /// A connection of one's own.
    pub(crate) async fn take(&self) -> Result<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.options).await,
        }
    }

    /// Gives a connection back.
    pub(crate) fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_dead() && !connection.in_transaction() && idle.len() < IDLE {
            idle.push(connection);
        }
    }
}
