//! The store as sessions share it: one mutex, one condition that every end of a transaction signals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Deadline};

use super::content::Store;
use super::{Refusal, TxId};
use crate::error::{SqlError, SqlResult};
use crate::sync::lock;

/// How often a waiter looks at its cancel flag.
const POLL: Duration = Duration::from_millis(10);

/// How long a session waits for locks, and what stops it.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    /// SET LOCK_TIMEOUT; none waits for ever.
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel: Arc<AtomicBool>,
}

/// The store behind its mutex.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Mutex<Store>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            store: Mutex::new(Store::default()),
            changed: Condvar::new(),
        }
    }

    /// The store, for a moment: nobody else runs meanwhile.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Runs `attempt` until it is not blocked, waiting between.
    /// Errors: 1222 after the timeout, 1205 as a deadlock's victim, 3617 on ATTENTION.
    pub(crate) fn when_free<T>(
        &self,
        tx: TxId,
        patience: &Patience,
        mut attempt: impl FnMut(&mut Store) -> Result<T, Refusal>,
    ) -> SqlResult<Result<T, Refusal>> {
        let deadline = patience.timeout.map(|timeout| Deadline::now() + timeout);
        let mut store = self.lock();
        loop {
            let blockers = match attempt(&mut store) {
                Err(Refusal::Blocked(blockers)) => blockers,
                result => {
                    store.stop_waiting(tx);
                    return Ok(result);
                }
            };
            store.wait_for(tx, blockers);
            // For the victim of a deadlock; the others go on waiting.
            self.changed.notify_all();
            store = self.wait(store, tx, deadline, patience)?;
        }
    }

    fn wait<'a>(
        &'a self,
        mut store: MutexGuard<'a, Store>,
        tx: TxId,
        deadline: Option<Deadline>,
        patience: &Patience,
    ) -> SqlResult<MutexGuard<'a, Store>> {
        loop {
            if store.is_victim(tx) {
                store.stop_waiting(tx);
                return Err(deadlock(store.session_of(tx)));
            }
            if patience.cancel.load(Ordering::Relaxed) {
                store.stop_waiting(tx);
                return Err(cancelled());
            }
            if deadline.is_some_and(|deadline| Deadline::now() >= deadline) {
                store.stop_waiting(tx);
                return Err(SqlError::new(
                    1222,
                    16,
                    51,
                    "Lock request time out period exceeded.",
                ));
            }
            if !store.is_waiting(tx) {
                return Ok(store);
            }
            let woken = self.changed.wait_timeout(store, POLL);
            store = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Wakes everyone who waits for a lock; who waits no more tries again.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }
}

/// The error of a request that ATTENTION stopped.
pub(crate) fn cancelled() -> SqlError {
    SqlError::new(3617, 11, 1, "The request was cancelled by the client.")
}

/// The error of a deadlock's victim.
pub(crate) fn deadlock(session: u16) -> SqlError {
    SqlError::new(
        1205,
        13,
        51,
        format!(
            "Transaction (Process ID {session}) was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction."
        ),
    )
}
