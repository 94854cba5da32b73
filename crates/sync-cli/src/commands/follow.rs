//! `run --follow`: goes on until a signal comes, and tells of each cycle in a line.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use model::{Result, RunReport, TableName};
use orchestrator::{Follow, Following, NoProgress, Route, RunOutcome};

use super::Answer;
use super::run::{busy, exit, of, routes, runner, until_signalled};
use crate::arguments::{self, Output};
use crate::config::Selected;
use crate::edge::peak_memory;
use crate::exit::Exit;
use crate::parts::Parts;
use crate::report;

/// Follows these tables, and those that appear and match a pattern.
pub(crate) async fn follow(
    parts: &Parts,
    tables: &[Selected],
    routes: Vec<Route>,
    options: &arguments::Run,
    output: Output,
) -> Result<Answer> {
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
        known: Mutex::new(tables.iter().map(|table| table.name.clone()).collect()),
    };
    let (run, runner) = (of(parts, routes), runner(parts, Arc::new(NoProgress)));
    let followed = until_signalled(async |cancel| runner.follow(&run, &follow, &teller, &cancel).await);
    match followed.await {
        RunOutcome::Finished(mut report) => {
            report.metadata.peak_memory_bytes = peak_memory();
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

/// Tells of cycles, and looks for tables.
struct Teller<'a> {
    parts: &'a Parts,
    options: &'a arguments::Run,
    output: Output,
    known: Mutex<BTreeSet<TableName>>,
}

#[async_trait]
impl Following for Teller<'_> {
    fn cycle_ended(&self, report: &RunReport) {
        let text = match self.output {
            Output::Human => report::cycle(report),
            Output::Json => serde_json::to_string(report).unwrap_or_default() + "\n",
        };
        // Whoever read it may have gone; the tables are kept in step nevertheless.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    async fn appeared(&self) -> Result<Vec<Route>> {
        if !self.options.tables.tables.is_empty() {
            return Ok(Vec::new());
        }
        let mut tables = self.parts.select(&[]).await?;
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            tables.retain(|table| table.entry.enabled && !known.contains(&table.name));
        }
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let routes = routes(self.parts, &tables, self.options)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for table in tables {
            tracing::info!(table = %table.name, "a new table is followed");
            known.insert(table.name);
        }
        Ok(routes)
    }
}
