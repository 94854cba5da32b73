//! Binding joins: which equalities a hash or an index can answer.

use super::access::changes_collation;
use super::draft::{Draft, LeafSource, places};
use super::keys::{is_exact, same_hash, same_order};
use super::plan::{JoinPlan, Lookup, Source};
use super::scope::{Binder, BoundColumn, find_column};
use crate::ast::{CompareOp, Expr, JoinKind};
use crate::error::SqlResult;
use crate::eval::{BoundExpr, bind, bind_predicate};
use crate::store::TableId;

impl Binder<'_> {
    pub(super) fn finish_join(
        &mut self,
        kind: JoinKind,
        left: Draft,
        right: Draft,
        on: &[Expr],
    ) -> SqlResult<Source> {
        let (left_columns, right_columns) = (left.columns(), right.columns());
        let (left_table, right_table) = (leaf_table(&left), leaf_table(&right));
        let mut both = left_columns.clone();
        both.extend(right_columns.iter().cloned());
        let mut keys = Vec::new();
        let mut key_columns = Vec::new();
        let mut residual = Vec::new();
        for condition in on {
            match self.join_key(condition, &left_columns, &right_columns, &both)? {
                Some((left_key, right_key, columns)) => {
                    keys.push((left_key, right_key));
                    key_columns.push(columns);
                }
                None => residual.push(condition.clone()),
            }
        }
        let (residual, _) = self.over(both, |binder| binder.predicates(&residual));
        let lefts: Vec<_> = key_columns.iter().map(|columns| columns.0).collect();
        let rights: Vec<_> = key_columns.iter().map(|columns| columns.1).collect();
        let exact = keys
            .iter()
            .all(|(left, right)| is_exact(left.info().ty, right.info().ty));
        let lookup_left = self.lookup(left_table, &lefts, exact)?;
        let lookup_right = self.lookup(right_table, &rights, exact)?;
        Ok(Source::Join(Box::new(JoinPlan {
            kind,
            left_width: left.width(),
            right_width: right.width(),
            left: self.finish(left, None)?.0,
            right: self.finish(right, None)?.0,
            keys,
            residual: residual?,
            lookup_right,
            lookup_left,
        })))
    }

    /// Both sides of an equality that a hash can answer, and the plain columns that they are.
    #[expect(clippy::type_complexity, reason = "two keys and the columns behind them")]
    fn join_key(
        &mut self,
        condition: &Expr,
        left: &[BoundColumn],
        right: &[BoundColumn],
        both: &[BoundColumn],
    ) -> SqlResult<Option<(BoundExpr, BoundExpr, (Option<usize>, Option<usize>))>> {
        let Expr::Compare {
            op: CompareOp::Equal,
            left: a,
            right: b,
        } = condition
        else {
            return Ok(None);
        };
        let (Some(at_a), Some(at_b)) = (places(a, both)?, places(b, both)?) else {
            return Ok(None);
        };
        let is_left = |places: &[usize]| !places.is_empty() && places.iter().all(|place| *place < left.len());
        let is_right =
            |places: &[usize]| !places.is_empty() && places.iter().all(|place| *place >= left.len());
        let (a, b) = match () {
            () if is_left(&at_a) && is_right(&at_b) => (a, b),
            () if is_left(&at_b) && is_right(&at_a) => (b, a),
            () => return Ok(None),
        };
        // Binding the whole condition reports what is wrong with it, a collation conflict for example.
        let (whole, _) = self.over(both.to_vec(), |binder| bind_predicate(condition, binder));
        whole?;
        let (left_key, _) = self.over(left.to_vec(), |binder| bind(a, binder));
        let (right_key, _) = self.over(right.to_vec(), |binder| bind(b, binder));
        let (left_key, right_key) = (left_key?, right_key?);
        if changes_collation(a) || changes_collation(b) || !same_hash(left_key.info(), right_key.info()) {
            return Ok(None);
        }
        let same = same_order(left_key.info().ty, right_key.info().ty);
        let column = |e: &Expr, columns: &[BoundColumn]| match e {
            Expr::Column(name) if same => find_column(columns, name).ok().flatten(),
            _ => None,
        };
        let columns = (column(a, left), column(b, right));
        Ok(Some((left_key, right_key, columns)))
    }

    /// The index with the most leading columns among `columns`, which are the plain columns of the join's keys. `exact`: these are
    /// equal only if they are in an index.
    fn lookup(
        &mut self,
        table: Option<TableId>,
        columns: &[Option<usize>],
        exact: bool,
    ) -> SqlResult<Option<Lookup>> {
        let Some(id) = table else { return Ok(None) };
        let table = self.session.table_definition(id)?;
        let mut best: Option<Lookup> = None;
        for (at, index) in table.indexes.iter().enumerate() {
            if index.disabled || index.columnstore || index.filter.is_some() {
                continue;
            }
            let covering = |key: &crate::store::IndexKey| columns.iter().position(|c| *c == Some(key.column));
            let keys: Vec<usize> = index.keys.iter().map_while(covering).collect();
            if keys.len() > best.as_ref().map_or(0, |lookup| lookup.keys.len()) {
                let exact = exact && (0..columns.len()).all(|column| keys.contains(&column));
                best = Some(Lookup {
                    index: at,
                    keys,
                    exact,
                });
            }
        }
        Ok(best)
    }
}

fn leaf_table(draft: &Draft) -> Option<TableId> {
    match draft {
        Draft::Leaf {
            source: LeafSource::Table { id, .. },
            ..
        } => Some(*id),
        _ => None,
    }
}
