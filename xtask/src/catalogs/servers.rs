//! Servers as processes, on loopback and on free ports.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::quietly;
use crate::cargo::root;
use crate::python::Python;

/// A server that is stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    /// How clients reach it.
    pub(crate) url: String,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing of it is kept, so there is nothing to shut down in order, and nobody to tell of a failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a server, with its output in a file, and waits until it takes connections.
    fn start(command: &mut Command, name: &str, directory: &Path, port: u16, url: String) -> Result<Self> {
        const ATTEMPTS: u32 = 600;
        let log = directory.join(format!("{name}.log"));
        let output = std::fs::File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .with_context(|| format!("{command:?} did not start"))?;
        let mut process = Self { url, child };
        for _ in 0..ATTEMPTS {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(process);
            }
            if let Some(status) = process.child.try_wait()? {
                bail!(
                    "{command:?} ended with {status}:\n{}",
                    std::fs::read_to_string(&log)?
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!(
            "{command:?} takes no connections:\n{}",
            std::fs::read_to_string(&log)?
        )
    }
}

/// PostgreSQL with an empty database.
pub(super) fn postgres(directory: &Path) -> Result<Process> {
    let programs = postgres_programs()?;
    let home = directory.join("postgres");
    std::fs::create_dir(&home)?;
    // It refuses to run as root; its packages make an account for it.
    let is_root = belongs_to_root(&home)?;
    if is_root {
        quietly(Command::new("chown").arg("postgres").arg(&home))?;
    }
    let program = |name: &str| {
        let path = programs.join(name);
        if !is_root {
            return Command::new(path);
        }
        // `setpriv` becomes the program, so that stopping it stops the server.
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
            .arg(path);
        command
    };
    let data = home.join("data");
    quietly(
        program("initdb")
            .current_dir(&home)
            .args(["--auth=trust", "--username=suite", "--encoding=UTF8", "--pgdata"])
            .arg(&data),
    )?;
    let port = free_port()?;
    let mut command = program("postgres");
    command
        .current_dir(&home)
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-k"])
        .arg(&home);
    let url = format!("postgres://suite@127.0.0.1:{port}/postgres?sslmode=disable");
    Process::start(&mut command, "postgres", directory, port, url)
}

/// The Iceberg project's REST service, with local files.
pub(crate) fn rest(directory: &Path) -> Result<Process> {
    let jars = root().join("target/catalogs/rest");
    quietly(
        Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file", "tests/catalogs/rest/pom.xml"])
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", jars.display())),
    )
    .context("the REST service needs a JDK 17 or later and Maven")?;
    let port = free_port()?;
    let name = format!("rest-{port}");
    let home = directory.join(&name);
    std::fs::create_dir(&home)?;
    let mut command = Command::new("java");
    command
        .args(["-Xmx512m", "-cp"])
        .arg(jars.join("*"))
        .arg("org.apache.iceberg.rest.RESTCatalogServer")
        .env("CATALOG_WAREHOUSE", format!("file://{}", home.display()))
        .env(
            "CATALOG_URI",
            format!("jdbc:sqlite:file:{}/catalog.db", home.display()),
        )
        .env("CATALOG_REST_PORT", port.to_string());
    let url = format!("http://127.0.0.1:{port}");
    Process::start(&mut command, &name, directory, port, url)
}

/// S3 Tables, mocked in front of a REST service.
pub(super) fn s3_tables(directory: &Path, python: &Python, service: &Process) -> Result<Process> {
    let port = free_port()?;
    let mut command = python.script("tests/catalogs/s3_tables.py");
    command.args([&port.to_string(), &service.url]);
    let url = format!("http://127.0.0.1:{port}");
    Process::start(&mut command, "s3-tables", directory, port, url)
}

/// An S3 service with the bucket `suite`.
pub(super) fn s3(directory: &Path) -> Result<Process> {
    const SOURCE: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
    let programs = root().join("target/catalogs/bin");
    let program = programs.join("versitygw");
    if !program.exists() {
        quietly(
            Command::new("go")
                .args(["install", SOURCE])
                .env("GOBIN", &programs),
        )
        .context("the S3 service is built by Go 1.24 or later")?;
    }
    let home = directory.join("s3");
    std::fs::create_dir_all(home.join("suite"))?;
    let port = free_port()?;
    let mut command = Command::new(program);
    command
        .args(["--port", &format!("127.0.0.1:{port}"), "posix"])
        .arg(&home)
        .envs([("ROOT_ACCESS_KEY", "suite"), ("ROOT_SECRET_KEY", "suite-secret")]);
    let url = format!("http://127.0.0.1:{port}");
    Process::start(&mut command, "s3", directory, port, url)
}

/// Azurite, which Microsoft has made to test against, with the container `suite`.
pub(super) fn azure(directory: &Path, python: &Python) -> Result<Process> {
    const PACKAGE: &str = "azurite@3.37.0";
    let modules = root().join("target/catalogs/azurite");
    let program = modules.join("node_modules/.bin/azurite-blob");
    if !program.exists() {
        std::fs::create_dir_all(&modules)?;
        quietly(
            Command::new("npm")
                .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
                .arg(&modules)
                .arg(PACKAGE),
        )
        .context("Azurite needs Node.js 20 or later with npm")?;
    }
    let port = free_port()?;
    let mut command = Command::new(program);
    command
        .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
        .args([
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--location",
        ])
        .arg(directory.join("azure"));
    let url = format!("http://127.0.0.1:{port}");
    let server = Process::start(&mut command, "azure", directory, port, url)?;
    let mut create = python.script("tests/catalogs/azure_container.py");
    create.args([&format!("{}/devstoreaccount1", server.url), "suite"]);
    quietly(&mut create)?;
    Ok(server)
}

/// Where `initdb` and `postgres` are: Debian keeps them out of the search path.
fn postgres_programs() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let versions = debian.map(|version| version.path().join("bin"));
    std::env::split_paths(&path)
        .chain(versions)
        .find(|directory| directory.join("initdb").exists())
        .context("PostgreSQL is not here: `apt install postgresql` has it")
}

fn belongs_to_root(home: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(home)?.uid() == 0)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
