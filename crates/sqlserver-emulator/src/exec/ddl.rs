//! Statements that define objects: CREATE, ALTER, DROP, TRUNCATE. They are transactional, like those that change rows.
//!
//! A table is locked against everyone else while it changes, and a database's catalog while its transaction is open.

use std::sync::Arc;

use super::define::{Definer, Surroundings, empty_table};
use super::draft::table_columns;
use super::output::spelled;
use super::rows::refused;
use super::run::Run;
use super::scope::same;
use crate::ast::{Expr, ObjectKind, ObjectName, StatementKind, TableDefinition};
use crate::error::{SqlError, SqlResult};
use crate::eval::bind;
use crate::outcome::Command;
use crate::store::{Column, Database, LockMode, ModuleKind, Refusal, Table, TableData, TableId, Undo};
use crate::types::TypeInfo;

/// Stands for the table itself in a foreign key of a table that has no number yet.
const ITSELF: TableId = TableId(u64::MAX);

impl Run<'_> {
    /// Runs a statement that defines something.
    pub(crate) fn define(&mut self, kind: &StatementKind) -> SqlResult<()> {
        self.refuse_if_doomed()?;
        let command = match kind {
            StatementKind::CreateTable { .. } => Command::CreateTable,
            StatementKind::Drop {
                kind: ObjectKind::Table,
                ..
            } => Command::DropTable,
            StatementKind::TruncateTable(_) => Command::Truncate,
            _ => Command::Other,
        };
        self.in_transaction("DDL", |run| run.define_object(kind))?;
        self.session.row_count = 0;
        self.session.last_error = 0;
        self.done(command, None);
        Ok(())
    }

    fn define_object(&mut self, kind: &StatementKind) -> SqlResult<()> {
        match kind {
            StatementKind::CreateTable { name, table } => self.create_table(name, table).map(|_| ()),
            StatementKind::AlterTable { name, action, text } => {
                self.alter_table(name, action)?;
                self.log_ddl(name, text)
            }
            StatementKind::TruncateTable(name) => self.truncate(name),
            StatementKind::CreateIndex(index) => self.create_index(index),
            StatementKind::AlterIndex { name, table, action } => {
                self.alter_index(name.as_deref(), table, *action)
            }
            StatementKind::DropIndex {
                name,
                table,
                if_exists,
            } => self.drop_index(name, table, *if_exists),
            StatementKind::Drop {
                kind,
                names,
                if_exists,
            } => names
                .iter()
                .try_for_each(|name| self.drop_object(*kind, name, *if_exists)),
            other => self.define_other(other),
        }
    }

    /// Creates a table, a temporary one if the name begins with `#`.
    pub(crate) fn create_table(
        &mut self,
        name: &ObjectName,
        definition: &TableDefinition,
    ) -> SqlResult<TableId> {
        let (database, schema) = self.place(name)?;
        self.refuse_existing(&database, &schema, name)?;
        let mut table = self.empty(&database, &schema, &name.name);
        self.definer(&database, |definer| definer.add(&mut table, definition, true))?;
        self.add_table(&database, table)
    }

    /// The table of SELECT … INTO, without keys.
    pub(crate) fn create_table_of(&mut self, name: &ObjectName, columns: Vec<Column>) -> SqlResult<TableId> {
        let (database, schema) = self.place(name)?;
        self.refuse_existing(&database, &schema, name)?;
        let mut table = self.empty(&database, &schema, &name.name);
        table.last_column_id = columns.iter().map(|column| column.id).max().unwrap_or(0);
        table.columns = columns;
        self.add_table(&database, table)
    }

    /// The table of DECLARE @t TABLE; it has no name in a database, and a rollback leaves it alone.
    pub(crate) fn create_variable_table(
        &mut self,
        name: &str,
        definition: &TableDefinition,
    ) -> SqlResult<TableId> {
        let database = self.tempdb()?;
        let mut table = self.empty(&database, "dbo", name);
        table.variable = true;
        self.definer(&database, |definer| definer.add(&mut table, definition, true))?;
        let tx = self.statement.tx;
        let engine = Arc::clone(&self.session.engine);
        let mut store = engine.store().lock();
        let id = store.add_table(tx, Arc::new(table));
        if let Some(transaction) = store.transaction(tx) {
            transaction
                .undo
                .retain(|step| !matches!(step, Undo::Created(created) if *created == id));
        }
        Ok(id)
    }

    pub(super) fn tempdb(&self) -> SqlResult<Arc<Database>> {
        let store = self.session.engine.store().lock();
        let database = store.database_named("tempdb").cloned();
        database.ok_or_else(|| SqlError::unsupported("a server without tempdb"))
    }

    /// The database and the schema in which a new object belongs. Nobody else makes one there until the transaction ends.
    pub(super) fn place(&self, name: &ObjectName) -> SqlResult<(Arc<Database>, String)> {
        if name.name.starts_with('#') {
            return Ok((self.tempdb()?, "dbo".to_owned()));
        }
        self.lock_catalog(self.session.database_of(name)?.id)?;
        let database = self.session.database_of(name)?;
        let schema = name.schema.as_deref().unwrap_or("dbo");
        match database.schema(schema) {
            Some(schema) => Ok((Arc::clone(&database), schema.name.clone())),
            None => Err(SqlError::user(
                2760,
                format!(
                    "The specified schema name \"{schema}\" either does not exist or you do not have permission to use it."
                ),
            )),
        }
    }

    /// Error 2714.
    pub(super) fn refuse_existing(
        &self,
        database: &Database,
        schema: &str,
        name: &ObjectName,
    ) -> SqlResult<()> {
        let exists = if name.name.starts_with('#') {
            let id = self.session.temporary.get(&name.name.to_lowercase());
            id.is_some_and(|id| self.session.table_definition(*id).is_ok())
        } else {
            database.table(schema, &name.name).is_some() || database.module(schema, &name.name).is_some()
        };
        if exists {
            let message = format!(
                "There is already an object named '{}' in the database.",
                name.name
            );
            return Err(SqlError::new(2714, 16, 6, message));
        }
        Ok(())
    }

    pub(super) fn empty(&mut self, database: &Database, schema: &str, name: &str) -> Table {
        let id = self.new_object_id(database.id);
        empty_table(id, database.id, schema, name, self.statement.now)
    }

    pub(super) fn new_object_id(&self, database: i32) -> i32 {
        let mut store = self.session.engine.store().lock();
        let number = store.alter_catalog(database, Database::new_object_id);
        number.unwrap_or_default()
    }

    /// Works on a definition, with the session around it.
    pub(super) fn definer<T>(
        &mut self,
        database: &Database,
        work: impl FnOnce(&mut Definer<'_>) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let now = self.statement.now;
        let collation = database.collation;
        let database = database.id;
        work(&mut Definer {
            world: &mut World { run: self, database },
            collation,
            now,
        })
    }

    pub(super) fn add_table(&mut self, database: &Database, mut table: Table) -> SqlResult<TableId> {
        let temporary = table.name.starts_with('#');
        if !temporary {
            self.lock_catalog(database.id)?;
        }
        let refers_to_itself = table.foreign_keys.iter().any(|key| key.referenced == ITSELF);
        let key = Database::table_key(&table.schema, &table.name);
        let tx = self.statement.tx;
        let engine = Arc::clone(&self.session.engine);
        let mut store = engine.store().lock();
        let id = store.add_table(tx, Arc::new(table.clone()));
        if refers_to_itself && let Some(data) = store.tables.get_mut(&id) {
            for key in table
                .foreign_keys
                .iter_mut()
                .filter(|key| key.referenced == ITSELF)
            {
                key.referenced = id;
            }
            data.redefine(Arc::new(table));
        }
        if temporary {
            self.session.temporary.insert(key.1, id);
        } else {
            store.alter_catalog(database.id, |database| database.tables.insert(key, id));
        }
        Ok(id)
    }

    /// Waits until no other open transaction has locked the database's catalog, and keeps all others out.
    pub(super) fn lock_catalog(&self, database: i32) -> SqlResult<()> {
        let tx = self.statement.tx;
        let store = self.session.engine.store();
        refused(store.when_free(tx, &self.patience(), |store| store.lock_catalog(tx, database))?)
    }

    /// Waits until no other transaction has written or locked rows of a table, and keeps all others out.
    pub(super) fn lock_table(&self, id: TableId) -> SqlResult<()> {
        let tx = self.statement.tx;
        let free = self
            .session
            .engine
            .store()
            .when_free(tx, &self.patience(), |store| {
                let others = store
                    .tables
                    .get(&id)
                    .map(|data| data.others_with_rows(tx))
                    .unwrap_or_default();
                if !others.is_empty() {
                    return Err(Refusal::Blocked(others));
                }
                store.lock_range(tx, id, LockMode::Schema, None)
            })?;
        refused(free)
    }

    /// The table that an ALTER or a DROP INDEX names. Error 4902.
    pub(super) fn existing(&self, name: &ObjectName, number: i32) -> SqlResult<(TableId, Arc<Table>)> {
        let id = self.session.find_table(name)?;
        let table = id.and_then(|id| Some((id, self.session.table_definition(id).ok()?)));
        table.ok_or_else(|| {
            SqlError::user(
                number,
                format!(
                    "Cannot find the object \"{}\" because it does not exist or you do not have permissions.",
                    spelled(name)
                ),
            )
        })
    }

    /// Changes a table's content or definition; a rollback puts the old ones back.
    pub(super) fn replace_table<T>(
        &mut self,
        id: TableId,
        change: impl FnOnce(&mut Self, &mut TableData) -> SqlResult<T>,
    ) -> SqlResult<T> {
        self.lock_table(id)?;
        let tx = self.statement.tx;
        let engine = Arc::clone(&self.session.engine);
        // The table is out of the store while it changes: expressions may look into the store.
        let Some(mut data) = engine.store().lock().tables.get(&id).cloned() else {
            return Err(SqlError::user(208, "Invalid object name."));
        };
        let result = change(self, &mut data)?;
        let mut store = engine.store().lock();
        if let Some(current) = store.tables.get_mut(&id) {
            data.take_locks_of(current);
        }
        if let Some(before) = store.tables.insert(id, data) {
            store.log(
                tx,
                Undo::Replaced {
                    table: id,
                    before: Box::new(before),
                },
            );
        }
        Ok(result)
    }

    fn truncate(&mut self, name: &ObjectName) -> SqlResult<()> {
        let (id, table) = self.existing(name, 4701)?;
        self.session.allow(id, "ALTER")?;
        if self.session.is_captured(id) {
            return Err(SqlError::user(
                4711,
                format!(
                    "Cannot truncate table '{}' because it is published for replication or enabled for Change Data Capture.",
                    table.name
                ),
            ));
        }
        if self.is_referenced(id) {
            return Err(SqlError::user(
                4712,
                format!(
                    "Cannot truncate table '{}' because it is being referenced by a FOREIGN KEY constraint.",
                    table.name
                ),
            ));
        }
        self.replace_table(id, |run, data| {
            let version = run
                .session
                .engine
                .store()
                .lock()
                .tracking_version(data.definition.database, None);
            data.empty(version);
            Ok(())
        })
    }

    /// Whether another table has a foreign key to this one.
    fn is_referenced(&self, id: TableId) -> bool {
        let store = self.session.engine.store().lock();
        let mut others = store.tables.iter().filter(|(other, _)| **other != id);
        others.any(|(_, data)| {
            data.definition
                .foreign_keys
                .iter()
                .any(|key| key.referenced == id)
        })
    }

    /// Removes an object. Errors: 3701 if it does not exist, 3726 if a foreign key needs it.
    fn drop_object(&mut self, kind: ObjectKind, name: &ObjectName, if_exists: bool) -> SqlResult<()> {
        let dropped = match kind {
            ObjectKind::Table => self.drop_table(name)?,
            ObjectKind::View | ObjectKind::Procedure | ObjectKind::Trigger => self.drop_module(kind, name)?,
            ObjectKind::Schema => self.drop_schema(name)?,
            ObjectKind::Database => self.drop_database(name)?,
            ObjectKind::Login => {
                self.session.engine.drop_login(&name.name);
                true
            }
            ObjectKind::User => self.drop_user(&name.name)?,
            ObjectKind::Type => return self.drop_table_type(name, if_exists),
            ObjectKind::Function | ObjectKind::Other => false,
        };
        if dropped || if_exists {
            return Ok(());
        }
        let what = match kind {
            ObjectKind::Table => "table",
            ObjectKind::View => "view",
            ObjectKind::Procedure => "procedure",
            ObjectKind::Trigger => "trigger",
            ObjectKind::Schema => "schema",
            ObjectKind::Database => "database",
            _ => "object",
        };
        Err(SqlError::new(
            3701,
            11,
            5,
            format!(
                "Cannot drop the {what} '{}', because it does not exist or you do not have permission.",
                spelled(name)
            ),
        ))
    }

    fn drop_table(&mut self, name: &ObjectName) -> SqlResult<bool> {
        let Some(id) = self.session.find_table(name)? else {
            return Ok(false);
        };
        let Ok(table) = self.session.table_definition(id) else {
            return Ok(false);
        };
        self.session.allow(id, "ALTER")?;
        if self.is_referenced(id) {
            let message = format!(
                "Could not drop object '{}' because it is referenced by a FOREIGN KEY constraint.",
                spelled(name)
            );
            return Err(SqlError::user(3726, message));
        }
        self.stop_capturing(id, |_| true)?;
        self.lock_table(id)?;
        let temporary = table.name.starts_with('#');
        if !temporary {
            self.lock_catalog(table.database)?;
        }
        let tx = self.statement.tx;
        let engine = Arc::clone(&self.session.engine);
        let mut store = engine.store().lock();
        if let Some(before) = store.tables.remove(&id) {
            store.log(
                tx,
                Undo::Replaced {
                    table: id,
                    before: Box::new(before),
                },
            );
        }
        if temporary {
            // An open transaction may bring the table back, under the name that still points to it.
            if self.session.transaction.is_none() {
                self.session.temporary.remove(&table.name.to_lowercase());
            }
            return Ok(true);
        }
        store.alter_catalog(table.database, |database| {
            database
                .tables
                .remove(&Database::table_key(&table.schema, &table.name));
            database
                .modules
                .retain(|module| !matches!(&module.kind, ModuleKind::Trigger { table, .. } if *table == id));
            database
                .permissions
                .retain(|permission| permission.table != Some(id));
        });
        Ok(true)
    }
}

/// The session, as a definition needs it.
struct World<'r, 's> {
    run: &'r mut Run<'s>,
    database: i32,
}

impl Surroundings for World<'_, '_> {
    fn new_object_id(&mut self) -> i32 {
        self.run.new_object_id(self.database)
    }

    fn type_of(&mut self, expr: &Expr, table: &Table) -> SqlResult<TypeInfo> {
        let columns = table_columns(table, &table.name, None);
        self.run.bind(|binder| {
            binder
                .over(columns, |binder| bind(expr, binder))
                .0
                .map(|bound| bound.info())
        })
    }

    fn referenced(&mut self, name: &ObjectName, from: &Table) -> SqlResult<(TableId, Arc<Table>)> {
        let own_schema = name
            .schema
            .as_deref()
            .is_none_or(|schema| same(schema, &from.schema));
        if own_schema && same(&name.name, &from.name) {
            return Ok((ITSELF, Arc::new(from.clone())));
        }
        let found = self.run.session.find_table(name)?;
        let found = found.and_then(|id| Some((id, self.run.session.table_definition(id).ok()?)));
        found.ok_or_else(|| {
            SqlError::user(
                1767,
                format!("Foreign key references invalid table '{}'.", spelled(name)),
            )
        })
    }
}

/// The bytes by which rows of two tables are compared over `columns`; none if one of the values is NULL.
pub(super) fn stored_key(table: &Table, row: &[crate::value::Value], columns: &[usize]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for at in columns {
        let value = row.get(*at).filter(|value| !value.is_null())?;
        let collation = table.columns.get(*at).and_then(|column| column.info.collation);
        crate::store::key::append(value, collation, false, &mut out);
    }
    Some(out)
}
