//! The rows that point to the tables' metadata.
//!
//! Statements are understood by SQLite and PostgreSQL alike. A statement whose answer was lost may have been carried out; what a
//! server answered with an error was not, except where it was being shut down.

use std::sync::Once;

use model::{Error, ErrorKind, Result, TableName};
use sqlx::any::{AnyPoolOptions, AnyQueryResult, AnyRow, install_default_drivers};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, Connection, Row};
use tokio::sync::OnceCell;

use super::SqlOptions;

/// What the JDBC catalog of Iceberg creates, and PyIceberg's. The table of tables comes last: whoever sees it takes the rest for granted.
const CREATE: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (\
     catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL, \
     property_value VARCHAR(1000), PRIMARY KEY (catalog_name, namespace, property_key))",
    "CREATE TABLE IF NOT EXISTS iceberg_tables (\
     catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL, \
     metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5), \
     PRIMARY KEY (catalog_name, table_namespace, table_name))",
];

/// Connections at once: commits of many tables wait for each other rather than for the server.
const CONNECTIONS: u32 = 8;

/// So often somebody else may create the catalog's tables while it is looked whether that can be done: each of them once, and a little more.
const LOOKS: usize = 5;

/// How a swap ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swap {
    /// The pointer is ours now.
    Done,
    /// It was not what it should have been, and nothing changed.
    Moved,
    /// The answer was lost.
    Unknown(String),
}

/// Which columns there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Before there were views: everything is a table.
    V0,
    /// With `iceberg_type`.
    V1,
}

impl Layout {
    /// Which rows are tables.
    fn is_table(self) -> &'static str {
        match self {
            Self::V0 => "1 = 1",
            Self::V1 => "(iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Pointers {
    pool: AnyPool,
    catalog: String,
    layout: OnceCell<Layout>,
}

impl Pointers {
    pub(super) fn new(options: &SqlOptions) -> Result<Self> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(install_default_drivers);
        let uri = options.uri.reveal();
        let config = |why: &'static str| {
            Err(Error::new(ErrorKind::Config, why).hint("give `sqlite:///path/to/file` or `postgres://…`"))
        };
        let uri = match uri.split_once(':') {
            // Without it a file that is missing is not created.
            Some(("sqlite", _)) if !uri.contains("mode=") => {
                format!("{uri}{}mode=rwc", if uri.contains('?') { '&' } else { '?' })
            }
            Some(("sqlite" | "postgres" | "postgresql", _)) => uri.to_owned(),
            _ => return config("`iceberg.sql.uri` names no database that is known here"),
        };
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_lazy(&uri);
        let Ok(pool) = pool else {
            // The error may quote the password.
            return config("`iceberg.sql.uri` cannot be read");
        };
        Ok(Self {
            pool,
            catalog: options.name.clone(),
            layout: OnceCell::new(),
        })
    }

    /// Where a table's metadata is.
    pub(super) async fn get(&self, table: &TableName) -> Result<Option<String>> {
        let Some(layout) = self.layout().await? else {
            return Ok(None);
        };
        let sql = format!(
            "SELECT metadata_location FROM iceberg_tables \
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND {}",
            layout.is_table()
        );
        let mut connection = self.connection().await?;
        let row = sqlx::query(&sql)
            .bind(&self.catalog)
            .bind(table.schema())
            .bind(table.name())
            .fetch_optional(&mut *connection)
            .await
            .map_err(|e| failed("cannot look up a table in the catalog", e).with("table", table))?;
        row.map(|row| text(&row, 0)).transpose()
    }

    /// All tables.
    pub(super) async fn list(&self) -> Result<Vec<TableName>> {
        let Some(layout) = self.layout().await? else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT table_namespace, table_name FROM iceberg_tables WHERE catalog_name = $1 AND {}",
            layout.is_table()
        );
        let mut connection = self.connection().await?;
        let rows = sqlx::query(&sql)
            .bind(&self.catalog)
            .fetch_all(&mut *connection)
            .await
            .map_err(|e| failed("cannot list the catalog's tables", e))?;
        rows.iter()
            .map(|row| Ok(TableName::new(text(row, 0)?, text(row, 1)?)))
            .collect()
    }

    /// Adds a table, and its namespace if need be; `false` if the name is taken.
    pub(super) async fn insert(&self, table: &TableName, location: &str) -> Result<bool> {
        let layout = self.layout_or_new().await?;
        let creating = |e| failed("cannot add a table to the catalog", e).with("table", table);
        let namespace = "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value) \
             VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING";
        let named = [self.catalog.as_str(), table.schema(), table.name(), location];
        self.write(namespace, &named[..2]).await?.map_err(creating)?;
        let (column, value) = match layout {
            Layout::V0 => ("", ""),
            Layout::V1 => (", iceberg_type", ", 'TABLE'"),
        };
        let sql = format!(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location{column}) \
             VALUES ($1, $2, $3, $4{value}) ON CONFLICT DO NOTHING"
        );
        let inserted = self.write(&sql, &named).await?.map_err(creating)?;
        Ok(inserted.rows_affected() == 1)
    }

    /// Points a table to `after`, if it points to `before`. An error means that nothing changed.
    pub(super) async fn swap(&self, table: &TableName, before: &str, after: &str) -> Result<Swap> {
        let sql = "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2 \
             WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5 AND metadata_location = $2";
        let values = [after, before, &self.catalog, table.schema(), table.name()];
        match self.write(sql, &values).await? {
            Ok(updated) if updated.rows_affected() == 1 => Ok(Swap::Done),
            Ok(_) => Ok(Swap::Moved),
            Err(error) if was_refused(&error) => Err(failed("cannot commit to the catalog", error)),
            Err(error) => Ok(Swap::Unknown(error.to_string())),
        }
    }

    /// Carries out a statement, unless no connection can be had.
    ///
    /// Where the file cannot be opened for writing at that moment, SQLite opens it for reading, and the connection stays like that. So
    /// one that refuses to write is closed, and another one is asked.
    async fn write(&self, sql: &str, values: &[&str]) -> Result<sqlx::Result<AnyQueryResult>> {
        let mut refusals = 0;
        loop {
            let mut connection = self.connection().await?;
            let statement = values
                .iter()
                .fold(sqlx::query(sql), |query, value| query.bind(*value));
            let error = match statement.execute(&mut *connection).await {
                Ok(done) => return Ok(Ok(done)),
                Err(error) => error,
            };
            let is_read_only = is_read_only(&error);
            if is_read_only || !was_refused(&error) {
                // What is left on this connection belongs to nobody.
                drop(connection.detach());
            }
            if !is_read_only || refusals == CONNECTIONS {
                return Ok(Err(error));
            }
            refusals += 1;
        }
    }

    /// Checks that rows can be changed, without leaving a trace.
    pub(super) async fn check_writable(&self) -> Result<()> {
        let mut looks = 1;
        loop {
            match self.change_nothing().await? {
                Err(error) if is_there_already(&error) && looks < LOOKS => looks += 1,
                ended => return ended.map_err(|e| failed("cannot write to the catalog's database", e)),
            }
        }
    }

    /// Creates the tables if there are none, changes none of their rows, and takes it back.
    async fn change_nothing(&self) -> Result<sqlx::Result<()>> {
        let missing = match self.layout().await? {
            Some(_) => &[],
            None => &CREATE[..],
        };
        let no_row = "UPDATE iceberg_tables SET metadata_location = NULL WHERE 1 = 0";
        let mut connection = self.connection().await?;
        let changed = async {
            let mut transaction = connection.begin().await?;
            for statement in missing.iter().chain([&no_row]) {
                sqlx::query(statement).execute(&mut *transaction).await?;
            }
            transaction.rollback().await
        };
        Ok(changed.await)
    }

    async fn connection(&self) -> Result<PoolConnection<Any>> {
        self.pool.acquire().await.map_err(|e| {
            failed("cannot connect to the catalog's database", e)
                .hint("check `iceberg.sql.uri`, and that the server runs")
        })
    }

    /// The present layout; `None` if there are no tables yet.
    async fn layout(&self) -> Result<Option<Layout>> {
        let known = self.layout.get_or_try_init(|| async {
            let mut connection = self.connection().await.map_err(Some)?;
            // The table first: somebody may create it in between, and a new one has all columns.
            let mut found = None;
            for (layout, column) in [(Layout::V0, "table_name"), (Layout::V1, "iceberg_type")] {
                let sql = format!("SELECT {column} FROM iceberg_tables WHERE 1 = 0");
                match sqlx::query(&sql).fetch_optional(&mut *connection).await {
                    Ok(_) => found = Some(layout),
                    Err(error) if is_missing(&error) => break,
                    Err(error) => return Err(Some(failed("cannot look at the catalog's tables", error))),
                }
            }
            found.ok_or(None)
        });
        match known.await {
            Ok(layout) => Ok(Some(*layout)),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    async fn layout_or_new(&self) -> Result<Layout> {
        if let Some(layout) = self.layout().await? {
            return Ok(layout);
        }
        let mut connection = self.connection().await?;
        for statement in CREATE {
            if let Err(error) = sqlx::query(statement).execute(&mut *connection).await {
                // Of two that create at the same moment, PostgreSQL lets one fail; then the tables are there all the same.
                tracing::debug!(%error, "creating the catalog's tables failed");
            }
        }
        drop(connection);
        self.layout().await?.ok_or_else(|| {
            Error::new(ErrorKind::Denied, "cannot create the catalog's tables")
                .hint("let this user create tables in that database, or create the catalog with PyIceberg")
        })
    }
}

fn text(row: &AnyRow, column: usize) -> Result<String> {
    row.try_get(column).map_err(|e| {
        Error::new(ErrorKind::Corrupt, "the catalog's row for a table is incomplete")
            .with("cause", &e)
            .caused_by(e)
    })
}

/// Five characters of SQLSTATE from PostgreSQL, an extended result code from SQLite.
fn code(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()
        .and_then(|e| e.code())
        .map(|code| code.into_owned())
}

/// The primary result code, if the error is SQLite's.
fn sqlite_code(code: &str) -> Option<u32> {
    let number: u32 = code.parse().ok().filter(|_| code.len() < 5)?;
    Some(number & 0xff)
}

fn is_missing(error: &sqlx::Error) -> bool {
    const SQLITE_ERROR: u32 = 1;
    let missing = |code: &str| {
        // Undefined table, undefined column, and what SQLite has for both.
        matches!(code, "42P01" | "42703") || sqlite_code(code) == Some(SQLITE_ERROR)
    };
    code(error).is_some_and(|code| missing(&code))
}

/// Whether PostgreSQL found that somebody else had created the same meanwhile. `IF NOT EXISTS` looks before it waits.
fn is_there_already(error: &sqlx::Error) -> bool {
    // A unique violation in its own catalog, a duplicate table, or a duplicate of the type that each table has.
    code(error).is_some_and(|code| matches!(code.as_str(), "23505" | "42P07" | "42710"))
}

/// Whether SQLite may not write here, or only on this connection.
fn is_read_only(error: &sqlx::Error) -> bool {
    const SQLITE_READONLY: u32 = 8;
    code(error).is_some_and(|code| sqlite_code(&code) == Some(SQLITE_READONLY))
}

/// Whether the server said that the statement was not carried out. Whatever a shutdown, a broken link or a disk did to it is not known.
fn was_refused(error: &sqlx::Error) -> bool {
    let Some(code) = code(error) else {
        return false;
    };
    match sqlite_code(&code) {
        // ERROR, PERM, BUSY, LOCKED, READONLY, CONSTRAINT.
        Some(sqlite) => matches!(sqlite, 1 | 3 | 5 | 6 | 8 | 19),
        None => !["08", "57", "58", "XX", "40003"]
            .iter()
            .any(|class| code.starts_with(class)),
    }
}

fn failed(tried: &'static str, error: sqlx::Error) -> Error {
    let code = code(&error).unwrap_or_default();
    let kind = match (sqlite_code(&code), code.get(..2)) {
        (Some(5 | 6), _) | (None, Some("40" | "55")) => ErrorKind::Transient,
        (Some(3 | 8 | 23), _) | (None, Some("28")) => ErrorKind::Denied,
        (Some(13), _) | (None, Some("53")) => ErrorKind::Exhausted,
        (None, _) if code == "42501" => ErrorKind::Denied,
        (None, Some("3D")) => ErrorKind::Config,
        (Some(11 | 26), _) => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, tried).with("cause", &error).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_that_is_not_understood_is_not_shown() {
        for uri in [
            "mysql://u:hunter2@h/d",
            "hunter2",
            "postgres://u:hunter2@h:port/d",
        ] {
            let options = SqlOptions {
                uri: model::Secret::new(uri),
                name: "default".into(),
                warehouse: "/w".into(),
            };
            let error = Pointers::new(&options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{uri}");
            assert!(
                !format!("{error} {error:?} {}", error.advice()).contains("hunter2"),
                "{uri}"
            );
        }
    }

    #[test]
    fn codes_are_told_apart() {
        assert_eq!(sqlite_code("5"), Some(5));
        assert_eq!(sqlite_code("2067"), Some(19));
        assert_eq!(sqlite_code("42P01"), None);
        assert_eq!(sqlite_code("42703"), None);
    }
}
