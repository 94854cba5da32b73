//! Metrics in a file, for the textfile collector of node_exporter: a run that ends is not there to be asked.
//!
//! <https://github.com/prometheus/node_exporter#textfile-collector>

use std::fs;
use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};

use model::{Error, ErrorKind, Result};

use crate::metrics::Metrics;

/// Replaces the file at once, so that no reader sees a part of it. Counters go on from what it held, and what was last found of a table stays in
/// it until a run finds something else. `others` says whether table syncs stay in it that were not counted this time.
///
/// # Errors
///
/// `Config` if it cannot be read or written, `Exhausted` if the disk is full.
pub fn write_textfile(path: &Path, metrics: &Metrics, others: bool) -> Result<()> {
    let earlier = match fs::read(path) {
        Ok(earlier) => earlier,
        Err(error) if error.kind() == Io::NotFound => Vec::new(),
        Err(error) => return Err(failed("read", path, error)),
    };
    let mut exposition = metrics.exposition();
    exposition.go_on_from(&String::from_utf8_lossy(&earlier), others);
    let partial = partial(path);
    let written = fs::write(&partial, exposition.to_string()).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        // What is left of it is of no use; that it failed is told already.
        let _ = fs::remove_file(&partial);
        failed("write", path, error)
    })
}

/// Makes a file beside it, and removes it.
///
/// # Errors
///
/// As [`write_textfile`].
pub fn check_textfile(path: &Path) -> Result<()> {
    let partial = partial(path);
    let made = fs::write(&partial, "").and_then(|()| fs::remove_file(&partial));
    made.map_err(|error| failed("write", path, error))
}

/// In the same directory, and of no name that is collected.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::Exhausted,
        _ => ErrorKind::Config,
    };
    Error::new(kind, format!("cannot {what} the file of metrics"))
        .with("file", path.display())
        .caused_by(error)
        .hint("`observability.textfile` must name a file in a directory that exists and may be written")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{ErrorReport, Receipt, RunStatus, SyncId, TableName, TableReport};
    use orchestrator::{Progress, ProgressEvent};
    use test_support::SimClock;

    use super::*;

    /// The metrics of a run that inserted so many rows into each of these tables.
    fn run(tables: &[&str], inserted: u64) -> Metrics {
        let metrics = Metrics::new("shop", "1", Arc::new(SimClock::default()), || None);
        for table in tables {
            let sync = SyncId::new(*table);
            metrics.count(&sync, &TableName::new("dbo", *table), "capture");
            let receipt = Receipt {
                inserted,
                ..Receipt::default()
            };
            metrics.hear(&sync, &ProgressEvent::Committed(receipt));
        }
        metrics
    }

    /// The metrics of a run of one table that ended so.
    fn ended(status: RunStatus, error: Option<&str>) -> Metrics {
        let metrics = run(&["A"], 0);
        let error = error.map(|kind| ErrorReport {
            kind: kind.to_owned(),
            ..ErrorReport::default()
        });
        let ended = ProgressEvent::Ended {
            report: Box::new(TableReport {
                status,
                ..TableReport::default()
            }),
            error,
            reconciles: false,
        };
        metrics.hear(&SyncId::new("A"), &ended);
        metrics
    }

    #[test]
    fn what_a_run_did_not_find_stays_as_it_was_last_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sync_shop.prom");
        for (status, error, (succeeded, gap, errors)) in [
            (RunStatus::Succeeded, None, ("1", "0", None)),
            (RunStatus::Failed, Some("data"), ("0", "0", Some("1"))),
            (RunStatus::Gap, Some("gap"), ("0", "1", Some("1"))),
            // It found nothing.
            (RunStatus::Cancelled, None, ("0", "1", Some("1"))),
            (RunStatus::Failed, Some("data"), ("0", "0", Some("2"))),
        ] {
            write_textfile(&path, &ended(status, error), false).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let value = |name: &str, label: &str| {
                let series = format!("{name}{{sync=\"shop\",table=\"dbo.A\",direction=\"capture\"{label}}} ");
                text.lines().find_map(|line| line.strip_prefix(&series))
            };
            assert_eq!(value("sync_last_cycle_succeeded", ""), Some(succeeded), "{text}");
            assert_eq!(value("sync_gap", ""), Some(gap), "{text}");
            assert_eq!(value("sync_errors_total", ",kind=\"data\""), errors, "{text}");
            for name in [
                "sync_last_success_timestamp_seconds",
                "sync_in_step_timestamp_seconds",
            ] {
                assert!(value(name, "").is_some(), "{name} is gone: {text}");
            }
        }
    }

    fn inserted(text: &str, table: &str) -> Option<u64> {
        let series = format!(
            "sync_written_rows_total{{sync=\"shop\",table=\"dbo.{table}\",direction=\"capture\",operation=\"insert\"}} "
        );
        let value = text.lines().find_map(|line| line.strip_prefix(&series))?;
        value.parse().ok()
    }

    #[test]
    fn counts_go_on_from_run_to_run_and_only_whole_files_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sync_shop.prom");
        check_textfile(&path).unwrap();
        for (tables, rows, others, expect) in [
            (&["A", "B"][..], 100, false, (Some(100), Some(100))),
            (&["A", "B"], 50, false, (Some(150), Some(150))),
            // Of a run of some tables the others keep what they had; without them being configured any more, they go.
            (&["A"], 1, true, (Some(151), Some(150))),
            (&["A"], 1, false, (Some(152), None)),
        ] {
            write_textfile(&path, &run(tables, rows), others).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!((inserted(&text, "A"), inserted(&text, "B")), expect, "{text}");
            assert!(
                !text.contains("process_") && !text.contains("build_info"),
                "the process is gone when the file is read: {text}"
            );
        }
        let there: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(there.len(), 1, "{there:?}");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/sync.prom");
        for error in [
            write_textfile(&path, &run(&["A"], 1), false).unwrap_err(),
            check_textfile(&path).unwrap_err(),
            write_textfile(directory.path(), &run(&["A"], 1), false).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(
                error
                    .to_string()
                    .contains(&directory.path().display().to_string()),
                "{error}"
            );
            assert!(
                error.advice().contains("observability.textfile"),
                "{}",
                error.advice()
            );
        }
    }
}
