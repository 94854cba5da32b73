//! The seam to a target that commits data and mark together.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{BatchId, Batches, Epoch, Mark, Result, SyncId, TableName, TableSchema};

/// What a target says about how far it has got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// The mark of the newest commit; `None` if the table never carried our marks.
    pub mark: Option<Mark>,
    /// The epoch of the newest commit.
    pub epoch: Epoch,
    /// The batch of the newest commit.
    pub batch: Option<BatchId>,
    /// What the target calls its present state: a snapshot id, a row version. A position that a state store holds is
    /// valid only together with the reference that it extends.
    pub reference: Option<String>,
    /// The columns that the table got, or got anew, or of another type, since the newest commit. What they hold of older rows is nothing
    /// that was committed.
    pub added: Vec<String>,
    /// What the newest commit said of [`Commit::moment`], if the target keeps it.
    pub moment: Option<String>,
}

/// How the target gets ready for a table.
#[derive(Debug, Clone)]
pub struct Prepare {
    /// The sync.
    pub sync: SyncId,
    /// The table, by its name in the target.
    pub table: TableName,
    /// The shape that the source delivers.
    pub schema: Arc<TableSchema>,
    /// Whether a missing table is created. A sync that has already committed creates one only to replace everything.
    pub create: bool,
    /// Whether the next commit is [`Replace::Table`], so that it does not matter what the table holds.
    pub replace: bool,
    /// Whether a table that this engine did not create may be taken over.
    pub adopt: bool,
    /// Whether anything is changed at all; `plan` and `check` only ask.
    pub dry_run: bool,
}

/// What getting ready did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Whether the table was (or would be) created.
    pub created: bool,
    /// Whether columns of the table were (or would be) changed.
    pub altered: bool,
    /// What was (or would be) done, in words: the DDL, the columns added.
    pub actions: Vec<String>,
    /// Losses that the configuration allowed, in words.
    pub losses: Vec<String>,
}

/// Rows that are ready to be committed: files or a staging table that no reader sees yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    /// How many rows it holds.
    pub rows: u64,
    /// What only the sink that staged it understands.
    pub value: serde_json::Value,
}

/// What staging did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageOutcome {
    /// What is to be committed; empty if nothing changes.
    pub staged: Vec<Staged>,
    /// Rows taken from the stream.
    pub read: u64,
    /// Rows dropped because the target holds them already, byte for byte.
    pub unchanged: u64,
    /// Rows of [`Presence::PerhapsIdentical`](crate::Presence::PerhapsIdentical) that were not dropped, where they were
    /// [asked back](crate::ChangeBatch::asked_back). Empty where the target compares only when it commits.
    pub not_identical: Vec<RecordBatch>,
}

/// What a commit does to rows that are already there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replace {
    /// They stay, unless a staged row has their key.
    #[default]
    No,
    /// They all go, in the same commit.
    Table,
}

/// One atomic change of a target table: data and mark.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The sync.
    pub sync: SyncId,
    /// The table, by its name in the target.
    pub table: TableName,
    /// The shape of the staged rows.
    pub schema: Arc<TableSchema>,
    /// The id by which this commit is found again.
    pub batch: BatchId,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The mark that the target must still have; `None` if it must have none.
    pub after: Option<Mark>,
    /// The mark that it has afterwards.
    pub mark: Mark,
    /// The rows. Without any, the commit still records the mark (and creates the first snapshot of an empty table).
    pub staged: Vec<Staged>,
    /// What happens to the rows that are there.
    pub replace: Replace,
    /// The [moment](crate::Moment) of the source that the table is as of afterwards, if other tables are as of the same one; the target
    /// says so if it can.
    pub moment: Option<String>,
}

/// What a commit did, counted by the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The target's state after it, see [`Committed::reference`].
    pub reference: String,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows that the target found equal and left alone.
    pub unchanged: u64,
    /// Rows that were there and were kept, because the policy for existing rows says so.
    pub skipped: u64,
    /// Bytes of new files; 0 where the target has none.
    pub bytes: u64,
}

/// How a commit ended. Neither of the last two is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It happened.
    Committed(Receipt),
    /// It did not and will not happen: the target is no longer where the commit was built on, or somebody else got in
    /// between. The staged rows are void; the caller looks at `newest` and decides.
    Conflict {
        /// What the target says now.
        newest: Committed,
    },
    /// It may have happened, or may still. The caller asks [`ChangeSink::committed`] for its batch id, or sends the **same**
    /// commit again; at most one of them wins.
    Unknown {
        /// What is known of the cause.
        why: String,
    },
}

/// A target that commits data and mark in one step.
///
/// # Contract
///
/// - **Guarantees.** A commit is atomic: readers see all of it or nothing, and its mark with it. It happens only if the
///   target still has the mark `after` and no epoch above `epoch`; this is checked in the same atomic step. Sending the
///   same commit twice has the effect of sending it once.
/// - **Columns** that a table gets between two commits are told by `committed` until the next one, whoever added them.
/// - **Does not guarantee** that rows keep an order.
/// - **Failure** of `stage` leaves at most files, staging tables or an open transaction's rows, which no reader sees. An `Err` from `commit` means
///   that nothing was committed; everything uncertain is [`CommitOutcome::Unknown`].
/// - **Errors.** [`Config`](crate::ErrorKind::Config) for a table of somebody else, [`SchemaMismatch`](crate::ErrorKind::SchemaMismatch) for one
///   that does not fit, [`Data`](crate::ErrorKind::Data) for a value that it cannot hold exactly, [`Gap`](crate::ErrorKind::Gap) for
///   one that is not the one of the mark; [`Transient`](crate::ErrorKind::Transient) and [`Unavailable`](crate::ErrorKind::Unavailable) where
///   the same call may succeed later.
/// - **Cancel safety.** Every call may be dropped. `prepare` then leaves the table as it was or ready, and is repeated; `stage` and `discard`
///   leave what no reader sees, until maintenance or the end of the session removes it; `commit` is then
///   [`CommitOutcome::Unknown`].
/// - Each key is at most once among the staged rows of a commit.
#[async_trait]
pub trait ChangeSink: Send + Sync {
    /// How far the table has got under this sync. A table that does not exist has never carried marks; a sink that keeps them beside
    /// its tables tells those of one that is gone nevertheless, and refuses as a [`Gap`](crate::ErrorKind::Gap) to go on from them with
    /// another table.
    async fn committed(&self, sync: &SyncId, table: &TableName) -> Result<Committed>;

    /// Gets the table ready: creates it or checks that it fits.
    async fn prepare(&self, prepare: &Prepare) -> Result<Prepared>;

    /// Writes rows to where no reader sees them. May be called for several streams at once.
    async fn stage(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome>;

    /// Whether rows of a copy that are surely new are best staged by [`ChangeSink::stage_alone`].
    async fn stages_alone(
        &self,
        _sync: &SyncId,
        _table: &TableName,
        _schema: &Arc<TableSchema>,
    ) -> Result<bool> {
        Ok(false)
    }

    /// Stages rows of a table's first copy, all [`Absent`](crate::Presence::Absent), for a commit of their own that comes before anything else
    /// is staged for the table. A sink may put them where they belong at once, in a transaction that the commit ends.
    async fn stage_alone(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        self.stage(sync, table, schema, rows).await
    }

    /// Commits. Cancelling the future has the effect of [`CommitOutcome::Unknown`].
    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome>;

    /// Throws away what was staged and is certainly not committed. Errors are for the log only.
    async fn discard(&self, staged: Vec<Staged>) -> Result<()>;

    /// Gives back what is held only in case that more comes soon, such as connections. Staged rows stay.
    fn rest(&self) {}
}
