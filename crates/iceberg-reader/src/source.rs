//! [`ChangeSource`] over the tables of an Iceberg catalog.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use iceberg::spec::SnapshotRef;
use iceberg_table::{Catalog, FileRows, LiveFile, RowRanges, TableHandle, live_files, locate_in};
use model::{
    Batches, Bound, ChangeBatch, ChangeSource, Chunk, Cut, Description, Error, ErrorKind, Finding, Op,
    Position, Presence, Result, Selection, Severity, SourceEvent, TableName, TableSchema, Tracking,
};
use serde::{Deserialize, Serialize};

use crate::background::produce;
use crate::file_scan::{FilePart, FileScan};
use crate::snapshot::{Reach, SnapshotChoice, SnapshotPosition, oldest, reach, snapshot_at};
use crate::snapshot_diff::SnapshotDiff;

/// The tables of a catalog as a source. Positions are snapshots; changes are the difference of two of them.
#[derive(Debug)]
pub struct IcebergSource {
    catalog: Arc<dyn Catalog>,
    choice: SnapshotChoice,
    /// The snapshot of each table's newest cut. A first copy reads it and no later one: a row that changed in between and changed back
    /// would otherwise be copied as it was in between, and the increment from the cut would have nothing to correct.
    cuts: Mutex<HashMap<TableName, SnapshotPosition>>,
}

/// A group of data files of a snapshot, by how many of its files come before the group's end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct FileBound {
    snapshot: i64,
    files: usize,
}

impl IcebergSource {
    /// The tables of `catalog`, read at their current snapshots.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self {
            catalog,
            choice: SnapshotChoice::Current,
            cuts: Mutex::default(),
        }
    }

    /// Reads the chosen snapshot instead of the current one.
    pub fn pinned(mut self, choice: SnapshotChoice) -> Self {
        self.choice = choice;
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
            approximate_rows: snapshot.as_ref().and_then(|snapshot| approximate_rows(snapshot)),
            findings: snapshot.iter().flat_map(|snapshot| findings(snapshot)).collect(),
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
        let resumed = after.as_ref().map(parse_bound).transpose()?;
        let snapshot = match resumed {
            Some(bound) => Some(snapshot_of(&handle, bound)?),
            None => self.copied_snapshot(&handle)?,
        };
        let Some(snapshot) = snapshot else {
            return Ok(stream::empty().boxed());
        };
        let files = live_files(handle.table(), &snapshot).await?;
        let rows = if schema.has_key() { rows as u64 } else { u64::MAX };
        let counts = files.iter().map(|file| file.data_file.record_count());
        let done = resumed.map_or(0, |bound| bound.files);
        let mut lower = after;
        let chunks = group_ends(counts, done, rows).into_iter().map(|files| {
            let upper = write_bound(FileBound {
                snapshot: snapshot.snapshot_id(),
                files,
            })?;
            let through = schema.has_key().then(|| upper.clone());
            let lower = lower.replace(upper.clone());
            Ok(Chunk {
                selection: Selection::Range { lower, upper },
                through,
            })
        });
        Ok(stream::iter(chunks.collect::<Vec<_>>()).boxed())
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
            (Selection::Range { upper, .. }, _) => Some(snapshot_of(&handle, parse_bound(upper)?)?),
            (_, Some(at)) => snapshot_at(&handle, at)?,
            (_, None) => self.choice.resolve(&handle)?,
        };
        let Some(snapshot) = snapshot else {
            return Ok(stream::empty().boxed());
        };
        let parts = selected(&handle, &snapshot, schema, &selection).await?;
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
        let diff = SnapshotDiff {
            table: table.clone(),
            schema: schema.clone(),
            scan: FileScan::new(&handle, schema)?,
            before: snapshot_at(&handle, after)?,
            after: snapshot_at(&handle, upto)?,
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

/// The rows of a snapshot that a selection asks for.
async fn selected(
    handle: &TableHandle,
    snapshot: &SnapshotRef,
    schema: &TableSchema,
    selection: &Selection,
) -> Result<Vec<FilePart>> {
    let mut files = live_files(handle.table(), snapshot).await?;
    if let Selection::Keys(keys) = selection {
        return keyed(handle, &files, schema, keys).await;
    }
    if let Selection::Range { lower, upper } = selection {
        let end = parse_bound(upper)?.files.min(files.len());
        let lower = lower.as_ref().map(parse_bound).transpose()?;
        let start = lower.map_or(0, |lower| lower.files).min(end);
        files = files.drain(start..end).collect();
    }
    Ok(files.into_iter().map(FilePart::live).collect())
}

async fn keyed(
    handle: &TableHandle,
    files: &[Arc<LiveFile>],
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

/// The ends of groups of at least `rows` rows, as numbers of files, after the first `done` files.
fn group_ends(counts: impl Iterator<Item = u64>, done: usize, rows: u64) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut in_group = 0;
    for (index, count) in counts.enumerate().skip(done) {
        match ends.last_mut() {
            Some(end) if in_group < rows => *end = index + 1,
            _ => {
                ends.push(index + 1);
                in_group = 0;
            }
        }
        in_group += count;
    }
    ends
}

fn parse_bound(bound: &Bound) -> Result<FileBound> {
    serde_json::from_str(bound.as_str()).map_err(|error| {
        Error::new(
            ErrorKind::Config,
            "a bound is not a group of files of an Iceberg table",
        )
        .with("bound", bound)
        .caused_by(error)
    })
}

fn write_bound(bound: FileBound) -> Result<Bound> {
    serde_json::to_string(&bound)
        .map(Bound::new)
        .map_err(|error| Error::internal("cannot write a bound").caused_by(error))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_grouped_by_their_rows() {
        for (counts, done, rows, ends) in [
            (vec![], 0, 10, vec![]),
            (vec![5, 5, 5], 0, 10, vec![2, 3]),
            (vec![50, 1, 1], 0, 10, vec![1, 3]),
            (vec![5, 5, 5], 1, 10, vec![3]),
            (vec![5, 5, 5], 3, 10, vec![]),
            (vec![5, 5, 5], 0, u64::MAX, vec![3]),
            (vec![0, 0, 5], 0, 10, vec![3]),
        ] {
            assert_eq!(
                group_ends(counts.iter().copied(), done, rows),
                ends,
                "{counts:?} {done} {rows}"
            );
        }
    }
}
