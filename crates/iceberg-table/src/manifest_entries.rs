//! The entries of manifests, with everything that they inherit, in the types that the table has now.
//!
//! Two things are inherited that the iceberg library leaves out or as they were: the ids of rows (v3), and types. A column that was
//! promoted since a manifest was written has narrow partition values and bounds there; compared with those of newer files they
//! would be taken for other partitions.

use std::sync::Arc;

use iceberg::spec::{
    DataFile, DataFileBuilder, Datum, Literal, Manifest, ManifestContentType, ManifestEntryRef, ManifestFile,
    NestedField, NestedFieldRef, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, SchemaRef, Struct,
    TableMetadata, Transform,
};
use model::{Error, ErrorKind, Result};

use crate::catalog::TableHandle;
use crate::error::iceberg_error;
use crate::manifests;

/// A live file as a manifest tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) file: Arc<DataFile>,
    pub(crate) spec_id: i32,
    /// The snapshot that added it.
    pub(crate) snapshot_id: i64,
    pub(crate) sequence_number: i64,
    pub(crate) file_sequence_number: i64,
}

/// The live entries of a manifest, which is read if it was not lately.
///
/// # Errors
///
/// As the storage says; `Corrupt` if an entry has no sequence number.
pub(crate) async fn live_entries(table: &TableHandle, manifest: &ManifestFile) -> Result<Arc<[Entry]>> {
    let metadata = table.metadata();
    let spec = spec_by_id(metadata, manifest.partition_spec_id)?;
    let current = metadata.current_schema();
    let cache = table.storage().manifests();
    if let Some(known) = cache.get(metadata.uuid(), manifest, current).await {
        return Ok(known);
    }
    let loaded = load(table, manifest).await?;
    let (entries, about) = loaded.into_parts();
    let schema = schema_of_spec(metadata, spec, Some(about.schema()))?;
    let types = Types::of(spec, &schema, about.schema())?;
    let mut next_row = match manifest.content {
        ManifestContentType::Data => manifest.first_row_id,
        ManifestContentType::Deletes => None,
    };
    let live = entries.iter().filter(|entry| entry.is_alive());
    let entries: Result<Arc<[Entry]>> = live
        .map(|entry| live_entry(entry, manifest, &types, &mut next_row))
        .collect();
    let entries = entries?;
    cache
        .insert(metadata.uuid(), manifest, current.clone(), entries.clone())
        .await;
    Ok(entries)
}

async fn load(table: &TableHandle, manifest: &ManifestFile) -> Result<Manifest> {
    let failed = |e| iceberg_error("cannot read a manifest")(e).with("file", &manifest.manifest_path);
    let file_io = table.table().file_io();
    manifest.load_manifest(file_io).await.map_err(failed)
}

fn live_entry(
    entry: &ManifestEntryRef,
    manifest: &ManifestFile,
    types: &Types,
    next_row: &mut Option<u64>,
) -> Result<Entry> {
    let file = entry.data_file();
    let number = |number: Option<i64>| {
        number.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "a manifest entry has no sequence number")
                .with("file", file.file_path())
        })
    };
    let first_row = match (file.first_row_id(), next_row) {
        (None, Some(next)) => {
            let first = *next;
            *next += file.record_count();
            Some(first as i64)
        }
        (own, _) => own,
    };
    let file = if types.changed || first_row != file.first_row_id() {
        types.apply(file, manifest.partition_spec_id, first_row)?
    } else {
        file.clone()
    };
    Ok(Entry {
        file: Arc::new(file),
        spec_id: manifest.partition_spec_id,
        snapshot_id: entry.snapshot_id().unwrap_or(manifest.added_snapshot_id),
        sequence_number: number(entry.sequence_number())?,
        file_sequence_number: number(entry.file_sequence_number)?,
    })
}

/// The current schema, and after its columns those that the partition spec is made of and that were dropped, as they last were: everything
/// that a manifest tells of its files has these types. A schema that somebody has removed from the table is still in `manifest`, the one
/// of a manifest of the spec.
///
/// Ids count, names do not: a column gets another one where a field of the spec has it, which would be taken for made of that column.
///
/// # Errors
///
/// `Corrupt` if no schema has a column of the spec.
pub(crate) fn schema_of_spec(
    metadata: &TableMetadata,
    spec: &PartitionSpec,
    manifest: Option<&Schema>,
) -> Result<SchemaRef> {
    let current = metadata.current_schema();
    let mut fields = current.as_struct().fields().to_vec();
    let sources = spec.fields().iter().map(|field| field.source_id);
    for id in sources.filter(|id| current.field_by_id(*id).is_none()) {
        let field = column_as_it_was(metadata, id, manifest).ok_or_else(|| {
            let message = "no schema of the table has a column that it is partitioned by";
            Error::new(ErrorKind::Corrupt, message).with("partition spec", spec.spec_id())
        })?;
        match fields.iter().position(|present| present.id == field.id) {
            // A part of it was dropped.
            Some(place) => fields[place] = field,
            None => fields.push(field),
        }
    }
    if fields == current.as_struct().fields() && !fields.iter().any(|field| is_taken(spec, field)) {
        return Ok(current.clone());
    }
    let schema = Schema::builder()
        .with_schema_id(current.schema_id())
        .with_identifier_field_ids(current.identifier_field_ids())
        .with_fields(named_apart(spec, &fields))
        .build()
        .map_err(iceberg_error("cannot tell the columns of a partition spec"))?;
    Ok(schema.into())
}

/// [`schema_of_spec`] for new manifests: what the table's schemas lack is looked up in one of the head's.
///
/// # Errors
///
/// As [`schema_of_spec`], and as the storage says.
pub(crate) async fn schema_to_write(table: &TableHandle, spec: &PartitionSpec) -> Result<SchemaRef> {
    let metadata = table.metadata();
    let error = match schema_of_spec(metadata, spec, None) {
        Ok(schema) => return Ok(schema),
        Err(error) => error,
    };
    let present = manifests::of_head(table).await?;
    let mut of_spec = present
        .into_iter()
        .filter(|manifest| manifest.partition_spec_id == spec.spec_id());
    let manifest = of_spec.next().ok_or(error)?;
    let loaded = load(table, &manifest).await?;
    schema_of_spec(metadata, spec, Some(loaded.metadata().schema()))
}

/// The column with this id, or the one that it is a part of, in the newest schema that has it.
fn column_as_it_was(metadata: &TableMetadata, id: i32, manifest: Option<&Schema>) -> Option<NestedFieldRef> {
    let schemas = metadata.schemas_iter().map(Arc::as_ref);
    let newest = schemas
        .filter(|schema| schema.field_by_id(id).is_some())
        .max_by_key(|schema| schema.schema_id());
    let schema = newest.or(manifest)?;
    let name = schema.name_by_field_id(id)?;
    let fields = schema.as_struct().fields();
    let has_it = |field: &&NestedFieldRef| {
        let part = name.strip_prefix(field.name.as_str());
        part.is_some_and(|part| part.starts_with('.'))
    };
    let itself = fields.iter().find(|field| field.id == id);
    itself.or_else(|| fields.iter().find(has_it)).cloned()
}

/// Whether a field of the spec has the name of a column that it is not made of, or not just that.
fn is_taken(spec: &PartitionSpec, column: &NestedField) -> bool {
    spec.fields().iter().any(|field| {
        let is_its_own = field.transform == Transform::Identity && field.source_id == column.id;
        field.name == column.name && !is_its_own
    })
}

/// The columns, under other names where one before them has theirs, or the spec has taken it.
fn named_apart(spec: &PartitionSpec, columns: &[NestedFieldRef]) -> Vec<NestedFieldRef> {
    let mut apart: Vec<NestedFieldRef> = Vec::with_capacity(columns.len());
    for own in columns {
        let is_free = |column: &NestedField| {
            let others = apart
                .iter()
                .chain(columns.iter().filter(|_| column.name != own.name));
            !is_taken(spec, column) && others.into_iter().all(|other| other.name != column.name)
        };
        let mut column = NestedField::clone(own);
        while !is_free(&column) {
            column.name = format!("{}_{}", column.name, column.id);
        }
        apart.push(column.into());
    }
    apart
}

/// The partition spec with this id.
///
/// # Errors
///
/// `Corrupt` if the table has none.
pub(crate) fn spec_by_id(metadata: &TableMetadata, spec_id: i32) -> Result<&PartitionSpec> {
    let spec = metadata.partition_spec_by_id(spec_id).ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            format!("the table has no partition spec {spec_id}"),
        )
    })?;
    Ok(spec)
}

/// The types that a manifest's values get.
struct Types {
    /// Of each partition field.
    partition: Vec<Option<PrimitiveType>>,
    schema: SchemaRef,
    /// Whether the manifest was written with other types.
    changed: bool,
}

impl Types {
    fn of(spec: &PartitionSpec, schema: &SchemaRef, written_with: &Schema) -> Result<Self> {
        let partition = spec
            .partition_type(schema)
            .map_err(iceberg_error("cannot tell the types of a partition"))?;
        let changed = written_with.as_struct().fields().iter().any(|then| {
            schema
                .field_by_id(then.id)
                .is_some_and(|now| now.field_type != then.field_type)
        });
        Ok(Self {
            partition: partition
                .fields()
                .iter()
                .map(|field| field.field_type.as_primitive_type().cloned())
                .collect(),
            changed,
            schema: schema.clone(),
        })
    }

    fn apply(&self, file: &DataFile, spec_id: i32, first_row_id: Option<i64>) -> Result<DataFile> {
        let bounds = |bounds: &std::collections::HashMap<i32, Datum>| {
            let promoted = bounds
                .iter()
                .map(|(id, bound)| (*id, self.bound(*id, bound).unwrap_or_else(|| bound.clone())));
            promoted.collect()
        };
        let mut builder = DataFileBuilder::default();
        builder
            .content(file.content_type())
            .file_path(file.file_path().to_owned())
            .file_format(file.file_format())
            .partition(self.partition(file.partition()))
            .partition_spec_id(spec_id)
            .record_count(file.record_count())
            .file_size_in_bytes(file.file_size_in_bytes())
            .column_sizes(file.column_sizes().clone())
            .value_counts(file.value_counts().clone())
            .null_value_counts(file.null_value_counts().clone())
            .nan_value_counts(file.nan_value_counts().clone())
            .lower_bounds(bounds(file.lower_bounds()))
            .upper_bounds(bounds(file.upper_bounds()))
            .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
            .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
            .equality_ids(file.equality_ids())
            .first_row_id(first_row_id)
            .referenced_data_file(file.referenced_data_file())
            .content_offset(file.content_offset())
            .content_size_in_bytes(file.content_size_in_bytes());
        if let Some(sort_order) = file.sort_order_id() {
            builder.sort_order_id(sort_order);
        }
        builder
            .build()
            .map_err(|e| Error::internal("a file of a manifest is described incompletely").caused_by(e))
    }

    fn partition(&self, partition: &Struct) -> Struct {
        let values = partition.iter().zip(&self.partition);
        Struct::from_iter(values.map(|(value, wanted)| match (value, wanted) {
            (Some(Literal::Primitive(literal)), Some(wanted)) => Some(promoted(literal, wanted)),
            (value, _) => value.cloned(),
        }))
    }

    fn bound(&self, id: i32, bound: &Datum) -> Option<Datum> {
        let wanted = self.schema.field_by_id(id)?.field_type.as_primitive_type()?;
        if wanted == bound.data_type() {
            return None;
        }
        // The library knows that a bound may be as narrow as its column was.
        Datum::try_from_bytes(&bound.to_bytes().ok()?, wanted.clone()).ok()
    }
}

fn promoted(literal: &PrimitiveLiteral, wanted: &PrimitiveType) -> Literal {
    match (literal, wanted) {
        (PrimitiveLiteral::Int(v), PrimitiveType::Long) => Literal::long(*v),
        (PrimitiveLiteral::Float(v), PrimitiveType::Double) => Literal::double(v.0),
        (same, _) => Literal::Primitive(same.clone()),
    }
}
