//! Running joins: by hash, or by seeking in one side's index for each row of the other.

use std::collections::HashMap;

use super::keys::{append_hash, key_value};
use super::plan::{JoinPlan, Lookup, ScanPlan, Source};
use super::rows::Each;
use super::run::Run;
use crate::ast::JoinKind;
use crate::error::SqlResult;
use crate::eval::BoundExpr;
use crate::outcome::Flow;
use crate::store::{Access, KeyRange, Row, Table, key};
use crate::value::Value;

/// A side is driven by the other through its index when it has this many times its rows.
const LOOKUP_RATIO: usize = 8;

/// The rows of a join's side that could drive it through the other's index.
enum Drivers {
    /// All of them, and few beside the other side's.
    Few(Vec<Row>),
    /// All of them.
    All(Vec<Row>),
    /// Too many, not kept.
    Many,
}

impl Run<'_> {
    pub(super) fn join(&mut self, join: &JoinPlan, each: Each<'_>) -> SqlResult<Flow> {
        if let (Some(lookup), Source::Scan(scan)) = (&join.lookup_right, &join.right)
            && matches!(join.kind, JoinKind::Inner | JoinKind::Left)
        {
            match self.drivers(&join.left, scan)? {
                Drivers::Few(lefts) => return self.lookup_join(join, scan, lookup, lefts, false, each),
                Drivers::All(lefts) => return self.hash_left(join, &lefts, each),
                Drivers::Many => {}
            }
        }
        if let (Some(lookup), Source::Scan(scan)) = (&join.lookup_left, &join.left)
            && matches!(join.kind, JoinKind::Inner | JoinKind::Right)
            && let Drivers::Few(rights) = self.drivers(&join.right, scan)?
        {
            return self.lookup_join(join, scan, lookup, rights, true, each);
        }
        self.hash_join(join, each)
    }

    /// The rows of `driver`, to be compared with the table that `scan` reads. What is costly to begin is read to its end, once.
    fn drivers(&mut self, driver: &Source, scan: &ScanPlan) -> SqlResult<Drivers> {
        if scan.seek.is_some() {
            return Ok(Drivers::Many);
        }
        let store = self.session.engine.store();
        let size = store
            .lock()
            .tables
            .get(&scan.table)
            .map_or(0, |data| data.size_hint());
        let most = size / LOOKUP_RATIO;
        if most == 0 {
            return Ok(Drivers::Many);
        }
        let costly = matches!(driver, Source::Derived { .. } | Source::Function { .. });
        let mut rows = Vec::new();
        self.source(driver, &mut |_, row| {
            rows.push(row);
            Ok(if rows.len() > most && !costly {
                Flow::Stop
            } else {
                Flow::Continue
            })
        })?;
        Ok(match rows.len() <= most {
            true => Drivers::Few(rows),
            false if costly => Drivers::All(rows),
            false => Drivers::Many,
        })
    }

    /// An inner or left join whose left side is known: its rows are hashed, and the right side passes by.
    fn hash_left(&mut self, join: &JoinPlan, lefts: &[Row], each: Each<'_>) -> SqlResult<Flow> {
        let mut by_key: HashMap<Vec<u8>, Vec<u32>> = HashMap::with_capacity(lefts.len());
        for (at, left) in lefts.iter().enumerate() {
            if let Some(key) = self.hash_key(join.keys.iter().map(|key| &key.0), left)? {
                by_key.entry(key).or_default().push(at as u32);
            }
        }
        let mut matched = vec![false; lefts.len()];
        let flow = self.source(&join.right, &mut |run, right| {
            let key = run.hash_key(join.keys.iter().map(|key| &key.1), &right)?;
            for &at in key.and_then(|key| by_key.get(&key)).into_iter().flatten() {
                let row = concat(&lefts[at as usize], &right);
                if !run.all_hold(&join.residual, &row)? {
                    continue;
                }
                matched[at as usize] = true;
                if each(run, row)? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
            Ok(Flow::Continue)
        })?;
        if flow == Flow::Stop || join.kind != JoinKind::Left {
            return Ok(flow);
        }
        for (left, _) in lefts.iter().zip(matched).filter(|(_, matched)| !matched) {
            if each(self, padded(left, join.right_width, true))? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    fn lookup_join(
        &mut self,
        join: &JoinPlan,
        scan: &ScanPlan,
        lookup: &Lookup,
        drivers: Vec<Row>,
        driver_is_right: bool,
        each: Each<'_>,
    ) -> SqlResult<Flow> {
        let outer = join.kind != JoinKind::Inner;
        let table = self.session.table_definition(scan.table)?;
        for driver in drivers {
            let mut found = Vec::new();
            if let Some(range) = self.lookup_range(join, lookup, &table, &driver, driver_is_right)? {
                let access = Access::Index {
                    index: lookup.index,
                    range,
                    backwards: false,
                };
                self.visit(scan, &scan.filter, access, &mut |_, row| {
                    found.push(row);
                    Ok(Flow::Continue)
                })?;
            }
            let mut matched = false;
            for other in found {
                let (left, right) = if driver_is_right {
                    (&other, &driver)
                } else {
                    (&driver, &other)
                };
                if !self.keys_equal(join, left, right)? {
                    continue;
                }
                let row = concat(left, right);
                if self.all_hold(&join.residual, &row)? {
                    matched = true;
                    if each(self, row)? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
            }
            if !matched && outer {
                let width = if driver_is_right {
                    join.left_width
                } else {
                    join.right_width
                };
                if each(self, padded(&driver, width, !driver_is_right))? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
        }
        Ok(Flow::Continue)
    }

    fn lookup_range(
        &mut self,
        join: &JoinPlan,
        lookup: &Lookup,
        table: &Table,
        driver: &Row,
        driver_is_right: bool,
    ) -> SqlResult<Option<KeyRange>> {
        let mut prefix = Vec::new();
        for (at, part) in lookup.keys.iter().zip(&table.indexes[lookup.index].keys) {
            let (left, right) = &join.keys[*at];
            let value = self.value_over(if driver_is_right { right } else { left }, driver)?;
            if value.is_null() {
                return Ok(None);
            }
            let info = table.columns[part.column].info;
            match key_value(value, info.ty) {
                Some(value) => key::append(&value, info.collation, part.descending, &mut prefix),
                // Not a value of the column's type: nothing can be equal to it.
                None => return Ok(None),
            }
        }
        Ok(Some(KeyRange::prefix(prefix)))
    }

    fn keys_equal(&mut self, join: &JoinPlan, left: &Row, right: &Row) -> SqlResult<bool> {
        let lefts = self.hash_key(join.keys.iter().map(|key| &key.0), left)?;
        let rights = self.hash_key(join.keys.iter().map(|key| &key.1), right)?;
        Ok(lefts.is_some() && lefts == rights)
    }

    fn hash_join(&mut self, join: &JoinPlan, each: Each<'_>) -> SqlResult<Flow> {
        let mut rights: Vec<Row> = Vec::new();
        let mut by_key: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
        self.source(&join.right, &mut |run, row| {
            if let Some(key) = run.hash_key(join.keys.iter().map(|key| &key.1), &row)? {
                by_key.entry(key).or_default().push(rights.len() as u32);
            }
            rights.push(row);
            Ok(Flow::Continue)
        })?;
        let keeps_left = matches!(join.kind, JoinKind::Left | JoinKind::Full);
        let keeps_right = matches!(join.kind, JoinKind::Right | JoinKind::Full);
        let mut matched = vec![false; if keeps_right { rights.len() } else { 0 }];
        let flow = self.source(&join.left, &mut |run, left| {
            let key = run.hash_key(join.keys.iter().map(|key| &key.0), &left)?;
            let candidates = key
                .and_then(|key| by_key.get(&key))
                .map(Vec::as_slice)
                .unwrap_or_default();
            let mut any = false;
            for &at in candidates {
                let row = concat(&left, &rights[at as usize]);
                if !run.all_hold(&join.residual, &row)? {
                    continue;
                }
                any = true;
                if let Some(matched) = matched.get_mut(at as usize) {
                    *matched = true;
                }
                if each(run, row)? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
            if !any && keeps_left {
                return each(run, padded(&left, join.right_width, true));
            }
            Ok(Flow::Continue)
        })?;
        if flow == Flow::Stop || !keeps_right {
            return Ok(flow);
        }
        for (right, _) in rights.iter().zip(matched).filter(|(_, matched)| !matched) {
            if each(self, padded(right, join.left_width, false))? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// The hash key of some values over a row; none if one is NULL. Without values every row has the same key.
    fn hash_key<'k>(
        &mut self,
        exprs: impl Iterator<Item = &'k BoundExpr>,
        row: &Row,
    ) -> SqlResult<Option<Vec<u8>>> {
        self.set_row(row.clone());
        let mut out = Vec::new();
        for expr in exprs {
            let value = self.value(expr)?;
            if value.is_null() {
                return Ok(None);
            }
            append_hash(&value, expr.info(), &mut out);
        }
        Ok(Some(out))
    }
}

pub(super) fn concat(left: &Row, right: &Row) -> Row {
    left.iter().chain(right.iter()).cloned().collect()
}

/// A row of an outer join's one side with NULLs for the other's.
pub(super) fn padded(row: &Row, width: usize, nulls_right: bool) -> Row {
    let nulls = std::iter::repeat_n(Value::Null, width);
    if nulls_right {
        row.iter().cloned().chain(nulls).collect()
    } else {
        nulls.chain(row.iter().cloned()).collect()
    }
}
