//! What the server does by itself, on its own clock.
//!
//! Nothing runs on a thread: whatever has fallen due is done when the next statement begins. To clients that is the same,
//! and a test that stops the clock decides when it happens.

use std::sync::Mutex;

use crate::clock::Instant;
use crate::engine::Engine;
use crate::sync::lock;

/// How often Change Tracking forgets what is older than its retention.
const TRACKING_CLEANUP_MINUTES: i64 = 30;

/// When the server did its work last.
#[derive(Debug)]
pub(crate) struct Background {
    tracking_cleaned: Mutex<Instant>,
}

impl Background {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
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
    }
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
