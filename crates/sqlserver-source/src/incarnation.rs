//! Which life of a database and a table a position belongs to.

use serde::{Deserialize, Serialize};
use sqlserver_client::{DatabaseInfo, TableInfo};

/// Database and table. A restored database or a table that was created anew has another history, although its name is the same.
///
/// The guids of a database are the same on all its replicas; the date of its creation is not, and serves only where the guids cannot be
/// read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incarnation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guids: Option<String>,
    created: String,
    table: String,
}

impl Incarnation {
    /// The present life.
    pub(crate) fn of(database: &DatabaseInfo, table: &TableInfo) -> Self {
        Self {
            guids: database
                .incarnation_is_exact
                .then(|| database.incarnation.clone()),
            created: database.create_date.clone(),
            table: format!("{}@{}", table.object_id, table.create_date),
        }
    }

    /// Reads [`model::Position::incarnation`]; `None` if it is not one of this source's.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What tells the present life apart from this one, if anything does.
    pub(crate) fn differs(&self, now: &Self) -> Option<&'static str> {
        let same_database = match (&self.guids, &now.guids) {
            (Some(before), Some(now)) => before == now,
            _ => self.created == now.created,
        };
        if !same_database {
            Some("the database has been restored or created anew since the last run")
        } else if self.table != now.table {
            Some("the table has been created anew since the last run")
        } else {
            None
        }
    }
}

impl std::fmt::Display for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| std::fmt::Error)?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(guids: Option<&str>, created: &str, table: &str) -> Incarnation {
        Incarnation {
            guids: guids.map(str::to_owned),
            created: created.into(),
            table: table.into(),
        }
    }

    #[test]
    fn a_restored_database_or_a_new_table_is_another_life() {
        for (before, now, differs) in [
            (
                life(Some("g/f"), "1", "5@1"),
                life(Some("g/f"), "1", "5@1"),
                false,
            ),
            // Another replica of the same database.
            (
                life(Some("g/f"), "1", "5@1"),
                life(Some("g/f"), "2", "5@1"),
                false,
            ),
            // A restore forks recovery.
            (life(Some("g/f"), "1", "5@1"), life(Some("g/h"), "1", "5@1"), true),
            // The right to read the guids came or went.
            (life(None, "1", "5@1"), life(Some("g/f"), "1", "5@1"), false),
            (life(Some("g/f"), "1", "5@1"), life(None, "2", "5@1"), true),
            (life(None, "1", "5@1"), life(None, "2", "5@1"), true),
            (life(None, "1", "5@1"), life(None, "1", "6@1"), true),
            (life(None, "1", "5@1"), life(None, "1", "5@2"), true),
        ] {
            assert_eq!(before.differs(&now).is_some(), differs, "{before:?} {now:?}");
            assert_eq!(Incarnation::parse(&before.to_string()), Some(before));
        }
        assert_eq!(Incarnation::parse("another source's"), None);
    }
}
