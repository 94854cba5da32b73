//! What a run tells while it goes on, for a progress bar or a log.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use model::{Batches, ErrorReport, Holder, Look, Receipt, SyncId, TableReport};

/// Hears of a run's progress. Called from several tasks at once, so it must not block.
pub trait Progress: Send + Sync {
    /// Something happened in one table sync.
    fn hear(&self, sync: &SyncId, event: &ProgressEvent);
}

/// Something that happened in a table sync.
#[derive(Debug, Clone, PartialEq)]
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
    /// A cut was taken.
    Cut {
        /// Whom it waits for.
        holding: Option<Holder>,
        /// Whether that it is complete is assumed.
        assumed: bool,
        /// How long the source keeps changes, where it says so.
        keeps: Option<Duration>,
    },
    /// Changes that are committed at once did not fit into memory and went into files.
    Spilled {
        /// What they took in memory.
        bytes: u64,
    },
    /// A step failed and will be repeated.
    Repeating,
    /// The target committed.
    Committed(Receipt),
    /// It ended.
    Ended {
        /// What it did.
        report: Box<TableReport>,
        /// What it failed of.
        error: Option<ErrorReport>,
        /// Whether this was a comparison with the source, after an ordinary run.
        reconciles: bool,
    },
    /// In a run that goes on: between two cycles its source was looked at.
    Looked(Look),
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn hear(&self, _sync: &SyncId, _event: &ProgressEvent) {}
}

impl Progress for Vec<Arc<dyn Progress>> {
    fn hear(&self, sync: &SyncId, event: &ProgressEvent) {
        for progress in self {
            progress.hear(sync, event);
        }
    }
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
