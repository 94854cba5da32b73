//! The filesystem catalog: `<warehouse>/<namespace>/<table>/metadata/v{N}.metadata.json` and `version-hint.text`, the
//! layout of Hadoop tables.
//!
//! A version is created once and never replaced: it is written aside, synced and hard-linked to its name, so that of two writers
//! one wins. See [`versions`] for how the newest version is found and old ones are pruned.

mod segment;
mod versions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::{TableMetadata, TableMetadataBuilder, TableProperties};
use iceberg::table::Table;
use iceberg::{NamespaceIdent, Runtime, TableIdent};
use model::{Clock, Error, ErrorKind, Ids, Result, TableName};
use uuid::Uuid;

use crate::catalog::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
use crate::error::{iceberg_error, io_error};
use versions::{Pruning, Publication, Versions};

/// The property that switches pruning of old metadata files on; [`FileSystemCatalog`] sets it on tables that it creates.
const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// A catalog in a directory of a local (or mounted) file system that has hard links.
#[derive(Debug, Clone)]
pub struct FileSystemCatalog {
    warehouse: PathBuf,
    file_io: FileIO,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl FileSystemCatalog {
    /// The catalog in `warehouse`: a path, or a `file:` URI. Nothing is touched yet.
    ///
    /// # Errors
    ///
    /// `Config` if it is neither, or not UTF-8.
    pub fn new(warehouse: &str, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self> {
        let config = |why: String| Error::new(ErrorKind::Config, why).with("warehouse", warehouse);
        let path = match warehouse.split_once("://") {
            Some(("file", path)) => path,
            Some((scheme, _)) => {
                return Err(
                    config(format!("the filesystem catalog cannot keep tables in {scheme}:"))
                        .hint("give a path on a local or mounted file system"),
                );
            }
            None => warehouse.strip_prefix("file:").unwrap_or(warehouse),
        };
        if path.trim().is_empty() {
            return Err(config("the warehouse's path is empty".into()));
        }
        let warehouse = std::path::absolute(path)
            .map_err(|e| io_error("cannot find the warehouse", Path::new(path), e))?;
        Ok(Self {
            warehouse,
            file_io: FileIO::new_with_fs(),
            clock,
            ids,
        })
    }

    /// The directory that the tables are in.
    pub fn warehouse(&self) -> &Path {
        &self.warehouse
    }

    fn directory(&self, table: &TableName) -> PathBuf {
        self.warehouse
            .join(segment::encode(table.schema()))
            .join(segment::encode(table.name()))
    }

    fn versions(&self, table: &TableName) -> Versions {
        Versions::new(self.directory(table).join("metadata"))
    }

    async fn open(&self, name: &TableName, location: &Path) -> Result<TableHandle> {
        let location = uri(location)?;
        let metadata = TableMetadata::read_from(&self.file_io, &location)
            .await
            .map_err(|error| {
                iceberg_error("cannot read the table's metadata file")(error)
                    .with("file", &location)
                    .hint("restore the file, or remove it so that the version before it is the newest")
            })?;
        self.handle(name, metadata, location)
    }

    fn handle(&self, name: &TableName, metadata: TableMetadata, location: String) -> Result<TableHandle> {
        let table = Table::builder()
            .identifier(TableIdent::new(
                NamespaceIdent::new(name.schema().to_owned()),
                name.name().to_owned(),
            ))
            .file_io(self.file_io.clone())
            .metadata(metadata)
            .metadata_location(location)
            .runtime(
                Runtime::try_current().map_err(iceberg_error("cannot open a table outside of a runtime"))?,
            )
            .build()
            .map_err(iceberg_error("cannot open the table"))?;
        Ok(TableHandle::new(name.clone(), table))
    }

    async fn publish(
        &self,
        versions: Versions,
        after: u64,
        metadata: &TableMetadata,
    ) -> Result<(Publication, PathBuf)> {
        let json = serde_json::to_vec(metadata)
            .map_err(|e| Error::internal("cannot write the table's metadata as JSON").caused_by(e))?;
        let temporary = format!(".{:032x}.tmp", self.ids.random());
        let path = versions.path(after + 1);
        let published = blocking(move || versions.publish(after, &json, &temporary)).await?;
        Ok((published, path))
    }

    async fn prune(&self, versions: Versions, metadata: &TableMetadata) {
        if metadata
            .properties()
            .get(DELETE_AFTER_COMMIT)
            .is_none_or(|value| value != "true")
        {
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
        if let Err(error) = blocking(move || versions.prune(pruning)).await {
            tracing::warn!(%error, "old metadata files are kept");
        }
    }
}

#[async_trait]
impl Catalog for FileSystemCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        let versions = self.versions(table);
        match blocking(move || versions.newest())
            .await
            .map_err(|e| e.with("table", table))?
        {
            Some(newest) => self
                .open(table, &newest.path)
                .await
                .map(Some)
                .map_err(|e| e.with("table", table)),
            None => Ok(None),
        }
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        let versions = self.versions(table);
        let mut properties = new.properties;
        properties
            .entry(DELETE_AFTER_COMMIT.to_owned())
            .or_insert_with(|| "true".to_owned());
        let metadata = TableMetadataBuilder::new(
            new.schema,
            new.partitions,
            new.sort_order,
            uri(&self.directory(table))?,
            new.format,
            properties,
        )
        .map(|builder| builder.assign_uuid(Uuid::from_u128(self.ids.random())))
        .and_then(TableMetadataBuilder::build)
        .map_err(|e| iceberg_error("cannot make the new table's metadata")(e).with("table", table))?
        .metadata;
        let existing = versions.clone();
        if blocking(move || existing.newest()).await?.is_some() {
            return Ok(None);
        }
        match self
            .publish(versions, 0, &metadata)
            .await
            .map_err(|e| e.with("table", table))?
        {
            (Publication::Published, path) => self.open(table, &path).await.map(Some),
            (Publication::Uncertain(why), path) => {
                let opened = self.open(table, &path).await;
                opened.map(Some).map_err(|e| e.with("after", why))
            }
            (Publication::Taken, _) => Ok(None),
        }
    }

    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit> {
        if let Some(why) = failed_requirement(base.metadata(), &change) {
            return Ok(CatalogCommit::Conflict { why });
        }
        let location = base.table().metadata_location();
        let version = location
            .and_then(|at| versions::version_of(Path::new(at)))
            .ok_or_else(|| {
                Error::internal("a table of another catalog was given to the filesystem catalog")
                    .with("table", base.name())
            })?;
        let mut builder = base.metadata().clone().into_builder(location.map(str::to_owned));
        for update in change.updates {
            builder = update
                .apply(builder)
                .map_err(iceberg_error("cannot change the table's metadata"))?;
        }
        let metadata = builder
            .build()
            .map_err(iceberg_error("cannot change the table's metadata"))?
            .metadata;
        let versions = self.versions(base.name());
        let (published, path) = self
            .publish(versions.clone(), version, &metadata)
            .await
            .map_err(|e| e.with("table", base.name()))?;
        match published {
            Publication::Published => {
                self.prune(versions, &metadata).await;
                let opened = uri(&path).and_then(|location| self.handle(base.name(), metadata, location));
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
        let mut directories: Vec<PathBuf> = files
            .iter()
            .filter_map(|file| Path::new(path_of(file)).parent().map(Path::to_owned))
            .collect();
        directories.sort();
        directories.dedup();
        blocking(move || {
            directories
                .iter()
                .try_for_each(|directory| versions::sync_up(directory))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        let warehouse = self.warehouse.clone();
        blocking(move || {
            let mut tables = Vec::new();
            for (namespace, directory) in segment::directories(&warehouse)? {
                for (name, table) in segment::directories(&directory)? {
                    if Versions::new(table.join("metadata")).newest()?.is_some() {
                        tables.push(TableName::new(&namespace, &name));
                    }
                }
            }
            tables.sort();
            Ok(tables)
        })
        .await
    }

    async fn check_writable(&self) -> Result<()> {
        let warehouse = self.warehouse.clone();
        let probe = format!(".{:032x}.probe", self.ids.random());
        blocking(move || {
            let existing = warehouse
                .ancestors()
                .find(|path| path.exists())
                .unwrap_or(&warehouse);
            let probe = existing.join(probe);
            std::fs::File::create_new(&probe)
                .and_then(|_| std::fs::remove_file(&probe))
                .map_err(|e| io_error("cannot write to the warehouse", &warehouse, e))
        })
        .await
    }
}

fn failed_requirement(metadata: &TableMetadata, change: &MetadataChange) -> Option<String> {
    change
        .requirements
        .iter()
        .find_map(|requirement| requirement.check(Some(metadata)).err())
        .map(|e| e.to_string())
}

/// A location as metadata holds it. Nothing is percent-encoded: readers take it byte by byte.
fn uri(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(path) => Ok(format!("file://{path}")),
        None => {
            Err(Error::new(ErrorKind::Config, "the warehouse's path is not UTF-8")
                .with("path", path.display()))
        }
    }
}

fn path_of(location: &str) -> &str {
    location
        .strip_prefix("file://")
        .or_else(|| location.strip_prefix("file:"))
        .unwrap_or(location)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("a file system task did not finish").caused_by(e))?
}

#[cfg(test)]
mod tests;
