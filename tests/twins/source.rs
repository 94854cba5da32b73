//! A source without a rule. Positions of the SQL Server source are JSON; a twin's ones are made from the engine's.

use std::pin::Pin;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use async_trait::async_trait;
use cdc::Ticks;
use futures::{Stream, StreamExt};
use model::{
    Batches, Bound, ChangeSource, Chunk, Cut, Description, Position, Result, Selection, SourceEvent,
    TableName, TableSchema,
};
use serde_json::Value;
use sqlserver_client::{ConnectOptions, Connection};

use super::{Memory, Rule};

/// The grain of `datetime2(3)` in ticks of 100 ns.
const MILLISECOND: i64 = 10_000;

type Events = Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>;

pub(super) struct TwinSource {
    inner: Arc<dyn ChangeSource>,
    without: Rule,
    server: ConnectOptions,
    memory: Arc<Memory>,
}

impl TwinSource {
    pub(super) fn new(
        inner: Arc<dyn ChangeSource>,
        without: Rule,
        server: ConnectOptions,
        memory: Arc<Memory>,
    ) -> Self {
        Self {
            inner,
            without,
            server,
            memory,
        }
    }

    /// How long ago the oldest transaction wrote its first log record, in ticks.
    async fn oldest_log_record(&self) -> i64 {
        let mut options = self.server.clone();
        options.application_name = "test".to_owned();
        let mut connection = Connection::open(&options).await.unwrap();
        let sql =
            "SELECT MAX(DATEDIFF_BIG(millisecond, database_transaction_begin_time, SYSDATETIME())) AS age
                   FROM sys.dm_tran_database_transactions WHERE database_transaction_begin_time IS NOT NULL";
        let rows = connection.query(sql, &[]).await.unwrap();
        rows.one().unwrap().i64("age").unwrap().unwrap_or(0) * MILLISECOND
    }
}

/// Changes the JSON of a position.
pub(crate) fn tampered(position: &Position, tamper: impl FnOnce(&mut Value)) -> Position {
    let mut value = serde_json::from_str(&position.value).unwrap();
    tamper(&mut value);
    Position {
        value: value.to_string(),
        ..position.clone()
    }
}

fn ticks(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

/// The greatest `updated_at` among the changes.
pub(crate) fn greatest(event: &SourceEvent) -> Option<Ticks> {
    let SourceEvent::Changes(batch) = event else {
        return None;
    };
    let times = batch.rows.column_by_name("updated_at").unwrap();
    let times = times.as_primitive::<TimestampMicrosecondType>();
    times.iter().flatten().max().map(Ticks::from_unix_micros)
}

/// The same events, with boundaries at the greatest time that was read.
fn moved_by_every_row(events: Events) -> Events {
    let mut watermark = Ticks::MIN;
    let moved = events.map(move |event| {
        let event = event?;
        watermark = watermark.max(greatest(&event).unwrap_or(Ticks::MIN));
        Ok(match event {
            SourceEvent::Boundary { at } => SourceEvent::Boundary {
                at: tampered(&at, |at| {
                    at["watermark"] = ticks(&at["watermark"]).max(watermark.0).into();
                }),
            },
            changes => changes,
        })
    });
    moved.boxed()
}

#[async_trait]
impl ChangeSource for TwinSource {
    async fn describe(&self, table: &TableName) -> Result<Description> {
        self.inner.describe(table).await
    }

    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut> {
        let mut cut = self.inner.cut(table, after).await?;
        let Cut::Complete { upto, .. } = &mut cut else {
            return Ok(cut);
        };
        match self.without {
            Rule::EndBeforeOpenTransactions => {
                *upto = tampered(upto, |upto| upto["watermark"] = upto["now"].clone());
            }
            Rule::CountTransactionsThatLoggedNothing => {
                let age = self.oldest_log_record().await;
                *upto = tampered(upto, |upto| {
                    upto["watermark"] = (ticks(&upto["now"]) - age - 1_000 * MILLISECOND).into();
                });
            }
            Rule::ReplayTheCopy if after.is_none() => self.memory.starts().push(upto.clone()),
            _ => {}
        }
        Ok(cut)
    }

    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        self.inner.chunks(table, schema, start, after, rows).await
    }

    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches> {
        self.inner.read(table, schema, selection, at).await
    }

    async fn changes(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<Events> {
        let after = match self.without {
            Rule::ReplayTheCopy if self.memory.starts().contains(after) => {
                let end = SourceEvent::Boundary { at: upto.clone() };
                return Ok(futures::stream::iter([Ok(end)]).boxed());
            }
            Rule::BeginAtTheWatermark => &tampered(after, |after| {
                after["watermark"] = (ticks(&after["watermark"]) + MILLISECOND).into();
            }),
            _ => after,
        };
        let events = self.inner.changes(table, schema, after, upto).await?;
        Ok(match self.without {
            Rule::KeepTheWatermarkFromTheFuture => moved_by_every_row(events),
            _ => events,
        })
    }

    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        self.inner.acknowledge(table, upto).await
    }
}
