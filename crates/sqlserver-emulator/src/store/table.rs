//! A table's rows in versions, and its indexes.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::filter::IndexFilter;
use super::index_key::Key;
use super::key;
use super::packed::{Form, Packed};
use super::range_locks::RangeLocks;
use super::scan::LockMode;
use super::schema::{Index, Table};
use super::tracking::ChangeTracking;
use super::{Refusal, TxId};
use crate::tds::layout;
use crate::value::Value;

/// One row's values, shared by everyone who works with them.
pub(crate) type Row = Arc<[Value]>;

/// A row's place in its table; kept over updates, used again after a delete.
pub(crate) type RowId = u32;

/// A transaction that writes, and the snapshot that it must not write beside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    pub(super) tx: TxId,
    pub(super) snapshot: Option<u64>,
}

/// When a unique key is checked: at the write, or by `check_unique` once the statement's other rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Now,
    Later,
}

/// What a row becomes.
#[derive(Clone, Debug)]
pub(crate) enum NewRow {
    Whole(Row),
    /// What it was, with other values in these columns.
    Set(Vec<(usize, Value)>),
}

impl NewRow {
    /// The whole row, if that is what is known of it.
    pub(crate) fn whole(&self) -> Option<&Row> {
        match self {
            Self::Whole(row) => Some(row),
            Self::Set(_) => None,
        }
    }
}

/// What a row that is written adds to the indexes.
struct Added {
    /// By index; none where it has the entry, or none.
    keys: Vec<Option<Key>>,
    /// Whether one of them is of a unique index.
    unique: bool,
}

/// One version of a row.
#[derive(Clone, Debug)]
pub(super) struct Version {
    /// None: deleted.
    pub(super) row: Option<Packed>,
    /// The open transaction that wrote it, 0 once committed.
    pub(super) writer: TxId,
    /// When it was committed, on the store's commit counter.
    pub(super) committed: u64,
    pub(super) older: Option<Box<Version>>,
}

/// A table with its content.
#[derive(Clone, Debug)]
pub(crate) struct TableData {
    pub(crate) definition: Arc<Table>,
    /// By column: in which form its values are kept.
    forms: Vec<Option<Form>>,
    pub(super) slots: Vec<Option<Version>>,
    free: Vec<RowId>,
    pub(super) indexes: Vec<BTreeSet<(Key, RowId)>>,
    /// By index: which rows are in it; none means all.
    filters: Vec<Option<IndexFilter>>,
    pub(super) row_locks: FxHashMap<RowId, Vec<(TxId, LockMode)>>,
    pub(super) range_locks: RangeLocks,
    /// The last identity value given; none before the first.
    pub(crate) identity: Option<i64>,
    pub(crate) tracking: Option<ChangeTracking>,
    /// CDC captures it.
    pub(crate) captured: bool,
    /// The commit that last changed its definition.
    pub(crate) redefined: u64,
}

impl TableData {
    pub(crate) fn new(definition: Arc<Table>) -> Self {
        let indexes = definition.indexes.iter().map(|_| BTreeSet::new()).collect();
        Self {
            filters: filters(&definition),
            forms: forms(&definition),
            definition,
            slots: Vec::new(),
            free: Vec::new(),
            indexes,
            row_locks: FxHashMap::default(),
            range_locks: RangeLocks::default(),
            identity: None,
            tracking: None,
            captured: false,
            redefined: 0,
        }
    }

    /// The key of `row` in an index.
    pub(crate) fn key_of(&self, index: &Index, row: &[Value]) -> Key {
        let mut out = Vec::with_capacity(index.keys.len() * 9);
        for part in &index.keys {
            let collation = self.definition.columns[part.column].info.collation;
            key::append(&row[part.column], collation, part.descending, &mut out);
        }
        out.as_slice().into()
    }

    /// The key in an index of a row as it is kept; `out` is room to make it in.
    pub(super) fn stored_key(&self, index: &Index, row: &Packed, out: &mut Vec<u8>) -> Key {
        out.clear();
        for part in &index.keys {
            let collation = self.definition.columns[part.column].info.collation;
            key::append_stored(row.stored(part.column), collation, part.descending, out);
        }
        out.as_slice().into()
    }

    /// Throws all rows away, as TRUNCATE does; what is tracked of them begins anew at `version`.
    pub(crate) fn empty(&mut self, version: i64) {
        let mut tracking = self.tracking.take();
        if let Some(tracking) = &mut tracking {
            tracking.restart(version);
        }
        let mut emptied = Self {
            tracking,
            ..Self::new(Arc::clone(&self.definition))
        };
        emptied.take_locks_of(self);
        *self = emptied;
    }

    /// The table with what is committed of it, and no locks.
    pub(super) fn committed(&self) -> Self {
        let mut data = self.clone();
        data.row_locks.clear();
        data.range_locks = RangeLocks::default();
        for id in 0..data.slots.len() as RowId {
            while let Some((_, writer)) = data.newest(id).filter(|(_, writer)| *writer != 0) {
                data.undo(writer, id);
            }
            data.prune(id, None);
        }
        data
    }

    /// Whether the changes of its rows are remembered until they are committed.
    pub(crate) fn is_followed(&self) -> bool {
        self.tracking.is_some() || self.captured
    }

    /// An upper estimate of the number of rows, uncommitted ones included, without counting: `sys.partitions.rows`.
    pub(crate) fn size_hint(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many places for rows there are, in use or not.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Rows in their newest state, uncommitted ones included.
    pub(crate) fn newest_rows(&self) -> impl Iterator<Item = (RowId, Row)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(id, slot)| Some((id as RowId, slot.as_ref()?.row.as_ref()?.row())))
    }

    /// The newest state of a row, and who has it uncommitted (0: nobody).
    pub(crate) fn newest(&self, id: RowId) -> Option<(Option<Row>, TxId)> {
        let version = self.slots.get(id as usize)?.as_ref()?;
        Some((version.row.as_ref().map(Packed::row), version.writer))
    }

    /// Other transactions that have written or locked rows here.
    pub(crate) fn others_with_rows(&self, tx: TxId) -> Vec<TxId> {
        let writers = self.slots.iter().flatten().map(|version| version.writer);
        let holders = self.row_locks.values().flatten().map(|(owner, _)| *owner);
        let open = writers.chain(holders);
        let mut others: Vec<_> = open.filter(|other| *other != 0 && *other != tx).collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    /// Adds a row.
    pub(super) fn insert(&mut self, writer: Writer, row: &Row) -> Result<RowId, Refusal> {
        let added = self.admit(writer, self.keys(row), None, Check::Now)?;
        Ok(self.add(writer, added.keys, Packed::of(row, &self.forms)))
    }

    /// A row in its newest state, as it is kept; none if it is deleted.
    pub(super) fn kept(&self, id: RowId) -> Option<&Packed> {
        self.slots.get(id as usize)?.as_ref()?.row.as_ref()
    }

    /// Adds a row that is made to be kept.
    pub(super) fn insert_packed(&mut self, writer: Writer, row: Packed) -> Result<RowId, Refusal> {
        let added = self.admit(writer, self.stored_keys(&row), None, Check::Now)?;
        Ok(self.add(writer, added.keys, row))
    }

    fn add(&mut self, writer: Writer, keys: Vec<Option<Key>>, row: Packed) -> RowId {
        let version = Version {
            row: Some(row),
            writer: writer.tx,
            committed: 0,
            older: None,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = Some(version);
                id
            }
            None => {
                self.slots.push(Some(version));
                (self.slots.len() - 1) as RowId
            }
        };
        self.enter(id, keys);
        id
    }

    fn enter(&mut self, id: RowId, keys: Vec<Option<Key>>) {
        for (index, key) in self.indexes.iter_mut().zip(keys) {
            index.extend(key.map(|key| (key, id)));
        }
    }

    /// In which form the values of each column are kept.
    pub(crate) fn forms(&self) -> &[Option<Form>] {
        &self.forms
    }

    /// Replaces or (with `None`) deletes a row; its previous version stays beneath. Says whether a unique key is new.
    pub(super) fn replace(
        &mut self,
        by: Writer,
        id: RowId,
        row: Option<&NewRow>,
        check: Check,
    ) -> Result<bool, Refusal> {
        self.may_replace(by, id)?;
        let (row, keys) = match row {
            Some(NewRow::Whole(row)) => (Some(Packed::of(row, &self.forms)), self.keys(row)),
            Some(NewRow::Set(values)) => {
                let row = self.kept(id).ok_or(Refusal::Stale)?.with(values, &self.forms);
                let keys = self.keys_over(&row, values);
                (Some(row), keys)
            }
            // Only a lock on the whole table is in the way: what a range holds is locked row by row.
            None => (None, Vec::new()),
        };
        let added = self.admit(by, keys, Some(id), check)?;
        self.enter(id, added.keys);
        let slot = &mut self.slots[id as usize];
        let older = slot.take().map(Box::new);
        *slot = Some(Version {
            row,
            writer: by.tx,
            committed: 0,
            older,
        });
        Ok(added.unique)
    }

    /// Whether nobody else has the row, or has changed it since the writer's snapshot.
    fn may_replace(&self, Writer { tx, snapshot }: Writer, id: RowId) -> Result<(), Refusal> {
        let Some(version) = self.slots.get(id as usize).and_then(Option::as_ref) else {
            return Err(Refusal::Stale);
        };
        if version.writer != 0 && version.writer != tx {
            return Err(Refusal::Blocked(vec![version.writer]));
        }
        if version.writer == 0 && snapshot.is_some_and(|at| version.committed > at) {
            return Err(Refusal::Stale);
        }
        self.lock_conflicts(tx, id, LockMode::Exclusive)
    }

    /// Takes back the newest version of a row, which `tx` wrote.
    pub(super) fn undo(&mut self, tx: TxId, id: RowId) {
        let Some(version) = self
            .slots
            .get_mut(id as usize)
            .and_then(|slot| slot.take_if(|v| v.writer == tx))
        else {
            return;
        };
        self.slots[id as usize] = version.older.map(|older| *older);
        self.forget_keys(id, version.row.into_iter());
        if self.slots[id as usize].is_none() {
            self.free.push(id);
        }
    }

    /// Makes the newest version of a row permanent. True if older versions were kept, because a snapshot may need them.
    pub(super) fn commit(&mut self, tx: TxId, id: RowId, at: u64, keep: bool) -> bool {
        let Some(version) = self.slots.get_mut(id as usize).and_then(Option::as_mut) else {
            return false;
        };
        if version.writer != tx {
            return false;
        }
        version.writer = 0;
        version.committed = at;
        let mut dropped = Vec::new();
        while let Some(mut older) = version.older.take_if(|older| older.writer == tx) {
            version.older = older.older.take();
            dropped.extend(older.row);
        }
        let kept = keep && (version.older.is_some());
        self.forget_keys(id, dropped.into_iter());
        if !kept {
            self.prune(id, None);
        }
        kept
    }

    /// Drops versions that no snapshot can need any more, and the slot of a row that is gone. A snapshot needs the newest
    /// version that was committed before it; `oldest` is the oldest snapshot in use.
    pub(super) fn prune(&mut self, id: RowId, oldest: Option<u64>) {
        let Some(version) = self.slots.get_mut(id as usize).and_then(Option::as_mut) else {
            return;
        };
        let settled =
            |version: &Version| version.writer == 0 && oldest.is_none_or(|at| version.committed <= at);
        let gone = settled(version) && version.row.is_none();
        let mut dropped = Vec::new();
        let mut needed = Some(version);
        while let Some(version) = needed {
            if settled(version) {
                let mut older = version.older.take();
                while let Some(mut next) = older {
                    dropped.extend(next.row.take());
                    older = next.older.take();
                }
                break;
            }
            needed = version.older.as_deref_mut();
        }
        if gone {
            self.slots[id as usize] = None;
            self.free.push(id);
        }
        self.forget_keys(id, dropped.into_iter());
    }

    /// Replaces the definition by one with other indexes: entries are made anew from every version.
    pub(crate) fn redefine(&mut self, definition: Arc<Table>) {
        self.filters = filters(&definition);
        self.forms = forms(&definition);
        self.definition = definition;
        self.indexes = self.definition.indexes.iter().map(|_| BTreeSet::new()).collect();
        for id in 0..self.slots.len() as RowId {
            for keys in self.keys_of_versions(id) {
                self.enter(id, keys);
            }
        }
    }

    /// Rewrites every version of every row, as adding or dropping a column does.
    pub(crate) fn rewrite(&mut self, definition: Arc<Table>, mut change: impl FnMut(&Row) -> Row) {
        let forms = forms(&definition);
        for slot in &mut self.slots {
            let mut version = slot.as_mut();
            while let Some(v) = version {
                if let Some(row) = &mut v.row {
                    *row = Packed::of(&change(&row.row()), &forms);
                }
                version = v.older.as_deref_mut();
            }
        }
        self.redefine(definition);
    }

    /// The row's keys by index; none where the index leaves it out.
    fn keys(&self, row: &[Value]) -> Vec<Option<Key>> {
        let indexes = self.definition.indexes.iter().zip(&self.filters);
        let admitted = |filter: &Option<IndexFilter>| match filter {
            Some(filter) => filter.admits(&self.definition, row),
            None => true,
        };
        indexes
            .map(|(index, filter)| admitted(filter).then(|| self.key_of(index, row)))
            .collect()
    }

    /// The keys of a row as it is kept. What no index needs of it is not looked at.
    fn stored_keys(&self, row: &Packed) -> Vec<Option<Key>> {
        let mut out = Vec::new();
        let places = 0..self.definition.indexes.len();
        places.map(|at| self.stored_key_at(row, at, &mut out)).collect()
    }

    /// The keys of a row in the indexes that look at one of the columns that were set.
    fn keys_over(&self, row: &Packed, values: &[(usize, Value)]) -> Vec<Option<Key>> {
        let is_set = |column: usize| values.iter().any(|(set, _)| *set == column);
        let mut out = Vec::new();
        let indexes = self.definition.indexes.iter().enumerate();
        indexes
            .map(|(at, index)| {
                let looks = index.filter.is_some() || index.keys.iter().any(|part| is_set(part.column));
                looks.then(|| self.stored_key_at(row, at, &mut out)).flatten()
            })
            .collect()
    }

    /// The key of a row as it is kept in one of the indexes; none where the index leaves it out.
    fn stored_key_at(&self, row: &Packed, at: usize, out: &mut Vec<u8>) -> Option<Key> {
        let index = self.definition.indexes.get(at)?;
        match self.filters.get(at)? {
            Some(filter) if !filter.admits(&self.definition, &row.row()) => None,
            _ => Some(self.stored_key(index, row, out)),
        }
    }

    pub(super) fn has_stored_key(&self, row: &Packed, at: usize, key: &Key) -> bool {
        self.stored_key_at(row, at, &mut Vec::new()).as_ref() == Some(key)
    }

    /// Whether a row with `keys` may come to be: no range locked by others, and no duplicate in a unique index unless
    /// that is checked later. Says what is new to the indexes.
    fn admit(
        &self,
        by: Writer,
        mut keys: Vec<Option<Key>>,
        existing: Option<RowId>,
        check: Check,
    ) -> Result<Added, Refusal> {
        if let Some(current) = existing.and_then(|id| self.kept(id)) {
            let mut out = Vec::new();
            for (at, key) in keys.iter_mut().enumerate() {
                key.take_if(|key| self.stored_key_at(current, at, &mut out).as_ref() == Some(key));
            }
        }
        self.range_conflicts(by.tx, &keys)?;
        let mut unique = false;
        for (at, (index, key)) in self.definition.indexes.iter().zip(&keys).enumerate() {
            let Some(key) = key else { continue };
            if !index.unique || index.disabled {
                continue;
            }
            unique = true;
            if check == Check::Now {
                self.unique(by, at, key, existing)?;
            }
        }
        Ok(Added { keys, unique })
    }

    /// Checks a row whose keys were not checked when it was written.
    pub(super) fn check_unique(&self, by: Writer, id: RowId) -> Result<(), Refusal> {
        let newest = self.slots.get(id as usize).and_then(Option::as_ref);
        let Some(row) = newest.and_then(|version| version.row.as_ref()) else {
            return Ok(());
        };
        let keys = self.stored_keys(row);
        for (at, index) in self.definition.indexes.iter().enumerate() {
            if let Some(key) = keys[at].as_ref().filter(|_| index.unique && !index.disabled) {
                self.unique(by, at, key, Some(id))?;
            }
        }
        Ok(())
    }

    /// Whether the version that a snapshot sees has the key.
    fn had_key(&self, newest: &Version, snapshot: u64, at: usize, key: &Key) -> bool {
        let mut version = Some(newest);
        while let Some(v) = version.filter(|v| v.committed > snapshot) {
            version = v.older.as_deref();
        }
        version
            .and_then(|version| version.row.as_ref())
            .is_some_and(|row| self.has_stored_key(row, at, key))
    }

    /// No other row may have the key; nor may one that the writer's snapshot still sees.
    fn unique(&self, by: Writer, at: usize, key: &Key, existing: Option<RowId>) -> Result<(), Refusal> {
        if self.indexes[at].last().is_none_or(|(last, _)| last < key) {
            return Ok(());
        }
        let from = (key.clone(), 0);
        let upto = (key.clone(), RowId::MAX);
        for (_, id) in self.indexes[at].range((Bound::Included(from), Bound::Included(upto))) {
            if existing == Some(*id) {
                continue;
            }
            let Some(version) = self.slots.get(*id as usize).and_then(Option::as_ref) else {
                continue;
            };
            if version.writer != 0 && version.writer != by.tx {
                return Err(Refusal::Blocked(vec![version.writer]));
            }
            if version
                .row
                .as_ref()
                .is_some_and(|row| self.has_stored_key(row, at, key))
            {
                return Err(Refusal::Duplicate(at));
            }
            let newer = by
                .snapshot
                .filter(|snapshot| version.writer == 0 && version.committed > *snapshot);
            if newer.is_some_and(|snapshot| self.had_key(version, snapshot, at, key)) {
                return Err(Refusal::Stale);
            }
        }
        Ok(())
    }

    /// Others' locks on the whole table, or on ranges that keys come into.
    fn range_conflicts(&self, tx: TxId, keys: &[Option<Key>]) -> Result<(), Refusal> {
        self.range_locks.refuse(tx, |lock| match &lock.range {
            None => true,
            Some((at, range)) => keys
                .get(*at)
                .and_then(Option::as_ref)
                .is_some_and(|key| range.contains(key)),
        })
    }

    /// Others' row locks that `mode` cannot stand beside.
    pub(super) fn lock_conflicts(&self, tx: TxId, id: RowId, mode: LockMode) -> Result<(), Refusal> {
        let Some(holders) = self.row_locks.get(&id) else {
            return Ok(());
        };
        let in_the_way = holders
            .iter()
            .filter(|(owner, held)| *owner != tx && !mode.stands_beside(*held));
        blocked_by(in_the_way.map(|(owner, _)| *owner))
    }

    /// Removes index entries of versions that are gone, unless a version that remains has the same key.
    fn forget_keys(&mut self, id: RowId, rows: impl Iterator<Item = Packed>) {
        let mut remaining: Option<Vec<Vec<Option<Key>>>> = None;
        for row in rows {
            let remaining = remaining.get_or_insert_with(|| self.keys_of_versions(id));
            for (at, key) in self.stored_keys(&row).into_iter().enumerate() {
                let Some(key) = key else { continue };
                if !remaining.iter().any(|keys| keys[at].as_ref() == Some(&key)) {
                    self.indexes[at].remove(&(key, id));
                }
            }
        }
    }

    fn keys_of_versions(&self, id: RowId) -> Vec<Vec<Option<Key>>> {
        let newest = self.slots.get(id as usize).and_then(Option::as_ref);
        let versions = std::iter::successors(newest, |version| version.older.as_deref());
        versions
            .filter_map(|version| version.row.as_ref())
            .map(|row| self.stored_keys(row))
            .collect()
    }
}

/// A refusal, if there is anybody in the way.
pub(super) fn blocked_by(owners: impl Iterator<Item = TxId>) -> Result<(), Refusal> {
    let owners: Vec<TxId> = owners.collect();
    if owners.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Blocked(owners))
    }
}

/// The compiled filters of a table's indexes; conditions were checked when the indexes were defined.
fn filters(definition: &Table) -> Vec<Option<IndexFilter>> {
    let filters = definition.indexes.iter().map(|index| {
        index
            .filter
            .as_ref()
            .and_then(|filter| IndexFilter::compile(definition, &filter.expr).ok())
    });
    filters.collect()
}

/// In which forms a table's values are kept: those in which they leave when its columns are selected.
fn forms(definition: &Table) -> Vec<Option<Form>> {
    let columns = definition.columns.iter();
    columns
        .map(|column| Form::of(column.info.ty, layout(column.info.ty, column.info.nullable)))
        .collect()
}
