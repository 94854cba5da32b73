//! `_sync.applied`: one row per table sync, changed in the transaction that applies its rows.

use model::{BatchId, Commit, Committed, Epoch, Error, ErrorKind, Mark, Receipt, Result, SyncId, TableName};
use sqlserver_client::{Connection, Param, Row, SqlType, TableInfo, Value, ddl, quote};

/// The schema of the engine's own tables.
const SCHEMA: &str = "_sync";

/// The table of the marks.
pub(crate) fn table() -> TableName {
    TableName::new(SCHEMA, "applied")
}

/// An id is compared by its bytes. A row without a mark says only that we created the table. Older versions did not note which table
/// of the name a mark was committed with, and with which columns.
const CREATE: &str = "\
IF OBJECT_ID(N'[_sync].[applied]') IS NULL CREATE TABLE [_sync].[applied] (\
 [id] nvarchar(400) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY,\
 [table_name] nvarchar(400) COLLATE Latin1_General_100_BIN2 NOT NULL,\
 [created] bit NOT NULL,\
 [revision] bigint NOT NULL,\
 [epoch] bigint NOT NULL,\
 [mark] nvarchar(max) NULL,\
 [batch_id] nvarchar(100) NULL,\
 [receipt] nvarchar(max) NULL,\
 [applied_at] datetime2(3) NOT NULL,\
 [incarnation] nvarchar(60) NULL,\
 [greatest_column] int NULL) \
ELSE BEGIN \
IF COL_LENGTH(N'[_sync].[applied]', N'incarnation') IS NULL ALTER TABLE [_sync].[applied] ADD [incarnation] nvarchar(60) NULL; \
IF COL_LENGTH(N'[_sync].[applied]', N'greatest_column') IS NULL ALTER TABLE [_sync].[applied] ADD [greatest_column] int NULL; \
END;";

/// Waits for a session that may still commit, whatever the database's default for reading is. All columns, because the table of an older
/// version has fewer.
const READ: &str = "\
IF OBJECT_ID(N'[_sync].[applied]') IS NOT NULL \
SELECT * FROM [_sync].[applied] WITH (READCOMMITTEDLOCK, UPDLOCK, HOLDLOCK) WHERE [id] = @id;";

const UPDATE: &str = "\
UPDATE [_sync].[applied] SET [table_name] = @table, [incarnation] = @incarnation, [greatest_column] = @greatest_column, [created] = @created, \
[revision] = [revision] + 1, [epoch] = @epoch, [mark] = @mark, [batch_id] = @batch, [receipt] = NULL, [applied_at] = SYSUTCDATETIME() \
WHERE [id] = @id AND [revision] = @expected AND [epoch] <= @epoch;";

const INSERT: &str = "\
INSERT INTO [_sync].[applied] \
([id], [table_name], [incarnation], [greatest_column], [created], [revision], [epoch], [mark], [batch_id], [receipt], [applied_at]) \
VALUES (@id, @table, @incarnation, @greatest_column, @created, @revision, @epoch, @mark, @batch, NULL, SYSUTCDATETIME());";

const NOTE_COLUMNS: &str = "\
UPDATE [_sync].[applied] SET [greatest_column] = @greatest_column \
WHERE [id] = @id AND [mark] IS NOT NULL AND [greatest_column] IS NULL;";

/// The ids of a table's columns grow, and none is given out twice.
const ADDED: &str = "\
SELECT c.name AS column_name FROM sys.columns AS c \
WHERE c.object_id = OBJECT_ID(@target) AND c.column_id > @greatest_column ORDER BY c.column_id;";

const RECEIPT: &str = "UPDATE [_sync].[applied] SET [receipt] = @receipt WHERE [id] = @id;";

const OWNERS: &str = "\
IF OBJECT_ID(N'[_sync].[applied]') IS NOT NULL \
SELECT [id] AS id, [created] AS created FROM [_sync].[applied] WHERE [table_name] = @table ORDER BY [id];";

/// Whose a table is, as `_sync.applied` says.
#[derive(Debug, Clone)]
pub(crate) enum Owner {
    /// No sync has created it or written to it.
    Nobody,
    /// This sync, which may change its shape if it has created it.
    Ours { created: bool },
    /// This sync has nothing to do with it, and another one has.
    Another(SyncId),
}

/// A row of `_sync.applied`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Applied {
    /// Counts commits; 0 before the first.
    pub(crate) revision: i64,
    pub(crate) committed: Committed,
    /// What the newest commit did.
    pub(crate) receipt: Option<Receipt>,
    /// Whether the row is there at all.
    pub(crate) exists: bool,
    /// Whether this engine created the table.
    created: bool,
    /// The table that the newest commit went to.
    table: String,
    /// Which table of that name it was; `None` if an older version wrote the row.
    incarnation: Option<String>,
    /// The greatest id of its columns then; `None` if an older version wrote the row.
    greatest_column: Option<i64>,
}

impl Applied {
    /// Refuses to go on from a mark that was committed with another table: the rows of that one would be missing.
    pub(crate) fn check_target(&self, table: &TableName, incarnation: &str) -> Result<()> {
        if self.committed.mark.is_none() || self.is_of(table, incarnation) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Gap,
            format!(
                "the target table {table} is not the one that was applied to before: it was dropped and created again, or another \
                 one was configured"
            ),
        )
        .with("before", &self.table)
        .hint("run once with `--full`, which copies everything into it in one commit"))
    }

    fn is_of(&self, table: &TableName, incarnation: &str) -> bool {
        match &self.incarnation {
            Some(known) => known == incarnation,
            None => self.table == table.to_string(),
        }
    }
}

/// What a row of `_sync.applied` is to say.
struct Entry<'a> {
    sync: &'a SyncId,
    table: &'a TableName,
    incarnation: Option<&'a str>,
    greatest_column: Option<i32>,
    created: bool,
    epoch: Epoch,
    mark: Option<&'a Mark>,
    batch: Option<&'a BatchId>,
}

impl Entry<'_> {
    fn params(&self) -> Result<Vec<Param>> {
        let epoch = i64::try_from(self.epoch.0).map_err(|_| Error::internal("the epoch is too large"))?;
        let mark = self.mark.map(serde_json::to_string).transpose();
        let mark = mark.map_err(|error| Error::internal("a mark cannot be written").caused_by(error))?;
        Ok(vec![
            Param::new("id", self.sync.as_str()),
            Param::new("table", self.table.to_string()),
            Param::new("incarnation", self.incarnation.map_or(Value::Null, Value::from)),
            greatest_column(self.greatest_column),
            Param::new("created", self.created),
            Param::new("epoch", epoch),
            match mark {
                Some(mark) => Param::new("mark", mark),
                None => Param::typed("mark", Value::Null, SqlType::NText),
            },
            Param::new(
                "batch",
                self.batch.map_or(Value::Null, |batch| batch.as_str().into()),
            ),
        ])
    }
}

fn greatest_column(id: Option<i32>) -> Param {
    Param::typed(
        "greatest_column",
        id.map_or(Value::Null, Value::from),
        SqlType::Int,
    )
}

/// The statements that create what marks need.
pub(crate) fn ddl() -> [String; 2] {
    [ddl::create_schema(SCHEMA), CREATE.to_owned()]
}

/// The row of a sync. Within a transaction it stays locked until the end.
pub(crate) async fn read(connection: &mut Connection, sync: &SyncId) -> Result<Applied> {
    let rows = connection.query(READ, &[Param::new("id", sync.as_str())]).await?;
    rows.first()
        .map_or_else(|| Ok(Applied::default()), |row| applied(&row))
}

/// What a mark notes of the table that it is committed with.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    /// Which table of its name it is.
    pub(crate) incarnation: String,
    greatest_column: Option<i32>,
}

impl Noted {
    pub(crate) fn of(table: &TableInfo) -> Self {
        Self {
            incarnation: incarnation(table),
            greatest_column: table.columns.iter().map(|column| column.id).max(),
        }
    }
}

/// Which table of its name this is: one that was dropped and created again is another.
pub(crate) fn incarnation(table: &TableInfo) -> String {
    format!("{}@{}", table.object_id, table.create_date)
}

/// What a commit left behind. A target that is restored or fails over counts the same revisions again, but never sees the same batch.
pub(crate) fn reference(batch: &BatchId) -> String {
    batch.as_str().to_owned()
}

fn applied(row: &Row<'_>) -> Result<Applied> {
    let damaged = |error: serde_json::Error| {
        Error::new(ErrorKind::Corrupt, "a row of _sync.applied cannot be read").caused_by(error)
    };
    let revision = row.need_i64("revision")?;
    let mark = row
        .text("mark")?
        .map(serde_json::from_str::<Mark>)
        .transpose()
        .map_err(damaged)?;
    let receipt = row
        .text("receipt")?
        .map(serde_json::from_str)
        .transpose()
        .map_err(damaged)?;
    let batch = row.text("batch_id")?.map(BatchId::new);
    Ok(Applied {
        revision,
        committed: Committed {
            reference: batch.as_ref().map(reference),
            mark,
            epoch: Epoch(u64::try_from(row.need_i64("epoch")?).unwrap_or(0)),
            batch,
            added: Vec::new(),
            moment: None,
        },
        receipt,
        exists: true,
        created: row.flag("created")?,
        table: row.need_text("table_name")?.to_owned(),
        incarnation: match row.get("incarnation") {
            Ok(value) => value.as_str().map(str::to_owned),
            Err(_) => None,
        },
        greatest_column: row.get("greatest_column").ok().and_then(Value::as_i64),
    })
}

/// What a sync has committed to a table, and which columns the table got since.
pub(crate) async fn committed(
    connection: &mut Connection,
    sync: &SyncId,
    table: &TableName,
) -> Result<Committed> {
    let applied = read(connection, sync).await?;
    let (Some(_), Some(greatest)) = (&applied.committed.mark, applied.greatest_column) else {
        return Ok(applied.committed);
    };
    let params = [
        Param::new("target", quote::table(table)),
        Param::typed("greatest_column", greatest, SqlType::Int),
    ];
    let rows = connection.query(ADDED, &params).await?;
    let added = rows
        .iter()
        .map(|row| Ok(row.need_text("column_name")?.to_owned()));
    Ok(Committed {
        added: added.collect::<Result<_>>()?,
        ..applied.committed
    })
}

/// Notes which columns a table has before it gets more, for a mark of an older version that does not say.
pub(crate) async fn note_columns(
    connection: &mut Connection,
    sync: &SyncId,
    table: &TableInfo,
) -> Result<()> {
    let params = [
        Param::new("id", sync.as_str()),
        greatest_column(Noted::of(table).greatest_column),
    ];
    connection.execute(NOTE_COLUMNS, &params).await?;
    Ok(())
}

/// Moves the mark as the first change of the transaction. `applied` was read in the same transaction, so nobody can be in between;
/// the conditions are the second line of defence.
pub(crate) async fn advance(
    connection: &mut Connection,
    commit: &Commit,
    applied: &Applied,
    target: &Noted,
) -> Result<()> {
    let incarnation = target.incarnation.as_str();
    let entry = Entry {
        sync: &commit.sync,
        table: &commit.table,
        incarnation: Some(incarnation),
        greatest_column: target.greatest_column,
        created: applied.created && applied.is_of(&commit.table, incarnation),
        epoch: commit.epoch,
        mark: Some(&commit.mark),
        batch: Some(&commit.batch),
    };
    match applied.exists {
        true => update_row(connection, &entry, applied.revision).await,
        false => insert_row(connection, &entry, 1).await,
    }
}

async fn update_row(connection: &mut Connection, entry: &Entry<'_>, expected: i64) -> Result<()> {
    let mut params = entry.params()?;
    params.push(Param::new("expected", expected));
    match connection.execute(UPDATE, &params).await?.as_slice() {
        [1] => Ok(()),
        _ => Err(Error::internal(
            "the row of _sync.applied changed while it was locked",
        )),
    }
}

async fn insert_row(connection: &mut Connection, entry: &Entry<'_>, revision: i64) -> Result<()> {
    let mut params = entry.params()?;
    params.push(Param::new("revision", revision));
    connection.execute(INSERT, &params).await?;
    Ok(())
}

/// Remembers what the commit did, for the case that its outcome is asked for.
pub(crate) async fn remember(connection: &mut Connection, sync: &SyncId, receipt: &Receipt) -> Result<()> {
    let receipt = serde_json::to_string(receipt)
        .map_err(|error| Error::internal("a receipt cannot be written").caused_by(error))?;
    let params = [Param::new("id", sync.as_str()), Param::new("receipt", receipt)];
    connection.execute(RECEIPT, &params).await?;
    Ok(())
}

/// Notes in the transaction that creates the table that it is ours, so that it needs no `adopt`, and that it carries no mark.
pub(crate) async fn note_created(
    connection: &mut Connection,
    sync: &SyncId,
    table: &TableName,
) -> Result<()> {
    let before = read(connection, sync).await?;
    let entry = Entry {
        sync,
        table,
        incarnation: None,
        greatest_column: None,
        created: true,
        epoch: before.committed.epoch,
        mark: None,
        batch: None,
    };
    match before.exists {
        true => update_row(connection, &entry, before.revision).await,
        false => insert_row(connection, &entry, 0).await,
    }
}

/// Whose a table is.
pub(crate) async fn owner(connection: &mut Connection, sync: &SyncId, table: &TableName) -> Result<Owner> {
    let rows = connection
        .query(OWNERS, &[Param::new("table", table.to_string())])
        .await?;
    let mut owner = Owner::Nobody;
    for row in rows.iter() {
        let id = row.need_text("id")?;
        if id == sync.as_str() {
            return Ok(Owner::Ours {
                created: row.flag("created")?,
            });
        }
        if matches!(owner, Owner::Nobody) {
            owner = Owner::Another(SyncId::new(id));
        }
    }
    Ok(owner)
}
