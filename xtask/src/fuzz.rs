//! Fuzzing of the emulator after a login, by libFuzzer: packets over a socket, and batches. The targets lie in `fuzz/`, a workspace of
//! their own, for they are compiled with coverage. They begin with sessions that clients sent, and go on where they ended last time.
//! The first input that does harm ends the run.

mod corpus;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::cargo::{cargo, root, succeed, test_recorded};

/// How long.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Minutes, half of them for each target.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Records the sessions of clients anew.
    #[arg(long)]
    record: bool,
}

const TARGETS: [&str; 2] = ["packets", "sql"];
/// As `fuzz/targets/allocations.rs` has it.
const LONGEST_INPUT: u32 = 4 << 20;
/// Seconds for an input; each gives its statements a tenth of one.
const PATIENCE: u32 = 20;

/// Records and fuzzes.
pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = root().join("target/fuzz");
    let recorded = directory.join("recorded");
    if options.record || !recorded.exists() {
        record(&recorded)?;
    }
    corpus::write(&recorded, &directory)?;
    for target in TARGETS {
        succeed(&mut in_fuzz("build", target))?;
        fuzz(target, &directory, options.minutes * 30)?;
    }
    Ok(())
}

/// Sessions of the tests and of the conformance list.
fn record(directory: &Path) -> Result<()> {
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    std::fs::create_dir_all(directory)?;
    test_recorded(directory)?;
    let mut conformance = Command::new(std::env::current_exe()?);
    conformance.args(["conformance", "--mode", "plain"]);
    succeed(conformance.env("SQLSERVER_EMULATOR_RECORD", directory))
}

fn fuzz(target: &str, directory: &Path, seconds: u64) -> Result<()> {
    let found = directory.join("found");
    std::fs::create_dir_all(&found)?;
    let mut command = in_fuzz("run", target);
    command
        .arg("--")
        .arg(directory.join(target))
        .arg(format!("-dict={}", directory.join("words").display()))
        .arg(format!("-artifact_prefix={}/{target}-", found.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST_INPUT}"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg("-print_final_stats=1");
    succeed(&mut command).with_context(|| {
        format!("an input did harm; in fuzz/, `cargo run --release --bin {target} -- INPUT` repeats it")
    })
}

/// What cargo does with a target.
fn in_fuzz(work: &str, target: &str) -> Command {
    let mut command = cargo();
    command
        .args(["--config", "fuzz/.cargo/config.toml", work])
        .args(["--manifest-path", "fuzz/Cargo.toml"])
        .args(["--quiet", "--release", "--locked", "--bin", target]);
    command
}
