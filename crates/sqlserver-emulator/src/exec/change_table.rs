//! Change Tracking as SQL: CHANGETABLE, its functions, WITH CHANGE_TRACKING_CONTEXT.
//!
//! Readers see committed changes only, whatever their isolation level; under SNAPSHOT those of their snapshot.

use std::sync::Arc;

use super::draft::{Draft, LeafSource};
use super::output::{spelled, unknown_object};
use super::plan::{ReadPlan, RowFunction, ScanPlan};
use super::rows::Each;
use super::run::Run;
use super::scope::{Binder, BoundColumn, same};
use crate::ast::{ChangeTableRequest, Expr, ObjectName};
use crate::error::{SqlError, SqlResult};
use crate::eval::{BoundExpr, EnvironmentFunction, bind, convert_to};
use crate::outcome::Flow;
use crate::session::Isolation;
use crate::store::{Access, Key, KeyRange, NetChange, Operation, Row, Table, TableId, is_in_mask, key};
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

/// What `SYS_CHANGE_CONTEXT` can hold.
const LONGEST_CONTEXT: u16 = 128;

impl Binder<'_> {
    /// CHANGETABLE. Errors: 208, 22105, 22107, 22103, 22110, 22111, 229.
    pub(super) fn draft_change_table(
        &mut self,
        name: &ObjectName,
        request: &ChangeTableRequest,
        alias: &str,
        names: &[String],
    ) -> SqlResult<Draft> {
        let (id, table) = self.tracked_table(name)?;
        self.session.allow(id, "SELECT")?;
        self.session.allow(id, "VIEW CHANGE TRACKING")?;
        let read = self.session.read_plan(&table, &[], false)?;
        let key = key_columns(&table);
        let (function, own): (_, &[(&str, SqlType)]) = match request {
            ChangeTableRequest::Changes { last } => {
                let last = convert_to(bind(last, self)?, TypeInfo::new(SqlType::BigInt))?;
                let table = id;
                (RowFunction::Changes { table, read, last }, &CHANGES)
            }
            ChangeTableRequest::Version { columns, values } => {
                let key = self.key_values(&table, &key, columns, values)?;
                let table = id;
                (RowFunction::Version { table, read, key }, &VERSION)
            }
        };
        let own = own
            .iter()
            .map(|(name, ty)| ((*name).to_owned(), TypeInfo::new(*ty)));
        let keys = key.iter().filter_map(|at| table.columns.get(*at));
        let all = own.chain(keys.map(|column| (column.name.clone(), column.info)));
        let columns = all.enumerate().map(|(at, (name, info))| BoundColumn {
            table: alias.to_owned(),
            schema: None,
            name: names.get(at).cloned().unwrap_or(name),
            info,
            identity: false,
            read_only: true,
            hidden: false,
        });
        Ok(Draft::Leaf {
            source: LeafSource::Function(Box::new(function)),
            columns: columns.collect(),
            conditions: Vec::new(),
        })
    }

    fn tracked_table(&self, name: &ObjectName) -> SqlResult<(TableId, Arc<Table>)> {
        let Some(id) = self.session.find_table(name)? else {
            let other = name.schema.as_deref().is_some_and(|schema| same(schema, "sys"));
            let database = self.session.database_of(name)?;
            let module = database.module(name.schema.as_deref().unwrap_or("dbo"), &name.name);
            return Err(if other || module.is_some() {
                no_table(name)
            } else {
                unknown_object(name)
            });
        };
        let table = self.session.table_definition(id)?;
        if table.name.starts_with('#') {
            return Err(no_table(name));
        }
        if !self.session.is_tracked(id) {
            return Err(SqlError::user(
                22_105,
                format!("Change tracking is not enabled on table '{}'.", spelled(name)),
            ));
        }
        Ok((id, table))
    }

    /// The values of VERSION in the order of the key's columns.
    fn key_values(
        &mut self,
        table: &Table,
        key: &[usize],
        columns: &[String],
        values: &[Expr],
    ) -> SqlResult<Vec<BoundExpr>> {
        if values.len() != columns.len() {
            return Err(SqlError::user(
                22_103,
                "The arguments supplied are not valid for the VERSION option of the CHANGETABLE function.",
            ));
        }
        let mut places = Vec::with_capacity(columns.len());
        for name in columns {
            let at = table.column(name).filter(|at| key.contains(at));
            places.push(at.ok_or_else(|| {
                SqlError::user(
                    22_111,
                    format!(
                        "The column '{name}' specified in the CHANGETABLE(VERSION ...) function is not part of the primary key for table '{}'.",
                        table.name
                    ),
                )
            })?);
        }
        if columns.len() != key.len() || !key.iter().all(|at| places.contains(at)) {
            return Err(SqlError::user(
                22_110,
                format!(
                    "The number of columns specified in the CHANGETABLE(VERSION ...) function does not match the number of primary key columns for table '{}'.",
                    table.name
                ),
            ));
        }
        let mut bound = Vec::with_capacity(key.len());
        for at in key {
            let given = places.iter().position(|place| place == at);
            if let (Some(value), Some(column)) =
                (given.and_then(|given| values.get(given)), table.columns.get(*at))
            {
                bound.push(convert_to(bind(value, self)?, column.info)?);
            }
        }
        Ok(bound)
    }
}

const CHANGES: [(&str, SqlType); 5] = [
    ("SYS_CHANGE_VERSION", SqlType::BigInt),
    ("SYS_CHANGE_CREATION_VERSION", SqlType::BigInt),
    ("SYS_CHANGE_OPERATION", SqlType::NChar { len: 1 }),
    (
        "SYS_CHANGE_COLUMNS",
        SqlType::VarBinary {
            len: Length::Chars(4100),
        },
    ),
    (
        "SYS_CHANGE_CONTEXT",
        SqlType::VarBinary {
            len: Length::Chars(LONGEST_CONTEXT),
        },
    ),
];

const VERSION: [(&str, SqlType); 2] = [CHANGES[0], CHANGES[4]];

/// The primary key's columns, in its order.
fn key_columns(table: &Table) -> Vec<usize> {
    let index = table.primary_key().and_then(|at| table.indexes.get(at));
    index.map_or_else(Vec::new, |index| {
        index.keys.iter().map(|part| part.column).collect()
    })
}

fn no_table(name: &ObjectName) -> SqlError {
    SqlError::user(
        22_107,
        format!(
            "Object '{}' is of a data type that is not supported by the CHANGETABLE function. The object must be a user-defined table.",
            spelled(name)
        ),
    )
}

impl crate::session::SessionState {
    pub(super) fn is_tracked(&self, id: TableId) -> bool {
        let store = self.engine.store().lock();
        store.tables.get(&id).is_some_and(|data| data.tracking.is_some())
    }
}

impl Run<'_> {
    /// Pushes the rows that a function gives.
    pub(super) fn function_rows(&mut self, function: &RowFunction, each: Each<'_>) -> SqlResult<Flow> {
        let rows = match function {
            RowFunction::Changes { table, read, last } => {
                let last = self.value(last)?.as_integer();
                let upto = self.as_of(*read);
                let rows: Vec<Row> = {
                    let store = self.session.engine.store().lock();
                    let tracking = store.tables.get(table).and_then(|data| data.tracking.as_ref());
                    let changes = tracking.map(|tracking| tracking.net_changes(last, upto));
                    changes.into_iter().flatten().map(change_row).collect()
                };
                self.session.shuffled(rows)
            }
            RowFunction::Version { table, read, key } => self.row_version(*table, *read, key)?,
            RowFunction::Captured(range) => return self.captured_changes(range, each),
        };
        for row in rows {
            if each(self, row)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// The commit that a reader's snapshot ends at; none for one that sees all commits.
    fn as_of(&mut self, read: ReadPlan) -> Option<u64> {
        matches!(read, ReadPlan::Snapshot).then(|| self.snapshot())
    }

    /// One row if the table has a row of that key. Its version is unknown while its change is not committed.
    fn row_version(&mut self, id: TableId, read: ReadPlan, key: &[BoundExpr]) -> SqlResult<Vec<Row>> {
        let table = self.session.table_definition(id)?;
        let Some(at) = table.primary_key() else {
            return Ok(Vec::new());
        };
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        for (expr, part) in key.iter().zip(&table.indexes[at].keys) {
            let value = self.value(expr)?;
            let collation = table.columns[part.column].info.collation;
            key::append(&value, collation, part.descending, &mut bytes);
            values.push(value);
        }
        let scan = ScanPlan::whole(id, read);
        let access = Access::Index {
            index: at,
            range: KeyRange::prefix(bytes.clone()),
            backwards: false,
        };
        let mut found = false;
        self.visit(&scan, &[], vec![access], &mut |_, _| {
            found = true;
            Ok(Flow::Stop)
        })?;
        if !found {
            return Ok(Vec::new());
        }
        let upto = self.as_of(read);
        let tx = self.statement.tx;
        let bytes = Key::from(bytes.as_slice());
        let store = self.session.engine.store().lock();
        let latest = if store.has_pending_change(tx, id, &bytes) {
            None
        } else {
            let tracking = store.tables.get(&id).and_then(|data| data.tracking.as_ref());
            tracking.and_then(|tracking| tracking.latest(&bytes, upto))
        };
        let (version, context) = latest.map_or((Value::Null, None), |(version, context)| {
            (Value::BigInt(version), context)
        });
        Ok(vec![
            [version, binary(context)].into_iter().chain(values).collect(),
        ])
    }

    /// The functions of Change Tracking; none for all others.
    pub(super) fn tracking_function(
        &mut self,
        function: EnvironmentFunction,
        arguments: &[Value],
    ) -> SqlResult<Option<Value>> {
        Ok(Some(match function {
            EnvironmentFunction::ChangeTrackingCurrentVersion => self.current_version(),
            EnvironmentFunction::ChangeTrackingMinValidVersion => {
                self.min_valid_version(arguments.first().and_then(Value::as_integer))
            }
            EnvironmentFunction::ChangeTrackingIsColumnInMask => {
                let column = arguments.first().and_then(Value::as_integer).unwrap_or_default();
                let mask = match arguments.get(1) {
                    Some(Value::Bytes(mask)) => Some(&**mask),
                    _ => None,
                };
                let found = is_in_mask(column as i32, mask).ok_or_else(|| {
                    SqlError::user(
                        22_101,
                        "The value supplied for the change_columns argument of CHANGE_TRACKING_IS_COLUMN_IN_MASK function is not valid. The value must be a bitmask returned by the CHANGETABLE(CHANGES ...) function.",
                    )
                })?;
                Value::Bit(found)
            }
            _ => return Ok(None),
        }))
    }

    /// NULL in a database without Change Tracking.
    fn current_version(&mut self) -> Value {
        let Some(database) = self.session.current_database() else {
            return Value::Null;
        };
        if database.options.change_tracking.is_none() {
            return Value::Null;
        }
        let versioned = match self.session.isolation {
            Isolation::Snapshot => true,
            Isolation::ReadCommitted => database.options.read_committed_snapshot,
            _ => false,
        };
        let upto = versioned.then(|| self.snapshot());
        let store = self.session.engine.store().lock();
        Value::BigInt(store.tracking_version(database.id, upto))
    }

    /// NULL for a table that is not tracked, does not exist, or is not for this login.
    fn min_valid_version(&self, object_id: Option<i64>) -> Value {
        let store = self.session.engine.store().lock();
        let mut all = store.tables.iter();
        let found = all.find(|(_, data)| {
            let table = &data.definition;
            table.database == self.session.database && Some(i64::from(table.object_id)) == object_id
        });
        let version = found.and_then(|(id, data)| Some((*id, data.tracking.as_ref()?.min_valid_version())));
        drop(store);
        let allowed = version.filter(|(id, _)| self.session.allow(*id, "VIEW CHANGE TRACKING").is_ok());
        allowed.map_or(Value::Null, |(_, version)| Value::BigInt(version))
    }

    /// Runs a statement whose changes carry a context. Error 22109.
    pub(super) fn with_change_context<T>(
        &mut self,
        context: &Expr,
        statement: impl FnOnce(&mut Self) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let bound = self.bind(|binder| bind(context, binder))?;
        let fits = match bound.info().ty {
            SqlType::Binary { len } => len <= LONGEST_CONTEXT,
            SqlType::VarBinary {
                len: Length::Chars(len),
            } => len <= LONGEST_CONTEXT,
            _ => false,
        };
        if !fits {
            return Err(SqlError::user(
                22_109,
                "The \"context\" argument for the CHANGE_TRACKING_CONTEXT WITH clause must be of type varbinary data type with a maximum length of 128.",
            ));
        }
        self.change_context = match self.value(&bound)? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        };
        let result = statement(self);
        self.change_context = None;
        result
    }
}

fn change_row(change: NetChange) -> Row {
    let operation = match change.operation {
        Operation::Insert => "I",
        Operation::Update => "U",
        Operation::Delete => "D",
    };
    let own = [
        Value::BigInt(change.version),
        change.creation_version.map_or(Value::Null, Value::BigInt),
        Value::text(operation),
        binary(change.columns.map(Arc::from)),
        binary(change.context),
    ];
    own.into_iter().chain(change.key.iter().cloned()).collect()
}

fn binary(bytes: Option<Arc<[u8]>>) -> Value {
    bytes.map_or(Value::Null, Value::Bytes)
}
