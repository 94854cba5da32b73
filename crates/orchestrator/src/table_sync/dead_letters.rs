//! Rows that are not applied because of their odd time: they go whole into a table of their own, one per key.
//!
//! # Invariants
//!
//! - A row is among the dead letters before the position moves behind the window that it was read in.
//! - What the target holds as it is is no dead letter. A row that is read again and has not changed stays the letter that it is.

mod letter;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::Field;
use arrow_select::filter::{filter, filter_record_batch};
use cdc::Fold;
use futures::StreamExt;
use model::{
    Batches, ChangeBatch, ChangeSource, Committed, Epoch, Error, ErrorKind, ExpectedTimes, Mark, OddTime, Op,
    Position, Presence, Result, RowEncoder, RowHash, RowHasher, Selection, SyncId, TableName, TableSchema,
};

use super::checkpoint::Checkpoint;
use super::late::{DEAD_LETTER, Expected};
use super::repair::key_columns;
use super::{Session, TableRun, TableSync};
use crate::spill::weight;
use letter::{Envelope, compared, is_letter};

/// Where rows go that are not applied because of their time.
#[derive(Clone)]
pub struct DeadLetters {
    /// The table, by its name in the target. It is created with the first of them.
    pub table: TableName,
    /// What reads the table.
    pub reader: Arc<dyn ChangeSource>,
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// Rows of an increment whose time is odd, and that the target perhaps holds as they are.
#[derive(Default)]
pub(super) struct Odd {
    fold: Fold,
    pub(super) bytes: usize,
}

impl Odd {
    /// Takes the rows that may become dead letters. Returns the others.
    pub(super) fn divert(&mut self, batch: ChangeBatch, expected: &Expected<'_>) -> Result<ChangeBatch> {
        if batch.presence != Presence::PerhapsIdentical || expected.times.dead_letters.is_empty() {
            return Ok(batch);
        }
        let dead = expected.dead(&batch.rows)?;
        let dead: Vec<bool> = dead
            .iter()
            .enumerate()
            // A row that is marked as deleted goes, whatever its time.
            .map(|(row, kind)| kind.is_some() && batch.op(row) != Op::Delete)
            .collect();
        if !dead.contains(&true) {
            return Ok(batch);
        }
        let odd = part(&batch, dead.iter().copied())?;
        self.bytes += weight(&odd);
        self.fold.push(odd)?;
        part(&batch, dead.iter().map(|dead| !dead))
    }
}

fn part(batch: &ChangeBatch, wanted: impl Iterator<Item = bool>) -> Result<ChangeBatch> {
    let wanted: BooleanArray = wanted.map(Some).collect();
    let unfit = |e| Error::internal("rows with odd times cannot be told from others").caused_by(e);
    let ops = filter(&batch.ops, &wanted).map_err(unfit)?;
    ChangeBatch::new(
        batch.table.clone(),
        batch.schema.clone(),
        filter_record_batch(&batch.rows, &wanted).map_err(unfit)?,
        ops.to_data().into(),
        batch.presence,
    )
}

impl TableRun<'_> {
    /// Puts those of the rows among the dead letters that the target does not hold as they are. `false` if somebody else has
    /// committed there in between.
    pub(super) async fn put_dead_letters(
        &mut self,
        session: &Session,
        odd: Odd,
        times: Option<&ExpectedTimes>,
        (from, upto): (&Position, &Position),
    ) -> Result<bool> {
        let Some(times) = times.filter(|_| !odd.fold.is_empty()) else {
            return Ok(true);
        };
        let sync = self.sync_of_dead_letters()?;
        let expected = Expected {
            table: &sync.source_table,
            schema: &session.schema,
            times,
        };
        let envelope = Envelope {
            table: &sync.source_table,
            seen_at: session.began.0,
            epoch: session.epoch,
            upto,
        };
        let mut run = TableRun::new(self.runner, &sync, self.cancel);
        let mut place = run.letters(session).await?;
        let (mut rows, mut letters) = (Vec::new(), Vec::new());
        for batch in odd.fold.finish() {
            let batch = batch?;
            let reasons: Vec<OddTime> = expected.dead(&batch.rows)?.into_iter().flatten().collect();
            let letter = envelope.of(&place.session.schema, &batch.rows, &reasons)?;
            let there = run.there(&place, &letter.rows).await?;
            let is_new = || there.iter().map(|there| !there);
            rows.push(part(&batch, is_new())?);
            letters.push(part(&letter, is_new())?);
        }
        let differ = self.not_in_target(session, &rows).await?;
        let mut told = Vec::new();
        let mut new = Vec::new();
        for ((rows, letters), differ) in rows.iter().zip(&letters).zip(differ) {
            told.extend(expected.odd(&part(rows, differ.iter().copied())?.rows, DEAD_LETTER)?);
            new.push(part(letters, differ.into_iter())?);
        }
        let put = match told.is_empty() {
            true => Ok(true),
            false => run.put(&mut place, new, from).await,
        };
        for warning in run.tally.warnings {
            self.tally.warn(warning);
        }
        let is_put = put?;
        if is_put {
            self.tally.lateness_of(&told);
            self.tally.odd_times(told);
        }
        Ok(is_put)
    }

    /// The epoch that the table of dead letters has met; it may be later than what the target and the state store know of.
    pub(super) async fn epoch_of_dead_letters(&self) -> Result<Epoch> {
        let Ok(sync) = self.sync_of_dead_letters() else {
            return Ok(Epoch::default());
        };
        let committed = || sync.sink.committed(&sync.sync, &sync.target_table);
        Ok(self.retried(committed).await?.epoch)
    }

    /// The sync whose target the dead letters are.
    fn sync_of_dead_letters(&self) -> Result<TableSync> {
        let Some(place) = &self.sync.dead_letters else {
            return Err(Error::new(
                ErrorKind::Config,
                "rows are to be put among the dead letters, and the table sync names no table for them",
            )
            .with("table", &self.sync.source_table)
            .hint("set `TableSync::dead_letters`, or choose another policy in `capture.window`"));
        };
        Ok(TableSync {
            sync: SyncId::new(format!("{}/dead-letters", self.sync.sync)),
            target_table: place.table.clone(),
            adopt: false,
            ..self.sync.clone()
        })
    }

    /// Which of the rows the target does not hold as they are. It is asked by staging them, which is then thrown away; what it answers
    /// with has its own columns, so only the keys are taken from there.
    async fn not_in_target(&mut self, session: &Session, rows: &[ChangeBatch]) -> Result<Vec<Vec<bool>>> {
        if rows.iter().all(ChangeBatch::is_empty) {
            return Ok(vec![Vec::new(); rows.len()]);
        }
        let (sync, table, schema) = (&self.sync.sync, &self.sync.target_table, &session.schema);
        let batches: Vec<_> = rows
            .iter()
            .filter(|batch| !batch.is_empty())
            .map(|batch| Ok(batch.clone().asked_back()))
            .collect();
        let batches: Batches = Box::pin(futures::stream::iter(batches));
        let staging = self.sync.sink.stage(sync, table, schema, batches);
        let staged = self.cancellable(staging).await?;
        self.tally.staged(&staged);
        self.discard(staged.staged).await;
        let differing: usize = staged.not_identical.iter().map(RecordBatch::num_rows).sum();
        if staged.unchanged + differing as u64 != staged.read {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the target does not tell which rows it holds already, so dead letters cannot be told from them",
            )
            .with("table", table)
            .hint("choose another policy than `dead_letter` in `capture.window`"));
        }
        let mut keys = HashSet::new();
        for rows in &staged.not_identical {
            keys.extend(hashes_of_keys(schema, rows)?);
        }
        let differ = rows.iter().map(|batch| {
            let hashes = hashes_of_keys(schema, &batch.rows)?;
            Ok(hashes.into_iter().map(|hash| keys.contains(&hash)).collect())
        });
        differ.collect()
    }

    /// The table of dead letters, which this run is of, with the columns of a session's rows. It is created with the first letter only.
    async fn letters(&mut self, session: &Session) -> Result<Letters> {
        let newest = self.committed().await?;
        self.not_fenced(session.epoch, &newest)?;
        let mut letters = Letters {
            session: Session {
                schema: Envelope::schema(&session.schema)?,
                tracking: session.tracking.clone(),
                epoch: session.epoch,
                presence: Presence::Unknown,
                checkpoint: Checkpoint::default(),
                full: false,
                began: session.began,
                keeps_deleted: true,
            },
            newest,
            columns: None,
        };
        if letters.newest.mark.is_some() {
            self.prepare_letters(&letters).await?;
            if let Some(place) = &self.sync.dead_letters {
                let described = self.retried(|| place.reader.describe(&place.table)).await?;
                letters.columns = Some(described.schema);
            }
        }
        Ok(letters)
    }

    async fn prepare_letters(&mut self, letters: &Letters) -> Result<()> {
        match self.prepare(&letters.session, &letters.newest).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::SchemaMismatch => Err(error.hint(
                "rename or drop the table of dead letters: another one is created with the next of them",
            )),
            Err(error) => Err(error),
        }
    }

    /// Refuses a table that has the name, and holds something else.
    async fn refuse_another_table(&self) -> Result<()> {
        let Some(place) = &self.sync.dead_letters else {
            return Ok(());
        };
        let described = self.retried(|| place.reader.describe(&place.table)).await;
        match described {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(there) if is_letter(&there.schema) => Ok(()),
            Ok(_) => Err(Error::new(
                ErrorKind::Config,
                "a table has the name that the dead letters' would have, and holds something else",
            )
            .with("table", &place.table)
            .hint("rename one of the two tables, or choose another policy than `dead_letter` in `capture.window`")),
        }
    }

    /// Puts new letters into their table. `false` if somebody else has committed in between.
    async fn put(&mut self, letters: &mut Letters, new: Vec<ChangeBatch>, from: &Position) -> Result<bool> {
        if letters.newest.mark.is_none() {
            self.refuse_another_table().await?;
            self.prepare_letters(letters).await?;
        }
        let new = new.into_iter().filter(|batch| !batch.is_empty()).map(Ok);
        let rows: Batches = Box::pin(futures::stream::iter(new));
        let (sync, table) = (&self.sync.sync, &self.sync.target_table);
        let staging = self.sync.sink.stage(sync, table, &letters.session.schema, rows);
        let staged = self.cancellable(staging).await?.staged;
        // Nothing is claimed about the window: it is read again if this run ends before the target has its rows.
        let mark = Mark::At(from.clone());
        self.advance(&mut letters.session, &mut letters.newest, mark, staged)
            .await
    }

    /// Which of these letters are there, as far as their table has the columns.
    async fn there(&self, place: &Letters, letters: &RecordBatch) -> Result<Vec<bool>> {
        let (Some(reader), Some(columns)) = (&self.sync.dead_letters, &place.columns) else {
            return Ok(vec![false; letters.num_rows()]);
        };
        let keys = key_columns(columns, letters)?;
        let read = || {
            let keys = Selection::Keys(keys.clone());
            reader.reader.read(&reader.table, columns, keys, None)
        };
        let compared = compared(columns, letters)?;
        let mut there = HashSet::new();
        let mut rows = self.retried(read).await?;
        while let Some(batch) = self.cancellable(async { Ok(rows.next().await) }).await? {
            let batch = batch?;
            let names = compared.schema();
            let missing = |e| Error::internal("a column of dead letters is missing").caused_by(e);
            let place = |field: &Arc<Field>| batch.rows.schema_ref().index_of(field.name());
            let places: std::result::Result<Vec<_>, _> = names.fields().iter().map(place).collect();
            let places = places.map_err(missing)?;
            let mut hasher = RowHasher::new(RowEncoder::new(&batch.rows, places)?);
            there.extend((0..batch.len()).map(|row| hasher.hash(row)));
        }
        let mut hasher = RowHasher::new(RowEncoder::whole(&compared)?);
        Ok((0..letters.num_rows())
            .map(|row| there.contains(&hasher.hash(row)))
            .collect())
    }
}

/// The table of dead letters, as it is written to.
struct Letters {
    /// With the columns that letters have by now.
    session: Session,
    newest: Committed,
    /// The columns that the table has; `None` before the first letter.
    columns: Option<Arc<TableSchema>>,
}

fn hashes_of_keys(schema: &TableSchema, rows: &RecordBatch) -> Result<Vec<RowHash>> {
    let mut hasher = RowHasher::new(RowEncoder::whole(&key_columns(schema, rows)?)?);
    Ok((0..rows.num_rows()).map(|row| hasher.hash(row)).collect())
}
