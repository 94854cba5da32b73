//! Bulk load: Arrow batches to `INSERT BULK`.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::{Stream, StreamExt};
use model::{Error, Result};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::SqlType;
use crate::tds::Link;

/// Batches that wait for the loading thread.
const AHEAD: usize = 2;

/// A column that rows are loaded into, with the type it has on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkColumn {
    /// Its name.
    pub name: String,
    /// Its type, which must be the server's. `text`, `ntext`, `image` and `rowversion` cannot be loaded.
    pub ty: SqlType,
}

/// What the loading thread is told.
pub(crate) enum Feed {
    Batch(RecordBatch),
    /// All rows have been sent. Without it the load is cancelled.
    End,
}

/// Loads on a thread of its own, because the driver takes its rows from an iterator that blocks. Returns the link unless the thread
/// took it down.
pub(crate) async fn load<S>(
    link: Link,
    table: &str,
    columns: Arc<[BulkColumn]>,
    rows: S,
) -> (Option<Link>, Result<u64>)
where
    S: Stream<Item = Result<RecordBatch>> + Send,
{
    let (sender, receiver) = mpsc::channel(AHEAD);
    let table = table.to_owned();
    let runtime = Handle::current();
    let loader = tokio::task::spawn_blocking(move || {
        let mut link = link;
        let result = runtime.block_on(link.bulk_load(&table, &columns, receiver));
        (link, result)
    });
    let fed = feed(rows, &sender).await;
    drop(sender);
    match (loader.await, fed) {
        (Ok((link, _)), Err(error)) => (Some(link), Err(error)),
        (Ok((link, result)), Ok(())) => (Some(link), result),
        (Err(error), _) => (
            None,
            Err(Error::internal("the loading thread failed").caused_by(error)),
        ),
    }
}

/// Hands the batches over; stops early, without an error, when the loader has stopped.
async fn feed<S>(rows: S, sender: &mpsc::Sender<Feed>) -> Result<()>
where
    S: Stream<Item = Result<RecordBatch>> + Send,
{
    let mut rows = std::pin::pin!(rows);
    while let Some(batch) = rows.next().await {
        if sender.send(Feed::Batch(batch?)).await.is_err() {
            return Ok(());
        }
    }
    // The loader tells why, if it has stopped.
    let _ = sender.send(Feed::End).await;
    Ok(())
}
