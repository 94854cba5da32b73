//! Indexes in definitions: numbers, keys, what a foreign key may refer to.

use super::{position, same};
use crate::ast::{CreateIndex, IndexColumn};
use crate::error::{SqlError, SqlResult};
use crate::store::{Index, IndexFilter, IndexKey, Table};
use crate::types::{ClrType, SqlType};

/// CREATE INDEX.
pub(crate) fn add_index(table: &mut Table, definition: &CreateIndex) -> SqlResult<()> {
    let keys = index_keys(table, &definition.columns)?;
    let included = definition
        .include
        .iter()
        .map(|column| position(table, column))
        .collect::<SqlResult<Vec<_>>>()?;
    if let Some(filter) = &definition.filter {
        IndexFilter::compile(table, &filter.expr)?;
    }
    let index = Index {
        id: 0,
        name: definition.name.clone(),
        unique: definition.unique,
        primary: false,
        constraint: None,
        system_named: false,
        clustered: definition.clustered,
        columnstore: definition.columnstore,
        keys,
        included,
        filter: definition.filter.clone(),
        ignore_dup_key: definition.ignore_dup_key,
        disabled: false,
    };
    push_index(table, index)
}

/// Gives the index its number: 1 for the clustered one, from 2 on for the others.
pub(super) fn push_index(table: &mut Table, mut index: Index) -> SqlResult<()> {
    if table.indexes.iter().any(|known| same(&known.name, &index.name)) {
        return Err(SqlError::user(
            1913,
            format!(
                "The operation failed because an index or statistics with name '{}' already exists on table '{}'.",
                index.name,
                table.qualified()
            ),
        ));
    }
    if index.clustered
        && let Some(other) = table.indexes.iter().find(|known| known.clustered)
    {
        return Err(SqlError::new(
            1902,
            16,
            3,
            format!(
                "Cannot create more than one clustered index on table '{}'. Drop the existing clustered index '{}' before creating another.",
                table.qualified(),
                other.name
            ),
        ));
    }
    let greatest = table.indexes.iter().map(|known| known.id).max().unwrap_or(0);
    index.id = if index.clustered { 1 } else { greatest.max(1) + 1 };
    table.indexes.push(index);
    Ok(())
}

pub(super) fn has_clustered(table: &Table) -> bool {
    table.indexes.iter().any(|index| index.clustered)
}

pub(super) fn index_keys(table: &Table, columns: &[IndexColumn]) -> SqlResult<Vec<IndexKey>> {
    let mut keys = Vec::new();
    for part in columns {
        let column = position(table, &part.name)?;
        let ty = table.columns.get(column).map(|column| column.info.ty);
        if ty.is_some_and(|ty| {
            ty.is_max() && ty != SqlType::Clr(ClrType::HierarchyId)
                || matches!(
                    ty,
                    SqlType::Text | SqlType::NText | SqlType::Image | SqlType::Vector { .. }
                )
        }) {
            return Err(SqlError::user(
                1919,
                format!(
                    "Column '{}' in table '{}' is of a type that is invalid for use as a key column in an index.",
                    part.name,
                    table.qualified()
                ),
            ));
        }
        keys.push(IndexKey {
            column,
            descending: part.descending,
        });
    }
    Ok(keys)
}

pub(super) fn is_candidate_key(table: &Table, columns: &[usize]) -> bool {
    let mut wanted = columns.to_vec();
    wanted.sort_unstable();
    table
        .indexes
        .iter()
        .filter(|index| index.unique && index.filter.is_none())
        .any(|index| {
            let mut keys: Vec<_> = index.keys.iter().map(|key| key.column).collect();
            keys.sort_unstable();
            keys == wanted
        })
}
