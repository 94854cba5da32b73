//! A client of the driver, used by one call at a time.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use model::{Error, ErrorKind, Result};
use mssql_tds::connection::tds_client::{BufferedRowPoll, ResultSet, StatementResult, TdsClient};
use mssql_tds::core::TdsResult;
use mssql_tds::message::transaction_management::TransactionIsolationLevel;

use super::arrow_writer::{ArrowWriter, Room};
use super::value_writer::ValueWriter;
use super::{LinkError, connect, param};
use crate::{ConnectOptions, Isolation, Param, Rows};

pub(crate) struct Link {
    pub(super) client: TdsClient,
    /// Whether a result of [`Link::start_arrow`] has not been read to its end.
    reading: bool,
    /// What its last batch took.
    room: Room,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("dead", &self.is_dead()).finish()
    }
}

fn failed(error: impl Into<LinkError>) -> Error {
    error.into().into_error()
}

impl Link {
    pub(crate) async fn connect(options: &ConnectOptions) -> Result<Self> {
        let client = connect::connect(options)
            .await
            .map_err(LinkError::into_connect_error)?;
        Ok(Self {
            client,
            reading: false,
            room: Room::default(),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.client.is_connection_dead()
    }

    pub(crate) fn in_transaction(&self) -> bool {
        self.client.has_active_transaction()
    }

    async fn send(&mut self, sql: &str, params: &[Param]) -> Result<StatementResult> {
        if params.is_empty() {
            return self.client.execute(sql.to_owned(), ()).await.map_err(failed);
        }
        let params = params.iter().map(param::parameter).collect::<Result<Vec<_>>>()?;
        self.client
            .execute_sp_executesql(sql.to_owned(), params, ())
            .await
            .map_err(failed)
    }

    /// Sends a batch and goes to its first result set; `false` if it has none.
    async fn send_for_rows(&mut self, sql: &str, params: &[Param]) -> Result<bool> {
        match self.send(sql, params).await? {
            StatementResult::Rows => Ok(true),
            StatementResult::End => Ok(false),
            StatementResult::NoRows { .. } => self.client.advance_to_rows().await.map_err(failed),
        }
    }

    pub(crate) async fn query(&mut self, sql: &str, params: &[Param]) -> Result<Rows> {
        let mut rows = Rows::default();
        if self.send_for_rows(sql, params).await? {
            rows.columns = self.column_names();
            let mut writer = ValueWriter::default();
            while self.client.next_row_into(&mut writer).await.map_err(failed)? {
                match writer.take_row() {
                    Ok(row) => rows.rows.push(row),
                    Err(error) => {
                        self.close().await?;
                        return Err(error);
                    }
                }
            }
        }
        self.close().await?;
        Ok(rows)
    }

    fn column_names(&self) -> Vec<String> {
        self.client
            .get_metadata()
            .iter()
            .map(|column| column.column_name.clone())
            .collect()
    }

    pub(crate) async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<Vec<u64>> {
        let mut counts = Vec::new();
        let mut result = self.send(sql, params).await?;
        loop {
            match result {
                StatementResult::NoRows { rows_affected } => counts.extend(rows_affected),
                StatementResult::Rows => {}
                StatementResult::End => break,
            }
            result = self.client.advance().await.map_err(failed)?;
        }
        self.close().await?;
        Ok(counts)
    }

    async fn close(&mut self) -> Result<()> {
        self.client.close_query().await.map_err(failed)
    }

    /// Sends a SELECT whose columns are those of `schema`.
    pub(crate) async fn start_arrow(
        &mut self,
        sql: &str,
        params: &[Param],
        schema: &SchemaRef,
    ) -> Result<()> {
        if !self.send_for_rows(sql, params).await? {
            return Err(Error::internal(
                "a statement that should select rows returned none",
            ));
        }
        let names = self.column_names();
        let expected: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        if names != expected {
            return Err(Error::new(
                ErrorKind::SchemaMismatch,
                format!("a SELECT returned the columns {names:?} where {expected:?} were expected"),
            ));
        }
        self.reading = true;
        self.room = Room::default();
        Ok(())
    }

    /// Reads the next batch; `None` at the end of the result.
    pub(crate) async fn next_arrow(
        &mut self,
        schema: &SchemaRef,
        rows: usize,
    ) -> Result<Option<RecordBatch>> {
        let mut writer = ArrowWriter::new(schema, rows, &self.room)?;
        while self.reading && !writer.is_full() {
            self.reading = self.next_row(&mut writer).await.map_err(failed)?;
            writer.check()?;
            if !self.reading {
                self.close().await?;
            }
        }
        self.room = writer.room();
        writer.finish()
    }

    /// Whether there was another row. One that has arrived is decoded without a future of its own.
    async fn next_row(&mut self, writer: &mut ArrowWriter) -> TdsResult<bool> {
        match self.client.try_next_buffered_row_into(writer)? {
            BufferedRowPoll::Complete => Ok(true),
            BufferedRowPoll::Partial => self.client.finish_row_into(writer).await.map(|()| true),
            BufferedRowPoll::Pending | BufferedRowPoll::Exhausted => self.client.next_row_into(writer).await,
        }
    }

    pub(crate) async fn begin(&mut self, isolation: Isolation) -> Result<()> {
        let level = match isolation {
            Isolation::ReadCommitted => TransactionIsolationLevel::ReadCommitted,
            Isolation::RepeatableRead => TransactionIsolationLevel::RepeatableRead,
            Isolation::Snapshot => TransactionIsolationLevel::Snapshot,
            Isolation::Serializable => TransactionIsolationLevel::Serializable,
        };
        self.client.begin_transaction(level, None).await.map_err(failed)
    }

    pub(crate) async fn commit(&mut self) -> std::result::Result<(), LinkError> {
        Ok(self.client.commit_transaction(None, None).await?)
    }

    pub(crate) async fn rollback(&mut self) -> Result<()> {
        if !self.in_transaction() {
            return Ok(());
        }
        self.client.rollback_transaction(None, None).await.map_err(failed)
    }
}
