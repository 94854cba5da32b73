//! Tables that have nothing new are not opened: their source is asked for all of them at once.

use std::sync::Arc;

use futures::StreamExt;
use model::{ChangeSource, Position, RunStatus, TableName};
use tokio_util::sync::CancellationToken;

use crate::progress::ProgressEvent;
use crate::report::TableOutcome;
use crate::run::{Route, Runner};
use crate::table_sync::{Standing, TableRun};

/// From so many tables on they are asked for together. Opening a few costs less than finding out whether to.
const MANY: usize = 16;

/// A table sync that stands at a position, and may stay there.
struct Resting<'a> {
    /// The route that begins with it.
    place: usize,
    run: TableRun<'a>,
    standing: Standing,
}

impl Runner {
    /// How the first table syncs of routes ended that have nothing to do; `None` for a route that is to be run.
    pub(crate) async fn quiet(
        &self,
        routes: &[Route],
        cancel: &CancellationToken,
    ) -> Vec<Option<TableOutcome>> {
        let mut outcomes: Vec<_> = routes.iter().map(|_| None).collect();
        if routes.len() < MANY {
            return outcomes;
        }
        let standing = routes.iter().enumerate().map(|(place, route)| async move {
            let mut run = TableRun::new(self, route.0.first()?, cancel);
            let standing = run.standing().await?;
            Some(Resting { place, run, standing })
        });
        let standing = futures::stream::iter(standing).buffered(self.parallel.max(1));
        let resting: Vec<Resting<'_>> = standing.filter_map(|found| async { found }).collect().await;
        for of_one_source in by_source(resting) {
            for (mut resting, position) in asked(of_one_source).await {
                let sync = resting.run.sync();
                resting.run.rest(resting.standing, position).await;
                self.progress
                    .hear(&sync.sync, &ProgressEvent::Ended(RunStatus::Succeeded));
                if let Some(outcome) = outcomes.get_mut(resting.place) {
                    *outcome = Some(TableOutcome::new(sync, resting.run.tally, Ok(())));
                }
            }
        }
        outcomes
    }
}

/// Groups of the same source.
fn by_source(resting: Vec<Resting<'_>>) -> Vec<Vec<Resting<'_>>> {
    let mut groups: Vec<Vec<Resting<'_>>> = Vec::new();
    let source = |resting: &Resting<'_>| -> Arc<dyn ChangeSource> { resting.run.sync().source.clone() };
    for one in resting {
        let same = |group: &&mut Vec<Resting<'_>>| {
            let first = group.first();
            first.is_some_and(|other| Arc::ptr_eq(&source(other), &source(&one)))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// Those that have nothing new, with their positions. If the source cannot tell, each is opened and meets the reason by itself.
async fn asked(group: Vec<Resting<'_>>) -> Vec<(Resting<'_>, Position)> {
    let tables: Vec<(TableName, Position)> = group
        .iter()
        .map(|one| (one.run.sync().source_table.clone(), one.standing.position.clone()))
        .collect();
    let Some(source) = group.first().map(|first| first.run.sync().source.clone()) else {
        return Vec::new();
    };
    match source.quiet(&tables).await {
        Ok(positions) => {
            let told = group.into_iter().zip(positions);
            told.filter_map(|(one, position)| Some((one, position?)))
                .collect()
        }
        Err(error) => {
            tracing::debug!(%error, "the source cannot tell which tables are quiet");
            Vec::new()
        }
    }
}
