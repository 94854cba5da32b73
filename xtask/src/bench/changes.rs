//! What changes cost on their way from SQL Server into Iceberg.
//!
//! - **filled**: a mixed stream lies in the change table of Change Data Capture, and one run carries it into Iceberg.
//! - **live**: the same stream is written while `sync-cli run --follow` carries it.
//! - **latency**: at a steady rate, the time from a transaction's commit to the Iceberg commit that has it.
//! - **increments**: a thousand changes of tables of two sizes, by each mode with an index.

mod costs;
mod flow;
mod mix;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::mix::Mix;
use super::arena::{Arena, SOURCE};
use super::tables::Table;
use crate::cargo::{Programs, root};
use crate::server::Server;

/// The emulator captures a commit no sooner; SQL Server's job looks every five seconds.
const CAPTURE_DELAY_MILLIS: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Filled,
    Live,
    Latency,
    Increments,
}

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these parts; may be repeated.
    #[arg(long = "only")]
    only: Vec<Part>,
    /// Changes of the stream; the table has a quarter more rows.
    #[arg(long, default_value = "1m", value_parser = super::size)]
    changes: u64,
    /// Changes in a transaction of the stream.
    #[arg(long, default_value_t = 10_000)]
    transaction: u64,
    /// Rows of the tables whose increments are compared.
    #[arg(long, default_values_t = [1_000_000, 10_000_000], num_args = 1.., value_parser = super::size)]
    sizes: Vec<u64>,
    /// Increments of each mode; medians are shown.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Changes a second while the latency is measured,
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// and for how many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the figures go, as JSON.
    #[arg(long, default_value = "target/bench/changes.json")]
    save: PathBuf,
}

/// Runs the parts.
pub(crate) fn run(options: &Options) -> Result<()> {
    let programs = Programs::build_with_workers()?;
    let wanted = |part: Part| options.only.is_empty() || options.only.contains(&part);
    println!(
        "{} cores shared by client and server, load {:.2} at the start",
        std::thread::available_parallelism()?.get(),
        super::series::load()
    );
    let mut figures = serde_json::Map::new();
    if wanted(Part::Filled) {
        let mix = Mix::of(options.changes, options.transaction);
        figures.insert("filled".into(), with_stream(&programs, &mix, flow::filled)?);
    }
    if wanted(Part::Live) {
        let mix = Mix::of(options.changes, options.transaction);
        figures.insert("live".into(), with_stream(&programs, &mix, flow::live)?);
    }
    if wanted(Part::Latency) {
        // Ten transactions a second.
        let mix = Mix::of(options.rate * options.seconds, options.rate.div_ceil(10));
        figures.insert("latency".into(), with_stream(&programs, &mix, flow::latency)?);
    }
    if wanted(Part::Increments) {
        let sizes = options.sizes.iter();
        let costs = sizes.map(|rows| costs::measured(&programs, *rows, options.rounds));
        let costs = costs.collect::<Result<Vec<_>>>()?;
        figures.insert("increments".into(), costs::compared(&costs)?);
    }
    let path = root().join(&options.save);
    std::fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
    std::fs::write(&path, serde_json::to_string_pretty(&figures)?)?;
    println!("\nsaved as {}", path.display());
    Ok(())
}

/// Prepares a table that Change Data Capture follows and that lies in Iceberg already, and hands it to a measurement.
fn with_stream(
    programs: &Programs,
    mix: &Mix,
    measure: fn(&Arena<'_>, &Mix, &Path) -> Result<Value>,
) -> Result<Value> {
    let directory = super::directory("changes")?;
    let server = Server::emulator(programs, &[SOURCE], &directory, None)?;
    let mut arena = Arena::fill(programs, &server, None, Table::Orders, mix.rows(), directory)?;
    arena.connections = 2;
    mix.prepare(&server)?;
    server.execute(
        SOURCE,
        "ALTER DATABASE [bench] SET ALLOW_SNAPSHOT_ISOLATION ON\nGO\n\
         EXEC sys.sp_cdc_enable_db\nGO\n\
         EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'orders', @role_name = NULL",
    )?;
    // The instance begins where the capture has got to.
    std::thread::sleep(std::time::Duration::from_millis(2 * CAPTURE_DELAY_MILLIS));
    let config = arena.configure(
        "cdc.yaml",
        &[
            arena.end("source", SOURCE),
            json!({ "tables": [{
                "table": "dbo.orders",
                "capture": { "mode": "cdc", "connections": arena.connections },
            }]}),
        ],
    )?;
    let (copy, _) = arena.run_sync(&config)?;
    println!("copied in {:.1} s", copy.client.seconds);
    measure(&arena, mix, &config)
}

/// What all tables of a report add up to.
fn written(report: &Value, what: &str) -> u64 {
    report["statistics"][what].as_u64().unwrap_or(0)
}
