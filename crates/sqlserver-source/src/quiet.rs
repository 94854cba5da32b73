//! Many tables at once: which of them have certainly nothing new, so that they need not be opened.
//!
//! The cut comes first, as it does for a single table; one statement then asks every table whether it has anything after its position. A
//! table that is not the same as before, or whose history the server may have forgotten, is not quiet: it is opened, and says itself
//! what is wrong. Tables that are followed by a column of times or of ids are never quiet: rows may appear behind their position, and
//! are found only by reading there again.

use std::collections::HashSet;

use model::{Error, Position, Result, TableName};
use sqlserver_client::{Connection, DatabaseInfo, Param, SqlType, quote};

use crate::change_data_capture::{reaching, silent};
use crate::change_tracking::{close_call, current_version, forgotten};
use crate::clock::ServerClock;
use crate::incarnation::Incarnation;
use crate::options::{CaptureOptions, Mode};
use crate::plan::at_one_moment;
use crate::position::{CapturePosition, ChangeTrackingPosition, Kind, RowVersionPosition};
use crate::row_version::{self, Counter};

/// So many tables are asked by one statement: each takes one parameter, and a server takes 2,100.
const TABLES_PER_STATEMENT: usize = 1_000;

/// A table that is the same as before, and whose position could be moved without opening it.
struct Candidate<'a> {
    /// Its place among the tables that were asked for.
    place: usize,
    table: &'a TableName,
    object_id: i32,
    after: &'a Position,
}

/// What has changed in a table since its position, and where that moves if nothing has.
struct Question {
    place: usize,
    /// What follows FROM. The parameter is named by the place.
    rows: String,
    param: Param,
    quiet: Position,
}

/// The positions that tables without anything new move to; `None` for a table that is to be opened.
pub(crate) async fn quiet(
    connection: &mut Connection,
    options: impl Fn(&TableName) -> CaptureOptions,
    tables: &[(TableName, Position)],
) -> Result<Vec<Option<Position>>> {
    let database = connection.database_info().await?;
    let candidates = candidates(connection, &database, options, tables).await?;
    let of = |kind: &str| -> Vec<&Candidate<'_>> {
        let all = candidates.iter();
        all.filter(|table| table.after.kind == kind).collect()
    };
    let mut questions = by_change_tracking(connection, &of(ChangeTrackingPosition::NAME)).await?;
    questions.extend(by_capture(connection, &of(CapturePosition::NAME)).await?);
    questions.extend(by_row_version(connection, &of(RowVersionPosition::NAME)).await?);
    let mut positions = vec![None; tables.len()];
    for questions in questions.chunks(TABLES_PER_STATEMENT) {
        let changed = changed(connection, &database, questions).await?;
        for question in questions {
            if let Some(position) = positions.get_mut(question.place)
                && !changed.contains(&question.place)
            {
                *position = Some(question.quiet.clone());
            }
        }
    }
    Ok(positions)
}

/// The places of those that have something new.
async fn changed(
    connection: &mut Connection,
    database: &DatabaseInfo,
    questions: &[Question],
) -> Result<HashSet<usize>> {
    let selects: Vec<String> = questions
        .iter()
        .map(|question| {
            format!(
                "SELECT {} AS place WHERE EXISTS (SELECT 1 FROM {})",
                question.place, question.rows
            )
        })
        .collect();
    let sql = at_one_moment(database, &selects.join("\nUNION ALL "));
    let params: Vec<Param> = questions.iter().map(|question| question.param.clone()).collect();
    let rows = connection.query(&sql, &params).await?;
    let places = rows.iter().map(|row| {
        usize::try_from(row.need_i64("place")?)
            .map_err(|e| Error::internal("a table's place is negative").caused_by(e))
    });
    places.collect()
}

/// The tables that are what they were, with every column that they had, and are still followed in the same way.
async fn candidates<'a>(
    connection: &mut Connection,
    database: &DatabaseInfo,
    options: impl Fn(&TableName) -> CaptureOptions,
    tables: &'a [(TableName, Position)],
) -> Result<Vec<Candidate<'a>>> {
    let lives = tables.iter().enumerate().filter_map(|(place, (table, after))| {
        let before = Incarnation::parse(&after.incarnation)?;
        Some((place, table, after, before.object_id()?, before))
    });
    let lives: Vec<_> = lives.collect();
    let ids: Vec<i32> = lives.iter().map(|(_, _, _, id, _)| *id).collect();
    let now = connection.table_lives(&ids).await?;
    let same = |id: i32, table: &TableName, after: &Position, before: &Incarnation| {
        let life = now.get(&id)?;
        let options = options(table);
        let read = |column: &str| is_read(&options, column);
        (life.name == *table
            && !life.memory_optimized
            && follows(&options, after)
            && before.goes_on(database, id, life, read))
        .then_some(())
    };
    Ok(lives
        .iter()
        .filter_map(|(place, table, after, object_id, before)| {
            same(*object_id, table, after, before)?;
            Some(Candidate {
                place: *place,
                table,
                object_id: *object_id,
                after,
            })
        })
        .collect())
}

/// Whether a table would be followed as it was. With `mode: auto` a better way may have opened; it is taken once there is something new.
fn follows(options: &CaptureOptions, after: &Position) -> bool {
    match (options.mode, after.kind.as_str()) {
        (Mode::Auto, _)
        | (Mode::ChangeTracking, ChangeTrackingPosition::NAME)
        | (Mode::Cdc, CapturePosition::NAME) => true,
        (Mode::Incremental, RowVersionPosition::NAME) => match &options.tracking {
            Some(tracking) => {
                RowVersionPosition::read(after).is_ok_and(|after| after.column == tracking.column)
            }
            None => true,
        },
        _ => false,
    }
}

fn is_read(options: &CaptureOptions, column: &str) -> bool {
    let named = |names: &[String]| names.iter().any(|name| name == column);
    let columns = &options.columns;
    (columns.include.is_empty() || named(&columns.include)) && !named(&columns.exclude)
}

async fn by_change_tracking(connection: &mut Connection, tables: &[&Candidate<'_>]) -> Result<Vec<Question>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let Some(version) = current_version(connection).await? else {
        return Ok(Vec::new());
    };
    let now = ServerClock::ask(connection).await?.utc;
    let tracked = connection.tracked_tables().await?;
    let mut questions = Vec::new();
    for table in tables {
        let after = ChangeTrackingPosition::read(table.after)?;
        let Some((info, least_valid)) = tracked
            .get(&table.object_id)
            .and_then(|info| Some((info, info.least_valid?)))
        else {
            continue;
        };
        let quiet = ChangeTrackingPosition {
            version,
            began: info.began,
            now,
        };
        let warns = close_call(now.since(after.now), info.retention).is_some();
        if warns || forgotten(&after, &quiet, least_valid).is_some() {
            continue;
        }
        let name = name(table.place);
        questions.push(Question {
            place: table.place,
            rows: format!("CHANGETABLE(CHANGES {}, @{name}) AS c", quote::table(table.table)),
            param: Param::typed(&name, after.version, SqlType::BigInt),
            quiet: quiet.position(&table.after.incarnation)?,
        });
    }
    Ok(questions)
}

async fn by_capture(connection: &mut Connection, tables: &[&Candidate<'_>]) -> Result<Vec<Question>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let progress = connection.capture_progress().await?;
    let instances = connection.all_capture_instances().await?;
    let Some(reached) = progress.greatest.filter(|_| silent(progress.behind).is_none()) else {
        return Ok(Vec::new());
    };
    let mut questions = Vec::new();
    for table in tables {
        let after = CapturePosition::read(table.after)?.lsn()?;
        let instances = instances.get(&table.object_id).map_or(&[][..], Vec::as_slice);
        let Ok(instance) = reaching(after, Some(reached), instances) else {
            continue;
        };
        let name = name(table.place);
        let changes = quote::identifier(&format!("{}_CT", instance.name));
        questions.push(Question {
            place: table.place,
            rows: format!("cdc.{changes} AS c WHERE c.[__$start_lsn] > @{name}"),
            param: after.param(&name),
            quiet: CapturePosition::at(reached.max(after)).position(&table.after.incarnation)?,
        });
    }
    Ok(questions)
}

/// Nothing is quiet while somebody may be about to commit a version: the run would wait for it, which a cut for one table does.
async fn by_row_version(connection: &mut Connection, tables: &[&Candidate<'_>]) -> Result<Vec<Question>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let counter = Counter::ask(connection).await?;
    if counter.least_open <= counter.last {
        return Ok(Vec::new());
    }
    let mut questions = Vec::new();
    for table in tables {
        let after = RowVersionPosition::read(table.after)?;
        if after.next > counter.least_open {
            continue;
        }
        let name = name(table.place);
        let column = quote::identifier(&after.column);
        let quiet = RowVersionPosition {
            next: counter.least_open,
            column: after.column,
        };
        questions.push(Question {
            place: table.place,
            rows: format!("{} AS t WHERE t.{column} >= @{name}", quote::table(table.table)),
            param: row_version::param(&name, after.next),
            quiet: quiet.position(&table.after.incarnation)?,
        });
    }
    Ok(questions)
}

fn name(place: usize) -> String {
    format!("p{place}")
}
