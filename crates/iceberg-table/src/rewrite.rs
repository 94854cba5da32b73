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
use crate::read::{LiveFile, live_files};
use crate::snapshot::{FileChanges, Produced, RemovedFiles, produce};

/// Races that are lost before a rewrite gives up.
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
    /// These groups were replaced, by their index; it may be none.
    Committed {
        /// The new snapshot; `None` if nothing was left to replace.
        snapshot: Option<i64>,
        /// The groups that are in it.
        groups: Vec<usize>,
    },
    /// It may have happened, or may still.
    Unknown {
        /// What is known of the cause.
        why: String,
    },
}

/// Commits a rewrite. Files of groups that drop out are removed, and so is everything that was written if the commit is certainly lost.
///
/// # Errors
///
/// Nothing was committed then: `NotFound` if the table is gone, `Unsupported` as [`refuse_what_is_not_understood`], and whatever
/// reading and writing files gives.
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
    let mut lost: Vec<Produced> = Vec::new();
    for attempt in 0..ATTEMPTS {
        let table = load(catalog, name).await?;
        refuse_what_is_not_understood(&table)?;
        // A lost race may have been lost to a repeated request of our own.
        if let Some(won) = lost
            .iter()
            .find(|lost| table.metadata().snapshot_by_id(lost.snapshot_id).is_some())
        {
            let why = format!(
                "snapshot {} of an attempt that lost a race is there",
                won.snapshot_id
            );
            return Ok(RewriteOutcome::Unknown { why });
        }
        let built = build(&table, rewrite, clock, ids, attempt).await?;
        let Some((produced, groups)) = built else {
            discard(&table, rewrite, &[]).await;
            return Ok(RewriteOutcome::Committed {
                snapshot: None,
                groups: Vec::new(),
            });
        };
        let written = groups.iter().flat_map(|index| &rewrite.groups[*index].written);
        let files: Vec<_> = written
            .map(|file| file.file_path().to_owned())
            .chain(produced.written.iter().cloned())
            .collect();
        catalog.persist(&files).await?;
        match catalog.commit(&table, produced.change.clone()).await? {
            CatalogCommit::Done(table) => {
                discard(&table, rewrite, &groups).await;
                remove_files(&table, lost.into_iter().flat_map(|lost| lost.written).collect()).await;
                let snapshot = Some(produced.snapshot_id);
                return Ok(RewriteOutcome::Committed { snapshot, groups });
            }
            CatalogCommit::Unknown { why } => return Ok(RewriteOutcome::Unknown { why }),
            CatalogCommit::Conflict { why } => {
                tracing::debug!(table = %name, attempt, why, "a rewrite lost a race and is built again");
                lost.push(produced);
            }
        }
    }
    Ok(RewriteOutcome::Unknown {
        why: format!("{ATTEMPTS} races were lost"),
    })
}

/// The snapshot of those groups that nobody has changed, and which they are; `None` if there is none.
async fn build(
    table: &TableHandle,
    rewrite: &Rewrite,
    clock: &dyn Clock,
    ids: &dyn Ids,
    attempt: usize,
) -> Result<Option<(Produced, Vec<usize>)>> {
    let metadata = table.metadata();
    let is_based_on = || ancestors(metadata).any(|snapshot| snapshot.snapshot_id() == rewrite.snapshot_id);
    let Some(head) = table
        .head()
        .filter(|_| TableLayout::of(metadata) == rewrite.layout && is_based_on())
    else {
        return Ok(None);
    };
    let live = live_files(table, head).await?;
    let unchanged = |file: &Arc<LiveFile>| {
        live.iter()
            .any(|now| now.path == file.path && now.has_same_position_deletes(file))
    };
    let groups: Vec<usize> = (0..rewrite.groups.len())
        .filter(|index| rewrite.groups[*index].replaced.iter().all(unchanged))
        .collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let chosen = || groups.iter().map(|index| &rewrite.groups[*index]);
    let spec_id = rewrite.layout.spec_id;
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
    let produced = produce(table, &changes, None, clock.now(), ids, attempt).await?;
    Ok(Some((produced, groups)))
}

/// Merges the small manifests of a table: how many manifests there were, and how many there are. `None` if there was nothing to merge, or
/// if somebody else committed meanwhile: then they are merged soon enough.
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
    refuse_what_is_not_understood(&table)?;
    let before = manifests::of_head(&table).await?;
    if !manifests::can_merge(&before) {
        return Ok(None);
    }
    let none = HashSet::new();
    let changes = FileChanges {
        data_files: &[],
        sequence_number: None,
        delete_files: &[],
        removed: RemovedFiles::These(&none),
        is_rewrite: true,
        merge_at: 2,
    };
    let produced = produce(&table, &changes, None, clock.now(), ids, 0).await?;
    catalog.persist(&produced.written).await?;
    match catalog.commit(&table, produced.change).await? {
        CatalogCommit::Done(table) => {
            let after = manifests::of_head(&table).await?;
            Ok(Some((before.len(), after.len())))
        }
        CatalogCommit::Conflict { .. } => Ok(None),
        CatalogCommit::Unknown { why } => Err(Error::new(
            ErrorKind::Unavailable,
            "it is not known whether merged manifests were committed",
        )
        .with("table", name)
        .with("cause", why)),
    }
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

/// Removes the files of groups that are not in the commit.
async fn discard(table: &TableHandle, rewrite: &Rewrite, committed: &[usize]) {
    let dropped = rewrite
        .groups
        .iter()
        .enumerate()
        .filter(|(index, _)| !committed.contains(index));
    let files = dropped.flat_map(|(_, group)| &group.written);
    remove_files(table, files.map(|file| file.file_path().to_owned()).collect()).await;
}
