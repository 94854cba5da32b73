//! `check`: probes everything that a run needs, one line each, with the hint under what failed. Changes nothing.

use std::path::Path;
use std::time::Instant;

use iceberg_reader::SnapshotChoice;
use model::{ChangeSource, Description, Error, Finding, Result, Severity, Tracking};
use serde::Serialize;
use sqlserver_client::{ConnectOptions, Connection, Permission};
use sqlserver_import::{missing_rights, needed_rights};
use sqlserver_source::SqlServerSource;

use super::Answer;
use super::plan::plans;
use super::run::spill;
use super::status::outlook;
use crate::arguments::Tables;
use crate::config::{Selected, written_secrets};
use crate::exit::Exit;
use crate::observed;
use crate::parts::{Direction, Parts};
use crate::report;

/// The engine edition of Azure SQL Database.
const AZURE_SQL_DATABASE: i64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Passed,
    Noted,
    Warned,
    Failed,
}

#[derive(Debug, Serialize)]
struct Probe {
    name: String,
    verdict: Verdict,
    milliseconds: u128,
    detail: String,
    hint: Option<String>,
}

/// Probes the configuration file, source, warehouse, state and target, then each table.
pub(crate) async fn run(parts: &Parts, file: &Path, tables: &Tables) -> Result<Answer> {
    let mut probes = Vec::new();
    timed(&mut probes, "configuration", async { secrets(file) }).await;
    let config = parts.config();
    let databases = [("source", &config.source), ("target", &config.target)];
    for (side, database) in databases
        .into_iter()
        .filter_map(|(side, database)| Some((side, database.as_ref()?)))
    {
        timed(&mut probes, side, server(side, &database.sqlserver)).await;
    }
    timed(&mut probes, "warehouse", async {
        parts
            .catalog()
            .check_writable()
            .await
            .map(|()| vec![passed("can be written")])
    })
    .await;
    timed(&mut probes, "state", async {
        parts
            .store()
            .list()
            .await
            .map(|syncs| vec![passed(format!("{} table syncs", syncs.len()))])
    })
    .await;
    if probes.iter().all(|probe| probe.verdict != Verdict::Failed) {
        let selected = parts.select(&tables.tables).await;
        match selected {
            Ok(selected) => for_tables(parts, &selected, &mut probes).await,
            Err(error) => probes.push(Probe::failed("tables", 0, &error)),
        }
    }
    timed(&mut probes, "spill", async {
        spill(parts).check().map(|()| vec![passed("can be written")])
    })
    .await;
    timed(&mut probes, "metrics", async { metrics(parts) }).await;
    answer(&probes)
}

/// The secrets that are written in the configuration file, and whether others may read them there.
fn secrets(file: &Path) -> Result<Vec<Found>> {
    let mut found: Vec<_> = written_secrets(file)?
        .into_iter()
        .map(|secret| Found {
            verdict: Verdict::Warned,
            detail: format!("`{}` is written in {}", secret.place, file.display()),
            hint: Some(format!("use `${{{}}}`", secret.variable)),
        })
        .collect();
    if !found.is_empty() && is_readable_by_others(file) {
        found.push(Found {
            verdict: Verdict::Warned,
            detail: format!("other users of this machine can read {}", file.display()),
            hint: Some(format!("chmod 600 {}", file.display())),
        });
    }
    Ok(found)
}

#[cfg(unix)]
fn is_readable_by_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    let read_by_group_or_others = |found: std::fs::Metadata| found.permissions().mode() & 0o044 != 0;
    file.metadata().is_ok_and(read_by_group_or_others)
}

#[cfg(not(unix))]
fn is_readable_by_others(_: &Path) -> bool {
    false
}

/// What an operator should know of the way in which metrics are told, if they are.
fn metrics(parts: &Parts) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let settings = &parts.config().observability;
    if let Some(written) = observed::check(parts) {
        written?;
        found.push(passed("their file can be written"));
    }
    if let Some(address) = settings.listen.filter(|_| settings.is_open_to_others()) {
        found.push(Found {
            verdict: Verdict::Warned,
            detail: format!("whoever can reach {address} can read the names and counts of tables: there is no login and no TLS"),
            hint: Some("listen on 127.0.0.1, or let only the Prometheus server through to the port".into()),
        });
    }
    Ok(found)
}

async fn for_tables(parts: &Parts, tables: &[Selected], probes: &mut Vec<Probe>) {
    match parts.source_database(tables) {
        Some(source) => for_captured(parts, &source, tables, probes).await,
        None => for_iceberg(parts, tables, probes).await,
    }
    if parts.has(Direction::Apply) {
        rights_of_target(parts, tables, probes).await;
    }
    if probes.iter().all(|probe| probe.verdict != Verdict::Failed) {
        refusals(parts, tables, probes).await;
    }
}

/// What a run would refuse although source and target can be used.
async fn refusals(parts: &Parts, tables: &[Selected], probes: &mut Vec<Probe>) {
    timed(probes, "plan", async {
        let plans = plans(parts, tables).await?;
        let refused = plans.into_iter().filter_map(|plan| {
            let refused = plan.refused?;
            Some(Found {
                verdict: Verdict::Failed,
                detail: format!("{} {} is refused: {refused}", plan.table, plan.direction),
                hint: None,
            })
        });
        let refused: Vec<_> = refused.collect();
        Ok(match refused.is_empty() {
            true => vec![passed(
                "nothing is refused; `sync-cli plan` shows what a run would do",
            )],
            false => refused,
        })
    })
    .await;
}

/// Tables that are only applied.
async fn for_iceberg(parts: &Parts, tables: &[Selected], probes: &mut Vec<Probe>) {
    let source = parts.iceberg_source(SnapshotChoice::Current);
    for table in tables.iter().filter(|table| table.entry.enabled) {
        let look = async { Ok(described(source.describe(&table.iceberg).await?)) };
        timed(probes, &table.name.to_string(), look).await;
    }
}

/// Tables of a source database.
async fn for_captured(parts: &Parts, source: &SqlServerSource, tables: &[Selected], probes: &mut Vec<Probe>) {
    let enabled = || tables.iter().filter(|table| table.entry.enabled);
    let names: Vec<_> = enabled().map(|table| table.name.clone()).collect();
    timed(probes, "source", async {
        let state = source.capture_state(&names).await?;
        Ok(state.map_or_else(Vec::new, |state| capture(state.findings)))
    })
    .await;
    let mut needed = Vec::new();
    for table in enabled() {
        let look = async {
            needed.extend(source.least_rights(&table.name).await?);
            let mut found = described(source.describe(&table.name).await?);
            // A warehouse that cannot be read has a line of its own.
            let outlook = outlook(parts, source, table).await.unwrap_or_default();
            let shared = source.probe_key(&table.name).await?;
            found.extend(shared.into_iter().chain(outlook).map(Found::from));
            Ok(found)
        };
        timed(probes, &table.name.to_string(), look).await;
    }
    if !needed.is_empty() {
        probes.push(Probe {
            name: "source".into(),
            verdict: Verdict::Noted,
            milliseconds: 0,
            detail: "the least that reading needs:".into(),
            hint: Some(Permission::grants(&needed)),
        });
    }
}

/// How a table is read, and what was found.
fn described(description: Description) -> Vec<Found> {
    let tracking = match &description.tracking {
        Tracking::Full { reason } => format!("read whole: {reason}"),
        Tracking::Incremental { how, reason, .. } => format!("{how}: {reason}"),
    };
    let findings = description.findings.into_iter().map(Found::from);
    [passed(tracking)].into_iter().chain(findings).collect()
}

/// What one look found.
struct Found {
    verdict: Verdict,
    detail: String,
    hint: Option<String>,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self {
            verdict: match finding.severity {
                Severity::Note => Verdict::Noted,
                Severity::Warning => Verdict::Warned,
                Severity::Error => Verdict::Failed,
            },
            detail: finding.message,
            hint: finding.remedy,
        }
    }
}

/// What was found of the capture that tables are followed by.
fn capture(findings: Vec<Finding>) -> Vec<Found> {
    let works = findings.iter().all(|finding| finding.severity == Severity::Note);
    let passed = works.then(|| passed("the capture runs, as far as can be seen"));
    passed
        .into_iter()
        .chain(findings.into_iter().map(Found::from))
        .collect()
}

fn passed(detail: impl Into<String>) -> Found {
    Found {
        verdict: Verdict::Passed,
        detail: detail.into(),
        hint: None,
    }
}

impl Probe {
    fn failed(name: &str, milliseconds: u128, error: &Error) -> Self {
        let hint = Some(error.advice().to_owned());
        Self {
            name: name.to_owned(),
            verdict: Verdict::Failed,
            milliseconds,
            detail: report::chain(error),
            hint,
        }
    }
}

async fn timed(probes: &mut Vec<Probe>, name: &str, look: impl Future<Output = Result<Vec<Found>>>) {
    let began = Instant::now();
    let looked = look.await;
    let milliseconds = began.elapsed().as_millis();
    match looked {
        Ok(found) => probes.extend(found.into_iter().map(|found| Probe {
            name: name.to_owned(),
            verdict: found.verdict,
            milliseconds,
            detail: found.detail,
            hint: found.hint,
        })),
        Err(error) => probes.push(Probe::failed(name, milliseconds, &error)),
    }
}

async fn server(side: &str, options: &ConnectOptions) -> Result<Vec<Found>> {
    let mut connection = Connection::open(options).await?;
    let database = connection.database_info().await?;
    let mut found = vec![passed(format!(
        "{} {}, database {}",
        database.edition, database.product_version, database.name
    ))];
    if side == "source" && !connection.has_permission(&Permission::ViewServerState).await? {
        let enough = match database.engine_edition {
            AZURE_SQL_DATABASE => Permission::ViewDatabaseState,
            _ => Permission::ViewServerState,
        };
        if !connection.has_permission(&enough).await? {
            found.push(Found {
                verdict: Verdict::Warned,
                detail: "the login cannot see open transactions, so increments wait for a fixed time and are assumed complete".into(),
                hint: Some(enough.grant()),
            });
        }
    }
    if side == "target" && !database.writable {
        found.push(Found {
            verdict: Verdict::Failed,
            detail: "the database is read-only".into(),
            hint: Some("connect to the primary".into()),
        });
    }
    Ok(found)
}

/// The rights that applying needs: the least of them as T-SQL, and those that are missing.
async fn rights_of_target(parts: &Parts, tables: &[Selected], probes: &mut Vec<Probe>) {
    let Some(database) = &parts.config().target else {
        return;
    };
    let look = async {
        let mut connection = Connection::open(&database.sqlserver).await?;
        let enabled = tables.iter().filter(|table| table.entry.enabled);
        let targets: Vec<_> = enabled.map(|table| table.target.clone()).collect();
        let needed = needed_rights(&mut connection, &targets).await?;
        let missing = missing_rights(&mut connection, &needed).await?;
        Ok(vec![match missing.is_empty() {
            true => Found {
                hint: Some(Permission::grants(&needed)),
                ..passed("rights are sufficient; the least that applying needs:")
            },
            false => Found {
                verdict: Verdict::Failed,
                detail: "rights are missing".into(),
                hint: Some(Permission::grants(&missing)),
            },
        }])
    };
    timed(probes, "target", look).await;
}

fn answer(probes: &[Probe]) -> Result<Answer> {
    let mut text = String::new();
    for probe in probes {
        let sign = match probe.verdict {
            Verdict::Passed => "✓",
            Verdict::Noted => "·",
            Verdict::Warned => "!",
            Verdict::Failed => "✗",
        };
        text.push_str(&format!(
            "{sign} {}: {} ({} ms)\n",
            probe.name, probe.detail, probe.milliseconds
        ));
        if let Some(hint) = &probe.hint {
            text.push_str(&format!("    {}\n", hint.replace('\n', "\n    ")));
        }
    }
    let failed = probes
        .iter()
        .filter(|probe| probe.verdict == Verdict::Failed)
        .count();
    let exit = if failed > 0 { Exit::Failure } else { Exit::Success };
    Ok(Answer::new(text, &probes)?.ending(exit))
}
