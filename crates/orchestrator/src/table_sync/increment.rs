//! The changes since a position, folded to the last one per key and committed at boundaries.

use std::time::Duration;

use arrow_array::RecordBatch;
use cdc::Fold;
use futures::StreamExt;
use model::{
    Batches, ChangeBatch, Committed, Error, ErrorKind, ExpectedTimes, LateDataReport, Mark, OddTime,
    Position, Result, SourceEvent, Staged, TableSchema,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ahead::ahead;
use super::dead_letters::Odd;
use super::late::{APPLIED, Expected, HELD, REFUSED};
use super::{Attempt, Session, TableRun};
use crate::progress::ProgressEvent;
use crate::spill::{Spill, SpillOptions, weight};

/// When an increment commits at the next boundary, before its end. What lies between two boundaries is committed once, however much it is:
/// what is more than `bytes` waits in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flush {
    /// After so many changes.
    pub rows: u64,
    /// After changes that take so many bytes in memory, to be folded.
    pub bytes: usize,
    /// So long after the first of the changes was read.
    pub age: Duration,
}

impl Default for Flush {
    /// A million changes, 64 MiB, or a minute.
    fn default() -> Self {
        Self {
            rows: 1_000_000,
            bytes: 64 << 20,
            age: Duration::from_secs(60),
        }
    }
}

/// Changes between two commits.
#[derive(Default)]
struct Gathered {
    fold: Fold,
    /// What came before and did not fit.
    spill: Option<Spill>,
    rows: u64,
    bytes: usize,
    /// When the first of them was read.
    since: Option<Instant>,
    /// The last boundary, if nothing came after it.
    boundary: Option<Position>,
}

impl Gathered {
    /// Whether they are to be committed now.
    fn is_full(&self, flush: &Flush) -> bool {
        let full = self.rows >= flush.rows
            || self.bytes >= flush.bytes
            || self.since.is_some_and(|since| since.elapsed() >= flush.age);
        self.boundary.is_some() && full
    }

    /// Takes the next changes. Returns how many bytes of those before went into files.
    async fn push(
        &mut self,
        batch: ChangeBatch,
        flush: &Flush,
        options: &SpillOptions,
        cancel: &CancellationToken,
    ) -> Result<usize> {
        let mut spilled = 0;
        if self.bytes >= flush.bytes && !self.fold.is_empty() {
            let begun = self.spill.take();
            let spill = begun.unwrap_or_else(|| Spill::new(options, flush.bytes, &batch, cancel));
            self.spill = Some(spill.take(std::mem::take(&mut self.fold)).await?);
            spilled = std::mem::take(&mut self.bytes);
        }
        self.boundary = None;
        self.rows += batch.len() as u64;
        self.bytes += weight(&batch);
        self.since.get_or_insert_with(Instant::now);
        self.fold.push(batch)?;
        Ok(spilled)
    }

    /// Each key once.
    async fn folded(self) -> Result<Batches> {
        match self.spill {
            None => Ok(Box::pin(futures::stream::iter(self.fold.finish()))),
            Some(spill) => Ok(spill.take(self.fold).await?.into_stream()),
        }
    }
}

impl TableRun<'_> {
    /// Applies the changes after `from` to a target that says `newest`.
    ///
    /// Where nothing is left to commit, because there were no changes or the target holds them all, the mark stays and only
    /// the state store learns of the new position.
    pub(super) async fn increment(
        &mut self,
        session: &mut Session,
        mut newest: Committed,
        from: Position,
    ) -> Result<Attempt> {
        let lacks = from.lacks.clone();
        let (from, upto) = self.cut_after(from, &newest).await?;
        let from = from.lacking(&lacks);
        self.tally.late_micros = from.late_micros.max(upto.late_micros);
        let _share = self.cancellable(self.runner.memory.share()).await?;
        let events = self
            .retried(|| {
                self.sync
                    .source
                    .changes(&self.sync.source_table, &session.schema, &from, &upto)
            })
            .await?;
        let mut events = ahead(events);
        let mut gathered = Gathered::default();
        let mut odd = Odd::default();
        let mut expected = None;
        let mut reached = from.clone();
        while let Some(event) = self.cancellable(async { Ok(events.next().await) }).await? {
            match event? {
                SourceEvent::Expected(times) => expected = Some(times),
                SourceEvent::LeftOut { times, rows, refused } => {
                    self.left_out(&session.schema, &times, &rows, refused)?;
                }
                SourceEvent::Changes(batch) => {
                    self.hear(&ProgressEvent::Read {
                        rows: batch.len() as u64,
                        bytes: batch.rows.get_array_memory_size() as u64,
                    });
                    let batch = match &expected {
                        Some(times) => odd.divert(batch, &self.expected(&session.schema, times))?,
                        None => batch,
                    };
                    self.gather(&mut gathered, batch).await?;
                }
                SourceEvent::Boundary { at } => {
                    reached = at.clone();
                    // Nobody knows before the end whether all rows have come that have a value in columns which the target lacked.
                    gathered.boundary = Some(at.lacking(&from.lacks));
                }
            }
            let full = gathered.is_full(&self.sync.flush);
            if full || odd.bytes >= self.sync.flush.bytes {
                let (odd, within) = (std::mem::take(&mut odd), (&from, &upto));
                let put = self.put_dead_letters(session, odd, expected.as_ref(), within);
                if !put.await? {
                    return Ok(Attempt::Overtaken);
                }
            }
            if full {
                let full = std::mem::take(&mut gathered);
                if !self.apply(session, &mut newest, full, expected.as_ref()).await? {
                    return Ok(Attempt::Overtaken);
                }
            }
        }
        let put = self.put_dead_letters(session, odd, expected.as_ref(), (&from, &upto));
        if !put.await? {
            return Ok(Attempt::Overtaken);
        }
        if let Some(end) = &mut gathered.boundary {
            end.lacks.clear();
        }
        let rest = self.apply(session, &mut newest, gathered, expected.as_ref());
        if !rest.await? {
            return Ok(Attempt::Overtaken);
        }
        let still_lacks = |mark: &Mark| !mark.position().lacks.is_empty() || !newest.added.is_empty();
        if !from.lacks.is_empty() && newest.mark.as_ref().is_some_and(still_lacks) {
            // Every value is there, and nothing but a commit tells.
            let mark = Mark::At(self.tally.with_lateness(reached.clone()));
            if !self.advance(session, &mut newest, mark, Vec::new()).await? {
                return Ok(Attempt::Overtaken);
            }
        }
        self.tally.reached(&newest, reached);
        Ok(Attempt::Done)
    }

    /// Takes a cut. Where the history after `from` is lost, the target's mark is tried: nothing was committed between the two, and the
    /// history after it may still be there, as an older snapshot that somebody holds.
    async fn cut_after(&mut self, from: Position, newest: &Committed) -> Result<(Position, Position)> {
        let mark = newest.mark.as_ref().map(Mark::position);
        match (self.cut(Some(&from)).await, mark) {
            (Err(gap), Some(mark)) if gap.kind() == ErrorKind::Gap && *mark != from => {
                let upto = self.cut(Some(mark)).await?;
                Ok((mark.clone(), upto))
            }
            (cut, _) => Ok((from, cut?)),
        }
    }

    async fn gather(&self, gathered: &mut Gathered, batch: ChangeBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (flush, spill) = (&self.sync.flush, &self.runner.spill);
        let spilled = gathered.push(batch, flush, spill, self.cancel).await?;
        self.hear_spilled(spilled);
        Ok(())
    }

    fn hear_spilled(&self, bytes: usize) {
        if bytes > 0 {
            self.hear(&ProgressEvent::Spilled { bytes: bytes as u64 });
        }
    }

    /// Stages and commits what was gathered, if anything of it is new to the target.
    async fn apply(
        &mut self,
        session: &mut Session,
        newest: &mut Committed,
        gathered: Gathered,
        expected: Option<&ExpectedTimes>,
    ) -> Result<bool> {
        if gathered.fold.is_empty() && gathered.spill.is_none() {
            return Ok(true);
        }
        let Some(at) = gathered.boundary.clone() else {
            return Err(Error::internal("the source's changes ended without a boundary")
                .with("table", &self.sync.source_table));
        };
        if gathered.spill.is_some() {
            self.hear_spilled(gathered.bytes);
        }
        let folded = gathered.folded().await?;
        let staged = self
            .cancellable(self.sync.sink.stage(
                &self.sync.sync,
                &self.sync.target_table,
                &session.schema,
                folded,
            ))
            .await?;
        self.tally.staged(&staged);
        if staged.staged.is_empty() {
            return Ok(true);
        }
        let mut odd = Vec::new();
        if let Some(times) = expected {
            let expected = self.expected(&session.schema, times);
            for rows in &staged.not_identical {
                odd.extend(expected.odd(rows, APPLIED)?);
            }
            if times.late_refused && odd.iter().any(|row| row.kind == OddTime::Late) {
                return Err(self.refuse_late(odd, staged.staged).await);
            }
        }
        self.tally.lateness_of(&odd);
        let mark = Mark::At(self.tally.with_lateness(at));
        let advanced = self.advance(session, newest, mark, staged.staged).await?;
        if advanced {
            self.tally.odd_times(odd);
        }
        Ok(advanced)
    }

    pub(super) fn expected<'a>(&'a self, schema: &'a TableSchema, times: &'a ExpectedTimes) -> Expected<'a> {
        Expected {
            table: &self.sync.source_table,
            schema,
            times,
        }
    }

    /// Takes note of rows that the source leaves out because of their time.
    fn left_out(
        &mut self,
        schema: &TableSchema,
        times: &ExpectedTimes,
        rows: &RecordBatch,
        refused: bool,
    ) -> Result<()> {
        let handled = if refused { REFUSED } else { HELD };
        let odd = self.expected(schema, times).odd(rows, handled)?;
        let first = odd.first().cloned();
        self.tally.odd_times(odd);
        match first.filter(|_| refused) {
            None => Ok(()),
            Some(row) => Err(self.refused(
                format!(
                    "{} carries {} in {}, and the policy for such rows is `fail`",
                    row.record_id,
                    row.actual,
                    times.columns.join(", ")
                ),
                "correct the times of the rows that the report names, or choose another policy in `capture.window`",
            )),
        }
    }

    /// Drops an increment with rows that came late.
    async fn refuse_late(&mut self, mut odd: Vec<LateDataReport>, staged: Vec<Staged>) -> Error {
        odd.retain(|row| row.kind == OddTime::Late);
        let first = odd.first().map(|row| {
            format!(
                "{} carries {}, although everything before {} had been read, and `window.late` is `fail`",
                row.record_id, row.actual, row.expected
            )
        });
        for row in &mut odd {
            row.handled = REFUSED.to_owned();
        }
        self.tally.odd_times(odd);
        self.discard(staged).await;
        self.refused(
            first.unwrap_or_default(),
            "look at the rows that the report names; `sync-cli verify --repair` lets them in, and so does `capture: { window: { late: accept } }`",
        )
    }

    fn refused(&self, why: String, hint: &'static str) -> Error {
        Error::new(ErrorKind::Data, why)
            .with("table", &self.sync.source_table)
            .hint(hint)
    }
}
