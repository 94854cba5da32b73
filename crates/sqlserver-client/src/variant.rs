//! `sql_variant` as text: `{"type":"varchar(9)","collation":"Latin1_General_CI_AS","value":"a"}`.
//!
//! The type is the value's own, with its length or precision; text has its collation too. The server writes the value in a form that
//! it reads back without loss (CAST and CONVERT): 17 digits of a float, all digits of a time, `0x…` of bytes.

use model::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::ddl::checked_collation;
use crate::{Length, SqlType, quote};

/// The parts of a variant's text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantText {
    /// The type of the value: `decimal(9,2)`.
    #[serde(rename = "type")]
    pub declared: String,
    /// The collation of text.
    #[serde(default)]
    pub collation: Option<String>,
    /// The value in the server's own form.
    pub value: String,
}

impl VariantText {
    /// Reads the text of one value.
    ///
    /// # Errors
    ///
    /// `Data` if it is not such an object.
    pub fn read(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|_| {
            // The parser's own message could quote the value.
            Error::new(
                ErrorKind::Data,
                "a value for a sql_variant is no object with a type and a value",
            )
        })
    }

    /// Type and collation as T-SQL declares them: what [`from_text`] takes.
    pub fn declaration(&self) -> String {
        match &self.collation {
            Some(collation) => format!("{} COLLATE {collation}", self.declared),
            None => self.declared.clone(),
        }
    }
}

/// The expression that writes a column as text.
pub fn json(column: &str) -> String {
    format!(
        "N'{{\"type\":\"' + {} + N'\"' + ISNULL(N',\"collation\":\"' + {} + N'\"', N'') + N',\"value\":\"' + \
         STRING_ESCAPE({}, N'json') + N'\"}}'",
        type_of(column),
        property(column, "Collation", "nvarchar(128)"),
        value_of(column)
    )
}

fn property(column: &str, name: &str, ty: &str) -> String {
    format!("CAST(SQL_VARIANT_PROPERTY({column}, N'{name}') AS {ty})")
}

fn base(column: &str) -> String {
    property(column, "BaseType", "nvarchar(128)")
}

fn type_of(column: &str) -> String {
    let base = base(column);
    // An empty value may have the length 0, which cannot be declared.
    let length = format!("ISNULL(NULLIF({}, 0), 1)", property(column, "MaxLength", "int"));
    let characters = format!(
        "ISNULL(NULLIF({} / 2, 0), 1)",
        property(column, "MaxLength", "int")
    );
    let number = |name| property(column, name, "nvarchar(10)");
    format!(
        "{base} + CASE WHEN {base} IN (N'decimal', N'numeric') THEN N'(' + {} + N',' + {} + N')' \
         WHEN {base} IN (N'time', N'datetime2', N'datetimeoffset') THEN N'(' + {} + N')' \
         WHEN {base} IN (N'char', N'varchar', N'binary', N'varbinary') THEN N'(' + CAST({length} AS nvarchar(10)) + N')' \
         WHEN {base} IN (N'nchar', N'nvarchar') THEN N'(' + CAST({characters} AS nvarchar(10)) + N')' ELSE N'' END",
        number("Precision"),
        number("Scale"),
        number("Scale")
    )
}

/// The expression of a variant's value in the form that [`from_text`] reads.
pub fn value_of(column: &str) -> String {
    let styled = |base: &str, ty: &str, style: u8| {
        format!("WHEN N'{base}' THEN CONVERT(nvarchar(max), CAST({column} AS {ty}), {style}) ")
    };
    let cases = [
        styled("binary", "varbinary(8000)", 1),
        styled("varbinary", "varbinary(8000)", 1),
        styled("float", "float", 3),
        styled("real", "real", 3),
        styled("money", "money", 2),
        styled("smallmoney", "smallmoney", 2),
        styled("date", "date", 121),
        styled("time", "time(7)", 121),
        styled("smalldatetime", "smalldatetime", 126),
        styled("datetime", "datetime", 126),
        styled("datetime2", "datetime2(7)", 121),
        styled("datetimeoffset", "datetimeoffset(7)", 121),
    ];
    format!(
        "CASE {} {}ELSE CAST({column} AS nvarchar(max)) END",
        base(column),
        cases.concat()
    )
}

/// Expressions that are equal exactly if two variants are the same value of the same type.
pub fn image(column: &str) -> String {
    let properties = [
        ("BaseType", "nvarchar(128)"),
        ("Collation", "nvarchar(128)"),
        ("MaxLength", "int"),
        ("Precision", "int"),
        ("Scale", "int"),
    ];
    let properties = properties.map(|(name, ty)| property(column, name, ty)).join(", ");
    format!("CAST({column} AS varbinary(8000)), DATALENGTH({column}), {properties}")
}

/// The expression that makes a variant of the text expression `text`, whose [declaration](VariantText::declaration) is the same in
/// every row.
///
/// # Errors
///
/// `Data` if no `sql_variant` holds such a type; `Config` if the collation is no collation's name.
pub fn from_text(declaration: &str, text: &str) -> Result<String> {
    let (declared, collation) = match declaration.split_once(" COLLATE ") {
        Some((declared, collation)) => (declared, Some(checked_collation(collation.to_owned())?)),
        None => (declaration, None),
    };
    let value = match (declared.parse::<SqlType>()?, collation) {
        (ty, Some(collation)) if ty.is_text() && is_limited(ty) => {
            // The collation comes first: it says which code page the characters go into.
            format!("CAST({text} COLLATE {collation} AS {declared})")
        }
        (
            SqlType::Binary { .. }
            | SqlType::VarBinary {
                length: Length::Limited(_),
            },
            None,
        ) => {
            format!("CONVERT({declared}, {text}, 1)")
        }
        (SqlType::SmallDateTime | SqlType::DateTime, None) => format!("CONVERT({declared}, {text}, 126)"),
        (
            SqlType::Date | SqlType::Time { .. } | SqlType::DateTime2 { .. } | SqlType::DateTimeOffset { .. },
            None,
        ) => format!("CONVERT({declared}, {text}, 121)"),
        (
            SqlType::Bit
            | SqlType::TinyInt
            | SqlType::SmallInt
            | SqlType::Int
            | SqlType::BigInt
            | SqlType::Decimal { .. }
            | SqlType::Money
            | SqlType::SmallMoney
            | SqlType::Real
            | SqlType::Float
            | SqlType::UniqueIdentifier,
            None,
        ) => format!("CAST({text} AS {declared})"),
        _ => {
            return Err(Error::new(
                ErrorKind::Data,
                format!(
                    "a sql_variant holds no value of the type {}",
                    quote::literal(declaration)
                ),
            ));
        }
    };
    Ok(format!("CAST({value} AS sql_variant)"))
}

fn is_limited(ty: SqlType) -> bool {
    ty.is_indexable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart() {
        let text = VariantText::read(r#"{"type":"nchar(2)","collation":"X_CI","value":"a\" "}"#).unwrap();
        assert_eq!(text.declaration(), "nchar(2) COLLATE X_CI");
        assert_eq!(text.value, "a\" ");
        let number = VariantText::read(r#"{"type":"int","value":"-1"}"#).unwrap();
        assert_eq!(number.declaration(), "int");
        for bad in [
            "",
            "1",
            r#"{"type":"int"}"#,
            r#"{"type":"int","value":1}"#,
            r#"{"type":"int","value":"1","x":1}"#,
        ] {
            let error = VariantText::read(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "{bad}");
        }
    }

    #[test]
    fn a_value_is_made_of_its_text_by_its_type() {
        for (declaration, expression) in [
            ("int", "CAST(CAST(t AS int) AS sql_variant)"),
            ("numeric(9,2)", "CAST(CAST(t AS numeric(9,2)) AS sql_variant)"),
            ("varbinary(3)", "CAST(CONVERT(varbinary(3), t, 1) AS sql_variant)"),
            ("datetime", "CAST(CONVERT(datetime, t, 126) AS sql_variant)"),
            (
                "datetimeoffset(3)",
                "CAST(CONVERT(datetimeoffset(3), t, 121) AS sql_variant)",
            ),
            (
                "varchar(9) COLLATE Greek_CI_AS",
                "CAST(CAST(t COLLATE Greek_CI_AS AS varchar(9)) AS sql_variant)",
            ),
        ] {
            assert_eq!(from_text(declaration, "t").unwrap(), expression);
        }
        for bad in [
            "varchar(max) COLLATE X",
            "varchar(9)",
            "int COLLATE X",
            "xml",
            "text COLLATE X",
            "sql_variant",
            "int); DROP TABLE t; --",
            "varchar(9) COLLATE X; DROP TABLE t",
        ] {
            assert!(from_text(bad, "t").is_err(), "{bad}");
        }
    }
}
