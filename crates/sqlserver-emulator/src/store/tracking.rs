//! Change Tracking: which rows of a table have changed since a version, by key.
//!
//! A database's versions are numbered by commit: a transaction gets one when it commits, over all tables, if it changed a
//! tracked one. An entry remembers the commit too, so that a snapshot sees the versions that were there when it began.
//!
//! TRUNCATE starts a table's history anew at the current version without using one up, as SQL Server does: a client
//! that stands exactly there finds its version valid.

use std::collections::HashMap;
use std::sync::Arc;

use super::change_log::{Command, Effect, RowEffect};
use super::content::Store;
use super::index_key::Key;
use super::packed::Packed;
use super::schema::Table;
use super::table::TableData;
use super::{TableId, TxId};
use crate::clock::Instant;
use crate::value::Value;

/// A database's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrackingOptions {
    pub(crate) retention: Retention,
    pub(crate) auto_cleanup: bool,
}

/// CHANGE_RETENTION as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) count: u32,
    pub(crate) unit: RetentionUnit,
}

/// `sys.change_tracking_databases.retention_period_units` is the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetentionUnit {
    Minutes = 1,
    Hours = 2,
    Days = 3,
}

impl Retention {
    /// What a database has without CHANGE_RETENTION: two days.
    pub(crate) const DEFAULT: Self = Self {
        count: 2,
        unit: RetentionUnit::Days,
    };

    pub(crate) fn minutes(self) -> i64 {
        let minutes = match self.unit {
            RetentionUnit::Minutes => 1,
            RetentionUnit::Hours => 60,
            RetentionUnit::Days => 1440,
        };
        i64::from(self.count) * minutes
    }
}

/// The versions of one database.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    last: i64,
    /// By version.
    commits: Vec<VersionCommit>,
}

#[derive(Clone, Copy, Debug)]
struct VersionCommit {
    version: i64,
    /// On the store's commit counter.
    commit: u64,
    at: Instant,
}

/// What Change Tracking knows of a table.
#[derive(Clone, Debug)]
pub(crate) struct ChangeTracking {
    /// TRACK_COLUMNS_UPDATED.
    pub(crate) columns: bool,
    pub(crate) begin_version: i64,
    /// Changes up to this version are gone.
    pub(crate) cleanup_version: i64,
    /// In the order of their versions.
    changes: Vec<TrackedChange>,
}

#[derive(Clone, Debug)]
struct TrackedChange {
    version: i64,
    commit: u64,
    operation: Operation,
    key: Key,
    key_values: Arc<[Value]>,
    set: SetColumns,
    context: Option<Arc<[u8]>>,
}

/// What an entry, or all entries of a key together, did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Insert,
    Update,
    Delete,
}

/// Ids of the columns that an update set.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SetColumns {
    /// Not known, or all that are not in the key.
    All,
    These(Arc<[i32]>),
}

/// The net change of one key.
#[derive(Debug)]
pub(crate) struct NetChange {
    pub(crate) version: i64,
    pub(crate) creation_version: Option<i64>,
    pub(crate) operation: Operation,
    /// `SYS_CHANGE_COLUMNS`.
    pub(crate) columns: Option<Vec<u8>>,
    pub(crate) context: Option<Arc<[u8]>>,
    pub(crate) key: Arc<[Value]>,
}

impl ChangeTracking {
    /// Nothing has changed since `version`.
    pub(crate) fn new(columns: bool, version: i64) -> Self {
        Self {
            columns,
            begin_version: version,
            cleanup_version: 0,
            changes: Vec::new(),
        }
    }

    /// The history begins again.
    pub(crate) fn restart(&mut self, version: i64) {
        *self = Self::new(self.columns, version);
    }

    /// The oldest version that a client may know.
    pub(crate) fn min_valid_version(&self) -> i64 {
        self.begin_version.max(self.cleanup_version)
    }

    /// The net changes after version `last` that a reader as of commit `upto` sees; in the order of first change.
    pub(crate) fn net_changes(&self, last: Option<i64>, upto: Option<u64>) -> Vec<NetChange> {
        let last = last.unwrap_or(0);
        if last < 0 {
            return Vec::new();
        }
        let first = self.changes.partition_point(|change| change.version <= last);
        let mut keys: HashMap<&Key, usize> = HashMap::new();
        let mut by_key: Vec<Vec<&TrackedChange>> = Vec::new();
        let known = self.changes.iter().skip(first);
        for change in known.take_while(|change| upto.is_none_or(|upto| change.commit <= upto)) {
            let place = *keys.entry(&change.key).or_insert_with(|| {
                by_key.push(Vec::new());
                by_key.len() - 1
            });
            if let Some(changes) = by_key.get_mut(place) {
                changes.push(change);
            }
        }
        by_key
            .iter()
            .filter_map(|changes| self.net_change(changes))
            .collect()
    }

    fn net_change(&self, changes: &[&TrackedChange]) -> Option<NetChange> {
        let (first, last) = (changes.first()?, changes.last()?);
        let operation = match (first.operation, last.operation) {
            (_, Operation::Delete) => Operation::Delete,
            (Operation::Insert, _) => Operation::Insert,
            _ => Operation::Update,
        };
        let created = changes
            .iter()
            .rev()
            .find(|change| change.operation == Operation::Insert);
        let masked = self.columns && operation == Operation::Update && created.is_none();
        Some(NetChange {
            version: last.version,
            creation_version: created.map(|change| change.version),
            operation,
            columns: masked.then(|| mask(changes)).flatten(),
            context: last.context.clone(),
            key: Arc::clone(&first.key_values),
        })
    }

    /// The last change of a key that a reader as of `upto` sees: its version and its context.
    pub(crate) fn latest(&self, key: &Key, upto: Option<u64>) -> Option<(i64, Option<Arc<[u8]>>)> {
        let mut visible = self
            .changes
            .iter()
            .rev()
            .filter(|change| upto.is_none_or(|upto| change.commit <= upto));
        let found = visible.find(|change| change.key == *key)?;
        Some((found.version, found.context.clone()))
    }

    fn forget(&mut self, upto: i64) {
        self.cleanup_version = self.cleanup_version.max(upto);
        let gone = self.changes.partition_point(|change| change.version <= upto);
        self.changes.drain(..gone);
    }
}

/// The mask of the columns that the changes set: four bytes of zero, then each column's id in four. None stands for all.
fn mask(changes: &[&TrackedChange]) -> Option<Vec<u8>> {
    let mut ids: Vec<i32> = Vec::new();
    for change in changes {
        match &change.set {
            SetColumns::All => return None,
            SetColumns::These(set) => {
                for id in set.iter() {
                    if !ids.contains(id) {
                        ids.push(*id);
                    }
                }
            }
        }
    }
    let mut mask = vec![0; 4];
    mask.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
    Some(mask)
}

/// Whether a mask names a column; none if it is no mask. NULL stands for all columns.
pub(crate) fn is_in_mask(column: i32, mask: Option<&[u8]>) -> Option<bool> {
    let Some(mask) = mask else { return Some(true) };
    let (head, ids) = mask.split_at_checked(4)?;
    if ids.len() < 4 {
        return None;
    }
    let listed = ids.chunks_exact(4).any(|id| id == column.to_le_bytes());
    Some(head == [0; 4] && listed)
}

/// The columns that an update set, as their ids: rowversions are always set, computed columns never.
fn set_columns(table: &Table, set: &[usize]) -> SetColumns {
    let key = table.primary_key().and_then(|at| table.indexes.get(at));
    let in_key = |at: usize| key.is_some_and(|key| key.keys.iter().any(|part| part.column == at));
    let rowversion = |at: &usize| {
        table
            .columns
            .get(*at)
            .is_some_and(|column| column.info.ty == crate::types::SqlType::RowVersion)
    };
    let mut places: Vec<usize> = set.to_vec();
    places.extend((0..table.columns.len()).filter(rowversion));
    let settable =
        |(at, column): (usize, &super::Column)| (column.computed.is_none() && !in_key(at)).then_some(at);
    if table
        .columns
        .iter()
        .enumerate()
        .filter_map(settable)
        .all(|at| places.contains(&at))
    {
        return SetColumns::All;
    }
    let ids = places
        .iter()
        .filter_map(|at| table.columns.get(*at).map(|column| column.id));
    SetColumns::These(ids.collect())
}

impl TableData {
    /// The primary key of a row: for comparing, and as values.
    fn tracked_key(&self, table: &Table, row: &Packed) -> Option<(Key, Arc<[Value]>)> {
        let index = table.indexes.get(table.primary_key()?)?;
        let values = index.keys.iter().map(|part| row.value(part.column));
        Some((self.stored_key(index, row, &mut Vec::new()), values.collect()))
    }

    /// Notes what a statement of a transaction that has got `version` did.
    fn track(&mut self, command: &Command, version: i64, commit: u64) {
        let Some(mut tracking) = self.tracking.take() else {
            return;
        };
        let table = &command.origin.definition;
        for RowEffect { effect, .. } in &command.effects {
            let (operation, row, set) = match effect {
                Effect::Delete(row) => (Operation::Delete, row, SetColumns::All),
                Effect::Insert(row) => (Operation::Insert, row, SetColumns::All),
                Effect::Update { after, set, .. } => (Operation::Update, after, set_columns(table, set)),
            };
            let Some((key, key_values)) = self.tracked_key(table, row) else {
                continue;
            };
            tracking.changes.push(TrackedChange {
                version,
                commit,
                operation,
                key,
                key_values,
                set,
                context: command.origin.context.clone(),
            });
        }
        self.tracking = Some(tracking);
    }
}

impl Store {
    /// Gives a transaction that commits its version in each database where it changed a tracked table.
    pub(super) fn track(&mut self, commands: &[Command], commit: u64, at: Instant) {
        let mut assigned: HashMap<i32, i64> = HashMap::new();
        for command in commands {
            let Some(data) = self.tables.get_mut(&command.origin.table) else {
                continue;
            };
            if data.tracking.is_none() {
                continue;
            }
            let database = data.definition.database;
            let versions = self.versions.entry(database).or_default();
            let version = *assigned
                .entry(database)
                .or_insert_with(|| versions.next(commit, at));
            data.track(command, version, commit);
        }
    }

    /// `CHANGE_TRACKING_CURRENT_VERSION()` as of a commit, or now.
    pub(crate) fn tracking_version(&self, database: i32, upto: Option<u64>) -> i64 {
        self.versions
            .get(&database)
            .map_or(0, |versions| versions.as_of(upto))
    }

    /// Whether `tx` has changed the row with this key and not yet committed.
    pub(crate) fn has_pending_change(&self, tx: TxId, table: TableId, key: &Key) -> bool {
        let (Some(transaction), Some(data)) = (self.transactions.get(&tx), self.tables.get(&table)) else {
            return false;
        };
        transaction
            .changes()
            .filter(|change| change.origin.table == table)
            .any(|change| {
                let rows = change.before.iter().chain(&change.after);
                rows.filter_map(|row| data.tracked_key(&change.origin.definition, row))
                    .any(|(known, _)| known == *key)
            })
    }

    /// The background clean-up: every database that has not switched it off.
    pub(crate) fn clean_up_all_tracking(&mut self, now: Instant) {
        let all = self.databases.values();
        let automatic = all.filter(|database| {
            let options = database.options.change_tracking;
            options.is_some_and(|options| options.auto_cleanup)
        });
        let ids: Vec<i32> = automatic.map(|database| database.id).collect();
        for id in ids {
            self.clean_up_tracking(id, None, now);
        }
    }

    /// Forgets what is older than the database's retention, in one table or in all. Waits for no one: while a snapshot is
    /// read, nothing is forgotten.
    pub(crate) fn clean_up_tracking(&mut self, database: i32, only: Option<TableId>, now: Instant) {
        let options = self
            .databases
            .get(&database)
            .and_then(|database| database.options.change_tracking);
        let (Some(options), Some(versions)) = (options, self.versions.get_mut(&database)) else {
            return;
        };
        if self.snapshots.keys().next().is_some() {
            return;
        }
        let oldest = now.plus_minutes(-options.retention.minutes());
        // The clock may have been stepped back, so times need not ascend.
        let expired = versions
            .commits
            .iter()
            .take_while(|commit| commit.at < oldest)
            .count();
        let Some(upto) = expired.checked_sub(1).and_then(|at| versions.commits.get(at)) else {
            return;
        };
        let upto = upto.version;
        for (id, data) in &mut self.tables {
            if data.definition.database == database
                && only.is_none_or(|only| only == *id)
                && let Some(tracking) = &mut data.tracking
            {
                tracking.forget(upto);
            }
        }
    }
}

impl Versions {
    fn next(&mut self, commit: u64, at: Instant) -> i64 {
        self.last += 1;
        self.commits.push(VersionCommit {
            version: self.last,
            commit,
            at,
        });
        self.last
    }

    fn as_of(&self, upto: Option<u64>) -> i64 {
        let Some(upto) = upto else { return self.last };
        let later = self.commits.partition_point(|known| known.commit <= upto);
        let found = later.checked_sub(1).and_then(|at| self.commits.get(at));
        found.map_or(0, |known| known.version)
    }
}
