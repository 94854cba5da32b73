//! The source and the sink of a run, between whose calls the writers go on, and where the process may be killed. A rule that saves
//! rows is switched off here, or in the configuration.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use model::{
    Batches, Bound, ChangeSink, ChangeSource, Chunk, Commit, CommitOutcome, Committed, Cut, Description, Op,
    Position, Prepare, Prepared, Result, Selection, SourceEvent, StageOutcome, Staged, SyncId, TableName,
    TableSchema,
};
use sqlserver_emulator::{Emulator, Value};
use tokio::sync::Notify;

use super::history::History;
use crate::world::SHOP;

/// What saves rows, and can be done without to see them lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// A cut stays behind what is not committed yet.
    OpenTransactions,
    /// Times a little before the watermark are read again.
    Tolerance,
    /// What changes while the table is copied is read after the copy.
    Replay,
    /// A position claims what was complete before rows were read, not after.
    CutFirst,
    /// Deletes are changes.
    Deletes,
}

/// Where a run takes place: the writers beside it, and its end if it is killed.
pub(super) struct Stage {
    pub(super) history: Mutex<History>,
    emulator: Arc<Emulator>,
    rule: Option<Rule>,
    /// The position that the copy started from, for [`Rule::Replay`].
    start: Mutex<Option<Position>>,
    calls_left: AtomicI64,
    /// Whether the writers wait until the next increment has been read, and then write right after the clock has stepped back.
    calm: AtomicBool,
    pub(super) killed: Notify,
}

impl Stage {
    pub(super) fn new(history: History, emulator: Arc<Emulator>, rule: Option<Rule>) -> Arc<Self> {
        Arc::new(Self {
            history: Mutex::new(history),
            emulator,
            rule,
            start: Mutex::default(),
            calls_left: AtomicI64::new(i64::MAX),
            calm: AtomicBool::new(false),
            killed: Notify::new(),
        })
    }

    /// Kills the next run at its call of this number.
    pub(super) fn kill_at(&self, call: i64) {
        self.calls_left.store(call, Ordering::SeqCst);
    }

    /// Lets all writers end. They are still until the next increment has been read.
    pub(super) fn becalm(&self) {
        self.history.lock().expect("no writer panics").calm_down();
        self.calm.store(true, Ordering::SeqCst);
    }

    /// Everybody ends, and the next run is the last.
    pub(super) fn end(&self) {
        self.calm.store(false, Ordering::SeqCst);
        self.history.lock().expect("no writer panics").end();
        self.kill_at(i64::MAX);
    }

    /// An increment has been read, and is not committed yet.
    fn after_reading(&self) {
        if self.calm.swap(false, Ordering::SeqCst) {
            self.history
                .lock()
                .expect("no writer panics")
                .burst_after_a_step_back();
        }
    }

    /// Lets the writers go on for a moment. A killed run never returns from here.
    async fn meanwhile(&self) {
        if self.calls_left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
        if !self.calm.load(Ordering::SeqCst) {
            self.history.lock().expect("no writer panics").steps(4);
        }
    }

    fn has(&self, rule: Rule) -> bool {
        self.rule != Some(rule)
    }

    /// The cut of a reader who forgets that transactions are open.
    fn hasty(&self, upto: &mut Position) {
        let mut value: serde_json::Value = serde_json::from_str(&upto.value).expect("positions are JSON");
        match upto.kind.as_str() {
            "timestamp" => value["watermark"] = value["now"].clone(),
            "id" => {
                value["complete"] = value["seen"].clone();
                value["pending"] = serde_json::Value::Null;
            }
            "rowversion" => value["next"] = (self.last_rowversion() + 1).into(),
            _ => {}
        }
        upto.value = value.to_string();
    }

    fn last_rowversion(&self) -> i64 {
        self.ask("SELECT CONVERT(bigint, @@DBTS)")
    }

    /// What a reader without rules makes of an increment.
    fn spoil(&self, event: &mut SourceEvent) {
        match event {
            SourceEvent::Boundary { at } if !self.has(Rule::CutFirst) => {
                let mut value: serde_json::Value =
                    serde_json::from_str(&at.value).expect("positions are JSON");
                match at.kind.as_str() {
                    "cdc" => value["lsn"] = self.last_captured().into(),
                    _ => value["version"] = self.ask("SELECT CHANGE_TRACKING_CURRENT_VERSION()").into(),
                }
                at.value = value.to_string();
            }
            SourceEvent::Changes(batch) if !self.has(Rule::Deletes) && batch.op(0) == Op::Delete => {
                batch.rows = batch.rows.slice(0, 0);
                batch.ops = batch.ops.slice(0, 0);
            }
            _ => {}
        }
    }

    fn last_captured(&self) -> String {
        let sql = "SELECT CONVERT(varchar(22), sys.fn_cdc_get_max_lsn(), 1)";
        let found = self.emulator.execute(SHOP, sql).expect("the server answers");
        match &found[0].rows[0][0] {
            Value::Str(lsn) => String::from_utf16_lossy(lsn),
            other => panic!("{sql} is {other:?}"),
        }
    }

    fn ask(&self, sql: &str) -> i64 {
        let found = self.emulator.execute(SHOP, sql);
        match found.expect("the server answers")[0].rows[0][0] {
            Value::BigInt(number) => number,
            ref other => panic!("{sql} is {other:?}"),
        }
    }
}

/// A source among writers.
pub(super) struct Beset {
    pub(super) source: Arc<dyn ChangeSource>,
    pub(super) stage: Arc<Stage>,
}

#[async_trait]
impl ChangeSource for Beset {
    async fn describe(&self, table: &TableName) -> Result<Description> {
        self.stage.meanwhile().await;
        self.source.describe(table).await
    }

    async fn cut(&self, tables: &[TableName], after: Option<&Position>) -> Result<Cut> {
        let first = after.is_none();
        // A hasty reader does not notice that it was ahead of the counter.
        let hasty = !self.stage.has(Rule::OpenTransactions);
        let after = after.filter(|after| !hasty || after.kind != "rowversion");
        let mut cut = self.source.cut(tables, after).await?;
        if let Cut::Complete { upto, .. } = &mut cut {
            if hasty {
                self.stage.hasty(upto);
            }
            if first {
                *self.stage.start.lock().expect("no run panics") = Some(upto.clone());
            }
        }
        self.stage.meanwhile().await;
        Ok(cut)
    }

    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        self.source.chunks(table, schema, after, rows).await
    }

    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches> {
        let rows = self.source.read(table, schema, selection, at).await?;
        let rows: Vec<_> = rows.collect().await;
        self.stage.meanwhile().await;
        Ok(futures::stream::iter(rows).boxed())
    }

    async fn changes(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>> {
        let from_the_copy = self.stage.start.lock().expect("no run panics").as_ref() == Some(after);
        if from_the_copy && !self.stage.has(Rule::Replay) {
            let end = SourceEvent::Boundary { at: upto.clone() };
            return Ok(futures::stream::iter([Ok(end)]).boxed());
        }
        let events = self.source.changes(table, schema, after, upto).await?;
        let mut events: Vec<_> = events.collect().await;
        self.stage.after_reading();
        self.stage.meanwhile().await;
        for event in events.iter_mut().flatten() {
            self.stage.spoil(event);
        }
        Ok(futures::stream::iter(events).boxed())
    }

    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        self.source.acknowledge(table, upto).await
    }
}

/// A sink before and after whose commits the process may be killed.
pub(super) struct Endangered {
    pub(super) sink: Arc<dyn ChangeSink>,
    pub(super) stage: Arc<Stage>,
}

#[async_trait]
impl ChangeSink for Endangered {
    async fn committed(&self, sync: &SyncId, table: &TableName) -> Result<Committed> {
        self.sink.committed(sync, table).await
    }

    async fn prepare(&self, prepare: &Prepare) -> Result<Prepared> {
        self.sink.prepare(prepare).await
    }

    async fn stage(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        let staged = self.sink.stage(sync, table, schema, rows).await;
        self.stage.meanwhile().await;
        staged
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome> {
        let outcome = self.sink.commit(commit).await;
        self.stage.meanwhile().await;
        outcome
    }

    async fn discard(&self, staged: Vec<Staged>) -> Result<()> {
        self.sink.discard(staged).await
    }
}
