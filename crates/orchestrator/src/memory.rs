//! One budget of memory for all tables. Whoever reads rows and stages them holds a share of it meanwhile: a chunk of a copy, a part of an
//! increment, a repair. Nobody who holds one waits for another.
//!
//! A comparison stages nothing and holds no share: increments would wait for it as long as it reads. What it holds comes on top, and is bounded
//! by itself.

use std::sync::Arc;

use model::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one stream of rows holds at most between source and target: the batches that are read ahead, and what the target has encoded and
/// not yet written. A single value that is larger comes on top.
const SHARE: usize = 72 << 20;

/// The memory that the streams of all tables share. A stream that finds none left waits until another one has ended.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Semaphore>);

impl Memory {
    /// A budget of about so many bytes. One stream runs in any case.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / SHARE).max(1))))
    }

    /// Waits for a share; it is given back when the permit is dropped.
    pub(crate) async fn share(&self) -> Result<OwnedSemaphorePermit> {
        let share = self.0.clone().acquire_owned().await;
        share.map_err(|error| Error::internal("the memory budget was closed").caused_by(error))
    }
}

impl Default for Memory {
    /// 256 MiB.
    fn default() -> Self {
        Self::new(256 << 20)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn as_many_streams_run_as_have_room_and_one_in_any_case() {
        for (bytes, streams) in [(0, 1), (SHARE, 1), (3 * SHARE, 3), (256 << 20, 3)] {
            let memory = Memory::new(bytes);
            let held: Vec<_> = (0..streams)
                .map(|_| memory.share().now_or_never().unwrap().unwrap())
                .collect();
            assert!(memory.share().now_or_never().is_none(), "{bytes}");
            drop(held);
            assert!(memory.share().now_or_never().is_some(), "{bytes}");
        }
    }
}
