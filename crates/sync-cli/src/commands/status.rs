//! `status`: how far every table has got, by the marks in the targets.

use iceberg_maintenance::{CompactOptions, Due, compaction_due};
use model::{Committed, Loaded, Mark, Result};
use serde::Serialize;

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
    /// What `maintain compact` would do, on the way into Iceberg.
    compaction: Due,
}

/// Asks each target.
pub(crate) async fn run(parts: &Parts, tables: &Tables) -> Result<Answer> {
    let mut statuses = Vec::new();
    for table in parts.select(&tables.tables).await? {
        for direction in parts.directions() {
            statuses.push(status(parts, &table, direction).await?);
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
            match status.compaction {
                due if due.is_due() => format!("due: {} files into about {}", due.files, due.groups),
                _ => String::new(),
            },
        ]);
    }
    Answer::new(table, &statuses)
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
        compaction,
    })
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
