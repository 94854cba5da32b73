//! Changes between two boundaries that do not fit into memory: they wait in files until the boundary comes, so that a transaction of any size
//! is committed once.
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
use arrow_select::take::take_record_batch;
use cdc::Fold;
use model::{ChangeBatch, Error, ErrorKind, Presence, Result, RowEncoder, RowHasher, TableName, TableSchema};

/// What the index of a fold needs for a key.
const INDEX_BYTES: usize = 48;

/// Into how many files changes are divided, and how often at most. Where one key has more changes than fit, dividing does not help.
const FILES: usize = 16;
const DEEPEST: u32 = 8;

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

/// What a batch takes in memory while it is folded.
pub(crate) fn weight(batch: &ChangeBatch) -> usize {
    batch.rows.get_array_memory_size() + batch.len() * INDEX_BYTES
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
    parts: Vec<Option<Part>>,
}

/// One of the files.
struct Part {
    writer: StreamWriter<BufWriter<File>>,
    weight: usize,
}

impl Spill {
    /// Nothing yet, of the table that `batch` is of.
    pub(crate) fn new(options: &SpillOptions, limit: usize, batch: &ChangeBatch) -> Self {
        let limit = limit.max(LEAST);
        Self::at_depth(
            options.clone(),
            limit,
            0,
            batch.table.clone(),
            batch.schema.clone(),
        )
    }

    fn at_depth(
        options: SpillOptions,
        limit: usize,
        depth: u32,
        table: TableName,
        schema: Arc<TableSchema>,
    ) -> Self {
        Self {
            options,
            limit,
            depth,
            table,
            schema,
            parts: std::iter::repeat_with(|| None).take(FILES).collect(),
        }
    }

    /// Takes the next changes, which happened after all earlier ones.
    ///
    /// # Errors
    ///
    /// `Exhausted` if the disk is full.
    pub(crate) fn push(&mut self, batch: &ChangeBatch) -> Result<()> {
        let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); FILES];
        let mut hasher = RowHasher::new(RowEncoder::new(&batch.rows, self.schema.key().iter().copied())?);
        for (row, number) in (0..batch.len()).zip(0_u32..) {
            let bits = hasher.hash(row).0 >> (4 * self.depth);
            rows_of[(bits % FILES as u128) as usize].push(number);
        }
        let packed = packed(batch)?;
        for (file, rows) in rows_of.into_iter().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let share = weight(batch) * rows.len() / batch.len();
            let taken =
                take_record_batch(&packed, &UInt32Array::from(rows)).map_err(of_file("divide changes"))?;
            let part = match &mut self.parts[file] {
                Some(part) => part,
                none => none.insert(Part::create(&self.options, packed.schema())?),
            };
            part.writer
                .write(&taken)
                .map_err(of_file("write changes to a file"))?;
            part.weight += share;
        }
        Ok(())
    }

    /// The folded changes, each key once.
    pub(crate) fn finish(self) -> Folded {
        let (options, limit, depth) = (self.options, self.limit, self.depth);
        let (table, schema) = (self.table, self.schema);
        Box::new(self.parts.into_iter().flatten().flat_map(move |part| {
            let deeper = (part.weight > limit && depth < DEEPEST && schema.has_key())
                .then(|| Self::at_depth(options.clone(), limit, depth + 1, table.clone(), schema.clone()));
            let batches = part.batches(table.clone(), schema.clone());
            let folded = batches.and_then(|batches| match deeper {
                _ if !schema.has_key() => Ok(batches),
                Some(deeper) => deeper.divided(batches),
                None => folded(batches),
            });
            folded.unwrap_or_else(|error| Box::new(once(Err(error))))
        }))
    }

    fn divided(mut self, batches: Folded) -> Result<Folded> {
        for batch in batches {
            self.push(&batch?)?;
        }
        Ok(self.finish())
    }
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
        let directory = &options.directory;
        let file = std::fs::create_dir_all(directory).and_then(|()| tempfile::tempfile_in(directory));
        let file = file.map_err(|e| {
            let failed = failed("make a file for changes that do not fit into memory", &e);
            failed.with("directory", directory.display()).caused_by(e)
        })?;
        let writer = StreamWriter::try_new(BufWriter::new(file), &schema)
            .map_err(of_file("write changes to a file"))?;
        Ok(Self { writer, weight: 0 })
    }

    fn batches(mut self, table: TableName, schema: Arc<TableSchema>) -> Result<Folded> {
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
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied => {
            ErrorKind::Config
        }
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot {what}"))
        .hint("changes of a transaction that is larger than `run.flush.bytes` wait in `run.spill`; nothing of it has been applied")
}

#[cfg(test)]
mod tests;
