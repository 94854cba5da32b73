//! Running sources: scans, seeks, derived tables, APPLY. Rows are pushed to whoever asked.

use std::collections::HashMap;
use std::sync::Arc;

use super::joins::{concat, padded};
use super::keys::{append_hash, key_value};
use super::plan::{Page, Probe, ScanPlan, Seek, SeekBound, Source};
use super::run::Run;
use super::statement;
use crate::engine::Engine;
use crate::error::{SqlError, SqlResult};
use crate::eval::BoundExpr;
use crate::outcome::Flow;
use crate::shuffle::Shuffle;
use crate::store::{
    Access, Cursor, KeyRange, LockMode, Packed, Patience, Read, Refusal, Row, RowId, Table, TableId, Taker,
    TxId, key,
};
use crate::value::Value;

/// Rows taken out of the store at a time: as many as a processor's first cache holds.
pub(super) const PAGE: usize = 256;
/// The first page is small: point lookups and TOP (1) want one row.
pub(super) const FIRST_PAGE: usize = 4;
/// Large rows that go straight to the client end a page early.
const PAGE_BYTES: usize = 64 << 10;

/// A table's rows by the hash key of some columns.
pub(crate) type HashedRows = HashMap<Vec<u8>, Vec<Row>>;

/// Receives rows.
pub(crate) type Each<'e> = &'e mut dyn FnMut(&mut Run<'_>, Row) -> SqlResult<Flow>;

/// Receives rows as they are stored.
pub(crate) type EachStored<'e> = &'e mut dyn FnMut(&mut Run<'_>, RowId, &Packed) -> SqlResult<Flow>;

/// A scan that takes the store for a page at a time, so that others get their turn.
struct Pages {
    tx: TxId,
    patience: Patience,
    table: TableId,
    read: Read,
    cursor: Cursor,
    most: usize,
}

impl Pages {
    /// Gives the next rows to `taker`; false at the end.
    fn next(&mut self, engine: &Engine, taker: Taker<'_>) -> SqlResult<bool> {
        let mut left = std::mem::replace(&mut self.most, PAGE);
        let found = engine.store().when_free(self.tx, &self.patience, |store| {
            let most = left;
            store.scan(
                self.tx,
                self.table,
                self.read,
                &mut self.cursor,
                most,
                &mut |id, row| {
                    left -= 1;
                    taker(id, row)
                },
            )
        })?;
        refused(found)
    }
}

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
            Source::Function { function, filter } => self.function_rows(function, &mut |run, row| {
                if run.all_hold(filter, &row)? {
                    each(run, row)
                } else {
                    Ok(Flow::Continue)
                }
            }),
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
        let ways = self.access(scan, &table)?;
        self.visit(scan, &scan.filter, ways, each)
    }

    /// Gives some columns of a page of a scan's rows to the client as they are kept, and tells their number.
    pub(crate) fn send_stored(&mut self, scan: &ScanPlan, columns: &[usize], page: &Page) -> SqlResult<u64> {
        let table = self.session.table_definition(scan.table)?;
        self.rows.push(Arc::from([]));
        let found = self.bounds(page);
        let found = found.and_then(|bounds| Ok((bounds, self.access(scan, &table)?)));
        self.rows.pop();
        let ((mut skipped, limit), ways) = found?;
        let mut left = limit;
        for access in ways {
            if left == 0 {
                break;
            }
            if scan.filter.is_empty() {
                self.send_range(scan, columns, access, (&mut skipped, &mut left))?;
            } else {
                self.send_filtered(scan, columns, access, (&mut skipped, &mut left))?;
            }
        }
        Ok(limit - left)
    }

    /// Sends those rows of a range that the filter lets pass, as [`Run::send_range`] does.
    fn send_filtered(
        &mut self,
        scan: &ScanPlan,
        columns: &[usize],
        access: Access,
        (skipped, left): (&mut u64, &mut u64),
    ) -> SqlResult<()> {
        let looked_at = scan.filtered.as_deref().unwrap_or_default();
        self.rows.push(Arc::from([]));
        let visited = self.visit_range(scan, access, &mut |run, _, row| {
            if !run.all_hold(&scan.filter, &row.columns(looked_at))? {
                return Ok(Flow::Continue);
            }
            if *skipped > 0 {
                *skipped -= 1;
                return Ok(Flow::Continue);
            }
            *left -= 1;
            statement::wanted(run.out.stored_row(row, columns, &[]))?;
            statement::wanted(run.out.hand_over())?;
            Ok(if *left > 0 { Flow::Continue } else { Flow::Stop })
        });
        self.rows.pop();
        visited.map(|_| ())
    }

    /// Sends rows of a range, after so many that are skipped, as long as any are left to send.
    fn send_range(
        &mut self,
        scan: &ScanPlan,
        columns: &[usize],
        access: Access,
        (skipped, left): (&mut u64, &mut u64),
    ) -> SqlResult<()> {
        let mut pages = self.pages(scan, access)?;
        let mut more = true;
        while more && *left > 0 {
            let (mut bytes, mut flow) = (0, Flow::Continue);
            let out = &mut *self.out;
            // What is written here waits in memory, so that nobody waits for the client while the store is locked.
            let page = pages.next(&self.session.engine, &mut |_, row| {
                if *skipped > 0 {
                    *skipped -= 1;
                    return Flow::Continue;
                }
                *left -= 1;
                bytes += row.size();
                flow = out.stored_row(row, columns, &[]);
                match flow {
                    Flow::Continue if bytes < PAGE_BYTES && *left > 0 => Flow::Continue,
                    _ => Flow::Stop,
                }
            });
            more = page.map_err(|error| self.name_stale(error, scan.table))?;
            statement::wanted(flow)?;
            statement::wanted(self.out.hand_over())?;
            self.check_cancelled()?;
        }
        Ok(())
    }

    /// The ways to a scan's rows, one after the other; none if NULLs keep it from finding any.
    fn access(&mut self, scan: &ScanPlan, table: &Table) -> SqlResult<Vec<Access>> {
        let Some(first) = scan.seeks.first() else {
            return Ok(vec![match scan.order {
                Some((index, backwards)) => Access::Index {
                    index,
                    range: KeyRange::default(),
                    backwards,
                },
                None => Access::Heap {
                    order: self.scan_order(scan),
                },
            }]);
        };
        let mut ranges = Vec::with_capacity(scan.seeks.len());
        for seek in &scan.seeks {
            ranges.extend(self.seek_range(seek, table)?);
        }
        let mut ranges = KeyRange::apart(ranges);
        match scan.order {
            Some((_, true)) => ranges.reverse(),
            Some(_) => {}
            None => ranges = self.session.shuffled(ranges),
        }
        let way = |range| Access::Index {
            index: first.index,
            range,
            backwards: scan
                .order
                .map_or_else(|| self.session.coin(), |(_, backwards)| backwards),
        };
        Ok(ranges.into_iter().map(way).collect())
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
        let any_order = Access::Heap {
            order: Shuffle::default(),
        };
        self.visit(scan, &[], vec![any_order], &mut |_, row| {
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

    /// How a scan without order goes: anyhow.
    fn scan_order(&mut self, scan: &ScanPlan) -> Shuffle {
        let store = self.session.engine.store().lock();
        let places = store.tables.get(&scan.table).map_or(0, |data| data.slot_count());
        drop(store);
        Shuffle::new(places, self.session.dice())
    }

    pub(super) fn visit(
        &mut self,
        scan: &ScanPlan,
        filter: &[BoundExpr],
        ways: Vec<Access>,
        each: Each<'_>,
    ) -> SqlResult<Flow> {
        self.visit_stored(
            scan,
            ways,
            &mut |run, id, row| match run.passed(scan, filter, (id, row))? {
                Some(row) => each(run, row),
                None => Ok(Flow::Continue),
            },
        )
    }

    /// What is wanted of a row that a scan has found; none if its filter does not let the row pass.
    pub(super) fn passed(
        &mut self,
        scan: &ScanPlan,
        filter: &[BoundExpr],
        (id, row): (RowId, &Packed),
    ) -> SqlResult<Option<Row>> {
        let row = match (&scan.filtered, &scan.wanted) {
            (Some(filtered), wanted) => {
                if !filter.is_empty() && !self.all_hold(filter, &row.columns(filtered))? {
                    return Ok(None);
                }
                wanted
                    .as_ref()
                    .map_or_else(|| row.row(), |wanted| row.columns(wanted))
            }
            (None, _) => {
                let row = row.row();
                if !self.all_hold(filter, &row)? {
                    return Ok(None);
                }
                row
            }
        };
        Ok(Some(match scan.with_row_id {
            true => with_row_id(&row, id),
            false => row,
        }))
    }

    /// Visits all rows that a scan finds without its filter.
    pub(super) fn scan_stored(
        &mut self,
        scan: &ScanPlan,
        table: &Table,
        each: EachStored<'_>,
    ) -> SqlResult<Flow> {
        let ways = self.access(scan, table)?;
        self.visit_stored(scan, ways, each)
    }

    /// The rows in each of some ranges of an index, with the range's place. The store is taken for a page of them at a time.
    pub(super) fn seek_each(
        &mut self,
        scan: &ScanPlan,
        index: usize,
        ranges: Vec<KeyRange>,
    ) -> SqlResult<Vec<(usize, RowId, Packed)>> {
        let (read, range_lock) = self.read(scan)?;
        let (tx, patience) = (self.statement.tx, self.patience());
        if let Some(mode) = range_lock {
            for range in &ranges {
                self.lock_range(scan.table, mode, Some((index, range.clone())))?;
            }
        }
        let mut found = Vec::with_capacity(ranges.len());
        let access = |range| Access::Index {
            index,
            range,
            backwards: false,
        };
        let cursors = ranges.into_iter().enumerate();
        let mut cursors = cursors.map(|(at, range)| (at, Cursor::new(access(range))));
        let mut current = cursors.next();
        while current.is_some() {
            self.check_cancelled()?;
            let end = found.len() + PAGE;
            let page = self.session.engine.store().when_free(tx, &patience, |store| {
                while let Some((at, cursor)) = current.as_mut().filter(|_| found.len() < end) {
                    let most = end - found.len();
                    let more = store.scan(tx, scan.table, read, cursor, most, &mut |id, row| {
                        found.push((*at, id, row.clone()));
                        Flow::Continue
                    })?;
                    if !more {
                        current = cursors.next();
                    }
                }
                Ok(())
            })?;
            refused(page).map_err(|error| self.name_stale(error, scan.table))?;
        }
        Ok(found)
    }

    fn lock_range(
        &mut self,
        table: TableId,
        mode: LockMode,
        range: Option<(usize, KeyRange)>,
    ) -> SqlResult<()> {
        let (tx, patience) = (self.statement.tx, self.patience());
        // TABLOCKX is for the table, whatever is read of it.
        let range = range.filter(|_| mode != LockMode::Exclusive);
        let locked = self.session.engine.store().when_free(tx, &patience, |store| {
            store.lock_range(tx, table, mode, range.clone())
        })?;
        refused(locked)
    }

    pub(super) fn visit_stored(
        &mut self,
        scan: &ScanPlan,
        ways: Vec<Access>,
        each: EachStored<'_>,
    ) -> SqlResult<Flow> {
        for access in ways {
            if self.visit_range(scan, access, each)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    fn visit_range(&mut self, scan: &ScanPlan, access: Access, each: EachStored<'_>) -> SqlResult<Flow> {
        let mut pages = self.pages(scan, access)?;
        let mut page: Vec<(RowId, Packed)> = Vec::new();
        loop {
            self.check_cancelled()?;
            page.clear();
            let found = pages.next(&self.session.engine, &mut |id, row| {
                page.push((id, row.clone()));
                Flow::Continue
            });
            let more = found.map_err(|error| self.name_stale(error, scan.table))?;
            for (id, row) in page.drain(..) {
                if each(self, id, &row)? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
            if !more {
                return Ok(Flow::Continue);
            }
        }
    }

    /// Locks what a scan wants locked as a whole, and begins it.
    fn pages(&mut self, scan: &ScanPlan, access: Access) -> SqlResult<Pages> {
        let (read, range_lock) = self.read(scan)?;
        let tx = self.statement.tx;
        let patience = self.patience();
        if let Some(mode) = range_lock {
            let range = match &access {
                Access::Index { index, range, .. } => Some((*index, range.clone())),
                _ => None,
            };
            self.lock_range(scan.table, mode, range)?;
        }
        Ok(Pages {
            tx,
            patience,
            table: scan.table,
            read,
            cursor: Cursor::new(access),
            most: FIRST_PAGE,
        })
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
        let mut range = base;
        let Some(first) = keys.first() else {
            return Ok(Some(range));
        };
        let descending = first.descending;
        if seek.is_null || seek.low.is_some() || seek.high.is_some() {
            // No comparison holds for a NULL, which comes before all values.
            let mut null = prefix.clone();
            let collation = table.columns[first.column].info.collation;
            key::append(&Value::Null, collation, descending, &mut null);
            if seek.is_null {
                return Ok(Some(KeyRange::prefix(null)));
            }
            if descending {
                range.high = Some(null);
            } else {
                range.low = crate::store::successor(&null);
            }
        }
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
}

impl Run<'_> {
    /// Names the table in error 3960.
    pub(crate) fn name_stale(&self, error: SqlError, table: TableId) -> SqlError {
        if error.number != 3960 {
            return error;
        }
        let store = self.session.engine.store().lock();
        let named = store.tables.get(&table).map(|data| &data.definition);
        let Some((name, database)) = named.map(|table| (table.qualified(), table.database)) else {
            return error;
        };
        drop(store);
        SqlError {
            message: format!(
                "Snapshot isolation transaction aborted due to update conflict. You cannot use snapshot isolation to access table '{name}' directly or indirectly in database '{}' to update, delete, or insert the row that has been modified or deleted by another transaction. Retry the transaction or change the isolation level for the update/delete statement.",
                self.session.database_name(database),
            ),
            ..error
        }
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

fn with_row_id(row: &Row, id: RowId) -> Row {
    row.iter()
        .cloned()
        .chain([Value::BigInt(i64::from(id))])
        .collect()
}
