//! The filesystem catalog: `<warehouse>/<namespace>/<table>/metadata/v{N}.metadata.json` and `version-hint.text`, the
//! layout of Hadoop tables, on a local disk or in an object store.
//!
//! A version is created once and never replaced, so that of two writers one wins: see [`local`] and [`object`] for how, and
//! [`versions`] for how the newest version is found and old ones are pruned.

mod local;
mod object;
mod versions;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::{TableMetadata, TableProperties};
use model::{Clock, Error, Ids, Result, TableName};
use object_store::path::Path as ObjectPath;

use crate::catalog::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
use crate::metadata;
use crate::segment;
use crate::storage::{Located, Storage, local_path, object_error};
use local::{LocalVersions, blocking};
use object::ObjectVersions;
use versions::{Pruning, Publication, Versions};

/// A catalog in a directory: of a local (or mounted) file system that has hard links, or of an object store that has conditional
/// writes.
#[derive(Debug, Clone)]
pub struct FileSystemCatalog {
    /// Without a slash at its end.
    warehouse: String,
    storage: Storage,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl FileSystemCatalog {
    /// The catalog in `warehouse`: a path, a `file:` URI, or an `s3:` URI that is reached as the environment says. Nothing is touched yet.
    ///
    /// # Errors
    ///
    /// As [`Self::on`].
    pub fn new(warehouse: &str, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self> {
        Self::on(Storage::default(), warehouse, clock, ids)
    }

    /// The catalog in `warehouse` of this storage.
    ///
    /// # Errors
    ///
    /// `Config` if the warehouse is of another kind, or not UTF-8.
    pub fn on(storage: Storage, warehouse: &str, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self> {
        Ok(Self {
            warehouse: storage.warehouse(warehouse)?,
            storage,
            clock,
            ids,
        })
    }

    /// The directory that the tables are in.
    pub fn warehouse(&self) -> &str {
        &self.warehouse
    }

    fn location(&self, table: &TableName) -> String {
        let [schema, name] = [table.schema(), table.name()].map(segment::encode);
        format!("{}/{schema}/{name}", self.warehouse)
    }

    fn versions(&self, table: &TableName) -> Versions {
        let directory = format!("{}/metadata", self.location(table));
        match local_path(&directory) {
            Some(_) => Versions::new(LocalVersions::new(directory)),
            None => Versions::new(ObjectVersions::new(self.storage.clone(), directory)),
        }
    }

    async fn open(&self, name: &TableName, location: String) -> Result<TableHandle> {
        let read = metadata::read(name, location, &self.storage).await;
        read.map_err(|e| e.hint("restore the file, or remove it so that the version before it is the newest"))
    }

    async fn publish(
        &self,
        versions: &Versions,
        after: u64,
        metadata: &TableMetadata,
    ) -> Result<Publication> {
        let unique = format!("{:032x}", self.ids.random());
        versions
            .publish(after, metadata::to_json(metadata)?, &unique)
            .await
    }

    async fn prune(&self, versions: &Versions, metadata: &TableMetadata) {
        if !metadata::is_pruned(metadata) {
            return;
        }
        let keep = metadata
            .properties()
            .get(TableProperties::PROPERTY_METADATA_PREVIOUS_VERSIONS_MAX)
            .and_then(|value| value.parse().ok())
            .unwrap_or(TableProperties::PROPERTY_METADATA_PREVIOUS_VERSIONS_MAX_DEFAULT);
        let pruning = Pruning {
            keep_previous: keep,
            now: self.clock.now(),
        };
        if let Err(error) = versions.prune(pruning).await {
            tracing::warn!(%error, "old metadata files are kept");
        }
    }

    /// The names of the directories in a directory, as far as they are encoded names.
    async fn names_in(&self, directory: String) -> Result<Vec<String>> {
        match self.storage.object(&format!("{directory}/x"))? {
            Some(located) => object_names_in(located, &directory).await,
            None => {
                let path = local_path(&directory).unwrap_or(&directory).to_owned();
                blocking(move || segment::names_in(Path::new(&path))).await?
            }
        }
    }
}

#[async_trait]
impl Catalog for FileSystemCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        let newest = self.versions(table).newest().await;
        match newest.map_err(|e| e.with("table", table))? {
            Some((_, file)) => self.open(table, file).await.map(Some),
            None => Ok(None),
        }
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        let versions = self.versions(table);
        let metadata = metadata::create(table, new, self.location(table), self.ids.as_ref())?;
        if versions.newest().await?.is_some() {
            return Ok(None);
        }
        let published = self.publish(&versions, 0, &metadata).await;
        match published.map_err(|e| e.with("table", table))? {
            Publication::Published => self.open(table, versions.file(1)).await.map(Some),
            Publication::Uncertain(why) => {
                let opened = self.open(table, versions.file(1)).await;
                opened.map(Some).map_err(|e| e.with("after", why))
            }
            Publication::Taken => Ok(None),
        }
    }

    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit> {
        if let Some(why) = metadata::failed_requirement(base.metadata(), &change) {
            return Ok(CatalogCommit::Conflict { why });
        }
        let location = base.table().metadata_location();
        let version = location.and_then(versions::version_of).ok_or_else(|| {
            Error::internal("a table of another catalog was given to the filesystem catalog")
                .with("table", base.name())
        })?;
        let metadata = metadata::apply(base, change)?;
        let versions = self.versions(base.name());
        let published = self.publish(&versions, version, &metadata).await;
        match published.map_err(|e| e.with("table", base.name()))? {
            Publication::Published => {
                self.prune(&versions, &metadata).await;
                let file = versions.file(version + 1);
                let opened = metadata::open(base.name(), metadata, file, &self.storage);
                Ok(opened.map_or_else(
                    |e| CatalogCommit::Unknown { why: e.to_string() },
                    |table| CatalogCommit::Done(Box::new(table)),
                ))
            }
            Publication::Taken => Ok(CatalogCommit::Conflict {
                why: format!("somebody else committed version {}", version + 1),
            }),
            Publication::Uncertain(why) => Ok(CatalogCommit::Unknown { why }),
        }
    }

    async fn persist(&self, files: &[String]) -> Result<()> {
        self.storage.persist(files).await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        let mut tables = Vec::new();
        for schema in self.names_in(self.warehouse.clone()).await? {
            let directory = format!("{}/{}", self.warehouse, segment::encode(&schema));
            for name in self.names_in(directory).await? {
                let table = TableName::new(&schema, &name);
                if self.versions(&table).newest().await?.is_some() {
                    tables.push(table);
                }
            }
        }
        tables.sort();
        Ok(tables)
    }

    async fn check_writable(&self) -> Result<()> {
        self.storage
            .check_writable(&self.warehouse, self.ids.as_ref())
            .await
    }
}

async fn object_names_in(located: Located, directory: &str) -> Result<Vec<String>> {
    let parents = located.path.parts_count() - 1;
    let prefix = ObjectPath::from_iter(located.path.parts().take(parents));
    let listed = located.store.list_with_delimiter(Some(&prefix)).await;
    let listed = listed.map_err(|e| object_error("cannot list the warehouse", directory, e))?;
    let names = listed.common_prefixes.iter().filter_map(ObjectPath::filename);
    Ok(names.filter_map(segment::decode).collect())
}

#[cfg(test)]
mod tests;
