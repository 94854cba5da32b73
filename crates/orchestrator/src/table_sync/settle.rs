//! A commit, followed until it is known how it ended.

use model::{Commit, CommitOutcome, Committed, Error, ErrorKind, Mark, Receipt, Replace, Result, Staged};

use super::{Session, TableRun};
use crate::progress::ProgressEvent;

/// How a commit ended.
#[derive(Debug)]
pub(super) enum Settled {
    /// It happened.
    Applied(Receipt),
    /// It did not happen, because somebody else has moved the mark that it was built on.
    Overtaken,
}

impl TableRun<'_> {
    /// A commit with a new batch id on top of `newest`.
    pub(super) fn commit_on(
        &self,
        session: &Session,
        newest: &Committed,
        mark: Mark,
        staged: Vec<Staged>,
        replace: Replace,
    ) -> Commit {
        let is_at_moment = matches!(&mark, Mark::At(at) if Some(at) == self.upto.as_ref());
        Commit {
            sync: self.sync.sync.clone(),
            table: self.sync.target_table.clone(),
            schema: session.schema.clone(),
            batch: self.runner.ids.batch_id(),
            epoch: session.epoch,
            after: newest.mark.clone(),
            mark,
            staged,
            replace,
            moment: self.moment.clone().filter(|_| is_at_moment),
        }
    }

    /// Commits, and finds out what became of it.
    ///
    /// An unknown outcome may still become a commit. While the target is where the commit was built on, the same commit is
    /// sent again: at most one of the two can win, and the answer tells. What was staged is thrown away only if no sending
    /// of it is in doubt; otherwise it may be what the target now consists of.
    ///
    /// Cancelling the run does not interrupt a commit that was sent.
    pub(super) async fn settle(&mut self, commit: &Commit) -> Result<Settled> {
        if self.cancel.is_cancelled() {
            self.throw_away(commit, false).await;
            return Err(Error::cancelled());
        }
        let mut in_doubt = false;
        let backoff = self.backoff();
        loop {
            match self.sync.sink.commit(commit).await {
                Ok(CommitOutcome::Committed(receipt)) => return Ok(self.applied(commit, receipt)),
                Ok(CommitOutcome::Conflict { newest }) => {
                    return self.conflicted(commit, newest, in_doubt).await;
                }
                Ok(CommitOutcome::Unknown { why }) => {
                    in_doubt = true;
                    backoff.pause(unknown(commit, &why)).await?;
                    let newest = self.committed().await?;
                    let ours = newest.batch.as_ref() == Some(&commit.batch);
                    if !ours && newest.mark != commit.after {
                        return self.conflicted(commit, newest, in_doubt).await;
                    }
                }
                Err(error) => {
                    if let Err(error) = backoff.pause(error).await {
                        self.throw_away(commit, in_doubt).await;
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn conflicted(&mut self, commit: &Commit, newest: Committed, in_doubt: bool) -> Result<Settled> {
        if newest.batch.as_ref() == Some(&commit.batch) {
            self.tally.warn(format!(
                "batch {} was committed, but the target no longer tells how many rows it changed",
                commit.batch
            ));
            let receipt = Receipt {
                reference: newest.reference.unwrap_or_default(),
                ..Receipt::default()
            };
            return Ok(self.applied(commit, receipt));
        }
        self.throw_away(commit, in_doubt).await;
        self.not_fenced(commit.epoch, &newest)?;
        if newest.mark == commit.after {
            return Err(void(commit));
        }
        tracing::info!(batch = %commit.batch, "somebody else committed in between");
        Ok(Settled::Overtaken)
    }

    fn applied(&mut self, commit: &Commit, receipt: Receipt) -> Settled {
        // A mark that is where it was is no progress: what comes after it may fail each time.
        if Some(&commit.mark) != commit.after.as_ref() {
            self.failures.forget();
        }
        self.tally.committed(commit, &receipt);
        self.hear(&ProgressEvent::Committed(receipt.clone()));
        Settled::Applied(receipt)
    }

    async fn throw_away(&self, commit: &Commit, in_doubt: bool) {
        if !in_doubt {
            self.discard(commit.staged.clone()).await;
        }
    }

    /// Throws away what was staged and never sent, or certainly not committed.
    pub(super) async fn discard(&self, staged: Vec<Staged>) {
        if staged.is_empty() {
            return;
        }
        if let Err(error) = self.sync.sink.discard(staged).await {
            tracing::warn!(error = %error, "rows that were not committed could not be thrown away");
        }
    }
}

/// Nobody has moved the mark, so nobody else has done the work.
fn void(commit: &Commit) -> Error {
    Error::new(
        ErrorKind::Transient,
        "what was staged for a commit is void: its connection was lost, or the target was changed meanwhile",
    )
    .with("batch", &commit.batch)
    .hint("run again: nothing of it was committed")
}

fn unknown(commit: &Commit, why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the outcome of a commit is not known: {why}"),
    )
    .with("batch", &commit.batch)
    .hint("run again: the target tells whether the commit happened")
}
