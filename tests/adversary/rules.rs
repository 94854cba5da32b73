//! The source and the sink of a run, between whose calls the writers go on, and where the process may be killed. A rule that saves
//! rows is switched off here, or in the configuration. Positions of the source are JSON; those of an engine without a rule are made
//! from the engine's.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::BooleanArray;
use arrow_array::cast::AsArray;
use arrow_select::filter::{filter, filter_record_batch};
use async_trait::async_trait;
use futures::{Stream, StreamExt};
use model::{
    Batches, Bound, ChangeBatch, ChangeSink, ChangeSource, Chunk, Commit, CommitOutcome, Committed, Cut,
    Description, Mark, Op, Position, Prepare, Prepared, Result, Selection, SourceEvent, StageOutcome, Staged,
    SyncId, TableName, TableSchema,
};
use sqlserver_emulator::{Emulator, Value};
use sqlserver_source::{Undated, WindowOptions};
use tokio::sync::Notify;

use super::history::History;
use crate::twins::{greatest, tampered};
use crate::world::SHOP;

/// Ticks of 100 ns.
const MILLISECOND: i64 = 10_000;

/// What saves rows, and can be done without to see them lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// A cut stays behind what is not committed yet.
    OpenTransactions,
    /// A transaction counts from its beginning, and not from its first log record: it may hold a time already.
    UnloggedTransactions,
    /// A transaction that cannot write the database does not hold its cut.
    OtherDatabases,
    /// Times a little before the watermark are read again.
    Tolerance,
    /// What is at the bound itself, where one increment ended, belongs to the next.
    Ties,
    /// Rows without a time are read by every increment.
    UndatedRows,
    /// Rows with a time that will not come are read by every increment.
    FutureRows,
    /// Times that will not come do not move the watermark.
    FutureWatermark,
    /// What changes while the table is copied is read after the copy.
    Replay,
    /// A position claims what was complete before rows were read, not after.
    CutFirst,
    /// Deletes are changes.
    Deletes,
    /// The mark is in the same commit as the rows.
    MarkWithRows,
    /// How far the target has got is asked of the target, which may have been rolled back.
    AskTheTarget,
    /// A target whose marks have expired with its snapshots is not copied anew.
    MarkOutlivesSnapshots,
}

impl Rule {
    /// Switches the rule off where production has an option for it.
    pub(super) fn forgo(self, window: &mut WindowOptions) {
        match self {
            Self::Tolerance => window.tolerance_seconds = 0,
            Self::UndatedRows => window.nulls = Undated::Hold,
            Self::FutureRows => window.future = Undated::Hold,
            _ => {}
        }
    }
}

/// Where a run takes place: the writers beside it, and its end if it is killed.
pub(super) struct Stage {
    pub(super) history: Mutex<History>,
    emulator: Arc<Emulator>,
    rule: Option<Rule>,
    /// The position that the copy started from, for [`Rule::Replay`].
    start: Mutex<Option<Position>>,
    /// The mark where it is kept apart from the rows.
    apart: Mutex<Option<Mark>>,
    /// Whether all snapshots but the head have expired since the last commit.
    expired: AtomicBool,
    calls_left: AtomicI64,
    /// Whether the writers wait until the next increment has been read.
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
            apart: Mutex::default(),
            expired: AtomicBool::new(false),
            calls_left: AtomicI64::new(i64::MAX),
            calm: AtomicBool::new(false),
            killed: Notify::new(),
        })
    }

    /// Kills the next run at its call of this number.
    pub(super) fn kill_at(&self, call: i64) {
        self.calls_left.store(call, Ordering::SeqCst);
    }

    /// All snapshots of the table but its head have expired.
    pub(super) fn expire(&self) {
        self.expired.store(true, Ordering::SeqCst);
    }

    /// Lets all writers end, or all but one that has done nothing yet. They are still until the next increment has been read.
    pub(super) fn becalm(&self, holding: bool) {
        self.history.lock().expect("no writer panics").calm_down(holding);
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
            self.history.lock().expect("no writer panics").burst();
        }
    }

    /// Lets the writers go on for a moment. A killed run never returns from here.
    async fn meanwhile(&self) {
        if self.calls_left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.die().await;
        }
        if !self.calm.load(Ordering::SeqCst) {
            self.history.lock().expect("no writer panics").steps(4);
        }
    }

    /// Where two chunks are read at once, both may come here; the next run must not hear of it.
    async fn die(&self) {
        self.killed.notify_waiters();
        std::future::pending::<()>().await;
    }

    /// Whether the process is to be killed, sooner or later.
    fn is_doomed(&self) -> bool {
        self.calls_left.load(Ordering::SeqCst) < i64::MAX / 2
    }

    fn has(&self, rule: Rule) -> bool {
        self.rule != Some(rule)
    }

    /// The cut of a reader without the rule.
    fn spoil_cut(&self, upto: &mut Position) {
        let kind = upto.kind.clone();
        let spoiled = match (self.rule, kind.as_str()) {
            (Some(Rule::OpenTransactions), "timestamp") => {
                tampered(upto, |upto| upto["watermark"] = upto["now"].clone())
            }
            (Some(Rule::OpenTransactions), "id") => tampered(upto, |upto| {
                upto["complete"] = upto["seen"].clone();
                upto["pending"] = serde_json::Value::Null;
            }),
            (Some(Rule::OpenTransactions), "rowversion" | "trigger") => {
                let last = self.ask("SELECT CONVERT(bigint, @@DBTS)");
                tampered(upto, |upto| upto["next"] = (last + 1).into())
            }
            (Some(Rule::UnloggedTransactions), _) => {
                let hi = self.behind("database_id = DB_ID()");
                tampered(upto, |upto| upto["watermark"] = hi(&upto["now"]).into())
            }
            (Some(Rule::OtherDatabases), _) => {
                let hi = self.behind("1 = 1");
                tampered(upto, |upto| {
                    upto["watermark"] = hi(&upto["now"]).min(number(&upto["watermark"])).into();
                })
            }
            _ => return,
        };
        *upto = spoiled;
    }

    /// The bound that lies a second behind the oldest first log record of the transactions that are open.
    fn behind(&self, which: &str) -> impl Fn(&serde_json::Value) -> i64 + use<> {
        let age = self.ask(&format!(
            "SELECT ISNULL(MAX(DATEDIFF_BIG(millisecond, database_transaction_begin_time, SYSDATETIME())), 0)
               FROM sys.dm_tran_database_transactions WHERE database_transaction_begin_time IS NOT NULL AND {which}"
        ));
        move |now| number(now) - (age + 1_000) * MILLISECOND
    }

    /// What a reader without the rule takes the last increment for.
    fn spoil_start(&self, after: &Position) -> Position {
        if self.has(Rule::Ties) {
            return after.clone();
        }
        let (bound, one) = match after.kind.as_str() {
            "timestamp" => ("watermark", MILLISECOND),
            "rowversion" | "trigger" => ("next", 1),
            _ => ("version", 1),
        };
        tampered(after, |after| after[bound] = (number(&after[bound]) + one).into())
    }

    /// What a reader without the rule makes of an increment.
    fn spoil(&self, events: &mut [Result<SourceEvent>]) {
        let mut reached = None;
        for event in events.iter_mut().flatten() {
            reached = reached.max(greatest(event));
            match event {
                SourceEvent::Boundary { at } if !self.has(Rule::FutureWatermark) => {
                    let reached = reached.map_or(i64::MIN, |reached| reached.0);
                    *at = tampered(at, |at| {
                        at["watermark"] = number(&at["watermark"]).max(reached).into()
                    });
                }
                SourceEvent::Changes(batch) if !self.has(Rule::Deletes) => *batch = without_deletes(batch),
                _ => {}
            }
        }
    }

    fn ask(&self, sql: &str) -> i64 {
        let found = self.emulator.execute(SHOP, sql);
        match found.expect("the server answers")[0].rows[0][0] {
            Value::BigInt(number) => number,
            ref other => panic!("{sql} is {other:?}"),
        }
    }

    /// Where the target has got in the eyes of somebody without the rule. What the state store knows is left aside with the reference.
    fn spoil_committed(&self, committed: &mut Committed) {
        let apart = self.apart.lock().expect("no run panics").clone();
        match self.rule {
            Some(Rule::MarkWithRows | Rule::AskTheTarget) if apart.is_some() => committed.mark = apart,
            Some(Rule::MarkOutlivesSnapshots) if self.expired.load(Ordering::SeqCst) => committed.mark = None,
            _ => return,
        }
        committed.reference = None;
    }

    fn keep_apart(&self, mark: &Mark) {
        *self.apart.lock().expect("no run panics") = Some(mark.clone());
    }
}

fn without_deletes(batch: &ChangeBatch) -> ChangeBatch {
    let kept: BooleanArray = (0..batch.len())
        .map(|row| Some(batch.op(row) != Op::Delete))
        .collect();
    let ops = filter(&batch.ops, &kept).expect("as many as rows");
    ChangeBatch {
        rows: filter_record_batch(&batch.rows, &kept).expect("as many as rows"),
        ops: ops.as_primitive().clone(),
        ..batch.clone()
    }
}

fn number(value: &serde_json::Value) -> i64 {
    value.as_i64().expect("positions hold numbers")
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

    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut> {
        let first = after.is_none();
        // A hasty reader does not notice that it was ahead of the counter.
        let hasty = !self.stage.has(Rule::OpenTransactions);
        let after = after.filter(|after| !hasty || !matches!(after.kind.as_str(), "rowversion" | "trigger"));
        let mut cut = self.source.cut(table, after).await?;
        if let Cut::Complete { upto, .. } = &mut cut {
            self.stage.spoil_cut(upto);
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
        start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        self.source.chunks(table, schema, start, after, rows).await
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
        let from = self.stage.spoil_start(after);
        let events = self.source.changes(table, schema, &from, upto).await?;
        let mut events: Vec<_> = events.collect().await;
        self.stage.after_reading();
        self.stage.meanwhile().await;
        self.stage.spoil(&mut events);
        if !self.stage.has(Rule::CutFirst) {
            let cut = self.source.cut(table, Some(after)).await?;
            for event in events.iter_mut().flatten() {
                if let (SourceEvent::Boundary { at }, Cut::Complete { upto, .. }) = (event, &cut) {
                    at.clone_from(upto);
                }
            }
        }
        Ok(futures::stream::iter(events).boxed())
    }

    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        // A hasty reader has passed rows that are still locked, and would wait for them here.
        if !self.stage.has(Rule::OpenTransactions) {
            return Ok(());
        }
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
        let mut committed = self.sink.committed(sync, table).await?;
        self.stage.spoil_committed(&mut committed);
        Ok(committed)
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
        let mut commit = commit.clone();
        match self.stage.rule {
            Some(Rule::MarkWithRows) => {
                self.stage.keep_apart(&commit.mark);
                if self.stage.is_doomed() {
                    self.stage.die().await;
                }
            }
            Some(Rule::AskTheTarget) => self.stage.keep_apart(&commit.mark),
            Some(Rule::MarkOutlivesSnapshots) => self.stage.expired.store(false, Ordering::SeqCst),
            _ => {}
        }
        if self.stage.rule.is_some() {
            commit.after = self.sink.committed(&commit.sync, &commit.table).await?.mark;
        }
        let outcome = self.sink.commit(&commit).await;
        self.stage.meanwhile().await;
        outcome
    }

    async fn discard(&self, staged: Vec<Staged>) -> Result<()> {
        self.sink.discard(staged).await
    }
}
