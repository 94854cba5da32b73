//! Single keys again: what a comparison found different is brought in line, whatever the increments can see.
//!
//! The mark stays where it is, because nothing is claimed about other rows; what changes after the rows are read is delivered by
//! the increments. Only where their history is lost does it move, to a cut that was taken before the comparison began.

use std::sync::Arc;

use arrow_array::{RecordBatch, new_null_array};
use arrow_cast::cast;
use arrow_select::filter::filter_record_batch;
use cdc::Fold;
use futures::StreamExt;
use model::{
    Batches, ChangeBatch, Committed, Error, ErrorKind, Mark, Op, Position, Presence, Result, Selection,
    Staged, TableSchema,
};

use super::{Attempt, Session, TableRun};
use crate::progress::ProgressEvent;
use crate::verify::Differing;

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
        let refuse = |kind, why: String, hint: &'static str| {
            Err(Error::new(kind, why)
                .with("table", &self.sync.source_table)
                .hint(hint))
        };
        if !session.schema.has_key() {
            return refuse(
                ErrorKind::Unsupported,
                "rows of a table without a key cannot be repaired one by one".into(),
                "`sync-cli run --full` replaces them in one commit",
            );
        }
        if !matches!(newest.mark, Some(Mark::At(_))) {
            return refuse(
                ErrorKind::NotFound,
                "the first copy has not ended, so what is missing is no difference".into(),
                "run `sync-cli run` first",
            );
        }
        let deletes = repair.differing.extra();
        let percent = repair.most_deletes_percent;
        if deletes.saturating_mul(100) > repair.rows.saturating_mul(percent) {
            return refuse(
                ErrorKind::Config,
                format!(
                    "{deletes} of {} rows would be deleted, which is more than {percent} %",
                    repair.rows
                ),
                "look whether the source is the right one and complete; then `sync-cli verify --repair --confirm-deletes`",
            );
        }
        Ok(())
    }

    /// Deletes the rows that the source does not have, then writes those that it has. A key that the source takes for equal to
    /// another one may be among both, so they are two commits.
    pub(super) async fn repair(&mut self, session: &mut Session, newest: &Committed) -> Result<Attempt> {
        self.tally.mode = "repair".into();
        let mut newest = newest.clone();
        let Some(Repair { differing, .. }) = self.sync.repair.clone() else {
            return Err(Error::internal("there is nothing to repair"));
        };
        let position = session.checkpoint.beyond(&newest);
        let mut gone = Fold::new();
        for part in &differing.keys {
            let unfit = |e| Error::internal("keys to delete cannot be taken").caused_by(e);
            let keys = filter_record_batch(&part.keys, &part.extra).map_err(unfit)?;
            gone.push(self.deleted(&session.schema, &keys)?)?;
        }
        if !self.write(session, &mut newest, gone).await? {
            return Ok(Attempt::Overtaken);
        }
        let mut there = Fold::new();
        for part in &differing.keys {
            let (source, table) = (&self.sync.source, &self.sync.source_table);
            let keys = Selection::Keys(key_columns(&session.schema, &part.keys)?);
            let read = self.cancellable(source.read(table, &session.schema, keys, None));
            let mut rows = read.await?;
            while let Some(batch) = rows.next().await {
                there.push(self.changed(&session.schema, batch?.rows, Op::Upsert)?)?;
            }
        }
        let ended = match &differing.restart {
            Some(restart) => self.restart(session, &mut newest, there, restart).await?,
            None => self.write(session, &mut newest, there).await?,
        };
        if !ended {
            return Ok(Attempt::Overtaken);
        }
        if let Some(mark) = &newest.mark {
            let kept = position.filter(|_| differing.restart.is_none());
            let position = kept.unwrap_or_else(|| mark.position().clone());
            self.tally.reached(&newest, position);
        }
        Ok(Attempt::Done)
    }

    /// Commits what is not in the target as it is. `false` if somebody else committed in between.
    async fn write(&mut self, session: &mut Session, newest: &mut Committed, rows: Fold) -> Result<bool> {
        let Some(mark) = newest.mark.clone().filter(|_| !rows.is_empty()) else {
            return Ok(true);
        };
        let staged = self.staged(session, rows).await?;
        if staged.is_empty() {
            return Ok(true);
        }
        self.advance(session, newest, mark, staged).await
    }

    /// Commits rows with the position from which increments go on, which ends a gap.
    async fn restart(
        &mut self,
        session: &mut Session,
        newest: &mut Committed,
        rows: Fold,
        restart: &Position,
    ) -> Result<bool> {
        let staged = self.staged(session, rows).await?;
        self.advance(session, newest, Mark::At(restart.clone()), staged)
            .await
    }

    async fn staged(&mut self, session: &Session, rows: Fold) -> Result<Vec<Staged>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (sync, table) = (&self.sync.sync, &self.sync.target_table);
        let rows: Batches = Box::pin(futures::stream::iter(rows.finish()));
        let staging = self.sync.sink.stage(sync, table, &session.schema, rows);
        let outcome = self.cancellable(staging).await?;
        self.tally.staged(&outcome);
        Ok(outcome.staged)
    }

    fn deleted(&self, schema: &Arc<TableSchema>, keys: &RecordBatch) -> Result<ChangeBatch> {
        let keys = key_columns(schema, keys)?;
        let columns = schema.arrow().fields().iter().map(|field| {
            let key = keys.column_by_name(field.name()).cloned();
            key.unwrap_or_else(|| new_null_array(field.data_type(), keys.num_rows()))
        });
        let rows = RecordBatch::try_new(schema.relaxed(), columns.collect())
            .map_err(|e| Error::internal("keys to delete do not fit their table").caused_by(e))?;
        self.changed(schema, rows, Op::Delete)
    }

    fn changed(&self, schema: &Arc<TableSchema>, rows: RecordBatch, op: Op) -> Result<ChangeBatch> {
        self.hear(&ProgressEvent::Read {
            rows: rows.num_rows() as u64,
            bytes: rows.get_array_memory_size() as u64,
        });
        let table = self.sync.source_table.clone();
        ChangeBatch::uniform(table, schema.clone(), rows, op, Presence::Unknown)
    }
}

/// The key columns with the types and in the order of `schema`.
fn key_columns(schema: &TableSchema, keys: &RecordBatch) -> Result<RecordBatch> {
    let unfit = |e| Error::internal("differing keys do not fit their table").caused_by(e);
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for &index in schema.key() {
        let field = schema.arrow().field(index);
        let column = keys.column_by_name(field.name()).ok_or_else(|| {
            Error::internal(format!("the differing keys have no column {:?}", field.name()))
        })?;
        columns.push(cast(column, field.data_type()).map_err(unfit)?);
        fields.push(field.clone());
    }
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), columns).map_err(unfit)
}
