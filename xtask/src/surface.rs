//! Every statement that the production crates send to SQL Server, for those who check it on a real one: `docs/tsql-surface.md`.
//!
//! The live tests of the source and the import crate and the end-to-end tests run against emulators that record their sessions. What differs in names,
//! types and numbers only is one statement. The list has an example of each, and Microsoft's own parser has to take all of them.

pub(crate) mod packets;
mod template;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::{root, succeed, test_recorded};
use crate::python::Python;
use template::template;
use version::Version;

/// What to do with the list.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Writes the list anew; without this a difference is a failure.
    #[arg(long)]
    update: bool,
}

/// How the names of sessions begin that are production's: the source's pool adds a mark to its name. The tests' own have others.
const PROGRAMS: [&str; 3] = ["source-", "sync-cli-", "sync-cli."];

const HEAD: &str = "\
# The T-SQL that is sent

Every statement that this project's crates and the driver below them send to SQL Server, as live and end-to-end tests recorded them.
Statements that differ only in names, types, numbers and the length of lists are one. `cargo xtask surface` records them, compares them
with this page, and has Microsoft's parser ScriptDom read each by the grammars of SQL Server 2016, 2017 and 2019; `--update` writes the page.
A grammar takes any name for a type's and does not know whether a version has a function or a view. So all of them accept even what only a later
server takes; that has a section of its own, by the types that it names. Functions and views, someone with a real server checks here first.
Parameters are `@P1`, `@P2`, …, sent as values. Transactions begin and end by requests of TDS and are not listed.

";

/// Records, compares, parses.
pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = root().join("target/surface");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    test_recorded(&directory)?;
    let recorded = recorded(&directory)?;
    ensure!(!recorded.is_empty(), "no session was recorded");

    let page = root().join("docs/tsql-surface.md");
    let listed = listed(&page)?;
    if options.update {
        // An example stays as long as its statement is sent, so that the page changes only where the crates do.
        let kept = recorded.iter().map(|(key, sql)| listed.get(key).unwrap_or(sql));
        std::fs::write(&page, rendered(kept))?;
    } else {
        compare(&recorded, &listed)?;
    }
    parse(&listed_statements(&page)?)
}

/// By template, the shortest statement that was sent.
fn recorded(directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        PROGRAMS.iter().any(|program| name.starts_with(program))
    });
    files.sort();
    let mut statements: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        let bytes = std::fs::read(&file)?;
        let sent = packets::statements(&bytes).with_context(|| file.display().to_string())?;
        for sql in sent.iter().flat_map(|sql| case_by_case(sql)) {
            let known = statements.entry(template(&sql)).or_insert_with(|| sql.clone());
            if (sql.len(), &sql) < (known.len(), &*known) {
                *known = sql;
            }
        }
    }
    Ok(statements)
}

/// The types of variants that a statement makes come in the order and number in which the stage has them, so each is one of its own.
fn case_by_case(sql: &str) -> Vec<String> {
    let whole = || vec![sql.to_owned()];
    let Some((head, rest)) = sql.split_once(" WHEN ") else {
        return whole();
    };
    let Some((cases, end)) = rest
        .split_once(" END WHERE ")
        .filter(|_| sql.contains(" AS sql_variant) "))
    else {
        return whole();
    };
    let Some((column, _)) = end.split_once(" IN (").filter(|_| end.matches(';').count() == 1) else {
        return whole();
    };
    let one = |case: &str| {
        let (declared, _) = case.split_once(" THEN ")?;
        Some(format!("{head} WHEN {case} END WHERE {column} IN ({declared});"))
    };
    cases
        .split(" WHEN ")
        .map(one)
        .collect::<Option<_>>()
        .unwrap_or_else(whole)
}

fn listed(page: &Path) -> Result<BTreeMap<String, String>> {
    let statements = listed_statements(page)?;
    Ok(statements.into_iter().map(|sql| (template(&sql), sql)).collect())
}

/// The page's statements, each in a block of its own.
fn listed_statements(page: &Path) -> Result<Vec<String>> {
    if !page.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(page)?;
    let blocks = text.split("```sql\n").skip(1);
    Ok(blocks
        .filter_map(|block| block.split("\n```").next())
        .map(str::to_owned)
        .collect())
}

fn rendered<'a>(statements: impl Iterator<Item = &'a String>) -> String {
    let mut sorted: Vec<_> = statements.map(|sql| (Version::first(sql), sql)).collect();
    sorted.sort();
    let mut page = HEAD.to_owned();
    for (version, heading) in Version::HEADINGS {
        let _ = writeln!(page, "## {heading}\n");
        for (_, sql) in sorted.iter().filter(|(first, _)| *first == version) {
            let _ = writeln!(page, "```sql\n{sql}\n```\n");
        }
    }
    page
}

fn compare(recorded: &BTreeMap<String, String>, listed: &BTreeMap<String, String>) -> Result<()> {
    let (sent, known): (BTreeSet<_>, BTreeSet<_>) = (recorded.keys().collect(), listed.keys().collect());
    for key in sent.difference(&known) {
        println!("sent, but not listed: {}", recorded[*key]);
    }
    for key in known.difference(&sent) {
        println!("listed, but not sent: {}", listed[*key]);
    }
    ensure!(
        sent == known,
        "docs/tsql-surface.md is not what is sent; look at the differences, then run `cargo xtask surface --update`"
    );
    println!("{} statements, as docs/tsql-surface.md lists them", sent.len());
    Ok(())
}

fn parse(statements: &[String]) -> Result<()> {
    let python = Python::prepare("python-surface", &["tests/surface/requirements.txt"])?;
    let mut parser = Command::new(python.program());
    parser.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]);
    succeed(parser.arg("mssql-cli==1.0.0"))?;
    let mut script = python.script("tests/surface/parse.py");
    let mut process = script
        .stdin(Stdio::piped())
        .spawn()
        .context("the parser did not start")?;
    let mut input = process.stdin.take().context("the parser has no input")?;
    input.write_all(serde_json::to_string(statements)?.as_bytes())?;
    drop(input);
    ensure!(
        process.wait()?.success(),
        "Microsoft's parser refuses what is sent"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_of_variant_is_a_statement_of_its_own() {
        let of =
            |cases: &str, types: &str| format!("UPDATE #s SET c = CASE t{cases} END WHERE t IN ({types});");
        let int = " WHEN N'int' THEN CAST(CAST(x AS int) AS sql_variant)";
        let text = " WHEN N'varchar(2) COLLATE A' THEN CAST(CAST(x COLLATE A AS varchar(2)) AS sql_variant)";
        let both = of(&format!("{int}{text}"), "N'int', N'varchar(2) COLLATE A'");
        let single = [of(int, "N'int'"), of(text, "N'varchar(2) COLLATE A'")];
        assert_eq!(case_by_case(&both), single);
        for other in ["SELECT 1", "SELECT CASE a WHEN 1 THEN 2 END WHERE b IN (3);"] {
            assert_eq!(case_by_case(other), [other]);
        }
    }
}
