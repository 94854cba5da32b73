//! The changes since a position, folded to the last one per key and committed at boundaries.

use arrow_array::RecordBatch;
use futures::{StreamExt, TryStreamExt};
use model::{
    ChangeBatch, Committed, Error, ErrorKind, ExpectedTimes, LateDataReport, Mark, OddTime, Position, Result,
    Staged, TableSchema,
};

use super::gather::{Gathered, Step};
use super::late::{APPLIED, Expected, HELD, REFUSED};
use super::{Attempt, Session, TableRun};

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
        self.upto = Some(upto.clone());
        self.tally.late_micros = from.late_micros.max(upto.late_micros);
        let share = self.cancellable(self.runner.memory.share()).await?;
        let table = &self.sync.source_table;
        let events = self
            .ask(|source| source.changes(table, &session.schema, &from, &upto))
            .await?;
        let mut steps = self.gathered(session, from.lacks.clone(), events, share);
        let mut expected = None;
        let mut reached = from.clone();
        while let Some(step) = self.cancellable(async { Ok(steps.next().await) }).await? {
            let part = match step? {
                Step::Expected(times) => {
                    expected = Some(times);
                    continue;
                }
                Step::LeftOut { times, rows, refused } => {
                    self.left_out(&session.schema, &times, &rows, refused)?;
                    continue;
                }
                Step::Part(part) => *part,
            };
            let times = expected.as_deref();
            let put = self.put_dead_letters(session, part.odd, times, (&from, &upto));
            if !put.await? || !self.apply(session, &mut newest, part.changes, times).await? {
                return Ok(Attempt::Overtaken);
            }
            reached = part.reached.unwrap_or(reached);
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

    /// Stages and commits what was gathered, if anything of it is new to the target.
    async fn apply(
        &mut self,
        session: &mut Session,
        newest: &mut Committed,
        gathered: Gathered,
        expected: Option<&ExpectedTimes>,
    ) -> Result<bool> {
        if gathered.is_empty() {
            return Ok(true);
        }
        let Some(at) = gathered.boundary.clone() else {
            return Err(Error::internal("the source's changes ended without a boundary")
                .with("table", &self.sync.source_table));
        };
        let mut folded = self.folded(gathered).await?;
        if expected.is_some() {
            folded = folded.map_ok(ChangeBatch::asked_back).boxed();
        }
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
