//! What a process costs: seconds, CPU seconds, peak memory. Read from `/proc`, so on Linux only.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Ticks of `/proc/*/stat` in a second, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;
/// How often peak memory is looked at; the kernel keeps the peak, so only what a process does in its last moments is missed.
const LOOK: Duration = Duration::from_millis(5);

/// What a process and its children cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
}

/// Runs a command to its end; its output is returned, its failure is an error with what it said.
pub(crate) fn measured(command: &mut Command) -> Result<(Usage, String)> {
    let shown = format!("{:?}", command.get_program());
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{shown} did not start"))?;
    let out = reader(child.stdout.take());
    let err = reader(child.stderr.take());
    let mut peak_bytes = 0;
    // A process that has ended keeps its times until it is waited for.
    while !has_ended(child.id()) {
        peak_bytes = peak_bytes.max(tree_peak(child.id()));
        std::thread::sleep(LOOK);
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds(child.id())?;
    let status = child.wait()?;
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if !status.success() {
        let said: Vec<_> = err.lines().rev().take(3).collect();
        let said: Vec<_> = said.into_iter().rev().collect();
        bail!("{shown} ended with {status}: {}", said.join(" | "));
    }
    let usage = Usage {
        seconds,
        cpu_seconds,
        peak_bytes,
    };
    Ok((usage, out))
}

fn reader(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The fields of `/proc/<pid>/stat` from the third on: the second is a name and may hold anything.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn has_ended(process: u32) -> bool {
    stat(process).is_none_or(|fields| fields.first().is_some_and(|state| state == "Z"))
}

/// User and system time of a process, to the nanosecond, and of the children that it has waited for, in ticks.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let fields = stat(process).context("the benchmarks need /proc, as Linux has it")?;
    let children = fields.get(13..15).unwrap_or_default();
    let children = children.iter().filter_map(|ticks| ticks.parse::<f64>().ok());
    Ok(own_cpu_seconds(process)? + children.sum::<f64>() / TICKS)
}

#[cfg(target_os = "linux")]
fn own_cpu_seconds(process: u32) -> Result<f64> {
    let process = nix::unistd::Pid::from_raw(process.try_into()?);
    let time = nix::time::clock_getcpuclockid(process)?.now()?;
    Ok(Duration::from(time).as_secs_f64())
}

#[cfg(not(target_os = "linux"))]
fn own_cpu_seconds(_process: u32) -> Result<f64> {
    bail!("the benchmarks measure processes as Linux does");
}

/// The greatest resident memory that a process has had.
pub(crate) fn peak(process: u32) -> u64 {
    memory(process, "VmHWM:")
}

/// The resident memory that a process has.
pub(crate) fn resident(process: u32) -> u64 {
    memory(process, "VmRSS:")
}

fn memory(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Forgets the peak so far.
pub(crate) fn forget_peak(process: u32) {
    const RESET_PEAK: &str = "5";
    // Without the right to do so the peak since the start is shown, which is not less.
    let _ = std::fs::write(format!("/proc/{process}/clear_refs"), RESET_PEAK);
}

fn tree_peak(process: u32) -> u64 {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children = children.unwrap_or_default();
    let below = children.split_whitespace().filter_map(|child| child.parse().ok());
    peak(process) + below.map(tree_peak).sum::<u64>()
}
