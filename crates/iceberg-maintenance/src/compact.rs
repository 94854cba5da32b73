//! Compaction: the rows of many small files, and of files with deletes, in few files without.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, cast::AsArray, types::Int64Type};
use futures::TryStreamExt;
use iceberg::spec::{DataFile, FormatVersion};
use iceberg_table::{
    Catalog, DataFileReader, DeletedRows, FileRows, LiveFile, Projection, Rewrite, RewriteOutcome,
    RewrittenGroup, TableHandle, TableLayout, commit_rewrite, live_files, refuse_what_is_not_understood,
    remove_files,
};
use iceberg_writer::{FileShape, PartitionedWriter, WriterOptions};
use model::{Clock, Error, ErrorKind, Ids, Result, TableName};
use serde::Serialize;

use crate::groups::groups;

/// What is compacted.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactOptions {
    /// How files are written; small is what is far below their target size.
    pub write: WriterOptions,
    /// So many small files of one partition are compacted; fewer are left alone.
    pub files_at_least: usize,
    /// A file is compacted whatever its size if more than this part of its rows is deleted.
    pub deleted_part: f64,
    /// A partition that was written to since so many milliseconds is left to settle.
    pub settled_ms: i64,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            write: WriterOptions::default(),
            files_at_least: 5,
            deleted_part: 0.1,
            settled_ms: 0,
        }
    }
}

/// What compaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// The snapshot; `None` if nothing was done.
    pub snapshot: Option<i64>,
    /// Files that were replaced,
    pub files_before: usize,
    /// and those in their place.
    pub files_after: usize,
    /// Rows that were moved.
    pub rows: u64,
    /// Groups of files that somebody else changed meanwhile, and that were left alone.
    pub groups_left: usize,
}

/// What a compaction would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Due {
    /// Data files that would be replaced.
    pub files: usize,
    /// Groups of them: about as many files would take their place.
    pub groups: usize,
}

impl Due {
    /// Whether there is anything to do.
    pub fn is_due(self) -> bool {
        self.files > 0
    }
}

/// What [`compact`] would do now, by the table's manifests; data files are not read.
///
/// # Errors
///
/// As the storage says.
///
/// # Cancel safety
///
/// Dropping the future gives up the reads.
pub async fn compaction_due(table: &TableHandle, options: &CompactOptions, clock: &dyn Clock) -> Result<Due> {
    let groups = planned(table, options, clock).await?;
    Ok(Due {
        files: groups.iter().map(Vec::len).sum(),
        groups: groups.len(),
    })
}

async fn planned(
    table: &TableHandle,
    options: &CompactOptions,
    clock: &dyn Clock,
) -> Result<Vec<Vec<Arc<LiveFile>>>> {
    let Some(head) = table.head() else {
        return Ok(Vec::new());
    };
    let files = live_files(table, head).await?;
    let deletes = DeletedRows::new(table.table());
    groups(table.metadata(), &files, &deletes, options, clock.now()).await
}

/// Compacts a table.
///
/// # Errors
///
/// `NotFound` without such a table, `Unsupported` as [`refuse_what_is_not_understood`], `Transient` if others committed in between every
/// time, `Unavailable` if it is not known whether the commit happened (then its files are left for [`crate::remove_orphans`]), otherwise as
/// the storage says.
///
/// # Cancel safety
///
/// Dropping the future leaves orphans behind and may leave it open whether the commit happened; the rows are the same either way.
pub async fn compact(
    catalog: &dyn Catalog,
    name: &TableName,
    options: &CompactOptions,
    clock: &dyn Clock,
    ids: Arc<dyn Ids>,
) -> Result<Compacted> {
    let table = catalog.load(name).await?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "there is no such Iceberg table").with("table", name)
    })?;
    refuse_what_is_not_understood(&table)?;
    let Some(head) = table.head().cloned() else {
        return Ok(Compacted::default());
    };
    let groups = planned(&table, options, clock).await?;
    let deletes = DeletedRows::new(table.table());
    let mut rewrite = Rewrite {
        layout: TableLayout::of(table.metadata()),
        snapshot_id: head.snapshot_id(),
        sequence_number: head.sequence_number(),
        groups: Vec::new(),
    };
    for group in groups {
        match rewritten(&table, &group, &deletes, options, ids.clone()).await {
            Ok(written) => rewrite.groups.push(RewrittenGroup {
                replaced: group,
                written,
            }),
            Err(error) => {
                discard(&table, &rewrite, &[]).await;
                return Err(error);
            }
        }
    }
    if rewrite.groups.is_empty() {
        return Ok(Compacted::default());
    }
    match commit_rewrite(catalog, name, &rewrite, clock, ids.as_ref()).await {
        Ok(RewriteOutcome::Committed { snapshot, groups }) => {
            discard(&table, &rewrite, &groups).await;
            Ok(report(&rewrite, snapshot, &groups))
        }
        Err(error) => {
            discard(&table, &rewrite, &[]).await;
            Err(error)
        }
        Ok(RewriteOutcome::Unknown { why }) => Err(Error::new(
            ErrorKind::Unavailable,
            "it is not known whether a compaction was committed",
        )
        .with("table", name)
        .with("cause", why)
        .hint("the table's rows are the same either way; `maintain orphans` removes files that were left behind")),
    }
}

/// Removes what was written for groups that are not in the table and will not be.
async fn discard(table: &TableHandle, rewrite: &Rewrite, committed: &[usize]) {
    let groups = rewrite.groups.iter().enumerate();
    let dropped = groups.filter(|(index, _)| !committed.contains(index));
    let files = dropped.flat_map(|(_, group)| &group.written);
    remove_files(table, files.map(|file| file.file_path().to_owned()).collect()).await;
}

fn report(rewrite: &Rewrite, snapshot: Option<i64>, groups: &[usize]) -> Compacted {
    let done = || groups.iter().map(|index| &rewrite.groups[*index]);
    Compacted {
        snapshot,
        files_before: done().map(|group| group.replaced.len()).sum(),
        files_after: done().map(|group| group.written.len()).sum(),
        rows: done()
            .flat_map(|group| &group.written)
            .map(DataFile::record_count)
            .sum(),
        groups_left: rewrite.groups.len() - groups.len(),
    }
}

/// Writes the live rows of some files into new ones.
async fn rewritten(
    table: &TableHandle,
    files: &[Arc<LiveFile>],
    deletes: &DeletedRows,
    options: &CompactOptions,
    ids: Arc<dyn Ids>,
) -> Result<Vec<DataFile>> {
    let schema = table.schema()?;
    let mut shape = FileShape::new(table, &schema)?;
    let mut projection = Projection::of_table(table.metadata(), &schema)?;
    let has_row_ids = table.metadata().format_version() == FormatVersion::V3;
    if has_row_ids {
        shape = shape.with_row_ids();
        projection = projection.with_row_ids();
    }
    let mut writer = PartitionedWriter::new(table, shape, &options.write, ids)?;
    let mut moved = Ok(());
    for file in files {
        moved = move_rows(table, file, deletes, &projection, has_row_ids, &mut writer).await;
        if moved.is_err() {
            break;
        }
    }
    let written = match moved {
        Ok(()) => writer.close().await,
        Err(error) => Err(error),
    };
    match written {
        Ok(files) => Ok(files),
        Err(error) => {
            remove_files(table, writer.abandon()).await;
            Err(error)
        }
    }
}

async fn move_rows(
    table: &TableHandle,
    file: &LiveFile,
    deletes: &DeletedRows,
    projection: &Projection,
    has_row_ids: bool,
    writer: &mut PartitionedWriter,
) -> Result<()> {
    let rows = deletes.live_rows(file).await?;
    let reader =
        DataFileReader::of(table.table().file_io(), &file.path, file.spec_id, &file.data_file).await?;
    let mut batches = reader.read(projection, rows).await?;
    while let Some(batch) = batches.try_next().await? {
        let rows = if has_row_ids {
            with_row_ids(file, batch)?
        } else {
            batch.rows
        };
        writer.write(&rows).await?;
    }
    Ok(())
}

/// Fills in what a row inherits from its file where the file does not say it: its id, and when it was last changed.
fn with_row_ids(file: &LiveFile, batch: FileRows) -> Result<RecordBatch> {
    let count = batch.rows.num_columns();
    let own = |index: usize| batch.rows.column(index).as_primitive::<Int64Type>();
    let first = file.data_file.first_row_id();
    let ids = own(count - 2).iter().zip(&batch.positions);
    let ids: Int64Array = ids
        .map(|(own, position)| own.or(first.map(|first| first + *position as i64)))
        .collect();
    let changed = own(count - 1).iter();
    let changed: Int64Array = changed
        .map(|own| own.or(first.map(|_| file.sequence_number)))
        .collect();
    let mut columns = batch.rows.columns()[..count - 2].to_vec();
    columns.extend([Arc::new(ids) as ArrayRef, Arc::new(changed)]);
    RecordBatch::try_new(batch.rows.schema(), columns)
        .map_err(|e| Error::internal("row ids do not fit their columns").caused_by(e))
}
