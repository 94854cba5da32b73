//! The seam to a source of rows and changes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures_core::Stream;

use crate::{
    Batches, Bound, Error, ErrorKind, KeyRange, Position, Result, SourceEvent, TableName, TableSchema,
};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// The sync runs, with a limit that the operator should know.
    Warning,
    /// The sync cannot run like this.
    Error,
}

/// One result of looking at a table: what was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do, for example T-SQL or YAML to copy.
    pub remedy: Option<String>,
}

/// How a source learns of a table's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracking {
    /// Not at all: every run reads the whole table.
    Full {
        /// Why.
        reason: String,
    },
    /// By increments.
    Incremental {
        /// How: `timestamp(updated_at)`.
        how: String,
        /// Why this way was chosen.
        reason: String,
        /// Whether deletes are among the changes.
        sees_deletes: bool,
    },
}

/// What a source knows of a table.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its shape.
    pub schema: Arc<TableSchema>,
    /// About how many rows it has, for progress only.
    pub approximate_rows: Option<u64>,
    /// How its changes are learned.
    pub tracking: Tracking,
    /// Whether the target keeps rows that are gone here, by policy, so that it must not be replaced whole.
    pub keeps_deleted: bool,
    /// What else an operator should know. One of [`Severity::Error`] forbids the sync.
    pub findings: Vec<Finding>,
}

/// Whom a cut waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who it is, for people: a transaction with its session, login, host and age.
    pub who: String,
    /// How long it has been at it, if that is known.
    pub age: Option<Duration>,
}

/// Up to where a source is known to be complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// Nothing at or below `upto` can still appear.
    Complete {
        /// The position.
        upto: Position,
        /// Who holds the cut back, if somebody does.
        holding: Option<Holder>,
        /// Whether completeness is assumed (for want of a right) and not known; the text says why.
        assumed: Option<String>,
        /// What else an operator should know before it is too late: that the source forgets soon what was not read yet.
        warning: Option<String>,
        /// How long the source keeps changes, where it says so along with the cut.
        keeps: Option<Duration>,
    },
    /// The history after the given position is lost.
    Gap {
        /// The table that lost it.
        table: TableName,
        /// Why: another incarnation, retention passed, …
        why: String,
        /// The oldest position that could still be read from, if any.
        oldest: Option<Position>,
    },
}

/// What a source says of a table that it was asked to look at without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// There is nothing new.
    Quiet,
    /// There may be something, or the source cannot tell in this way.
    Perhaps,
    /// The table could not be looked at.
    Failed {
        /// Why.
        why: String,
    },
}

/// A part of a table that is copied and committed at once.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The rows.
    pub selection: Selection,
    /// The bound that the mark moves to; `None` for a table that is copied whole.
    pub through: Option<Bound>,
}

/// Which rows to read.
#[derive(Debug, Clone)]
pub enum Selection {
    /// The whole table.
    All,
    /// Keys above `lower` up to and including `upper`.
    Range {
        /// Exclusive; `None` from the start.
        lower: Option<Bound>,
        /// Inclusive.
        upper: Bound,
    },
    /// Keys within a range whose ends people named. Only `verify` asks for them.
    Between(KeyRange),
    /// Rows whose key columns equal one of these rows. The batch holds the key columns in key order.
    Keys(RecordBatch),
    /// What a cut left for later: rows that changed after it, as far as they can be seen, complete or not, and rows that increments
    /// hold back by policy. Only `verify` asks for them; a source that cannot select them refuses as unsupported.
    ChangedAfter(Position),
    /// Those of these keys whose rows are gone and whose deletes are not told by policy, as [`Op::Delete`](crate::Op::Delete). Only
    /// `verify` asks for them; a source without such a policy refuses as unsupported or names none.
    KeptKeys(RecordBatch),
}

/// A source as of one moment, see [`ChangeSource::at_one_moment`].
#[derive(Clone)]
pub struct Moment {
    /// The moment, for people, and told from every other one of the source.
    pub name: String,
    /// What there was then. It lasts no longer than its connection.
    pub source: Arc<dyn ChangeSource>,
}

/// A database, or an Iceberg catalog, that rows and changes are read from: one per source, not one per table. Each table is followed by
/// one table sync: what `describe` told last is what cuts and changes of the table go by.
///
/// # Contract
///
/// - **Guarantees.** After `cut(after)` returned `Complete { upto }`, every change above `after` and at or below `upto`
///   is delivered by `changes(after, upto)` at least once, and its last image per key last. `chunks` covers every
///   row that existed when the cut was taken and still exists, in key order; each row of a chunk is read at
///   some moment after that cut. Of columns that `after` [lacks](Position::lacks), `changes` delivers every value, too.
/// - **Does not guarantee** that a change is delivered once: a window is read again and marked
///   [`Presence::PerhapsIdentical`](crate::Presence::PerhapsIdentical). Nor that deletes are seen, see [`Tracking`].
/// - **Errors.** [`NotFound`](crate::ErrorKind::NotFound) for a table that is not there, [`Denied`](crate::ErrorKind::Denied) with the right that is
///   missing, [`Unsupported`](crate::ErrorKind::Unsupported) for what this source cannot do, [`Gap`](crate::ErrorKind::Gap) where history
///   was lost while it was read; [`Transient`](crate::ErrorKind::Transient) and [`Unavailable`](crate::ErrorKind::Unavailable) where the same call
///   may succeed later. A stream ends with its first error.
/// - **Cancel safety.** Nothing is left behind, by a failure or by a call or a stream that is dropped: its connection is given up, and
///   with it whatever the server holds for it. Every call may be repeated.
#[async_trait]
pub trait ChangeSource: Send + Sync {
    /// Looks at a table: shape, tracking and findings. Nothing is changed.
    async fn describe(&self, table: &TableName) -> Result<Description>;

    /// Takes a cut for a table before any row is read. `after` is the position that increments would continue from; it
    /// is `None` before a first copy.
    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut>;

    /// Splits the rows above `after` into chunks of about `rows` rows, in key order, lazily. A table without a
    /// key is one chunk. Increments continue from `start`, the cut before the copy: a source with history copies the rows as of it, others
    /// each row as it is at some moment after it. Rows that are added meanwhile are left to the increments, so that the chunks have an end.
    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>>;

    /// Reads rows, for the copy, `verify` and repair, as [`Op::Insert`](crate::Op::Insert) of unknown presence. `at` asks for
    /// the rows as of a position; a source without history refuses it as unsupported.
    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches>;

    /// Reads the changes above `after` up to `upto`, which came from [`ChangeSource::cut`]. The stream ends with a
    /// boundary.
    async fn changes(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>>;

    /// The source as of now, for as long as the moment is held: its cuts lie there, and its changes bring rows as they were there, so that
    /// of a transaction that wrote several tables all is told or nothing. It is asked of tables that have been described, for cuts and changes.
    /// Its streams are read one after the other, each to its end; if a call fails or a stream is dropped, the moment is lost, and calls
    /// fail as [`Transient`](crate::ErrorKind::Transient). A source that cannot be held still refuses as [`Unsupported`](crate::ErrorKind::Unsupported).
    async fn at_one_moment(&self) -> Result<Moment> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "this source cannot be read as of one moment",
        ))
    }

    /// Looks whether there may be changes above these positions: one answer for each table, in their order. It is a hint, at the cost of
    /// one round trip for many tables; nothing but the time of their next cycles depends on it. A table that cannot be looked at spoils
    /// no answer but its own, at the latest once it has made a few questions fail: those asked along with it are [`Look::Perhaps`]
    /// until it is found. The answer comes within 30 seconds; what is not known by then is [`Look::Perhaps`] too.
    async fn may_have_changed(&self, tables: &[(TableName, Position)]) -> Result<Vec<Look>> {
        Ok(vec![Look::Perhaps; tables.len()])
    }

    /// Tells the source that the target has durably applied everything up to a position, or begins to copy at it, so that the source may forget
    /// what was before and must keep what follows (an Iceberg source moves its tag). Repeating it changes nothing.
    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()>;
}
