//! `state show | history | reset`.

use model::{Error, ErrorKind, Loaded, Result, StoredState, SyncId};
use serde::Serialize;

use super::Answer;
use crate::arguments::{State, Tables};
use crate::parts::Parts;
use crate::table::TextTable;
use crate::time::iso;

#[derive(Serialize)]
struct Entry {
    sync: SyncId,
    #[serde(flatten)]
    stored: Option<StoredState>,
    damaged: Option<String>,
}

/// Shows what the store holds, or forgets it.
pub(crate) async fn run(parts: &Parts, command: &State) -> Result<Answer> {
    match command {
        State::Show(tables) => show(parts, tables).await,
        State::History(tables) => history(parts, tables).await,
        State::Reset(tables) => reset(parts, tables).await,
    }
}

async fn show(parts: &Parts, tables: &Tables) -> Result<Answer> {
    let mut entries = Vec::new();
    for sync in syncs(parts, tables).await? {
        let (stored, damaged) = match parts.store().load(&sync).await? {
            Loaded::Found(stored) => (Some(*stored), None),
            Loaded::Damaged { why } => (None, Some(why)),
            Loaded::Absent => (None, None),
        };
        entries.push(Entry {
            sync,
            stored,
            damaged,
        });
    }
    answer(entries)
}

async fn history(parts: &Parts, tables: &Tables) -> Result<Answer> {
    let mut entries = Vec::new();
    for sync in syncs(parts, tables).await? {
        for stored in parts.store().history(&sync).await? {
            entries.push(Entry {
                sync: sync.clone(),
                stored: Some(stored),
                damaged: None,
            });
        }
    }
    answer(entries)
}

async fn reset(parts: &Parts, tables: &Tables) -> Result<Answer> {
    let syncs = syncs(parts, tables).await?;
    for sync in &syncs {
        parts.store().remove(sync).await?;
    }
    let text: String = syncs
        .iter()
        .map(|sync| format!("{sync}: forgotten; the next run takes its position from the target\n"))
        .collect();
    Answer::new(text, &syncs)
}

/// The syncs of this configuration that have a state, or those of the tables that were named.
async fn syncs(parts: &Parts, tables: &Tables) -> Result<Vec<SyncId>> {
    let all = parts.store().list().await?;
    let ours: Vec<SyncId> = all.into_iter().filter(|sync| parts.owns(sync)).collect();
    if tables.tables.is_empty() {
        return Ok(ours);
    }
    let wanted = tables
        .tables
        .iter()
        .map(|table| parts.table_prefix(table))
        .collect::<Result<Vec<_>>>()?;
    let unknown = wanted
        .iter()
        .position(|prefix| !ours.iter().any(|sync| sync.as_str().starts_with(prefix)));
    match unknown.and_then(|i| tables.tables.get(i)) {
        Some(table) => Err(
            Error::new(ErrorKind::NotFound, "the state store holds nothing of this table")
                .with("table", table)
                .hint("`sync-cli state show` lists what it holds"),
        ),
        None => Ok(ours
            .into_iter()
            .filter(|sync| wanted.iter().any(|prefix| sync.as_str().starts_with(prefix)))
            .collect()),
    }
}

fn answer(entries: Vec<Entry>) -> Result<Answer> {
    let mut table = TextTable::new(&[
        "sync",
        "version",
        "saved at",
        "epoch",
        "position",
        "reference",
        "rows applied",
    ]);
    for entry in &entries {
        let Some(stored) = &entry.stored else {
            table.row([
                entry.sync.to_string(),
                entry.damaged.clone().unwrap_or_else(|| "nothing".to_owned()),
            ]);
            continue;
        };
        let state = &stored.state;
        table.row([
            entry.sync.to_string(),
            stored.version.to_string(),
            iso(stored.saved_at),
            state.epoch.to_string(),
            state
                .position
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            state.reference.clone().unwrap_or_default(),
            state.rows_applied.to_string(),
        ]);
    }
    Answer::new(table, &entries)
}
