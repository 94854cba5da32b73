//! `verify`: compares source, Iceberg and target, row by row, all of them or a range of keys, and repairs single keys.

use std::sync::Arc;

use iceberg_reader::SnapshotChoice;
use model::{ChangeSource, Error, ErrorKind, KeyRange, Position, Result, TableName, VerifyReport};
use orchestrator::{
    Differing, Repair, Route, RunOutcome, Side, TableSync, Upstream, Verified, Verify, key_range,
    position_beyond_mark,
};
use tokio_util::sync::CancellationToken;

use super::Answer;
use super::run::{bars, busy, routes, run_routes};
use crate::arguments::{self, Output};
use crate::config::Selected;
use crate::exit::Exit;
use crate::parts::{Direction, Parts};
use crate::report;

/// So many differing keys are named per table and side.
const KEYS_NAMED: usize = 100;

/// Compares every table that is enabled, and repairs what differs if that is asked for.
pub(crate) async fn run(parts: &Parts, options: &arguments::Verify, output: Output) -> Result<Answer> {
    let tables = parts.select_enabled(&options.tables.tables).await?;
    let range = range(parts, &tables, options).await?;
    let found = compare(parts, &tables, range.as_ref(), options.repair).await;
    let nothing = |verified: &Verified| verified.differing.iter().all(Differing::is_empty);
    if !options.repair || found.tables.iter().all(nothing) {
        let exit = found.exit();
        let reports = found.reports();
        return Ok(Answer::new(report::verify(&reports, range.is_some()), &reports)?.ending(exit));
    }
    let routes = repairs(parts, &tables, &found.tables, options.confirm_deletes)?;
    let repair = match run_routes(parts, routes, bars(output)).await {
        RunOutcome::Finished(report) => *report,
        RunOutcome::Busy { holder } => return busy(parts, &holder),
    };
    let left = compare(parts, &tables, range.as_ref(), false).await;
    let exit = match repair.metadata.status.into() {
        Exit::Success => left.exit(),
        failed => failed,
    };
    let (found, left) = (found.reports(), left.reports());
    let text = format!(
        "{}\nrepair:\n{}\nafterwards:\n{}",
        report::verify(&found, range.is_some()),
        report::run(&repair),
        report::verify(&left, range.is_some())
    );
    let json = serde_json::json!({ "found": found, "repair": repair, "left": left });
    Ok(Answer::new(text, &json)?.ending(exit))
}

/// What was found, table by table.
struct Found {
    tables: Vec<Verified>,
    /// How the first table failed that could not be compared.
    failed: Option<Exit>,
}

impl Found {
    fn exit(&self) -> Exit {
        let differs = |report: &VerifyReport| report.error.is_none() && !report.all_match();
        match self.tables.iter().any(|verified| differs(&verified.report)) {
            true => Exit::Different,
            false => self.failed.unwrap_or(Exit::Success),
        }
    }

    fn reports(self) -> Vec<VerifyReport> {
        self.tables.into_iter().map(|verified| verified.report).collect()
    }
}

/// The keys that are compared, if not all.
async fn range(parts: &Parts, tables: &[Selected], options: &arguments::Verify) -> Result<Option<KeyRange>> {
    let (from, to) = (options.from.as_deref(), options.to.as_deref());
    if from.or(to).is_none() {
        return Ok(None);
    }
    let [table] = tables else {
        return Err(
            Error::new(ErrorKind::Config, "--from and --to need exactly one table")
                .hint("name it with --table"),
        );
    };
    let schema = match parts.source(tables) {
        Some(source) => source.describe(&table.name).await?.schema,
        None => {
            let iceberg = parts.iceberg_source(SnapshotChoice::Current);
            iceberg.describe(&table.iceberg).await?.schema
        }
    };
    key_range(&schema, from, to).map(Some)
}

/// Compares each table. One that cannot be compared does not keep the others from it.
async fn compare(parts: &Parts, tables: &[Selected], range: Option<&KeyRange>, for_repair: bool) -> Found {
    let sides = Sides {
        source: parts.source(tables),
        iceberg: parts.iceberg_source(SnapshotChoice::Current),
        target: parts.target_source(tables),
    };
    let mut found = Found {
        tables: Vec::new(),
        failed: None,
    };
    for table in tables {
        let verified = sides.compared(parts, table, range, for_repair).await;
        found.tables.push(verified.unwrap_or_else(|error| {
            found.failed.get_or_insert(error.kind().into());
            Verified {
                report: VerifyReport {
                    table: table.name.to_string(),
                    error: Some(report::advised(&error)),
                    ..VerifyReport::default()
                },
                differing: Vec::new(),
            }
        }));
    }
    found
}

/// Each table's way, of which only the directions are left whose end differs. Each end is repaired from the one before it.
fn repairs(
    parts: &Parts,
    tables: &[Selected],
    found: &[Verified],
    deletes_confirmed: bool,
) -> Result<Vec<Route>> {
    let everything = arguments::Run {
        tables: arguments::Tables::default(),
        follow: false,
        full: false,
        snapshot: None,
    };
    let mut routes = routes(parts, tables, parts.source_database(tables), &everything)?;
    for (route, verified) in routes.iter_mut().zip(found) {
        let ends = verified.report.columns.iter().zip(&verified.differing);
        for (sync, (column, differing)) in route.syncs.iter_mut().zip(ends) {
            sync.repair = Some(Repair {
                differing: differing.clone(),
                rows: column.rows_here,
                most_deletes_percent: if deletes_confirmed { 100 } else { UNCONFIRMED },
            });
        }
        let differs = |sync: &TableSync| sync.repair.as_ref().is_some_and(|r| !r.differing.is_empty());
        route.syncs.retain(differs);
    }
    Ok(routes)
}

/// So many percent of a table's rows are deleted without being asked twice.
const UNCONFIRMED: u64 = 10;

struct Sides {
    source: Option<Arc<dyn ChangeSource>>,
    iceberg: Arc<dyn ChangeSource>,
    target: Option<Arc<dyn ChangeSource>>,
}

impl Sides {
    async fn compared(
        &self,
        parts: &Parts,
        table: &Selected,
        range: Option<&KeyRange>,
        for_repair: bool,
    ) -> Result<Verified> {
        let verify = Verify {
            range: range.cloned(),
            ..self.of(parts, table).await?
        };
        let cancel = CancellationToken::new();
        match for_repair {
            true => verify.run_for_repair(&cancel).await,
            false => verify.run(&cancel).await,
        }
    }

    /// The comparison of one table: the others with the source, or the target with Iceberg where there is no source.
    async fn of(&self, parts: &Parts, table: &Selected) -> Result<Verify> {
        let mut sides = Vec::new();
        let mut upstream = Vec::new();
        if let Some(source) = &self.source {
            sides.push(side("source", source, &table.name, &upstream));
            let applied = applied(parts, table, Direction::Capture).await?;
            upstream.push(Upstream {
                source: source.clone(),
                table: table.name.clone(),
                applied,
            });
        }
        sides.push(side("iceberg", &self.iceberg, &table.iceberg, &upstream));
        if let Some(target) = &self.target {
            let applied = applied(parts, table, Direction::Apply).await?;
            upstream.push(Upstream {
                source: self.iceberg.clone(),
                table: table.iceberg.clone(),
                applied,
            });
            sides.push(side("target", target, &table.target, &upstream));
        }
        let first = sides.remove(0);
        Ok(Verify {
            table: table.name.to_string(),
            first,
            others: sides,
            keys_named: KEYS_NAMED,
            range: None,
            keys_only: false,
            most_deletes_percent: None,
        })
    }
}

fn side(name: &str, source: &Arc<dyn ChangeSource>, table: &TableName, upstream: &[Upstream]) -> Side {
    Side {
        name: name.to_owned(),
        source: source.clone(),
        table: table.clone(),
        upstream: upstream.to_vec(),
    }
}

/// Up to where a direction has been applied: from there on the next run reads changes.
async fn applied(parts: &Parts, table: &Selected, direction: Direction) -> Result<Position> {
    let sync = parts.sync_id(&table.name, direction);
    let committed = match direction {
        Direction::Capture => {
            parts
                .iceberg_sink(std::slice::from_ref(table))
                .committed(&sync, &table.iceberg)
                .await?
        }
        Direction::Apply => match parts.target_sink(table)? {
            Some(sink) => sink.committed(&sync, &table.target).await?,
            None => {
                return Err(Error::internal(
                    "a sync without target has no direction towards it",
                ));
            }
        },
    };
    let Some(mark) = &committed.mark else {
        return Err(Error::new(
            ErrorKind::NotFound,
            "nothing has been synchronised yet, so there is nothing to compare",
        )
        .with("table", &table.name)
        .with("direction", direction.label())
        .hint("run `sync-cli run` first"));
    };
    let beyond = position_beyond_mark(parts.store().as_ref(), &sync, &committed).await;
    Ok(beyond.unwrap_or_else(|| mark.position().clone()))
}
