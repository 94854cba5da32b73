//! Many tables at once.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use model::{Clock, Error, Ids, Lease, LeaseOutcome, RunReport, RunStatus, StateStore};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, Span};

use crate::memory::Memory;
use crate::progress::{NoProgress, Progress, ProgressEvent};
use crate::report::{TableOutcome, run_report};
use crate::retry::RetryPolicy;
use crate::spill::SpillOptions;
use crate::table_sync::{TableRun, TableSync, forget_unfinished};

/// Runs table syncs. Everything that it needs from outside comes in here, so a run under a simulated clock and a seed
/// repeats itself.
#[derive(Clone)]
pub struct Runner {
    /// Remembers states between runs, and holds the lease.
    pub store: Arc<dyn StateStore>,
    /// Dates reports.
    pub clock: Arc<dyn Clock>,
    /// Names batches, and draws pauses.
    pub ids: Arc<dyn Ids>,
    /// When failed steps are repeated.
    pub retry: RetryPolicy,
    /// How many routes run at once.
    pub parallel: usize,
    /// What all of them may hold in memory.
    pub memory: Memory,
    /// Where changes wait that do not fit.
    pub spill: SpillOptions,
    /// Hears of progress.
    pub progress: Arc<dyn Progress>,
    /// How many more tables may be compared with their sources now.
    pub(crate) comparisons: Arc<Semaphore>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("retry", &self.retry)
            .field("parallel", &self.parallel)
            .finish_non_exhaustive()
    }
}

/// Table syncs that run one after the other, each only if those before succeeded: source → Iceberg, then Iceberg → target.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// The table syncs.
    pub syncs: Vec<TableSync>,
    /// How many of the first read one source and are brought to one [moment](model::Moment) of it, all in one step, so that what a transaction
    /// wrote into several of their tables arrives as a whole. None, and each goes by itself.
    pub whole: usize,
}

impl Route {
    /// A route of table syncs that go each by itself.
    pub fn new(syncs: Vec<TableSync>) -> Self {
        Self { syncs, whole: 0 }
    }

    /// Those that are brought to one moment, and those behind them.
    fn parts(&self) -> (&[TableSync], &[TableSync]) {
        self.syncs.split_at(self.whole.min(self.syncs.len()))
    }

    /// Nothing is to be done for a while.
    pub(crate) fn rest(&self) {
        for sync in &self.syncs {
            sync.sink.rest();
        }
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The sync's name: one run of it at a time.
    pub name: String,
    /// Who runs it, for whoever finds the sync busy: process, host and since when.
    pub holder: String,
    /// The source for the report, without secrets.
    pub source: String,
    /// The destination for the report, without secrets.
    pub destination: String,
    /// The tables.
    pub routes: Vec<Route>,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunOutcome {
    /// It ran; the report says with which success.
    Finished(Box<RunReport>),
    /// Another process is running this sync; nothing was done.
    Busy {
        /// Who.
        holder: String,
    },
}

/// The lease of a sync, held until this is dropped; a store that is away costs a warning.
pub(crate) struct Leased {
    _lease: Option<Box<dyn Lease>>,
    pub(crate) warning: Option<String>,
}

impl Runner {
    /// A runner with the default retries, four tables at once in 256 MiB, and nobody who hears of progress.
    pub fn new(store: Arc<dyn StateStore>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self {
            store,
            clock,
            ids,
            retry: RetryPolicy::default(),
            parallel: 4,
            memory: Memory::default(),
            spill: SpillOptions::default(),
            progress: Arc::new(NoProgress),
            comparisons: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    /// Brings every table of `run` up to date. A table that fails does not stop the others.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the token ends the run in order: the answer to a commit that was sent is waited for, everything else stops. If the answer is
    /// lost, the next run finds out. Dropping the future stops everything at once. Both leave every table resumable.
    pub async fn run(&self, run: &Run, cancel: &CancellationToken) -> RunOutcome {
        let started = self.clock.now();
        let leased = match self.lease(run).await {
            Ok(leased) => leased,
            Err(holder) => return RunOutcome::Busy { holder },
        };
        let routes = run.routes.iter().cloned().enumerate();
        let spawned = routes.map(|(place, route)| {
            let ended = self.clone().spawn(route.clone(), cancel.clone());
            async move {
                let outcomes = ended.await;
                route.rest();
                (place, outcomes)
            }
        });
        let mut ended: Vec<_> = futures::stream::iter(spawned)
            .buffer_unordered(self.parallel.max(1))
            .collect()
            .await;
        ended.sort_by_key(|(place, _)| *place);
        let tables = ended.into_iter().flat_map(|(_, outcomes)| outcomes).collect();
        let mut report = run_report(run, started, self.clock.now(), tables);
        report.warnings.splice(0..0, leased.warning.clone());
        RunOutcome::Finished(Box::new(report))
    }

    /// Takes the lease of a sync, or tells who holds it.
    pub(crate) async fn lease(&self, run: &Run) -> Result<Leased, String> {
        match self.store.lease(&run.name, &run.holder).await {
            Ok(LeaseOutcome::Held(lease)) => Ok(Leased {
                _lease: Some(lease),
                warning: None,
            }),
            Ok(LeaseOutcome::Busy { holder }) => Err(holder),
            // The lease only saves two processes from working against each other; the marks keep them apart.
            Err(error) => Ok(Leased {
                _lease: None,
                warning: Some(format!("the sync could not be leased: {error}")),
            }),
        }
    }

    /// Runs a route in a task of its own, so that a defect in it is its own failure.
    pub(crate) async fn spawn(self, route: Route, cancel: CancellationToken) -> Vec<TableOutcome> {
        let (spawned, progress) = (route.clone(), self.progress.clone());
        let task = tokio::spawn(async move { self.run_route(&spawned, &cancel).await });
        match AbortOnDropHandle::new(task).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let defect = Error::internal("a table's task ended early").caused_by(error);
                let outcomes = route.syncs.iter().map(|sync| TableOutcome::defect(sync, &defect));
                let outcomes: Vec<_> = outcomes.collect();
                // As the report has it: also those that had ended before the defect.
                for (sync, outcome) in route.syncs.iter().zip(&outcomes) {
                    hear_end(&*progress, sync, outcome);
                }
                outcomes
            }
        }
    }

    pub(crate) async fn run_route(&self, route: &Route, cancel: &CancellationToken) -> Vec<TableOutcome> {
        let (whole, apart) = route.parts();
        let mut outcomes = Vec::new();
        let mut succeeded = true;
        for (sync, outcome) in whole.iter().zip(self.run_whole(whole, cancel).await) {
            succeeded &= self.end_table(sync, outcome, &mut outcomes, cancel).await;
        }
        for sync in apart {
            let outcome = if succeeded {
                self.run_table(sync, cancel).await
            } else {
                TableOutcome::skipped(sync)
            };
            succeeded = self.end_table(sync, outcome, &mut outcomes, cancel).await;
        }
        if succeeded {
            self.end_route(route, &mut outcomes).await;
        }
        outcomes
    }

    /// Tells of the end of a table's run, and compares the table with its source if that is due. Whether the run succeeded.
    async fn end_table(
        &self,
        sync: &TableSync,
        outcome: TableOutcome,
        outcomes: &mut Vec<TableOutcome>,
        cancel: &CancellationToken,
    ) -> bool {
        hear_end(&*self.progress, sync, &outcome);
        let succeeded = outcome.report.status == RunStatus::Succeeded;
        let reconciled = match succeeded {
            true => self.reconcile(sync, &outcome, cancel).await,
            false => None,
        };
        if let Some(reconciled) = &reconciled {
            hear_end(&*self.progress, sync, reconciled);
        }
        outcomes.push(outcome);
        outcomes.extend(reconciled);
        succeeded
    }

    /// From now on a run would double the rows of tables without a key. Until now it had to go on behind their copies.
    async fn end_route(&self, route: &Route, outcomes: &mut [TableOutcome]) {
        let unfinished = route
            .syncs
            .iter()
            .zip(outcomes.iter_mut().filter(|outcome| !outcome.reconciles))
            .filter(|(_, outcome)| outcome.unfinished);
        for (TableSync { sync, .. }, outcome) in unfinished {
            match forget_unfinished(&*self.store, sync).await {
                Ok(Some(version)) => outcome.state_version = version,
                Ok(None) => {}
                Err(error) => outcome.warnings.push(format!(
                    "the state of {sync} could not be saved; the next run takes this copy for its own: {error}"
                )),
            }
        }
    }

    pub(crate) async fn run_table(&self, sync: &TableSync, cancel: &CancellationToken) -> TableOutcome {
        let began = self.clock.now();
        let mut table = TableRun::new(self, sync, cancel);
        let ended = table.run().instrument(span_of(sync)).await;
        let outcome = TableOutcome::new(sync, table.tally, ended);
        outcome.lasting(began, self.clock.now())
    }
}

/// What the events of a table sync's run are told under.
pub(crate) fn span_of(sync: &TableSync) -> Span {
    tracing::info_span!("table_sync", sync = %sync.sync)
}

fn hear_end(progress: &dyn Progress, sync: &TableSync, outcome: &TableOutcome) {
    let ended = ProgressEvent::Ended {
        report: Box::new(outcome.report.clone()),
        error: outcome.error.clone(),
        reconciles: outcome.reconciles,
    };
    progress.hear(&sync.sync, &ended);
}

#[cfg(test)]
mod tests;
