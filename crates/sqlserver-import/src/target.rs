//! The target table as the sink writes it: which column takes which, and how two values are compared byte for byte.

use std::sync::Arc;

use model::{DeclaredType, Error, ErrorKind, Result, TableSchema};
use sqlserver_client::{ColumnInfo, SqlType, TableInfo, quote, variant};

/// A column of the target that is written.
#[derive(Debug, Clone)]
pub(crate) struct TargetColumn {
    /// Its name in the target.
    pub(crate) name: String,
    /// Its index in the staged rows' schema.
    pub(crate) source: usize,
    pub(crate) ty: SqlType,
    /// The type that it is loaded with, if that is another one; the server converts.
    pub(crate) travels_as: Option<SqlType>,
    pub(crate) collation: Option<String>,
    pub(crate) identity: bool,
    pub(crate) in_key: bool,
    /// Whether the source is known to take the same values for equal as this column does.
    pub(crate) compares_alike: bool,
}

impl TargetColumn {
    /// Its name in a staging table. Target names could clash with the column of operations.
    pub(crate) fn staged(&self) -> String {
        format!("c{}", self.source)
    }

    /// The staged value as the target takes it, of the staging table's alias `s`.
    pub(crate) fn value(&self) -> String {
        let staged = format!("s.{}", self.staged());
        match self.ty {
            SqlType::Json | SqlType::Vector { .. } => format!("CAST({staged} AS {})", self.ty),
            _ => staged,
        }
    }

    /// Its type in a staging table while rows are loaded.
    pub(crate) fn loaded(&self) -> SqlType {
        self.travels_as.unwrap_or(self.ty).loadable()
    }

    /// Whether an UPDATE sets it.
    pub(crate) fn is_updated(&self) -> bool {
        !self.identity && !self.in_key
    }

    /// Whether it is a key column in which equal values can have different bytes: `abc`, `ABC` and `abc `.
    pub(crate) fn has_spellings(&self) -> bool {
        !self.identity && self.in_key && (self.ty.is_text() || self.ty.is_binary())
    }

    /// Whether other bytes of a key are the same row, spelled anew.
    pub(crate) fn is_respelled(&self) -> bool {
        self.has_spellings() && self.compares_alike
    }

    /// Whether other bytes of a key may be another row of the source, for which the target has no place.
    pub(crate) fn can_collide(&self) -> bool {
        self.has_spellings() && !self.compares_alike
    }

    /// Whether the server can tell if two of its values are the same: a vector has no form that shows every bit.
    pub(crate) fn has_image(&self) -> bool {
        !matches!(self.ty, SqlType::Vector { .. })
    }

    /// Expressions that are equal exactly if the values have the same bytes. Comparison itself goes by collation, pads blanks, takes
    /// `0x` for `0x00` and compares instants.
    pub(crate) fn image(&self, column: &str) -> String {
        match self.ty {
            SqlType::Text => sized(&format!("CAST({column} AS varchar(max))")),
            SqlType::NText => sized(&format!("CAST({column} AS nvarchar(max))")),
            SqlType::Xml => format!("CAST({column} AS varbinary(max))"),
            SqlType::SqlVariant => variant::image(column),
            ty if ty.is_clr() => sized(&format!("CAST({column} AS varbinary(max))")),
            SqlType::Json => sized(&format!("CAST({column} AS nvarchar(max))")),
            SqlType::Real | SqlType::Float => format!("CAST({column} AS varbinary(8))"),
            SqlType::DateTimeOffset { .. } => format!("CONVERT(char(34), {column}, 121)"),
            ty if ty.is_text() || ty.is_binary() => sized(column),
            _ => column.to_owned(),
        }
    }
}

fn sized(column: &str) -> String {
    format!("CAST({column} AS varbinary(max)), DATALENGTH({column})")
}

/// The target as far as rows are concerned.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The quoted name.
    pub(crate) table: String,
    pub(crate) columns: Vec<TargetColumn>,
    pub(crate) keyed: bool,
    /// Whether MERGE is safe on it.
    pub(crate) mergeable: bool,
    /// Whether rows that are surely new can be loaded into it without a staging table: nothing has to be converted, compared or told of
    /// them.
    pub(crate) takes_rows_straight: bool,
}

impl Target {
    /// Whether two keys that the target takes for one can have different bytes.
    pub(crate) fn has_spellings(&self) -> bool {
        self.columns.iter().any(TargetColumn::has_spellings)
    }

    /// Assigns the columns of `schema` to those of the table. Columns that the server fills are left out.
    pub(crate) fn new(info: &TableInfo, schema: &Arc<TableSchema>) -> Result<Self> {
        let mut columns = Vec::new();
        for (source, field) in schema.arrow().fields().iter().enumerate() {
            let column = find(info, field.name()).ok_or_else(|| missing(info, field.name()))?;
            if !column.is_writable() {
                continue;
            }
            let ty = column.ty.mapped(&column.name)?;
            if !ty.accepts(field.data_type()) {
                return Err(Error::new(
                    ErrorKind::SchemaMismatch,
                    format!(
                        "column {:?} of {} has the type {ty}, which takes no values of type {}",
                        column.name,
                        info.name,
                        field.data_type()
                    ),
                ));
            }
            columns.push(TargetColumn {
                name: column.name.clone(),
                source,
                ty,
                travels_as: column.travels_as(),
                collation: column.collation.clone(),
                identity: column.identity,
                in_key: schema.key().contains(&source),
                compares_alike: compares_alike(schema.declared()[source].as_ref(), column, ty),
            });
        }
        let keys = columns.iter().filter(|column| column.in_key).count();
        if keys != schema.key().len() {
            return Err(Error::new(
                ErrorKind::SchemaMismatch,
                format!(
                    "a key column of {} is filled by the server, so rows cannot be told apart",
                    info.name
                ),
            ));
        }
        let as_it_comes = |column: &TargetColumn| {
            let converted = column.travels_as.is_some() || column.ty.loadable() != column.ty;
            !converted && !column.identity && !column.has_spellings() && column.ty != SqlType::SqlVariant
        };
        Ok(Self {
            table: quote::table(&info.name),
            // A default of a column that is not written would not be looked at.
            takes_rows_straight: schema.has_key()
                && info.triggers.is_empty()
                && info.columns.iter().filter(|column| column.is_writable()).count() == columns.len()
                && columns.iter().all(as_it_comes),
            columns,
            keyed: schema.has_key(),
            mergeable: !info.has_indexed_view && info.indexes.iter().all(|index| !index.filtered),
        })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &TargetColumn> {
        self.columns.iter().filter(|column| column.in_key)
    }

    /// Whether rows bring values for an identity column.
    pub(crate) fn has_identity(&self) -> bool {
        self.columns.iter().any(|column| column.identity)
    }
}

/// Whether the source's declared column and the target's take the same values for equal.
fn compares_alike(declared: Option<&DeclaredType>, column: &ColumnInfo, ty: SqlType) -> bool {
    declared.is_some_and(|declared| match declared.declared.parse::<SqlType>() {
        Ok(source) if ty.is_text() => {
            // A SQL collation compares varchar by a table of its own, and nvarchar as Windows does.
            let one_rule = |collation: &String| {
                !collation.starts_with("SQL_") || source.is_national() == ty.is_national()
            };
            source.is_text()
                && declared.collation == column.collation
                && column.collation.as_ref().is_none_or(one_rule)
        }
        Ok(source) => source.is_binary() == ty.is_binary(),
        Err(_) => false,
    })
}

/// A column by its name; another case is taken if no column has this one.
pub(crate) fn find<'a>(info: &'a TableInfo, name: &str) -> Option<&'a ColumnInfo> {
    info.column(name).or_else(|| {
        let mut alike = info
            .columns
            .iter()
            .filter(|column| column.name.eq_ignore_ascii_case(name));
        alike.next().filter(|_| alike.next().is_none())
    })
}

fn missing(info: &TableInfo, name: &str) -> Error {
    Error::new(
        ErrorKind::SchemaMismatch,
        format!("table {} has no column {name:?}", info.name),
    )
    .hint("add the column to the target, or exclude it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlserver_client::ColumnType;

    #[test]
    fn only_a_declared_source_of_the_same_comparison_compares_alike() {
        let declared = |ty: &str, collation: Option<&str>| {
            Some(DeclaredType {
                declared: ty.into(),
                collation: collation.map(str::to_owned),
            })
        };
        let (ci, cs) = ("Latin1_General_CI_AS", "Latin1_General_CS_AS");
        let sql = Some("SQL_Latin1_General_CP1_CI_AS");
        for (source, target, collation, alike) in [
            (declared("varchar(9)", Some(ci)), "varchar(9)", Some(ci), true),
            (declared("varchar(9)", Some(cs)), "varchar(9)", Some(ci), false),
            (declared("varchar(9)", None), "varchar(9)", Some(ci), false),
            (declared("varchar(9)", Some(ci)), "nvarchar(9)", Some(ci), true),
            (declared("char(9)", sql), "varchar(9)", sql, true),
            (declared("varchar(9)", sql), "nvarchar(9)", sql, false),
            (declared("nvarchar(9)", sql), "varchar(9)", sql, false),
            (declared("int", None), "varchar(9)", Some(ci), false),
            (None, "varchar(9)", Some(ci), false),
            (declared("varbinary(9)", None), "binary(9)", None, true),
            // 0x01 and 0x0100 are two values anywhere but in SQL Server.
            (None, "varbinary(9)", None, false),
        ] {
            let ty = target.parse().unwrap();
            let column = ColumnInfo {
                collation: collation.map(str::to_owned),
                ..ColumnInfo::new("k", ColumnType::Mapped(ty))
            };
            assert_eq!(
                compares_alike(source.as_ref(), &column, ty),
                alike,
                "{source:?} {target}"
            );
        }
    }
}
