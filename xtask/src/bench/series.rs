//! Rounds of measurements, and what they come to.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::arena::{Arena, Outcome};
use super::contestant::Contestant;

/// What a series came to; this is the JSON that is saved.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Cores of the machine, which client and server share.
    pub(crate) cores: usize,
    /// Load of the machine before the first run: others may have been busy on it.
    pub(crate) load: f64,
    /// Rounds after the one that warms up.
    pub(crate) rounds: usize,
    pub(crate) results: Vec<Figures>,
}

/// One contestant on one table: medians of its rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) table: String,
    pub(crate) rows: u64,
    pub(crate) contestant: String,
    pub(crate) does: String,
    /// Why it could not run; there are no figures then.
    pub(crate) error: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) rows_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    /// What the server sends of a row; 0 in reports of before it was saved.
    #[serde(default)]
    pub(crate) bytes_per_row: f64,
    pub(crate) client_cpu_seconds: f64,
    pub(crate) client_cpu_micros_per_row: f64,
    pub(crate) server_cpu_micros_per_row: f64,
    pub(crate) client_peak_megabytes: f64,
    pub(crate) server_peak_megabytes: f64,
    /// Rows per second in relation to the raw drain.
    pub(crate) of_drain: f64,
}

/// Lets each contestant run once to warm up, then `rounds` times in turn, each round beginning with the next one.
pub(crate) fn run(arena: &Arena<'_>, contestants: &[&Contestant], rounds: usize) -> Result<Vec<Figures>> {
    let mut seen: Vec<Result<Vec<Outcome>>> = Vec::new();
    for contestant in contestants {
        let warm = contestant.run(arena).map(|_| Vec::new());
        if let Err(error) = &warm {
            println!("  {} cannot run: {error:#}", contestant.name);
        }
        seen.push(warm);
    }
    for round in 0..rounds {
        for place in 0..contestants.len() {
            let at = (place + round) % contestants.len();
            let (Some(contestant), Some(rounds)) = (contestants.get(at), seen.get_mut(at)) else {
                continue;
            };
            let Ok(known) = rounds else { continue };
            match contestant.run(arena) {
                Ok(round) => known.push(round),
                Err(error) => *rounds = Err(error),
            }
        }
    }
    // Everybody moves the same bytes; the drain counts them.
    let bytes = seen.iter().flatten().flatten().map(|round| round.bytes).max();
    let drain = seen.first().and_then(|rounds| rounds.as_ref().ok());
    let drain = drain.map_or(0.0, |rounds| {
        median(rounds.iter().map(|round| round.client.seconds))
    });
    let all = contestants.iter().zip(&seen);
    Ok(all
        .map(|(contestant, rounds)| figures(arena, contestant, rounds, bytes.unwrap_or(0), drain))
        .collect())
}

fn figures(
    arena: &Arena<'_>,
    contestant: &Contestant,
    rounds: &Result<Vec<Outcome>>,
    bytes: u64,
    drain: f64,
) -> Figures {
    let (error, rounds) = match rounds {
        Ok(rounds) => (None, rounds.as_slice()),
        Err(error) => (Some(format!("{error:#}")), [].as_slice()),
    };
    let of = |value: fn(&Outcome) -> f64| median(rounds.iter().map(value));
    let rows = arena.expected.rows;
    let seconds = of(|round| round.client.seconds);
    let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let cpu = of(|round| round.client.cpu_seconds);
    Figures {
        table: arena.table.name().to_owned(),
        rows,
        contestant: contestant.name.to_owned(),
        does: contestant.does.to_owned(),
        error,
        seconds,
        rows_per_second: per_second(rows as f64),
        megabytes_per_second: per_second(bytes as f64 / 1e6),
        bytes_per_row: bytes as f64 / rows as f64,
        client_cpu_seconds: cpu,
        client_cpu_micros_per_row: cpu * 1e6 / rows as f64,
        server_cpu_micros_per_row: of(|round| round.server.cpu_seconds) * 1e6 / rows as f64,
        client_peak_megabytes: of(|round| round.client.peak_bytes as f64) / 1e6,
        server_peak_megabytes: of(|round| round.server.peak_bytes as f64) / 1e6,
        of_drain: per_second(drain),
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len().saturating_sub(1) / 2..=values.len() / 2);
    match middle {
        Some(middle) if !middle.is_empty() && !values.is_empty() => {
            middle.iter().sum::<f64>() / middle.len() as f64
        }
        _ => values.first().copied().unwrap_or(0.0),
    }
}

/// The load of the last minute.
pub(crate) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

impl Report {
    /// Saves it as JSON.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Reads one that was saved.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report of a benchmark", path.display()))
    }

    /// An error that names everybody who could not run.
    pub(crate) fn ensure_all_ran(&self) -> Result<()> {
        let missing: Vec<String> = self
            .results
            .iter()
            .filter(|figures| figures.error.is_some())
            .map(|figures| format!("{} on {}", figures.contestant, figures.title()))
            .collect();
        ensure!(missing.is_empty(), "cannot run: {}", missing.join("; "));
        Ok(())
    }

    /// Prints the figures as a table in Markdown.
    pub(crate) fn print(&self) {
        println!(
            "\n{} cores shared by client and server, load {:.2} at the start, medians of {} rounds",
            self.cores, self.load, self.rounds
        );
        for table in self.tables() {
            println!("\n{table}\n");
            println!(
                "| contestant | rows/s | MB/s | bytes/row | client CPU s | client µs/row | server µs/row | client MB | server MB | of drain |"
            );
            println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
            for figures in self.results.iter().filter(|figures| figures.title() == table) {
                println!("{}", figures.line());
            }
        }
    }

    /// The tables that were measured, with their sizes.
    pub(crate) fn tables(&self) -> Vec<String> {
        let mut tables: Vec<_> = self.results.iter().map(Figures::title).collect();
        tables.dedup();
        tables
    }
}

impl Figures {
    /// Table and size.
    pub(crate) fn title(&self) -> String {
        format!("{}, {} rows", self.table, self.rows)
    }

    fn line(&self) -> String {
        match &self.error {
            Some(error) => format!("| {} | cannot run: {error} | | | | | | | | |", self.contestant),
            None => format!(
                "| {} | {:.0} | {:.0} | {:.1} | {:.2} | {:.3} | {:.3} | {:.0} | {:.0} | {:.2} |",
                self.contestant,
                self.rows_per_second,
                self.megabytes_per_second,
                self.bytes_per_row,
                self.client_cpu_seconds,
                self.client_cpu_micros_per_row,
                self.server_cpu_micros_per_row,
                self.client_peak_megabytes,
                self.server_peak_megabytes,
                self.of_drain
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_bytes_is_read_and_whoever_could_not_run_is_named() {
        let figures = |contestant: &str, error: Option<&str>| {
            serde_json::json!({
                "table": "orders", "rows": 10, "contestant": contestant, "does": "", "error": error, "seconds": 0.0,
                "rows_per_second": 0.0, "megabytes_per_second": 0.0, "client_cpu_seconds": 0.0,
                "client_cpu_micros_per_row": 0.0, "server_cpu_micros_per_row": 0.0, "client_peak_megabytes": 0.0,
                "server_peak_megabytes": 0.0, "of_drain": 0.0
            })
        };
        let report = |results: serde_json::Value| -> Report {
            let json = serde_json::json!({ "cores": 1, "load": 0.0, "rounds": 1, "results": results });
            serde_json::from_value(json).unwrap()
        };
        let whole = report(serde_json::json!([figures("drain", None)]));
        assert!(whole.ensure_all_ran().is_ok());
        let missing = figures("freebcp-in", Some("not installed"));
        let error = report(serde_json::json!([figures("drain", None), missing]))
            .ensure_all_ran()
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot run: freebcp-in on orders, 10 rows");
    }

    #[test]
    fn a_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        for (values, expect) in [
            (vec![], 0.0),
            (vec![3.0], 3.0),
            (vec![5.0, 1.0], 3.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 9.0, 2.0], 3.0),
        ] {
            assert_eq!(median(values.into_iter()), expect);
        }
    }
}
