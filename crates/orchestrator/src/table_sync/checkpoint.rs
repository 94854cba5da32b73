//! What the state store remembers of a table sync. It is a convenience: without it the target's mark decides.

use model::{Committed, Loaded, Position, SaveOutcome, TableState};

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
        let valid = self.state.reference.is_some() && self.state.reference == newest.reference;
        self.state.position.clone().filter(|_| valid)
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

    /// Saves how far the run came.
    pub(super) async fn save_checkpoint(&mut self, session: &Session) {
        let before = &session.checkpoint;
        let state = TableState {
            epoch: session.epoch,
            position: self.tally.position.clone(),
            reference: self.tally.reference.clone(),
            last_success: Some(self.runner.clock.now()),
            rows_applied: before.state.rows_applied + self.tally.statistics.records_written,
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
