//! The looks at one source's tables: those that are due go out together, as one question.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::{ChangeSource, Look, Position, TableName};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

/// Looks that take longer are given up for cycles: the source does not answer.
const LOOK: Duration = Duration::from_secs(30);

/// A table that is to be looked at.
struct Wish {
    table: TableName,
    after: Position,
    due: Instant,
    answer: oneshot::Sender<Look>,
}

/// Where tables of a source are brought to be looked at.
#[derive(Clone)]
pub(super) struct Lookout {
    source: Arc<dyn ChangeSource>,
    wishes: mpsc::UnboundedSender<Wish>,
}

impl Lookout {
    /// Its looks go out for as long as the future is driven, which ends with the last clone.
    pub(super) fn new(source: Arc<dyn ChangeSource>) -> (Self, impl Future<Output = ()> + Send) {
        let (wishes, brought) = mpsc::unbounded_channel();
        let looking = look(source.clone(), brought);
        (Self { source, wishes }, looking)
    }

    pub(super) fn is_of(&self, source: &Arc<dyn ChangeSource>) -> bool {
        Arc::ptr_eq(&self.source, source)
    }

    /// Looks at a table once it is due.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the table off the list.
    pub(super) async fn look(&self, table: &TableName, after: &Position, due: Instant) -> Look {
        let (answer, answered) = oneshot::channel();
        let wish = Wish {
            table: table.clone(),
            after: after.clone(),
            due,
            answer,
        };
        // Nobody looks any more only if everything is being broken off.
        let _ = self.wishes.send(wish);
        answered.await.unwrap_or(Look::Perhaps)
    }
}

/// Collects tables until the first of them is due, and asks for all that are.
async fn look(source: Arc<dyn ChangeSource>, mut brought: mpsc::UnboundedReceiver<Wish>) {
    let mut waiting: Vec<Wish> = Vec::new();
    let mut asking = FuturesUnordered::new();
    loop {
        let first = waiting.iter().map(|wish| wish.due).min();
        tokio::select! {
            // What was brought comes first, so that it is asked for together with the rest.
            biased;
            wish = brought.recv() => match wish {
                Some(wish) => waiting.push(wish),
                None => return,
            },
            () = due(first) => {
                let now = Instant::now();
                waiting.retain(|wish| !wish.answer.is_closed());
                let together: Vec<_> = waiting.extract_if(.., |wish| wish.due <= now).collect();
                asking.push(ask(&*source, together));
            }
            Some(()) = asking.next() => {}
        }
    }
}

async fn due(first: Option<Instant>) {
    match first {
        Some(first) => sleep_until(first).await,
        None => std::future::pending().await,
    }
}

/// One question for all these tables. In their order by name, it is the same one each time that they are asked for together.
async fn ask(source: &dyn ChangeSource, mut wishes: Vec<Wish>) {
    if wishes.is_empty() {
        return;
    }
    wishes.sort_by(|one, other| one.table.cmp(&other.table));
    let tables: Vec<_> = wishes
        .iter()
        .map(|wish| (wish.table.clone(), wish.after.clone()))
        .collect();
    let looks = match timeout(LOOK, source.may_have_changed(&tables)).await {
        Ok(Ok(looks)) => looks,
        Ok(Err(error)) => {
            tracing::warn!(tables = tables.len(), %error, "the source does not tell what has changed; cycles find out");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(
                tables = tables.len(),
                "the source takes long to tell what has changed; cycles find out"
            );
            Vec::new()
        }
    };
    // Who gets no answer takes it for a perhaps.
    for (wish, look) in wishes.into_iter().zip(looks) {
        // A table that is not followed any more does not listen.
        let _ = wish.answer.send(look);
    }
}
