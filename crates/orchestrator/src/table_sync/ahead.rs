//! Reading ahead: the source delivers while the target is being written.

use futures::stream::{BoxStream, StreamExt, unfold};
use model::{Error, Result};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// The items of `stream`, which is read by a task of its own, one ahead: the next is read once the last has been taken. Dropping the result
/// ends that.
pub(super) fn ahead<T: Send + 'static>(
    mut stream: BoxStream<'static, Result<T>>,
) -> BoxStream<'static, Result<T>> {
    let (sender, receiver) = mpsc::channel(1);
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok(room) = sender.reserve().await {
            match stream.next().await {
                Some(item) => room.send(item),
                None => break,
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
    items.boxed()
}

#[cfg(test)]
mod tests {
    use futures::stream::iter;

    use super::*;

    #[tokio::test]
    async fn everything_comes_in_order_and_once() {
        let numbers: Vec<_> = ahead(iter((0..100).map(Ok)).boxed())
            .map(Result::unwrap)
            .collect()
            .await;
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_reader_that_breaks_off_is_an_error() {
        let broken = iter(0..).map(|number| match number {
            0..3 => Ok(number),
            _ => panic!("as ordered"),
        });
        let items: Vec<_> = ahead(broken.boxed()).collect().await;
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
        drop(ahead(endless.boxed()));
        assert!(is_ended.await.is_err());
    }
}
