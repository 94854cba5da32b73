//! Reads the file.

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
    refuse_quoted_variables(text)?;
    // Snippets would print neighbouring lines, and one of them may be a password.
    let options: Options = options! { with_snippet: false };
    let options = options.with_properties(environment.into_iter().collect());
    serde_saphyr::from_str_with_options(text, options).map_err(|error| explain(&error))
}

/// `${NAME}` inside quotes stays as it is in YAML, which nobody means.
fn refuse_quoted_variables(text: &str) -> Result<()> {
    for (number, line) in text.lines().enumerate() {
        let value = line.split_once(':').map_or(line, |(_, value)| value).trim_start();
        let quoted = value.starts_with('"') || value.starts_with('\'');
        if quoted && value.contains("${") && !value.contains("$${") {
            let why = format!("line {}: a variable in quotes is not replaced", number + 1);
            return Err(Error::new(ErrorKind::Config, why)
                .hint("remove the quotes around ${…}, or write $${…} for the text itself"));
        }
    }
    Ok(())
}

fn explain(error: &serde_saphyr::Error) -> Error {
    let failed = Error::new(
        ErrorKind::Config,
        format!("cannot use the configuration: {error}"),
    );
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => match nearest(field, expected) {
            Some(near) => failed.hint(format!(
                "did you mean `{near}`? `sync-cli config example` shows every key"
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
