//! Running joins: by hash, or by seeking in one side's index for each row of the other.

use std::collections::HashMap;

use super::keys::{append_hash, key_value};
use super::plan::{JoinPlan, Lookup, ScanPlan, Source};
use super::rows::{Each, FIRST_PAGE, PAGE};
use super::run::Run;
use crate::ast::JoinKind;
use crate::error::SqlResult;
use crate::eval::BoundExpr;
use crate::outcome::Flow;
use crate::store::{Key, KeyRange, Packed, Row, RowId, Stored, Table, key};
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

/// Takes what a join with a driving side finds.
pub(super) trait Pairs {
    /// A row of the driving side, and one of the other whose keys fit, as it is kept. None: they are no pair after all.
    fn pair(&mut self, run: &mut Run<'_>, driver: &Row, other: (RowId, &Packed)) -> SqlResult<Option<Flow>>;

    /// A row of the driving side that has no partner, in an outer join.
    fn alone(&mut self, run: &mut Run<'_>, driver: &Row) -> SqlResult<Flow>;
}

/// Gives the joined rows to whoever wants them.
struct Joined<'j> {
    join: &'j JoinPlan,
    scan: &'j ScanPlan,
    lookup: &'j Lookup,
    driver_is_right: bool,
    each: Each<'j>,
}

impl Joined<'_> {
    fn row(&self, driver: &Row, (id, other): (RowId, &Packed)) -> Row {
        let mut row = Vec::with_capacity(self.join.left_width + self.join.right_width);
        if !self.driver_is_right {
            row.extend_from_slice(driver);
        }
        row.extend(other.values().map(Stored::into_value));
        row.extend(self.scan.with_row_id.then(|| Value::BigInt(i64::from(id))));
        if self.driver_is_right {
            row.extend_from_slice(driver);
        }
        row.into()
    }
}

impl Pairs for Joined<'_> {
    fn pair(&mut self, run: &mut Run<'_>, driver: &Row, other: (RowId, &Packed)) -> SqlResult<Option<Flow>> {
        if self.lookup.exact && self.scan.filter.is_empty() {
            let row = self.row(driver, other);
            return match run.all_hold(&self.join.residual, &row)? {
                true => (self.each)(run, row).map(Some),
                false => Ok(None),
            };
        }
        let Some(other) = run.passed(self.scan, &self.scan.filter, other)? else {
            return Ok(None);
        };
        let (left, right) = match self.driver_is_right {
            true => (&other, driver),
            false => (driver, &other),
        };
        if !self.lookup.exact && !run.keys_equal(self.join, left, right)? {
            return Ok(None);
        }
        let row = concat(left, right);
        if !run.all_hold(&self.join.residual, &row)? {
            return Ok(None);
        }
        (self.each)(run, row).map(Some)
    }

    fn alone(&mut self, run: &mut Run<'_>, driver: &Row) -> SqlResult<Flow> {
        let width = match self.driver_is_right {
            true => self.join.left_width,
            false => self.join.right_width,
        };
        (self.each)(run, padded(driver, width, !self.driver_is_right))
    }
}

impl Run<'_> {
    pub(super) fn join(&mut self, join: &JoinPlan, each: Each<'_>) -> SqlResult<Flow> {
        if let Some((scan, lookup)) = join.driven_right() {
            let mut joined = Joined {
                join,
                scan,
                lookup,
                driver_is_right: false,
                each: &mut *each,
            };
            if let Some(flow) = self.join_by_left(join, scan, lookup, &mut joined)? {
                return Ok(flow);
            }
        }
        if let (Some(lookup), Source::Scan(scan)) = (&join.lookup_left, &join.left)
            && matches!(join.kind, JoinKind::Inner | JoinKind::Right)
            && let Drivers::Few(rights) = self.drivers(&join.right, scan)?
        {
            let mut joined = Joined {
                join,
                scan,
                lookup,
                driver_is_right: true,
                each,
            };
            return self.lookup_join(join, scan, lookup, &rights, true, &mut joined);
        }
        self.hash_join(join, each)
    }

    /// A join whose left side drives it; none if that is too large to be kept.
    pub(super) fn join_by_left(
        &mut self,
        join: &JoinPlan,
        scan: &ScanPlan,
        lookup: &Lookup,
        pairs: &mut dyn Pairs,
    ) -> SqlResult<Option<Flow>> {
        match self.drivers(&join.left, scan)? {
            Drivers::Few(lefts) => self
                .lookup_join(join, scan, lookup, &lefts, false, pairs)
                .map(Some),
            Drivers::All(lefts) => self.hash_left(join, scan, lookup, &lefts, pairs).map(Some),
            Drivers::Many => Ok(None),
        }
    }

    /// The rows of `driver`, to be compared with the table that `scan` reads. What is costly to begin is read to its end, once.
    fn drivers(&mut self, driver: &Source, scan: &ScanPlan) -> SqlResult<Drivers> {
        if !scan.seeks.is_empty() || scan.probe.is_some() {
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
    fn hash_left(
        &mut self,
        join: &JoinPlan,
        scan: &ScanPlan,
        lookup: &Lookup,
        lefts: &[Row],
        pairs: &mut dyn Pairs,
    ) -> SqlResult<Flow> {
        let mut by_key: HashMap<Vec<u8>, Vec<u32>> = HashMap::with_capacity(lefts.len());
        for (at, left) in lefts.iter().enumerate() {
            if let Some(key) = self.hash_key(join.keys.iter().map(|key| &key.0), left)? {
                by_key.entry(key).or_default().push(at as u32);
            }
        }
        let table = self.session.table_definition(scan.table)?;
        let index = table.indexes[lookup.index].keys.iter();
        let keys: Vec<usize> = index.map(|part| part.column).collect();
        let mut matched = vec![false; lefts.len()];
        let mut key = Vec::new();
        let flow = self.scan_stored(scan, &table, &mut |run, id, right| {
            // The keys of an exact lookup are all that the join looks at.
            let looked_at = match lookup.exact {
                true => right.columns(&keys),
                false => right.row(),
            };
            key.clear();
            if !run.append_hash_key(join.keys.iter().map(|key| &key.1), &looked_at, &mut key)? {
                return Ok(Flow::Continue);
            }
            for &at in by_key.get(&key).into_iter().flatten() {
                let found = pairs.pair(run, &lefts[at as usize], (id, right))?;
                matched[at as usize] |= found.is_some();
                if found == Some(Flow::Stop) {
                    return Ok(Flow::Stop);
                }
            }
            Ok(Flow::Continue)
        })?;
        if flow == Flow::Stop || join.kind != JoinKind::Left {
            return Ok(flow);
        }
        for (left, _) in lefts.iter().zip(matched).filter(|(_, matched)| !matched) {
            if pairs.alone(self, left)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// Seeks the partners of the drivers' rows, of some at a time, in the order of the index: so neighbours of it are in the processor's
    /// cache. It begins anywhere, as a scan without order does.
    fn lookup_join(
        &mut self,
        join: &JoinPlan,
        scan: &ScanPlan,
        lookup: &Lookup,
        drivers: &[Row],
        driver_is_right: bool,
        pairs: &mut dyn Pairs,
    ) -> SqlResult<Flow> {
        let outer = join.kind != JoinKind::Inner;
        let table = self.session.table_definition(scan.table)?;
        let mut keyed: Vec<(Key, &Row)> = Vec::with_capacity(drivers.len());
        for driver in drivers {
            match self.lookup_key(join, lookup, &table, driver, driver_is_right)? {
                Some(key) => keyed.push((key, driver)),
                None if outer && pairs.alone(self, driver)? == Flow::Stop => return Ok(Flow::Stop),
                None => {}
            }
        }
        keyed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let keyed = self.session.shuffled(keyed);
        let (mut rest, mut most) = (keyed.as_slice(), FIRST_PAGE);
        while !rest.is_empty() {
            let (page, behind) = rest.split_at(rest.len().min(std::mem::replace(&mut most, PAGE)));
            rest = behind;
            let ranges = page.iter().map(|(key, _)| KeyRange::prefix(key.to_vec()));
            let found = self.seek_each(scan, lookup.index, ranges.collect())?;
            let mut found = found.into_iter().peekable();
            for (at, (_, driver)) in page.iter().enumerate() {
                let mut matched = false;
                while let Some((_, id, row)) = found.next_if(|(of, ..)| *of == at) {
                    let flow = pairs.pair(self, driver, (id, &row))?;
                    matched |= flow.is_some();
                    if flow == Some(Flow::Stop) {
                        return Ok(Flow::Stop);
                    }
                }
                if !matched && outer && pairs.alone(self, driver)? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
        }
        Ok(Flow::Continue)
    }

    /// What the index entries of a driver's partners begin with; none if it can have none.
    fn lookup_key(
        &mut self,
        join: &JoinPlan,
        lookup: &Lookup,
        table: &Table,
        driver: &Row,
        driver_is_right: bool,
    ) -> SqlResult<Option<Key>> {
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
        Ok(Some(prefix.as_slice().into()))
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
        let mut out = Vec::new();
        Ok(self.append_hash_key(exprs, row, &mut out)?.then_some(out))
    }

    /// Appends it; false if a value is NULL.
    fn append_hash_key<'k>(
        &mut self,
        exprs: impl Iterator<Item = &'k BoundExpr>,
        row: &Row,
        out: &mut Vec<u8>,
    ) -> SqlResult<bool> {
        self.set_row(row.clone());
        for expr in exprs {
            let value = self.value(expr)?;
            if value.is_null() {
                return Ok(false);
            }
            append_hash(&value, expr.info(), out);
        }
        Ok(true)
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
