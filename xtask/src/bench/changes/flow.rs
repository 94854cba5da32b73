//! The stream on its way: from a change table that is full, as it is written, and how long a change takes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::super::arena::{Arena, SOURCE};
use super::super::process;
use super::mix::Mix;
use super::{CAPTURE_DELAY_MILLIS, written};

/// Nothing has come for so long: something is wrong.
const PATIENCE: Duration = Duration::from_secs(600);

/// A run over a change table that was filled before.
pub(super) fn filled(arena: &Arena<'_>, mix: &Mix, config: &Path) -> Result<Value> {
    let began = Instant::now();
    write(arena, mix, |_| Ok(()))?;
    println!(
        "{} changes written in {:.1} s",
        mix.changes,
        began.elapsed().as_secs_f64()
    );
    std::thread::sleep(Duration::from_millis(2 * CAPTURE_DELAY_MILLIS));
    // The statement that finds the capture due waits for it.
    arena.server.query(SOURCE, "SELECT 1 AS n")?;
    let (outcome, report) = arena.run_sync(config)?;
    arrived(mix, &|what| written(&report, what))?;
    arena.verified(config)?;
    let figures = json!({
        "changes": mix.changes,
        "seconds": outcome.client.seconds,
        "changes_per_second": mix.changes as f64 / outcome.client.seconds,
        "client_cpu_seconds": outcome.client.cpu_seconds,
        "server_cpu_seconds": outcome.server.cpu_seconds,
        "client_peak_megabytes": outcome.client.peak_bytes as f64 / 1e6,
        "server_peak_megabytes": outcome.server.peak_bytes as f64 / 1e6,
    });
    shown("filled", &figures);
    Ok(figures)
}

/// `run --follow` beside the writer.
pub(super) fn live(arena: &Arena<'_>, mix: &Mix, config: &Path) -> Result<Value> {
    let server = arena.server.process()?;
    process::forget_peak(server);
    let mut followed = Followed::start(arena, config)?;
    let (client_before, server_before) = (followed.cpu_seconds()?, process::cpu_seconds(server)?);
    let began = Instant::now();
    write(arena, mix, |_| Ok(()))?;
    let writing = began.elapsed().as_secs_f64();
    let cycles = followed.until(mix.changes)?;
    let last = cycles.last().context("nothing was committed")?;
    let seconds = (last.at - began).as_secs_f64();
    let figures = json!({
        "changes": mix.changes,
        "commits": cycles.len(),
        "seconds": seconds,
        "seconds_of_writing": writing,
        "changes_per_second": mix.changes as f64 / seconds,
        "client_cpu_seconds": followed.cpu_seconds()? - client_before,
        "server_cpu_seconds": process::cpu_seconds(server)? - server_before,
        "client_peak_megabytes": process::peak(followed.child.id()) as f64 / 1e6,
        "server_peak_megabytes": process::peak(server) as f64 / 1e6,
    });
    followed.stop()?;
    arrived(mix, &|what| {
        cycles.iter().map(|cycle| written(&cycle.report, what)).sum()
    })?;
    arena.verified(config)?;
    shown("live", &figures);
    Ok(figures)
}

/// The time from a commit at the source to the commit in Iceberg, at a steady rate.
pub(super) fn latency(arena: &Arena<'_>, mix: &Mix, config: &Path) -> Result<Value> {
    let mut followed = Followed::start(arena, config)?;
    let began = Instant::now();
    let mut commits: Vec<(u64, Instant)> = Vec::new();
    let every = Duration::from_millis(100);
    write(arena, mix, |transaction| {
        commits.push((mix.upto(transaction), Instant::now()));
        let next = began + every * (transaction as u32 + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        Ok(())
    })?;
    let cycles = followed.until(mix.changes)?;
    followed.stop()?;
    arena.verified(config)?;
    // Change Data Capture is in the order of commits: a transaction is there once so many changes are.
    let (mut arrived, mut rest) = (0, cycles.iter());
    let mut at = began;
    let mut latencies = Vec::with_capacity(commits.len());
    for (upto, committed) in commits {
        while arrived < upto {
            let cycle = rest.next().context("a change did not arrive")?;
            arrived += written(&cycle.report, "records_written");
            at = cycle.at;
        }
        latencies.push((at - committed).as_secs_f64());
    }
    latencies.sort_by(f64::total_cmp);
    let share = |share: f64| {
        let place = (latencies.len() as f64 * share) as usize;
        latencies
            .get(place.min(latencies.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    };
    let delay = CAPTURE_DELAY_MILLIS as f64 / 1e3;
    let figures = json!({
        "changes": mix.changes,
        "transactions": mix.transactions(),
        "commits": cycles.len(),
        "capture_delay_seconds": delay,
        "p50_seconds": share(0.5) - delay,
        "p99_seconds": share(0.99) - delay,
    });
    shown("latency, without the capture's delay", &figures);
    Ok(figures)
}

/// Commits all transactions one after the other; `then` comes after each.
fn write(arena: &Arena<'_>, mix: &Mix, mut then: impl FnMut(u64) -> Result<()>) -> Result<()> {
    arena.server.connected(SOURCE, async |connection| {
        for transaction in 0..mix.transactions() {
            mix.commit(connection, transaction).await?;
            then(transaction)?;
        }
        Ok(())
    })
}

fn arrived(mix: &Mix, written: &dyn Fn(&str) -> u64) -> Result<()> {
    for (what, expected) in [
        ("records_inserted", mix.inserts()),
        ("records_updated", mix.updates()),
        ("records_deleted", mix.deletes()),
    ] {
        let seen = written(what);
        ensure!(seen == expected, "{what} is {seen}, not {expected}");
    }
    Ok(())
}

fn shown(title: &str, figures: &Value) {
    println!("\n{title}\n\n| what | |\n| --- | ---: |");
    for (what, figure) in figures.as_object().into_iter().flatten() {
        match figure.as_f64().filter(|_| figure.is_f64()) {
            Some(number) => println!("| {} | {number:.2} |", what.replace('_', " ")),
            None => println!("| {} | {figure} |", what.replace('_', " ")),
        }
    }
}

/// A cycle that committed something.
struct Cycle {
    at: Instant,
    report: Value,
}

/// `sync-cli run --follow` as a process.
struct Followed {
    child: Child,
    cycles: Receiver<Cycle>,
}

impl Followed {
    fn start(arena: &Arena<'_>, config: &Path) -> Result<Self> {
        let mut command = arena.sync_cli(config, &["run", "--follow"]);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("sync-cli did not start")?;
        let out = child.stdout.take().context("sync-cli has no output")?;
        let (sender, cycles) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(std::result::Result::ok) {
                let at = Instant::now();
                let Ok(report) = serde_json::from_str(&line) else {
                    continue;
                };
                // Nobody listens any more once it is stopped.
                let _ = sender.send(Cycle { at, report });
            }
        });
        Ok(Self { child, cycles })
    }

    fn cpu_seconds(&self) -> Result<f64> {
        process::cpu_seconds(self.child.id())
    }

    /// The cycles until so many changes are committed.
    fn until(&mut self, changes: u64) -> Result<Vec<Cycle>> {
        let (mut cycles, mut seen) = (Vec::new(), 0);
        while seen < changes {
            let cycle = self.cycles.recv_timeout(PATIENCE);
            let cycle = cycle.with_context(|| format!("{seen} of {changes} changes have arrived"))?;
            let own = written(&cycle.report, "records_written");
            if own > 0 {
                seen += own;
                cycles.push(cycle);
            }
        }
        Ok(cycles)
    }

    fn stop(&mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // Only after a failure is it still there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
