//! A sink without a rule.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use model::{
    BatchId, Batches, ChangeBatch, ChangeSink, Commit, CommitOutcome, Committed, Prepare, Prepared, Result,
    StageOutcome, Staged, SyncId, TableName, TableSchema,
};
use sqlserver_client::{ConnectOptions, Connection, Param};

use super::{Memory, Rule};

pub(super) struct TwinSink {
    inner: Arc<dyn ChangeSink>,
    without: Rule,
    server: ConnectOptions,
    memory: Arc<Memory>,
    /// Whether this process has committed.
    committed: AtomicBool,
    /// What was staged last.
    staged: Mutex<Vec<ChangeBatch>>,
}

impl TwinSink {
    pub(super) fn new(
        inner: Arc<dyn ChangeSink>,
        without: Rule,
        server: ConnectOptions,
        memory: Arc<Memory>,
    ) -> Self {
        Self {
            inner,
            without,
            server,
            memory,
            committed: AtomicBool::default(),
            staged: Mutex::default(),
        }
    }

    /// The batches without rows whose name, by the server's collation, is the one that went into the sink before.
    async fn different_by_collation(
        &self,
        sync: &SyncId,
        batches: Vec<ChangeBatch>,
    ) -> Result<Vec<ChangeBatch>> {
        let mut server = Connection::open(&self.server).await?;
        let mut kept = Vec::new();
        for batch in batches {
            for row in 0..batch.len() {
                let (id, name) = id_and_name(&batch, row);
                let key = (sync.to_string(), id);
                let before = self.memory.names.lock().unwrap().insert(key, name.clone());
                let same = match before {
                    Some(before) => same_by_collation(&mut server, before, name).await?,
                    None => false,
                };
                if !same {
                    let (table, schema) = (batch.table.clone(), batch.schema.clone());
                    let (rows, op) = (batch.rows.slice(row, 1), batch.op(row));
                    kept.push(ChangeBatch::uniform(table, schema, rows, op, batch.presence)?);
                }
            }
        }
        Ok(kept)
    }

    /// Stages the same rows once more and commits them as another batch on whatever the target now says.
    async fn commit_afresh(&self, commit: &Commit) -> Result<CommitOutcome> {
        let rows = self.staged.lock().unwrap().clone();
        let rows = futures::stream::iter(rows.into_iter().map(Ok)).boxed();
        let staged = self
            .inner
            .stage(&commit.sync, &commit.table, &commit.schema, rows);
        let afresh = Commit {
            batch: BatchId::new(format!("{} again", commit.batch)),
            staged: staged.await?.staged,
            ..self.on_newest(commit).await?
        };
        self.inner.commit(&afresh).await
    }

    /// The commit as one on whatever the target now says.
    async fn on_newest(&self, commit: &Commit) -> Result<Commit> {
        let newest = self.inner.committed(&commit.sync, &commit.table).await?;
        Ok(Commit {
            after: newest.mark,
            ..commit.clone()
        })
    }
}

fn id_and_name(batch: &ChangeBatch, row: usize) -> (i32, String) {
    let column = |name| batch.rows.column_by_name(name).unwrap();
    let id = column("id").as_primitive::<Int32Type>().value(row);
    (id, column("name").as_string::<i32>().value(row).to_owned())
}

async fn same_by_collation(server: &mut Connection, one: String, other: String) -> Result<bool> {
    let sql = "SELECT CASE WHEN @one = @other THEN 1 ELSE 0 END AS same";
    let names = [Param::new("one", one), Param::new("other", other)];
    let rows = server.query(sql, &names).await?;
    Ok(rows.one()?.need_i64("same")? == 1)
}

#[async_trait]
impl ChangeSink for TwinSink {
    async fn committed(&self, sync: &SyncId, table: &TableName) -> Result<Committed> {
        if matches!(self.without, Rule::AskTheTarget(_)) && !self.committed.load(Ordering::SeqCst) {
            return Ok(Committed::default());
        }
        self.inner.committed(sync, table).await
    }

    async fn prepare(&self, prepare: &Prepare) -> Result<Prepared> {
        self.inner.prepare(prepare).await
    }

    async fn stage(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        let mut rows: Vec<_> = rows.try_collect().await?;
        if matches!(self.without, Rule::CompareBytes(_)) {
            rows = self.different_by_collation(sync, rows).await?;
        }
        self.staged.lock().unwrap().clone_from(&rows);
        let rows = futures::stream::iter(rows.into_iter().map(Ok)).boxed();
        self.inner.stage(sync, table, schema, rows).await
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome> {
        let outcome = match self.without {
            Rule::AskTheTarget(_) => self.inner.commit(&self.on_newest(commit).await?).await?,
            _ => self.inner.commit(commit).await?,
        };
        self.committed.store(true, Ordering::SeqCst);
        match (self.without, outcome) {
            (Rule::FindOutTheUnknown(_), CommitOutcome::Unknown { .. }) => self.commit_afresh(commit).await,
            (_, outcome) => Ok(outcome),
        }
    }

    async fn discard(&self, staged: Vec<Staged>) -> Result<()> {
        self.inner.discard(staged).await
    }
}
