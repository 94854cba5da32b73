//! What is known of one table sync.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ErrorReport, Holder, Look, Receipt, RunStatus, TableReport, Timestamp};
use orchestrator::ProgressEvent;

/// Counts since the process began, and what the last cycle found.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) table: String,
    pub(crate) direction: String,
    pub(crate) read_rows: u64,
    pub(crate) read_bytes: u64,
    /// The sums of all commits.
    pub(crate) written: Receipt,
    pub(crate) unchanged_rows: u64,
    pub(crate) commits: u64,
    pub(crate) spilled_bytes: u64,
    pub(crate) retries: u64,
    pub(crate) late_rows: u64,
    pub(crate) rows_without_time: u64,
    pub(crate) rows_ahead: u64,
    pub(crate) dead_letters: u64,
    pub(crate) cycles: Outcomes,
    /// Whether the last comparison with the source succeeded that was not cancelled.
    pub(crate) reconciled: Option<bool>,
    /// By the kind of error.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) looks: Looks,
    /// The last cycle that was not cancelled.
    pub(crate) last: Option<Cycle>,
    /// When the last cycle ended that succeeded.
    pub(crate) last_success: Option<Timestamp>,
    /// When the target is last known to have held what could be told of the source.
    pub(crate) in_step: Option<Timestamp>,
    pub(crate) cut: Option<Cut>,
    /// How long the source keeps changes.
    pub(crate) keeps: Option<Duration>,
}

/// How many ended how.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) gap: u64,
    pub(crate) cancelled: u64,
    pub(crate) skipped: u64,
}

impl Outcomes {
    fn add(&mut self, status: RunStatus) {
        *match status {
            RunStatus::Succeeded => &mut self.succeeded,
            RunStatus::Failed => &mut self.failed,
            RunStatus::Cancelled => &mut self.cancelled,
            RunStatus::Gap => &mut self.gap,
            RunStatus::Skipped => &mut self.skipped,
        } += 1;
    }
}

/// How many looks found what.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    pub(crate) quiet: u64,
    pub(crate) perhaps: u64,
    pub(crate) failed: u64,
    /// When the last quiet one came back.
    pub(crate) last_quiet: Option<Timestamp>,
}

/// How a cycle ended.
#[derive(Debug)]
pub(crate) struct Cycle {
    pub(crate) status: RunStatus,
    pub(crate) seconds: f64,
    pub(crate) held_rows: u64,
    pub(crate) error: Option<ErrorReport>,
}

/// What the last cut was like.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) holding: Option<Holder>,
    pub(crate) assumed: bool,
}

impl Counts {
    /// Takes note of what the loop tells.
    pub(crate) fn hear(&mut self, event: &ProgressEvent, now: Timestamp) {
        match event {
            ProgressEvent::Read { rows, bytes } => {
                self.read_rows += rows;
                self.read_bytes += bytes;
            }
            ProgressEvent::Cut {
                holding,
                assumed,
                keeps,
            } => {
                self.cut = Some(Cut {
                    holding: holding.clone(),
                    assumed: *assumed,
                });
                self.keeps = keeps.or(self.keeps);
            }
            ProgressEvent::Spilled { bytes } => self.spilled_bytes += bytes,
            ProgressEvent::Repeating => self.retries += 1,
            ProgressEvent::Committed(receipt) => self.committed(receipt),
            ProgressEvent::Ended {
                report,
                error,
                reconciles,
            } => self.ended(report, error.as_ref(), *reconciles, now),
            ProgressEvent::Looked(look) => self.looked(look, now),
            // That a cycle began is told by its end.
            _ => {}
        }
    }

    fn committed(&mut self, receipt: &Receipt) {
        self.commits += 1;
        self.written.inserted += receipt.inserted;
        self.written.updated += receipt.updated;
        self.written.deleted += receipt.deleted;
        self.written.bytes += receipt.bytes;
    }

    fn ended(&mut self, report: &TableReport, error: Option<&ErrorReport>, reconciles: bool, now: Timestamp) {
        let counts = &report.statistics;
        self.unchanged_rows += counts.records_unchanged;
        self.late_rows += counts.records_late;
        self.rows_without_time += counts.records_without_time;
        self.rows_ahead += counts.records_ahead;
        self.dead_letters += counts.records_dead_lettered;
        if let Some(error) = error {
            *self.errors.entry(error.kind.clone()).or_default() += 1;
        }
        if reconciles {
            // It has a rhythm of its own, and says nothing of how far the table has got.
            if report.status != RunStatus::Cancelled {
                self.reconciled = Some(report.status == RunStatus::Succeeded);
            }
            return;
        }
        self.cycles.add(report.status);
        if report.status == RunStatus::Cancelled {
            // It found nothing.
            return;
        }
        if report.status == RunStatus::Succeeded {
            self.last_success = Some(now);
            self.in_step = Some(before(now, report.duration_seconds));
        }
        self.last = Some(Cycle {
            status: report.status,
            seconds: report.duration_seconds,
            held_rows: counts.records_held,
            error: error.cloned(),
        });
    }

    fn looked(&mut self, look: &Look, now: Timestamp) {
        match look {
            Look::Quiet => {
                self.looks.quiet += 1;
                self.looks.last_quiet = Some(now);
                self.in_step = self.in_step.max(Some(now));
            }
            Look::Perhaps => self.looks.perhaps += 1,
            Look::Failed { .. } => self.looks.failed += 1,
        }
    }
}

fn before(now: Timestamp, seconds: f64) -> Timestamp {
    Timestamp(now.0 - (seconds * 1_000.0) as i64)
}
