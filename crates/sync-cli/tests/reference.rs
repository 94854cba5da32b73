//! Keeps `docs/configuration.md` in step with the types, and the example loadable.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use sync_cli::config::{self, Config};

const HEAD: &str = "# Configuration\n\n\
    One YAML file. Generated from the types by `UPDATE_REFERENCE=1 cargo test --test reference`; a test fails if it is out of step.\n\n\
    Unknown keys are errors. `${NAME}` and `${NAME:-default}` in plain (unquoted) values are replaced by environment variables.\n\
    `sync-cli config example` prints an example, `sync-cli config schema` the JSON schema for editors.\n";

/// The type of a property, in words.
fn type_of(schema: &Value, sections: &mut Vec<String>) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference).to_owned();
        sections.push(name.clone());
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(options) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let options: Vec<_> = options
            .iter()
            .filter(|option| option["type"] != "null")
            .map(|option| type_of(option, sections))
            .collect();
        return options.join(" or ");
    }
    if let Some(value) = schema["const"].as_str() {
        return format!("`{value}`");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let one = |ty: &str, sections: &mut Vec<String>| match ty {
        "array" => format!("list of {}", type_of(&schema["items"], sections)),
        "string" => "text".to_owned(),
        "integer" => "integer".to_owned(),
        other => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(ty) => one(ty, sections),
        Value::Array(types) => {
            let types = types.iter().filter_map(Value::as_str).filter(|ty| *ty != "null");
            types.map(|ty| one(ty, sections)).collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// A section: its description, where it stands in the file, and its keys or its values.
fn section(out: &mut String, title: &str, paths: &[String], schema: &Value) {
    let description = cell(schema["description"].as_str().unwrap_or_default());
    write!(out, "\n## {title}\n\n{description}\n\n").unwrap();
    if !paths.is_empty() {
        let paths: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
        write!(out, "In the file: {}.\n\n", paths.join(", ")).unwrap();
    }
    let Some(properties) = schema["properties"].as_object() else {
        for value in schema["oneOf"].as_array().into_iter().flatten() {
            writeln!(
                out,
                "- {}: {}",
                type_of(value, &mut Vec::new()),
                cell(value["description"].as_str().unwrap_or_default())
            )
            .unwrap();
        }
        return;
    };
    let required: BTreeSet<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    out.push_str("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    for (key, property) in properties {
        let default = match &property["default"] {
            _ if required.contains(key.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            Value::Object(keys) if keys.is_empty() => "`{}`".to_owned(),
            Value::Object(_) => "the section's own defaults".to_owned(),
            value => format!("`{value}`"),
        };
        let meaning = cell(property["description"].as_str().unwrap_or_default());
        writeln!(
            out,
            "| `{key}` | {} | {default} | {meaning} |",
            type_of(property, &mut Vec::new())
        )
        .unwrap();
    }
}

/// The sections that the keys of a section at `path` have, with the paths of those keys.
fn below(path: &str, schema: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let mut sections = Vec::new();
        let many = if type_of(property, &mut sections).starts_with("list") {
            "[]"
        } else {
            ""
        };
        let dot = if path.is_empty() { "" } else { "." };
        found.extend(
            sections
                .into_iter()
                .map(|name| (name, format!("{path}{dot}{key}{many}"))),
        );
    }
    found
}

fn reference() -> String {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let mut waiting = VecDeque::from(below("", &schema));
    let mut order = Vec::new();
    let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some((name, path)) = waiting.pop_front() {
        if !paths.contains_key(&name) {
            order.push(name.clone());
        }
        waiting.extend(below(&path, &schema["$defs"][&name]));
        paths.entry(name).or_default().push(path);
    }
    let mut out = HEAD.to_owned();
    section(&mut out, "The file", &[], &schema);
    for name in order {
        section(&mut out, &name, &paths[&name], &schema["$defs"][&name]);
    }
    out
}

#[test]
fn the_configuration_reference_is_in_step_with_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let wanted = reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/configuration.md is out of step: UPDATE_REFERENCE=1 cargo test --test reference"
    );
}

#[test]
fn every_key_says_what_it_means() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let sections = schema["$defs"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, section)| (name.as_str(), section));
    for (name, section) in sections.chain([("the file", &schema)]) {
        for (key, property) in section["properties"].as_object().into_iter().flatten() {
            assert!(
                property["description"].is_string(),
                "{name}.{key} has no description"
            );
        }
    }
}

fn load(text: &str) -> Result<Config, String> {
    let file = std::env::temp_dir().join(format!(
        "sync-cli-reference-{}-{:x}.yaml",
        std::process::id(),
        text.len()
    ));
    std::fs::write(&file, text).unwrap();
    let loaded = config::load(&file).map_err(|error| format!("{error} → {}", error.advice()));
    std::fs::remove_file(&file).unwrap();
    loaded
}

const SMALL: &str = "\
sync: s
source:
  sqlserver:
    password: hunter2
    host: h
    database: d
    user: u
iceberg:
  filesystem:
    warehouse: /w
tables:
  - table: dbo.*
";

#[test]
fn the_example_loads() {
    let example = include_str!("../example.yaml")
        .replace("${SOURCE_PASSWORD}", "a")
        .replace("${TARGET_PASSWORD}", "b");
    let config = load(&example).unwrap();
    assert_eq!(config.tables.len(), 3);
    assert!(load(SMALL).is_ok());
}

#[test]
fn a_mistake_is_named_with_its_line_and_never_with_the_password() {
    for (from, to, expected) in [
        (
            "    host: h",
            "    hots: h",
            vec!["line 5", "did you mean `host`?"],
        ),
        (
            "    host: h",
            "    host: h\n    port: many",
            vec!["line 6", "u16"],
        ),
        (
            "  filesystem:",
            "  filesytem:",
            vec!["did you mean `filesystem`?"],
        ),
        (
            "    user: u",
            "    user: ${NO_SUCH_VARIABLE_HERE}",
            vec![
                "the environment variable NO_SUCH_VARIABLE_HERE is not set (line 7)",
                "export it, or write `${NO_SUCH_VARIABLE_HERE:-default}`",
            ],
        ),
        (
            "    user: u",
            "    user: \"${HOME}\"",
            vec!["source.sqlserver.user", "quotes"],
        ),
        ("sync: s", "sync: a b", vec!["`sync`"]),
        (
            "  filesystem:\n    warehouse: /w",
            "  storage: {}",
            vec!["exactly one of `filesystem`, `sql` and `rest`"],
        ),
        (
            "    warehouse: /w",
            "    warehouse: /w\n  rest: {uri: http://h, token: hunter2}",
            vec!["exactly one of"],
        ),
        (
            "filesystem:\n    warehouse: /w",
            "rest: {uri: http://h, token: hunter2, sigv4: {service: glue, region: r}}",
            vec!["`iceberg.rest`"],
        ),
        (
            "    warehouse: /w",
            "    warehouse: s3://b/w\n  storage: {s3: {access_key_id: a}}",
            vec!["go together"],
        ),
        ("tables:\n  - table: dbo.*", "tables: []", vec!["`tables`"]),
        (
            "sync: s",
            "sync: s\nobservability: { textfile: metrics.txt }",
            vec!["`observability.textfile`", ".prom"],
        ),
        (
            "sync: s",
            "sync: s\nobservability: { listen: 9464 }",
            vec!["line 2", "socket address"],
        ),
        (
            "sync: s",
            "sync: s\nobservability: { listen: \"127.0.0.1:1\", stale_after: 30s }",
            vec!["`observability.stale_after`", "`run.follow.max_interval`"],
        ),
        ("    host: h", "    host: ''", vec!["`host`"]),
    ] {
        for password in ["hunter2", "${NO_SUCH_VARIABLE:-hunter2}"] {
            let text = SMALL.replace("password: hunter2", &format!("password: {password}"));
            let error = load(&text.replace(from, to)).expect_err(to);
            assert!(expected.iter().all(|part| error.contains(part)), "{to}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

#[test]
fn variables_and_their_defaults_are_replaced() {
    let config = load(&SMALL.replace("user: u", "user: ${NO_SUCH_VARIABLE_HERE:-reader}")).unwrap();
    assert_eq!(config.source.unwrap().sqlserver.user, "reader");
}
