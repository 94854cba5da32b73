//! Statements about schemas, databases, modules, logins and permissions.

use std::sync::Arc;

use super::draft::derived;
use super::output::spelled;
use super::run::Run;
use super::scope::{BoundColumn, same};
use crate::ast::{
    AlterDatabase, CreateMode, ObjectKind, ObjectName, PermissionChange, PermissionKind, Securable,
    StatementKind,
};
use crate::catalog::is_jobs_table;
use crate::collation::Collation;
use crate::engine::Login;
use crate::error::{SqlError, SqlResult};
use crate::store::{Column, Database, Module, ModuleKind, Permission, Schema, TableId};

/// The first schema id that a user's schema gets.
const FIRST_SCHEMA: i32 = 5;

impl Run<'_> {
    pub(super) fn define_other(&mut self, kind: &StatementKind) -> SqlResult<()> {
        match kind {
            StatementKind::CreateSchema { name } => self.create_schema(name),
            StatementKind::CreateDatabase { name, collation } => {
                self.create_database(name, collation.as_deref())
            }
            StatementKind::Backup {
                database,
                path,
                overwrite,
            } => self.back_up(database, path, *overwrite),
            StatementKind::Restore {
                database,
                path,
                replace,
            } => self.restore(database, path, *replace),
            StatementKind::AlterDatabase { name, action } => self.alter_database(name.as_deref(), action),
            StatementKind::CreateView(view) => {
                let columns = self.bind(|binder| {
                    let plan = binder.query(&view.query)?;
                    Ok(derived(plan, &view.name.name, &view.columns)?.columns())
                })?;
                let kind = ModuleKind::View {
                    definition: view.clone(),
                    columns: (1..)
                        .zip(columns)
                        .map(|(id, column)| view_column(id, column))
                        .collect(),
                };
                self.create_module(&view.name, view.mode, kind)
            }
            StatementKind::CreateProcedure(procedure) => {
                self.check_table_parameters(&procedure.parameters)?;
                self.create_module(
                    &procedure.name,
                    procedure.mode,
                    ModuleKind::Procedure(procedure.clone()),
                )
            }
            StatementKind::CreateTrigger(trigger) => {
                let table = self.trigger_table(&trigger.table)?;
                let definition = trigger.clone();
                self.create_module(
                    &trigger.name,
                    trigger.mode,
                    ModuleKind::Trigger {
                        definition,
                        table,
                        disabled: false,
                    },
                )
            }
            StatementKind::SwitchTrigger { enable, name, table } => {
                let id = self.trigger_table(table)?;
                let names: Vec<_> = name.iter().map(|name| name.name.clone()).collect();
                self.switch_triggers(id, *enable, &names)
            }
            StatementKind::CreateLogin { name, password, .. } => {
                let login = Login::limited(name, password.clone().unwrap_or_default());
                self.session.engine.add_login(login);
                Ok(())
            }
            StatementKind::CreateUser { name, login } => {
                let (name, login) = (name.clone(), login.clone());
                self.change_database(move |database| database.users.push((name, login)))
            }
            StatementKind::AlterRole { role, member, add } => self.change_database(|database| {
                database
                    .members
                    .retain(|(known, who)| !(same(known, role) && same(who, member)));
                if *add {
                    database.members.push((role.clone(), member.clone()));
                }
            }),
            StatementKind::Permission(change) => self.change_permission(change),
            StatementKind::CreateType { .. } => Err(SqlError::unsupported("alias types")),
            StatementKind::CreateTableType { name, table } => self.create_table_type(name, table),
            StatementKind::Kill(_) => Err(SqlError::unsupported("KILL")),
            _ => Err(SqlError::unsupported("this statement here")),
        }
    }

    /// Changes the current database's catalog.
    fn change_database(&mut self, change: impl FnOnce(&mut Database)) -> SqlResult<()> {
        let database = self.session.database;
        self.change_catalog(database, change)
    }

    pub(super) fn change_catalog(
        &mut self,
        database: i32,
        change: impl FnOnce(&mut Database),
    ) -> SqlResult<()> {
        self.lock_catalog(database)?;
        let mut store = self.session.engine.store().lock();
        store.alter_catalog(database, change);
        Ok(())
    }

    fn create_schema(&mut self, name: &str) -> SqlResult<()> {
        self.lock_catalog(self.session.database)?;
        let database = self.session.current_database();
        if database.is_some_and(|database| database.schema(name).is_some()) {
            let message = format!("There is already an object named '{name}' in the database.");
            return Err(SqlError::new(2714, 16, 6, message));
        }
        self.change_database(|database| {
            let last = database.schemas.iter().map(|schema| schema.id).max().unwrap_or(0);
            database.schemas.push(Schema {
                id: (last + 1).max(FIRST_SCHEMA),
                name: name.to_owned(),
            });
        })
    }

    /// False if there is no such schema. Error 3729 if it has objects.
    pub(super) fn drop_schema(&mut self, name: &ObjectName) -> SqlResult<bool> {
        let Some(database) = self.session.current_database() else {
            return Ok(false);
        };
        if database.schema(&name.name).is_none() {
            return Ok(false);
        }
        let lower = name.name.to_lowercase();
        let used = database.tables.keys().any(|(schema, _)| *schema == lower)
            || database
                .modules
                .iter()
                .any(|module| same(&module.schema, &name.name));
        if used {
            let message = format!(
                "Cannot drop schema '{}' because it is being referenced by an object.",
                name.name
            );
            return Err(SqlError::user(3729, message));
        }
        self.change_database(|database| database.schemas.retain(|schema| !same(&schema.name, &name.name)))?;
        Ok(true)
    }

    /// Error 1801 if it exists.
    fn create_database(&mut self, name: &str, collation: Option<&str>) -> SqlResult<()> {
        self.refuse_in_transaction("CREATE DATABASE")?;
        let engine = Arc::clone(&self.session.engine);
        if engine.store().lock().database_named(name).is_some() {
            let message = format!("Database '{name}' already exists. Choose a different database name.");
            return Err(SqlError::new(1801, 16, 3, message));
        }
        let collation = collation.map(find_collation).transpose()?;
        let id = engine.create_database(name);
        if let Some(collation) = collation {
            set_collation(&engine, id, collation);
        }
        Ok(())
    }

    /// Error 226: databases do not come and go within a transaction.
    fn refuse_in_transaction(&self, statement: &str) -> SqlResult<()> {
        if self.session.transaction.is_none() {
            return Ok(());
        }
        let message = format!("{statement} statement not allowed within multi-statement transaction.");
        Err(SqlError::new(226, 16, 6, message))
    }

    /// False if there is no such database. Error 3702 while a session uses it.
    pub(super) fn drop_database(&mut self, name: &ObjectName) -> SqlResult<bool> {
        self.refuse_in_transaction("DROP DATABASE")?;
        let engine = Arc::clone(&self.session.engine);
        let found = engine
            .store()
            .lock()
            .database_named(&name.name)
            .map(|database| database.id);
        let Some(id) = found else { return Ok(false) };
        if engine.sessions().iter().any(|session| session.database == id) {
            let message = format!(
                "Cannot drop database \"{}\" because it is currently in use.",
                name.name
            );
            return Err(SqlError::new(3702, 16, 3, message));
        }
        let mut store = engine.store().lock();
        store.databases.remove(&id);
        store.tables.retain(|_, data| data.definition.database != id);
        Ok(true)
    }

    /// Error 5011 for an unknown database.
    fn alter_database(&mut self, name: Option<&str>, action: &AlterDatabase) -> SqlResult<()> {
        let engine = Arc::clone(&self.session.engine);
        let id = match name {
            None => self.session.database,
            Some(name) => engine.store().lock().database_named(name).map(|database| database.id).ok_or_else(|| {
                SqlError::new(
                    5011,
                    14,
                    5,
                    format!("User does not have permission to alter database '{name}', the database does not exist, or the database is not in a state that allows access checks."),
                )
            })?,
        };
        match action {
            AlterDatabase::Set { options } => self.change_catalog(id, |database| {
                for (option, value) in options {
                    set_database_option(database, option, value);
                }
            }),
            AlterDatabase::Collate(name) => {
                set_collation(&engine, id, find_collation(name)?);
                Ok(())
            }
            AlterDatabase::ModifyName(name) => {
                self.change_catalog(id, |database| database.name.clone_from(name))
            }
            AlterDatabase::ChangeTracking { switch, settings } => {
                self.alter_change_tracking(id, *switch, settings)
            }
        }
    }

    /// Creates or replaces a view, procedure or trigger. Errors: 2714 if it exists, 208 if it should.
    fn create_module(&mut self, name: &ObjectName, mode: CreateMode, kind: ModuleKind) -> SqlResult<()> {
        let (database, schema) = self.place(name)?;
        let known = database
            .module(&schema, &name.name)
            .map(|module| module.object_id);
        match (mode, known) {
            (CreateMode::Create, _) => self.refuse_existing(&database, &schema, name)?,
            (CreateMode::Alter, None) => {
                return Err(SqlError::new(
                    208,
                    16,
                    6,
                    format!("Invalid object name '{}'.", spelled(name)),
                ));
            }
            (CreateMode::Alter | CreateMode::CreateOrAlter, _) => {}
        }
        let object_id = known.unwrap_or_else(|| self.new_object_id(database.id));
        let module = Module {
            object_id,
            schema,
            name: name.name.clone(),
            created: self.statement.now,
            kind,
        };
        self.change_catalog(database.id, |database| {
            database.modules.retain(|other| other.object_id != object_id);
            database.modules.push(module);
        })
    }

    /// Error 8197.
    fn trigger_table(&self, name: &ObjectName) -> SqlResult<TableId> {
        self.session.find_table(name)?.ok_or_else(|| {
            let message = format!(
                "The object '{}' does not exist or is invalid for this operation.",
                spelled(name)
            );
            SqlError::new(8197, 16, 4, message)
        })
    }

    /// False if there is no such view, procedure or trigger.
    pub(super) fn drop_module(&mut self, kind: ObjectKind, name: &ObjectName) -> SqlResult<bool> {
        let database = self.session.database_of(name)?;
        let schema = name.schema.as_deref().unwrap_or("dbo");
        let Some(module) = database.module(schema, &name.name) else {
            return Ok(false);
        };
        let fits = matches!(
            (&module.kind, kind),
            (ModuleKind::View { .. }, ObjectKind::View)
                | (ModuleKind::Procedure(_), ObjectKind::Procedure)
                | (ModuleKind::Trigger { .. }, ObjectKind::Trigger)
        );
        if fits {
            let id = module.object_id;
            self.change_catalog(database.id, |database| {
                database.modules.retain(|module| module.object_id != id)
            })?;
        }
        Ok(fits)
    }

    /// False if there is no such user.
    pub(super) fn drop_user(&mut self, name: &str) -> SqlResult<bool> {
        let mut found = false;
        self.change_database(|database| {
            let before = database.users.len();
            database.users.retain(|(user, _)| !same(user, name));
            found = database.users.len() < before;
        })?;
        Ok(found)
    }

    fn change_permission(&mut self, change: &PermissionChange) -> SqlResult<()> {
        let server_wide = |permission: &&String| permission.starts_with("VIEW SERVER");
        if change
            .permissions
            .iter()
            .any(|permission| server_wide(&permission))
        {
            let granted = change.kind == PermissionKind::Grant;
            for principal in &change.principals {
                self.session
                    .engine
                    .change_login(principal, |login| login.view_server_state = granted);
            }
            return Ok(());
        }
        let (mut table, mut schema, mut view) = (None, None, None);
        match &change.securable {
            Securable::Object(name)
                if is_jobs_table(&name.name) && self.session.find_table(name)?.is_none() =>
            {
                view = Some(name.name.clone());
            }
            Securable::Object(name) => table = Some(self.existing(name, 15_151)?.0),
            Securable::Schema(name) => schema = Some(name.clone()),
            Securable::Scope | Securable::Database(_) => {}
        }
        self.change_database(|database| {
            for principal in &change.principals {
                for action in &change.permissions {
                    let same_one = |known: &Permission| {
                        known.principal.eq_ignore_ascii_case(principal)
                            && known.action.eq_ignore_ascii_case(action)
                            && known.table == table
                            && known.schema == schema
                            && known.view == view
                    };
                    database.permissions.retain(|known| !same_one(known));
                    if change.kind != PermissionKind::Revoke {
                        database.permissions.push(Permission {
                            principal: principal.clone(),
                            action: action.clone(),
                            table,
                            schema: schema.clone(),
                            view: view.clone(),
                            denied: change.kind == PermissionKind::Deny,
                        });
                    }
                }
            }
        })
    }
}

/// The parser lets nothing else pass but options that change nothing here.
fn set_database_option(database: &mut Database, option: &str, value: &str) {
    let on = value != "OFF";
    match option {
        "ALLOW_SNAPSHOT_ISOLATION" => database.options.allow_snapshot_isolation = on,
        "READ_COMMITTED_SNAPSHOT" => database.options.read_committed_snapshot = on,
        "RECOVERY" => database.options.recovery_model = value.to_owned(),
        "READ_ONLY" => database.options.read_only = true,
        "READ_WRITE" => database.options.read_only = false,
        "COMPATIBILITY_LEVEL" => {
            if let Ok(level) = value.parse() {
                database.options.compatibility_level = level;
            }
        }
        _ => {}
    }
}

/// Error 448.
fn find_collation(name: &str) -> SqlResult<&'static Collation> {
    Collation::find(name).ok_or_else(|| SqlError::user(448, format!("Invalid collation '{name}'.")))
}

fn set_collation(engine: &crate::engine::Engine, database: i32, collation: &'static Collation) {
    let mut store = engine.store().lock();
    store.alter_catalog(database, |database| database.collation = collation);
}

fn view_column(id: i32, column: BoundColumn) -> Column {
    Column {
        id,
        name: column.name,
        info: column.info,
        alias: None,
        identity: None,
        computed: None,
        default: None,
        rowguid: false,
        sparse: false,
        masked: None,
    }
}
