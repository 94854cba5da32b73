//! The status report of a run and the report of a verification, as `--output json` prints them.
//!
//! Every position, count and time here comes from what was committed, not from what was intended. Times are RFC 3339 in UTC.

use serde::{Deserialize, Serialize};

/// How a run, or one table of it, ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Everything was applied; possibly there was nothing.
    #[default]
    Succeeded,
    /// Something failed; what was applied before stays and the rest resumes.
    Failed,
    /// The caller cancelled; the rest resumes.
    Cancelled,
    /// The source lost the history; a full copy or a reconciliation is needed.
    Gap,
    /// The table is disabled, or has nothing to do in this direction.
    Skipped,
}

/// One run of a sync.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// What ran, and how it ended.
    pub metadata: RunMetadata,
    /// The sums over all tables.
    pub statistics: Statistics,
    /// One entry per table and direction.
    pub tables: Vec<TableReport>,
    /// Conflicts and how they were resolved.
    pub conflicts: Vec<ConflictReport>,
    /// Rows whose time lay where no increment expects it.
    pub late_arriving_data: Vec<LateDataReport>,
    /// How far the sync has got.
    pub checkpoint: CheckpointReport,
    /// What failed.
    pub errors: Vec<ErrorReport>,
    /// What an operator should know although nothing failed.
    pub warnings: Vec<String>,
}

/// What ran, when, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunMetadata {
    /// The sync's name.
    pub sync_id: String,
    /// The source, without secrets.
    pub source: String,
    /// The destination, without secrets.
    pub destination: String,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub completed_at: String,
    /// How long it took.
    pub duration_seconds: f64,
    /// How it ended: the worst of its tables.
    pub status: RunStatus,
    /// The most memory that the process has had, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Which cycle of a run that goes on this is, counted over all tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<u64>,
}

/// Counts. `records_processed` are rows read from the source, a tolerance window's included; `records_written` are rows
/// that were changed in the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Rows read.
    pub records_processed: u64,
    /// Rows that changed the target.
    pub records_written: u64,
    /// Rows inserted.
    pub records_inserted: u64,
    /// Rows updated.
    pub records_updated: u64,
    /// Rows deleted.
    pub records_deleted: u64,
    /// Rows that the target held already.
    pub records_unchanged: u64,
    /// Rows that came late: their time lies before what earlier runs had read, and the target did not hold them as they are.
    #[serde(default)]
    pub records_late: u64,
    /// Rows that changed and have no time.
    #[serde(default)]
    pub records_without_time: u64,
    /// Rows that changed and whose time lies too far ahead to be waited for.
    #[serde(default)]
    pub records_ahead: u64,
    /// Rows of the last two kinds that were left out by policy; so many as the source names.
    #[serde(default)]
    pub records_held: u64,
    /// Rows of all three kinds that were put among the dead letters by policy.
    #[serde(default)]
    pub records_dead_lettered: u64,
    /// Conflicts found.
    pub conflicts_detected: u64,
    /// Conflicts decided.
    pub conflicts_resolved: u64,
    /// Failures.
    pub errors: u64,
}

impl std::ops::AddAssign for Statistics {
    fn add_assign(&mut self, other: Self) {
        self.records_processed += other.records_processed;
        self.records_written += other.records_written;
        self.records_inserted += other.records_inserted;
        self.records_updated += other.records_updated;
        self.records_deleted += other.records_deleted;
        self.records_unchanged += other.records_unchanged;
        self.records_late += other.records_late;
        self.records_without_time += other.records_without_time;
        self.records_ahead += other.records_ahead;
        self.records_held += other.records_held;
        self.records_dead_lettered += other.records_dead_lettered;
        self.conflicts_detected += other.conflicts_detected;
        self.conflicts_resolved += other.conflicts_resolved;
        self.errors += other.errors;
    }
}

/// One table in one direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TableReport {
    /// The table, by its name in the source.
    pub table: String,
    /// The direction: `source → iceberg` or `iceberg → target`.
    pub direction: String,
    /// How it was read: `copy`, `timestamp(updated_at)`, `snapshot difference`, …
    pub mode: String,
    /// Its counts.
    #[serde(flatten)]
    pub statistics: Statistics,
    /// Up to where the source has been applied, for people.
    pub watermark: Option<String>,
    /// The target's state after the run: a snapshot id or a batch.
    pub reference: Option<String>,
    /// The moment of the source that this state is as of, like those of the other tables that name it: of a transaction all is there or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<String>,
    /// When this table's last successful run ended.
    pub last_sync_timestamp: Option<String>,
    /// How long this table took; in the report of several cycles, the last one.
    #[serde(default)]
    pub duration_seconds: f64,
    /// How it ended.
    pub status: RunStatus,
}

/// A row that both sides changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictReport {
    /// The table.
    pub table: String,
    /// The row's key, for people.
    pub key: String,
    /// The policy that decided.
    pub policy: String,
    /// What it decided.
    pub resolution: String,
}

/// A row whose time lay where no increment expects it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LateDataReport {
    /// The table.
    pub table: String,
    /// The row's key, for people.
    pub record_id: String,
    /// What is odd about its time.
    pub kind: OddTime,
    /// The time that was expected: the earliest one for a row that came late, the latest one for a row of the future.
    pub expected: String,
    /// The time that the row carries; `NULL` if it has none.
    pub actual: String,
    /// By how many seconds it is too early, negative if it is too late; 0 without a time.
    pub delay_seconds: f64,
    /// What was done with it: `applied`, `held`, `refused` or `dead_letter`.
    pub handled: String,
}

/// What is odd about the time that a row carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OddTime {
    /// It lies before what earlier increments had read.
    #[default]
    Late,
    /// There is none.
    Missing,
    /// It lies so far ahead that the clock is not waited for.
    Ahead,
}

impl OddTime {
    /// Its name, as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Missing => "missing",
            Self::Ahead => "ahead",
        }
    }
}

/// How far the sync has got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointReport {
    /// When the last successful run ended.
    pub last_sync_timestamp: Option<String>,
    /// The watermarks of the tables, for people.
    pub high_water_mark: Option<String>,
    /// The greatest version in the state store.
    pub state_version: u64,
}

/// One failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// The table, if it was one table's.
    pub table: Option<String>,
    /// The kind of error, see [`ErrorKind::name`](crate::ErrorKind::name).
    pub kind: String,
    /// What was tried and why it failed, with its causes.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// One comparison in a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyColumn {
    /// What is compared with the first side: `iceberg` or `target`.
    pub side: String,
    /// Rows on the first side.
    pub rows: u64,
    /// Rows on this side.
    pub rows_here: u64,
    /// Rows that are equal.
    pub matched: u64,
    /// Keys on both sides with different rows.
    pub different: u64,
    /// Keys of the first side that are absent here.
    pub missing: u64,
    /// Keys here that the first side does not have, doubled rows included.
    pub extra: u64,
    /// Keys that changed on the first side after the position that was applied.
    pub pending: u64,
    /// Rows here that are gone from the first side and stay by policy.
    #[serde(default)]
    pub kept: u64,
    /// Keys per range that was compared as one; 0 where the key is no whole number, and ranges of its hash were.
    #[serde(default)]
    pub range_keys: u64,
    /// Rows of the first side that were read once more, to find the keys that differ.
    #[serde(default)]
    pub read_again: u64,
    /// The keys that are different, missing or extra, up to a limit: `different {"id":7}`.
    pub keys: Vec<String>,
}

/// The verification of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The table, by its name in the source.
    pub table: String,
    /// What the others are compared with: `source`, or `iceberg` where there is no source.
    pub against: String,
    /// One entry per other side.
    pub columns: Vec<VerifyColumn>,
    /// Why the table could not be compared, and what to do; there is no entry then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl VerifyReport {
    /// Whether the table was compared and every row matches; what is pending does not count against it.
    pub fn all_match(&self) -> bool {
        let matches = |c: &VerifyColumn| c.different == 0 && c.missing == 0 && c.extra == 0;
        self.error.is_none() && self.columns.iter().all(matches)
    }
}
