//! The shape of a table, as every part sees it.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// What the source declared for one column, so that `nvarchar(10)`, `money` and `datetime` come back as
/// themselves. Kept in the Iceberg table property `sync.source-schema`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredType {
    /// The type as the source writes it: `nvarchar(10)`, `money`, `datetime2(3)`.
    #[serde(rename = "type")]
    pub declared: String,
    /// The collation of a character column, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
}

/// The columns, the key and the declared types of a table.
///
/// Arrow types in use, and no others: `Boolean`, `Int32`, `Int64`, `Float32`, `Float64`, `Decimal128`, `Date32`,
/// `Time64(µs)`, `Timestamp(µs)` without zone or with `UTC`, `Utf8`, `LargeUtf8`, `Binary`, `LargeBinary` and
/// `FixedSizeBinary(16)` for a UUID in RFC 4122 byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    arrow: SchemaRef,
    key: Vec<usize>,
    declared: Vec<Option<DeclaredType>>,
}

impl TableSchema {
    /// A schema of `arrow`'s fields. `key` holds indexes of key columns in key order and is empty for a table without
    /// a key; `declared` has one entry per field.
    ///
    /// # Errors
    ///
    /// `SchemaMismatch` if a key index or the number of declared types does not fit, if a key column is
    /// nullable or of floating point, if two columns' names differ at most in case, or if a column's type is not in use.
    pub fn new(arrow: SchemaRef, key: Vec<usize>, declared: Vec<Option<DeclaredType>>) -> Result<Arc<Self>> {
        let fail = |why: String| Err(Error::new(ErrorKind::SchemaMismatch, why));
        if declared.len() != arrow.fields().len() {
            return fail(format!(
                "{} declared types for {} columns",
                declared.len(),
                arrow.fields().len()
            ));
        }
        for (i, field) in arrow.fields().iter().enumerate() {
            if !is_in_use(field.data_type()) {
                return fail(format!(
                    "column {:?} has the Arrow type {}, which is not in use",
                    field.name(),
                    field.data_type()
                ));
            }
            let same = |other: &&FieldRef| other.name().to_lowercase() == field.name().to_lowercase();
            if let Some(other) = arrow.fields()[..i].iter().find(same) {
                return fail(format!(
                    "the columns {:?} and {:?} differ at most in case, and readers take them for one: exclude one of them",
                    other.name(),
                    field.name()
                ));
            }
        }
        for (i, &index) in key.iter().enumerate() {
            let Some(field) = arrow.fields().get(index) else {
                return fail(format!("key column {index} does not exist"));
            };
            if field.is_nullable() || field.data_type().is_floating() || key[..i].contains(&index) {
                return fail(format!(
                    "column {:?} cannot be part of a key: it is nullable, a float or named twice",
                    field.name()
                ));
            }
        }
        Ok(Arc::new(Self { arrow, key, declared }))
    }

    /// The columns.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    /// The indexes of the key columns, in key order; empty for a table without a key.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Whether rows can be told apart by a key. A table without one is a multiset.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The declared type of each column, where the source told one.
    pub fn declared(&self) -> &[Option<DeclaredType>] {
        &self.declared
    }

    /// The names of the key columns, in key order.
    pub fn key_names(&self) -> Vec<&str> {
        self.key
            .iter()
            .map(|&i| self.arrow.field(i).name().as_str())
            .collect()
    }

    /// The columns with nullability relaxed: the shape of a batch that may hold deletes, whose columns outside the
    /// key are NULL if the source did not tell them.
    pub fn relaxed(&self) -> SchemaRef {
        let fields = self.arrow.fields().iter().enumerate().map(|(i, field)| {
            let nullable = field.is_nullable() || !self.key.contains(&i);
            field.as_ref().clone().with_nullable(nullable)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

fn is_in_use(data_type: &DataType) -> bool {
    match data_type {
        DataType::Boolean
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Date32
        | DataType::Time64(TimeUnit::Microsecond)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::FixedSizeBinary(16) => true,
        DataType::Timestamp(TimeUnit::Microsecond, zone) => zone.as_deref().is_none_or(|zone| zone == "UTC"),
        _ => false,
    }
}

/// The place of the column with this name, or else of the only one whose name differs in ASCII case only: SQL Server takes the two for one.
pub fn column_like(columns: &Schema, name: &str) -> Option<usize> {
    let alike = |name: &str| {
        let mut alike = columns.fields().iter().enumerate();
        let place = alike
            .find(|(_, field)| field.name().eq_ignore_ascii_case(name))?
            .0;
        let another = alike.any(|(_, field)| field.name().eq_ignore_ascii_case(name));
        (!another).then_some(place)
    };
    columns.index_of(name).ok().or_else(|| alike(name))
}

#[cfg(test)]
mod tests {
    use arrow_schema::Field;

    use super::*;

    fn schema(fields: &[(&str, DataType, bool)], key: &[usize]) -> Result<Arc<TableSchema>> {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, ty, null)| Field::new(*name, ty.clone(), *null))
            .collect();
        let declared = vec![None; fields.len()];
        TableSchema::new(Arc::new(Schema::new(fields)), key.to_vec(), declared)
    }

    #[test]
    fn a_key_must_tell_rows_apart() {
        use DataType::{Float64, Int32, UInt8, Utf8};
        for (fields, key, fits) in [
            (vec![("a", Int32, false), ("b", Utf8, true)], vec![0], true),
            (vec![("a", Int32, false)], vec![], true),
            (vec![("a", Int32, true)], vec![0], false),
            (vec![("a", Float64, false)], vec![0], false),
            (vec![("a", Int32, false)], vec![1], false),
            (vec![("a", Int32, false)], vec![0, 0], false),
            (vec![("a", Int32, false), ("a", Int32, false)], vec![], false),
            (vec![("a", Int32, false), ("A", Int32, false)], vec![], false),
            (vec![("a", UInt8, false)], vec![], false),
        ] {
            assert_eq!(schema(&fields, &key).is_ok(), fits, "{fields:?} {key:?}");
        }
    }

    #[test]
    fn relaxed_keeps_only_the_key_not_null() {
        let schema = schema(
            &[("a", DataType::Int32, false), ("b", DataType::Int32, false)],
            &[0],
        )
        .unwrap();
        let nullable: Vec<_> = schema
            .relaxed()
            .fields()
            .iter()
            .map(|f| f.is_nullable())
            .collect();
        assert_eq!(nullable, [false, true]);
    }
}
