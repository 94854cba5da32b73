//! Twins of the engine: the same parts with one [`Rule`] switched off, by an option where production has one, else by a wrapper around a
//! seam that does what an engine without the rule would do.

mod sink;
mod source;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use model::{ChangeSink, ChangeSource, Position};
use sqlserver_client::ConnectOptions;
use sqlserver_source::{CaptureOptions, Undated};

use sink::TwinSink;
use source::TwinSource;
pub(crate) use source::{greatest, tampered};

/// A rule that keeps rows from being lost or doubled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An increment ends before the oldest open transaction of others began.
    EndBeforeOpenTransactions,
    /// A transaction counts from its beginning, and not from its first log record: it may hold a time already.
    CountTransactionsThatLoggedNothing,
    /// An increment begins with the watermark's own value, not after it.
    BeginAtTheWatermark,
    /// An increment begins the tolerance before the watermark.
    BeginBeforeTheWatermark,
    /// What local time shows twice is read again until it is over.
    ReadTheRepeatedHour,
    /// Rows without a time are read by every increment.
    ReadUndatedRows,
    /// Rows with a time that will not come are read by every increment.
    ReadFutureRows,
    /// Times that will not come do not move the watermark.
    KeepTheWatermarkFromTheFuture,
    /// What changed after a copy began is read again behind it.
    ReplayTheCopy,
    /// A row is unchanged if every byte is the same.
    CompareBytes(Leg),
    /// How far a target has got is asked of the target.
    AskTheTarget(Leg),
    /// A commit whose answer was lost is looked for, and sent again only as it is.
    FindOutTheUnknown(Leg),
}

/// A half of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leg {
    /// Source → Iceberg.
    Capture,
    /// Iceberg → target.
    Apply,
}

/// The engine, or its twin without a rule. Its parts are those of one process; what it keeps here outlives them.
pub(crate) struct Engine {
    pub(crate) without: Option<Rule>,
    memory: Arc<Memory>,
}

/// What a twin knows from one process to the next.
#[derive(Default)]
struct Memory {
    /// Where copies began.
    starts: Mutex<Vec<Position>>,
    /// The names that went into each sink, by id.
    names: Mutex<BTreeMap<(String, i32), String>>,
}

impl Memory {
    fn starts(&self) -> MutexGuard<'_, Vec<Position>> {
        self.starts.lock().unwrap()
    }
}

/// A zone that stays at this one's summer time.
fn in_summer(zone: &str) -> &'static str {
    match zone {
        "America/New_York" => "Etc/GMT+4",
        "Lord Howe Standard Time" => "Etc/GMT-11",
        other => panic!("{other}"),
    }
}

impl Engine {
    pub(crate) fn new(without: Option<Rule>) -> Self {
        Self {
            without,
            memory: Arc::default(),
        }
    }

    /// How a table is captured, if `options` say how the engine does it.
    pub(crate) fn capture(&self, options: &CaptureOptions) -> CaptureOptions {
        let mut options = options.clone();
        let window = &mut options.window;
        match self.without {
            Some(Rule::BeginBeforeTheWatermark) => window.tolerance_seconds = 0,
            Some(Rule::ReadTheRepeatedHour) => {
                let tracking = options.tracking.as_mut();
                let zone = &mut tracking.expect("a zone is declared").zone;
                *zone = zone.as_deref().map(|zone| in_summer(zone).to_owned());
            }
            Some(Rule::ReadUndatedRows) => window.nulls = Undated::Hold,
            Some(Rule::ReadFutureRows) => window.future = Undated::Hold,
            _ => {}
        }
        options
    }

    /// The source as this engine uses it. `server` is where it is.
    pub(crate) fn source(
        &self,
        source: Arc<dyn ChangeSource>,
        server: ConnectOptions,
    ) -> Arc<dyn ChangeSource> {
        match self.without {
            Some(rule) => Arc::new(TwinSource::new(source, rule, server, self.memory.clone())),
            None => source,
        }
    }

    /// A sink as this engine uses it.
    pub(crate) fn sink(
        &self,
        leg: Leg,
        sink: Arc<dyn ChangeSink>,
        server: ConnectOptions,
    ) -> Arc<dyn ChangeSink> {
        match self.without {
            Some(rule @ (Rule::CompareBytes(of) | Rule::AskTheTarget(of) | Rule::FindOutTheUnknown(of)))
                if of == leg =>
            {
                Arc::new(TwinSink::new(sink, rule, server, self.memory.clone()))
            }
            _ => sink,
        }
    }
}
