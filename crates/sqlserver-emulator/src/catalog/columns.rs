//! Columns and types: `sys.columns`, `sys.types`, `sys.identity_columns`, `sys.default_constraints` and their kin.

use super::objects::{constraint, object_columns};
use super::{Kind, View, Viewer, bit, definition, int, text};
use crate::collation::Collation;
use crate::store::{Column, ModuleKind, Table};
use crate::types::{ClrType, Length, SqlType};
use crate::value::Value;

pub(super) fn view(viewer: &Viewer<'_>, name: &str) -> Option<View> {
    Some(match name {
        "columns" | "all_columns" => columns(viewer),
        "identity_columns" => identity_columns(viewer),
        "computed_columns" => computed_columns(viewer),
        "masked_columns" => masked_columns(viewer),
        "types" => types(viewer),
        "table_types" => table_types(viewer),
        "default_constraints" => default_constraints(viewer),
        _ => return None,
    })
}

const COLUMNS: [(&str, Kind); 40] = [
    ("object_id", Kind::Int),
    ("name", Kind::Name),
    ("column_id", Kind::Int),
    ("system_type_id", Kind::TinyInt),
    ("user_type_id", Kind::Int),
    ("max_length", Kind::SmallInt),
    ("precision", Kind::TinyInt),
    ("scale", Kind::TinyInt),
    ("collation_name", Kind::Name),
    ("is_nullable", Kind::Bit),
    ("is_ansi_padded", Kind::Bit),
    ("is_rowguidcol", Kind::Bit),
    ("is_identity", Kind::Bit),
    ("is_computed", Kind::Bit),
    ("is_filestream", Kind::Bit),
    ("is_replicated", Kind::Bit),
    ("is_non_sql_subscribed", Kind::Bit),
    ("is_merge_published", Kind::Bit),
    ("is_dts_replicated", Kind::Bit),
    ("is_xml_document", Kind::Bit),
    ("xml_collection_id", Kind::Int),
    ("default_object_id", Kind::Int),
    ("rule_object_id", Kind::Int),
    ("is_sparse", Kind::Bit),
    ("is_column_set", Kind::Bit),
    ("generated_always_type", Kind::TinyInt),
    ("generated_always_type_desc", Kind::Text(60)),
    ("encryption_type", Kind::Int),
    ("encryption_type_desc", Kind::Text(64)),
    ("encryption_algorithm_name", Kind::Name),
    ("column_encryption_key_id", Kind::Int),
    ("column_encryption_key_database_name", Kind::Name),
    ("is_hidden", Kind::Bit),
    ("is_masked", Kind::Bit),
    ("graph_type", Kind::Int),
    ("graph_type_desc", Kind::Text(60)),
    ("is_data_deletion_filter_column", Kind::Bit),
    ("vector_dimensions", Kind::Int),
    ("vector_base_type", Kind::TinyInt),
    ("vector_base_type_desc", Kind::Text(10)),
];

/// `sys.types.user_type_id` of `sysname`.
const SYSNAME: i32 = 256;

/// `sys.types.user_type_id` of `vector`.
const VECTOR: i32 = 255;

fn user_type_id(column: &Column) -> i32 {
    match column.alias.as_deref() {
        Some(alias) if alias.eq_ignore_ascii_case("sysname") => SYSNAME,
        _ => system_user_type_id(column.info.ty),
    }
}

fn system_user_type_id(ty: SqlType) -> i32 {
    match ty {
        SqlType::Clr(clr) => clr.user_type_id(),
        SqlType::Vector { .. } => VECTOR,
        _ => i32::from(ty.system_type_id()),
    }
}

fn column_values(object_id: i32, column: &Column) -> Vec<Value> {
    let ty = column.info.ty;
    let mut values = vec![
        int(object_id),
        text(&column.name),
        int(column.id),
        Value::TinyInt(ty.system_type_id()),
        int(user_type_id(column)),
        Value::SmallInt(ty.max_length()),
        Value::TinyInt(ty.precision()),
        Value::TinyInt(ty.scale()),
        column
            .info
            .collation
            .map_or(Value::Null, |collation| text(collation.name)),
        bit(column.info.nullable),
        bit(ty.is_character() || matches!(ty, SqlType::Binary { .. } | SqlType::VarBinary { .. })),
        bit(column.rowguid),
        bit(column.identity.is_some()),
        bit(column.computed.is_some()),
    ];
    // Filestream, replication and XML collections: nothing of that exists.
    values.extend([false; 6].map(Value::Bit));
    values.extend([
        int(0),
        int(column.default.as_ref().map_or(0, |default| default.object_id)),
        int(0),
        bit(column.sparse),
        bit(false),
        Value::TinyInt(0),
        text("NOT_APPLICABLE"),
    ]);
    values.extend([const { Value::Null }; 5]);
    let masked = bit(column.masked.is_some());
    values.extend([bit(false), masked, Value::Null, Value::Null, bit(false)]);
    values.extend(match ty {
        SqlType::Vector { dimensions } => [int(i32::from(dimensions)), Value::TinyInt(0), text("float32")],
        _ => [const { Value::Null }; 3],
    });
    values
}

/// Rows of the columns for which `keep` gives further values.
fn column_rows(viewer: &Viewer<'_>, keep: impl Fn(&Table, &Column) -> Option<Vec<Value>>) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for table in viewer.tables() {
        for column in &table.columns {
            if let Some(own) = keep(table, column) {
                let mut values = column_values(table.object_id, column);
                values.extend(own);
                rows.push(values);
            }
        }
    }
    rows
}

fn columns(viewer: &Viewer<'_>) -> View {
    let mut rows = column_rows(viewer, |_, _| Some(Vec::new()));
    for module in &viewer.database.modules {
        if let ModuleKind::View { columns, .. } = &module.kind {
            rows.extend(
                columns
                    .iter()
                    .map(|column| column_values(module.object_id, column)),
            );
        }
    }
    View::new(&COLUMNS, rows)
}

fn with_own(own: &[(&'static str, Kind)]) -> Vec<(&'static str, Kind)> {
    COLUMNS.iter().chain(own).copied().collect()
}

fn identity_columns(viewer: &Viewer<'_>) -> View {
    let last = |table: &Table| {
        let mut contents = viewer.table_contents();
        contents
            .find(|data| data.definition.object_id == table.object_id)?
            .identity
    };
    let rows = column_rows(viewer, |table, column| {
        let identity = column.identity?;
        Some(vec![
            Value::BigInt(identity.seed),
            Value::BigInt(identity.increment),
            last(table).map_or(Value::Null, Value::BigInt),
            bit(false),
        ])
    });
    let own = [
        ("seed_value", Kind::BigInt),
        ("increment_value", Kind::BigInt),
        ("last_value", Kind::BigInt),
        ("is_not_for_replication", Kind::Bit),
    ];
    View::new(&with_own(&own), rows)
}

fn computed_columns(viewer: &Viewer<'_>) -> View {
    let rows = column_rows(viewer, |_, column| {
        let computed = column.computed.as_ref()?;
        Some(vec![
            text(&definition(&computed.value.text)),
            bit(true),
            bit(computed.persisted),
        ])
    });
    let own = [
        ("definition", Kind::MaxText),
        ("uses_database_collation", Kind::Bit),
        ("is_persisted", Kind::Bit),
    ];
    View::new(&with_own(&own), rows)
}

fn masked_columns(viewer: &Viewer<'_>) -> View {
    let rows = column_rows(viewer, |_, column| Some(vec![text(column.masked.as_ref()?)]));
    View::new(&with_own(&[("masking_function", Kind::Text(4000))]), rows)
}

fn default_constraints(viewer: &Viewer<'_>) -> View {
    let mut rows = Vec::new();
    for table in viewer.tables() {
        for column in &table.columns {
            let Some(default) = &column.default else { continue };
            let mut values = constraint(table, &default.name, default.object_id, "D ").values(viewer);
            values.extend([
                int(column.id),
                text(&definition(&default.value.text)),
                bit(default.system_named),
            ]);
            rows.push(values);
        }
    }
    let columns = object_columns(&[
        ("parent_column_id", Kind::Int),
        ("definition", Kind::MaxText),
        ("is_system_named", Kind::Bit),
    ]);
    View::new(&columns, rows)
}

/// The widest form of every type, as `sys.types` describes it.
pub(super) fn system_types() -> Vec<SqlType> {
    use SqlType::*;
    let chars = |n| Length::Chars(n);
    vec![
        Image,
        Text,
        UniqueIdentifier,
        Date,
        Time { scale: 7 },
        DateTime2 { scale: 7 },
        DateTimeOffset { scale: 7 },
        TinyInt,
        SmallInt,
        Int,
        SmallDateTime,
        Real,
        Money,
        DateTime,
        Float,
        SqlVariant,
        NText,
        Bit,
        Decimal {
            precision: 38,
            scale: 38,
        },
        Numeric {
            precision: 38,
            scale: 38,
        },
        SmallMoney,
        BigInt,
        VarBinary { len: chars(8000) },
        VarChar { len: chars(8000) },
        Binary { len: 8000 },
        Char { len: 8000 },
        RowVersion,
        NVarChar { len: chars(4000) },
        NChar { len: 4000 },
        Xml,
        Json,
    ]
}

const TYPES: [(&str, Kind); 15] = [
    ("name", Kind::Name),
    ("system_type_id", Kind::TinyInt),
    ("user_type_id", Kind::Int),
    ("schema_id", Kind::Int),
    ("principal_id", Kind::Int),
    ("max_length", Kind::SmallInt),
    ("precision", Kind::TinyInt),
    ("scale", Kind::TinyInt),
    ("collation_name", Kind::Name),
    ("is_nullable", Kind::Bit),
    ("is_user_defined", Kind::Bit),
    ("is_assembly_type", Kind::Bit),
    ("default_object_id", Kind::Int),
    ("rule_object_id", Kind::Int),
    ("is_table_type", Kind::Bit),
];

fn types(viewer: &Viewer<'_>) -> View {
    let mut rows: Vec<_> = system_types()
        .into_iter()
        .map(|ty| type_values(ty, None))
        .collect();
    let name = SqlType::NVarChar {
        len: Length::Chars(128),
    };
    rows.push(type_values(name, Some(("sysname", SYSNAME))));
    let vector = SqlType::Vector { dimensions: 1998 };
    rows.push(type_values(vector, Some((vector.name(), VECTOR))));
    for clr in ClrType::ALL {
        let mut values = type_values(SqlType::Clr(clr), Some((clr.name(), clr.user_type_id())));
        if let [.., assembly, _, _, _] = values.as_mut_slice() {
            *assembly = bit(true);
        }
        rows.push(values);
    }
    rows.extend(table_type_values(viewer).map(|(_, values)| values));
    View::new(&TYPES, rows)
}

/// What `sys.types` has, and the table that stands for each type.
fn table_types(viewer: &Viewer<'_>) -> View {
    let more = [
        ("type_table_object_id", Kind::Int),
        ("is_memory_optimized", Kind::Bit),
    ];
    let columns: Vec<_> = TYPES.into_iter().chain(more).collect();
    let rows = table_type_values(viewer).map(|(table, mut values)| {
        values.extend([int(table), bit(false)]);
        values
    });
    View::new(&columns, rows)
}

fn table_type_values(viewer: &Viewer<'_>) -> impl Iterator<Item = (i32, Vec<Value>)> {
    /// `sys.types.system_type_id` of each table type.
    const TABLE: u8 = 243;
    viewer.database.table_types.iter().map(|ty| {
        let schema = viewer.database.schema(&ty.schema);
        let values = vec![
            text(&ty.name),
            Value::TinyInt(TABLE),
            int(ty.id),
            schema.map_or(Value::Null, |schema| int(schema.id)),
            Value::Null,
            Value::SmallInt(-1),
            Value::TinyInt(0),
            Value::TinyInt(0),
            Value::Null,
            bit(false),
            bit(true),
            bit(false),
            int(0),
            int(0),
            bit(true),
        ];
        (ty.object_id, values)
    })
}

fn type_values(ty: SqlType, alias: Option<(&str, i32)>) -> Vec<Value> {
    let (name, id) = alias.unwrap_or((ty.name(), i32::from(ty.system_type_id())));
    let collation = ty.is_character().then(|| Collation::server_default().name);
    vec![
        text(name),
        Value::TinyInt(ty.system_type_id()),
        int(id),
        int(4),
        Value::Null,
        Value::SmallInt(ty.max_length()),
        Value::TinyInt(ty.precision()),
        Value::TinyInt(ty.scale()),
        collation.map_or(Value::Null, text),
        bit(ty != SqlType::RowVersion && id != SYSNAME),
        bit(false),
        bit(false),
        int(0),
        int(0),
        bit(false),
    ]
}

/// What `sp_tablecollations_100` answers for a table: each column's collation, which bulk loads have to repeat.
pub(super) fn table_collations(table: &Table) -> View {
    let rows = table.columns.iter().map(|column| {
        let collation = column.info.collation;
        vec![
            int(column.id),
            text(&column.name),
            collation.map_or(Value::Null, |collation| Value::bytes(&collation.wire())),
            collation.map_or(Value::Null, |collation| text(collation.name)),
        ]
    });
    View::new(
        &[
            ("colid", Kind::Int),
            ("name", Kind::Name),
            ("tds_collation", Kind::Binary(5)),
            ("collation", Kind::Name),
        ],
        rows,
    )
}
