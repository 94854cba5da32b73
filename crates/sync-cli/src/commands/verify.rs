//! `verify`: compares source, Iceberg and target, row by row.

use std::sync::Arc;

use iceberg_reader::SnapshotChoice;
use model::{ChangeSource, Error, ErrorKind, Position, Result, TableName, VerifyReport};
use orchestrator::{Side, Upstream, Verify};
use tokio_util::sync::CancellationToken;

use super::Answer;
use crate::arguments::Tables;
use crate::config::Selected;
use crate::exit::Exit;
use crate::parts::{Direction, Parts};
use crate::report;

/// So many differing keys are named per table and side.
const KEYS_NAMED: usize = 100;

/// Compares every table that is enabled.
pub(crate) async fn run(parts: &Parts, tables: &Tables) -> Result<Answer> {
    let tables = parts.select(&tables.tables).await?;
    let tables: Vec<Selected> = tables.into_iter().filter(|table| table.entry.enabled).collect();
    let sides = Sides {
        source: parts.source(&tables),
        iceberg: parts.iceberg_source(SnapshotChoice::Current),
        target: parts.target_source(&tables),
    };
    let mut reports: Vec<VerifyReport> = Vec::new();
    for table in &tables {
        let verify = sides.of(parts, table).await?;
        let report = verify
            .run(&CancellationToken::new())
            .await
            .map_err(|error| error.with("table", &table.name))?;
        reports.push(report);
    }
    let exit = if reports.iter().all(VerifyReport::all_match) {
        Exit::Success
    } else {
        Exit::Different
    };
    Ok(Answer::new(report::verify(&reports), &reports)?.ending(exit))
}

struct Sides {
    source: Option<Arc<dyn ChangeSource>>,
    iceberg: Arc<dyn ChangeSource>,
    target: Option<Arc<dyn ChangeSource>>,
}

impl Sides {
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

/// Up to where a direction has been applied, by the target's own mark.
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
    committed.mark.map(|mark| mark.position().clone()).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "nothing has been synchronised yet, so there is nothing to compare",
        )
        .with("table", &table.name)
        .with("direction", direction.label())
        .hint("run `sync-cli run` first")
    })
}
