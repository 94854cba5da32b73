//! What is known of a table while it is synchronised: its catalog entry, how its changes are told, and its SQL in parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Cut, Error, ErrorKind, Position, Result, TableName, TableSchema};
use sqlserver_client::{CaptureInstance, ColumnInfo, Connection, DatabaseInfo, TableInfo, quote};

use crate::declared_key;
use crate::deletes;
use crate::fingerprint::fingerprint;
use crate::incarnation::{Delivered, Incarnation, Lacking};
use crate::options::{CaptureOptions, Mode};
use crate::polling;
use crate::tracker::{Seen, Tracked, track};

/// A table, looked at.
#[derive(Debug, Clone)]
pub(crate) struct TablePlan {
    pub(crate) table: TableInfo,
    pub(crate) database: DatabaseInfo,
    pub(crate) options: CaptureOptions,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) tracked: Tracked,
    /// What a target has been given under the names of columns once it has rows as they are read now.
    pub(crate) columns: BTreeMap<String, Delivered>,
    /// The condition that rows meet which nothing marks as deleted, if a column marks them.
    pub(crate) unmarked: Option<String>,
    /// The table's capture instances, the oldest first, if Change Data Capture may be seen.
    pub(crate) instances: Vec<CaptureInstance>,
    /// The version of Change Tracking that the transaction has seen in which the table is read; `None` if it is read as it is.
    pub(crate) held_at: Option<i64>,
}

impl TablePlan {
    /// Looks at a table.
    ///
    /// # Errors
    ///
    /// `NotFound` if it does not exist, `Config` and `Unsupported` if its columns or its tracking do not fit.
    pub(crate) async fn load(
        connection: &mut Connection,
        name: &TableName,
        options: CaptureOptions,
    ) -> Result<Self> {
        let mut table = connection.table_info(name).await?;
        if !options.key.is_empty() && !declared_key::is_own(&table, &options.key) {
            table.declare_key(&options.key)?;
        }
        let database = connection.database_info().await?;
        let schema = table.schema(&options.types, &left_out(&table, &options)?)?;
        if !options.key.is_empty() && !schema.has_key() {
            let why = "`capture.key` names a column that is not read";
            let error = Error::new(ErrorKind::Config, why).with("table", name);
            return Err(
                error.hint("take the column out of `capture.columns.exclude`, or name it in `include`")
            );
        }
        let change_tracking = if database.change_tracking {
            connection.change_tracking(&table).await?
        } else {
            None
        };
        let instances = if database.cdc {
            instances(connection, &table).await?
        } else {
            Vec::new()
        };
        let polled = match options.mode {
            Mode::Polling => Some(polling::tracked(connection, &table, &schema, &options).await?),
            _ => None,
        };
        let seen = Seen {
            table: &table,
            database: &database,
            schema: &schema,
            change_tracking: change_tracking.as_ref(),
            instances: &instances,
            polled: polled.as_ref(),
        };
        let tracked = track(&seen, &options)?;
        let unmarked = deletes::unmarked(&table, &options)?;
        let read = table
            .columns
            .iter()
            .filter(|column| schema.arrow().index_of(&column.name).is_ok());
        let columns = read
            .map(|column| (column.name.clone(), Delivered::of(column)))
            .collect();
        Ok(Self {
            table,
            database,
            options,
            schema,
            tracked,
            columns,
            unmarked,
            instances,
            held_at: None,
        })
    }

    /// Claims what a target holds that has been given rows up to `after`: it keeps values under names that are read no longer.
    pub(crate) fn follow(&mut self, after: &Position) {
        let Some(before) = Incarnation::parse(&after.incarnation) else {
            return;
        };
        for name in before.names() {
            if !self
                .columns
                .keys()
                .any(|known| known.to_lowercase() == name.to_lowercase())
            {
                self.columns.insert(name.clone(), Delivered::Gone);
            }
        }
    }

    /// Which life of the table this is.
    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation::of(&self.database, &self.table, self.columns.clone(), self.told())
    }

    /// Which rows are told, by the configuration.
    fn told(&self) -> String {
        let (filter, soft) = (&self.options.filter, &self.options.deletes.soft);
        if filter.is_none() && soft.is_none() {
            return "all".to_owned();
        }
        let filter = filter.iter().flat_map(|filter| ["where", filter]);
        let soft = soft.iter().flat_map(|column| ["soft", column]);
        format!("{:016x}", fingerprint(filter.chain(soft)))
    }

    /// What is read and nothing up to `after` told of.
    pub(crate) fn lacking(&self, schema: &TableSchema, after: &Position) -> Lacking {
        let is_read = |name: &str| schema.arrow().index_of(name).is_ok();
        match Incarnation::parse(&after.incarnation) {
            Some(before) => before.lacks(&self.incarnation(), &after.lacks, is_read),
            None => Lacking::Nothing,
        }
    }

    /// The columns that are read and that an instance of Change Data Capture does not follow. A computed column changes with others.
    pub(crate) fn uncaptured(&self, instance: &CaptureInstance) -> Vec<String> {
        let uncaptured = self
            .read_columns()
            .filter(|column| !column.computed && !instance.captures(column));
        uncaptured.map(|column| column.name.clone()).collect()
    }

    /// `select` as one batch that reads as of one moment, where the database allows it. Under READ COMMITTED with locks a scan may miss
    /// a row that moves meanwhile, and waits for writers.
    pub(crate) fn at_one_moment(&self, select: &str) -> String {
        let database = &self.database;
        let is_versioned = database.read_committed_snapshot || self.held_at.is_some();
        if database.snapshot_isolation && !is_versioned && !self.table.memory_optimized {
            let level = "SET TRANSACTION ISOLATION LEVEL";
            format!("{level} SNAPSHOT;\n{select};\n{level} READ COMMITTED;")
        } else {
            select.to_owned()
        }
    }

    /// Whether what [`TablePlan::at_one_moment`] reads is as of the moment at which it begins.
    pub(crate) fn reads_one_moment(&self) -> bool {
        let database = &self.database;
        database.snapshot_isolation || database.read_committed_snapshot || self.table.memory_optimized
    }

    /// The columns that are read.
    pub(crate) fn read_columns(&self) -> impl Iterator<Item = &ColumnInfo> {
        self.schema
            .arrow()
            .fields()
            .iter()
            .filter_map(|field| self.table.column(field.name()))
    }

    /// `[schema].[table]`.
    pub(crate) fn from(&self) -> String {
        quote::table(&self.table.name)
    }

    /// The condition that holds `conditions` and the configured filter together, with its WHERE, on rows that nothing marks as deleted.
    pub(crate) fn filtered(&self, conditions: &[String]) -> String {
        let unmarked = self.unmarked.iter().cloned();
        self.filtered_with_marked(&unmarked.chain(conditions.iter().cloned()).collect::<Vec<_>>())
    }

    /// The same on all rows, marked or not.
    pub(crate) fn filtered_with_marked(&self, conditions: &[String]) -> String {
        // On lines of its own, so that a comment at its end hides nothing.
        let filter = self
            .options
            .filter
            .as_ref()
            .map(|filter| format!("(\n{filter}\n)"));
        let all: Vec<_> = conditions.iter().cloned().chain(filter).collect();
        if all.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", all.join(" AND "))
        }
    }

    /// That the history is lost.
    pub(crate) fn gap(&self, why: impl Into<String>) -> Cut {
        Cut::Gap {
            table: self.table.name.clone(),
            why: why.into(),
            oldest: None,
        }
    }

    /// Why increments cannot go on from `after`, if they cannot.
    pub(crate) fn lost(&self, after: &Position, kind: &str) -> Option<String> {
        let Some(before) = Incarnation::parse(&after.incarnation) else {
            return Some("the position was made by another source".to_owned());
        };
        if let Some(why) = before.differs(&self.incarnation()) {
            return Some(why.to_owned());
        }
        (after.kind != kind).then(|| {
            format!(
                "the last run read the table by {:?}, the configuration now says {kind:?}",
                after.kind
            )
        })
    }
}

/// The table's capture instances; none if the login may not see them.
async fn instances(connection: &mut Connection, table: &TableInfo) -> Result<Vec<CaptureInstance>> {
    match connection.capture_instances(table).await {
        Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound) => Ok(Vec::new()),
        seen => seen,
    }
}

/// The columns that are not read. A column set repeats other columns, and is never read.
fn left_out(table: &TableInfo, options: &CaptureOptions) -> Result<Vec<String>> {
    let include = &options.columns.include;
    if let Some(unknown) = include.iter().find(|name| table.column(name).is_none()) {
        return Err(Error::new(
            ErrorKind::Config,
            format!("table {} has no column {unknown:?} to include", table.name),
        ));
    }
    let not_included = |name: &String| !include.is_empty() && !include.contains(name);
    let repeated = table
        .columns
        .iter()
        .filter(|column| column.column_set || not_included(&column.name));
    let names = repeated.map(|column| column.name.clone());
    Ok(names.chain(options.columns.exclude.iter().cloned()).collect())
}
