//! The catalog suite on real servers from the package registries, each started here and stopped at the end.

pub(crate) mod servers;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::cargo::root;
use crate::python::Python;
pub(crate) use servers::Process;

/// Which catalogs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// SQLite, with PyIceberg on the same file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// The Iceberg project's reference REST service.
    Rest,
    /// The filesystem catalog in a bucket.
    S3,
    /// The filesystem catalog in a container of Azurite.
    Azure,
    /// A mock of S3 Tables: the REST service behind signed requests.
    S3Tables,
}

const ALL: [Kind; 6] = [
    Kind::Sqlite,
    Kind::Postgres,
    Kind::Rest,
    Kind::S3,
    Kind::Azure,
    Kind::S3Tables,
];

/// Runs the suite; ends with an error if a catalog does not keep the contract, or cannot be run.
pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = tempdir()?;
    let python = Python::prepare("python", &["tests/requirements.txt"])?;
    let kinds = if options.only.is_empty() {
        &ALL[..]
    } else {
        &options.only
    };
    let mut failed = Vec::new();
    for kind in kinds {
        println!("━━ {kind:?}\n");
        if let Err(error) = kind.run(&python, &directory) {
            println!("{error:#}\n");
            failed.push(*kind);
        }
    }
    std::fs::remove_dir_all(&directory).context("the servers' directory cannot be removed")?;
    ensure!(
        failed.is_empty(),
        "catalogs that failed or could not be run: {failed:?}"
    );
    println!("catalogs: {kinds:?} keep the contract");
    Ok(())
}

impl Kind {
    fn run(self, python: &Python, directory: &Path) -> Result<()> {
        match self {
            Self::Sqlite => test("sqlite", python, None),
            Self::Postgres => {
                let server = servers::postgres(directory)?;
                test("postgres", python, Some(("CATALOG_POSTGRES", &server)))
            }
            Self::Rest => {
                let server = servers::rest(directory)?;
                test("rest::", python, Some(("CATALOG_REST", &server)))
            }
            Self::S3 => {
                let server = servers::s3(directory)?;
                test("s3::", python, Some(("CATALOG_S3", &server)))
            }
            Self::Azure => {
                let server = servers::azure(directory, python)?;
                test("azure::", python, Some(("CATALOG_AZURE", &server)))
            }
            Self::S3Tables => {
                let service = servers::rest(directory)?;
                let server = servers::s3_tables(directory, python, &service)?;
                test("s3_tables::", python, Some(("CATALOG_S3_TABLES", &server)))
            }
        }
    }
}

/// The tests of one catalog, and of maintenance of tables in it, with the server's URL in the environment.
fn test(filter: &str, python: &Python, server: Option<(&str, &Process)>) -> Result<()> {
    let mut command = crate::cargo::test_program(&["catalogs", "histories"]);
    command
        .args(["--", "--include-ignored", "--nocapture", filter])
        .env("READERS_PYTHON", python.program());
    if let Some((variable, server)) = server {
        command.env(variable, &server.url);
    }
    crate::cargo::succeed(&mut command)
}

/// Not below `target/`: the account that PostgreSQL runs under may not see that.
pub(crate) fn tempdir() -> Result<std::path::PathBuf> {
    let directory = std::env::temp_dir().join(format!("catalogs-{}", std::process::id()));
    std::fs::create_dir(&directory).context("cannot create a directory for the servers")?;
    Ok(directory)
}

/// Runs a command in the root, quietly unless it fails.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let output = command
        .current_dir(root())
        .output()
        .with_context(|| format!("{command:?} did not start"))?;
    let text = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&text)
    );
    Ok(())
}
