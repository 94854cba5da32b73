//! The only place where time, randomness and what the system says of this process come from outside.

use model::{BatchId, Clock, Ids, Timestamp};

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge that everybody else takes the time from"
    )]
    fn now(&self) -> Timestamp {
        Timestamp(chrono::Utc::now().timestamp_millis())
    }
}

/// The machine's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RandomIds;

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

/// The most memory that this process has had so far, where the system tells.
pub(crate) fn peak_memory() -> Option<u64> {
    memory("VmHWM:")
}

/// The memory that this process has now, where the system tells.
pub(crate) fn resident_memory() -> Option<u64> {
    memory("VmRSS:")
}

fn memory(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
