//! What a run did, counted from receipts, and the report of it.

use std::error::Error as _;

use chrono::{DateTime, SecondsFormat, Utc};
use model::{
    BatchId, CheckpointReport, Commit, Committed, Epoch, Error, ErrorKind, ErrorReport, LateDataReport, Mark,
    OddTime, Position, Receipt, RunMetadata, RunReport, RunStatus, StageOutcome, Statistics, TableName,
    TableReport, Timestamp,
};

use crate::run::Run;
use crate::table_sync::{DEAD_LETTER, HELD, TableSync};

/// So many rows with an odd time are named per table.
const LATE_NAMED: usize = 1_000;

/// What one run of one table has done so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) statistics: Statistics,
    pub(crate) commits: u64,
    pub(crate) mode: String,
    /// The target's mark.
    pub(crate) mark: Option<Mark>,
    /// Up to where the source has been applied; at or beyond the mark.
    pub(crate) position: Option<Position>,
    pub(crate) reference: Option<String>,
    /// The target's newest batch.
    pub(crate) batch: Option<BatchId>,
    /// The moment of the source that the target is as of.
    pub(crate) moment: Option<String>,
    pub(crate) state_version: u64,
    pub(crate) last_success: Option<Timestamp>,
    pub(crate) warnings: Vec<String>,
    pub(crate) late: Vec<LateDataReport>,
    /// Whether the state still holds the batch that copied a table without a key.
    pub(crate) unfinished: bool,
    /// The epoch of this run.
    pub(crate) epoch: Option<Epoch>,
    /// Whether the table was read whole to replace what was there.
    pub(crate) replaced: bool,
    /// When the table was last compared with its source, or copied from it.
    pub(crate) reconciled: Option<Timestamp>,
    /// By how much rows have come late, see [`Position::late_micros`].
    pub(crate) late_micros: u64,
}

impl Tally {
    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.warnings.contains(&warning) {
            tracing::debug!(%warning, "noted for the report");
            self.warnings.push(warning);
        }
    }

    /// Counts what staging read and dropped.
    pub(crate) fn staged(&mut self, outcome: &StageOutcome) {
        self.statistics.records_processed += outcome.read;
        self.statistics.records_unchanged += outcome.unchanged;
    }

    /// Counts what the target says that it did.
    pub(crate) fn committed(&mut self, commit: &Commit, receipt: &Receipt) {
        self.commits += 1;
        self.mark = Some(commit.mark.clone());
        self.reference = Some(receipt.reference.clone());
        self.statistics += Statistics {
            records_written: receipt.inserted + receipt.updated + receipt.deleted,
            records_inserted: receipt.inserted,
            records_updated: receipt.updated,
            records_deleted: receipt.deleted,
            records_unchanged: receipt.unchanged + receipt.skipped,
            ..Statistics::default()
        };
    }

    /// Takes note of rows with an odd time. All are counted; so that a report stays readable, only the first ones are named.
    pub(crate) fn odd_times(&mut self, mut rows: Vec<LateDataReport>) {
        for row in &rows {
            let counts = &mut self.statistics;
            let count = match row.kind {
                _ if row.handled == HELD => &mut counts.records_held,
                _ if row.handled == DEAD_LETTER => &mut counts.records_dead_lettered,
                OddTime::Late => &mut counts.records_late,
                OddTime::Missing => &mut counts.records_without_time,
                OddTime::Ahead => &mut counts.records_ahead,
            };
            *count += 1;
        }
        rows.truncate(LATE_NAMED.saturating_sub(self.late.len()));
        self.late.append(&mut rows);
        if self.late.len() == LATE_NAMED {
            self.warn(format!(
                "many rows have odd times; the report names the first {LATE_NAMED}"
            ));
        }
    }

    /// Takes note of how late these rows have come.
    pub(crate) fn lateness_of(&mut self, rows: &[LateDataReport]) {
        let late = rows.iter().filter(|row| row.kind == OddTime::Late);
        let micros = late.map(|row| (row.delay_seconds * 1e6) as u64);
        self.late_micros = micros.fold(self.late_micros, u64::max);
    }

    /// A position with how late rows have come.
    pub(crate) fn with_lateness(&self, position: Position) -> Position {
        Position {
            late_micros: position.late_micros.max(self.late_micros),
            ..position
        }
    }

    /// Everything up to `position` is in the target.
    pub(crate) fn reached(&mut self, newest: &Committed, position: Position) {
        self.mark = newest.mark.clone();
        self.reference = newest.reference.clone();
        self.batch = newest.batch.clone();
        self.moment = newest.moment.clone();
        self.position = Some(self.with_lateness(position));
    }
}

/// How one table's run ended.
#[derive(Debug, Clone)]
pub(crate) struct TableOutcome {
    pub(crate) report: TableReport,
    pub(crate) state_version: u64,
    pub(crate) warnings: Vec<String>,
    pub(crate) late: Vec<LateDataReport>,
    pub(crate) error: Option<ErrorReport>,
    pub(crate) unfinished: bool,
    /// Up to where the source has been applied.
    pub(crate) position: Option<Position>,
    /// The epoch that the table sync is held under.
    pub(crate) epoch: Option<Epoch>,
    /// Whether anything was committed.
    pub(crate) committed: bool,
    /// Whether the table was read whole to replace what was there.
    pub(crate) replaced: bool,
    /// What kind of error it ended with.
    pub(crate) failure: Option<ErrorKind>,
    /// When the table was last compared with its source, or copied from it.
    pub(crate) reconciled: Option<Timestamp>,
    /// Whether this was a comparison with the source.
    pub(crate) reconciles: bool,
}

impl TableOutcome {
    pub(crate) fn new(sync: &TableSync, mut tally: Tally, ended: Result<(), Error>) -> Self {
        let status = match &ended {
            Ok(()) => RunStatus::Succeeded,
            Err(error) => match error.kind() {
                ErrorKind::Gap => RunStatus::Gap,
                ErrorKind::Cancelled => RunStatus::Cancelled,
                _ => RunStatus::Failed,
            },
        };
        let failed = matches!(status, RunStatus::Failed | RunStatus::Gap);
        tally.statistics.errors = u64::from(failed);
        let mark = tally.mark.as_ref().map(Mark::position);
        let report = TableReport {
            table: sync.source_table.to_string(),
            direction: sync.direction.clone(),
            mode: tally.mode,
            statistics: tally.statistics,
            watermark: tally.position.as_ref().or(mark).map(ToString::to_string),
            reference: tally.reference,
            moment: tally.moment,
            last_sync_timestamp: tally.last_success.map(rfc3339),
            duration_seconds: 0.0,
            status,
        };
        Self {
            failure: ended.as_ref().err().map(Error::kind),
            error: ended
                .err()
                .filter(|_| failed)
                .map(|error| error_report(Some(&sync.source_table), &error)),
            report,
            state_version: tally.state_version,
            warnings: tally.warnings,
            late: tally.late,
            unfinished: tally.unfinished,
            position: tally.position,
            epoch: tally.epoch,
            committed: tally.commits > 0,
            replaced: tally.replaced,
            reconciled: tally.reconciled,
            reconciles: false,
        }
    }

    /// A comparison with the source after which nothing was to be done, or that failed.
    pub(crate) fn reconciled(sync: &TableSync, statistics: Statistics, ended: Result<(), Error>) -> Self {
        let tally = Tally {
            statistics,
            ..Tally::default()
        };
        Self::new(sync, tally, ended).of_reconciliation()
    }

    /// The outcome as one of a comparison with the source.
    pub(crate) fn of_reconciliation(mut self) -> Self {
        self.report.mode = "reconcile".into();
        self.reconciles = true;
        self
    }

    /// The outcome with the time that it took.
    pub(crate) fn lasting(mut self, began: Timestamp, ended: Timestamp) -> Self {
        self.report.duration_seconds = seconds(began, ended);
        self
    }

    /// A table that was not begun, because the table sync before it on its route did not succeed.
    pub(crate) fn skipped(sync: &TableSync) -> Self {
        Self {
            report: TableReport {
                table: sync.source_table.to_string(),
                direction: sync.direction.clone(),
                status: RunStatus::Skipped,
                ..TableReport::default()
            },
            state_version: 0,
            warnings: Vec::new(),
            late: Vec::new(),
            error: None,
            unfinished: false,
            position: None,
            epoch: sync.epoch,
            committed: false,
            replaced: false,
            failure: None,
            reconciled: None,
            reconciles: false,
        }
    }

    /// A table whose task ended by a defect.
    pub(crate) fn defect(sync: &TableSync, error: &Error) -> Self {
        let mut outcome = Self::skipped(sync);
        outcome.report.status = RunStatus::Failed;
        outcome.report.statistics.errors = 1;
        outcome.error = Some(error_report(Some(&sync.source_table), error));
        outcome.failure = Some(error.kind());
        outcome
    }

    /// Whether both are of the same table sync, in runs of the same route.
    pub(crate) fn is_of_same_step(&self, other: &Self) -> bool {
        let step = |outcome: &'_ Self| (outcome.report.table.clone(), outcome.report.direction.clone());
        step(self) == step(other) && self.reconciles == other.reconciles
    }

    /// What this and the `next` run of the same table sync amount to: sums, and else what was found last. A run that was cancelled
    /// found nothing.
    pub(crate) fn and_then(&mut self, next: &Self) {
        let statistics = {
            let mut sum = self.report.statistics;
            sum += next.report.statistics;
            sum
        };
        if next.report.status != RunStatus::Cancelled {
            *self = next.clone();
            self.late.clear();
        }
        self.report.statistics = statistics;
    }
}

/// The report of a run from the outcomes of its tables.
pub(crate) fn run_report(
    run: &Run,
    started: Timestamp,
    completed: Timestamp,
    tables: Vec<TableOutcome>,
) -> RunReport {
    let mut report = RunReport {
        metadata: RunMetadata {
            sync_id: run.name.clone(),
            source: run.source.clone(),
            destination: run.destination.clone(),
            started_at: rfc3339(started),
            completed_at: rfc3339(completed),
            duration_seconds: seconds(started, completed),
            status: worst(tables.iter().map(|table| table.report.status)),
            peak_memory_bytes: None,
            cycle: None,
        },
        ..RunReport::default()
    };
    let mut watermarks = Vec::new();
    for table in tables {
        report.statistics += table.report.statistics;
        report.checkpoint.state_version = report.checkpoint.state_version.max(table.state_version);
        if let Some(watermark) = &table.report.watermark {
            watermarks.push(format!("{}: {watermark}", table.report.table));
        }
        let name = &table.report.table;
        report
            .warnings
            .extend(table.warnings.iter().map(|warning| format!("{name}: {warning}")));
        report.late_arriving_data.extend(table.late);
        report.errors.extend(table.error);
        report.tables.push(table.report);
    }
    report.checkpoint = CheckpointReport {
        last_sync_timestamp: report
            .tables
            .iter()
            .filter_map(|table| table.last_sync_timestamp.clone())
            .max(),
        high_water_mark: Some(watermarks.join("; ")).filter(|marks| !marks.is_empty()),
        ..report.checkpoint
    };
    report
}

fn worst(statuses: impl Iterator<Item = RunStatus>) -> RunStatus {
    let severity = |status: &RunStatus| match status {
        RunStatus::Skipped => 0,
        RunStatus::Succeeded => 1,
        RunStatus::Cancelled => 2,
        RunStatus::Gap => 3,
        RunStatus::Failed => 4,
    };
    statuses.max_by_key(severity).unwrap_or_default()
}

/// How a failure is told, of one table or of the run.
pub(crate) fn error_report(table: Option<&TableName>, error: &Error) -> ErrorReport {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors print their cause themselves.
        let said = error.to_string();
        if !message.contains(&said) {
            message.push_str(&format!(": {said}"));
        }
        cause = error.source();
    }
    ErrorReport {
        table: table.map(ToString::to_string),
        kind: error.kind().name().to_owned(),
        message,
        advice: error.advice().to_owned(),
    }
}

fn seconds(from: Timestamp, until: Timestamp) -> f64 {
    (until.0 - from.0) as f64 / 1_000.0
}

fn rfc3339(time: Timestamp) -> String {
    DateTime::<Utc>::from_timestamp_millis(time.0)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}
