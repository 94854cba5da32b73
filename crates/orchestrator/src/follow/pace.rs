//! When a route is looked at again.

use std::time::Duration;

use model::{ErrorKind, Retry};

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

/// The pauses of one route: as short as allowed while there is something, doubled each time while there is nothing or while it fails.
#[derive(Debug)]
pub(super) struct Pace {
    follow: Follow,
    pause: Duration,
}

impl Pace {
    pub(super) fn new(follow: &Follow) -> Self {
        Self {
            pause: follow.interval,
            follow: follow.clone(),
        }
    }

    /// How long to wait after a look that took `took`.
    pub(super) fn after(&mut self, seen: Seen, took: Duration) -> Duration {
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
            Seen::Something | Seen::Nothing => self.pause.saturating_sub(took),
            _ => self.pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_what_was_seen() {
        let seconds = Duration::from_secs;
        let (nothing, passing) = (Seen::Nothing, Seen::Failed { passes: true });
        let lasting = Seen::Failed { passes: false };
        for (seen, pauses) in [
            (vec![Seen::Something; 3], vec![1, 1, 1]),
            (vec![nothing; 7], vec![2, 4, 8, 16, 30, 30, 30]),
            (vec![nothing, nothing, Seen::Something, nothing], vec![2, 4, 1, 2]),
            (vec![passing; 6], vec![2, 4, 8, 16, 30, 30]),
            (vec![lasting; 10], vec![2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
            (vec![lasting, lasting, Seen::Something], vec![2, 4, 1]),
            (vec![Seen::Whole; 2], vec![30, 30]),
        ] {
            let mut pace = Pace::new(&Follow::default());
            let told: Vec<_> = seen
                .iter()
                .map(|seen| pace.after(*seen, Duration::ZERO))
                .collect();
            let pauses: Vec<_> = pauses.into_iter().map(seconds).collect();
            assert_eq!(told, pauses, "{seen:?}");
        }
    }

    #[test]
    fn no_pause_is_longer_than_the_time_after_which_a_cycle_is_begun_in_any_case() {
        let minutes = |number: u64| Duration::from_secs(60 * number);
        for (interval, max_interval, longest) in [(1, 60, 5), (10, 60, 10), (1, 2, 2)] {
            let mut pace = Pace::new(&Follow {
                interval: minutes(interval),
                max_interval: minutes(max_interval),
                ..Follow::default()
            });
            let told = (0..20).map(|_| pace.after(Seen::Nothing, Duration::ZERO)).max();
            assert_eq!(told, Some(minutes(longest)), "{interval} {max_interval}");
        }
    }

    #[test]
    fn a_look_that_took_long_is_followed_at_once_unless_it_failed() {
        let mut pace = Pace::new(&Follow::default());
        let long = Duration::from_secs(100);
        assert_eq!(pace.after(Seen::Something, long), Duration::ZERO);
        assert_eq!(pace.after(Seen::Whole, long), Duration::from_secs(30));
        assert!(!pace.after(Seen::Failed { passes: true }, long).is_zero());
    }
}
