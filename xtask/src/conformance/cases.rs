//! The list of cases: `tests/conformance/cases/*.yaml`, one file a group.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::values;

/// One case: steps by one or more sessions, with what SQL Server's documentation says of them.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its group: the name of its file.
    pub(crate) group: String,
    /// Its name, unique in its group.
    pub(crate) name: String,
    /// What it does.
    pub(crate) steps: Vec<Step>,
}

impl Case {
    /// Group and name.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Whether it is about an error or a count.
    pub(crate) fn is_error_or_count(&self) -> bool {
        self.steps
            .iter()
            .any(|step| step.error.is_some() || step.counts.is_some())
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Do {
    /// A batch.
    Sql,
    /// A batch with parameters `@p1`, `@p2`, ….
    Parameters,
    /// A statement prepared once and run several times.
    Prepare,
    /// A transaction of the client's own API begins.
    Begin,
    /// It is committed.
    Commit,
    /// It is rolled back.
    Rollback,
    /// The client's bulk load.
    Bulk,
    /// The client's bulk unload of a table.
    Unload,
    /// A long statement that is cancelled.
    Cancel,
    /// A connection with other credentials.
    Connect,
    /// A batch that is left running; its outcome is `Finish`'s.
    Start,
    /// Waits for what `Start` began.
    Finish,
    /// A batch with a table-valued parameter, `@p1`.
    Table,
}

/// One step of a case, as it is written in the list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// The session that it belongs to.
    #[serde(default)]
    pub(crate) on: Option<String>,
    /// The batch, statement or table.
    #[serde(default)]
    pub(crate) sql: Option<String>,
    /// Anything other than running `sql`.
    #[serde(default, rename = "do")]
    pub(crate) act: Option<Do>,
    /// The values of `@p1`, `@p2`, …; of a statement to prepare, once for each run.
    #[serde(default)]
    pub(crate) parameters: Vec<Vec<Parameter>>,
    /// The table of a bulk load, or the table type of a table-valued parameter.
    #[serde(default)]
    pub(crate) table: Option<String>,
    /// The columns of the rows to load.
    #[serde(default)]
    pub(crate) columns: Vec<Column>,
    /// The rows to load, written as `rows`.
    #[serde(default)]
    pub(crate) load: Option<String>,
    /// The isolation level of a transaction to begin.
    #[serde(default)]
    pub(crate) isolation: Option<String>,
    /// Credentials that differ from the right ones.
    #[serde(default)]
    pub(crate) password: Option<String>,
    /// See `password`.
    #[serde(default)]
    pub(crate) database: Option<String>,
    /// The rows that come back: a line a row, cells between `|`, `NULL`; results are separated by `--`.
    #[serde(default)]
    pub(crate) rows: Option<String>,
    /// The declared type of the values, where the comparison depends on it.
    #[serde(default)]
    pub(crate) declared: Option<String>,
    /// The counts of the statements, in order; `none` where a single statement has none.
    #[serde(default)]
    pub(crate) counts: Option<String>,
    /// The number of the first error.
    #[serde(default)]
    pub(crate) error: Option<u32>,
    /// Another error of the same answer, which some clients report instead.
    #[serde(default)]
    pub(crate) or_error: Option<u32>,
}

/// A value for a parameter.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameter {
    /// Its declared type.
    #[serde(rename = "type")]
    pub(crate) declared: String,
    /// Its text form; absent for NULL.
    pub(crate) value: Option<String>,
}

/// A column of rows to load.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    /// Its name.
    name: String,
    /// Its declared type.
    #[serde(rename = "type")]
    declared: String,
}

impl Step {
    /// What it does.
    pub(crate) fn action(&self) -> Do {
        match self.act {
            Some(act) => act,
            None if self.parameters.is_empty() => Do::Sql,
            None => Do::Parameters,
        }
    }

    /// The declared types of its parameters.
    pub(crate) fn parameter_types(&self) -> impl Iterator<Item = &str> {
        self.parameters
            .iter()
            .flatten()
            .map(|parameter| parameter.declared.as_str())
    }

    /// What a runner is told of it.
    pub(crate) fn task(&self) -> serde_json::Value {
        serde_json::json!({
            "do": self.action(), "on": self.on.as_deref().unwrap_or("1"), "sql": self.sql,
            "parameters": self.parameters, "table": self.table, "columns": self.columns,
            "load": self.load.as_deref().map(rows).unwrap_or_default(), "isolation": self.isolation,
            "counts": self.counts.is_some(), "declared": self.declared, "password": self.password, "database": self.database,
        })
    }

    fn expects_something(&self) -> bool {
        self.rows.is_some() || self.counts.is_some() || self.error.is_some()
    }
}

/// The cells of rows that are written as text.
pub(crate) fn rows(text: &str) -> Vec<Vec<Option<String>>> {
    let cell = |cell: &str| (cell != "NULL").then(|| cell.to_owned());
    text.lines()
        .map(|line| line.split('|').map(cell).collect())
        .collect()
}

/// A case as it is written in the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    /// The title of Microsoft's page that the expectation is from.
    source: String,
    #[serde(default)]
    steps: Vec<Step>,
    /// A case of one step is written without `steps`.
    #[serde(default)]
    sql: Option<String>,
    #[serde(default)]
    rows: Option<String>,
    #[serde(default)]
    counts: Option<String>,
    #[serde(default)]
    error: Option<u32>,
}

impl Written {
    fn case(self, group: &str) -> Result<Case> {
        ensure!(!self.source.is_empty(), "{group}/{} names no source", self.name);
        let mut steps = self.steps;
        if self.sql.is_some() {
            ensure!(steps.is_empty(), "{group}/{} has both sql and steps", self.name);
            steps.push(Step {
                sql: self.sql,
                rows: self.rows,
                counts: self.counts,
                error: self.error,
                ..Step::default()
            });
        }
        ensure!(
            steps.iter().any(Step::expects_something),
            "{group}/{} expects nothing",
            self.name
        );
        Ok(Case {
            group: group.to_owned(),
            name: self.name,
            steps,
        })
    }
}

/// Reads all groups; `values.yaml` is expanded.
pub(crate) fn load(directory: &Path) -> Result<Vec<Case>> {
    let mut files: Vec<_> = std::fs::read_dir(directory.join("cases"))?.collect::<std::io::Result<_>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    let mut cases = Vec::new();
    for file in files {
        let path = file.path();
        let Some(group) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        let read = || -> Result<Vec<Case>> {
            let text = std::fs::read_to_string(&path)?;
            if group == "values" {
                return values::expand(&text);
            }
            let written: Vec<Written> = serde_saphyr::from_str(&text)?;
            written.into_iter().map(|written| written.case(group)).collect()
        };
        cases.extend(read().with_context(|| format!("{} is not understood", path.display()))?);
    }
    let mut names: Vec<_> = cases.iter().map(Case::full_name).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("two cases are named {}", pair[0]);
    }
    Ok(cases)
}
