//! When a route is looked at again.

use std::time::Duration;

use model::{ErrorKind, Retry};
use tokio::time::Instant;

use super::{Follow, succeeded};
use crate::report::TableOutcome;

/// A cycle is begun after so long in any case: what a hint does not show is found then, and the position keeps up with what the source
/// forgets.
pub(super) const IN_ANY_CASE: Duration = Duration::from_secs(300);

/// The longest pause after a failure that passes, and after one that somebody has to end.
const FAILED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// What a look at a route found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Something was committed.
    Something,
    /// There was nothing to commit.
    Nothing,
    /// The table was read whole.
    Whole,
    /// It failed; whether that passes by itself.
    Failed { passes: bool },
    /// Another process has taken the table over.
    TakenOver,
}

impl Seen {
    pub(super) fn of(outcomes: &[TableOutcome]) -> Self {
        let failures = || {
            let runs = outcomes.iter().filter(|outcome| !outcome.reconciles);
            runs.filter_map(|outcome| outcome.failure)
        };
        if outcomes
            .iter()
            .any(|outcome| outcome.failure == Some(ErrorKind::Fenced))
        {
            Self::TakenOver
        } else if !succeeded(outcomes) {
            Self::Failed {
                passes: failures().all(|kind| kind.retry() != Retry::No),
            }
        } else if outcomes.iter().any(|outcome| outcome.replaced) {
            Self::Whole
        } else if outcomes.iter().any(|outcome| outcome.committed) {
            Self::Something
        } else {
            Self::Nothing
        }
    }
}

/// When one route is looked at: as soon as allowed while there is something, after a pause that is doubled each time while there is
/// nothing or while it fails. Pauses end at their multiples since the start, so that tables with the same pause, and with those that it
/// is a multiple of, are looked at together.
#[derive(Debug)]
pub(super) struct Pace {
    follow: Follow,
    start: Instant,
    pause: Duration,
}

impl Pace {
    pub(super) fn new(follow: &Follow, start: Instant) -> Self {
        Self {
            pause: follow.interval,
            start,
            follow: follow.clone(),
        }
    }

    /// When to look again after a look that began at `began` and has just ended.
    pub(super) fn next(&mut self, seen: Seen, began: Instant) -> Instant {
        let Follow {
            interval,
            max_interval,
            ..
        } = self.follow;
        let doubled = self.pause.max(interval).saturating_mul(2);
        self.pause = match seen {
            Seen::Something => interval,
            Seen::Nothing => doubled.min(max_interval).min(IN_ANY_CASE.max(interval)),
            Seen::Whole => max_interval,
            Seen::Failed { passes: true } => doubled.min(FAILED.0.max(interval)),
            Seen::Failed { passes: false } | Seen::TakenOver => doubled.min(FAILED.1.max(interval)),
        };
        match seen {
            Seen::Something | Seen::Nothing => self.together(began).max(Instant::now()),
            _ => Instant::now() + self.pause,
        }
    }

    /// The last multiple of the pause that a pause from `began` reaches.
    fn together(&self, began: Instant) -> Instant {
        let end = began + self.pause;
        let beyond = (end - self.start).as_nanos().checked_rem(self.pause.as_nanos());
        let beyond = beyond.and_then(|beyond| u64::try_from(beyond).ok());
        end - Duration::from_nanos(beyond.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The pauses of a route that is looked at when it is due, in seconds.
    async fn pauses(pace: &mut Pace, seen: &[Seen]) -> Vec<u64> {
        let mut pauses = Vec::new();
        for seen in seen {
            let now = Instant::now();
            let pause = pace.next(*seen, now) - now;
            pauses.push(pause.as_secs());
            advance(pause).await;
        }
        pauses
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_follow_what_was_seen() {
        let (nothing, passing) = (Seen::Nothing, Seen::Failed { passes: true });
        let lasting = Seen::Failed { passes: false };
        for (seen, expected) in [
            (vec![Seen::Something; 3], vec![1, 1, 1]),
            // At 2, 4, 8, 16, 30 and 60 s.
            (vec![nothing; 7], vec![2, 2, 4, 8, 14, 30, 30]),
            (vec![nothing, nothing, Seen::Something, nothing], vec![2, 2, 1, 1]),
            (vec![passing; 6], vec![2, 4, 8, 16, 30, 30]),
            (vec![lasting; 10], vec![2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
            (vec![lasting, lasting, Seen::Something], vec![2, 4, 1]),
            (vec![Seen::Whole; 2], vec![30, 30]),
        ] {
            let mut pace = Pace::new(&Follow::default(), Instant::now());
            assert_eq!(pauses(&mut pace, &seen).await, expected, "{seen:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tables_that_fell_quiet_at_different_times_are_looked_at_together() {
        let start = Instant::now();
        let mut moments = Vec::new();
        for fell_quiet in 0..60 {
            let mut pace = Pace::new(&Follow::default(), start);
            let mut at = Instant::now() + Duration::from_millis(fell_quiet * 333);
            for _ in 0..6 {
                let next = pace.next(Seen::Nothing, at);
                assert!(next > at && next - at <= 30 * SECOND, "{fell_quiet}");
                // An answer takes a moment.
                at = next + Duration::from_millis(3);
            }
            moments.push((at - start).as_secs());
        }
        assert!(moments.iter().all(|moment| moment % 30 == 0), "{moments:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_pause_is_longer_than_the_time_after_which_a_cycle_is_begun_in_any_case() {
        for (interval, max_interval, longest) in [(1, 60, 5), (10, 60, 10), (1, 2, 2)] {
            let follow = Follow {
                interval: 60 * interval * SECOND,
                max_interval: 60 * max_interval * SECOND,
                ..Follow::default()
            };
            let mut pace = Pace::new(&follow, Instant::now());
            let told = pauses(&mut pace, &[Seen::Nothing; 20]).await;
            assert_eq!(
                told.iter().max(),
                Some(&(60 * longest)),
                "{interval} {max_interval}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_took_long_is_followed_at_once_unless_it_failed() {
        let began = Instant::now();
        let mut pace = Pace::new(&Follow::default(), began);
        advance(100 * SECOND).await;
        let now = Instant::now();
        assert_eq!(pace.next(Seen::Something, began), now);
        assert_eq!(pace.next(Seen::Whole, began), now + 30 * SECOND);
        assert!(pace.next(Seen::Failed { passes: true }, began) > now);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_interval_there_is_no_pause() {
        let start = Instant::now();
        let follow = Follow {
            interval: Duration::ZERO,
            max_interval: Duration::ZERO,
            ..Follow::default()
        };
        let mut pace = Pace::new(&follow, start);
        assert_eq!(pauses(&mut pace, &[Seen::Nothing, Seen::Something]).await, [0, 0]);
    }
}
