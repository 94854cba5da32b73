//! A source in memory: sample tables, open transactions, and the ways in which a database tells of changes.

mod database;

use std::ops::Bound as Edge;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use async_trait::async_trait;
use futures::{Stream, StreamExt, stream};
use model::{
    Batches, Bound, ChangeBatch, ChangeSource, Chunk, Clock, Cut, Description, Error, ErrorKind, Holder,
    Look, Op, Position, Presence, Result, Selection, SourceEvent, TableName, TableSchema, Tracking,
};
use tokio::task::yield_now;

use crate::{SampleRow, SimClock, sample_batch, sample_schema};
use database::{Database, Stamped, Table};

pub use database::Transaction;

/// Rows per batch: small, so that a few rows make several batches.
const ROWS_PER_BATCH: usize = 3;

/// How a [`MemorySource`] tells of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryTracking {
    /// Each write stamps its row with the clock of the moment, before its transaction commits. An increment reads the
    /// rows that are there with a stamp in the window, and those of `tolerance` milliseconds before it again.
    /// Deletes are not seen.
    Timestamp {
        /// How far below the watermark a window starts, in milliseconds.
        tolerance: i64,
    },
    /// Each commit gets the next version, and an increment tells every change of it, deletes too.
    Versions,
    /// Changes are not told.
    Nothing,
}

/// A rule of the source's contract that a test may switch off, to show what the rule is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceRule {
    /// The cut lies before the oldest transaction that is open.
    OpenTransactions,
    /// A cut is compared with the source's incarnation.
    Incarnation,
}

/// A source in memory. Clones share their tables, as connections share a database.
#[derive(Debug, Clone)]
pub struct MemorySource {
    clock: Arc<SimClock>,
    tracking: MemoryTracking,
    database: Arc<Mutex<Database>>,
    off: Vec<SourceRule>,
}

impl MemorySource {
    /// A source without tables.
    pub fn new(clock: Arc<SimClock>, tracking: MemoryTracking) -> Self {
        Self {
            clock,
            tracking,
            database: Arc::default(),
            off: Vec::new(),
        }
    }

    /// The same source with one rule of the contract switched off.
    pub fn without(mut self, rule: SourceRule) -> Self {
        self.off.push(rule);
        self
    }

    /// Creates an empty table of the sample schema, with `id` as its key or without a key.
    pub fn create(&self, table: &TableName, keyed: bool) {
        self.database().tables.insert(table.clone(), Table::new(keyed));
    }

    /// Writes rows in a transaction of their own: in a keyed table they replace the rows with their keys.
    pub fn put(&self, table: &TableName, rows: impl IntoIterator<Item = SampleRow>) {
        let mut transaction = self.begin();
        for row in rows {
            transaction.put(table, row);
        }
        transaction.commit();
    }

    /// Deletes rows by `id` in a transaction of its own.
    pub fn delete(&self, table: &TableName, ids: impl IntoIterator<Item = i32>) {
        let mut transaction = self.begin();
        for id in ids {
            transaction.delete(table, id);
        }
        transaction.commit();
    }

    /// Opens a transaction. Dropping it without a commit rolls it back.
    pub fn begin(&self) -> Transaction {
        Transaction::begin(self)
    }

    /// The rows that are committed, in order of `id`.
    pub fn rows(&self, table: &TableName) -> Vec<SampleRow> {
        let database = self.database();
        let rows = database
            .tables
            .get(table)
            .into_iter()
            .flat_map(|table| table.rows.values());
        let mut rows: Vec<_> = rows.map(|stamped| stamped.row.clone()).collect();
        rows.sort();
        rows
    }

    /// Makes the source another one, as a restored backup is.
    pub fn restore(&self) {
        self.database().incarnation += 1;
    }

    /// Forgets all versions up to now, as a clean-up by retention does.
    pub fn forget_history(&self) {
        let mut database = self.database();
        database.oldest_version = database.version;
        for table in database.tables.values_mut() {
            table.history.clear();
        }
    }

    /// What was last acknowledged for a table.
    pub fn acknowledged(&self, table: &TableName) -> Option<Position> {
        self.database().acknowledged.get(table).cloned()
    }

    fn database(&self) -> MutexGuard<'_, Database> {
        self.database
            .lock()
            .expect("no test panics while it holds the source")
    }

    fn is_on(&self, rule: SourceRule) -> bool {
        !self.off.contains(&rule)
    }

    fn selected(&self, table: &TableName, selection: &Selection) -> Result<Vec<SampleRow>> {
        let database = self.database();
        let rows = &database.table(table)?.rows;
        let of = |range: &mut dyn Iterator<Item = (&(i32, u64), &Stamped)>| {
            range.map(|(_, stamped)| stamped.row.clone()).collect()
        };
        Ok(match selection {
            Selection::All => of(&mut rows.iter()),
            Selection::Range { lower, upper } => {
                let lower = lower
                    .as_ref()
                    .map(key_of)
                    .transpose()?
                    .map_or(Edge::Unbounded, |id| Edge::Excluded((id, u64::MAX)));
                of(&mut rows.range((lower, Edge::Included((key_of(upper)?, u64::MAX)))))
            }
            Selection::Between(range) => {
                let within = |id: i32| {
                    let first = range.of_first_column();
                    first.is_none_or(|(_, within)| within.contains(&i128::from(id)))
                };
                of(&mut rows.iter().filter(|((id, _), _)| within(*id)))
            }
            Selection::Keys(keys) => {
                let ids = keys.column(0).as_primitive::<Int32Type>().values();
                of(&mut rows.iter().filter(|((id, _), _)| ids.contains(id)))
            }
            Selection::ChangedAfter(cut) if matches!(self.tracking, MemoryTracking::Timestamp { .. }) => {
                let upto = value_of(cut)?;
                of(&mut rows.iter().filter(|(_, stamped)| stamped.stamp >= upto))
            }
            Selection::ChangedAfter(_) | Selection::KeptKeys(_) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this memory source's cuts leave nothing for later, and it tells every delete",
                ));
            }
        })
    }

    /// The rows that a timestamp window reads: those read again, and those above the watermark.
    fn window(&self, table: &TableName, after: i64, upto: i64, tolerance: i64) -> Result<Vec<ChangeBatch>> {
        let database = self.database();
        let read = |from: i64, to: i64, presence| {
            let rows = database.table(table)?.rows.values();
            let mut rows: Vec<_> = rows
                .filter(|stamped| (from..to).contains(&stamped.stamp))
                .collect();
            rows.sort_by_key(|stamped| (stamped.stamp, stamped.row.id));
            rows.chunks(ROWS_PER_BATCH)
                .map(|rows| {
                    let rows: Vec<_> = rows
                        .iter()
                        .map(|stamped| (Op::Upsert, stamped.row.clone()))
                        .collect();
                    self.batch(&database, table, &rows, presence)
                })
                .collect::<Result<Vec<_>>>()
        };
        let mut batches = read(after.saturating_sub(tolerance), after, Presence::PerhapsIdentical)?;
        batches.extend(read(after, upto, Presence::Unknown)?);
        Ok(batches)
    }

    /// The changes of one version.
    fn told(&self, table: &TableName, version: i64) -> Result<Vec<ChangeBatch>> {
        let database = self.database();
        let told: Vec<_> = database
            .table(table)?
            .history
            .iter()
            .filter(|told| told.version == version)
            .map(|told| (told.op, told.row.clone()))
            .collect();
        told.chunks(ROWS_PER_BATCH)
            .map(|rows| self.batch(&database, table, rows, Presence::Unknown))
            .collect()
    }

    fn batch(
        &self,
        database: &Database,
        table: &TableName,
        rows: &[(Op, SampleRow)],
        presence: Presence,
    ) -> Result<ChangeBatch> {
        let schema = sample_schema(database.table(table)?.keyed);
        let images: Vec<_> = rows.iter().map(|(_, row)| row.clone()).collect();
        let ops = rows.iter().map(|(op, _)| *op as i8).collect::<Vec<_>>().into();
        ChangeBatch::new(table.clone(), schema, sample_batch(&images), ops, presence)
    }
}

fn key_of(bound: &Bound) -> Result<i32> {
    bound.as_str().parse().map_err(|e| {
        Error::new(ErrorKind::Corrupt, "a bound of the memory source is not a number").caused_by(e)
    })
}

fn value_of(position: &Position) -> Result<i64> {
    position.value.parse().map_err(|e| {
        Error::new(
            ErrorKind::Corrupt,
            "a position of the memory source is not a number",
        )
        .caused_by(e)
    })
}

/// Yields once before each item, as a connection does.
fn paced<T: Send + 'static>(items: Vec<T>) -> impl Stream<Item = Result<T>> + Send + 'static {
    stream::iter(items).then(|item| async {
        yield_now().await;
        Ok(item)
    })
}

#[async_trait]
impl ChangeSource for MemorySource {
    async fn describe(&self, table: &TableName) -> Result<Description> {
        yield_now().await;
        let database = self.database();
        let found = database.table(table)?;
        let tracking = match self.tracking {
            MemoryTracking::Nothing => Tracking::Full {
                reason: "the memory source was told to track nothing".into(),
            },
            MemoryTracking::Timestamp { .. } | MemoryTracking::Versions => Tracking::Incremental {
                how: format!("{:?}", self.tracking),
                reason: "the test asked for it".into(),
                sees_deletes: self.tracking == MemoryTracking::Versions,
            },
        };
        Ok(Description {
            schema: sample_schema(found.keyed),
            approximate_rows: Some(found.rows.len() as u64),
            tracking,
            keeps_deleted: false,
            findings: vec![],
        })
    }

    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut> {
        yield_now().await;
        let database = self.database();
        if let Some(after) = after {
            let gap = |why: &str, oldest| Cut::Gap {
                table: table.clone(),
                why: why.to_owned(),
                oldest,
            };
            if self.is_on(SourceRule::Incarnation) && after.incarnation != database.incarnation.to_string() {
                return Ok(gap("the source was restored", None));
            }
            if self.tracking == MemoryTracking::Versions && value_of(after)? < database.oldest_version {
                let oldest = database.position(database.oldest_version);
                return Ok(gap("the history was cleaned up", Some(oldest)));
            }
        }
        if self.tracking == MemoryTracking::Versions {
            return Ok(complete(database.position(database.version), None));
        }
        let now = self.clock.now().0;
        let oldest = database.open.values().copied().min().filter(|start| *start < now);
        let upto = match oldest {
            Some(start) if self.is_on(SourceRule::OpenTransactions) => start,
            _ => now,
        };
        let holding = oldest.map(|start| format!("a transaction that began at {start}"));
        // A clock that stepped back does not move the watermark back.
        let floor = after.map(value_of).transpose()?.unwrap_or(i64::MIN);
        Ok(complete(database.position(upto.max(floor)), holding))
    }

    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        _start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        if !schema.has_key() {
            let whole = Chunk {
                selection: Selection::All,
                through: None,
            };
            return Ok(Box::pin(paced(vec![whole])));
        }
        let (source, table) = (self.clone(), table.clone());
        Ok(Box::pin(stream::try_unfold(
            (after, None),
            move |(lower, last)| {
                let (source, table) = (source.clone(), table.clone());
                async move {
                    yield_now().await;
                    let after = lower.as_ref().map(key_of).transpose()?;
                    let database = source.database();
                    let keys = database.table(&table)?.rows.keys().map(|(id, _)| *id);
                    let mut above = keys.filter(|id| after.is_none_or(|after| *id > after));
                    // What comes behind the last key that there was at first is for the increments.
                    let Some(last) = last.or_else(|| above.clone().next_back()) else {
                        return Ok(None);
                    };
                    let upper = match above.by_ref().take(rows.max(1)).last() {
                        Some(id) if after.is_none_or(|after| after < last) => id.min(last),
                        _ => return Ok(None),
                    };
                    let upper = Bound::new(upper.to_string());
                    let chunk = Chunk {
                        selection: Selection::Range {
                            lower,
                            upper: upper.clone(),
                        },
                        through: Some(upper.clone()),
                    };
                    Ok(Some((chunk, (Some(upper), Some(last)))))
                }
            },
        )))
    }

    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches> {
        if at.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the memory source keeps no old rows to read",
            ));
        }
        yield_now().await;
        let rows = self.selected(table, &selection)?;
        let (table, schema) = (table.clone(), schema.clone());
        let columns = schema.arrow().fields().iter();
        let columns: Vec<_> = columns
            .filter_map(|field| sample_schema(true).arrow().index_of(field.name()).ok())
            .collect();
        let batches = rows.chunks(ROWS_PER_BATCH).map(|rows| {
            let rows = sample_batch(rows).project(&columns);
            rows.expect("the columns are those of the sample")
        });
        let batches: Vec<_> = batches.collect();
        Ok(Box::pin(paced(batches).map(move |rows| {
            ChangeBatch::uniform(
                table.clone(),
                schema.clone(),
                rows?,
                Op::Insert,
                Presence::Unknown,
            )
        })))
    }

    async fn changes(
        &self,
        table: &TableName,
        _schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>> {
        yield_now().await;
        let (from, to) = (value_of(after)?, value_of(upto)?);
        let mut events = Vec::new();
        match self.tracking {
            MemoryTracking::Timestamp { tolerance } => {
                let window = self.window(table, from, to, tolerance)?;
                events.extend(window.into_iter().map(SourceEvent::Changes));
            }
            MemoryTracking::Versions => {
                for version in from + 1..to {
                    let told = self.told(table, version)?;
                    events.extend(told.into_iter().map(SourceEvent::Changes));
                    let at = self.database().position(version);
                    events.push(SourceEvent::Boundary { at });
                }
                if to > from {
                    let told = self.told(table, to)?;
                    events.extend(told.into_iter().map(SourceEvent::Changes));
                }
            }
            MemoryTracking::Nothing => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this memory source tracks nothing",
                ));
            }
        }
        events.push(SourceEvent::Boundary { at: upto.clone() });
        Ok(Box::pin(paced(events)))
    }

    async fn may_have_changed(&self, tables: &[(TableName, Position)]) -> Result<Vec<Look>> {
        yield_now().await;
        let database = self.database();
        let changed = |table: &TableName, after: &Position| {
            let after = value_of(after)?;
            Ok::<_, Error>(match self.tracking {
                MemoryTracking::Timestamp { .. } => {
                    let mut rows = database.table(table)?.rows.values();
                    rows.any(|stamped| stamped.stamp >= after)
                }
                MemoryTracking::Versions => database.version > after,
                MemoryTracking::Nothing => true,
            })
        };
        let look = |(table, after): &(TableName, Position)| match changed(table, after) {
            Ok(true) => Look::Perhaps,
            Ok(false) => Look::Quiet,
            Err(error) => Look::Failed {
                why: error.to_string(),
            },
        };
        Ok(tables.iter().map(look).collect())
    }

    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        yield_now().await;
        self.database().acknowledged.insert(table.clone(), upto.clone());
        Ok(())
    }
}

fn complete(upto: Position, holding: Option<String>) -> Cut {
    Cut::Complete {
        upto,
        holding: holding.map(|who| Holder { who, age: None }),
        assumed: None,
        warning: None,
        keeps: None,
    }
}

#[cfg(test)]
mod tests;
