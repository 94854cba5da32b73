//! One session with a server.
//!
//! The driver's client is taken out of the connection while it works, so that a future that is dropped half-way leaves a
//! connection that is [dead](Connection::is_dead), never one whose protocol state is unknown.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::Stream;
use model::{Error, ErrorKind, Result};

use crate::bulk::BulkColumn;
use crate::tds::Link;
use crate::{ArrowRows, ConnectOptions, Rows, SqlType, Value, session};

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name, without `@`.
    pub name: String,
    /// Its value. Text is bound as `nvarchar`; against a `varchar` column use [`KeyColumn`](crate::KeyColumn)'s expression.
    pub value: Value,
    /// The type of a NULL, and of what should be wider than its value.
    pub ty: Option<SqlType>,
}

impl Param {
    /// A value that names its own type.
    pub fn new(name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            ty: None,
        }
    }

    /// A value of a given type, which a NULL needs.
    pub fn typed(name: impl Into<String>, value: impl Into<Value>, ty: SqlType) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            ty: Some(ty),
        }
    }
}

/// Isolation of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// `READ COMMITTED`.
    ReadCommitted,
    /// `REPEATABLE READ`.
    RepeatableRead,
    /// `SNAPSHOT`; the database must allow it.
    Snapshot,
    /// `SERIALIZABLE`.
    Serializable,
}

/// How a COMMIT ended. The last two are not errors of the statement: they are what the caller must decide on.
#[derive(Debug)]
pub enum CommitEnd {
    /// The server confirmed it.
    Committed,
    /// The server refused it and has rolled back.
    Refused(Error),
    /// The link was lost, or no answer came, while the server may have committed. The connection is dead.
    Unknown(Error),
}

/// A session with a server. Dropping it closes the link; the server then rolls back what is open.
#[derive(Debug)]
pub struct Connection {
    link: Option<Link>,
    target: String,
    command_timeout: Option<Duration>,
}

/// How long a COMMIT may take before its outcome is called unknown.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(300);

impl Connection {
    /// Connects, sets the session up and reads the settings back.
    ///
    /// # Errors
    ///
    /// `Config` for bad options and unreadable certificate files, `Denied` for a refused login, `NotFound` for an unknown
    /// database, `Unavailable` for a server that does not answer or whose certificate is not trusted.
    pub async fn open(options: &ConnectOptions) -> Result<Self> {
        options.validate()?;
        let link = Link::connect(options)
            .await
            .map_err(|error| error.with("server", options.target()))?;
        let timeout = u64::from(options.command_timeout_seconds);
        let mut connection = Self {
            link: Some(link),
            target: options.target(),
            command_timeout: (timeout > 0).then(|| Duration::from_secs(timeout)),
        };
        session::set_up(&mut connection, options).await?;
        Ok(connection)
    }

    /// Whether it can no longer be used: the link is lost, or a call was abandoned half-way.
    pub fn is_dead(&self) -> bool {
        self.link.as_ref().is_none_or(Link::is_dead)
    }

    /// Runs a batch and returns the rows of its **first** result set; what follows is read and dropped. Without parameters the
    /// text is a batch of its own, with parameters it goes through `sp_executesql`.
    ///
    /// # Errors
    ///
    /// By the server's error number; `Unavailable` for a lost link.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves a dead connection.
    pub async fn query(&mut self, sql: &str, params: &[Param]) -> Result<Rows> {
        let mut link = self.take()?;
        let result = self.limited(link.query(sql, params)).await;
        self.give_back(link, &result);
        result
    }

    /// Runs a batch and returns the count of each statement that has one, in order.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    ///
    /// # Cancel safety
    ///
    /// As [`Connection::query`].
    pub async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<Vec<u64>> {
        let mut link = self.take()?;
        let result = self.limited(link.execute(sql, params)).await;
        self.give_back(link, &result);
        result
    }

    /// Reads the rows of one SELECT as Arrow batches of `schema`'s columns, by position. `schema` is that of
    /// [`TableInfo::schema`](crate::TableInfo::schema); the select list is that of
    /// [`TableInfo::select_list`](crate::TableInfo::select_list).
    ///
    /// Dropping the stream closes the connection; nothing is drained. [`ArrowRows::finish`] gives it back.
    pub fn select_arrow(
        mut self,
        sql: impl Into<String>,
        params: Vec<Param>,
        schema: SchemaRef,
        batch_rows: usize,
    ) -> ArrowRows {
        let link = self.take();
        ArrowRows::start(self, link, sql.into(), params, schema, batch_rows)
    }

    /// Loads rows into the columns `columns` of `table`, which must be quoted already, and returns how many were sent. NULLs
    /// stay NULL; identity values are kept when their column is listed. Constraints are checked and triggers do not fire.
    ///
    /// # Errors
    ///
    /// `Data`, naming the column, for a value that the column cannot hold exactly; else as [`Connection::query`].
    ///
    /// # Cancel safety
    ///
    /// As [`Connection::query`]; the load is cancelled on the server.
    pub async fn bulk_load<S>(&mut self, table: &str, columns: &[BulkColumn], rows: S) -> Result<u64>
    where
        S: Stream<Item = Result<RecordBatch>> + Send,
    {
        let link = self.take()?;
        let (link, result) = crate::bulk::load(link, table, Arc::from(columns), rows).await;
        if let Some(link) = link {
            self.give_back(link, &result);
        }
        result
    }

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn begin(&mut self, isolation: Isolation) -> Result<()> {
        let mut link = self.take()?;
        let result = self.limited(link.begin(isolation)).await;
        self.give_back(link, &result);
        result
    }

    /// Commits the transaction.
    pub async fn commit(&mut self) -> CommitEnd {
        let mut link = match self.take() {
            Ok(link) => link,
            // Nothing was sent, so the server has rolled back with the link.
            Err(error) => return CommitEnd::Refused(error),
        };
        match tokio::time::timeout(COMMIT_TIMEOUT, link.commit()).await {
            Ok(Ok(())) => {
                self.link = Some(link);
                CommitEnd::Committed
            }
            Ok(Err(error)) if link.is_dead() || !error.is_answer() => CommitEnd::Unknown(error.into_error()),
            Ok(Err(error)) => {
                self.link = Some(link);
                CommitEnd::Refused(error.into_error())
            }
            Err(_) => CommitEnd::Unknown(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the server did not answer a COMMIT within {} s",
                    COMMIT_TIMEOUT.as_secs()
                ),
            )),
        }
    }

    /// Rolls the transaction back. Does nothing if none is open.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn rollback(&mut self) -> Result<()> {
        let mut link = self.take()?;
        let result = self.limited(link.rollback()).await;
        self.give_back(link, &result);
        result
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.link.as_ref().is_some_and(Link::in_transaction)
    }

    pub(crate) fn take(&mut self) -> Result<Link> {
        match self.link.take() {
            Some(link) if !link.is_dead() => Ok(link),
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                format!("the connection to {} is closed", self.target),
            )),
        }
    }

    /// Keeps the link for the next call, unless its state is unknown.
    pub(crate) fn give_back<T>(&mut self, link: Link, result: &Result<T>) {
        let lost = result
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Unavailable);
        if !lost && !link.is_dead() {
            self.link = Some(link);
        }
    }

    async fn limited<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.command_timeout {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "a statement took longer than {} s and was given up",
                        limit.as_secs()
                    ),
                )
                .hint("raise `command_timeout_seconds`, or find out what the statement waits for"))
            }),
        }
    }
}
