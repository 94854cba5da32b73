//! Commits that are withheld, or lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use iceberg_table::{Catalog, CatalogCommit, MetadataChange, TableHandle};
use model::{Error, ErrorKind, Result};

use crate::committing::{Commits, Committing};

/// Keeps what it should commit, and commits nothing.
#[derive(Debug, Default)]
pub(crate) struct Interceptor(Mutex<Option<(TableHandle, MetadataChange)>>);

pub(crate) fn intercepting(inner: &Arc<dyn Catalog>) -> Committing<Interceptor> {
    Committing {
        inner: inner.clone(),
        by: Interceptor::default(),
    }
}

impl Interceptor {
    /// The change that was last to be committed, and what it was built on.
    pub(crate) fn take(&self) -> (TableHandle, MetadataChange) {
        let intercepted = self.0.lock().unwrap().take();
        intercepted.expect("something was committed")
    }
}

#[async_trait]
impl Commits for Interceptor {
    async fn commit(
        &self,
        _: &dyn Catalog,
        base: &TableHandle,
        change: MetadataChange,
    ) -> Result<CatalogCommit> {
        *self.0.lock().unwrap() = Some((base.clone(), change));
        Ok(CatalogCommit::Unknown {
            why: "intercepted".into(),
        })
    }
}

/// Answers commits as lost races and carries none out, and its disk fails after so many attempts.
#[derive(Debug)]
pub(crate) struct LostThenBroken {
    works: usize,
    attempts: AtomicUsize,
}

impl LostThenBroken {
    pub(crate) fn after(works: usize) -> Self {
        Self {
            works,
            attempts: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl Commits for LostThenBroken {
    async fn commit(&self, _: &dyn Catalog, _: &TableHandle, _: MetadataChange) -> Result<CatalogCommit> {
        Ok(CatalogCommit::Conflict {
            why: "somebody was faster".into(),
        })
    }

    async fn persist(&self, inner: &dyn Catalog, files: &[String]) -> Result<()> {
        match self.attempts.fetch_add(1, Ordering::SeqCst) {
            attempt if attempt < self.works => inner.persist(files).await,
            _ => Err(Error::new(ErrorKind::Unavailable, "the disk is away")),
        }
    }
}
