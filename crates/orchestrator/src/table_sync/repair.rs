//! Single keys again: what a comparison found different is brought in line, whatever the increments can see.
//!
//! Nothing is claimed about other rows, so the mark moves no further than empty increments have come already; what changes after the
//! rows are read is delivered by the increments. Only where their history is lost does it move to a cut that was taken before the
//! comparison began.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch, new_null_array};
use arrow_cast::cast;
use arrow_select::filter::filter_record_batch;
use futures::future::ready;
use futures::{StreamExt, TryStreamExt};
use model::{
    Batches, ChangeBatch, Committed, Error, ErrorKind, Mark, Op, Presence, Result, Selection, Staged,
    TableName, TableSchema, column_like,
};

use super::gather::Gathered;
use super::{Attempt, Session, TableRun};
use crate::progress::ProgressEvent;
use crate::verify::{Differing, keys_of};

/// What is to be brought in line.
#[derive(Debug, Clone)]
pub struct Repair {
    /// The keys.
    pub differing: Differing,
    /// How many rows the target has.
    pub rows: u64,
    /// The greatest part of the target's rows that may be deleted.
    pub most_deletes_percent: u64,
}

impl TableRun<'_> {
    /// Refuses what cannot or should not be repaired.
    pub(super) fn may_repair(&self, repair: &Repair, session: &Session, newest: &Committed) -> Result<()> {
        let refuse = |kind, why: &'static str, hint: &'static str| {
            Err(Error::new(kind, why)
                .with("table", &self.sync.source_table)
                .hint(hint))
        };
        if !session.schema.has_key() {
            return refuse(
                ErrorKind::Unsupported,
                "rows of a table without a key cannot be repaired one by one",
                "`sync-cli run --full` replaces them in one commit",
            );
        }
        if !matches!(newest.mark, Some(Mark::At(_))) {
            return refuse(
                ErrorKind::NotFound,
                "the first copy has not ended, so what is missing is no difference",
                "run `sync-cli run` first",
            );
        }
        let (deletes, percent) = (repair.differing.extra(), repair.most_deletes_percent);
        refuse_deletes(&self.sync.source_table, deletes, repair.rows, percent)
    }

    /// Writes the rows that the source has now, and deletes those that it does not find, in one commit: the source may find a row by
    /// another spelling of its key, and until the new spelling is there the old one must be.
    pub(super) async fn repair(&mut self, session: &mut Session, newest: &Committed) -> Result<Attempt> {
        self.tally.mode = "repair".into();
        let mut newest = newest.clone();
        let sync = self.sync;
        let (Some(repair), Some(mark)) = (&sync.repair, &newest.mark) else {
            return Err(Error::internal("there is nothing to repair"));
        };
        let _share = self.cancellable(self.runner.memory.share()).await?;
        let applied = session.applied(mark.position().clone(), &newest);
        let parts = self.fetched(session, &repair.differing).await?;
        let restart = &repair.differing.restart;
        let position = match restart {
            Some(restart) => session.without_added(restart.clone(), &newest),
            // Of a source that was restored since the comparison, nothing tells what was pending then.
            None => {
                self.cut(Some(&applied)).await?;
                applied
            }
        };
        let staged = self.staged(session, parts).await?;
        if !staged.is_empty() || restart.is_some() {
            let mark = Mark::At(position.clone());
            if !self.advance(session, &mut newest, mark, staged).await? {
                return Ok(Attempt::Overtaken);
            }
        }
        self.tally.reached(&newest, position);
        Ok(Attempt::Done)
    }

    /// What is gone from the source, and what is there, each key once. What does not fit into memory waits in files.
    async fn fetched(&self, session: &Session, differing: &Differing) -> Result<Vec<Batches>> {
        let schema = &session.schema;
        let keys_alone = keys_of(schema, schema)?;
        let (mut gone, mut there) = (Gathered::default(), Gathered::default());
        for part in &differing.keys {
            let unfit = |e| Error::internal("keys to delete cannot be taken").caused_by(e);
            let keys = filter_record_batch(&part.keys, &part.extra).map_err(unfit)?;
            let keys = key_columns(schema, &keys)?;
            self.gather(&mut gone, &keys_alone, keys, Op::Delete).await?;
        }
        for part in &differing.keys {
            let (source, table) = (&self.sync.source, &self.sync.source_table);
            let keys = Selection::Keys(key_columns(schema, &part.keys)?);
            let read = self.cancellable(source.read(table, schema, keys, None));
            let mut read = read.await?;
            while let Some(batch) = self.cancellable(async { Ok(read.next().await) }).await? {
                let rows = batch?.rows;
                self.hear(&ProgressEvent::Read {
                    rows: rows.num_rows() as u64,
                    bytes: rows.get_array_memory_size() as u64,
                });
                if !gone.is_empty() {
                    let keys = key_columns(schema, &rows)?;
                    self.gather(&mut gone, &keys_alone, keys, Op::Upsert).await?;
                }
                self.gather(&mut there, schema, rows, Op::Upsert).await?;
            }
        }
        let mut parts = Vec::new();
        if !gone.is_empty() {
            parts.push(deletes(schema, self.folded(gone).await?));
        }
        if !there.is_empty() {
            parts.push(self.folded(there).await?);
        }
        Ok(parts)
    }

    /// Takes rows for the commit. What is gone and what is there are gathered beside each other, so each may take half of the memory.
    async fn gather(
        &self,
        gathered: &mut Gathered,
        schema: &Arc<TableSchema>,
        rows: RecordBatch,
        op: Op,
    ) -> Result<()> {
        let table = self.sync.source_table.clone();
        let batch = ChangeBatch::uniform(table, schema.clone(), rows, op, Presence::Unknown)?;
        let (bytes, spill) = (self.sync.flush.bytes / 2, &self.runner.spill);
        let spilled = gathered.push(batch, bytes, spill, self.cancel).await?;
        self.hear_spilled(spilled);
        Ok(())
    }

    /// Stages each part by itself: two spellings of a key may be one row to the target.
    async fn staged(&mut self, session: &Session, parts: Vec<Batches>) -> Result<Vec<Staged>> {
        let (sync, table) = (&self.sync.sync, &self.sync.target_table);
        let mut staged = Vec::new();
        for part in parts {
            let staging = self.sync.sink.stage(sync, table, &session.schema, part);
            match self.cancellable(staging).await {
                Ok(outcome) => {
                    self.tally.staged(&outcome);
                    staged.extend(outcome.staged);
                }
                Err(error) => {
                    self.discard(staged).await;
                    return Err(error);
                }
            }
        }
        Ok(staged)
    }
}

/// The keys that are deleted after all, as changes of the whole table.
fn deletes(schema: &Arc<TableSchema>, keys: Batches) -> Batches {
    let schema = schema.clone();
    let deletes = keys.try_filter_map(move |batch| ready(deleted(&schema, &batch)));
    deletes.boxed()
}

fn deleted(schema: &Arc<TableSchema>, batch: &ChangeBatch) -> Result<Option<ChangeBatch>> {
    let unfit = |e| Error::internal("keys to delete do not fit their table").caused_by(e);
    let gone: BooleanArray = (0..batch.len())
        .map(|row| Some(batch.op(row) == Op::Delete))
        .collect();
    let keys = filter_record_batch(&batch.rows, &gone).map_err(unfit)?;
    if keys.num_rows() == 0 {
        return Ok(None);
    }
    let columns = schema.arrow().fields().iter().map(|field| {
        let key = column_like(keys.schema_ref(), field.name()).map(|place| keys.column(place).clone());
        key.unwrap_or_else(|| new_null_array(field.data_type(), keys.num_rows()))
    });
    let rows = RecordBatch::try_new(schema.relaxed(), columns.collect()).map_err(unfit)?;
    let table = batch.table.clone();
    ChangeBatch::uniform(table, schema.clone(), rows, Op::Delete, batch.presence).map(Some)
}

/// Refuses to delete more than so many percent of a target's rows.
pub(crate) fn refuse_deletes(table: &TableName, deletes: u64, rows: u64, percent: u64) -> Result<()> {
    if deletes.saturating_mul(100) <= rows.saturating_mul(percent) {
        return Ok(());
    }
    let why = format!("{deletes} of {rows} rows would be deleted, which is more than {percent} %");
    Err(Error::new(ErrorKind::Config, why)
        .with("table", table)
        .hint("look whether the source is the right one and complete; then `sync-cli verify --repair --confirm-deletes`"))
}

/// The key columns with the types and in the order of `schema`.
pub(super) fn key_columns(schema: &TableSchema, keys: &RecordBatch) -> Result<RecordBatch> {
    let unfit = |e| Error::internal("differing keys do not fit their table").caused_by(e);
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for &index in schema.key() {
        let field = schema.arrow().field(index);
        let place = column_like(keys.schema_ref(), field.name()).ok_or_else(|| {
            Error::internal(format!("the differing keys have no column {:?}", field.name()))
        })?;
        columns.push(cast(keys.column(place), field.data_type()).map_err(unfit)?);
        fields.push(field.clone());
    }
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns).map_err(unfit)
}
