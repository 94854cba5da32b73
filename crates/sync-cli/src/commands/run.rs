//! `run`: brings Iceberg and the target up to date.

use std::sync::Arc;

use iceberg_reader::SnapshotChoice;
use model::{ChangeSource, Error, ErrorKind, ErrorReport, Result, RunReport};
use orchestrator::{
    DeadLetters, Flush, Memory, NoProgress, Progress, Reconcile, Reconciled, RetryPolicy, Route, Run,
    RunOutcome, Runner, SpillOptions, TableSync,
};
use sqlserver_source::{SqlServerSource, Transactions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Answer;
use super::follow::follow;
use super::maintain::expire_after;
use crate::arguments::{self, Output};
use crate::config::{ReconcileWhat, Selected};
use crate::exit::Exit;
use crate::observed::Observed;
use crate::parts::{Direction, Parts};
use crate::process_memory::peak_memory;
use crate::progress::Bars;
use crate::report;
use crate::time::iso;

/// Runs the tables that are enabled, each through all directions.
pub(crate) async fn run(parts: &Parts, options: &arguments::Run, output: Output) -> Result<Answer> {
    let tables = parts.select_enabled(&options.tables.tables).await?;
    let source = parts.source_database(&tables);
    let routes = routes(parts, &tables, source.clone(), options)?;
    let routes = with_whole_transactions(routes, &tables, options);
    let observed = Observed::new(parts);
    observed.count(&tables, source).await;
    if options.follow {
        return follow(parts, &tables, routes, options, output, &observed).await;
    }
    let progress: Arc<dyn Progress> = Arc::new(vec![bars(output), observed.progress()]);
    match run_routes(parts, routes, progress).await {
        RunOutcome::Finished(mut report) => {
            let expire = expire_after(parts, &tables, &mut report);
            until_signalled(async |cancel| cancel.run_until_cancelled(expire).await).await;
            report.metadata.peak_memory_bytes = peak_memory();
            leave_metrics(parts, options, &observed, &mut report).await;
            answer(&report)
        }
        RunOutcome::Busy { holder } => busy(parts, &holder),
    }
}

/// Leaves the metrics where they are collected. It is not what the run was for, so a failure is a warning.
pub(crate) async fn leave_metrics(
    parts: &Parts,
    options: &arguments::Run,
    observed: &Observed<'_>,
    report: &mut RunReport,
) {
    if parts.config().observability.textfile.is_none() {
        return;
    }
    until_signalled(async |cancel| cancel.run_until_cancelled(observed.look_at_capture()).await).await;
    if let Err(error) = observed.write(options.tables.tables.is_empty()) {
        report.warnings.push(report::chain(&error));
    }
}

/// Another run holds the sync.
pub(crate) fn busy(parts: &Parts, holder: &str) -> Result<Answer> {
    let sync = &parts.config().sync;
    let text = format!("the sync {sync} is being run by {holder}; nothing was done\n");
    Ok(Answer::new(text, &serde_json::json!({ "busy": holder }))?.ending(Exit::Busy))
}

/// Runs these routes, until a signal ends them.
pub(crate) async fn run_routes(parts: &Parts, routes: Vec<Route>, progress: Arc<dyn Progress>) -> RunOutcome {
    let (run, runner) = (of(parts, routes), runner(parts, progress));
    until_signalled(async |cancel| runner.run(&run, &cancel).await).await
}

/// What a person sees of the progress.
pub(crate) fn bars(output: Output) -> Arc<dyn Progress> {
    match output {
        Output::Human => Arc::new(Bars::new()),
        Output::Json => Arc::new(NoProgress),
    }
}

/// What to run.
pub(crate) fn of(parts: &Parts, routes: Vec<Route>) -> Run {
    let (source, destination) = parts.ends();
    Run {
        name: parts.config().sync.clone(),
        holder: holder(parts),
        source,
        destination,
        routes,
    }
}

/// Does work that a signal ends.
pub(crate) async fn until_signalled<T>(work: impl AsyncFnOnce(CancellationToken) -> T) -> T {
    let cancel = CancellationToken::new();
    let signals = AbortOnDropHandle::new(tokio::spawn(cancel_on_signal(cancel.clone())));
    let done = work(cancel).await;
    drop(signals);
    done
}

fn answer(report: &RunReport) -> Result<Answer> {
    Ok(Answer::new(report::run(report), report)?.ending(exit(report)))
}

/// How a run ends the program.
pub(crate) fn exit(report: &RunReport) -> Exit {
    const PASSING: [ErrorKind; 3] = [ErrorKind::Transient, ErrorKind::Unavailable, ErrorKind::Exhausted];
    let is = |kind: ErrorKind| move |error: &ErrorReport| error.kind == kind.name();
    let passes = |error: &ErrorReport| PASSING.iter().any(|kind| is(*kind)(error));
    if report.errors.iter().any(is(ErrorKind::Gap)) {
        Exit::Gap
    } else if !report.errors.is_empty() && report.errors.iter().all(passes) {
        Exit::Temporary
    } else {
        report.metadata.status.into()
    }
}

/// The runner of this configuration.
pub(crate) fn runner(parts: &Parts, progress: Arc<dyn Progress>) -> Runner {
    let settings = &parts.config().run;
    let mut runner = Runner::new(parts.store().clone(), parts.clock().clone(), parts.ids().clone());
    runner.parallel = settings.parallel_tables;
    runner.memory = Memory::new(settings.memory.bytes());
    runner.spill = spill(parts);
    runner.retry = RetryPolicy {
        attempts: settings.attempts,
        ..RetryPolicy::default()
    };
    runner.progress = progress;
    runner
}

/// Where changes wait that do not fit into memory.
pub(crate) fn spill(parts: &Parts) -> SpillOptions {
    let directory = parts.config().run.spill.clone();
    directory.map_or_else(SpillOptions::default, |directory| SpillOptions { directory })
}

/// Each table's way through all directions, from the source of all of them.
pub(crate) fn routes(
    parts: &Parts,
    tables: &[Selected],
    source: Option<Arc<SqlServerSource>>,
    options: &arguments::Run,
) -> Result<Vec<Route>> {
    let choice = match (&options.snapshot, tables.len(), parts.has(Direction::Apply)) {
        (None, ..) => SnapshotChoice::Current,
        (Some(snapshot), 1, true) => SnapshotChoice::parse(snapshot),
        (Some(_), _, false) => {
            return Err(Error::new(
                ErrorKind::Config,
                "--snapshot applies an Iceberg snapshot to the target, and there is no `target`",
            ));
        }
        (Some(_), ..) => {
            return Err(
                Error::new(ErrorKind::Config, "--snapshot needs exactly one table")
                    .hint("name it with --table"),
            );
        }
    };
    let capture = source
        .map(|source| source as Arc<dyn ChangeSource>)
        .zip(Some(parts.iceberg_sink(tables)))
        .filter(|_| choice == SnapshotChoice::Current);
    let iceberg = parts.iceberg_source(choice);
    let settings = &parts.config().run.flush;
    let flush = Flush {
        rows: settings.rows,
        bytes: settings.bytes.bytes(),
        age: settings.after.duration(),
    };
    let route = |table: &Selected| {
        let mut syncs = Vec::new();
        if let Some((source, sink)) = capture.clone() {
            let sync = parts.sync_id(&table.name, Direction::Capture);
            syncs.push(TableSync {
                reconcile: reconcile(table, &iceberg),
                dead_letters: table.dead_letters().map(|table| DeadLetters {
                    table,
                    reader: iceberg.clone(),
                }),
                ..TableSync::new(
                    sync,
                    Direction::Capture.label(),
                    (source, table.name.clone()),
                    (sink, table.iceberg.clone()),
                )
            });
        }
        if let Some(sink) = parts.target_sink(table)? {
            let sync = parts.sync_id(&table.name, Direction::Apply);
            let from = (iceberg.clone(), table.iceberg.clone());
            syncs.push(TableSync::new(
                sync,
                Direction::Apply.label(),
                from,
                (sink, table.target.clone()),
            ));
        }
        for sync in &mut syncs {
            sync.flush = flush;
            sync.batch_rows = table.entry.capture.batch_size;
            sync.ahead = table.entry.capture.connections;
            sync.full = options.full;
            sync.replace_keyless = table.entry.capture.mode == sqlserver_source::Mode::Full;
            sync.adopt = table.entry.adopt;
        }
        Ok(Route::new(syncs))
    };
    tables.iter().map(route).collect()
}

/// The same ways, of tables whose transactions are kept whole as one. A table that is copied again, or applied alone, goes by itself.
pub(crate) fn with_whole_transactions(
    routes: Vec<Route>,
    tables: &[Selected],
    options: &arguments::Run,
) -> Vec<Route> {
    let (mut together, mut rest, mut apart) = (Route::default(), Vec::new(), Vec::new());
    for (mut route, table) in routes.into_iter().zip(tables) {
        let is_whole = table.entry.capture.transactions == Transactions::Whole && !options.full;
        let is_capture = |sync: &TableSync| sync.direction == Direction::Capture.label();
        if !is_whole || !route.syncs.first().is_some_and(is_capture) {
            apart.push(route);
            continue;
        }
        together.syncs.push(route.syncs.remove(0));
        rest.append(&mut route.syncs);
    }
    together.whole = together.syncs.len();
    together.syncs.append(&mut rest);
    if together.whole > 0 {
        apart.push(together);
    }
    apart
}

/// How the Iceberg table is compared with the source.
fn reconcile(table: &Selected, iceberg: &Arc<dyn ChangeSource>) -> Option<Reconcile> {
    let settings = table.entry.reconcile.as_ref()?;
    let what = match settings.what {
        ReconcileWhat::Deletes => Reconciled::Deletes,
        ReconcileWhat::All => Reconciled::All,
    };
    let reconcile = Reconcile::new(settings.every.duration(), what, iceberg.clone());
    Some(reconcile.most_deletes_percent(u64::from(settings.max_deletes_percent)))
}

/// Who runs this, for whoever finds the sync busy.
fn holder(parts: &Parts) -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "this machine",
        name => name,
    };
    format!(
        "process {} on {host} since {}",
        std::process::id(),
        iso(parts.clock().now())
    )
}

/// The first signal ends the run in order; a second one ends the program.
async fn cancel_on_signal(cancel: CancellationToken) {
    if signalled().await {
        tracing::warn!("stopping; everything that was committed stays, and the next run resumes");
        cancel.cancel();
        if signalled().await {
            std::process::exit(i32::from(Exit::Cancelled as u8));
        }
    }
}

#[cfg(unix)]
async fn signalled() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return false;
    };
    tokio::select! {
        _ = terminate.recv() => true,
        interrupt = tokio::signal::ctrl_c() => interrupt.is_ok(),
    }
}

#[cfg(not(unix))]
async fn signalled() -> bool {
    tokio::signal::ctrl_c().await.is_ok()
}
