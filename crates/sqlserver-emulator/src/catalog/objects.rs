//! Schemas and objects: `sys.schemas`, `sys.objects`, `sys.tables`, `sys.triggers`, `sys.sql_modules` and their kin.

use super::{Kind, View, Viewer, bit, datetime, int, text};
use crate::clock::Instant;
use crate::store::{Module, ModuleKind, Table};
use crate::value::Value;

pub(super) fn view(viewer: &Viewer<'_>, name: &str) -> Option<View> {
    Some(match name {
        "schemas" => schemas(viewer),
        "objects" | "all_objects" => objects(viewer),
        "tables" => tables(viewer),
        "views" | "all_views" => modules(viewer, "V "),
        "procedures" => modules(viewer, "P "),
        "triggers" => triggers(viewer),
        "sql_modules" | "all_sql_modules" => sql_modules(viewer),
        "security_policies" => View::empty(&[
            ("name", Kind::Name),
            ("object_id", Kind::Int),
            ("schema_id", Kind::Int),
            ("is_enabled", Kind::Bit),
        ]),
        "security_predicates" => View::empty(&[
            ("object_id", Kind::Int),
            ("security_predicate_id", Kind::Int),
            ("target_object_id", Kind::Int),
            ("predicate_definition", Kind::MaxText),
            ("predicate_type", Kind::Int),
            ("predicate_type_desc", Kind::Text(60)),
        ]),
        "sql_expression_dependencies" => View::empty(&[
            ("referencing_id", Kind::Int),
            ("referencing_minor_id", Kind::Int),
            ("referencing_class", Kind::TinyInt),
            ("is_schema_bound_reference", Kind::Bit),
            ("referenced_class", Kind::TinyInt),
            ("referenced_schema_name", Kind::Name),
            ("referenced_entity_name", Kind::Name),
            ("referenced_id", Kind::Int),
            ("referenced_minor_id", Kind::Int),
        ]),
        "extended_properties" => View::empty(&[
            ("class", Kind::TinyInt),
            ("class_desc", Kind::Text(60)),
            ("major_id", Kind::Int),
            ("minor_id", Kind::Int),
            ("name", Kind::Name),
            ("value", Kind::Variant),
        ]),
        "synonyms" => View::empty(&[
            ("name", Kind::Name),
            ("object_id", Kind::Int),
            ("schema_id", Kind::Int),
            ("base_object_name", Kind::Text(1035)),
        ]),
        _ => return None,
    })
}

fn schemas(viewer: &Viewer<'_>) -> View {
    View::new(
        &[
            ("name", Kind::Name),
            ("schema_id", Kind::Int),
            ("principal_id", Kind::Int),
        ],
        viewer
            .database
            .schemas
            .iter()
            .map(|schema| vec![text(&schema.name), int(schema.id), int(1)]),
    )
}

const OBJECT_COLUMNS: [(&str, Kind); 12] = [
    ("name", Kind::Name),
    ("object_id", Kind::Int),
    ("principal_id", Kind::Int),
    ("schema_id", Kind::Int),
    ("parent_object_id", Kind::Int),
    ("type", Kind::Letters),
    ("type_desc", Kind::Text(60)),
    ("create_date", Kind::DateTime),
    ("modify_date", Kind::DateTime),
    ("is_ms_shipped", Kind::Bit),
    ("is_published", Kind::Bit),
    ("is_schema_published", Kind::Bit),
];

/// An object of any kind, with what all kinds have.
pub(super) struct Object<'a> {
    pub(super) name: &'a str,
    pub(super) id: i32,
    pub(super) schema: &'a str,
    /// 0 for an object of its own.
    pub(super) parent: i32,
    /// Two letters, `U ` for a table.
    pub(super) kind: &'static str,
    created: Instant,
    modified: Instant,
}

impl Object<'_> {
    /// The columns that every object's view begins with.
    pub(super) fn values(&self, viewer: &Viewer<'_>) -> Vec<Value> {
        vec![
            text(self.name),
            int(self.id),
            Value::Null,
            int(viewer.schema_id(self.schema)),
            int(self.parent),
            text(self.kind),
            text(kind_description(self.kind)),
            datetime(self.created),
            datetime(self.modified),
            bit(self.schema == "cdc"),
            bit(false),
            bit(false),
        ]
    }
}

/// A view's columns: those that every object has, then its own.
pub(super) fn object_columns(own: &[(&'static str, Kind)]) -> Vec<(&'static str, Kind)> {
    OBJECT_COLUMNS.iter().chain(own).copied().collect()
}

fn kind_description(kind: &str) -> &'static str {
    match kind {
        "U " => "USER_TABLE",
        "V " => "VIEW",
        "P " => "SQL_STORED_PROCEDURE",
        "TR" => "SQL_TRIGGER",
        "PK" => "PRIMARY_KEY_CONSTRAINT",
        "UQ" => "UNIQUE_CONSTRAINT",
        "D " => "DEFAULT_CONSTRAINT",
        "C " => "CHECK_CONSTRAINT",
        _ => "FOREIGN_KEY_CONSTRAINT",
    }
}

/// A constraint of `table`.
pub(super) fn constraint<'a>(table: &'a Table, name: &'a str, id: i32, kind: &'static str) -> Object<'a> {
    Object {
        name,
        id,
        schema: &table.schema,
        parent: table.object_id,
        kind,
        created: table.created,
        modified: table.created,
    }
}

fn table_object(table: &Table) -> Object<'_> {
    Object {
        name: &table.name,
        id: table.object_id,
        schema: &table.schema,
        parent: 0,
        kind: "U ",
        created: table.created,
        modified: table.modified,
    }
}

fn module_object<'a>(viewer: &Viewer<'_>, module: &'a Module) -> Object<'a> {
    let (kind, parent) = match &module.kind {
        ModuleKind::View { .. } => ("V ", 0),
        ModuleKind::Procedure(_) => ("P ", 0),
        ModuleKind::Trigger { table, .. } => ("TR", viewer.definition(*table).map_or(0, |t| t.object_id)),
    };
    Object {
        name: &module.name,
        id: module.object_id,
        schema: &module.schema,
        parent,
        kind,
        created: module.created,
        modified: module.created,
    }
}

/// Every object of the database.
pub(super) fn all<'a>(viewer: &'a Viewer<'_>) -> Vec<Object<'a>> {
    let mut all = Vec::new();
    for table in viewer.tables() {
        all.push(table_object(table));
        for index in &table.indexes {
            if let Some(id) = index.constraint {
                let kind = if index.primary { "PK" } else { "UQ" };
                all.push(constraint(table, &index.name, id, kind));
            }
        }
        let defaults = table.columns.iter().filter_map(|column| column.default.as_ref());
        all.extend(defaults.map(|default| constraint(table, &default.name, default.object_id, "D ")));
        all.extend(
            table
                .checks
                .iter()
                .map(|check| constraint(table, &check.name, check.object_id, "C ")),
        );
        all.extend(
            table
                .foreign_keys
                .iter()
                .map(|key| constraint(table, &key.name, key.object_id, "F ")),
        );
    }
    all.extend(
        viewer
            .database
            .modules
            .iter()
            .map(|module| module_object(viewer, module)),
    );
    all
}

fn objects(viewer: &Viewer<'_>) -> View {
    View::new(
        &OBJECT_COLUMNS,
        all(viewer).iter().map(|object| object.values(viewer)),
    )
}

fn tables(viewer: &Viewer<'_>) -> View {
    let columns = object_columns(&[
        ("max_column_id_used", Kind::Int),
        ("lob_data_space_id", Kind::Int),
        ("is_replicated", Kind::Bit),
        ("lock_escalation", Kind::TinyInt),
        ("is_filetable", Kind::Bit),
        ("is_memory_optimized", Kind::Bit),
        ("durability", Kind::TinyInt),
        ("temporal_type", Kind::TinyInt),
        ("temporal_type_desc", Kind::Text(60)),
        ("history_table_id", Kind::Int),
        ("is_tracked_by_cdc", Kind::Bit),
        ("is_external", Kind::Bit),
        ("is_node", Kind::Bit),
        ("is_edge", Kind::Bit),
    ]);
    View::new(
        &columns,
        viewer.table_contents().map(|data| {
            let (table, captured) = (&data.definition, data.captured);
            let mut values = table_object(table).values(viewer);
            values.extend([
                int(table.last_column_id),
                int(0),
                bit(false),
                Value::TinyInt(0),
                bit(false),
                bit(false),
                Value::TinyInt(0),
                Value::TinyInt(0),
                text("NON_TEMPORAL_TABLE"),
                Value::Null,
                bit(captured),
                bit(false),
                bit(false),
                bit(false),
            ]);
            values
        }),
    )
}

fn modules(viewer: &Viewer<'_>, kind: &str) -> View {
    let modules = viewer
        .database
        .modules
        .iter()
        .map(|module| module_object(viewer, module));
    let rows = modules
        .filter(|object| object.kind == kind)
        .map(|object| object.values(viewer));
    View::new(&OBJECT_COLUMNS, rows)
}

fn triggers(viewer: &Viewer<'_>) -> View {
    let rows = viewer.database.modules.iter().filter_map(|module| {
        let ModuleKind::Trigger {
            definition, disabled, ..
        } = &module.kind
        else {
            return None;
        };
        let object = module_object(viewer, module);
        Some(vec![
            text(object.name),
            int(object.id),
            Value::TinyInt(1),
            text("OBJECT_OR_COLUMN"),
            int(object.parent),
            text(object.kind),
            text(kind_description(object.kind)),
            datetime(object.created),
            datetime(object.modified),
            bit(false),
            bit(*disabled),
            bit(false),
            bit(definition.instead_of),
        ])
    });
    View::new(
        &[
            ("name", Kind::Name),
            ("object_id", Kind::Int),
            ("parent_class", Kind::TinyInt),
            ("parent_class_desc", Kind::Text(60)),
            ("parent_id", Kind::Int),
            ("type", Kind::Letters),
            ("type_desc", Kind::Text(60)),
            ("create_date", Kind::DateTime),
            ("modify_date", Kind::DateTime),
            ("is_ms_shipped", Kind::Bit),
            ("is_disabled", Kind::Bit),
            ("is_not_for_replication", Kind::Bit),
            ("is_instead_of_trigger", Kind::Bit),
        ],
        rows,
    )
}

/// The text that created a module.
pub(super) fn module_text(module: &Module) -> &str {
    match &module.kind {
        ModuleKind::View { definition, .. } => &definition.text,
        ModuleKind::Procedure(procedure) => &procedure.text,
        ModuleKind::Trigger { definition, .. } => &definition.text,
    }
}

fn sql_modules(viewer: &Viewer<'_>) -> View {
    View::new(
        &[
            ("object_id", Kind::Int),
            ("definition", Kind::MaxText),
            ("uses_ansi_nulls", Kind::Bit),
            ("uses_quoted_identifier", Kind::Bit),
            ("is_schema_bound", Kind::Bit),
        ],
        viewer.database.modules.iter().map(|module| {
            vec![
                int(module.object_id),
                text(module_text(module)),
                bit(true),
                bit(true),
                bit(false),
            ]
        }),
    )
}
