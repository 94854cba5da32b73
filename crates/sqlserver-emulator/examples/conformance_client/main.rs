//! Runs the conformance list with tiberius or mssql-tds. Usage: `conformance_client CLIENT JOB.json`
//!
//! Knows no expectation: prints one line of JSON for each case with what the client gave, in the text forms of
//! `tests/conformance/README.md`. `cargo xtask conformance` builds and calls it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program may stop at a task that it does not understand"
)]

mod mssql;
mod text;
mod tiberius_client;

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::text::{Parameter, parameters};

/// How long a statement runs before it is cancelled.
const CANCEL_AFTER: Duration = Duration::from_secs(1);

/// What a step gave.
#[derive(Debug, Default)]
struct Outcome {
    results: Vec<Vec<Vec<Option<String>>>>,
    counts: Vec<Option<i64>>,
    error: Option<Failure>,
}

/// An error as the client reports it.
#[derive(Debug)]
struct Failure {
    number: Option<u32>,
    message: String,
}

impl Outcome {
    fn failed(number: Option<u32>, message: impl ToString) -> Self {
        Self {
            error: Some(Failure {
                number,
                message: message.to_string(),
            }),
            ..Self::default()
        }
    }

    fn extend(&mut self, other: Self) {
        self.results.extend(other.results);
        self.counts.extend(other.counts);
        self.error = self.error.take().or(other.error);
    }

    fn json(&self) -> Value {
        let error = self
            .error
            .as_ref()
            .map(|error| json!({ "number": error.number, "message": error.message }));
        json!({ "results": self.results, "counts": self.counts, "error": error })
    }
}

/// Where and how to connect.
#[derive(Debug, Clone)]
struct Target {
    port: u16,
    user: String,
    password: String,
    database: String,
    mode: String,
    certificate: String,
    authority: String,
}

impl Target {
    fn of(job: &Value) -> Self {
        let text = |key: &str| job[key].as_str().unwrap().to_owned();
        Self {
            port: job["port"].as_u64().unwrap() as u16,
            user: text("user"),
            password: text("password"),
            database: text("database"),
            mode: text("mode"),
            certificate: text("certificate"),
            authority: text("authority"),
        }
    }

    /// With the credentials that a step gives instead.
    fn with(&self, step: &Value) -> Self {
        let mut target = self.clone();
        if let Some(password) = step["password"].as_str() {
            target.password = password.to_owned();
        }
        if let Some(database) = step["database"].as_str() {
            target.database = database.to_owned();
        }
        target
    }
}

/// What the two clients can do. An error is an outcome.
trait Client: Sized + Send + 'static {
    fn connect(target: &Target) -> impl Future<Output = Result<Self, Outcome>> + Send;
    /// A batch; `counts` says that its counts are wanted.
    fn batch(&mut self, sql: &str, counts: bool) -> impl Future<Output = Outcome> + Send;
    fn with_parameters(
        &mut self,
        sql: &str,
        values: &[Parameter],
        counts: bool,
    ) -> impl Future<Output = Outcome> + Send;
    /// One statement, several runs.
    fn prepared(
        &mut self,
        sql: &str,
        runs: &[Vec<Parameter>],
        counts: bool,
    ) -> impl Future<Output = Outcome> + Send;
    fn begin(&mut self, isolation: Option<&str>) -> impl Future<Output = Outcome> + Send;
    fn end(&mut self, commit: bool) -> impl Future<Output = Outcome> + Send;
    fn bulk(
        &mut self,
        table: &str,
        columns: &[String],
        rows: Vec<Vec<Parameter>>,
    ) -> impl Future<Output = Outcome> + Send;
    /// A batch with rows of a table type, `@p1`.
    fn table(
        &mut self,
        _sql: &str,
        _ty: &str,
        _columns: Vec<Parameter>,
        _rows: Vec<Vec<Parameter>>,
    ) -> impl Future<Output = Outcome> + Send {
        std::future::ready(Outcome::failed(None, "it has no tables as parameters"))
    }
    /// Runs a long statement and cancels it; an error if that fails.
    fn cancel(&mut self, sql: &str) -> impl Future<Output = Outcome> + Send;
}

/// One case's sessions.
struct Case<'a, C> {
    target: &'a Target,
    sessions: HashMap<String, C>,
    running: HashMap<String, JoinHandle<(C, Outcome)>>,
}

impl<C: Client> Case<'_, C> {
    async fn session(&mut self, name: &str) -> Result<&mut C, Outcome> {
        if !self.sessions.contains_key(name) {
            let client = C::connect(self.target).await?;
            self.sessions.insert(name.to_owned(), client);
        }
        Ok(self.sessions.get_mut(name).unwrap())
    }

    async fn step(&mut self, step: &Value) -> Result<Outcome, Outcome> {
        let on = step["on"].as_str().unwrap();
        let sql = step["sql"].as_str().unwrap_or_default();
        let counts = step["counts"].as_bool().unwrap();
        let act = step["do"].as_str().unwrap();
        if act == "connect" {
            let mut client = C::connect(&self.target.with(step)).await?;
            return Ok(client.batch(sql, counts).await);
        }
        if act == "finish" {
            let (client, outcome) = self.running.remove(on).unwrap().await.unwrap();
            self.sessions.insert(on.to_owned(), client);
            return Ok(outcome);
        }
        let client = self.session(on).await?;
        Ok(match act {
            "sql" => client.batch(sql, counts).await,
            "parameters" => {
                client
                    .with_parameters(sql, &parameters(&step["parameters"])[0], counts)
                    .await
            }
            "prepare" => {
                client
                    .prepared(sql, &parameters(&step["parameters"]), counts)
                    .await
            }
            "begin" => client.begin(step["isolation"].as_str()).await,
            "commit" => client.end(true).await,
            "rollback" => client.end(false).await,
            "bulk" => {
                let (columns, rows) = text::rows(step);
                client.bulk(step["table"].as_str().unwrap(), &columns, rows).await
            }
            "table" => {
                let (_, rows) = text::rows(step);
                let ty = step["table"].as_str().unwrap();
                client.table(sql, ty, text::columns(step), rows).await
            }
            "cancel" => match client.cancel(sql).await {
                Outcome { error: None, .. } => client.batch("SELECT 'alive'", false).await,
                failed => failed,
            },
            "start" => {
                let mut client = self.sessions.remove(on).unwrap();
                let sql = sql.to_owned();
                let task = async move {
                    let outcome = client.batch(&sql, counts).await;
                    (client, outcome)
                };
                self.running.insert(on.to_owned(), tokio::spawn(task));
                Outcome::default()
            }
            other => panic!("no client in Rust can {other}"),
        })
    }
}

async fn run<C: Client>(job: &Value) {
    let target = Target::of(job);
    for case in job["cases"].as_array().unwrap() {
        let mut sessions = Case::<C> {
            target: &target,
            sessions: HashMap::new(),
            running: HashMap::new(),
        };
        let mut outcomes = Vec::new();
        for step in case["steps"].as_array().unwrap() {
            let (Ok(outcome) | Err(outcome)) = sessions.step(step).await;
            outcomes.push(outcome.json());
        }
        println!("{}", json!({ "case": case["case"], "steps": outcomes }));
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let job = serde_json::from_str(&std::fs::read_to_string(&arguments[2]).unwrap()).unwrap();
    match arguments[1].as_str() {
        "tiberius" => run::<tiberius_client::Tiberius>(&job).await,
        "mssql-tds" => run::<mssql::MssqlTds>(&job).await,
        other => panic!("no client is named {other}"),
    }
}
