//! Getting a table ready: creating it, adopting it, and refusing what does not fit.

use iceberg::spec::Schema;
use iceberg::{TableRequirement, TableUpdate};
use iceberg_table::{
    CREATED_BY, Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle, iceberg_schema,
    refuse_what_is_not_understood, schema_properties, writers,
};
use model::{Error, ErrorKind, Prepare, Prepared, Result, SyncId};

use crate::fit::Fit;
use crate::partitioning::{is_partitioned_by, partition_spec, sort_order};
use crate::schema_changes::SchemaChanges;
use crate::table_options::TableOptions;

const CREATOR: &str = concat!("sync-cli ", env!("CARGO_PKG_VERSION"));

pub(crate) async fn prepare(
    catalog: &dyn Catalog,
    prepare: &Prepare,
    options: &TableOptions,
) -> Result<Prepared> {
    let schema = iceberg_schema(&prepare.schema).map_err(|e| e.with("table", &prepare.table))?;
    if !prepare.dry_run {
        catalog.check_writable().await?;
    }
    if let Some(table) = catalog.load(&prepare.table).await? {
        return existing(catalog, prepare, options, &table).await;
    }
    if !prepare.create {
        return Err(
            Error::new(ErrorKind::NotFound, "the Iceberg table does not exist")
                .with("table", &prepare.table)
                .hint("restore it, or, if it was removed on purpose, reset the sync's state and copy again"),
        );
    }
    let prepared = Prepared {
        created: true,
        altered: false,
        actions: vec![format!(
            "create Iceberg table {} with {} columns",
            prepare.table,
            schema.as_struct().fields().len()
        )],
        losses: Vec::new(),
    };
    let mut new = NewTable::new(schema);
    new.properties = schema_properties(&prepare.schema, &new.schema)?;
    new.format = options.format()?.unwrap_or(new.format);
    if let Some(fields) = &options.partition {
        new.partitions = partition_spec(fields, &new.schema, &[])?;
    }
    if let Some(fields) = &options.sort {
        new.sort_order = sort_order(fields, &new.schema)?;
    }
    if prepare.dry_run {
        return Ok(prepared);
    }
    new.properties.insert(CREATED_BY.to_owned(), CREATOR.to_owned());
    new.properties
        .insert("write.parquet.compression-codec".to_owned(), "zstd".to_owned());
    match catalog.create(&prepare.table, new).await? {
        Some(_) => Ok(prepared),
        None => match catalog.load(&prepare.table).await? {
            Some(table) => existing(catalog, prepare, options, &table).await,
            None => Err(Error::new(
                ErrorKind::Transient,
                "the table was created and removed by somebody else meanwhile",
            )
            .with("table", &prepare.table)),
        },
    }
}

async fn existing(
    catalog: &dyn Catalog,
    prepare: &Prepare,
    options: &TableOptions,
    table: &TableHandle,
) -> Result<Prepared> {
    refuse_what_is_not_understood(table)?;
    let is_ours = is_of(table, &prepare.sync);
    if !is_ours && !prepare.adopt {
        return Err(of_others(table).with("table", &prepare.table));
    }
    let changes = SchemaChanges::plan(table, &prepare.schema, options)?;
    let schema = changes.schema.as_ref().unwrap_or(table.iceberg_schema());
    let fit = Fit::new(&prepare.table, schema, &prepare.schema, options.schema_changes)?;
    let mut properties = schema_properties(&fit.schema, schema)?;
    properties.retain(|name, value| table.metadata().properties().get(name) != Some(value));
    let mut prepared = Prepared {
        created: false,
        altered: changes.schema.is_some(),
        actions: changes.actions,
        losses: changes.losses,
    };
    if !properties.is_empty() {
        prepared
            .actions
            .push("note the source's declared column types in the table's properties".to_owned());
    }
    if !is_ours {
        properties.insert(CREATED_BY.to_owned(), format!("adopted by {CREATOR}"));
        prepared
            .actions
            .push(format!("adopt Iceberg table {}", prepare.table));
    }
    let mut updates = changes.updates;
    if !properties.is_empty() {
        updates.push(TableUpdate::SetProperties { updates: properties });
    }
    if let Some(format_version) = options.format()?
        && format_version > table.metadata().format_version()
    {
        prepared
            .actions
            .push(format!("upgrade the table to format {format_version}"));
        updates.push(TableUpdate::UpgradeFormatVersion { format_version });
    }
    for update in layout_updates(table, schema, options)? {
        prepared.actions.push(update.0);
        updates.extend(update.1);
    }
    if !prepare.dry_run && !updates.is_empty() {
        change(catalog, table, updates).await?;
    }
    Ok(prepared)
}

/// Whether the sync has written to the table, or nobody has since this program created it.
fn is_of(table: &TableHandle, sync: &SyncId) -> bool {
    let writers = writers(table.metadata());
    let is_fresh = || writers.is_empty() && table.metadata().properties().contains_key(CREATED_BY);
    writers.contains(sync) || is_fresh()
}

fn of_others(table: &TableHandle) -> Error {
    match writers(table.metadata()).first() {
        Some(other) => Error::new(ErrorKind::Config, "another sync writes to the Iceberg table")
            .with("sync", other)
            .hint("choose another name; or set `adopt: true` for the table if both are to write to it"),
        None => Error::new(
            ErrorKind::Config,
            "the Iceberg table exists and was not created by this program",
        )
        .hint("set `adopt: true` for the table to write into it, or choose another name"),
    }
}

/// What brings a table's partitioning and sort order to what is asked for, each with what it does in words.
fn layout_updates(
    table: &TableHandle,
    schema: &Schema,
    options: &TableOptions,
) -> Result<Vec<(String, [TableUpdate; 2])>> {
    let metadata = table.metadata();
    let mut actions = Vec::new();
    if let Some(fields) = &options.partition {
        let specs = metadata.partition_specs_iter();
        let known: Vec<_> = specs.flat_map(|spec| spec.fields()).collect();
        let spec = partition_spec(fields, schema, &known)?;
        if !is_partitioned_by(metadata, &spec) {
            actions.push((
                format!("partition new files by ({})", fields.join(", ")),
                [
                    TableUpdate::AddSpec { spec },
                    TableUpdate::SetDefaultSpec { spec_id: -1 },
                ],
            ));
        }
    }
    if let Some(fields) = &options.sort {
        let sort_order = sort_order(fields, schema)?;
        if sort_order.fields != metadata.default_sort_order().fields {
            let sort_order_id = -1;
            actions.push((
                format!("declare the sort order ({})", fields.join(", ")),
                [
                    TableUpdate::AddSortOrder { sort_order },
                    TableUpdate::SetDefaultSortOrder { sort_order_id },
                ],
            ));
        }
    }
    Ok(actions)
}

async fn change(catalog: &dyn Catalog, table: &TableHandle, updates: Vec<TableUpdate>) -> Result<()> {
    let metadata = table.metadata();
    // Ids of columns, partition fields and the rest were given out by what is there now: nobody else may have done so meanwhile.
    let requirements = vec![
        TableRequirement::UuidMatch {
            uuid: metadata.uuid(),
        },
        TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: metadata.current_schema_id(),
        },
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id: metadata.last_column_id(),
        },
        TableRequirement::DefaultSpecIdMatch {
            default_spec_id: metadata.default_partition_spec_id(),
        },
        TableRequirement::LastAssignedPartitionIdMatch {
            last_assigned_partition_id: metadata.last_partition_id(),
        },
        TableRequirement::DefaultSortOrderIdMatch {
            default_sort_order_id: metadata.default_sort_order_id(),
        },
    ];
    let change = MetadataChange {
        requirements,
        updates,
    };
    match catalog.commit(table, change).await? {
        CatalogCommit::Done(_) => Ok(()),
        CatalogCommit::Conflict { why } | CatalogCommit::Unknown { why } => Err(Error::new(
            ErrorKind::Transient,
            "the table changed while it was prepared",
        )
        .with("table", table.name())
        .with("cause", why)),
    }
}
