//! Exit codes that a scheduler can use.

use std::process::ExitCode;

use model::{ErrorKind, RunStatus};

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Success = 0,
    /// Something failed; the output says what.
    Failure = 1,
    /// The command line or the configuration is wrong; nothing was tried.
    Usage = 2,
    /// `verify` found differences.
    Different = 3,
    /// Another run of the same sync is under way.
    Busy = 4,
    /// The source lost history; a table needs a full copy.
    Gap = 5,
    /// It failed for a passing reason, after all retries: run again later.
    Temporary = 75,
    /// Cancelled by a signal; run again to resume.
    Cancelled = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Config => Self::Usage,
            ErrorKind::Gap => Self::Gap,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Fenced => Self::Busy,
            ErrorKind::Transient | ErrorKind::Unavailable | ErrorKind::Exhausted => Self::Temporary,
            _ => Self::Failure,
        }
    }
}

impl From<RunStatus> for Exit {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Succeeded | RunStatus::Skipped => Self::Success,
            RunStatus::Failed => Self::Failure,
            RunStatus::Cancelled => Self::Cancelled,
            RunStatus::Gap => Self::Gap,
        }
    }
}
