//! The configuration file: its sections, how it is read, and the rules that no single section can check.
//!
//! Unknown keys are errors with the line and the nearest known key. `${NAME}` and `${NAME:-default}` in plain scalars are
//! replaced by environment variables. Errors never print the file's text, which may hold a password.

mod iceberg;
mod load;
mod select;
mod size;

use std::path::PathBuf;

use iceberg_writer::TableOptions;
use model::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlserver_client::ConnectOptions;
use sqlserver_import::ApplyOptions;
use sqlserver_source::CaptureOptions;

pub use iceberg::{Expiry, Filesystem, Iceberg};
pub use load::load;
pub(crate) use select::{Selected, select};
pub use size::Size;

/// A sync: where rows come from, the Iceberg tables, where rows go, and which tables.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The sync's name. Marks in the targets are kept under it, so it must not change.
    pub sync: String,
    /// The database that changes are captured from. Without it, Iceberg tables of others are applied to the target.
    #[serde(default)]
    pub source: Option<Database>,
    /// The Iceberg tables.
    pub iceberg: Iceberg,
    /// The database that Iceberg's changes are applied to. Without it, the sync ends in Iceberg.
    #[serde(default)]
    pub target: Option<Database>,
    /// Where state is kept.
    #[serde(default)]
    pub state: State,
    /// How a run goes about it.
    #[serde(default)]
    pub run: Run,
    /// Which tables, and how each is treated. A table belongs to the first entry whose name matches it exactly, else to the first
    /// pattern that does.
    pub tables: Vec<Table>,
}

/// A database.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// SQL Server 2016 and later, and Azure SQL.
    pub sqlserver: ConnectOptions,
}

/// Where state is kept. It is a convenience: what is lost is rebuilt from the marks in the targets.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// A directory.
    pub file: PathBuf,
}

impl Default for State {
    fn default() -> Self {
        Self {
            file: PathBuf::from(".sync-state"),
        }
    }
}

/// How a run goes about it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// How many tables are synchronised at once.
    pub parallel_tables: usize,
    /// How many times in a row a step may fail for a passing reason before the table fails.
    pub attempts: u32,
    /// How much the rows of all tables together may take in memory on their way, for example `256MiB`. Fewer streams run at once where
    /// it is small. A single larger value comes on top.
    pub memory: Size,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            parallel_tables: 4,
            attempts: 8,
            memory: Size::mebibytes(256),
        }
    }
}

/// A table, or all tables that match a pattern.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The name in the source, `schema.table`; `*` stands for any characters. A part with dots, blanks or brackets is put in
    /// brackets.
    pub table: String,
    /// Patterns of tables that this entry does not mean.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Whether it is synchronised at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Its name in Iceberg, `namespace.table`; the source's name by default.
    #[serde(default)]
    pub iceberg: Option<String>,
    /// Its name in the target, `schema.table`; the source's name by default.
    #[serde(default)]
    pub target: Option<String>,
    /// Whether an Iceberg or target table that this sync did not create may be taken over.
    #[serde(default)]
    pub adopt: bool,
    /// What its Iceberg table is like.
    #[serde(default)]
    pub layout: TableOptions,
    /// How its rows and changes are read from the source.
    #[serde(default)]
    pub capture: CaptureOptions,
    /// How changes are applied to the target.
    #[serde(default)]
    pub apply: ApplyOptions,
}

fn yes() -> bool {
    true
}

impl Config {
    /// The rules that span sections.
    ///
    /// # Errors
    ///
    /// `Config`, with the field and the rule.
    pub fn validate(&self) -> Result<()> {
        let fail = |field: &str, why: String| Err(Error::new(ErrorKind::Config, format!("`{field}`: {why}")));
        if self.sync.is_empty()
            || !self
                .sync
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
        {
            return fail("sync", "must be made of letters, digits, `-`, `_` and `.`".into());
        }
        if self.source.is_none() && self.target.is_none() {
            return fail("source", "a sync needs a `source`, a `target`, or both".into());
        }
        if self.tables.is_empty() {
            return fail(
                "tables",
                "must name at least one table or pattern, for example `- table: dbo.*`".into(),
            );
        }
        if self.run.parallel_tables == 0 || self.run.attempts == 0 {
            return fail(
                "run",
                "`parallel_tables` and `attempts` must be at least 1".into(),
            );
        }
        for (section, database) in [("source", &self.source), ("target", &self.target)] {
            if let Some(database) = database {
                database
                    .sqlserver
                    .validate()
                    .map_err(|error| error.with("section", section))?;
            }
        }
        self.iceberg.validate()?;
        for table in &self.tables {
            let pattern = table.table.contains('*');
            if pattern && (table.iceberg.is_some() || table.target.is_some()) {
                let why =
                    "a pattern cannot be mapped to one name; give the table an entry of its own".to_owned();
                return fail("tables", why).map_err(|error| error.with("table", &table.table));
            }
            table
                .layout
                .validate()
                .map_err(|error| error.with("table", &table.table))?;
            table
                .capture
                .validate()
                .map_err(|error| error.with("table", &table.table))?;
        }
        Ok(())
    }
}
