//! One route, cycle after cycle.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use model::{Look, Position, RunStatus};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};

use super::lookout::Lookout;
use super::pace::{IN_ANY_CASE, Pace, Seen};
use super::{Cycle, Shared, succeeded};
use crate::progress::ProgressEvent;
use crate::report::TableOutcome;
use crate::run::Route;

/// A cycle that takes longer leaves its place to another route.
const SLOW: Duration = Duration::from_secs(10);

/// A table that has been quiet for so long is not expected to change in the next moment.
const RESTS_AFTER: Duration = Duration::from_secs(10);

/// A route that is followed.
pub(super) struct Followed {
    shared: Arc<Shared>,
    place: usize,
    route: Route,
    /// Where each table sync's source is looked at.
    lookouts: Vec<Lookout>,
    pace: Pace,
    /// When the last cycle began.
    began: Option<Instant>,
    /// Whether the last cycle did all that there was to do; otherwise the next look must be a cycle.
    complete: bool,
    /// What the last cycle warned of.
    warned: Vec<String>,
    /// Why the last look failed.
    blind: Option<String>,
    /// Up to where each table sync's source has been applied.
    positions: Vec<Option<Position>>,
}

impl Followed {
    pub(super) fn new(shared: Arc<Shared>, place: usize, route: Route, lookouts: Vec<Lookout>) -> Self {
        Self {
            pace: Pace::new(&shared.follow, shared.start),
            shared,
            place,
            positions: Vec::new(),
            route,
            lookouts,
            began: None,
            complete: false,
            warned: Vec::new(),
            blind: None,
        }
    }

    /// Goes on until it is cancelled, or another process takes the table over.
    pub(super) async fn run(mut self) {
        let cancel = self.shared.cancel.clone();
        let mut due = Instant::now();
        while let Some(Some(place)) = cancel.run_until_cancelled(self.place_once_needed(due)).await {
            let began = Instant::now();
            self.began = Some(began);
            let seen = self.cycle(place).await;
            if seen == Seen::TakenOver {
                tracing::error!(route = %self.name(), "another process has taken the table over; it is left to that");
                return;
            }
            due = self.pace.next(seen, began);
        }
    }

    /// Looks whenever it is due until there may be something to do, and returns a place among the cycles then.
    async fn place_once_needed(&mut self, mut due: Instant) -> Option<OwnedSemaphorePermit> {
        while self.is_quiet(due).await {
            if self.began.is_some_and(|began| due > began + RESTS_AFTER) {
                self.route.rest();
            }
            due = self.pace.next(Seen::Nothing, due);
        }
        if let Some(began) = self.began {
            sleep_until(began + self.shared.follow.interval).await;
        }
        self.shared.places.clone().acquire_owned().await.ok()
    }

    /// Waits until a look is due, and says whether there is nothing to do then.
    async fn is_quiet(&mut self, due: Instant) -> bool {
        let recent = self.began.is_some_and(|began| due < began + IN_ANY_CASE);
        if !recent || !self.complete {
            sleep_until(due).await;
            return false;
        }
        !self.may_have_changed(due).await && !self.is_to_reconcile()
    }

    fn is_to_reconcile(&self) -> bool {
        let now = self.shared.runner.clock.now();
        let mut reconciles = self.route.syncs.iter().filter_map(|sync| sync.reconcile.as_ref());
        reconciles.any(|reconcile| reconcile.is_due(now))
    }

    /// Looks at each table sync's source. One that cannot tell is asked by a cycle, which reports why.
    async fn may_have_changed(&mut self, due: Instant) -> bool {
        let syncs = self.route.syncs.iter().zip(&self.lookouts).zip(&self.positions);
        let looks = join_all(syncs.map(|((sync, lookout), position)| async move {
            match position {
                Some(position) => lookout.look(&sync.source_table, position, due).await,
                None => Look::Perhaps,
            }
        }))
        .await;
        for (sync, look) in self.route.syncs.iter().zip(&looks) {
            let looked = ProgressEvent::Looked(look.clone());
            self.shared.runner.progress.hear(&sync.sync, &looked);
        }
        let failed = looks.iter().find_map(|look| match look {
            Look::Failed { why } => Some(why.clone()),
            Look::Quiet | Look::Perhaps => None,
        });
        if let Some(why) = failed.as_ref().filter(|_| failed != self.blind) {
            tracing::warn!(route = %self.name(), why, "the table cannot be looked at; a cycle finds out what has changed");
        }
        self.blind = failed;
        looks.iter().any(|look| *look != Look::Quiet)
    }

    /// An ordinary run of the route.
    async fn cycle(&mut self, place: OwnedSemaphorePermit) -> Seen {
        let shared = self.shared.clone();
        let started = shared.runner.clock.now();
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
        self.complete = succeeded(&outcomes);
        self.positions.clear();
        let runs = outcomes.iter().filter(|outcome| !outcome.reconciles);
        for (sync, outcome) in self.route.syncs.iter_mut().zip(runs) {
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
        let syncs = self.route.syncs.iter().map(|sync| sync.sync.to_string());
        syncs.collect::<Vec<_>>().join(", ")
    }
}
