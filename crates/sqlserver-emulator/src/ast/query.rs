//! Queries and the statements that change rows.

use super::{BinaryOp, ColumnDefinition, Execute, Expr, ObjectName, OrderItem};

/// A query with what surrounds its SELECT.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    /// `WITH a AS (…), b AS (…)`
    pub(crate) ctes: Vec<Cte>,
    /// The SELECT, or several of them combined.
    pub(crate) body: QueryBody,
    /// `ORDER BY`
    pub(crate) order_by: Vec<OrderItem>,
    /// `OFFSET n ROWS`
    pub(crate) offset: Option<Expr>,
    /// `FETCH NEXT n ROWS ONLY`
    pub(crate) fetch: Option<Expr>,
    /// `XML …`, `JSON …` after FOR: named, so that it can be refused
    pub(crate) for_clause: Option<String>,
    /// `OPTION (…)`
    pub(crate) options: Vec<String>,
}

/// A common table expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cte {
    /// Name.
    pub(crate) name: String,
    /// Column names, if given.
    pub(crate) columns: Vec<String>,
    /// Definition.
    pub(crate) query: Query,
}

/// What a query takes its rows from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum QueryBody {
    /// `SELECT …`
    Select(Box<Select>),
    /// `a UNION b` and the like
    SetOperation {
        op: SetOperator,
        left: Box<QueryBody>,
        right: Box<QueryBody>,
    },
    /// `VALUES (…), (…)` of a derived table or INSERT
    Values(Vec<Vec<Expr>>),
}

/// How two queries are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOperator {
    /// `UNION`
    Union,
    /// `UNION ALL`
    UnionAll,
    /// `EXCEPT`
    Except,
    /// `INTERSECT`
    Intersect,
}

/// One SELECT.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Select {
    /// `DISTINCT`
    pub(crate) distinct: bool,
    /// `TOP …`
    pub(crate) top: Option<Top>,
    /// What is selected.
    pub(crate) items: Vec<SelectItem>,
    /// `INTO table`
    pub(crate) into: Option<ObjectName>,
    /// Comma-separated sources.
    pub(crate) from: Vec<TableSource>,
    /// `WHERE`
    pub(crate) filter: Option<Expr>,
    /// `GROUP BY`
    pub(crate) group_by: Vec<Expr>,
    /// `HAVING`
    pub(crate) having: Option<Expr>,
}

/// `TOP (n) [PERCENT] [WITH TIES]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Top {
    /// n
    pub(crate) count: Expr,
    /// `PERCENT`
    pub(crate) percent: bool,
    /// `WITH TIES`
    pub(crate) with_ties: bool,
}

/// One item of a select list or OUTPUT clause.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SelectItem {
    /// `*`, `t.*`, `inserted.*`
    Star { qualifier: Vec<String> },
    /// A value and its name.
    Expr { expr: Expr, alias: Option<String> },
    /// `@v = …`, `@v += …`
    Assign {
        variable: String,
        op: Option<BinaryOp>,
        value: Expr,
    },
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TableSource {
    /// A table, view, CTE, `inserted` or `deleted`.
    Named {
        name: ObjectName,
        alias: Option<String>,
        hints: Vec<TableHint>,
    },
    /// `@t`
    Variable { name: String, alias: Option<String> },
    /// A table-valued function.
    Function {
        name: ObjectName,
        arguments: Vec<Expr>,
        alias: Option<String>,
        columns: Vec<String>,
    },
    /// `CHANGETABLE(CHANGES t, @last) AS ct` or `CHANGETABLE(VERSION t, (k…), (v…)) AS ct`
    ChangeTable {
        table: ObjectName,
        request: ChangeTableRequest,
        alias: String,
        columns: Vec<String>,
    },
    /// `(SELECT …) AS d (a, b)`
    Derived {
        query: Box<Query>,
        alias: String,
        columns: Vec<String>,
    },
    /// A join.
    Join {
        kind: JoinKind,
        left: Box<TableSource>,
        right: Box<TableSource>,
        on: Option<Expr>,
    },
    /// `CROSS APPLY`, `OUTER APPLY`
    Apply {
        outer: bool,
        left: Box<TableSource>,
        right: Box<TableSource>,
    },
}

/// What CHANGETABLE is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChangeTableRequest {
    /// `CHANGES t, last`
    Changes { last: Expr },
    /// `VERSION t, (columns), (values)`
    Version { columns: Vec<String>, values: Vec<Expr> },
}

/// Joins with two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinKind {
    /// `INNER JOIN`
    Inner,
    /// `LEFT JOIN`
    Left,
    /// `RIGHT JOIN`
    Right,
    /// `FULL JOIN`
    Full,
    /// `CROSS JOIN`
    Cross,
}

/// Hints of `WITH (…)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableHint {
    /// `NOLOCK`, `READUNCOMMITTED`
    NoLock,
    /// `HOLDLOCK`, `SERIALIZABLE`
    HoldLock,
    /// `REPEATABLEREAD`
    RepeatableRead,
    /// `READCOMMITTED`
    ReadCommitted,
    /// `READCOMMITTEDLOCK`
    ReadCommittedLock,
    /// `UPDLOCK`
    UpdLock,
    /// `XLOCK`
    XLock,
    /// `TABLOCK`
    TabLock,
    /// `TABLOCKX`
    TabLockX,
    /// `ROWLOCK`
    RowLock,
    /// `PAGLOCK`
    PagLock,
    /// `READPAST`
    ReadPast,
    /// `NOWAIT`
    NoWait,
    /// `SNAPSHOT`
    Snapshot,
    /// `INDEX(…)`, `FORCESEEK`, `NOEXPAND`, …: accepted, and without effect here
    Other(String),
}

/// `OUTPUT items [INTO target (columns)]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutputClause {
    /// What is given out; columns are qualified by `inserted`, `deleted` or a source's alias.
    pub(crate) items: Vec<SelectItem>,
    /// Where to, if not to the client.
    pub(crate) into: Option<OutputTarget>,
}

/// `INTO target (columns)`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutputTarget {
    /// A table or table variable.
    pub(crate) target: Target,
    /// Its columns, or all of them.
    pub(crate) columns: Vec<String>,
}

/// What a statement writes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// A table, an alias of FROM, or a CTE.
    Table(ObjectName),
    /// A table variable.
    Variable(String),
}

/// `INSERT`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Insert {
    /// `WITH a AS (…)`
    pub(crate) ctes: Vec<Cte>,
    /// `TOP (n)`
    pub(crate) top: Option<Top>,
    /// Where to.
    pub(crate) target: Target,
    /// `WITH (TABLOCK)`
    pub(crate) hints: Vec<TableHint>,
    /// Columns, or all of them.
    pub(crate) columns: Vec<String>,
    /// `OUTPUT`
    pub(crate) output: Option<OutputClause>,
    /// What.
    pub(crate) source: InsertSource,
}

/// Where INSERT takes its rows from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum InsertSource {
    /// `VALUES (…), (…)`; `Expr::Default` stands for `DEFAULT`
    Values(Vec<Vec<Expr>>),
    /// `DEFAULT VALUES`
    DefaultValues,
    /// `SELECT …`
    Query(Box<Query>),
    /// `EXEC procedure …`
    Execute(Box<Execute>),
    /// `EXEC ('…')`
    ExecuteString(Expr),
}

/// One `SET` item of UPDATE or MERGE.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Assignment {
    /// `c = …`, `c += …`
    Column {
        column: super::ColumnName,
        op: Option<BinaryOp>,
        value: Expr,
    },
    /// `@v = …`; with a column in `@v = c = …`
    Variable {
        variable: String,
        column: Option<super::ColumnName>,
        op: Option<BinaryOp>,
        value: Expr,
    },
}

/// `UPDATE`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Update {
    /// `WITH a AS (…)`
    pub(crate) ctes: Vec<Cte>,
    /// `TOP (n)`
    pub(crate) top: Option<Top>,
    /// What is updated: a table, or an alias of `from`.
    pub(crate) target: Target,
    /// `WITH (…)`
    pub(crate) hints: Vec<TableHint>,
    /// `SET`
    pub(crate) assignments: Vec<Assignment>,
    /// `OUTPUT`
    pub(crate) output: Option<OutputClause>,
    /// `FROM`
    pub(crate) from: Vec<TableSource>,
    /// `WHERE`
    pub(crate) filter: Option<Expr>,
}

/// `DELETE`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Delete {
    /// `WITH a AS (…)`
    pub(crate) ctes: Vec<Cte>,
    /// `TOP (n)`
    pub(crate) top: Option<Top>,
    /// What is deleted from: a table, or an alias of `from`.
    pub(crate) target: Target,
    /// `WITH (…)`
    pub(crate) hints: Vec<TableHint>,
    /// `OUTPUT`
    pub(crate) output: Option<OutputClause>,
    /// Second `FROM`
    pub(crate) from: Vec<TableSource>,
    /// `WHERE`
    pub(crate) filter: Option<Expr>,
}

/// `MERGE`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Merge {
    /// `WITH a AS (…)`
    pub(crate) ctes: Vec<Cte>,
    /// `TOP (n)`
    pub(crate) top: Option<Top>,
    /// Where to.
    pub(crate) target: Target,
    /// `AS T`
    pub(crate) alias: Option<String>,
    /// `WITH (HOLDLOCK)`
    pub(crate) hints: Vec<TableHint>,
    /// `USING`
    pub(crate) source: TableSource,
    /// `ON`
    pub(crate) on: Expr,
    /// `WHEN …`, in order
    pub(crate) clauses: Vec<MergeClause>,
    /// `OUTPUT`
    pub(crate) output: Option<OutputClause>,
}

/// `WHEN … THEN …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MergeClause {
    /// Which rows.
    pub(crate) when: MergeWhen,
    /// `AND …`
    pub(crate) condition: Option<Expr>,
    /// What happens to them.
    pub(crate) action: MergeAction,
}

/// Which rows a clause of MERGE is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MergeWhen {
    /// `MATCHED`
    Matched,
    /// `NOT MATCHED [BY TARGET]`
    NotMatchedByTarget,
    /// `NOT MATCHED BY SOURCE`
    NotMatchedBySource,
}

/// What a clause of MERGE does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MergeAction {
    /// `UPDATE SET …`
    Update(Vec<Assignment>),
    /// `DELETE`
    Delete,
    /// `INSERT (…) VALUES (…)`; `values` is `None` for `DEFAULT VALUES`
    Insert {
        columns: Vec<String>,
        values: Option<Vec<Expr>>,
    },
}

/// `INSERT BULK table (columns) WITH (options)`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InsertBulk {
    /// Where to.
    pub(crate) table: ObjectName,
    /// Columns as declared for the wire; none when the client left them out.
    pub(crate) columns: Vec<ColumnDefinition>,
    /// `KEEP_NULLS`
    pub(crate) keep_nulls: bool,
    /// `CHECK_CONSTRAINTS`
    pub(crate) check_constraints: bool,
    /// `FIRE_TRIGGERS`
    pub(crate) fire_triggers: bool,
}
