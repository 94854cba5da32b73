//! `init`: looks at a database and writes a configuration for it.

use std::io::Write;
use std::path::Path;

use model::{Error, ErrorKind, Result, TableName};
use sqlserver_client::{ColumnType, ConnectOptions, Connection, Secret, TableInfo};

use super::Answer;
use crate::arguments::Init;

/// Writes `config` for what the login sees. A lossy type is written down as allowed, for the reader to decide.
pub(crate) async fn run(init: &Init, config: &Path) -> Result<Answer> {
    let opened = Connection::open(&connect_options(init)?).await;
    let mut connection = opened.map_err(told_by_flags)?;
    let mut tables = String::new();
    let mut notes = Vec::new();
    for summary in connection
        .tables(None)
        .await?
        .into_iter()
        .filter(|table| !table.is_view)
    {
        let table = connection.table_info(&summary.name).await?;
        tables.push_str(&entry(&table, &mut notes));
    }
    if tables.is_empty() {
        return Err(Error::new(
            ErrorKind::NotFound,
            "the database has no table that this login can see",
        )
        .with("database", &init.database)
        .hint("grant SELECT on the tables to the login's user, then run init again"));
    }
    write_new(config, &format!("{}{tables}", head(init)), init.force)?;
    let mut text = format!(
        "wrote {}; next: `sync-cli check`, then `sync-cli run`\n",
        config.display()
    );
    for note in &notes {
        text.push_str(&format!("note: {note}\n"));
    }
    Answer::new(text, &serde_json::json!({ "file": config, "notes": notes }))
}

/// The flags for what errors call by its key in the configuration, which is not written yet.
const FLAGS: [(&str, &str); 7] = [
    ("`trust_server_certificate: true`", "`--trust-server-certificate`"),
    ("`server_certificate`", "`--server-certificate FILE`"),
    ("`host_name_in_certificate`", "`--host-name-in-certificate NAME`"),
    ("`host`", "`--host`"),
    ("`port`", "`--port`"),
    ("`database`", "`--database`"),
    (
        "`user` and `password`",
        "`--user` and the variable that `--password-env` names",
    ),
];

fn told_by_flags(error: Error) -> Error {
    let by_keys = error.advice().to_owned();
    if by_keys == ErrorKind::Config.advice() {
        return error.hint("correct the flags; `sync-cli init --help` has all of them");
    }
    error.hint(
        FLAGS
            .iter()
            .fold(by_keys, |advice, (key, flag)| advice.replace(key, flag)),
    )
}

fn connect_options(init: &Init) -> Result<ConnectOptions> {
    let password = std::env::var(&init.password_env).map_err(|_| {
        Error::new(
            ErrorKind::Config,
            format!("the environment variable {} is not set", init.password_env),
        )
        .hint("put the login's password there, or name another variable with --password-env")
    })?;
    let mut options = ConnectOptions::new(
        &init.host,
        init.port,
        &init.database,
        &init.user,
        Secret::new(password),
    );
    options.trust_server_certificate = init.trust_server_certificate;
    options.server_certificate = init.server_certificate.clone();
    options.host_name_in_certificate = init.host_name_in_certificate.clone();
    Ok(options)
}

fn head(init: &Init) -> String {
    let mut certificate = String::new();
    if let Some(file) = &init.server_certificate {
        let file = scalar(&file.display().to_string());
        certificate.push_str(&format!("    server_certificate: {file}\n"));
    }
    if let Some(name) = &init.host_name_in_certificate {
        certificate.push_str(&format!("    host_name_in_certificate: {}\n", scalar(name)));
    }
    if init.trust_server_certificate {
        certificate.push_str("    trust_server_certificate: true\n");
    }
    format!(
        "# Written by `sync-cli init`. `sync-cli config example` shows more, `sync-cli config schema` has all of it.\n\
         sync: {}\n\
         source:\n  sqlserver:\n    host: {}\n    port: {}\n    database: {}\n    user: {}\n    password: ${{{}}}\n{certificate}\
         iceberg:\n  filesystem:\n    warehouse: {}\n\
         tables:\n",
        scalar(&sync_name(&init.database)),
        scalar(&init.host),
        init.port,
        scalar(&init.database),
        scalar(&init.user),
        init.password_env,
        scalar(&init.warehouse.display().to_string()),
    )
}

/// The database's name, as far as a sync may be called that.
fn sync_name(database: &str) -> String {
    database
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn entry(table: &TableInfo, notes: &mut Vec<String>) -> String {
    let mut losses = Vec::new();
    let mut excluded = Vec::new();
    for column in &table.columns {
        match &column.ty {
            ColumnType::Mapped(ty) => losses.extend(ty.losses().iter().map(|loss| loss.name())),
            ColumnType::Unmapped(ty) => {
                notes.push(format!(
                    "{}: column {:?} is left out, because the type {ty} is not mapped",
                    table.name, column.name
                ));
                excluded.push(scalar(&column.name));
            }
        }
    }
    losses.sort_unstable();
    losses.dedup();
    if table.key().is_none() {
        notes.push(format!("{}: has no key, so every run reads it whole", table.name));
    }
    let mut capture = String::new();
    if table.key().is_none() {
        capture.push_str("      mode: full\n");
    }
    if !excluded.is_empty() {
        capture.push_str(&format!(
            "      columns: {{ exclude: [{}] }}\n",
            excluded.join(", ")
        ));
    }
    if !losses.is_empty() {
        notes.push(format!(
            "{}: {} is allowed; remove it if the digits matter",
            table.name,
            losses.join(", ")
        ));
        capture.push_str(&format!(
            "      types: {{ allow_loss: [{}] }}\n",
            losses.join(", ")
        ));
    }
    let section = if capture.is_empty() {
        String::new()
    } else {
        format!("    capture:\n{capture}")
    };
    format!("  - table: {}\n{section}", table_scalar(&table.name))
}

fn table_scalar(table: &TableName) -> String {
    scalar(&table.to_string())
}

/// A YAML scalar that is read back as this text: plain where that is certain, else in double quotes as JSON has them.
fn scalar(text: &str) -> String {
    let mut characters = text.chars();
    let starts_plain = characters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    let plain =
        starts_plain && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
    );
    if plain && !word {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

fn write_new(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| {
            Error::new(ErrorKind::Config, "cannot write the configuration file")
                .with("file", path.display())
                .caused_by(error)
                .hint("name another file with --config, or replace it with --force")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_is_read_back_as_it_was() {
        for text in [
            "dbo.Orders",
            "[a b].[c: #d]",
            "yes",
            "0123",
            "{x}",
            "quote\"'",
            "größe.日本",
            "",
            "- a",
            "*",
            "a\nb",
            "null",
        ] {
            let read: String = serde_saphyr::from_str(&scalar(text)).unwrap();
            assert_eq!(read, text);
        }
    }
}
