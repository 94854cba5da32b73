//! Expressions and predicates. T-SQL keeps the two apart; one enum holds them and the parser keeps order.

use std::sync::Arc;

use super::Query;
use crate::types::SqlType;

/// An expression or predicate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    /// A constant.
    Literal(Literal),
    /// `@x`, with its `@`.
    Variable(String),
    /// `@@x`, upper case, with its `@@`.
    Global(String),
    /// A column.
    Column(ColumnName),
    /// `$action` of MERGE.
    MergeAction,
    /// `DEFAULT` as a value of VALUES or SET.
    Default,
    /// `-x`, `+x`, `~x`
    Unary { op: UnaryOp, operand: Box<Expr> },
    /// Arithmetic, bits and concatenation.
    Binary {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `a = b` and the like.
    Compare {
        op: CompareOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `a > ALL (SELECT …)`; `ANY` when `all` is false.
    Quantified {
        op: CompareOp,
        left: Box<Expr>,
        all: bool,
        query: Box<Query>,
    },
    /// `a AND b`
    And(Box<Expr>, Box<Expr>),
    /// `a OR b`
    Or(Box<Expr>, Box<Expr>),
    /// `NOT a`
    Not(Box<Expr>),
    /// `a IS [NOT] NULL`
    IsNull { operand: Box<Expr>, negated: bool },
    /// `a IS [NOT] DISTINCT FROM b`
    IsDistinct {
        left: Box<Expr>,
        right: Box<Expr>,
        negated: bool,
    },
    /// `a [NOT] LIKE b ESCAPE c`
    Like {
        operand: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<Box<Expr>>,
        negated: bool,
    },
    /// `a [NOT] BETWEEN b AND c`
    Between {
        operand: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        negated: bool,
    },
    /// `a [NOT] IN (b, c)`
    InList {
        operand: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    /// `a [NOT] IN (SELECT …)`
    InQuery {
        operand: Box<Expr>,
        query: Box<Query>,
        negated: bool,
    },
    /// `EXISTS (SELECT …)`
    Exists(Box<Query>),
    /// `(SELECT …)` as a value.
    Subquery(Box<Query>),
    /// Both forms of `CASE`.
    Case {
        operand: Option<Box<Expr>>,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    /// `CAST`, `TRY_CAST`
    Cast {
        operand: Box<Expr>,
        ty: SqlType,
        attempt: bool,
    },
    /// `CONVERT`, `TRY_CONVERT`
    Convert {
        operand: Box<Expr>,
        ty: SqlType,
        style: Option<Box<Expr>>,
        attempt: bool,
    },
    /// `a COLLATE name`
    Collate { operand: Box<Expr>, collation: String },
    /// Functions and aggregates, also `COALESCE`, `IIF` and those written without parentheses
    /// (`CURRENT_TIMESTAMP`, `SYSTEM_USER`, …).
    Function(Box<FunctionCall>),
}

/// A column's name with what stood before it (table, schema.table, …), outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnName {
    /// Qualifiers.
    pub(crate) qualifier: Vec<String>,
    /// The column.
    pub(crate) name: String,
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FunctionCall {
    /// Name in upper case when it has one part, as written otherwise (`sys.fn_x`, joined by dots).
    pub(crate) name: String,
    /// Arguments; the first of DATEADD, DATEDIFF, DATEPART and DATENAME is a `Literal::Str` of the part's name.
    pub(crate) arguments: Vec<Expr>,
    /// `COUNT(*)`
    pub(crate) star: bool,
    /// `COUNT(DISTINCT x)`
    pub(crate) distinct: bool,
    /// `WITHIN GROUP (ORDER BY …)`
    pub(crate) within_group: Vec<OrderItem>,
    /// `OVER (…)`
    pub(crate) over: Option<Window>,
}

/// `OVER (PARTITION BY … ORDER BY … ROWS …)`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    /// `PARTITION BY`
    pub(crate) partition_by: Vec<Expr>,
    /// `ORDER BY`
    pub(crate) order_by: Vec<OrderItem>,
    /// `ROWS | RANGE …`
    pub(crate) frame: Option<Frame>,
}

/// `ROWS BETWEEN start AND end`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// `ROWS`, else `RANGE`.
    pub(crate) rows: bool,
    /// From.
    pub(crate) start: FrameBound,
    /// To.
    pub(crate) end: FrameBound,
}

/// One end of a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FrameBound {
    /// `UNBOUNDED PRECEDING`
    UnboundedPreceding,
    /// `n PRECEDING`
    Preceding(Expr),
    /// `CURRENT ROW`
    CurrentRow,
    /// `n FOLLOWING`
    Following(Expr),
    /// `UNBOUNDED FOLLOWING`
    UnboundedFollowing,
}

/// One item of ORDER BY.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OrderItem {
    /// A value, an alias or a position.
    pub(crate) expr: Expr,
    /// `DESC`
    pub(crate) descending: bool,
}

/// Constants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    /// `NULL`
    Null,
    /// An integer that fits `int`; greater ones are `Decimal`.
    Int(i32),
    /// `12.50`
    Decimal {
        unscaled: i128,
        precision: u8,
        scale: u8,
    },
    /// `1e3`
    Float(f64),
    /// `$12.50`, in ten-thousandths
    Money(i64),
    /// `0x…`
    Binary(Arc<[u8]>),
    /// `'…'` or `N'…'`
    Str { text: Arc<[u16]>, national: bool },
}

/// Prefix operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnaryOp {
    /// `-`
    Negate,
    /// `+`
    Plus,
    /// `~`
    BitNot,
}

/// Operators that give values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
}

/// Operators that compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompareOp {
    /// `=`
    Equal,
    /// `<>`, `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`, `!>`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`, `!<`
    GreaterOrEqual,
}
