//! What a contestant of ours does when it runs as a process of its own: `xtask bench worker …`. It prints one line of JSON.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use futures::{TryStreamExt, stream};
use sqlserver_client::{ConnectOptions, Connection, Encrypt, Secret};

use super::drain::{Login, drain};
use super::process;
use super::tables::{Sums, Table, sums};

/// Rows of a batch.
const BATCH_ROWS: u64 = 16_384;
/// Rows that are made, then loaded.
const PART_ROWS: u64 = 500_000;

/// What to do, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    work: Work,
    #[arg(long)]
    host: String,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    user: String,
    #[arg(long)]
    password: String,
    #[arg(long)]
    database: String,
    #[arg(long)]
    server_certificate: Option<PathBuf>,
    #[arg(long)]
    table: Table,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Work {
    /// Throws the bytes of the table away.
    Drain,
    /// Reads the table into Arrow batches and throws those away.
    Decode,
    /// Loads the table's rows in bulk.
    Load {
        #[arg(long)]
        rows: u64,
    },
}

impl Options {
    fn connect(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new(
            &self.host,
            self.port,
            &self.database,
            &self.user,
            Secret::new(&self.password),
        );
        options.encrypt = Encrypt::Optional;
        options.trust_server_certificate = self.server_certificate.is_none();
        options.server_certificate.clone_from(&self.server_certificate);
        options
    }
}

/// What the work came to; making the rows that are loaded is not counted.
#[derive(Debug, Default, serde::Serialize)]
struct Outcome {
    seconds: f64,
    cpu_seconds: f64,
    bytes: u64,
    sums: Sums,
}

/// Does the work and prints what it came to.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = match options.work {
        Work::Drain => drained(options)?,
        Work::Decode => runtime.block_on(decode(options))?,
        Work::Load { rows } => runtime.block_on(load(options, rows))?,
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// Seconds and CPU seconds from its making on.
struct Watch(Instant, f64);

impl Watch {
    fn start() -> Result<Self> {
        Ok(Self(Instant::now(), process::cpu_seconds(std::process::id())?))
    }

    fn stop(self, outcome: &mut Outcome) -> Result<()> {
        outcome.seconds += self.0.elapsed().as_secs_f64();
        outcome.cpu_seconds += process::cpu_seconds(std::process::id())? - self.1;
        Ok(())
    }
}

fn drained(options: &Options) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let watch = Watch::start()?;
    let login = Login {
        host: &options.host,
        port: options.port,
        user: &options.user,
        password: &options.password,
        database: &options.database,
    };
    let drained = drain(login, &options.table.select())?;
    watch.stop(&mut outcome)?;
    outcome.bytes = drained.bytes;
    outcome.sums.rows = drained.rows;
    Ok(outcome)
}

async fn decode(options: &Options) -> Result<Outcome> {
    let (table, mut outcome) = (options.table, Outcome::default());
    let watch = Watch::start()?;
    let connection = Connection::open(&options.connect()).await?;
    let mut rows = connection.select_arrow(table.select(), vec![], table.schema(), BATCH_ROWS as usize);
    while let Some(batch) = rows.try_next().await? {
        outcome.sums += sums(table, &batch)?;
    }
    watch.stop(&mut outcome)?;
    Ok(outcome)
}

async fn load(options: &Options, rows: u64) -> Result<Outcome> {
    let (table, mut outcome) = (options.table, Outcome::default());
    let mut connection = Connection::open(&options.connect()).await?;
    for part in (0..rows).step_by(PART_ROWS as usize) {
        let end = rows.min(part + PART_ROWS);
        let mut batches = Vec::new();
        for from in (part..end).step_by(BATCH_ROWS as usize) {
            let (batch, sums) = table.batch(from, end.min(from + BATCH_ROWS))?;
            outcome.sums += sums;
            batches.push(Ok(batch));
        }
        let watch = Watch::start()?;
        connection
            .bulk_load(&table.quoted(), &table.bulk_columns(), stream::iter(batches))
            .await?;
        watch.stop(&mut outcome)?;
    }
    Ok(outcome)
}
