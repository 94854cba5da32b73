//! Tables and metadata for catalogs that make them themselves.

use std::collections::HashMap;

use iceberg::spec::{Operation, Snapshot, Summary, TableMetadata, TableMetadataBuilder};
use iceberg::table::Table;
use iceberg::{NamespaceIdent, Runtime, TableIdent, TableUpdate};
use model::{Error, Ids, Result, TableName};
use uuid::Uuid;

use crate::catalog::{MetadataChange, NewTable, TableHandle};
use crate::error::iceberg_error;
use crate::storage::Storage;

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
    storage: &Storage,
) -> Result<TableHandle> {
    let namespace = NamespaceIdent::new(name.schema().to_owned());
    let runtime =
        Runtime::try_current().map_err(iceberg_error("cannot open a table outside of a runtime"))?;
    let table = Table::builder()
        .identifier(TableIdent::new(namespace, name.name().to_owned()))
        .file_io(storage.file_io())
        .metadata(metadata)
        .metadata_location(location)
        .runtime(runtime)
        .build()
        .map_err(iceberg_error("cannot open the table"))?;
    Ok(TableHandle::new(name.clone(), table, storage.clone()))
}

/// A table whose metadata is at `location`.
pub(crate) async fn read(name: &TableName, location: String, storage: &Storage) -> Result<TableHandle> {
    let metadata = TableMetadata::read_from(&storage.file_io(), &location)
        .await
        .map_err(|error| {
            iceberg_error("cannot read the table's metadata file")(error)
                .with("file", &location)
                .with("table", name)
        })?;
    open(name, metadata, location, storage)
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

/// The metadata with the change. It is never dated before what it replaces.
pub(crate) fn apply(base: &TableHandle, change: MetadataChange) -> Result<TableMetadata> {
    let before = base.metadata();
    let changed = match with_updates(base, change.updates.clone()) {
        Ok(changed) if changed.last_updated_ms() >= before.last_updated_ms() => Ok(changed),
        // Whoever wrote before has a faster clock, and the library takes the time from ours.
        ended => with_updates(base, dated(before, change.updates)).or(ended),
    };
    changed.map_err(|e| iceberg_error("cannot change the table's metadata")(e).with("table", base.name()))
}

fn with_updates(base: &TableHandle, updates: Vec<TableUpdate>) -> iceberg::Result<TableMetadata> {
    let location = base.table().metadata_location().map(str::to_owned);
    let mut builder = base.metadata().clone().into_builder(location);
    for update in updates {
        builder = update.apply(builder)?;
    }
    Ok(builder.build()?.metadata)
}

/// The updates, dated like the metadata that they change. The library takes a date from a new snapshot only, so there is one for as long as
/// it takes.
fn dated(metadata: &TableMetadata, updates: Vec<TableUpdate>) -> Vec<TableUpdate> {
    let logged = metadata
        .history()
        .last()
        .map_or(i64::MIN, |entry| entry.timestamp_ms());
    let taken = |id: &i64| metadata.snapshot_by_id(*id).is_some();
    let id = (1..).find(|id| !taken(id)).unwrap_or_default();
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_sequence_number(metadata.last_sequence_number())
        .with_timestamp_ms(metadata.last_updated_ms().max(logged))
        .with_manifest_list(String::new())
        .with_summary(Summary {
            operation: Operation::Append,
            additional_properties: HashMap::new(),
        })
        .with_row_range(metadata.next_row_id(), 0)
        .build();
    let first = TableUpdate::AddSnapshot { snapshot };
    let last = TableUpdate::RemoveSnapshots {
        snapshot_ids: vec![id],
    };
    [vec![first], updates, vec![last]].concat()
}

/// The metadata as its file has it.
pub(crate) fn to_json(metadata: &TableMetadata) -> Result<Vec<u8>> {
    serde_json::to_vec(metadata)
        .map_err(|e| Error::internal("cannot write the table's metadata as JSON").caused_by(e))
}
