//! Between [`TableSchema`] and Iceberg's schema, with stable field ids.
//!
//! The key becomes the identifier fields. Iceberg keeps those as a set, so their order is kept in the property
//! [`KEY`]; the types that the source declared are kept by field id in [`SOURCE_SCHEMA`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use model::{DeclaredType, Error, ErrorKind, Result, TableSchema};

use crate::error::iceberg_error;

/// The table property with the declared types: a JSON object from field id to [`DeclaredType`].
pub const SOURCE_SCHEMA: &str = "sync.source-schema";
/// The table property with the field ids of the key in key order, as a JSON array.
pub const KEY: &str = "sync.key";

/// The Iceberg schema of a new table: field ids count up from 1 in column order.
///
/// # Errors
///
/// `Unsupported` for a decimal with a negative scale.
pub fn iceberg_schema(schema: &TableSchema) -> Result<Schema> {
    let mut fields = Vec::with_capacity(schema.arrow().fields().len());
    for (id, field) in (1..).zip(schema.arrow().fields()) {
        let field_type = Type::Primitive(iceberg_type(field)?);
        fields.push(Arc::new(NestedField::new(
            id,
            field.name(),
            field_type,
            !field.is_nullable(),
        )));
    }
    Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(schema.key().iter().map(|&index| index as i32 + 1))
        .build()
        .map_err(iceberg_error(
            "cannot make an Iceberg schema of the table's columns",
        ))
}

/// The properties that keep what an Iceberg schema cannot say. `iceberg` is the schema of the table that they go into.
///
/// # Errors
///
/// `SchemaMismatch` if a column is not in `iceberg`.
pub fn schema_properties(schema: &TableSchema, iceberg: &Schema) -> Result<HashMap<String, String>> {
    let id_of = |index: usize| field_id(iceberg, schema.arrow().field(index).name());
    let mut declared = BTreeMap::new();
    for (index, declared_type) in schema.declared().iter().enumerate() {
        if let Some(declared_type) = declared_type {
            declared.insert(id_of(index)?, declared_type);
        }
    }
    let key = schema
        .key()
        .iter()
        .map(|&index| id_of(index))
        .collect::<Result<Vec<_>>>()?;
    Ok(HashMap::from([
        (SOURCE_SCHEMA.to_owned(), to_json(&declared)?),
        (KEY.to_owned(), to_json(&key)?),
    ]))
}

/// An Iceberg schema in our vocabulary. `properties` are the table's.
///
/// Text comes as `Utf8` and binary as `Binary`, whatever the file says.
///
/// # Errors
///
/// `Unsupported` if a column's type is not in use; `Corrupt` if a property of ours cannot be read.
pub fn table_schema(schema: &Schema, properties: &HashMap<String, String>) -> Result<Arc<TableSchema>> {
    let declared: BTreeMap<i32, DeclaredType> = from_json(properties, SOURCE_SCHEMA)?.unwrap_or_default();
    let mut ids = Vec::new();
    let mut fields = Vec::new();
    for field in schema.as_struct().fields() {
        ids.push(field.id);
        fields.push(Field::new(&field.name, arrow_type(field)?, !field.required));
    }
    let key_ids = match from_json::<Vec<i32>>(properties, KEY)? {
        Some(ordered) if same_set(&ordered, schema) => ordered,
        _ => ids
            .iter()
            .copied()
            .filter(|id| schema.identifier_field_ids().any(|key| key == *id))
            .collect(),
    };
    let key = key_ids
        .iter()
        .filter_map(|id| ids.iter().position(|other| other == id))
        .collect();
    let declared = ids.iter().map(|id| declared.get(id).cloned()).collect();
    TableSchema::new(Arc::new(arrow_schema::Schema::new(fields)), key, declared)
}

/// The field id of each column of `schema`, by name.
///
/// # Errors
///
/// `SchemaMismatch` if a column is not in `iceberg`.
pub fn field_ids(schema: &TableSchema, iceberg: &Schema) -> Result<Vec<i32>> {
    schema
        .arrow()
        .fields()
        .iter()
        .map(|field| field_id(iceberg, field.name()))
        .collect()
}

fn iceberg_type(field: &Field) -> Result<PrimitiveType> {
    Ok(match field.data_type() {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int32 => PrimitiveType::Int,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal128(precision, scale) if *scale >= 0 => PrimitiveType::Decimal {
            precision: u32::from(*precision),
            scale: scale.unsigned_abs().into(),
        },
        DataType::Date32 => PrimitiveType::Date,
        DataType::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Microsecond, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Utf8 | DataType::LargeUtf8 => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary => PrimitiveType::Binary,
        DataType::FixedSizeBinary(16) => PrimitiveType::Uuid,
        other => return Err(unsupported(field.name(), other)),
    })
}

/// The Arrow type of an Iceberg column's values.
///
/// # Errors
///
/// `Unsupported` if the type is not in use.
pub(crate) fn arrow_type(field: &NestedField) -> Result<DataType> {
    let Some(primitive) = field.field_type.as_primitive_type() else {
        return Err(unsupported(&field.name, &field.field_type));
    };
    Ok(match primitive {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Decimal { precision, scale } => match (u8::try_from(*precision), i8::try_from(*scale))
        {
            (Ok(precision), Ok(scale)) => DataType::Decimal128(precision, scale),
            _ => return Err(unsupported(&field.name, primitive)),
        },
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Uuid => DataType::FixedSizeBinary(16),
        PrimitiveType::Binary => DataType::Binary,
        other => return Err(unsupported(&field.name, other)),
    })
}

fn unsupported(column: &str, found: &dyn fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("column {column:?} has the type {found}, which is not mapped"),
    )
    .hint("leave the column out of the sync, or convert it")
}

fn field_id(schema: &Schema, column: &str) -> Result<i32> {
    schema.field_id_by_name(column).ok_or_else(|| {
        Error::new(
            ErrorKind::SchemaMismatch,
            format!("the Iceberg table has no column {column:?}"),
        )
    })
}

fn same_set(ordered: &[i32], schema: &Schema) -> bool {
    let mut ordered = ordered.to_vec();
    let mut identifiers: Vec<i32> = schema.identifier_field_ids().collect();
    ordered.sort_unstable();
    identifiers.sort_unstable();
    ordered == identifiers
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::internal("cannot write a table property as JSON").caused_by(e))
}

fn from_json<T: serde::de::DeserializeOwned>(
    properties: &HashMap<String, String>,
    name: &'static str,
) -> Result<Option<T>> {
    let Some(text) = properties.get(name) else {
        return Ok(None);
    };
    serde_json::from_str(text).map(Some).map_err(|e| {
        Error::new(ErrorKind::Corrupt, "cannot read a table property of ours")
            .with("property", name)
            .hint("remove the property; it is written again by the next run")
            .caused_by(e)
    })
}

#[cfg(test)]
mod tests;
