//! What a connection's socket tasks and its session's thread share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// One connection, seen from both sides.
#[derive(Debug)]
pub(crate) struct Link {
    /// The session's flag: set by ATTENTION and by the loss of the connection, cleared when ATTENTION is acknowledged.
    cancel: Arc<AtomicBool>,
    closed: AtomicBool,
    close: Notify,
}

impl Link {
    pub(crate) fn new(cancel: Arc<AtomicBool>) -> Self {
        Self {
            cancel,
            closed: AtomicBool::new(false),
            close: Notify::new(),
        }
    }

    /// Asks the session to stop what it does.
    pub(crate) fn cancel(&self) {
        self.cancel.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
    }

    /// ATTENTION has been answered; requests run again.
    pub(crate) fn resume(&self) {
        if !self.is_closed() {
            self.cancel.store(false, Ordering::SeqCst);
        }
    }

    /// Drops the connection without a further word to the client. The session is not cancelled: a fault wants its commit done.
    pub(crate) fn hang_up(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.close.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Returns once the connection is to be dropped.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn hung_up(&self) {
        self.close.notified().await;
    }
}
