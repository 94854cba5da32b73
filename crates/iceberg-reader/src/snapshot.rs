//! Which snapshot is read, and snapshots as positions.

use iceberg::spec::SnapshotRef;
use iceberg_table::TableHandle;
use model::{Error, ErrorKind, Position, Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::added_columns::Delivered;

/// The kind of a position that is a snapshot.
const KIND: &str = "snapshot";

/// Which snapshot of a table is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SnapshotChoice {
    /// The head of the main branch.
    #[default]
    Current,
    /// The one with this id, whether or not it is an ancestor of the head, or else the one that a tag or branch of this name points to.
    Id(i64),
    /// The one that was the head at this time, by the table's snapshot log.
    AsOf(Timestamp),
    /// The one that the tag or branch of this name points to.
    Named(String),
}

impl SnapshotChoice {
    /// A snapshot by its id, or by the name of a tag or branch.
    pub fn parse(text: &str) -> Self {
        match text.parse::<i64>() {
            Ok(id) if id.to_string() == text => Self::Id(id),
            _ => Self::Named(text.to_owned()),
        }
    }

    /// The chosen snapshot; `None` if the table has none yet.
    ///
    /// # Errors
    ///
    /// `NotFound` if the table has no such snapshot, tag or branch (any more).
    pub fn resolve(&self, table: &TableHandle) -> Result<Option<SnapshotRef>> {
        match self {
            Self::Current => Ok(table.head().cloned()),
            Self::Id(id) => match by_id(table, *id) {
                Ok(snapshot) => Ok(Some(snapshot)),
                Err(missing) => match table.metadata().snapshot_for_ref(&id.to_string()) {
                    Some(snapshot) => Ok(Some(snapshot.clone())),
                    None => Err(missing),
                },
            },
            Self::AsOf(time) => {
                let log = table.metadata().history();
                let entry = log.iter().rfind(|entry| entry.timestamp_ms() <= time.0);
                let entry = entry.ok_or_else(|| {
                    Error::new(
                        ErrorKind::NotFound,
                        "the table's snapshot log does not go back to that time",
                    )
                    .with("table", table.name())
                    .with("time in ms since 1970", time.0)
                    .hint("`sync-cli snapshots` lists what there is")
                })?;
                by_id(table, entry.snapshot_id).map(Some)
            }
            Self::Named(name) => match table.metadata().snapshot_for_ref(name) {
                Some(snapshot) => Ok(Some(snapshot.clone())),
                None => Err(
                    Error::new(ErrorKind::NotFound, "the table has no such tag or branch")
                        .with("table", table.name())
                        .with("name", name)
                        .hint("`sync-cli snapshots` lists what there is"),
                ),
            },
        }
    }
}

fn by_id(table: &TableHandle, id: i64) -> Result<SnapshotRef> {
    table.metadata().snapshot_by_id(id).cloned().ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "the table has no such snapshot, or it has expired",
        )
        .with("table", table.name())
        .with("snapshot", id)
        .hint("`sync-cli snapshots` lists what there is")
    })
}

/// A snapshot of a table as a position: what the `value` of a [`Position`] holds as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotPosition {
    /// The table's UUID, which is the position's incarnation as well.
    table: String,
    /// The snapshot; `None` for a table that has none yet.
    pub(crate) snapshot: Option<i64>,
    /// The columns that were delivered, of rows that are in the snapshot; `None` if nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delivered: Option<Delivered>,
    /// The snapshot that some, and perhaps not all, changes were told of already. What follows starts with all of them again: a row
    /// that changed on the way there and changed back later is no change any more, and would stay as it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    toward: Option<i64>,
}

/// Where a position lies in a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// The snapshot; `None` before the first one.
    pub(crate) snapshot: Option<SnapshotRef>,
    /// The snapshot that some changes were told of already.
    pub(crate) toward: Option<SnapshotRef>,
    /// The columns that were delivered; `None` if nobody knows.
    pub(crate) delivered: Option<Delivered>,
    /// Those of them that the target has nothing of.
    pub(crate) void: Vec<String>,
}

/// Whether a position can still be read from.
pub(crate) enum Reach {
    /// It can.
    Within(Place),
    /// It cannot, and why.
    Lost(String),
}

impl SnapshotPosition {
    /// The position of `snapshot` in `table`, with these columns.
    pub(crate) fn of(
        table: &TableHandle,
        snapshot: Option<&SnapshotRef>,
        delivered: Option<Delivered>,
    ) -> Self {
        Self {
            table: table.metadata().uuid().to_string(),
            snapshot: snapshot.map(|snapshot| snapshot.snapshot_id()),
            delivered,
            toward: None,
        }
    }

    /// The same on the way to `snapshot`.
    pub(crate) fn toward(self, snapshot: &SnapshotRef) -> Self {
        Self {
            toward: Some(snapshot.snapshot_id()),
            ..self
        }
    }

    /// As the rest of the program carries it.
    pub(crate) fn to_position(&self) -> Result<Position> {
        let value = serde_json::to_string(self)
            .map_err(|error| Error::internal("cannot write a snapshot position").caused_by(error))?;
        let at = match self.snapshot {
            Some(id) => format!("snapshot {id}"),
            None => "before the first snapshot".into(),
        };
        Ok(Position {
            kind: KIND.into(),
            incarnation: self.table.clone(),
            value,
            label: match self.toward {
                Some(id) => format!("{at}, on the way to snapshot {id}"),
                None => at,
            },
            late_micros: 0,
            lacks: Vec::new(),
        })
    }

    pub(crate) fn parse(position: &Position) -> Result<Self> {
        let wrong = |why: String| {
            Error::new(
                ErrorKind::Config,
                "a position is not a snapshot of an Iceberg table",
            )
            .with("position", position)
            .with("why", why)
            .hint("was the direction of this sync changed? give it another name, or run with --full")
        };
        if position.kind != KIND {
            return Err(wrong(format!("it is of kind {}", position.kind)));
        }
        serde_json::from_str(&position.value).map_err(|error| wrong(error.to_string()))
    }
}

/// The snapshots that a reader at this position still needs.
///
/// # Errors
///
/// `Config` if it is not a position in an Iceberg table.
pub fn snapshots_of_position(position: &Position) -> Result<Vec<i64>> {
    let position = SnapshotPosition::parse(position)?;
    Ok(position.snapshot.into_iter().chain(position.toward).collect())
}

/// Looks for a position in a table.
///
/// # Errors
///
/// `Config` if the position is of another kind.
pub(crate) fn reach(table: &TableHandle, position: &Position) -> Result<Reach> {
    let wanted = SnapshotPosition::parse(position)?;
    if position.incarnation != table.metadata().uuid().to_string() {
        return Ok(Reach::Lost(
            "the table was dropped and created again: its UUID is another one".into(),
        ));
    }
    let mut place = Place {
        delivered: wanted.delivered,
        void: position.lacks.clone(),
        ..Place::default()
    };
    for (wanted, found) in [
        (wanted.snapshot, &mut place.snapshot),
        (wanted.toward, &mut place.toward),
    ] {
        let Some(id) = wanted else { continue };
        *found = table.metadata().snapshot_by_id(id).cloned();
        if found.is_none() {
            return Ok(Reach::Lost(format!("snapshot {id} has expired")));
        }
    }
    Ok(Reach::Within(place))
}

/// Where a position lies in a table that must still have it.
///
/// # Errors
///
/// `Gap` if it is lost; `Config` if the position is of another kind.
pub(crate) fn place_of(table: &TableHandle, position: &Position) -> Result<Place> {
    match reach(table, position)? {
        Reach::Within(place) => Ok(place),
        Reach::Lost(why) => Err(Error::new(
            ErrorKind::Gap,
            "the Iceberg table no longer has the snapshot that was asked for",
        )
        .with("table", table.name())
        .with("position", position)
        .with("why", why)),
    }
}

/// The oldest snapshot that the table still has.
pub(crate) fn oldest(table: &TableHandle) -> Option<&SnapshotRef> {
    table
        .metadata()
        .snapshots()
        .min_by_key(|snapshot| snapshot.sequence_number())
}
