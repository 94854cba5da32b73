//! What a run is observed by, as far as the configuration asks for it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Result, Severity, TableName};
use observability::{Capture, Metrics, Server, check_textfile, write_textfile};
use orchestrator::Progress;
use sqlserver_source::{CaptureState, Mode, SqlServerSource};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Selected;
use crate::parts::{Direction, Parts};
use crate::process_memory::resident_memory;

/// How often the source is asked how its capture stands.
const LOOK_AT_CAPTURE: Duration = Duration::from_secs(60);

/// How long it may take to answer. It is not what a run is for, and what is told of the capture is to be true now.
const PATIENCE: Duration = Duration::from_secs(10);

/// The metrics of a run. A run that nobody watches is counted all the same: counting costs nothing.
pub(crate) struct Observed<'a> {
    parts: &'a Parts,
    metrics: Arc<Metrics>,
    /// Those that the run reads from, each with its tables that Change Data Capture may be chosen for.
    captured: Mutex<Vec<(Arc<SqlServerSource>, Vec<TableName>)>>,
}

impl<'a> Observed<'a> {
    /// Nothing is counted yet.
    pub(crate) fn new(parts: &'a Parts) -> Self {
        let metrics = Metrics::new(
            &parts.config().sync,
            env!("CARGO_PKG_VERSION"),
            parts.clock().clone(),
            resident_memory,
        );
        Self {
            parts,
            metrics: Arc::new(metrics),
            captured: Mutex::default(),
        }
    }

    /// Counts these tables from now on. `source` is what the run reads them from.
    pub(crate) async fn count(&self, tables: &[Selected], source: Option<Arc<SqlServerSource>>) {
        for table in tables {
            for direction in self.parts.directions() {
                let sync = self.parts.sync_id(&table.name, direction);
                self.metrics.count(&sync, &table.name, direction.id());
                // A damaged state is left to the run, which tells of it.
                let kept = self.parts.store().history(&sync).await.unwrap_or_default();
                if let Some(at) = kept.first().and_then(|newest| newest.state.last_success) {
                    self.metrics.succeeded_before(&sync, at);
                }
            }
        }
        let may_be = |table: &&Selected| matches!(table.entry.capture.mode, Mode::Cdc | Mode::Auto);
        let names = tables.iter().filter(may_be).map(|table| table.name.clone());
        let names: Vec<_> = names.collect();
        if let Some(source) = source.filter(|_| !names.is_empty()) {
            self.captured().push((source, names));
        }
    }

    fn captured(&self) -> MutexGuard<'_, Vec<(Arc<SqlServerSource>, Vec<TableName>)>> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What hears of the run's progress.
    pub(crate) fn progress(&self) -> Arc<dyn Progress> {
        self.metrics.clone()
    }

    /// Serves the metrics until the answer is dropped, where that is asked for.
    ///
    /// # Errors
    ///
    /// `Config` if the address cannot be had.
    pub(crate) async fn serve(&self) -> Result<Option<AbortOnDropHandle<()>>> {
        let settings = &self.parts.config().observability;
        let Some(address) = settings.listen else {
            return Ok(None);
        };
        let server = Server::bind(address).await?;
        tracing::info!(address = %server.address(), "metrics are served");
        let serving = server.serve(self.metrics.clone(), settings.stale_after.duration());
        Ok(Some(AbortOnDropHandle::new(tokio::spawn(serving))))
    }

    /// Leaves the metrics in the file that is meant for them, if one is. `whole` says whether these were all tables of the sync.
    ///
    /// # Errors
    ///
    /// As [`write_textfile`].
    pub(crate) fn write(&self, whole: bool) -> Result<()> {
        match &self.parts.config().observability.textfile {
            Some(file) => write_textfile(file, &self.metrics, !whole),
            None => Ok(()),
        }
    }

    /// Keeps the metrics of Change Data Capture up to date.
    pub(crate) async fn keep_looking_at_capture(&self) -> Infallible {
        loop {
            self.look_at_capture().await;
            sleep(LOOK_AT_CAPTURE).await;
        }
    }

    /// Looks at the capture. What was seen before does not outlive a look that fails.
    pub(crate) async fn look_at_capture(&self) {
        let states = match timeout(PATIENCE, self.capture_states()).await {
            Ok(Ok(states)) => states,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the source does not tell how its capture stands");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(
                    seconds = PATIENCE.as_secs(),
                    "the source does not tell in time how its capture stands"
                );
                Vec::new()
            }
        };
        for state in &states {
            let Some(seconds) = state.signs.retention_seconds else {
                continue;
            };
            for table in &state.tables {
                let sync = self.parts.sync_id(table, Direction::Capture);
                self.metrics.keeps(&sync, Duration::from_secs(seconds));
            }
        }
        // It is one database.
        self.metrics.capture(states.first().map(capture));
    }

    async fn capture_states(&self) -> Result<Vec<CaptureState>> {
        let captured = self.captured().clone();
        let mut states = Vec::new();
        for (source, tables) in &captured {
            states.extend(source.capture_state(tables).await?);
        }
        Ok(states)
    }
}

/// Makes a file where the metrics are to be, and removes it.
///
/// # Errors
///
/// As [`check_textfile`].
pub(crate) fn check(parts: &Parts) -> Option<Result<()>> {
    let file = parts.config().observability.textfile.as_ref()?;
    Some(check_textfile(file))
}

fn capture(state: &CaptureState) -> Capture {
    let signs = &state.signs;
    let count = |severity| {
        let findings = state.findings.iter();
        findings.filter(|finding| finding.severity == severity).count() as u64
    };
    Capture {
        behind_seconds: signs.behind_seconds,
        latency_seconds: signs.latency_seconds,
        agent_running: signs.agent_running,
        job_running: signs.job_running,
        log_held: signs.holds_log(),
        warnings: count(Severity::Warning),
        errors: count(Severity::Error),
    }
}
