//! Which life of a database and a table a position belongs to, and what of its columns and rows has been delivered up to there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlserver_client::{ColumnInfo, ColumnType, DatabaseInfo, Length, SqlType, TableInfo};

/// What a target holds under the name of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Delivered {
    /// The values of the column with this id, as it was declared.
    Column(i32, String),
    /// The same, by an older version that did not note the declaration.
    Id(i32),
    /// Those of the column with this id that are not NULL: nothing tells of one that is taken back to NULL.
    Partly([i32; 1]),
    /// Those of a column that is no longer read under this name.
    Gone,
}

impl Delivered {
    /// A column of the table as it is now. A code page belongs to the type: another one has other characters.
    pub(crate) fn of(column: &ColumnInfo) -> Self {
        let declared = match (&column.ty, column.code_page) {
            (ColumnType::Mapped(ty), Some(code_page)) if ty.is_code_page() => format!("{ty}/{code_page}"),
            (ColumnType::Mapped(ty), _) => ty.to_string(),
            (ColumnType::Unmapped(name), _) => name.clone(),
        };
        Self::Column(column.id, declared)
    }

    /// The column's id.
    fn id(&self) -> Option<i32> {
        match self {
            Self::Column(id, _) | Self::Id(id) | Self::Partly([id]) => Some(*id),
            Self::Gone => None,
        }
    }

    /// Whether the values are those of `now`.
    fn are(&self, now: &Self) -> bool {
        match (self, now) {
            (Self::Column(id, before), Self::Column(same, declared)) => {
                id == same && (before == declared || is_longer(before, declared))
            }
            (Self::Id(id), Self::Column(same, _)) => id == same,
            _ => false,
        }
    }
}

/// Whether a declaration differs from the one before in that it takes longer values.
fn is_longer(before: &str, declared: &str) -> bool {
    let parts = |declared: &str| {
        let (ty, code_page) = declared.split_once('/').unwrap_or((declared, ""));
        Some((ty.parse::<SqlType>().ok()?, code_page.to_owned()))
    };
    let most = |length| match length {
        Length::Limited(length) => u32::from(length),
        Length::Max => u32::MAX,
    };
    let (Some((before, code_page)), Some((declared, same))) = (parts(before), parts(declared)) else {
        return false;
    };
    code_page == same
        && match (before, declared) {
            (SqlType::VarChar { length }, SqlType::VarChar { length: now })
            | (SqlType::NVarChar { length }, SqlType::NVarChar { length: now })
            | (SqlType::VarBinary { length }, SqlType::VarBinary { length: now }) => {
                most(length) <= most(now)
            }
            _ => false,
        }
}

/// What of the rows up to a position a target lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// Nothing.
    Nothing,
    /// The values of these columns, where it has NULL.
    Columns(Vec<String>),
    /// What it holds under the name of a column is perhaps another's.
    Rows,
}

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
    /// What the target has been given up to the position, by the columns' names. Unknown in positions of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<BTreeMap<String, Delivered>>,
    /// Which of the table's rows are told. Unknown in positions of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows: Option<String>,
}

impl Incarnation {
    /// The present life.
    pub(crate) fn of(
        database: &DatabaseInfo,
        table: &TableInfo,
        columns: BTreeMap<String, Delivered>,
        rows: String,
    ) -> Self {
        Self {
            guids: database
                .incarnation_is_exact
                .then(|| database.incarnation.clone()),
            created: database.create_date.clone(),
            table: format!("{}@{}", table.object_id, table.create_date),
            columns: Some(columns),
            rows: Some(rows),
        }
    }

    /// Reads [`model::Position::incarnation`]; `None` if it is not one of this source's.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The same life in which nothing tells of changes in these columns.
    pub(crate) fn not_following(mut self, names: &[String]) -> Self {
        for (name, column) in self.columns.iter_mut().flatten() {
            if let (true, Some(id)) = (names.contains(name), column.id()) {
                *column = Delivered::Partly([id]);
            }
        }
        self
    }

    /// The names that the target has values under.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.columns.iter().flat_map(BTreeMap::keys)
    }

    /// What a target of this life lacks of those columns of `now` that are read. What it holds under the names `void` counts for nothing.
    pub(crate) fn lacks(&self, now: &Self, void: &[String], is_read: impl Fn(&str) -> bool) -> Lacking {
        let (Some(before), Some(now)) = (&self.columns, &now.columns) else {
            return match void.iter().any(|name| is_read(name)) {
                true => Lacking::Rows,
                false => Lacking::Nothing,
            };
        };
        let before: BTreeMap<_, _> = before
            .iter()
            .map(|(name, delivered)| (name.to_lowercase(), delivered))
            .collect();
        let mut new = Vec::new();
        for (name, column) in now.iter().filter(|(name, _)| is_read(name)) {
            match before.get(&name.to_lowercase()) {
                None => new.push(name.clone()),
                Some(Delivered::Partly([id])) if column.id() == Some(*id) && !void.contains(name) => {
                    new.push(name.clone());
                }
                Some(delivered) if delivered.are(column) && !void.contains(name) => {}
                Some(_) => return Lacking::Rows,
            }
        }
        match new.is_empty() {
            true => Lacking::Nothing,
            false => Lacking::Columns(new),
        }
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
        } else if self.rows.is_some() && self.rows != now.rows {
            Some(
                "`capture.where` or `deletes.soft` is not what it was in the last run, and nothing tells of rows that now come or go by it",
            )
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
            rows: None,
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
    fn another_condition_on_rows_is_another_life() {
        let of = |rows: Option<&str>| Incarnation {
            rows: rows.map(str::to_owned),
            ..life(None, "1", "5@1")
        };
        for (before, now, differs) in [
            (Some("all"), Some("all"), false),
            (Some("all"), Some("1f"), true),
            (Some("1f"), Some("all"), true),
            // An older version did not note it.
            (None, Some("1f"), false),
        ] {
            assert_eq!(
                of(before).differs(&of(now)).is_some(),
                differs,
                "{before:?} {now:?}"
            );
        }
    }

    fn having(columns: &[(&str, Delivered)]) -> Incarnation {
        let columns = columns
            .iter()
            .map(|(name, delivered)| ((*name).to_owned(), delivered.clone()));
        Incarnation {
            columns: Some(columns.collect()),
            ..life(None, "1", "5@1")
        }
    }

    fn int(id: i32) -> Delivered {
        Delivered::Column(id, "int".to_owned())
    }

    #[test]
    fn a_column_that_was_added_or_renamed_is_lacking_and_one_whose_name_was_anothers_makes_all_rows_lack() {
        let before = having(&[
            ("id", int(1)),
            ("v", int(2)),
            ("w", Delivered::Id(3)),
            ("partly", Delivered::Partly([5])),
            ("old", Delivered::Gone),
        ]);
        let added = |name: &str| Lacking::Columns(vec![name.to_owned()]);
        for (now, lacking) in [
            (
                having(&[("id", int(1)), ("v", int(2)), ("w", int(3))]),
                Lacking::Nothing,
            ),
            (having(&[("id", int(1)), ("v", int(2))]), Lacking::Nothing),
            (
                having(&[("id", int(1)), ("v", int(2)), ("x", int(4))]),
                added("x"),
            ),
            (
                having(&[("id", int(1)), ("u", int(2)), ("w", int(3))]),
                added("u"),
            ),
            // Dropped, and another one of the same name added, or renamed to it.
            (
                having(&[("id", int(1)), ("v", int(4)), ("w", int(3))]),
                Lacking::Rows,
            ),
            (having(&[("id", int(1)), ("v", int(3))]), Lacking::Rows),
            (having(&[("id", int(1)), ("V", int(4))]), Lacking::Rows),
            // Is not followed.
            (having(&[("id", int(1)), ("partly", int(5))]), added("partly")),
            (having(&[("id", int(1)), ("partly", int(6))]), Lacking::Rows),
            // Was not read for a while.
            (having(&[("id", int(1)), ("old", int(4))]), Lacking::Rows),
            (life(None, "1", "5@1"), Lacking::Nothing),
        ] {
            assert_eq!(before.lacks(&now, &[], |_| true), lacking, "{now:?}");
            assert_eq!(Incarnation::parse(&before.to_string()).as_ref(), Some(&before));
        }
        assert_eq!(
            life(None, "1", "5@1").lacks(&before, &[], |_| true),
            Lacking::Nothing
        );
        let now = having(&[("id", int(1)), ("v", int(2)), ("x", int(4))]);
        assert_eq!(before.lacks(&now, &[], |name| name != "x"), Lacking::Nothing);
    }

    #[test]
    fn what_a_target_holds_in_a_void_column_counts_for_nothing() {
        let before = having(&[("id", int(1)), ("v", int(2))]);
        let now = having(&[("id", int(1)), ("v", int(2)), ("x", int(3))]);
        let added = Lacking::Columns(vec!["x".to_owned()]);
        let of_an_older_version = life(None, "1", "5@1");
        for (before, void, lacking) in [
            (&before, &["v".to_owned()][..], Lacking::Rows),
            (&before, &["x".to_owned()], added.clone()),
            (&before, &["other".to_owned()], added),
            (&of_an_older_version, &["v".to_owned()], Lacking::Rows),
            (&of_an_older_version, &["other".to_owned()], Lacking::Nothing),
        ] {
            assert_eq!(
                before.lacks(&now, void, |name| name != "other"),
                lacking,
                "{void:?}"
            );
        }
    }

    #[test]
    fn a_declaration_that_may_change_values_makes_all_rows_lack() {
        for (declared, now, same) in [
            ("datetime2(6)", "datetime2(6)", true),
            ("datetime2(6)", "datetime2(0)", false),
            ("varchar(10)/1252", "char(10)/1252", false),
            ("varchar(10)/1252", "varchar(10)/1251", false),
            ("varchar(10)/1252", "varchar(20)/1252", true),
            ("varchar(20)/1252", "varchar(10)/1252", false),
            ("nvarchar(20)", "nvarchar(max)", true),
            ("varbinary(20)", "varbinary(21)", true),
            ("binary(20)", "binary(21)", false),
            ("int", "bigint", false),
        ] {
            let column = |declared: &str| having(&[("v", Delivered::Column(2, declared.to_owned()))]);
            let lacking = column(declared).lacks(&column(now), &[], |_| true);
            assert_eq!(lacking == Lacking::Nothing, same, "{declared} {now}");
            let older = having(&[("v", Delivered::Id(2))]);
            assert_eq!(older.lacks(&column(now), &[], |_| true), Lacking::Nothing);
        }
        let older = r#"{"created":"1","table":"5@1","columns":{"v":2}}"#;
        let older = Incarnation::parse(older);
        assert_eq!(older, Some(having(&[("v", Delivered::Id(2))])));
    }
}
