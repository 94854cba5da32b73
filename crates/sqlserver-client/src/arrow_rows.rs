//! A result as a stream of Arrow batches.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::Stream;
use model::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::tds::Link;
use crate::{Connection, Param};

/// Batches that are decoded ahead of the reader.
const AHEAD: usize = 2;

/// The rows of a SELECT. A task of its own decodes them, so that decoding and what follows run side by side; it is stopped, and its
/// connection closed, when the stream is dropped.
#[derive(Debug)]
pub struct ArrowRows {
    batches: mpsc::Receiver<Result<RecordBatch>>,
    reader: Reader,
    connection: Connection,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    /// Every row has been handed over.
    Ended(Box<Link>),
    Failed,
}

/// Aborted when dropped: the link goes with the task.
#[derive(Debug)]
struct Reader(JoinHandle<Option<Link>>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ArrowRows {
    pub(crate) fn start(
        connection: Connection,
        link: Result<Link>,
        sql: String,
        params: Vec<Param>,
        schema: SchemaRef,
        batch_rows: usize,
    ) -> Self {
        let (sender, batches) = mpsc::channel(AHEAD);
        let reader = tokio::spawn(async move {
            match link {
                Ok(link) => read(link, &sql, &params, &schema, batch_rows, &sender).await,
                Err(error) => {
                    // A receiver that is gone wants no error either.
                    let _ = sender.send(Err(error)).await;
                    None
                }
            }
        });
        Self {
            batches,
            reader: Reader(reader),
            connection,
            state: State::Reading,
        }
    }

    /// Gives the connection back after the last batch.
    ///
    /// # Errors
    ///
    /// `Internal` if the stream has not ended, or ended with an error.
    pub fn finish(mut self) -> Result<Connection> {
        match self.state {
            State::Ended(link) => {
                self.connection.give_back(*link, &Ok(()));
                Ok(self.connection)
            }
            _ => Err(Error::internal("a stream of rows was finished before its end")),
        }
    }
}

async fn read(
    mut link: Link,
    sql: &str,
    params: &[Param],
    schema: &SchemaRef,
    batch_rows: usize,
    sender: &mpsc::Sender<Result<RecordBatch>>,
) -> Option<Link> {
    if let Err(error) = link.start_arrow(sql, params, schema).await {
        let _ = sender.send(Err(error)).await;
        return None;
    }
    loop {
        match link.next_arrow(schema, batch_rows).await {
            Ok(Some(batch)) => sender.send(Ok(batch)).await.ok()?,
            Ok(None) => return Some(link),
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return None;
            }
        }
    }
}

impl Stream for ArrowRows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !matches!(self.state, State::Reading) {
            return Poll::Ready(None);
        }
        if let Some(next) = ready!(self.batches.poll_recv(cx)) {
            if next.is_err() {
                self.state = State::Failed;
            }
            return Poll::Ready(Some(next));
        }
        // No more batches is the end only if the reader says so: it may have died.
        match ready!(Pin::new(&mut self.reader.0).poll(cx)) {
            Ok(Some(link)) => {
                self.state = State::Ended(Box::new(link));
                Poll::Ready(None)
            }
            Ok(None) => {
                self.state = State::Failed;
                Poll::Ready(Some(Err(Error::internal("the rows ended without their end"))))
            }
            Err(error) => {
                self.state = State::Failed;
                Poll::Ready(Some(Err(
                    Error::internal("the task that reads rows failed").caused_by(error)
                )))
            }
        }
    }
}
