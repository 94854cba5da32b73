//! The metrics: the one list of their names and meanings. Names and units follow Prometheus' conventions.

use std::time::Duration;

use model::{RunStatus, Timestamp};

use crate::counts::Counts;
use crate::exposition::{Exposition, Family, Kind, Sample};
use crate::metrics::Capture;

/// A label of its own, if the metric has one, and a value.
type Labelled<'a> = (Option<(&'static str, &'a str)>, f64);

/// A metric of each table sync.
struct OfTable {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    values: for<'a> fn(&'a Counts) -> Vec<Labelled<'a>>,
}

/// A metric of the database that changes are captured from.
struct OfCapture {
    name: &'static str,
    help: &'static str,
    values: fn(&Capture) -> Vec<Labelled<'static>>,
}

const TABLES: &[OfTable] = &[
    OfTable {
        name: "sync_read_rows_total",
        kind: Kind::Counter,
        help: "Rows and changes that arrived from the source; a step that is repeated reads them again.",
        values: |counts| count(counts.read_rows),
    },
    OfTable {
        name: "sync_read_bytes_total",
        kind: Kind::Counter,
        help: "What the rows that arrived from the source took in memory.",
        values: |counts| count(counts.read_bytes),
    },
    OfTable {
        name: "sync_written_rows_total",
        kind: Kind::Counter,
        help: "Rows that were changed in the target, as its commits say.",
        values: |counts| {
            let written = &counts.written;
            labelled(
                "operation",
                [
                    ("insert", written.inserted),
                    ("update", written.updated),
                    ("delete", written.deleted),
                ],
            )
        },
    },
    OfTable {
        name: "sync_unchanged_rows_total",
        kind: Kind::Counter,
        help: "Rows that were read and that the target held already; counted when a cycle ends.",
        values: |counts| count(counts.unchanged_rows),
    },
    OfTable {
        name: "sync_commits_total",
        kind: Kind::Counter,
        help: "Commits: Iceberg snapshots, or transactions that applied changes.",
        values: |counts| count(counts.commits),
    },
    OfTable {
        name: "sync_committed_bytes_total",
        kind: Kind::Counter,
        help: "Bytes of new files of the commits, where the target has files.",
        values: |counts| {
            some(
                Some(counts.written.bytes)
                    .filter(|bytes| *bytes > 0)
                    .map(|bytes| bytes as f64),
            )
        },
    },
    OfTable {
        name: "sync_spilled_bytes_total",
        kind: Kind::Counter,
        help: "What changes took in memory that did not fit and went into files of run.spill.",
        values: |counts| count(counts.spilled_bytes),
    },
    OfTable {
        name: "sync_retries_total",
        kind: Kind::Counter,
        help: "Steps that failed for a passing reason and were repeated.",
        values: |counts| count(counts.retries),
    },
    OfTable {
        name: "sync_odd_time_rows_total",
        kind: Kind::Counter,
        help: "Rows whose time is odd, applied or refused: late, missing, or ahead of the clock.",
        values: |counts| {
            labelled(
                "kind",
                [
                    ("late", counts.late_rows),
                    ("missing", counts.rows_without_time),
                    ("ahead", counts.rows_ahead),
                ],
            )
        },
    },
    OfTable {
        name: "sync_held_rows",
        kind: Kind::Lasting,
        help: "Rows that the last cycle left out because of their time, as the policy says.",
        values: |counts| some(counts.last.as_ref().map(|last| last.held_rows as f64)),
    },
    OfTable {
        name: "sync_dead_letter_rows_total",
        kind: Kind::Counter,
        help: "Rows that were put among the dead letters because of their time, as the policy says.",
        values: |counts| count(counts.dead_letters),
    },
    OfTable {
        name: "sync_cycles_total",
        kind: Kind::Counter,
        help: "Cycles by how they ended.",
        values: |counts| {
            let cycles = &counts.cycles;
            labelled(
                "outcome",
                [
                    ("succeeded", cycles.succeeded),
                    ("failed", cycles.failed),
                    ("gap", cycles.gap),
                    ("cancelled", cycles.cancelled),
                    ("skipped", cycles.skipped),
                ],
            )
        },
    },
    OfTable {
        name: "sync_errors_total",
        kind: Kind::Counter,
        help: "Cycles and comparisons that failed, by the kind of error; a kind has no sample before its first error.",
        values: |counts| {
            let errors = counts.errors.iter();
            let errors = errors.map(|(kind, count)| (Some(("kind", kind.as_str())), *count as f64));
            errors.collect()
        },
    },
    OfTable {
        name: "sync_looks_total",
        kind: Kind::Counter,
        help: "Looks at the source between cycles, by what they found.",
        values: |counts| {
            let looks = &counts.looks;
            labelled(
                "result",
                [
                    ("quiet", looks.quiet),
                    ("perhaps", looks.perhaps),
                    ("failed", looks.failed),
                ],
            )
        },
    },
    OfTable {
        name: "sync_last_cycle_succeeded",
        kind: Kind::Lasting,
        help: "Whether the last cycle succeeded.",
        values: |counts| {
            let last = counts.last.as_ref();
            some(last.map(|last| flag(last.status == RunStatus::Succeeded)))
        },
    },
    OfTable {
        name: "sync_last_cycle_duration_seconds",
        kind: Kind::Lasting,
        help: "How long the last cycle took.",
        values: |counts| some(counts.last.as_ref().map(|last| last.seconds)),
    },
    OfTable {
        name: "sync_last_reconciliation_succeeded",
        kind: Kind::Lasting,
        help: "Whether the last comparison with the source succeeded, where reconcile asks for them.",
        values: |counts| some(counts.reconciled.map(flag)),
    },
    OfTable {
        name: "sync_last_success_timestamp_seconds",
        kind: Kind::Lasting,
        help: "When the last cycle ended that succeeded.",
        values: |counts| some(counts.last_success.map(unix)),
    },
    OfTable {
        name: "sync_in_step_timestamp_seconds",
        kind: Kind::Lasting,
        help: "When the last cycle that succeeded began, or a later look that found nothing: the target holds what could be captured then.",
        values: |counts| some(counts.in_step.map(unix)),
    },
    OfTable {
        name: "sync_gap",
        kind: Kind::Lasting,
        help: "Whether the source has lost the history that the table would continue from.",
        values: |counts| {
            let last = counts.last.as_ref();
            some(last.map(|last| flag(last.status == RunStatus::Gap)))
        },
    },
    OfTable {
        name: "sync_cut_held",
        kind: Kind::Gauge,
        help: "Whether the last cycle ended before an open transaction of the source; the log says whose it is.",
        values: |counts| some(counts.cut.as_ref().map(|cut| flag(cut.holding.is_some()))),
    },
    OfTable {
        name: "sync_cut_holder_age_seconds",
        kind: Kind::Gauge,
        help: "How long that transaction had been open then, where it is known.",
        values: |counts| {
            let holder = counts.cut.as_ref().and_then(|cut| cut.holding.as_ref());
            some(holder.and_then(|holder| holder.age).map(|age| age.as_secs_f64()))
        },
    },
    OfTable {
        name: "sync_cut_assumed",
        kind: Kind::Gauge,
        help: "Whether it is assumed, for want of a right, that the last cycle missed nothing.",
        values: |counts| some(counts.cut.as_ref().map(|cut| flag(cut.assumed))),
    },
    OfTable {
        name: "sync_history_retention_seconds",
        kind: Kind::Lasting,
        help: "How long the source keeps changes, where it says so: by Change Tracking and Change Data Capture.",
        values: |counts| some(counts.keeps.as_ref().map(Duration::as_secs_f64)),
    },
];

const CAPTURE: &[OfCapture] = &[
    OfCapture {
        name: "sync_capture_behind_seconds",
        help: "How long ago the last transaction was committed that Change Data Capture has read; it writes one every five minutes.",
        values: |capture| some(Some(capture.behind_seconds as f64)),
    },
    OfCapture {
        name: "sync_capture_latency_seconds",
        help: "How long after its commit Change Data Capture read the last change, where the login may see it.",
        values: |capture| some(capture.latency_seconds.map(|seconds| seconds as f64)),
    },
    OfCapture {
        name: "sync_capture_agent_running",
        help: "Whether SQL Server Agent runs, where the login may see it.",
        values: |capture| some(capture.agent_running.map(flag)),
    },
    OfCapture {
        name: "sync_capture_job_running",
        help: "Whether the capture job runs, where the login may see it.",
        values: |capture| some(capture.job_running.map(flag)),
    },
    OfCapture {
        name: "sync_capture_log_held",
        help: "Whether the source's log cannot be truncated before the capture or replication has read it; usual for a while under load.",
        values: |capture| some(Some(flag(capture.log_held))),
    },
    OfCapture {
        name: "sync_capture_findings",
        help: "What sync-cli check would say of the capture, by severity.",
        values: |capture| {
            labelled(
                "severity",
                [("warning", capture.warnings), ("error", capture.errors)],
            )
        },
    },
];

fn some(value: Option<f64>) -> Vec<Labelled<'static>> {
    value.map(|value| (None, value)).into_iter().collect()
}

fn count(count: u64) -> Vec<Labelled<'static>> {
    some(Some(count as f64))
}

fn labelled<const N: usize>(label: &'static str, values: [(&'static str, u64); N]) -> Vec<Labelled<'static>> {
    let values = values.into_iter();
    let values = values.map(|(value, count)| (Some((label, value)), count as f64));
    values.collect()
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn unix(time: Timestamp) -> f64 {
    time.0 as f64 / 1_000.0
}

/// The metrics of these table syncs, and of the capture that they are followed by.
pub(crate) fn exposition<'a>(
    sync: &str,
    tables: impl Iterator<Item = &'a Counts> + Clone,
    capture: Option<&Capture>,
) -> Exposition {
    let of_tables = TABLES.iter().map(|family| Family {
        name: family.name,
        kind: family.kind,
        help: family.help,
        samples: tables
            .clone()
            .flat_map(|counts| {
                let of = [
                    ("sync", sync),
                    ("table", &counts.table),
                    ("direction", &counts.direction),
                ];
                samples(family.name, of, (family.values)(counts))
            })
            .collect(),
    });
    let of_capture = CAPTURE.iter().map(|family| Family {
        name: family.name,
        kind: Kind::Gauge,
        help: family.help,
        samples: capture
            .into_iter()
            .flat_map(|capture| samples(family.name, [("sync", sync)], (family.values)(capture)))
            .collect(),
    });
    Exposition(of_tables.chain(of_capture).collect())
}

fn samples<const N: usize>(name: &str, of: [(&str, &str); N], values: Vec<Labelled<'_>>) -> Vec<Sample> {
    let values = values.into_iter();
    let samples = values.map(|(label, value)| {
        let labels: Vec<_> = of.into_iter().chain(label).collect();
        Sample::new(name, &labels, value)
    });
    samples.collect()
}
