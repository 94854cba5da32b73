//! The emulator against clients that we did not write: one list of statements and values with the results that SQL Server's
//! documentation gives, run by each client in its own language.
//!
//! `tests/conformance/` holds the list, what is known of each client, and one small runner per client. A runner knows no
//! expectation: it says what its client gave, in the text forms of `tests/conformance/README.md`; the comparison is here.

pub(crate) mod cases;
mod clients;
mod compare;
mod job;
mod matrix;
mod mode;
mod mutants;
mod toolchains;
mod values;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::cargo::{build_emulator, root};
use clients::Client;
use matrix::{Cell, Matrix};
use mode::Mode;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this client; may be repeated.
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<String>,
    /// Only this group of cases; may be repeated.
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// Only this kind of encryption; may be repeated.
    #[arg(long = "mode", value_name = "MODE")]
    modes: Vec<Mode>,
    /// Only cases whose name contains this.
    #[arg(long)]
    case: Option<String>,
    /// Another emulator than the one of this tree.
    #[arg(long, value_name = "PATH")]
    emulator: Option<PathBuf>,
    /// Runs the list against emulators with a mistake each, and fails if it does not find nearly all of them.
    #[arg(long)]
    mutants: bool,
}

/// The clients that look for mutants, the quickest first.
const DETECTIVES: [&str; 2] = ["python-tds", "mssql-tds"];
/// Mutants that may live.
const SURVIVORS: usize = 2;

/// Runs the clients, prints the matrix, and fails if a cell is red.
pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = root().join("tests/conformance");
    let mut all = cases::load(&directory)?;
    all.retain(|case| {
        (options.groups.is_empty() || options.groups.contains(&case.group))
            && options.case.as_ref().is_none_or(|part| case.name.contains(part))
    });
    ensure!(!all.is_empty(), "no case has such a group or name");
    let messages = compare::Messages::load(&directory)?;
    let mut clients = clients::load(&directory)?;
    for name in &options.clients {
        let known: Vec<_> = clients.iter().map(|client| client.name.as_str()).collect();
        ensure!(
            known.contains(&name.as_str()),
            "no client is named {name}; there are {}",
            known.join(", ")
        );
    }
    if options.mutants {
        clients.retain(|client| DETECTIVES.contains(&client.name.as_str()));
        clients.sort_by_key(|client| DETECTIVES.iter().position(|name| *name == client.name));
        return hunt(&directory.join("mutants.yaml"), &clients, &messages, &all);
    }
    clients.retain(|client| options.clients.is_empty() || options.clients.contains(&client.name));
    let emulator = match &options.emulator {
        Some(path) => path.clone(),
        None => build_emulator()?,
    };

    let mut matrix = Matrix::new(&all);
    for client in &clients {
        let runner = match toolchains::prepare(&client.name) {
            Ok(runner) => runner,
            Err(error) => {
                matrix.not_installed(&client.name, format!("{error:#}"));
                continue;
            }
        };
        for mode in client.modes(&options.modes) {
            let judged = job::run(&runner, client, mode, Command::new(&emulator), &all)?
                .into_iter()
                .map(|(case, answer)| (case, judge(client, mode, &messages, case, answer)));
            matrix.add(&client.name, mode, judged);
        }
    }
    print!("{matrix}");
    ensure!(
        matrix.is_green(),
        "not every client got what SQL Server's documentation says"
    );
    Ok(())
}

/// Says of each mutant which case finds it.
fn hunt(list: &Path, clients: &[Client], messages: &compare::Messages, cases: &[cases::Case]) -> Result<()> {
    let (mutants, emulator) = mutants::build(list)?;
    let mut runners = Vec::new();
    for client in clients {
        runners.push((client, toolchains::prepare(&client.name)?));
    }
    let failed = |mutant: Option<&str>| -> Result<Vec<String>> {
        for (client, runner) in &runners {
            let mut command = Command::new(&emulator);
            command.env_remove(mutants::VARIABLE);
            command.envs(mutant.map(|name| (mutants::VARIABLE, name)));
            let answers = job::run(runner, client, Mode::Plain, command, cases)?;
            let failed: Vec<_> = answers
                .into_iter()
                .filter_map(|(case, answer)| {
                    let cell = judge(client, Mode::Plain, messages, case, answer);
                    matches!(cell, Cell::Failed(_))
                        .then(|| format!("{} by {}", case.full_name(), client.name))
                })
                .collect();
            if !failed.is_empty() {
                return Ok(failed);
            }
        }
        Ok(Vec::new())
    };
    let innocent = failed(None)?;
    ensure!(
        innocent.is_empty(),
        "without any mistake, these fail: {innocent:?}"
    );
    let mut survivors = Vec::new();
    for mutant in &mutants {
        let killers = failed(Some(&mutant.name))?;
        match killers.first() {
            Some(first) => println!("killed   {}: {first} and {} more", mutant.name, killers.len() - 1),
            None => {
                println!("SURVIVED {}", mutant.name);
                survivors.push(&mutant.name);
            }
        }
    }
    println!(
        "{} of {} mutants killed",
        mutants.len() - survivors.len(),
        mutants.len()
    );
    ensure!(survivors.len() <= SURVIVORS, "the list misses {survivors:?}");
    Ok(())
}

/// What a client's answer to a case is worth.
fn judge(
    client: &Client,
    mode: Mode,
    messages: &compare::Messages,
    case: &cases::Case,
    answer: job::Answer,
) -> Cell {
    let outcome = match answer {
        job::Answer::NotAsked(reason) => return Cell::NotApplicable(reason),
        job::Answer::Missing(reason) => Err(reason),
        job::Answer::Outcomes(outcomes) => compare::case(client, messages, case, &outcomes),
    };
    match (outcome, client.defect(mode, case)) {
        (Ok(()), None) => Cell::Passed,
        (Ok(()), Some(defect)) => Cell::Failed(format!(
            "passes, though clients.yaml says: {}; take the line out",
            defect.reason
        )),
        (Err(difference), Some(defect)) if compare::contains(&difference, &defect.gives) => {
            Cell::Defect(defect.reason.clone())
        }
        (Err(difference), Some(defect)) => {
            Cell::Failed(format!("{difference}, where clients.yaml says: {}", defect.gives))
        }
        (Err(difference), None) => Cell::Failed(difference),
    }
}
