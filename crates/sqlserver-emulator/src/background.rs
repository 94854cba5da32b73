//! What the server does by itself, on its own clock.
//!
//! Nothing runs on a thread: whatever has fallen due is done when the next statement begins. To clients that is the same,
//! and a test that stops the clock decides when it happens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Instant;
use crate::engine::Engine;
use crate::sync::lock;

/// How often Change Tracking forgets what is older than its retention.
const TRACKING_CLEANUP_MINUTES: i64 = 30;

/// The hour at which the clean-up job of CDC runs.
const CAPTURE_CLEANUP_HOUR: i64 = 2;

/// When the server did its work last.
#[derive(Debug)]
pub(crate) struct Background {
    tracking_cleaned: Mutex<Instant>,
    /// Days since 0001-01-01, each beginning at the hour of the clean-up.
    capture_cleaned: Mutex<i32>,
    capture_delay: Mutex<Duration>,
    agent_runs: AtomicBool,
}

impl Background {
    pub(crate) fn new(now: Instant, capture_delay: Duration) -> Self {
        Self {
            capture_cleaned: Mutex::new(cleanup_day(now)),
            capture_delay: Mutex::new(capture_delay),
            agent_runs: AtomicBool::new(true),
            tracking_cleaned: Mutex::new(now),
        }
    }
}

impl Engine {
    /// Does what has fallen due.
    pub(crate) fn catch_up(&self) {
        let now = self.clock().now();
        if is_due(&self.background().tracking_cleaned, now, TRACKING_CLEANUP_MINUTES) {
            self.store().lock().clean_up_all_tracking(now);
        }
        let mut store = self.store().lock();
        if store.capture.is_empty() || !self.agent_runs() {
            return;
        }
        let time = self.commit_time();
        let delay = i64::try_from(self.capture_delay().as_nanos() / 100).unwrap_or(i64::MAX);
        store.capture_due(time.elapsed.saturating_sub(delay), time);
        let day = cleanup_day(now);
        if std::mem::replace(&mut *lock(&self.background().capture_cleaned), day) < day {
            store.clean_up_captured(time);
        }
    }

    /// Stops the capture job of a database, as `sp_cdc_stop_job` does. False if it has no CDC.
    pub fn stop_capture(&self, database: &str) -> bool {
        let mut store = self.store().lock();
        let id = store.database_named(database).map(|found| found.id);
        let log = id.and_then(|id| store.capture.get_mut(&id));
        let known = log.is_some();
        if let Some(log) = log {
            log.jobs.switch(false, self.clock().now());
        }
        known
    }

    /// Whether SQL Server Agent runs.
    pub fn agent_runs(&self) -> bool {
        self.background().agent_runs.load(Ordering::Relaxed)
    }

    /// Starts or stops SQL Server Agent, without which no job runs; the capture jobs start with it.
    pub fn set_agent(&self, running: bool) {
        self.background().agent_runs.store(running, Ordering::Relaxed);
        let now = self.clock().now();
        for log in self.store().lock().capture.values_mut() {
            log.jobs.switch(running, now);
        }
    }

    /// As if the log had been cut before CDC had read it, and the clean-up had run: in this database nothing that was
    /// committed so far can be had, and every capture instance begins here. False if it has no CDC.
    pub fn truncate_captured(&self, database: &str) -> bool {
        let time = self.commit_time();
        let mut store = self.store().lock();
        let found = store
            .database_named(database)
            .filter(|found| found.capturing.is_some());
        let id = found.map(|found| found.id);
        if let Some(id) = id {
            store.truncate_captured(id, time);
        }
        id.is_some()
    }

    /// How long after its commit a change is captured, at the soonest.
    pub fn capture_delay(&self) -> Duration {
        *lock(&self.background().capture_delay)
    }

    /// Changes that delay; SQL Server's job looks every five seconds.
    pub fn set_capture_delay(&self, delay: Duration) {
        *lock(&self.background().capture_delay) = delay;
    }
}

fn cleanup_day(now: Instant) -> i32 {
    now.plus_minutes(-60 * CAPTURE_CLEANUP_HOUR).days
}

/// Whether `minutes` have passed since `last`, which then becomes `now`; so it does when the clock was stepped back.
fn is_due(last: &Mutex<Instant>, now: Instant, minutes: i64) -> bool {
    let mut last = lock(last);
    let due = now >= last.plus_minutes(minutes);
    if due || now < *last {
        *last = now;
    }
    due
}
