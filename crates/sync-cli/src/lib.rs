//! The command line of the sync engine: configuration, wiring, commands and reports. The one place that names concrete sources, sinks,
//! catalogs and stores.
//!
//! # Invariants
//!
//! - Results go to standard output, logs and progress to standard error.
//! - A command returns an answer, which only [`run`] prints; `run --follow` prints a line per cycle before it.
//! - No secret is ever printed: secrets are unprintable by type, and errors of the configuration quote no text.

mod arguments;
mod commands;
pub mod config;
mod exit;
mod observed;
mod parts;
mod process_memory;
mod progress;
mod report;
mod table;
mod time;

pub use arguments::Arguments;
pub use exit::Exit;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Does what the arguments say, and prints the result or the error.
#[expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "this is the program's output"
)]
pub async fn run(arguments: Arguments) -> Exit {
    start_logging(arguments.verbose);
    match commands::dispatch(&arguments).await {
        Ok(answer) => answer.print(arguments.output),
        Err(error) => {
            match arguments.output {
                arguments::Output::Human => eprint!("{}", report::error(&error)),
                arguments::Output::Json => println!(
                    "{:#}",
                    serde_json::json!({ "error": report::error_entry(None, &error) })
                ),
            }
            Exit::from(error.kind())
        }
    }
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        // The driver logs every error that the server sends, also those that are handled.
        0 => "warn,mssql_tds=off",
        1 => "info,mssql_tds=warn",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A second call, in tests, keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}
