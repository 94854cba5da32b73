//! Type names.

use super::Parser;
use crate::ast::{ColumnType, DeclaredType, ObjectName};
use crate::error::{SqlError, SqlResult};
use crate::lexer::TokenKind;
use crate::types::{ClrType, Length, SqlType};

/// The length of `char`, `varchar` and the like when none is written: 1 in declarations.
pub(super) const DECLARED_LENGTH: u16 = 1;
/// The same in CAST and CONVERT.
pub(super) const CAST_LENGTH: u16 = 30;

/// What stood in the parentheses after a type's name.
#[derive(Clone, Copy)]
enum Arguments {
    None,
    Max,
    One(i64),
    Two(i64, i64),
}

impl Parser<'_> {
    /// A built-in type, for CAST and the like.
    pub(super) fn builtin_type(&mut self, default_length: u16) -> SqlResult<SqlType> {
        let line = self.line();
        match self.column_type(default_length)? {
            ColumnType::Builtin(ty) => Ok(ty),
            ColumnType::Alias(name) if name.name.eq_ignore_ascii_case("sysname") => Ok(SqlType::NVarChar {
                len: Length::Chars(128),
            }),
            ColumnType::Alias(name) => {
                let message = format!("Type {} is not a defined system type.", name.name);
                Err(SqlError::new(243, 16, 1, message).at_line(line))
            }
        }
    }

    /// The type of a variable or a parameter.
    pub(super) fn declared_type(&mut self) -> SqlResult<DeclaredType> {
        match self.column_type(DECLARED_LENGTH)? {
            ColumnType::Builtin(ty) => Ok(DeclaredType::Scalar(ty)),
            ColumnType::Alias(name) if name.name.eq_ignore_ascii_case("sysname") => {
                let len = Length::Chars(128);
                Ok(DeclaredType::Scalar(SqlType::NVarChar { len }))
            }
            ColumnType::Alias(name) => Ok(DeclaredType::Table(name)),
        }
    }

    /// A built-in type or the name of an alias type.
    pub(super) fn column_type(&mut self, default_length: u16) -> SqlResult<ColumnType> {
        if self.is_word("NATIONAL") {
            return self.national_type(default_length).map(ColumnType::Builtin);
        }
        let line = self.line();
        let name = if self.eat_words(&["DOUBLE", "PRECISION"]) {
            ObjectName {
                server: None,
                database: None,
                schema: None,
                name: "float".to_owned(),
            }
        } else {
            self.object_name()?
        };
        let system = name
            .schema
            .as_deref()
            .is_none_or(|schema| schema.eq_ignore_ascii_case("sys"));
        let mut lower = name.name.to_ascii_lowercase();
        if matches!(lower.as_str(), "char" | "character" | "binary") && self.eat("VARYING") {
            lower = format!("var{}", lower.replace("character", "char"));
        }
        let arguments = self.type_arguments()?;
        let built_in = if system {
            built_in(&lower, arguments, default_length)
        } else {
            Ok(None)
        };
        match built_in.map_err(|error| error.at_line(line))? {
            Some(ty) => Ok(ColumnType::Builtin(ty)),
            None => Ok(ColumnType::Alias(name)),
        }
    }

    /// `NATIONAL CHAR VARYING (n)` and its relatives.
    fn national_type(&mut self, default_length: u16) -> SqlResult<SqlType> {
        self.expect("NATIONAL")?;
        let text = self.eat("TEXT");
        if !text && !self.eat("CHAR") {
            self.expect("CHARACTER")?;
        }
        let name = match (text, self.eat("VARYING")) {
            (true, _) => "ntext",
            (false, true) => "nvarchar",
            (false, false) => "nchar",
        };
        let arguments = self.type_arguments()?;
        built_in(name, arguments, default_length)?.ok_or_else(|| self.unexpected())
    }

    fn type_arguments(&mut self) -> SqlResult<Arguments> {
        if !self.eat_symbol("(") {
            return Ok(Arguments::None);
        }
        let arguments = if self.eat("MAX") {
            Arguments::Max
        } else if let TokenKind::Word(_) = self.kind(0) {
            // `xml(CONTENT dbo.Schemas)`
            self.eat("CONTENT");
            self.eat("DOCUMENT");
            self.object_name()?;
            Arguments::None
        } else {
            let first = self.integer()?;
            if self.eat_symbol(",") {
                Arguments::Two(first, self.integer()?)
            } else {
                Arguments::One(first)
            }
        };
        self.expect_symbol(")")?;
        Ok(arguments)
    }
}

fn built_in(name: &str, arguments: Arguments, default_length: u16) -> SqlResult<Option<SqlType>> {
    let fixed = |limit: u16| match length(name, arguments, default_length, limit)? {
        Length::Chars(len) => Ok(len),
        Length::Max => Err(invalid_length(name)),
    };
    let ty = match name {
        "bit" => SqlType::Bit,
        "tinyint" => SqlType::TinyInt,
        "smallint" => SqlType::SmallInt,
        "int" | "integer" => SqlType::Int,
        "bigint" => SqlType::BigInt,
        "decimal" | "dec" => {
            let (precision, scale) = precision_and_scale(arguments)?;
            SqlType::Decimal { precision, scale }
        }
        "numeric" => {
            let (precision, scale) = precision_and_scale(arguments)?;
            SqlType::Numeric { precision, scale }
        }
        "money" => SqlType::Money,
        "smallmoney" => SqlType::SmallMoney,
        "real" => SqlType::Real,
        "float" => match arguments {
            Arguments::One(1..=24) => SqlType::Real,
            Arguments::None | Arguments::One(25..=53) => SqlType::Float,
            _ => return Err(invalid_precision(name)),
        },
        "date" => SqlType::Date,
        "time" => SqlType::Time {
            scale: fraction(name, arguments)?,
        },
        "smalldatetime" => SqlType::SmallDateTime,
        "datetime" => SqlType::DateTime,
        "datetime2" => SqlType::DateTime2 {
            scale: fraction(name, arguments)?,
        },
        "datetimeoffset" => SqlType::DateTimeOffset {
            scale: fraction(name, arguments)?,
        },
        "char" | "character" => SqlType::Char { len: fixed(8000)? },
        "varchar" => SqlType::VarChar {
            len: length(name, arguments, default_length, 8000)?,
        },
        "nchar" => SqlType::NChar { len: fixed(4000)? },
        "nvarchar" => SqlType::NVarChar {
            len: length(name, arguments, default_length, 4000)?,
        },
        "text" => SqlType::Text,
        "ntext" => SqlType::NText,
        "image" => SqlType::Image,
        "binary" => SqlType::Binary { len: fixed(8000)? },
        "varbinary" => SqlType::VarBinary {
            len: length(name, arguments, default_length, 8000)?,
        },
        "uniqueidentifier" => SqlType::UniqueIdentifier,
        "rowversion" | "timestamp" => SqlType::RowVersion,
        "xml" => SqlType::Xml,
        "sql_variant" => SqlType::SqlVariant,
        "json" => SqlType::Json,
        "vector" => match arguments {
            Arguments::One(dimensions @ 1..=1998) => SqlType::Vector {
                dimensions: dimensions as u16,
            },
            _ => return Err(SqlError::unsupported("a vector of these dimensions")),
        },
        "hierarchyid" => SqlType::Clr(ClrType::HierarchyId),
        "geometry" => SqlType::Clr(ClrType::Geometry),
        "geography" => SqlType::Clr(ClrType::Geography),
        _ => return Ok(None),
    };
    Ok(Some(ty))
}

fn length(name: &str, arguments: Arguments, default_length: u16, limit: u16) -> SqlResult<Length> {
    match arguments {
        Arguments::None => Ok(Length::Chars(default_length)),
        Arguments::Max => Ok(Length::Max),
        Arguments::One(n) if n >= 1 => match u16::try_from(n) {
            Ok(len) if len <= limit => Ok(Length::Chars(len)),
            _ => {
                let message = format!(
                    "The size ({n}) given to the type '{name}' exceeds the maximum allowed for any data type ({limit})."
                );
                Err(SqlError::new(131, 15, 3, message))
            }
        },
        _ => Err(invalid_length(name)),
    }
}

fn precision_and_scale(arguments: Arguments) -> SqlResult<(u8, u8)> {
    let (precision, scale) = match arguments {
        Arguments::None => (18, 0),
        Arguments::One(precision) => (precision, 0),
        Arguments::Two(precision, scale) => (precision, scale),
        Arguments::Max => return Err(invalid_length("decimal")),
    };
    if !(1..=38).contains(&precision) {
        let message =
            format!("The size ({precision}) given to the type 'decimal' exceeds the maximum allowed (38).");
        return Err(SqlError::new(2750, 16, 1, message));
    }
    if !(0..=precision).contains(&scale) {
        let message = "The scale must be less than or equal to the precision.";
        return Err(SqlError::new(192, 15, 1, message));
    }
    Ok((precision as u8, scale as u8))
}

/// Digits behind the seconds: seven unless written.
fn fraction(name: &str, arguments: Arguments) -> SqlResult<u8> {
    match arguments {
        Arguments::None => Ok(7),
        Arguments::One(scale @ 0..=7) => Ok(scale as u8),
        _ => Err(invalid_precision(name)),
    }
}

fn invalid_length(name: &str) -> SqlError {
    SqlError::new(
        1001,
        15,
        1,
        format!("Length or precision specification of '{name}' is invalid."),
    )
}

fn invalid_precision(name: &str) -> SqlError {
    SqlError::new(1002, 15, 1, format!("Specified scale of '{name}' is invalid."))
}
