//! What the parser makes of a batch: statements, queries and expressions of the T-SQL subset.
//!
//! Names are kept as written; comparing them by the database's collation is the engine's part. The tree
//! holds no name resolution and no types other than those that the text declares.

mod ddl;
mod expr;
mod query;

pub(crate) use ddl::*;
pub(crate) use expr::*;
pub(crate) use query::*;

pub(crate) use crate::session::Isolation;
use crate::types::SqlType;

/// A parsed batch: nothing of it runs unless all of it parses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// The statements, in order.
    pub(crate) statements: Vec<Statement>,
}

/// One statement and where it begins, for error messages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    /// Line of the first token, 1-based, relative to the batch.
    pub(crate) line: u32,
    /// What it does.
    pub(crate) kind: StatementKind,
}

/// `server.database.schema.name`; parts that were not given are `None` (also in `db..t`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ObjectName {
    /// Linked server.
    pub(crate) server: Option<String>,
    /// Database.
    pub(crate) database: Option<String>,
    /// Schema.
    pub(crate) schema: Option<String>,
    /// The object itself; `#t` for temporary tables.
    pub(crate) name: String,
}

/// The statements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StatementKind {
    /// `SELECT …`, also with `INTO` and variable assignment.
    Select(Box<SelectStatement>),
    /// `INSERT …`
    Insert(Box<Insert>),
    /// `UPDATE …`
    Update(Box<Update>),
    /// `DELETE …`
    Delete(Box<Delete>),
    /// `WITH CHANGE_TRACKING_CONTEXT (…)` before a statement that changes rows
    WithChangeTrackingContext {
        /// At most 128 bytes.
        context: Expr,
        /// The statement.
        statement: Box<StatementKind>,
    },
    /// `MERGE …;`
    Merge(Box<Merge>),
    /// `INSERT BULK …`: the rows follow in a bulk load message.
    InsertBulk(InsertBulk),
    /// `DECLARE @a int = 1, @b …`
    Declare(Vec<VariableDeclaration>),
    /// `DECLARE @t TABLE (…)`
    DeclareTable { name: String, table: TableDefinition },
    /// `SET @a = …`, `SET @a += …`
    SetVariable {
        name: String,
        op: Option<BinaryOp>,
        value: Expr,
    },
    /// `SET option …`
    SetOption(SetOption),
    /// `IF … ELSE …`
    If {
        condition: Expr,
        then: Box<Statement>,
        otherwise: Option<Box<Statement>>,
    },
    /// `WHILE …`
    While { condition: Expr, body: Box<Statement> },
    /// `BREAK`
    Break,
    /// `CONTINUE`
    Continue,
    /// `BEGIN … END`
    Block(Vec<Statement>),
    /// `BEGIN TRY … END TRY BEGIN CATCH … END CATCH`
    TryCatch {
        attempt: Vec<Statement>,
        catch: Vec<Statement>,
    },
    /// `THROW` (rethrow) or `THROW number, message, state`
    Throw(Option<Box<ThrowArguments>>),
    /// `RAISERROR (message, severity, state, args…) WITH …`
    RaisError(Box<RaisError>),
    /// `PRINT …`
    Print(Expr),
    /// `RETURN [n]`
    Return(Option<Expr>),
    /// `EXEC procedure …`
    Execute(Box<Execute>),
    /// `EXEC ('…' + @x)`
    ExecuteString(Expr),
    /// `USE database`
    Use(String),
    /// `WAITFOR DELAY …` or `WAITFOR TIME …`
    WaitFor { kind: WaitKind, value: Expr },
    /// `BEGIN TRAN [name]`
    BeginTransaction { name: Option<TransactionName> },
    /// `COMMIT …`
    Commit,
    /// `ROLLBACK …`, to a savepoint when the name is one
    Rollback { name: Option<TransactionName> },
    /// `SAVE TRAN name`
    SaveTransaction { name: TransactionName },
    /// `CREATE TABLE …`
    CreateTable {
        name: ObjectName,
        table: TableDefinition,
    },
    /// `ALTER TABLE …`
    AlterTable {
        name: ObjectName,
        action: AlterTable,
        /// The statement as it was written.
        text: String,
    },
    /// `TRUNCATE TABLE …`
    TruncateTable(ObjectName),
    /// `CREATE INDEX …`
    CreateIndex(Box<CreateIndex>),
    /// `ALTER INDEX … REBUILD | REORGANIZE | DISABLE`
    AlterIndex {
        name: Option<String>,
        table: ObjectName,
        action: AlterIndexAction,
    },
    /// `DROP INDEX name ON table`
    DropIndex {
        name: String,
        table: ObjectName,
        if_exists: bool,
    },
    /// `DROP TABLE | VIEW | PROCEDURE | TRIGGER | SCHEMA | DATABASE | … a, b`
    Drop {
        kind: ObjectKind,
        names: Vec<ObjectName>,
        if_exists: bool,
    },
    /// `CREATE SCHEMA name [AUTHORIZATION owner]`
    CreateSchema { name: String },
    /// `CREATE DATABASE name …`
    CreateDatabase { name: String, collation: Option<String> },
    /// `ALTER DATABASE name | CURRENT SET …`
    AlterDatabase {
        name: Option<String>,
        action: AlterDatabase,
    },
    /// `BACKUP DATABASE name TO DISK = 'file' [WITH …]`
    Backup {
        database: String,
        path: String,
        /// `INIT` or `FORMAT`
        overwrite: bool,
    },
    /// `RESTORE DATABASE name FROM DISK = 'file' [WITH …]`
    Restore {
        database: String,
        path: String,
        replace: bool,
    },
    /// `CREATE [OR ALTER] VIEW`, or `ALTER VIEW`
    CreateView(Box<CreateView>),
    /// `CREATE [OR ALTER] TRIGGER`, or `ALTER TRIGGER`: the body stays text
    CreateTrigger(Box<CreateTrigger>),
    /// `CREATE [OR ALTER] PROCEDURE`, or `ALTER PROCEDURE`: the body stays text
    CreateProcedure(Box<CreateProcedure>),
    /// `ENABLE | DISABLE TRIGGER name | ALL ON table`
    SwitchTrigger {
        enable: bool,
        name: Option<ObjectName>,
        table: ObjectName,
    },
    /// `CREATE LOGIN …`
    CreateLogin {
        name: String,
        password: Option<String>,
        default_database: Option<String>,
    },
    /// `CREATE USER name [FOR LOGIN login]`
    CreateUser { name: String, login: Option<String> },
    /// `ALTER ROLE role ADD | DROP MEMBER member`
    AlterRole { role: String, member: String, add: bool },
    /// `GRANT`, `DENY`, `REVOKE`
    Permission(Box<PermissionChange>),
    /// `CREATE TYPE name FROM type`
    CreateType {
        name: ObjectName,
        ty: SqlType,
        nullable: bool,
    },
    /// `CREATE TYPE name AS TABLE (…)`
    CreateTableType {
        name: ObjectName,
        table: TableDefinition,
    },
    /// `CREATE SYNONYM`, `CREATE STATISTICS`, `UPDATE STATISTICS` and the like: accepted and without effect
    NoEffect,
    /// `DBCC command [(args)]`
    Dbcc { command: String, arguments: Vec<Expr> },
    /// `KILL spid`
    Kill(Expr),
    /// `CHECKPOINT`
    Checkpoint,
}

/// `SELECT` as a statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SelectStatement {
    /// The query; its first `Select` may carry `into` and assignments.
    pub(crate) query: Query,
}

/// The name of a transaction or savepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransactionName {
    /// Written out.
    Name(String),
    /// In a variable, with its `@`.
    Variable(String),
}

/// One variable of a `DECLARE`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VariableDeclaration {
    /// Name with its `@`.
    pub(crate) name: String,
    /// Declared type.
    pub(crate) ty: DeclaredType,
    /// Initial value; none of a table.
    pub(crate) value: Option<Expr>,
}

/// The type of a variable or a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DeclaredType {
    Scalar(SqlType),
    /// A table type, found in the catalog.
    Table(ObjectName),
}

/// `THROW number, message, state`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ThrowArguments {
    /// Error number, at least 50000.
    pub(crate) number: Expr,
    /// Text.
    pub(crate) message: Expr,
    /// State.
    pub(crate) state: Expr,
}

/// `RAISERROR`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RaisError {
    /// Text with printf places, or a number.
    pub(crate) message: Expr,
    /// Class.
    pub(crate) severity: Expr,
    /// State.
    pub(crate) state: Expr,
    /// Values for the places.
    pub(crate) arguments: Vec<Expr>,
    /// `WITH NOWAIT`
    pub(crate) nowait: bool,
    /// `WITH SETERROR`
    pub(crate) seterror: bool,
    /// `WITH LOG`
    pub(crate) log: bool,
}

/// `EXEC [@rc =] procedure arguments`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Execute {
    /// Variable for the return status.
    pub(crate) status: Option<String>,
    /// The procedure.
    pub(crate) procedure: ProcedureName,
    /// Arguments in order.
    pub(crate) arguments: Vec<Argument>,
}

/// What `EXEC` calls.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ProcedureName {
    /// Written out.
    Name(ObjectName),
    /// In a variable.
    Variable(String),
}

/// An argument of `EXEC`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Argument {
    /// `@name =`, with its `@`.
    pub(crate) name: Option<String>,
    /// The value; `None` for `DEFAULT`.
    pub(crate) value: Option<Expr>,
    /// `OUTPUT`
    pub(crate) output: bool,
}

/// Which `WAITFOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitKind {
    /// `DELAY`
    Delay,
    /// `TIME`
    Time,
}

/// `SET …` of a session option.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SetOption {
    /// `SET a, b ON | OFF`; names in upper case.
    Switch { names: Vec<String>, on: bool },
    /// `SET name value`, as `TEXTSIZE`, `LOCK_TIMEOUT`, `DATEFORMAT`, `ROWCOUNT`; name in upper case.
    Value { name: String, value: Expr },
    /// `SET TRANSACTION ISOLATION LEVEL …`
    Isolation(Isolation),
    /// `SET IDENTITY_INSERT table ON | OFF`
    IdentityInsert { table: ObjectName, on: bool },
    /// `SET STATISTICS IO, TIME ON | OFF`
    Statistics { names: Vec<String>, on: bool },
}

/// `GRANT`, `DENY` or `REVOKE`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PermissionChange {
    /// Which of the three.
    pub(crate) kind: PermissionKind,
    /// Permissions in upper case, as `SELECT` or `VIEW SERVER STATE`.
    pub(crate) permissions: Vec<String>,
    /// What they are on.
    pub(crate) securable: Securable,
    /// Who receives them.
    pub(crate) principals: Vec<String>,
}

/// The three ways to change a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PermissionKind {
    /// `GRANT`
    Grant,
    /// `DENY`
    Deny,
    /// `REVOKE`
    Revoke,
}

/// What a permission is on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Securable {
    /// No `ON`: the server or the current database.
    Scope,
    /// `ON [OBJECT::]name`
    Object(ObjectName),
    /// `ON SCHEMA::name`
    Schema(String),
    /// `ON DATABASE::name`
    Database(String),
}
