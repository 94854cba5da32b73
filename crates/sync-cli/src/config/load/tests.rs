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
    let text = include_str!("../../../../../docs/getting-started.md");
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
fn a_variable_is_told_by_its_name_and_never_by_its_value() {
    let text = |line: &str| {
        format!(
            "sync: s\nsource:\n  sqlserver:\n    password: ${{X}}\n    {line}\n    host: h\n    database: d\n    user: u\n\
             iceberg: {{ filesystem: {{ warehouse: w }} }}\ntables: [{{ table: a.b }}]\n"
        )
    };
    for (line, says) in [
        ("port: ${X}", "invalid u16 at line 5"),
        ("encrypt: ${X}", "${X}"),
        ("encrypt: non${X}", "non${X}"),
        ("hots: ${X}", "unknown field `hots`"),
        ("port: ${Y}", "the environment variable Y is not set (line 5)"),
        (
            "port: ${Y}\n    hots: h",
            "the environment variable Y is not set (line 5)",
        ),
    ] {
        let error = parse(&text(line), [("X".to_owned(), "hunter2".to_owned())]).unwrap_err();
        assert!(error.message().contains(says), "{line}: {error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{line}: {error}");
    }
}

/// The sections in braces that the errors and findings of all crates tell people to write. `init.rs` writes its own, below others.
fn advised_sections(directory: &Path) -> Vec<String> {
    let mut sections = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        if path.is_dir() && name != "tests" && name != "sqlserver-emulator" {
            sections.extend(advised_sections(&path));
        } else if name.ends_with(".rs") && !["tests.rs", "init.rs"].contains(&name) {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
            sections.extend(sections_of(&lines.collect::<Vec<_>>().join("\n")));
        }
    }
    sections
}

/// Every `key: { … }` in code, with `VALUE` for what is filled in.
fn sections_of(code: &str) -> Vec<String> {
    let mut sections = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(": {") {
        let (before, section) = (&rest[..at], &rest[at + 2..]);
        let key = before
            .rsplit(|c: char| !c.is_ascii_lowercase() && c != '_')
            .next();
        let key = key.unwrap_or_default();
        let mut depth = 0;
        let length = section.find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        rest = section;
        let Some(section) = length.map(|length| &section[..=length]) else {
            continue;
        };
        let formatted = section.starts_with("{{ ");
        if !key.is_empty() && !section.contains('\n') && (formatted || section.starts_with("{ ")) {
            let told = if formatted {
                filled_in(section)
            } else {
                section.to_owned()
            };
            sections.push(format!("{key}: {told}"));
            rest = &rest[section.len()..];
        }
    }
    sections
}

/// The text that `format!` makes of this.
fn filled_in(format: &str) -> String {
    let (open, close) = ("\u{1}", "\u{2}");
    let mut text = format.replace("{{", open).replace("}}", close);
    while let (Some(from), Some(to)) = (text.find('{'), text.find('}')) {
        text.replace_range(from..=to, "VALUE");
    }
    text.replace(open, "{").replace(close, "}")
}

#[test]
fn what_errors_and_findings_tell_to_write_can_be_loaded() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sections = advised_sections(crates);
    for needed in ["types:", "deletes:", "window:"] {
        let needed = format!("capture: {{ {needed}");
        let found = sections.iter().any(|section| section.starts_with(&needed));
        assert!(found, "{needed} is not in {sections:#?}");
    }
    for section in sections {
        let loads = |value| {
            let section = section.replace("VALUE", value);
            let text = format!(
                "sync: s\niceberg: {{ filesystem: {{ warehouse: w }} }}\ntables:\n- table: a.b\n  {section}\n"
            );
            parse(&text, []).is_ok()
        };
        assert!(loads("7") || loads("datetime2_7"), "{section}");
    }
}

#[test]
fn a_damaged_configuration_is_no_panic() {
    let variables =
        || ["SOURCE_PASSWORD", "TARGET_PASSWORD", "X"].map(|name| (name.to_owned(), "secret".to_owned()));
    test_support::damage(&[include_str!("../../../example.yaml")], |damaged| {
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
