//! A catalog whose calls fail at one place, in one way.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use iceberg_table::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
use model::{Error, ErrorKind, Result, TableName};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request is lost.
    RequestLost,
    /// The request is carried out and the answer is lost.
    AnswerLost,
    /// A commit is carried out after so many more calls, and nobody waits for it.
    Late(usize),
    /// A commit is carried out, sent again by a link in between, and that is answered as a lost race.
    ConflictWithItself,
    /// A commit is carried out, sent again by a link in between, and that is refused for another reason.
    RefusedTheSecondTime,
}

/// Fails at one call, counted from zero.
#[derive(Debug)]
pub(crate) struct FaultyCatalog {
    inner: Arc<dyn Catalog>,
    fault: Fault,
    at: usize,
    calls: AtomicUsize,
    late: Mutex<Option<(usize, TableHandle, MetadataChange)>>,
}

impl FaultyCatalog {
    pub(crate) fn new(inner: Arc<dyn Catalog>, fault: Fault, at: usize) -> Self {
        Self {
            inner,
            fault,
            at,
            calls: AtomicUsize::new(0),
            late: Mutex::new(None),
        }
    }

    /// Whether the call that fails has been reached.
    pub(crate) fn has_failed(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.at
    }

    /// Counts a call, and says whether it is the one that fails.
    async fn enter(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let due = self.late.lock().unwrap().take_if(|(due, ..)| *due <= call);
        if let Some((_, base, change)) = due {
            // Whether it lands is its own affair.
            let _ = self.inner.commit(&base, change).await;
        }
        call == self.at
    }

    async fn call<T>(&self, inner: impl Future<Output = Result<T>>) -> Result<T> {
        let lost = || Err(Error::new(ErrorKind::Unavailable, "the link broke"));
        match self.enter().await {
            true if self.fault == Fault::RequestLost => lost(),
            true => inner.await.and_then(|_| lost()),
            false => inner.await,
        }
    }
}

#[async_trait]
impl Catalog for FaultyCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        self.call(self.inner.load(table)).await
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        self.call(self.inner.create(table, new)).await
    }

    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit> {
        let unknown = || CatalogCommit::Unknown {
            why: "the link broke".into(),
        };
        if !self.enter().await {
            return self.inner.commit(base, change).await;
        }
        match self.fault {
            Fault::RequestLost => Ok(unknown()),
            Fault::AnswerLost => self.inner.commit(base, change).await.map(|_| unknown()),
            Fault::Late(calls) => {
                *self.late.lock().unwrap() = Some((self.at + calls, base.clone(), change));
                Ok(unknown())
            }
            Fault::ConflictWithItself => {
                self.inner.commit(base, change.clone()).await?;
                self.inner.commit(base, change).await
            }
            Fault::RefusedTheSecondTime => {
                self.inner.commit(base, change).await?;
                Err(Error::new(ErrorKind::Unavailable, "too many requests"))
            }
        }
    }

    async fn persist(&self, files: &[String]) -> Result<()> {
        self.call(self.inner.persist(files)).await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        self.call(self.inner.list()).await
    }

    async fn check_writable(&self) -> Result<()> {
        self.call(self.inner.check_writable()).await
    }
}
