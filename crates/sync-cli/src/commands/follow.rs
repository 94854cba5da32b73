//! `run --follow`: goes on until a signal comes, and tells of each cycle in a line.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use model::{Result, RunReport, TableName};
use orchestrator::{Follow, Following, Route, RunOutcome};

use super::Answer;
use super::maintain::{expire_if_due, has_committed};
use super::run::{busy, exit, leave_metrics, of, routes, runner, until_signalled, with_whole_transactions};
use crate::arguments::{self, Output};
use crate::config::Selected;
use crate::exit::Exit;
use crate::observed::Observed;
use crate::parts::{Direction, Parts};
use crate::process_memory::peak_memory;
use crate::report;

/// Follows these tables, and those that appear and match a pattern.
pub(crate) async fn follow(
    parts: &Parts,
    tables: &[Selected],
    routes: Vec<Route>,
    options: &arguments::Run,
    output: Output,
    observed: &Observed<'_>,
) -> Result<Answer> {
    let serving = observed.serve().await?;
    let settings = &parts.config().run.follow;
    let follow = Follow {
        interval: settings.interval.duration(),
        max_interval: settings.max_interval.duration(),
        new_tables: settings.new_tables.duration(),
        stop_within: settings.stop_within.duration(),
    };
    let teller = Teller {
        parts,
        options,
        output,
        observed,
        tables: Mutex::new(
            tables
                .iter()
                .map(|table| (table.name.clone(), Followed::new(table)))
                .collect(),
        ),
    };
    let (run, runner) = (of(parts, routes), runner(parts, observed.progress()));
    let followed = until_signalled(async |cancel| {
        let going_on = runner.follow(&run, &follow, &teller, &cancel);
        if serving.is_none() {
            return going_on.await;
        }
        tokio::select! {
            ended = going_on => ended,
            never = observed.keep_looking_at_capture() => match never {},
        }
    });
    match followed.await {
        RunOutcome::Finished(mut report) => {
            report.metadata.peak_memory_bytes = peak_memory();
            leave_metrics(parts, options, observed, &mut report).await;
            let answer = Answer::new(report::run(&report), &report)?.last_line();
            Ok(answer.ending(match exit(&report) {
                // That is how it ends.
                Exit::Cancelled => Exit::Success,
                other => other,
            }))
        }
        RunOutcome::Busy { holder } => Ok(busy(parts, &holder)?.last_line()),
    }
}

/// A table that is followed.
struct Followed {
    table: Selected,
    /// Whether changes have been captured into it since its old snapshots were last looked at.
    has_committed: bool,
}

impl Followed {
    fn new(table: &Selected) -> Self {
        Self {
            table: table.clone(),
            has_committed: false,
        }
    }
}

/// Tells of cycles, looks for tables, and lets old snapshots expire.
struct Teller<'a> {
    parts: &'a Parts,
    options: &'a arguments::Run,
    output: Output,
    observed: &'a Observed<'a>,
    tables: Mutex<BTreeMap<TableName, Followed>>,
}

impl Teller<'_> {
    fn tables(&self) -> MutexGuard<'_, BTreeMap<TableName, Followed>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables that changes have been captured into since this was last asked.
    fn committed(&self) -> Vec<Selected> {
        let mut tables = self.tables();
        let committed = tables.values_mut().filter_map(|followed| {
            std::mem::take(&mut followed.has_committed).then(|| followed.table.clone())
        });
        committed.collect()
    }

    /// As after a run: it is not what the run is for, so a failure is a warning.
    async fn expire_snapshots(&self) {
        if !self.parts.config().iceberg.expire.after_runs {
            return;
        }
        for table in self.committed() {
            if let Err(error) = expire_if_due(self.parts, &table).await {
                tracing::warn!(table = %table.name, %error, "old snapshots did not expire");
            }
        }
    }
}

#[async_trait]
impl Following for Teller<'_> {
    fn cycle_ended(&self, report: &RunReport) {
        for entry in &report.tables {
            if entry.direction == Direction::Capture.label() && has_committed(entry) {
                let mut tables = self.tables();
                let followed = tables.values_mut();
                for followed in followed.filter(|followed| followed.table.name.to_string() == entry.table) {
                    followed.has_committed = true;
                }
            }
        }
        let text = match self.output {
            Output::Human => report::cycle(report),
            Output::Json => serde_json::to_string(report).unwrap_or_default() + "\n",
        };
        // Whoever read it may have gone; the tables are kept in step nevertheless.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    async fn look_around(&self) -> Result<Vec<Route>> {
        self.expire_snapshots().await;
        if !self.options.tables.tables.is_empty() {
            return Ok(Vec::new());
        }
        let mut tables = self.parts.select(&[]).await?;
        tables.retain(|table| table.entry.enabled && !self.tables().contains_key(&table.name));
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let source = self.parts.source_database(&tables);
        let routes = routes(self.parts, &tables, source.clone(), self.options)?;
        let routes = with_whole_transactions(routes, &tables, self.options);
        self.observed.count(&tables, source).await;
        for table in &tables {
            tracing::info!(table = %table.name, "a new table is followed");
            self.tables().insert(table.name.clone(), Followed::new(table));
        }
        Ok(routes)
    }
}
