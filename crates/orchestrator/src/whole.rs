//! Tables that are brought to one moment of their source, so that of a transaction that wrote several of them all is there or nothing.
//!
//! # Invariants
//!
//! - What is applied is [as of the moment](model::Moment), whatever it is: rows that were copied, repaired or read again since the last one are
//!   brought to it as well, because every key that has changed since the last one is told.
//! - The snapshots that a reader may combine name the same moment. One that names it is made only when its table has been brought there, so a
//!   run that ends half-way leaves a moment that not all tables name, and the one before it whole.
//! - A table in which nothing changed gets a snapshot that says so, unless all tables name one moment already.

use futures::StreamExt;
use model::{Error, Mark, Result, Retry, RunStatus, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::report::{TableOutcome, Tally};
use crate::retry::{Backoff, Failures, RetryPolicy};
use crate::run::{Runner, span_of};
use crate::table_sync::{Session, TableRun, TableSync};

/// A table of the group, and what has become of it so far.
struct Member {
    sync: TableSync,
    outcome: Option<TableOutcome>,
}

impl Member {
    fn has_failed(&self) -> bool {
        let outcome = self.outcome.as_ref();
        outcome.is_some_and(|outcome| outcome.report.status != RunStatus::Succeeded)
    }

    /// Adds what a further pass did.
    fn then(&mut self, next: TableOutcome) {
        self.sync.epoch = next.epoch.or(self.sync.epoch);
        match &mut self.outcome {
            Some(outcome) => outcome.continued_by(next),
            None => self.outcome = Some(next),
        }
    }
}

/// Where a pass failed, what it had done there, and why.
struct Failed {
    place: usize,
    tally: Tally,
    error: Error,
}

impl Failed {
    fn may_pass(&self) -> bool {
        self.error.kind().retry() != Retry::No
    }
}

impl Runner {
    /// Brings `syncs`, which read the same source, up to one moment. Tables that have not been copied are copied first. If one of them fails, the
    /// others are brought up to date all the same, but to no moment.
    pub(crate) async fn run_whole(
        &self,
        syncs: &[TableSync],
        cancel: &CancellationToken,
    ) -> Vec<TableOutcome> {
        let members = syncs.iter().map(|sync| Member {
            sync: sync.clone(),
            outcome: None,
        });
        let mut members: Vec<_> = members.collect();
        let copies: Vec<_> = members
            .iter_mut()
            .map(|member| self.copy_first(member, cancel))
            .collect();
        futures::stream::iter(copies)
            .buffer_unordered(self.parallel.max(1))
            .collect::<()>()
            .await;
        let Some(first) = syncs.first() else {
            return Vec::new();
        };
        let backoff = Backoff::new(&self.retry, &*self.ids, cancel, Failures::default())
            .telling(&*self.progress, &first.sync);
        loop {
            let mut failed = self.bring_to_one_moment(&mut members, cancel).await;
            if failed.is_empty() {
                break;
            }
            let worth_a_try = failed.iter().position(Failed::may_pass).unwrap_or(0);
            let Failed { place, tally, error } = failed.swap_remove(worth_a_try);
            // A moment that was lost is not found again: all begin anew, at another one.
            if let Err(error) = backoff.pause(error).await {
                failed.push(Failed { place, tally, error });
                for Failed { place, tally, error } in failed {
                    let member = &mut members[place];
                    member.then(TableOutcome::new(&member.sync, tally, Err(error)));
                }
                break;
            }
        }
        let outcomes = members
            .into_iter()
            .map(|Member { sync, outcome }| outcome.unwrap_or_else(|| TableOutcome::skipped(&sync)));
        outcomes.collect()
    }

    /// Copies a table that has not been, and applies what has changed since.
    async fn copy_first(&self, member: &mut Member, cancel: &CancellationToken) {
        let sync = &member.sync;
        let newest = sync.sink.committed(&sync.sync, &sync.target_table).await;
        // If the target cannot be asked, the table's run says why.
        if !newest.is_ok_and(|newest| matches!(newest.mark, Some(Mark::At(_)))) {
            let copied = self.run_table(sync, cancel).await;
            member.then(copied);
        }
    }

    /// One pass over the tables that have not failed. Where it failed.
    async fn bring_to_one_moment(&self, members: &mut [Member], cancel: &CancellationToken) -> Vec<Failed> {
        let sound: Vec<_> = (0..members.len())
            .filter(|place| !members[*place].has_failed())
            .collect();
        let Some(first) = sound.first() else {
            return Vec::new();
        };
        let source = members[*first].sync.source.clone();
        let moment = cancel.run_until_cancelled(source.at_one_moment()).await;
        let moment = match moment.unwrap_or_else(|| Err(Error::cancelled())) {
            Ok(moment) => moment,
            Err(error) => {
                let (place, tally) = (*first, Tally::default());
                return vec![Failed { place, tally, error }];
            }
        };
        let syncs = sound.iter().map(|place| TableSync {
            source: moment.source.clone(),
            moment: Some(moment.name.clone()),
            ..members[*place].sync.clone()
        });
        let syncs: Vec<_> = syncs.collect();
        let retry = RetryPolicy {
            attempts: 1,
            ..self.retry.clone()
        };
        let runner = Self {
            retry,
            ..self.clone()
        };
        let mut runs = catch_up(&runner, &syncs, cancel).await;
        let all_are_there = runs.len() == members.len() && runs.iter().all(|brought| brought.ended.is_ok());
        if all_are_there {
            seal(&mut runs, &moment.name).await;
        }
        let mut failed = Vec::new();
        for (place, brought) in sound.into_iter().zip(runs) {
            let member = &mut members[place];
            let Brought {
                mut run,
                began,
                ended,
            } = brought;
            member.sync.epoch = run.tally.epoch.or(member.sync.epoch);
            match ended {
                Ok(session) => {
                    run.close(&session).await;
                    let outcome = TableOutcome::new(&member.sync, run.tally, Ok(()));
                    member.then(outcome.lasting(began, self.clock.now()));
                }
                Err(error) => failed.push(Failed {
                    place,
                    tally: run.tally,
                    error,
                }),
            }
        }
        failed
    }
}

/// The run of a table at a moment.
struct Brought<'a> {
    run: TableRun<'a>,
    began: Timestamp,
    ended: Result<Session>,
}

/// Brings tables to a moment, one after the other: they share its connection. Ends early at a failure that may pass at another moment.
async fn catch_up<'a>(
    runner: &'a Runner,
    syncs: &'a [TableSync],
    cancel: &'a CancellationToken,
) -> Vec<Brought<'a>> {
    let mut runs = Vec::new();
    for sync in syncs {
        let began = runner.clock.now();
        let mut run = TableRun::new(runner, sync, cancel);
        let ended = run.catch_up().instrument(span_of(sync)).await;
        let may_pass = |error: &Error| error.kind().retry() != Retry::No;
        let is_over = ended.as_ref().is_err_and(may_pass) || cancel.is_cancelled();
        runs.push(Brought { run, began, ended });
        if is_over {
            break;
        }
    }
    runs
}

/// Has the tables name the moment that do not, unless all name one already.
async fn seal(runs: &mut [Brought<'_>], moment: &str) {
    let mut named = runs.iter().map(|brought| &brought.run.tally.moment);
    let first = named.next().cloned().flatten();
    if first.is_some() && named.all(|other| *other == first) {
        return;
    }
    for Brought { run, ended, .. } in runs {
        let Ok(session) = ended else { continue };
        if run.tally.moment.as_deref() == Some(moment) {
            continue;
        }
        if let Err(error) = run.seal(session).await {
            *ended = Err(error);
            return;
        }
    }
}
