//! `status`: how far every table has got, by the marks in the targets.

use iceberg_maintenance::{CompactOptions, Due, compaction_due};
use iceberg_reader::SnapshotChoice;
use model::{Committed, Finding, Loaded, Mark, Result, Severity};
use orchestrator::position_beyond_mark;
use serde::Serialize;
use sqlserver_source::{CaptureSigns, CaptureState, SqlServerSource};

use super::Answer;
use crate::arguments::Tables;
use crate::config::Selected;
use crate::parts::{Direction, Parts};
use crate::table::TextTable;
use crate::time::iso;

#[derive(Serialize)]
struct TableStatus {
    table: String,
    direction: &'static str,
    state: &'static str,
    position: Option<String>,
    reference: Option<String>,
    epoch: u64,
    last_success: Option<String>,
    /// When Iceberg was last compared with the source, or copied from it.
    last_reconciled: Option<String>,
    rows_applied: u64,
    /// Rows in the table of dead letters, where the policy has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letters: Option<u64>,
    /// What threatens the way on: history that the source has forgotten or soon will, a capture that stands still.
    warnings: Vec<String>,
    /// How the Change Data Capture stands that the table is followed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    capture: Option<CaptureSigns>,
    /// What `maintain compact` would do, on the way into Iceberg.
    compaction: Due,
}

/// Asks each target.
pub(crate) async fn run(parts: &Parts, tables: &Tables) -> Result<Answer> {
    let mut statuses = Vec::new();
    let selected = parts.select(&tables.tables).await?;
    let source = parts.source_database(&selected);
    let (capture, warnings_of_all) = match &source {
        Some(source) if parts.has(Direction::Capture) => capture_state(source, &selected).await,
        _ => (None, Vec::new()),
    };
    for table in &selected {
        for direction in parts.directions() {
            let mut status = status(parts, table, direction).await?;
            if let (Direction::Capture, Some(source)) = (direction, &source) {
                status.warnings = warnings(parts, source, table).await;
                if let Some(state) = capture
                    .as_ref()
                    .filter(|state| state.tables.contains(&table.name))
                {
                    status.warnings.extend(worse_than_notes(&state.findings));
                    status.capture = Some(state.signs.clone());
                }
            }
            statuses.push(status);
        }
    }
    let mut table = TextTable::new(&[
        "table",
        "direction",
        "state",
        "position",
        "reference",
        "last success",
        "reconciled",
        "rows applied",
        "dead letters",
        "compaction",
    ]);
    for status in &statuses {
        table.row([
            status.table.clone(),
            status.direction.to_owned(),
            status.state.to_owned(),
            status.position.clone().unwrap_or_default(),
            status.reference.clone().unwrap_or_default(),
            status.last_success.clone().unwrap_or_else(|| "never".to_owned()),
            status.last_reconciled.clone().unwrap_or_default(),
            status.rows_applied.to_string(),
            status
                .dead_letters
                .map(|rows| rows.to_string())
                .unwrap_or_default(),
            match status.compaction {
                due if due.is_due() => format!("due: {} files into about {}", due.files, due.groups),
                _ => String::new(),
            },
        ]);
    }
    let mut text = table.to_string();
    for status in &statuses {
        let own = status.warnings.iter();
        for warning in own.filter(|warning| !warnings_of_all.contains(warning)) {
            text.push_str(&format!("warning: {}: {warning}\n", status.table));
        }
    }
    for warning in &warnings_of_all {
        text.push_str(&format!("warning: source: {warning}\n"));
    }
    Answer::new(text, &statuses)
}

/// How the capture stands, and what is wrong with it or with looking at it.
async fn capture_state(source: &SqlServerSource, tables: &[Selected]) -> (Option<CaptureState>, Vec<String>) {
    let enabled = tables.iter().filter(|table| table.entry.enabled);
    let names: Vec<_> = enabled.map(|table| table.name.clone()).collect();
    match source.capture_state(&names).await {
        Ok(Some(state)) => {
            let warnings = worse_than_notes(&state.findings).collect();
            (Some(state), warnings)
        }
        Ok(None) => (None, Vec::new()),
        Err(error) => (
            None,
            vec![format!(
                "the source does not tell how its capture stands: {error}"
            )],
        ),
    }
}

fn worse_than_notes(findings: &[Finding]) -> impl Iterator<Item = String> {
    let worse = findings
        .iter()
        .filter(|finding| finding.severity != Severity::Note);
    worse.map(|finding| finding.message.clone())
}

/// What is wrong with the way on, or that the source does not tell.
async fn warnings(parts: &Parts, source: &SqlServerSource, table: &Selected) -> Vec<String> {
    if !table.entry.enabled {
        return Vec::new();
    }
    match outlook(parts, source, table).await {
        Ok(findings) => findings.into_iter().map(|finding| finding.message).collect(),
        Err(error) => vec![format!(
            "the source does not tell how long it keeps changes: {error}"
        )],
    }
}

/// What the source says of the way on from where the table has got.
pub(super) async fn outlook(
    parts: &Parts,
    source: &SqlServerSource,
    table: &Selected,
) -> Result<Vec<Finding>> {
    let sync = parts.sync_id(&table.name, Direction::Capture);
    let sink = parts.iceberg_sink(std::slice::from_ref(table));
    let committed = sink.committed(&sync, &table.iceberg).await?;
    let Some(Mark::At(position)) = &committed.mark else {
        return Ok(Vec::new());
    };
    let beyond = position_beyond_mark(parts.store().as_ref(), &sync, &committed).await;
    source
        .outlook(&table.name, beyond.as_ref().unwrap_or(position))
        .await
}

async fn status(parts: &Parts, table: &Selected, direction: Direction) -> Result<TableStatus> {
    let sync = parts.sync_id(&table.name, direction);
    let committed = match direction {
        Direction::Capture => {
            parts
                .iceberg_sink(std::slice::from_ref(table))
                .committed(&sync, &table.iceberg)
                .await?
        }
        Direction::Apply => match parts.target_sink(table)? {
            Some(sink) => sink.committed(&sync, &table.target).await?,
            None => Committed::default(),
        },
    };
    let compaction = match direction {
        Direction::Capture => due(parts, table).await?,
        Direction::Apply => Due::default(),
    };
    let dead_letters = match direction {
        Direction::Capture => dead_letters(parts, table).await?,
        Direction::Apply => None,
    };
    let state = match parts.store().load(&sync).await? {
        Loaded::Found(stored) => stored.state,
        Loaded::Absent | Loaded::Damaged { .. } => model::TableState::default(),
    };
    // The store knows of empty increments, but only as long as the target has not moved without it.
    let later = state.position.filter(|_| state.reference == committed.reference);
    let (word, mark) = match &committed.mark {
        _ if !table.entry.enabled => ("disabled", None),
        None => ("not begun", None),
        Some(Mark::Copying { start, .. }) => ("copying", Some(start)),
        Some(Mark::At(position)) => ("in step", Some(position)),
    };
    Ok(TableStatus {
        table: table.name.to_string(),
        direction: direction.label(),
        state: word,
        position: later.as_ref().or(mark).map(ToString::to_string),
        reference: committed.reference,
        epoch: committed.epoch.0,
        last_success: state.last_success.map(iso),
        last_reconciled: state
            .reconciled
            .map(iso)
            .filter(|_| direction == Direction::Capture),
        rows_applied: state.rows_applied,
        dead_letters,
        warnings: Vec::new(),
        capture: None,
        compaction,
    })
}

/// How many rows the table of dead letters has, if the policy has one.
async fn dead_letters(parts: &Parts, table: &Selected) -> Result<Option<u64>> {
    let Some(name) = table.dead_letters() else {
        return Ok(None);
    };
    if parts.catalog().load(&name).await?.is_none() {
        return Ok(Some(0));
    }
    let described = parts
        .iceberg_source(SnapshotChoice::Current)
        .describe(&name)
        .await?;
    Ok(Some(described.approximate_rows.unwrap_or(0)))
}

async fn due(parts: &Parts, table: &Selected) -> Result<Due> {
    let Some(loaded) = parts.catalog().load(&table.iceberg).await? else {
        return Ok(Due::default());
    };
    let options = CompactOptions {
        write: parts.config().iceberg.write.clone(),
        ..CompactOptions::default()
    };
    compaction_due(&loaded, &options, parts.clock().as_ref()).await
}
