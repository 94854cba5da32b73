//! From a stream of change batches to staged files.
//!
//! Rows that are surely new are written at once. Rows that are surely there already are written at once too, and their keys are
//! looked up later, many together, to delete the old rows by position. All others are held back, looked up, and written only if
//! they differ from what is there. If they are many, and hardly any of a sample is equal to what is there, reading all of that would
//! save next to nothing: they are written as if they were there.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use futures::StreamExt;
use iceberg_table::{LiveFile, LocatedRows, RowLocation, TableHandle, locate_and_compare, remove_files};
use model::{Batches, ChangeBatch, Error, ErrorKind, Ids, Op, Presence, Result, StageOutcome, TableSchema};

use crate::data_file::FileShape;
use crate::key_batch::KeyBatch;
use crate::options::WriterOptions;
use crate::partitioned_writer::PartitionedWriter;
use crate::staged::{Located, StagedFile, StagedFiles};

/// Keys that are looked up together at most; each takes some 150 bytes in memory with what is found.
const KEYS_AT_ONCE: usize = 1 << 19;

/// So many rows of unknown presence in a batch are worth a sample.
const MANY: usize = 4_096;
/// Rows of the sample.
const SAMPLE: usize = 128;
/// The rest is written unread if no more than one in so many of the sample is equal.
const SELDOM: usize = 8;

/// Stages all rows of a stream against the head of `table`.
pub(crate) async fn stage(
    table: &TableHandle,
    schema: &Arc<TableSchema>,
    rows: Batches,
    options: &WriterOptions,
    ids: Arc<dyn Ids>,
) -> Result<StageOutcome> {
    let mut writer = BatchWriter::new(table, schema, options, ids)?;
    let staged = match writer.take_all(rows).await {
        Ok(()) => writer.finish().await,
        Err(error) => Err(error),
    };
    match staged {
        Ok(outcome) => Ok(outcome),
        Err(error) => {
            remove_files(table, writer.files.abandon()).await;
            Err(error)
        }
    }
}

struct BatchWriter<'a> {
    table: &'a TableHandle,
    schema: &'a Arc<TableSchema>,
    options: &'a WriterOptions,
    files: PartitionedWriter,
    /// Keys whose rows are written, or are not written because they are deleted.
    keys: KeyBatch<Op>,
    /// Rows that are perhaps what is there.
    held: Vec<Held>,
    held_bytes: usize,
    /// Whether rows of unknown presence are written without a look at what is there, once a sample has told.
    unread: Option<bool>,
    staged: StagedFiles,
    read: u64,
    unchanged: u64,
    not_identical: Vec<RecordBatch>,
}

/// Rows that are perhaps what is there.
struct Held {
    rows: RecordBatch,
    /// Whether those that differ are given back.
    asked_back: bool,
}

impl<'a> BatchWriter<'a> {
    fn new(
        table: &'a TableHandle,
        schema: &'a Arc<TableSchema>,
        options: &'a WriterOptions,
        ids: Arc<dyn Ids>,
    ) -> Result<Self> {
        let shape = FileShape::new(table, schema)?;
        let is_whole = shape.is_whole();
        Ok(Self {
            table,
            schema,
            options,
            files: PartitionedWriter::new(table, shape, options, ids)?,
            keys: KeyBatch::new(schema),
            held: Vec::new(),
            held_bytes: 0,
            // A row that is written again loses what it has in columns that are not delivered any more.
            unread: (!is_whole).then_some(false),
            staged: StagedFiles::new(table),
            read: 0,
            unchanged: 0,
            not_identical: Vec::new(),
        })
    }

    async fn take_all(&mut self, mut batches: Batches) -> Result<()> {
        while let Some(batch) = batches.next().await {
            self.take(&batch?).await?;
        }
        self.settle_keys().await?;
        self.settle_held().await
    }

    async fn take(&mut self, batch: &ChangeBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.read += batch.len() as u64;
        if !self.schema.has_key() {
            return self.take_keyless(batch).await;
        }
        let is_upsert: BooleanArray = (0..batch.len())
            .map(|row| Some(batch.op(row) != Op::Delete))
            .collect();
        let upserts = filtered(&batch.rows, &is_upsert)?;
        match batch.presence {
            Presence::Absent => {
                self.staged.rows.inserted += upserts.num_rows() as u64;
                self.files.write(&upserts).await
            }
            // What the first increment reads again after a copy is of unknown presence, and mostly equal.
            Presence::PerhapsIdentical | Presence::Unknown => {
                let deletes = filtered(&batch.rows, &inverted(&is_upsert))?;
                self.look_up(&deletes, std::iter::repeat_n(Op::Delete, deletes.num_rows()))
                    .await?;
                let again = batch.presence == Presence::PerhapsIdentical;
                self.hold(upserts, again, again && batch.asked_back).await
            }
            Presence::Present => {
                self.files.write(&upserts).await?;
                self.look_up(&batch.rows, (0..batch.len()).map(|row| batch.op(row)))
                    .await
            }
        }
    }

    /// Without a key rows can be added and nothing else.
    async fn take_keyless(&mut self, batch: &ChangeBatch) -> Result<()> {
        let adds_only = (0..batch.len()).all(|row| matches!(batch.op(row), Op::Insert | Op::Upsert));
        if !adds_only || batch.presence == Presence::PerhapsIdentical {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a table without a key takes new rows only: a row that is there cannot be told from its twins",
            )
            .with("table", &batch.table)
            .hint("give the table a key in the configuration, or copy it as a whole with `--full`"));
        }
        self.staged.rows.inserted += batch.len() as u64;
        self.files.write(&batch.rows).await
    }

    async fn look_up(&mut self, rows: &RecordBatch, ops: impl IntoIterator<Item = Op>) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.keys.push(self.schema, rows, ops)?;
        if self.keys.len() >= KEYS_AT_ONCE {
            self.settle_keys().await
        } else {
            Ok(())
        }
    }

    /// Keeps rows that are to be compared. Those that are told `again` always are.
    async fn hold(&mut self, rows: RecordBatch, again: bool, asked_back: bool) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if !again && self.writes_unread(&rows).await? {
            self.files.write(&rows).await?;
            return self
                .look_up(&rows, std::iter::repeat_n(Op::Upsert, rows.num_rows()))
                .await;
        }
        self.held_bytes += rows.get_array_memory_size();
        self.held.push(Held { rows, asked_back });
        if self.held_bytes >= self.options.lookup_bytes {
            self.settle_held().await
        } else {
            Ok(())
        }
    }

    /// Whether rows like these are written without a look at what is there.
    async fn writes_unread(&mut self, rows: &RecordBatch) -> Result<bool> {
        if let Some(known) = self.unread {
            return Ok(known);
        }
        if rows.num_rows() < MANY {
            return Ok(false);
        }
        let step = rows.num_rows() / SAMPLE;
        let sampled: BooleanArray = (0..rows.num_rows()).map(|row| Some(row % step == 0)).collect();
        let sample = filtered(rows, &sampled)?;
        let located = compare(self.table, self.schema, &[sample]).await?;
        let equal = located.iter().filter(|there| is_same(there)).count();
        let unread = equal * SELDOM <= located.keys();
        self.unread = Some(unread);
        Ok(unread)
    }

    /// Deletes what the written and the deleted rows replace.
    async fn settle_keys(&mut self) -> Result<()> {
        if self.keys.len() == 0 {
            return Ok(());
        }
        self.staged.located_at = Some(Located {
            snapshot: self.table.metadata().current_snapshot_id(),
        });
        let (ops, located) = self.keys.locate(self.table, self.schema).await?;
        for (op, there) in ops.into_iter().zip(located.iter()) {
            match (op, there.is_empty()) {
                (Op::Delete, true) => {}
                (Op::Delete, false) => self.staged.rows.deleted += 1,
                (_, true) => self.staged.rows.inserted += 1,
                (_, false) => self.staged.rows.updated += 1,
            }
        }
        self.delete(located.by_file(0..located.keys()));
        Ok(())
    }

    /// Writes those of the held rows that differ from what is there.
    async fn settle_held(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        if held.is_empty() {
            return Ok(());
        }
        self.staged.located_at = Some(Located {
            snapshot: self.table.metadata().current_snapshot_id(),
        });
        let rows: Vec<RecordBatch> = held.iter().map(|held| held.rows.clone()).collect();
        let located = compare(self.table, self.schema, &rows).await?;
        let differing: Vec<bool> = located.iter().map(|there| self.settle_row(there)).collect();
        let replaced = (0..located.keys()).filter(|key| differing[*key]);
        self.delete(located.by_file(replaced));
        let mut differing = differing.into_iter();
        for Held { rows, asked_back } in held {
            let differs: BooleanArray = differing.by_ref().take(rows.num_rows()).map(Some).collect();
            let rows = filtered(&rows, &differs)?;
            self.files.write(&rows).await?;
            if asked_back && rows.num_rows() > 0 {
                self.not_identical.push(rows);
            }
        }
        Ok(())
    }

    /// Counts a held row, and says whether it differs from what is there.
    fn settle_row(&mut self, there: &[RowLocation]) -> bool {
        let is_same = is_same(there);
        match (is_same, there.is_empty()) {
            (true, _) => self.unchanged += 1,
            (false, true) => self.staged.rows.inserted += 1,
            (false, false) => self.staged.rows.updated += 1,
        }
        !is_same
    }

    fn delete(&mut self, rows: Vec<(Arc<LiveFile>, Vec<u64>)>) {
        for (file, positions) in rows {
            let deleted = self.staged.deletes.entry(file.path.to_string()).or_default();
            deleted.0.extend(positions);
        }
    }

    async fn finish(&mut self) -> Result<StageOutcome> {
        let mut staged = std::mem::replace(&mut self.staged, StagedFiles::new(self.table));
        for file in self.files.close().await? {
            staged.data_files.push(StagedFile::new(self.table, file)?);
        }
        let any = !staged.data_files.is_empty() || !staged.deletes.is_empty();
        Ok(StageOutcome {
            staged: if any {
                vec![staged.into_staged()?]
            } else {
                Vec::new()
            },
            read: self.read,
            unchanged: self.unchanged,
            not_identical: std::mem::take(&mut self.not_identical),
        })
    }
}

/// Whether one row is there, and equal to the one that it was compared with.
fn is_same(there: &[RowLocation]) -> bool {
    matches!(there, [only] if only.is_same == Some(true))
}

/// Finds the rows with the keys of `rows`, and compares them.
async fn compare(table: &TableHandle, schema: &TableSchema, rows: &[RecordBatch]) -> Result<LocatedRows> {
    match table.head() {
        Some(head) => locate_and_compare(table, head, schema, rows).await,
        None => {
            let keys = rows.iter().map(RecordBatch::num_rows).sum();
            Ok(LocatedRows::none(keys))
        }
    }
}

fn filtered(rows: &RecordBatch, wanted: &BooleanArray) -> Result<RecordBatch> {
    if wanted.true_count() == rows.num_rows() {
        return Ok(rows.clone());
    }
    filter_record_batch(rows, wanted).map_err(|e| Error::internal("rows cannot be filtered").caused_by(e))
}

fn inverted(flags: &BooleanArray) -> BooleanArray {
    flags.values().iter().map(|flag| Some(!flag)).collect()
}
