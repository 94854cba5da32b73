//! The section `iceberg`: the catalog, the storage, and how files are written.

use std::sync::Arc;

use iceberg_table::{
    Catalog, FileSystemCatalog, RestCatalog, RestOptions, SqlCatalog, SqlOptions, Storage, StorageOptions,
};
use iceberg_writer::WriterOptions;
use model::{Clock, Error, ErrorKind, Ids, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Period;

/// Where the Iceberg tables are: exactly one catalog, and what its files need.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Iceberg {
    /// Tables in a directory, without a catalog service.
    #[serde(default)]
    pub filesystem: Option<Filesystem>,
    /// Tables in a SQL database's list.
    #[serde(default)]
    pub sql: Option<SqlOptions>,
    /// Tables of a catalog service.
    #[serde(default)]
    pub rest: Option<RestOptions>,
    /// How files are reached.
    #[serde(default)]
    pub storage: StorageOptions,
    /// How files are written.
    #[serde(default)]
    pub write: WriterOptions,
    /// How old snapshots go by themselves.
    #[serde(default)]
    pub expire: Expiry,
}

/// How old snapshots of tables that were not adopted go by themselves: once a run has captured changes into a table, and a tenth of its
/// snapshots can go. What stays
/// is what stays with `maintain expire`: branches, tags, marks, what the target continues from, and by default the last 5 days.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expiry {
    /// Whether they do.
    pub after_runs: bool,
    /// So many snapshots stay at most, unless the table's property `history.expire.max-snapshot-age-ms` says how long they stay. Each one
    /// that stays makes every commit a little slower.
    pub keep_at_most: usize,
    /// A snapshot stays at least so long after another one has followed it, for example `1h`: longer than a query takes that another
    /// engine began on it, and longer than the first copy of another sync that reads the table.
    pub grace: Period,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            after_runs: true,
            keep_at_most: 500,
            grace: Period::seconds(3_600),
        }
    }
}

/// Tables in a directory: `<warehouse>/<schema>/<table>`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filesystem {
    /// The directory, on one machine's local disk or on a file system with atomic hard links; or `s3://bucket/prefix`, `gs://bucket/prefix` or
    /// `abfss://container@account.dfs.core.windows.net/prefix`, in a service that has conditional writes (`If-None-Match`).
    pub warehouse: String,
}

/// The catalog that the section names.
enum Chosen<'a> {
    Filesystem(&'a Filesystem),
    Sql(&'a SqlOptions),
    Rest(&'a RestOptions),
}

impl Iceberg {
    /// The rules that span sections.
    ///
    /// # Errors
    ///
    /// `Config`, with the field and the rule.
    pub(super) fn validate(&self) -> Result<()> {
        if let Chosen::Rest(rest) = self.chosen()? {
            rest.validate()?;
        }
        self.storage.validate()?;
        self.write.validate()
    }

    fn chosen(&self) -> Result<Chosen<'_>> {
        match (&self.filesystem, &self.sql, &self.rest) {
            (Some(filesystem), None, None) => Ok(Chosen::Filesystem(filesystem)),
            (None, Some(sql), None) => Ok(Chosen::Sql(sql)),
            (None, None, Some(rest)) => Ok(Chosen::Rest(rest)),
            _ => Err(Error::new(
                ErrorKind::Config,
                "`iceberg`: exactly one of `filesystem`, `sql` and `rest` must be given",
            )),
        }
    }

    /// The catalog. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// `Config` if an option cannot be used.
    pub(crate) fn catalog(&self, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Arc<dyn Catalog>> {
        let storage = Storage::new(&self.storage);
        Ok(match self.chosen()? {
            Chosen::Filesystem(filesystem) => {
                Arc::new(FileSystemCatalog::on(storage, &filesystem.warehouse, clock, ids)?)
            }
            Chosen::Sql(sql) => Arc::new(SqlCatalog::new(sql, storage, ids)?),
            Chosen::Rest(rest) => Arc::new(RestCatalog::new(rest, storage, clock)?),
        })
    }

    /// The catalog's name in reports, without secrets.
    pub(crate) fn label(&self) -> String {
        match self.chosen() {
            Ok(Chosen::Filesystem(filesystem)) => format!("iceberg:{}", filesystem.warehouse),
            Ok(Chosen::Sql(sql)) => format!("iceberg:{}", sql.warehouse),
            Ok(Chosen::Rest(rest)) => format!("iceberg:{}", rest.uri),
            Err(_) => "iceberg".to_owned(),
        }
    }
}
