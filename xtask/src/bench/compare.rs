//! Two reports side by side.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::series::{Figures, Report};

/// Which reports.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The report of before.
    before: PathBuf,
    /// The report of after.
    after: PathBuf,
    /// By how many per cent a figure may be worse.
    #[arg(long, default_value_t = 10.0)]
    tolerance: f64,
}

/// Prints the changes; a figure that got worse by more than the tolerance is an error. CPU time is compared before rows per second: a
/// busy machine changes it less.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (before, after) = (Report::read(&options.before)?, Report::read(&options.after)?);
    let mut worse = Vec::new();
    println!("| table | contestant | client µs/row | rows/s | peak MB |\n| --- | --- | ---: | ---: | ---: |");
    for new in &after.results {
        let old = before.results.iter().find(|old| is_same(old, new));
        let Some(old) = old else { continue };
        let cpu = change(old.client_cpu_micros_per_row, new.client_cpu_micros_per_row);
        let speed = change(old.rows_per_second, new.rows_per_second);
        let memory = change(old.client_peak_megabytes, new.client_peak_megabytes);
        println!(
            "| {} | {} | {:.3} → {:.3} ({cpu:+.0} %) | {:.0} → {:.0} ({speed:+.0} %) | {:.0} → {:.0} ({memory:+.0} %) |",
            new.title(),
            new.contestant,
            old.client_cpu_micros_per_row,
            new.client_cpu_micros_per_row,
            old.rows_per_second,
            new.rows_per_second,
            old.client_peak_megabytes,
            new.client_peak_megabytes,
        );
        if new.error.is_some() || cpu > options.tolerance || -speed > options.tolerance {
            worse.push(format!("{} on {}", new.contestant, new.title()));
        }
    }
    ensure!(worse.is_empty(), "worse than before: {}", worse.join("; "));
    Ok(())
}

fn is_same(old: &Figures, new: &Figures) -> bool {
    old.title() == new.title() && old.contestant == new.contestant && old.error.is_none()
}

/// The change in per cent.
fn change(old: f64, new: f64) -> f64 {
    if old == 0.0 {
        0.0
    } else {
        (new / old - 1.0) * 100.0
    }
}
