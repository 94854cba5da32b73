//! SQL Server's types and the Arrow types that carry them.

use std::fmt;
use std::str::FromStr;

use arrow_schema::{DataType, TimeUnit};
use model::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::row_encoder;

/// The length of a variable type: up to 8,000 bytes (4,000 UTF-16 units), or MAX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Length {
    /// Bytes, or UTF-16 units for the national types.
    Limited(u16),
    /// `max`: up to 2 GB.
    Max,
}

/// A type that is carried over, as declared. Alias types are resolved to these; types without a mapping are
/// [`ColumnType::Unmapped`](crate::ColumnType::Unmapped).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "the variants are T-SQL's type names; the fields are their arguments"
)]
pub enum SqlType {
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Money,
    SmallMoney,
    Real,
    Float,
    Date,
    Time {
        scale: u8,
    },
    SmallDateTime,
    DateTime,
    DateTime2 {
        scale: u8,
    },
    DateTimeOffset {
        scale: u8,
    },
    Char {
        length: u16,
    },
    VarChar {
        length: Length,
    },
    Text,
    NChar {
        length: u16,
    },
    NVarChar {
        length: Length,
    },
    NText,
    Binary {
        length: u16,
    },
    VarBinary {
        length: Length,
    },
    Image,
    UniqueIdentifier,
    RowVersion,
    Xml,
    SqlVariant,
    HierarchyId,
    Geometry,
    Geography,
    /// A type of a user's assembly. Its bytes are carried over, its name is not.
    Clr,
    Json,
    Vector {
        dimensions: u16,
    },
}

/// A loss that a column's type brings with it and that must be allowed by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Loss {
    /// `datetime2(7)` and `datetimeoffset(7)` lose the digit below a microsecond.
    #[serde(rename = "datetime2_7")]
    DateTime2SeventhDigit,
    /// `time(7)` loses the digit below a microsecond.
    #[serde(rename = "time_7")]
    TimeSeventhDigit,
    /// `datetimeoffset` keeps the instant and loses the offset.
    #[serde(rename = "datetimeoffset_offset")]
    Offset,
    /// A type of a user's assembly keeps its bytes and loses its name.
    #[serde(rename = "clr_type")]
    ClrType,
}

impl Loss {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::DateTime2SeventhDigit => "datetime2_7",
            Self::TimeSeventhDigit => "time_7",
            Self::Offset => "datetimeoffset_offset",
            Self::ClrType => "clr_type",
        }
    }

    /// What is lost, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::DateTime2SeventhDigit => "the seventh fractional digit (100 ns) is cut off",
            Self::TimeSeventhDigit => "the seventh fractional digit (100 ns) is cut off",
            Self::Offset => "the instant is kept, the offset from UTC is not",
            Self::ClrType => {
                "the bytes are kept, the type's name is not: a table that is created has varbinary(max)"
            }
        }
    }
}

/// Which losses are allowed. The configuration section `types`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TypePolicy {
    /// Losses that are accepted: `datetime2_7`, `time_7`, `datetimeoffset_offset`, `clr_type`.
    pub allow_loss: Vec<Loss>,
}

impl TypePolicy {
    /// A policy that accepts every loss, for tables whose values are known to come from such types' Arrow form.
    pub fn lenient() -> Self {
        Self {
            allow_loss: vec![
                Loss::DateTime2SeventhDigit,
                Loss::TimeSeventhDigit,
                Loss::Offset,
                Loss::ClrType,
            ],
        }
    }

    /// Checks a column's type.
    ///
    /// # Errors
    ///
    /// `Unsupported` if it loses something that is not allowed; the hint holds the section that allows it.
    pub fn check(&self, column: &str, ty: SqlType) -> Result<()> {
        let refused: Vec<_> = ty
            .losses()
            .iter()
            .filter(|loss| !self.allow_loss.contains(loss))
            .collect();
        let Some(first) = refused.first() else {
            return Ok(());
        };
        let names: Vec<_> = refused.iter().map(|loss| loss.name()).collect();
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "column {column:?} of type {ty} would lose something: {}",
                first.describe()
            ),
        )
        .hint(format!(
            "accept it by `capture: {{ types: {{ allow_loss: [{}] }} }}`, or exclude the column",
            names.join(", ")
        )))
    }
}

/// The longest `hierarchyid`.
const HIERARCHYID_BYTES: u16 = 892;

impl SqlType {
    /// The Arrow type of its values.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Bit => DataType::Boolean,
            Self::TinyInt | Self::SmallInt | Self::Int => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale.cast_signed()),
            Self::Money => DataType::Decimal128(19, 4),
            Self::SmallMoney => DataType::Decimal128(10, 4),
            Self::Real => DataType::Float32,
            Self::Float => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Time { .. } => DataType::Time64(TimeUnit::Microsecond),
            Self::SmallDateTime | Self::DateTime | Self::DateTime2 { .. } => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            Self::DateTimeOffset { .. } => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Char { .. }
            | Self::NChar { .. }
            | Self::VarChar {
                length: Length::Limited(_),
            }
            | Self::NVarChar {
                length: Length::Limited(_),
            } => DataType::Utf8,
            Self::VarChar { length: Length::Max }
            | Self::NVarChar { length: Length::Max }
            | Self::Text
            | Self::NText
            | Self::Xml
            | Self::SqlVariant
            | Self::Json
            | Self::Vector { .. } => DataType::LargeUtf8,
            Self::Binary { .. }
            | Self::RowVersion
            | Self::HierarchyId
            | Self::VarBinary {
                length: Length::Limited(_),
            } => DataType::Binary,
            Self::VarBinary { length: Length::Max }
            | Self::Image
            | Self::Geometry
            | Self::Geography
            | Self::Clr => DataType::LargeBinary,
            Self::UniqueIdentifier => DataType::FixedSizeBinary(16),
        }
    }

    /// What the Arrow form cannot hold.
    pub fn losses(self) -> &'static [Loss] {
        match self {
            Self::DateTime2 { scale: 7 } => &[Loss::DateTime2SeventhDigit],
            Self::Time { scale: 7 } => &[Loss::TimeSeventhDigit],
            Self::DateTimeOffset { scale: 7 } => &[Loss::Offset, Loss::DateTime2SeventhDigit],
            Self::DateTimeOffset { .. } => &[Loss::Offset],
            Self::Clr => &[Loss::ClrType],
            _ => &[],
        }
    }

    /// Whether it holds characters.
    pub fn is_text(self) -> bool {
        self.is_national() || self.is_code_page()
    }

    /// Whether it holds characters in a collation's code page.
    pub fn is_code_page(self) -> bool {
        matches!(self, Self::Char { .. } | Self::VarChar { .. } | Self::Text)
    }

    /// Whether it holds UTF-16 text with a collation.
    pub fn is_national(self) -> bool {
        matches!(self, Self::NChar { .. } | Self::NVarChar { .. } | Self::NText)
    }

    /// The type that holds the same values, and shorter ones without padding them.
    pub fn varying(self) -> Self {
        match self {
            Self::Char { length } => Self::VarChar {
                length: Length::Limited(length),
            },
            Self::NChar { length } => Self::NVarChar {
                length: Length::Limited(length),
            },
            Self::Binary { length } => Self::VarBinary {
                length: Length::Limited(length),
            },
            other => other,
        }
    }

    /// Whether it holds bytes.
    pub fn is_binary(self) -> bool {
        matches!(
            self,
            Self::Binary { .. } | Self::VarBinary { .. } | Self::Image | Self::RowVersion
        )
    }

    /// Whether it is a CLR type, whose bytes are carried over as they are serialised ([MS-SSCLRT]).
    pub fn is_clr(self) -> bool {
        matches!(
            self,
            Self::HierarchyId | Self::Geometry | Self::Geography | Self::Clr
        )
    }

    /// Whether values of an Arrow type can be put into it at all; each value must still fit exactly.
    pub fn accepts(self, arrow: &DataType) -> bool {
        row_encoder::accepts(self.loadable(), arrow)
    }

    /// The type that holds the same values and can be bulk loaded. The deprecated types cannot be, and those that have no
    /// Arrow form of their own come as the text or the bytes that stand for them.
    pub fn loadable(self) -> Self {
        match self {
            Self::Text => Self::VarChar { length: Length::Max },
            Self::NText => Self::NVarChar { length: Length::Max },
            Self::Image => Self::VarBinary { length: Length::Max },
            Self::RowVersion => Self::Binary { length: 8 },
            Self::SqlVariant | Self::Json | Self::Vector { .. } => Self::NVarChar { length: Length::Max },
            Self::HierarchyId => Self::VarBinary {
                length: Length::Limited(HIERARCHYID_BYTES),
            },
            Self::Geometry | Self::Geography | Self::Clr => Self::VarBinary { length: Length::Max },
            other => other,
        }
    }

    /// The most bytes that a value takes in the key of an index; 17 for all that have one short form, of which a decimal is the longest.
    pub fn key_bytes(self) -> u32 {
        match self {
            Self::Char { length } | Self::Binary { length } => length.into(),
            Self::VarChar {
                length: Length::Limited(length),
            }
            | Self::VarBinary {
                length: Length::Limited(length),
            } => length.into(),
            Self::NChar { length }
            | Self::NVarChar {
                length: Length::Limited(length),
            } => u32::from(length) * 2,
            Self::HierarchyId => HIERARCHYID_BYTES.into(),
            _ => 17,
        }
    }

    /// Whether it can be part of an index key.
    pub fn is_indexable(self) -> bool {
        !matches!(
            self,
            Self::Text
                | Self::NText
                | Self::Image
                | Self::Xml
                | Self::SqlVariant
                | Self::Geometry
                | Self::Geography
                | Self::Clr
                | Self::Json
                | Self::Vector { .. }
                | Self::VarChar { length: Length::Max }
                | Self::NVarChar { length: Length::Max }
                | Self::VarBinary { length: Length::Max }
        )
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bit => f.write_str("bit"),
            Self::TinyInt => f.write_str("tinyint"),
            Self::SmallInt => f.write_str("smallint"),
            Self::Int => f.write_str("int"),
            Self::BigInt => f.write_str("bigint"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Money => f.write_str("money"),
            Self::SmallMoney => f.write_str("smallmoney"),
            Self::Real => f.write_str("real"),
            Self::Float => f.write_str("float"),
            Self::Date => f.write_str("date"),
            Self::Time { scale } => write!(f, "time({scale})"),
            Self::SmallDateTime => f.write_str("smalldatetime"),
            Self::DateTime => f.write_str("datetime"),
            Self::DateTime2 { scale } => write!(f, "datetime2({scale})"),
            Self::DateTimeOffset { scale } => write!(f, "datetimeoffset({scale})"),
            Self::Char { length } => write!(f, "char({length})"),
            Self::VarChar { length } => write!(f, "varchar({length})"),
            Self::Text => f.write_str("text"),
            Self::NChar { length } => write!(f, "nchar({length})"),
            Self::NVarChar { length } => write!(f, "nvarchar({length})"),
            Self::NText => f.write_str("ntext"),
            Self::Binary { length } => write!(f, "binary({length})"),
            Self::VarBinary { length } => write!(f, "varbinary({length})"),
            Self::Image => f.write_str("image"),
            Self::UniqueIdentifier => f.write_str("uniqueidentifier"),
            Self::RowVersion => f.write_str("rowversion"),
            Self::Xml => f.write_str("xml"),
            Self::SqlVariant => f.write_str("sql_variant"),
            Self::HierarchyId => f.write_str("hierarchyid"),
            Self::Geometry => f.write_str("geometry"),
            Self::Geography => f.write_str("geography"),
            Self::Clr => f.write_str("of a user's assembly"),
            Self::Json => f.write_str("json"),
            Self::Vector { dimensions } => write!(f, "vector({dimensions})"),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(length) => write!(f, "{length}"),
            Self::Max => f.write_str("max"),
        }
    }
}

fn unmapped(text: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the SQL Server type {text:?} is not mapped"),
    )
    .hint("exclude the column, or convert it to a mapped type in a view")
}

impl FromStr for SqlType {
    type Err = Error;

    /// Reads a declared type: `nvarchar(10)`, `numeric(18, 2)`, `float(24)`, `timestamp`. Case does not count.
    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim().to_ascii_lowercase();
        let (name, arguments) = match lower.split_once('(') {
            Some((name, rest)) => {
                let inner = rest.trim_end().strip_suffix(')').ok_or_else(|| unmapped(text))?;
                (name.trim(), inner.split(',').map(str::trim).collect())
            }
            None => (lower.as_str(), Vec::new()),
        };
        parse(name, &arguments).ok_or_else(|| unmapped(text))
    }
}

fn parse(name: &str, arguments: &[&str]) -> Option<SqlType> {
    let number = |i: usize, default: u16, most: u16| match arguments.get(i) {
        None => Some(default),
        Some(text) => text.parse::<u16>().ok().filter(|n| *n <= most),
    };
    let small = |i, default, most| number(i, default, most).and_then(|n| u8::try_from(n).ok());
    let length = |most| match arguments.first() {
        Some(&"max") => Some(Length::Max),
        _ => number(0, 1, most).filter(|n| *n > 0).map(Length::Limited),
    };
    let fixed = |most| number(0, 1, most).filter(|n| *n > 0);
    let most_arguments = match name {
        "decimal" | "numeric" => 2,
        "time" | "datetime2" | "datetimeoffset" | "char" | "varchar" | "nchar" | "nvarchar" | "binary"
        | "varbinary" | "float" | "vector" => 1,
        _ => 0,
    };
    if arguments.len() > most_arguments {
        return None;
    }
    Some(match name {
        "bit" => SqlType::Bit,
        "tinyint" => SqlType::TinyInt,
        "smallint" => SqlType::SmallInt,
        "int" => SqlType::Int,
        "bigint" => SqlType::BigInt,
        "decimal" | "numeric" => {
            let (precision, scale) = (small(0, 18, 38)?, small(1, 0, 38)?);
            (precision >= 1 && scale <= precision).then_some(SqlType::Decimal { precision, scale })?
        }
        "money" => SqlType::Money,
        "smallmoney" => SqlType::SmallMoney,
        "real" => SqlType::Real,
        "float" if number(0, 53, 53)? <= 24 => SqlType::Real,
        "float" => SqlType::Float,
        "date" => SqlType::Date,
        "time" => SqlType::Time {
            scale: small(0, 7, 7)?,
        },
        "smalldatetime" => SqlType::SmallDateTime,
        "datetime" => SqlType::DateTime,
        "datetime2" => SqlType::DateTime2 {
            scale: small(0, 7, 7)?,
        },
        "datetimeoffset" => SqlType::DateTimeOffset {
            scale: small(0, 7, 7)?,
        },
        "char" => SqlType::Char { length: fixed(8000)? },
        "varchar" => SqlType::VarChar {
            length: length(8000)?,
        },
        "text" => SqlType::Text,
        "nchar" => SqlType::NChar { length: fixed(4000)? },
        "nvarchar" => SqlType::NVarChar {
            length: length(4000)?,
        },
        "ntext" => SqlType::NText,
        "binary" => SqlType::Binary { length: fixed(8000)? },
        "varbinary" => SqlType::VarBinary {
            length: length(8000)?,
        },
        "image" => SqlType::Image,
        "uniqueidentifier" => SqlType::UniqueIdentifier,
        "rowversion" | "timestamp" => SqlType::RowVersion,
        "xml" => SqlType::Xml,
        "sql_variant" => SqlType::SqlVariant,
        "hierarchyid" => SqlType::HierarchyId,
        "geometry" => SqlType::Geometry,
        "geography" => SqlType::Geography,
        "json" => SqlType::Json,
        "vector" => SqlType::Vector {
            dimensions: number(0, 0, 1998).filter(|n| *n > 0)?,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_text() {
        for text in [
            "bit",
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "decimal(38,38)",
            "decimal(1,0)",
            "money",
            "smallmoney",
            "real",
            "float",
            "date",
            "time(0)",
            "time(7)",
            "smalldatetime",
            "datetime",
            "datetime2(7)",
            "datetimeoffset(3)",
            "char(8000)",
            "varchar(1)",
            "varchar(max)",
            "text",
            "nchar(4000)",
            "nvarchar(4000)",
            "nvarchar(max)",
            "ntext",
            "binary(8000)",
            "varbinary(8000)",
            "varbinary(max)",
            "image",
            "uniqueidentifier",
            "rowversion",
            "xml",
            "sql_variant",
            "hierarchyid",
            "geometry",
            "geography",
            "json",
            "vector(1998)",
        ] {
            assert_eq!(text.parse::<SqlType>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn synonyms_and_defaults_are_read() {
        for (text, shown) in [
            ("NUMERIC(18, 2)", "decimal(18,2)"),
            ("numeric", "decimal(18,0)"),
            ("timestamp", "rowversion"),
            ("float(24)", "real"),
            ("float(25)", "float"),
            ("time", "time(7)"),
            ("datetime2", "datetime2(7)"),
            ("varchar", "varchar(1)"),
            (" nvarchar ( 10 ) ", "nvarchar(10)"),
        ] {
            assert_eq!(text.parse::<SqlType>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_not_mapped_is_refused_by_name() {
        for text in [
            "vector",
            "vector(1999)",
            "vector(3, float16)",
            "xml(4)",
            "dbo.MyType",
            "",
            "decimal(39,0)",
            "decimal(2,3)",
            "varchar(0)",
            "varchar(8001)",
            "nvarchar(4001)",
            "time(8)",
            "int(4)",
            "varchar(10",
            "datetime(3)",
        ] {
            let error = text.parse::<SqlType>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains(text), "{error}");
        }
    }

    #[test]
    fn a_loss_is_refused_with_the_yaml_that_allows_it() {
        let none = TypePolicy::default();
        let digits = TypePolicy {
            allow_loss: vec![Loss::DateTime2SeventhDigit],
        };
        let kept = ["datetime2(6)", "time(6)", "datetime", "rowversion"];
        for text in kept {
            assert!(none.check("c", text.parse().unwrap()).is_ok(), "{text}");
        }
        for (text, lines) in [
            ("datetime2(7)", "allow_loss: [datetime2_7]"),
            ("time(7)", "allow_loss: [time_7]"),
            ("datetimeoffset(0)", "allow_loss: [datetimeoffset_offset]"),
            (
                "datetimeoffset(7)",
                "allow_loss: [datetimeoffset_offset, datetime2_7]",
            ),
        ] {
            let error = none.check("c", text.parse().unwrap()).unwrap_err();
            assert!(error.advice().contains(lines), "{}", error.advice());
        }
        assert!(digits.check("c", "datetime2(7)".parse().unwrap()).is_ok());
        assert!(digits.check("c", "datetimeoffset(7)".parse().unwrap()).is_err());
        assert!(
            TypePolicy::lenient()
                .check("c", "datetimeoffset(7)".parse().unwrap())
                .is_ok()
        );
    }
}
