//! Progress on a terminal: a bar per table with rows, rate and the time that is left. Without a terminal nothing is shown.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::SyncId;
use orchestrator::{Progress, ProgressEvent};

/// A bar per table sync.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<SyncId, ProgressBar>>,
}

impl Bars {
    /// No bar yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn bar(&self, sync: &SyncId) -> ProgressBar {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        bars.entry(sync.clone())
            .or_insert_with(|| {
                self.all
                    .add(ProgressBar::no_length().with_message(sync.to_string()))
            })
            .clone()
    }
}

/// Indicatif's templates are fixed texts here, so the fallback is never seen.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn hear(&self, sync: &SyncId, event: &ProgressEvent) {
        let bar = self.bar(sync);
        match event {
            ProgressEvent::Started { rows: Some(rows) } => {
                bar.set_length(*rows);
                bar.set_style(style(
                    "{msg} {wide_bar} {human_pos}/{human_len} rows, {per_sec}, {eta} left",
                ));
            }
            ProgressEvent::Started { rows: None } => {
                bar.set_style(style("{msg} {spinner} {human_pos} rows, {per_sec}"))
            }
            ProgressEvent::Read { rows, .. } => bar.inc(*rows),
            ProgressEvent::Ended { .. } => bar.finish_and_clear(),
            _ => bar.tick(),
        }
    }
}
