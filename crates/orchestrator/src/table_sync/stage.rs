//! Reading one chunk of a table and staging it, repeated until it succeeds.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use model::{Bound, Chunk, Error, Position, Presence, Result, StageOutcome, TableSchema};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{TableRun, TableSync};
use crate::progress;
use crate::retry::{Backoff, Failures};
use crate::run::Runner;

/// A chunk that is ready to be committed.
pub(super) struct StagedChunk {
    pub(super) chunk: Chunk,
    /// Whether no chunk follows it.
    pub(super) last: bool,
    pub(super) outcome: StageOutcome,
}

/// Everything that a task needs to stage chunks.
#[derive(Clone)]
struct Stager {
    runner: Runner,
    sync: TableSync,
    schema: Arc<TableSchema>,
    presence: Presence,
    staging: Staging,
    cancel: CancellationToken,
    failures: Failures,
}

/// How chunks are staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staging {
    /// Some of them ahead of those that are committed.
    Ahead,
    /// Each by itself, once the one before it is committed.
    Alone,
}

/// Chunks in key order as they are staged.
pub(super) type StagedChunks = BoxStream<'static, Result<StagedChunk>>;

impl TableRun<'_> {
    /// Reads and stages the chunks above `after`, of a copy from `start`, in tasks of their own, [`TableSync::ahead`] of them at a time if they are staged ahead, and
    /// returns them in key order. Dropping the stream ends the tasks.
    pub(super) async fn staged_chunks(
        &self,
        schema: &Arc<TableSchema>,
        start: &Position,
        after: Option<Bound>,
        presence: Presence,
        staging: Staging,
    ) -> Result<StagedChunks> {
        let (source, table, rows) = (&self.sync.source, &self.sync.source_table, self.sync.batch_rows);
        let chunks = self
            .retried(|| source.chunks(table, schema, start, after.clone(), rows))
            .await?;
        let stager = Stager {
            runner: self.runner.clone(),
            sync: self.sync.clone(),
            schema: schema.clone(),
            presence,
            staging,
            cancel: self.cancel.clone(),
            failures: self.failures.clone(),
        };
        let started = with_last(chunks).map(move |next| stager.clone().spawn(next));
        let ahead = match staging {
            Staging::Ahead => self.sync.ahead.max(1),
            Staging::Alone => 1,
        };
        Ok(started.buffered(ahead).boxed())
    }

    /// Throws away the chunks that were staged ahead and will not be committed. Those that are still being staged end
    /// with the stream.
    pub(super) async fn abandon(&self, mut chunks: StagedChunks) {
        while let Some(Some(Ok(chunk))) = chunks.next().now_or_never() {
            self.discard(chunk.outcome.staged).await;
        }
    }
}

impl Stager {
    async fn spawn(self, next: Result<(Chunk, bool)>) -> Result<StagedChunk> {
        let (chunk, last) = next?;
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let outcome = self.stage(&chunk).await?;
            Ok(StagedChunk { chunk, last, outcome })
        }));
        let ended = task.await;
        ended.map_err(|e| Error::internal("staging a chunk ended early").caused_by(e))?
    }

    /// Repeats a chunk by itself, so that the chunks before it need not be staged again.
    async fn stage(&self, chunk: &Chunk) -> Result<StageOutcome> {
        let backoff = Backoff::new(
            &self.runner.retry,
            &*self.runner.ids,
            &self.cancel,
            Failures::default(),
        )
        .telling(&*self.runner.progress, &self.sync.sync);
        loop {
            let ended = self.cancel.run_until_cancelled(self.read_and_stage(chunk)).await;
            let error = match ended.unwrap_or_else(|| Err(Error::cancelled())) {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            if let Err(error) = backoff.pause(error).await {
                self.failures.give_up();
                return Err(error);
            }
        }
    }

    async fn read_and_stage(&self, chunk: &Chunk) -> Result<StageOutcome> {
        let TableSync {
            sync,
            source,
            source_table,
            sink,
            target_table,
            ..
        } = &self.sync;
        let _share = self.runner.memory.share().await?;
        let rows = source
            .read(source_table, &self.schema, chunk.selection.clone(), None)
            .await?;
        let presence = self.presence;
        let rows = rows.map(move |batch| {
            let mut batch = batch?;
            batch.presence = presence;
            Ok(batch)
        });
        let rows = progress::told(Box::pin(rows), &self.runner.progress, sync);
        match self.staging {
            Staging::Ahead => sink.stage(sync, target_table, &self.schema, rows).await,
            Staging::Alone => sink.stage_alone(sync, target_table, &self.schema, rows).await,
        }
    }
}

/// Tells of each chunk whether it is the last one, by looking one ahead.
fn with_last(chunks: BoxStream<'static, Result<Chunk>>) -> impl Stream<Item = Result<(Chunk, bool)>> + Send {
    let chunks = Box::pin(chunks.peekable());
    futures::stream::try_unfold(chunks, |mut chunks| async move {
        let Some(chunk) = chunks.next().await else {
            return Ok(None);
        };
        let last = chunks.as_mut().peek().await.is_none();
        Ok(Some(((chunk?, last), chunks)))
    })
}
