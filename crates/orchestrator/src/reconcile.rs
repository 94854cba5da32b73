//! From time to time a table is compared with its source, and what increments cannot see is brought in line.
//!
//! When that was last done is kept in the state store. A store that lost it costs a comparison too many, never one too few.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::{
    ChangeSource, Error, Loaded, Result, SaveOutcome, StateStore, Statistics, SyncId, TableState, Timestamp,
};
use tokio_util::sync::CancellationToken;

use crate::report::TableOutcome;
use crate::run::Runner;
use crate::table_sync::{Repair, TableRun, TableSync};
use crate::verify::{Side, Upstream, Verify};

/// After one that failed, the next one is tried after so small a part of the usual time.
const TRY_AGAIN_AFTER_ONE_IN: i64 = 24;

/// What is brought in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled {
    /// Rows that the source no longer has are deleted. Only keys are read.
    Deletes,
    /// Every row that differs.
    All,
}

/// How a table is compared with its source from time to time.
#[derive(Clone)]
pub struct Reconcile {
    every: Duration,
    what: Reconciled,
    most_deletes_percent: u64,
    target: Arc<dyn ChangeSource>,
    times: Arc<Times>,
}

/// A moment at which nothing was.
const NEVER: i64 = i64::MIN;

/// What this process knows, in milliseconds since 1970.
struct Times {
    /// When the table was last compared, as the state store says.
    last: AtomicI64,
    /// When a comparison was last begun, so that one that fails does not hold up every increment.
    tried: AtomicI64,
}

impl fmt::Debug for Reconcile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconcile")
            .field("every", &self.every)
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

impl Reconcile {
    /// A comparison so often, by what reads the target. It stops before it deletes more than a tenth of the target's rows.
    pub fn new(every: Duration, what: Reconciled, target: Arc<dyn ChangeSource>) -> Self {
        Self {
            every,
            what,
            most_deletes_percent: 10,
            target,
            times: Arc::new(Times {
                last: AtomicI64::new(NEVER),
                tried: AtomicI64::new(NEVER),
            }),
        }
    }

    /// Stops before it deletes more than so many percent of the target's rows.
    pub fn most_deletes_percent(mut self, percent: u64) -> Self {
        self.most_deletes_percent = percent;
        self
    }

    /// Whether it is time. A clock that went back must not put it off.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let every = i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX);
        let rested = |since: &AtomicI64, pause: i64| {
            let since = since.load(Ordering::Relaxed);
            since > now.0 || now.0.saturating_sub(since) >= pause
        };
        rested(&self.times.last, every) && rested(&self.times.tried, every / TRY_AGAIN_AFTER_ONE_IN)
    }

    fn last_done(&self, at: Option<Timestamp>) {
        self.times
            .last
            .store(at.map_or(NEVER, |at| at.0), Ordering::Relaxed);
    }
}

impl Runner {
    /// Compares a table that a run has just brought up to date with its source, if that is due. `None` if it is not, or as long as
    /// enough others are being compared: the increments go on, and the next run asks again.
    pub(crate) async fn reconcile(
        &self,
        sync: &TableSync,
        up_to_date: &TableOutcome,
        cancel: &CancellationToken,
    ) -> Option<TableOutcome> {
        let now = self.clock.now();
        let reconcile = sync.reconcile.as_ref().filter(|_| sync.repair.is_none())?;
        reconcile.last_done(up_to_date.reconciled);
        if !reconcile.is_due(now) {
            return None;
        }
        let Ok(_place) = self.comparisons.try_acquire() else {
            return None;
        };
        reconcile.times.tried.store(now.0, Ordering::Relaxed);
        let mut outcome = match self.compared(sync, reconcile, up_to_date, cancel).await {
            Ok(outcome) => outcome,
            Err(error) => TableOutcome::reconciled(sync, Statistics::default(), Err(error)),
        };
        if outcome.failure.is_none() {
            outcome.reconciled = Some(now);
            reconcile.last_done(Some(now));
            match remember(&*self.store, &sync.sync, now).await {
                Ok(version) => outcome.state_version = outcome.state_version.max(version),
                Err(error) => outcome.warnings.push(format!(
                    "that the table was reconciled could not be saved; it will be done again: {error}"
                )),
            }
        }
        Some(outcome.lasting(now, self.clock.now()))
    }

    async fn compared(
        &self,
        sync: &TableSync,
        reconcile: &Reconcile,
        up_to_date: &TableOutcome,
        cancel: &CancellationToken,
    ) -> Result<TableOutcome> {
        let applied = up_to_date.position.clone();
        let applied =
            applied.ok_or_else(|| Error::internal("a run that succeeded has reached no position"))?;
        let side = |name: &str, source: &Arc<dyn ChangeSource>, table, upstream| Side {
            name: name.to_owned(),
            source: source.clone(),
            table,
            upstream,
        };
        let upstream = Upstream {
            source: sync.source.clone(),
            table: sync.source_table.clone(),
            applied,
        };
        let target = sync.target_table.clone();
        let verify = Verify {
            table: sync.source_table.to_string(),
            first: side("source", &sync.source, sync.source_table.clone(), Vec::new()),
            others: vec![side("target", &reconcile.target, target, vec![upstream])],
            keys_named: 0,
            range: None,
            keys_only: reconcile.what == Reconciled::Deletes,
            most_deletes_percent: Some(reconcile.most_deletes_percent),
        };
        let verified = verify.run(cancel).await?;
        let (column, differing) = verified
            .report
            .columns
            .into_iter()
            .zip(verified.differing)
            .next()
            .ok_or_else(|| Error::internal("a comparison has no result"))?;
        let doubled = differing.doubled;
        let compared = Statistics {
            records_processed: column.rows,
            ..Statistics::default()
        };
        let mut outcome = if differing.is_empty() {
            TableOutcome::reconciled(sync, compared, Ok(()))
        } else {
            let repair = Repair {
                differing,
                rows: column.rows_here,
                most_deletes_percent: reconcile.most_deletes_percent,
            };
            self.repaired(sync, repair, up_to_date, compared, cancel).await
        };
        if reconcile.what == Reconciled::Deletes {
            let left = [
                (
                    column.missing,
                    "rows of the source are missing in the target",
                    "brings",
                ),
                (
                    doubled,
                    "rows are in the target once more than in the source",
                    "removes",
                ),
            ];
            for (rows, what, mends) in left.into_iter().filter(|(rows, ..)| *rows > 0) {
                outcome.warnings.push(format!(
                    "{rows} {what}; `what: all` in `reconcile` or `sync-cli verify --repair` {mends} them"
                ));
            }
        }
        Ok(outcome)
    }

    async fn repaired(
        &self,
        sync: &TableSync,
        repair: Repair,
        up_to_date: &TableOutcome,
        compared: Statistics,
        cancel: &CancellationToken,
    ) -> TableOutcome {
        let repairing = TableSync {
            repair: Some(repair),
            epoch: up_to_date.epoch,
            ..sync.clone()
        };
        let mut run = TableRun::new(self, &repairing, cancel);
        let ended = run.run().await;
        run.tally.statistics += compared;
        let outcome = TableOutcome::new(&repairing, run.tally, ended);
        outcome.of_reconciliation()
    }
}

/// Saves when a table was last reconciled. Returns the version of the state.
async fn remember(store: &dyn StateStore, sync: &SyncId, at: Timestamp) -> Result<u64> {
    let (version, state) = match store.load(sync).await? {
        Loaded::Found(found) => (Some(found.version), found.state),
        Loaded::Absent | Loaded::Damaged { .. } => (None, TableState::default()),
    };
    let state = TableState {
        reconciled: Some(at),
        ..state
    };
    Ok(match store.save(sync, version, &state).await? {
        SaveOutcome::Saved(version) => version,
        SaveOutcome::Stale { newest } => newest.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
