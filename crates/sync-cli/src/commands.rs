//! One file per command. A command returns what it found and how the program ends; nothing here prints (but what goes on) or exits.

mod check;
mod config_file;
mod follow;
mod init;
mod inspect;
mod maintain;
mod plan;
mod run;
mod state;
mod status;
mod tables;
mod verify;

use std::fmt::Display;

use clap::CommandFactory;
use model::{Error, Result};
use serde::Serialize;

use crate::arguments::{Arguments, Command, Output};
use crate::config;
use crate::exit::Exit;
use crate::parts::Parts;

/// What a command has to say, in both forms.
pub(crate) struct Answer {
    text: String,
    json: serde_json::Value,
    exit: Exit,
    /// Whether JSON is printed in one line.
    line: bool,
}

impl Answer {
    /// An answer with success.
    ///
    /// # Errors
    ///
    /// `Internal` if the value has no JSON.
    pub(crate) fn new(text: impl Display, value: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_value(value)
            .map_err(|error| Error::internal("a report has no JSON").caused_by(error))?;
        Ok(Self {
            text: text.to_string(),
            json,
            exit: Exit::Success,
            line: false,
        })
    }

    /// An answer that is text in both forms, such as a file's content.
    pub(crate) fn text(text: String) -> Self {
        Self {
            json: serde_json::Value::String(text.clone()),
            text,
            exit: Exit::Success,
            line: false,
        }
    }

    /// The last of several that were printed one per line.
    pub(crate) fn last_line(mut self) -> Self {
        self.line = true;
        self
    }

    /// How the program ends.
    pub(crate) fn ending(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Prints the answer in the form that was asked for.
    #[expect(clippy::print_stdout, reason = "this is the program's output")]
    pub(crate) fn print(&self, output: Output) -> Exit {
        match output {
            Output::Human => print!("{}", self.text),
            Output::Json if self.line => println!("{}", self.json),
            Output::Json => println!("{:#}", self.json),
        }
        self.exit
    }
}

/// Does what was asked.
pub(crate) async fn dispatch(arguments: &Arguments) -> Result<Answer> {
    match &arguments.command {
        Command::Init(init) => return init::run(init, &arguments.config).await,
        Command::Config(command) => return config_file::run(command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "sync-cli", &mut script);
            return Ok(Answer::text(String::from_utf8_lossy(&script).into_owned()));
        }
        _ => {}
    }
    let parts = Parts::new(config::load(&arguments.config)?)?;
    match &arguments.command {
        Command::Check(tables) => check::run(&parts, &arguments.config, tables).await,
        Command::Plan(tables) => plan::run(&parts, tables).await,
        Command::Run(options) => run::run(&parts, options, arguments.output).await,
        Command::Status(tables) => status::run(&parts, tables).await,
        Command::Tables => tables::run(&parts).await,
        Command::Inspect(inspect) => inspect::run(&parts, inspect).await,
        Command::Snapshots(table) => inspect::snapshots(&parts, table).await,
        Command::Verify(options) => verify::run(&parts, options, arguments.output).await,
        Command::State(command) => state::run(&parts, command).await,
        Command::Maintain(command) => maintain::run(&parts, command).await,
        Command::Init(_) | Command::Config(_) | Command::Completions { .. } => {
            Err(Error::internal("handled above"))
        }
    }
}
