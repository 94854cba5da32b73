//! AFTER triggers, and foreign keys.

use std::sync::Arc;

use super::draft::table_columns;
use super::output::OutputPlan;
use super::rows::refused;
use super::run::Run;
use super::scope::PseudoTable;
use super::writer::TableWriter;
use crate::ast::CreateTrigger;
use crate::error::{SqlError, SqlResult};
use crate::outcome::Flow;
use crate::session::SessionState;
use crate::shuffle::Shuffle;
use crate::store::{
    Access, Cursor, ForeignKey, KeyRange, LockMode, ModuleKind, Read, Row, Table, TableId, key,
};
use crate::value::Value;

impl SessionState {
    /// The enabled triggers of a table.
    pub(super) fn triggers(&self, id: TableId, database: i32) -> Vec<CreateTrigger> {
        let store = self.engine.store().lock();
        let modules = store
            .databases
            .get(&database)
            .map(|database| database.modules.as_slice())
            .unwrap_or_default();
        modules
            .iter()
            .filter_map(|module| match &module.kind {
                ModuleKind::Trigger {
                    definition,
                    table,
                    disabled: false,
                } if *table == id => Some((**definition).clone()),
                _ => None,
            })
            .collect()
    }

    /// Error 334: OUTPUT without INTO on a table with enabled triggers.
    pub(crate) fn refuse_output_with_triggers(&self, id: TableId, output: &OutputPlan) -> SqlResult<()> {
        let table = self.table_definition(id)?;
        if output.to_client() && !self.triggers(id, table.database).is_empty() {
            return Err(SqlError::user(
                334,
                format!(
                    "The target table '{}' of the DML statement cannot have any enabled triggers if the statement contains an OUTPUT clause without INTO clause.",
                    table.name
                ),
            ));
        }
        Ok(())
    }

    /// Error 229 where the login was denied the action.
    pub(crate) fn allow(&self, id: TableId, action: &str) -> SqlResult<()> {
        if self.login.sysadmin {
            return Ok(());
        }
        let table = self.table_definition(id)?;
        if table.variable || table.name.starts_with('#') {
            return Ok(());
        }
        if self.with_viewer(table.database, |viewer| {
            Ok(viewer.allows(action, Some(&table), true))
        })? {
            return Ok(());
        }
        let database = self.database_name(table.database);
        Err(SqlError::new(
            229,
            14,
            5,
            format!(
                "The {action} permission was denied on the object '{}', database '{database}', schema '{}'.",
                table.name, table.schema
            ),
        ))
    }
}

impl Run<'_> {
    /// Runs the AFTER triggers of a statement, which fire also for no rows.
    pub(crate) fn fire(
        &mut self,
        writer: &TableWriter,
        action: &str,
        inserted: &[Row],
        deleted: &[Row],
    ) -> SqlResult<()> {
        let triggers = self.session.triggers(writer.id, writer.table.database);
        for trigger in triggers {
            let wanted = match action {
                "INSERT" => trigger.insert,
                "UPDATE" => trigger.update,
                _ => trigger.delete,
            };
            // RECURSIVE_TRIGGERS is off: a trigger does not fire itself.
            let itself = self
                .session
                .running_triggers
                .last()
                .is_some_and(|(table, name)| *table == writer.id && *name == trigger.name.name);
            if !wanted || itself {
                continue;
            }
            if trigger.instead_of {
                return Err(SqlError::unsupported("INSTEAD OF triggers"));
            }
            self.run_trigger(writer, &trigger, inserted, deleted)?;
        }
        Ok(())
    }

    fn run_trigger(
        &mut self,
        writer: &TableWriter,
        trigger: &CreateTrigger,
        inserted: &[Row],
        deleted: &[Row],
    ) -> SqlResult<()> {
        let pseudo = |name: &str, rows: &[Row]| {
            let columns = table_columns(&writer.table, name, None);
            (
                name.to_owned(),
                PseudoTable {
                    columns,
                    rows: Arc::new(rows.to_vec()),
                },
            )
        };
        let outer = std::mem::replace(
            &mut self.pseudo,
            [pseudo("inserted", inserted), pseudo("deleted", deleted)]
                .into_iter()
                .collect(),
        );
        let (row_count, identity) = (self.session.row_count, self.session.scope_identity);
        self.session
            .running_triggers
            .push((writer.id, trigger.name.name.clone()));
        self.session.row_count = inserted.len().max(deleted.len()) as i64;
        // A trigger runs in a transaction: its statement's own if no other is open.
        let own = self
            .session
            .statement_transaction
            .filter(|_| self.session.transaction.is_none());
        if own.is_some() {
            (self.session.transaction, self.session.nesting) = (own, 1);
        }
        // Errors in a trigger end the statement that fired it, and its transaction.
        self.tries += 1;
        let result = self.body(&trigger.body, Vec::new(), trigger.name.name.clone());
        self.tries -= 1;
        self.session.running_triggers.pop();
        self.session.row_count = row_count;
        self.session.scope_identity = identity;
        self.pseudo = outer;
        let ended = self.session.transaction.is_none();
        if own.is_some() {
            (self.session.transaction, self.session.nesting) = (None, 0);
        }
        if ended {
            return Err(SqlError::user(
                3609,
                "The transaction ended in the trigger. The batch has been aborted.",
            ));
        }
        result.map(|_| ()).map_err(super::statement::Failure::into_error)
    }

    /// Error 547 where a new row refers to nothing.
    pub(crate) fn check_references<'r>(
        &mut self,
        writer: &TableWriter,
        rows: impl Iterator<Item = &'r Row>,
        statement: &str,
    ) -> SqlResult<()> {
        let keys: Vec<ForeignKey> = writer
            .table
            .foreign_keys
            .iter()
            .filter(|key| !key.disabled)
            .cloned()
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        for row in rows {
            for foreign in &keys {
                let values: Vec<Value> = foreign.columns.iter().map(|at| row[*at].clone()).collect();
                if values.iter().any(Value::is_null) {
                    continue;
                }
                let referenced = self.session.table_definition(foreign.referenced)?;
                if !self.exists(
                    foreign.referenced,
                    &referenced,
                    &foreign.referenced_columns,
                    &values,
                )? {
                    let column = match foreign.referenced_columns.as_slice() {
                        [one] => format!(", column '{}'", referenced.columns[*one].name),
                        _ => String::new(),
                    };
                    return Err(self.conflict(statement, "FOREIGN KEY", foreign, &referenced, &column));
                }
            }
        }
        Ok(())
    }

    /// Error 547 where a row that others refer to goes away.
    pub(crate) fn check_referenced<'r>(
        &mut self,
        writer: &TableWriter,
        changes: impl Iterator<Item = (&'r Row, Option<&'r Row>)>,
        statement: &str,
    ) -> SqlResult<()> {
        let referencing = self.references_to(writer.id);
        if referencing.is_empty() {
            return Ok(());
        }
        for (old, new) in changes {
            for (id, table, foreign) in &referencing {
                let values: Vec<Value> = foreign
                    .referenced_columns
                    .iter()
                    .map(|at| old[*at].clone())
                    .collect();
                let same =
                    new.is_some_and(|new| foreign.referenced_columns.iter().all(|at| new[*at] == old[*at]));
                if same || values.iter().any(Value::is_null) {
                    continue;
                }
                if self.exists(*id, table, &foreign.columns, &values)? {
                    if foreign.on_delete != crate::ast::ReferentialAction::NoAction {
                        return Err(SqlError::unsupported("foreign keys with CASCADE or SET"));
                    }
                    let column = match foreign.columns.as_slice() {
                        [one] => format!(", column '{}'", table.columns[*one].name),
                        _ => String::new(),
                    };
                    return Err(self.conflict(statement, "REFERENCE", foreign, table, &column));
                }
            }
        }
        Ok(())
    }

    pub(super) fn references_to(&self, id: TableId) -> Vec<(TableId, Arc<Table>, ForeignKey)> {
        let store = self.session.engine.store().lock();
        let keys = store.tables.iter().flat_map(|(table, data)| {
            let keys = data
                .definition
                .foreign_keys
                .iter()
                .filter(|key| key.referenced == id && !key.disabled);
            keys.map(|key| (*table, Arc::clone(&data.definition), key.clone()))
                .collect::<Vec<_>>()
        });
        keys.collect()
    }

    /// Whether a row with these values in these columns exists; waits for writers of such rows.
    fn exists(&mut self, id: TableId, table: &Table, columns: &[usize], values: &[Value]) -> SqlResult<bool> {
        let index = table.indexes.iter().position(|index| {
            index.filter.is_none()
                && index
                    .keys
                    .iter()
                    .map(|key| key.column)
                    .take(columns.len())
                    .eq(columns.iter().copied())
        });
        let access = match index {
            Some(index) => {
                let mut prefix = Vec::new();
                for (value, part) in values.iter().zip(&table.indexes[index].keys) {
                    let collation = table.columns[part.column].info.collation;
                    key::append(value, collation, part.descending, &mut prefix);
                }
                Access::Index {
                    index,
                    range: KeyRange::prefix(prefix),
                    backwards: false,
                }
            }
            None => Access::Heap {
                order: Shuffle::default(),
            },
        };
        let wanted = self.key_bytes(table, columns, values.iter());
        let (tx, patience) = (self.statement.tx, self.patience());
        let engine = Arc::clone(&self.session.engine);
        let mut cursor = Cursor::new(access);
        let mut page = Vec::new();
        loop {
            page.clear();
            let read = Read::Committed {
                lock: Some(LockMode::Shared),
            };
            let more = refused(engine.store().when_free(tx, &patience, |store| {
                store.scan(tx, id, read, &mut cursor, 64, &mut |_, row| {
                    page.push(row.row());
                    Flow::Continue
                })
            })?)?;
            if page
                .iter()
                .any(|row| self.key_bytes(table, columns, columns.iter().map(|at| &row[*at])) == wanted)
            {
                return Ok(true);
            }
            if !more {
                return Ok(false);
            }
        }
    }

    fn key_bytes<'v>(
        &self,
        table: &Table,
        columns: &[usize],
        values: impl Iterator<Item = &'v Value>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        for (value, at) in values.zip(columns) {
            key::append(value, table.columns[*at].info.collation, false, &mut out);
        }
        out
    }

    fn conflict(
        &self,
        statement: &str,
        kind: &str,
        foreign: &ForeignKey,
        table: &Table,
        column: &str,
    ) -> SqlError {
        let database = self.session.database_name(table.database);
        SqlError::new(
            547,
            16,
            0,
            format!(
                "The {statement} statement conflicted with the {kind} constraint \"{}\". The conflict occurred in database \"{database}\", table \"{}\"{column}.",
                foreign.name,
                table.qualified()
            ),
        )
    }
}
