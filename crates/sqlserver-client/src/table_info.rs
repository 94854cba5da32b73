//! What the catalog says about a table.

use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{Field, Schema};
use model::{DeclaredType, Error, ErrorKind, Result, TableName, TableSchema};

use crate::{Length, Lsn, SqlType, TypePolicy, quote, variant};

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// One that is carried over.
    Mapped(SqlType),
    /// One that is not, by its name: a `vector` of half precision.
    Unmapped(String),
}

impl ColumnType {
    /// The mapped type.
    ///
    /// # Errors
    ///
    /// `Unsupported`, naming the column and its type.
    pub fn mapped(&self, column: &str) -> Result<SqlType> {
        match self {
            Self::Mapped(ty) => Ok(*ty),
            Self::Unmapped(name) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("column {column:?} has the type {name}, which is not mapped"),
            )
            .hint("exclude the column, or convert it to a mapped type in a view")),
        }
    }
}

/// A column. The flags say why it may not be written, or not be read as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its `column_id`.
    pub id: i32,
    /// Its type, alias types resolved.
    pub ty: ColumnType,
    /// The collation of a character column.
    pub collation: Option<String>,
    /// The code page of that collation; 0 if it has none, 65001 for UTF-8.
    pub code_page: Option<i32>,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether the server numbers it.
    pub identity: bool,
    /// Whether it is computed.
    pub computed: bool,
    /// Whether it is `GENERATED ALWAYS` (a period or ledger column).
    pub generated: bool,
    /// Whether dynamic data masking may hide its values.
    pub masked: bool,
    /// Whether it is under Always Encrypted.
    pub encrypted: bool,
    /// Whether it is a column set of sparse columns.
    pub column_set: bool,
    /// The expression of its default.
    pub default: Option<String>,
}

impl ColumnInfo {
    /// A NOT NULL column of which nothing else is known.
    pub fn new(name: impl Into<String>, ty: ColumnType) -> Self {
        Self {
            name: name.into(),
            id: 1,
            ty,
            collation: None,
            code_page: None,
            nullable: false,
            identity: false,
            computed: false,
            generated: false,
            masked: false,
            encrypted: false,
            column_set: false,
            default: None,
        }
    }

    /// Whether an INSERT may name it (identity columns only with `IDENTITY_INSERT`).
    pub fn is_writable(&self) -> bool {
        !self.computed && !self.generated && self.ty != ColumnType::Mapped(SqlType::RowVersion)
    }

    /// The national type that its characters travel in, if the client's tables do not have its code page exactly as Windows
    /// does. The server converts.
    pub fn travels_as(&self) -> Option<SqlType> {
        let ColumnType::Mapped(ty) = self.ty else {
            return None;
        };
        let exact_here = matches!(self.code_page, None | Some(0 | 1250..=1257 | 65001));
        let length = match ty {
            SqlType::Char { length }
            | SqlType::VarChar {
                length: Length::Limited(length),
            } if length <= 4000 => Length::Limited(length),
            _ => Length::Max,
        };
        (ty.is_code_page() && !exact_here).then_some(SqlType::NVarChar { length })
    }

    /// How to select it so that its values arrive unaltered.
    pub fn select(&self) -> String {
        let name = quote::identifier(&self.name);
        let ColumnType::Mapped(ty) = self.ty else {
            return name;
        };
        match self.travels_as() {
            Some(ty) => format!("CAST({name} AS {ty}) AS {name}"),
            None if ty == SqlType::SqlVariant => format!("{} AS {name}", variant::json(&name)),
            None if ty.is_clr() || ty == SqlType::Json => {
                format!("CAST({name} AS {}) AS {name}", ty.loadable())
            }
            None => name,
        }
    }

    /// Its declared type for [`TableSchema::declared`].
    ///
    /// # Errors
    ///
    /// As [`ColumnType::mapped`].
    pub fn declared(&self) -> Result<DeclaredType> {
        let ty = match self.ty.mapped(&self.name)? {
            SqlType::Clr => SqlType::Clr.loadable(),
            ty => ty,
        };
        Ok(DeclaredType {
            declared: ty.to_string(),
            collation: self.collation.clone(),
        })
    }
}

/// A primary key, unique constraint or index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexInfo {
    /// Its name.
    pub name: String,
    /// Whether it is unique.
    pub unique: bool,
    /// Whether it is the primary key.
    pub primary_key: bool,
    /// Whether it is clustered.
    pub clustered: bool,
    /// Whether it has a filter, so that it says nothing about other rows.
    pub filtered: bool,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Whether an INSERT leaves out rows whose key is there already, with no more than a warning (`IGNORE_DUP_KEY`).
    pub ignores_duplicates: bool,
    /// Its key columns in order, and whether each descends.
    pub columns: Vec<(String, bool)>,
}

impl IndexInfo {
    /// A unique index on these columns in ascending order, of which nothing else is known.
    pub fn unique(name: impl Into<String>, columns: &[impl AsRef<str>]) -> Self {
        Self {
            name: name.into(),
            unique: true,
            primary_key: false,
            clustered: false,
            filtered: false,
            disabled: false,
            ignores_duplicates: false,
            columns: columns
                .iter()
                .map(|column| (column.as_ref().to_owned(), false))
                .collect(),
        }
    }
}

/// A foreign key from or to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The table that refers.
    pub from: TableName,
    /// The table that is referred to.
    pub to: TableName,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Whether deleting or updating a row of `to` changes rows of `from`.
    pub cascades: bool,
}

/// A DML trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerInfo {
    /// Its name.
    pub name: String,
    /// Whether it runs instead of the statement.
    pub instead_of: bool,
    /// Whether it is disabled.
    pub disabled: bool,
}

/// A table or view as the catalog describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name, as the catalog spells it.
    pub name: TableName,
    /// Its `object_id`.
    pub object_id: i32,
    /// When it was created: another date is another table. ISO 8601, server time.
    pub create_date: String,
    /// Whether it is a view.
    pub is_view: bool,
    /// Whether it is memory-optimized.
    pub memory_optimized: bool,
    /// Whether it is a history table of a temporal table.
    pub history: bool,
    /// The columns in order.
    pub columns: Vec<ColumnInfo>,
    /// The indexes; the primary key first.
    pub indexes: Vec<IndexInfo>,
    /// The key that somebody declared, which goes before what the indexes say; see [`TableInfo::declare_key`].
    pub declared_key: Option<IndexInfo>,
    /// Foreign keys from and to it.
    pub foreign_keys: Vec<ForeignKey>,
    /// Its triggers.
    pub triggers: Vec<TriggerInfo>,
    /// Whether a security policy may hide rows.
    pub row_level_security: bool,
    /// Whether an indexed view reads from it.
    pub has_indexed_view: bool,
    /// About how many rows it has.
    pub approximate_rows: Option<u64>,
}

impl TableInfo {
    /// A table of which nothing is known but its columns.
    pub fn new(name: TableName, columns: Vec<ColumnInfo>) -> Self {
        Self {
            name,
            object_id: 1,
            create_date: String::new(),
            is_view: false,
            memory_optimized: false,
            history: false,
            columns,
            indexes: Vec::new(),
            declared_key: None,
            foreign_keys: Vec::new(),
            triggers: Vec::new(),
            row_level_security: false,
            has_indexed_view: false,
            approximate_rows: None,
        }
    }

    /// A column by its name as the catalog spells it.
    pub fn column(&self, name: &str) -> Option<&ColumnInfo> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Takes these columns for those that tell rows apart.
    ///
    /// # Errors
    ///
    /// `Config` if one of them does not exist or cannot be part of a key.
    pub fn declare_key(&mut self, columns: &[String]) -> Result<()> {
        let refused = |why: String| Err(Error::new(ErrorKind::Config, why).with("table", &self.name));
        for name in columns {
            if self.column(name).is_none() {
                return refused(format!(
                    "there is no column {name:?}, which the declared key names"
                ));
            }
            if !self.can_be_key(name) {
                return refused(format!(
                    "column {name:?} cannot be part of the declared key: it may be NULL, is encrypted, or its values are not exact"
                ));
            }
        }
        self.declared_key = Some(IndexInfo::unique("declared", columns));
        Ok(())
    }

    /// Whether the server sees to it that no two rows have the same values in these columns.
    pub fn is_unique(&self, columns: &[String]) -> bool {
        let mut unique = self
            .indexes
            .iter()
            .filter(|index| index.unique && !index.filtered && !index.disabled);
        unique.any(|index| index.columns.iter().all(|(name, _)| columns.contains(name)))
    }

    /// The columns that tell rows apart: the declared ones, the primary key, else the first unique index that is enabled, unfiltered
    /// and has neither a nullable nor a floating-point column.
    pub fn key(&self) -> Option<&IndexInfo> {
        let of_indexes = self
            .indexes
            .iter()
            .filter(|index| index.unique && !index.filtered && !index.disabled)
            .filter(|index| index.columns.iter().all(|(name, _)| self.can_be_key(name)))
            .max_by_key(|index| {
                (
                    index.primary_key,
                    index.clustered,
                    std::cmp::Reverse(index.columns.len()),
                )
            });
        self.declared_key.as_ref().or(of_indexes)
    }

    fn can_be_key(&self, name: &str) -> bool {
        self.column(name).is_some_and(|column| {
            let exact = match column.ty {
                ColumnType::Mapped(ty) => {
                    !matches!(ty, SqlType::Real | SqlType::Float | SqlType::SqlVariant)
                        && ty.losses().is_empty()
                }
                ColumnType::Unmapped(_) => false,
            };
            exact && !column.nullable && !column.encrypted
        })
    }

    /// The shape of the table as the rest of the engine sees it, without the columns in `exclude`. A key that loses a
    /// column is no key.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a type that is not mapped or a loss that `policy` does not allow; `Config` if `exclude` names a
    /// column that does not exist.
    pub fn schema(&self, policy: &TypePolicy, exclude: &[String]) -> Result<Arc<TableSchema>> {
        if let Some(unknown) = exclude.iter().find(|name| self.column(name).is_none()) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("table {} has no column {unknown:?} to exclude", self.name),
            ));
        }
        let columns: Vec<_> = self
            .columns
            .iter()
            .filter(|column| !exclude.contains(&column.name))
            .collect();
        let mut fields = Vec::with_capacity(columns.len());
        let mut declared = Vec::with_capacity(columns.len());
        for column in &columns {
            let refuse = |error: Error| error.with("table", &self.name);
            let ty = column.ty.mapped(&column.name).map_err(refuse)?;
            policy.check(&column.name, ty).map_err(refuse)?;
            fields.push(Field::new(&column.name, ty.arrow(), column.nullable));
            declared.push(Some(column.declared()?));
        }
        let position = |name: &String| columns.iter().position(|column| column.name == *name);
        let key = self
            .key()
            .and_then(|key| {
                key.columns
                    .iter()
                    .map(|(name, _)| position(name))
                    .collect::<Option<Vec<_>>>()
            })
            .unwrap_or_default();
        TableSchema::new(Arc::new(Schema::new(fields)), key, declared)
            .map_err(|error| error.with("table", &self.name))
    }

    /// The select list for the columns of `schema`, in its order.
    ///
    /// # Errors
    ///
    /// `SchemaMismatch` if the table lacks one of them.
    pub fn select_list(&self, schema: &TableSchema) -> Result<String> {
        let columns = schema.arrow().fields().iter().map(|field| {
            self.column(field.name()).map(ColumnInfo::select).ok_or_else(|| {
                Error::new(
                    ErrorKind::SchemaMismatch,
                    format!("table {} no longer has the column {:?}", self.name, field.name()),
                )
            })
        });
        Ok(columns.collect::<Result<Vec<_>>>()?.join(", "))
    }
}

/// How one DML trigger stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerState {
    /// Its `object_id`.
    pub object_id: i64,
    /// When it was last changed. ISO 8601, server time.
    pub modified: String,
    /// Whether it is disabled.
    pub disabled: bool,
    /// The statement that made it; `None` if it is encrypted, or hidden from the login.
    pub definition: Option<String>,
}

/// How Change Tracking stands for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeTrackingInfo {
    /// The version at which tracking began: when it was enabled, or the table truncated.
    pub began: i64,
    /// The least version that changes can still be asked for; `None` without the right `VIEW CHANGE TRACKING`.
    pub least_valid: Option<i64>,
    /// How long changes are kept at least; `None` if they are never forgotten.
    pub retention: Option<Duration>,
}

/// A capture instance of Change Data Capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureInstance {
    /// Its name.
    pub name: String,
    /// The least place in the log that its changes can still be asked for; the first one without the right to ask.
    pub least: Lsn,
    /// Whether the login may read its change table itself, which the functions do not need, and the table has `__$command_id`, without
    /// which the order of changes within a transaction is not certain.
    pub readable: bool,
    /// The columns that it captures, in the order of the bits of `__$update_mask`.
    pub columns: Vec<CapturedColumn>,
}

/// A column that a capture instance captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedColumn {
    /// Its name.
    pub name: String,
    /// The `column_id` that it had in the table when the instance began.
    pub id: i32,
    /// Whether the change table keeps and shows it as the table's column is by now: in the same type, collation and padding, and not masked. The
    /// capture changes the type of the one some time after the other's has been changed.
    pub alike: bool,
}

impl CaptureInstance {
    /// Whether it captures this column, and not one of the same name that has been dropped since.
    pub fn captures(&self, column: &ColumnInfo) -> bool {
        self.captured(column).is_some()
    }

    /// Its column that captures this one, and its place among the bits of `__$update_mask`, from 0.
    pub fn captured(&self, column: &ColumnInfo) -> Option<(usize, &CapturedColumn)> {
        let mut columns = self.columns.iter().enumerate();
        columns.find(|(_, captured)| captured.name == column.name && captured.id == column.id)
    }
}

/// How far Change Data Capture has got in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureProgress {
    /// The last place that has been captured; `None` before the first.
    pub greatest: Option<Lsn>,
    /// How long ago that was committed, or the first table's capture switched on.
    pub behind: Duration,
    /// How long ago the place was committed that was asked about, if the server still knows.
    pub since: Option<Duration>,
}

/// What may be hidden from a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight<T> {
    /// It was seen.
    Seen(T),
    /// A right is missing.
    Hidden {
        /// The T-SQL that gives it.
        grant: String,
    },
}

impl<T> Sight<T> {
    /// It, if it was seen.
    pub fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(seen) => Some(seen),
            Self::Hidden { .. } => None,
        }
    }

    /// The T-SQL that gives the right to see it, if that is missing.
    pub fn grant(&self) -> Option<&str> {
        match self {
            Self::Seen(_) => None,
            Self::Hidden { grant } => Some(grant),
        }
    }
}

/// A job of Change Data Capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureJob {
    /// `capture` or `cleanup`.
    pub kind: String,
    /// Whether it is meant to run all the time.
    pub continuous: bool,
    /// How long the clean-up spares changes.
    pub retention: Option<Duration>,
}

/// A scan of the log that found changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureScan {
    /// How long after its commit the last change was captured.
    pub latency: Duration,
    /// How long ago it ended; `None` while it goes on.
    pub ended: Option<Duration>,
}

/// What drives Change Data Capture in a database, as far as the login may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureService {
    /// Why the log could not be truncated: `REPLICATION` while it waits for the capture, `NOTHING` if it could.
    pub log_reuse_wait: String,
    /// Whether the database is published, so that a Log Reader Agent captures in place of the job.
    pub published: bool,
    /// Whether SQL Server Agent runs; `None` where there is none, as in Azure SQL Database.
    pub agent: Sight<Option<bool>>,
    /// The jobs.
    pub jobs: Sight<Vec<CaptureJob>>,
    /// Whether the capture job runs; `None` where nothing says so, as in Azure SQL Database.
    pub capturing: Sight<Option<bool>>,
    /// The last scan that found changes, if there was one since the server was started.
    pub scan: Sight<Option<CaptureScan>>,
}

/// What is known of a database and its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseInfo {
    /// Its name.
    pub name: String,
    /// Which life of the database this is: `database_guid` and `recovery_fork_guid` where they can be read, else the
    /// database's `create_date`. A restore changes it.
    pub incarnation: String,
    /// Whether [`DatabaseInfo::incarnation`] is made of the guids.
    pub incarnation_is_exact: bool,
    /// When it was created or restored, on this replica. ISO 8601, server time.
    pub create_date: String,
    /// Its collation.
    pub collation: String,
    /// Whether SNAPSHOT isolation is allowed.
    pub snapshot_isolation: bool,
    /// Whether READ COMMITTED reads row versions.
    pub read_committed_snapshot: bool,
    /// Whether it can be written: false on a readable secondary.
    pub writable: bool,
    /// Whether Change Tracking is on.
    pub change_tracking: bool,
    /// Whether CDC is on.
    pub cdc: bool,
    /// Its compatibility level.
    pub compatibility_level: i64,
    /// The server's product version: `16.0.4125.3`.
    pub product_version: String,
    /// The server's edition.
    pub edition: String,
    /// `SERVERPROPERTY('EngineEdition')`: 5 is Azure SQL Database, 8 Managed Instance.
    pub engine_edition: i64,
}

/// What a server can do, found by asking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// `MERGE … WITH (HOLDLOCK) … OUTPUT $action`.
    pub merge: bool,
    /// `MIN_ACTIVE_ROWVERSION()`.
    pub min_active_rowversion: bool,
    /// `CHANGE_TRACKING_CURRENT_VERSION()`.
    pub change_tracking: bool,
}

#[cfg(test)]
mod tests;
