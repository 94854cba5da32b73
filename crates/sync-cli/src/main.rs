//! The `sync-cli` binary: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    sync_cli::run(sync_cli::Arguments::parse()).await.into()
}
