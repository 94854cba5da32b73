//! Changes in batches: row images in Arrow, an operation per row, and what is known of their presence.

use std::pin::Pin;
use std::sync::Arc;

use arrow_array::{Array, Int8Array, RecordBatch};
use futures_core::Stream;

use crate::{Error, ErrorKind, OddTime, Position, Result, TableName, TableSchema};

/// What happened to a row. The number is its code in [`ChangeBatch::ops`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum Op {
    /// The row was inserted or updated; the source cannot say which.
    Upsert = 0,
    /// The row was inserted.
    Insert = 1,
    /// The row was updated.
    Update = 2,
    /// The row with this key was deleted; columns outside the key may be NULL.
    Delete = 3,
}

impl Op {
    /// The operation with this code.
    pub fn from_code(code: i8) -> Option<Self> {
        [Self::Upsert, Self::Insert, Self::Update, Self::Delete]
            .into_iter()
            .find(|op| *op as i8 == code)
    }
}

/// What is known about the rows' presence in the target, so that it does not look in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// None of these keys is in the target: the first copy into an empty table.
    Absent,
    /// All of these keys are in the target.
    Present,
    /// Some may be; rows that the target holds byte for byte are dropped.
    Unknown,
    /// Rows that were probably delivered before, read again for safety: the target compares, byte for byte, and
    /// drops what is equal.
    PerhapsIdentical,
}

/// Row images with an operation each.
///
/// `rows` has the columns of `schema` in order, with its types; nullability is that of
/// [`TableSchema::relaxed`] if a row is deleted. For a table without a key each row is one element of a multiset.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    /// The table, by its name in the source.
    pub table: TableName,
    /// The shape of `rows`.
    pub schema: Arc<TableSchema>,
    /// The row images: after the change, or before it for a delete.
    pub rows: RecordBatch,
    /// The code of an [`Op`] per row, without NULLs.
    pub ops: Int8Array,
    /// What is known about the rows' presence in the target.
    pub presence: Presence,
    /// Whether whoever stages them wants those back that turn out not to be identical, see
    /// [`StageOutcome::not_identical`](crate::StageOutcome::not_identical). They take memory until all are staged.
    pub asked_back: bool,
}

impl ChangeBatch {
    /// A batch whose parts have been checked against each other.
    ///
    /// # Errors
    ///
    /// `Internal` if the lengths, the columns or the codes do not fit.
    pub fn new(
        table: TableName,
        schema: Arc<TableSchema>,
        rows: RecordBatch,
        ops: Int8Array,
        presence: Presence,
    ) -> Result<Self> {
        let columns_fit = rows.num_columns() == schema.arrow().fields().len()
            && rows
                .schema_ref()
                .fields()
                .iter()
                .zip(schema.arrow().fields())
                .all(|(have, want)| have.name() == want.name() && have.data_type() == want.data_type());
        let ops_fit = ops.len() == rows.num_rows()
            && ops.null_count() == 0
            && ops.values().iter().all(|code| Op::from_code(*code).is_some());
        if !columns_fit || !ops_fit {
            return Err(Error::new(
                ErrorKind::Internal,
                "a change batch's rows, schema and operations do not fit",
            )
            .with("table", &table));
        }
        Ok(Self {
            table,
            schema,
            rows,
            ops,
            presence,
            asked_back: false,
        })
    }

    /// The same rows, of which the sink is to give back those that are not identical.
    pub fn asked_back(self) -> Self {
        Self {
            asked_back: true,
            ..self
        }
    }

    /// A batch in which every row has the same operation.
    ///
    /// # Errors
    ///
    /// As [`ChangeBatch::new`].
    pub fn uniform(
        table: TableName,
        schema: Arc<TableSchema>,
        rows: RecordBatch,
        op: Op,
        presence: Presence,
    ) -> Result<Self> {
        let ops = Int8Array::from(vec![op as i8; rows.num_rows()]);
        Self::new(table, schema, rows, ops, presence)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    /// The operation of one row; [`Op::Upsert`] beyond the end.
    pub fn op(&self, row: usize) -> Op {
        self.ops
            .values()
            .get(row)
            .and_then(|code| Op::from_code(*code))
            .unwrap_or(Op::Upsert)
    }
}

/// A stream of batches. Dropping it gives up its connection or files; nothing is drained.
pub type Batches = Pin<Box<dyn Stream<Item = Result<ChangeBatch>> + Send + 'static>>;

/// Which times of changes a source expects, in microseconds since 1970 as the column's values are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTimes {
    /// The columns: a row's time is the latest that it has.
    pub columns: Vec<String>,
    /// What lies before was to be delivered by earlier increments. What of it the target does not hold yet came late.
    pub from: i64,
    /// What lies behind is not expected for a long time.
    pub upto: i64,
    /// Whether an increment with rows that came late must not be applied.
    pub late_refused: bool,
    /// What is odd about times whose rows are not applied, but put among the dead letters.
    pub dead_letters: Vec<OddTime>,
}

/// What a source tells while changes are read.
#[derive(Debug)]
pub enum SourceEvent {
    /// Before all changes, if the source tells changes by a time that the rows hold: which times it expects.
    Expected(ExpectedTimes),
    /// Rows that the increment leaves out because of their time: they have none, or one that is not expected yet.
    LeftOut {
        /// Which times are expected.
        times: ExpectedTimes,
        /// The key columns and that of the times, of the first such rows.
        rows: RecordBatch,
        /// Whether the increment must not be applied beside them.
        refused: bool,
    },
    /// Changed rows.
    Changes(ChangeBatch),
    /// Everything before this event is complete up to `at`; the only place where a commit is allowed.
    Boundary {
        /// The position that a commit here may claim.
        at: Position,
    },
}
