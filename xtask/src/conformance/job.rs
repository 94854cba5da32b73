//! One client's run over the list: the emulator is started, the runner gets its task as a file and answers with a line a case.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::cases::Case;
use super::clients::Client;
use super::mode::Mode;
use super::toolchains::Runner;
use crate::server::Server;

/// A runner that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);
const DATABASE: &str = "Conformance";

/// What became of a case.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The client cannot do it, for this reason.
    NotAsked(String),
    /// The runner gave no answer, for this reason.
    Missing(String),
    /// What each step gave.
    Outcomes(Vec<Outcome>),
}

/// What a client says of one step.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Outcome {
    /// The rows of each result, in text form.
    pub(crate) results: Vec<Vec<Vec<Option<String>>>>,
    /// The counts that it gives; NULL where it says that there is none.
    pub(crate) counts: Vec<Option<i64>>,
    /// The error that it raised.
    pub(crate) error: Option<Failure>,
}

/// An error as a client reports it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    /// Its number, unless the client hides it.
    pub(crate) number: Option<u32>,
    /// Its text, perhaps with words of the client around it.
    pub(crate) message: String,
}

#[derive(Deserialize)]
struct Line {
    case: String,
    steps: Vec<Outcome>,
}

/// Runs the cases; every case has an answer.
pub(crate) fn run<'a>(
    runner: &Runner,
    client: &Client,
    mode: Mode,
    emulator: Command,
    cases: &'a [Case],
) -> Result<Vec<(&'a Case, Answer)>> {
    let directory = super::toolchains::directory().join("run");
    std::fs::create_dir_all(&directory)?;
    let server = Server::emulator_by(emulator, &[DATABASE], &directory, None)?;
    let asked: Vec<_> = cases
        .iter()
        .filter(|case| client.cannot(case).is_none())
        .collect();
    let job = directory.join(format!("{}-{mode}.json", client.name));
    std::fs::write(&job, task(&server, mode, &asked).to_string())?;
    let (mut lines, end) = converse(runner.command(&client.name).arg(&job))?;
    Ok(cases
        .iter()
        .map(|case| {
            let answer = match client.cannot(case) {
                Some(reason) => Answer::NotAsked(reason.to_owned()),
                None => match lines.remove(&case.full_name()) {
                    Some(outcomes) => Answer::Outcomes(outcomes),
                    None => Answer::Missing(end.clone()),
                },
            };
            (case, answer)
        })
        .collect())
}

fn task(server: &Server, mode: Mode, cases: &[&Case]) -> serde_json::Value {
    let cases: Vec<_> = cases
        .iter()
        .map(|case| {
            let steps: Vec<_> = case.steps.iter().map(super::cases::Step::task).collect();
            serde_json::json!({ "case": case.full_name(), "steps": steps })
        })
        .collect();
    serde_json::json!({
        "host": server.host, "port": server.port, "user": server.user, "password": server.password,
        "database": DATABASE, "mode": mode, "certificate": server.server_certificate, "authority": server.authority, "cases": cases,
    })
}

/// The runner's lines, and how it ended.
fn converse(command: &mut Command) -> Result<(HashMap<String, Vec<Outcome>>, String)> {
    let mut process = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?} did not start"))?;
    let stdout = process.stdout.take().context("the runner has no output")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut answers = HashMap::new();
    let end = loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => match serde_json::from_str::<Line>(&line) {
                Ok(line) => drop(answers.insert(line.case, line.steps)),
                Err(error) => eprintln!("the runner said {line:?}: {error}"),
            },
            Err(mpsc::RecvTimeoutError::Timeout) => break format!("no answer within {SILENCE:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => break "the runner ended before it".to_owned(),
        }
    };
    stop(process);
    Ok((answers, end))
}

fn stop(mut process: Child) {
    // A runner that ended by itself is gone already; of the others nothing is kept.
    let _ = process.kill();
    let _ = process.wait();
}
