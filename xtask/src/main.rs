//! Drives checks, tests, the demo, the adversarial and the integration suite and the benchmarks. It starts the emulator and `sync-cli` as
//! processes, as a user would, and knows nothing of their insides.

mod bench;
mod cargo;
mod catalogs;
mod company;
mod conformance;
#[cfg(feature = "docker")]
mod container;
mod demo;
mod fuzz;
mod integration;
mod interop;
mod python;
mod server;
mod surface;
mod sync;
mod types;

use anyhow::Result;
use clap::Parser;

/// Drives checks, tests, the demo, the integration suite and the benchmarks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Format, lints and documentation, as CI looks at them.
    Check,
    /// All tests.
    Test,
    /// The main job on the embedded emulator: SQL Server → Iceberg → SQL Server, step by step.
    Demo(demo::Options),
    /// Real data, and readers that we did not write.
    Integration(integration::Options),
    /// Every mode of capture against writers that do their worst.
    Adversary {
        /// How many histories are played per mode, and per rule that is switched off.
        #[arg(long, default_value_t = 5)]
        seeds: u32,
    },
    /// The catalogs on real servers.
    Catalogs(catalogs::Options),
    /// The emulator against clients that others wrote.
    Conformance(conformance::Options),
    /// The emulator against what nobody should send.
    Fuzz(fuzz::Options),
    /// The list of statements that are sent, and Microsoft's parser on each.
    Surface(surface::Options),
    /// Four writers and a compaction on one table.
    Company(company::Options),
    /// Tables with random histories, read by PyIceberg, DuckDB and Spark.
    Interop(interop::Options),
    /// Measurements.
    Bench(Box<bench::Options>),
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Check => cargo::check(),
        Task::Test => cargo::test(),
        Task::Demo(options) => demo::run(&options),
        Task::Integration(options) if options.docker && !cfg!(feature = "docker") => cargo::run_with_docker(),
        Task::Integration(options) => integration::run(&options),
        Task::Adversary { seeds } => cargo::test_adversary(seeds),
        Task::Catalogs(options) => catalogs::run(&options),
        Task::Conformance(options) => conformance::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Surface(options) => surface::run(&options),
        Task::Company(options) => company::run(&options),
        Task::Interop(options) => interop::run(&options),
        Task::Bench(options) => bench::run(&options),
    }
}
