//! INSERT BULK: rows arrive from the wire after the statement, and are written in groups.

use std::sync::Arc;

use super::bind_query::result_column;
use super::output::unknown_object;
use super::run::Run;
use super::writer::{Change, TableWriter};
use crate::ast::InsertBulk;
use crate::error::{SqlError, SqlResult};
use crate::eval::convert_value;
use crate::session::{BulkLoad, BulkRows, BulkTarget};
use crate::store::{Column, Form, Stored, Table, TableId};
use crate::types::{Length, SqlType, TypeInfo};
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
        let rows = BulkRows::new(self.fitting(id, &table, &places, bulk));
        let columns = places
            .iter()
            .map(|at| result_column(table.columns[*at].name.clone(), table.columns[*at].info));
        self.session.bulk = Some(BulkLoad {
            target: BulkTarget {
                columns: columns.collect(),
            },
            table: id,
            definition: table,
            places,
            keep_nulls: bulk.keep_nulls,
            check_constraints: bulk.check_constraints,
            fire_triggers: bulk.fire_triggers,
            rows,
            written: 0,
            error: None,
            transaction: None,
        });
        self.done(crate::outcome::Command::BulkInsert, None);
        Ok(())
    }

    /// What each column asks for, if rows that have it need nothing more: every column is given, none is made by the server, and neither
    /// constraints nor triggers look at them.
    fn fitting(
        &self,
        id: TableId,
        table: &Table,
        places: &[usize],
        bulk: &InsertBulk,
    ) -> Option<Vec<BulkColumn>> {
        let all = places.iter().copied().eq(0..table.columns.len());
        let checked = bulk.check_constraints && !(table.checks.is_empty() && table.foreign_keys.is_empty());
        let made = |column: &Column| {
            column.computed.is_some() || column.identity.is_some() || column.info.ty == SqlType::RowVersion
        };
        if !all || checked || bulk.fire_triggers || table.columns.iter().any(made) {
            return None;
        }
        let store = self.session.engine.store().lock();
        let forms = store.tables.get(&id)?.forms();
        let columns = table.columns.iter().zip(forms);
        let fitting = columns.map(|(column, form)| BulkColumn {
            info: column.info,
            takes_null: column.info.nullable && (bulk.keep_nulls || column.default.is_none()),
            form: *form,
        });
        Some(fitting.collect())
    }

    /// Writes the rows gathered so far.
    pub(crate) fn write_bulk(&mut self, load: &mut BulkLoad) -> SqlResult<()> {
        if !Arc::ptr_eq(&load.definition, &self.session.table_definition(load.table)?) {
            load.rows.leave_fast_path();
        }
        let rows = std::mem::take(&mut load.rows.values);
        let writer = self.bind(|binder| TableWriter::prepare(binder, load.table, load.check_constraints))?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            let mut given = Vec::with_capacity(row.len());
            for (value, at) in row.into_iter().zip(&load.places) {
                let target = &writer.table.columns[*at];
                // Without KEEP_NULLS a NULL takes the column's default, and an identity its next value.
                let generated = target.default.is_some() || target.identity.is_some();
                if value.is_null() && generated && !load.keep_nulls {
                    continue;
                }
                let value = convert_bulk(value, super::writer::unlimited(target.info))?;
                given.push((*at, value));
            }
            let values = writer.values(self, given)?;
            changes.push(Change::insert(writer.complete(self, values, "INSERT")?));
        }
        if !load.check_constraints {
            self.distrust(&writer);
            load.definition = self.session.table_definition(load.table)?;
        }
        let packed = std::mem::take(&mut load.rows.packed);
        load.written += packed.len() as u64;
        writer.write_packed(self, &packed)?;
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
            data.definition = Arc::new(table);
        }
    }
}

/// What a bulk load's column asks of a value that is kept at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BulkColumn {
    info: TypeInfo,
    /// NULL stays NULL.
    takes_null: bool,
    pub(crate) form: Option<Form>,
}

impl BulkColumn {
    /// A value that is kept at once: as it comes, or a number or a time of another type than the column's, as FreeTDS announces each
    /// `datetime2`. The value itself is given back where more has to be done or told.
    pub(crate) fn fit<'v>(&self, value: Stored<'v>) -> Result<Stored<'v>, Stored<'v>> {
        if self.takes(&value) {
            return Ok(value);
        }
        match value {
            Stored::Other(value) if !value.is_null() && self.form.is_some_and(Form::is_scalar) => {
                let converted = convert_bulk(value.clone(), self.info);
                converted.map(Stored::Other).map_err(|_| Stored::Other(value))
            }
            other => Err(other),
        }
    }

    /// Whether a value is of the column's type, and neither too long nor to be padded.
    fn takes(&self, value: &Stored<'_>) -> bool {
        let within = |length: usize, limit: Length| match limit {
            Length::Chars(most) => length <= usize::from(most),
            Length::Max => true,
        };
        match (value, self.info.ty) {
            (Stored::Other(Value::Null), _) => self.takes_null,
            (Stored::Other(Value::Str(_)), SqlType::NVarChar { len: Length::Max } | SqlType::NText) => true,
            (Stored::Other(Value::Bytes(_)), SqlType::VarBinary { len: Length::Max } | SqlType::Image) => {
                true
            }
            (Stored::Other(Value::Str(_) | Value::Bytes(_)), _) => false,
            (
                Stored::Other(Value::Decimal(decimal)),
                SqlType::Decimal { precision, scale } | SqlType::Numeric { precision, scale },
            ) => decimal.precision == precision && decimal.scale == scale,
            (Stored::Other(value), ty) => value.own_type() == Some(ty),
            (Stored::Ascii(text), SqlType::VarChar { len } | SqlType::NVarChar { len }) => {
                within(text.len(), len)
            }
            (Stored::Ascii(text), SqlType::Char { len } | SqlType::NChar { len }) => {
                text.len() == usize::from(len)
            }
            (Stored::Wide(units), SqlType::NVarChar { len }) => within(units.len() / 2, len),
            (Stored::Wide(units), SqlType::NChar { len }) => units.len() / 2 == usize::from(len),
            (Stored::Bytes(bytes), SqlType::VarBinary { len }) => within(bytes.len(), len),
            (Stored::Bytes(bytes), SqlType::Binary { len }) => bytes.len() == usize::from(len),
            _ => false,
        }
    }
}

/// The protocol has decoded the value as the type that the client announced; most need nothing more.
fn convert_bulk(value: Value, target: TypeInfo) -> SqlResult<Value> {
    let text = matches!(value, Value::Str(_)) && target.ty.is_character();
    let image = matches!((&value, target.ty), (Value::Bytes(_), SqlType::Image));
    match value.own_type() {
        Some(own) if own != target.ty && !text && !image => convert_value(value, TypeInfo::new(own), target),
        _ => Ok(value),
    }
}
