//! Reads the file.

use std::collections::HashMap;
use std::path::Path;

use model::{Error, ErrorKind, Result};
use serde_saphyr::{Options, options};

use super::Config;

/// Reads and validates the configuration in `path`.
///
/// # Errors
///
/// `Config` if the file is missing, is not YAML, has an unknown key or a value of the wrong type, names an environment variable that
/// is not set, or breaks a rule.
pub fn load(path: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::new(ErrorKind::Config, "cannot read the configuration file")
            .with("file", path.display())
            .caused_by(error)
            .hint("name it with --config, or write one with `sync-cli init`")
    })?;
    let config = parse(&text, std::env::vars()).map_err(|error| error.with("file", path.display()))?;
    config
        .validate()
        .map_err(|error| error.with("file", path.display()))?;
    Ok(config)
}

/// Reads the configuration in `text`, with these environment variables.
pub(super) fn parse(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config> {
    let environment: HashMap<String, String> = environment.into_iter().collect();
    refuse_quoted_variables(text, &environment)?;
    // Snippets would print neighbouring lines, and one of them may be a password.
    let options: Options = options! { with_snippet: false };
    let options = options.with_properties(environment);
    serde_saphyr::from_str_with_options(text, options).map_err(|error| explain(&error))
}

/// `${NAME}` inside quotes stays as it is in YAML, which nobody means. So it is what is left if each variable has a value without it.
fn refuse_quoted_variables(text: &str, environment: &HashMap<String, String>) -> Result<()> {
    let options: Options = options! { with_snippet: false };
    let plain = environment.keys().map(|name| (name.clone(), "1".to_owned()));
    let options = options.with_properties(plain.collect());
    let Ok(document) = serde_saphyr::from_str_with_options(&text.replace("$${", ""), options) else {
        return Ok(());
    };
    match path_to_variable(&document) {
        None => Ok(()),
        Some(path) => Err(Error::new(
            ErrorKind::Config,
            format!("`{path}`: a variable in quotes is not replaced"),
        )
        .hint("remove the quotes around ${…}, or write $${…} for the text itself")),
    }
}

/// The place of the first text with `${`.
fn path_to_variable(value: &serde_json::Value) -> Option<String> {
    let below = |name: String, value| {
        let path = path_to_variable(value)?;
        Some(match path.is_empty() {
            true => name,
            false => format!("{name}.{path}"),
        })
    };
    match value {
        serde_json::Value::String(text) => text.contains("${").then(String::new),
        serde_json::Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(index, value)| below(index.to_string(), value)),
        serde_json::Value::Object(fields) => {
            fields.iter().find_map(|(name, value)| below(name.clone(), value))
        }
        _ => None,
    }
}

fn explain(error: &serde_saphyr::Error) -> Error {
    let failed = Error::new(
        ErrorKind::Config,
        format!("cannot use the configuration: {error}"),
    );
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => match nearest(field, expected) {
            Some(near) => failed.hint(format!(
                "did you mean `{near}`? `sync-cli config schema` has every key"
            )),
            None => failed,
        },
        _ => failed,
    }
}

/// The known key that is fewest edits away, if that is few enough to be meant.
fn nearest(unknown: &str, known: &[&'static str]) -> Option<&'static str> {
    let best = known.iter().map(|key| (edits(unknown, key), key)).min()?;
    (best.0 <= 1 + unknown.chars().count() / 3).then_some(*best.1)
}

/// The Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_would_stay_as_it_is_is_refused_with_its_place() {
        let environment = || [("X".to_owned(), "has ${Y}".to_owned())];
        let text = |sql: &str| format!("sync: s\niceberg:\n  sql: {sql}\ntables:\n- table: '*'\n");
        for (sql, path) in [
            (
                r#"{ uri: "postgres://u:${X}@h/d", warehouse: w }"#,
                "iceberg.sql.uri",
            ),
            ("{ uri: '${X}', warehouse: w }", "iceberg.sql.uri"),
            ("{ uri: u, warehouse: \"a ${X:-b}\" }", "iceberg.sql.warehouse"),
        ] {
            let error = parse(&text(sql), environment()).unwrap_err();
            assert!(error.message().contains(&format!("`{path}`")), "{error}");
            assert!(!error.to_string().contains("has"), "{error}");
        }
        for sql in [
            "\n    uri: u${X}\n    warehouse: w",
            "{ uri: \"$${X}\", warehouse: w }",
        ] {
            assert!(parse(&text(sql), environment()).is_ok(), "{sql}");
        }
    }

    #[test]
    fn what_the_documentation_shows_can_be_loaded() {
        let text = include_str!("../../../../docs/getting-started.md");
        let names = ["SOURCE", "TARGET", "CATALOG"].map(|name| format!("{name}_PASSWORD"));
        let names = names
            .into_iter()
            .chain(["CATALOG_TOKEN", "POLARIS_SECRET", "MINIO_SECRET"].map(String::from));
        let variables: Vec<_> = names.map(|name| (name, "secret".to_owned())).collect();
        let blocks: Vec<_> = text
            .split("```yaml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap_or_default())
            .collect();
        assert_eq!(blocks.len(), 8);
        for block in blocks {
            let whole = match block.starts_with("sync:") {
                true => block.to_owned(),
                false => format!(
                    "sync: s\nsource: {{ sqlserver: {{ host: h, database: d, user: u, password: p }} }}\ntables: [{{ table: a.b }}]\n{block}"
                ),
            };
            let loaded = parse(&whole, variables.clone()).and_then(|config| config.validate());
            assert!(loaded.is_ok(), "{block}: {loaded:?}");
        }
    }

    #[test]
    fn a_damaged_configuration_is_no_panic() {
        let variables =
            || ["SOURCE_PASSWORD", "TARGET_PASSWORD", "X"].map(|name| (name.to_owned(), "secret".to_owned()));
        test_support::damage(&[include_str!("../../example.yaml")], |damaged| {
            let Ok(text) = std::str::from_utf8(damaged) else {
                return false;
            };
            match parse(text, variables()).and_then(|config| config.validate()) {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
                    assert!(!error.to_string().contains("secret"), "{error}");
                    false
                }
            }
        });
    }
}
