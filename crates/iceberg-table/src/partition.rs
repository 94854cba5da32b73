//! The partitions of rows: what the transforms of a partition spec make of them.

use std::collections::{HashMap, HashSet};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, TimeUnit};
use arrow_select::take::take_record_batch;
use iceberg::arrow::{arrow_primitive_to_literal, type_to_arrow_type};
use iceberg::spec::{
    Literal, PartitionSpec, PartitionSpecRef, Schema, Struct, TableMetadata, Transform, Type,
};
use iceberg::transform::{BoxedTransformFunction, create_transform_function};
use model::{Error, Result};

use crate::error::iceberg_error;
use crate::key::KeyFold;
use crate::manifest_entries::schema_of_spec;
use crate::read::LiveFile;

/// Splits rows by the partitions that they belong to.
#[derive(Debug)]
pub struct PartitionSplitter {
    /// The column of the rows that each field of the spec comes from.
    fields: Vec<(usize, PartitionField)>,
}

impl PartitionSplitter {
    /// Splits by `spec` rows whose columns have these field ids.
    ///
    /// # Errors
    ///
    /// `Corrupt` if `schema` lacks a column of the spec; `Internal` if the rows do.
    pub fn new(spec: &PartitionSpec, schema: &Schema, columns: &[i32]) -> Result<Self> {
        let fields = PartitionField::of_spec(spec, schema)?;
        let fields = fields.into_iter().map(|field| {
            let column = columns.iter().position(|id| *id == field.source);
            column
                .map(|column| (column, field))
                .ok_or_else(|| Error::internal("rows lack a column that they are partitioned by"))
        });
        Ok(Self {
            fields: fields.collect::<Result<_>>()?,
        })
    }

    /// The rows of each partition, in their order.
    ///
    /// # Errors
    ///
    /// `Data` if a value has no partition.
    pub fn split(&self, rows: &RecordBatch) -> Result<Vec<(Struct, RecordBatch)>> {
        let mut values = Vec::with_capacity(self.fields.len());
        for (column, field) in &self.fields {
            values.push(field.values(rows.column(*column))?);
        }
        let mut by_partition: HashMap<Struct, usize> = HashMap::new();
        let mut groups: Vec<(Struct, Vec<u32>)> = Vec::new();
        for row in 0..rows.num_rows() {
            let partition = Struct::from_iter(values.iter().map(|values| values[row].clone()));
            let group = *by_partition.entry(partition.clone()).or_insert(groups.len());
            if group == groups.len() {
                groups.push((partition, Vec::new()));
            }
            groups[group].1.push(row as u32);
        }
        if let [(partition, _)] = groups.as_slice() {
            return Ok(vec![(partition.clone(), rows.clone())]);
        }
        groups
            .into_iter()
            .map(|(partition, indexes)| {
                let rows = take_record_batch(rows, &UInt32Array::from(indexes))
                    .map_err(|e| Error::internal("rows cannot be split").caused_by(e))?;
                Ok((partition, rows))
            })
            .collect()
    }
}

/// Which partitions can hold given keys: a file is left out if a field of its partition comes from a key column, and none of the keys
/// has the file's value there.
///
/// A column whose keys are equal without being the same bytes (see [`KeyFold`]) says nothing, for its values may lie anywhere.
#[derive(Debug)]
pub(crate) struct KeyPartitions {
    by_spec: HashMap<i32, Vec<AllowedValues>>,
}

/// The index of a partition field, and the values that the keys have there.
type AllowedValues = (usize, HashSet<Option<Literal>>);

impl KeyPartitions {
    /// The partitions of `keys`, whose columns have the field ids `columns`.
    pub(crate) fn of(
        metadata: &TableMetadata,
        keys: &RecordBatch,
        columns: &[i32],
        fold: &KeyFold,
    ) -> Result<Self> {
        let mut by_spec = HashMap::new();
        let is_of_key = |spec: &&PartitionSpecRef| {
            spec.fields()
                .iter()
                .any(|field| columns.contains(&field.source_id))
        };
        for spec in metadata.partition_specs_iter().filter(is_of_key) {
            // Another column of the spec is gone for good: then its partitions say nothing.
            let Ok(schema) = schema_of_spec(metadata, spec, None) else {
                continue;
            };
            let mut allowed = Vec::new();
            for (index, field) in PartitionField::of_spec(spec, &schema)?.into_iter().enumerate() {
                let column = columns.iter().position(|id| *id == field.source);
                if let Some(column) = column.filter(|column| fold.column(*column).is_none()) {
                    let values = field.values(keys.column(column))?;
                    allowed.push((index, values.into_iter().collect()));
                }
            }
            by_spec.insert(spec.spec_id(), allowed);
        }
        Ok(Self { by_spec })
    }

    pub(crate) fn may_hold(&self, file: &LiveFile) -> bool {
        let Some(allowed) = self.by_spec.get(&file.spec_id) else {
            return true;
        };
        let partition = file.data_file.partition().fields();
        allowed
            .iter()
            .all(|(index, values)| partition.get(*index).is_none_or(|value| values.contains(value)))
    }
}

/// A field of a partition spec.
#[derive(Debug)]
struct PartitionField {
    /// The field id of its source column,
    source: i32,
    /// as the table has that column.
    source_type: DataType,
    transform: Transform,
    function: BoxedTransformFunction,
    result: Type,
}

impl PartitionField {
    fn of_spec(spec: &PartitionSpec, schema: &Schema) -> Result<Vec<Self>> {
        let types = spec
            .partition_type(schema)
            .map_err(iceberg_error("cannot tell the types of a partition"))?;
        let fields = spec.fields().iter().zip(types.fields());
        fields
            .map(|(field, result)| {
                let source = schema.field_by_id(field.source_id).ok_or_else(|| {
                    Error::internal("a partition spec is bound to a schema that lacks its column")
                })?;
                Ok(Self {
                    source: field.source_id,
                    source_type: type_to_arrow_type(&source.field_type)
                        .map_err(iceberg_error("cannot partition by a column"))?,
                    transform: field.transform,
                    function: create_transform_function(&field.transform)
                        .map_err(iceberg_error("cannot partition by a transform"))?,
                    result: (*result.field_type).clone(),
                })
            })
            .collect()
    }

    /// The partition value of each value of the source column.
    fn values(&self, column: &ArrayRef) -> Result<Vec<Option<Literal>>> {
        let source_type = match &self.source_type {
            // The library truncates only the short form.
            DataType::LargeBinary => &DataType::Binary,
            other => other,
        };
        let failed =
            |e| Error::internal("a column is not of the type that it is partitioned by").caused_by(e);
        let column = cast(column, source_type).map_err(failed)?;
        let values = match (self.transform, column.data_type()) {
            (Transform::Day, DataType::Timestamp(unit, _)) => days(&column, *unit).map_err(failed)?,
            _ => self
                .function
                .transform(column)
                .map_err(iceberg_error("cannot tell the partition of a row"))?,
        };
        let wanted =
            type_to_arrow_type(&self.result).map_err(iceberg_error("cannot tell the type of a partition"))?;
        let values: ArrayRef = cast(&values, &wanted).map_err(failed)?;
        arrow_primitive_to_literal(&values, &self.result)
            .map_err(iceberg_error("cannot tell the partition of a row"))
    }
}

/// The days since 1970 of points in time. The library's `day` puts those in the last second of a day before 1970 into the day after.
fn days(column: &ArrayRef, unit: TimeUnit) -> std::result::Result<ArrayRef, ArrowError> {
    let per_day = match unit {
        TimeUnit::Second => 86_400,
        TimeUnit::Millisecond => 86_400_000,
        TimeUnit::Microsecond => 86_400_000_000,
        TimeUnit::Nanosecond => 86_400_000_000_000,
    };
    let points = cast(column, &DataType::Int64)?;
    let days = points
        .as_primitive::<Int64Type>()
        .unary::<_, Int64Type>(|point| point.div_euclid(per_day));
    cast(&cast(&days, &DataType::Int32)?, &DataType::Date32)
}

#[cfg(test)]
mod tests;
