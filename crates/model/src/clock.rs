//! Time and identity as parameters, so that a whole sync can run under a simulated clock and a seed.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge that everybody else takes the time from"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The machine's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge that everybody else takes ids from"
    )]
    fn batch_id(&self) -> BatchId {
        BatchId::new(uuid::Uuid::now_v7().to_string())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge that everybody else takes ids from"
    )]
    fn random(&self) -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }
}
