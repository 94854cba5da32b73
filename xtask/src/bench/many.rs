//! What many tables cost, in relation to one table of all their rows.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::json;

use super::arena::{Arena, Outcome, SOURCE};
use super::tables::Table;
use super::{directory, series};
use crate::cargo::Programs;
use crate::server::Server;

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many tables.
    #[arg(long, default_value_t = 100)]
    tables: u64,
    /// Rows of each.
    #[arg(long, default_value = "100k", value_parser = super::size)]
    rows: u64,
    /// Measured rounds, after one that warms up.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Copies one table, and the same rows in many, in turn.
pub(crate) fn run(options: &Options) -> Result<()> {
    let programs = Programs::build_with_workers()?;
    let directory = directory("many")?;
    let server = Server::emulator(&programs, &[SOURCE], &directory, None)?;
    let (whole, rows) = (Table::Orders, options.tables * options.rows);
    let arena = Arena::fill(&programs, &server, None, whole, rows, directory)?;
    for number in 0..options.tables {
        server.execute(SOURCE, &part(whole, number, options.rows))?;
    }
    println!(
        "{} cores shared by client and server, load {:.2} at the start, medians of {} rounds",
        std::thread::available_parallelism()?.get(),
        series::load(),
        options.rounds
    );
    let contestants = [("one", "dbo.orders"), ("many", "dbo.part_*")];
    let mut seen = contestants.map(|_| Vec::new());
    for round in 0..=options.rounds {
        for place in 0..contestants.len() {
            let at = (place + round) % contestants.len();
            let (config, outcome) = copied(&arena, contestants[at], rows)?;
            if round == 0 {
                arena.verified(&config)?;
            } else {
                seen[at].push(outcome);
            }
        }
    }
    let median = |outcomes: &[Outcome], of: fn(&Outcome) -> f64| series::median(outcomes.iter().map(of));
    let seconds = |outcomes: &[Outcome]| median(outcomes, |outcome| outcome.client.seconds);
    for ((name, tables), outcomes) in contestants.iter().zip(&seen) {
        println!(
            "{name}: {tables}, {:.2} s, {:.2} s of client CPU, {:.2} s of server CPU, {:.0} MB at most",
            seconds(outcomes),
            median(outcomes, |outcome| outcome.client.cpu_seconds),
            median(outcomes, |outcome| outcome.server.cpu_seconds),
            median(outcomes, |outcome| outcome.client.peak_bytes as f64) / 1e6,
        );
    }
    let [one, many] = seen.map(|outcomes| seconds(&outcomes));
    println!("{} tables against one: {:.2}", options.tables, many / one);
    Ok(())
}

/// A table with some rows of another one.
fn part(whole: Table, number: u64, rows: u64) -> String {
    let name = format!("[dbo].[part_{number}]");
    let create = whole.ddl().replace(&whole.quoted(), &name);
    let (from, to) = (number * rows, (number + 1) * rows);
    let key = whole.summed()[0];
    format!(
        "{create}\nGO\nINSERT INTO {name} SELECT * FROM {} WHERE {key} >= {from} AND {key} < {to}",
        whole.quoted()
    )
}

/// Copies into a new warehouse, in which all rows must arrive.
fn copied(arena: &Arena<'_>, (name, tables): (&str, &str), rows: u64) -> Result<(PathBuf, Outcome)> {
    for name in ["warehouse", "state"] {
        arena.empty(name)?;
    }
    let tables = json!({ "tables": [{ "table": tables }] });
    let config = arena.configure(&format!("{name}.yaml"), &[arena.end("source", SOURCE), tables])?;
    let (outcome, report) = arena.run_sync(Path::new(&config))?;
    let arrived = report["statistics"]["records_inserted"].as_u64();
    ensure!(
        arrived == Some(rows),
        "{arrived:?} of {rows} rows arrived: {report}"
    );
    Ok((config, outcome))
}
