//! Secrets that stand in the file itself, where a variable could be.

use std::path::Path;

use model::Result;
use schemars::schema_for;
use serde_json::Value;
use serde_saphyr::{Options, options};

use super::{Config, load};

/// A secret that is written in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrittenSecret {
    /// Its place, such as `source.sqlserver.password`.
    pub(crate) place: String,
    /// A name for the variable that could hold it.
    pub(crate) variable: String,
}

/// The secrets that are written in the configuration in `path`.
///
/// # Errors
///
/// `Config` if the file cannot be read.
pub(crate) fn written_secrets(path: &Path) -> Result<Vec<WrittenSecret>> {
    Ok(written_in(&load::read(path)?))
}

/// Those in `text`, which can be loaded.
fn written_in(text: &str) -> Vec<WrittenSecret> {
    // Without variables, `${NAME}` stays as it is.
    let options: Options = options! { with_snippet: false };
    let document: Value = serde_saphyr::from_str_with_options(text, options).unwrap_or_default();
    let schema = schema_for!(Config).to_value();
    let mut found = Vec::new();
    look(&schema, &schema["$defs"], &document, &mut Vec::new(), &mut found);
    found
}

/// Looks for secrets in a value that has this schema.
fn look<'a>(
    schema: &Value,
    sections: &Value,
    value: &'a Value,
    place: &mut Vec<&'a str>,
    found: &mut Vec<WrittenSecret>,
) {
    match schema["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix("#/$defs/"))
    {
        Some("Secret") if is_written(value) => found.push(WrittenSecret {
            place: place.join("."),
            variable: variable(place),
        }),
        Some(section) => look(&sections[section], sections, value, place, found),
        None => {}
    }
    for option in schema["anyOf"].as_array().into_iter().flatten() {
        look(option, sections, value, place, found);
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let declared = schema["properties"].get(key);
        place.push(key);
        look(
            declared.unwrap_or(&schema["additionalProperties"]),
            sections,
            value,
            place,
            found,
        );
        place.pop();
    }
}

/// Whether a secret is there and has no variable in it. Of a URL that is its password.
fn is_written(value: &Value) -> bool {
    let text = match value {
        Value::Null => return false,
        Value::String(text) => text.replace("$${", ""),
        other => other.to_string(),
    };
    let secret = match text.split_once("://") {
        None => text.as_str(),
        Some((_, rest)) => {
            let login = rest.rsplit_once('@').map_or("", |(login, _)| login);
            login.split_once(':').map_or("", |(_, password)| password)
        }
    };
    !secret.is_empty() && !secret.contains("${")
}

/// `source.sqlserver.password` → `SOURCE_PASSWORD`.
fn variable(place: &[&str]) -> String {
    let ends = [place.first(), place.last()].into_iter().flatten();
    let name = ends.copied().collect::<Vec<_>>().join("_");
    name.to_ascii_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every secret of the configuration is in it; `SECRET` stands for their values.
    const ALL: &str = "\
sync: s
source: { sqlserver: { host: h, database: d, user: u, password: SECRET } }
target:
  sqlserver: { host: h, database: d, user: u, password: SECRET }
iceberg:
  sql: { uri: 'postgres://u:SECRET@h/d', warehouse: w }
  rest:
    uri: http://h
    token: SECRET
    headers: { X-Api-Key: SECRET }
    oauth2: { client_id: c, client_secret: SECRET }
  storage:
    s3: { access_key_id: a, secret_access_key: SECRET, session_token: SECRET }
    gcs: { service_account_key: SECRET }
    azure: { access_key: SECRET, sas_token: SECRET, client_secret: SECRET }
tables: [{ table: a.b }]
";

    #[test]
    fn every_secret_that_is_written_is_found() {
        let found = written_in(ALL);
        let found: Vec<_> = found
            .iter()
            .map(|secret| (secret.place.as_str(), secret.variable.as_str()))
            .collect();
        let mut expected = vec![
            ("source.sqlserver.password", "SOURCE_PASSWORD"),
            ("target.sqlserver.password", "TARGET_PASSWORD"),
            ("iceberg.sql.uri", "ICEBERG_URI"),
            ("iceberg.rest.token", "ICEBERG_TOKEN"),
            ("iceberg.rest.headers.X-Api-Key", "ICEBERG_X_API_KEY"),
            ("iceberg.rest.oauth2.client_secret", "ICEBERG_CLIENT_SECRET"),
            (
                "iceberg.storage.s3.secret_access_key",
                "ICEBERG_SECRET_ACCESS_KEY",
            ),
            ("iceberg.storage.s3.session_token", "ICEBERG_SESSION_TOKEN"),
            (
                "iceberg.storage.gcs.service_account_key",
                "ICEBERG_SERVICE_ACCOUNT_KEY",
            ),
            ("iceberg.storage.azure.access_key", "ICEBERG_ACCESS_KEY"),
            ("iceberg.storage.azure.sas_token", "ICEBERG_SAS_TOKEN"),
            ("iceberg.storage.azure.client_secret", "ICEBERG_CLIENT_SECRET"),
        ];
        expected.sort_unstable();
        let mut sorted = found;
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn what_comes_from_a_variable_is_no_finding() {
        assert_eq!(written_in(&ALL.replace("SECRET", "\"${X}\"")), []);
    }

    #[test]
    fn only_the_password_of_a_url_is_a_secret() {
        for (uri, written) in [
            ("sqlite:///data/catalog.db", false),
            ("postgres://user@host:5432/db", false),
            ("postgres://user:${PASSWORD}@host/db", false),
            ("postgres://${USER}:hunter2@host/db", true),
            ("postgres://user:$${PASSWORD}@host/db", true),
        ] {
            let text = format!("iceberg:\n  sql:\n    uri: {uri}\n    warehouse: w\n");
            assert_eq!(!written_in(&text).is_empty(), written, "{uri}");
        }
    }
}
