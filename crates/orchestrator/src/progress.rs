//! What a run tells while it goes on, for a progress bar or a log.

use std::sync::Arc;

use futures::StreamExt;
use model::{Batches, Receipt, RunStatus, SyncId};

/// Hears of a run's progress. Called from several tasks at once, so it must not block.
pub trait Progress: Send + Sync {
    /// Something happened in one table sync.
    fn hear(&self, sync: &SyncId, event: &ProgressEvent);
}

/// Something that happened in a table sync.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressEvent {
    /// It began.
    Started {
        /// About how many rows the source has; `None` where only changes will be read, or it is not known.
        rows: Option<u64>,
    },
    /// Rows arrived from the source. A step that is repeated reads them again.
    Read {
        /// How many.
        rows: u64,
        /// What they take in memory.
        bytes: u64,
    },
    /// The target committed.
    Committed(Receipt),
    /// It ended.
    Ended(RunStatus),
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn hear(&self, _sync: &SyncId, _event: &ProgressEvent) {}
}

/// Tells of each batch as it passes.
pub(crate) fn told(batches: Batches, progress: &Arc<dyn Progress>, sync: &SyncId) -> Batches {
    let (progress, sync) = (progress.clone(), sync.clone());
    Box::pin(batches.inspect(move |batch| {
        if let Ok(batch) = batch {
            let read = ProgressEvent::Read {
                rows: batch.len() as u64,
                bytes: batch.rows.get_array_memory_size() as u64,
            };
            progress.hear(&sync, &read);
        }
    }))
}
