//! INSERT BULK: rows arrive from the wire after the statement, and are written in groups.

use super::bind_query::result_column;
use super::output::unknown_object;
use super::run::Run;
use super::writer::{Change, TableWriter};
use crate::ast::InsertBulk;
use crate::error::{SqlError, SqlResult};
use crate::eval::convert_value;
use crate::session::{BulkLoad, BulkTarget};
use crate::types::SqlType;
use crate::value::Value;

impl Run<'_> {
    /// Notes the target of the rows to come.
    pub(crate) fn begin_bulk(&mut self, bulk: &InsertBulk) -> SqlResult<()> {
        self.refuse_if_doomed()?;
        let id = self
            .session
            .find_table(&bulk.table)?
            .ok_or_else(|| unknown_object(&bulk.table))?;
        self.session.allow(id, "INSERT")?;
        let table = self.session.table_definition(id)?;
        let mut places = Vec::new();
        if bulk.columns.is_empty() {
            let given = table.columns.iter().enumerate();
            places.extend(
                given
                    .filter(|(_, c)| c.computed.is_none() && c.info.ty != SqlType::RowVersion)
                    .map(|(at, _)| at),
            );
        }
        for column in &bulk.columns {
            let at = table.column(&column.name).ok_or_else(|| {
                SqlError::user(
                    4860,
                    format!(
                        "Cannot bulk load. The column '{}' does not exist in table '{}'.",
                        column.name, table.name
                    ),
                )
            })?;
            places.push(at);
        }
        let columns = places
            .iter()
            .map(|at| result_column(table.columns[*at].name.clone(), table.columns[*at].info));
        self.session.bulk = Some(BulkLoad {
            target: BulkTarget {
                columns: columns.collect(),
            },
            table: id,
            places,
            keep_nulls: bulk.keep_nulls,
            check_constraints: bulk.check_constraints,
            fire_triggers: bulk.fire_triggers,
            rows: Vec::new(),
            written: 0,
            error: None,
            transaction: None,
        });
        self.done(crate::outcome::Command::BulkInsert, None);
        Ok(())
    }

    /// Writes the rows gathered so far.
    pub(crate) fn write_bulk(&mut self, load: &mut BulkLoad) -> SqlResult<()> {
        let rows = std::mem::take(&mut load.rows);
        let writer = self.bind(|binder| TableWriter::prepare(binder, load.table, load.check_constraints))?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            let mut given = Vec::with_capacity(row.len());
            for ((value, at), column) in row.into_iter().zip(&load.places).zip(&load.target.columns) {
                let target = &writer.table.columns[*at];
                // Without KEEP_NULLS a NULL takes the column's default, and an identity its next value.
                let generated = target.default.is_some() || target.identity.is_some();
                if value.is_null() && generated && !load.keep_nulls {
                    continue;
                }
                let from = super::bind_query::info_of(column);
                let value = convert_bulk(value, from, super::writer::unlimited(target.info))?;
                given.push((*at, value));
            }
            let values = writer.values(self, given)?;
            changes.push(Change::insert(writer.complete(self, values, "INSERT")?));
        }
        if !load.check_constraints {
            self.distrust(&writer);
        }
        load.written += changes.len() as u64;
        let written = writer.write(self, changes)?;
        if load.check_constraints {
            self.check_references(&writer, written.iter().flatten(), "INSERT")?;
        }
        if load.fire_triggers {
            let rows: Vec<_> = written.into_iter().flatten().collect();
            self.fire(&writer, "INSERT", &rows, &[])?;
        }
        Ok(())
    }

    /// Constraints that a load has passed by are not trusted any more.
    fn distrust(&mut self, writer: &TableWriter) {
        let trusted = writer.table.checks.iter().any(|c| c.trusted)
            || writer.table.foreign_keys.iter().any(|k| k.trusted);
        if !trusted {
            return;
        }
        let mut table = (*writer.table).clone();
        table.checks.iter_mut().for_each(|check| check.trusted = false);
        table.foreign_keys.iter_mut().for_each(|key| key.trusted = false);
        if let Some(data) = self.session.engine.store().lock().tables.get_mut(&writer.id) {
            data.definition = std::sync::Arc::new(table);
        }
    }
}

/// The protocol has decoded the value as the type that the client announced; most need nothing more.
fn convert_bulk(
    value: Value,
    announced: crate::types::TypeInfo,
    target: crate::types::TypeInfo,
) -> SqlResult<Value> {
    let text = matches!(value, Value::Str(_)) && target.ty.is_character();
    let image = matches!((&value, target.ty), (Value::Bytes(_), SqlType::Image));
    let own = value.own_type();
    if text || image || own.is_none_or(|own| own == target.ty) {
        return Ok(value);
    }
    let from = own.map_or(announced, crate::types::TypeInfo::new);
    convert_value(value, from, target)
}
