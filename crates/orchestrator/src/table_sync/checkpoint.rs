//! What the state store remembers of a table sync. It is a convenience: without it the target's mark decides.

use model::{BatchId, Committed, Loaded, Position, Result, SaveOutcome, StateStore, SyncId, TableState};

use super::{Session, TableRun};

/// The state as it was loaded, or an empty one.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    pub(super) state: TableState,
    version: Option<u64>,
}

impl Checkpoint {
    /// The position that empty increments have moved to beyond the target's mark. It is void once the target is in
    /// another state than the one that it extends.
    pub(super) fn beyond(&self, newest: &Committed) -> Option<Position> {
        beyond(&self.state, newest)
    }

    /// Whether the target's newest batch copied a table without a key in a run that did not end.
    pub(super) fn is_unfinished(&self, newest: &Committed) -> bool {
        self.state.unfinished.is_some() && self.state.unfinished == newest.batch
    }
}

fn beyond(state: &TableState, newest: &Committed) -> Option<Position> {
    let valid = state.reference.is_some() && state.reference == newest.reference;
    state.position.clone().filter(|_| valid)
}

/// The position beyond the mark of a target that says `newest` to which empty increments have moved, if the store remembers one. The
/// next run goes on from there.
pub async fn position_beyond_mark(
    store: &dyn StateStore,
    sync: &SyncId,
    newest: &Committed,
) -> Option<Position> {
    match store.load(sync).await {
        Ok(Loaded::Found(found)) => beyond(&found.state, newest),
        Ok(Loaded::Absent | Loaded::Damaged { .. }) => None,
        Err(error) => {
            tracing::warn!(%sync, %error, "the state cannot be loaded; the target's mark is used");
            None
        }
    }
}

impl TableRun<'_> {
    /// Loads the checkpoint. A store that is damaged or away costs a warning and some work, never a row.
    pub(super) async fn load_checkpoint(&mut self) -> Checkpoint {
        let sync = &self.sync.sync;
        match self.runner.store.load(sync).await {
            Ok(Loaded::Found(found)) => Checkpoint {
                state: found.state,
                version: Some(found.version),
            },
            Ok(Loaded::Absent) => Checkpoint::default(),
            Ok(Loaded::Damaged { why }) => {
                self.tally.warn(format!(
                    "the state of {sync} is damaged and is rebuilt from the target: {why}"
                ));
                Checkpoint::default()
            }
            Err(error) => {
                self.tally.warn(format!(
                    "the state of {sync} cannot be loaded; the target's mark is used: {error}"
                ));
                Checkpoint::default()
            }
        }
    }

    /// Saves which batch is about to copy a table without a key, so that a run after a kill knows it for its own.
    pub(super) async fn announce(&mut self, session: &mut Session, batch: &BatchId) {
        let before = &mut session.checkpoint;
        before.state.unfinished = Some(batch.clone());
        let sync = &self.sync.sync;
        match self.runner.store.save(sync, before.version, &before.state).await {
            Ok(SaveOutcome::Saved(version)) => before.version = Some(version),
            Ok(SaveOutcome::Stale { newest }) => {
                tracing::debug!(?newest, "another process saved the state in between");
            }
            Err(error) => self.tally.warn(format!(
                "the state of {sync} could not be saved; if this run is killed, the next one must be `--full`: {error}"
            )),
        }
    }

    /// Saves how far the run came.
    pub(super) async fn save_checkpoint(&mut self, session: &Session) {
        let before = &session.checkpoint;
        let state = TableState {
            epoch: session.epoch,
            position: self.tally.position.clone(),
            reference: self.tally.reference.clone(),
            last_success: Some(self.runner.clock.now()),
            rows_applied: before.state.rows_applied + self.tally.statistics.records_written,
            unfinished: before.state.unfinished.clone(),
            reconciled: self.tally.reconciled,
        };
        let sync = &self.sync.sync;
        match self.runner.store.save(sync, before.version, &state).await {
            Ok(SaveOutcome::Saved(version)) => {
                self.tally.state_version = version;
                self.tally.last_success = state.last_success;
            }
            Ok(SaveOutcome::Stale { newest }) => self.tally.warn(format!(
                "the state of {sync} was saved by another process in between (version {newest:?}); its own is kept"
            )),
            Err(error) => self.tally.warn(format!(
                "the state of {sync} could not be saved; the next run goes by the target's mark: {error}"
            )),
        }
    }
}

/// Forgets which batch copied a table without a key. Returns the version of the state that no longer has it.
pub(crate) async fn forget_unfinished(store: &dyn StateStore, sync: &SyncId) -> Result<Option<u64>> {
    let Loaded::Found(found) = store.load(sync).await? else {
        return Ok(None);
    };
    let state = TableState {
        unfinished: None,
        ..found.state
    };
    Ok(match store.save(sync, Some(found.version), &state).await? {
        SaveOutcome::Saved(version) => Some(version),
        SaveOutcome::Stale { newest } => newest,
    })
}
