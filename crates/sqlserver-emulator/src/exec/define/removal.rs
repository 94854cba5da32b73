//! What ALTER TABLE DROP takes out of a definition.

use super::same;
use crate::ast::AlterTable;
use crate::clock::Instant;
use crate::error::{SqlError, SqlResult};
use crate::store::Table;

/// DROP CONSTRAINT and DROP COLUMN. Gives the positions of the columns that went, greatest first.
pub(crate) fn drop_items(table: &mut Table, action: &AlterTable, now: Instant) -> SqlResult<Vec<usize>> {
    let AlterTable::Drop {
        columns,
        constraints,
        if_exists,
    } = action
    else {
        return Ok(Vec::new());
    };
    for name in constraints {
        if !drop_constraint(table, name) && !if_exists {
            return Err(SqlError::user(3728, format!("'{name}' is not a constraint.")));
        }
    }
    let mut gone = Vec::new();
    for name in columns {
        match table.column(name) {
            Some(at) => {
                refuse_dependents(table, at)?;
                gone.push(at);
            }
            None if *if_exists => {}
            None => {
                return Err(SqlError::user(
                    4924,
                    format!(
                        "ALTER TABLE DROP COLUMN failed because column '{name}' does not exist in table '{}'.",
                        table.name
                    ),
                ));
            }
        }
    }
    gone.sort_unstable_by(|a, b| b.cmp(a));
    for at in &gone {
        remove_column(table, *at);
    }
    table.modified = now;
    Ok(gone)
}

fn drop_constraint(table: &mut Table, name: &str) -> bool {
    let before = (table.indexes.len(), table.checks.len(), table.foreign_keys.len());
    table
        .indexes
        .retain(|index| index.constraint.is_none() || !same(&index.name, name));
    table.checks.retain(|check| !same(&check.name, name));
    table.foreign_keys.retain(|key| !same(&key.name, name));
    let mut found = before != (table.indexes.len(), table.checks.len(), table.foreign_keys.len());
    for column in &mut table.columns {
        if column
            .default
            .as_ref()
            .is_some_and(|default| same(&default.name, name))
        {
            column.default = None;
            found = true;
        }
    }
    found
}

/// Error 5074 while an index, a constraint or a default needs the column.
fn refuse_dependents(table: &Table, at: usize) -> SqlResult<()> {
    let indexes = table.indexes.iter();
    let index =
        indexes.filter(|index| index.keys.iter().any(|key| key.column == at) || index.included.contains(&at));
    let keys = table.foreign_keys.iter().filter(|key| key.columns.contains(&at));
    let default = table.columns.get(at).and_then(|column| column.default.as_ref());
    let dependent = index
        .map(|index| &index.name)
        .chain(keys.map(|key| &key.name))
        .chain(default.map(|default| &default.name))
        .next();
    let column = table.columns.get(at).map_or("", |column| &column.name);
    dependent.map_or(Ok(()), |name| {
        Err(SqlError::user(
            5074,
            format!("The object '{name}' is dependent on column '{column}'."),
        ))
    })
}

/// Positions behind the column move down by one.
fn remove_column(table: &mut Table, at: usize) {
    let moved = |column: usize| if column > at { column - 1 } else { column };
    table.columns.remove(at);
    for index in &mut table.indexes {
        for key in &mut index.keys {
            key.column = moved(key.column);
        }
        for column in &mut index.included {
            *column = moved(*column);
        }
    }
    for key in &mut table.foreign_keys {
        for column in &mut key.columns {
            *column = moved(*column);
        }
    }
}
