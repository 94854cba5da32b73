//! The SQL Server that a task works with: the emulator as a process, or Microsoft's image by `docker compose` or testcontainers.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow};
use sqlserver_client::{ConnectOptions, Connection, Secret};

use crate::cargo::{Programs, succeed};

const USER: &str = "sa";
const PASSWORD: &str = "Demo-Passw0rd!";
const COMPOSE_PORT: u16 = 14_333;

/// A server to connect to; stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its host.
    pub(crate) host: &'static str,
    /// Its port.
    pub(crate) port: u16,
    /// The administrator.
    pub(crate) user: &'static str,
    /// The administrator's password.
    pub(crate) password: &'static str,
    /// The certificate to check the server's with; without one any is accepted, on loopback.
    pub(crate) server_certificate: Option<PathBuf>,
    /// The authority that signed the emulator's certificate, for clients that want that.
    pub(crate) authority: Option<PathBuf>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Emulator(Child),
    Compose,
    #[cfg(feature = "docker")]
    Container {
        _server: Box<crate::container::SqlServer>,
    },
}

impl Server {
    /// Starts the emulator with these databases on a free port; with `throttle` it gives at most so many rows a second.
    pub(crate) fn emulator(
        programs: &Programs,
        databases: &[&str],
        directory: &Path,
        throttle: Option<u64>,
    ) -> Result<Self> {
        let program = Command::new(programs.path("sqlserver-emulator"));
        Self::emulator_by(program, databases, directory, throttle)
    }

    /// The same with another call of the emulator.
    pub(crate) fn emulator_by(
        mut command: Command,
        databases: &[&str],
        directory: &Path,
        throttle: Option<u64>,
    ) -> Result<Self> {
        let server_certificate = directory.join("server.pem");
        let authority = directory.join("authority.pem");
        command
            .args([
                "--listen",
                "127.0.0.1:0",
                "--user",
                USER,
                "--password",
                PASSWORD,
                "--certificate-file",
            ])
            .arg(&server_certificate)
            .arg("--ca-file")
            .arg(&authority);
        for database in databases {
            command.args(["--database", database]);
        }
        if let Some(rows) = throttle {
            command.args(["--rows-per-second", &rows.to_string()]);
        }
        let mut process = command
            .stdout(Stdio::piped())
            .spawn()
            .context("the emulator did not start")?;
        let stdout = process.stdout.take().context("the emulator has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("the emulator said {line:?}"))?;
        let port = ready["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .context("the emulator named no port")?;
        let kind = Kind::Emulator(process);
        Ok(Self {
            host: "localhost",
            port,
            user: USER,
            password: PASSWORD,
            server_certificate: Some(server_certificate),
            authority: Some(authority),
            kind,
        })
    }

    /// Starts Microsoft's image by `docker compose` and creates these databases.
    pub(crate) fn compose(databases: &[&str]) -> Result<Self> {
        succeed(&mut compose(&["up", "--detach", "--wait"])).context("the task needs Docker with compose")?;
        Self::of_image(COMPOSE_PORT, Kind::Compose, databases)
    }

    /// Starts Microsoft's image by testcontainers and creates these databases.
    #[cfg(feature = "docker")]
    pub(crate) fn container(databases: &[&str]) -> Result<Self> {
        let server = Box::new(crate::container::SqlServer::start(PASSWORD)?);
        Self::of_image(server.port, Kind::Container { _server: server }, databases)
    }

    /// Not here: the task runs itself again with the feature before it comes to this.
    #[cfg(not(feature = "docker"))]
    pub(crate) fn container(_databases: &[&str]) -> Result<Self> {
        Err(anyhow!("xtask was built without its feature `docker`"))
    }

    fn of_image(port: u16, kind: Kind, databases: &[&str]) -> Result<Self> {
        let server = Self {
            host: "localhost",
            port,
            user: USER,
            password: PASSWORD,
            server_certificate: None,
            authority: None,
            kind,
        };
        for database in databases {
            server.execute("master", &format!("CREATE DATABASE [{database}]"))?;
        }
        Ok(server)
    }

    /// How our Python scripts are told to connect to a database.
    pub(crate) fn arguments(&self, database: &str) -> Vec<String> {
        let port = self.port.to_string();
        [
            ["--host", self.host],
            ["--port", &port],
            ["--user", self.user],
            ["--password", self.password],
            ["--database", database],
        ]
        .as_flattened()
        .iter()
        .map(|argument| (*argument).to_owned())
        .collect()
    }

    /// Runs a script whose batches are separated by lines with `GO`.
    pub(crate) fn execute(&self, database: &str, script: &str) -> Result<()> {
        self.connected(database, async |connection| {
            for batch in script.split("\nGO\n").filter(|batch| !batch.trim().is_empty()) {
                connection
                    .execute(batch, &[])
                    .await
                    .map_err(|error| anyhow!(error).context(batch.to_owned()))?;
            }
            Ok(())
        })
    }

    /// The whole numbers in the one row of a query.
    pub(crate) fn query(&self, database: &str, sql: &str) -> Result<Vec<i64>> {
        self.connected(database, async |connection| {
            let rows = connection.query(sql, &[]).await?;
            let numbers = rows.one()?.values().iter();
            Ok(numbers.map(|value| value.as_i64().unwrap_or_default()).collect())
        })
    }

    /// The server's process, to measure it.
    pub(crate) fn process(&self) -> Result<u32> {
        match &self.kind {
            Kind::Emulator(process) => Ok(process.id()),
            _ => Err(anyhow!("a server in a container is not measured")),
        }
    }

    /// Does something over a connection of its own.
    pub(crate) fn connected<T>(
        &self,
        database: &str,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        let mut options = ConnectOptions::new(
            self.host,
            self.port,
            database,
            self.user,
            Secret::new(self.password),
        );
        options.server_certificate = self.server_certificate.clone();
        options.trust_server_certificate = self.server_certificate.is_none();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut connection = Connection::open(&options).await?;
            work(&mut connection).await
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of either is kept, so there is nothing to shut down in order, and nobody to tell of a failure.
        match &mut self.kind {
            Kind::Emulator(process) => {
                let _ = process.kill();
                let _ = process.wait();
            }
            Kind::Compose => {
                let _ = succeed(&mut compose(&["down", "--volumes"]));
            }
            #[cfg(feature = "docker")]
            Kind::Container { .. } => {}
        }
    }
}

fn compose(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command
        .args(["compose", "--file", "demo/compose.yaml"])
        .args(arguments);
    command.envs([
        ("DEMO_PASSWORD", PASSWORD.to_owned()),
        ("DEMO_PORT", COMPOSE_PORT.to_string()),
    ]);
    command
}
