//! Which life of a database and a table a position belongs to, and which of its columns have been delivered up to there.

use std::collections::BTreeMap;

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
    /// The columns of which the target has everything up to the position, with their ids. Unknown in positions of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<BTreeMap<String, i32>>,
}

impl Incarnation {
    /// The present life.
    pub(crate) fn of(database: &DatabaseInfo, table: &TableInfo, columns: BTreeMap<String, i32>) -> Self {
        Self {
            guids: database
                .incarnation_is_exact
                .then(|| database.incarnation.clone()),
            created: database.create_date.clone(),
            table: format!("{}@{}", table.object_id, table.create_date),
            columns: Some(columns),
        }
    }

    /// Reads [`model::Position::incarnation`]; `None` if it is not one of this source's.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The same life without these columns.
    pub(crate) fn without(mut self, names: &[String]) -> Self {
        if let Some(columns) = &mut self.columns {
            columns.retain(|name, _| !names.contains(name));
        }
        self
    }

    /// The columns of `now` that this life did not have, under their present names.
    pub(crate) fn lacks(&self, now: &Self) -> Vec<String> {
        let (Some(before), Some(now)) = (&self.columns, &now.columns) else {
            return Vec::new();
        };
        let new = now.iter().filter(|(name, id)| before.get(*name) != Some(*id));
        new.map(|(name, _)| name.clone()).collect()
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
            columns: None,
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

    #[test]
    fn a_column_that_was_added_or_renamed_is_lacking() {
        let having = |columns: &[(&str, i32)]| Incarnation {
            columns: Some(
                columns
                    .iter()
                    .map(|(name, id)| ((*name).to_owned(), *id))
                    .collect(),
            ),
            ..life(None, "1", "5@1")
        };
        let before = having(&[("id", 1), ("v", 2), ("w", 3)]);
        for (now, lacking) in [
            (having(&[("id", 1), ("v", 2), ("w", 3)]), vec![]),
            (having(&[("id", 1), ("v", 2)]), vec![]),
            (having(&[("id", 1), ("v", 2), ("x", 4)]), vec!["x"]),
            (having(&[("id", 1), ("u", 2), ("w", 3)]), vec!["u"]),
            // Dropped, and another one of the same name added.
            (having(&[("id", 1), ("v", 4), ("w", 3)]), vec!["v"]),
            (life(None, "1", "5@1"), vec![]),
        ] {
            assert_eq!(before.lacks(&now), lacking, "{now:?}");
        }
        assert!(life(None, "1", "5@1").lacks(&before).is_empty());
    }
}
