//! [`ChangeSource`] over the tables of an Iceberg catalog.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use iceberg::spec::SnapshotRef;
use iceberg_table::{Catalog, FileRows, RowRanges, TableHandle, locate_in};
use model::{
    Batches, Bound, ChangeBatch, ChangeSource, Chunk, Cut, Description, Error, ErrorKind, Finding, Op,
    Position, Presence, Result, Selection, Severity, SourceEvent, TableName, TableSchema, Tracking,
};

use crate::background::produce;
use crate::file_groups::{self, FileBound};
use crate::file_lists::{FileList, FileLists};
use crate::file_scan::{FilePart, FileScan};
use crate::snapshot::{Reach, SnapshotChoice, SnapshotPosition, oldest, reach, snapshot_at};
use crate::snapshot_diff::SnapshotDiff;

const ROWS_IN_MEMORY: u64 = 2_000_000;

/// The tables of a catalog as a source. Positions are snapshots; changes are the difference of two of them.
#[derive(Debug)]
pub struct IcebergSource {
    catalog: Arc<dyn Catalog>,
    choice: SnapshotChoice,
    /// The snapshot of each table's newest cut. A first copy reads it and no later one: a row that changed in between and changed back
    /// would otherwise be copied as it was in between, and the increment from the cut would have nothing to correct.
    cuts: Mutex<HashMap<TableName, SnapshotPosition>>,
    files: FileLists,
    rows_in_memory: u64,
}

impl IcebergSource {
    /// The tables of `catalog`, read at their current snapshots.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self {
            catalog,
            choice: SnapshotChoice::Current,
            cuts: Mutex::default(),
            files: FileLists::default(),
            rows_in_memory: ROWS_IN_MEMORY,
        }
    }

    /// Reads the chosen snapshot instead of the current one.
    pub fn pinned(mut self, choice: SnapshotChoice) -> Self {
        self.choice = choice;
        self
    }

    /// Holds so many removed rows in memory, 48 bytes each, while two snapshots are compared, instead of 2 million. More of them take
    /// another pass over the rows.
    pub fn rows_in_memory(mut self, rows: u64) -> Self {
        self.rows_in_memory = rows.max(1);
        self
    }

    async fn load(&self, table: &TableName) -> Result<TableHandle> {
        let loaded = self.catalog.load(table).await?;
        loaded.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the catalog has no such Iceberg table").with("table", table)
        })
    }

    fn cuts(&self) -> std::sync::MutexGuard<'_, HashMap<TableName, SnapshotPosition>> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot that a first copy reads.
    fn copied_snapshot(&self, table: &TableHandle) -> Result<Option<SnapshotRef>> {
        let cut = self.cuts().get(table.name()).cloned();
        match cut {
            Some(cut) => snapshot_at(table, &cut.to_position()?),
            None => self.choice.resolve(table),
        }
    }
}

#[async_trait]
impl ChangeSource for IcebergSource {
    async fn describe(&self, table: &TableName) -> Result<Description> {
        let handle = self.load(table).await?;
        let schema = handle.schema()?;
        let snapshot = self.choice.resolve(&handle)?;
        let tracking = if schema.has_key() {
            Tracking::Incremental {
                how: "snapshots".into(),
                reason: "two snapshots are compared by the identifier fields".into(),
                sees_deletes: true,
            }
        } else {
            Tracking::Full {
                reason: "the table has no identifier fields".into(),
            }
        };
        Ok(Description {
            tracking,
            approximate_rows: snapshot.as_ref().and_then(approximate_rows),
            findings: snapshot.iter().flat_map(findings).collect(),
            schema,
        })
    }

    async fn cut(&self, tables: &[TableName], after: Option<&Position>) -> Result<Cut> {
        let [table] = tables else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "Iceberg tables have no history in common, so each has a cut of its own",
            ));
        };
        let handle = self.load(table).await?;
        if let Some(Reach::Lost(why)) = after.map(|after| reach(&handle, after)).transpose()? {
            let oldest = oldest(&handle).map(|snapshot| SnapshotPosition::of(&handle, Some(snapshot)));
            return Ok(Cut::Gap {
                table: table.clone(),
                why,
                oldest: oldest.map(|oldest| oldest.to_position()).transpose()?,
            });
        }
        let snapshot = self.choice.resolve(&handle)?;
        let position = SnapshotPosition::of(&handle, snapshot.as_ref());
        let upto = position.to_position()?;
        self.cuts().insert(table.clone(), position);
        Ok(Cut::Complete {
            upto,
            holding: None,
            assumed: None,
        })
    }

    /// Chunks are groups of whole data files of one snapshot, in the order of its manifests.
    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        let handle = self.load(table).await?;
        let snapshot = match &after {
            Some(bound) => Some(snapshot_of(&handle, FileBound::parse(bound)?)?),
            None => self.copied_snapshot(&handle)?,
        };
        let Some(snapshot) = snapshot else {
            return Ok(stream::empty().boxed());
        };
        let files = self.files.of(&handle, Some(&snapshot)).await?;
        let chunks = file_groups::chunks(snapshot.snapshot_id(), &files, after, rows, schema.has_key())?;
        Ok(stream::iter(chunks.into_iter().map(Ok)).boxed())
    }

    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches> {
        let handle = self.load(table).await?;
        let snapshot = match (&selection, at) {
            (Selection::Range { upper, .. }, _) => Some(snapshot_of(&handle, FileBound::parse(upper)?)?),
            (_, Some(at)) => snapshot_at(&handle, at)?,
            (_, None) => self.choice.resolve(&handle)?,
        };
        let files = self.files.of(&handle, snapshot.as_ref()).await?;
        let parts = selected(&handle, &files, schema, &selection).await?;
        let rows = FileScan::new(&handle, schema)?.read(parts);
        Ok(inserts(table.clone(), schema.clone(), rows))
    }

    async fn changes(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>> {
        if !schema.has_key() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the changes of an Iceberg table without identifier fields cannot be told by key",
            )
            .with("table", table)
            .hint("copy it whole with --full, or set identifier fields on the Iceberg table"));
        }
        let handle = self.load(table).await?;
        let (before, newer) = (snapshot_at(&handle, after)?, snapshot_at(&handle, upto)?);
        let diff = SnapshotDiff {
            table: table.clone(),
            schema: schema.clone(),
            scan: FileScan::new(&handle, schema)?,
            before: self.files.of(&handle, before.as_ref()).await?,
            after: self.files.of(&handle, newer.as_ref()).await?,
            rows_in_memory: self.rows_in_memory,
        };
        let upto = upto.clone();
        Ok(produce(|output| {
            Box::pin(async move {
                diff.run(&output).await?;
                output.send(SourceEvent::Boundary { at: upto }).await
            })
        }))
    }

    /// Nothing is held for a target: a snapshot that it still needs and that expires is a gap.
    async fn acknowledge(&self, _table: &TableName, _upto: &Position) -> Result<()> {
        Ok(())
    }
}

/// The rows of a snapshot's files that a selection asks for.
async fn selected(
    handle: &TableHandle,
    files: &FileList,
    schema: &TableSchema,
    selection: &Selection,
) -> Result<Vec<FilePart>> {
    let chosen = match selection {
        Selection::All => files.as_slice(),
        Selection::Keys(keys) => return keyed(handle, files, schema, keys).await,
        Selection::Range { lower, upper } => {
            let lower = lower.as_ref().map(FileBound::parse).transpose()?;
            let group = lower.map_or(0, |lower| lower.files)..FileBound::parse(upper)?.files;
            files.get(group).ok_or_else(|| {
                Error::new(ErrorKind::Config, "a bound is beyond the files of its snapshot")
                    .with("bound", upper)
            })?
        }
    };
    Ok(chosen.iter().cloned().map(FilePart::live).collect())
}

async fn keyed(
    handle: &TableHandle,
    files: &FileList,
    schema: &TableSchema,
    keys: &RecordBatch,
) -> Result<Vec<FilePart>> {
    let located = locate_in(handle.table(), files, schema, keys, false).await?;
    let mut by_path = BTreeMap::new();
    for row in located.into_iter().flatten() {
        let (_, positions) = by_path
            .entry(row.file.path.clone())
            .or_insert_with(|| (row.file.clone(), Vec::new()));
        positions.push(row.position);
    }
    let parts = by_path.into_values().map(|(file, mut positions)| {
        positions.sort_unstable();
        FilePart {
            file,
            rows: Some(RowRanges::of_sorted(positions)),
        }
    });
    Ok(parts.collect())
}

fn inserts(
    table: TableName,
    schema: Arc<TableSchema>,
    mut rows: BoxStream<'static, Result<(usize, FileRows)>>,
) -> Batches {
    produce(|output| {
        Box::pin(async move {
            while let Some((_, batch)) = rows.try_next().await? {
                let (table, schema) = (table.clone(), schema.clone());
                let batch = ChangeBatch::uniform(table, schema, batch.rows, Op::Insert, Presence::Unknown)?;
                output.send(batch).await?;
            }
            Ok(())
        })
    })
}

fn snapshot_of(handle: &TableHandle, bound: FileBound) -> Result<SnapshotRef> {
    handle
        .metadata()
        .snapshot_by_id(bound.snapshot)
        .cloned()
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Gap,
                "the snapshot that is being copied has expired or belongs to another table",
            )
            .with("table", handle.name())
            .with("snapshot", bound.snapshot)
        })
}

fn approximate_rows(snapshot: &SnapshotRef) -> Option<u64> {
    let number = |name: &str| {
        let text = snapshot.summary().additional_properties.get(name)?;
        text.parse::<u64>().ok()
    };
    let deleted = number("total-position-deletes").unwrap_or(0);
    Some(number("total-records")?.saturating_sub(deleted))
}

fn findings(snapshot: &SnapshotRef) -> Vec<Finding> {
    let equality_deletes = snapshot
        .summary()
        .additional_properties
        .get("total-equality-deletes");
    if equality_deletes.is_none_or(|count| count == "0") {
        return Vec::new();
    }
    vec![Finding {
        severity: Severity::Error,
        message: "the table has equality deletes, which this program cannot read yet".into(),
        remedy: Some(
            "rewrite the table with the engine that wrote it (compaction removes delete files)".into(),
        ),
    }]
}
