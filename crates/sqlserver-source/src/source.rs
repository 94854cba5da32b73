//! The source: one per database.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::Stream;
use model::{
    Batches, Bound, ChangeSource, Chunk, Cut, Description, Error, ErrorKind, Finding, Look, Moment, Position,
    Result, Selection, Severity, SourceEvent, TableName, TableSchema,
};
use sqlserver_client::{ConnectOptions, Connection, Permission};

use crate::capture_state::{self, CaptureState};
use crate::hint::{self, Suspects};
use crate::options::CaptureOptions;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::position::{CapturePosition, ChangeTrackingPosition, Kind};
use crate::tracker::Tracker;
use crate::{changes, chunks, cut, declared_key, describe, moment, read, trigger};

/// A SQL Server database as a source of rows and changes.
///
/// Statements run on connections of a pool, one per stream. A table is looked at anew by `describe` and `cut`; what they saw serves
/// the calls after them.
#[derive(Debug)]
pub struct SqlServerSource {
    pool: Arc<Pool>,
    options: HashMap<TableName, CaptureOptions>,
    plans: Mutex<HashMap<TableName, Arc<TablePlan>>>,
    /// The cuts that copies began with. What was committed before such a copy is in it, so that the increment that follows need not
    /// wait for it.
    starts: Mutex<HashMap<TableName, Position>>,
    suspects: Suspects,
    /// Whether everything is read in the one transaction of the pool.
    is_held: bool,
}

impl SqlServerSource {
    /// A source over a database. Tables without options of their own have the default ones.
    pub fn new(
        connect: ConnectOptions,
        tables: impl IntoIterator<Item = (TableName, CaptureOptions)>,
    ) -> Self {
        Self {
            pool: Arc::new(Pool::new(connect)),
            options: tables.into_iter().collect(),
            plans: Mutex::default(),
            starts: Mutex::default(),
            suspects: Suspects::default(),
            is_held: false,
        }
    }

    /// Remembers what was seen of a table.
    fn remember(&self, table: &TableName, plan: TablePlan) -> Arc<TablePlan> {
        let plan = Arc::new(plan);
        self.plans().insert(table.clone(), plan.clone());
        plan
    }

    async fn load(&self, connection: &mut Connection, table: &TableName) -> Result<TablePlan> {
        let options = self.options.get(table).cloned().unwrap_or_default();
        TablePlan::load(connection, table, options).await
    }

    /// What was last seen of a table.
    fn known(&self, table: &TableName) -> Option<Arc<TablePlan>> {
        self.plans().get(table).cloned()
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<TableName, Arc<TablePlan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn starts(&self) -> MutexGuard<'_, HashMap<TableName, Position>> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The least rights that reading a table in the configured way needs.
    ///
    /// # Errors
    ///
    /// As [`ChangeSource::describe`].
    pub async fn least_rights(&self, table: &TableName) -> Result<Vec<Permission>> {
        describe::least_rights(&*self.plan(table).await?)
    }

    /// What an operator should know of the way on from a position before it is too late: history that the server has forgotten or soon
    /// will, a capture that stands still.
    ///
    /// # Errors
    ///
    /// As [`ChangeSource::cut`].
    pub async fn outlook(&self, table: &TableName, after: &Position) -> Result<Vec<Finding>> {
        if !matches!(
            after.kind.as_str(),
            ChangeTrackingPosition::NAME | CapturePosition::NAME
        ) {
            return Ok(Vec::new());
        }
        let finding = |severity, message, remedy: Option<&str>| Finding {
            severity,
            message,
            remedy: remedy.map(str::to_owned),
        };
        Ok(match self.cut(table, Some(after)).await? {
            Cut::Gap { why, .. } => vec![finding(
                Severity::Error,
                format!("the source lost the history that increments would continue from: {why}"),
                Some("sync-cli verify --repair"),
            )],
            Cut::Complete { warning, .. } => {
                let warnings = warning.into_iter();
                warnings
                    .map(|warning| finding(Severity::Warning, warning, None))
                    .collect()
            }
        })
    }

    /// Whether the columns that are declared as the table's key tell its rows apart now. The server may have to read the whole table.
    ///
    /// # Errors
    ///
    /// As [`ChangeSource::describe`].
    pub async fn probe_key(&self, table: &TableName) -> Result<Option<Finding>> {
        let plan = self.plan(table).await?;
        let shared = declared_key::shared(&self.pool, &plan).await?;
        Ok(shared.map(|error| Finding {
            severity: Severity::Error,
            message: error.message().to_owned(),
            remedy: Some(error.advice().to_owned()),
        }))
    }

    /// How the Change Data Capture stands that some of the tables are followed by; `None` if none is, or it may not be seen.
    ///
    /// # Errors
    ///
    /// As [`ChangeSource::describe`]; a table that cannot be described is passed over, unless the server is away.
    pub async fn capture_state(&self, tables: &[TableName]) -> Result<Option<CaptureState>> {
        let mut followed = Vec::new();
        let mut database = None;
        for table in tables {
            let plan = match self.plan(table).await {
                Ok(plan) => plan,
                // The other tables would each wait for the server in vain.
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // A table that cannot be looked at is told of by itself.
                Err(_) => continue,
            };
            if plan.tracked.tracker == Tracker::Cdc && plan.database.cdc {
                followed.push(table.clone());
                database = Some(plan.database.clone());
            }
        }
        let Some(database) = database else {
            return Ok(None);
        };
        let mut connection = self.pool.take().await?;
        let seen = capture_state::look(&mut connection, &database).await?;
        self.pool.put(connection);
        Ok(seen.map(|(signs, findings)| CaptureState {
            tables: followed,
            signs,
            findings,
        }))
    }

    /// What is known of a table.
    async fn plan(&self, table: &TableName) -> Result<Arc<TablePlan>> {
        match self.known(table) {
            Some(plan) => Ok(plan),
            None => {
                let mut connection = self.pool.take().await?;
                let plan = Arc::new(self.load(&mut connection, table).await?);
                self.pool.put(connection);
                // Whoever has described the table meanwhile reads it as it was described.
                Ok(self.plans().entry(table.clone()).or_insert(plan).clone())
            }
        }
    }
}

#[async_trait]
impl ChangeSource for SqlServerSource {
    async fn describe(&self, table: &TableName) -> Result<Description> {
        let mut connection = self.pool.take().await?;
        let plan = self.load(&mut connection, table).await?;
        let plan = self.remember(table, plan);
        let description = describe::describe(&mut connection, &plan).await?;
        self.pool.put(connection);
        Ok(description)
    }

    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut> {
        let mut connection = self.pool.take().await?;
        let described = self.known(table);
        let mut plan = match &described {
            // The catalog tells of now, and a part of it that the login may not see would end the transaction.
            Some(described) if self.is_held => TablePlan::clone(described),
            _ => self.load(&mut connection, table).await?,
        };
        if let Some(described) = described {
            // Rows are read as the table was described: a column that was added or altered since is not among what they bring.
            plan.columns.clone_from(&described.columns);
        }
        if let Some(after) = after {
            plan.follow(after);
        }
        let plan = self.remember(table, plan);
        let follows_copy = after.is_none() || self.starts().get(table) == after;
        let cut = cut::cut(&mut connection, &plan, after, !follows_copy).await?;
        self.pool.put(connection);
        if let (Cut::Complete { upto, .. }, None) = (&cut, after) {
            self.starts().insert(table.clone(), upto.clone());
        }
        Ok(cut)
    }

    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        _start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>> {
        let plan = self.plan(table).await?;
        // A table that is read whole by every run would be counted by every run.
        if after.is_none()
            && plan.tracked.tracker != Tracker::Full
            && let Some(shared) = declared_key::shared(&self.pool, &plan).await?
        {
            return Err(shared);
        }
        chunks::chunks(self.pool.clone(), plan, schema, after, rows)
    }

    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches> {
        if at.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "SQL Server cannot be read as of a past position",
            )
            .with("table", table));
        }
        let plan = self.plan(table).await?;
        read::read(&self.pool, &plan, schema, selection).await
    }

    async fn changes(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<SourceEvent>> + Send>>> {
        let plan = self.plan(table).await?;
        changes::changes(&self.pool, &plan, schema, after, upto).await
    }

    async fn at_one_moment(&self) -> Result<Moment> {
        let mut connection = self.pool.take().await?;
        let (name, version) = moment::begin(&mut connection).await?;
        let held_at = Some(version);
        let held = |plan: &TablePlan| TablePlan {
            held_at,
            ..plan.clone()
        };
        let plans = self.plans();
        let plans = plans
            .iter()
            .map(|(table, plan)| (table.clone(), Arc::new(held(plan))));
        let source = Arc::new(Self {
            pool: Arc::new(Pool::of_one(connection)),
            options: self.options.clone(),
            plans: Mutex::new(plans.collect()),
            starts: Mutex::default(),
            suspects: Suspects::default(),
            is_held: true,
        });
        Ok(Moment { name, source })
    }

    async fn may_have_changed(&self, tables: &[(TableName, Position)]) -> Result<Vec<Look>> {
        let known = tables
            .iter()
            .map(|(table, after)| (table, self.known(table), after));
        Ok(hint::looks(&self.pool, &self.suspects, known).await)
    }

    /// Removes from the change table of a trigger what is no longer needed. Otherwise the server keeps no history for us.
    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        let plan = self.plan(table).await?;
        if plan.tracked.tracker != Tracker::Trigger {
            return Ok(());
        }
        let mut connection = self.pool.take().await?;
        trigger::acknowledge(&mut connection, &plan, upto).await?;
        self.pool.put(connection);
        Ok(())
    }
}
