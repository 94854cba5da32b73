//! Names of tables, with any characters in them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind};

/// A table's name: a schema (a namespace in Iceberg) and the name in it.
///
/// The text form is `schema.name`; a part that holds `.`, `[`, `]`, a quote or a blank is put in
/// brackets with `]` doubled, as SQL Server writes it: `[odd.schema].[a ]]b]`. A part is never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    schema: String,
    name: String,
}

impl TableName {
    /// The table `name` in `schema`, both as they are, without quoting.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// The schema, without quoting.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The name in the schema, without quoting.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads `schema.name`; a single part gets `default_schema`.
    pub fn parse(text: &str, default_schema: &str) -> Result<Self, Error> {
        let mut parts = split(text)?;
        match (parts.pop(), parts.pop(), parts.is_empty()) {
            (Some(name), Some(schema), true) => Ok(Self { schema, name }),
            (Some(name), None, _) => Ok(Self::new(default_schema, name)),
            _ => Err(bad(text, "it has more than two parts")),
        }
    }
}

fn bad(text: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("cannot read {text:?} as a table name: {why}"),
    )
    .hint(
        "write schema.name, and put a part with dots, blanks or brackets in brackets: [my.schema].[a table]",
    )
}

fn split(text: &str) -> Result<Vec<String>, Error> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('[') {
            Some(quoted) => unquote(quoted).ok_or_else(|| bad(text, "a bracket is not closed"))?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if part.is_empty() {
            return Err(bad(text, "a part is empty"));
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => {
                return Err(bad(
                    text,
                    "a closing bracket is followed by something other than a dot",
                ));
            }
        }
    }
}

fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find(']')?;
        part.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(']') {
            Some(after) => {
                part.push(']');
                rest = after;
            }
            None => return Some((part, rest)),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, separator) in [(&self.schema, "."), (&self.name, "")] {
            let plain = part
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '#' | '@'));
            if plain {
                write!(f, "{part}{separator}")?;
            } else {
                write!(f, "[{}]{separator}", part.replace(']', "]]"))?;
            }
        }
        Ok(())
    }
}

impl FromStr for TableName {
    type Err = Error;

    /// Reads a two-part name; see [`TableName::parse`] for a default schema.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = split(text)?;
        match (parts.pop(), parts.pop(), parts.is_empty()) {
            (Some(name), Some(schema), true) => Ok(Self { schema, name }),
            _ => Err(bad(text, "it does not have two parts")),
        }
    }
}

impl Serialize for TableName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_survives_its_text() {
        for (schema, name, text) in [
            ("dbo", "Orders", "dbo.Orders"),
            ("odd.schema", "a ]b", "[odd.schema].[a ]]b]"),
            ("s", "]]", "s.[]]]]]"),
            ("s", "quote'\"", "s.[quote'\"]"),
            ("s", "𝒳", "s.[𝒳]"),
            ("größe", "日本", "größe.日本"),
        ] {
            let table = TableName::new(schema, name);
            let shown = table.to_string();
            if name != "𝒳" {
                assert_eq!(shown, text);
            }
            assert_eq!(shown.parse::<TableName>().unwrap(), table);
        }
    }

    #[test]
    fn one_part_takes_the_default_schema_and_bad_text_is_refused() {
        assert_eq!(
            TableName::parse("Orders", "dbo").unwrap(),
            TableName::new("dbo", "Orders")
        );
        for text in ["", ".", "a.", ".b", "a..b", "[a", "[a]b.c", "a.b.c", "[].x"] {
            assert!(TableName::parse(text, "dbo").is_err(), "{text:?} was read");
        }
    }
}
