//! A database: options, schemas, modules, and the names of its tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::TableId;
use super::capture::Capturing;
use super::schema::{Column, same_name};
use super::tracking::TrackingOptions;
use crate::ast::TableDefinition;
use crate::clock::Instant;
use crate::collation::Collation;

/// `sys.objects.object_id`.
pub(crate) type ObjectId = i32;

/// A schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schema {
    pub(crate) id: i32,
    pub(crate) name: String,
}

/// What `ALTER DATABASE … SET` changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatabaseOptions {
    pub(crate) allow_snapshot_isolation: bool,
    pub(crate) read_committed_snapshot: bool,
    pub(crate) compatibility_level: u8,
    pub(crate) recovery_model: String,
    pub(crate) read_only: bool,
    pub(crate) change_tracking: Option<TrackingOptions>,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            allow_snapshot_isolation: false,
            read_committed_snapshot: false,
            compatibility_level: 160,
            recovery_model: "FULL".to_owned(),
            read_only: false,
            change_tracking: None,
        }
    }
}

/// What a module is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ModuleKind {
    View {
        definition: Box<crate::ast::CreateView>,
        /// As they were when it was made.
        columns: Vec<Column>,
    },
    Procedure(Box<crate::ast::CreateProcedure>),
    Trigger {
        definition: Box<crate::ast::CreateTrigger>,
        table: TableId,
        disabled: bool,
    },
}

/// A view, procedure or trigger.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Module {
    pub(crate) object_id: ObjectId,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) created: Instant,
    pub(crate) kind: ModuleKind,
}

/// One permission on a table, granted or denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permission {
    pub(crate) principal: String,
    pub(crate) action: String,
    /// None: the whole database, or a schema when that is given.
    pub(crate) table: Option<TableId>,
    pub(crate) schema: Option<String>,
    /// One of the tables of `msdb` that are made up here.
    pub(crate) view: Option<String>,
    pub(crate) denied: bool,
}

/// A table type.
#[derive(Clone, Debug)]
pub(crate) struct TableType {
    /// `sys.types.user_type_id`.
    pub(crate) id: i32,
    /// Of the table that stands for it in the catalog.
    pub(crate) object_id: ObjectId,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) definition: Arc<TableDefinition>,
}

/// A database's catalog. Cloned before a change, so that a rollback can put it back.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) created: Instant,
    pub(crate) collation: &'static Collation,
    pub(crate) options: DatabaseOptions,
    pub(crate) schemas: Vec<Schema>,
    pub(crate) tables: BTreeMap<(String, String), TableId>,
    pub(crate) modules: Vec<Module>,
    pub(crate) table_types: Vec<TableType>,
    pub(crate) permissions: Vec<Permission>,
    /// Roles with their members.
    pub(crate) members: Vec<(String, String)>,
    /// CDC, once it is enabled.
    pub(crate) capturing: Option<Capturing>,
    /// Database users, with their logins.
    pub(crate) users: Vec<(String, Option<String>)>,
    /// `sys.database_recovery_status.database_guid`.
    pub(crate) guid: [u8; 16],
    /// `sys.database_recovery_status.recovery_fork_guid`: another one after each RESTORE.
    pub(crate) fork: [u8; 16],
    pub(crate) last_object_id: ObjectId,
}

impl Database {
    pub(crate) fn new(id: i32, name: &str, created: Instant, guid: [u8; 16]) -> Self {
        let schema = |id, name: &str| Schema {
            id,
            name: name.to_owned(),
        };
        Self {
            id,
            name: name.to_owned(),
            created,
            collation: Collation::server_default(),
            options: DatabaseOptions::default(),
            schemas: vec![
                schema(1, "dbo"),
                schema(2, "guest"),
                schema(3, "INFORMATION_SCHEMA"),
                schema(4, "sys"),
            ],
            tables: BTreeMap::new(),
            modules: Vec::new(),
            table_types: Vec::new(),
            permissions: Vec::new(),
            members: Vec::new(),
            capturing: None,
            users: Vec::new(),
            guid,
            fork: guid,
            last_object_id: 245_575_913,
        }
    }

    /// A number for a new object.
    pub(crate) fn new_object_id(&mut self) -> ObjectId {
        // SQL Server steps by 16,000,057 and wraps; ids stay positive and distinct for long enough.
        self.last_object_id = self.last_object_id.wrapping_add(16_000_057) & i32::MAX;
        self.last_object_id
    }

    pub(crate) fn schema(&self, name: &str) -> Option<&Schema> {
        self.schemas.iter().find(|schema| same_name(&schema.name, name))
    }

    pub(crate) fn table(&self, schema: &str, name: &str) -> Option<TableId> {
        self.tables.get(&Self::table_key(schema, name)).copied()
    }

    pub(crate) fn module(&self, schema: &str, name: &str) -> Option<&Module> {
        self.modules
            .iter()
            .find(|m| same_name(&m.schema, schema) && same_name(&m.name, name))
    }

    pub(crate) fn table_type(&self, schema: &str, name: &str) -> Option<&TableType> {
        self.table_types
            .iter()
            .find(|ty| same_name(&ty.schema, schema) && same_name(&ty.name, name))
    }

    /// How table names are looked up: without case.
    pub(crate) fn table_key(schema: &str, name: &str) -> (String, String) {
        (schema.to_lowercase(), name.to_lowercase())
    }
}
