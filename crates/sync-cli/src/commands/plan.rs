//! `plan`: what a run would do, table by table, without doing it.

use std::sync::Arc;

use iceberg_reader::SnapshotChoice;
use model::{
    ChangeSink, ChangeSource, Description, Error, Mark, Prepare, Result, Severity, TableName, Tracking,
};
use serde::Serialize;
use sqlserver_source::Transactions;

use super::Answer;
use crate::arguments::Tables;
use crate::config::Selected;
use crate::exit::Exit;
use crate::parts::{Direction, Parts};
use crate::report;

#[derive(Debug, Serialize)]
pub(super) struct TablePlan {
    pub(super) table: String,
    pub(super) direction: &'static str,
    steps: Vec<String>,
    warnings: Vec<String>,
    /// Why a run would do nothing, and what to do about it.
    pub(super) refused: Option<String>,
}

/// Asks source and targets, and changes nothing.
pub(crate) async fn run(parts: &Parts, tables: &Tables) -> Result<Answer> {
    let tables = parts.select(&tables.tables).await?;
    let plans = plans(parts, &tables).await?;
    let refused = plans.iter().any(|plan| plan.refused.is_some());
    let text: String = plans.iter().map(TablePlan::text).collect();
    Ok(Answer::new(text, &plans)?.ending(if refused { Exit::Failure } else { Exit::Success }))
}

/// What a run would do with each table, in each direction.
pub(super) async fn plans(parts: &Parts, tables: &[Selected]) -> Result<Vec<TablePlan>> {
    let source = parts.source(tables);
    let mut plans = Vec::new();
    for table in tables {
        if !table.entry.enabled {
            plans.push(TablePlan::only(table, "", "disabled"));
            continue;
        }
        let mut described = None;
        if let Some(source) = &source {
            described = Some(source.describe(&table.name).await);
            let sink = parts.iceberg_sink(std::slice::from_ref(table));
            let mut plan = planned(
                parts,
                table,
                Direction::Capture,
                described.as_ref(),
                sink,
                &table.iceberg,
            )
            .await;
            if table.entry.capture.transactions == Transactions::Whole && plan.refused.is_none() {
                plan.steps.push(
                    "bring it to one moment with all tables whose transactions are kept whole".to_owned(),
                );
            }
            plans.push(plan);
        }
        if let Some(sink) = parts.target_sink(table)? {
            let iceberg: Arc<dyn ChangeSource> = parts.iceberg_source(SnapshotChoice::Current);
            // Before the first run there is no Iceberg table, and the target will get what the source delivers.
            let from = match iceberg.describe(&table.iceberg).await {
                Err(error) if described.is_none() => Some(Err(error)),
                // What was found about the source has been told above.
                Err(_) => described.map(|described| {
                    described.map(|description| Description {
                        findings: Vec::new(),
                        ..description
                    })
                }),
                Ok(description) => Some(Ok(description)),
            };
            plans.push(planned(parts, table, Direction::Apply, from.as_ref(), sink, &table.target).await);
        }
    }
    Ok(plans)
}

async fn planned(
    parts: &Parts,
    table: &Selected,
    direction: Direction,
    described: Option<&Result<Description>>,
    sink: Arc<dyn ChangeSink>,
    name: &TableName,
) -> TablePlan {
    let mut plan = TablePlan {
        table: table.name.to_string(),
        direction: direction.label(),
        steps: Vec::new(),
        warnings: Vec::new(),
        refused: None,
    };
    let looked = match described {
        Some(Ok(description)) => plan.fill(parts, table, direction, description, sink, name).await,
        Some(Err(error)) => {
            plan.refused = Some(refusal(error));
            Ok(())
        }
        None => Ok(()),
    };
    if let Err(error) = looked {
        plan.refused = Some(refusal(&error));
    }
    plan
}

fn refusal(error: &Error) -> String {
    let text = format!("{}\n{}", report::chain(error), error.advice());
    text.replace('\n', "\n      ")
}

impl TablePlan {
    fn only(table: &Selected, direction: &'static str, step: &str) -> Self {
        let steps = vec![step.to_owned()];
        Self {
            table: table.name.to_string(),
            direction,
            steps,
            warnings: Vec::new(),
            refused: None,
        }
    }

    async fn fill(
        &mut self,
        parts: &Parts,
        table: &Selected,
        direction: Direction,
        description: &Description,
        sink: Arc<dyn ChangeSink>,
        name: &TableName,
    ) -> Result<()> {
        let sync = parts.sync_id(&table.name, direction);
        for finding in &description.findings {
            let remedy = finding
                .remedy
                .as_ref()
                .map(|remedy| format!("\n      {}", remedy.replace('\n', "\n      ")))
                .unwrap_or_default();
            match finding.severity {
                Severity::Error => self.refused = Some(format!("{}{remedy}", finding.message)),
                Severity::Warning | Severity::Note => {
                    self.warnings.push(format!("{}{remedy}", finding.message))
                }
            }
        }
        let committed = sink.committed(&sync, name).await?;
        let replace = committed.mark.is_some() && matches!(description.tracking, Tracking::Full { .. });
        let prepare = Prepare {
            sync,
            table: name.clone(),
            schema: description.schema.clone(),
            create: committed.mark.is_none() || replace,
            replace,
            adopt: table.entry.adopt,
            dry_run: true,
        };
        let prepared = sink.prepare(&prepare).await?;
        self.steps.extend(prepared.actions);
        self.warnings.extend(prepared.losses);
        self.steps.push(reading(description, committed.mark.as_ref()));
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = format!("{}  {}\n", self.table, self.direction);
        for step in &self.steps {
            text.push_str(&format!("  • {}\n", step.replace('\n', "\n    ")));
        }
        for warning in &self.warnings {
            text.push_str(&format!("  ! {warning}\n"));
        }
        if let Some(refused) = &self.refused {
            text.push_str(&format!("  ✗ refused: {refused}\n"));
        }
        text
    }
}

fn reading(description: &Description, mark: Option<&Mark>) -> String {
    let rows = description
        .approximate_rows
        .map_or_else(|| "its".to_owned(), |rows| format!("about {rows}"));
    match (mark, &description.tracking) {
        (None, Tracking::Incremental { how, reason, .. }) => {
            format!("copy {rows} rows, then follow by {how}: {reason}")
        }
        (None, Tracking::Full { reason }) => format!("copy {rows} rows: {reason}"),
        (Some(_), Tracking::Full { reason }) => {
            format!("read {rows} rows again and replace the table if they differ: {reason}")
        }
        (Some(Mark::Copying { .. }), Tracking::Incremental { how, .. }) => {
            format!("go on with the copy, then follow by {how}")
        }
        (Some(Mark::At(position)), Tracking::Incremental { how, .. }) => {
            format!("read what changed since {position} by {how}")
        }
    }
}
