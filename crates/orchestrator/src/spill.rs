//! Changes between two boundaries that do not fit into memory: they wait in files until the boundary comes, so that a transaction of any size
//! is committed once. What a repair brings in line waits in the same way.
//!
//! The files divide the changes by the hash of their keys, so that each can be folded by itself; one that is still too large is divided again
//! by further bits. They have no name: the system removes them with the process, however it ends, and none is ever left behind.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek};
use std::iter::once;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, Int8Array, RecordBatch, UInt32Array};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use cdc::Fold;
use futures::stream::{StreamExt, try_unfold};
use model::{
    Batches, ChangeBatch, Error, ErrorKind, Presence, Result, RowEncoder, RowHasher, TableName, TableSchema,
};
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// What the index of a fold needs for a key.
const INDEX_BYTES: usize = 48;

/// Into how many files changes are divided, and how often at most. Where one key has more changes than fit, dividing does not help.
const FILES: usize = 16;
const DEEPEST: u32 = 8;

/// The rows of a file are gathered to about so many bytes before they are written, or to a share of the limit if that is less.
const MESSAGE: usize = 1 << 20;

/// Less than this is never divided.
const LEAST: usize = 1 << 20;

/// Where changes wait, and when.
#[derive(Debug, Clone)]
pub struct SpillOptions {
    /// The directory of the files. It should not be one in memory.
    pub directory: PathBuf,
}

impl Default for SpillOptions {
    /// The system's directory for temporary files.
    fn default() -> Self {
        Self {
            directory: std::env::temp_dir(),
        }
    }
}

impl SpillOptions {
    /// Makes a file there, which is gone at once.
    ///
    /// # Errors
    ///
    /// `Config` if files cannot be made there, `Exhausted` if the disk is full.
    pub fn check(&self) -> Result<()> {
        self.file().map(drop)
    }

    fn file(&self) -> Result<File> {
        let directory = &self.directory;
        let file = std::fs::create_dir_all(directory).and_then(|()| tempfile::tempfile_in(directory));
        file.map_err(|e| {
            let failed = failed("make a file for changes that do not fit into memory", &e);
            failed.with("directory", directory.display()).caused_by(e)
        })
    }
}

/// What a batch takes in memory while it is folded.
pub(crate) fn weight(batch: &ChangeBatch) -> usize {
    weight_of_rows(&batch.rows)
}

fn weight_of_rows(rows: &RecordBatch) -> usize {
    rows.get_array_memory_size() + rows.num_rows() * INDEX_BYTES
}

/// Batches that can be asked for one after the other.
type Folded = Box<dyn Iterator<Item = Result<ChangeBatch>> + Send>;

/// Changes of one table in files, in the order of their coming.
pub(crate) struct Spill {
    options: SpillOptions,
    /// What may be folded in memory at once.
    limit: usize,
    /// How often the changes were divided before.
    depth: u32,
    table: TableName,
    schema: Arc<TableSchema>,
    /// Looked at before each batch.
    cancel: CancellationToken,
    parts: Vec<Option<Part>>,
}

/// One of the files.
struct Part {
    writer: StreamWriter<BufWriter<File>>,
    /// What its rows will take in memory.
    weight: usize,
    /// What is still to be written, all of one presence.
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
    presence: Presence,
}

impl Spill {
    /// Nothing yet, of the table that `batch` is of.
    pub(crate) fn new(
        options: &SpillOptions,
        limit: usize,
        batch: &ChangeBatch,
        cancel: &CancellationToken,
    ) -> Self {
        Self {
            options: options.clone(),
            limit: limit.max(LEAST),
            depth: 0,
            table: batch.table.clone(),
            schema: batch.schema.clone(),
            cancel: cancel.child_token(),
            parts: no_parts(),
        }
    }

    /// Nothing yet, to divide what one of the files holds.
    fn deeper(&self) -> Self {
        Self {
            options: self.options.clone(),
            limit: self.limit,
            depth: self.depth + 1,
            table: self.table.clone(),
            schema: self.schema.clone(),
            cancel: self.cancel.clone(),
            parts: no_parts(),
        }
    }

    /// Takes what a fold holds, on a thread that may wait for the disk.
    ///
    /// # Errors
    ///
    /// As [`Spill::push`].
    pub(crate) async fn take(mut self, fold: Fold) -> Result<Self> {
        let taken = spawn_blocking(move || {
            for folded in fold.finish() {
                self.push(&folded?)?;
            }
            Ok(self)
        });
        taken.await.map_err(died)?
    }

    /// The folded changes, each key once, by a thread that may wait for the disk. It is one batch ahead, and ends with the stream.
    pub(crate) fn into_stream(self) -> Batches {
        let unread = self.cancel.clone().drop_guard();
        let (sender, receiver) = mpsc::channel(1);
        let reader = spawn_blocking(move || -> Result<()> {
            for batch in self.finish()? {
                if sender.blocking_send(batch).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let state = (receiver, reader, unread);
        try_unfold(state, |(mut receiver, reader, unread)| async move {
            match receiver.recv().await {
                Some(batch) => Ok(Some((batch?, (receiver, reader, unread)))),
                None => {
                    reader.await.map_err(died)??;
                    Ok(None)
                }
            }
        })
        .boxed()
    }

    /// Takes the next changes, which happened after all earlier ones.
    ///
    /// # Errors
    ///
    /// `Exhausted` if the disk is full, `Cancelled` if the run is.
    fn push(&mut self, batch: &ChangeBatch) -> Result<()> {
        not_cancelled(&self.cancel)?;
        let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); FILES];
        let mut hasher = RowHasher::new(RowEncoder::new(&batch.rows, self.schema.key().iter().copied())?);
        for (row, number) in (0..batch.len()).zip(0_u32..) {
            let bits = hasher.hash(row).0 >> (4 * self.depth);
            rows_of[(bits % FILES as u128) as usize].push(number);
        }
        let packed = packed(batch)?;
        let message = MESSAGE.min(self.limit / FILES);
        for (file, rows) in rows_of.into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let taken =
                take_record_batch(&packed, &UInt32Array::from(rows)).map_err(of_file("divide changes"))?;
            let part = match &mut self.parts[file] {
                Some(part) => part,
                none => none.insert(Part::create(&self.options, packed.schema())?),
            };
            part.push(taken, batch.presence, message)?;
        }
        Ok(())
    }

    /// The folded changes, each key once.
    fn finish(mut self) -> Result<Folded> {
        let mut parts = std::mem::take(&mut self.parts);
        for part in parts.iter_mut().flatten() {
            part.write()?;
        }
        Ok(Box::new(parts.into_iter().flatten().flat_map(move |part| {
            let too_large = part.weight > self.limit && self.depth < DEEPEST;
            let folded = part.batches(&self).and_then(|batches| match too_large {
                _ if !self.schema.has_key() => Ok(batches),
                true => self.deeper().divided(batches),
                false => folded(batches),
            });
            folded.unwrap_or_else(|error| Box::new(once(Err(error))))
        })))
    }

    fn divided(mut self, batches: Folded) -> Result<Folded> {
        for batch in batches {
            self.push(&batch?)?;
        }
        self.finish()
    }
}

fn no_parts() -> Vec<Option<Part>> {
    std::iter::repeat_with(|| None).take(FILES).collect()
}

fn not_cancelled(cancel: &CancellationToken) -> Result<()> {
    if cancel.is_cancelled() {
        return Err(Error::cancelled());
    }
    Ok(())
}

fn died(error: JoinError) -> Error {
    Error::internal("the thread that keeps changes in files ended early").caused_by(error)
}

fn folded(batches: Folded) -> Result<Folded> {
    let mut fold = Fold::new();
    for batch in batches {
        fold.push(batch?)?;
    }
    Ok(Box::new(fold.finish()))
}

impl Part {
    fn create(options: &SpillOptions, schema: SchemaRef) -> Result<Self> {
        let writer = StreamWriter::try_new(BufWriter::new(options.file()?), &schema)
            .map_err(of_file("write changes to a file"))?;
        Ok(Self {
            writer,
            weight: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            presence: Presence::Unknown,
        })
    }

    /// Takes rows, and writes them once there are `message` bytes of one presence.
    fn push(&mut self, rows: RecordBatch, presence: Presence, message: usize) -> Result<()> {
        if self.presence != presence {
            self.write()?;
            self.presence = presence;
        }
        self.waiting_bytes += rows.get_array_memory_size();
        self.waiting.push(rows);
        if self.waiting_bytes >= message {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let Some(first) = self.waiting.first() else {
            return Ok(());
        };
        let rows = concat_batches(&first.schema(), &self.waiting).map_err(of_file("divide changes"))?;
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.weight += weight_of_rows(&rows);
        self.writer
            .write(&rows)
            .map_err(of_file("write changes to a file"))
    }

    /// What has been written.
    fn batches(mut self, spill: &Spill) -> Result<Folded> {
        let (table, schema, cancel) = (spill.table.clone(), spill.schema.clone(), spill.cancel.clone());
        self.writer.finish().map_err(of_file("write changes to a file"))?;
        let buffered = self
            .writer
            .into_inner()
            .map_err(of_file("write changes to a file"))?;
        let mut file = buffered.into_inner().map_err(|e| {
            let error = e.into_error();
            failed("write changes to a file", &error).caused_by(error)
        })?;
        file.rewind()
            .map_err(|e| failed("read changes from a file", &e).caused_by(e))?;
        let reader = StreamReader::try_new(BufReader::new(file), None);
        let reader = reader.map_err(of_file("read changes from a file"))?;
        Ok(Box::new(reader.map(move |rows| {
            not_cancelled(&cancel)?;
            unpacked(
                &rows.map_err(of_file("read changes from a file"))?,
                &table,
                &schema,
            )
        })))
    }
}

/// The columns of a file: those of the rows, any of them NULL because a deleted row may have its key only, then the operation and what else
/// there is to say of a row.
fn packed(batch: &ChangeBatch) -> Result<RecordBatch> {
    let mut fields: Vec<_> = batch.schema.arrow().fields().iter().cloned().collect();
    for field in &mut fields {
        *field = Arc::new(field.as_ref().clone().with_nullable(true));
    }
    for name in ["op", "presence"] {
        fields.push(Arc::new(Field::new(name, DataType::Int8, false)));
    }
    let presence = presence_code(batch.presence);
    let mut columns = batch.rows.columns().to_vec();
    columns.push(Arc::new(batch.ops.clone()) as ArrayRef);
    columns.push(Arc::new(Int8Array::from(vec![presence; batch.len()])));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(of_file("divide changes"))
}

fn unpacked(packed: &RecordBatch, table: &TableName, schema: &Arc<TableSchema>) -> Result<ChangeBatch> {
    let width = schema.arrow().fields().len();
    let numbers = |column: usize| packed.column(column).as_primitive::<Int8Type>();
    let (ops, presence) = (numbers(width).clone(), numbers(width + 1));
    let deletes = ops.values().contains(&(model::Op::Delete as i8));
    let shape = if deletes {
        schema.relaxed()
    } else {
        schema.arrow().clone()
    };
    let columns = packed.columns().iter().take(width).cloned().collect();
    let rows = RecordBatch::try_new(shape, columns).map_err(of_file("read changes from a file"))?;
    let presence = presence.values().first().copied().and_then(presence_of);
    let presence = presence.ok_or_else(|| Error::internal("changes in a file have no known presence"))?;
    ChangeBatch::new(table.clone(), schema.clone(), rows, ops, presence)
}

const PRESENCES: [Presence; 4] = [
    Presence::Absent,
    Presence::Present,
    Presence::Unknown,
    Presence::PerhapsIdentical,
];

fn presence_code(presence: Presence) -> i8 {
    let place = PRESENCES.iter().position(|known| *known == presence);
    place.and_then(|place| i8::try_from(place).ok()).unwrap_or(2)
}

fn presence_of(code: i8) -> Option<Presence> {
    PRESENCES.get(usize::try_from(code).ok()?).copied()
}

/// What an error of Arrow means while this is tried.
fn of_file(what: &'static str) -> impl Fn(ArrowError) -> Error {
    move |error| match error {
        ArrowError::IoError(_, error) => failed(what, &error).caused_by(error),
        other => Error::internal(format!("cannot {what}")).caused_by(other),
    }
}

fn failed(what: &str, error: &io::Error) -> Error {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    let kind = match error.kind() {
        _ if full => ErrorKind::Exhausted,
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Config,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {what}"))
        .hint("what a transaction or a repair brings beyond `run.flush.bytes` waits in `run.spill`, which names a directory on a disk with room; nothing of it has been applied")
}

#[cfg(test)]
mod tests;
