//! From drafts to sources: binding the placed conditions, choosing indexes.

use super::draft::{Draft, LeafSource};
use super::keys::{same_hash, same_order};
use super::plan::{Probe, ScanPlan, Seek, SeekBound, Source};
use super::scope::{Binder, BoundColumn, find_column};
use super::walk::{conjuncts, disjuncts, has_subquery, walk};
use crate::ast::{CompareOp, Expr};
use crate::error::SqlResult;
use crate::eval::{BoundExpr, bind, bind_predicate, convert_to};
use crate::store::{Index, Table};
use crate::types::{SqlType, TypeInfo};

/// The order that a query wants: positions of the table's columns.
pub(crate) type WantedOrder = Vec<(usize, bool)>;

/// How a table is reached: seeks of one index, and the index in whose order its rows come (true: backwards).
type Choice = (Vec<Seek>, Option<(usize, bool)>);

/// `column op value`, where the value does not depend on the table's row.
struct Condition<'e> {
    column: usize,
    op: CompareOp,
    value: &'e Expr,
}

impl Binder<'_> {
    /// Binds what a draft has gathered. Says whether the rows come in the order wanted.
    pub(crate) fn finish(&mut self, draft: Draft, wanted: Option<&WantedOrder>) -> SqlResult<(Source, bool)> {
        match draft {
            Draft::Nothing => Ok((Source::Nothing, false)),
            Draft::Leaf {
                source,
                columns,
                conditions,
            } => self.finish_leaf(source, columns, &conditions, wanted),
            Draft::Join {
                kind,
                left,
                right,
                on,
            } => Ok((self.finish_join(kind, *left, *right, &on)?, false)),
            Draft::Apply { outer, left, right } => {
                let left_columns = left.columns();
                let right_width = right.width();
                let (left, _) = self.finish(*left, None)?;
                let (right, _) = self.over(left_columns, |binder| binder.finish(*right, None));
                let right = right?.0;
                Ok((
                    Source::Apply {
                        outer,
                        left: Box::new(left),
                        right: Box::new(right),
                        right_width,
                    },
                    false,
                ))
            }
        }
    }

    fn finish_leaf(
        &mut self,
        source: LeafSource,
        columns: Vec<BoundColumn>,
        conditions: &[Expr],
        wanted: Option<&WantedOrder>,
    ) -> SqlResult<(Source, bool)> {
        let (bound, columns) = self.over(columns, |binder| binder.predicates(conditions));
        let mut filter = bound?;
        match source {
            LeafSource::Rows(rows) => Ok((Source::Rows { rows, filter }, false)),
            LeafSource::Query(query) => Ok((Source::Derived { query, filter }, false)),
            LeafSource::Function(function) => {
                let presorted = wanted.is_some_and(|wanted| function.gives_order(wanted));
                Ok((Source::Function { function, filter }, presorted))
            }
            LeafSource::Table {
                id,
                read,
                with_row_id,
            } => {
                let table = self.session.table_definition(id)?;
                let (seeks, order) = self.choose_index(&table, &columns, conditions, wanted)?;
                let covered = match seeks.as_slice() {
                    [seek] => covered(seek, &table, &columns, conditions),
                    _ => Vec::new(),
                };
                let mut places = 0..;
                filter.retain(|_| places.next().is_none_or(|place| !covered.contains(&place)));
                let left = conditions.iter().enumerate();
                let left = left.filter(|(place, _)| !covered.contains(place));
                let filtered = named_columns(left.map(|(_, condition)| condition), &columns);
                let presorted = order.is_some();
                let probe = if seeks.is_empty() && !presorted {
                    self.probe(&columns, conditions)?
                } else {
                    None
                };
                let scan = ScanPlan {
                    filtered,
                    wanted: None,
                    table: id,
                    read,
                    filter,
                    seeks,
                    probe,
                    order,
                    with_row_id,
                };
                Ok((Source::Scan(Box::new(scan)), presorted))
            }
        }
    }

    /// The equalities with outer rows' values that a hash of the table can answer.
    fn probe(&mut self, columns: &[BoundColumn], conditions: &[Expr]) -> SqlResult<Option<Probe>> {
        let mut keys = Vec::new();
        for condition in conditions
            .iter()
            .flat_map(conjuncts)
            .flat_map(|e| simple_conditions(e, columns))
        {
            if condition.op != CompareOp::Equal
                || !names_columns(condition.value)
                || changes_collation(condition.value)
            {
                continue;
            }
            let (bound, _) = self.over(Vec::new(), |binder| bind(condition.value, binder));
            let bound = bound?;
            if same_hash(columns[condition.column].info, bound.info()) {
                keys.push((condition.column, bound));
            }
        }
        if keys.is_empty() {
            return Ok(None);
        }
        self.probes += 1;
        Ok(Some(Probe {
            number: self.probes,
            keys,
        }))
    }

    pub(crate) fn predicates(&mut self, conditions: &[Expr]) -> SqlResult<Vec<BoundExpr>> {
        conditions
            .iter()
            .map(|condition| bind_predicate(condition, self))
            .collect()
    }

    /// The index with the longest equal prefix, then a range, then the wanted order.
    fn choose_index(
        &mut self,
        table: &Table,
        columns: &[BoundColumn],
        conditions: &[Expr],
        wanted: Option<&WantedOrder>,
    ) -> SqlResult<Choice> {
        let all: Vec<&Expr> = conditions.iter().flat_map(conjuncts).collect();
        let simple: Vec<Condition<'_>> = all.iter().flat_map(|e| simple_conditions(e, columns)).collect();
        let mut best: Option<(usize, Choice)> = None;
        for (at, index) in table.indexes.iter().enumerate() {
            if index.disabled || index.columnstore || index.filter.is_some() {
                continue;
            }
            let seeks = match self.seek(at, index, table, columns, &simple, &all)? {
                Some(seek) => vec![seek],
                None => self.seek_either(at, index, table, columns, &all)?,
            };
            let equal = seeks.first().map_or(0, |seek| seek.equal.len());
            let order = wanted
                .and_then(|wanted| direction(index, equal, wanted))
                .map(|backwards| (at, backwards));
            let ranged = seeks
                .first()
                .is_some_and(|seek| seek.equal.is_empty() || seek.is_ranged());
            let score = equal * 8 + usize::from(ranged) * 4 + usize::from(order.is_some()) * 3;
            if score > best.as_ref().map_or(0, |(score, _)| *score) {
                best = Some((score, (seeks, order)));
            }
        }
        Ok(best.map_or((Vec::new(), None), |(_, choice)| choice))
    }

    /// A seek for each of the conditions that one condition joins by OR, if each is a range of the index's first column: its values
    /// between bounds, or NULL.
    fn seek_either(
        &mut self,
        at: usize,
        index: &Index,
        table: &Table,
        columns: &[BoundColumn],
        all: &[&Expr],
    ) -> SqlResult<Vec<Seek>> {
        let Some(key) = index.keys.first() else {
            return Ok(Vec::new());
        };
        let info = table.columns[key.column].info;
        'conditions: for condition in all {
            let mut seeks = Vec::new();
            for either in disjuncts(condition) {
                let mut seek = Seek::of(at);
                seek.is_null = is_null(either, columns) == Some(key.column);
                let parts: Vec<Condition<'_>> = conjuncts(either)
                    .into_iter()
                    .flat_map(|e| simple_conditions(e, columns))
                    .collect();
                self.seek_range(&mut seek, key.column, info, &parts)?;
                if !seek.is_null && !seek.is_ranged() {
                    continue 'conditions;
                }
                seeks.push(seek);
            }
            return Ok(seeks);
        }
        Ok(Vec::new())
    }

    fn seek(
        &mut self,
        at: usize,
        index: &Index,
        table: &Table,
        columns: &[BoundColumn],
        simple: &[Condition<'_>],
        all: &[&Expr],
    ) -> SqlResult<Option<Seek>> {
        let mut seek = Seek::of(at);
        for key in &index.keys {
            let info = table.columns[key.column].info;
            let equal = simple
                .iter()
                .find(|c| c.column == key.column && c.op == CompareOp::Equal);
            if let Some(value) = equal
                .map(|c| self.seek_value(c.value, info))
                .transpose()?
                .flatten()
            {
                seek.equal.push(value);
                continue;
            }
            self.seek_range(&mut seek, key.column, info, simple)?;
            break;
        }
        if !seek.is_ranged() {
            self.seek_lexicographic(&mut seek, index, table, columns, all)?;
        }
        let useful = !seek.equal.is_empty() || seek.is_ranged();
        Ok(useful.then_some(seek))
    }

    fn seek_range(
        &mut self,
        seek: &mut Seek,
        column: usize,
        info: TypeInfo,
        simple: &[Condition<'_>],
    ) -> SqlResult<()> {
        for condition in simple.iter().filter(|c| c.column == column) {
            let (low, inclusive) = match condition.op {
                CompareOp::Greater => (true, false),
                CompareOp::GreaterOrEqual => (true, true),
                CompareOp::Less => (false, false),
                CompareOp::LessOrEqual => (false, true),
                _ => continue,
            };
            let bound = if low { &mut seek.low } else { &mut seek.high };
            if bound.is_none()
                && let Some(value) = self.seek_value(condition.value, info)?
            {
                *bound = Some(SeekBound {
                    values: vec![value],
                    inclusive,
                });
            }
        }
        Ok(())
    }

    /// `(a > @a) OR (a = @a AND b > @b)`, to any depth, over the key columns after the equal ones.
    fn seek_lexicographic(
        &mut self,
        seek: &mut Seek,
        index: &Index,
        table: &Table,
        columns: &[BoundColumn],
        all: &[&Expr],
    ) -> SqlResult<()> {
        let keys = index.keys.get(seek.equal.len()..).unwrap_or_default();
        if keys.iter().any(|key| key.descending) {
            return Ok(());
        }
        for condition in all {
            let Some((pairs, op)) = lexicographic(condition, columns) else {
                continue;
            };
            let fits =
                pairs.len() <= keys.len() && pairs.iter().zip(keys).all(|(pair, key)| pair.0 == key.column);
            if !fits {
                continue;
            }
            let mut values = Vec::new();
            let wanted = pairs.len();
            for (column, value) in pairs {
                match self.seek_value(value, table.columns[column].info)? {
                    Some(value) => values.push(value),
                    None => break,
                }
            }
            // Rows at a bound that is cut short may lie on either side of the whole one.
            let inclusive =
                values.len() < wanted || matches!(op, CompareOp::GreaterOrEqual | CompareOp::LessOrEqual);
            let bound = Some(SeekBound { values, inclusive });
            match op {
                CompareOp::Greater | CompareOp::GreaterOrEqual => seek.low = bound,
                _ => seek.high = bound,
            }
        }
        Ok(())
    }

    /// A value to seek a column by, if comparing it as the column's type is what the comparison does anyway.
    fn seek_value(&mut self, value: &Expr, column: TypeInfo) -> SqlResult<Option<BoundExpr>> {
        if changes_collation(value) {
            return Ok(None);
        }
        let (bound, _) = self.over(Vec::new(), |binder| bind(value, binder));
        let bound = bound?;
        if bound.info().ty.is_character() && !column.ty.is_character() {
            return Ok(Some(convert_to(bound, column)?));
        }
        Ok(same_order(column.ty, bound.info().ty).then_some(bound))
    }
}

/// Whether the order wanted is the index's after `equal` leading columns, and in which direction (true: backwards).
fn direction(index: &Index, equal: usize, wanted: &WantedOrder) -> Option<bool> {
    let fixed: Vec<usize> = index.keys.iter().take(equal).map(|key| key.column).collect();
    let mut keys = index.keys.iter().skip(equal);
    let mut backwards = None;
    for (column, descending) in wanted.iter().filter(|(column, _)| !fixed.contains(column)) {
        let key = keys.next()?;
        if key.column != *column
            || *backwards.get_or_insert(key.descending != *descending) != (key.descending != *descending)
        {
            return None;
        }
    }
    backwards
}

/// The columns that expressions name; none if there may be others.
pub(super) fn named_columns<'e>(
    exprs: impl IntoIterator<Item = &'e Expr>,
    columns: &[BoundColumn],
) -> Option<Vec<usize>> {
    let (mut named, mut clear) = (Vec::new(), true);
    for expr in exprs {
        clear &= !has_subquery(expr);
        walk(expr, &mut |e| {
            if let Expr::Column(name) = e {
                match find_column(columns, name) {
                    Ok(column) => named.extend(column),
                    Err(_) => clear = false,
                }
            }
            true
        });
    }
    clear.then_some(named)
}

/// Which of the conditions all rows meet that a seek finds: each compares columns with bounds of the seek, and no two of them the same; the columns'
/// values have one form only.
fn covered(seek: &Seek, table: &Table, columns: &[BoundColumn], conditions: &[Expr]) -> Vec<usize> {
    let (mut met, mut places) = (0, Vec::new());
    for (place, condition) in conditions.iter().enumerate() {
        let simple = simple_conditions(condition, columns);
        match condition {
            // A bound of several columns may have been cut short.
            Expr::Or(..) if lexicographic(condition, columns).is_some() => return Vec::new(),
            // One of its ends is not simple.
            Expr::Between { .. } if simple.len() != 2 => continue,
            _ if simple.is_empty() || simple.iter().any(|c| c.op == CompareOp::NotEqual) => continue,
            _ => {}
        }
        met += simple.len();
        places.push(place);
    }
    let ranges = [&seek.low, &seek.high];
    let ends = ranges.into_iter().flatten();
    let bounds: Vec<&BoundExpr> = seek
        .equal
        .iter()
        .chain(ends.flat_map(|end| &end.values))
        .collect();
    let one_column = ranges.into_iter().flatten().all(|end| end.values.len() == 1);
    let keys = table.indexes[seek.index].keys.iter();
    let types: Vec<SqlType> = keys.map(|key| table.columns[key.column].info.ty).collect();
    let place = |at: usize| at.min(seek.equal.len());
    let exact = |(at, bound): (usize, &&BoundExpr)| {
        let plain = matches!(
            bound.info().ty,
            SqlType::TinyInt
                | SqlType::SmallInt
                | SqlType::Int
                | SqlType::BigInt
                | SqlType::Date
                | SqlType::Binary { .. }
        );
        plain && types.get(place(at)) == Some(&bound.info().ty)
    };
    match one_column && met == bounds.len() && bounds.iter().enumerate().all(exact) {
        true => places,
        false => Vec::new(),
    }
}

fn simple_conditions<'e>(expr: &'e Expr, columns: &[BoundColumn]) -> Vec<Condition<'e>> {
    match expr {
        Expr::Compare { op, left, right } => {
            let straight = condition(left, *op, right, columns);
            straight
                .or_else(|| condition(right, flipped(*op), left, columns))
                .into_iter()
                .collect()
        }
        Expr::Between {
            operand,
            low,
            high,
            negated: false,
        } => [
            condition(operand, CompareOp::GreaterOrEqual, low, columns),
            condition(operand, CompareOp::LessOrEqual, high, columns),
        ]
        .into_iter()
        .flatten()
        .collect(),
        _ => Vec::new(),
    }
}

/// The column that a condition says is NULL.
fn is_null(expr: &Expr, columns: &[BoundColumn]) -> Option<usize> {
    let Expr::IsNull {
        operand,
        negated: false,
    } = expr
    else {
        return None;
    };
    let Expr::Column(name) = &**operand else {
        return None;
    };
    find_column(columns, name).ok().flatten()
}

fn condition<'e>(
    left: &Expr,
    op: CompareOp,
    value: &'e Expr,
    columns: &[BoundColumn],
) -> Option<Condition<'e>> {
    let Expr::Column(name) = left else { return None };
    let column = find_column(columns, name).ok().flatten()?;
    is_constant(value, columns).then_some(Condition { column, op, value })
}

/// Whether it names none of `columns` and holds no subquery.
fn is_constant(value: &Expr, columns: &[BoundColumn]) -> bool {
    let mut constant = !has_subquery(value);
    walk(value, &mut |e| {
        if let Expr::Column(name) = e {
            constant &= matches!(find_column(columns, name), Ok(None));
        }
        constant
    });
    constant
}

fn flipped(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Less => CompareOp::Greater,
        CompareOp::LessOrEqual => CompareOp::GreaterOrEqual,
        CompareOp::Greater => CompareOp::Less,
        CompareOp::GreaterOrEqual => CompareOp::LessOrEqual,
        same => same,
    }
}

/// Takes `a > x OR (a = x AND (b > y OR …))` apart: the pairs in order, and the last operator.
fn lexicographic<'e>(expr: &'e Expr, columns: &[BoundColumn]) -> Option<(Vec<(usize, &'e Expr)>, CompareOp)> {
    if let [single] = simple_conditions(expr, columns).as_slice() {
        let ranged = !matches!(single.op, CompareOp::Equal | CompareOp::NotEqual);
        return ranged.then(|| (vec![(single.column, single.value)], single.op));
    }
    let Expr::Or(first, rest) = expr else { return None };
    let strict = simple_conditions(first, columns);
    let [strict] = strict.as_slice() else { return None };
    let Expr::And(equal, inner) = &**rest else {
        return None;
    };
    let equal = simple_conditions(equal, columns);
    let [equal] = equal.as_slice() else { return None };
    let (mut pairs, op) = lexicographic(inner, columns)?;
    let same_direction = match strict.op {
        CompareOp::Greater => matches!(op, CompareOp::Greater | CompareOp::GreaterOrEqual),
        CompareOp::Less => matches!(op, CompareOp::Less | CompareOp::LessOrEqual),
        _ => false,
    };
    let fits = same_direction
        && equal.op == CompareOp::Equal
        && equal.column == strict.column
        && equal.value == strict.value;
    pairs.insert(0, (strict.column, strict.value));
    fits.then_some((pairs, op))
}

pub(super) fn changes_collation(expr: &Expr) -> bool {
    let mut found = false;
    walk(expr, &mut |e| {
        found |= matches!(e, Expr::Collate { .. });
        !found
    });
    found
}

fn names_columns(expr: &Expr) -> bool {
    let mut found = false;
    walk(expr, &mut |e| {
        found |= matches!(e, Expr::Column(_));
        !found
    });
    found
}
