//! How far a table has got: the marks in snapshot summaries and table properties.
//!
//! Every commit of ours writes its mark, batch and epoch into the summary of its snapshot and, in the same metadata
//! update, into the table property `sync.<id>.state`. The newest summary among the head's ancestors wins, so a rollback rewinds.
//! The property counts only where the walk ends at a snapshot that has expired, and if it is older than what the walk reached: a
//! younger one is of a branch that the table was rolled back from. Expiry keeps what the walk needs to tell ([`marked_snapshots`]).

use std::collections::HashMap;

use iceberg::spec::{NestedFieldRef, Snapshot, SnapshotRef, TableMetadata};
use model::{BatchId, Committed, Epoch, Error, ErrorKind, Mark, Receipt, Result, SyncId};
use serde::{Deserialize, Serialize};

/// The summary key with the sync's id.
pub const SYNC_ID: &str = "sync.id";
/// The summary key with the mark as JSON.
pub const SYNC_MARK: &str = "sync.mark";
/// The summary key with the batch's id.
pub const SYNC_BATCH: &str = "sync.batch-id";
/// The summary key with the owner's epoch.
pub const SYNC_EPOCH: &str = "sync.epoch";
/// The summary key with the moment of the source that the table is as of: with the same one in several tables, they are as of it together.
pub const SYNC_MOMENT: &str = "sync.moment";
/// The table property with the name of the program that created, or adopted, the table.
pub const CREATED_BY: &str = "sync.created-by";

const INSERTED: &str = "sync.inserted";
const UPDATED: &str = "sync.updated";
const DELETED: &str = "sync.deleted";

/// What a commit says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The sync.
    pub sync: SyncId,
    /// The mark that holds with this commit.
    pub mark: Mark,
    /// The commit's batch.
    pub batch: BatchId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The moment of the source that the table is as of, if other tables are as of the same one.
    pub moment: Option<String>,
}

/// Rows that a commit touched, as they are counted in its summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
}

impl std::ops::AddAssign for RowCounts {
    fn add_assign(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct StoredState {
    snapshot_id: i64,
    sequence_number: i64,
    mark: Mark,
    batch: BatchId,
    epoch: Epoch,
    /// The table's schema then; `None` if an older version committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema_id: Option<i32>,
}

/// How far the table has got under `sync`.
///
/// # Errors
///
/// `Gap` if the table carried marks that its present history does not lead to; `Corrupt` if a mark cannot be read.
pub fn committed(metadata: &TableMetadata, sync: &SyncId) -> Result<Committed> {
    let reference = metadata.current_snapshot_id().map(|id| id.to_string());
    let mut oldest = None;
    for snapshot in ancestors(metadata) {
        if let Some(stamp) = read_stamp(snapshot, sync)? {
            return Ok(Committed {
                mark: Some(stamp.mark),
                epoch: stamp.epoch,
                batch: Some(stamp.batch),
                reference,
                added: added_since(metadata, snapshot.schema_id()),
                moment: stamp.moment,
            });
        }
        oldest = snapshot.parent_snapshot_id().map(|_| snapshot);
    }
    // Whether what the property tells of can be an ancestor of the head, expired or behind one that has.
    let is_behind = |state: &StoredState| {
        let is_kept = metadata.snapshot_by_id(state.snapshot_id).is_some();
        let expired = i64::from(is_kept);
        oldest.is_some_and(|oldest| state.sequence_number + expired < oldest.sequence_number())
    };
    match stored_state(metadata, sync)? {
        None => Ok(Committed { reference, ..Committed::default() }),
        Some(state) if is_behind(&state) => {
            let added = added_since(metadata, state.schema_id);
            Ok(Committed { mark: Some(state.mark), epoch: state.epoch, batch: Some(state.batch), reference, added, moment: None })
        }
        Some(state) => Err(Error::new(ErrorKind::Gap, "the table carried marks, and its present history does not")
            .with("sync", sync)
            .with("snapshot of the last mark", state.snapshot_id)
            .hint(format!(
                "the table was rolled back or replaced: roll it forward to that snapshot, or remove the property {} and copy again",
                state_property(sync)
            ))),
    }
}

/// The columns that the table did not have, or not of this type, when it had the schema `then`: all of them if nobody knows that schema any
/// more. A column that was dropped and added again under its name has another id.
fn added_since(metadata: &TableMetadata, then: Option<i32>) -> Vec<String> {
    let now = metadata.current_schema();
    if then.is_none_or(|then| then == now.schema_id()) {
        return Vec::new();
    }
    let then = then.and_then(|then| metadata.schema_by_id(then));
    let was_there = |column: &NestedFieldRef| {
        let before = then.and_then(|then| then.as_struct().field_by_id(column.id));
        before.is_some_and(|before| before.name == column.name && before.field_type == column.field_type)
    };
    let columns = now.as_struct().fields().iter();
    let added = columns.filter(|column| !was_there(column));
    added.map(|column| column.name.clone()).collect()
}

/// The snapshot that committed `batch`, if it is an ancestor of the head.
pub fn snapshot_of_batch<'a>(
    metadata: &'a TableMetadata,
    sync: &SyncId,
    batch: &BatchId,
) -> Option<&'a SnapshotRef> {
    ancestors(metadata).find(|snapshot| {
        is_of(snapshot, sync)
            && snapshot
                .summary()
                .additional_properties
                .get(SYNC_BATCH)
                .is_some_and(|b| b == batch.as_str())
    })
}

/// The snapshots that the newest mark of each sync needs: those that hold it, by the table's history and by its properties, and, if the
/// table was rolled back behind what the property tells of, the ancestors of the head that show it.
pub fn marked_snapshots(metadata: &TableMetadata) -> Vec<(i64, SyncId)> {
    let mut marked = Vec::new();
    for (sync, state) in states(metadata) {
        let newest = ancestors(metadata).find(|snapshot| is_of(snapshot, &sync));
        marked.extend(newest.map(|snapshot| (snapshot.snapshot_id(), sync.clone())));
        if let Ok(state) = serde_json::from_str::<StoredState>(state) {
            let shown = rollback_behind(metadata, &state).into_iter();
            marked.extend(shown.map(|snapshot| (snapshot, sync.clone())));
            marked.push((state.snapshot_id, sync));
        }
    }
    marked
}

/// The syncs that have ever committed to the table, by their names.
pub fn writers(metadata: &TableMetadata) -> Vec<SyncId> {
    let mut writers: Vec<_> = states(metadata).map(|(sync, _)| sync).collect();
    writers.sort();
    writers
}

/// The properties that outlive the snapshots of each sync.
fn states(metadata: &TableMetadata) -> impl Iterator<Item = (SyncId, &String)> {
    metadata.properties().iter().filter_map(|(name, state)| {
        let sync = name.strip_prefix("sync.")?.strip_suffix(".state")?;
        Some((SyncId::new(sync), state))
    })
}

/// The ancestors of the head down to the first that is older than what `state` tells of, if that is not among them.
fn rollback_behind(metadata: &TableMetadata, state: &StoredState) -> Vec<i64> {
    let mut shown = Vec::new();
    for snapshot in ancestors(metadata) {
        if snapshot.snapshot_id() == state.snapshot_id {
            return Vec::new();
        }
        shown.push(snapshot.snapshot_id());
        if snapshot.sequence_number() < state.sequence_number {
            return shown;
        }
    }
    Vec::new()
}

/// What a snapshot of ours did, from its summary.
pub fn receipt(snapshot: &SnapshotRef) -> Receipt {
    let summary = &snapshot.summary().additional_properties;
    let number = |key: &str| summary.get(key).and_then(|value| value.parse().ok()).unwrap_or(0);
    Receipt {
        reference: snapshot.snapshot_id().to_string(),
        inserted: number(INSERTED),
        updated: number(UPDATED),
        deleted: number(DELETED),
        bytes: number("added-files-size"),
        ..Receipt::default()
    }
}

/// The head and its ancestors, newest first, as far as they have not expired.
pub(crate) fn ancestors(metadata: &TableMetadata) -> impl Iterator<Item = &SnapshotRef> {
    let walk = std::iter::successors(metadata.current_snapshot(), |snapshot| {
        snapshot
            .parent_snapshot_id()
            .and_then(|id| metadata.snapshot_by_id(id))
    });
    // In damaged metadata parents may form a circle.
    walk.take(metadata.snapshots().len())
}

/// Whether a snapshot is a commit of `sync`.
fn is_of(snapshot: &SnapshotRef, sync: &SyncId) -> bool {
    snapshot
        .summary()
        .additional_properties
        .get(SYNC_ID)
        .is_some_and(|id| id == sync.as_str())
}

impl Stamp {
    /// The entries for the snapshot's summary.
    pub(crate) fn summary(&self, rows: &RowCounts) -> Result<HashMap<String, String>> {
        let entries = [
            (SYNC_ID, self.sync.to_string()),
            (SYNC_MARK, json(&self.mark)?),
            (SYNC_BATCH, self.batch.to_string()),
            (SYNC_EPOCH, self.epoch.to_string()),
            (INSERTED, rows.inserted.to_string()),
            (UPDATED, rows.updated.to_string()),
            (DELETED, rows.deleted.to_string()),
        ];
        let moment = self.moment.iter().map(|moment| (SYNC_MOMENT, moment.clone()));
        Ok(entries
            .into_iter()
            .chain(moment)
            .map(|(key, value)| (key.to_owned(), value))
            .collect())
    }

    /// The table property that outlives the snapshot.
    pub(crate) fn property(&self, snapshot: &Snapshot) -> Result<(String, String)> {
        let state = StoredState {
            snapshot_id: snapshot.snapshot_id(),
            sequence_number: snapshot.sequence_number(),
            mark: self.mark.clone(),
            batch: self.batch.clone(),
            epoch: self.epoch,
            schema_id: snapshot.schema_id(),
        };
        Ok((state_property(&self.sync), json(&state)?))
    }
}

fn state_property(sync: &SyncId) -> String {
    format!("sync.{sync}.state")
}

/// What a snapshot says of itself, if it is a commit of `sync`.
pub(crate) fn read_stamp(snapshot: &SnapshotRef, sync: &SyncId) -> Result<Option<Stamp>> {
    if !is_of(snapshot, sync) {
        return Ok(None);
    }
    let summary = &snapshot.summary().additional_properties;
    let damaged = || {
        Error::new(ErrorKind::Corrupt, "cannot read the mark in a snapshot's summary")
            .with("sync", sync)
            .with("snapshot", snapshot.snapshot_id())
            .hint("roll the table back to the snapshot before it, or remove the table and copy again")
    };
    let field = |key: &str| summary.get(key).ok_or_else(damaged);
    Ok(Some(Stamp {
        sync: sync.clone(),
        mark: serde_json::from_str(field(SYNC_MARK)?).map_err(|e| damaged().caused_by(e))?,
        batch: BatchId::new(field(SYNC_BATCH)?),
        epoch: Epoch(
            field(SYNC_EPOCH)?
                .parse()
                .map_err(|e: std::num::ParseIntError| damaged().caused_by(e))?,
        ),
        moment: summary.get(SYNC_MOMENT).cloned(),
    }))
}

fn stored_state(metadata: &TableMetadata, sync: &SyncId) -> Result<Option<StoredState>> {
    let property = state_property(sync);
    let Some(text) = metadata.properties().get(&property) else {
        return Ok(None);
    };
    serde_json::from_str(text).map(Some).map_err(|e| {
        Error::new(
            ErrorKind::Corrupt,
            "cannot read the table property that holds a mark",
        )
        .with("property", property)
        .hint("restore it from an older metadata file")
        .caused_by(e)
    })
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal("cannot write a mark as JSON").caused_by(e))
}

#[cfg(test)]
mod tests;
