//! Catalogs that withhold commits, or lose them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use iceberg_table::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
use model::{Error, ErrorKind, Result, TableName};

/// A catalog that hands over what it should commit, and commits nothing.
#[derive(Debug)]
pub(crate) struct Interceptor {
    inner: Arc<dyn Catalog>,
    intercepted: Mutex<Option<(TableHandle, MetadataChange)>>,
}

impl Interceptor {
    pub(crate) fn new(inner: Arc<dyn Catalog>) -> Self {
        Self {
            inner,
            intercepted: Mutex::new(None),
        }
    }

    /// The change that was last to be committed, and what it was built on.
    pub(crate) fn take(&self) -> (TableHandle, MetadataChange) {
        self.intercepted
            .lock()
            .unwrap()
            .take()
            .expect("something was committed")
    }
}

#[async_trait]
impl Catalog for Interceptor {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        self.inner.load(table).await
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        self.inner.create(table, new).await
    }

    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit> {
        *self.intercepted.lock().unwrap() = Some((base.clone(), change));
        Ok(CatalogCommit::Unknown {
            why: "intercepted".into(),
        })
    }

    async fn persist(&self, files: &[String]) -> Result<()> {
        self.inner.persist(files).await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        self.inner.list().await
    }

    async fn check_writable(&self) -> Result<()> {
        self.inner.check_writable().await
    }
}

/// A catalog that answers commits as lost races and carries none out, and whose disk fails after so many attempts.
#[derive(Debug)]
pub(crate) struct LostThenBroken {
    inner: Arc<dyn Catalog>,
    works: usize,
    attempts: AtomicUsize,
}

impl LostThenBroken {
    pub(crate) fn new(inner: Arc<dyn Catalog>, works: usize) -> Self {
        Self {
            inner,
            works,
            attempts: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl Catalog for LostThenBroken {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        self.inner.load(table).await
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        self.inner.create(table, new).await
    }

    async fn commit(&self, _: &TableHandle, _: MetadataChange) -> Result<CatalogCommit> {
        Ok(CatalogCommit::Conflict {
            why: "somebody was faster".into(),
        })
    }

    async fn persist(&self, files: &[String]) -> Result<()> {
        match self.attempts.fetch_add(1, Ordering::SeqCst) {
            attempt if attempt < self.works => self.inner.persist(files).await,
            _ => Err(Error::new(ErrorKind::Unavailable, "the disk is away")),
        }
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        self.inner.list().await
    }

    async fn check_writable(&self) -> Result<()> {
        self.inner.check_writable().await
    }
}
