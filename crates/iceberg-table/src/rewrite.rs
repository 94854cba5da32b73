//! Commits that move rows or entries to other files and change no row: compaction and merged manifests.
//!
//! New files take the data sequence number of the snapshot that was rewritten, so that deletes by value that others have committed
//! since still meet the rows. What was changed in the meantime drops out of the commit; the rest goes in. If the table was rolled back
//! behind the snapshot that was rewritten, nothing does: rows that a delete had hidden may be back.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::spec::DataFile;
use model::{Clock, Error, ErrorKind, Ids, Result, TableName};

use crate::catalog::{Catalog, CatalogCommit, TableHandle};
use crate::layout::{TableLayout, refuse_what_is_not_understood};
use crate::manifests::{self, FileKey, MERGE_AT, remove_files};
use crate::marks::ancestors;
use crate::read::{LiveFile, has_equality_deletes_since, live_files};
use crate::snapshot::{FileChanges, Produced, RemovedFiles, produce};

/// Races that are lost before a commit gives up.
const ATTEMPTS: usize = 32;

/// Files that take the place of others.
#[derive(Debug, Clone)]
pub struct RewrittenGroup {
    /// The files as they were read, with their deletes.
    pub replaced: Vec<Arc<LiveFile>>,
    /// The files with the rows that are left of them.
    pub written: Vec<DataFile>,
}

/// A rewrite of some files of a snapshot.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// What the new files were written for.
    pub layout: TableLayout,
    /// The snapshot that was read,
    pub snapshot_id: i64,
    /// and its sequence number.
    pub sequence_number: i64,
    /// The groups, each of which is replaced as a whole or not at all.
    pub groups: Vec<RewrittenGroup>,
}

/// How a rewrite ended.
#[derive(Debug)]
pub enum RewriteOutcome {
    /// These groups were replaced, by their index; it may be none. What was written for the others will never be in the table.
    Committed {
        /// The new snapshot; `None` if nothing was left to replace.
        snapshot: Option<i64>,
        /// The groups that are in it.
        groups: Vec<usize>,
    },
    /// It may have happened, or may still: everything that was written must stay.
    Unknown {
        /// What is known of the cause.
        why: String,
    },
}

/// Commits a rewrite. The files of groups that are not in it are the caller's to remove.
///
/// # Errors
///
/// Nothing was committed then, and nothing will be: `NotFound` if the table is gone, `Unsupported` as
/// [`refuse_what_is_not_understood`], `Transient` if others committed in between every time, and whatever reading and writing files gives.
///
/// # Cancel safety
///
/// Dropping the future leaves it open whether the commit happened; orphans are left behind.
pub async fn commit_rewrite(
    catalog: &dyn Catalog,
    name: &TableName,
    rewrite: &Rewrite,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<RewriteOutcome> {
    let landed = land(catalog, name, Moved::Files(rewrite), clock, ids).await?;
    Ok(match landed {
        Landed::Snapshot { id, groups, .. } => RewriteOutcome::Committed {
            snapshot: Some(id),
            groups,
        },
        Landed::Nothing => RewriteOutcome::Committed {
            snapshot: None,
            groups: Vec::new(),
        },
        Landed::Unknown { why } => RewriteOutcome::Unknown { why },
    })
}

/// Merges the small manifests of a table: how many manifests there were, and how many there are. `None` if there was nothing to merge.
///
/// # Errors
///
/// As [`commit_rewrite`]; `Unavailable` if it is not known whether the commit happened.
///
/// # Cancel safety
///
/// As [`commit_rewrite`].
pub async fn merge_manifests(
    catalog: &dyn Catalog,
    name: &TableName,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<Option<(usize, usize)>> {
    let table = load(catalog, name).await?;
    let before = manifests::of_head(&table).await?.len();
    match land(catalog, name, Moved::Manifests, clock, ids).await? {
        Landed::Snapshot { table, .. } => {
            let after = manifests::of_head(&table).await?.len();
            Ok(Some((before, after)))
        }
        Landed::Nothing => Ok(None),
        Landed::Unknown { why } => Err(Error::new(
            ErrorKind::Unavailable,
            "it is not known whether merged manifests were committed",
        )
        .with("table", name)
        .with("cause", why)
        .hint("the table's rows are the same either way; `maintain orphans` removes files that were left behind")),
    }
}

/// What a commit moves.
#[derive(Clone, Copy)]
enum Moved<'a> {
    Files(&'a Rewrite),
    Manifests,
}

/// How a commit ended.
enum Landed {
    Snapshot {
        /// The table with it.
        table: Box<TableHandle>,
        id: i64,
        /// The groups that are in it.
        groups: Vec<usize>,
    },
    /// There was nothing left to do.
    Nothing,
    Unknown {
        why: String,
    },
}

/// An attempt whose files are written.
struct Attempt {
    produced: Produced,
    groups: Vec<usize>,
}

impl Attempt {
    fn landed(self, table: Box<TableHandle>) -> Landed {
        Landed::Snapshot {
            table,
            id: self.produced.snapshot_id,
            groups: self.groups,
        }
    }
}

/// Builds and commits until it is known how that ended. Manifests of attempts that are certainly lost are removed.
async fn land(
    catalog: &dyn Catalog,
    name: &TableName,
    moved: Moved<'_>,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<Landed> {
    let mut lost = Vec::new();
    match try_to_land(catalog, name, moved, clock, ids, &mut lost).await {
        // A link in between may have repeated a request that had won, and then the lost race was one against ourselves.
        Err(error) if !lost.is_empty() => Ok(Landed::Unknown {
            why: format!("a race was lost, perhaps against an earlier sending of the same commit: {error}"),
        }),
        ended => ended,
    }
}

/// Leaves in `lost` the attempts that lost and may yet turn out to have won.
async fn try_to_land(
    catalog: &dyn Catalog,
    name: &TableName,
    moved: Moved<'_>,
    clock: &dyn Clock,
    ids: &dyn Ids,
    lost: &mut Vec<Attempt>,
) -> Result<Landed> {
    for number in 0..=ATTEMPTS {
        let table = load(catalog, name).await?;
        if let Some(won) = lost.iter().position(|attempt| attempt.produced.is_in(&table)) {
            let won = lost.swap_remove(won);
            remove_lost(&table, lost).await;
            return Ok(won.landed(table.into()));
        }
        remove_lost(&table, lost).await;
        if number == ATTEMPTS {
            break;
        }
        refuse_what_is_not_understood(&table)?;
        let Some(attempt) = build(&table, moved, clock, ids, number).await? else {
            return Ok(match lost.is_empty() {
                true => Landed::Nothing,
                false => Landed::Unknown {
                    why: "a race was lost, perhaps against an earlier sending of the same commit".into(),
                },
            });
        };
        if let Err(error) = catalog.persist(&files_of(moved, &attempt)).await {
            remove_files(&table, attempt.produced.written).await;
            return Err(error);
        }
        let answer = catalog.commit(&table, attempt.produced.change.clone()).await;
        match attempt.produced.outcome(catalog, &table, answer).await? {
            CatalogCommit::Done(table) => {
                remove_lost(&table, lost).await;
                return Ok(attempt.landed(table));
            }
            CatalogCommit::Unknown { why } => return Ok(Landed::Unknown { why }),
            CatalogCommit::Conflict { why } => {
                tracing::debug!(table = %name, number, why, "a rewrite lost a race and is built again");
                lost.push(attempt);
            }
        }
    }
    Err(Error::new(
        ErrorKind::Transient,
        "the table changed each time that a rewrite of it was about to be committed",
    )
    .with("table", name))
}

/// Removes the manifests of attempts that have lost for certain.
async fn remove_lost(table: &TableHandle, lost: &mut Vec<Attempt>) {
    for attempt in lost.extract_if(.., |attempt| attempt.produced.has_lost(table)) {
        remove_files(table, attempt.produced.written).await;
    }
}

fn files_of(moved: Moved<'_>, attempt: &Attempt) -> Vec<String> {
    let mut files = attempt.produced.written.clone();
    if let Moved::Files(rewrite) = moved {
        let groups = attempt.groups.iter().map(|index| &rewrite.groups[*index]);
        let written = groups.flat_map(|group| &group.written);
        files.extend(written.map(|file| file.file_path().to_owned()));
    }
    files
}

/// The next attempt; `None` if there is nothing left to do.
async fn build(
    table: &TableHandle,
    moved: Moved<'_>,
    clock: &dyn Clock,
    ids: &dyn Ids,
    number: usize,
) -> Result<Option<Attempt>> {
    match moved {
        Moved::Files(rewrite) => build_rewrite(table, rewrite, clock, ids, number).await,
        Moved::Manifests => build_merge(table, clock, ids, number).await,
    }
}

/// Those groups that nobody has changed.
async fn build_rewrite(
    table: &TableHandle,
    rewrite: &Rewrite,
    clock: &dyn Clock,
    ids: &dyn Ids,
    number: usize,
) -> Result<Option<Attempt>> {
    let metadata = table.metadata();
    let is_based_on = || ancestors(metadata).any(|snapshot| snapshot.snapshot_id() == rewrite.snapshot_id);
    let Some(head) = table
        .head()
        .filter(|_| TableLayout::of(metadata) == rewrite.layout && is_based_on())
    else {
        return Ok(None);
    };
    let live = live_files(table, head).await?;
    let spec_id = rewrite.layout.spec_id;
    // Deletes by value go by partition. Those that others have committed since would miss rows that move to another spec, or meet them there.
    let since = rewrite.sequence_number;
    let may_change_spec = !has_equality_deletes_since(table, head, since).await?;
    let unchanged = |file: &Arc<LiveFile>| {
        (may_change_spec || file.spec_id == spec_id) && live.iter().any(|now| now.is_as(file))
    };
    let groups: Vec<usize> = (0..rewrite.groups.len())
        .filter(|index| rewrite.groups[*index].replaced.iter().all(unchanged))
        .collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let chosen = || groups.iter().map(|index| &rewrite.groups[*index]);
    let data_files: Vec<_> = chosen()
        .flat_map(|group| &group.written)
        .map(|file| (spec_id, file.clone()))
        .collect();
    let removed = removed_files(&live, chosen(), rewrite.sequence_number);
    let changes = FileChanges {
        data_files: &data_files,
        sequence_number: Some(rewrite.sequence_number),
        delete_files: &[],
        removed: RemovedFiles::These(&removed),
        is_rewrite: true,
        merge_at: MERGE_AT,
    };
    let produced = produce(table, &changes, None, clock.now(), ids, number).await?;
    Ok(Some(Attempt { produced, groups }))
}

async fn build_merge(
    table: &TableHandle,
    clock: &dyn Clock,
    ids: &dyn Ids,
    number: usize,
) -> Result<Option<Attempt>> {
    if !manifests::can_merge(&manifests::of_head(table).await?) {
        return Ok(None);
    }
    let changes = FileChanges {
        data_files: &[],
        sequence_number: None,
        delete_files: &[],
        removed: RemovedFiles::These(&HashSet::new()),
        is_rewrite: true,
        merge_at: 2,
    };
    let produced = produce(table, &changes, None, clock.now(), ids, number).await?;
    Ok(Some(Attempt {
        produced,
        groups: Vec::new(),
    }))
}

async fn load(catalog: &dyn Catalog, name: &TableName) -> Result<TableHandle> {
    catalog.load(name).await?.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "cannot rewrite: there is no such Iceberg table",
        )
        .with("table", name)
    })
}

/// The replaced files, and the delete files that speak of no other live file any more. Younger ones stay: they may speak of the new files.
fn removed_files<'a>(
    live: &[Arc<LiveFile>],
    groups: impl Iterator<Item = &'a RewrittenGroup>,
    sequence_number: i64,
) -> HashSet<FileKey> {
    let replaced: HashSet<_> = groups
        .flat_map(|group| &group.replaced)
        .map(|file| &file.path)
        .collect();
    let (gone, kept): (Vec<_>, Vec<_>) = live.iter().partition(|file| replaced.contains(&file.path));
    let still_used: HashSet<FileKey> = kept
        .iter()
        .flat_map(|file| &file.deletes)
        .map(|delete| delete.key())
        .collect();
    let data = gone.iter().map(|file| FileKey::of(&file.data_file));
    let deletes = gone
        .iter()
        .flat_map(|file| &file.deletes)
        .filter(|delete| delete.sequence_number <= sequence_number)
        .map(|delete| delete.key())
        .filter(|delete| !still_used.contains(delete));
    data.chain(deletes).collect()
}
