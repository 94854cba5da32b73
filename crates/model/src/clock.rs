//! Time and identity as parameters, so that a whole sync can run under a simulated clock and a seed.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::BatchId;

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// The wall clock of this process. It dates reports and snapshots; no watermark ever comes from it.
pub trait Clock: Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Makes ids that nobody else has.
pub trait Ids: Debug + Send + Sync {
    /// A new batch id; later ones sort after earlier ones of the same process.
    fn batch_id(&self) -> BatchId;

    /// Sixteen random bytes, for file names and snapshot ids.
    fn random(&self) -> u128;
}
