//! Positions, bounds, marks and the ids that go with a commit.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// Names one table sync in one direction: the unit of scheduling, state and failure. Unique within the
    /// target, because marks are stored under it. Ordered by its text, which decides the order in which several
    /// rows of `_sync.applied` are locked.
    SyncId
}
text_id! {
    /// Names one attempt to commit. A commit whose outcome is unknown is found again by it.
    BatchId
}
text_id! {
    /// A key bound, opaque to everybody but its source: only the source's server compares two of them. The
    /// derived order is that of the text and says nothing about keys.
    Bound
}

/// A counter that a new owner of a table sync raises; a commit with an older one is refused.
/// Ordered as a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of the next owner.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where in a source's history something lies.
///
/// Only the source that made a position reads `value`; nobody orders two positions. Equality is that of
/// the parts that matter, so the label and the lateness take no part in it.
#[derive(Debug, Clone, Eq, Serialize, Deserialize)]
pub struct Position {
    /// What kind of position it is: `timestamp`, `id`, `snapshot`, …
    pub kind: String,
    /// Which life of the source it belongs to. A restored or re-created source has another one, and a position
    /// of a former life is a gap, not a place to resume.
    pub incarnation: String,
    /// The position itself, readable by its source only.
    pub value: String,
    /// The position for people, in reports and logs.
    pub label: String,
    /// By how many microseconds rows have come late, or the source's clock has gone back, as far as that was found out on the way here. The
    /// loop and the source raise it, and nobody lowers it; a source that tells changes by a time reads as much more again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late_micros: u64,
    /// Columns of which the target has nothing up to here, whatever the source knows to have delivered: the target got them later. The loop
    /// names them, and a source reads all rows again that may have a value there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

impl Position {
    /// The same position of a target that lacks these columns as well.
    pub fn lacking(mut self, columns: &[String]) -> Self {
        for name in columns {
            if !self.lacks.contains(name) {
                self.lacks.push(name.clone());
            }
        }
        self
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        (&self.kind, &self.incarnation, &self.value, &self.lacks)
            == (&other.kind, &other.incarnation, &other.value, &other.lacks)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// How far a target has got; committed together with the data that it speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The first copy is under way.
    Copying {
        /// The cut that was taken before the first row was read; increments start there.
        start: Position,
        /// The greatest key bound that has been copied; `None` before the first chunk.
        through: Option<Bound>,
    },
    /// Everything up to this position has been applied.
    At(Position),
}

impl Mark {
    /// The position that increments start from once the copy is done.
    pub fn position(&self) -> &Position {
        match self {
            Self::Copying { start, .. } => start,
            Self::At(position) => position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(label: &str) -> Position {
        Position {
            kind: "id".into(),
            incarnation: "i".into(),
            value: "7".into(),
            label: label.into(),
            late_micros: 0,
            lacks: Vec::new(),
        }
    }

    #[test]
    fn the_label_takes_no_part_in_equality() {
        assert_eq!(position("seven"), position("VII"));
        assert_ne!(
            position("seven"),
            Position {
                incarnation: "j".into(),
                ..position("seven")
            }
        );
    }

    #[test]
    fn a_mark_survives_its_json() {
        for mark in [
            Mark::At(position("x")),
            Mark::Copying {
                start: position("x"),
                through: None,
            },
            Mark::Copying {
                start: position("x"),
                through: Some(Bound::new("{\"k\":1}")),
            },
        ] {
            let json = serde_json::to_string(&mark).unwrap();
            assert_eq!(serde_json::from_str::<Mark>(&json).unwrap(), mark);
        }
    }
}
