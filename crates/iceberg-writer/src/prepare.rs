//! Getting a table ready: creating it, adopting it, and refusing what does not fit.

use std::collections::HashMap;

use iceberg::{TableRequirement, TableUpdate};
use iceberg_table::{
    CREATED_BY, Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle, iceberg_schema,
    refuse_what_is_not_understood, schema_differences, schema_properties,
};
use model::{Error, ErrorKind, Prepare, Prepared, Result};

const CREATOR: &str = concat!("sync-cli ", env!("CARGO_PKG_VERSION"));

pub(crate) async fn prepare(catalog: &dyn Catalog, prepare: &Prepare) -> Result<Prepared> {
    let schema = iceberg_schema(&prepare.schema).map_err(|e| e.with("table", &prepare.table))?;
    if !prepare.dry_run {
        catalog.check_writable().await?;
    }
    if let Some(table) = catalog.load(&prepare.table).await? {
        return existing(catalog, prepare, &table).await;
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
        actions: vec![format!(
            "create Iceberg table {} with {} columns",
            prepare.table,
            schema.as_struct().fields().len()
        )],
        losses: Vec::new(),
    };
    if prepare.dry_run {
        return Ok(prepared);
    }
    let mut properties = schema_properties(&prepare.schema, &schema)?;
    properties.insert(CREATED_BY.to_owned(), CREATOR.to_owned());
    properties.insert("write.parquet.compression-codec".to_owned(), "zstd".to_owned());
    match catalog
        .create(
            &prepare.table,
            NewTable {
                properties,
                ..NewTable::new(schema)
            },
        )
        .await?
    {
        Some(_) => Ok(prepared),
        None => match catalog.load(&prepare.table).await? {
            Some(table) => existing(catalog, prepare, &table).await,
            None => Err(Error::new(
                ErrorKind::Transient,
                "the table was created and removed by somebody else meanwhile",
            )
            .with("table", &prepare.table)),
        },
    }
}

async fn existing(catalog: &dyn Catalog, prepare: &Prepare, table: &TableHandle) -> Result<Prepared> {
    refuse_what_is_not_understood(table)?;
    let is_ours = table.metadata().properties().contains_key(CREATED_BY);
    if !is_ours && !prepare.adopt {
        return Err(Error::new(
            ErrorKind::Config,
            "the Iceberg table exists and was not created by this program",
        )
        .with("table", &prepare.table)
        .hint("set `adopt: true` for the table to write into it, or choose another name"));
    }
    let differences = schema_differences(&prepare.schema, &*table.schema()?)?;
    if !differences.is_empty() {
        let list: Vec<_> = differences.iter().map(ToString::to_string).collect();
        return Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "the source's columns do not fit the Iceberg table: {}",
                list.join("; ")
            ),
        )
        .with("table", &prepare.table));
    }
    let mut properties = schema_properties(&prepare.schema, table.iceberg_schema())?;
    properties.retain(|name, value| table.metadata().properties().get(name) != Some(value));
    let mut prepared = Prepared::default();
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
    if !prepare.dry_run && !properties.is_empty() {
        set_properties(catalog, table, properties).await?;
    }
    Ok(prepared)
}

async fn set_properties(
    catalog: &dyn Catalog,
    table: &TableHandle,
    updates: HashMap<String, String>,
) -> Result<()> {
    let change = MetadataChange {
        requirements: vec![TableRequirement::UuidMatch {
            uuid: table.metadata().uuid(),
        }],
        updates: vec![TableUpdate::SetProperties { updates }],
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
