//! Wrappers that fail on purpose around any source, sink or store.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use model::{
    Batches, Bound, ChangeSink, ChangeSource, Chunk, Commit, CommitOutcome, Committed, Cut, Description,
    LeaseOutcome, Loaded, Look, Position, Prepare, Prepared, Result, SaveOutcome, Selection, SourceEvent,
    StageOutcome, Staged, StateStore, StoredState, SyncId, TableName, TableSchema, TableState,
};

use crate::{Fault, Faults};

/// A call that fails before or after its work, as the faults decide.
async fn faulty<T>(faults: &Faults, call: impl Future<Output = Result<T>>) -> Result<T> {
    match faults.draw() {
        None => call.await,
        Some(fault @ Fault::AnswerLost) => {
            call.await?;
            Err(fault.error())
        }
        Some(fault) => Err(fault.error()),
    }
}

/// A stream that may break before each item.
fn faulty_stream<T: Send + 'static>(
    faults: &Faults,
    stream: Pin<Box<dyn Stream<Item = Result<T>> + Send>>,
) -> Pin<Box<dyn Stream<Item = Result<T>> + Send>> {
    let faults = faults.clone();
    Box::pin(stream.map(move |item| match faults.draw() {
        Some(fault) => Err(fault.error()),
        None => item,
    }))
}

/// A source whose calls and streams fail.
#[derive(Debug, Clone)]
pub struct FaultySource<S> {
    source: S,
    faults: Faults,
    leaves_looks_open: bool,
}

impl<S> FaultySource<S> {
    /// Wraps `source`.
    pub fn new(source: S, faults: Faults) -> Self {
        Self {
            source,
            faults,
            leaves_looks_open: false,
        }
    }

    /// The same source, which never answers whether there is something new.
    pub fn leaving_looks_open(mut self) -> Self {
        self.leaves_looks_open = true;
        self
    }
}

#[async_trait]
impl<S: ChangeSource> ChangeSource for FaultySource<S> {
    async fn describe(&self, table: &TableName) -> Result<Description> {
        faulty(&self.faults, self.source.describe(table)).await
    }

    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut> {
        faulty(&self.faults, self.source.cut(table, after)).await
    }

    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        let chunks = faulty(
            &self.faults,
            self.source.chunks(table, schema, start, after, rows),
        )
        .await?;
        Ok(faulty_stream(&self.faults, chunks))
    }

    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches> {
        let rows = faulty(&self.faults, self.source.read(table, schema, selection, at)).await?;
        Ok(faulty_stream(&self.faults, rows))
    }

    async fn changes(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>> {
        let events = faulty(&self.faults, self.source.changes(table, schema, after, upto)).await?;
        Ok(faulty_stream(&self.faults, events))
    }

    async fn may_have_changed(&self, tables: &[(TableName, Position)]) -> Result<Vec<Look>> {
        if self.leaves_looks_open {
            return std::future::pending().await;
        }
        faulty(&self.faults, self.source.may_have_changed(tables)).await
    }

    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        faulty(&self.faults, self.source.acknowledge(table, upto)).await
    }
}

/// A sink whose calls fail and whose commits end in every way that a commit can end.
#[derive(Debug, Clone)]
pub struct FaultySink<S> {
    sink: S,
    faults: Faults,
    under_way: Arc<Mutex<Vec<Commit>>>,
    commits_only: bool,
    hides_batches: bool,
}

impl<S: ChangeSink> FaultySink<S> {
    /// Wraps `sink`.
    pub fn new(sink: S, faults: Faults) -> Self {
        Self {
            sink,
            faults,
            under_way: Arc::default(),
            commits_only: false,
            hides_batches: false,
        }
    }

    /// The same sink, in which only commits go wrong, so that a script has one entry per commit.
    pub fn commits_only(mut self) -> Self {
        self.commits_only = true;
        self
    }

    /// The same sink, which no longer tells which batch it committed last: the twin of a caller that does not look for
    /// its batch after an unknown outcome.
    pub fn hiding_batches(mut self) -> Self {
        self.hides_batches = true;
        self
    }

    /// What goes wrong with the calls that are no commits.
    fn other_faults(&self) -> Faults {
        if self.commits_only {
            Faults::never()
        } else {
            self.faults.clone()
        }
    }

    fn told(&self, mut newest: Committed) -> Committed {
        if self.hides_batches {
            newest.batch = None;
        }
        newest
    }

    /// Lets the commits that are still under way happen, if they can.
    async fn land(&self) {
        let landing = self
            .under_way
            .lock()
            .map(|mut under_way| std::mem::take(&mut *under_way));
        for commit in landing.unwrap_or_default() {
            // Nobody waits for its answer.
            let _ = self.sink.commit(&commit).await;
        }
    }
}

fn unknown(fault: Fault) -> Result<CommitOutcome> {
    Ok(CommitOutcome::Unknown {
        why: format!("the test hid the outcome: {fault:?}"),
    })
}

#[async_trait]
impl<S: ChangeSink> ChangeSink for FaultySink<S> {
    async fn committed(&self, sync: &SyncId, table: &TableName) -> Result<Committed> {
        let newest = faulty(&self.other_faults(), self.sink.committed(sync, table)).await?;
        // What is under way lands just after the caller looked.
        self.land().await;
        Ok(self.told(newest))
    }

    async fn prepare(&self, prepare: &Prepare) -> Result<Prepared> {
        faulty(&self.other_faults(), self.sink.prepare(prepare)).await
    }

    async fn stage(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        faulty(&self.other_faults(), self.sink.stage(sync, table, schema, rows)).await
    }

    async fn stages_alone(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
    ) -> Result<bool> {
        faulty(&self.other_faults(), self.sink.stages_alone(sync, table, schema)).await
    }

    async fn stage_alone(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        let staged = self.sink.stage_alone(sync, table, schema, rows);
        faulty(&self.other_faults(), staged).await
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome> {
        self.land().await;
        let outcome = match self.faults.draw() {
            None => self.sink.commit(commit).await?,
            Some(Fault::Before(kind)) => return Err(Fault::Before(kind).error()),
            Some(fault @ Fault::AnswerLost) => {
                self.sink.commit(commit).await?;
                return unknown(fault);
            }
            Some(Fault::Killed) => {
                self.sink.commit(commit).await?;
                self.faults.die().await
            }
            Some(fault @ Fault::RequestLost) => return unknown(fault),
            Some(fault @ Fault::LandsLate) => {
                if let Ok(mut under_way) = self.under_way.lock() {
                    under_way.push(commit.clone());
                }
                return unknown(fault);
            }
            Some(Fault::Conflict) => {
                let newest = self.sink.committed(&commit.sync, &commit.table).await?;
                CommitOutcome::Conflict { newest }
            }
        };
        Ok(match outcome {
            CommitOutcome::Conflict { newest } => CommitOutcome::Conflict {
                newest: self.told(newest),
            },
            other => other,
        })
    }

    async fn discard(&self, staged: Vec<Staged>) -> Result<()> {
        faulty(&self.other_faults(), self.sink.discard(staged)).await
    }

    fn rest(&self) {
        self.sink.rest();
    }
}

/// A store whose calls fail.
#[derive(Debug, Clone)]
pub struct FaultyStore<S> {
    store: S,
    faults: Faults,
}

impl<S> FaultyStore<S> {
    /// Wraps `store`.
    pub fn new(store: S, faults: Faults) -> Self {
        Self { store, faults }
    }
}

#[async_trait]
impl<S: StateStore> StateStore for FaultyStore<S> {
    async fn load(&self, sync: &SyncId) -> Result<Loaded> {
        faulty(&self.faults, self.store.load(sync)).await
    }

    async fn save(&self, sync: &SyncId, expected: Option<u64>, state: &TableState) -> Result<SaveOutcome> {
        faulty(&self.faults, self.store.save(sync, expected, state)).await
    }

    async fn history(&self, sync: &SyncId) -> Result<Vec<StoredState>> {
        faulty(&self.faults, self.store.history(sync)).await
    }

    async fn list(&self) -> Result<Vec<SyncId>> {
        faulty(&self.faults, self.store.list()).await
    }

    async fn remove(&self, sync: &SyncId) -> Result<()> {
        faulty(&self.faults, self.store.remove(sync)).await
    }

    async fn lease(&self, name: &str, holder: &str) -> Result<LeaseOutcome> {
        faulty(&self.faults, self.store.lease(name, holder)).await
    }
}
