//! How rows are applied: the configuration section `apply`.

use model::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which changes reach the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Inserts and updates, and deletes where the source tells them.
    #[default]
    Upsert,
    /// Inserts only; updates and deletes of the source are passed over.
    AppendOnly,
    /// As `upsert`, into a table that is empty at first: the first run refuses one that has rows, unless `run --full` replaces it. Rows that
    /// others add later stay, as under `upsert`.
    Mirror,
}

/// What happens to a row that the target has already, when it is copied for the first time or when the whole table is
/// replaced. Increments always overwrite, except under `append_only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It is updated, if it differs.
    Overwrite,
    /// It stays as it is.
    Skip,
    /// The commit fails.
    Error,
}

/// The statements that apply the rows. The outcome is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statement {
    /// `MERGE` where the server has it and the target has neither filtered indexes nor indexed views; else the other.
    #[default]
    Auto,
    /// `MERGE … WITH (HOLDLOCK)`, after a `DELETE` where keys are text or binary.
    Merge,
    /// `DELETE`, `UPDATE … FROM` and `INSERT … WHERE NOT EXISTS`.
    UpdateInsert,
}

/// How rows are applied to a SQL Server table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApplyOptions {
    /// `upsert`, `append_only` or `mirror`.
    pub strategy: Strategy,
    /// `overwrite`, `skip` or `error`; left out, `overwrite`, and `skip` under `append_only`.
    pub existing: Option<Existing>,
    /// `auto`, `merge` or `update_insert`.
    pub statement: Statement,
}

impl ApplyOptions {
    /// Checks what can be checked without a server.
    ///
    /// # Errors
    ///
    /// `Config`, naming the field and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.strategy == Strategy::AppendOnly && self.existing == Some(Existing::Overwrite) {
            return Err(Error::new(
                ErrorKind::Config,
                "`existing: overwrite` contradicts `strategy: append_only`; use `skip` or `error`",
            ));
        }
        Ok(())
    }

    /// What happens to existing rows, with the default of the strategy.
    pub(crate) fn existing(&self) -> Existing {
        self.existing.unwrap_or(match self.strategy {
            Strategy::AppendOnly => Existing::Skip,
            Strategy::Upsert | Strategy::Mirror => Existing::Overwrite,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_does_not_overwrite() {
        let read = |json: &str| serde_json::from_str::<ApplyOptions>(json);
        let append = read(r#"{"strategy":"append_only"}"#).unwrap();
        assert_eq!(append.existing(), Existing::Skip);
        assert!(append.validate().is_ok());
        let contradiction = read(r#"{"strategy":"append_only","existing":"overwrite"}"#).unwrap();
        assert_eq!(contradiction.validate().unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(read("{}").unwrap().existing(), Existing::Overwrite);
        assert!(read(r#"{"strateg":"mirror"}"#).is_err());
    }
}
