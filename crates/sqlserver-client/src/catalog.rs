//! What a server and its catalog say: tables, the database, rights, capabilities.
//!
//! Valid on SQL Server 2016 and later and on Azure SQL. What a lesser server lacks is found by asking.

mod capture_service;
mod change_data_capture;
mod change_tracking;
mod result_columns;
mod table;
mod triggers;

use model::{Error, ErrorKind, Result, TableName};

pub use table::TableShape;

use crate::tds::{LOOK_FOR_TABLE, is_unknown_to_server};
use crate::{Capabilities, Connection, DatabaseInfo, Param, Row, TableInfo};

/// A right that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// `SELECT` on a table.
    Select(TableName),
    /// `INSERT` on a table.
    Insert(TableName),
    /// `UPDATE` on a table.
    Update(TableName),
    /// `DELETE` on a table.
    Delete(TableName),
    /// `ALTER` on a table, which `IDENTITY_INSERT` needs.
    Alter(TableName),
    /// `CREATE TABLE` in the database.
    CreateTable,
    /// `CREATE SCHEMA` in the database.
    CreateSchema,
    /// `VIEW SERVER STATE`; in Azure SQL Database `VIEW DATABASE STATE` serves.
    ViewServerState,
    /// `VIEW DATABASE STATE`.
    ViewDatabaseState,
    /// `VIEW DEFINITION` on a table.
    ViewDefinition(TableName),
    /// `VIEW CHANGE TRACKING` on a table.
    ViewChangeTracking(TableName),
    /// `ALTER` on a schema, which creating a table in it needs.
    AlterSchema(String),
    /// A right on all tables of a schema: `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
    RowsOfSchema(&'static str, String),
}

impl Permission {
    /// Securable, class and permission of `HAS_PERMS_BY_NAME`.
    fn probe(&self) -> (Option<String>, Option<&'static str>, &'static str) {
        let object = |table: &TableName, right| (Some(crate::quote::table(table)), Some("OBJECT"), right);
        match self {
            Self::Select(table) => object(table, "SELECT"),
            Self::Insert(table) => object(table, "INSERT"),
            Self::Update(table) => object(table, "UPDATE"),
            Self::Delete(table) => object(table, "DELETE"),
            Self::Alter(table) => object(table, "ALTER"),
            Self::ViewDefinition(table) => object(table, "VIEW DEFINITION"),
            Self::ViewChangeTracking(table) => object(table, "VIEW CHANGE TRACKING"),
            Self::AlterSchema(schema) => (Some(crate::quote::identifier(schema)), Some("SCHEMA"), "ALTER"),
            Self::RowsOfSchema(right, schema) => {
                (Some(crate::quote::identifier(schema)), Some("SCHEMA"), right)
            }
            Self::CreateTable => (None, Some("DATABASE"), "CREATE TABLE"),
            Self::CreateSchema => (None, Some("DATABASE"), "CREATE SCHEMA"),
            Self::ViewServerState => (None, None, "VIEW SERVER STATE"),
            Self::ViewDatabaseState => (None, Some("DATABASE"), "VIEW DATABASE STATE"),
        }
    }

    /// The T-SQL that an administrator runs to give it.
    pub fn grant(&self) -> String {
        format!("GRANT {} {}", self.probe().2, self.scope())
    }

    /// On what, and to whom.
    fn scope(&self) -> String {
        match self.probe() {
            (Some(schema), Some("SCHEMA"), _) => format!("ON SCHEMA::{schema} TO [<user>]"),
            (Some(table), ..) => format!("ON {table} TO [<user>]"),
            (None, None, _) => "TO [<login>]".to_owned(),
            (None, Some(_), _) => "TO [<user>]".to_owned(),
        }
    }

    /// The T-SQL that gives several rights: a statement for each thing that they are on.
    pub fn grants(permissions: &[Self]) -> String {
        let mut statements: Vec<(String, Vec<&str>)> = Vec::new();
        for permission in permissions {
            let (scope, (.., right)) = (permission.scope(), permission.probe());
            match statements.iter_mut().find(|(known, _)| *known == scope) {
                Some((_, rights)) if rights.contains(&right) => {}
                Some((_, rights)) => rights.push(right),
                None => statements.push((scope, vec![right])),
            }
        }
        let lines = statements
            .iter()
            .map(|(scope, rights)| format!("GRANT {} {scope};", rights.join(", ")));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// A table in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSummary {
    /// Its name.
    pub name: TableName,
    /// Whether it is a view.
    pub is_view: bool,
    /// About how many rows it has; `None` for a view.
    pub approximate_rows: Option<u64>,
}

impl Connection {
    /// The user tables and views that the login sees, by schema and name. `pattern` is a `LIKE` pattern for `schema.name`.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn tables(&mut self, pattern: Option<&str>) -> Result<Vec<TableSummary>> {
        const TABLES: &str = "\
SELECT s.name AS schema_name, o.name AS table_name, CASE WHEN o.type = 'V' THEN 1 ELSE 0 END AS is_view, \
 (SELECT SUM(p.rows) FROM sys.partitions AS p WHERE p.object_id = o.object_id AND p.index_id IN (0, 1)) AS approximate_rows \
FROM sys.objects AS o INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id \
WHERE o.type IN ('U', 'V') AND o.is_ms_shipped = 0 AND s.name + N'.' + o.name LIKE @pattern \
ORDER BY s.name, o.name";
        let rows = self
            .query(TABLES, &[Param::new("pattern", pattern.unwrap_or("%"))])
            .await?;
        rows.iter().map(|row| summary(&row)).collect()
    }

    /// What the catalog says about a table or view; `None` if it does not exist or the login cannot see it.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn find_table(&mut self, name: &TableName) -> Result<Option<TableInfo>> {
        table::load(self, name).await
    }

    /// What the catalog says about a table or view.
    ///
    /// # Errors
    ///
    /// `NotFound` if it does not exist or the login cannot see it; else as [`Connection::query`].
    pub async fn table_info(&mut self, name: &TableName) -> Result<TableInfo> {
        self.find_table(name).await?.ok_or_else(|| no_such_table(name))
    }

    /// What values for a table depend on; that of no table if it does not exist or the login cannot see it.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn table_shape(&mut self, name: &TableName) -> Result<TableShape> {
        table::shape(self, name).await
    }

    /// What is known of the database and its server.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn database_info(&mut self) -> Result<DatabaseInfo> {
        const DATABASE: &str = "\
SELECT d.name AS name, CONVERT(nvarchar(30), d.create_date, 126) AS create_date, \
 CONVERT(nvarchar(128), d.collation_name) AS collation_name, d.snapshot_isolation_state AS snapshot_state, \
 d.is_read_committed_snapshot_on AS rcsi, d.compatibility_level AS compatibility_level, d.is_cdc_enabled AS is_cdc, \
 CONVERT(nvarchar(60), DATABASEPROPERTYEX(d.name, 'Updateability')) AS updateability, \
 CONVERT(nvarchar(128), SERVERPROPERTY('ProductVersion')) AS product_version, \
 CONVERT(nvarchar(128), SERVERPROPERTY('Edition')) AS edition, \
 CONVERT(int, SERVERPROPERTY('EngineEdition')) AS engine_edition \
FROM sys.databases AS d WHERE d.database_id = DB_ID()";
        let rows = self.query(DATABASE, &[]).await?;
        let row = rows.one()?;
        let mut info = database(&row)?;
        info.change_tracking = self
            .succeeds("SELECT COUNT(*) AS n FROM sys.change_tracking_databases WHERE database_id = DB_ID()")
            .await?
            .is_some_and(|n| n > 0);
        if let Some(guids) = self.recovery_guids().await? {
            info.incarnation = guids;
            info.incarnation_is_exact = true;
        }
        Ok(info)
    }

    /// `database_guid/recovery_fork_guid`, where the login may read them and they are set.
    async fn recovery_guids(&mut self) -> Result<Option<String>> {
        const GUIDS: &str = "\
SELECT CONVERT(nvarchar(36), database_guid) AS database_guid, \
 CONVERT(nvarchar(36), recovery_fork_guid) AS recovery_fork_guid \
FROM sys.database_recovery_status WHERE database_id = DB_ID()";
        let rows = match self.query(GUIDS, &[]).await {
            Ok(rows) => rows,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(
            match (row.text("database_guid")?, row.text("recovery_fork_guid")?) {
                (Some(database), Some(fork)) => Some(format!("{database}/{fork}")),
                _ => None,
            },
        )
    }

    /// Whether the login has a right. A server that does not know the right answers no.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn has_permission(&mut self, permission: &Permission) -> Result<bool> {
        let (securable, class, right) = permission.probe();
        let text = |value: Option<&str>| value.map_or_else(|| "NULL".to_owned(), crate::quote::literal);
        let sql = format!(
            "SELECT HAS_PERMS_BY_NAME({}, {}, {}) AS granted",
            match (&securable, class) {
                (None, Some("DATABASE")) => "DB_NAME()".to_owned(),
                _ => text(securable.as_deref()),
            },
            text(class),
            text(Some(right))
        );
        self.query(&sql, &[]).await?.one()?.flag("granted")
    }

    /// Whether the database has a schema of this name.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn has_schema(&mut self, name: &str) -> Result<bool> {
        let sql = "SELECT CASE WHEN SCHEMA_ID(@name) IS NULL THEN 0 ELSE 1 END AS known";
        self.query(sql, &[Param::new("name", name)])
            .await?
            .one()?
            .flag("known")
    }

    /// What the server can do, by asking it.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`], except for errors that say that something is missing.
    pub async fn capabilities(&mut self) -> Result<Capabilities> {
        const MERGE: &str = "\
DECLARE @t TABLE (k int PRIMARY KEY); DECLARE @done TABLE (action nvarchar(10)); \
MERGE @t AS t USING (SELECT 1 AS k) AS s ON t.k = s.k WHEN NOT MATCHED THEN INSERT (k) VALUES (s.k) \
OUTPUT $action INTO @done; SELECT COUNT(*) AS n FROM @done";
        Ok(Capabilities {
            merge: self.succeeds(MERGE).await? == Some(1),
            min_active_rowversion: self
                .succeeds("SELECT CONVERT(bigint, MIN_ACTIVE_ROWVERSION()) AS n")
                .await?
                .is_some(),
            change_tracking: self
                .succeeds("SELECT CHANGE_TRACKING_CURRENT_VERSION() AS n")
                .await?
                .is_some(),
        })
    }

    /// Runs a probe: the integer `n` of its row (0 for NULL), or `None` if the server refuses the statement.
    async fn succeeds(&mut self, sql: &str) -> Result<Option<i64>> {
        match self.query(sql, &[]).await {
            Ok(rows) => Ok(Some(
                rows.first().map_or(Ok(None), |row| row.i64("n"))?.unwrap_or(0),
            )),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// That a table cannot be found.
pub fn no_such_table(name: &TableName) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no table {name}, or the login cannot see it"),
    )
    .hint(LOOK_FOR_TABLE)
}

/// Whether a probe failed for want of what it looks for, or of the right to it. Whatever else the server refuses says nothing of that.
fn is_missing(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Denied => true,
        ErrorKind::Refused => is_unknown_to_server(error),
        _ => false,
    }
}

fn summary(row: &Row<'_>) -> Result<TableSummary> {
    Ok(TableSummary {
        name: TableName::new(row.need_text("schema_name")?, row.need_text("table_name")?),
        is_view: row.flag("is_view")?,
        approximate_rows: row
            .i64("approximate_rows")?
            .and_then(|rows| u64::try_from(rows).ok()),
    })
}

fn database(row: &Row<'_>) -> Result<DatabaseInfo> {
    Ok(DatabaseInfo {
        name: row.need_text("name")?.to_owned(),
        incarnation: row.need_text("create_date")?.to_owned(),
        incarnation_is_exact: false,
        create_date: row.need_text("create_date")?.to_owned(),
        collation: row.text("collation_name")?.unwrap_or_default().to_owned(),
        snapshot_isolation: row.i64("snapshot_state")? == Some(1),
        read_committed_snapshot: row.flag("rcsi")?,
        writable: row.text("updateability")? != Some("READ_ONLY"),
        change_tracking: false,
        cdc: row.flag("is_cdc")?,
        compatibility_level: row.need_i64("compatibility_level")?,
        product_version: row.text("product_version")?.unwrap_or_default().to_owned(),
        edition: row.text("edition")?.unwrap_or_default().to_owned(),
        engine_edition: row.i64("engine_edition")?.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_fails_for_another_reason_tells_nothing() {
        for (kind, missing) in [
            (ErrorKind::NotFound, true),
            (ErrorKind::Denied, true),
            (ErrorKind::Refused, false),
            (ErrorKind::Unsupported, false),
            (ErrorKind::Unavailable, false),
            (ErrorKind::Internal, false),
        ] {
            assert_eq!(is_missing(&Error::new(kind, "m")), missing, "{kind:?}");
        }
    }

    #[test]
    fn a_grant_can_be_copied() {
        let table = TableName::new("dbo", "a]b");
        for (permission, grant) in [
            (
                Permission::Select(table.clone()),
                "GRANT SELECT ON [dbo].[a]]b] TO [<user>]",
            ),
            (
                Permission::Alter(table),
                "GRANT ALTER ON [dbo].[a]]b] TO [<user>]",
            ),
            (Permission::CreateTable, "GRANT CREATE TABLE TO [<user>]"),
            (
                Permission::ViewServerState,
                "GRANT VIEW SERVER STATE TO [<login>]",
            ),
        ] {
            assert_eq!(permission.grant(), grant);
        }
    }

    #[test]
    fn grants_are_put_together_by_what_they_are_on() {
        let table = TableName::new("dbo", "T");
        let permissions = [
            Permission::Select(table.clone()),
            Permission::CreateTable,
            Permission::Insert(table.clone()),
            Permission::AlterSchema("dbo".into()),
            Permission::RowsOfSchema("SELECT", "dbo".into()),
            Permission::Select(table),
            Permission::CreateSchema,
        ];
        assert_eq!(
            Permission::grants(&permissions),
            "GRANT SELECT, INSERT ON [dbo].[T] TO [<user>];\n\
             GRANT CREATE TABLE, CREATE SCHEMA TO [<user>];\n\
             GRANT ALTER, SELECT ON SCHEMA::[dbo] TO [<user>];"
        );
    }
}
