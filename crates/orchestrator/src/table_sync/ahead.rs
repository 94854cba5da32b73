//! Reading ahead: the source delivers while the target is being written.

use futures::stream::{Stream, StreamExt, unfold};
use model::{Error, Result};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Events that wait at most. What waits is in no budget of memory, and one is enough to keep both sides at work.
const WAITING: usize = 1;

/// The items of `stream`, which is read by a task of its own. Dropping the result ends that.
pub(super) fn ahead<T: Send + 'static>(
    mut stream: impl Stream<Item = Result<T>> + Send + Unpin + 'static,
) -> impl Stream<Item = Result<T>> + Send + Unpin {
    let (sender, receiver) = mpsc::channel(WAITING);
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(item) = stream.next().await {
            if sender.send(item).await.is_err() {
                break;
            }
        }
    }));
    let items = unfold(Some((receiver, task)), |state| async move {
        let (mut receiver, task) = state?;
        match receiver.recv().await {
            Some(item) => Some((item, Some((receiver, task)))),
            // A task that broke off has not read everything.
            None => match task.await {
                Ok(()) => None,
                Err(e) => {
                    let error = Error::internal("reading the source ended early").caused_by(e);
                    Some((Err(error), None))
                }
            },
        }
    });
    Box::pin(items)
}

#[cfg(test)]
mod tests {
    use futures::stream::iter;

    use super::*;

    #[tokio::test]
    async fn everything_comes_in_order_and_once() {
        let numbers: Vec<_> = ahead(iter((0..100).map(Ok))).map(Result::unwrap).collect().await;
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_reader_that_breaks_off_is_an_error() {
        let broken = iter(0..).map(|number| match number {
            0..3 => Ok(number),
            _ => panic!("as ordered"),
        });
        let items: Vec<_> = ahead(broken).collect().await;
        let last = items.last().unwrap().as_ref().unwrap_err();
        assert_eq!((items.len(), last.kind()), (4, model::ErrorKind::Internal));
    }

    #[tokio::test]
    async fn dropping_it_ends_the_reading() {
        let (ended, is_ended) = tokio::sync::oneshot::channel::<()>();
        let endless = iter(std::iter::repeat_with(move || {
            let _kept = &ended;
            Ok(())
        }));
        drop(ahead(endless));
        assert!(is_ended.await.is_err());
    }
}
