//! The first copy: chunk by chunk in key order, each committed with the bound that it reaches.

use futures::StreamExt;
use model::{Bound, Committed, Mark, Position, Presence, Replace, Result, Staged};

use super::settle::Settled;
use super::stage::{StagedChunk, StagedChunks, Staging};
use super::{Attempt, Session, TableRun, TableSync};

impl TableRun<'_> {
    /// Copies what lies above `through`, then applies the changes since `start`.
    ///
    /// The cut is taken before the first row is read. Each row is read at some moment after it, so replaying the changes since
    /// the cut brings every row to its newest image.
    pub(super) async fn copy(
        &mut self,
        session: &mut Session,
        newest: &Committed,
        start: Option<Position>,
        through: Option<Bound>,
    ) -> Result<Attempt> {
        let start = match start {
            None => self.cut(None).await?,
            Some(start) => {
                // A start whose history is lost cannot be caught up with, however much is copied.
                self.cut(Some(&start)).await?;
                start
            }
        };
        self.tally.mode = "copy".into();
        // A copy may take hours, and what it began with must still be there then.
        self.acknowledge(&start).await;
        let TableSync {
            sync,
            sink,
            target_table,
            ..
        } = self.sync;
        let alone = session.presence == Presence::Absent
            && self
                .retried(|| sink.stages_alone(sync, target_table, &session.schema))
                .await?;
        let staging = if alone { Staging::Alone } else { Staging::Ahead };
        let mut chunks = self
            .staged_chunks(&session.schema, &start, through, session.presence, staging)
            .await?;
        let mut newest = newest.clone();
        let copied = self
            .commit_chunks(session, &mut newest, &start, &mut chunks)
            .await;
        if !matches!(copied, Ok(true)) {
            self.abandon(chunks).await;
            return copied.map(|_| Attempt::Overtaken);
        }
        if !session.schema.has_key() {
            self.tally.reached(&newest, start);
            return Ok(Attempt::Done);
        }
        self.increment(session, newest, start).await
    }

    /// Commits each chunk as it comes, and the end of the copy with the last one. `false` if somebody else committed in
    /// between.
    async fn commit_chunks(
        &mut self,
        session: &mut Session,
        newest: &mut Committed,
        start: &Position,
        chunks: &mut StagedChunks,
    ) -> Result<bool> {
        let done = Mark::At(start.clone());
        while let Some(staged) = chunks.next().await {
            let StagedChunk { chunk, last, outcome } = staged?;
            let mark = if last {
                done.clone()
            } else {
                Mark::Copying {
                    start: start.clone(),
                    through: chunk.through,
                }
            };
            self.tally.staged(&outcome);
            if !self.advance(session, newest, mark, outcome.staged).await? {
                return Ok(false);
            }
        }
        // There was no chunk at all, or none after the one that the copy was resumed from.
        Ok(newest.mark.as_ref() == Some(&done) || self.advance(session, newest, done, vec![]).await?)
    }

    /// Commits one step on top of `newest`, and makes `newest` what the target says afterwards. `false` if somebody else
    /// committed in between.
    pub(super) async fn advance(
        &mut self,
        session: &mut Session,
        newest: &mut Committed,
        mark: Mark,
        staged: Vec<Staged>,
    ) -> Result<bool> {
        let commit = self.commit_on(session, newest, mark, staged, Replace::No);
        if !session.schema.has_key() {
            self.announce(session, &commit.batch).await;
        }
        match self.settle(&commit).await? {
            Settled::Applied(receipt) => {
                *newest = Committed {
                    mark: Some(commit.mark),
                    epoch: commit.epoch,
                    batch: Some(commit.batch),
                    reference: Some(receipt.reference),
                    added: Vec::new(),
                    moment: commit.moment,
                };
                Ok(true)
            }
            Settled::Overtaken => Ok(false),
        }
    }
}
