//! When a failed step is repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use model::{Error, Ids, Result, Retry, SyncId};
use tokio_util::sync::CancellationToken;

use crate::progress::{Progress, ProgressEvent};

/// How often and after which pauses a step is repeated whose error says that repeating it is safe.
///
/// The pause before the n-th repetition is drawn evenly from zero to the lesser of `longest` and `first` · 2ⁿ ("full jitter"),
/// so that processes that failed together do not return together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times in a row steps of a table may fail before an error is final; a commit starts the count anew.
    pub attempts: u32,
    /// The longest pause before the first repetition.
    pub first: Duration,
    /// The longest pause of all.
    pub longest: Duration,
    /// The pause after a resource was full, when somebody has to make room.
    pub exhausted: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 8,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            exhausted: Duration::from_secs(60),
        }
    }
}

/// Failures in a row. The steps of a table run share one count, so that a step that gave up is not begun again by the step that
/// it is part of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures(Arc<AtomicU32>);

impl Failures {
    /// Forgets the failures so far, because the work went on.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// No step is repeated any more.
    pub(crate) fn give_up(&self) {
        self.0.store(u32::MAX, Ordering::Relaxed);
    }

    fn add(&self) -> u32 {
        let add = |count: u32| Some(count.saturating_add(1));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        before.unwrap_or_else(|count| count).saturating_add(1)
    }
}

/// Decides after each failure whether and when a step is repeated.
pub(crate) struct Backoff<'a> {
    policy: &'a RetryPolicy,
    ids: &'a dyn Ids,
    cancel: &'a CancellationToken,
    failures: Failures,
    told: Option<(&'a dyn Progress, &'a SyncId)>,
}

impl<'a> Backoff<'a> {
    pub(crate) fn new(
        policy: &'a RetryPolicy,
        ids: &'a dyn Ids,
        cancel: &'a CancellationToken,
        failures: Failures,
    ) -> Self {
        Self {
            policy,
            ids,
            cancel,
            failures,
            told: None,
        }
    }

    /// Tells of each repetition.
    pub(crate) fn telling(mut self, progress: &'a dyn Progress, sync: &'a SyncId) -> Self {
        self.told = Some((progress, sync));
        self
    }

    /// Waits until the step may be repeated.
    ///
    /// # Errors
    ///
    /// The error itself if it is final, and `Cancelled`.
    pub(crate) async fn pause(&self, error: Error) -> Result<()> {
        let Some(pause) = self.next(&error) else {
            return Err(error);
        };
        if let Some((progress, sync)) = self.told {
            progress.hear(sync, &ProgressEvent::Repeating);
        }
        tracing::warn!(error = %error, pause_ms = pause.as_millis() as u64, "a step failed and will be repeated");
        let slept = self.cancel.run_until_cancelled(tokio::time::sleep(pause)).await;
        slept.ok_or_else(Error::cancelled)
    }

    fn next(&self, error: &Error) -> Option<Duration> {
        let failures = self.failures.add();
        if failures >= self.policy.attempts {
            return None;
        }
        match error.kind().retry() {
            Retry::No => None,
            Retry::Soon => {
                let doubled = self.policy.first.saturating_mul(1 << (failures - 1).min(20));
                Some(self.jitter(doubled.min(self.policy.longest)))
            }
            Retry::Later => Some(self.policy.exhausted),
        }
    }

    fn jitter(&self, longest: Duration) -> Duration {
        let share = (self.ids.random() % 1_000_001) as f64 / 1_000_000.0;
        longest.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use model::ErrorKind;
    use test_support::SeededIds;

    use super::*;

    fn pauses(kind: ErrorKind, seed: u64) -> Vec<Duration> {
        let (policy, ids, cancel) = (
            RetryPolicy::default(),
            SeededIds::new(seed),
            CancellationToken::new(),
        );
        let backoff = Backoff::new(&policy, &ids, &cancel, Failures::default());
        std::iter::from_fn(|| backoff.next(&Error::new(kind, "it failed"))).collect()
    }

    #[test]
    fn pauses_grow_up_to_the_number_of_attempts() {
        for seed in 0..50 {
            let pauses = pauses(ErrorKind::Transient, seed);
            assert_eq!(pauses.len(), 7, "seed {seed}");
            for (i, pause) in pauses.iter().enumerate() {
                assert!(
                    *pause <= Duration::from_millis(100 << i),
                    "seed {seed}: {pauses:?}"
                );
            }
        }
        let first: Vec<_> = (0..50)
            .map(|seed| pauses(ErrorKind::Transient, seed)[0])
            .collect();
        let spread = first.iter().max().unwrap().abs_diff(*first.iter().min().unwrap());
        assert!(
            spread > Duration::from_millis(50),
            "the jitter is not full: {first:?}"
        );
    }

    #[test]
    fn only_kinds_that_can_pass_are_repeated() {
        assert!(pauses(ErrorKind::Data, 1).is_empty());
        assert!(pauses(ErrorKind::Fenced, 1).is_empty());
        assert_eq!(pauses(ErrorKind::Exhausted, 1)[0], Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_when_the_run_is_cancelled() {
        let (policy, ids, cancel) = (
            RetryPolicy::default(),
            SeededIds::new(1),
            CancellationToken::new(),
        );
        let backoff = Backoff::new(&policy, &ids, &cancel, Failures::default());
        cancel.cancel();
        let ended = backoff.pause(Error::new(ErrorKind::Exhausted, "full")).await;
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
