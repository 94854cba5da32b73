//! Errors by what the caller does about them.
//!
//! A kind is a decision: retry, reconnect, stop, or ask a person. Context travels as pairs and the
//! source is kept; the chain is printed once, at the edge.

use std::borrow::Cow;
use std::fmt;

/// The result of everything that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as far as it matters to the one who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is wrong; nothing was tried.
    Config,
    /// A table, column, file or object that was named does not exist.
    NotFound,
    /// A login failed or a right is missing.
    Denied,
    /// The other side cannot do what was asked, or a type or feature is not mapped.
    Unsupported,
    /// A server refused a statement, for a reason that it gives and that is none of the others.
    Refused,
    /// Two schemas do not fit each other.
    SchemaMismatch,
    /// A value cannot be represented where it should go.
    Data,
    /// A constraint of the target refused a row.
    Constraint,
    /// The server undid the work and says so (deadlock, snapshot conflict): repeat it.
    Transient,
    /// The link or the server is away: reconnect, then repeat.
    Unavailable,
    /// Log, disk, memory or another resource is full: repeat after a long pause, and tell somebody.
    Exhausted,
    /// Another owner with a higher epoch has taken over; this one must stop.
    Fenced,
    /// The source no longer has the history that was asked for.
    Gap,
    /// A stored file or message is damaged.
    Corrupt,
    /// The caller cancelled.
    Cancelled,
    /// A defect of this program.
    Internal,
}

/// Whether and how a failed step is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Repeating cannot help.
    No,
    /// Repeat after a short, growing pause.
    Soon,
    /// Repeat after a long pause: a person has to make room, or the server asked for it.
    Later,
}

impl ErrorKind {
    /// The one table from kind to retry.
    pub fn retry(self) -> Retry {
        match self {
            Self::Transient | Self::Unavailable => Retry::Soon,
            Self::Exhausted => Retry::Later,
            _ => Retry::No,
        }
    }

    /// What an operator does about it, in one line; errors with a better hint carry their own.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Config => "correct the configuration; `sync-cli config schema` has every key",
            Self::NotFound => "check the name",
            Self::Denied => "grant what is missing; `sync-cli check` prints the T-SQL",
            Self::Unsupported => "exclude the column or table, or use a server that supports it",
            Self::Refused => {
                "look up the error's number in the server's documentation and mend its cause, then run again"
            }
            Self::SchemaMismatch => "compare both shapes with `sync-cli plan` and change one of them",
            Self::Data => "correct the value at its source, or allow the loss by name in the configuration",
            Self::Constraint => "correct the row or the target's constraint, then run again",
            Self::Transient | Self::Unavailable => "nothing is lost; run again when the server is reachable",
            Self::Exhausted => "make room (log, disk, memory), then run again; it resumes where it stopped",
            Self::Fenced => "another process owns this sync now; stop one of them",
            Self::Gap => {
                "run `sync-cli verify --repair` to mend what differs and go on, or `sync-cli run --full` to copy the table again"
            }
            Self::Corrupt => "restore the file, or remove it if the message says that it can be rebuilt",
            Self::Cancelled => "run again to resume",
            Self::Internal => "please report this with the log",
        }
    }

    /// The kind's name in reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::SchemaMismatch => "schema_mismatch",
            Self::Data => "data",
            Self::Constraint => "constraint",
            Self::Transient => "transient",
            Self::Unavailable => "unavailable",
            Self::Exhausted => "exhausted",
            Self::Fenced => "fenced",
            Self::Gap => "gap",
            Self::Corrupt => "corrupt",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// An error: its kind, what was tried and why it failed, pairs of context, a hint and its source.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync + 'static>>,
}

impl Error {
    /// An error of `kind` whose message says what was tried and why it failed.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            source: None,
        }
    }

    /// Adds a pair of context, for example the table.
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.context.push((key, value.to_string()));
        self
    }

    /// Says what to do, where that is more exact than [`ErrorKind::advice`].
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the error that caused this one.
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller does about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was tried and why it failed, without context and source.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The pairs of context, in the order in which they were added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.context
    }

    /// What to do: the error's own hint, or the kind's advice.
    pub fn advice(&self) -> &str {
        self.hint.as_deref().unwrap_or_else(|| self.kind.advice())
    }

    /// A defect of this program.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The caller cancelled.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for (i, (key, value)) in self.context.iter().enumerate() {
            write!(f, "{}{key}: {value}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_context_and_source_are_kept_apart() {
        let error = Error::new(ErrorKind::NotFound, "cannot read the table")
            .with("table", "dbo.T")
            .with("server", "s1")
            .caused_by(std::io::Error::other("208"));
        assert_eq!(
            error.to_string(),
            "cannot read the table (table: dbo.T, server: s1)"
        );
        assert_eq!(
            std::error::Error::source(&error).map(ToString::to_string),
            Some("208".into())
        );
        assert_eq!(error.advice(), ErrorKind::NotFound.advice());
        assert_eq!(error.hint("look elsewhere").advice(), "look elsewhere");
    }

    #[test]
    fn only_kinds_that_repeat_safely_are_retried() {
        assert_eq!(ErrorKind::Transient.retry(), Retry::Soon);
        assert_eq!(ErrorKind::Unavailable.retry(), Retry::Soon);
        assert_eq!(ErrorKind::Exhausted.retry(), Retry::Later);
        assert_eq!(ErrorKind::Fenced.retry(), Retry::No);
        assert_eq!(ErrorKind::Data.retry(), Retry::No);
    }
}
