//! The least that applying needs of the target's user.

use model::{Result, TableName};
use sqlserver_client::{Connection, Permission, TableInfo};

use crate::marks;

/// The rights that applying to these tables needs, as the target is now: on each table, or to create it where it is missing, and the same
/// for `_sync.applied`.
///
/// # Errors
///
/// As [`Connection::query`].
pub async fn needed_rights(connection: &mut Connection, tables: &[TableName]) -> Result<Vec<Permission>> {
    let mut needed = Vec::new();
    for table in tables.iter().chain([&marks::table()]) {
        match connection.find_table(table).await? {
            Some(info) => needed.extend(to_write(&info, info.columns.iter().any(|column| column.identity))),
            None => needed.extend(to_create(connection, table).await?),
        }
    }
    Ok(needed)
}

/// Those of the rights that the login lacks.
///
/// # Errors
///
/// As [`Connection::query`].
pub async fn missing_rights(connection: &mut Connection, needed: &[Permission]) -> Result<Vec<Permission>> {
    let mut missing = Vec::new();
    for right in needed {
        if !missing.contains(right) && !connection.has_permission(right).await? {
            missing.push(right.clone());
        }
    }
    Ok(missing)
}

/// The rights to change a table's rows. `IDENTITY_INSERT` needs one on the table itself.
pub(crate) fn to_write(info: &TableInfo, sets_identity: bool) -> Vec<Permission> {
    let name = || info.name.clone();
    let mut rights = vec![
        Permission::Select(name()),
        Permission::Insert(name()),
        Permission::Update(name()),
        Permission::Delete(name()),
    ];
    if sets_identity {
        rights.push(Permission::Alter(name()));
    }
    rights
}

/// Who creates a schema owns it, and the tables in it. A table in another's schema belongs to the schema's owner.
async fn to_create(connection: &mut Connection, table: &TableName) -> Result<Vec<Permission>> {
    if !connection.has_schema(table.schema()).await? {
        return Ok(vec![Permission::CreateTable, Permission::CreateSchema]);
    }
    let schema = || table.schema().to_owned();
    let mut rights = vec![Permission::CreateTable, Permission::AlterSchema(schema())];
    rights.extend(
        ["SELECT", "INSERT", "UPDATE", "DELETE"].map(|right| Permission::RowsOfSchema(right, schema())),
    );
    Ok(rights)
}
