//! Who is measured, and how what each has moved is checked.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::arena::{Arena, Outcome, SOURCE, TARGET};
use super::native_files::NativeFiles;
use super::tables::Sums;

/// Somebody who moves the table.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) does: &'static str,
    /// Not ours: takes part with `--peers`.
    pub(crate) is_peer: bool,
    /// Says more of the server than of itself.
    pub(crate) is_of_the_server: bool,
    run: fn(&Arena<'_>) -> Result<Outcome>,
}

/// Everybody, the raw drain first: the others are compared with it.
pub(crate) const ALL: &[Contestant] = &[
    of_the_server(ours("drain", "a socket throws the bytes away", drain)),
    ours(
        "decode",
        "sqlserver-client reads into Arrow and throws it away",
        decode,
    ),
    ours(
        "to-iceberg",
        "sync-cli: SQL Server to committed Iceberg",
        to_iceberg,
    ),
    ours(
        "bulk",
        "sqlserver-client loads Arrow batches that are ready",
        bulk,
    ),
    ours(
        "to-server",
        "sync-cli: Iceberg to a new table in SQL Server",
        to_server,
    ),
    peer(
        "mssql-python",
        "cursor.arrow(), then PyIceberg's append",
        |arena| into_iceberg(arena, "mssql-python"),
    ),
    peer(
        "connectorx",
        "read_sql to Arrow, then PyIceberg's append",
        |arena| into_iceberg(arena, "connectorx"),
    ),
    peer(
        "dlt",
        "connectorx to Arrow, then dlt's Iceberg destination",
        |arena| into_iceberg(arena, "dlt"),
    ),
    peer("sling", "to Parquet files, nothing committed", |arena| {
        into_files(arena, "sling", "parquet")
    }),
    peer("freebcp-out", "to a text file", freebcp_out),
    of_the_server(peer(
        "freebcp-in",
        "from a text file into a new table",
        freebcp_in,
    )),
    of_the_server(peer(
        "freebcp-in-twice",
        "two at once from native files, half the rows each",
        freebcp_in_twice,
    )),
];

const fn ours(name: &'static str, does: &'static str, run: fn(&Arena<'_>) -> Result<Outcome>) -> Contestant {
    Contestant {
        name,
        does,
        is_peer: false,
        is_of_the_server: false,
        run,
    }
}

const fn peer(name: &'static str, does: &'static str, run: fn(&Arena<'_>) -> Result<Outcome>) -> Contestant {
    Contestant {
        is_peer: true,
        ..ours(name, does, run)
    }
}

const fn of_the_server(contestant: Contestant) -> Contestant {
    Contestant {
        is_of_the_server: true,
        ..contestant
    }
}

impl Contestant {
    /// Moves the table once, and checks what arrived.
    pub(crate) fn run(&self, arena: &Arena<'_>) -> Result<Outcome> {
        let outcome = (self.run)(arena)?;
        ensure!(
            outcome.sums == arena.expected,
            "{} moved {:?}, not {:?}",
            self.name,
            outcome.sums,
            arena.expected
        );
        Ok(outcome)
    }
}

fn drain(arena: &Arena<'_>) -> Result<Outcome> {
    let outcome = arena.worker(SOURCE, &["drain"])?;
    ensure!(
        outcome.sums.rows == arena.expected.rows,
        "the server counted {} rows",
        outcome.sums.rows
    );
    // Nobody has looked at the values.
    Ok(Outcome {
        sums: arena.expected,
        ..outcome
    })
}

fn decode(arena: &Arena<'_>) -> Result<Outcome> {
    arena.worker(SOURCE, &["decode"])
}

fn to_iceberg(arena: &Arena<'_>) -> Result<Outcome> {
    for name in ["warehouse", "state"] {
        arena.empty(name)?;
    }
    let outcome = arena.sync("to-iceberg.yaml", &[arena.end("source", SOURCE)])?;
    let table = arena.warehouse().join("dbo").join(arena.table.name());
    Ok(Outcome {
        sums: arena.sums_of("iceberg", &table)?,
        ..outcome
    })
}

fn to_server(arena: &Arena<'_>) -> Result<Outcome> {
    if !arena.warehouse().join("dbo").exists() {
        to_iceberg(arena)?;
    }
    arena.empty("state")?;
    let forget = "IF OBJECT_ID(N'_sync.applied') IS NOT NULL DELETE FROM _sync.applied;";
    arena.server.execute(TARGET, forget)?;
    drop_target(arena)?;
    let outcome = arena.sync("to-server.yaml", &[arena.end("target", TARGET)])?;
    arrived(arena, outcome)
}

fn bulk(arena: &Arena<'_>) -> Result<Outcome> {
    drop_target(arena)?;
    arena.server.execute(TARGET, &arena.table.ddl())?;
    let rows = arena.expected.rows.to_string();
    let outcome = arena.worker(TARGET, &["load", "--rows", &rows])?;
    arrived(arena, outcome)
}

fn drop_target(arena: &Arena<'_>) -> Result<()> {
    let drop = format!("DROP TABLE IF EXISTS {}", arena.table.quoted());
    arena.server.execute(TARGET, &drop)
}

/// Counts what is in the target, and frees its memory.
fn arrived(arena: &Arena<'_>, outcome: Outcome) -> Result<Outcome> {
    let sums = arena.sums_on_server(TARGET)?;
    drop_target(arena)?;
    Ok(Outcome { sums, ..outcome })
}

fn into_iceberg(arena: &Arena<'_>, name: &str) -> Result<Outcome> {
    into_files(arena, name, "iceberg")
}

fn into_files(arena: &Arena<'_>, name: &str, kind: &str) -> Result<Outcome> {
    let out = arena.empty(name)?;
    let outcome = arena.peer(name, &out)?;
    let sums = arena.sums_of(kind, &out)?;
    arena.empty(name)?;
    Ok(Outcome { sums, ..outcome })
}

/// What each call of `freebcp` begins with: the table in a database, and what it takes to reach it, in large packets.
fn freebcp_arguments(arena: &Arena<'_>, database: &str) -> Vec<String> {
    let server = arena.server;
    let table = format!("{database}.dbo.{}", arena.table.name());
    let address = format!("{}:{}", server.host, server.port);
    let login = ["-S", &address, "-U", server.user, "-P", server.password];
    let arguments = std::iter::once(table.as_str()).chain(login);
    arguments.chain(["-A", "32767"]).map(str::to_owned).collect()
}

/// By text files: fields end with a byte that no text holds.
fn freebcp(arena: &Arena<'_>, database: &str, direction: &str, file: &Path) -> Result<Outcome> {
    let mut arguments = freebcp_arguments(arena, database).into_iter();
    let mut command = Command::new("freebcp");
    command.args(arguments.next()).arg(direction).arg(file);
    run_freebcp(arena, command.args(arguments).args(["-c", "-t", "\u{1}"]))
}

fn run_freebcp(arena: &Arena<'_>, command: &mut Command) -> Result<Outcome> {
    let (outcome, said) = arena
        .measured(command)
        .context("freebcp comes with the package freetds-bin")?;
    ensure!(!said.contains("Msg"), "freebcp said {said:?}");
    Ok(outcome)
}

fn freebcp_out(arena: &Arena<'_>) -> Result<Outcome> {
    let file = arena.directory.join("freebcp.txt");
    let outcome = freebcp(arena, SOURCE, "out", &file)?;
    let places = arena.table.summed_places().map(|place| place.to_string());
    let text = format!("text:{}", places.join(","));
    let sums = arena.sums_of(&text, &file)?;
    Ok(Outcome { sums, ..outcome })
}

fn freebcp_in(arena: &Arena<'_>) -> Result<Outcome> {
    let file = arena.directory.join("freebcp.txt");
    if !file.exists() {
        freebcp(arena, SOURCE, "out", &file)?;
    }
    into_new_table(arena, || freebcp(arena, TARGET, "in", &file))
}

/// A file for each process.
fn freebcp_in_twice(arena: &Arena<'_>) -> Result<Outcome> {
    let files = NativeFiles::write(arena.table, arena.expected.rows, 2, &arena.directory)?;
    let both = r#"format=$1 first=$2 second=$3 table=$4; shift 4
        freebcp "$table" in "$first" -f "$format" "$@" & other=$!
        freebcp "$table" in "$second" -f "$format" "$@"; ended=$?
        wait $other && exit $ended"#;
    let mut command = Command::new("sh");
    command.args(["-c", both, "sh"]).arg(&files.format);
    command.args(&files.data).args(freebcp_arguments(arena, TARGET));
    into_new_table(arena, || run_freebcp(arena, &mut command))
}

/// Makes the table anew and checks what comes into it.
fn into_new_table(arena: &Arena<'_>, load: impl FnOnce() -> Result<Outcome>) -> Result<Outcome> {
    drop_target(arena)?;
    arena.server.execute(TARGET, &arena.table.ddl())?;
    let outcome = load()?;
    let arrived = arrived(arena, outcome)?;
    // FreeTDS leaves out what LEN does not count: the blanks at a text's end.
    let [_, _, text] = arena.table.summed();
    let lengths = format!(
        "SELECT SUM(CAST(LEN({text}) AS bigint)) FROM {}",
        arena.table.quoted()
    );
    ensure!(
        arena.server.query(SOURCE, &lengths)? == [arrived.sums.text],
        "freebcp altered {text}"
    );
    Ok(Outcome {
        sums: Sums {
            text: arena.expected.text,
            ..arrived.sums
        },
        ..arrived
    })
}
