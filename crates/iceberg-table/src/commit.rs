//! Commits of snapshots: preconditions, retry after a lost race, and what an uncertain answer becomes.
//!
//! Every attempt starts from freshly loaded metadata and checks everything again, so a lost race, a second owner and a commit
//! that had already happened are all found there and nowhere else.

use std::collections::HashSet;

use iceberg::spec::{DataFile, Operation};
use model::{Clock, CommitOutcome, Error, ErrorKind, Ids, Mark, Replace, Result, TableName};

use crate::catalog::{Catalog, CatalogCommit, TableHandle};
use crate::delete_files::{DeleteFiles, MissingFile, RowsToDelete};
use crate::layout::{TableLayout, refuse_what_is_not_understood};
use crate::manifests::{MERGE_AT, remove_files};
use crate::marks::{RowCounts, SYNC_ID, Stamp, ancestors, committed, read_stamp, receipt, snapshot_of_batch};
use crate::snapshot::{FileChanges, Produced, RemovedFiles, produce};

/// Races that are lost before the caller is told of the conflict.
const ATTEMPTS: usize = 32;

/// One atomic change of a table: files and a stamp.
#[derive(Debug, Clone)]
pub struct SnapshotCommit {
    /// What it was built for.
    pub layout: TableLayout,
    /// What the commit says of itself.
    pub stamp: Stamp,
    /// The mark that the table must still have.
    pub after: Option<Mark>,
    /// New data files of that layout.
    pub data_files: Vec<DataFile>,
    /// Rows of present data files that are deleted.
    pub deletes: RowsToDelete,
    /// The heads at which rows were looked for. What others added since then has not been searched.
    pub located_at: HashSet<Option<i64>>,
    /// What happens to the files that are there.
    pub replace: Replace,
    /// What the files amount to in rows.
    pub rows: RowCounts,
}

/// Commits a snapshot. Sending the same commit again does not repeat it: its batch is found first.
///
/// # Errors
///
/// Nothing was committed then, and nothing will be. `NotFound` if the table is gone, `Unsupported` as
/// [`refuse_what_is_not_understood`], `Gap` as [`committed`], and whatever reading and writing files gives.
///
/// # Cancel safety
///
/// Dropping the future leaves it open whether the commit happened, as [`CommitOutcome::Unknown`] does.
pub async fn commit_snapshot(
    catalog: &dyn Catalog,
    name: &TableName,
    commit: &SnapshotCommit,
    clock: &dyn Clock,
    ids: &dyn Ids,
) -> Result<CommitOutcome> {
    let mut lost = Vec::new();
    match try_to_commit(catalog, name, commit, clock, ids, &mut lost).await {
        // A link in between may have repeated a request that had won, and then the lost race was one against ourselves.
        Err(error) if !lost.is_empty() => Ok(CommitOutcome::Unknown {
            why: format!("a race was lost, perhaps against an earlier sending of the same commit: {error}"),
        }),
        ended => ended,
    }
}

/// Leaves in `lost` the attempts that lost and may yet turn out to have won.
async fn try_to_commit(
    catalog: &dyn Catalog,
    name: &TableName,
    commit: &SnapshotCommit,
    clock: &dyn Clock,
    ids: &dyn Ids,
    lost: &mut Vec<Produced>,
) -> Result<CommitOutcome> {
    for attempt in 0..ATTEMPTS {
        let table = load(catalog, name).await?;
        if let Some(snapshot) = snapshot_of_batch(table.metadata(), &commit.stamp.sync, &commit.stamp.batch) {
            return Ok(CommitOutcome::Committed(receipt(snapshot)));
        }
        remove_lost(&table, lost).await;
        refuse_what_is_not_understood(&table)?;
        if let Some(why) = obstacle(&table, commit)? {
            tracing::info!(table = %name, batch = %commit.stamp.batch, why, "commit refused");
            return conflict(&table, commit, lost);
        }
        let deletes = match DeleteFiles::write(&table, &commit.deletes, ids).await? {
            Ok(deletes) => deletes,
            Err(MissingFile(file)) => {
                tracing::info!(table = %name, batch = %commit.stamp.batch, file, "a file with rows to delete is gone");
                return conflict(&table, commit, lost);
            }
        };
        let produced = build(&table, commit, deletes, clock, ids, attempt).await?;
        if let Err(error) = catalog.persist(&files_of(commit, &produced)).await {
            remove_files(&table, produced.written).await;
            return Err(error);
        }
        let answer = catalog.commit(&table, produced.change.clone()).await;
        match produced.outcome(catalog, &table, answer).await? {
            CatalogCommit::Done(table) => {
                remove_lost(&table, lost).await;
                return done(&table, commit);
            }
            CatalogCommit::Unknown { why } => return Ok(CommitOutcome::Unknown { why }),
            CatalogCommit::Conflict { why } => {
                tracing::debug!(table = %name, attempt, why, "commit lost a race and is built again");
                lost.push(produced);
            }
        }
    }
    let table = load(catalog, name).await?;
    remove_lost(&table, lost).await;
    match snapshot_of_batch(table.metadata(), &commit.stamp.sync, &commit.stamp.batch) {
        Some(snapshot) => Ok(CommitOutcome::Committed(receipt(snapshot))),
        None => conflict(&table, commit, lost),
    }
}

/// Removes what was written for attempts that have lost for certain.
async fn remove_lost(table: &TableHandle, lost: &mut Vec<Produced>) {
    for attempt in lost.extract_if(.., |attempt| attempt.has_lost(table)) {
        remove_files(table, attempt.written).await;
    }
}

/// Writes the snapshot. What was written for its deletes belongs to it.
async fn build(
    table: &TableHandle,
    commit: &SnapshotCommit,
    deletes: DeleteFiles,
    clock: &dyn Clock,
    ids: &dyn Ids,
    attempt: usize,
) -> Result<Produced> {
    let spec_id = commit.layout.spec_id;
    let data_files: Vec<_> = commit
        .data_files
        .iter()
        .map(|file| (spec_id, file.clone()))
        .collect();
    let changes = FileChanges {
        data_files: &data_files,
        sequence_number: None,
        delete_files: &deletes.added,
        removed: match commit.replace {
            Replace::No => RemovedFiles::These(&deletes.replaced),
            Replace::Table => RemovedFiles::All,
        },
        is_rewrite: false,
        merge_at: MERGE_AT,
    };
    let signature = Some((&commit.stamp, &commit.rows));
    match produce(table, &changes, signature, clock.now(), ids, attempt).await {
        Ok(mut produced) => {
            produced.written.extend(deletes.written);
            Ok(produced)
        }
        Err(error) => {
            remove_files(table, deletes.written).await;
            Err(error)
        }
    }
}

async fn load(catalog: &dyn Catalog, name: &TableName) -> Result<TableHandle> {
    catalog.load(name).await?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "cannot commit: the table is gone").with("table", name)
    })
}

/// As long as an attempt may still win, nobody may take the commit for lost.
fn conflict(table: &TableHandle, commit: &SnapshotCommit, lost: &[Produced]) -> Result<CommitOutcome> {
    Ok(match lost.is_empty() {
        true => CommitOutcome::Conflict {
            newest: committed(table.metadata(), &commit.stamp.sync)?,
        },
        false => CommitOutcome::Unknown {
            why: "a race was lost, perhaps against an earlier sending of the same commit".into(),
        },
    })
}

fn done(table: &TableHandle, commit: &SnapshotCommit) -> Result<CommitOutcome> {
    Ok(
        match snapshot_of_batch(table.metadata(), &commit.stamp.sync, &commit.stamp.batch) {
            Some(snapshot) => CommitOutcome::Committed(receipt(snapshot)),
            None => CommitOutcome::Unknown {
                why: "the catalog reported a commit that it does not show".into(),
            },
        },
    )
}

/// Why the commit must not happen on this metadata, if there is a reason.
fn obstacle(table: &TableHandle, commit: &SnapshotCommit) -> Result<Option<String>> {
    let metadata = table.metadata();
    let layout = TableLayout::of(metadata);
    if layout != commit.layout {
        return Ok(Some(format!(
            "the table is {layout:?} and the files are for {:?}",
            commit.layout
        )));
    }
    let present = committed(metadata, &commit.stamp.sync)?;
    if present.epoch > commit.stamp.epoch {
        return Ok(Some(format!(
            "the table's epoch is {} and ours is {}",
            present.epoch, commit.stamp.epoch
        )));
    }
    if present.mark != commit.after {
        return Ok(Some(
            "the table's mark is not the one that this was built on".into(),
        ));
    }
    if commit.replace == Replace::Table {
        return Ok(None);
    }
    for base in &commit.located_at {
        if let Some(why) = changed_since(table, commit, *base)? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

/// What was committed since `base` may have added rows with the keys of ours, and nobody has looked for them there. Chunks of one copy
/// may follow each other, because their keys are their own and no two of their marks are the same; any other commit of ours
/// may have come from a second owner with the same mark. A compaction adds files, but no rows. Others need not count what they
/// add: who says nothing may have added something, except by a delete. Ours leave out what is zero.
fn changed_since(table: &TableHandle, commit: &SnapshotCommit, base: Option<i64>) -> Result<Option<String>> {
    for snapshot in ancestors(table.metadata()) {
        if Some(snapshot.snapshot_id()) == base {
            return Ok(None);
        }
        let summary = snapshot.summary();
        let entries = &summary.additional_properties;
        let adds = match entries.get("added-data-files") {
            Some(files) => files != "0",
            None => summary.operation != Operation::Delete && !entries.contains_key(SYNC_ID),
        };
        let stamp = read_stamp(snapshot, &commit.stamp.sync)?;
        let is_chunk = matches!(
            stamp,
            Some(Stamp {
                mark: Mark::Copying { .. },
                ..
            })
        );
        if adds && summary.operation != Operation::Replace && !is_chunk {
            return Ok(Some(format!(
                "snapshot {} added rows meanwhile",
                snapshot.snapshot_id()
            )));
        }
    }
    Ok(base.map(|base| {
        format!("snapshot {base}, in which rows were located, is no longer an ancestor of the head")
    }))
}

fn files_of(commit: &SnapshotCommit, produced: &Produced) -> Vec<String> {
    let data_files = commit.data_files.iter().map(|file| file.file_path().to_owned());
    data_files.chain(produced.written.iter().cloned()).collect()
}
