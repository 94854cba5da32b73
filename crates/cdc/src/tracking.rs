//! Which column tells that a row has changed, told from names, types and keys; with the reason, and with what
//! to know about the choice.

use std::time::Duration;

use model::{Error, ErrorKind, Finding, Result, Severity};
use serde::{Deserialize, Serialize};

/// What a column is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// It holds a date with a time.
    DateTime {
        /// The smallest difference between two values.
        grain: Duration,
    },
    /// It holds a whole number.
    Integer,
    /// It holds a counter of the database that the server sets on every insert and update.
    RowVersion,
    /// It holds something else.
    Other,
}

/// What matters of a column, in no dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Its name.
    pub name: String,
    /// What it is good for.
    pub kind: ColumnKind,
    /// Whether it may be without a value.
    pub nullable: bool,
    /// Whether the server numbers new rows with it.
    pub identity: bool,
    /// Whether it alone is the key.
    pub sole_key: bool,
    /// Whether an index begins with it, so that a window is found without reading the whole table.
    pub leads_index: bool,
}

/// How increments are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackingKind {
    /// By the time of the last change.
    Timestamp,
    /// By a growing number: new rows only.
    Id,
    /// By the counter that the server sets on every insert and update.
    #[serde(rename = "rowversion")]
    RowVersion,
}

/// A column, how it is used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackingChoice {
    /// The column's name, as the table has it.
    pub column: String,
    /// How it is used.
    pub kind: TrackingKind,
    /// Why it was chosen.
    pub reason: String,
    /// What to know about it.
    pub findings: Vec<Finding>,
}

/// Names that come first, in this order.
const FIRST: [&str; 5] = [
    "updatedat",
    "modifiedat",
    "lastmodified",
    "updatetime",
    "modifytime",
];

/// Words that say that something was changed, longest first where one begins with another.
const CHANGED: [&str; 8] = [
    "updated", "updates", "update", "modified", "modify", "changed", "change", "edited",
];

/// Words that may stand beside them and mean no more than a time.
const BESIDE: [&str; 22] = [
    "timestamp",
    "datetime",
    "record",
    "last",
    "date",
    "time",
    "when",
    "row",
    "utc",
    "local",
    "stamp",
    "dttm",
    "dtm",
    "rec",
    "sys",
    "at",
    "on",
    "dt",
    "ts",
    "tm",
    "the",
    "was",
];

/// Words that make a time one that has not come.
const NOT_YET: [&str; 6] = ["next", "planned", "scheduled", "expected", "due", "until"];

/// Finds the tracking column: a rowversion, which no client's clock and no forgotten statement can spoil; then the names in use
/// for the time of an update, then other date-times named like one, then an identity that is the key. Among equals, one that is
/// never NULL and leads an index wins.
pub fn detect_tracking(columns: &[ColumnFacts]) -> Option<TrackingChoice> {
    if let Some(column) = columns.iter().find(|c| c.kind == ColumnKind::RowVersion) {
        let reason = "the server sets it on every insert and update".to_owned();
        return Some(choice(column, TrackingKind::RowVersion, reason));
    }
    let dated = columns
        .iter()
        .filter(|c| matches!(c.kind, ColumnKind::DateTime { .. }))
        .filter_map(|c| name_rank(&c.name).map(|rank| ((rank, c.nullable, !c.leads_index), c)))
        .min_by_key(|(rank, _)| *rank);
    if let Some(((rank, ..), column)) = dated {
        let reason = match rank {
            NameRank::First(_) => "its name is the first to look for",
            NameRank::Usual => "its name is a usual one for the time of the last change",
            NameRank::LikeUpdate => "it is a date-time named like an update",
        };
        return Some(choice(column, TrackingKind::Timestamp, reason.to_owned()));
    }
    let identity = columns
        .iter()
        .find(|c| c.identity && c.sole_key && c.kind == ColumnKind::Integer)?;
    let reason = "no date-time is named like an update, and the key is an identity".to_owned();
    Some(choice(identity, TrackingKind::Id, reason))
}

/// Takes the column that the configuration names.
///
/// # Errors
///
/// `Config` if there is no such column, or if it cannot be used in that way.
pub fn choose_tracking(
    columns: &[ColumnFacts],
    name: &str,
    kind: Option<TrackingKind>,
) -> Result<TrackingChoice> {
    let exact = columns.iter().find(|c| c.name == name);
    let column = exact.or_else(|| {
        columns
            .iter()
            .find(|c| c.name.to_lowercase() == name.to_lowercase())
    });
    let Some(column) = column else {
        let names: Vec<_> = columns.iter().map(|c| c.name.as_str()).collect();
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "the tracking column {name:?} does not exist; the table has {}",
                names.join(", ")
            ),
        ));
    };
    let usable = match column.kind {
        ColumnKind::DateTime { .. } => Some(TrackingKind::Timestamp),
        ColumnKind::Integer => Some(TrackingKind::Id),
        ColumnKind::RowVersion => Some(TrackingKind::RowVersion),
        ColumnKind::Other => None,
    };
    match usable {
        Some(usable) if kind.is_none_or(|kind| kind == usable) => {
            Ok(choice(column, usable, "the configuration names it".to_owned()))
        }
        _ => Err(Error::new(
            ErrorKind::Config,
            format!(
                "the tracking column {:?} has a type that tells no changes in this way: a timestamp needs a date with a \
                 time, an id a whole number, a rowversion that type",
                column.name
            ),
        )),
    }
}

/// Ordered from the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum NameRank {
    First(usize),
    Usual,
    LikeUpdate,
}

fn name_rank(name: &str) -> Option<NameRank> {
    let words = words(name);
    let compact = words.concat();
    if let Some(place) = FIRST.iter().position(|first| *first == compact) {
        return Some(NameRank::First(place));
    }
    if is_usual(&compact, false) {
        return Some(NameRank::Usual);
    }
    let like_update = words.iter().any(|word| CHANGED.contains(&word.as_str()));
    let not_yet = words.iter().any(|word| NOT_YET.contains(&word.as_str()));
    (like_update && !not_yet).then_some(NameRank::LikeUpdate)
}

/// Whether `rest` is made of nothing but the known words, one of which says that something was changed.
fn is_usual(rest: &str, changed: bool) -> bool {
    if rest.is_empty() {
        return changed;
    }
    let next = |words: &[&str], changed: bool| {
        words
            .iter()
            .filter_map(|word| rest.strip_prefix(word))
            .any(|rest| is_usual(rest, changed))
    };
    next(&CHANGED, true) || next(&BESIDE, changed)
}

/// The words of a name in lower case: parted where a capital follows a small letter, and at everything that is neither
/// letter nor digit.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && after_small) {
            words.push(String::new());
        }
        after_small = c.is_lowercase();
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn choice(column: &ColumnFacts, kind: TrackingKind, reason: String) -> TrackingChoice {
    let name = &column.name;
    let mut findings = Vec::new();
    let mut find = |severity, message: String, remedy: &str| {
        findings.push(Finding {
            severity,
            message,
            remedy: Some(remedy.to_owned()),
        });
    };
    match kind {
        TrackingKind::Timestamp | TrackingKind::RowVersion => find(
            Severity::Note,
            format!("by {name} neither deleted rows nor changed keys are seen"),
            "run `sync-cli verify --repair` from time to time, or use Change Tracking",
        ),
        TrackingKind::Id => find(
            Severity::Note,
            format!("by {name} only new rows are seen: neither updates, deletes nor changed keys"),
            "set `capture.tracking.column` to a column that every update sets, or `capture.mode` to `full`",
        ),
    }
    if column.nullable && kind != TrackingKind::RowVersion {
        find(
            Severity::Warning,
            format!("{name} may be NULL: rows without a value are read on every run"),
            "give every row a value and make the column NOT NULL, or name another column: capture: { tracking: { column: …, also: [created_at] } }",
        );
    }
    if let ColumnKind::DateTime { grain } = column.kind
        && grain >= Duration::from_secs(1)
    {
        find(
            Severity::Warning,
            format!(
                "{name} tells times only to {} s: changes are seen that much later",
                grain.as_secs()
            ),
            "use a type with fractions of a second",
        );
    }
    if !column.leads_index {
        find(
            Severity::Note,
            format!("no index begins with {name}: every increment reads the whole table on the server"),
            "create an index that begins with this column",
        );
    }
    TrackingChoice {
        column: name.clone(),
        kind,
        reason,
        findings,
    }
}

#[cfg(test)]
mod tests;
