//! `maintain compact | expire | orphans`, and the expiry after a run.

use iceberg_maintenance::{
    CompactOptions, Compacted, ExpireOptions, Expired, OrphanOptions, Orphans, compact, expire,
    expiry_is_due, merge_manifests, remove_orphans,
};
use iceberg_reader::snapshots_of_position;
use model::{Mark, Result, RunReport, RunStatus, TableReport};
use orchestrator::position_beyond_mark;
use serde::Serialize;

use super::Answer;
use crate::arguments::{Maintain, Tables};
use crate::config::Selected;
use crate::parts::{Direction, Parts};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

#[derive(Serialize)]
struct Done<T> {
    table: String,
    #[serde(flatten)]
    done: T,
}

/// Maintains the tables that exist.
pub(crate) async fn run(parts: &Parts, command: &Maintain) -> Result<Answer> {
    match command {
        Maintain::Compact { tables, settled } => compact_all(parts, tables, settled * MINUTE_MS).await,
        Maintain::Expire {
            tables,
            older_than,
            keep,
            dry_run,
        } => {
            let options = ExpireOptions {
                older_than_ms: older_than.map(|days| i64::from(days) * DAY_MS),
                keep_at_least: *keep,
                dry_run: *dry_run,
                ..ExpireOptions::default()
            };
            expire_all(parts, tables, options).await
        }
        Maintain::Orphans {
            tables,
            older_than,
            remove,
        } => {
            let options = OrphanOptions {
                older_than_ms: i64::from(*older_than) * DAY_MS,
                dry_run: !remove,
            };
            orphans_of_all(parts, tables, options).await
        }
    }
}

async fn compact_all(parts: &Parts, tables: &Tables, settled_ms: i64) -> Result<Answer> {
    let options = CompactOptions {
        write: parts.config().iceberg.write.clone(),
        settled_ms,
        ..CompactOptions::default()
    };
    let (mut text, mut all) = (String::new(), Vec::new());
    for table in existing(parts, tables).await? {
        let (catalog, clock) = (parts.catalog().as_ref(), parts.clock().as_ref());
        let done = compact(catalog, &table.iceberg, &options, clock, parts.ids().clone()).await?;
        let merged = merge_manifests(catalog, &table.iceberg, clock, parts.ids().as_ref()).await?;
        text.push_str(&format!("{}  {}", table.iceberg, compacted(&done)));
        if let Some((before, after)) = merged {
            text.push_str(&format!("; {before} manifests merged into {after}"));
        }
        text.push('\n');
        all.push(named(&table, done));
    }
    Answer::new(text, &all)
}

fn compacted(done: &Compacted) -> String {
    let left = match done.groups_left {
        0 => String::new(),
        left => format!("; {left} groups changed meanwhile and were left alone"),
    };
    match done.snapshot {
        None => format!("nothing to compact{left}"),
        Some(snapshot) => format!(
            "{} rows of {} files written into {}, snapshot {snapshot}{left}",
            done.rows, done.files_before, done.files_after
        ),
    }
}

async fn expire_all(parts: &Parts, tables: &Tables, options: ExpireOptions) -> Result<Answer> {
    let (mut text, mut all) = (String::new(), Vec::new());
    for table in existing(parts, tables).await? {
        let options = ExpireOptions {
            in_use: read_by_target(parts, &table).await?,
            ..options.clone()
        };
        let (catalog, clock) = (parts.catalog().as_ref(), parts.clock().as_ref());
        let done = expire(catalog, &table.iceberg, &options, clock).await?;
        text.push_str(&format!(
            "{}  {}\n",
            table.iceberg,
            expired(&done, options.dry_run)
        ));
        for kept in &done.kept {
            text.push_str(&format!("  kept snapshot {}: {}\n", kept.snapshot, kept.held_by));
        }
        all.push(named(&table, done));
    }
    Answer::new(text, &all)
}

fn expired(done: &Expired, dry_run: bool) -> String {
    let would = if dry_run { "would expire" } else { "expired" };
    let (snapshots, files) = (done.snapshots.len(), done.files);
    format!("{snapshots} snapshots {would}, with {files} files that only they have")
}

/// Expires snapshots of the tables that a run has captured changes into, where that is due. It is not what the run was for, so a failure is
/// a warning.
pub(crate) async fn expire_after(parts: &Parts, tables: &[Selected], report: &mut RunReport) {
    if !parts.config().iceberg.expire.after_runs || report.metadata.status == RunStatus::Cancelled {
        return;
    }
    for table in tables {
        let name = table.name.to_string();
        let committed = report.tables.iter().any(|entry| {
            let is_capture = entry.table == name && entry.direction == Direction::Capture.label();
            is_capture && has_committed(entry)
        });
        if !committed {
            continue;
        }
        if let Err(error) = expire_if_due(parts, table).await {
            let warning = format!("{name}: old snapshots did not expire: {error}");
            report.warnings.push(warning);
        }
    }
}

/// Whether something of a table's was committed, or perhaps: a snapshot that names a moment needs no rows.
pub(crate) fn has_committed(entry: &TableReport) -> bool {
    let counts = &entry.statistics;
    counts.records_written + counts.records_dead_lettered > 0 || entry.moment.is_some()
}

/// Expires snapshots of a table that changes have been captured into, and of its dead letters, where that is due. The history of a table
/// that was adopted is its owner's.
pub(crate) async fn expire_if_due(parts: &Parts, table: &Selected) -> Result<()> {
    for table in with_dead_letters(table.clone()).filter(|table| !table.entry.adopt) {
        expire_one_if_due(parts, &table).await?;
    }
    Ok(())
}

async fn expire_one_if_due(parts: &Parts, table: &Selected) -> Result<()> {
    let (catalog, clock) = (parts.catalog().as_ref(), parts.clock().as_ref());
    let settings = &parts.config().iceberg.expire;
    let options = ExpireOptions {
        keep_at_most: Some(settings.keep_at_most),
        grace_ms: Some(i64::try_from(settings.grace.duration().as_millis()).unwrap_or(i64::MAX)),
        ..ExpireOptions::default()
    };
    let Some(loaded) = catalog.load(&table.iceberg).await? else {
        return Ok(());
    };
    if !expiry_is_due(&loaded, &options, clock)? {
        return Ok(());
    }
    let options = ExpireOptions {
        in_use: read_by_target(parts, table).await?,
        ..options
    };
    let done = expire(catalog, &table.iceberg, &options, clock).await?;
    tracing::info!(
        table = %table.iceberg,
        snapshots = done.snapshots.len(),
        files = done.files,
        "old snapshots have expired"
    );
    Ok(())
}

/// The snapshots that the target continues from: at its mark, and where empty increments have moved beyond it.
async fn read_by_target(parts: &Parts, table: &Selected) -> Result<Vec<(i64, String)>> {
    let Some(sink) = parts.target_sink(table)? else {
        return Ok(Vec::new());
    };
    let sync = parts.sync_id(&table.name, Direction::Apply);
    let committed = sink.committed(&sync, &table.target).await?;
    let beyond = position_beyond_mark(parts.store().as_ref(), &sync, &committed).await;
    let mark = committed.mark.as_ref().map(Mark::position);
    let by = format!("the position of {} in the target", table.target);
    let mut held = Vec::new();
    for position in mark.into_iter().chain(&beyond) {
        let snapshots = snapshots_of_position(position)?.into_iter();
        held.extend(snapshots.map(|id| (id, by.clone())));
    }
    Ok(held)
}

async fn orphans_of_all(parts: &Parts, tables: &Tables, options: OrphanOptions) -> Result<Answer> {
    let (mut text, mut all) = (String::new(), Vec::new());
    for table in existing(parts, tables).await? {
        let (catalog, clock) = (parts.catalog().as_ref(), parts.clock().as_ref());
        let done = remove_orphans(catalog, &table.iceberg, options, clock).await?;
        text.push_str(&format!("{}  {}\n", table.iceberg, orphaned(&done)));
        for file in &done.files {
            text.push_str(&format!("  {file}\n"));
        }
        all.push(named(&table, done));
    }
    Answer::new(text, &all)
}

fn orphaned(done: &Orphans) -> String {
    let removed = if done.removed {
        "removed"
    } else {
        "found; --remove removes them"
    };
    format!(
        "{} orphans of {} bytes {removed}; {} files are too young to be sure of",
        done.files.len(),
        done.bytes,
        done.too_young
    )
}

/// The chosen tables that the warehouse has, and those of their dead letters.
async fn existing(parts: &Parts, tables: &Tables) -> Result<Vec<Selected>> {
    let mut existing = Vec::new();
    for table in parts.select(&tables.tables).await? {
        for table in with_dead_letters(table) {
            if table.entry.enabled && parts.catalog().load(&table.iceberg).await?.is_some() {
                existing.push(table);
            }
        }
    }
    Ok(existing)
}

fn with_dead_letters(table: Selected) -> impl Iterator<Item = Selected> {
    let dead_letters = table.dead_letters().map(|iceberg| Selected {
        iceberg,
        ..table.clone()
    });
    [table].into_iter().chain(dead_letters)
}

fn named<T>(table: &Selected, done: T) -> Done<T> {
    Done {
        table: table.iceberg.to_string(),
        done,
    }
}

#[cfg(test)]
mod tests {
    use model::Statistics;

    use super::*;

    #[test]
    fn rows_and_moments_are_committed() {
        let of = |written, moment: Option<&str>| TableReport {
            statistics: Statistics {
                records_written: written,
                ..Statistics::default()
            },
            moment: moment.map(str::to_owned),
            ..TableReport::default()
        };
        assert!(!has_committed(&of(0, None)));
        assert!(has_committed(&of(1, None)));
        assert!(has_committed(&of(0, Some("now"))));
    }
}
