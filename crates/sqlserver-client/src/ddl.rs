//! DDL: tables from the engine's shapes.

use arrow_schema::{DataType, TimeUnit};
use model::{Error, ErrorKind, Result, TableName, TableSchema};

use crate::{Length, SqlType, quote};

/// A column to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
    /// The collation of a character column; `None` for the database's.
    pub collation: Option<String>,
    /// Whether it may be NULL.
    pub nullable: bool,
}

impl ColumnDefinition {
    /// `[name] type COLLATE … NULL`.
    pub fn sql(&self) -> String {
        let collation = match &self.collation {
            Some(collation) if self.ty.is_text() => format!(" COLLATE {collation}"),
            _ => String::new(),
        };
        let null = if self.nullable { "NULL" } else { "NOT NULL" };
        format!("{} {}{collation} {null}", quote::identifier(&self.name), self.ty)
    }
}

/// An index key of a clustered index has at most so many bytes.
const KEY_BYTES: u16 = 900;

/// Keys that come without a collation are compared as bytes, which is how Iceberg compares them.
const BYTEWISE: &str = "Latin1_General_100_BIN2";

/// The columns of a table for `schema`: declared types where they are known, else those that hold the Arrow type. Key columns are
/// bounded so that they can be indexed.
///
/// # Errors
///
/// `Unsupported` if a key cannot be indexed; `Config` if a declared collation is not a collation's name.
pub fn column_definitions(schema: &TableSchema) -> Result<Vec<ColumnDefinition>> {
    let in_key = |i: usize| schema.key().contains(&i);
    let unbounded_keys = schema
        .key()
        .iter()
        .filter(|&&i| schema.declared().get(i).is_none_or(Option::is_none))
        .count()
        .max(1);
    let share = KEY_BYTES / u16::try_from(unbounded_keys.min(32)).unwrap_or(32);
    let mut columns = Vec::with_capacity(schema.arrow().fields().len());
    for (i, (field, declared)) in schema.arrow().fields().iter().zip(schema.declared()).enumerate() {
        let known = declared
            .as_ref()
            .and_then(|declared| declared.declared.parse::<SqlType>().ok());
        let ty = match known.filter(|ty| holds(*ty, field.data_type())) {
            // The server assigns rowversions; a copy of one is eight bytes.
            Some(SqlType::RowVersion) => SqlType::Binary { length: 8 },
            Some(ty) => ty,
            None => from_arrow(field.data_type(), in_key(i).then_some(share))?,
        };
        if in_key(i) && !ty.is_indexable() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "column {:?} of type {ty} cannot be part of a primary key",
                    field.name()
                ),
            )
            .hint("create the table yourself with a bounded key column, and set `adopt: true`"));
        }
        let collation = match declared.as_ref().and_then(|declared| declared.collation.clone()) {
            Some(collation) => Some(checked_collation(collation)?),
            None if in_key(i) && ty.is_text() => Some(BYTEWISE.to_owned()),
            None => None,
        };
        columns.push(ColumnDefinition {
            name: field.name().clone(),
            ty,
            collation,
            nullable: field.is_nullable(),
        });
    }
    Ok(columns)
}

fn holds(ty: SqlType, arrow: &DataType) -> bool {
    let same_kind = matches!(
        (ty.arrow(), arrow),
        (
            DataType::Utf8 | DataType::LargeUtf8,
            DataType::Utf8 | DataType::LargeUtf8
        ) | (
            DataType::Binary | DataType::LargeBinary,
            DataType::Binary | DataType::LargeBinary
        ) | (
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_))
        )
    );
    same_kind || ty.arrow() == *arrow
}

fn from_arrow(ty: &DataType, key_bytes: Option<u16>) -> Result<SqlType> {
    Ok(match ty {
        DataType::Boolean => SqlType::Bit,
        DataType::Int32 => SqlType::Int,
        DataType::Int64 => SqlType::BigInt,
        DataType::Float32 => SqlType::Real,
        DataType::Float64 => SqlType::Float,
        DataType::Decimal128(precision, scale) => SqlType::Decimal {
            precision: *precision,
            scale: u8::try_from(*scale).map_err(|_| Error::internal("a decimal has a negative scale"))?,
        },
        DataType::Date32 => SqlType::Date,
        DataType::Time64(_) => SqlType::Time { scale: 6 },
        DataType::Timestamp(_, None) => SqlType::DateTime2 { scale: 6 },
        DataType::Timestamp(_, Some(_)) => SqlType::DateTimeOffset { scale: 6 },
        DataType::Utf8 | DataType::LargeUtf8 => SqlType::NVarChar {
            length: key_bytes.map_or(Length::Max, |bytes| Length::Limited(bytes / 2)),
        },
        DataType::Binary | DataType::LargeBinary => SqlType::VarBinary {
            length: key_bytes.map_or(Length::Max, Length::Limited),
        },
        DataType::FixedSizeBinary(16) => SqlType::UniqueIdentifier,
        other => return Err(Error::internal(format!("no SQL Server type holds {other}"))),
    })
}

/// A collation cannot be bound nor quoted, so it must look like one.
pub(crate) fn checked_collation(name: String) -> Result<String> {
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain {
        return Ok(name);
    }
    Err(Error::new(
        ErrorKind::Config,
        format!("{name:?} is no name of a collation"),
    ))
}

/// Creates a schema unless it is there.
pub fn create_schema(name: &str) -> String {
    let create = format!("CREATE SCHEMA {}", quote::identifier(name));
    format!(
        "IF SCHEMA_ID({}) IS NULL EXEC({});",
        quote::literal(name),
        quote::literal(&create)
    )
}

/// Creates a table with a primary key on `key`, or without one.
pub fn create_table(name: &TableName, columns: &[ColumnDefinition], key: &[&str]) -> String {
    let mut parts: Vec<_> = columns.iter().map(ColumnDefinition::sql).collect();
    if !key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", quote::list(key.iter().copied())));
    }
    format!(
        "CREATE TABLE {} (\n  {}\n);",
        quote::table(name),
        parts.join(",\n  ")
    )
}

/// Adds a column, which is NULL in the rows that are there.
pub fn add_column(table: &TableName, column: &ColumnDefinition) -> String {
    let nullable = ColumnDefinition {
        nullable: true,
        ..column.clone()
    };
    format!("ALTER TABLE {} ADD {};", quote::table(table), nullable.sql())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{Field, Schema};
    use model::DeclaredType;

    use super::*;

    type Declared = Option<(&'static str, Option<&'static str>)>;

    fn schema(fields: Vec<(Field, Declared)>, key: &[usize]) -> Arc<TableSchema> {
        let (fields, declared): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        let declared = declared.into_iter().map(|declared| {
            declared.map(|(ty, collation)| DeclaredType {
                declared: ty.to_owned(),
                collation: collation.map(str::to_owned),
            })
        });
        TableSchema::new(Arc::new(Schema::new(fields)), key.to_vec(), declared.collect()).unwrap()
    }

    #[test]
    fn declared_types_come_back_and_others_are_chosen() {
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
        let shape = schema(
            vec![
                (text("code", false), None),
                (
                    text("name", true),
                    Some(("varchar(20)", Some("Latin1_General_CI_AS"))),
                ),
                (
                    Field::new("rv", DataType::Binary, false),
                    Some(("rowversion", None)),
                ),
                (
                    Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
                    Some(("datetime", None)),
                ),
                (text("note", true), None),
                (Field::new("n", DataType::Int64, true), Some(("int", None))),
            ],
            &[0],
        );
        let columns = column_definitions(&shape).unwrap();
        let sql: Vec<_> = columns.iter().map(ColumnDefinition::sql).collect();
        assert_eq!(
            sql,
            [
                "[code] nvarchar(450) COLLATE Latin1_General_100_BIN2 NOT NULL",
                "[name] varchar(20) COLLATE Latin1_General_CI_AS NULL",
                "[rv] binary(8) NOT NULL",
                "[at] datetime NULL",
                "[note] nvarchar(max) NULL",
                "[n] bigint NULL",
            ]
        );
        let create = create_table(&TableName::new("a]", "t"), &columns[..1], &shape.key_names());
        assert_eq!(
            create,
            "CREATE TABLE [a]]].[t] (\n  [code] nvarchar(450) COLLATE Latin1_General_100_BIN2 NOT NULL,\n  PRIMARY KEY ([code])\n);"
        );
    }

    #[test]
    fn keys_share_what_an_index_holds() {
        let shape = schema(
            vec![
                (Field::new("a", DataType::Utf8, false), None),
                (Field::new("b", DataType::Binary, false), None),
            ],
            &[0, 1],
        );
        let columns = column_definitions(&shape).unwrap();
        assert_eq!(columns[0].ty.to_string(), "nvarchar(225)");
        assert_eq!(columns[1].ty.to_string(), "varbinary(450)");
    }

    #[test]
    fn what_cannot_be_created_is_refused() {
        let max = schema(
            vec![(
                Field::new("a", DataType::LargeUtf8, false),
                Some(("nvarchar(max)", None)),
            )],
            &[0],
        );
        assert_eq!(
            column_definitions(&max).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        let odd = schema(
            vec![(
                Field::new("a", DataType::Utf8, false),
                Some(("char(1)", Some("x; DROP"))),
            )],
            &[],
        );
        assert_eq!(column_definitions(&odd).unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn a_column_is_added_as_nullable() {
        let column = ColumnDefinition {
            name: "a]".into(),
            ty: SqlType::Int,
            collation: None,
            nullable: false,
        };
        let sql = add_column(&TableName::new("s", "t"), &column);
        assert_eq!(sql, "ALTER TABLE [s].[t] ADD [a]]] int NULL;");
    }

    #[test]
    fn a_schema_is_created_by_a_quoted_statement() {
        assert_eq!(
            create_schema("o'x]"),
            "IF SCHEMA_ID(N'o''x]') IS NULL EXEC(N'CREATE SCHEMA [o''x]]]');"
        );
    }
}
