//! The filesystem catalog in a bucket of some service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use iceberg_table::{Catalog, FileSystemCatalog, Storage, StorageOptions};
use test_support::SeededIds;

use crate::faults::Fault;
use crate::place::{Faulty, Place, late_clock};
use crate::proxy::{Protocol, Proxy};

/// A directory of a bucket.
pub(crate) struct Bucket {
    /// The host and the port of the service.
    server: String,
    /// How it is reached there, or through a proxy.
    options: fn(server: &str) -> StorageOptions,
    warehouse: String,
}

impl Bucket {
    /// In the service whose URL is in this variable of the environment.
    pub(crate) fn from_environment(
        variable: &str,
        options: fn(server: &str) -> StorageOptions,
        warehouse: String,
    ) -> Self {
        let url = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is a URL"));
        let server = url.strip_prefix("http://").unwrap().trim_end_matches('/');
        Self {
            server: server.to_owned(),
            options,
            warehouse,
        }
    }

    fn catalog_at(&self, server: &str) -> Arc<dyn Catalog> {
        static SEEDS: AtomicU64 = AtomicU64::new(1);
        let ids = Arc::new(SeededIds::new(SEEDS.fetch_add(1, Ordering::Relaxed)));
        let storage = Storage::new(&(self.options)(server));
        Arc::new(FileSystemCatalog::on(storage, &self.warehouse, late_clock(), ids).unwrap())
    }
}

#[async_trait]
impl Place for Bucket {
    fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog_at(&self.server)
    }

    async fn over_a_bad_link(&self, fault: Fault, at: usize) -> Option<Faulty> {
        let proxy = Proxy::start(Protocol::Http, &self.server, fault, at).await;
        let catalog = self.catalog_at(&proxy.address.to_string());
        Some(Faulty {
            catalog,
            has_failed: Box::new(move || proxy.has_failed()),
        })
    }
}
