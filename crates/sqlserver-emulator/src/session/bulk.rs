//! Bulk load: rows of an INSERT BULK, gathered and written in groups, all in one transaction.

use std::sync::Arc;

use super::{BulkTarget, Session, SessionState};
use crate::error::{SqlError, SqlResult};
use crate::exec::{BulkColumn, Run};
use crate::outcome::{Command, Discard, Done, EnvChange, Output};
use crate::store::{Packed, RowBuilder, Stored, Table, TableId, TxId};
use crate::value::Value;

/// Rows written at a time.
const GROUP: usize = 2048;

/// A bulk load in progress.
#[derive(Debug)]
pub(crate) struct BulkLoad {
    pub(crate) target: BulkTarget,
    pub(crate) table: TableId,
    /// The table as its columns were looked at.
    pub(crate) definition: Arc<Table>,
    /// By bulk column: the table's column.
    pub(crate) places: Vec<usize>,
    pub(crate) keep_nulls: bool,
    pub(crate) check_constraints: bool,
    pub(crate) fire_triggers: bool,
    pub(crate) rows: BulkRows,
    pub(crate) written: u64,
    pub(crate) error: Option<SqlError>,
    /// The transaction, whether it is only this load's, and the step to return to.
    pub(crate) transaction: Option<(TxId, bool, usize)>,
}

/// The rows of a group. They are made to be kept as they come, where each has what its columns ask for, and nothing else has to look
/// at them. Otherwise they are values.
#[derive(Debug)]
pub(crate) struct BulkRows {
    /// What each column asks for; none if rows have to be completed, checked or told.
    columns: Option<Vec<BulkColumn>>,
    builder: RowBuilder,
    /// How many values the row that is read has so far.
    at: usize,
    /// Its values, once one of them did not fit.
    unfit: Option<Vec<Value>>,
    pub(crate) packed: Vec<Packed>,
    pub(crate) values: Vec<Vec<Value>>,
}

impl BulkRows {
    pub(crate) fn new(columns: Option<Vec<BulkColumn>>) -> Self {
        Self {
            unfit: columns.is_none().then(Vec::new),
            columns,
            builder: RowBuilder::default(),
            at: 0,
            packed: Vec::new(),
            values: Vec::new(),
        }
    }

    fn push(&mut self, value: Stored<'_>) {
        let column = self.columns.as_ref().and_then(|columns| columns.get(self.at));
        let value = match column.filter(|_| self.unfit.is_none()) {
            None => value,
            Some(column) => match column.fit(value) {
                Ok(value) => {
                    self.builder.push_stored(value, column.form);
                    self.at += 1;
                    return;
                }
                Err(value) => value,
            },
        };
        let unfit = self
            .unfit
            .get_or_insert_with(|| self.builder.finish().row().to_vec());
        unfit.push(value.into_value());
    }

    fn end_row(&mut self) {
        self.at = 0;
        match self.unfit.take() {
            None if self.values.is_empty() => self.packed.push(self.builder.finish()),
            None => self.values.push(self.builder.finish().row().to_vec()),
            Some(row) => {
                // A group is of one kind, so that its rows are written in their order.
                self.unpack();
                self.values.push(row);
            }
        }
        self.unfit = self.columns.is_none().then(Vec::new);
    }

    /// Every row is values from now on: the columns ask for something else by now.
    pub(crate) fn leave_fast_path(&mut self) {
        self.columns = None;
        self.unfit = Some(Vec::new());
        self.unpack();
    }

    fn unpack(&mut self) {
        let rows = self.packed.drain(..).map(|row| row.row().to_vec());
        self.values.extend(rows);
    }

    fn len(&self) -> usize {
        self.packed.len() + self.values.len()
    }

    fn clear(&mut self) {
        self.packed.clear();
        self.values.clear();
    }
}

impl Session {
    /// The target of an `INSERT BULK` that waits for its rows.
    pub fn bulk_target(&self) -> Option<&BulkTarget> {
        self.state.bulk.as_ref().map(|load| &load.target)
    }

    /// One bulk row, in the target's column order. After an error the rest of the stream must be drained and `bulk_end` called.
    pub fn bulk_row(&mut self, row: Vec<Value>) -> SqlResult<()> {
        for value in row {
            self.bulk_value(Stored::Other(value));
        }
        self.bulk_row_end()
    }

    /// The next value of a bulk row. After an error nothing is kept.
    pub(crate) fn bulk_value(&mut self, value: Stored<'_>) {
        if let Some(load) = self.state.bulk.as_mut().filter(|load| load.error.is_none()) {
            load.rows.push(value);
        }
    }

    /// A bulk row has all of its values.
    pub(crate) fn bulk_row_end(&mut self) -> SqlResult<()> {
        let Some(load) = &mut self.state.bulk else {
            return Err(SqlError::user(
                4002,
                "The incoming tabular data stream (TDS) protocol stream is incorrect. No INSERT BULK statement awaits rows.",
            ));
        };
        if let Some(error) = &load.error {
            return Err(error.clone());
        }
        load.rows.end_row();
        if load.rows.len() < GROUP {
            Ok(())
        } else {
            self.state.write_group()
        }
    }

    /// The stream ended: emits the error that stopped it, if any, and DONE with the row count.
    pub fn bulk_end(&mut self, out: &mut dyn Output) {
        let result = self.state.write_group();
        let Some(load) = self.state.bulk.take() else {
            return;
        };
        let error = load.error.or(result.err());
        self.state.end_bulk(load.transaction, error.is_none());
        if let Some(error) = error {
            out.message(&error);
            if self.state.options.xact_abort
                && let Some(tx) = self.state.rollback()
            {
                out.env(EnvChange::RollbackTran(tx));
            }
            self.state.last_error = error.number;
            out.done(Done {
                command: Command::BulkInsert,
                rows: None,
                error: true,
                in_proc: false,
            });
            return;
        }
        self.state.row_count = load.written as i64;
        out.done(Done {
            command: Command::BulkInsert,
            rows: Some(load.written),
            error: false,
            in_proc: false,
        });
    }

    /// The client gave the load up or broke the stream: nothing of it stays.
    pub fn bulk_cancel(&mut self) {
        if let Some(load) = self.state.bulk.take() {
            self.state.end_bulk(load.transaction, false);
        }
    }
}

impl SessionState {
    fn write_group(&mut self) -> SqlResult<()> {
        let Some(mut load) = self.bulk.take() else {
            return Ok(());
        };
        if load.rows.len() == 0 {
            self.bulk = Some(load);
            return Ok(());
        }
        let (tx, own, _) = *load.transaction.get_or_insert_with(|| self.start_bulk());
        if own {
            self.statement_transaction = Some(tx);
        }
        // Bulk writing says nothing until its end.
        let mut nobody = Discard;
        let mut run = Run::new(self, &mut nobody, false);
        let result = run.in_transaction("BULK INSERT", |run| run.write_bulk(&mut load));
        if own {
            self.statement_transaction = None;
        }
        if let Err(error) = &result {
            load.error = Some(error.clone());
            load.rows.clear();
        }
        self.bulk = Some(load);
        result
    }

    fn start_bulk(&self) -> (TxId, bool, usize) {
        let mut store = self.engine.store().lock();
        match self.transaction {
            Some(tx) => (
                tx,
                false,
                store
                    .transaction(tx)
                    .map_or(0, |transaction| transaction.undo.len()),
            ),
            None => (
                store.begin(self.id, "BULK INSERT", false, self.engine.clock()),
                true,
                0,
            ),
        }
    }

    fn end_bulk(&self, transaction: Option<(TxId, bool, usize)>, keep: bool) {
        let Some((tx, own, step)) = transaction else {
            return;
        };
        let engine = Arc::clone(&self.engine);
        let mut store = engine.store().lock();
        match (own, keep) {
            (true, true) => store.commit(tx, engine.commit_time()),
            (true, false) => store.rollback(tx),
            (false, true) => {}
            (false, false) => store.rollback_to(tx, step, false),
        }
        drop(store);
        engine.store().notify();
    }
}
