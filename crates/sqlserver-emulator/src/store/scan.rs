//! Reading rows: by place or by index, in the newest committed state, in a snapshot, or dirty.

use std::collections::btree_set;
use std::ops::Bound;

use super::index_key::Key;
use super::packed::Packed;
use super::range_locks::RangeLock;
use super::table::{RowId, TableData, Version, blocked_by};
use super::{Refusal, TxId};
use crate::outcome::Flow;
use crate::shuffle::Shuffle;

/// How long-lived locks on rows conflict. Exclusive locks are the uncommitted versions themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    Shared,
    Update,
    Exclusive,
    /// Sch-M, on a whole table: its definition changes, so nobody looks at it, not even without other locks.
    Schema,
}

impl LockMode {
    /// Whether two transactions can hold these modes on one row.
    pub(super) fn stands_beside(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Shared, Self::Shared | Self::Update) | (Self::Update, Self::Shared)
        )
    }
}

/// What a reader sees and what it does at a row that another transaction has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// READ COMMITTED and above with locks: waits. `lock` is kept on the rows read.
    Committed { lock: Option<LockMode> },
    /// READPAST: leaves locked rows out.
    SkipLocked { lock: Option<LockMode> },
    /// NOLOCK.
    Dirty,
    /// As of a commit, plus own changes.
    Snapshot { at: u64 },
}

/// Keys `k` with `low <= k < high`; none at an end that is open.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct KeyRange {
    pub(crate) low: Option<Vec<u8>>,
    pub(crate) high: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key that starts with `prefix`.
    pub(crate) fn prefix(prefix: Vec<u8>) -> Self {
        Self {
            high: successor(&prefix),
            low: Some(prefix),
        }
    }

    /// The same keys in ranges that ascend and do not overlap.
    pub(crate) fn apart(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.retain(|range| !range.is_empty());
        // An open low end is less than every other one.
        ranges.sort_by(|a, b| a.low.cmp(&b.low));
        let mut apart: Vec<Self> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match apart.last_mut() {
                Some(last) if last.high.is_none() => break,
                Some(last) if range.low <= last.high => {
                    if range.high.is_none() || range.high > last.high {
                        last.high = range.high;
                    }
                }
                _ => apart.push(range),
            }
        }
        apart
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.low.as_deref().is_none_or(|low| low <= key) && self.high.as_deref().is_none_or(|high| key < high)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let before = |a: &Self, b: &Self| matches!((&a.high, &b.low), (Some(high), Some(low)) if high <= low);
        !before(self, other) && !before(other, self)
    }

    fn is_empty(&self) -> bool {
        matches!((&self.low, &self.high), (Some(low), Some(high)) if low >= high)
    }
}

/// The least byte string greater than every one that starts with `prefix`; none if there is no such.
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut out = prefix.to_vec();
    while let Some(last) = out.pop() {
        if last < u8::MAX {
            out.push(last + 1);
            return Some(out);
        }
    }
    None
}

/// The way to the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// All rows.
    Heap { order: Shuffle },
    /// A range of an index, in its order or backwards.
    Index {
        index: usize,
        range: KeyRange,
        backwards: bool,
    },
}

/// How far a scan has got.
#[derive(Debug)]
pub(crate) struct Cursor {
    access: Access,
    /// Heap: how many were visited.
    visited: usize,
    /// Index: the last entry visited.
    last: Option<(Key, RowId)>,
}

/// Whoever takes the rows that a scan finds, as they are kept. `Stop`: no more for now.
pub(crate) type Taker<'t> = &'t mut dyn FnMut(RowId, &Packed) -> Flow;

impl Cursor {
    pub(crate) fn new(access: Access) -> Self {
        Self {
            access,
            visited: 0,
            last: None,
        }
    }
}

enum Visible<'a> {
    Row(&'a Packed),
    Nothing,
    Locked(Vec<TxId>),
}

impl TableData {
    /// Gives up to `most` rows to `taker`, fewer if it stops; false at the end. Blocked: the cursor stands before the locked row.
    pub(super) fn scan(
        &mut self,
        tx: TxId,
        read: Read,
        cursor: &mut Cursor,
        most: usize,
        taker: Taker<'_>,
        locked: &mut Vec<RowId>,
    ) -> Result<bool, Refusal> {
        match read {
            Read::Committed { lock } | Read::SkipLocked { lock } => {
                self.table_conflicts(tx, lock.unwrap_or(LockMode::Shared))?;
            }
            Read::Dirty | Read::Snapshot { .. } => self.definition_conflicts(tx)?,
        }
        let mut left = most;
        while left > 0 {
            let places = self.places(cursor, left);
            let ends = places.len() < left;
            for (passed, (id, key)) in places.iter().enumerate() {
                let flow = match self.visible(tx, read, *id) {
                    Visible::Locked(by) => {
                        self.pass(cursor, passed);
                        return Err(Refusal::Blocked(by));
                    }
                    Visible::Row(row) if self.has_key(cursor, key.as_ref(), row) => taker(*id, row),
                    Visible::Row(_) | Visible::Nothing => continue,
                };
                self.keep_lock(tx, read, *id, locked);
                left -= 1;
                if flow == Flow::Stop {
                    self.pass(cursor, passed + 1);
                    return Ok(true);
                }
            }
            if ends {
                return Ok(false);
            }
            self.pass(cursor, places.len());
        }
        Ok(true)
    }

    /// Up to `most` places after the cursor; with the entry's key where the row has several versions, of which not all have it.
    fn places(&self, cursor: &Cursor, most: usize) -> Vec<(RowId, Option<Key>)> {
        match &cursor.access {
            Access::Heap { order } => {
                let places = order.places(self.slots.len());
                let ends = places.min(cursor.visited.saturating_add(most));
                (cursor.visited..ends)
                    .map(|visited| (order.place(visited) as RowId, None))
                    .collect()
            }
            Access::Index { backwards, .. } => {
                let entry = |(key, id): &(Key, RowId)| {
                    let slot = self.slots.get(*id as usize).and_then(Option::as_ref);
                    let several = slot.is_none_or(|version| version.older.is_some());
                    (*id, several.then(|| key.clone()))
                };
                match self.entries(cursor) {
                    None => Vec::new(),
                    Some(entries) if *backwards => entries.rev().take(most).map(entry).collect(),
                    Some(entries) => entries.take(most).map(entry).collect(),
                }
            }
        }
    }

    /// The index entries that a cursor has before it.
    fn entries(&self, cursor: &Cursor) -> Option<btree_set::Range<'_, (Key, RowId)>> {
        let Access::Index {
            index,
            range,
            backwards,
        } = &cursor.access
        else {
            return None;
        };
        if range.is_empty() {
            return None;
        }
        let low = range.low.as_ref().map_or(Bound::Unbounded, |low| {
            Bound::Included((low.as_slice().into(), 0))
        });
        let high = range.high.as_ref().map_or(Bound::Unbounded, |high| {
            Bound::Excluded((high.as_slice().into(), 0))
        });
        let entries = self.indexes.get(*index)?;
        let last = cursor.last.clone().map(Bound::Excluded);
        Some(if *backwards {
            entries.range((low, last.unwrap_or(high)))
        } else {
            entries.range((last.unwrap_or(low), high))
        })
    }

    /// Moves the cursor past `count` places.
    fn pass(&self, cursor: &mut Cursor, count: usize) {
        cursor.visited += count;
        let Some(last) = count.checked_sub(1) else { return };
        let entry = self.entries(cursor).and_then(|mut entries| match &cursor.access {
            Access::Index { backwards: true, .. } => entries.nth_back(last),
            _ => entries.nth(last),
        });
        if let Some(entry) = entry.cloned() {
            cursor.last = Some(entry);
        }
    }

    /// An index entry counts only for versions that have its key.
    fn has_key(&self, cursor: &Cursor, key: Option<&Key>, row: &Packed) -> bool {
        match (&cursor.access, key) {
            (Access::Index { index, .. }, Some(key)) => self.has_stored_key(row, *index, key),
            _ => true,
        }
    }

    fn visible(&self, tx: TxId, read: Read, id: RowId) -> Visible<'_> {
        let Some(newest) = self.slots.get(id as usize).and_then(Option::as_ref) else {
            return Visible::Nothing;
        };
        let shown = |version: &'_ Version| version.row.is_some();
        let foreign = newest.writer != 0 && newest.writer != tx;
        match read {
            Read::Committed { lock } | Read::SkipLocked { lock } => {
                let mut by = if foreign { vec![newest.writer] } else { Vec::new() };
                // Who keeps no lock takes a shared one for a moment.
                let mode = lock.unwrap_or(LockMode::Shared);
                if let Err(Refusal::Blocked(holders)) = self.lock_conflicts(tx, id, mode) {
                    by.extend(holders);
                }
                match newest.row.as_ref() {
                    _ if !by.is_empty() && matches!(read, Read::SkipLocked { .. }) => Visible::Nothing,
                    _ if !by.is_empty() => Visible::Locked(by),
                    Some(row) => Visible::Row(row),
                    None => Visible::Nothing,
                }
            }
            Read::Dirty => newest
                .row
                .as_ref()
                .filter(|_| shown(newest))
                .map_or(Visible::Nothing, Visible::Row),
            Read::Snapshot { at } => {
                let mut version = Some(newest);
                while let Some(v) = version {
                    if v.writer == tx || (v.writer == 0 && v.committed <= at) {
                        return v.row.as_ref().map_or(Visible::Nothing, Visible::Row);
                    }
                    version = v.older.as_deref();
                }
                Visible::Nothing
            }
        }
    }

    fn keep_lock(&mut self, tx: TxId, read: Read, id: RowId, locked: &mut Vec<RowId>) {
        let (Read::Committed { lock: Some(mode) } | Read::SkipLocked { lock: Some(mode) }) = read else {
            return;
        };
        let holders = self.row_locks.entry(id).or_default();
        match holders.iter_mut().find(|(owner, _)| *owner == tx) {
            Some((_, held)) if *held == LockMode::Shared => *held = mode,
            Some(_) => {}
            None => {
                holders.push((tx, mode));
                locked.push(id);
            }
        }
    }

    /// Others' locks on the whole table that `mode` cannot stand beside.
    fn table_conflicts(&self, tx: TxId, mode: LockMode) -> Result<(), Refusal> {
        self.range_locks
            .refuse(tx, |lock| lock.range.is_none() && !mode.stands_beside(lock.mode))
    }

    /// Another's change of the definition, which readers without locks wait for too.
    fn definition_conflicts(&self, tx: TxId) -> Result<(), Refusal> {
        self.range_locks.refuse(tx, |lock| lock.mode == LockMode::Schema)
    }

    /// Locks a range of keys, or the whole table, against others' inserts.
    pub(super) fn lock_range(
        &mut self,
        tx: TxId,
        mode: LockMode,
        range: Option<(usize, KeyRange)>,
    ) -> Result<(), Refusal> {
        let overlap = |a: &Option<(usize, KeyRange)>, b: &Option<(usize, KeyRange)>| match (a, b) {
            (Some((i, a)), Some((j, b))) => i == j && a.overlaps(b),
            _ => true,
        };
        self.range_locks.refuse(tx, |lock| {
            !mode.stands_beside(lock.mode) && overlap(&lock.range, &range)
        })?;
        // Whoever has changed or locked a row has announced it on the table.
        if mode == LockMode::Exclusive && range.is_none() {
            blocked_by(self.others_with_rows(tx).into_iter())?;
        }
        self.range_locks.add(tx, RangeLock { mode, range });
        Ok(())
    }

    /// Converts a transaction's lock on a row, if it has one.
    pub(super) fn lock_exclusively(&mut self, tx: TxId, id: RowId) {
        let holders = self.row_locks.get_mut(&id);
        let own = holders.and_then(|holders| holders.iter_mut().find(|(owner, _)| *owner == tx));
        if let Some((_, held)) = own {
            *held = LockMode::Exclusive;
        }
    }

    /// Locks belong to the table, and not to a state of it that is put back.
    pub(crate) fn take_locks_of(&mut self, current: &mut Self) {
        self.row_locks = std::mem::take(&mut current.row_locks);
        self.range_locks = std::mem::take(&mut current.range_locks);
    }

    pub(super) fn unlock_row(&mut self, tx: TxId, id: RowId) {
        if let Some(holders) = self.row_locks.get_mut(&id) {
            holders.retain(|(owner, _)| *owner != tx);
            if holders.is_empty() {
                self.row_locks.remove(&id);
            }
        }
    }
}
