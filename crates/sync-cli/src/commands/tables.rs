//! `tables`: what the source has, and how each table would be read.

use iceberg_reader::SnapshotChoice;
use model::{ErrorKind, Result, Tracking};
use serde::Serialize;

use super::Answer;
use crate::config::select;
use crate::parts::Parts;
use crate::report;
use crate::table::TextTable;

#[derive(Serialize)]
struct Listed {
    table: String,
    approximate_rows: Option<u64>,
    key: Vec<String>,
    tracking: String,
    reason: String,
    problem: Option<String>,
}

/// Lists the source's tables, and the views that the configuration names. A table that cannot be synchronised is listed with the reason.
pub(crate) async fn run(parts: &Parts) -> Result<Answer> {
    let existing = parts.existing_tables().await?;
    let configured = select(parts.config(), &existing, &[]).unwrap_or_default();
    let source = parts
        .source(&configured)
        .unwrap_or_else(|| parts.iceberg_source(SnapshotChoice::Current));
    let mut listed = Vec::new();
    let views = existing.by_name.into_iter();
    let views = views.filter(|view| configured.iter().any(|table| table.name == *view));
    for name in existing.tables.into_iter().chain(views) {
        let described = source.describe(&name).await;
        listed.push(match described {
            Ok(description) => {
                let (tracking, reason) = match description.tracking {
                    Tracking::Full { reason } => ("full".to_owned(), reason),
                    Tracking::Incremental { how, reason, .. } => (how, reason),
                };
                let key = description
                    .schema
                    .key_names()
                    .into_iter()
                    .map(str::to_owned)
                    .collect();
                Listed {
                    table: name.to_string(),
                    approximate_rows: description.approximate_rows,
                    key,
                    tracking,
                    reason,
                    problem: None,
                }
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Err(error) => Listed {
                table: name.to_string(),
                approximate_rows: None,
                key: Vec::new(),
                tracking: String::new(),
                reason: String::new(),
                problem: Some(report::chain(&error)),
            },
        });
    }
    let mut table = TextTable::new(&["table", "rows", "key", "read by", "because"]);
    for entry in &listed {
        let rows = entry
            .approximate_rows
            .map_or_else(|| "?".to_owned(), |rows| rows.to_string());
        let because = entry.problem.as_ref().map_or_else(
            || entry.reason.clone(),
            |problem| format!("cannot be synchronised: {problem}"),
        );
        table.row([
            entry.table.clone(),
            rows,
            entry.key.join(", "),
            entry.tracking.clone(),
            because,
        ]);
    }
    Answer::new(table, &listed)
}
