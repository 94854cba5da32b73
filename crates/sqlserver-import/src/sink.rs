//! The sink: sessions per table, and commits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use model::{
    Batches, ChangeSink, Commit, CommitOutcome, Committed, Error, ErrorKind, Mark, Prepare, Prepared,
    Receipt, Replace, Result, StageOutcome, Staged, SyncId, TableName, TableSchema,
};
use sqlserver_client::{CommitEnd, ConnectOptions, Connection, Isolation, quote};
use tracing::warn;

use crate::apply::{self, Counts, Rules};
use crate::marks::{self, Applied};
use crate::options::{ApplyOptions, Existing, Statement, Strategy};
use crate::preflight;
use crate::session::{Ready, Session, StageId};
use crate::target::Target;

type Held = Arc<tokio::sync::Mutex<Option<Session>>>;

/// Applies changes to the tables of one database.
///
/// Streams for the same table are staged one after the other, because a staging table lives on one connection; streams for different
/// tables are staged side by side.
#[derive(Debug)]
pub struct SqlServerSink {
    options: ConnectOptions,
    apply: ApplyOptions,
    /// For what needs no staged rows.
    control: tokio::sync::Mutex<Option<Connection>>,
    sessions: Mutex<HashMap<(SyncId, TableName), Held>>,
    merge: tokio::sync::OnceCell<bool>,
}

impl SqlServerSink {
    /// A sink for the database of `options`. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// `Config` if the options contradict each other.
    pub fn new(options: ConnectOptions, apply: ApplyOptions) -> Result<Self> {
        options.validate()?;
        apply.validate()?;
        Ok(Self {
            options,
            apply,
            control: tokio::sync::Mutex::new(None),
            sessions: Mutex::new(HashMap::new()),
            merge: tokio::sync::OnceCell::new(),
        })
    }

    fn session(&self, sync: &SyncId, table: &TableName) -> Held {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry((sync.clone(), table.clone())).or_default().clone()
    }

    /// Runs `work` on the control connection, which is made when it is needed.
    async fn with_control<T>(&self, work: impl AsyncFnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut control = self.control.lock().await;
        let connection = match control.take() {
            Some(connection) if !connection.is_dead() && !connection.in_transaction() => {
                control.insert(connection)
            }
            _ => control.insert(Connection::open(&self.options).await?),
        };
        work(connection).await
    }

    /// Sees to it that the held session takes rows of this shape for the target as it is now.
    async fn renew<'a>(
        &self,
        held: &'a mut Option<Session>,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
    ) -> Result<&'a mut Session> {
        let fits = match held {
            // A transaction that is open holds rows of a load that was given up.
            Some(session) if session.connection.in_transaction() => false,
            Some(session) => session.serves(schema) && session.fits_target().await?,
            None => false,
        };
        match held.take() {
            Some(session) if fits => Ok(held.insert(session)),
            _ => Ok(held.insert(Session::open(&self.options, sync, table, schema).await?)),
        }
    }

    /// Runs `work` on the held session, renewed if it has to be.
    async fn with_session<T>(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        work: impl AsyncFnOnce(&mut Session) -> Result<T>,
    ) -> Result<T> {
        let held = self.session(sync, table);
        let mut held = held.lock().await;
        let session = self.renew(&mut held, sync, table, schema).await?;
        work(session).await.map_err(|error| error.with("table", table))
    }

    /// Whether to apply by MERGE, by configuration, server and target.
    async fn merges(&self, session: &mut Session) -> Result<bool> {
        if self.apply.statement == Statement::UpdateInsert || !session.target.keyed {
            return Ok(false);
        }
        let can = *self
            .merge
            .get_or_try_init(|| async { Ok::<_, Error>(session.connection.capabilities().await?.merge) })
            .await?;
        match (self.apply.statement, can && session.target.mergeable) {
            (Statement::Merge, false) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("MERGE cannot be used on {}", session.target.table),
            )
            .hint("set `apply: { statement: auto }`: the server lacks MERGE, or the table has a filtered index or an indexed view")),
            (_, merges) => Ok(merges),
        }
    }

    async fn rules(&self, session: &mut Session, commit: &Commit) -> Result<Rules> {
        let increment = matches!(commit.after, Some(Mark::At(_))) && commit.replace == Replace::No;
        let append_only = self.apply.strategy == Strategy::AppendOnly;
        Ok(Rules {
            existing: if increment && !append_only {
                Existing::Overwrite
            } else {
                self.apply.existing()
            },
            append_only,
            replace: commit.replace == Replace::Table,
            merge: self.merges(session).await?,
        })
    }

    /// The transaction, up to but without its COMMIT.
    async fn transact(&self, session: &mut Session, commit: &Commit, ready: Ready) -> Result<Progress> {
        match ready {
            Ready::Tables(tables) => {
                let rules = self.rules(session, commit).await?;
                session.connection.begin(Isolation::ReadCommitted).await?;
                let apply = async |session: &mut Session, receipt: &mut Receipt| {
                    apply_rows(session, &tables, rules, receipt).await
                };
                fenced(session, commit, apply).await
            }
            Ready::Loaded(rows) if commit.replace == Replace::No => {
                let count = async |_: &mut Session, receipt: &mut Receipt| {
                    receipt.inserted = rows;
                    Ok(())
                };
                fenced(session, commit, count).await
            }
            Ready::Loaded(_) => Err(Error::internal(
                "rows that were staged alone do not replace a table",
            )),
        }
    }

    /// What became of a commit whose staged rows are gone.
    async fn find_out(&self, commit: &Commit) -> Result<CommitOutcome> {
        let applied = self
            .with_control(async |connection| marks::read(connection, &commit.sync).await)
            .await?;
        Ok(match applied.receipt {
            Some(receipt) if applied.committed.batch.as_ref() == Some(&commit.batch) => {
                CommitOutcome::Committed(receipt)
            }
            _ => CommitOutcome::Conflict {
                newest: applied.committed,
            },
        })
    }

    /// Ends the transaction and tells how.
    async fn end(
        &self,
        held: &mut Option<Session>,
        ids: &[StageId],
        progress: Progress,
    ) -> Result<CommitOutcome> {
        let Some(session) = held.as_mut() else {
            return Err(Error::internal("a commit lost its session"));
        };
        let outcome = match progress {
            Progress::Already(applied) => {
                session.connection.rollback().await?;
                CommitOutcome::Committed(applied.receipt.unwrap_or_default())
            }
            Progress::Overtaken(newest) => {
                session.connection.rollback().await?;
                CommitOutcome::Conflict { newest }
            }
            Progress::Altered => {
                // The server rolls back with the link.
                *held = None;
                return Err(Error::new(
                    ErrorKind::Transient,
                    "the target was altered while rows were being applied; they have to be staged for it as it is now",
                ));
            }
            Progress::Ready(receipt) => match session.connection.commit().await {
                CommitEnd::Committed => CommitOutcome::Committed(receipt),
                CommitEnd::Refused(error) => {
                    if session.connection.in_transaction() {
                        *held = None;
                    }
                    return Err(error);
                }
                CommitEnd::Unknown(error) => {
                    *held = None;
                    return Ok(CommitOutcome::Unknown {
                        why: error.to_string(),
                    });
                }
            },
        };
        if let Err(error) = session.discard(ids).await {
            warn!(error = %error, "cannot drop a staging table; it goes with the session");
        }
        Ok(outcome)
    }
}

/// How far a transaction got.
enum Progress {
    /// Everything is written; only COMMIT is missing.
    Ready(Receipt),
    /// This batch is committed already.
    Already(Applied),
    /// The target is somewhere else than the commit was built on.
    Overtaken(Committed),
    /// The target is not what the rows were staged for.
    Altered,
}

/// Within the transaction that is open: looks whether the commit is still due, moves the mark, does `work`, and looks whether the target is
/// still what it was.
async fn fenced(
    session: &mut Session,
    commit: &Commit,
    work: impl AsyncFnOnce(&mut Session, &mut Receipt) -> Result<()>,
) -> Result<Progress> {
    let applied = marks::read(&mut session.connection, &commit.sync).await?;
    if applied.committed.batch.as_ref() == Some(&commit.batch) {
        return Ok(Progress::Already(applied));
    }
    if applied.committed.epoch > commit.epoch || applied.committed.mark != commit.after {
        return Ok(Progress::Overtaken(applied.committed));
    }
    if commit.replace == Replace::No {
        applied.check_target(&commit.table, &session.noted.incarnation)?;
    }
    // Without it the mark would move by itself, although the rows may be gone.
    if !session.connection.in_transaction() {
        return Err(Error::new(
            ErrorKind::Transient,
            "the server has ended the transaction of a commit before it was complete",
        ));
    }
    marks::advance(&mut session.connection, commit, &applied, &session.noted).await?;
    let mut receipt = Receipt {
        reference: marks::reference(&commit.batch),
        ..Receipt::default()
    };
    work(session, &mut receipt).await?;
    // Only now do the locks on the target's rows keep everybody from altering it before the end.
    if !session.fits_target().await? {
        return Ok(Progress::Altered);
    }
    marks::remember(&mut session.connection, &commit.sync, &receipt).await?;
    Ok(Progress::Ready(receipt))
}

async fn apply_rows(
    session: &mut Session,
    stages: &[String],
    rules: Rules,
    receipt: &mut Receipt,
) -> Result<()> {
    if stages.is_empty() && !rules.replace {
        return Ok(());
    }
    let mut counts = Counts::default();
    for sql in apply::batches(&session.target, stages, rules) {
        let rows = session.connection.query(&sql, &[]).await?;
        counts.add(&rows.one()?)?;
    }
    receipt.deleted = counts.deleted;
    receipt.updated = counts.updated;
    receipt.inserted = counts.inserted;
    receipt.skipped = counts.skipped;
    if counts.collided > 0 {
        return Err(collision(&session.target, counts.collided));
    }
    if rules.existing == Existing::Error && receipt.skipped > 0 {
        return Err(Error::new(
            ErrorKind::Constraint,
            "rows to be inserted exist already, and `existing: error` is set",
        )
        .with("table", &session.target.table)
        .with("rows", receipt.skipped));
    }
    let written = receipt.inserted + receipt.updated + receipt.skipped;
    receipt.unchanged = counts.staged.saturating_sub(written);
    Ok(())
}

fn collision(target: &Target, rows: u64) -> Error {
    let keys = quote::list(target.keys().map(|key| key.name.as_str()));
    Error::new(
        ErrorKind::Data,
        format!("keys that differ in the source are the same to the target's key columns {keys}"),
    )
    .with("table", &target.table)
    .with("rows", rows)
    .hint(
        "give the target's key columns the source's collation, or a binary one (…_BIN2) if the source has none; if the target holds \
         an older spelling of the same key, a run with `--full` replaces it",
    )
}

fn outcome(staged: Option<Staged>) -> StageOutcome {
    StageOutcome {
        read: staged.as_ref().map_or(0, |staged| staged.rows),
        staged: staged.into_iter().collect(),
        unchanged: 0,
        not_identical: Vec::new(),
    }
}

#[async_trait]
impl ChangeSink for SqlServerSink {
    async fn committed(&self, sync: &SyncId, table: &TableName) -> Result<Committed> {
        self.with_control(async |connection| marks::committed(connection, sync, table).await)
            .await
    }

    async fn prepare(&self, prepare: &Prepare) -> Result<Prepared> {
        self.with_control(async |connection| preflight::run(connection, prepare, &self.apply).await)
            .await
    }

    async fn stage(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        let stage = async |session: &mut Session| session.stage(rows).await;
        self.with_session(sync, table, schema, stage).await.map(outcome)
    }

    async fn stages_alone(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
    ) -> Result<bool> {
        let straight = async |session: &mut Session| Ok(session.target.takes_rows_straight);
        self.with_session(sync, table, schema, straight).await
    }

    async fn stage_alone(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        let stage = async |session: &mut Session| match session.target.takes_rows_straight {
            true => session.load_straight(rows).await,
            false => session.stage(rows).await,
        };
        self.with_session(sync, table, schema, stage).await.map(outcome)
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome> {
        let ids = commit
            .staged
            .iter()
            .map(StageId::read)
            .collect::<Result<Vec<_>>>()?;
        let held = self.session(&commit.sync, &commit.table);
        let mut held = held.lock().await;
        if ids.is_empty() {
            self.renew(&mut held, &commit.sync, &commit.table, &commit.schema)
                .await?;
        }
        let ready = held.as_ref().map_or(Ok(None), |session| session.ready(&ids));
        let (Some(session), Some(ready)) = (held.as_mut(), ready.transpose()) else {
            return self.find_out(commit).await;
        };
        let progress = match ready {
            Ok(ready) => self.transact(session, commit, ready).await,
            Err(error) => Err(error),
        };
        match progress {
            Ok(progress) => self.end(&mut held, &ids, progress).await,
            Err(error) => {
                // XACT_ABORT has rolled back what the server refused; this is for errors found on this side.
                if let Err(rollback) = session.connection.rollback().await {
                    warn!(error = %rollback, "cannot roll back; the connection is given up");
                    *held = None;
                }
                Err(error.with("table", &commit.table))
            }
        }
    }

    async fn discard(&self, staged: Vec<Staged>) -> Result<()> {
        let ids = staged.iter().map(StageId::read).collect::<Result<Vec<_>>>()?;
        for id in &ids {
            let held = self.session(&id.sync, &id.table);
            if let Some(session) = held.lock().await.as_mut() {
                session.discard(std::slice::from_ref(id)).await?;
            }
        }
        Ok(())
    }

    fn rest(&self) {
        if let Ok(mut control) = self.control.try_lock() {
            *control = None;
        }
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for held in sessions.values() {
            // One that is locked is being used.
            if let Ok(mut held) = held.try_lock()
                && !held.as_ref().is_some_and(Session::has_stages)
            {
                *held = None;
            }
        }
    }
}
