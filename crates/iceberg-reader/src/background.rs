//! Streams that a task of their own produces, so that decoding overlaps with what the consumer does.

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use model::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Where a producing task puts its items. It waits until the consumer is at most one item behind.
pub(crate) struct Output<T>(mpsc::Sender<T>);

impl<T> Output<T> {
    /// Hands an item over.
    ///
    /// # Errors
    ///
    /// `Cancelled` if the stream was dropped.
    pub(crate) async fn send(&self, item: T) -> Result<()> {
        self.0.send(item).await.map_err(|_| Error::cancelled())
    }
}

/// The items that `work` sends, then its error if it ends with one. Dropping the stream stops the task.
pub(crate) fn produce<T: Send + 'static>(
    work: impl FnOnce(Output<T>) -> BoxFuture<'static, Result<()>>,
) -> BoxStream<'static, Result<T>> {
    let (sender, receiver) = mpsc::channel(1);
    let task = Some(Task(tokio::spawn(work(Output(sender)))));
    stream::unfold((receiver, task), |(mut receiver, mut task)| async move {
        if let Some(item) = receiver.recv().await {
            return Some((Ok(item), (receiver, task)));
        }
        // A task that failed or panicked must not look like the end of the rows.
        let ended = match (&mut task.take()?.0).await {
            Ok(ended) => ended,
            Err(error) => Err(Error::internal("a reading task ended early").caused_by(error)),
        };
        ended.err().map(|error| (Err(error), (receiver, task)))
    })
    .boxed()
}

/// A task that does not outlive the stream it feeds.
struct Task(JoinHandle<Result<()>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn items_come_first_and_an_error_last() {
        let mut stream = produce(|output| {
            Box::pin(async move {
                output.send(1).await?;
                output.send(2).await?;
                Err(Error::internal("three"))
            })
        });
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        assert_eq!(stream.next().await.unwrap().unwrap(), 2);
        assert_eq!(stream.next().await.unwrap().unwrap_err().message(), "three");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_panic_is_not_the_end_of_the_rows() {
        let mut stream = produce::<u8>(|_| Box::pin(async { panic!("defect") }));
        assert!(stream.next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn dropping_the_stream_stops_the_task() {
        let held = Arc::new(());
        let inside = held.clone();
        let stream = produce::<u8>(|_output| {
            Box::pin(async move {
                let _inside = inside;
                std::future::pending().await
            })
        });
        tokio::task::yield_now().await;
        drop(stream);
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
