//! Indexes, keys and constraints: `sys.indexes`, `sys.index_columns`, `sys.foreign_keys`, `sys.partitions` and their kin.

use super::objects::{constraint, object_columns};
use super::{Kind, View, Viewer, bit, definition, int, text};
use crate::ast::ReferentialAction;
use crate::store::{Index, Table};
use crate::value::Value;

pub(super) fn view(viewer: &Viewer<'_>, name: &str) -> Option<View> {
    Some(match name {
        "indexes" => indexes(viewer),
        "index_columns" => index_columns(viewer),
        "key_constraints" => key_constraints(viewer),
        "check_constraints" => check_constraints(viewer),
        "foreign_keys" => foreign_keys(viewer),
        "foreign_key_columns" => foreign_key_columns(viewer),
        "partitions" => partitions(viewer),
        _ => return None,
    })
}

fn flatten(viewer: &Viewer<'_>, of_table: impl Fn(&Table) -> Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    viewer.tables().flat_map(|table| of_table(table)).collect()
}

fn has_clustered(table: &Table) -> bool {
    table.indexes.iter().any(|index| index.clustered)
}

fn index_kind(index: &Index) -> (u8, &'static str) {
    match (index.columnstore, index.clustered) {
        (true, true) => (5, "CLUSTERED COLUMNSTORE"),
        (true, false) => (6, "NONCLUSTERED COLUMNSTORE"),
        (false, true) => (1, "CLUSTERED"),
        (false, false) => (2, "NONCLUSTERED"),
    }
}

fn indexes(viewer: &Viewer<'_>) -> View {
    let rows = flatten(viewer, |table| {
        let heap = (!has_clustered(table)).then(|| index_values(table, None));
        let indexes = table.indexes.iter().map(|index| index_values(table, Some(index)));
        heap.into_iter().chain(indexes).collect()
    });
    View::new(
        &[
            ("object_id", Kind::Int),
            ("name", Kind::Name),
            ("index_id", Kind::Int),
            ("type", Kind::TinyInt),
            ("type_desc", Kind::Text(60)),
            ("is_unique", Kind::Bit),
            ("data_space_id", Kind::Int),
            ("ignore_dup_key", Kind::Bit),
            ("is_primary_key", Kind::Bit),
            ("is_unique_constraint", Kind::Bit),
            ("fill_factor", Kind::TinyInt),
            ("is_padded", Kind::Bit),
            ("is_disabled", Kind::Bit),
            ("is_hypothetical", Kind::Bit),
            ("allow_row_locks", Kind::Bit),
            ("allow_page_locks", Kind::Bit),
            ("has_filter", Kind::Bit),
            ("filter_definition", Kind::MaxText),
            ("auto_created", Kind::Bit),
        ],
        rows,
    )
}

/// One row of `sys.indexes`; without an index, the heap's.
fn index_values(table: &Table, index: Option<&Index>) -> Vec<Value> {
    let is = |flag: fn(&Index) -> bool| bit(index.is_some_and(flag));
    let (kind, description) = index.map_or((0, "HEAP"), index_kind);
    let filter = index.and_then(|index| index.filter.as_ref());
    vec![
        int(table.object_id),
        index.map_or(Value::Null, |index| text(&index.name)),
        int(index.map_or(0, |index| index.id)),
        Value::TinyInt(kind),
        text(description),
        is(|index| index.unique),
        int(1),
        is(|index| index.ignore_dup_key),
        is(|index| index.primary),
        is(|index| index.constraint.is_some() && !index.primary),
        Value::TinyInt(0),
        bit(false),
        is(|index| index.disabled),
        bit(false),
        bit(true),
        bit(true),
        bit(filter.is_some()),
        filter.map_or(Value::Null, |filter| text(&definition(&filter.text))),
        bit(false),
    ]
}

fn index_columns(viewer: &Viewer<'_>) -> View {
    let column_id = |table: &Table, at: usize| int(table.columns.get(at).map_or(0, |column| column.id));
    let rows = flatten(viewer, |table| {
        let mut rows = Vec::new();
        for index in &table.indexes {
            let keys = index.keys.iter().map(|key| (key.column, key.descending, false));
            let included = index.included.iter().map(|column| (*column, false, true));
            for (at, (column, descending, included)) in (1u8..).zip(keys.chain(included)) {
                rows.push(vec![
                    int(table.object_id),
                    int(index.id),
                    int(at),
                    column_id(table, column),
                    Value::TinyInt(if included { 0 } else { at }),
                    Value::TinyInt(0),
                    bit(descending),
                    bit(included),
                ]);
            }
        }
        rows
    });
    View::new(
        &[
            ("object_id", Kind::Int),
            ("index_id", Kind::Int),
            ("index_column_id", Kind::Int),
            ("column_id", Kind::Int),
            ("key_ordinal", Kind::TinyInt),
            ("partition_ordinal", Kind::TinyInt),
            ("is_descending_key", Kind::Bit),
            ("is_included_column", Kind::Bit),
        ],
        rows,
    )
}

fn key_constraints(viewer: &Viewer<'_>) -> View {
    let rows = flatten(viewer, |table| {
        let keys = table
            .indexes
            .iter()
            .filter_map(|index| Some((index, index.constraint?)));
        keys.map(|(index, id)| {
            let kind = if index.primary { "PK" } else { "UQ" };
            let mut values = constraint(table, &index.name, id, kind).values(viewer);
            values.extend([int(index.id), bit(index.system_named), bit(true)]);
            values
        })
        .collect()
    });
    let columns = object_columns(&[
        ("unique_index_id", Kind::Int),
        ("is_system_named", Kind::Bit),
        ("is_enforced", Kind::Bit),
    ]);
    View::new(&columns, rows)
}

fn check_constraints(viewer: &Viewer<'_>) -> View {
    let rows = flatten(viewer, |table| {
        let checks = table.checks.iter().map(|check| {
            let mut values = constraint(table, &check.name, check.object_id, "C ").values(viewer);
            values.extend([
                bit(check.disabled),
                bit(false),
                bit(!check.trusted),
                int(0),
                text(&definition(&check.condition.text)),
                bit(true),
                bit(check.system_named),
            ]);
            values
        });
        checks.collect()
    });
    let columns = object_columns(&[
        ("is_disabled", Kind::Bit),
        ("is_not_for_replication", Kind::Bit),
        ("is_not_trusted", Kind::Bit),
        ("parent_column_id", Kind::Int),
        ("definition", Kind::MaxText),
        ("uses_database_collation", Kind::Bit),
        ("is_system_named", Kind::Bit),
    ]);
    View::new(&columns, rows)
}

fn action(action: ReferentialAction) -> (Value, Value) {
    let (number, name) = match action {
        ReferentialAction::NoAction => (0, "NO_ACTION"),
        ReferentialAction::Cascade => (1, "CASCADE"),
        ReferentialAction::SetNull => (2, "SET_NULL"),
        ReferentialAction::SetDefault => (3, "SET_DEFAULT"),
    };
    (Value::TinyInt(number), text(name))
}

fn foreign_keys(viewer: &Viewer<'_>) -> View {
    let rows = flatten(viewer, |table| {
        let keys = table.foreign_keys.iter().map(|key| {
            let (delete, delete_name) = action(key.on_delete);
            let (update, update_name) = action(key.on_update);
            let mut values = constraint(table, &key.name, key.object_id, "F ").values(viewer);
            values.extend([
                viewer
                    .definition(key.referenced)
                    .map_or(Value::Null, |t| int(t.object_id)),
                int(1),
                bit(key.disabled),
                bit(false),
                bit(!key.trusted),
                delete,
                delete_name,
                update,
                update_name,
                bit(key.system_named),
            ]);
            values
        });
        keys.collect()
    });
    let columns = object_columns(&[
        ("referenced_object_id", Kind::Int),
        ("key_index_id", Kind::Int),
        ("is_disabled", Kind::Bit),
        ("is_not_for_replication", Kind::Bit),
        ("is_not_trusted", Kind::Bit),
        ("delete_referential_action", Kind::TinyInt),
        ("delete_referential_action_desc", Kind::Text(60)),
        ("update_referential_action", Kind::TinyInt),
        ("update_referential_action_desc", Kind::Text(60)),
        ("is_system_named", Kind::Bit),
    ]);
    View::new(&columns, rows)
}

fn foreign_key_columns(viewer: &Viewer<'_>) -> View {
    let column_id = |table: &Table, at: usize| int(table.columns.get(at).map_or(0, |column| column.id));
    let rows = flatten(viewer, |table| {
        let mut rows = Vec::new();
        for key in &table.foreign_keys {
            let Some(referenced) = viewer.definition(key.referenced) else {
                continue;
            };
            let pairs = key.columns.iter().zip(&key.referenced_columns);
            for (at, (column, target)) in (1i32..).zip(pairs) {
                rows.push(vec![
                    int(key.object_id),
                    int(at),
                    int(table.object_id),
                    column_id(table, *column),
                    int(referenced.object_id),
                    column_id(referenced, *target),
                ]);
            }
        }
        rows
    });
    View::new(
        &[
            ("constraint_object_id", Kind::Int),
            ("constraint_column_id", Kind::Int),
            ("parent_object_id", Kind::Int),
            ("parent_column_id", Kind::Int),
            ("referenced_object_id", Kind::Int),
            ("referenced_column_id", Kind::Int),
        ],
        rows,
    )
}

fn partitions(viewer: &Viewer<'_>) -> View {
    let mut rows = Vec::new();
    for data in viewer.table_contents() {
        let table = &data.definition;
        let count = data.size_hint() as i64;
        let heap = (!has_clustered(table)).then_some(0);
        for index in heap.into_iter().chain(table.indexes.iter().map(|index| index.id)) {
            let partition = (i64::from(table.object_id) << 16) + i64::from(index);
            rows.push(vec![
                Value::BigInt(partition),
                int(table.object_id),
                int(index),
                int(1),
                Value::BigInt(partition),
                Value::BigInt(count),
                Value::TinyInt(0),
                text("NONE"),
            ]);
        }
    }
    View::new(
        &[
            ("partition_id", Kind::BigInt),
            ("object_id", Kind::Int),
            ("index_id", Kind::Int),
            ("partition_number", Kind::Int),
            ("hobt_id", Kind::BigInt),
            ("rows", Kind::BigInt),
            ("data_compression", Kind::TinyInt),
            ("data_compression_desc", Kind::Text(60)),
        ],
        rows,
    )
}
