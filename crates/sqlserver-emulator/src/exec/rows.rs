//! Running sources: scans, seeks, joins, derived tables. Rows are pushed to whoever asked.

use std::collections::HashMap;
use std::sync::Arc;

use super::plan::{JoinPlan, Lookup, Probe, ScanPlan, Seek, SeekBound, Source};
use super::run::Run;
use crate::ast::JoinKind;
use crate::error::{SqlError, SqlResult};
use crate::eval::BoundExpr;
use crate::outcome::Flow;
use crate::store::{Access, Cursor, KeyRange, Refusal, Row, RowId, Table, key};
use crate::types::{SqlType, TypeInfo};
use crate::value::{Decimal, Value};

/// Rows taken out of the store at a time.
const PAGE: usize = 1024;
/// A side is driven by the other through its index when it has this many times its rows.
const LOOKUP_RATIO: usize = 8;

/// A table's rows by the hash key of some columns.
pub(crate) type HashedRows = HashMap<Vec<u8>, Vec<Row>>;

/// Receives rows.
pub(crate) type Each<'e> = &'e mut dyn FnMut(&mut Run<'_>, Row) -> SqlResult<Flow>;

impl Run<'_> {
    /// Pushes the rows of a source.
    pub(crate) fn source(&mut self, source: &Source, each: Each<'_>) -> SqlResult<Flow> {
        match source {
            Source::Nothing => each(self, Arc::from([])),
            Source::Scan(scan) => self.scan(scan, each),
            Source::Rows { rows, filter } => {
                for row in rows.iter() {
                    if self.all_hold(filter, row)? && each(self, row.clone())? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
                Ok(Flow::Continue)
            }
            Source::Derived { query, filter } => {
                let mut flow = Flow::Continue;
                self.query(query, &mut |run, row| {
                    if run.all_hold(filter, &row)? {
                        flow = each(run, row)?;
                    }
                    Ok(flow)
                })?;
                Ok(flow)
            }
            Source::Join(join) => self.join(join, each),
            Source::Apply {
                outer,
                left,
                right,
                right_width,
            } => self.source(left, &mut |run, left_row| {
                run.apply(&left_row, right, *outer, *right_width, each)
            }),
        }
    }

    fn apply(
        &mut self,
        left: &Row,
        right: &Source,
        outer: bool,
        width: usize,
        each: Each<'_>,
    ) -> SqlResult<Flow> {
        self.set_row(left.clone());
        let mut rights = Vec::new();
        self.source(right, &mut |_, row| {
            rights.push(row);
            Ok(Flow::Continue)
        })?;
        if rights.is_empty() && outer {
            return each(self, padded(left, width, true));
        }
        for right in rights {
            if each(self, concat(left, &right))? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    fn scan(&mut self, scan: &ScanPlan, each: Each<'_>) -> SqlResult<Flow> {
        let table = self.session.table_definition(scan.table)?;
        if let Some(probe) = &scan.probe {
            return self.probe(scan, probe, &table, each);
        }
        let access = match (&scan.seek, scan.order) {
            (Some(seek), order) => match self.seek_range(seek, &table)? {
                None => return Ok(Flow::Continue),
                Some(range) => {
                    let backwards = order.map_or_else(|| self.session.coin(), |(_, backwards)| backwards);
                    Access::Index {
                        index: seek.index,
                        range,
                        backwards,
                    }
                }
            },
            (None, Some((index, backwards))) => Access::Index {
                index,
                range: KeyRange::default(),
                backwards,
            },
            (None, None) => Access::Heap {
                start: self.scan_start(scan),
            },
        };
        self.visit(scan, &scan.filter, access, each)
    }

    /// Visits the rows that a hash finds equal to the outer row's values. The hash is made at the first visit.
    fn probe(&mut self, scan: &ScanPlan, probe: &Probe, table: &Table, each: Each<'_>) -> SqlResult<Flow> {
        let mut wanted = Vec::new();
        for (_, value) in &probe.keys {
            let found = self.value(value)?;
            if found.is_null() {
                return Ok(Flow::Continue);
            }
            append_hash(&found, value.info(), &mut wanted);
        }
        let hashed = match self.hashed.get(&probe.number) {
            Some(hashed) => Arc::clone(hashed),
            None => {
                let hashed = Arc::new(self.hash_table(scan, probe, table)?);
                self.hashed.insert(probe.number, Arc::clone(&hashed));
                hashed
            }
        };
        for row in hashed.get(&wanted).map(Vec::as_slice).unwrap_or_default() {
            if self.all_hold(&scan.filter, row)? && each(self, row.clone())? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    fn hash_table(&mut self, scan: &ScanPlan, probe: &Probe, table: &Table) -> SqlResult<HashedRows> {
        let mut hashed = HashedRows::new();
        self.visit(scan, &[], Access::Heap { start: 0 }, &mut |_, row| {
            let mut key = Vec::new();
            for (column, _) in &probe.keys {
                let value = &row[*column];
                if value.is_null() {
                    return Ok(Flow::Continue);
                }
                append_hash(value, table.columns[*column].info, &mut key);
            }
            hashed.entry(key).or_default().push(row);
            Ok(Flow::Continue)
        })?;
        Ok(hashed)
    }

    /// Where a scan without order begins: anywhere.
    fn scan_start(&mut self, scan: &ScanPlan) -> RowId {
        let rows = self
            .session
            .engine
            .store()
            .lock()
            .tables
            .get(&scan.table)
            .map_or(0, |data| data.size_hint());
        if rows == 0 {
            0
        } else {
            (self.session.dice() % rows as u64) as RowId
        }
    }

    fn visit(
        &mut self,
        scan: &ScanPlan,
        filter: &[BoundExpr],
        access: Access,
        each: Each<'_>,
    ) -> SqlResult<Flow> {
        let (read, range_lock) = self.read(scan.read);
        let tx = self.statement.tx;
        let patience = self.patience();
        let engine = Arc::clone(&self.session.engine);
        if let Some(mode) = range_lock {
            let range = match &access {
                Access::Index { index, range, .. } => Some((*index, range.clone())),
                _ => None,
            };
            let locked = engine.store().when_free(tx, &patience, |store| {
                store.lock_range(tx, scan.table, mode, range.clone())
            })?;
            refused(locked)?;
        }
        let mut cursor = Cursor::new(access);
        let mut page = Vec::new();
        // The first page is small: point lookups and TOP (1) want one row.
        let mut most = 4;
        loop {
            self.check_cancelled()?;
            page.clear();
            let found = engine.store().when_free(tx, &patience, |store| {
                let room = most - page.len();
                store.scan(tx, scan.table, read, &mut cursor, room, &mut page)
            })?;
            let more = refused(found)?;
            for (id, row) in page.drain(..) {
                if !self.all_hold(filter, &row)? {
                    continue;
                }
                let row = if scan.with_row_id {
                    with_row_id(&row, id)
                } else {
                    row
                };
                if each(self, row)? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
            if !more {
                return Ok(Flow::Continue);
            }
            most = PAGE;
        }
    }

    /// The keys that a seek visits; none if it can find nothing.
    fn seek_range(&mut self, seek: &Seek, table: &Table) -> SqlResult<Option<KeyRange>> {
        let index = &table.indexes[seek.index];
        let mut prefix = Vec::new();
        let mut exact = true;
        for (value, part) in seek.equal.iter().zip(&index.keys) {
            let value = self.value(value)?;
            if value.is_null() {
                return Ok(None);
            }
            let info = table.columns[part.column].info;
            match key_value(value, info.ty) {
                Some(value) => key::append(&value, info.collation, part.descending, &mut prefix),
                None => {
                    exact = false;
                    break;
                }
            }
        }
        let base = if prefix.is_empty() {
            KeyRange::default()
        } else {
            KeyRange::prefix(prefix.clone())
        };
        if !exact {
            return Ok(Some(base));
        }
        self.narrow(seek, table, prefix, base)
    }

    fn narrow(
        &mut self,
        seek: &Seek,
        table: &Table,
        prefix: Vec<u8>,
        base: KeyRange,
    ) -> SqlResult<Option<KeyRange>> {
        let keys = table.indexes[seek.index]
            .keys
            .get(seek.equal.len()..)
            .unwrap_or_default();
        let descending = keys.first().is_some_and(|part| part.descending);
        let mut range = base;
        for (bound, is_low) in [(&seek.low, true), (&seek.high, false)] {
            let Some(bound) = bound else { continue };
            let Some((at, complete)) = self.bound_key(bound, table, keys, &prefix)? else {
                return Ok(None);
            };
            // A bound cut short by a value that the column's type cannot hold exactly stays inclusive.
            let inclusive = bound.inclusive || !complete;
            if at.len() == prefix.len() {
                continue;
            }
            if is_low != descending {
                range.low = if inclusive {
                    Some(at)
                } else {
                    crate::store::successor(&at)
                };
            } else {
                range.high = if inclusive {
                    crate::store::successor(&at)
                } else {
                    Some(at)
                };
            }
        }
        Ok(Some(range))
    }

    /// The key of a bound, and whether all of its values are in it. None if one is NULL.
    fn bound_key(
        &mut self,
        bound: &SeekBound,
        table: &Table,
        keys: &[crate::store::IndexKey],
        prefix: &[u8],
    ) -> SqlResult<Option<(Vec<u8>, bool)>> {
        let mut at = prefix.to_vec();
        for (value, part) in bound.values.iter().zip(keys) {
            let value = self.value(value)?;
            if value.is_null() {
                return Ok(None);
            }
            let info = table.columns[part.column].info;
            match key_value(value, info.ty) {
                Some(value) => key::append(&value, info.collation, part.descending, &mut at),
                None => return Ok(Some((at, false))),
            }
        }
        Ok(Some((at, bound.values.len() <= keys.len())))
    }

    fn join(&mut self, join: &JoinPlan, each: Each<'_>) -> SqlResult<Flow> {
        if let (Some(lookup), Source::Scan(scan)) = (&join.lookup_right, &join.right)
            && matches!(join.kind, JoinKind::Inner | JoinKind::Left)
            && let Some(lefts) = self.few(&join.left, scan)?
        {
            return self.lookup_join(join, scan, lookup, lefts, false, each);
        }
        if let (Some(lookup), Source::Scan(scan)) = (&join.lookup_left, &join.left)
            && matches!(join.kind, JoinKind::Inner | JoinKind::Right)
            && let Some(rights) = self.few(&join.right, scan)?
        {
            return self.lookup_join(join, scan, lookup, rights, true, each);
        }
        self.hash_join(join, each)
    }

    /// The rows of `driver`, if they are few beside the table that `scan` reads.
    fn few(&mut self, driver: &Source, scan: &ScanPlan) -> SqlResult<Option<Vec<Row>>> {
        if scan.seek.is_some() {
            return Ok(None);
        }
        let store = self.session.engine.store();
        let size = store
            .lock()
            .tables
            .get(&scan.table)
            .map_or(0, |data| data.size_hint());
        let most = size / LOOKUP_RATIO;
        if most == 0 {
            return Ok(None);
        }
        let mut rows = Vec::new();
        self.source(driver, &mut |_, row| {
            rows.push(row);
            Ok(if rows.len() > most {
                Flow::Stop
            } else {
                Flow::Continue
            })
        })?;
        Ok((rows.len() <= most).then_some(rows))
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

/// Turns a refusal that waiting cannot mend into its error.
pub(crate) fn refused<T>(result: Result<T, Refusal>) -> SqlResult<T> {
    result.map_err(|refusal| match refusal {
        Refusal::Stale => SqlError::new(
            3960,
            16,
            2,
            "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access the table directly or indirectly to update, delete, or insert the row that has been modified or deleted by another transaction. Retry the transaction or change the isolation level for the update/delete statement.",
        ),
        Refusal::Blocked(_) | Refusal::Duplicate(_) => SqlError::new(1222, 16, 51, "Lock request time out period exceeded."),
    })
}

pub(crate) fn concat(left: &Row, right: &Row) -> Row {
    left.iter().chain(right.iter()).cloned().collect()
}

/// A row of an outer join's one side with NULLs for the other's.
fn padded(row: &Row, width: usize, nulls_right: bool) -> Row {
    let nulls = std::iter::repeat_n(Value::Null, width);
    if nulls_right {
        row.iter().cloned().chain(nulls).collect()
    } else {
        nulls.chain(row.iter().cloned()).collect()
    }
}

fn with_row_id(row: &Row, id: RowId) -> Row {
    row.iter()
        .cloned()
        .chain([Value::BigInt(i64::from(id))])
        .collect()
}

/// `value` as one of the column's type, if it is exactly one.
pub(crate) fn key_value(value: Value, column: SqlType) -> Option<Value> {
    let integer = |value: &Value| match value {
        Value::Decimal(d) if d.scale == 0 => i64::try_from(d.unscaled).ok(),
        Value::Bit(_) => None,
        other => other.as_integer(),
    };
    match column {
        SqlType::TinyInt => u8::try_from(integer(&value)?).ok().map(Value::TinyInt),
        SqlType::SmallInt => i16::try_from(integer(&value)?).ok().map(Value::SmallInt),
        SqlType::Int => i32::try_from(integer(&value)?).ok().map(Value::Int),
        SqlType::BigInt => integer(&value).map(Value::BigInt),
        SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale } => {
            let (unscaled, from) = match &value {
                Value::Decimal(d) => (d.unscaled, d.scale),
                other => (i128::from(integer(other)?), 0),
            };
            let unscaled = unscaled.checked_mul(10i128.checked_pow(u32::from(scale.checked_sub(from)?))?)?;
            Some(Value::Decimal(Decimal {
                unscaled,
                precision,
                scale,
            }))
        }
        SqlType::RowVersion => match value {
            Value::RowVersion(_) => Some(value),
            Value::Bytes(bytes) if bytes.len() <= 8 => {
                let mut eight = [0; 8];
                eight[..bytes.len()].copy_from_slice(&bytes);
                Some(Value::RowVersion(u64::from_be_bytes(eight)))
            }
            _ => None,
        },
        SqlType::Binary { .. } | SqlType::VarBinary { .. } => match value {
            Value::RowVersion(version) => Some(Value::bytes(&version.to_be_bytes())),
            Value::Bytes(_) => Some(value),
            _ => None,
        },
        _ => Some(value),
    }
}

/// Appends what makes two values of joinable types equal: exact numbers by value, text by sort key.
pub(crate) fn append_hash(value: &Value, info: TypeInfo, out: &mut Vec<u8>) {
    let exact = |mut unscaled: i128, mut scale: u8, out: &mut Vec<u8>| {
        while scale > 0 && unscaled % 10 == 0 {
            unscaled /= 10;
            scale -= 1;
        }
        out.extend(unscaled.to_be_bytes());
        out.push(scale);
    };
    match value {
        Value::Decimal(d) => exact(d.unscaled, d.scale, out),
        Value::TinyInt(_) | Value::SmallInt(_) | Value::Int(_) | Value::BigInt(_) => {
            exact(i128::from(value.as_integer().unwrap_or_default()), 0, out);
        }
        Value::RowVersion(version) => key::append(&Value::bytes(&version.to_be_bytes()), None, false, out),
        other => key::append(other, info.collation, false, out),
    }
}
