//! Whether tables may have something new, asked for many of them in one batch. The answers decide only when each is looked at properly.
//!
//! # Invariants
//!
//! - A table's question is a statement of its own within the batch, with a text that stays the same: the server keeps its plan, whichever
//!   tables are asked about together, and its failure is that table's.
//! - No question waits for a lock or reads much, so that no table keeps the others waiting.
//! - A batch that fails as a whole, because of whichever table, is asked in halves next time. So who makes batches fail is soon asked
//!   about alone, and spoils no other table's answer.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use model::{Error, ErrorKind, Look, Position, Result, TableName};
use sqlserver_client::{Connection, Param, SqlType, Value, quote};
use tokio::time::{Instant, sleep, timeout};

use crate::column_time::value;
use crate::plan::TablePlan;
use crate::polling;
use crate::pool::Pool;
use crate::position::{
    CapturePosition, ChangeTrackingPosition, IdColumnPosition, Kind, RowVersionPosition, TimestampPosition,
    TriggerPosition,
};
use crate::row_version;
use crate::tracker::{Tracker, TrackingColumn};
use crate::trigger_objects::{Objects, VERSION};

/// At most so many tables are asked about in one batch: it has one or two parameters for each, and the server takes 2,100.
const TOGETHER: usize = 500;

/// At most about so many rows are read by one batch, where no index helps.
const SCANNED: u64 = 1_000_000;

/// So many batches run at once.
const BATCHES: usize = 4;

/// A batch that takes longer is given up for cycles: it costs more than they do.
const LONGEST: Duration = Duration::from_secs(3);

/// What is not answered by then is left to cycles.
const ALL: Duration = Duration::from_secs(20);

/// A table that fails even alone is left to cycles for so long.
const REST: Duration = Duration::from_secs(600);

/// The error of a lock that is not to be had at once.
const LOCKED: u32 = 1222;

/// Rows of which there is one if something is new.
struct Question {
    /// What has to stand before the statement.
    with: String,
    from: String,
    /// Where the table's position is compared.
    params: Vec<Param>,
    /// About how many rows are read to find none; none worth counting with an index.
    scans: u64,
}

/// A question and the place of its answer.
struct Placed {
    place: usize,
    table: TableName,
    /// With at most so many tables in its batch.
    together: usize,
    sql: String,
    question: Question,
}

/// Tables whose last batch failed. One that goes well clears its tables.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<HashMap<TableName, Suspect>>);

#[derive(Debug)]
struct Suspect {
    together: usize,
    rests_until: Instant,
}

impl Suspects {
    fn lock(&self) -> MutexGuard<'_, HashMap<TableName, Suspect>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With how many tables this one may be asked about; `None` if not at all for now.
    fn together(&self, table: &TableName) -> Option<usize> {
        let suspects = self.lock();
        let Some(suspect) = suspects.get(table) else {
            return Some(TOGETHER);
        };
        (suspect.rests_until <= Instant::now()).then_some(suspect.together)
    }

    fn learn(&self, batch: &[Placed], failed: bool) {
        let mut suspects = self.lock();
        let rest = if batch.len() > 1 { Duration::ZERO } else { REST };
        for Placed { table, .. } in batch {
            if failed {
                let suspect = Suspect {
                    together: (batch.len() / 2).max(1),
                    rests_until: Instant::now() + rest,
                };
                suspects.insert(table.clone(), suspect);
            } else {
                suspects.remove(table);
            }
        }
    }
}

/// Looks at tables. Those that nothing is known of, or whose positions cannot be compared with anything, may have changed.
pub(crate) async fn looks<'a>(
    pool: &Pool,
    suspects: &Suspects,
    tables: impl Iterator<Item = (&'a TableName, Option<Arc<TablePlan>>, &'a Position)>,
) -> Vec<Look> {
    let mut looks = Vec::new();
    let mut asked = Vec::new();
    for (place, (table, plan, after)) in tables.enumerate() {
        looks.push(Look::Perhaps);
        let (Some(plan), Some(together)) = (plan, suspects.together(table)) else {
            continue;
        };
        match question(&plan, after) {
            Ok(Some(question)) if question.scans <= SCANNED => asked.push(Placed {
                place,
                table: table.clone(),
                together,
                sql: sql(&plan, &question),
                question,
            }),
            Ok(_) => {}
            Err(error) => set(&mut looks, place, failed(&error)),
        }
    }
    let batches = stream::iter(batches(asked)).map(|batch| ask(pool, suspects, batch));
    let answers = batches.buffer_unordered(BATCHES).take_until(sleep(ALL));
    for (place, look) in answers.collect::<Vec<_>>().await.into_iter().flatten() {
        set(&mut looks, place, look);
    }
    looks
}

fn set(looks: &mut [Look], place: usize, look: Look) {
    if let Some(slot) = looks.get_mut(place) {
        *slot = look;
    }
}

fn failed(error: &Error) -> Look {
    Look::Failed {
        why: error.to_string(),
    }
}

/// What a table is asked.
fn sql(plan: &TablePlan, Question { with, from, .. }: &Question) -> String {
    let select = format!("{with}SELECT @changed = CASE WHEN EXISTS (SELECT 1 FROM {from}) THEN 1 ELSE 0 END");
    plan.at_one_moment(&select)
}

/// As few batches as their limits allow.
fn batches(mut asked: Vec<Placed>) -> Vec<Vec<Placed>> {
    // The first of a batch has the least limit then.
    asked.sort_by_key(|placed| placed.together);
    let mut batches: Vec<Vec<Placed>> = Vec::new();
    let mut scans = 0_u64;
    for placed in asked {
        scans = scans.saturating_add(placed.question.scans);
        match batches.last_mut() {
            Some(batch)
                if scans <= SCANNED && batch.first().is_some_and(|first| batch.len() < first.together) =>
            {
                batch.push(placed);
            }
            _ => {
                scans = placed.question.scans;
                batches.push(vec![placed]);
            }
        }
    }
    batches
}

/// The answers of a batch, none if it fails.
async fn ask(pool: &Pool, suspects: &Suspects, batch: Vec<Placed>) -> Vec<(usize, Look)> {
    let answers = match in_time(pool.take()).await {
        Ok(connection) => {
            let answers = in_time(answers(pool, connection, &batch)).await;
            suspects.learn(&batch, answers.is_err());
            answers
        }
        // That is no table's doing.
        Err(error) => Err(error),
    };
    answers.unwrap_or_else(|error| {
        tracing::warn!(
            tables = batch.len(),
            %error,
            "tables cannot be looked at; cycles find out what has changed"
        );
        Vec::new()
    })
}

async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(LONGEST, work).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("there was no answer within {} s", LONGEST.as_secs()),
        ))
    })
}

/// One round trip.
async fn answers(pool: &Pool, mut connection: Connection, batch: &[Placed]) -> Result<Vec<(usize, Look)>> {
    let rows = connection.query(&text(batch)?, &params(batch)).await?;
    pool.put(connection);
    let mut looks: Vec<_> = batch.iter().map(|placed| (placed.place, Look::Quiet)).collect();
    for row in rows.iter() {
        let at = usize::try_from(row.need_i64("place")?).ok();
        let look = match row.text("failed")? {
            None => Look::Perhaps,
            Some(why) => Look::Failed { why: why.to_owned() },
        };
        if let Some((_, slot)) = at.and_then(|at| looks.get_mut(at)) {
            *slot = look;
        }
    }
    Ok(looks)
}

/// The batch. It names those that have changed or failed. Settings made in it end with it.
fn text(batch: &[Placed]) -> Result<String> {
    let mut text = "SET NOCOUNT ON; SET LOCK_TIMEOUT 0;\n\
        DECLARE @changed bit; DECLARE @looks TABLE (place int NOT NULL, failed nvarchar(4000) NULL);\n"
        .to_owned();
    for (at, Placed { sql, question, .. }) in batch.iter().enumerate() {
        let (mut declared, mut given) = (String::new(), String::new());
        for Param { name, ty, .. } in &question.params {
            let ty = ty.ok_or_else(|| Error::internal("a position is bound by its type"))?;
            // Writing to a string cannot fail.
            let _ = write!(declared, "@{name} {ty}, ");
            let _ = write!(given, "@{name} = @{}, ", numbered(name, at));
        }
        let (sql, declared) = (
            quote::literal(sql),
            quote::literal(&format!("{declared}@changed bit OUTPUT")),
        );
        let _ = writeln!(
            text,
            "BEGIN TRY EXEC sys.sp_executesql {sql}, {declared}, {given}@changed = @changed OUTPUT; \
             IF @changed = 1 INSERT @looks (place) VALUES ({at}) END TRY \
             BEGIN CATCH INSERT @looks VALUES ({at}, CASE WHEN ERROR_NUMBER() <> {LOCKED} THEN ERROR_MESSAGE() END) END CATCH;"
        );
    }
    text.push_str("SELECT place, failed FROM @looks;");
    Ok(text)
}

fn params(batch: &[Placed]) -> Vec<Param> {
    let params = batch.iter().enumerate().flat_map(|(at, placed)| {
        placed.question.params.iter().map(move |param| Param {
            name: numbered(&param.name, at),
            ..param.clone()
        })
    });
    params.collect()
}

fn numbered(name: &str, at: usize) -> String {
    format!("{name}{at}")
}

fn question(plan: &TablePlan, after: &Position) -> Result<Option<Question>> {
    let sought = |from: String, after: Param| {
        Some(Question {
            with: String::new(),
            from,
            params: vec![after],
            scans: 0,
        })
    };
    let in_column = |column: &TrackingColumn, comparison: &str, after: Param| {
        let scans = scans(column.leads_index, plan.table.approximate_rows)?;
        Some(Question {
            with: String::new(),
            from: format!(
                "{} AS t WHERE {}",
                plan.from(),
                column.any_time(|column| format!("t.{column} {comparison} @after"))
            ),
            params: vec![after],
            scans,
        })
    };
    Ok(match &plan.tracked.tracker {
        Tracker::ChangeTracking if after.kind == ChangeTrackingPosition::NAME => {
            let version = ChangeTrackingPosition::read(after)?.version;
            sought(
                format!("CHANGETABLE(CHANGES {}, @after) AS c", plan.from()),
                Param::typed("after", version, SqlType::BigInt),
            )
        }
        Tracker::Cdc if after.kind == CapturePosition::NAME => {
            let Some(newest) = plan.instances.last() else {
                return Ok(None);
            };
            let changes = quote::identifier(&format!("{}_CT", newest.name));
            sought(
                format!("cdc.{changes} AS c WHERE c.[__$start_lsn] > @after"),
                CapturePosition::read(after)?.lsn()?.param("after"),
            )
        }
        Tracker::Trigger if after.kind == TriggerPosition::NAME => {
            let next = TriggerPosition::read(after)?.next;
            let changes = Objects::of(&plan.table, &plan.schema)?.changes();
            sought(
                format!("{changes} AS c WHERE c.{} >= @after", quote::identifier(VERSION)),
                row_version::param("after", next),
            )
        }
        Tracker::RowVersion(column) if after.kind == RowVersionPosition::NAME => {
            let next = RowVersionPosition::read(after)?.next;
            in_column(column, ">=", row_version::param("after", next))
        }
        Tracker::Timestamp { column, .. } if after.kind == TimestampPosition::NAME => {
            let position = TimestampPosition::read(after)?;
            // While local time repeats itself, what is new lies below the watermark.
            if position.repeated_from.is_some() {
                return Ok(None);
            }
            let watermark = value(column.ty, position.watermark)?;
            in_column(column, ">", Param::typed("after", watermark, column.ty))
        }
        Tracker::Polling { .. } if after.kind == TimestampPosition::NAME => {
            let (query, params) = polling::asked(plan, after, None)?;
            // Nobody knows how much it reads; taken for a scan of the table.
            let Some(scans) = scans(false, plan.table.approximate_rows) else {
                return Ok(None);
            };
            Some(Question {
                with: query.with.clone(),
                from: query.rows(),
                params,
                scans,
            })
        }
        Tracker::Id(column) if after.kind == IdColumnPosition::NAME => {
            let ids = IdColumnPosition::read(after)?.ids;
            // Below the greatest id some are still to come.
            let Some(seen) = ids.seen.filter(|_| ids.complete == ids.seen) else {
                return Ok(None);
            };
            in_column(
                column,
                ">",
                Param::typed("after", Value::BigInt(seen), SqlType::BigInt),
            )
        }
        _ => None,
    })
}

/// About how many rows a comparison reads. Of a view nobody knows how many it has.
fn scans(by_index: bool, rows: Option<u64>) -> Option<u64> {
    if by_index { Some(0) } else { rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_index_and_a_count_nothing_is_asked() {
        for (by_index, rows, expected) in [
            (true, None, Some(0)),
            (true, Some(9), Some(0)),
            (false, Some(9), Some(9)),
            (false, None, None),
        ] {
            assert_eq!(scans(by_index, rows), expected, "{by_index} {rows:?}");
        }
    }

    fn placed(place: usize, scans: u64) -> Placed {
        Placed {
            place,
            table: TableName::new("dbo", format!("T{place}")),
            together: TOGETHER,
            sql: String::new(),
            question: Question {
                with: String::new(),
                from: String::new(),
                params: vec![Param::typed("after", 1_i64, SqlType::BigInt)],
                scans,
            },
        }
    }

    #[test]
    fn a_batch_is_bounded_by_its_tables_and_by_what_it_reads() {
        for (scans, sizes) in [
            (vec![0; 500], vec![500]),
            (vec![0; 1_001], vec![500, 500, 1]),
            (vec![400_000; 5], vec![2, 2, 1]),
            (vec![0, 1_000_000, 0, 1], vec![3, 1]),
            (vec![1_000_000; 2], vec![1, 1]),
            (vec![1, u64::MAX, u64::MAX], vec![1, 1, 1]),
            (vec![], vec![]),
        ] {
            let asked = scans
                .iter()
                .enumerate()
                .map(|(place, scans)| placed(place, *scans));
            let batches = batches(asked.collect());
            let told: Vec<_> = batches.iter().map(Vec::len).collect();
            assert_eq!(told, sizes, "{scans:?}");
            let places = batches.iter().flatten().map(|placed| placed.place);
            assert!(places.eq(0..scans.len()), "each once, in order");
        }
    }

    #[test]
    fn a_name_in_a_question_stays_within_its_literal() {
        let mut table = placed(0, 0);
        table.sql =
            "SELECT @changed = CASE WHEN EXISTS (SELECT 1 FROM [dbo].[it's]) THEN 1 ELSE 0 END".into();
        let text = text(&[table]).unwrap();
        assert!(text.contains("FROM [dbo].[it''s])"), "{text}");
        assert!(
            text.contains(
                "N'@after bigint, @changed bit OUTPUT', @after = @after0, @changed = @changed OUTPUT;"
            ),
            "{text}"
        );
    }
}
