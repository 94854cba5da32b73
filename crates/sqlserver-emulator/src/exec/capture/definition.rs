//! What `sp_cdc_enable_table` makes of its arguments: names, columns, keys, the definitions of CDC's own tables.

use super::super::define::empty_table;
use super::super::scope::same;
use crate::clock::Instant;
use crate::error::{SqlError, SqlResult};
use crate::store::{
    BEFORE_CAPTURED, CapturedColumn, Capturing, Column, Index, IndexKey, Table, captured_type,
};
use crate::types::{Length, SqlType, TypeInfo};

/// Columns that a captured table must not have.
const RESERVED: [&str; 5] = [
    "__$start_lsn",
    "__$end_lsn",
    "__$seqval",
    "__$operation",
    "__$update_mask",
];
const LONGEST_NAME: usize = 100;

/// Errors: 22926, 22927.
pub(super) fn refuse_name(capturing: &Capturing, name: &str) -> SqlResult<()> {
    if name.encode_utf16().count() > LONGEST_NAME {
        return Err(SqlError::user(
            22_927,
            format!(
                "Capture instance name '{name}' exceeds the length limit of 100 characters. Specify a name that satisfies the length constraint."
            ),
        ));
    }
    if capturing.instances.iter().any(|other| same(&other.name, name)) {
        return Err(SqlError::user(
            22_926,
            format!(
                "Could not create a capture instance because the capture instance name '{name}' already exists in the current database. Specify an explicit unique name for the parameter @capture_instance."
            ),
        ));
    }
    Ok(())
}

/// The index that tells rows apart: the one named, else the primary key.
pub(super) fn unique_index<'t>(table: &'t Table, name: Option<&str>) -> SqlResult<Option<&'t Index>> {
    let Some(name) = name else {
        return Ok(table.primary_key().and_then(|at| table.indexes.get(at)));
    };
    let index = table.indexes.iter().find(|index| same(&index.name, name));
    let index = index.ok_or_else(|| {
        let message = format!(
            "Index name '{name}' is not an index for table '{}'. Specify a valid index name for the table.",
            table.qualified()
        );
        SqlError::user(22_928, message)
    })?;
    if !index.unique {
        let message = format!(
            "Index '{name}' must be either a primary key or a unique index for table '{}'. Specify an index that meets at least one of these requirements.",
            table.qualified()
        );
        return Err(SqlError::user(22_929, message));
    }
    Ok(Some(index))
}

/// The columns of the list, in the table's order; all without a list. Errors: 22942, 22975.
pub(super) fn captured_columns(table: &Table, list: Option<&str>) -> SqlResult<Vec<CapturedColumn>> {
    let wanted = list.map(listed);
    if let Some(wanted) = &wanted
        && (wanted.is_empty() || wanted.iter().any(|name| table.column(name).is_none()))
    {
        return Err(SqlError::user(
            22_942,
            format!(
                "Columns specified in the captured column list could not be mapped to columns in source table '{}'. Verify that the columns specified in the parameter @captured_column_list are delimited properly and match columns in the source table.",
                table.qualified()
            ),
        ));
    }
    let chosen = |column: &&Column| match &wanted {
        Some(wanted) => wanted.iter().any(|name| same(name, &column.name)),
        None => true,
    };
    let columns: Vec<_> = table.columns.iter().filter(chosen).collect();
    if columns
        .iter()
        .any(|column| RESERVED.iter().any(|name| same(name, &column.name)))
    {
        return Err(SqlError::user(
            22_975,
            format!(
                "Source table '{}' contains one of the following reserved column names: __$start_lsn, __$end_lsn, __$seqval, __$operation, and __$update_mask. To enable Change Data Capture for this table, specify a captured column list and ensure that these columns are excluded from the list.",
                table.name
            ),
        ));
    }
    let captured = columns.into_iter().map(|column| CapturedColumn {
        id: column.id,
        name: column.name.clone(),
        computed: column.computed.is_some(),
    });
    Ok(captured.collect())
}

/// Names with commas between them, some in brackets or double quotes.
fn listed(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut close = None;
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        match (close, character) {
            (Some(end), found) if found == end => {
                if characters.next_if_eq(&end).is_some() {
                    name.push(end);
                } else {
                    close = None;
                }
            }
            (Some(_), other) => name.push(other),
            (None, '[') => close = Some(']'),
            (None, '"') => close = Some('"'),
            (None, ',') => names.push(std::mem::take(&mut name).trim().to_owned()),
            (None, other) => name.push(other),
        }
    }
    names.push(name.trim().to_owned());
    names.retain(|name| !name.is_empty());
    names
}

/// Error 22943.
pub(super) fn key_of(
    table: &Table,
    index: Option<&Index>,
    columns: &[CapturedColumn],
) -> SqlResult<Vec<i32>> {
    let parts = index.into_iter().flat_map(|index| &index.keys);
    let key: Vec<i32> = parts
        .filter_map(|part| table.columns.get(part.column).map(|column| column.id))
        .collect();
    if key.iter().all(|id| columns.iter().any(|column| column.id == *id)) {
        return Ok(key);
    }
    let message = "Columns used to uniquely identify a row for net change tracking must be included in the list of captured columns. Add either the primary key columns of the source table, or the columns defined for the index specified in the parameter @index_name to the list of captured columns and retry the operation.";
    Err(SqlError::user(22_943, message))
}

const LSN: SqlType = SqlType::Binary { len: 10 };

fn plain(id: i32, name: &str, info: TypeInfo) -> Column {
    Column {
        id,
        name: name.to_owned(),
        info,
        alias: None,
        identity: None,
        computed: None,
        default: None,
        rowguid: false,
        sparse: false,
        masked: None,
    }
}

/// A unique clustered index over columns.
fn clustered(name: String, columns: &[usize]) -> Index {
    Index {
        id: 1,
        name,
        unique: true,
        primary: false,
        constraint: None,
        system_named: false,
        clustered: true,
        columnstore: false,
        keys: columns
            .iter()
            .map(|column| IndexKey {
                column: *column,
                descending: false,
            })
            .collect(),
        included: Vec::new(),
        filter: None,
        ignore_dup_key: false,
        disabled: false,
    }
}

fn with_columns(mut table: Table, columns: Vec<(String, TypeInfo)>, index: Index) -> Table {
    let numbered = (1..).zip(columns);
    table.columns = numbered
        .map(|(id, (name, info))| plain(id, &name, info))
        .collect();
    table.last_column_id = table.columns.len() as i32;
    table.indexes = vec![index];
    table
}

/// `cdc.lsn_time_mapping`.
pub(super) fn mapping_table(object_id: i32, database: i32, now: Instant) -> Table {
    let columns = [
        ("start_lsn", TypeInfo::new(LSN).not_null()),
        ("tran_begin_time", TypeInfo::new(SqlType::DateTime)),
        ("tran_end_time", TypeInfo::new(SqlType::DateTime)),
        (
            "tran_id",
            TypeInfo::new(SqlType::VarBinary {
                len: Length::Chars(10),
            }),
        ),
        ("tran_begin_lsn", TypeInfo::new(LSN)),
    ];
    let columns = columns.map(|(name, info)| (name.to_owned(), info)).to_vec();
    let index = clustered("lsn_time_mapping_clustered_idx".to_owned(), &[0]);
    with_columns(
        empty_table(object_id, database, "cdc", "lsn_time_mapping", now),
        columns,
        index,
    )
}

/// `cdc.…_CT`, without its number and its database.
pub(super) fn change_table(
    source: &Table,
    instance: &str,
    captured: &[CapturedColumn],
    now: Instant,
) -> Table {
    let mask = SqlType::VarBinary {
        len: Length::Chars(128),
    };
    let own = [
        ("__$start_lsn", TypeInfo::new(LSN).not_null()),
        ("__$end_lsn", TypeInfo::new(LSN)),
        ("__$seqval", TypeInfo::new(LSN).not_null()),
        ("__$operation", TypeInfo::new(SqlType::Int).not_null()),
        ("__$update_mask", TypeInfo::new(mask)),
    ];
    let mut columns: Vec<_> = own.map(|(name, info)| (name.to_owned(), info)).to_vec();
    for column in captured {
        let found = source.columns.iter().find(|known| known.id == column.id);
        columns.extend(found.map(|found| (column.name.clone(), captured_type(found))));
    }
    let command = columns.len();
    debug_assert_eq!(command, BEFORE_CAPTURED + captured.len());
    columns.push(("__$command_id".to_owned(), TypeInfo::new(SqlType::Int)));
    let name = format!("{instance}_CT");
    let index = clustered(format!("{instance}_CT_clustered_idx"), &[0, command, 2, 3]);
    with_columns(empty_table(0, 0, "cdc", &name, now), columns, index)
}
