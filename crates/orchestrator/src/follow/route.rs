//! One route, cycle after cycle.

use std::sync::Arc;
use std::time::Duration;

use model::{Position, RunStatus};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use super::pace::{IN_ANY_CASE, Pace, Seen};
use super::{Cycle, Shared, succeeded};
use crate::report::TableOutcome;
use crate::run::Route;

/// A look that takes longer is given up for a cycle: somebody holds locks, or the source does not answer.
const LOOK: Duration = Duration::from_secs(5);

/// A cycle that takes longer leaves its place to another route.
const SLOW: Duration = Duration::from_secs(10);

/// A route that is followed.
pub(super) struct Followed {
    shared: Arc<Shared>,
    place: usize,
    route: Route,
    pace: Pace,
    /// When the last cycle began that did all that there was to do; `None` if the next look must be a cycle.
    complete: Option<Instant>,
    /// What the last cycle warned of.
    warned: Vec<String>,
    /// Up to where each table sync's source has been applied.
    positions: Vec<Option<Position>>,
}

impl Followed {
    pub(super) fn new(shared: Arc<Shared>, place: usize, route: Route) -> Self {
        Self {
            pace: Pace::new(&shared.follow),
            shared,
            place,
            positions: Vec::new(),
            route,
            complete: None,
            warned: Vec::new(),
        }
    }

    /// Goes on until it is cancelled, or another process takes the table over.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            let began = Instant::now();
            let Some(place) = shared.cancel.run_until_cancelled(self.place_to_run()).await else {
                return;
            };
            let seen = match place {
                Some(place) => self.cycle(place).await,
                None => Seen::Nothing,
            };
            if seen == Seen::TakenOver {
                tracing::error!(route = %self.name(), "another process has taken the table over; it is left to that");
                return;
            }
            let pause = self.pace.after(seen, began.elapsed());
            let slept = shared.cancel.run_until_cancelled(sleep(pause)).await;
            if slept.is_none() {
                return;
            }
        }
    }

    /// Waits for a place among the others, and returns it if there may be something to do.
    async fn place_to_run(&self) -> Option<OwnedSemaphorePermit> {
        let place = self.shared.places.clone().acquire_owned().await.ok()?;
        let recent = |since: Instant| since.elapsed() < IN_ANY_CASE;
        let quiet =
            self.complete.is_some_and(recent) && !self.is_to_reconcile() && !self.may_have_changed().await;
        (!quiet).then_some(place)
    }

    fn is_to_reconcile(&self) -> bool {
        let now = self.shared.runner.clock.now();
        let mut reconciles = self.route.0.iter().filter_map(|sync| sync.reconcile.as_ref());
        reconciles.any(|reconcile| reconcile.is_due(now))
    }

    /// A source that cannot tell is asked by a cycle, which reports why.
    async fn may_have_changed(&self) -> bool {
        for (sync, position) in self.route.0.iter().zip(&self.positions) {
            let Some(position) = position else {
                return true;
            };
            let asked = sync.source.may_have_changed(&sync.source_table, position);
            match timeout(LOOK, asked).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => return true,
                Ok(Err(error)) => {
                    tracing::debug!(sync = %sync.sync, %error, "the source does not tell whether there is something new");
                    return true;
                }
                Err(_) => {
                    tracing::debug!(sync = %sync.sync, "the source takes long to tell whether there is something new");
                    return true;
                }
            }
        }
        false
    }

    /// An ordinary run of the route.
    async fn cycle(&mut self, place: OwnedSemaphorePermit) -> Seen {
        let shared = self.shared.clone();
        let (began, started) = (Instant::now(), shared.runner.clock.now());
        let run = shared
            .runner
            .clone()
            .spawn(self.route.clone(), shared.cancel.clone());
        let mut run = Box::pin(run);
        let outcomes = match timeout(SLOW, &mut run).await {
            Ok(outcomes) => outcomes,
            Err(_) => {
                drop(place);
                run.await
            }
        };
        let seen = Seen::of(&outcomes);
        self.complete = succeeded(&outcomes).then_some(began);
        self.positions.clear();
        let runs = outcomes.iter().filter(|outcome| !outcome.reconciles);
        for (sync, outcome) in self.route.0.iter_mut().zip(runs) {
            sync.epoch = outcome.epoch.or(sync.epoch);
            self.positions.push(outcome.position.clone());
        }
        let notable = self.is_notable(&outcomes);
        let cycle = Cycle {
            place: self.place,
            started,
            outcomes,
            notable,
        };
        // Nobody listens any more only if everything is being broken off.
        let _ = shared.cycles.send(cycle).await;
        seen
    }

    fn is_notable(&mut self, outcomes: &[TableOutcome]) -> bool {
        let mut warnings = Vec::new();
        let mut notable = false;
        for outcome in outcomes {
            warnings.extend(outcome.warnings.iter().cloned());
            let failed = matches!(outcome.report.status, RunStatus::Failed | RunStatus::Gap);
            notable |= failed || outcome.committed || !outcome.late.is_empty();
        }
        let news = warnings.iter().any(|warning| !self.warned.contains(warning));
        self.warned = warnings;
        notable || news
    }

    fn name(&self) -> String {
        let syncs = self.route.0.iter().map(|sync| sync.sync.to_string());
        syncs.collect::<Vec<_>>().join(", ")
    }
}
