//! The concrete parts that a configuration asks for.

use std::sync::Arc;

use iceberg_reader::{IcebergSource, SnapshotChoice};
use iceberg_table::Catalog;
use iceberg_writer::{IcebergSink, SchemaPolicy, TableOptions};
use model::{
    ChangeSink, ChangeSource, Clock, Error, ErrorKind, Ids, RandomIds, Result, StateStore, SyncId,
    SystemClock, TableName,
};
use sqlserver_client::{ConnectOptions, Connection};
use sqlserver_import::SqlServerSink;
use sqlserver_source::{CaptureOptions, SqlServerSource, is_change_table};
use state_store::FileStore;

use crate::config::{Config, Existing, Selected, select};

/// Which way rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the source into Iceberg.
    Capture,
    /// From Iceberg into the target.
    Apply,
}

impl Direction {
    /// Its part of a [`SyncId`], and its name in metrics.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Apply => "apply",
        }
    }

    /// Its name in reports.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Capture => "source → iceberg",
            Self::Apply => "iceberg → target",
        }
    }
}

/// Catalog, store, clock and configuration; sources and sinks are made from them.
pub(crate) struct Parts {
    config: Config,
    catalog: Arc<dyn Catalog>,
    store: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl Parts {
    /// Nothing is connected to yet.
    pub(crate) fn new(config: Config) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(RandomIds);
        let catalog = config.iceberg.catalog(clock.clone(), ids.clone())?;
        let store = Arc::new(FileStore::new(&config.state.file, clock.clone()));
        Ok(Self {
            config,
            catalog,
            store,
            clock,
            ids,
        })
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The Iceberg catalog.
    pub(crate) fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// The state store.
    pub(crate) fn store(&self) -> &Arc<dyn StateStore> {
        &self.store
    }

    /// The wall clock.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Where ids come from.
    pub(crate) fn ids(&self) -> &Arc<dyn Ids> {
        &self.ids
    }

    /// The directions that this sync has, in order.
    pub(crate) fn directions(&self) -> Vec<Direction> {
        let capture = self.config.source.is_some().then_some(Direction::Capture);
        let apply = self.config.target.is_some().then_some(Direction::Apply);
        capture.into_iter().chain(apply).collect()
    }

    /// Whether this sync has a direction.
    pub(crate) fn has(&self, direction: Direction) -> bool {
        self.directions().contains(&direction)
    }

    fn source_options(&self) -> Option<&ConnectOptions> {
        self.config.source.as_ref().map(|database| &database.sqlserver)
    }

    fn target_options(&self) -> Option<&ConnectOptions> {
        self.config.target.as_ref().map(|database| &database.sqlserver)
    }

    /// What rows come from: the source's tables and views, or the warehouse's tables if there is no source. Tables of ours that triggers
    /// write into are left out.
    pub(crate) async fn existing_tables(&self) -> Result<Existing> {
        let Some(options) = self.source_options() else {
            return Ok(Existing::in_iceberg(self.catalog.list().await?));
        };
        let mut existing = Existing::default();
        let mut connection = Connection::open(options).await?;
        for table in connection.tables(None).await? {
            match table.is_view {
                true => existing.by_name.push(table.name),
                false if is_change_table(&table.name) => {}
                false => existing.tables.push(table.name),
            }
        }
        Ok(existing)
    }

    /// The tables that the configuration means, narrowed to those that were named.
    pub(crate) async fn select(&self, wanted: &[String]) -> Result<Vec<Selected>> {
        select(&self.config, &self.existing_tables().await?, wanted)
    }

    /// Those of them that are enabled.
    ///
    /// # Errors
    ///
    /// `Config` if there are none.
    pub(crate) async fn select_enabled(&self, wanted: &[String]) -> Result<Vec<Selected>> {
        let mut tables = self.select(wanted).await?;
        tables.retain(|table| table.entry.enabled);
        if tables.is_empty() {
            return Err(
                Error::new(ErrorKind::Config, "every table that was meant is disabled")
                    .hint("set `enabled: true`"),
            );
        }
        Ok(tables)
    }

    /// The source database; `None` if the sync starts in Iceberg.
    pub(crate) fn source(&self, tables: &[Selected]) -> Option<Arc<dyn ChangeSource>> {
        Some(self.source_database(tables)?)
    }

    /// The same, with what only SQL Server has.
    pub(crate) fn source_database(&self, tables: &[Selected]) -> Option<Arc<SqlServerSource>> {
        let options = tables
            .iter()
            .map(|table| (table.name.clone(), table.entry.capture.clone()));
        let connect = self.source_options()?.clone();
        Some(Arc::new(SqlServerSource::new(connect, options)))
    }

    /// The target database as something to read, for `verify`.
    pub(crate) fn target_source(&self, tables: &[Selected]) -> Option<Arc<dyn ChangeSource>> {
        let options = tables.iter().map(|table| {
            // What may be lost has been lost on the way here, so it is no reason not to compare.
            let options = CaptureOptions {
                types: sqlserver_client::TypePolicy::lenient(),
                ..CaptureOptions::default()
            };
            (table.target.clone(), options)
        });
        let connect = self.target_options()?.clone();
        Some(Arc::new(SqlServerSource::new(connect, options)))
    }

    /// The Iceberg tables as a source. What the target has applied is held by a tag with the sync's name.
    pub(crate) fn iceberg_source(&self, choice: SnapshotChoice) -> Arc<dyn ChangeSource> {
        let source = IcebergSource::new(self.catalog.clone()).pinned(choice);
        Arc::new(source.holding(format!("sync_{}", self.config.sync)))
    }

    /// The Iceberg tables as a sink.
    pub(crate) fn iceberg_sink(&self, tables: &[Selected]) -> Arc<dyn ChangeSink> {
        let options = self.config.iceberg.write.clone();
        let layouts = tables.iter().flat_map(|table| {
            let layout = table.entry.layout.clone();
            // Letters are kept, whatever becomes of the columns that they have besides the key.
            let of_dead_letters = TableOptions {
                format_version: layout.format_version,
                schema_changes: SchemaPolicy::Lenient,
                ..TableOptions::default()
            };
            let dead_letters = table.dead_letters().map(|name| (name, of_dead_letters));
            [(table.iceberg.clone(), layout)].into_iter().chain(dead_letters)
        });
        let (clock, ids) = (self.clock.clone(), self.ids.clone());
        Arc::new(IcebergSink::new(self.catalog.clone(), options, clock, ids).with_tables(layouts))
    }

    /// The target database as a sink of one table; `None` if the sync ends in Iceberg.
    ///
    /// # Errors
    ///
    /// `Config` if its options break a rule.
    pub(crate) fn target_sink(&self, table: &Selected) -> Result<Option<Arc<dyn ChangeSink>>> {
        let Some(connect) = self.target_options() else {
            return Ok(None);
        };
        Ok(Some(Arc::new(SqlServerSink::new(
            connect.clone(),
            table.entry.apply.clone(),
        )?)))
    }

    /// The id of a table in one direction.
    pub(crate) fn sync_id(&self, table: &TableName, direction: Direction) -> SyncId {
        SyncId::new(format!("{}/{table}/{}", self.config.sync, direction.id()))
    }

    /// Whether an id belongs to this configuration.
    pub(crate) fn owns(&self, sync: &SyncId) -> bool {
        sync.as_str()
            .strip_prefix(&self.config.sync)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// What the ids of a table begin with.
    pub(crate) fn table_prefix(&self, table: &str) -> Result<String> {
        Ok(format!(
            "{}/{}/",
            self.config.sync,
            TableName::parse(table, "dbo")?
        ))
    }

    /// The Iceberg name of a table, by its name in the source.
    pub(crate) fn iceberg_name(&self, table: &str) -> Result<TableName> {
        let name = TableName::parse(table, "dbo")?;
        for entry in self
            .config
            .tables
            .iter()
            .filter(|entry| !entry.table.contains('*'))
        {
            if let (true, Some(mapped)) = (TableName::parse(&entry.table, "dbo")? == name, &entry.iceberg) {
                return TableName::parse(mapped, name.schema());
            }
        }
        Ok(name)
    }

    /// Source and destination for reports, without secrets.
    pub(crate) fn ends(&self) -> (String, String) {
        let database = |options: &ConnectOptions| {
            format!(
                "sqlserver://{}:{}/{}",
                options.host, options.port, options.database
            )
        };
        let warehouse = self.config.iceberg.label();
        let source = self.source_options().map_or_else(|| warehouse.clone(), database);
        let target = self.target_options().map_or(warehouse, database);
        (source, target)
    }
}
