//! Which columns of a data file make up a row of the table, and how their values get the table's types.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use iceberg::metadata_columns::{
    RESERVED_COL_NAME_LAST_UPDATED_SEQUENCE_NUMBER, RESERVED_COL_NAME_ROW_ID,
    RESERVED_FIELD_ID_LAST_UPDATED_SEQUENCE_NUMBER, RESERVED_FIELD_ID_ROW_ID,
};
use iceberg::spec::{Literal, NameMapping, NestedField, PrimitiveLiteral, Struct, TableMetadata, Transform};
use model::{Error, ErrorKind, Result, TableSchema};
use parquet::arrow::ProjectionMask;
use parquet::schema::types::SchemaDescriptor;

use crate::schema::arrow_type;

/// The table property that gives names to field ids for files that carry no ids.
pub const NAME_MAPPING: &str = "schema.name-mapping.default";

/// The field ids and names of the columns that keep a row's identity when it moves to another file.
pub const ROW_IDS: [(i32, &str); 2] = [
    (RESERVED_FIELD_ID_ROW_ID, RESERVED_COL_NAME_ROW_ID),
    (
        RESERVED_FIELD_ID_LAST_UPDATED_SEQUENCE_NUMBER,
        RESERVED_COL_NAME_LAST_UPDATED_SEQUENCE_NUMBER,
    ),
];

/// Columns of a table, by field id, with the Arrow types that a reader wants.
#[derive(Debug, Clone)]
pub struct Projection {
    columns: Vec<Column>,
    schema: SchemaRef,
    name_mapping: Option<Arc<NameMapping>>,
    /// The columns by whose values files are partitioned, with their place in the partition, by partition spec.
    identities: Arc<HashMap<i32, Vec<(i32, usize)>>>,
}

#[derive(Debug, Clone)]
struct Column {
    id: i32,
    /// One value, for rows of files that are older than the column.
    default: Option<ArrayRef>,
}

impl Projection {
    /// The columns of `schema`, found by name in the table's current schema.
    ///
    /// # Errors
    ///
    /// `SchemaMismatch` if the table has no such column; `Unsupported` for a default value of a type that is not in use.
    pub fn of_table(metadata: &TableMetadata, schema: &TableSchema) -> Result<Self> {
        let current = metadata.current_schema();
        let columns = schema.arrow().fields().iter().map(|field| {
            let nested = current.as_struct().field_by_name(field.name()).ok_or_else(|| {
                Error::new(
                    ErrorKind::SchemaMismatch,
                    "the Iceberg table does not have this column",
                )
                .with("column", field.name())
            })?;
            Ok(Column {
                id: nested.id,
                default: initial_default(nested, field.data_type())?,
            })
        });
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
            schema: schema.arrow().clone(),
            name_mapping: name_mapping(metadata)?,
            identities: identities(metadata),
        })
    }

    /// The columns with these field ids, as the current schema has them, or the last that had them: a delete by the values of a
    /// column that was dropped still holds. Any of them may be NULL.
    ///
    /// # Errors
    ///
    /// `Corrupt` if no schema of the table has such a column; `Unsupported` for a type or default that is not in use.
    pub(super) fn of_fields(metadata: &TableMetadata, ids: &[i32]) -> Result<Self> {
        let mut schemas: Vec<_> = metadata.schemas_iter().collect();
        schemas.sort_by_key(|schema| {
            let is_current = schema.schema_id() == metadata.current_schema_id();
            std::cmp::Reverse((is_current, schema.schema_id()))
        });
        let mut columns = Vec::with_capacity(ids.len());
        let mut fields = Vec::with_capacity(ids.len());
        for id in ids {
            let field = schemas.iter().find_map(|schema| schema.field_by_id(*id));
            let field = field.ok_or_else(|| {
                Error::new(
                    ErrorKind::Corrupt,
                    "a delete file names a column that the table never had",
                )
                .with("field id", id)
            })?;
            let data_type = arrow_type(field)?;
            columns.push(Column {
                id: *id,
                default: initial_default(field, &data_type)?,
            });
            fields.push(Field::new(&field.name, data_type, true));
        }
        Ok(Self {
            columns,
            schema: Arc::new(Schema::new(fields)),
            name_mapping: name_mapping(metadata)?,
            identities: identities(metadata),
        })
    }

    /// Columns with these ids, which the file itself must hold under these names.
    pub(super) fn of_ids(columns: impl IntoIterator<Item = (i32, Field)>) -> Self {
        let (columns, fields): (Vec<_>, Vec<_>) = columns
            .into_iter()
            .map(|(id, field)| (Column { id, default: None }, field))
            .unzip();
        Self {
            columns,
            schema: Arc::new(Schema::new(fields)),
            name_mapping: None,
            identities: Arc::default(),
        }
    }

    /// With two more columns at the end, which format v3 has in files whose rows came from others: the row's id, and the sequence number of
    /// its last change. Both are NULL where the file does not say them.
    pub fn with_row_ids(&self) -> Self {
        let mut columns = self.columns.clone();
        let mut fields: Vec<FieldRef> = self.schema.fields().iter().cloned().collect();
        for (id, name) in ROW_IDS {
            columns.push(Column { id, default: None });
            fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
        }
        Self {
            columns,
            schema: Arc::new(Schema::new(fields)),
            name_mapping: self.name_mapping.clone(),
            identities: self.identities.clone(),
        }
    }

    /// Only the columns with these indexes, in this order.
    ///
    /// # Errors
    ///
    /// `Internal` if there is no such column.
    pub fn only(&self, indexes: &[usize]) -> Result<Self> {
        let schema = self.schema.project(indexes).map_err(|error| {
            Error::internal("a projection asks for a column that is not there").caused_by(error)
        })?;
        Ok(Self {
            columns: indexes.iter().map(|&i| self.columns[i].clone()).collect(),
            schema: Arc::new(schema),
            name_mapping: self.name_mapping.clone(),
            identities: self.identities.clone(),
        })
    }

    /// The shape of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The field id of each column.
    pub(crate) fn ids(&self) -> impl Iterator<Item = i32> {
        self.columns.iter().map(|column| column.id)
    }

    /// Finds the columns in one file. What it lacks has the value of its partition, or else a default, or else NULL (Iceberg's
    /// specification, "Column Projection").
    pub(super) fn in_file(
        &self,
        file: &SchemaDescriptor,
        partition: Option<&(i32, Struct)>,
    ) -> Result<FileProjection> {
        let roots = self.roots(file)?;
        let mut wanted: Vec<usize> = roots.iter().flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let columns = roots.iter().zip(&self.columns).zip(self.schema.fields());
        let sources = columns.map(|((root, column), field)| {
            let missing = || {
                Error::new(
                    ErrorKind::Corrupt,
                    "a data file lacks a column that the table requires",
                )
                .with("column", field.name())
            };
            if let Some(index) = root.and_then(|root| wanted.iter().position(|w| *w == root)) {
                return Ok(Source::Column(index));
            }
            let value = match partition.and_then(|partition| self.value_of_partition(column, partition)) {
                Some(Some(value)) => Some(single(value, field.name(), field.data_type())?),
                Some(None) => None,
                None => column.default.clone(),
            };
            match value {
                Some(value) => Ok(Source::Constant(value)),
                None if field.is_nullable() => Ok(Source::Null),
                None => Err(missing()),
            }
        });
        Ok(FileProjection {
            sources: sources.collect::<Result<_>>()?,
            mask: ProjectionMask::roots(file, wanted),
            schema: self.schema.clone(),
        })
    }

    /// The value of a column that files with this partition have in all rows; `None` if that does not say.
    fn value_of_partition<'p>(
        &self,
        column: &Column,
        (spec_id, partition): &'p (i32, Struct),
    ) -> Option<Option<&'p Literal>> {
        let identities = self.identities.get(spec_id)?;
        let (_, place) = identities.iter().find(|(id, _)| *id == column.id)?;
        partition.fields().get(*place).map(Option::as_ref)
    }

    /// For each column the index of the file's top-level column that holds it.
    fn roots(&self, file: &SchemaDescriptor) -> Result<Vec<Option<usize>>> {
        let roots = file.root_schema().get_fields();
        let has_ids = roots.iter().any(|root| root.get_basic_info().has_id());
        if has_ids {
            let by_id = |column: &Column| {
                roots.iter().position(|root| {
                    let info = root.get_basic_info();
                    info.has_id() && info.id() == column.id
                })
            };
            return Ok(self.columns.iter().map(by_id).collect());
        }
        let Some(mapping) = &self.name_mapping else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a data file carries no field ids and the table has no name mapping",
            )
            .hint("set the table property schema.name-mapping.default, or rewrite the file"));
        };
        let by_name = |column: &Column| {
            let mapped = mapping
                .fields()
                .iter()
                .find(|field| field.field_id() == Some(column.id))?;
            roots
                .iter()
                .position(|root| mapped.names().iter().any(|name| name == root.name()))
        };
        Ok(self.columns.iter().map(by_name).collect())
    }
}

fn identities(metadata: &TableMetadata) -> Arc<HashMap<i32, Vec<(i32, usize)>>> {
    let specs = metadata.partition_specs_iter().map(|spec| {
        let fields = spec.fields().iter().enumerate();
        let identities = fields.filter(|(_, field)| field.transform == Transform::Identity);
        let places = identities.map(|(place, field)| (field.source_id, place));
        (spec.spec_id(), places.collect())
    });
    Arc::new(specs.collect())
}

fn name_mapping(metadata: &TableMetadata) -> Result<Option<Arc<NameMapping>>> {
    let Some(json) = metadata.properties().get(NAME_MAPPING) else {
        return Ok(None);
    };
    serde_json::from_str(json)
        .map(|mapping| Some(Arc::new(mapping)))
        .map_err(|error| {
            Error::new(ErrorKind::Corrupt, "cannot read the table's name mapping")
                .with("property", NAME_MAPPING)
                .caused_by(error)
        })
}

/// A projection applied to one file.
pub(super) struct FileProjection {
    pub(super) mask: ProjectionMask,
    sources: Vec<Source>,
    schema: SchemaRef,
}

enum Source {
    Column(usize),
    /// One value, of all rows.
    Constant(ArrayRef),
    Null,
}

impl FileProjection {
    /// Brings a batch of the file's columns into the table's shape.
    pub(super) fn convert(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let columns = self.sources.iter().zip(self.schema.fields());
        let columns = columns.map(|(source, field)| match source {
            Source::Column(index) => promote(batch.column(*index), field),
            Source::Null => Ok(new_null_array(field.data_type(), rows)),
            Source::Constant(value) => {
                let repeated = UInt32Array::from(vec![0; rows]);
                arrow_select::take::take(value, &repeated, None)
                    .map_err(|error| Error::internal("cannot repeat a value").caused_by(error))
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "a data file's rows do not fit the table").caused_by(error)
        })
    }
}

/// Gives a column of a file the table's type: as it is, or by one of the promotions that Iceberg allows.
fn promote(column: &ArrayRef, field: &FieldRef) -> Result<ArrayRef> {
    let (from, to) = (column.data_type(), field.data_type());
    if from == to {
        return Ok(column.clone());
    }
    if !may_promote(from, to) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("a data file stores a column as {from}, which cannot be read as {to}"),
        )
        .with("column", field.name()));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, to, &options).map_err(|error| {
        Error::new(
            ErrorKind::Corrupt,
            format!("a value cannot be read from {from} as {to}"),
        )
        .with("column", field.name())
        .caused_by(error)
    })
}

fn may_promote(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, Decimal128, FixedSizeBinary, Float32, Float64, Int32, Int64, LargeBinary, LargeUtf8,
        Timestamp, Utf8,
    };
    match (from, to) {
        (Int32, Int64)
        | (Float32, Float64)
        | (Utf8, LargeUtf8)
        | (Binary | FixedSizeBinary(_), LargeBinary)
        | (FixedSizeBinary(_), Binary) => true,
        (Decimal128(narrow, scale), Decimal128(wide, same)) => narrow <= wide && scale == same,
        (Timestamp(TimeUnit::Microsecond, Some(zone)), Timestamp(TimeUnit::Microsecond, Some(_))) => {
            matches!(zone.as_ref(), "UTC" | "+00:00")
        }
        _ => false,
    }
}

/// The value that rows have which were written before the column was added, as an array of one element.
fn initial_default(nested: &NestedField, data_type: &DataType) -> Result<Option<ArrayRef>> {
    let default = nested.initial_default.as_ref();
    default
        .map(|value| single(value, &nested.name, data_type))
        .transpose()
}

/// A value of a column as an array of one element.
fn single(value: &Literal, column: &str, data_type: &DataType) -> Result<ArrayRef> {
    let unreadable = || {
        Error::new(
            ErrorKind::Unsupported,
            format!("the value {value:?} of a whole file cannot be read as {data_type}"),
        )
        .with("column", column)
    };
    let Literal::Primitive(literal) = value else {
        return Err(unreadable());
    };
    let value: ArrayRef = match (literal, data_type) {
        (PrimitiveLiteral::Boolean(v), _) => Arc::new(BooleanArray::from(vec![*v])),
        (PrimitiveLiteral::Int(v), DataType::Date32) => Arc::new(Date32Array::from(vec![*v])),
        (PrimitiveLiteral::Int(v), _) => Arc::new(Int32Array::from(vec![*v])),
        (PrimitiveLiteral::Long(v), DataType::Time64(_)) => Arc::new(Time64MicrosecondArray::from(vec![*v])),
        (PrimitiveLiteral::Long(v), DataType::Timestamp(_, zone)) => {
            Arc::new(TimestampMicrosecondArray::from(vec![*v]).with_timezone_opt(zone.clone()))
        }
        (PrimitiveLiteral::Long(v), _) => Arc::new(Int64Array::from(vec![*v])),
        (PrimitiveLiteral::Float(v), _) => Arc::new(Float32Array::from(vec![v.0])),
        (PrimitiveLiteral::Double(v), _) => Arc::new(Float64Array::from(vec![v.0])),
        (PrimitiveLiteral::String(v), _) => Arc::new(StringArray::from(vec![v.as_str()])),
        (PrimitiveLiteral::Binary(v), _) => Arc::new(BinaryArray::from(vec![v.as_slice()])),
        (PrimitiveLiteral::Int128(v), DataType::Decimal128(precision, scale)) => Arc::new(
            Decimal128Array::from(vec![*v])
                .with_precision_and_scale(*precision, *scale)
                .map_err(|error| {
                    Error::new(ErrorKind::Corrupt, "a value is not a decimal").caused_by(error)
                })?,
        ),
        (PrimitiveLiteral::UInt128(v), _) => Arc::new(FixedSizeBinaryArray::from(vec![&v.to_be_bytes()])),
        _ => return Err(unreadable()),
    };
    let field = Arc::new(Field::new(column, data_type.clone(), true));
    promote(&value, &field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_promotions_of_iceberg_are_allowed() {
        use DataType::{Binary, Decimal128, FixedSizeBinary, Int32, Int64, LargeUtf8, Timestamp, Utf8};
        for (from, to, allowed) in [
            (Int32, Int64, true),
            (Int64, Int32, false),
            (Decimal128(9, 2), Decimal128(18, 2), true),
            (Decimal128(9, 2), Decimal128(18, 3), false),
            (Decimal128(18, 2), Decimal128(9, 2), false),
            (Utf8, LargeUtf8, true),
            (Int32, Utf8, false),
            (FixedSizeBinary(8), Binary, true),
            (
                Timestamp(TimeUnit::Microsecond, None),
                Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                false,
            ),
            (
                Timestamp(TimeUnit::Nanosecond, None),
                Timestamp(TimeUnit::Microsecond, None),
                false,
            ),
        ] {
            assert_eq!(may_promote(&from, &to), allowed, "{from} to {to}");
        }
    }
}
