//! `cases/values.yaml`: types and their edges. Each value becomes two cases: as a literal it comes from the server; as a
//! parameter it goes there, is compared with the literal there, and comes back.

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::cases::{Case, Parameter, Step};
use super::clients::family;

/// A type with values at its edges.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edges {
    #[serde(rename = "type")]
    declared: String,
    /// The title of Microsoft's page that gives the range.
    source: String,
    values: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    name: String,
    /// Its text form.
    text: String,
    /// How often the text is repeated, for long values.
    #[serde(default = "once")]
    times: usize,
    /// The literal, where it does not follow from the text.
    #[serde(default)]
    literal: Option<String>,
    /// What comes back, where it is not the text: a padded or rounded value.
    #[serde(default)]
    back: Option<String>,
}

fn once() -> usize {
    1
}

/// The cases of all values, and two of NULL for each type.
pub(crate) fn expand(text: &str) -> Result<Vec<Case>> {
    let edges: Vec<Edges> = serde_saphyr::from_str(text)?;
    let mut cases = Vec::new();
    for edges in &edges {
        let declared = &edges.declared;
        ensure!(!edges.source.is_empty(), "values of {declared} name no source");
        for edge in &edges.values {
            let literal = edge.literal(declared);
            let back = edge.back.clone().unwrap_or_else(|| edge.text.repeat(edge.times));
            cases.push(case(
                declared,
                &format!("{} from the server", edge.name),
                Step {
                    sql: Some(format!("SELECT CAST({literal} AS {declared}) AS v")),
                    rows: Some(back.clone()),
                    ..Step::default()
                },
            ));
            let same = same(declared, &literal);
            cases.push(case(
                declared,
                &format!("{} there and back", edge.name),
                Step {
                    sql: Some(format!("SELECT CAST(@p1 AS {declared}) AS v, {same} AS same")),
                    parameters: vec![vec![Parameter {
                        declared: sent_as(declared).to_owned(),
                        value: Some(edge.text.repeat(edge.times)),
                    }]],
                    rows: Some(format!("{back}|same")),
                    ..Step::default()
                },
            ));
        }
        cases.push(case(
            declared,
            "NULL from the server",
            Step {
                sql: Some(format!("SELECT CAST(NULL AS {declared}) AS v")),
                rows: Some("NULL".to_owned()),
                ..Step::default()
            },
        ));
        cases.push(case(
            declared,
            "NULL there and back",
            Step {
                sql: Some(format!(
                    "SELECT CAST(@p1 AS {declared}) AS v, CASE WHEN @p1 IS NULL THEN 'same' ELSE 'other' END AS same"
                )),
                parameters: vec![vec![Parameter {
                    declared: sent_as(declared).to_owned(),
                    value: None,
                }]],
                rows: Some("NULL|same".to_owned()),
                ..Step::default()
            },
        ));
    }
    Ok(cases)
}

fn case(declared: &str, name: &str, step: Step) -> Case {
    Case {
        group: "values".to_owned(),
        name: format!("{declared} {name}"),
        steps: vec![Step {
            declared: Some(declared.to_owned()),
            ..step
        }],
    }
}

/// What clients have parameters of: the bytes of a CLR type and of a rowversion, the text of a document and in a variant.
fn sent_as(declared: &str) -> &str {
    match family(declared) {
        "hierarchyid" | "geometry" | "geography" => "varbinary(8000)",
        "json" | "sql_variant" => "nvarchar(4000)",
        "rowversion" => "binary(8)",
        _ => declared,
    }
}

/// An expression that says whether the server got the parameter as the literal is.
fn same(declared: &str, literal: &str) -> String {
    let comparable = match family(declared) {
        // These types know no `=`.
        "text" | "xml" => "varchar(max)",
        "ntext" | "json" | "sql_variant" => "nvarchar(max)",
        "rowversion" => "binary(8)",
        "image" | "hierarchyid" | "geometry" | "geography" => "varbinary(max)",
        _ => declared,
    };
    let (sent, meant) = (
        format!("CAST(@p1 AS {comparable})"),
        format!("CAST(CAST({literal} AS {declared}) AS {comparable})"),
    );
    format!(
        "CASE WHEN {sent} = {meant} AND DATALENGTH({sent}) = DATALENGTH({meant}) THEN 'same' ELSE 'other' END"
    )
}

impl Edge {
    fn literal(&self, declared: &str) -> String {
        if let Some(literal) = &self.literal {
            return literal.clone();
        }
        let text = self.text.replace('\'', "''");
        let quoted = match family(declared) {
            "char" | "varchar" | "text" => format!("'{text}'"),
            "nchar" | "nvarchar" | "ntext" | "json" | "sql_variant" => format!("N'{text}'"),
            "bit" | "tinyint" | "smallint" | "int" | "bigint" | "decimal" | "numeric" | "float" | "real"
            | "money" | "smallmoney" => text,
            "binary" | "varbinary" | "image" | "rowversion" | "hierarchyid" | "geometry" | "geography" => {
                text
            }
            _ => format!("'{text}'"),
        };
        match (self.times, family(declared)) {
            (1, _) => quoted,
            (times, "ntext" | "nvarchar") => format!("REPLICATE(CAST({quoted} AS nvarchar(max)), {times})"),
            (times, _) => format!("REPLICATE(CAST({quoted} AS varchar(max)), {times})"),
        }
    }
}
