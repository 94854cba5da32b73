//! What one Iceberg table is like.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::FormatVersion;
use model::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::partitioning;
use crate::schema_changes::SchemaPolicy;

/// What an Iceberg table is like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TableOptions {
    /// The table's format: 2, which every reader understands and new tables get, or 3, with deletion vectors and row ids. A table
    /// of an older format is upgraded; left out, a table that is there stays as it is.
    pub format_version: Option<u8>,
    /// How rows are partitioned: columns, or transforms of columns such as `bucket(16, id)`, `truncate(4, name)`, `year(at)`,
    /// `month(at)`, `day(at)`, `hour(at)`, `void(id)`. A table that is partitioned otherwise is partitioned like this from now on, and
    /// files that are there stay where they are. Left out, a table stays as it is.
    pub partition: Option<Vec<String>>,
    /// The sort order that the table declares, for engines that sort: columns or transforms, each perhaps followed by `asc` or `desc`
    /// and by `nulls first` or `nulls last`. Left out, a table stays as it is.
    pub sort: Option<Vec<String>>,
    /// What is done when the source's columns are no longer the table's.
    pub schema_changes: SchemaPolicy,
    /// Columns that the source has renamed, by their old names: their data stays with them. A column that is renamed and not named here
    /// is taken for a dropped and a new one. One column may take the name that another one leaves, but names that go round in a circle
    /// are refused: afterwards nobody could tell that they did.
    pub renames: BTreeMap<String, String>,
}

impl TableOptions {
    /// Checks that there can be such a table.
    ///
    /// # Errors
    ///
    /// `Config`, naming the option that is out of range.
    pub fn validate(&self) -> Result<()> {
        self.format()?;
        self.validate_renames()?;
        let or_none = |fields: &Option<Vec<String>>| fields.clone().unwrap_or_default();
        partitioning::validate(&or_none(&self.partition), &or_none(&self.sort))
    }

    fn validate_renames(&self) -> Result<()> {
        let hint =
            "rename columns in the Iceberg table with another engine, or through a name of no other column";
        let mut targets = HashSet::new();
        for (from, to) in &self.renames {
            if !targets.insert(to) {
                let why = format!("renames give several columns the name {to:?}");
                return Err(Error::new(ErrorKind::Config, why).hint("name the one that has it now"));
            }
            let next = std::iter::successors(Some(to), |name| self.renames.get(*name));
            if next.take(self.renames.len()).any(|name| name == from) {
                let why = format!("renames lead from column {from:?} back to its own name");
                return Err(Error::new(ErrorKind::Config, why).hint(hint));
            }
        }
        Ok(())
    }

    /// The format that is asked for.
    pub(crate) fn format(&self) -> Result<Option<FormatVersion>> {
        match self.format_version {
            None => Ok(None),
            Some(2) => Ok(Some(FormatVersion::V2)),
            Some(3) => Ok(Some(FormatVersion::V3)),
            Some(other) => Err(Error::new(
                ErrorKind::Config,
                format!("format_version is {other}, which is not written"),
            )
            .hint("set format_version to 2 or 3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_formats_that_are_written_are_accepted() {
        for (version, accepted) in [
            (None, true),
            (Some(1), false),
            (Some(2), true),
            (Some(3), true),
            (Some(4), false),
        ] {
            let options = TableOptions {
                format_version: version,
                ..TableOptions::default()
            };
            let validated = options.validate();
            assert_eq!(validated.is_ok(), accepted, "{version:?}");
            if let Err(error) = validated {
                assert_eq!(error.kind(), ErrorKind::Config);
            }
        }
    }

    #[test]
    fn renames_that_cannot_be_told_from_none_are_refused() {
        for (renames, accepted) in [
            (&[("a", "b"), ("b", "c")][..], true),
            (&[("a", "b"), ("b", "a")], false),
            (&[("a", "b"), ("b", "c"), ("c", "a")], false),
            (&[("x", "a"), ("a", "b"), ("b", "a")], false),
            (&[("a", "a")], false),
            (&[("a", "c"), ("b", "c")], false),
        ] {
            let renames = renames.iter().map(|(from, to)| ((*from).into(), (*to).into()));
            let options = TableOptions {
                renames: renames.collect(),
                ..TableOptions::default()
            };
            assert_eq!(options.validate().is_ok(), accepted, "{:?}", options.renames);
        }
    }
}
