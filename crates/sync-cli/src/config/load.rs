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
    let text = read(path)?;
    let config = parse(&text, std::env::vars()).map_err(|error| error.with("file", path.display()))?;
    config
        .validate()
        .map_err(|error| error.with("file", path.display()))?;
    Ok(config)
}

/// The text of the file.
pub(super) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::new(ErrorKind::Config, "cannot read the configuration file")
            .with("file", path.display())
            .caused_by(error)
            .hint("name it with --config, or write one with `sync-cli init`")
    })
}

/// Reads the configuration in `text`, with these environment variables.
pub(super) fn parse(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config> {
    let environment: HashMap<String, String> = environment.into_iter().collect();
    refuse_quoted_variables(text, &environment)?;
    // Snippets would print neighbouring lines, and one of them may be a password.
    let options: Options = options! { with_snippet: false };
    let options = options.with_properties(environment);
    serde_saphyr::from_str_with_options(text, options).map_err(|error| explain(text, &error))
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

fn explain(text: &str, error: &serde_saphyr::Error) -> Error {
    if let serde_saphyr::Error::UnresolvedProperty { name, location } = error {
        let line = location.line();
        let why = format!("the environment variable {name} is not set (line {line})");
        return Error::new(ErrorKind::Config, why)
            .hint(format!("export it, or write `${{{name}:-default}}`"));
    }
    let plain = told_without_variables(text, error);
    let error = plain.as_ref().unwrap_or(error);
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

/// The same error of the text as it is written. With variables, all that is read behind the first of them is blotted out in messages, though
/// the text has nothing of their values. `None` where the variable itself is what is wrong.
fn told_without_variables(text: &str, error: &serde_saphyr::Error) -> Option<serde_saphyr::Error> {
    let options: Options = options! { with_snippet: false };
    let plain = serde_saphyr::from_str_with_options::<Config>(text, options).err()?;
    (plain.location() == error.location() && !plain.to_string().contains("${")).then_some(plain)
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
mod tests;
