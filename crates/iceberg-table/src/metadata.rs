//! Tables and metadata for catalogs that make them themselves.

use iceberg::io::FileIO;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::table::Table;
use iceberg::{NamespaceIdent, Runtime, TableIdent};
use model::{Error, Ids, Result, TableName};
use uuid::Uuid;

use crate::catalog::{MetadataChange, NewTable, TableHandle};
use crate::error::iceberg_error;

/// The property that switches pruning of old metadata files on; catalogs that prune set it on tables that they create.
pub(crate) const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// Whether old metadata files are removed.
pub(crate) fn is_pruned(metadata: &TableMetadata) -> bool {
    metadata
        .properties()
        .get(DELETE_AFTER_COMMIT)
        .is_some_and(|value| value == "true")
}

/// A table in memory.
pub(crate) fn open(
    name: &TableName,
    metadata: TableMetadata,
    location: String,
    file_io: FileIO,
) -> Result<TableHandle> {
    let namespace = NamespaceIdent::new(name.schema().to_owned());
    let runtime =
        Runtime::try_current().map_err(iceberg_error("cannot open a table outside of a runtime"))?;
    let table = Table::builder()
        .identifier(TableIdent::new(namespace, name.name().to_owned()))
        .file_io(file_io)
        .metadata(metadata)
        .metadata_location(location)
        .runtime(runtime)
        .build()
        .map_err(iceberg_error("cannot open the table"))?;
    Ok(TableHandle::new(name.clone(), table))
}

/// A table whose metadata is at `location`.
pub(crate) async fn read(name: &TableName, location: String, file_io: FileIO) -> Result<TableHandle> {
    let metadata = TableMetadata::read_from(&file_io, &location)
        .await
        .map_err(|error| {
            iceberg_error("cannot read the table's metadata file")(error)
                .with("file", &location)
                .with("table", name)
        })?;
    open(name, metadata, location, file_io)
}

/// The metadata of a new table.
pub(crate) fn create(
    name: &TableName,
    new: NewTable,
    location: String,
    ids: &dyn Ids,
) -> Result<TableMetadata> {
    let mut properties = new.properties;
    properties
        .entry(DELETE_AFTER_COMMIT.to_owned())
        .or_insert_with(|| "true".to_owned());
    TableMetadataBuilder::new(
        new.schema,
        new.partitions,
        new.sort_order,
        location,
        new.format,
        properties,
    )
    .map(|builder| builder.assign_uuid(Uuid::from_u128(ids.random())))
    .and_then(TableMetadataBuilder::build)
    .map(|built| built.metadata)
    .map_err(|e| iceberg_error("cannot make the new table's metadata")(e).with("table", name))
}

/// Why the change must not happen, if a requirement does not hold.
pub(crate) fn failed_requirement(metadata: &TableMetadata, change: &MetadataChange) -> Option<String> {
    change
        .requirements
        .iter()
        .find_map(|requirement| requirement.check(Some(metadata)).err())
        .map(|e| e.to_string())
}

/// The metadata with the change.
pub(crate) fn apply(base: &TableHandle, change: MetadataChange) -> Result<TableMetadata> {
    let failed = |e| iceberg_error("cannot change the table's metadata")(e).with("table", base.name());
    let location = base.table().metadata_location().map(str::to_owned);
    let mut builder = base.metadata().clone().into_builder(location);
    for update in change.updates {
        builder = update.apply(builder).map_err(failed)?;
    }
    Ok(builder.build().map_err(failed)?.metadata)
}

/// The metadata as its file has it.
pub(crate) fn to_json(metadata: &TableMetadata) -> Result<Vec<u8>> {
    serde_json::to_vec(metadata)
        .map_err(|e| Error::internal("cannot write the table's metadata as JSON").caused_by(e))
}
