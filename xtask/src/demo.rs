//! The main job, step by step: SQL Server → Iceberg → SQL Server, with the proof after each step.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cargo::{Profile, Programs, root};
use crate::server::Server;
use crate::sync::SyncCli;

/// How the demo runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave the server up at the end, until Enter is pressed.
    #[arg(long)]
    keep: bool,
    /// Use the real SQL Server image by `docker compose` instead of the emulator.
    #[arg(long)]
    docker: bool,
}

/// What verification has to say after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Match,
    /// One row of `dbo.Orders` is left in Iceberg and the target that the source no longer has.
    ExtraOrder(u32),
}

struct Step {
    title: &'static str,
    script: Option<&'static str>,
    expect: Expect,
}

const DATABASES: [&str; 2] = ["shop", "mirror"];

const STEPS: [Step; 5] = [
    Step {
        title: "The first run copies every table",
        script: None,
        expect: Expect::Match,
    },
    Step {
        title: "100 new orders",
        script: Some("add.sql"),
        expect: Expect::Match,
    },
    Step {
        title: "10 orders change",
        script: Some("update.sql"),
        expect: Expect::Match,
    },
    Step {
        title: "Nothing changes: no snapshot, no file, no row is touched",
        script: None,
        expect: Expect::Match,
    },
    Step {
        title: "A delete, which a timestamp cannot show: verify names it",
        script: Some("delete.sql"),
        expect: Expect::ExtraOrder(500),
    },
];

/// Runs the demo; ends with an error if any step does not show what it should.
pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = root().join("target/demo");
    if directory.exists() {
        std::fs::remove_dir_all(&directory).context("the last demo's directory cannot be removed")?;
    }
    std::fs::create_dir_all(&directory)?;
    let programs = Programs::build(Profile::Dev)?;
    let server = if options.docker {
        Server::compose(&DATABASES)?
    } else {
        Server::emulator(&programs, &DATABASES, &directory, None)?
    };
    server.execute("shop", &script("source.sql")?)?;
    let sync = SyncCli::new(&programs, "demo/sync.yaml", &server, &directory)?;

    sync.must(&["check"])?;
    for (number, step) in STEPS.iter().enumerate() {
        println!("━━ {}. {}\n", number + 1, step.title);
        if let Some(name) = step.script {
            server.execute("shop", &script(name)?)?;
        }
        sync.must(&["run"])?;
        prove(&sync, step.expect)?;
    }
    println!("━━ What there is now\n");
    sync.must(&["inspect", "dbo.Orders", "--rows", "3"])?;
    sync.must(&["snapshots", "dbo.Orders"])?;
    sync.must(&["status"])?;
    farewell(&programs, &sync, &directory, options.keep)
}

fn script(name: &str) -> Result<String> {
    std::fs::read_to_string(root().join("demo/sql").join(name))
        .with_context(|| format!("demo/sql/{name} cannot be read"))
}

fn prove(sync: &SyncCli, expect: Expect) -> Result<()> {
    let code = sync.show(&["verify"])?;
    match expect {
        Expect::Match => ensure!(code == 0, "verify ended with {code}, but every row should match"),
        Expect::ExtraOrder(id) => {
            ensure!(
                code == 3,
                "verify ended with {code}, but it should find the deleted order"
            );
            let (_, report) = sync.json(&["verify", "--table", "dbo.Orders"])?;
            let named = report
                .to_string()
                .matches(&format!("extra {{\\\"OrderId\\\":{id}}}"))
                .count();
            ensure!(
                named == 2,
                "verify should name order {id} once in Iceberg and once in the target: {report}"
            );
        }
    }
    Ok(())
}

fn farewell(programs: &Programs, sync: &SyncCli, directory: &Path, keep: bool) -> Result<()> {
    let orders: PathBuf = directory.join("warehouse/dbo/Orders");
    let version = std::fs::read_to_string(orders.join("metadata/version-hint.text"))
        .context("the demo's table has no version hint")?;
    let metadata = orders.join(format!("metadata/v{}.metadata.json", version.trim()));
    let cli = programs.path("sync-cli");
    println!("Look at the result yourself:\n\n{}", sync.exports());
    println!(
        "{} --config {} snapshots dbo.Orders",
        cli.display(),
        sync.config().display()
    );
    println!(
        "{} --config {} inspect dbo.Orders",
        cli.display(),
        sync.config().display()
    );
    println!(
        "duckdb -c \"INSTALL iceberg; LOAD iceberg; SELECT Status, count(*) FROM iceberg_scan('{}') GROUP BY ALL\"",
        metadata.display()
    );
    println!(
        "python -c \"from pyiceberg.table import StaticTable; print(StaticTable.from_metadata('{}').scan().to_arrow())\"",
        metadata.display()
    );
    if keep {
        println!("\nThe server is up; commands that read it work now. Press Enter to stop it.");
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}
