//! [`ChangeSource`] over the tables of an Iceberg catalog.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_select::filter::filter_record_batch;
use async_trait::async_trait;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use iceberg::spec::SnapshotRef;
use iceberg_table::{Catalog, FileRows, LiveFile, TableHandle, may_hold, set_tag};
use model::{
    Batches, Bound, ChangeBatch, ChangeSource, Chunk, Cut, Description, Error, ErrorKind, KeyRange, Look, Op,
    Position, Presence, Result, Selection, SourceEvent, TableName, TableSchema, Tracking,
};
use tokio::time::{sleep, timeout};

use crate::added_columns::{AddedColumns, Delivered, Lacking};
use crate::background::{Output, produce};
use crate::file_groups::{self, FileBound};
use crate::file_lists::{FileList, FileLists};
use crate::file_scan::{FilePart, FileScan};
use crate::snapshot::{Place, Reach, SnapshotChoice, SnapshotPosition, oldest, place_of, reach};
use crate::snapshot_diff::{Changes, SnapshotDiff};

const DIFFERENCE_MEMORY: usize = 96 << 20;

/// So many tables' metadata is looked at at once.
const LOOKED_AT_ONCE: usize = 8;

/// A table whose metadata takes longer is given up.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// What is not looked at by then is left to cycles.
const ALL_LOOKS: Duration = Duration::from_secs(20);

/// The tables of a catalog as a source. Positions are snapshots; changes are the difference of two of them.
#[derive(Debug)]
pub struct IcebergSource {
    catalog: Arc<dyn Catalog>,
    choice: SnapshotChoice,
    tag: Option<String>,
    /// The columns that each table was last described with. Rows are read in them from then on, whatever comes to the table meanwhile.
    described: Mutex<HashMap<TableName, Delivered>>,
    files: FileLists,
    difference_memory: usize,
}

impl IcebergSource {
    /// The tables of `catalog`, read at their current snapshots.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self {
            catalog,
            choice: SnapshotChoice::Current,
            tag: None,
            described: Mutex::default(),
            files: FileLists::default(),
            difference_memory: DIFFERENCE_MEMORY,
        }
    }

    /// Reads the chosen snapshot instead of the current one.
    pub fn pinned(mut self, choice: SnapshotChoice) -> Self {
        self.choice = choice;
        self
    }

    /// Holds the snapshot that was last acknowledged of each table by this tag: nobody's expiry makes a gap of it then.
    pub fn holding(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Takes about so many bytes of memory to compare two snapshots, instead of 96 MiB. With less, more passes over the rows are made,
    /// and a commit is allowed after fewer changes.
    pub fn difference_memory(mut self, bytes: usize) -> Self {
        self.difference_memory = bytes;
        self
    }

    async fn load(&self, table: &TableName) -> Result<TableHandle> {
        let loaded = self.catalog.load(table).await?;
        loaded.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the catalog has no such Iceberg table").with("table", table)
        })
    }

    /// Whether the table is where it was.
    async fn look(&self, table: &TableName, after: &Position) -> Look {
        let newest = async {
            let handle = self.load(table).await?;
            let snapshot = self.choice.resolve(&handle)?;
            let held = SnapshotPosition::parse(after)?.delivered;
            let newest = held.map(|held| held.followed_by(&Delivered::of(&handle)));
            SnapshotPosition::of(&handle, snapshot.as_ref(), newest).to_position()
        };
        match timeout(LONGEST_LOOK, newest).await {
            Ok(Ok(newest)) if newest == *after => Look::Quiet,
            Ok(Ok(_)) => Look::Perhaps,
            Ok(Err(error)) => Look::Failed {
                why: error.to_string(),
            },
            Err(_) => Look::Failed {
                why: format!("its metadata did not come within {} s", LONGEST_LOOK.as_secs()),
            },
        }
    }

    /// What a target has been given once it has what is read now, if it had `before`.
    fn delivered(&self, table: &TableHandle, before: Option<&Delivered>) -> Delivered {
        let described = self.described().get(table.name()).cloned();
        let now = described.unwrap_or_else(|| Delivered::of(table));
        before.map_or_else(|| now.clone(), |before| before.followed_by(&now))
    }

    fn described(&self) -> MutexGuard<'_, HashMap<TableName, Delivered>> {
        self.described.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What leads from `start` to `upto`.
    async fn steps(
        &self,
        table: &TableHandle,
        schema: &Arc<TableSchema>,
        start: Place,
        upto: &Position,
    ) -> Result<Steps> {
        let scan = FileScan::new(table, schema)?;
        let lacking = Lacking::of(table, schema, start.delivered.as_ref(), &start.void);
        let newest = place_of(table, upto)?.snapshot;
        let complete = Some(self.delivered(table, start.delivered.as_ref()));
        let claimed = match lacking {
            Lacking::Nothing => complete.clone(),
            _ => start.delivered,
        };
        let at = |snapshot: Option<&SnapshotRef>| SnapshotPosition::of(table, snapshot, claimed.clone());
        let mut stops = vec![start.snapshot];
        stops.extend(start.toward.map(Some));
        stops.push(newest.clone());
        stops.dedup_by_key(|stop| stop.as_ref().map(|snapshot| snapshot.snapshot_id()));
        let mut legs = Vec::new();
        for leg in stops.windows(2) {
            let [before, newer] = leg else { continue };
            let on_the_way = newer
                .as_ref()
                .map(|newer| at(before.as_ref()).toward(newer).to_position());
            legs.push(SnapshotDiff {
                table: table.name().clone(),
                schema: schema.clone(),
                scan: scan.clone(),
                before: self.files.of(table, before.as_ref()).await?,
                after: self.files.of(table, newer.as_ref()).await?,
                on_the_way: on_the_way.transpose()?,
                end: at(newer.as_ref()).to_position()?,
                memory: self.difference_memory,
            });
        }
        let files = match lacking {
            Lacking::Nothing => FileList::default(),
            _ => self.files.of(table, newest.as_ref()).await?,
        };
        Ok(Steps {
            legs,
            added: AddedColumns::new(table, schema, &scan, files, &lacking)?,
            differences_end: at(newest.as_ref()).to_position()?,
            end: SnapshotPosition::of(table, newest.as_ref(), complete).to_position()?,
            memory: self.difference_memory,
        })
    }
}

/// What leads from one position to another.
struct Steps {
    /// The differences: one, or two where a former one was perhaps told in part; none where there is nothing to compare.
    legs: Vec<SnapshotDiff>,
    /// The rows that lack a column.
    added: Option<AddedColumns>,
    /// What a commit may claim between the two.
    differences_end: Position,
    /// What it may claim after all of it.
    end: Position,
    memory: usize,
}

impl Steps {
    async fn run(self, output: &Output<SourceEvent>) -> Result<()> {
        let nothing_told = self.legs.is_empty();
        for leg in self.legs {
            leg.run(output).await?;
        }
        match self.added {
            Some(added) => {
                let mut changes = Changes::new(output, Some(self.differences_end), self.memory);
                added.run(&mut changes).await?;
            }
            None if nothing_told => {}
            // The last difference has said so.
            None => return Ok(()),
        }
        output.send(SourceEvent::Boundary { at: self.end }).await
    }
}

#[async_trait]
impl ChangeSource for IcebergSource {
    async fn describe(&self, table: &TableName) -> Result<Description> {
        let handle = self.load(table).await?;
        let schema = handle.schema()?;
        self.described().insert(table.clone(), Delivered::of(&handle));
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
            keeps_deleted: false,
            approximate_rows: snapshot.as_ref().and_then(approximate_rows),
            findings: Vec::new(),
            schema,
        })
    }

    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut> {
        let handle = self.load(table).await?;
        if let Some(Reach::Lost(why)) = after.map(|after| reach(&handle, after)).transpose()? {
            let delivered = self.delivered(&handle, None);
            let oldest = oldest(&handle)
                .map(|snapshot| SnapshotPosition::of(&handle, Some(snapshot), Some(delivered)));
            return Ok(Cut::Gap {
                table: table.clone(),
                why,
                oldest: oldest.map(|oldest| oldest.to_position()).transpose()?,
            });
        }
        let snapshot = self.choice.resolve(&handle)?;
        let held = after.map(SnapshotPosition::parse).transpose()?;
        let held = held.and_then(|held| held.delivered);
        let delivered = self.delivered(&handle, held.as_ref());
        let upto = SnapshotPosition::of(&handle, snapshot.as_ref(), Some(delivered)).to_position()?;
        Ok(Cut::Complete {
            upto,
            holding: None,
            assumed: None,
            warning: None,
            keeps: None,
        })
    }

    /// Chunks are groups of whole data files of one snapshot, in the order of its manifests: that of `start`. A row that changed after it
    /// and changed back would otherwise be copied as it was in between, and no increment would correct it.
    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        let handle = self.load(table).await?;
        let snapshot = match &after {
            Some(bound) => Some(snapshot_of(&handle, FileBound::parse(bound)?)?),
            None => place_of(&handle, start)?.snapshot,
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
            (_, Some(at)) => place_of(&handle, at)?.snapshot,
            (_, None) => self.choice.resolve(&handle)?,
        };
        let files = self.files.of(&handle, snapshot.as_ref()).await?;
        let scan = FileScan::new(&handle, schema)?;
        let parts = selected(&handle, &scan, &files, schema, &selection).await?;
        let rows = scan.read(parts);
        let rows = inserts(table.clone(), schema.clone(), rows);
        match selection {
            Selection::Between(range) => Ok(within(rows, range)),
            _ => Ok(rows),
        }
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
        let start = place_of(&handle, after)?;
        let steps = self.steps(&handle, schema, start, upto).await?;
        Ok(produce(move |output| {
            Box::pin(async move { steps.run(&output).await })
        }))
    }

    async fn may_have_changed(&self, tables: &[(TableName, Position)]) -> Result<Vec<Look>> {
        let asked = tables.iter().enumerate();
        let asked: Vec<_> = asked
            .map(|(place, (table, after))| async move { (place, self.look(table, after).await) })
            .collect();
        let answers = stream::iter(asked).buffer_unordered(LOOKED_AT_ONCE);
        let answers: HashMap<_, _> = answers.take_until(sleep(ALL_LOOKS)).collect().await;
        let places = 0..tables.len();
        Ok(places
            .map(|place| answers.get(&place).cloned().unwrap_or(Look::Perhaps))
            .collect())
    }

    /// Without a tag nothing is held for a target: a snapshot that it still needs and that expires is a gap.
    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        let (Some(tag), Some(snapshot)) = (&self.tag, SnapshotPosition::parse(upto)?.snapshot) else {
            return Ok(());
        };
        set_tag(self.catalog.as_ref(), table, tag, snapshot).await
    }
}

/// The rows of a snapshot's files that a selection asks for.
async fn selected(
    handle: &TableHandle,
    scan: &FileScan,
    files: &FileList,
    schema: &TableSchema,
    selection: &Selection,
) -> Result<Vec<FilePart>> {
    let chosen = match selection {
        Selection::All => files.as_slice(),
        Selection::Between(range) => {
            let schema = handle.metadata().current_schema();
            let held_by = |file: &&Arc<LiveFile>| may_hold(&file.data_file, schema, range);
            let files = files.iter().filter(held_by);
            return Ok(files.cloned().map(FilePart::live).collect());
        }
        Selection::Keys(keys) => return scan.with_keys(files, schema, keys).await,
        Selection::ChangedAfter(_) | Selection::KeptKeys(_) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "an Iceberg table leaves nothing for later, and tells every delete",
            )
            .with("table", handle.name()));
        }
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

fn inserts(
    table: TableName,
    schema: Arc<TableSchema>,
    rows: BoxStream<'static, Result<(usize, FileRows)>>,
) -> Batches {
    Box::pin(rows.map(move |batch| {
        let (_, FileRows { rows, .. }) = batch?;
        ChangeBatch::uniform(table.clone(), schema.clone(), rows, Op::Insert, Presence::Unknown)
    }))
}

/// Those of the rows whose key is in a range.
fn within(rows: Batches, range: KeyRange) -> Batches {
    Box::pin(rows.map(move |batch| {
        let ChangeBatch {
            table, schema, rows, ..
        } = batch?;
        let rows = filter_record_batch(&rows, &range.within(&rows)?)
            .map_err(|e| Error::internal("rows of a key range cannot be told from others").caused_by(e))?;
        ChangeBatch::uniform(table, schema, rows, Op::Insert, Presence::Unknown)
    }))
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
