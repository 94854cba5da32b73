//! The server's clock: real time plus an offset that tests may change, or a frozen instant.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sync::lock;

/// Days from 0001-01-01 to 1970-01-01.
const UNIX_EPOCH_DAYS: i64 = 719_162;
const TICKS_PER_DAY: i64 = 864_000_000_000;

/// An instant in UTC: days since 0001-01-01 and 100 ns since midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    /// Days since 0001-01-01.
    pub days: i32,
    /// 100 ns since midnight.
    pub ticks: u64,
}

impl Instant {
    /// The instant that many minutes later, or earlier for a negative number.
    pub(crate) fn plus_minutes(self, minutes: i64) -> Self {
        let ticks = i64::from(self.days) * TICKS_PER_DAY + self.ticks as i64 + minutes * 600_000_000;
        Self {
            days: ticks.div_euclid(TICKS_PER_DAY) as i32,
            ticks: ticks.rem_euclid(TICKS_PER_DAY) as u64,
        }
    }

    fn from_unix_ticks(ticks: i64) -> Self {
        let days = ticks.div_euclid(TICKS_PER_DAY);
        Self {
            days: (days + UNIX_EPOCH_DAYS) as i32,
            ticks: ticks.rem_euclid(TICKS_PER_DAY) as u64,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct State {
    offset_ticks: i64,
    frozen_at: Option<i64>,
    /// How far the clock was stepped back, in all.
    gone_back: i64,
}

/// The time that GETDATE() and its kin read. Everything that the server says about time goes through it.
#[derive(Debug)]
pub struct Clock {
    state: Mutex<State>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                offset_ticks: 0,
                frozen_at: None,
                gone_back: 0,
            }),
        }
    }
}

impl Clock {
    /// The current time of the server.
    pub fn now(&self) -> Instant {
        Instant::from_unix_ticks(self.unix_ticks())
    }

    /// Sets the distance from real time; ends a freeze.
    pub fn set_offset_ms(&self, offset: i64) {
        self.turn(|state| {
            state.offset_ticks = offset * 10_000;
            state.frozen_at = None;
        });
    }

    /// Moves the clock forward, or backward for a negative number.
    pub fn step_ms(&self, by: i64) {
        self.turn(|state| match &mut state.frozen_at {
            Some(at) => *at += by * 10_000,
            None => state.offset_ticks += by * 10_000,
        });
    }

    /// 100 ns that have passed since some start: with the clock, but not back with it.
    pub(crate) fn elapsed(&self) -> i64 {
        let state = *lock(&self.state);
        state.unix_ticks() + state.gone_back
    }

    fn turn(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        let before = state.unix_ticks();
        change(&mut state);
        state.gone_back += (before - state.unix_ticks()).max(0);
    }

    /// Stops the clock at its current time.
    pub fn freeze(&self) {
        let now = self.unix_ticks();
        lock(&self.state).frozen_at = Some(now);
    }

    /// Lets a frozen clock run on from where it stands.
    pub fn unfreeze(&self) {
        let mut state = lock(&self.state);
        if let Some(at) = state.frozen_at.take() {
            state.offset_ticks = at - real_unix_ticks();
        }
    }

    fn unix_ticks(&self) -> i64 {
        lock(&self.state).unix_ticks()
    }
}

impl State {
    fn unix_ticks(&self) -> i64 {
        self.frozen_at
            .unwrap_or_else(|| real_unix_ticks() + self.offset_ticks)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the emulator reads real time"
)]
fn real_unix_ticks() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    (since.as_nanos() / 100) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_moves_only_by_steps() {
        let clock = Clock::default();
        clock.freeze();
        let before = clock.now();
        assert_eq!(clock.now(), before);
        clock.step_ms(1);
        assert_ne!(clock.now(), before);
        clock.step_ms(-1);
        assert_eq!(clock.now(), before);
    }
}
