//! A run that goes on until it is stopped: each route in cycles of its own.
//!
//! # Invariants
//!
//! - A cycle is an ordinary run of a route, by the same code; whenever it is killed, the next run resumes.
//! - Whether a cycle is worth while is asked of the sources by a hint. Nothing depends on the hint but the time of the next cycle, and
//!   one is begun from time to time in any case.
//! - Tables of one source that are due are asked about together, and become due together.
//! - A route waits for no other one: neither for its failures, nor for what takes it long.
//! - A table sync is held under one epoch from its first cycle to its last. Once another process has taken it over, it is left to that.

mod lookout;
mod pace;
mod route;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{ChangeSource, Error, Result, RunReport, RunStatus, Timestamp};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::report::{TableOutcome, error_report, run_report};
use crate::run::{Route, Run, RunOutcome, Runner};
use lookout::Lookout;
use route::Followed;

/// So many cycles may wait to be reported.
const UNREPORTED: usize = 64;

/// So many tables are compared with their sources at once. A slow cycle leaves its place to another one, so that places do not limit them.
const COMPARED_AT_ONCE: usize = 1;

/// How a run goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// The least time between the starts of two cycles of a table.
    pub interval: Duration,
    /// The longest time between two looks at a table that is quiet, and between two cycles of one that is read whole each time.
    pub max_interval: Duration,
    /// How often new tables are looked for.
    pub new_tables: Duration,
    /// How long commits in flight may take once the run is to stop.
    pub stop_within: Duration,
}

impl Default for Follow {
    /// Every second; every half a minute where it is quiet; a minute for new tables; twenty seconds to stop.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
            new_tables: Duration::from_secs(60),
            stop_within: Duration::from_secs(20),
        }
    }
}

/// What a run that goes on needs of those who started it.
#[async_trait]
pub trait Following: Send + Sync {
    /// A cycle ended that committed something, failed, or has a new warning.
    fn cycle_ended(&self, report: &RunReport);

    /// Called every [`Follow::new_tables`], beside the cycles: the time to tidy up. Returns the routes of tables that have appeared since
    /// the run began and since this was last called.
    async fn look_around(&self) -> Result<Vec<Route>>;
}

/// A cycle, as a route tells of it.
struct Cycle {
    /// Which route, by the order in which they were begun.
    place: usize,
    started: Timestamp,
    outcomes: Vec<TableOutcome>,
    /// Whether anybody needs to know.
    notable: bool,
}

/// What the routes have in common.
struct Shared {
    runner: Runner,
    follow: Follow,
    /// What pauses are counted from.
    start: Instant,
    places: Arc<Semaphore>,
    cancel: CancellationToken,
    cycles: mpsc::Sender<Cycle>,
}

/// The routes that are being followed.
#[derive(Default)]
struct Routes {
    tasks: JoinSet<()>,
    begun: usize,
    lookouts: Vec<Lookout>,
    looking: JoinSet<()>,
}

impl Routes {
    fn begin(&mut self, shared: &Arc<Shared>, routes: Vec<Route>) {
        for route in routes {
            let lookouts = route
                .syncs
                .iter()
                .map(|sync| self.lookout(&sync.source))
                .collect();
            let followed = Followed::new(shared.clone(), self.begun, route, lookouts);
            self.tasks.spawn(followed.run());
            self.begun += 1;
        }
    }

    /// The one lookout of a source.
    fn lookout(&mut self, source: &Arc<dyn ChangeSource>) -> Lookout {
        if let Some(lookout) = self.lookouts.iter().find(|lookout| lookout.is_of(source)) {
            return lookout.clone();
        }
        let (lookout, looking) = Lookout::new(source.clone());
        self.looking.spawn(looking);
        self.lookouts.push(lookout.clone());
        lookout
    }
}

/// The sums of all cycles, by route and table sync.
#[derive(Default)]
struct Totals {
    outcomes: BTreeMap<usize, Vec<TableOutcome>>,
    cycles: u64,
}

impl Totals {
    fn add(&mut self, cycle: &Cycle) {
        self.cycles += 1;
        let totals = self.outcomes.entry(cycle.place).or_default();
        for outcome in &cycle.outcomes {
            match totals.iter_mut().find(|total| total.is_of_same_step(outcome)) {
                Some(total) => total.and_then(outcome),
                None => totals.push(TableOutcome {
                    late: Vec::new(),
                    ..outcome.clone()
                }),
            }
        }
    }
}

impl Runner {
    /// Brings every table of `run` up to date again and again, until it is cancelled. The report is of all cycles together, and a table
    /// counts as failed if its last cycle did.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the token ends the run in order: answers to commits that were sent are waited for, for [`Follow::stop_within`] at most;
    /// everything else stops. If one is lost, the next run finds out. Dropping the future stops everything at once. Both leave every table resumable.
    pub async fn follow(
        &self,
        run: &Run,
        follow: &Follow,
        following: &dyn Following,
        cancel: &CancellationToken,
    ) -> RunOutcome {
        let started = self.clock.now();
        let leased = match self.lease(run).await {
            Ok(leased) => leased,
            Err(holder) => return RunOutcome::Busy { holder },
        };
        let mut warnings: Vec<String> = leased.warning.iter().cloned().collect();
        let (cycles, mut ended) = mpsc::channel(UNREPORTED);
        let shared = Arc::new(Shared {
            runner: Runner {
                comparisons: Arc::new(Semaphore::new(COMPARED_AT_ONCE)),
                ..self.clone()
            },
            follow: follow.clone(),
            start: Instant::now(),
            places: Arc::new(Semaphore::new(self.parallel.max(1))),
            cancel: cancel.clone(),
            cycles,
        });
        let mut routes = Routes::default();
        routes.begin(&shared, run.routes.clone());
        let mut totals = Totals::default();
        let mut broken = Vec::new();
        let mut new_tables = Box::pin(after_a_while(follow, following));
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(cycle) = ended.recv() => self.report(run, cycle, &mut totals, following),
                new = &mut new_tables => {
                    routes.begin(&shared, new);
                    new_tables.set(after_a_while(follow, following));
                }
                // Routes end before they are told to only if another process has taken them over, or by a defect.
                Some(ended) = routes.tasks.join_next() => {
                    if let Err(cause) = ended {
                        let error = Error::internal("a table is not followed any more").caused_by(cause);
                        tracing::error!(%error, "a defect");
                        broken.push(error_report(None, &error));
                    }
                    if routes.tasks.is_empty() {
                        break;
                    }
                }
            }
        }
        // Each task has a sender of its own, so that the channel ends with the last of them.
        drop(shared);
        let rest = async {
            while let Some(cycle) = ended.recv().await {
                self.report(run, cycle, &mut totals, following);
            }
        };
        if tokio::time::timeout(follow.stop_within, rest).await.is_err() {
            warnings.push(format!(
                "not every commit had ended {} s after the run was to stop; the next run finds out what became of it",
                follow.stop_within.as_secs()
            ));
        }
        let outcomes = totals.outcomes.into_values().flatten().collect();
        let mut report = run_report(run, started, self.clock.now(), outcomes);
        report.warnings.splice(0..0, warnings);
        if !broken.is_empty() {
            report.metadata.status = RunStatus::Failed;
            report.errors.extend(broken);
        }
        RunOutcome::Finished(Box::new(report))
    }

    fn report(&self, run: &Run, cycle: Cycle, totals: &mut Totals, following: &dyn Following) {
        totals.add(&cycle);
        if cycle.notable {
            let mut report = run_report(run, cycle.started, self.clock.now(), cycle.outcomes);
            report.metadata.cycle = Some(totals.cycles);
            following.cycle_ended(&report);
        }
    }
}

/// Waits until new tables are to be looked for, and looks. A source that is away has none.
async fn after_a_while(follow: &Follow, following: &dyn Following) -> Vec<Route> {
    tokio::time::sleep(follow.new_tables).await;
    following.look_around().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "new tables cannot be looked for now");
        Vec::new()
    })
}

/// Whether every table sync of a route did all that it was to do. A comparison with the source has a rhythm of its own.
fn succeeded(outcomes: &[TableOutcome]) -> bool {
    outcomes
        .iter()
        .filter(|outcome| !outcome.reconciles)
        .all(|outcome| outcome.report.status == RunStatus::Succeeded)
}

#[cfg(test)]
mod tests;
