//! Change Data Capture switched on and off: `sp_cdc_enable_db`, `sp_cdc_enable_table` and their opposites.

mod definition;

use std::sync::Arc;

use definition::{captured_columns, change_table, key_of, mapping_table, refuse_name, unique_index};

use super::procedures::Given;
use super::run::Run;
use super::scope::same;
use crate::ast::ObjectName;
use crate::error::{SqlError, SqlResult};
use crate::session::SessionState;
use crate::store::{CaptureInstance, Capturing, Database, DdlChange, Lsn, Schema, Table, TableId, Undo};

const MOST_INSTANCES: usize = 2;

/// A procedure's arguments, by name or by place.
pub(super) struct Arguments<'g>(pub(super) &'g [Given]);

impl<'g> Arguments<'g> {
    pub(super) fn get(&self, name: &str, place: usize) -> Option<&'g Given> {
        let named = self.0.iter().find(|given| same(&given.name, name));
        named.or_else(|| self.0.get(place).filter(|given| given.name.is_empty()))
    }

    /// None for NULL and for what was left out.
    pub(super) fn text(&self, name: &str, place: usize) -> Option<String> {
        self.get(name, place)?.value.as_ref()?.as_text()
    }

    pub(super) fn number(&self, name: &str, place: usize) -> Option<i64> {
        let value = self.get(name, place)?.value.as_ref()?;
        match value {
            crate::value::Value::Bit(bit) => Some(i64::from(*bit)),
            value => value.as_integer(),
        }
    }

    /// Error 22963.
    pub(super) fn required(&self, name: &str, place: usize) -> SqlResult<String> {
        let given = self.text(name, place).filter(|text| !text.is_empty());
        given.ok_or_else(|| {
            SqlError::user(
                22_963,
                format!("Parameter '{name}' cannot be null or empty. Specify a value for the named parameter and retry the operation."),
            )
        })
    }
}

impl SessionState {
    /// CDC of the current database. Error 22901.
    pub(super) fn capturing(&self) -> SqlResult<(Arc<Database>, Capturing)> {
        let database = self.current_database();
        let name = database
            .as_ref()
            .map_or(String::new(), |database| database.name.clone());
        database
            .and_then(|database| Some((Arc::clone(&database), database.capturing.clone()?)))
            .ok_or_else(|| {
                SqlError::user(
                    22_901,
                    format!("The database '{name}' is not enabled for Change Data Capture. Ensure that the correct database context is set and retry the operation. To report on the databases enabled for Change Data Capture, query the is_cdc_enabled column in the sys.databases catalog view."),
                )
            })
    }

    pub(super) fn is_captured(&self, id: TableId) -> bool {
        let store = self.engine.store().lock();
        store.tables.get(&id).is_some_and(|data| data.captured)
    }
}

impl Run<'_> {
    /// A procedure of CDC; none for all others.
    pub(super) fn capture_procedure(&mut self, name: &str, given: &[Given]) -> Option<SqlResult<()>> {
        type Procedure = fn(&mut Run<'_>, &Arguments<'_>) -> SqlResult<()>;
        let procedure: Procedure = match name {
            "sp_cdc_enable_db" => |run, _| run.enable_capture(),
            "sp_cdc_disable_db" => |run, _| run.disable_capture(),
            "sp_cdc_enable_table" => |run, arguments| run.enable_table(arguments),
            "sp_cdc_disable_table" => |run, arguments| run.disable_table(arguments),
            "sp_cdc_scan" => |run, _| run.scan_now(),
            "sp_cdc_cleanup_change_table" => |run, arguments| run.clean_change_table(arguments),
            "sp_cdc_add_job" => |run, arguments| run.keep_job(arguments, true),
            "sp_cdc_drop_job" => |run, arguments| run.keep_job(arguments, false),
            "sp_cdc_change_job" => |run, arguments| run.change_job(arguments),
            "sp_cdc_start_job" => |run, arguments| run.switch_job(arguments, true),
            "sp_cdc_stop_job" => |run, arguments| run.switch_job(arguments, false),
            _ => return None,
        };
        Some(self.in_transaction("EXECUTE", |run| {
            run.refuse_others()?;
            procedure(run, &Arguments(given))
        }))
    }

    /// Error 22902.
    fn refuse_others(&self) -> SqlResult<()> {
        if self.session.login.sysadmin {
            return Ok(());
        }
        let message =
            "Caller is not authorized to initiate the requested action. Sysadmin privileges are required.";
        Err(SqlError::user(22_902, message))
    }

    fn enable_capture(&mut self) -> SqlResult<()> {
        let Some(database) = self.session.current_database() else {
            return Ok(());
        };
        if database.capturing.is_some() {
            let message = format!(
                "Database '{}' is already enabled for Change Data Capture. Ensure that the correct database context is set, and retry the operation. To report on the databases enabled for Change Data Capture, query the is_cdc_enabled column in the sys.databases catalog view.",
                database.name
            );
            self.out.message(&SqlError::new(22_905, 10, 1, message));
            return Ok(());
        }
        if database.schema("cdc").is_some() || database.users.iter().any(|(user, _)| same(user, "cdc")) {
            return Err(SqlError::user(
                22_906,
                format!(
                    "The database '{}' cannot be enabled for Change Data Capture because a database user named 'cdc' or a schema named 'cdc' already exists in the current database. These objects are required exclusively by Change Data Capture. Drop or rename the user or schema and retry the operation.",
                    database.name
                ),
            ));
        }
        self.change_catalog(database.id, |database| {
            let last = database.schemas.iter().map(|schema| schema.id).max().unwrap_or(0);
            database.schemas.push(Schema {
                id: (last + 1).max(5),
                name: "cdc".to_owned(),
            });
            database.users.push(("cdc".to_owned(), None));
        })?;
        let table = mapping_table(self.new_object_id(database.id), database.id, self.statement.now);
        let mapping = self.add_table(&database, table)?;
        self.session
            .engine
            .store()
            .lock()
            .capture
            .entry(database.id)
            .or_default();
        self.change_catalog(database.id, |database| {
            database.capturing = Some(Capturing {
                mapping,
                instances: Vec::new(),
            });
        })
    }

    fn disable_capture(&mut self) -> SqlResult<()> {
        let (database, capturing) = self.session.capturing()?;
        for instance in &capturing.instances {
            self.stop_capturing(instance.source, |_| true)?;
        }
        self.remove_table(capturing.mapping)?;
        self.change_catalog(database.id, |database| {
            database.capturing = None;
            database.schemas.retain(|schema| !same(&schema.name, "cdc"));
            database.users.retain(|(user, _)| !same(user, "cdc"));
        })
    }

    /// Errors: 22931, 22974, 22975, 22926, 22927, 22928, 22929, 22939, 22942, 22943, 22962.
    fn enable_table(&mut self, arguments: &Arguments<'_>) -> SqlResult<()> {
        let (database, capturing) = self.session.capturing()?;
        let (schema, name) = (
            arguments.required("@source_schema", 0)?,
            arguments.required("@source_name", 1)?,
        );
        let (source, table) = self.source_table(&schema, &name)?;
        if same(&table.schema, "cdc") {
            let message = "Tables contained in the cdc schema cannot be enabled for Change Data Capture.";
            return Err(SqlError::user(22_974, message));
        }
        let instance = arguments
            .text("@capture_instance", 2)
            .unwrap_or_else(|| format!("{}_{}", table.schema, table.name));
        let instance = instance.trim_end().to_owned();
        refuse_name(&capturing, &instance)?;
        let known = capturing.instances.iter().filter(|other| other.source == source);
        if known.count() >= MOST_INSTANCES {
            return Err(SqlError::user(
                22_962,
                format!(
                    "Two capture instances already exist for source table '{schema}.{name}'. A table can have at most two capture instances. If the current tracking options are not appropriate, disable change tracking for the obsolete instance by using sys.sp_cdc_disable_table and retry the operation."
                ),
            ));
        }
        let index = unique_index(&table, arguments.text("@index_name", 5).as_deref())?;
        let net = arguments
            .number("@supports_net_changes", 3)
            .map(|number| number != 0);
        if net == Some(true) && index.is_none() {
            let message = "The parameter @supports_net_changes is set to 1, but the source table does not have a primary key defined and no alternate unique index has been specified.";
            return Err(SqlError::user(22_939, message));
        }
        let columns = captured_columns(&table, arguments.text("@captured_column_list", 6).as_deref())?;
        let key = key_of(&table, index, &columns)?;
        let change_table = change_table(&table, &instance, &columns, self.statement.now);
        let change_table = Table {
            object_id: self.new_object_id(database.id),
            database: database.id,
            ..change_table
        };
        let changes = self.add_table(&database, change_table)?;
        self.follow(source)?;
        let start = self.log_position(database.id);
        let instance = CaptureInstance {
            name: instance,
            source,
            changes,
            start,
            net_changes: net.unwrap_or(index.is_some()),
            role: arguments.text("@role_name", 4),
            index: index.map(|index| index.name.clone()),
            key,
            columns,
            created: self.statement.now,
        };
        self.change_catalog(database.id, |database| {
            if let Some(capturing) = &mut database.capturing {
                capturing.instances.push(instance);
            }
        })?;
        // A mark in the log, so that the capture is known to have come by.
        self.log_definition(source, String::new())
    }

    fn source_table(&self, schema: &str, name: &str) -> SqlResult<(TableId, Arc<Table>)> {
        let reference = ObjectName {
            server: None,
            database: None,
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        };
        let id = self.session.find_table(&reference)?;
        let table = id.and_then(|id| Some((id, self.session.table_definition(id).ok()?)));
        table.ok_or_else(|| {
            SqlError::user(
                22_931,
                format!("Source table '{schema}.{name}' does not exist in the current database. Ensure that the correct database context is set. Specify a valid schema and table name for the database."),
            )
        })
    }

    /// From now on the table's changes go into the log. Waits for those who are changing it.
    fn follow(&mut self, source: TableId) -> SqlResult<()> {
        self.replace_table(source, |_, data| {
            data.captured = true;
            Ok(())
        })
    }

    fn log_position(&self, database: i32) -> Lsn {
        let mut store = self.session.engine.store().lock();
        store
            .capture
            .get_mut(&database)
            .map_or(Lsn::ZERO, |log| Lsn::at(log.next()))
    }

    /// `sp_cdc_disable_table`. Errors: 22960, 22985.
    fn disable_table(&mut self, arguments: &Arguments<'_>) -> SqlResult<()> {
        let (_, capturing) = self.session.capturing()?;
        let (schema, name) = (
            arguments.required("@source_schema", 0)?,
            arguments.required("@source_name", 1)?,
        );
        let instance = arguments.required("@capture_instance", 2)?;
        let (source, _) = self.source_table(&schema, &name)?;
        let mut own = capturing.instances.iter().filter(|other| other.source == source);
        if same(&instance, "all") {
            if own.next().is_none() {
                return Err(SqlError::user(
                    22_985,
                    format!(
                        "Change data capture has not been enabled for source table '{schema}.{name}'. Specify the name of a table enabled for Change Data Capture. To report on the tables enabled for Change Data Capture, query the is_tracked_by_cdc column in the sys.tables catalog view."
                    ),
                ));
            }
            return self.stop_capturing(source, |_| true);
        }
        if !own.any(|other| same(&other.name, &instance)) {
            return Err(SqlError::user(
                22_960,
                format!(
                    "Change data capture instance '{instance}' has not been enabled for the source table '{schema}.{name}'. Use sys.sp_cdc_help_change_data_capture to verify the capture instance name and retry the operation."
                ),
            ));
        }
        self.stop_capturing(source, |other| same(&other.name, &instance))
    }

    /// Removes capture instances of a table with their change tables.
    pub(super) fn stop_capturing(
        &mut self,
        source: TableId,
        wanted: impl Fn(&CaptureInstance) -> bool,
    ) -> SqlResult<()> {
        let table = self.session.table_definition(source)?;
        let Some(capturing) = self.session.database_with(&table)?.capturing.clone() else {
            return Ok(());
        };
        let (gone, kept): (Vec<_>, Vec<_>) = capturing
            .instances
            .into_iter()
            .partition(|instance| instance.source == source && wanted(instance));
        if gone.is_empty() {
            return Ok(());
        }
        for instance in &gone {
            self.remove_table(instance.changes)?;
        }
        let followed = kept.iter().any(|instance| instance.source == source);
        self.replace_table(source, |_, data| {
            data.captured = followed;
            Ok(())
        })?;
        self.change_catalog(table.database, |database| {
            if let Some(capturing) = &mut database.capturing {
                capturing.instances = kept;
            }
        })
    }

    fn remove_table(&mut self, id: TableId) -> SqlResult<()> {
        let table = self.session.table_definition(id)?;
        self.lock_table(id)?;
        self.lock_catalog(table.database)?;
        let tx = self.statement.tx;
        let mut store = self.session.engine.store().lock();
        if let Some(before) = store.tables.remove(&id) {
            let before = Box::new(before);
            store.log(tx, Undo::Replaced { table: id, before });
        }
        let key = Database::table_key(&table.schema, &table.name);
        store.alter_catalog(table.database, |database| database.tables.remove(&key));
        Ok(())
    }

    /// An ALTER TABLE of a captured table goes into the log.
    pub(super) fn log_ddl(&mut self, name: &ObjectName, text: &str) -> SqlResult<()> {
        match self.session.find_table(name)? {
            Some(id) if self.session.is_captured(id) => self.log_definition(id, text.to_owned()),
            _ => Ok(()),
        }
    }

    fn log_definition(&mut self, table: TableId, command: String) -> SqlResult<()> {
        let definition = self.session.table_definition(table)?;
        let change = DdlChange {
            table,
            command,
            definition,
        };
        let tx = self.statement.tx;
        self.session
            .engine
            .store()
            .lock()
            .log(tx, Undo::Ddl(Box::new(change)));
        Ok(())
    }
}
