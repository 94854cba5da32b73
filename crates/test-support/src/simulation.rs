//! Time, ids and kills under the control of a test.

use std::ops::Range;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::Poll;

use model::{BatchId, Clock, Ids, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A clock that moves only when it is told to.
#[derive(Debug)]
pub struct SimClock(AtomicI64);

impl Default for SimClock {
    /// A clock at 2026-01-01 00:00 UTC.
    fn default() -> Self {
        Self(AtomicI64::new(1_767_225_600_000))
    }
}

impl SimClock {
    /// Moves the clock by so many milliseconds, backwards if negative.
    pub fn advance(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Ids that a seed decides. Two of them with the same seed make the same ids, so give each process its own.
#[derive(Debug)]
pub struct SeededIds {
    seed: u64,
    batches: AtomicU64,
    random: Mutex<StdRng>,
}

impl SeededIds {
    /// The ids of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            batches: AtomicU64::new(0),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }
}

impl Ids for SeededIds {
    fn batch_id(&self) -> BatchId {
        let number = self.batches.fetch_add(1, Ordering::SeqCst);
        BatchId::new(format!("batch-{}-{number:06}", self.seed))
    }

    fn random(&self) -> u128 {
        self.random
            .lock()
            .expect("no test panics while it draws")
            .random()
    }
}

/// Polls `future` at most `polls` times and then drops it, as a killed process would. `None` if it was killed.
///
/// With `polls` counted up from zero a test dies at every point where the future waits.
pub async fn kill_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut left = polls;
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Runs `simulate` once per seed on a runtime of its own with paused time. A seed that fails is printed.
pub fn for_each_seed<F: Future<Output = ()>>(seeds: Range<u64>, simulate: impl Fn(u64) -> F) {
    for seed in seeds {
        let _printed_on_panic = PrintSeed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be built");
        runtime.block_on(simulate(seed));
    }
}

/// Prints its seed if the test fails while it lives.
pub(crate) struct PrintSeed(pub(crate) u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}", self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_killed_future_ran_only_so_far() {
        for polls in 0..5 {
            let steps = AtomicU64::new(0);
            let work = async {
                for _ in 0..3 {
                    steps.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            };
            let killed = kill_after(polls, work).await.is_none();
            assert_eq!((killed, steps.into_inner()), (polls < 4, polls.min(3) as u64));
        }
    }

    #[test]
    fn a_seed_repeats_its_ids() {
        let (a, b) = (SeededIds::new(7), SeededIds::new(7));
        assert_eq!((a.batch_id(), a.random()), (b.batch_id(), b.random()));
        assert!(a.batch_id() < a.batch_id());
        assert_ne!(SeededIds::new(8).random(), SeededIds::new(9).random());
    }
}
