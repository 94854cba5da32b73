use model::{ErrorReport, Holder, Look, Receipt, RunStatus, Statistics, TableReport};
use test_support::SimClock;

use super::*;

const STALE: Duration = Duration::from_secs(60);

/// A sync with one table, which is called like this.
struct Shop {
    clock: Arc<SimClock>,
    metrics: Metrics,
    sync: SyncId,
}

impl Shop {
    fn with(table: &str) -> Self {
        let clock = Arc::new(SimClock::default());
        let metrics = Metrics::new("shop", "1.2.3", clock.clone(), || Some(4_096));
        let sync = SyncId::new("shop/x/capture");
        metrics.count(&sync, &TableName::new("dbo", table), "capture");
        Self { clock, metrics, sync }
    }

    fn hear(&self, event: ProgressEvent) {
        self.metrics.hear(&self.sync, &event);
    }

    fn ended(&self, status: RunStatus) {
        self.ended_with(status, None, false);
    }

    fn ended_with(&self, status: RunStatus, error: Option<&str>, reconciles: bool) {
        let report = TableReport {
            statistics: Statistics {
                records_unchanged: 5,
                records_late: 1,
                records_without_time: 2,
                records_ahead: 3,
                records_held: 4,
                records_dead_lettered: 6,
                ..Statistics::default()
            },
            duration_seconds: 1.5,
            status,
            ..TableReport::default()
        };
        let error = error.map(|kind| ErrorReport {
            kind: kind.into(),
            message: "row 7 of host h".into(),
            advice: "do this".into(),
            ..ErrorReport::default()
        });
        self.hear(ProgressEvent::Ended {
            report: Box::new(report),
            error,
            reconciles,
        });
    }

    /// The samples of this metric: the labels besides those of the table, and the value.
    fn samples(&self, name: &str) -> Vec<(String, f64)> {
        let text = self.metrics.text();
        let of = format!("{name}{{sync=\"shop\",table=\"dbo.A\",direction=\"capture\"");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&of));
        let samples = lines.map(|rest| {
            let (labels, value) = rest.split_once("} ").unwrap();
            (labels.trim_start_matches(',').to_owned(), value.parse().unwrap())
        });
        samples.collect()
    }

    #[track_caller]
    fn expect(&self, name: &str, values: &[f64]) {
        let samples = self.samples(name);
        let found: Vec<_> = samples.iter().map(|(_, value)| *value).collect();
        assert_eq!(found, values, "{name}: {samples:?}");
    }

    fn why(&self) -> Option<String> {
        let health = self.metrics.health(STALE);
        assert_eq!(health.healthy, health.unhealthy.is_empty());
        assert_eq!(health.tables, 1);
        health.unhealthy.into_iter().next().map(|table| table.why)
    }
}

#[test]
fn what_the_loop_tells_is_counted() {
    let shop = Shop::with("A");
    shop.clock.advance(100_000);
    let began = shop.clock.now().0 as f64 / 1_000.0;
    for event in [
        ProgressEvent::Started { rows: None },
        ProgressEvent::Read {
            rows: 10,
            bytes: 1_000,
        },
        ProgressEvent::Read { rows: 2, bytes: 24 },
        ProgressEvent::Cut {
            holding: Some(Holder {
                who: "session 53, login l, host h".into(),
                age: Some(Duration::from_millis(2_500)),
            }),
            assumed: true,
            keeps: Some(Duration::from_secs(3_600)),
        },
        ProgressEvent::Spilled { bytes: 77 },
        ProgressEvent::Repeating,
        ProgressEvent::Committed(Receipt {
            inserted: 3,
            updated: 2,
            deleted: 1,
            bytes: 500,
            ..Receipt::default()
        }),
        ProgressEvent::Looked(Look::Perhaps),
        ProgressEvent::Looked(Look::Failed { why: "secret".into() }),
    ] {
        shop.hear(event);
    }
    shop.ended(RunStatus::Succeeded);
    for (name, values) in [
        ("sync_read_rows_total", &[12.0][..]),
        ("sync_read_bytes_total", &[1_024.0]),
        ("sync_written_rows_total", &[3.0, 2.0, 1.0]),
        ("sync_unchanged_rows_total", &[5.0]),
        ("sync_commits_total", &[1.0]),
        ("sync_committed_bytes_total", &[500.0]),
        ("sync_spilled_bytes_total", &[77.0]),
        ("sync_retries_total", &[1.0]),
        ("sync_odd_time_rows_total", &[1.0, 2.0, 3.0]),
        ("sync_held_rows", &[4.0]),
        ("sync_dead_letter_rows_total", &[6.0]),
        ("sync_cycles_total", &[1.0, 0.0, 0.0, 0.0, 0.0]),
        ("sync_last_reconciliation_succeeded", &[]),
        ("sync_errors_total", &[]),
        ("sync_looks_total", &[0.0, 1.0, 1.0]),
        ("sync_last_cycle_succeeded", &[1.0]),
        ("sync_last_cycle_duration_seconds", &[1.5]),
        ("sync_last_success_timestamp_seconds", &[began]),
        ("sync_in_step_timestamp_seconds", &[began - 1.5]),
        ("sync_gap", &[0.0]),
        ("sync_cut_held", &[1.0]),
        ("sync_cut_holder_age_seconds", &[2.5]),
        ("sync_cut_assumed", &[1.0]),
        ("sync_history_retention_seconds", &[3_600.0]),
    ] {
        shop.expect(name, values);
    }
    let text = shop.metrics.text();
    assert!(
        text.contains("\nsync_build_info{sync=\"shop\",version=\"1.2.3\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("\nprocess_resident_memory_bytes 4096\n"), "{text}");
    for secret in ["secret", "session", "login", "host"] {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        for line in samples {
            assert!(!line.contains(secret), "{line}");
        }
    }

    // A cut that nobody holds, a look that finds nothing.
    shop.clock.advance(10_000);
    shop.hear(ProgressEvent::Cut {
        holding: None,
        assumed: false,
        keeps: None,
    });
    shop.hear(ProgressEvent::Looked(Look::Quiet));
    for (name, values) in [
        ("sync_cut_held", &[0.0][..]),
        ("sync_cut_holder_age_seconds", &[]),
        ("sync_cut_assumed", &[0.0]),
        ("sync_history_retention_seconds", &[3_600.0]),
        ("sync_looks_total", &[1.0, 1.0, 1.0]),
        ("sync_last_success_timestamp_seconds", &[began]),
        ("sync_in_step_timestamp_seconds", &[began + 10.0]),
    ] {
        shop.expect(name, values);
    }
}

#[test]
fn failures_are_counted_by_kind_and_leave_the_last_success_alone() {
    let shop = Shop::with("A");
    shop.ended(RunStatus::Succeeded);
    let success = shop.samples("sync_last_success_timestamp_seconds");
    shop.clock.advance(5_000);
    shop.ended_with(RunStatus::Failed, Some("data"), false);
    shop.ended_with(RunStatus::Gap, Some("gap"), false);
    shop.expect("sync_gap", &[1.0]);
    shop.ended_with(RunStatus::Failed, Some("data"), true);
    shop.ended(RunStatus::Cancelled);
    assert_eq!(shop.samples("sync_last_success_timestamp_seconds"), success);
    assert_eq!(shop.samples("sync_in_step_timestamp_seconds").len(), 1);
    shop.expect("sync_cycles_total", &[1.0, 1.0, 1.0, 1.0, 0.0]);
    shop.expect("sync_last_reconciliation_succeeded", &[0.0]);
    shop.ended_with(RunStatus::Cancelled, None, true);
    shop.expect("sync_last_reconciliation_succeeded", &[0.0]);
    shop.ended_with(RunStatus::Succeeded, None, true);
    shop.expect("sync_last_reconciliation_succeeded", &[1.0]);
    shop.expect("sync_last_cycle_succeeded", &[0.0]);
    shop.expect("sync_gap", &[1.0]);
    let errors = shop.samples("sync_errors_total");
    let expect = [
        ("kind=\"data\"".to_owned(), 2.0),
        ("kind=\"gap\"".to_owned(), 1.0),
    ];
    assert_eq!(errors, expect);
}

#[test]
fn a_table_that_fails_from_the_start_has_its_last_success_of_before() {
    let shop = Shop::with("A");
    let name = "sync_last_success_timestamp_seconds";
    shop.clock.advance(100_000);
    let before = Timestamp(shop.clock.now().0 - 50_000);
    shop.metrics.succeeded_before(&shop.sync, before);
    shop.ended_with(RunStatus::Failed, Some("data"), false);
    shop.expect(name, &[before.0 as f64 / 1_000.0]);
    shop.expect("sync_in_step_timestamp_seconds", &[]);
    let health = shop.metrics.health(STALE);
    assert!(health.unhealthy[0].last_success.is_some(), "{health:?}");
    shop.ended(RunStatus::Succeeded);
    let success = shop.clock.now().0 as f64 / 1_000.0;
    shop.expect(name, &[success]);
    // A success of this process is the later one.
    shop.metrics.succeeded_before(&shop.sync, before);
    shop.expect(name, &[success]);
}

#[test]
fn health_says_which_table_is_not_in_step_and_why() {
    let shop = Shop::with("A");
    assert_eq!(shop.why().unwrap(), "its first cycle has not ended");
    shop.ended_with(RunStatus::Failed, Some("denied"), false);
    let why = shop.why().unwrap();
    assert!(why.contains("(denied)") && why.contains("do this"), "{why}");
    assert!(!why.contains("row 7"), "a message may name rows and hosts: {why}");
    shop.ended(RunStatus::Skipped);
    assert!(shop.why().unwrap().contains("the step before it"));
    shop.ended(RunStatus::Succeeded);
    assert_eq!(shop.why(), None);
    // Neither a comparison nor the end of the process changes that.
    shop.ended_with(RunStatus::Failed, Some("data"), true);
    shop.ended(RunStatus::Cancelled);
    assert_eq!(shop.why(), None);
    // It is quiet, and looked at.
    shop.clock.advance(50_000);
    shop.hear(ProgressEvent::Looked(Look::Quiet));
    shop.clock.advance(60_000);
    assert_eq!(shop.why(), None);
    shop.hear(ProgressEvent::Looked(Look::Perhaps));
    shop.clock.advance(1_000);
    assert!(shop.why().unwrap().contains("for 61 s"), "{:?}", shop.why());
    // A clock that goes back is no ailment.
    shop.clock.advance(-500_000);
    assert_eq!(shop.why(), None);
}

#[test]
fn a_name_cannot_break_out_of_its_label() {
    let name = "a\"} 1\nfake_total{x=\"\\";
    let shop = Shop::with(name);
    shop.ended(RunStatus::Succeeded);
    let text = shop.metrics.text();
    let table = r#"table="dbo.[a\"} 1\nfake_total{x=\"\\]""#;
    assert!(
        text.contains(&format!(
            "sync_commits_total{{sync=\"shop\",{table},direction=\"capture\"}} 0\n"
        )),
        "{text}"
    );
    assert!(text.lines().all(|line| !line.starts_with("fake")), "{text}");
}

#[test]
fn a_table_that_was_not_told_of_is_not_counted() {
    let shop = Shop::with("A");
    let other = SyncId::new("other");
    shop.metrics.hear(&other, &ProgressEvent::Repeating);
    shop.metrics.keeps(&other, Duration::ZERO);
    shop.metrics.succeeded_before(&other, Timestamp(0));
    shop.expect("sync_retries_total", &[0.0]);
    shop.expect("sync_history_retention_seconds", &[]);
    // Told of once more, it goes on.
    shop.hear(ProgressEvent::Repeating);
    shop.metrics
        .count(&shop.sync, &TableName::new("dbo", "A"), "capture");
    shop.metrics.keeps(&shop.sync, Duration::from_secs(7));
    shop.expect("sync_retries_total", &[1.0]);
    shop.expect("sync_history_retention_seconds", &[7.0]);
}

#[test]
fn the_capture_is_told_as_far_as_it_is_known() {
    let shop = Shop::with("A");
    let of_capture = |shop: &Shop| {
        let text = shop.metrics.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("sync_capture_"));
        lines
            .map(|line| line.replace("sync=\"shop\"", ""))
            .collect::<Vec<_>>()
    };
    assert!(of_capture(&shop).is_empty());
    shop.metrics.capture(Some(Capture {
        behind_seconds: 7,
        agent_running: Some(true),
        job_running: Some(false),
        log_held: true,
        errors: 1,
        ..Capture::default()
    }));
    let expect = [
        "behind_seconds{} 7",
        "agent_running{} 1",
        "job_running{} 0",
        "log_held{} 1",
        "findings{,severity=\"warning\"} 0",
        "findings{,severity=\"error\"} 1",
    ];
    assert_eq!(of_capture(&shop), expect);
    shop.metrics.capture(None);
    assert!(of_capture(&shop).is_empty());
}
