//! What execution emits, in order, towards a client. The protocol turns it into tokens; tests collect it.

use crate::collation::Collation;
use crate::error::SqlError;
use crate::store::Packed;
use crate::types::SqlType;
use crate::value::Value;

/// Whether the receiver wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// The client is gone or has sent ATTENTION.
    Stop,
}

/// A result set's column.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultColumn {
    /// Empty for an unnamed expression.
    pub name: String,
    /// The type that every row's value has, or is NULL.
    pub ty: SqlType,
    /// Present exactly for text.
    pub collation: Option<&'static Collation>,
    /// Whether NULL may occur.
    pub nullable: bool,
    /// Straight from an identity column.
    pub identity: bool,
    /// Straight from a computed or rowversion column, or an expression: not updateable.
    pub read_only: bool,
    /// Base table as `db`, `schema`, `table`, for `text`, `ntext` and `image` columns.
    pub table: Option<[String; 3]>,
}

/// The statement kind that a DONE token names (`CurCmd`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are statements")]
pub enum Command {
    None,
    Select,
    SelectInto,
    Insert,
    Delete,
    Update,
    Merge,
    CreateTable,
    DropTable,
    BeginTran,
    CommitTran,
    RollbackTran,
    Execute,
    BulkInsert,
    Set,
    Truncate,
    Other,
}

impl Command {
    /// The `CurCmd` value on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Select => 0xC1,
            Self::SelectInto => 0xC2,
            Self::Insert => 0xC3,
            Self::Delete => 0xC4,
            Self::Update => 0xC5,
            Self::Merge => 0x117,
            Self::CreateTable => 0xC6,
            Self::DropTable => 0xC7,
            Self::BeginTran => 0xD4,
            Self::CommitTran => 0xD5,
            Self::RollbackTran => 0xD2,
            Self::Execute => 0xE0,
            Self::BulkInsert => 0xF0,
            Self::Set => 0xF9,
            Self::Truncate => 0xD8,
            Self::Other => 0xFD,
        }
    }
}

/// The end of one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// What ended.
    pub command: Command,
    /// Rows affected or returned, when the statement counts and NOCOUNT is off.
    pub rows: Option<u64>,
    /// Whether it failed.
    pub error: bool,
    /// Inside a procedure or `sp_executesql`: DONEINPROC rather than DONE.
    pub in_proc: bool,
}

/// A session fact that the client has to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvChange {
    /// `USE`.
    Database {
        /// Now current.
        new: String,
        /// Current before.
        old: String,
    },
    /// A transaction began; its descriptor.
    BeginTran(u64),
    /// The outermost transaction committed.
    CommitTran(u64),
    /// The transaction was rolled back.
    RollbackTran(u64),
}

/// An OUTPUT parameter's final value.
#[derive(Clone, Debug, PartialEq)]
pub struct ReturnValue {
    /// With its `@`.
    pub name: String,
    /// Position among the call's parameters.
    pub ordinal: u16,
    /// As declared.
    pub ty: SqlType,
    /// Present exactly for text.
    pub collation: Option<&'static Collation>,
    /// The value.
    pub value: Value,
}

/// Where execution writes. Calls come in the order in which a client must see them.
pub trait Output: Send {
    /// A result set starts.
    fn columns(&mut self, columns: &[ResultColumn]) -> Flow;
    /// A row of the current result set.
    fn row(&mut self, row: &[Value]) -> Flow;
    /// A row of the current result set as a table keeps it: these of its columns, in its order, and between them values that it does
    /// not have, each with its place in the result. The store is locked meanwhile: it must not wait for the client. `hand_over` follows
    /// soon.
    fn stored_row(&mut self, row: &Packed, columns: &[usize], others: &[(usize, Value)]) -> Flow {
        self.row(&row.merged(columns, others))
    }
    /// Lets go of what `stored_row` has gathered; waits for a client that reads slowly.
    fn hand_over(&mut self) -> Flow {
        Flow::Continue
    }
    /// A statement ended.
    fn done(&mut self, done: Done);
    /// An error or an informational message.
    fn message(&mut self, message: &SqlError);
    /// A session fact changed.
    fn env(&mut self, change: EnvChange);
    /// An OUTPUT parameter of the call.
    fn return_value(&mut self, value: ReturnValue);
    /// A procedure's return status.
    fn return_status(&mut self, status: i32);
    /// An explicit transaction is about to commit for good. `Stop` means that the client is lost: it has to be rolled back.
    fn before_commit(&mut self) -> Flow {
        Flow::Continue
    }
}

/// Throws everything away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Output for Discard {
    fn columns(&mut self, _: &[ResultColumn]) -> Flow {
        Flow::Continue
    }

    fn row(&mut self, _: &[Value]) -> Flow {
        Flow::Continue
    }

    fn done(&mut self, _: Done) {}

    fn message(&mut self, _: &SqlError) {}

    fn env(&mut self, _: EnvChange) {}

    fn return_value(&mut self, _: ReturnValue) {}

    fn return_status(&mut self, _: i32) {}
}
