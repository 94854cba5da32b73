//! The configuration file: its sections, how it is read, and the rules that no single section can check.
//!
//! Unknown keys are errors with the line and the nearest known key. `${NAME}` and `${NAME:-default}` in plain scalars are
//! replaced by environment variables. Errors never print the file's text, which may hold a password.

mod iceberg;
mod load;
mod observability;
mod period;
mod secrets;
mod select;
mod size;

use std::path::PathBuf;
use std::time::Duration;

use iceberg_writer::TableOptions;
use model::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlserver_client::ConnectOptions;
use sqlserver_import::ApplyOptions;
use sqlserver_source::CaptureOptions;

pub use iceberg::{Expiry, Filesystem, Iceberg};
pub use load::load;
pub use observability::Observability;
pub use period::Period;
pub(crate) use secrets::written_secrets;
pub(crate) use select::{Existing, Selected, select};
pub use size::Size;

/// A source is not asked more often.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

/// A sync: where rows come from, the Iceberg tables, where rows go, and which tables. Lengths of time are written like `500ms`, `2s`, `5m`,
/// `24h` or `7d`, sizes in memory like `64KiB`, `256MiB` or `1GiB`.
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
    /// Where state is kept; in `.sync-state` in the working directory by default.
    #[serde(default)]
    pub state: State,
    /// How a run goes about it.
    #[serde(default)]
    pub run: Run,
    /// What an operator watches runs by.
    #[serde(default)]
    pub observability: Observability,
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
    /// How many tables are synchronised at once, as far as `memory` has room.
    pub parallel_tables: usize,
    /// How many times in a row a step may fail for a passing reason before the table fails.
    pub attempts: u32,
    /// How much the rows of all tables together may take in memory on their way, for example `256MiB`, which is three streams of 72 MiB; one
    /// runs in any case. A chunk that is read is a stream; an increment is one, or two where the next changes are gathered ahead; a repair is one.
    /// Four tables with two chunks each want `576MiB`. What comes on top: the program itself, a single larger value, up to 24 MiB for each table
    /// whose increment by Change Data Capture is read a part ahead, up to 32 MiB of Iceberg manifests, up to about 96 MiB for each table of which
    /// two Iceberg snapshots are compared, and what `verify` or `reconcile` holds: the keys of up to about 500,000 rows at a time, and all those
    /// that differ.
    pub memory: Size,
    /// Where the changes of a transaction wait that is larger than `flush.bytes`, until its end has been read, and the rows of such a repair; by
    /// default the system's directory for temporary files. It should have room for the largest of them, and not be one in memory.
    pub spill: Option<PathBuf>,
    /// When an increment is committed before its end, so that a large one arrives by and by.
    pub flush: Flush,
    /// How `sync-cli run --follow` goes on.
    pub follow: Follow,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            parallel_tables: 4,
            attempts: 8,
            memory: Size::mebibytes(256),
            spill: None,
            flush: Flush::default(),
            follow: Follow::default(),
        }
    }
}

/// When an increment is committed before its end: at the next place where the source allows it. By Change Tracking, triggers, a query of your
/// own and several columns (`also`) it is allowed at the end only; by Change Data Capture after about `capture.batch_size` changes, unless a key
/// column is of text, `varbinary`, `float`, `real` or `datetimeoffset`; by one column where an index leads with it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Flush {
    /// After so many changes.
    pub rows: u64,
    /// After changes that take so much memory; at most `64MiB`.
    pub bytes: Size,
    /// So long after the first of the changes was read.
    pub after: Period,
}

impl Default for Flush {
    fn default() -> Self {
        Self {
            rows: 1_000_000,
            bytes: Size::mebibytes(64),
            after: Period::seconds(60),
        }
    }
}

/// How `sync-cli run --follow` goes on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Follow {
    /// The least time between the starts of two cycles of a table, at least `10ms`. A cycle that finds something makes a snapshot.
    pub interval: Period,
    /// The longest time between two looks at a quiet table: the pause is doubled with each look that finds nothing. Tables that are read
    /// whole are read this often.
    pub max_interval: Period,
    /// How often the source is asked for new tables that match a pattern, and old snapshots are looked at.
    pub new_tables: Period,
    /// How long commits in flight may take after the first signal to stop.
    pub stop_within: Period,
}

impl Default for Follow {
    fn default() -> Self {
        Self {
            interval: Period::seconds(1),
            max_interval: Period::seconds(30),
            new_tables: Period::seconds(60),
            stop_within: Period::seconds(20),
        }
    }
}

impl Run {
    fn validate(&self) -> Result<()> {
        let fail = |why: &str| Err(Error::new(ErrorKind::Config, format!("`run`: {why}")));
        let Follow {
            interval,
            max_interval,
            new_tables,
            ..
        } = self.follow;
        if self.parallel_tables == 0 || self.attempts == 0 {
            return fail("`parallel_tables` and `attempts` must be at least 1");
        }
        if self.flush.rows == 0 || self.flush.bytes > Flush::default().bytes {
            return fail("`flush.rows` must be at least 1, and `flush.bytes` at most 64MiB");
        }
        if interval.duration() < LEAST_INTERVAL || max_interval < interval {
            return fail(
                "`follow.interval` must be at least 10ms, and `follow.max_interval` not less than it",
            );
        }
        if new_tables < Period::seconds(1) {
            return fail("`follow.new_tables` must be at least 1s");
        }
        Ok(())
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
    /// How often the Iceberg table is compared with the source, for changes that `capture` does not see. Not at all by default.
    #[serde(default)]
    pub reconcile: Option<Reconcile>,
    /// How changes are applied to the target.
    #[serde(default)]
    pub apply: ApplyOptions,
}

/// A comparison of the Iceberg table with the source from time to time, by `run` and `run --follow`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    /// How long after the last one, or after the copy, for example `24h`.
    pub every: Period,
    /// What is brought in line.
    #[serde(default)]
    pub what: ReconcileWhat,
    /// It stops before it deletes a greater part of the table than this.
    #[serde(default = "tenth")]
    pub max_deletes_percent: u8,
}

/// What is brought in line.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReconcileWhat {
    /// Rows that the source no longer has are deleted. Only keys are read.
    #[default]
    Deletes,
    /// Every row that differs. All columns are read.
    All,
}

fn tenth() -> u8 {
    10
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
        self.run.validate()?;
        self.observability.validate(self.run.follow.max_interval)?;
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
            if let Some(reconcile) = &table.reconcile {
                let why = match self.source {
                    None => Some("there is no `source` to compare with"),
                    Some(_) if reconcile.every < Period::seconds(1) => Some("`every` must be at least 1s"),
                    Some(_) => None,
                };
                if let Some(why) = why {
                    return fail("reconcile", why.to_owned())
                        .map_err(|error| error.with("table", &table.table));
                }
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
