//! Gathering what is committed at once: the changes of an increment, folded to the last one per key, up to the boundary at which there are enough
//! of them. A task of its own gathers the next ones while those before are looked up, written and committed.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use cdc::Fold;
use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use model::{
    Batches, ChangeBatch, ExpectedTimes, Position, Result, SourceEvent, SyncId, TableName, TableSchema,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ahead::ahead;
use super::dead_letters::Odd;
use super::late::Expected;
use super::{Session, TableRun};
use crate::memory::Memory;
use crate::progress::{Progress, ProgressEvent};
use crate::spill::{Spill, SpillOptions, weight};

/// When an increment commits at the next boundary, before its end. What lies between two boundaries is committed once, however much it is:
/// what is more than `bytes` waits in files. So does what a repair brings, which is one commit as well.
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
pub(super) struct Gathered {
    fold: Fold,
    /// What came before and did not fit.
    spill: Option<Spill>,
    rows: u64,
    bytes: usize,
    /// When the first of them was read.
    since: Option<Instant>,
    /// The last boundary, if nothing came after it.
    pub(super) boundary: Option<Position>,
    /// How many of the bytes came before it.
    bounded: usize,
    /// What came between it and the one before.
    stretch: usize,
}

impl Gathered {
    pub(super) fn is_empty(&self) -> bool {
        self.fold.is_empty() && self.spill.is_none()
    }

    /// What came so far can be committed with this position.
    fn reach(&mut self, boundary: Position) {
        self.boundary = Some(boundary);
        self.stretch = self.bytes.saturating_sub(self.bounded);
        self.bounded = self.bytes;
    }

    /// Whether they are to be committed now: also if as much again as since the boundary before would not fit, or if something did not.
    fn is_full(&self, flush: &Flush) -> bool {
        let full = self.rows >= flush.rows
            || self.spill.is_some()
            || self.bytes.saturating_add(self.stretch) > flush.bytes
            || self.since.is_some_and(|since| since.elapsed() >= flush.age);
        self.boundary.is_some() && full
    }

    /// Takes the next changes. Of those before, what takes `limit` bytes or more goes into files. Returns how many bytes did.
    pub(super) async fn push(
        &mut self,
        batch: ChangeBatch,
        limit: usize,
        options: &SpillOptions,
        cancel: &CancellationToken,
    ) -> Result<usize> {
        let mut spilled = 0;
        if self.bytes >= limit && !self.fold.is_empty() {
            let begun = self.spill.take();
            let spill = begun.unwrap_or_else(|| Spill::new(options, limit, &batch, cancel));
            self.spill = Some(spill.take(std::mem::take(&mut self.fold)).await?);
            spilled = std::mem::take(&mut self.bytes);
            self.bounded = 0;
        }
        self.boundary = None;
        self.rows += batch.len() as u64;
        self.bytes += weight(&batch);
        self.since.get_or_insert_with(Instant::now);
        self.fold.push(batch)?;
        Ok(spilled)
    }

    /// What the last of them take if they go into files, because those before are there.
    fn to_spill(&self) -> usize {
        self.spill.as_ref().map_or(0, |_| self.bytes)
    }

    /// Each key once.
    async fn folded(self) -> Result<Batches> {
        match self.spill {
            None => Ok(Box::pin(futures::stream::iter(self.fold.finish()))),
            Some(spill) => Ok(spill.take(self.fold).await?.into_stream()),
        }
    }
}

/// What an increment brings, in order.
pub(super) enum Step {
    /// Which times are expected of all that follows.
    Expected(Arc<ExpectedTimes>),
    /// Rows that the source leaves out because of their time.
    LeftOut {
        times: ExpectedTimes,
        rows: RecordBatch,
        refused: bool,
    },
    /// Something to commit.
    Part(Box<Part>),
}

/// Changes that are committed at once. The last part of an increment may be empty.
#[derive(Default)]
pub(super) struct Part {
    /// Those of them that are perhaps dead letters. They come first.
    pub(super) odd: Odd,
    pub(super) changes: Gathered,
    /// The last boundary, with or without changes before it.
    pub(super) reached: Option<Position>,
    /// The memory that they take.
    _share: Option<OwnedSemaphorePermit>,
}

struct Gatherer {
    events: BoxStream<'static, Result<SourceEvent>>,
    expected: Option<Arc<ExpectedTimes>>,
    part: Part,
    /// The columns that the position before the first change lacks.
    lacks: Vec<String>,
    table: TableName,
    schema: Arc<TableSchema>,
    flush: Flush,
    spill: SpillOptions,
    memory: Memory,
    cancel: CancellationToken,
    progress: Arc<dyn Progress>,
    sync: SyncId,
}

impl TableRun<'_> {
    /// Gathers `events`, one part ahead of whoever takes them where there is memory for a second one besides `share`. Dropping the result
    /// ends that.
    pub(super) fn gathered(
        &self,
        session: &Session,
        lacks: Vec<String>,
        events: BoxStream<'static, Result<SourceEvent>>,
        share: OwnedSemaphorePermit,
    ) -> BoxStream<'static, Result<Step>> {
        let gatherer = Gatherer {
            events: ahead(events),
            expected: None,
            part: Part {
                _share: Some(share),
                ..Part::default()
            },
            lacks,
            table: self.sync.source_table.clone(),
            schema: session.schema.clone(),
            flush: self.sync.flush,
            spill: self.runner.spill.clone(),
            memory: self.runner.memory.clone(),
            cancel: self.cancel.clone(),
            progress: self.runner.progress.clone(),
            sync: self.sync.sync.clone(),
        };
        let steps = try_unfold(Some(gatherer), |gatherer| async move {
            match gatherer {
                None => Ok(None),
                Some(gatherer) => gatherer.next().await.map(Some),
            }
        });
        ahead(steps.boxed())
    }

    /// Each key of what was gathered once.
    pub(super) async fn folded(&self, gathered: Gathered) -> Result<Batches> {
        self.hear_spilled(gathered.to_spill());
        gathered.folded().await
    }

    pub(super) fn hear_spilled(&self, bytes: usize) {
        if bytes > 0 {
            self.hear(&ProgressEvent::Spilled { bytes: bytes as u64 });
        }
    }
}

impl Gatherer {
    /// The next step, and who brings those after it.
    async fn next(mut self) -> Result<(Step, Option<Self>)> {
        loop {
            let Some(event) = self.events.next().await else {
                let mut last = self.part;
                // Now all rows have come that have a value in columns which the target lacked.
                if let Some(end) = &mut last.changes.boundary {
                    end.lacks.clear();
                }
                return Ok((Step::Part(Box::new(last)), None));
            };
            match event? {
                SourceEvent::Expected(times) => {
                    let times = Arc::new(times);
                    self.expected = Some(times.clone());
                    return Ok((Step::Expected(times), Some(self)));
                }
                SourceEvent::LeftOut { times, rows, refused } => {
                    let left_out = Step::LeftOut { times, rows, refused };
                    return Ok((left_out, Some(self)));
                }
                SourceEvent::Changes(batch) => self.take(batch).await?,
                SourceEvent::Boundary { at } => {
                    self.part.reached = Some(at.clone());
                    // Nobody knows before the end whether all rows have come that have a value in columns which the target lacked.
                    self.part.changes.reach(at.lacking(&self.lacks));
                }
            }
            if self.part.changes.is_full(&self.flush) {
                let part = std::mem::take(&mut self.part);
                return Ok((Step::Part(Box::new(part)), Some(self)));
            }
            if self.part.odd.bytes >= self.flush.bytes {
                // The changes beside them wait for another share.
                let part = Part {
                    odd: std::mem::take(&mut self.part.odd),
                    _share: self.part._share.take(),
                    ..Part::default()
                };
                return Ok((Step::Part(Box::new(part)), Some(self)));
            }
        }
    }

    async fn take(&mut self, batch: ChangeBatch) -> Result<()> {
        if self.part._share.is_none() {
            self.part._share = Some(self.memory.share().await?);
        }
        self.hear(&ProgressEvent::Read {
            rows: batch.len() as u64,
            bytes: batch.rows.get_array_memory_size() as u64,
        });
        let batch = match &self.expected {
            Some(times) => {
                let expected = Expected {
                    table: &self.table,
                    schema: &self.schema,
                    times,
                };
                self.part.odd.divert(batch, &expected)?
            }
            None => batch,
        };
        if batch.is_empty() {
            return Ok(());
        }
        let changes = &mut self.part.changes;
        let spilled = changes
            .push(batch, self.flush.bytes, &self.spill, &self.cancel)
            .await?;
        if spilled > 0 {
            self.hear(&ProgressEvent::Spilled {
                bytes: spilled as u64,
            });
        }
        Ok(())
    }

    fn hear(&self, event: &ProgressEvent) {
        self.progress.hear(&self.sync, event);
    }
}

#[cfg(test)]
mod tests {
    use model::{Op, Presence};
    use test_support::{SampleRow, sample_batch, sample_schema};

    use super::*;

    fn batch(id: i32) -> ChangeBatch {
        let rows = sample_batch(&[SampleRow::new(id, "row", 1)]);
        let table = TableName::new("dbo", "Orders");
        ChangeBatch::uniform(table, sample_schema(true), rows, Op::Upsert, Presence::Unknown).unwrap()
    }

    fn here() -> Position {
        Position {
            kind: "memory".to_owned(),
            incarnation: "1".to_owned(),
            value: String::new(),
            label: String::new(),
            late_micros: 0,
            lacks: Vec::new(),
        }
    }

    async fn gathered(changes: i32, limit: usize) -> Gathered {
        let mut gathered = Gathered::default();
        for id in 0..changes {
            let (spill, cancel) = (SpillOptions::default(), CancellationToken::new());
            gathered.push(batch(id), limit, &spill, &cancel).await.unwrap();
            gathered.reach(here());
        }
        gathered
    }

    #[tokio::test]
    async fn what_as_much_again_would_not_fit_beside_is_committed() {
        let flush = Flush {
            bytes: 3 * weight(&batch(0)),
            ..Flush::default()
        };
        for (changes, full) in [(1, false), (2, false), (3, true)] {
            let gathered = gathered(changes, flush.bytes).await;
            assert_eq!(
                (gathered.to_spill(), gathered.is_full(&flush)),
                (0, full),
                "{changes}"
            );
        }
    }

    /// It would be committed at the end of all else, if what waits in files did not count.
    #[tokio::test]
    async fn what_did_not_fit_is_committed_at_the_next_boundary() {
        let gathered = gathered(2, weight(&batch(0))).await;
        assert!(gathered.to_spill() > 0);
        assert!(gathered.is_full(&Flush::default()));
    }
}
