//! Copies of a database, and databases put back to them.
//!
//! A copy holds what was committed when it was made, with all counters. A database that is put back to it goes on from there, on a
//! recovery fork of its own: its versions, rowversions and places in the log will be given out again, to other changes.

use std::collections::HashMap;
use std::sync::Arc;

use super::capture::CaptureLog;
use super::content::Store;
use super::table::TableData;
use super::tracking::Versions;
use super::transaction::Undo;
use super::{Database, TableId};

/// The copies that were made, by file, and how often databases have been put back.
#[derive(Debug, Default)]
pub(super) struct Backups {
    files: HashMap<String, Backup>,
    pub(super) restored: u64,
}

/// A database as it was.
#[derive(Clone, Debug)]
struct Backup {
    database: Arc<Database>,
    tables: Vec<(TableId, TableData)>,
    rowversion: u64,
    versions: Option<Versions>,
    capture: Option<CaptureLog>,
}

impl Store {
    /// Whether a file holds a backup.
    pub(crate) fn has_backup(&self, path: &str) -> bool {
        self.backups.files.contains_key(path)
    }

    /// The database that a file is a backup of: its number.
    pub(crate) fn backed_up(&self, path: &str) -> Option<i32> {
        let backup = self.backups.files.get(path)?;
        Some(backup.database.id)
    }

    /// How often databases have been restored.
    pub(crate) fn restored(&self) -> u64 {
        self.backups.restored
    }

    /// Whether a transaction has definitions of a database changed and not committed.
    pub(crate) fn has_open_definitions(&self, database: i32) -> bool {
        let concerns = |table: &TableId| {
            let data = self.tables.get(table);
            data.is_none_or(|data| data.definition.database == database)
        };
        let steps = self.transactions.values().flat_map(|open| &open.undo);
        steps.into_iter().any(|step| match step {
            Undo::Write { .. } | Undo::Ddl(_) => false,
            Undo::Created(table) | Undo::Replaced { table, .. } => concerns(table),
            Undo::Catalog {
                database: changed, ..
            } => *changed == database,
        })
    }

    /// Whether a transaction has touched a database.
    pub(crate) fn is_in_use(&self, database: i32) -> bool {
        let mut open = self.transactions.values();
        open.any(|open| open.databases.contains_key(&database))
    }

    /// Copies what is committed of a database into a file.
    pub(crate) fn back_up(&mut self, database: i32, path: &str) {
        let Some(found) = self.databases.get(&database) else {
            return;
        };
        let own = |data: &TableData| data.definition.database == database;
        let tables = self.tables.iter().filter(|(_, data)| own(data));
        let backup = Backup {
            database: Arc::clone(found),
            tables: tables.map(|(id, data)| (*id, data.committed())).collect(),
            rowversion: self.last_rowversion(database),
            versions: self.versions.get(&database).cloned(),
            capture: self.capture.get(&database).cloned(),
        };
        self.backups.files.insert(path.to_owned(), backup);
    }

    /// Puts the database back to its copy in a file, on this recovery fork. Its jobs are not in it: they stay as they are.
    pub(crate) fn restore(&mut self, path: &str, fork: [u8; 16]) {
        let Some(backup) = self.backups.files.get(path).cloned() else {
            return;
        };
        self.backups.restored += 1;
        let mut database = backup.database;
        let id = database.id;
        Arc::make_mut(&mut database).fork = fork;
        self.databases.insert(id, database);
        self.tables.retain(|_, data| data.definition.database != id);
        self.tables.extend(backup.tables);
        self.set_rowversion(id, backup.rowversion);
        self.versions.remove(&id);
        self.versions
            .extend(backup.versions.map(|versions| (id, versions)));
        let jobs = self.capture.remove(&id).map(|log| log.jobs);
        self.capture.extend(backup.capture.map(|mut log| {
            log.jobs = jobs.unwrap_or(log.jobs);
            (id, log)
        }));
    }
}
