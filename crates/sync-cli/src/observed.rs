//! What a run is observed by, as far as the configuration asks for it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use model::{Result, Severity, TableName};
use observability::{Capture, Metrics, Server, check_textfile, write_textfile};
use orchestrator::Progress;
use sqlserver_source::{CaptureState, Mode, SqlServerSource};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Selected;
use crate::edge::resident_memory;
use crate::parts::{Direction, Parts};

/// How often the source is asked how its capture stands.
const LOOK_AT_CAPTURE: Duration = Duration::from_secs(60);

/// The metrics of a run. A run that nobody watches is counted all the same: counting costs nothing.
pub(crate) struct Observed<'a> {
    parts: &'a Parts,
    metrics: Arc<Metrics>,
}

impl<'a> Observed<'a> {
    /// Counts these tables from now on.
    pub(crate) fn new(parts: &'a Parts, tables: &[Selected]) -> Self {
        let metrics = Metrics::new(
            &parts.config().sync,
            env!("CARGO_PKG_VERSION"),
            parts.clock().clone(),
            resident_memory,
        );
        let observed = Self {
            parts,
            metrics: Arc::new(metrics),
        };
        observed.count(tables);
        observed
    }

    /// Counts these tables as well.
    pub(crate) fn count(&self, tables: &[Selected]) {
        for table in tables {
            for direction in self.parts.directions() {
                let sync = self.parts.sync_id(&table.name, direction);
                self.metrics.count(&sync, &table.name, direction.id());
            }
        }
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

    /// Keeps the metrics of Change Data Capture up to date, if any of the tables may be followed by it. `tables` tells which there are by now.
    pub(crate) async fn look_at_capture(&self, tables: impl Fn() -> Vec<Selected>) -> Infallible {
        let mut watched = BTreeSet::new();
        let mut source = None;
        loop {
            let tables = captured(&tables());
            let names: BTreeSet<TableName> = tables.iter().map(|table| table.name.clone()).collect();
            if names != watched {
                source = self.parts.source_database(&tables);
                watched = names;
            }
            if let Some(source) = source.as_ref().filter(|_| !watched.is_empty()) {
                self.look_once(source, &watched).await;
            }
            tokio::time::sleep(LOOK_AT_CAPTURE).await;
        }
    }

    /// Looks at the capture once, as before the end of a run.
    pub(crate) async fn look_at_capture_once(&self, tables: &[Selected]) {
        let tables = captured(tables);
        let source = self.parts.source_database(&tables);
        if let Some(source) = source.filter(|_| !tables.is_empty()) {
            let names = tables.iter().map(|table| table.name.clone()).collect();
            self.look_once(&source, &names).await;
        }
    }

    async fn look_once(&self, source: &SqlServerSource, names: &BTreeSet<TableName>) {
        let names: Vec<_> = names.iter().cloned().collect();
        let state = source.capture_state(&names).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the source does not tell how its capture stands");
            None
        });
        if let Some(state) = &state
            && let Some(seconds) = state.signs.retention_seconds
        {
            for table in &state.tables {
                let sync = self.parts.sync_id(table, Direction::Capture);
                self.metrics.keeps(&sync, Duration::from_secs(seconds));
            }
        }
        self.metrics.capture(state.as_ref().map(capture));
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

/// The tables that Change Data Capture may be chosen for.
fn captured(tables: &[Selected]) -> Vec<Selected> {
    let may_be = |table: &&Selected| matches!(table.entry.capture.mode, Mode::Cdc | Mode::Auto);
    tables.iter().filter(may_be).cloned().collect()
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
