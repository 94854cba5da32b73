//! The standard's views: `INFORMATION_SCHEMA.TABLES`, `COLUMNS` and their kin.

use super::{Kind, View, Viewer, definition, int, text, yes_no};
use crate::ast::ReferentialAction;
use crate::store::{Column, Index, ModuleKind, Table};
use crate::types::SqlType;
use crate::value::Value;

pub(super) fn view(viewer: &Viewer<'_>, name: &str) -> Option<View> {
    Some(match name {
        "tables" => tables(viewer),
        "columns" => columns(viewer),
        "schemata" => schemata(viewer),
        "views" => views(viewer),
        "table_constraints" => table_constraints(viewer),
        "key_column_usage" => key_column_usage(viewer),
        "referential_constraints" => referential_constraints(viewer),
        "check_constraints" => check_constraints(viewer),
        _ => return None,
    })
}

/// Catalog, schema and name.
fn qualified(viewer: &Viewer<'_>, schema: &str, name: &str) -> Vec<Value> {
    vec![text(&viewer.database.name), text(schema), text(name)]
}

fn tables(viewer: &Viewer<'_>) -> View {
    let tables = viewer
        .tables()
        .map(|table| (table.schema.as_str(), table.name.as_str(), "BASE TABLE"));
    let modules = viewer.database.modules.iter();
    let views = modules.filter(|module| matches!(module.kind, ModuleKind::View { .. }));
    let views = views.map(|view| (view.schema.as_str(), view.name.as_str(), "VIEW"));
    View::new(
        &[
            ("TABLE_CATALOG", Kind::Name),
            ("TABLE_SCHEMA", Kind::Name),
            ("TABLE_NAME", Kind::Name),
            ("TABLE_TYPE", Kind::Code(10)),
        ],
        tables.chain(views).map(|(schema, name, kind)| {
            let mut values = qualified(viewer, schema, name);
            values.push(text(kind));
            values
        }),
    )
}

const COLUMNS: [(&str, Kind); 23] = [
    ("TABLE_CATALOG", Kind::Name),
    ("TABLE_SCHEMA", Kind::Name),
    ("TABLE_NAME", Kind::Name),
    ("COLUMN_NAME", Kind::Name),
    ("ORDINAL_POSITION", Kind::Int),
    ("COLUMN_DEFAULT", Kind::Text(4000)),
    ("IS_NULLABLE", Kind::Code(3)),
    ("DATA_TYPE", Kind::Name),
    ("CHARACTER_MAXIMUM_LENGTH", Kind::Int),
    ("CHARACTER_OCTET_LENGTH", Kind::Int),
    ("NUMERIC_PRECISION", Kind::TinyInt),
    ("NUMERIC_PRECISION_RADIX", Kind::SmallInt),
    ("NUMERIC_SCALE", Kind::Int),
    ("DATETIME_PRECISION", Kind::SmallInt),
    ("CHARACTER_SET_CATALOG", Kind::Name),
    ("CHARACTER_SET_SCHEMA", Kind::Name),
    ("CHARACTER_SET_NAME", Kind::Name),
    ("COLLATION_CATALOG", Kind::Name),
    ("COLLATION_SCHEMA", Kind::Name),
    ("COLLATION_NAME", Kind::Name),
    ("DOMAIN_CATALOG", Kind::Name),
    ("DOMAIN_SCHEMA", Kind::Name),
    ("DOMAIN_NAME", Kind::Name),
];

fn columns(viewer: &Viewer<'_>) -> View {
    let mut rows = Vec::new();
    for table in viewer.tables() {
        for (column, position) in table.columns.iter().zip(1i32..) {
            let mut values = qualified(viewer, &table.schema, &table.name);
            values.extend(column_values(column, position));
            rows.push(values);
        }
    }
    View::new(&COLUMNS, rows)
}

fn column_values(column: &Column, position: i32) -> Vec<Value> {
    let ty = column.info.ty;
    let default = column
        .default
        .as_ref()
        .map(|default| definition(&default.value.text));
    let (characters, octets) = lengths(ty);
    let number = |value: Option<i32>| value.map_or(Value::Null, Value::Int);
    let (precision, radix, scale) = numeric(ty);
    let character_set = column
        .info
        .collation
        .map(|_| if ty.is_unicode() { "UNICODE" } else { "iso_1" });
    vec![
        text(&column.name),
        int(position),
        default.map_or(Value::Null, |default| text(&default)),
        yes_no(column.info.nullable),
        text(ty.name()),
        number(characters),
        number(octets),
        precision.map_or(Value::Null, Value::TinyInt),
        radix.map_or(Value::Null, Value::SmallInt),
        number(scale),
        datetime_precision(ty).map_or(Value::Null, Value::SmallInt),
        Value::Null,
        Value::Null,
        character_set.map_or(Value::Null, text),
        Value::Null,
        Value::Null,
        column
            .info
            .collation
            .map_or(Value::Null, |collation| text(collation.name)),
        Value::Null,
        Value::Null,
        column.alias.as_deref().map_or(Value::Null, text),
    ]
}

/// Length in characters and in bytes; −1 for `(max)`.
fn lengths(ty: SqlType) -> (Option<i32>, Option<i32>) {
    const LONGEST: i32 = i32::MAX;
    match ty {
        SqlType::Text | SqlType::Image => (Some(LONGEST), Some(LONGEST)),
        SqlType::NText => (Some(LONGEST / 2), Some(LONGEST - 1)),
        _ if ty.is_max() => (Some(-1), Some(-1)),
        _ if ty.is_character() || matches!(ty, SqlType::Binary { .. } | SqlType::VarBinary { .. }) => {
            let bytes = i32::from(ty.max_length());
            let width = if ty.is_unicode() { 2 } else { 1 };
            (Some(bytes / width), Some(bytes))
        }
        _ => (None, None),
    }
}

/// Precision, its base and the scale.
fn numeric(ty: SqlType) -> (Option<u8>, Option<i16>, Option<i32>) {
    match ty {
        SqlType::Real | SqlType::Float => (Some(ty.precision()), Some(2), None),
        SqlType::TinyInt
        | SqlType::SmallInt
        | SqlType::Int
        | SqlType::BigInt
        | SqlType::Money
        | SqlType::SmallMoney
        | SqlType::Decimal { .. }
        | SqlType::Numeric { .. } => (Some(ty.precision()), Some(10), Some(i32::from(ty.scale()))),
        _ => (None, None, None),
    }
}

fn datetime_precision(ty: SqlType) -> Option<i16> {
    match ty {
        SqlType::Date | SqlType::SmallDateTime => Some(0),
        SqlType::DateTime => Some(3),
        SqlType::Time { scale } | SqlType::DateTime2 { scale } | SqlType::DateTimeOffset { scale } => {
            Some(i16::from(scale))
        }
        _ => None,
    }
}

fn schemata(viewer: &Viewer<'_>) -> View {
    View::new(
        &[
            ("CATALOG_NAME", Kind::Name),
            ("SCHEMA_NAME", Kind::Name),
            ("SCHEMA_OWNER", Kind::Name),
        ],
        viewer
            .database
            .schemas
            .iter()
            .map(|schema| qualified(viewer, &schema.name, "dbo")),
    )
}

fn views(viewer: &Viewer<'_>) -> View {
    let rows = viewer.database.modules.iter().filter_map(|module| {
        let ModuleKind::View { definition, .. } = &module.kind else {
            return None;
        };
        let mut values = qualified(viewer, &module.schema, &module.name);
        values.extend([text(&definition.text), text("NONE"), yes_no(false)]);
        Some(values)
    });
    View::new(
        &[
            ("TABLE_CATALOG", Kind::Name),
            ("TABLE_SCHEMA", Kind::Name),
            ("TABLE_NAME", Kind::Name),
            ("VIEW_DEFINITION", Kind::Text(4000)),
            ("CHECK_OPTION", Kind::Code(7)),
            ("IS_UPDATABLE", Kind::Code(2)),
        ],
        rows,
    )
}

/// A constraint as this schema names it: its name, its kind.
fn constraints(table: &Table) -> Vec<(&str, &'static str)> {
    let keys = table.indexes.iter().filter(|index| index.constraint.is_some());
    let keys = keys.map(|index| {
        (
            index.name.as_str(),
            if index.primary { "PRIMARY KEY" } else { "UNIQUE" },
        )
    });
    let foreign = table
        .foreign_keys
        .iter()
        .map(|key| (key.name.as_str(), "FOREIGN KEY"));
    let checks = table.checks.iter().map(|check| (check.name.as_str(), "CHECK"));
    keys.chain(foreign).chain(checks).collect()
}

fn table_constraints(viewer: &Viewer<'_>) -> View {
    let mut rows = Vec::new();
    for table in viewer.tables() {
        for (name, kind) in constraints(table) {
            let mut values = qualified(viewer, &table.schema, name);
            values.extend(qualified(viewer, &table.schema, &table.name));
            values.extend([text(kind), yes_no(false), yes_no(false)]);
            rows.push(values);
        }
    }
    View::new(
        &[
            ("CONSTRAINT_CATALOG", Kind::Name),
            ("CONSTRAINT_SCHEMA", Kind::Name),
            ("CONSTRAINT_NAME", Kind::Name),
            ("TABLE_CATALOG", Kind::Name),
            ("TABLE_SCHEMA", Kind::Name),
            ("TABLE_NAME", Kind::Name),
            ("CONSTRAINT_TYPE", Kind::Code(11)),
            ("IS_DEFERRABLE", Kind::Code(2)),
            ("INITIALLY_DEFERRED", Kind::Code(2)),
        ],
        rows,
    )
}

fn key_column_usage(viewer: &Viewer<'_>) -> View {
    let key_columns = |index: &Index| index.keys.iter().map(|key| key.column).collect::<Vec<_>>();
    let mut rows = Vec::new();
    for table in viewer.tables() {
        let keys = table.indexes.iter().filter(|index| index.constraint.is_some());
        let keys = keys.map(|index| (&index.name, key_columns(index)));
        let foreign = table
            .foreign_keys
            .iter()
            .map(|key| (&key.name, key.columns.clone()));
        for (name, columns) in keys.chain(foreign) {
            for (at, position) in columns.into_iter().zip(1i32..) {
                let Some(column) = table.columns.get(at) else {
                    continue;
                };
                let mut values = qualified(viewer, &table.schema, name);
                values.extend(qualified(viewer, &table.schema, &table.name));
                values.extend([text(&column.name), int(position)]);
                rows.push(values);
            }
        }
    }
    View::new(
        &[
            ("CONSTRAINT_CATALOG", Kind::Name),
            ("CONSTRAINT_SCHEMA", Kind::Name),
            ("CONSTRAINT_NAME", Kind::Name),
            ("TABLE_CATALOG", Kind::Name),
            ("TABLE_SCHEMA", Kind::Name),
            ("TABLE_NAME", Kind::Name),
            ("COLUMN_NAME", Kind::Name),
            ("ORDINAL_POSITION", Kind::Int),
        ],
        rows,
    )
}

fn rule(action: ReferentialAction) -> Value {
    text(match action {
        ReferentialAction::NoAction => "NO ACTION",
        ReferentialAction::Cascade => "CASCADE",
        ReferentialAction::SetNull => "SET NULL",
        ReferentialAction::SetDefault => "SET DEFAULT",
    })
}

fn referential_constraints(viewer: &Viewer<'_>) -> View {
    let mut rows = Vec::new();
    for table in viewer.tables() {
        for key in &table.foreign_keys {
            let Some(target) = viewer.definition(key.referenced) else {
                continue;
            };
            let unique = target.indexes.iter().find(|index| {
                index.unique
                    && index
                        .keys
                        .iter()
                        .map(|part| part.column)
                        .eq(key.referenced_columns.iter().copied())
            });
            let mut values = qualified(viewer, &table.schema, &key.name);
            values.extend(qualified(
                viewer,
                &target.schema,
                unique.map_or("", |index| &index.name),
            ));
            values.extend([text("SIMPLE"), rule(key.on_update), rule(key.on_delete)]);
            rows.push(values);
        }
    }
    View::new(
        &[
            ("CONSTRAINT_CATALOG", Kind::Name),
            ("CONSTRAINT_SCHEMA", Kind::Name),
            ("CONSTRAINT_NAME", Kind::Name),
            ("UNIQUE_CONSTRAINT_CATALOG", Kind::Name),
            ("UNIQUE_CONSTRAINT_SCHEMA", Kind::Name),
            ("UNIQUE_CONSTRAINT_NAME", Kind::Name),
            ("MATCH_OPTION", Kind::Code(7)),
            ("UPDATE_RULE", Kind::Code(11)),
            ("DELETE_RULE", Kind::Code(11)),
        ],
        rows,
    )
}

fn check_constraints(viewer: &Viewer<'_>) -> View {
    let mut rows = Vec::new();
    for table in viewer.tables() {
        for check in &table.checks {
            let mut values = qualified(viewer, &table.schema, &check.name);
            values.push(text(&definition(&check.condition.text)));
            rows.push(values);
        }
    }
    View::new(
        &[
            ("CONSTRAINT_CATALOG", Kind::Name),
            ("CONSTRAINT_SCHEMA", Kind::Name),
            ("CONSTRAINT_NAME", Kind::Name),
            ("CHECK_CLAUSE", Kind::Text(4000)),
        ],
        rows,
    )
}
