//! One table, brought up to date: which way it takes, and how it is repeated.
//!
//! An attempt asks the target for its mark and goes on from there, so an attempt that failed is repeated simply by another
//! one. Only the epoch lives as long as the run.

mod ahead;
mod checkpoint;
mod copy;
mod dead_letters;
mod gather;
mod increment;
mod late;
mod moment;
mod repair;
mod replace;
mod settle;
mod stage;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use model::{
    Bound, ChangeSink, ChangeSource, Committed, Cut, Description, Epoch, Error, ErrorKind, Mark, Position,
    Prepare, Prepared, Presence, Result, Severity, SyncId, TableName, TableSchema, Timestamp, Tracking,
};
use tokio_util::sync::CancellationToken;

use crate::progress::ProgressEvent;
use crate::reconcile::Reconcile;
use crate::report::Tally;
use crate::retry::{Backoff, Failures};
use crate::run::Runner;
use checkpoint::Checkpoint;
pub(crate) use checkpoint::forget_unfinished;
pub(crate) use late::{DEAD_LETTER, HELD};
pub(crate) use moment::Ready;
pub(crate) use repair::refuse_deletes;

pub use checkpoint::position_beyond_mark;
pub use dead_letters::DeadLetters;
pub use gather::Flush;
pub use repair::Repair;

/// One source table that is kept equal to one target table.
#[derive(Clone)]
pub struct TableSync {
    /// The name of the table sync. Marks and states are kept under it.
    pub sync: SyncId,
    /// The direction for reports: `source → iceberg`.
    pub direction: String,
    /// Where rows and changes come from.
    pub source: Arc<dyn ChangeSource>,
    /// The table, by its name in the source.
    pub source_table: TableName,
    /// Where they go.
    pub sink: Arc<dyn ChangeSink>,
    /// The table, by its name in the target.
    pub target_table: TableName,
    /// About how many rows a copy reads and commits at once.
    pub batch_rows: usize,
    /// How many chunks of a copy are read and staged at once.
    pub ahead: usize,
    /// Whether everything is copied again, to replace what is there in one commit.
    pub full: bool,
    /// Whether a table without a key that was copied before is replaced in each run. Otherwise such a run is refused.
    pub replace_keyless: bool,
    /// Keys that a comparison found different. They alone are brought in line.
    pub repair: Option<Repair>,
    /// How the table is compared with its source from time to time.
    pub reconcile: Option<Reconcile>,
    /// Where rows go that the source does not want applied because of their time.
    pub dead_letters: Option<DeadLetters>,
    /// When an increment commits before its end.
    pub flush: Flush,
    /// The epoch under which this process holds the table sync already; `None` takes it over.
    pub epoch: Option<Epoch>,
    /// Whether a missing target table is created.
    pub create: bool,
    /// Whether a target table that this engine did not create may be taken over.
    pub adopt: bool,
}

impl TableSync {
    /// A table sync from `source` to `target` that creates the target, adopts nothing and copies by 100,000 rows, two chunks at
    /// once.
    pub fn new(
        sync: SyncId,
        direction: impl Into<String>,
        (source, source_table): (Arc<dyn ChangeSource>, TableName),
        (sink, target_table): (Arc<dyn ChangeSink>, TableName),
    ) -> Self {
        Self {
            sync,
            direction: direction.into(),
            source,
            source_table,
            sink,
            target_table,
            batch_rows: 100_000,
            ahead: 2,
            full: false,
            replace_keyless: false,
            repair: None,
            reconcile: None,
            dead_letters: None,
            flush: Flush::default(),
            epoch: None,
            create: true,
            adopt: false,
        }
    }
}

impl fmt::Debug for TableSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableSync")
            .field("sync", &self.sync)
            .field("direction", &self.direction)
            .field("full", &self.full)
            .finish_non_exhaustive()
    }
}

/// One run of one table sync.
pub(crate) struct TableRun<'a> {
    runner: &'a Runner,
    sync: &'a TableSync,
    cancel: &'a CancellationToken,
    failures: Failures,
    /// The cut that the last increment is to reach.
    upto: Option<Position>,
    /// The moment that the table is brought to, by its name.
    moment: Option<String>,
    /// The source as of it, while changes are read.
    held: Option<Arc<dyn ChangeSource>>,
    pub(crate) tally: Tally,
}

/// What stays the same over the attempts of a run.
struct Session {
    schema: Arc<TableSchema>,
    tracking: Tracking,
    epoch: Epoch,
    /// What is known of the target's rows above those that a copy has reached: nothing, unless this run created the table.
    presence: Presence,
    checkpoint: Checkpoint,
    /// Whether everything is still to be copied again.
    full: bool,
    /// When the run began.
    began: Timestamp,
    /// Whether the target keeps rows that are gone from the source.
    keeps_deleted: bool,
}

impl Session {
    /// What has been applied to a target that says `newest`, with the mark at `position`.
    fn applied(&self, position: Position, newest: &Committed) -> Position {
        let beyond = self.checkpoint.beyond(newest);
        self.without_added(beyond.unwrap_or(position), newest)
    }

    /// A position of a target that got columns since its newest commit: nothing up to there has filled them.
    fn without_added(&self, position: Position, newest: &Committed) -> Position {
        let fields = self.schema.arrow().fields().iter();
        let added = fields.map(|field| field.name()).filter(|name| {
            let is_same = |added: &String| added.to_lowercase() == name.to_lowercase();
            newest.added.iter().any(is_same)
        });
        position.lacking(&added.cloned().collect::<Vec<_>>())
    }
}

/// How an attempt ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// Everything up to the cut is in the target.
    Done,
    /// Somebody else committed in between.
    Overtaken,
}

/// The way that a table takes.
#[derive(Debug, PartialEq)]
enum Way {
    /// The first copy, from the beginning or from where it stopped.
    Copy {
        start: Option<Position>,
        through: Option<Bound>,
    },
    /// The changes since a position.
    Increment { from: Position },
    /// Everything again, in one commit.
    Replace,
    /// None: a run that did not end has committed the copy of a table without a key.
    Copied { at: Position },
    /// Single keys again.
    Repair,
}

impl<'a> TableRun<'a> {
    pub(crate) fn new(runner: &'a Runner, sync: &'a TableSync, cancel: &'a CancellationToken) -> Self {
        Self {
            runner,
            sync,
            cancel,
            failures: Failures::default(),
            upto: None,
            moment: None,
            held: None,
            tally: Tally::default(),
        }
    }

    /// Brings the table up to date.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point; the next run resumes.
    pub(crate) async fn run(&mut self) -> Result<()> {
        let session = self.catch_up().await?;
        self.close(&session).await;
        Ok(())
    }

    async fn catch_up(&mut self) -> Result<Session> {
        let (mut session, mut newest) = self.open().await?;
        let backoff = self.backoff();
        loop {
            match self.attempt(&mut session, &newest).await {
                Ok(Attempt::Done) => return Ok(session),
                Ok(Attempt::Overtaken) => backoff.pause(overtaken()).await?,
                Err(error) => backoff.pause(error).await?,
            }
            newest = self.committed().await?;
            self.not_fenced(session.epoch, &newest)?;
        }
    }

    /// Gets everything ready, and refuses what cannot work before a row is read.
    async fn open(&mut self) -> Result<(Session, Committed)> {
        let description = self
            .retried(|| self.sync.source.describe(&self.sync.source_table))
            .await?;
        self.refuse_findings(&description)?;
        let mut newest = self.committed().await?;
        let checkpoint = self.load_checkpoint().await;
        let epoch = self.epoch(&newest, &checkpoint).await?;
        let mut session = Session {
            schema: description.schema,
            tracking: description.tracking,
            epoch,
            presence: Presence::Unknown,
            checkpoint,
            full: self.sync.full,
            began: self.runner.clock.now(),
            keeps_deleted: description.keeps_deleted,
        };
        self.tally.reconciled = session.checkpoint.state.reconciled;
        let (prepared, repeated) = self.prepare(&session, &newest).await?;
        if prepared.created {
            session.presence = Presence::Absent;
        }
        if newest.mark.is_some() && (prepared.created || prepared.altered || repeated) {
            // The marks of a table that is gone are void, and a column that was added has to be filled. A call that failed may have added one.
            newest = self.committed().await?;
        }
        let copied = matches!(newest.mark, Some(Mark::At(_)));
        self.hear(&ProgressEvent::Started {
            rows: description.approximate_rows.filter(|_| !copied),
        });
        Ok((session, newest))
    }

    /// The epoch of this run: the one that this process holds, or the next one. A target that has met a later one is another process's.
    async fn epoch(&mut self, newest: &Committed, checkpoint: &Checkpoint) -> Result<Epoch> {
        let epoch = match self.sync.epoch.or(self.tally.epoch) {
            Some(held) => held,
            None => {
                let met = newest.epoch.max(checkpoint.state.epoch);
                met.max(self.epoch_of_dead_letters().await?).next()
            }
        };
        self.not_fenced(epoch, newest)?;
        self.tally.epoch = Some(epoch);
        Ok(epoch)
    }

    /// Gets the target ready, if there is a way to take. Tells as well whether it took more than one call.
    async fn prepare(&mut self, session: &Session, newest: &Committed) -> Result<(Prepared, bool)> {
        let replace = self.way(session, newest)? == Way::Replace;
        let prepare = Prepare {
            sync: self.sync.sync.clone(),
            table: self.sync.target_table.clone(),
            schema: session.schema.clone(),
            create: self.sync.create && (newest.mark.is_none() || replace),
            replace,
            adopt: self.sync.adopt,
            dry_run: false,
        };
        let calls = AtomicU32::new(0);
        let call = || {
            calls.fetch_add(1, Ordering::Relaxed);
            self.sync.sink.prepare(&prepare)
        };
        let prepared = self.retried(call).await?;
        for action in &prepared.actions {
            tracing::info!(action, "prepared the target");
        }
        for loss in &prepared.losses {
            self.tally.warn(loss.clone());
        }
        Ok((prepared, calls.into_inner() > 1))
    }

    async fn attempt(&mut self, session: &mut Session, newest: &Committed) -> Result<Attempt> {
        match self.way(session, newest)? {
            Way::Increment { from } => self.increment(session, newest.clone(), from).await,
            Way::Copy { start, through } => {
                if start.is_none() {
                    self.tally.reconciled = Some(session.began);
                }
                self.copy(session, newest, start, through).await
            }
            Way::Replace => {
                self.tally.replaced = true;
                self.tally.reconciled = Some(session.began);
                self.replace(session, newest).await
            }
            Way::Copied { at } => {
                self.tally.warn(
                    "the copy was committed by a run that did not end; it is taken as it is, because the table has no key",
                );
                self.tally.mode = "copy".into();
                self.tally.reached(newest, at);
                Ok(Attempt::Done)
            }
            Way::Repair => self.repair(session, newest).await,
        }
    }

    /// Remembers how far the run came.
    async fn close(&mut self, session: &Session) {
        self.save_checkpoint(session).await;
        self.tally.unfinished = session.checkpoint.state.unfinished.is_some();
        if let Some(mark) = self.tally.mark.clone() {
            self.acknowledge(mark.position()).await;
        }
    }

    /// Tells the source that nothing before `at` is needed any more, and all that follows is.
    async fn acknowledge(&mut self, at: &Position) {
        let acknowledged = self.sync.source.acknowledge(&self.sync.source_table, at);
        if let Err(error) = acknowledged.await {
            // The next run acknowledges as much and more.
            self.tally
                .warn(format!("the source was not told what has been applied: {error}"));
        }
    }

    /// Decides by what the target says; the checkpoint only shortens the way.
    fn way(&self, session: &Session, newest: &Committed) -> Result<Way> {
        if let Some(repair) = &self.sync.repair {
            self.may_repair(repair, session, newest)?;
            return Ok(Way::Repair);
        }
        if session.full {
            return match (&newest.mark, session.keeps_deleted) {
                (Some(_), true) => Err(self.keeps_deleted()),
                _ => Ok(Way::Replace),
            };
        }
        if !session.schema.has_key() {
            return match newest.mark {
                None => Ok(Way::Copy {
                    start: None,
                    through: None,
                }),
                Some(_) if self.sync.replace_keyless => Ok(Way::Replace),
                Some(Mark::At(ref at)) if session.checkpoint.is_unfinished(newest) => {
                    Ok(Way::Copied { at: at.clone() })
                }
                Some(_) => Err(self.keyless()),
            };
        }
        if matches!(session.tracking, Tracking::Full { .. }) {
            return Ok(Way::Replace);
        }
        Ok(match newest.mark.clone() {
            None => Way::Copy {
                start: None,
                through: None,
            },
            Some(Mark::Copying { start, through }) => Way::Copy {
                start: Some(session.without_added(start, newest)),
                through,
            },
            Some(Mark::At(position)) => Way::Increment {
                from: session.applied(position, newest),
            },
        })
    }

    fn keeps_deleted(&self) -> Error {
        Error::new(
            ErrorKind::Config,
            "a full copy would remove the rows that are gone from the source and are kept by policy",
        )
        .with("table", &self.sync.source_table)
        .hint("set `capture: { deletes: { hard: apply } }` for this run if they may go; `sync-cli verify --repair` leaves them")
    }

    fn keyless(&self) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            "the table has no key and has been copied before, so its rows cannot be told apart: running again would double them",
        )
        .with("table", &self.sync.source_table)
        .hint(
            "choose one: `sync-cli run --full` replaces the copy in one commit; `capture: { mode: full }` does so in every run; \
             a primary key or a unique index over NOT NULL columns makes increments possible",
        )
    }

    fn refuse_findings(&mut self, description: &Description) -> Result<()> {
        for finding in &description.findings {
            match finding.severity {
                Severity::Note => {}
                Severity::Warning => self.tally.warn(finding.message.clone()),
                Severity::Error => {
                    let refused = Error::new(ErrorKind::Unsupported, finding.message.clone())
                        .with("table", &self.sync.source_table);
                    return Err(match &finding.remedy {
                        Some(remedy) => refused.hint(remedy.clone()),
                        None => refused,
                    });
                }
            }
        }
        self.tally.mode = match &description.tracking {
            Tracking::Full { .. } => "full".into(),
            Tracking::Incremental { how, .. } => how.clone(),
        };
        Ok(())
    }

    /// Takes a cut, or fails with the gap.
    async fn cut(&mut self, after: Option<&Position>) -> Result<Position> {
        let table = &self.sync.source_table;
        match self.ask(|source| source.cut(table, after)).await? {
            Cut::Complete {
                upto,
                holding,
                assumed,
                warning,
                keeps,
            } => {
                self.hear(&ProgressEvent::Cut {
                    holding: holding.clone(),
                    assumed: assumed.is_some(),
                    keeps,
                });
                if let Some(assumed) = assumed {
                    self.tally
                        .warn(format!("that the source is complete is assumed: {assumed}"));
                }
                if let Some(holding) = holding {
                    self.tally
                        .warn(format!("changes after {upto} wait for {}", holding.who));
                }
                if let Some(warning) = warning {
                    self.tally.warn(warning);
                }
                Ok(upto)
            }
            Cut::Gap { table, why, oldest } => {
                let gap = Error::new(
                    ErrorKind::Gap,
                    format!("the source lost the history that increments would continue from: {why}"),
                )
                .with("table", table);
                Err(match oldest {
                    Some(oldest) => gap.with("oldest position", oldest),
                    None => gap,
                })
            }
        }
    }

    async fn committed(&self) -> Result<Committed> {
        self.retried(|| self.sync.sink.committed(&self.sync.sync, &self.sync.target_table))
            .await
    }

    fn not_fenced(&self, epoch: Epoch, newest: &Committed) -> Result<()> {
        if newest.epoch <= epoch {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Fenced,
            "another process has taken this table sync over",
        )
        .with("sync", &self.sync.sync)
        .with("epoch", epoch)
        .with("newest epoch", newest.epoch))
    }

    pub(crate) fn backoff(&self) -> Backoff<'a> {
        Backoff::new(
            &self.runner.retry,
            &*self.runner.ids,
            self.cancel,
            self.failures.clone(),
        )
        .telling(&*self.runner.progress, &self.sync.sync)
    }

    /// Asks the source of changes; only once as of a moment, which is lost with the first failure.
    async fn ask<'s, T, F>(&'s self, call: impl Fn(&'s dyn ChangeSource) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        match &self.held {
            Some(held) => self.cancellable(call(&**held)).await,
            None => self.retried(|| call(&*self.sync.source)).await,
        }
    }

    /// Repeats a call that changes nothing, or the same when it is repeated.
    async fn retried<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let backoff = self.backoff();
        loop {
            match self.cancellable(call()).await {
                Ok(done) => return Ok(done),
                Err(error) => backoff.pause(error).await?,
            }
        }
    }

    /// Gives a call up when the run is cancelled.
    async fn cancellable<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let ended = self.cancel.run_until_cancelled(call).await;
        ended.unwrap_or_else(|| Err(Error::cancelled()))
    }

    fn hear(&self, event: &ProgressEvent) {
        self.runner.progress.hear(&self.sync.sync, event);
    }
}

fn overtaken() -> Error {
    Error::new(
        ErrorKind::Transient,
        "another process keeps committing to the table in between",
    )
    .hint("stop the other process, or let it do the work")
}

#[cfg(test)]
mod tests;
