//! A table that has nothing new is not opened: only its state is saved.

use model::{Committed, Mark, Position};

use super::checkpoint::Checkpoint;
use super::{TableRun, TableSync};

/// Where a table sync stands that increments would bring up to date.
pub(crate) struct Standing {
    newest: Committed,
    checkpoint: Checkpoint,
    /// Where increments would go on.
    pub(crate) position: Position,
}

impl<'a> TableRun<'a> {
    pub(crate) fn sync(&self) -> &'a TableSync {
        self.sync
    }

    /// `None` for a table sync that has something else to do than an increment. What the target cannot say now it is asked again when the
    /// table is opened.
    pub(crate) async fn standing(&mut self) -> Option<Standing> {
        let sync = self.sync;
        if sync.full || sync.repair.is_some() {
            return None;
        }
        let newest = sync.sink.committed(&sync.sync, &sync.target_table).await.ok()?;
        let Some(Mark::At(position)) = newest.mark.clone() else {
            return None;
        };
        let checkpoint = self.load_checkpoint().await;
        Some(Standing {
            position: checkpoint.beyond(&newest).unwrap_or(position),
            newest,
            checkpoint,
        })
    }

    /// Remembers that the target has everything up to `at`.
    pub(crate) async fn rest(&mut self, standing: Standing, at: Position) {
        let Standing {
            newest, checkpoint, ..
        } = standing;
        self.tally.mode.clone_from(&at.kind);
        self.tally.reached(&newest, at);
        let epoch = newest.epoch.max(checkpoint.state.epoch);
        self.save_checkpoint(&checkpoint, epoch).await;
    }
}
