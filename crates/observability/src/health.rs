//! Whether every table is in step, and which is not and why.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use model::{RunStatus, Timestamp};
use serde::Serialize;

use crate::counts::{Counts, Cycle};

/// The health of a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The sync.
    pub sync: String,
    /// Whether the last cycle of every table ended well, not too long ago.
    pub healthy: bool,
    /// How many tables there are, each direction counted.
    pub tables: usize,
    /// Those that are not in step.
    pub unhealthy: Vec<Unhealthy>,
}

/// A table that is not in step, in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unhealthy {
    /// The table, by its name in the source.
    pub table: String,
    /// `capture` or `apply`.
    pub direction: String,
    /// Why, and what to do. The error's own text is in the log and not here, because it may name a row or a host.
    pub why: String,
    /// When a cycle last succeeded, in RFC 3339.
    pub last_success: Option<String>,
}

impl Health {
    pub(crate) fn new<'a>(
        sync: &str,
        tables: impl Iterator<Item = &'a Counts> + Clone,
        now: Timestamp,
        stale_after: Duration,
    ) -> Self {
        let unhealthy = tables.clone().filter_map(|counts| {
            Some(Unhealthy {
                table: counts.table.clone(),
                direction: counts.direction.clone(),
                why: ailment(counts, now, stale_after)?,
                last_success: counts.last_success.map(rfc3339),
            })
        });
        let unhealthy: Vec<_> = unhealthy.collect();
        Self {
            sync: sync.to_owned(),
            healthy: unhealthy.is_empty(),
            tables: tables.count(),
            unhealthy,
        }
    }
}

/// Why a table is not in step.
fn ailment(counts: &Counts, now: Timestamp, stale_after: Duration) -> Option<String> {
    let Some(last) = &counts.last else {
        return Some("its first cycle has not ended".to_owned());
    };
    if last.status == RunStatus::Succeeded {
        return stale(counts, now, stale_after);
    }
    Some(match last {
        Cycle {
            error: Some(error), ..
        } => format!(
            "its last cycle failed ({}), see the log: {}",
            error.kind, error.advice
        ),
        Cycle { .. } => "it was not begun, because the step before it did not succeed".to_owned(),
    })
}

fn stale(counts: &Counts, now: Timestamp, stale_after: Duration) -> Option<String> {
    let seen = counts.last_success.max(counts.looks.last_quiet)?;
    let age = Duration::from_millis(u64::try_from(now.0 - seen.0).unwrap_or_default());
    (age > stale_after).then(|| {
        format!(
            "no cycle has succeeded and no look has found it quiet for {} s; a large increment may be under way",
            age.as_secs()
        )
    })
}

fn rfc3339(time: Timestamp) -> String {
    DateTime::<Utc>::from_timestamp_millis(time.0)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}
