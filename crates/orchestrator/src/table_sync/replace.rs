//! The whole table again, in one commit: readers see the old rows until they see the new ones.

use futures::StreamExt;
use model::{Committed, Mark, Presence, Replace, Result, Tracking};

use super::settle::Settled;
use super::stage::{StagedChunk, Staging};
use super::{Attempt, Session, TableRun};

impl TableRun<'_> {
    /// Stages every chunk, commits them together, then applies the changes since the cut where changes are tracked.
    pub(super) async fn replace(&mut self, session: &mut Session, newest: &Committed) -> Result<Attempt> {
        let start = self.cut(None).await?;
        self.tally.mode = "full".into();
        let done = Mark::At(start.clone());
        if !session.full && newest.mark.as_ref() == Some(&done) && newest.added.is_empty() {
            // The source is where it was, an Iceberg table for example at the same snapshot.
            self.tally.reached(newest, start);
            return Ok(Attempt::Done);
        }
        // Nothing of the present rows stays, so no staged row can be there already.
        let mut chunks = self
            .staged_chunks(&session.schema, &start, None, Presence::Absent, Staging::Ahead)
            .await?;
        let mut staged = Vec::new();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(StagedChunk { outcome, .. }) => {
                    self.tally.staged(&outcome);
                    staged.extend(outcome.staged);
                }
                Err(error) => {
                    self.discard(staged).await;
                    self.abandon(chunks).await;
                    return Err(error);
                }
            }
        }
        let commit = self.commit_on(session, newest, done, staged, Replace::Table);
        if let Settled::Overtaken = self.settle(&commit).await? {
            return Ok(Attempt::Overtaken);
        }
        session.full = false;
        // A target that held the same rows already may have left its mark where it was.
        let newest = self.committed().await?;
        if session.schema.has_key() && matches!(session.tracking, Tracking::Incremental { .. }) {
            return self.increment(session, newest, start).await;
        }
        self.tally.reached(&newest, start);
        Ok(Attempt::Done)
    }
}
