//! The SQL catalog: the pointers to the tables' metadata are rows of a database, in the layout of Iceberg's JDBC catalog, which
//! PyIceberg shares.
//!
//! Metadata is written to a file of its own first; the commit is one `UPDATE … WHERE metadata_location = <the one before>`.

mod options;
mod pointers;

use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use model::{Error, Ids, Result, TableName};
use uuid::Uuid;

use crate::catalog::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
use crate::error::iceberg_error;
use crate::metadata;
use crate::segment;
use crate::storage::Storage;
pub use options::SqlOptions;
use pointers::{Pointers, Swap};

/// A catalog in SQLite or PostgreSQL.
#[derive(Debug, Clone)]
pub struct SqlCatalog {
    pointers: Pointers,
    /// Without a slash at its end.
    warehouse: String,
    storage: Storage,
    ids: Arc<dyn Ids>,
}

impl SqlCatalog {
    /// The catalog of these options, with its tables' files in `storage`. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// `Config` if the options do not name a database or a warehouse.
    pub fn new(options: &SqlOptions, storage: Storage, ids: Arc<dyn Ids>) -> Result<Self> {
        Ok(Self {
            pointers: Pointers::new(options)?,
            warehouse: storage.warehouse(&options.warehouse)?,
            storage,
            ids,
        })
    }

    /// Writes metadata to a new file, durably, as version `number`.
    async fn write(&self, metadata: &TableMetadata, number: u64) -> Result<String> {
        let id = Uuid::from_u128(self.ids.random());
        let file = format!("{}/metadata/{number:05}-{id}.metadata.json", metadata.location());
        let json = metadata::to_json(metadata)?;
        let written = async {
            let mut writer = self.storage.file_io().new_output(&file)?.writer().await?;
            writer.write(json.into()).await?;
            writer.close().await
        };
        written
            .await
            .map_err(|e| iceberg_error("cannot write the table's metadata")(e).with("file", &file))?;
        self.storage.persist(std::slice::from_ref(&file)).await?;
        Ok(file)
    }

    async fn remove(&self, file: &str) {
        if let Err(error) = self.storage.file_io().delete(file).await {
            tracing::warn!(%error, file, "a metadata file that nothing points to is left behind");
        }
    }

    /// Removes metadata that lost a race, unless it lost against itself: a proxy may repeat a statement whose answer was lost.
    async fn remove_lost(&self, table: &TableName, file: &str) {
        let Ok(Some(now)) = self.load(table).await else {
            return;
        };
        let has_been = |now: &TableMetadata| {
            let mut log = now.metadata_log().iter();
            log.any(|entry| entry.metadata_file == file)
        };
        if now.table().metadata_location() != Some(file) && !has_been(now.metadata()) {
            self.remove(file).await;
        }
    }

    /// Removes the metadata files that the new metadata no longer lists.
    async fn prune(&self, before: &TableMetadata, after: &TableMetadata) {
        if !metadata::is_pruned(after) {
            return;
        }
        let kept = |file: &str| {
            after
                .metadata_log()
                .iter()
                .any(|entry| entry.metadata_file == file)
        };
        for entry in before
            .metadata_log()
            .iter()
            .filter(|entry| !kept(&entry.metadata_file))
        {
            self.remove(&entry.metadata_file).await;
        }
    }
}

#[async_trait]
impl Catalog for SqlCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        match self.pointers.get(table).await? {
            Some(file) => metadata::read(table, file, &self.storage).await.map(Some),
            None => Ok(None),
        }
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        if self.pointers.get(table).await?.is_some() {
            return Ok(None);
        }
        let [schema, name] = [table.schema(), table.name()].map(segment::encode);
        let location = format!("{}/{schema}/{name}", self.warehouse);
        let metadata = metadata::create(table, new, location, self.ids.as_ref())?;
        let file = self.write(&metadata, 0).await?;
        if self.pointers.insert(table, &file).await? {
            return metadata::open(table, metadata, file, &self.storage).map(Some);
        }
        self.remove(&file).await;
        Ok(None)
    }

    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit> {
        if let Some(why) = metadata::failed_requirement(base.metadata(), &change) {
            return Ok(CatalogCommit::Conflict { why });
        }
        let name = base.name();
        let before = base.table().metadata_location().ok_or_else(|| {
            Error::internal("a table without a metadata file was given to the SQL catalog")
                .with("table", name)
        })?;
        let metadata = metadata::apply(base, change)?;
        let file = self.write(&metadata, number_of(before) + 1).await?;
        match self.pointers.swap(name, before, &file).await {
            Ok(Swap::Done) => {
                self.prune(base.metadata(), &metadata).await;
                let opened = metadata::open(name, metadata, file, &self.storage);
                Ok(opened.map_or_else(
                    |e| CatalogCommit::Unknown { why: e.to_string() },
                    |table| CatalogCommit::Done(Box::new(table)),
                ))
            }
            Ok(Swap::Moved) => {
                self.remove_lost(name, &file).await;
                Ok(CatalogCommit::Conflict {
                    why: "somebody else committed meanwhile".into(),
                })
            }
            Ok(Swap::Unknown(why)) => Ok(CatalogCommit::Unknown { why }),
            Err(error) => {
                self.remove_lost(name, &file).await;
                Err(error.with("table", name))
            }
        }
    }

    async fn persist(&self, files: &[String]) -> Result<()> {
        self.storage.persist(files).await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        let mut tables = self.pointers.list().await?;
        tables.sort();
        Ok(tables)
    }

    async fn check_writable(&self) -> Result<()> {
        self.pointers.check_writable().await?;
        self.storage
            .check_writable(&self.warehouse, self.ids.as_ref())
            .await
    }
}

/// The number of `<number>-<uuid>.metadata.json`; 0 for a file of another name.
fn number_of(file: &str) -> u64 {
    let name = file.rsplit('/').next().unwrap_or_default();
    name.split_once('-')
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or(0)
}
