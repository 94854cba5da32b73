//! Rows that are not applied because of their odd time: they go whole into a table of their own, one per key.
//!
//! # Invariants
//!
//! - A row is among the dead letters before the position moves behind the window that it was read in.
//! - What the target holds as it is is no dead letter. A row that is read again and has not changed stays the letter that it is.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use arrow_select::filter::{filter, filter_record_batch};
use cdc::Fold;
use futures::StreamExt;
use model::{
    Batches, ChangeBatch, ChangeSource, Committed, Epoch, Error, ErrorKind, ExpectedTimes, LateDataReport,
    Mark, OddTime, Op, Position, Presence, Result, RowEncoder, RowHash, RowHasher, Selection, SyncId,
    TableName, TableSchema,
};

use super::checkpoint::Checkpoint;
use super::late::{DEAD_LETTER, Expected};
use super::repair::key_columns;
use super::{Session, TableRun, TableSync};
use crate::spill::weight;

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

/// What dead letters tell besides the row.
struct Envelope<'a> {
    table: &'a TableName,
    /// When the run or the cycle began that found the rows, in milliseconds since 1970.
    seen_at: i64,
    epoch: Epoch,
    /// Up to where that run read the source.
    upto: &'a Position,
}

impl Envelope<'_> {
    /// The columns of a table's rows, and behind them what a dead letter tells besides. The first of these is the reason.
    fn schema(rows: &TableSchema) -> Result<Arc<TableSchema>> {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let added = [
            ("dead_letter_reason", DataType::Utf8),
            ("dead_letter_table", DataType::Utf8),
            ("dead_letter_seen_at", instant),
            ("dead_letter_epoch", DataType::Int64),
            ("dead_letter_position", DataType::Utf8),
        ];
        let mut fields = rows.arrow().fields().to_vec();
        let mut declared = rows.declared().to_vec();
        for (name, ty) in added {
            fields.push(Arc::new(Field::new(name, ty, false)));
            declared.push(None);
        }
        TableSchema::new(Arc::new(Schema::new(fields)), rows.key().to_vec(), declared)
    }

    /// These rows with their reasons as letters.
    fn of(&self, schema: &TableSchema, rows: &RecordBatch, reasons: &[OddTime]) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        let text = |text: &str| {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef
        };
        let seen_at = TimestampMicrosecondArray::from(vec![self.seen_at.saturating_mul(1_000); count]);
        let epoch = i64::try_from(self.epoch.0).unwrap_or(i64::MAX);
        columns.extend([
            Arc::new(StringArray::from_iter_values(
                reasons.iter().map(|reason| reason.name()),
            )) as ArrayRef,
            text(&self.table.to_string()),
            Arc::new(seen_at.with_timezone("UTC")),
            Arc::new(Int64Array::from(vec![epoch; count])),
            text(&self.upto.label),
        ]);
        RecordBatch::try_new(schema.arrow().clone(), columns)
            .map_err(|e| Error::internal("rows do not fit the table of dead letters").caused_by(e))
    }
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
        let differing = self.not_in_target(session, odd).await?;
        let expected = self.expected(&session.schema, times);
        let envelope = Envelope {
            table: &self.sync.source_table,
            seen_at: session.began.0,
            epoch: session.epoch,
            upto,
        };
        let schema = Envelope::schema(&session.schema)?;
        let mut letters = Vec::new();
        for rows in &differing {
            let reasons: Vec<OddTime> = expected.dead(rows)?.into_iter().flatten().collect();
            let reports = expected.odd(rows, DEAD_LETTER)?;
            letters.push((envelope.of(&schema, rows, &reasons)?, reports));
        }
        if letters.is_empty() {
            return Ok(true);
        }
        let mut run = TableRun::new(self.runner, &sync, self.cancel);
        let put = run.put(session, schema, letters, from).await;
        for warning in run.tally.warnings {
            self.tally.warn(warning);
        }
        let put = put?;
        let is_put = put.is_some();
        let put = put.unwrap_or_default();
        self.tally.lateness_of(&put);
        self.tally.odd_times(put);
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

    /// Those of the rows that the target does not hold as they are. It is asked by staging them, which is then thrown away.
    async fn not_in_target(&mut self, session: &Session, odd: Odd) -> Result<Vec<RecordBatch>> {
        let (sync, table) = (&self.sync.sync, &self.sync.target_table);
        let rows: Batches = Box::pin(futures::stream::iter(odd.fold.finish()));
        let staging = self.sync.sink.stage(sync, table, &session.schema, rows);
        let staged = self.cancellable(staging).await?;
        self.tally.staged(&staged);
        self.discard(staged.staged).await;
        Ok(staged.not_identical)
    }

    /// Puts letters into the table of dead letters, which this run is of, unless they are there. Returns which were put there; `None` if
    /// somebody else has committed in between.
    async fn put(
        &mut self,
        session: &Session,
        schema: Arc<TableSchema>,
        letters: Vec<(RecordBatch, Vec<LateDataReport>)>,
        from: &Position,
    ) -> Result<Option<Vec<LateDataReport>>> {
        let mut newest = self.committed().await?;
        self.not_fenced(session.epoch, &newest)?;
        let mut session = Session {
            schema,
            tracking: session.tracking.clone(),
            epoch: session.epoch,
            presence: Presence::Unknown,
            checkpoint: Checkpoint::default(),
            full: false,
            began: session.began,
            keeps_deleted: true,
        };
        self.prepare(&session, &newest).await?;
        let (mut new, mut told) = (Vec::new(), Vec::new());
        for (letters, reports) in letters {
            let there = self.there(&session.schema, &newest, &letters).await?;
            let mut hasher = contents(&session.schema, &letters)?;
            let is_new: Vec<bool> = (0..letters.num_rows())
                .map(|row| !there.contains(&hasher.hash(row)))
                .collect();
            let reports = reports.into_iter().zip(&is_new);
            told.extend(reports.filter_map(|(report, is_new)| is_new.then_some(report)));
            let (table, schema) = (self.sync.source_table.clone(), session.schema.clone());
            let batch = ChangeBatch::uniform(table, schema, letters, Op::Upsert, Presence::Unknown)?;
            new.push(part(&batch, is_new.into_iter())?);
        }
        if told.is_empty() {
            return Ok(Some(told));
        }
        let rows: Batches = Box::pin(futures::stream::iter(new.into_iter().map(Ok)));
        let (sync, table) = (&self.sync.sync, &self.sync.target_table);
        let staging = self.sync.sink.stage(sync, table, &session.schema, rows);
        let staged = self.cancellable(staging).await?.staged;
        // Nothing is claimed about the window: it is read again if this run ends before the target has its rows.
        let mark = Mark::At(from.clone());
        let put = self.advance(&mut session, &mut newest, mark, staged).await?;
        Ok(put.then_some(told))
    }

    /// What the letters with these keys hold that are there.
    async fn there(
        &self,
        schema: &Arc<TableSchema>,
        newest: &Committed,
        letters: &RecordBatch,
    ) -> Result<HashSet<RowHash>> {
        let mut there = HashSet::new();
        let Some(place) = self.sync.dead_letters.as_ref().filter(|_| newest.mark.is_some()) else {
            return Ok(there);
        };
        let keys = key_columns(schema, letters)?;
        let read = || {
            let keys = Selection::Keys(keys.clone());
            place.reader.read(&place.table, schema, keys, None)
        };
        let mut rows = self.retried(read).await?;
        while let Some(batch) = self.cancellable(async { Ok(rows.next().await) }).await? {
            let batch = batch?;
            let mut hasher = contents(schema, &batch.rows)?;
            there.extend((0..batch.len()).map(|row| hasher.hash(row)));
        }
        Ok(there)
    }
}

/// Hashes the rows in letters, and the reasons.
fn contents(schema: &TableSchema, letters: &RecordBatch) -> Result<RowHasher> {
    let reason = schema.arrow().index_of("dead_letter_reason");
    let reason = reason.map_err(|e| Error::internal("dead letters have no reason").caused_by(e))?;
    Ok(RowHasher::new(RowEncoder::new(letters, 0..=reason)?))
}
