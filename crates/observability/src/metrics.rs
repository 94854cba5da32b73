//! Where the loop's events are counted, and where they are asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Clock, SyncId, TableName, Timestamp};
use orchestrator::{Progress, ProgressEvent};

use crate::counts::Counts;
use crate::exposition::{Exposition, Family, Kind, Sample};
use crate::families;
use crate::health::Health;

/// How the Change Data Capture of the source stands. What the login may not see is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capture {
    /// How long ago the last transaction was committed that has been captured.
    pub behind_seconds: u64,
    /// How long after its commit the last change was captured.
    pub latency_seconds: Option<u64>,
    /// Whether SQL Server Agent runs.
    pub agent_running: Option<bool>,
    /// Whether the capture job runs.
    pub job_running: Option<bool>,
    /// Whether the log waits for the capture.
    pub log_held: bool,
    /// How many findings are warnings.
    pub warnings: u64,
    /// How many findings are errors.
    pub errors: u64,
}

/// The counts of one sync. It hears of a run's progress; table syncs that it was not told of are not counted.
pub struct Metrics {
    sync: String,
    version: &'static str,
    clock: Arc<dyn Clock>,
    /// What memory the process has, where the system tells.
    memory: fn() -> Option<u64>,
    tables: Mutex<BTreeMap<SyncId, Counts>>,
    capture: Mutex<Option<Capture>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("sync", &self.sync)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// Nothing is counted yet. `version` is the program's; `memory` says how many bytes the process has in memory.
    pub fn new(
        sync: impl Into<String>,
        version: &'static str,
        clock: Arc<dyn Clock>,
        memory: fn() -> Option<u64>,
    ) -> Self {
        Self {
            sync: sync.into(),
            version,
            clock,
            memory,
            tables: Mutex::default(),
            capture: Mutex::default(),
        }
    }

    /// Counts a table sync from now on. `direction` is a word: `capture` or `apply`.
    pub fn count(&self, sync: &SyncId, table: &TableName, direction: &str) {
        self.tables().entry(sync.clone()).or_insert_with(|| Counts {
            table: table.to_string(),
            direction: direction.to_owned(),
            ..Counts::default()
        });
    }

    /// Takes note of how the capture stands; `None` if nobody can tell.
    pub fn capture(&self, capture: Option<Capture>) {
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner) = capture;
    }

    /// Takes note of how long the source keeps the changes of a table, where the loop is not told.
    pub fn keeps(&self, sync: &SyncId, keeps: Duration) {
        if let Some(counts) = self.tables().get_mut(sync) {
            counts.keeps = Some(keeps);
        }
    }

    /// Takes note of when a table sync last succeeded before this process began.
    pub fn succeeded_before(&self, sync: &SyncId, at: Timestamp) {
        if let Some(counts) = self.tables().get_mut(sync) {
            counts.last_success = counts.last_success.max(Some(at));
        }
    }

    /// Everything in Prometheus' text format.
    pub fn text(&self) -> String {
        let Exposition(mut families) = self.exposition();
        families.push(gauge(
            "sync_build_info",
            "The version that runs.",
            &[("sync", &self.sync), ("version", self.version)],
            Some(1.0),
        ));
        families.push(gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            &[],
            (self.memory)().map(|bytes| bytes as f64),
        ));
        Exposition(families).to_string()
    }

    /// What is of the sync, and not of the process.
    pub(crate) fn exposition(&self) -> Exposition {
        let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        families::exposition(&self.sync, self.tables().values(), capture.as_ref())
    }

    /// Whether every table is in step, by what has happened in the last `stale_after`.
    pub fn health(&self, stale_after: Duration) -> Health {
        Health::new(&self.sync, self.tables().values(), self.clock.now(), stale_after)
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<SyncId, Counts>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Metrics {
    fn hear(&self, sync: &SyncId, event: &ProgressEvent) {
        let now = self.clock.now();
        if let Some(counts) = self.tables().get_mut(sync) {
            counts.hear(event, now);
        }
    }
}

fn gauge(name: &'static str, help: &'static str, labels: &[(&str, &str)], value: Option<f64>) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        help,
        samples: value
            .map(|value| Sample::new(name, labels, value))
            .into_iter()
            .collect(),
    }
}

#[cfg(test)]
mod tests;
