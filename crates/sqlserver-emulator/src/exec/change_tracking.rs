//! Change Tracking switched on and off, for databases and tables, and its history cleaned up by hand.

use std::sync::Arc;

use super::named::unknown_procedure;
use super::output::unknown_object;
use super::run::Run;
use super::scope::same;
use crate::ast::{AlterTable, TrackingSetting};
use crate::error::{SqlError, SqlResult};
use crate::store::{ChangeTracking, Retention, RetentionUnit, Table, TableData, TableId, TrackingOptions};

impl Run<'_> {
    /// ALTER DATABASE … SET CHANGE_TRACKING. Errors: 5088, 5089, 5090, 5092, 22115.
    pub(super) fn alter_change_tracking(
        &mut self,
        id: i32,
        switch: Option<bool>,
        settings: &[TrackingSetting],
    ) -> SqlResult<()> {
        let (name, known, tables) = {
            let store = self.session.engine.store().lock();
            let Some(database) = store.databases.get(&id) else {
                return Ok(());
            };
            let mut own = store
                .tables
                .values()
                .filter(|data| data.definition.database == id);
            let tables = own.any(|data| data.tracking.is_some());
            (database.name.clone(), database.options.change_tracking, tables)
        };
        if id <= 4 {
            return Err(SqlError::user(
                5090,
                format!(
                    "Database '{name}' is a system database. Change tracking settings cannot be modified for system databases."
                ),
            ));
        }
        let mut options = match (switch, known) {
            (Some(true), Some(_)) => {
                return Err(SqlError::user(
                    5088,
                    format!("Change tracking is already enabled for database '{name}'."),
                ));
            }
            (Some(true), None) => TrackingOptions {
                retention: Retention::DEFAULT,
                auto_cleanup: true,
            },
            (_, Some(known)) => known,
            (_, None) => {
                return Err(SqlError::user(
                    5089,
                    format!(
                        "Change tracking is disabled for database '{name}'. Change tracking must be enabled on a database to modify change tracking settings."
                    ),
                ));
            }
        };
        if switch == Some(false) && tables {
            return Err(SqlError::user(
                22_115,
                format!(
                    "Change tracking is enabled for one or more tables in database '{name}'. Disable change tracking on each table before disabling it for the database. Use the sys.change_tracking_tables catalog view to obtain a list of tables for which change tracking is enabled."
                ),
            ));
        }
        for setting in settings {
            match setting {
                TrackingSetting::AutoCleanup(on) => options.auto_cleanup = *on,
                TrackingSetting::Retention { count, unit } => options.retention = retention(*count, unit)?,
            }
        }
        let options = (switch != Some(false)).then_some(options);
        self.change_catalog(id, |database| database.options.change_tracking = options)
    }

    /// Errors: 1718, 4996, 4997.
    pub(super) fn enable_change_tracking(
        &mut self,
        id: TableId,
        table: &Table,
        columns: bool,
    ) -> SqlResult<()> {
        let database = self.session.database_with(table)?;
        if database.options.change_tracking.is_none() {
            return Err(SqlError::user(
                1718,
                format!(
                    "Change tracking must be enabled on database '{}' before it can be enabled on table '{}'.",
                    database.name, table.name
                ),
            ));
        }
        if self.session.is_tracked(id) {
            return Err(SqlError::user(
                4996,
                format!("Change tracking is already enabled for table '{}'.", table.name),
            ));
        }
        if table.primary_key().is_none() {
            return Err(SqlError::user(
                4997,
                format!(
                    "Cannot enable change tracking on table '{}'. Change tracking requires a primary key on the table. Create a primary key on the table before enabling change tracking.",
                    table.name
                ),
            ));
        }
        self.replace_table(id, |run, data| {
            let store = run.session.engine.store().lock();
            let version = store.tracking_version(data.definition.database, None);
            data.tracking = Some(ChangeTracking::new(columns, version));
            Ok(())
        })
    }

    /// Error 4998.
    pub(super) fn disable_change_tracking(&mut self, id: TableId, table: &Table) -> SqlResult<()> {
        if !self.session.is_tracked(id) {
            return Err(SqlError::user(
                4998,
                format!("Change tracking is not enabled on table '{}'.", table.name),
            ));
        }
        self.replace_table(id, |_, data| {
            data.tracking = None;
            Ok(())
        })
    }

    /// `sp_flush_CT_internal_table_on_demand`: forgets what is older than the retention, in one table or in all.
    pub(super) fn flush_tracking(&mut self, table: Option<&str>) -> SqlResult<()> {
        let only = match table {
            None => None,
            Some(name) => {
                let reference = crate::catalog::ObjectReference::parse(name);
                let reference = reference.ok_or_else(|| unknown_procedure(name))?.into_name();
                let id = self.session.find_table(&reference)?;
                Some(id.ok_or_else(|| unknown_object(&reference))?)
            }
        };
        let engine = Arc::clone(&self.session.engine);
        let now = engine.clock().now();
        engine
            .store()
            .lock()
            .clean_up_tracking(self.session.database, only, now);
        Ok(())
    }
}

fn retention(count: i64, unit: &str) -> SqlResult<Retention> {
    let unit = match unit {
        "MINUTES" => RetentionUnit::Minutes,
        "HOURS" => RetentionUnit::Hours,
        _ => RetentionUnit::Days,
    };
    let given = u32::try_from(count).ok().map(|count| Retention { count, unit });
    let fits = |given: &Retention| (1..=i64::from(i32::MAX)).contains(&given.minutes());
    given.filter(fits).ok_or_else(|| {
        SqlError::new(
            5092,
            15,
            1,
            "The value for change tracking option 'CHANGE_RETENTION' is not valid. The value must be between 1 and 2147483647 minutes.",
        )
    })
}

/// Error 3735: a tracked table keeps its primary key.
pub(super) fn refuse_tracked_key(data: &TableData, action: &AlterTable) -> SqlResult<()> {
    let table = &data.definition;
    let key = table.primary_key().and_then(|at| table.indexes.get(at));
    let (AlterTable::Drop { constraints, .. }, Some(key), Some(_)) = (action, key, &data.tracking) else {
        return Ok(());
    };
    if !constraints.iter().any(|name| same(name, &key.name)) {
        return Ok(());
    }
    Err(SqlError::user(
        3735,
        format!(
            "The primary key constraint '{}' on table '{}' cannot be dropped because change tracking is enabled on the table. Change tracking requires a primary key constraint on the table. Disable change tracking before dropping the constraint.",
            key.name, table.name
        ),
    ))
}
