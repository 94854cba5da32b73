//! Statements that define objects.

use super::{DeclaredType, Expr, ObjectName, Query};
use crate::types::SqlType;

/// Columns and constraints of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableDefinition {
    /// Columns in order.
    pub(crate) columns: Vec<ColumnDefinition>,
    /// Constraints of the table; those written at a column stay there.
    pub(crate) constraints: Vec<TableConstraint>,
    /// `INDEX name …` inside the table.
    pub(crate) indexes: Vec<CreateIndex>,
}

/// An expression together with its text, as the catalog shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExprText {
    /// Parsed.
    pub(crate) expr: Expr,
    /// As written.
    pub(crate) text: String,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnDefinition {
    /// Name.
    pub(crate) name: String,
    /// Declared type; `None` for a computed column.
    pub(crate) ty: Option<ColumnType>,
    /// `COLLATE`
    pub(crate) collation: Option<String>,
    /// `NULL` or `NOT NULL`, when written.
    pub(crate) nullable: Option<bool>,
    /// `IDENTITY (seed, increment)`
    pub(crate) identity: Option<IdentityDefinition>,
    /// `ROWGUIDCOL`
    pub(crate) rowguidcol: bool,
    /// `SPARSE`
    pub(crate) sparse: bool,
    /// `MASKED WITH (FUNCTION = '…')`: the function.
    pub(crate) masked: Option<String>,
    /// `AS (…) [PERSISTED]`
    pub(crate) computed: Option<ComputedDefinition>,
    /// `DEFAULT …`
    pub(crate) default: Option<DefaultDefinition>,
    /// Constraints written at the column; keys have just this column.
    pub(crate) constraints: Vec<TableConstraint>,
}

/// A column's type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ColumnType {
    /// Built in.
    Builtin(SqlType),
    /// An alias type, found in the catalog; `sysname` is one.
    Alias(ObjectName),
}

/// `IDENTITY (seed, increment)`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdentityDefinition {
    /// First value.
    pub(crate) seed: i64,
    /// Step.
    pub(crate) increment: i64,
}

/// `AS (…) [PERSISTED]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ComputedDefinition {
    /// The value.
    pub(crate) value: ExprText,
    /// `PERSISTED`
    pub(crate) persisted: bool,
}

/// `[CONSTRAINT name] DEFAULT …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DefaultDefinition {
    /// Name of the constraint.
    pub(crate) name: Option<String>,
    /// The value.
    pub(crate) value: ExprText,
}

/// A constraint with its name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableConstraint {
    /// `CONSTRAINT name`
    pub(crate) name: Option<String>,
    /// What it demands.
    pub(crate) kind: ConstraintKind,
}

/// Kinds of constraints.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ConstraintKind {
    /// `PRIMARY KEY` or `UNIQUE`
    Key {
        primary: bool,
        clustered: Option<bool>,
        columns: Vec<IndexColumn>,
    },
    /// `FOREIGN KEY (…) REFERENCES …`
    ForeignKey(ForeignKey),
    /// `CHECK (…)`
    Check(ExprText),
    /// `DEFAULT … FOR column`, in ALTER TABLE
    Default { column: String, value: ExprText },
}

/// `FOREIGN KEY (columns) REFERENCES table (columns)`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForeignKey {
    /// Own columns.
    pub(crate) columns: Vec<String>,
    /// The other table.
    pub(crate) table: ObjectName,
    /// Its columns; none means its primary key.
    pub(crate) references: Vec<String>,
    /// `ON DELETE`
    pub(crate) on_delete: ReferentialAction,
    /// `ON UPDATE`
    pub(crate) on_update: ReferentialAction,
}

/// What happens to referencing rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReferentialAction {
    /// `NO ACTION`
    NoAction,
    /// `CASCADE`
    Cascade,
    /// `SET NULL`
    SetNull,
    /// `SET DEFAULT`
    SetDefault,
}

/// A column of a key or index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexColumn {
    /// Name.
    pub(crate) name: String,
    /// `DESC`
    pub(crate) descending: bool,
}

/// `CREATE [UNIQUE] [CLUSTERED | NONCLUSTERED] INDEX`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateIndex {
    /// Name.
    pub(crate) name: String,
    /// Its table; inside CREATE TABLE the name is empty.
    pub(crate) table: ObjectName,
    /// `UNIQUE`
    pub(crate) unique: bool,
    /// `CLUSTERED`
    pub(crate) clustered: bool,
    /// `COLUMNSTORE`
    pub(crate) columnstore: bool,
    /// Key columns.
    pub(crate) columns: Vec<IndexColumn>,
    /// `INCLUDE (…)`
    pub(crate) include: Vec<String>,
    /// `WHERE …`
    pub(crate) filter: Option<ExprText>,
    /// `IGNORE_DUP_KEY = ON`
    pub(crate) ignore_dup_key: bool,
}

/// What ALTER INDEX does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AlterIndexAction {
    /// `REBUILD`
    Rebuild,
    /// `REORGANIZE`
    Reorganize,
    /// `DISABLE`
    Disable,
}

/// What ALTER TABLE does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AlterTable {
    /// `[WITH CHECK | NOCHECK] ADD columns and constraints`
    Add {
        items: TableDefinition,
        check: Option<bool>,
    },
    /// `ALTER COLUMN c type …`
    AlterColumn(Box<ColumnDefinition>),
    /// `DROP COLUMN [IF EXISTS] a, b` and `DROP CONSTRAINT [IF EXISTS] c`
    Drop {
        columns: Vec<String>,
        constraints: Vec<String>,
        if_exists: bool,
    },
    /// `CHECK | NOCHECK CONSTRAINT ALL | names`; no names means all
    Check {
        enable: bool,
        validate: bool,
        constraints: Vec<String>,
    },
    /// `ENABLE | DISABLE TRIGGER ALL | names`; no names means all
    Trigger { enable: bool, names: Vec<String> },
    /// `ENABLE | DISABLE CHANGE_TRACKING [WITH (TRACK_COLUMNS_UPDATED = ON)]`
    ChangeTracking { enable: bool, track_columns: bool },
    /// `REBUILD`, `SET (…)`: accepted and without effect
    NoEffect,
}

/// What ALTER DATABASE does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AlterDatabase {
    /// `SET name ON | OFF | value …`; name and value in upper case, value empty when there is none
    Set { options: Vec<(String, String)> },
    /// `SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)`
    ChangeTracking {
        /// None: only the settings change.
        switch: Option<bool>,
        settings: Vec<TrackingSetting>,
    },
    /// `COLLATE name`
    Collate(String),
    /// `MODIFY NAME = name`
    ModifyName(String),
}

/// A setting of Change Tracking, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TrackingSetting {
    /// `AUTO_CLEANUP = ON`
    AutoCleanup(bool),
    /// `CHANGE_RETENTION = 2 DAYS`: the count, and the unit in upper case
    Retention { count: i64, unit: String },
}

/// Kinds of objects that DROP names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// `TABLE`
    Table,
    /// `VIEW`
    View,
    /// `PROCEDURE`
    Procedure,
    /// `FUNCTION`
    Function,
    /// `TRIGGER`
    Trigger,
    /// `SCHEMA`
    Schema,
    /// `DATABASE`
    Database,
    /// `TYPE`
    Type,
    /// `LOGIN`
    Login,
    /// `USER`
    User,
    /// `SYNONYM`, `SEQUENCE`, `STATISTICS`
    Other,
}

/// `CREATE VIEW`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateView {
    /// Name.
    pub(crate) name: ObjectName,
    /// Column names, if given.
    pub(crate) columns: Vec<String>,
    /// Definition.
    pub(crate) query: Query,
    /// The whole statement.
    pub(crate) text: String,
    /// `CREATE`, `ALTER` or `CREATE OR ALTER`
    pub(crate) mode: CreateMode,
}

/// Whether an object must be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreateMode {
    /// `CREATE`
    Create,
    /// `ALTER`
    Alter,
    /// `CREATE OR ALTER`
    CreateOrAlter,
}

/// `CREATE TRIGGER`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateTrigger {
    /// Name.
    pub(crate) name: ObjectName,
    /// Its table.
    pub(crate) table: ObjectName,
    /// `INSTEAD OF`, else `AFTER`
    pub(crate) instead_of: bool,
    /// Fires for INSERT.
    pub(crate) insert: bool,
    /// Fires for UPDATE.
    pub(crate) update: bool,
    /// Fires for DELETE.
    pub(crate) delete: bool,
    /// The statements after AS, as text.
    pub(crate) body: String,
    /// Line on which the body starts, relative to the batch.
    pub(crate) body_line: u32,
    /// The whole statement.
    pub(crate) text: String,
    /// `CREATE`, `ALTER` or `CREATE OR ALTER`
    pub(crate) mode: CreateMode,
}

/// `CREATE PROCEDURE`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateProcedure {
    /// Name.
    pub(crate) name: ObjectName,
    /// Parameters.
    pub(crate) parameters: Vec<ParameterDefinition>,
    /// The statements after AS, as text.
    pub(crate) body: String,
    /// Line on which the body starts, relative to the batch.
    pub(crate) body_line: u32,
    /// The whole statement.
    pub(crate) text: String,
    /// `CREATE`, `ALTER` or `CREATE OR ALTER`
    pub(crate) mode: CreateMode,
}

/// `@p type = default OUTPUT`, of a procedure and of sp_executesql's second argument.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParameterDefinition {
    /// Name with its `@`.
    pub(crate) name: String,
    /// Type.
    pub(crate) ty: DeclaredType,
    /// Default.
    pub(crate) default: Option<Expr>,
    /// `OUTPUT`
    pub(crate) output: bool,
    /// `READONLY`
    pub(crate) read_only: bool,
}
