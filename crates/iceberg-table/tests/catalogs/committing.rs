//! A catalog whose commits go another way than those of the one behind it.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg_table::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
use model::{Result, TableName};

/// What becomes of a commit.
#[async_trait]
pub(crate) trait Commits: Debug + Send + Sync {
    async fn commit(
        &self,
        inner: &dyn Catalog,
        base: &TableHandle,
        change: MetadataChange,
    ) -> Result<CatalogCommit>;

    async fn persist(&self, inner: &dyn Catalog, files: &[String]) -> Result<()> {
        inner.persist(files).await
    }
}

#[derive(Debug)]
pub(crate) struct Committing<C> {
    pub(crate) inner: Arc<dyn Catalog>,
    pub(crate) by: C,
}

#[async_trait]
impl<C: Commits> Catalog for Committing<C> {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        self.inner.load(table).await
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        self.inner.create(table, new).await
    }

    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit> {
        self.by.commit(self.inner.as_ref(), base, change).await
    }

    async fn persist(&self, files: &[String]) -> Result<()> {
        self.by.persist(self.inner.as_ref(), files).await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        self.inner.list().await
    }

    async fn check_writable(&self) -> Result<()> {
        self.inner.check_writable().await
    }
}
