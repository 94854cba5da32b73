//! A held connection and the staging tables that live on it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int32Array, RecordBatch};
use arrow_select::nullif::nullif;
use futures::StreamExt;
use model::{
    Batches, ChangeBatch, Error, ErrorKind, Op, Presence, Result, Staged, SyncId, TableName, TableSchema,
};
use serde::{Deserialize, Serialize};
use sqlserver_client::ddl::ColumnDefinition;
use sqlserver_client::{BulkColumn, ConnectOptions, Connection, Isolation, SqlType, TableShape, quote};

use crate::apply;
use crate::marks::Noted;
use crate::target::{Target, TargetColumn};
use crate::variants::{self, StagedVariant};

/// The staging table's column of operations.
const OP: &str = "op";

/// How many types of variants one statement makes.
const VARIANT_TYPES: usize = 50;

/// What a [`Staged`] says: which session of which table sync holds which table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct StageId {
    pub(crate) sync: SyncId,
    pub(crate) table: TableName,
    /// A value that no other session has.
    session: String,
    number: u64,
}

impl StageId {
    pub(crate) fn read(staged: &Staged) -> Result<Self> {
        serde_json::from_value(staged.value.clone()).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "what was staged cannot be read").caused_by(error)
        })
    }
}

/// One table's session. Its staging tables vanish with its connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) target: Target,
    /// What a mark notes of the target.
    pub(crate) noted: Noted,
    sync: SyncId,
    name: TableName,
    shape: TableShape,
    schema: Arc<TableSchema>,
    token: String,
    next: u64,
    stages: HashMap<u64, Stage>,
}

/// Where rows are that were staged by one call.
#[derive(Debug)]
enum Stage {
    /// In a temporary table of this name.
    Table(String),
    /// So many in the target itself, in the transaction that is open.
    Target(u64),
}

/// What a commit finds staged.
#[derive(Debug)]
pub(crate) enum Ready {
    /// Rows in temporary tables of these names.
    Tables(Vec<String>),
    /// So many rows in the target itself, in the transaction that is open.
    Loaded(u64),
}

impl Session {
    pub(crate) async fn open(
        options: &ConnectOptions,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
    ) -> Result<Self> {
        let mut connection = Connection::open(options).await?;
        let shape = connection.table_shape(table).await?;
        let info = connection.table_info(table).await?;
        let target = Target::new(&info, schema)?;
        let rows = connection
            .query("SELECT CONVERT(nvarchar(36), NEWID()) AS token", &[])
            .await?;
        let token = rows.one()?.need_text("token")?.to_owned();
        Ok(Self {
            connection,
            target,
            noted: Noted::of(&info),
            sync: sync.clone(),
            name: table.clone(),
            shape,
            schema: schema.clone(),
            token,
            next: 1,
            stages: HashMap::new(),
        })
    }

    /// Whether rows of this shape can be staged here.
    pub(crate) fn serves(&self, schema: &Arc<TableSchema>) -> bool {
        !self.connection.is_dead() && self.schema == *schema
    }

    /// Whether the target is what it was when the session began. Otherwise staged rows have other types than it, and the server would
    /// round them or replace their characters in silence.
    pub(crate) async fn fits_target(&mut self) -> Result<bool> {
        Ok(self.connection.table_shape(&self.name).await? == self.shape)
    }

    /// Whether a staging table is waiting for its commit.
    pub(crate) fn has_stages(&self) -> bool {
        !self.stages.is_empty()
    }

    /// What is staged by these ids; `None` if some of it is gone.
    ///
    /// # Errors
    ///
    /// `Internal` if what was staged alone is among other rows.
    pub(crate) fn ready(&self, ids: &[StageId]) -> Result<Option<Ready>> {
        if self.connection.is_dead() {
            return Ok(None);
        }
        let mut tables = Vec::with_capacity(ids.len());
        for id in ids {
            let ours = id.session == self.token;
            match self.stages.get(&id.number).filter(|_| ours) {
                Some(Stage::Table(name)) => tables.push(name.clone()),
                Some(Stage::Target(rows)) if self.connection.in_transaction() => {
                    return match ids.len() {
                        1 => Ok(Some(Ready::Loaded(*rows))),
                        _ => Err(Error::internal(
                            "rows that were staged alone are not committed alone",
                        )),
                    };
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(Ready::Tables(tables)))
    }

    /// Loads rows into a new staging table; `None` if there are none.
    pub(crate) async fn stage(&mut self, rows: Batches) -> Result<Option<Staged>> {
        let number = self.next;
        self.next += 1;
        let stage = format!("#sync_stage_{number}");
        self.connection.execute(&self.create(&stage), &[]).await?;
        let count = match self.fill(&stage, rows).await {
            Ok(0) => {
                self.drop_table(&stage).await?;
                return Ok(None);
            }
            Ok(count) => count,
            Err(error) => {
                // Where the connection is dead the table is gone already.
                let _ = self.drop_table(&stage).await;
                return Err(error);
            }
        };
        self.staged(number, Stage::Table(stage), count).map(Some)
    }

    /// Loads rows into the target, in a transaction that stays open; `None` if there are none.
    ///
    /// Constraints are checked as INSERT does it. A key that is there already fails the load.
    pub(crate) async fn load_straight(&mut self, rows: Batches) -> Result<Option<Staged>> {
        // What was loaded before is committed or rolled back.
        self.stages.retain(|_, stage| matches!(stage, Stage::Table(_)));
        self.connection.begin(Isolation::ReadCommitted).await?;
        let columns = self.target.columns.iter().map(|column| BulkColumn {
            name: column.name.clone(),
            ty: column.ty,
        });
        let columns: Vec<_> = columns.collect();
        let sources: Vec<_> = self.target.columns.iter().map(|column| column.source).collect();
        let rows = rows.map(move |batch| new_rows(&batch?, &sources));
        match self
            .connection
            .bulk_load(&self.target.table, &columns, rows)
            .await
        {
            Ok(0) => {
                self.connection.rollback().await?;
                Ok(None)
            }
            Ok(count) => {
                let number = self.next;
                self.next += 1;
                self.staged(number, Stage::Target(count), count).map(Some)
            }
            Err(error) => {
                // Where the connection is dead the transaction has ended already.
                let _ = self.connection.rollback().await;
                Err(error)
            }
        }
    }

    fn staged(&mut self, number: u64, stage: Stage, rows: u64) -> Result<Staged> {
        self.stages.insert(number, stage);
        let id = StageId {
            sync: self.sync.clone(),
            table: self.name.clone(),
            session: self.token.clone(),
            number,
        };
        let value = serde_json::to_value(id)
            .map_err(|error| Error::internal("what was staged cannot be described").caused_by(error))?;
        Ok(Staged { rows, value })
    }

    /// Loads the rows as the target will take them, and returns how many there are.
    async fn fill(&mut self, stage: &str, rows: Batches) -> Result<u64> {
        let count = self.load(stage, rows).await?;
        if count > 0 {
            self.convert(stage).await?;
            self.make_variants(stage).await?;
            self.check(stage).await?;
        }
        Ok(count)
    }

    async fn load(&mut self, stage: &str, rows: Batches) -> Result<u64> {
        let columns = self.bulk_columns();
        let staged: Vec<_> = self.target.columns.iter().map(StagedColumn::of).collect();
        let batches = rows.map(move |batch| batch.and_then(|batch| staged_batch(&batch, &staged)));
        self.connection
            .bulk_load(&quote::identifier(stage), &columns, batches)
            .await
    }

    /// Gives the columns that travelled in another type the target's. A character that their code page lacks would become a
    /// question mark, and a shorter value would be padded, so both are looked for first.
    async fn convert(&mut self, stage: &str) -> Result<()> {
        let converted: Vec<_> = self
            .target
            .columns
            .iter()
            .filter(|c| c.travels_as.is_some())
            .cloned()
            .collect();
        for column in converted {
            let alterations = [
                (
                    Some(apply::altered_by_code_page(&column, stage)),
                    "they hold characters that its code page lacks",
                ),
                (
                    apply::padded(&column, stage),
                    "they are shorter, and the server would pad them; a varchar column would take them",
                ),
            ];
            for (count, why) in alterations {
                let Some(count) = count else { continue };
                let altered = self.count(&count).await?;
                if altered > 0 {
                    return Err(Error::new(
                        ErrorKind::Data,
                        format!(
                            "values do not fit column {:?} of type {}: {why}",
                            column.name, column.ty
                        ),
                    )
                    .with("rows", altered));
                }
            }
            let definition = staged_column(&column, column.ty.loadable()).sql();
            self.connection
                .execute(&format!("ALTER TABLE {stage} ALTER COLUMN {definition};"), &[])
                .await?;
        }
        Ok(())
    }

    /// Makes the columns of type `sql_variant` of the types and texts that were loaded, and sees that they say the same.
    async fn make_variants(&mut self, stage: &str) -> Result<()> {
        let columns = self.target.columns.iter();
        let variants: Vec<_> = columns
            .filter_map(|column| Some((StagedVariant::of(column)?, column.name.clone())))
            .collect();
        for (variant, name) in variants {
            let types = self.connection.query(&variant.types(stage), &[]).await?;
            let types = types.iter().map(|row| row.need_text("declaration"));
            let types = types.collect::<Result<Vec<_>>>()?;
            for some in types.chunks(VARIANT_TYPES) {
                let make = variant
                    .make(stage, some)
                    .map_err(|error| error.with("column", &name))?;
                self.connection.execute(&make, &[]).await?;
            }
            let altered = self.count(&variant.altered(stage)).await?;
            if altered > 0 {
                let why = format!(
                    "values do not fit column {name:?} of type sql_variant: they are not written as their types write them"
                );
                return Err(Error::new(ErrorKind::Data, why).with("rows", altered));
            }
        }
        Ok(())
    }

    /// Finds what would make the commit fail or do the wrong thing, and indexes the keys.
    async fn check(&mut self, stage: &str) -> Result<()> {
        if !self.target.keyed {
            let deletes = self.count(&apply::deletes(stage)).await?;
            return refuse(
                deletes,
                ErrorKind::Unsupported,
                "deletes cannot be applied to a table without a key",
            );
        }
        // One spelling of a key may go and another one come.
        let index = apply::index_keys(&self.target, stage, !self.target.has_spellings());
        self.connection.execute(&index, &[]).await?;
        if self.target.has_spellings() {
            let doubled = self.count(&apply::doubled(&self.target, stage)).await?;
            refuse(
                doubled,
                ErrorKind::Constraint,
                "two rows have keys that the target's collation takes for the same",
            )
            .map_err(|error| error.with("table", &self.target.table))?;
        }
        let Some(conflicts) = apply::identity_conflicts(&self.target, stage) else {
            return Ok(());
        };
        let conflicts = self.count(&conflicts).await?;
        refuse(
            conflicts,
            ErrorKind::Constraint,
            "the value of an identity column has changed, which SQL Server cannot update",
        )
    }

    async fn count(&mut self, sql: &str) -> Result<i64> {
        self.connection.query(sql, &[]).await?.one()?.need_i64("n")
    }

    /// Drops staging tables. Those of other sessions are gone already.
    pub(crate) async fn discard(&mut self, ids: &[StageId]) -> Result<()> {
        for id in ids {
            let stage = if id.session == self.token {
                self.stages.remove(&id.number)
            } else {
                None
            };
            match stage {
                Some(Stage::Table(stage)) => self.drop_table(&stage).await?,
                Some(Stage::Target(_)) if self.connection.in_transaction() => {
                    self.connection.rollback().await?
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn drop_table(&mut self, stage: &str) -> Result<()> {
        self.connection
            .execute(&format!("DROP TABLE {stage};"), &[])
            .await
            .map(|_| ())
    }

    /// A temporary table with the target's collations and, but for columns that [`Session::convert`] converts, exact types.
    fn create(&self, stage: &str) -> String {
        let op = ColumnDefinition {
            name: OP.to_owned(),
            ty: SqlType::TinyInt,
            collation: None,
            nullable: false,
        };
        let variants = self.target.columns.iter();
        let variants = variants.filter(|column| StagedVariant::of(column).is_some());
        let variants = variants.map(|column| staged_column(column, column.ty));
        let columns: Vec<_> = std::iter::once(op)
            .chain(self.target.columns.iter().flat_map(loaded_columns))
            .chain(variants)
            .map(|column| column.sql())
            .collect();
        format!("CREATE TABLE {stage} ({});", columns.join(", "))
    }

    fn bulk_columns(&self) -> Vec<BulkColumn> {
        let op = BulkColumn {
            name: OP.to_owned(),
            ty: SqlType::TinyInt,
        };
        let columns = self.target.columns.iter().flat_map(loaded_columns);
        let columns = columns.map(|ColumnDefinition { name, ty, .. }| BulkColumn { name, ty });
        std::iter::once(op).chain(columns).collect()
    }
}

fn refuse(found: i64, kind: ErrorKind, why: &'static str) -> Result<()> {
    if found == 0 {
        Ok(())
    } else {
        Err(Error::new(kind, why).with("rows", found))
    }
}

/// The columns of a staging table that a column of the target is loaded into: itself, or the parts of a `sql_variant`.
fn loaded_columns(column: &TargetColumn) -> Vec<ColumnDefinition> {
    let itself = staged_column(column, column.loaded());
    match StagedVariant::of(column) {
        None => vec![itself],
        Some(variant) => variant
            .loaded()
            .map(|name| ColumnDefinition {
                name,
                ..itself.clone()
            })
            .into(),
    }
}

/// A column of a staging table. Only keys are NOT NULL: a delete tells no more.
fn staged_column(column: &TargetColumn, ty: SqlType) -> ColumnDefinition {
    ColumnDefinition {
        name: column.staged(),
        ty,
        collation: column.collation.clone(),
        nullable: !column.in_key,
    }
}

/// A column of a change batch that is written to a staging table.
struct StagedColumn {
    /// Its place in the batch.
    source: usize,
    name: String,
    in_key: bool,
    /// Whether it is of variants, which come as two columns.
    variants: bool,
}

impl StagedColumn {
    fn of(column: &TargetColumn) -> Self {
        Self {
            source: column.source,
            name: column.name.clone(),
            in_key: column.in_key,
            variants: StagedVariant::of(column).is_some(),
        }
    }
}

/// The columns that are written, of rows that are surely new.
fn new_rows(batch: &ChangeBatch, columns: &[usize]) -> Result<RecordBatch> {
    let is_new = |op: &i8| *op == Op::Insert as i8 || *op == Op::Upsert as i8;
    if batch.presence != Presence::Absent || !batch.ops.values().iter().all(is_new) {
        return Err(Error::internal(
            "rows that are perhaps there already cannot be loaded straight into the target",
        ));
    }
    let misfit = |error| Error::internal("a change batch does not have its schema").caused_by(error);
    batch.rows.project(columns).map_err(misfit)
}

/// The operations and the columns that are written. Of a row to delete only the key: what else it held may no longer fit the target.
fn staged_batch(batch: &ChangeBatch, columns: &[StagedColumn]) -> Result<RecordBatch> {
    let misfit = |error| Error::internal("a change batch does not have its schema").caused_by(error);
    let sources: Vec<_> = columns.iter().map(|column| column.source).collect();
    let values = batch.rows.project(&sources).map_err(misfit)?;
    let codes = batch.ops.values();
    let ops: Int32Array = codes.iter().map(|op| i32::from(*op)).collect();
    let deleted: BooleanArray = codes.iter().map(|op| Some(*op == Op::Delete as i8)).collect();
    let mut all: Vec<(&str, ArrayRef, bool)> = vec![(OP, Arc::new(ops), false)];
    for (column, array) in columns.iter().zip(values.columns()) {
        let name = column.name.as_str();
        let array = match column.in_key || deleted.true_count() == 0 {
            true => array.clone(),
            false => nullif(array, &deleted).map_err(misfit)?,
        };
        if column.variants {
            let [types, texts] = variants::take_apart(&array).map_err(|error| error.with("column", name))?;
            all.extend([(name, types, true), (name, texts, true)]);
        } else {
            all.push((name, array, true));
        }
    }
    RecordBatch::try_from_iter_with_nullable(all).map_err(misfit)
}
