//! What it costs to follow many tables in which nothing happens: requests, and CPU time on both sides.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::process::cpu_seconds;
use crate::cargo::{Profile, Programs};
use crate::server::Server;
use crate::sync::SyncCli;

const ROWS: usize = 1_000;

/// How often quiet tables are looked at, and for how long that is measured once they are all quiet.
const EVERY: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(60);

/// Quiet at last: so many looks in a row were at most a few requests each, or it never comes.
const SETTLED: u64 = 3;
const NEVER: Duration = Duration::from_secs(200);

/// How changes are told, by the name of a database: what switches it on there, and for a table.
const MODES: [(&str, &str, &str, &str); 2] = [
    (
        "change_tracking",
        "mode: change_tracking",
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON",
        "ALTER TABLE dbo.{t} ENABLE CHANGE_TRACKING",
    ),
    (
        "rowversion",
        "tracking: { column: rv }",
        "SELECT 1 AS nothing",
        "CREATE INDEX by_rv ON dbo.{t} (rv)",
    ),
];

/// Follows tables of a thousand rows until they are quiet, and measures from then on.
pub(crate) fn run(tables: usize) -> Result<()> {
    let programs = Programs::build(Profile::Release)?;
    for (mode, capture, of_database, of_table) in MODES {
        let directory = super::directory(&format!("quiet/{mode}"))?;
        let record = directory.join("record");
        std::fs::create_dir_all(&record)?;
        let mut emulator = Command::new(programs.path("sqlserver-emulator"));
        emulator.env("SQLSERVER_EMULATOR_RECORD", &record);
        let server = Server::emulator_by(emulator, &["shop"], &directory, None)?;
        server.execute("shop", of_database)?;
        for number in 0..tables {
            server.execute("shop", &table(number, of_table))?;
        }
        let sync = SyncCli::of(&programs, &configuration(capture), &server, &directory)?;
        let (code, report) = sync.json(&["run"])?;
        ensure!(code == 0, "the copy ended with {code}: {report}");
        let client = Stopped(
            sync.command(&["run", "--follow"])
                .stdout(Stdio::null())
                .spawn()
                .context("sync-cli did not start")?,
        );
        settle(&record)?;
        let cost = || -> Result<_> {
            let server = cpu_seconds(server.process()?)?;
            Ok((requests(&record)?, server, cpu_seconds(client.0.id())?))
        };
        let before = cost()?;
        std::thread::sleep(MEASURED);
        let after = cost()?;
        let looks = MEASURED.as_secs_f64() / EVERY.as_secs_f64();
        println!(
            "{mode}: {tables} tables looked at every {} s, {looks} times: {:.2} requests a look, {:.1} ms of server CPU, {:.1} ms of client CPU",
            EVERY.as_secs(),
            (after.0 - before.0) as f64 / looks,
            (after.1 - before.1) * 1_000.0 / looks,
            (after.2 - before.2) * 1_000.0 / looks,
        );
    }
    Ok(())
}

/// A table with rows, followed.
fn table(number: usize, switched_on: &str) -> String {
    let create = "CREATE TABLE dbo.{t} (id int NOT NULL PRIMARY KEY, v nvarchar(40) NULL, rv rowversion)\nGO\n\
        INSERT INTO dbo.{t} (id, v) SELECT n.n, N'row' FROM (VALUES ";
    let rows: Vec<_> = (0..ROWS).map(|row| format!("({row})")).collect();
    let sql = format!("{create}{}) AS n (n)\nGO\n{switched_on}", rows.join(", "));
    sql.replace("{t}", &format!("quiet_{number}"))
}

fn configuration(capture: &str) -> String {
    let seconds = EVERY.as_secs();
    format!(
        "sync: quiet
source:
  sqlserver:
    host: ${{DEMO_HOST}}
    port: ${{DEMO_PORT}}
    database: shop
    user: ${{DEMO_USER}}
    password: ${{DEMO_PASSWORD}}
    server_certificate: ${{DEMO_SERVER_CERTIFICATE}}
iceberg:
  filesystem:
    warehouse: ${{DEMO_DIRECTORY}}/warehouse
state:
  file: ${{DEMO_DIRECTORY}}/state
run:
  follow:
    interval: 1s
    max_interval: {seconds}s
    new_tables: 1h
tables:
  - table: dbo.quiet_*
    capture:
      {capture}
"
    )
}

/// Waits until looks at the tables are all that is sent.
fn settle(record: &Path) -> Result<()> {
    let (mut quiet, began) = (0, Instant::now());
    while quiet < SETTLED {
        ensure!(began.elapsed() < NEVER, "the tables do not fall quiet");
        let before = requests(record)?;
        std::thread::sleep(EVERY);
        let sent = requests(record)? - before;
        quiet = if (1..10).contains(&sent) { quiet + 1 } else { 0 };
    }
    Ok(())
}

/// How many messages have arrived: their last packets are marked.
fn requests(record: &Path) -> Result<u64> {
    let mut count = 0;
    for file in std::fs::read_dir(record)? {
        let packets = std::fs::read(file?.path())?;
        let mut at = 0;
        while let Some([_, status, high, low]) = packets.get(at..at + 4) {
            count += u64::from(status & 1);
            at += usize::from(u16::from_be_bytes([*high, *low]));
        }
    }
    Ok(count)
}

/// A process that ends with this.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // Nothing of it is kept, and there is nobody to tell of a failure.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
