//! Making rows fit their table: defaults, lengths, padding, computed columns, NOT NULL, CHECK.

use std::sync::Arc;

use super::run::Run;
use super::scope::Binder;
use super::{draft::table_columns, rows::refused};
use crate::error::{SqlError, SqlResult};
use crate::eval::{BoundExpr, bind, bind_predicate, convert_to};
use crate::session::Isolation;
use crate::store::{Check, Column, Index, NewRow, Packed, Refusal, Row, RowId, Store, Table, TableId, TxId};
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

/// Rows written before other sessions get a turn at the store.
const WRITTEN_AT_ONCE: usize = 1024;

/// What an INSERT, UPDATE or MERGE needs to know of its table.
pub(crate) struct TableWriter {
    pub(crate) id: TableId,
    pub(crate) table: Arc<Table>,
    /// By column; none gives NULL.
    defaults: Vec<Option<BoundExpr>>,
    computed: Vec<(usize, BoundExpr)>,
    checks: Vec<(BoundExpr, String)>,
    rowversion: Option<usize>,
}

impl TableWriter {
    /// Binds the table's defaults, computed columns and, if wanted, its CHECK constraints.
    pub(crate) fn prepare(binder: &mut Binder<'_>, id: TableId, checked: bool) -> SqlResult<Self> {
        let table = binder.session.table_definition(id)?;
        let columns = table_columns(&table, &table.name, Some(&table.schema));
        let (bound, _) = binder.over(columns, |binder| -> SqlResult<_> {
            let mut defaults = Vec::with_capacity(table.columns.len());
            let mut computed = Vec::new();
            for (at, column) in table.columns.iter().enumerate() {
                let default = column
                    .default
                    .as_ref()
                    .map(|default| stored(binder, &default.value.expr, column));
                defaults.push(default.transpose()?);
                if let Some(definition) = &column.computed {
                    computed.push((
                        at,
                        convert_to(bind(&definition.value.expr, binder)?, column.info)?,
                    ));
                }
            }
            let enabled = table.checks.iter().filter(|check| checked && !check.disabled);
            let checks =
                enabled.map(|check| Ok((bind_predicate(&check.condition.expr, binder)?, check.name.clone())));
            Ok((defaults, computed, checks.collect::<SqlResult<Vec<_>>>()?))
        });
        let (defaults, computed, checks) = bound?;
        let rowversion = table
            .columns
            .iter()
            .position(|column| column.info.ty == SqlType::RowVersion);
        Ok(Self {
            id,
            table,
            defaults,
            computed,
            checks,
            rowversion,
        })
    }

    /// A value for each column that INSERT may leave out.
    pub(crate) fn default(&self, run: &mut Run<'_>, column: usize) -> SqlResult<Value> {
        match self.defaults.get(column).and_then(Option::as_ref) {
            Some(default) => run.value(default),
            None => Ok(Value::Null),
        }
    }

    /// Checks and completes a row: lengths, computed columns, NULLs, CHECK constraints. `statement` is INSERT or UPDATE.
    pub(crate) fn complete(
        &self,
        run: &mut Run<'_>,
        mut values: Vec<Value>,
        statement: &str,
    ) -> SqlResult<Row> {
        for (value, column) in values.iter_mut().zip(&self.table.columns) {
            let given = std::mem::take(value);
            *value = self.fit(run, given, column)?;
        }
        if let Some(at) = self.rowversion
            && let Some(value) = values.get_mut(at)
        {
            // The number is assigned when the row is written.
            *value = Value::RowVersion(0);
        }
        for (at, expr) in &self.computed {
            let row: Row = values.as_slice().into();
            let value = run.value_over(expr, &row)?;
            if let Some(place) = values.get_mut(*at) {
                *place = value;
            }
        }
        for (value, column) in values.iter().zip(&self.table.columns) {
            if value.is_null() && !column.info.nullable {
                return Err(self.null_refused(run, column, statement));
            }
        }
        let row: Row = values.into();
        for (check, name) in &self.checks {
            run.set_row(row.clone());
            if run.value(check)? == Value::Bit(false) {
                return Err(self.check_failed(run, name, statement));
            }
        }
        Ok(row)
    }

    /// Whether an UPDATE of these columns has to know no others of the rows that it changes.
    pub(crate) fn sets_alone(&self, set: &[usize]) -> bool {
        let is_unique = |index: &Index| {
            index.unique && (index.filter.is_some() || index.keys.iter().any(|key| set.contains(&key.column)))
        };
        self.computed.is_empty()
            && self.checks.is_empty()
            && self.rowversion.is_none()
            && self.table.foreign_keys.is_empty()
            && !self.table.indexes.iter().any(is_unique)
    }

    /// Checks and completes the values that an UPDATE sets: lengths and NULLs.
    pub(crate) fn complete_set(
        &self,
        run: &Run<'_>,
        mut values: Vec<(usize, Value)>,
    ) -> SqlResult<Vec<(usize, Value)>> {
        for (at, value) in &mut values {
            let column = &self.table.columns[*at];
            *value = self.fit(run, std::mem::take(value), column)?;
            if value.is_null() && !column.info.nullable {
                return Err(self.null_refused(run, column, "UPDATE"));
            }
        }
        Ok(values)
    }

    fn null_refused(&self, run: &Run<'_>, column: &Column, statement: &str) -> SqlError {
        SqlError::new(
            515,
            16,
            2,
            format!(
                "Cannot insert the value NULL into column '{}', table '{}'; column does not allow nulls. {statement} fails.",
                column.name,
                self.full_name(run)
            ),
        )
    }

    fn check_failed(&self, run: &Run<'_>, name: &str, statement: &str) -> SqlError {
        let database = run.session.database_name(self.table.database);
        SqlError::new(
            547,
            16,
            0,
            format!(
                "The {statement} statement conflicted with the CHECK constraint \"{name}\". The conflict occurred in database \"{database}\", table \"{}\".",
                self.table.qualified()
            ),
        )
    }

    /// `database.schema.table`; a table variable has only its own name.
    pub(crate) fn full_name(&self, run: &Run<'_>) -> String {
        if self.table.variable {
            return self.table.name.clone();
        }
        format!(
            "{}.{}",
            run.session.database_name(self.table.database),
            self.table.qualified()
        )
    }

    /// A value in its column's exact form. Error 2628 if it is too long.
    fn fit(&self, run: &Run<'_>, value: Value, column: &Column) -> SqlResult<Value> {
        match (value, column.info.ty) {
            (Value::Str(text), ty) if ty.is_character() => self.fit_text(run, text, column),
            (Value::Bytes(bytes), SqlType::Binary { len }) if bytes.len() < usize::from(len) => {
                let mut padded = bytes.to_vec();
                padded.resize(usize::from(len), 0);
                Ok(Value::bytes(&padded))
            }
            (
                Value::Bytes(bytes),
                SqlType::Binary { len }
                | SqlType::VarBinary {
                    len: Length::Chars(len),
                },
            ) if bytes.len() > usize::from(len) => Err(self.truncated(run, column, "")),
            (value, _) => Ok(value),
        }
    }

    fn fit_text(&self, run: &Run<'_>, text: Arc<[u16]>, column: &Column) -> SqlResult<Value> {
        let collation = column.info.collation;
        let (unicode, fixed, limit) = match column.info.ty {
            SqlType::Char { len } => (false, true, usize::from(len)),
            SqlType::NChar { len } => (true, true, usize::from(len)),
            SqlType::VarChar {
                len: Length::Chars(len),
            } => (false, false, usize::from(len)),
            SqlType::NVarChar {
                len: Length::Chars(len),
            } => (true, false, usize::from(len)),
            SqlType::VarChar { len: Length::Max } | SqlType::Text => (false, false, usize::MAX),
            _ => return Ok(Value::Str(text)),
        };
        let ascii = text.iter().all(|unit| *unit < 0x80);
        let text = match collation {
            Some(collation) if !unicode && !ascii => {
                // What the code page lacks becomes a question mark.
                collation
                    .code_page
                    .decode(&collation.code_page.encode(&text))
                    .into()
            }
            _ => text,
        };
        let size = |text: &[u16]| match collation {
            Some(collation) if !unicode && !ascii => collation.code_page.encode(text).len(),
            _ => text.len(),
        };
        let mut length = size(&text);
        if length <= limit && !(fixed && length < limit) {
            return Ok(Value::Str(text));
        }
        let mut units = text.to_vec();
        while length > limit && units.last() == Some(&u16::from(b' ')) {
            units.pop();
            length -= 1;
        }
        if length > limit {
            let shown: Vec<u16> = text.iter().copied().take(limit).collect();
            return Err(self.truncated(run, column, &String::from_utf16_lossy(&shown)));
        }
        if fixed {
            units.resize(units.len() + (limit - length), u16::from(b' '));
        }
        Ok(Value::Str(units.into()))
    }

    fn truncated(&self, run: &Run<'_>, column: &Column, shown: &str) -> SqlError {
        if run.session.compatibility_level(self.table.database) < 150 {
            return SqlError::new(8152, 16, 30, "String or binary data would be truncated.");
        }
        SqlError::new(
            2628,
            16,
            1,
            format!(
                "String or binary data would be truncated in table '{}', column '{}'. Truncated value: '{shown}'.",
                self.full_name(run),
                column.name
            ),
        )
    }

    /// Writes rows, waiting for locks. Gives back the rows as stored, with their rowversions, where they are known whole.
    ///
    /// Unique keys of changed rows are checked once all are written, so that `SET id = id + 1` meets no false duplicate.
    pub(crate) fn write(&self, run: &mut Run<'_>, changes: Vec<Change>) -> SqlResult<Vec<Option<Row>>> {
        let tx = run.statement.tx;
        let patience = run.patience();
        let engine = Arc::clone(&run.session.engine);
        let mut stored = Vec::with_capacity(changes.len());
        let mut unchecked = Vec::new();
        self.begin(run)?;
        while stored.len() < changes.len() {
            run.check_cancelled()?;
            let result = engine.store().when_free(tx, &patience, |store| {
                // A pause now and then lets other sessions at the store.
                let end = changes.len().min(stored.len() + WRITTEN_AT_ONCE);
                while stored.len() < end {
                    let change = &changes[stored.len()];
                    stored.push(self.write_one(store, tx, change, &mut unchecked)?);
                }
                Ok(())
            })?;
            self.written(result, || changes.get(stored.len()))
                .map_err(|error| run.name_stale(error, self.id))?;
        }
        for id in unchecked {
            let result = engine
                .store()
                .when_free(tx, &patience, |store| store.check_unique(tx, self.id, id))?;
            self.written(result, || changes.iter().find(|change| change.id == Some(id)))
                .map_err(|error| run.name_stale(error, self.id))?;
        }
        Ok(stored)
    }

    /// Adds rows that are made to be kept, waiting for locks.
    pub(crate) fn write_packed(&self, run: &mut Run<'_>, rows: &[Packed]) -> SqlResult<()> {
        let tx = run.statement.tx;
        let patience = run.patience();
        let engine = Arc::clone(&run.session.engine);
        self.begin(run)?;
        let mut written = 0;
        while written < rows.len() {
            run.check_cancelled()?;
            let result = engine.store().when_free(tx, &patience, |store| {
                let end = rows.len().min(written + WRITTEN_AT_ONCE);
                while let Some(row) = rows.get(written).filter(|_| written < end) {
                    store.insert_packed(tx, self.id, row)?;
                    written += 1;
                }
                Ok(())
            })?;
            if let Err(Refusal::Duplicate(at)) = result {
                let row = rows.get(written).map(Packed::row);
                return Err(self.duplicate(at, row.as_ref()));
            }
            refused(result).map_err(|error| run.name_stale(error, self.id))?;
        }
        Ok(())
    }

    /// Tells the store that this table is written from now on. Where nothing was read yet, that is when SNAPSHOT takes its snapshot.
    fn begin(&self, run: &mut Run<'_>) -> SqlResult<()> {
        run.session.note_access();
        let temporary = self.table.variable || self.table.name.starts_with('#');
        if run.session.isolation == Isolation::Snapshot && !temporary {
            run.snapshot_of(self.id)?;
        }
        let engine = &run.session.engine;
        let mut store = engine.store().lock();
        store.touch(run.statement.tx, self.table.database, engine.clock().now());
        store.begin_writing(run.statement.tx, self.id, run.change_context.clone());
        Ok(())
    }

    fn write_one(
        &self,
        store: &mut Store,
        tx: TxId,
        change: &Change,
        unchecked: &mut Vec<RowId>,
    ) -> Result<Option<Row>, Refusal> {
        let numbered = self.rowversion.zip(change.whole()).map(|(at, row)| {
            let mut values = row.to_vec();
            values[at] = Value::RowVersion(store.last_rowversion(self.table.database) + 1);
            NewRow::Whole(values.into())
        });
        let row = numbered.as_ref().or(change.row.as_ref());
        match (change.id, row) {
            (None, Some(NewRow::Whole(row))) => {
                store.insert(tx, self.id, row)?;
            }
            (Some(id), row) => {
                let set = change.set.as_ref();
                if store.replace(tx, self.id, id, row, set, Check::Later)? {
                    unchecked.push(id);
                }
            }
            (None, Some(NewRow::Set(_)) | None) => {}
        }
        if self.rowversion.is_some() && row.is_some() {
            // Only now is the number used: a writer that waits for a lock holds none yet.
            store.next_rowversion(tx, self.table.database);
        }
        Ok(row.and_then(NewRow::whole).cloned())
    }

    /// The error of a write that was refused for good.
    fn written<'c>(
        &self,
        result: Result<(), Refusal>,
        change: impl FnOnce() -> Option<&'c Change>,
    ) -> SqlResult<()> {
        if let Err(Refusal::Duplicate(at)) = result {
            return Err(self.duplicate(at, change().and_then(Change::whole)));
        }
        refused(result)
    }

    fn duplicate(&self, at: usize, row: Option<&Row>) -> SqlError {
        let index = &self.table.indexes[at];
        let values: Vec<String> = index
            .keys
            .iter()
            .filter_map(|part| {
                row.and_then(|row| row.get(part.column))
                    .map(|value| (value, part.column))
            })
            .map(|(value, column)| shown(value, self.table.columns[column].info))
            .collect();
        let name = if self.table.variable {
            self.table.name.clone()
        } else {
            self.table.qualified()
        };
        let values = values.join(", ");
        if index.constraint.is_some() {
            let kind = if index.primary {
                "PRIMARY KEY"
            } else {
                "UNIQUE KEY"
            };
            return SqlError::new(
                2627,
                14,
                1,
                format!(
                    "Violation of {kind} constraint '{}'. Cannot insert duplicate key in object '{name}'. The duplicate key value is ({values}).",
                    index.name
                ),
            );
        }
        SqlError::new(
            2601,
            14,
            1,
            format!(
                "Cannot insert duplicate key row in object '{name}' with unique index '{}'. The duplicate key value is ({values}).",
                index.name
            ),
        )
    }
}

/// One row to write: new (`id` none), changed, or deleted (`row` none).
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) id: Option<RowId>,
    pub(crate) row: Option<NewRow>,
    /// The columns that an UPDATE sets, in its order.
    pub(crate) set: Option<Arc<[usize]>>,
}

impl Change {
    pub(crate) fn insert(row: Row) -> Self {
        Self {
            id: None,
            row: Some(NewRow::Whole(row)),
            set: None,
        }
    }

    pub(crate) fn update(id: RowId, row: NewRow, set: Arc<[usize]>) -> Self {
        Self {
            id: Some(id),
            row: Some(row),
            set: Some(set),
        }
    }

    /// The whole new row, if that is what is known of it.
    pub(crate) fn whole(&self) -> Option<&Row> {
        self.row.as_ref()?.whole()
    }

    pub(crate) fn delete(id: RowId) -> Self {
        Self {
            id: Some(id),
            row: None,
            set: None,
        }
    }
}

/// An expression as it is given to a column: converted, but with its length unchecked.
pub(crate) fn stored(
    binder: &mut Binder<'_>,
    expr: &crate::ast::Expr,
    column: &Column,
) -> SqlResult<BoundExpr> {
    let bound = bind(expr, binder)?;
    convert_to(bound, unlimited(column.info))
}

/// The column's type without its length limit, so that what is too long can be refused rather than cut.
pub(crate) fn unlimited(info: TypeInfo) -> TypeInfo {
    let ty = match info.ty {
        SqlType::Char { .. } | SqlType::VarChar { .. } => SqlType::VarChar { len: Length::Max },
        SqlType::NChar { .. } | SqlType::NVarChar { .. } => SqlType::NVarChar { len: Length::Max },
        SqlType::Binary { .. } | SqlType::VarBinary { .. } => SqlType::VarBinary { len: Length::Max },
        other => other,
    };
    TypeInfo { ty, ..info }
}

/// A key value as error messages show it.
fn shown(value: &Value, info: TypeInfo) -> String {
    if value.is_null() {
        return "<NULL>".to_owned();
    }
    let text = TypeInfo::new(SqlType::NVarChar {
        len: Length::Chars(4000),
    });
    let converted = match value {
        Value::Bytes(bytes) => {
            return bytes
                .iter()
                .fold("0x".to_owned(), |out, byte| out + &format!("{byte:02x}"));
        }
        other => crate::eval::convert_value(other.clone(), info, text),
    };
    converted
        .ok()
        .and_then(|value| value.as_text())
        .unwrap_or_default()
}
