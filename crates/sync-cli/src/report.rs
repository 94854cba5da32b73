//! Reports as people read them. `--output json` prints the same values through serde.

use std::collections::BTreeMap;

use model::{Error, ErrorReport, OddTime, RunReport, RunStatus, TableReport, VerifyReport};

use crate::table::TextTable;

/// So many rows with odd times are shown.
const LATE_ROWS: usize = 10;

/// A run: what moved, table by table, then what an operator should know.
pub(crate) fn run(report: &RunReport) -> String {
    let mut table = TextTable::new(&[
        "table",
        "direction",
        "how",
        "read",
        "written",
        "inserted",
        "updated",
        "deleted",
        "status",
    ]);
    for entry in &report.tables {
        table.row(run_cells(entry));
    }
    let metadata = &report.metadata;
    let mut text = format!(
        "{table}\n{} in {:.2} s",
        status(metadata.status),
        metadata.duration_seconds
    );
    let sums = &report.statistics;
    text.push_str(&format!(
        ": {} rows read, {} written\n",
        sums.records_processed, sums.records_written
    ));
    text + &moment(report) + &remarks(report)
}

/// The moments that tables were brought to together.
fn moment(report: &RunReport) -> String {
    let mut tables: BTreeMap<&str, usize> = BTreeMap::new();
    for moment in report.tables.iter().filter_map(|entry| entry.moment.as_deref()) {
        *tables.entry(moment).or_default() += 1;
    }
    let together = tables.into_iter().filter(|(_, tables)| *tables > 1);
    together
        .map(|(moment, tables)| format!("{tables} tables have snapshots as of one moment: {moment}\n"))
        .collect()
}

/// What an operator should know besides the counts.
fn remarks(report: &RunReport) -> String {
    let mut text = String::new();
    for warning in &report.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    for late in report.late_arriving_data.iter().take(LATE_ROWS) {
        let but = match late.kind {
            OddTime::Late => format!(
                "but everything before {} had been read ({} s)",
                late.expected, late.delay_seconds
            ),
            OddTime::Missing => "which is no time".to_owned(),
            OddTime::Ahead => format!("which lies beyond {}", late.expected),
        };
        text.push_str(&format!(
            "late: {} {} carries {}, {but}: {}\n",
            late.table, late.record_id, late.actual, late.handled
        ));
    }
    if let Some(more @ 1..) = report.late_arriving_data.len().checked_sub(LATE_ROWS) {
        text.push_str(&format!("late: {more} more rows, see `--output json`\n"));
    }
    for error in &report.errors {
        let table = error
            .table
            .as_deref()
            .map(|table| format!("{table}: "))
            .unwrap_or_default();
        text.push_str(&format!(
            "error: {table}{}\n  → {}\n",
            error.message, error.advice
        ));
    }
    text
}

/// A cycle of a run that goes on: a line, and more only for what an operator should know.
pub(crate) fn cycle(report: &RunReport) -> String {
    let step = |entry: &TableReport| {
        let counts = &entry.statistics;
        match entry.status {
            RunStatus::Succeeded => format!(
                "{} {} written ({} inserted, {} updated, {} deleted)",
                entry.direction,
                counts.records_written,
                counts.records_inserted,
                counts.records_updated,
                counts.records_deleted
            ),
            other => format!("{} {}", entry.direction, status(other)),
        }
    };
    let tables = report.tables.chunk_by(|one, other| one.table == other.table);
    let tables = tables.map(|entries| {
        let steps: Vec<_> = entries.iter().map(step).collect();
        format!("{}: {}", entries[0].table, steps.join(", "))
    });
    let metadata = &report.metadata;
    format!(
        "{} {} in {:.2} s\n{}",
        metadata.completed_at,
        tables.collect::<Vec<_>>().join("; "),
        metadata.duration_seconds,
        remarks(report)
    )
}

fn run_cells(entry: &TableReport) -> [String; 9] {
    let counts = &entry.statistics;
    [
        entry.table.clone(),
        entry.direction.clone(),
        entry.mode.clone(),
        counts.records_processed.to_string(),
        counts.records_written.to_string(),
        counts.records_inserted.to_string(),
        counts.records_updated.to_string(),
        counts.records_deleted.to_string(),
        status(entry.status).to_owned(),
    ]
}

/// A status as a word.
pub(crate) fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
        RunStatus::Gap => "gap",
        RunStatus::Skipped => "skipped",
    }
}

/// A verification of all keys or of a range: counts per table and side, then the keys.
pub(crate) fn verify(reports: &[VerifyReport], in_range: bool) -> String {
    let mut table = TextTable::new(&[
        "table",
        "compared",
        "rows",
        "rows here",
        "matched",
        "different",
        "missing",
        "extra",
        "pending",
        "kept",
        "read again",
    ]);
    let mut keys = String::new();
    for report in reports {
        for side in &report.columns {
            let compared = format!("{} = {}", report.against, side.side);
            let counts = [
                side.rows,
                side.rows_here,
                side.matched,
                side.different,
                side.missing,
                side.extra,
                side.pending,
                side.kept,
                side.read_again,
            ];
            table.row(
                [report.table.clone(), compared.clone()]
                    .into_iter()
                    .chain(counts.map(|count| count.to_string())),
            );
            for key in &side.keys {
                keys.push_str(&format!("{} ({compared}): {key}\n", report.table));
            }
        }
        if let Some(error) = &report.error {
            keys.push_str(&format!("{} could not be compared: {error}\n", report.table));
        }
    }
    let mut sides = reports.iter().flat_map(|report| &report.columns);
    let failed = reports.iter().any(|report| report.error.is_some());
    let differ = reports
        .iter()
        .any(|report| report.error.is_none() && !report.all_match());
    let verdict = match reports.iter().all(VerifyReport::all_match) {
        false if failed && differ => "there are differences, and not all tables could be compared",
        false if failed => "not all tables could be compared",
        false => "there are differences",
        true if sides.any(|side| side.rows + side.rows_here > 0) => "every row matches",
        true if in_range => "no row was compared: nothing is in this range",
        true => "there are no rows",
    };
    format!("{table}\n{keys}{verdict}\n")
}

/// An error with its causes, and what to do.
pub(crate) fn error(error: &Error) -> String {
    format!("error: {}\n", advised(error))
}

/// An error with its causes, and under it what to do.
pub(crate) fn advised(error: &Error) -> String {
    format!("{}\n  → {}", chain(error), error.advice())
}

/// An error as `--output json` has it.
pub(crate) fn error_entry(table: Option<String>, error: &Error) -> ErrorReport {
    ErrorReport {
        table,
        kind: error.kind().name().to_owned(),
        message: chain(error),
        advice: error.advice().to_owned(),
    }
}

/// An error and its causes in one line. Some errors print their cause themselves; it is not printed again.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(&format!(": {said}"));
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use model::{ErrorKind, VerifyColumn};

    use super::*;

    #[test]
    fn a_verification_names_the_keys_and_gives_a_verdict() {
        let column = VerifyColumn {
            side: "iceberg".into(),
            rows: 2,
            rows_here: 3,
            matched: 2,
            extra: 1,
            keys: vec!["extra {\"id\":3}".into()],
            ..VerifyColumn::default()
        };
        let report = VerifyReport {
            table: "dbo.T".into(),
            against: "source".into(),
            columns: vec![column],
            error: None,
        };
        let text = verify(&[report], false);
        assert!(
            text.contains("dbo.T (source = iceberg): extra {\"id\":3}"),
            "{text}"
        );
        assert!(text.ends_with("there are differences\n"), "{text}");
    }

    #[test]
    fn a_verification_says_whether_there_was_anything_to_match() {
        for (rows, in_range, verdict) in [
            (2, false, "every row matches\n"),
            (2, true, "every row matches\n"),
            (0, true, "no row was compared: nothing is in this range\n"),
            (0, false, "there are no rows\n"),
        ] {
            let column = VerifyColumn {
                rows,
                rows_here: rows,
                matched: rows,
                ..VerifyColumn::default()
            };
            let report = VerifyReport {
                columns: vec![column],
                ..VerifyReport::default()
            };
            let text = verify(&[report], in_range);
            assert!(text.ends_with(verdict), "{text}");
        }
    }

    #[test]
    fn an_error_prints_its_causes_once_and_its_advice() {
        let cause = std::io::Error::other(std::io::Error::other("no such host"));
        let text = error(
            &Error::new(ErrorKind::Unavailable, "cannot connect")
                .with("host", "h")
                .caused_by(cause),
        );
        assert_eq!(
            text,
            format!(
                "error: cannot connect (host: h): no such host\n  → {}\n",
                ErrorKind::Unavailable.advice()
            )
        );
    }
}
