//! `_sync.applied`: one row per table sync, changed in the transaction that applies its rows.

use model::{BatchId, Commit, Committed, Epoch, Error, ErrorKind, Mark, Receipt, Result, SyncId, TableName};
use sqlserver_client::{Connection, Param, Row, Value, ddl};

/// The schema of the engine's own tables.
const SCHEMA: &str = "_sync";

/// The table of the marks.
pub(crate) fn table() -> TableName {
    TableName::new(SCHEMA, "applied")
}

/// An id is compared by its bytes. A row without a mark says only that we created the table.
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
 [applied_at] datetime2(3) NOT NULL);";

/// Waits for a session that may still commit, whatever the database's default for reading is.
const READ: &str = "\
IF OBJECT_ID(N'[_sync].[applied]') IS NOT NULL \
SELECT [created], [revision], [epoch], [mark], [batch_id], [receipt] \
FROM [_sync].[applied] WITH (READCOMMITTEDLOCK, UPDLOCK, HOLDLOCK) WHERE [id] = @id;";

const UPDATE: &str = "\
UPDATE [_sync].[applied] SET [revision] = [revision] + 1, [epoch] = @epoch, [mark] = @mark, [batch_id] = @batch, \
[receipt] = NULL, [applied_at] = SYSUTCDATETIME() \
WHERE [id] = @id AND [revision] = @revision AND [epoch] <= @epoch;";

const INSERT: &str = "\
INSERT INTO [_sync].[applied] ([id], [table_name], [created], [revision], [epoch], [mark], [batch_id], [receipt], [applied_at]) \
VALUES (@id, @table, @created, @revision, @epoch, @mark, @batch, NULL, SYSUTCDATETIME());";

const RECEIPT: &str = "UPDATE [_sync].[applied] SET [receipt] = @receipt WHERE [id] = @id;";

const OWNERSHIP: &str = "\
IF OBJECT_ID(N'[_sync].[applied]') IS NOT NULL \
SELECT COUNT(CASE WHEN [created] = 1 THEN 1 END) AS created, COUNT([mark]) AS marks \
FROM [_sync].[applied] WHERE [table_name] = @table;";

/// What `_sync.applied` says about a table, whichever sync wrote it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ownership {
    /// This engine created it, so it may change its shape.
    pub(crate) created: bool,
    /// It carries a sync's marks.
    pub(crate) marked: bool,
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
        },
        receipt,
        exists: true,
    })
}

/// Moves the mark as the first change of the transaction. `applied` was read in the same transaction, so nobody can be in between;
/// the conditions are the second line of defence.
pub(crate) async fn advance(connection: &mut Connection, commit: &Commit, applied: &Applied) -> Result<()> {
    let mark = serde_json::to_string(&commit.mark)
        .map_err(|error| Error::internal("a mark cannot be written").caused_by(error))?;
    let epoch = i64::try_from(commit.epoch.0).map_err(|_| Error::internal("the epoch is too large"))?;
    let mut params = vec![
        Param::new("id", commit.sync.as_str()),
        Param::new("epoch", epoch),
        Param::new("mark", mark),
        Param::new("batch", commit.batch.as_str()),
        Param::new("revision", if applied.exists { applied.revision } else { 1 }),
    ];
    if applied.exists {
        let counts = connection.execute(UPDATE, &params).await?;
        return match counts.as_slice() {
            [1] => Ok(()),
            _ => Err(Error::internal(
                "the row of _sync.applied changed while it was locked",
            )),
        };
    }
    params.push(Param::new("table", commit.table.to_string()));
    params.push(Param::new("created", false));
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

/// Notes that the table was created for this sync, so that it needs no `adopt`.
pub(crate) async fn note_created(
    connection: &mut Connection,
    sync: &SyncId,
    table: &TableName,
) -> Result<()> {
    let params = [
        Param::new("id", sync.as_str()),
        Param::new("table", table.to_string()),
        Param::new("created", true),
        Param::new("revision", 0_i64),
        Param::new("epoch", 0_i64),
        Param::typed("mark", Value::Null, sqlserver_client::SqlType::NText),
        Param::new("batch", Value::Null),
    ];
    connection.execute(INSERT, &params).await?;
    Ok(())
}

/// Whose a table is.
pub(crate) async fn ownership(connection: &mut Connection, table: &TableName) -> Result<Ownership> {
    let rows = connection
        .query(OWNERSHIP, &[Param::new("table", table.to_string())])
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Ownership::default());
    };
    Ok(Ownership {
        created: row.flag("created")?,
        marked: row.flag("marks")?,
    })
}
