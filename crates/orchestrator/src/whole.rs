//! Tables that are brought to one moment of their source, so that of a transaction that wrote several of them all is there or nothing.
//!
//! # Invariants
//!
//! - A table is as of the moment, whatever it held before: rows that were copied, repaired or read again were read before the moment began, and
//!   every key that has changed since the table's position is told with its row as of the moment.
//! - The snapshots that a reader may combine name the same moment. One that names it is made only when its table has been brought there, so a
//!   run that ends half-way leaves a moment that not all tables name, and the one before it whole.
//! - A table in which nothing changed gets a snapshot that says so, unless all tables name one moment already.
//! - A table that fails lets the others go on, but names no moment, and neither do those in which nothing changed.

use std::time::Duration;

use futures::StreamExt;
use model::{Error, Moment, Result, Timestamp};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::report::TableOutcome;
use crate::run::{Runner, span_of};
use crate::table_sync::{Ready, TableRun, TableSync};

/// A table of the group.
struct Member<'a> {
    sync: &'a TableSync,
    run: TableRun<'a>,
    /// What it was found ready with; `None` if it is to be looked at, or again.
    ready: Option<Ready>,
    /// Whether it has been brought to the moment of the last pass, or to one since others have failed.
    is_there: bool,
    /// Why it takes part no longer.
    failure: Option<Error>,
    /// How long it was worked at.
    spent: Duration,
}

impl<'a> Member<'a> {
    fn new(runner: &'a Runner, sync: &'a TableSync, cancel: &'a CancellationToken) -> Self {
        Self {
            sync,
            run: TableRun::new(runner, sync, cancel),
            ready: None,
            is_there: false,
            failure: None,
            spent: Duration::ZERO,
        }
    }

    async fn get_ready(&mut self, runner: &Runner) {
        let began = runner.clock.now();
        match self.run.get_ready().instrument(span_of(self.sync)).await {
            Ok(ready) => self.ready = Some(ready),
            // Its steps have been repeated.
            Err(error) => self.failure = Some(error),
        }
        self.spent += since(began, runner);
    }

    async fn bring_to(&mut self, moment: &Moment, runner: &Runner) -> Result<()> {
        let Some(ready) = &mut self.ready else {
            return Err(Error::internal("a table was not got ready"));
        };
        let began = runner.clock.now();
        let brought = self.run.bring_to(ready, moment);
        let ended = brought.instrument(span_of(self.sync)).await;
        self.spent += since(began, runner);
        self.is_there = ended.is_ok();
        ended
    }

    async fn name_moment(&mut self) -> Result<()> {
        match &mut self.ready {
            Some(ready) => self.run.name_moment(ready).instrument(span_of(self.sync)).await,
            None => Ok(()),
        }
    }

    /// Waits until it may be tried again, or takes it out.
    async fn failed(&mut self, error: Error) {
        self.is_there = false;
        // What it was found with may no longer hold.
        self.ready = None;
        if let Err(error) = self.run.backoff().pause(error).await {
            self.failure = Some(error);
        }
    }

    async fn into_outcome(mut self, runner: &Runner, cancel: &CancellationToken) -> TableOutcome {
        let now = runner.clock.now();
        let began = Timestamp(now.0 - i64::try_from(self.spent.as_millis()).unwrap_or(i64::MAX));
        let ended = match (self.failure, &self.ready) {
            (Some(error), _) => Err(error),
            (None, Some(ready)) if self.is_there => {
                self.run.close_ready(ready).await;
                Ok(())
            }
            _ if cancel.is_cancelled() => Err(Error::cancelled()),
            _ => return TableOutcome::skipped(self.sync),
        };
        TableOutcome::new(self.sync, self.run.tally, ended).lasting(began, now)
    }
}

fn since(began: Timestamp, runner: &Runner) -> Duration {
    let spent = runner.clock.now().0.saturating_sub(began.0);
    Duration::from_millis(u64::try_from(spent).unwrap_or(0))
}

impl Runner {
    /// Brings `syncs`, which read the same source, up to one moment. Tables that have not been copied are copied first. If one of them fails, the
    /// others are brought up to date all the same, and no moment is named by all.
    pub(crate) async fn run_whole(
        &self,
        syncs: &[TableSync],
        cancel: &CancellationToken,
    ) -> Vec<TableOutcome> {
        let mut members: Vec<_> = syncs.iter().map(|sync| Member::new(self, sync, cancel)).collect();
        while !self.bring_to_one_moment(&mut members, cancel).await {}
        let mut outcomes = Vec::new();
        for member in members {
            outcomes.push(member.into_outcome(self, cancel).await);
        }
        outcomes
    }

    /// One pass over the tables that have not failed, at one moment. Whether there is nothing more to be done; otherwise it failed at one of them,
    /// and all go on from where they are at another moment.
    async fn bring_to_one_moment(&self, members: &mut [Member<'_>], cancel: &CancellationToken) -> bool {
        let unready = members
            .iter_mut()
            .filter(|member| member.ready.is_none() && member.failure.is_none());
        let unready: Vec<_> = unready.map(|member| member.get_ready(self)).collect();
        let got_ready = futures::stream::iter(unready).buffer_unordered(self.parallel.max(1));
        got_ready.collect::<()>().await;
        let is_whole = members.iter().all(|member| member.failure.is_none());
        let mut members: Vec<_> = members
            .iter_mut()
            .filter(|member| member.failure.is_none() && (is_whole || !member.is_there))
            .collect();
        let Some(first) = members.first_mut() else {
            return true;
        };
        let moment = cancel
            .run_until_cancelled(first.sync.source.at_one_moment())
            .await;
        let moment = match moment.unwrap_or_else(|| Err(Error::cancelled())) {
            Ok(moment) => moment,
            Err(error) => {
                first.failed(error).await;
                // Without a moment there is nothing for the others either.
                return first.failure.is_some();
            }
        };
        for member in &mut members {
            if let Err(error) = member.bring_to(&moment, self).await {
                drop(moment);
                member.failed(error).await;
                return false;
            }
        }
        drop(moment);
        let mut named = members.iter().map(|member| &member.run.tally.moment);
        let one = named.next().cloned().flatten();
        if !is_whole || one.is_some() && named.all(|other| *other == one) {
            return true;
        }
        for member in &mut members {
            if let Err(error) = member.name_moment().await {
                member.failed(error).await;
                return false;
            }
        }
        true
    }
}
