//! What a memory source holds: tables with their stamps and history, and the transactions that are open.

use std::collections::BTreeMap;

use model::{Clock, Error, ErrorKind, Op, Position, Result, TableName};

use super::MemorySource;
use crate::SampleRow;

#[derive(Debug, Default)]
pub(super) struct Database {
    pub(super) incarnation: u64,
    pub(super) version: i64,
    pub(super) oldest_version: i64,
    pub(super) open: BTreeMap<u64, i64>,
    pub(super) next_transaction: u64,
    pub(super) tables: BTreeMap<TableName, Table>,
    pub(super) acknowledged: BTreeMap<TableName, Position>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) keyed: bool,
    pub(super) rows: BTreeMap<(i32, u64), Stamped>,
    pub(super) history: Vec<Told>,
    next_twin: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Stamped {
    pub(super) row: SampleRow,
    pub(super) stamp: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) version: i64,
    pub(super) op: Op,
    pub(super) row: SampleRow,
}

/// Writes that become visible together. Their stamps are those of the moment of each write.
#[derive(Debug)]
pub struct Transaction {
    source: MemorySource,
    id: u64,
    writes: Vec<(TableName, Op, Stamped)>,
}

impl Transaction {
    pub(super) fn begin(source: &MemorySource) -> Self {
        let mut database = source.database();
        let id = database.next_transaction;
        database.next_transaction += 1;
        database.open.insert(id, source.clock.now().0);
        Self {
            source: source.clone(),
            id,
            writes: Vec::new(),
        }
    }

    /// Writes a row; in a keyed table it replaces the row with its key.
    pub fn put(&mut self, table: &TableName, row: SampleRow) {
        let stamp = self.source.clock.now().0;
        self.writes
            .push((table.clone(), Op::Upsert, Stamped { row, stamp }));
    }

    /// Deletes the rows with this `id`.
    pub fn delete(&mut self, table: &TableName, id: i32) {
        let row = SampleRow {
            id,
            name: None,
            amount: None,
        };
        let stamp = self.source.clock.now().0;
        self.writes
            .push((table.clone(), Op::Delete, Stamped { row, stamp }));
    }

    /// Makes the writes visible.
    pub fn commit(mut self) {
        let writes = std::mem::take(&mut self.writes);
        let mut database = self.source.database();
        database.version += 1;
        let version = database.version;
        for (table, op, written) in writes {
            let table = database
                .tables
                .get_mut(&table)
                .unwrap_or_else(|| panic!("a test wrote to {table}, which it did not create"));
            table.write(version, op, written);
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Ok(mut database) = self.source.database.lock() {
            database.open.remove(&self.id);
        }
    }
}

impl Table {
    pub(super) fn new(keyed: bool) -> Self {
        Self {
            keyed,
            ..Self::default()
        }
    }

    fn write(&mut self, version: i64, op: Op, written: Stamped) {
        let id = written.row.id;
        self.history.push(Told {
            version,
            op,
            row: written.row.clone(),
        });
        if self.keyed || op == Op::Delete {
            self.rows.retain(|(have, _), _| *have != id);
        }
        if op != Op::Delete {
            self.rows.insert((id, self.next_twin), written);
            self.next_twin += 1;
        }
    }
}

impl Database {
    pub(super) fn table(&self, table: &TableName) -> Result<&Table> {
        self.tables.get(table).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the memory source has no such table").with("table", table)
        })
    }

    pub(super) fn position(&self, value: i64) -> Position {
        Position {
            kind: "memory".into(),
            incarnation: self.incarnation.to_string(),
            value: value.to_string(),
            label: format!("@{value}"),
            late_micros: 0,
            lacks: Vec::new(),
        }
    }
}
