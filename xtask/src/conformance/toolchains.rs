//! How each client is installed from its registry, and how its runner is called.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{build_conformance_client, root, succeed};
use crate::python::Python;

/// A runner that is ready to be called.
#[derive(Debug)]
pub(crate) struct Runner {
    program: PathBuf,
    arguments: Vec<PathBuf>,
}

impl Runner {
    fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
        }
    }

    fn with(mut self, argument: impl Into<PathBuf>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A call of it for a client; the task's file is to follow.
    pub(crate) fn command(&self, client: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(client);
        command
    }
}

/// Where clients are installed and runs leave their files.
pub(crate) fn directory() -> PathBuf {
    root().join("target/conformance")
}

fn sources() -> PathBuf {
    root().join("tests/conformance/clients")
}

/// Installs a client and builds its runner; quick when that is done already.
pub(crate) fn prepare(client: &str) -> Result<Runner> {
    std::fs::create_dir_all(directory())?;
    match client {
        "tiberius" | "mssql-tds" => rust(),
        "pymssql" | "python-tds" | "mssql-python" => python(),
        "freetds" => freetds(),
        "mssql-jdbc" => java(),
        "go-mssqldb" => go(),
        "tedious" => node(),
        _ => bail!("nobody knows how to install it"),
    }
}

fn rust() -> Result<Runner> {
    build_conformance_client().map(Runner::new)
}

fn python() -> Result<Runner> {
    let python = Python::prepare(
        "conformance/python",
        &["tests/conformance/clients/requirements.txt"],
    )?;
    Ok(Runner::new(python.program()).with(sources().join("python_clients.py")))
}

/// `tsql` and `freebcp`, from Debian's packages.
fn freetds() -> Result<Runner> {
    for program in ["tsql", "freebcp"] {
        let found = Command::new(program).arg("-V").stdin(Stdio::null()).output();
        if found.is_err() {
            succeed(Command::new("apt-get").args(["update", "--quiet"])).context("freetds-bin is needed")?;
            succeed(Command::new("apt-get").args(["install", "--yes", "--quiet", "freetds-bin"]))
                .context("freetds-bin is needed")?;
        }
    }
    Ok(Runner::new("python3").with(sources().join("freetds_client.py")))
}

fn java() -> Result<Runner> {
    let jars = directory().join("jdbc");
    succeed(
        Command::new("mvn")
            .args(["--quiet", "--batch-mode", "--file"])
            .arg(sources().join("java/pom.xml"))
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", jars.display())),
    )
    .context("a JDK 17 or later and Maven are needed")?;
    let path = jars.join("*");
    succeed(
        Command::new("javac")
            .arg("-classpath")
            .arg(&path)
            .arg("-d")
            .arg(&jars)
            .arg(sources().join("java/JdbcClient.java")),
    )?;
    let path = std::env::join_paths([jars, path])?;
    Ok(Runner::new("java")
        .with("-classpath")
        .with(PathBuf::from(path))
        .with("JdbcClient"))
}

fn go() -> Result<Runner> {
    let program = directory().join("go-client");
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(&program).arg(".");
    run_in(&sources().join("go"), &mut command).context("Go 1.25 or later is needed")?;
    Ok(Runner::new(program))
}

fn node() -> Result<Runner> {
    let modules = directory().join("node");
    std::fs::create_dir_all(&modules)?;
    for file in ["package.json", "package-lock.json", "tedious_client.js"] {
        std::fs::copy(sources().join("node").join(file), modules.join(file))
            .with_context(|| format!("{file} cannot be copied"))?;
    }
    run_in(
        &modules,
        Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]),
    )
    .context("Node.js 20 or later with npm is needed")?;
    Ok(Runner::new("node").with(modules.join("tedious_client.js")))
}

fn run_in(directory: &Path, command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .current_dir(directory)
        .status()
        .with_context(|| format!("{shown} did not start"))?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}
