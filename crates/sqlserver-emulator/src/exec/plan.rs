//! Bound queries: what a SELECT does, with every name resolved. Made anew for each execution.

use std::sync::Arc;

use crate::ast::{BinaryOp, JoinKind, SetOperator};
use crate::eval::BoundExpr;
use crate::outcome::ResultColumn;
use crate::store::{CaptureInstance, LockMode, Read, Row, TableId};
use crate::types::TypeInfo;

/// A query with what it gives.
#[derive(Debug)]
pub(crate) struct QueryPlan {
    pub(crate) columns: Vec<ResultColumn>,
    pub(crate) node: Node,
    /// Uses columns of a query around it: its result differs from row to row.
    pub(crate) correlated: bool,
}

/// The forms of a query's body.
#[derive(Debug)]
pub(crate) enum Node {
    Select(Box<SelectPlan>),
    Values(Vec<Vec<BoundExpr>>),
    SetOperation {
        op: SetOperator,
        left: Box<QueryPlan>,
        right: Box<QueryPlan>,
        /// Converts each side's columns to the common type; slots are the side's columns.
        left_items: Vec<BoundExpr>,
        right_items: Vec<BoundExpr>,
    },
    Sorted {
        input: Box<QueryPlan>,
        keys: Vec<SortKey>,
        page: Page,
    },
}

/// OFFSET, FETCH and TOP.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) offset: Option<BoundExpr>,
    pub(crate) limit: Option<BoundExpr>,
    pub(crate) percent: bool,
    pub(crate) with_ties: bool,
}

impl Page {
    /// Whether no row is left out.
    pub(crate) fn is_whole(&self) -> bool {
        self.offset.is_none() && self.limit.is_none()
    }
}

/// One key of a sort.
#[derive(Debug)]
pub(crate) struct SortKey {
    pub(crate) value: SortValue,
    pub(crate) info: TypeInfo,
    pub(crate) descending: bool,
}

/// Where a sort key's value comes from.
#[derive(Debug)]
pub(crate) enum SortValue {
    /// A column of the result.
    Output(usize),
    /// An expression over the same rows as the select list.
    Expr(BoundExpr),
}

/// One SELECT.
#[derive(Debug)]
pub(crate) struct SelectPlan {
    pub(crate) source: Source,
    pub(crate) filter: Vec<BoundExpr>,
    pub(crate) group: Option<GroupPlan>,
    pub(crate) having: Option<BoundExpr>,
    pub(crate) windows: Vec<WindowPlan>,
    pub(crate) items: Vec<BoundExpr>,
    /// The only columns that items look at which are not columns themselves, where that is known.
    pub(crate) looked_at: Option<Vec<usize>>,
    /// Variables that the items are assigned to; as many as items when this is an assignment.
    pub(crate) assignments: Vec<VariableAssignment>,
    pub(crate) distinct: bool,
    pub(crate) order: Vec<SortKey>,
    /// The source delivers rows in the order asked for.
    pub(crate) presorted: bool,
    pub(crate) page: Page,
}

/// `@v = item`, `@v += item`.
#[derive(Debug)]
pub(crate) struct VariableAssignment {
    pub(crate) variable: String,
    pub(crate) op: Option<BinaryOp>,
}

/// GROUP BY: rows of keys, then aggregates.
#[derive(Debug)]
pub(crate) struct GroupPlan {
    pub(crate) keys: Vec<BoundExpr>,
    pub(crate) aggregates: Vec<AggregatePlan>,
    /// No GROUP BY clause: one row even over nothing.
    pub(crate) scalar: bool,
    /// The first value that is not NULL is the result: the least or greatest one of a column in whose order the rows come.
    pub(crate) by_first: bool,
}

/// One aggregate.
#[derive(Debug)]
pub(crate) struct AggregatePlan {
    pub(crate) kind: AggregateKind,
    pub(crate) argument: Option<BoundExpr>,
    pub(crate) separator: Option<BoundExpr>,
    /// WITHIN GROUP (ORDER BY …); true: descending.
    pub(crate) order: Vec<(BoundExpr, bool)>,
    pub(crate) distinct: bool,
    pub(crate) info: TypeInfo,
}

/// The aggregate functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AggregateKind {
    Count,
    CountBig,
    Sum,
    Avg,
    Min,
    Max,
    StdDev { population: bool },
    Variance { population: bool },
    StringAgg,
    ChecksumAgg,
}

/// A window function: appended to the row.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    pub(crate) function: WindowFunction,
    pub(crate) partition: Vec<BoundExpr>,
    pub(crate) order: Vec<(BoundExpr, bool)>,
    pub(crate) info: TypeInfo,
}

/// The window functions.
#[derive(Debug)]
pub(crate) enum WindowFunction {
    RowNumber,
    Rank,
    DenseRank,
    Ntile(BoundExpr),
    Aggregate {
        plan: AggregatePlan,
        running: bool,
        rows: bool,
    },
    /// LAG (negative direction) and LEAD.
    Shift {
        value: BoundExpr,
        offset: Option<BoundExpr>,
        default: Option<BoundExpr>,
        ahead: bool,
    },
    FirstValue(BoundExpr),
    LastValue(BoundExpr),
}

/// Where rows come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// No FROM: one row without columns.
    Nothing,
    Scan(Box<ScanPlan>),
    Rows {
        rows: Arc<Vec<Row>>,
        filter: Vec<BoundExpr>,
    },
    Derived {
        query: Box<QueryPlan>,
        filter: Vec<BoundExpr>,
    },
    Function {
        function: Box<RowFunction>,
        filter: Vec<BoundExpr>,
    },
    Join(Box<JoinPlan>),
    Apply {
        outer: bool,
        left: Box<Source>,
        right: Box<Source>,
        right_width: usize,
    },
}

impl QueryPlan {
    /// The scan, its columns and which of its rows, if the query does nothing but give some columns of a table's rows, in the table's order:
    /// of all rows, or of those that the scan's filter lets pass.
    pub(crate) fn bare_scan(&self) -> Option<(&ScanPlan, Vec<usize>, &Page)> {
        let Node::Select(select) = &self.node else {
            return None;
        };
        let Source::Scan(scan) = &select.source else {
            return None;
        };
        let known = scan.filter.is_empty() || scan.filtered.is_some();
        let scanned = known && scan.probe.is_none() && !scan.with_row_id;
        let columns = select.columns().filter(|_| scanned && select.is_bare_page())?;
        Some((scan, columns, &select.page))
    }
}

impl SelectPlan {
    /// Whether each row of its source becomes a row of the result, in the same order.
    pub(crate) fn is_bare(&self) -> bool {
        self.page.is_whole() && self.is_bare_page()
    }

    /// Whether some of the rows of its source, one after the other, become rows of the result, in the same order.
    fn is_bare_page(&self) -> bool {
        !self.page.percent
            && !self.page.with_ties
            && self.filter.is_empty()
            && self.group.is_none()
            && self.having.is_none()
            && self.windows.is_empty()
            && self.assignments.is_empty()
            && !self.distinct
            && (self.order.is_empty() || self.presorted)
    }

    /// The columns that its items are, if they are columns in the order of their source.
    fn columns(&self) -> Option<Vec<usize>> {
        let columns: Option<Vec<usize>> = self.items.iter().map(BoundExpr::as_column).collect();
        columns.filter(|columns| columns.is_sorted_by(|a, b| a < b))
    }

    /// The plan without a derived table around which it does nothing but give some of its columns.
    pub(crate) fn flattened(mut self) -> Self {
        let columns = self.columns().filter(|_| self.is_bare());
        if let Some(columns) = columns
            && let Source::Derived { query, filter } = &mut self.source
            && filter.is_empty()
            && !query.correlated
            && let Node::Select(inner) = &mut query.node
            && inner.is_bare_page()
        {
            let items = std::mem::take(&mut inner.items).into_iter().enumerate();
            let kept = items.filter(|(at, _)| columns.contains(at));
            inner.items = kept.map(|(_, item)| item).collect();
            let inner = std::mem::replace(&mut query.node, Node::Values(Vec::new()));
            if let Node::Select(inner) = inner {
                return *inner;
            }
        }
        self
    }
}

/// A function that gives rows; its arguments stand over the rows around it.
#[derive(Debug)]
pub(crate) enum RowFunction {
    /// `CHANGETABLE(CHANGES …)`
    Changes {
        table: TableId,
        read: ReadPlan,
        last: BoundExpr,
    },
    /// `CHANGETABLE(VERSION …)`, with a value for each column of the primary key.
    Version {
        table: TableId,
        read: ReadPlan,
        key: Vec<BoundExpr>,
    },
    /// `cdc.fn_cdc_get_all_changes_…` and `cdc.fn_cdc_get_net_changes_…`
    Captured(CapturedRange),
}

/// A range of a change table: from and to an LSN, and what of it is wanted.
#[derive(Debug)]
pub(crate) struct CapturedRange {
    pub(crate) instance: CaptureInstance,
    pub(crate) read: ReadPlan,
    pub(crate) net: bool,
    /// Lower end, upper end, row filter option.
    pub(crate) arguments: Vec<BoundExpr>,
    /// The only columns of the result that are looked at, where that is known.
    pub(crate) wanted: Option<Vec<usize>>,
}

/// Reading a table.
#[derive(Debug)]
pub(crate) struct ScanPlan {
    pub(crate) table: TableId,
    pub(crate) read: ReadPlan,
    pub(crate) filter: Vec<BoundExpr>,
    /// The only columns that the filter looks at, where that is known.
    pub(crate) filtered: Option<Vec<usize>>,
    /// The only columns that are looked at once the filter has let a row pass, where that is known.
    pub(crate) wanted: Option<Vec<usize>>,
    /// Ranges of one index, which together hold every row that the filter lets pass; none: all rows are looked at.
    pub(crate) seeks: Vec<Seek>,
    pub(crate) probe: Option<Probe>,
    /// Rows must come in index order, forwards or backwards.
    pub(crate) order: Option<(usize, bool)>,
    /// Append the row id as a `bigint` column.
    pub(crate) with_row_id: bool,
}

impl ScanPlan {
    /// Every row and every column of a table.
    pub(crate) fn whole(table: TableId, read: ReadPlan) -> Self {
        Self {
            table,
            read,
            filter: Vec::new(),
            filtered: None,
            wanted: None,
            seeks: Vec::new(),
            probe: None,
            order: None,
            with_row_id: false,
        }
    }
}

/// Equalities with values of outer rows where no index helps: the table is hashed once per statement.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Tells the statement's probes apart.
    pub(crate) number: u64,
    /// Columns and what they equal.
    pub(crate) keys: Vec<(usize, BoundExpr)>,
}

/// How a scan treats others' changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadPlan {
    /// As given; for snapshots the commit number is known when the statement starts.
    As(Read),
    /// A locking read that also locks the range of keys it looked at.
    Range(LockMode),
    /// The statement's or transaction's snapshot.
    Snapshot,
}

/// Seeking in an index: equal leading columns, then perhaps a range on what follows.
#[derive(Debug)]
pub(crate) struct Seek {
    /// Position among the table's indexes.
    pub(crate) index: usize,
    pub(crate) equal: Vec<BoundExpr>,
    /// The next column is NULL. There are no bounds then.
    pub(crate) is_null: bool,
    pub(crate) low: Option<SeekBound>,
    pub(crate) high: Option<SeekBound>,
}

impl Seek {
    /// All of an index.
    pub(crate) fn of(index: usize) -> Self {
        Self {
            index,
            equal: Vec::new(),
            is_null: false,
            low: None,
            high: None,
        }
    }

    /// Whether there is a bound.
    pub(crate) fn is_ranged(&self) -> bool {
        self.low.is_some() || self.high.is_some()
    }
}

/// An end of a range: values of one or more columns after the equal ones.
#[derive(Debug)]
pub(crate) struct SeekBound {
    pub(crate) values: Vec<BoundExpr>,
    pub(crate) inclusive: bool,
}

/// A join.
#[derive(Debug)]
pub(crate) struct JoinPlan {
    pub(crate) kind: JoinKind,
    pub(crate) left: Source,
    pub(crate) right: Source,
    pub(crate) left_width: usize,
    pub(crate) right_width: usize,
    /// Equalities: a value of the left side's row, one of the right side's.
    pub(crate) keys: Vec<(BoundExpr, BoundExpr)>,
    /// What else must hold, over both.
    pub(crate) residual: Vec<BoundExpr>,
    /// Seek into one side for each row of the other, where that side is a table with a fitting index.
    pub(crate) lookup_right: Option<Lookup>,
    pub(crate) lookup_left: Option<Lookup>,
}

impl JoinPlan {
    /// The right side, if the left one can drive the join through its index.
    pub(crate) fn driven_right(&self) -> Option<(&ScanPlan, &Lookup)> {
        match (&self.right, &self.lookup_right, self.kind) {
            (Source::Scan(scan), Some(lookup), JoinKind::Inner | JoinKind::Left) => Some((scan, lookup)),
            _ => None,
        }
    }
}

/// An index of a join's side that its equalities cover: which key gives the value of each leading column.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) index: usize,
    pub(crate) keys: Vec<usize>,
    /// The rows that it finds are those that meet all equalities.
    pub(crate) exact: bool,
}
