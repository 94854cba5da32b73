//! Measurements of release builds against a raw drain of the same server, and against tools of others.

mod arena;
mod changes;
mod chart;
mod compare;
mod contestant;
mod drain;
mod iceberg;
mod many;
mod native_files;
mod process;
mod quiet;
mod series;
mod smoke;
mod tables;
mod worker;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use self::arena::{Arena, SOURCE, TARGET};
use self::contestant::Contestant;
use self::series::Report;
use self::tables::Table;
use crate::cargo::{Programs, root};
use crate::python::Python;
use crate::server::Server;

/// What is measured.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only 10,000 orders end to end, then 100 changes: seconds, without Python.
    #[arg(long)]
    smoke: bool,
    /// Only what following so many tables costs while nothing happens. Needs no Python.
    #[arg(long, value_name = "TABLES")]
    quiet_tables: Option<usize>,
    /// Only what the emulator gives and takes: the raw drain, and rows from `freebcp`. Needs no Python.
    #[arg(long, conflicts_with = "peers")]
    emulator: bool,
    /// Tools of others take part.
    #[arg(long)]
    peers: bool,
    /// Rows of `orders`; the other tables follow.
    #[arg(long, default_value = "1m", value_parser = size)]
    size: u64,
    /// Which tables; may be repeated.
    #[arg(long = "table", default_value = "orders")]
    tables: Vec<Table>,
    /// Only these contestants; the drain always runs.
    #[arg(long = "only")]
    only: Vec<String>,
    /// Measured rounds, after one that warms up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The server gives at most so many rows a second.
    #[arg(long)]
    throttle: Option<u64>,
    /// Chunks of a first copy that `sync-cli` reads at once.
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Where the report goes; its chart lies beside it.
    #[arg(long, default_value = "target/bench/latest.json")]
    save: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What changes cost on their way into Iceberg: a table of them, as they come, and a few of a large table.
    Changes(changes::Options),
    /// What Iceberg tables cost to write, read, change and maintain.
    Iceberg(iceberg::Options),
    /// What many tables cost against one of all their rows. Needs no Python.
    Many(many::Options),
    /// Shows what changed between two reports, and fails if something got worse.
    Compare(compare::Options),
    /// What a contestant of ours does, in a process of its own.
    #[command(hide = true)]
    Worker(worker::Options),
}

/// `1m`, `250k` or a plain number.
pub(crate) fn size(text: &str) -> Result<u64> {
    let (digits, factor) = match text.to_ascii_lowercase() {
        text if text.ends_with('m') => (text.trim_end_matches('m').to_owned(), 1_000_000),
        text if text.ends_with('k') => (text.trim_end_matches('k').to_owned(), 1_000),
        text => (text, 1),
    };
    let number: u64 = digits.parse().context("a size is a number, or one with k or m")?;
    Ok(number * factor)
}

/// Runs the measurement.
pub(crate) fn run(options: &Options) -> Result<()> {
    match (&options.command, options.quiet_tables) {
        (Some(Command::Changes(options)), _) => changes::run(options),
        (Some(Command::Iceberg(options)), _) => iceberg::run(options),
        (Some(Command::Many(options)), _) => many::run(options),
        (Some(Command::Compare(options)), _) => compare::run(options),
        (Some(Command::Worker(options)), _) => worker::run(options),
        (None, _) if options.smoke => smoke::run(),
        (None, Some(tables)) => quiet::run(tables),
        (None, None) => measure(options),
    }
}

fn measure(options: &Options) -> Result<()> {
    let contestants = chosen(options)?;
    let programs = match options.emulator {
        true => Programs::build_emulator_with_workers()?,
        false => Programs::build_with_workers()?,
    };
    let requirements: &[&str] = if options.peers {
        &["xtask/src/bench/requirements.txt", "xtask/src/bench/peers.txt"]
    } else {
        &["xtask/src/bench/requirements.txt"]
    };
    let python = (!options.emulator)
        .then(|| Python::prepare("bench-python", requirements))
        .transpose()?;
    let mut report = Report {
        cores: std::thread::available_parallelism()?.get(),
        load: series::load(),
        rounds: options.rounds,
        results: Vec::new(),
    };
    for table in &options.tables {
        let directory = directory(table.name())?;
        // A server for each table: its memory is that of this table.
        let server = Server::emulator(&programs, &[SOURCE, TARGET], &directory, options.throttle)?;
        let rows = table.rows(options.size);
        let mut arena = Arena::fill(&programs, &server, python.as_ref(), *table, rows, directory)?;
        arena.connections = options.connections;
        if let Some(index) = table.index() {
            server.execute(SOURCE, &index)?;
        }
        report
            .results
            .extend(series::run(&arena, &contestants, options.rounds)?);
    }
    report.print();
    let path = root().join(&options.save);
    report.save(&path)?;
    std::fs::write(path.with_extension("svg"), chart::svg(&report))?;
    println!("\nsaved as {}", path.display());
    report.ensure_all_ran()
}

/// An empty directory.
fn directory(name: &str) -> Result<PathBuf> {
    let directory = root().join("target/bench").join(name);
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("the last run's directory cannot be removed")?;
    }
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn chosen(options: &Options) -> Result<Vec<&'static Contestant>> {
    let named = |name: &str| options.only.iter().any(|only| only == name);
    for name in &options.only {
        let known = contestant::ALL.iter().any(|contestant| contestant.name == name);
        ensure!(known, "there is no contestant {name:?}");
    }
    let takes_part = |contestant: &&Contestant| match options.only.is_empty() {
        true if options.emulator => contestant.is_of_the_server,
        true => options.peers || !contestant.is_peer,
        false => contestant.name == "drain" || named(contestant.name),
    };
    Ok(contestant::ALL.iter().filter(takes_part).collect())
}
