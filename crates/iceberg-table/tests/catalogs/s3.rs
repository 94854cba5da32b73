//! The filesystem catalog in an S3 bucket that the environment names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use iceberg_table::{Catalog, FileSystemCatalog, S3Options, Storage, StorageOptions};
use model::Secret;
use test_support::SeededIds;

use crate::faults::Fault;
use crate::place::{Faulty, Place, late_clock};
use crate::proxy::{Protocol, Proxy};
use crate::suite;

/// A prefix of the bucket `suite` at this endpoint.
struct Bucket {
    endpoint: String,
    prefix: &'static str,
}

impl Bucket {
    fn from_environment(prefix: &'static str) -> Self {
        let endpoint = std::env::var("CATALOG_S3").expect("CATALOG_S3 is a URL");
        Self { endpoint, prefix }
    }

    fn catalog_at(&self, endpoint: &str) -> Arc<dyn Catalog> {
        static SEEDS: AtomicU64 = AtomicU64::new(1);
        let ids = Arc::new(SeededIds::new(SEEDS.fetch_add(1, Ordering::Relaxed)));
        let s3 = S3Options {
            endpoint: Some(endpoint.to_owned()),
            region: Some("us-east-1".into()),
            access_key_id: Some("suite".into()),
            secret_access_key: Some(Secret::new("suite-secret")),
            path_style: Some(true),
            ..S3Options::default()
        };
        let storage = Storage::new(&StorageOptions { s3 });
        let warehouse = format!("s3://suite/{}", self.prefix);
        Arc::new(FileSystemCatalog::on(storage, &warehouse, late_clock(), ids).unwrap())
    }
}

#[async_trait]
impl Place for Bucket {
    fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog_at(&self.endpoint)
    }

    async fn over_a_bad_link(&self, fault: Fault, at: usize) -> Option<Faulty> {
        let server = self
            .endpoint
            .strip_prefix("http://")
            .unwrap()
            .trim_end_matches('/');
        let proxy = Proxy::start(Protocol::Http, server, fault, at).await;
        let catalog = self.catalog_at(&format!("http://{}", proxy.address));
        Some(Faulty {
            catalog,
            has_failed: Box::new(move || proxy.has_failed()),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_S3, the URL of a service; `cargo xtask catalogs` starts one"]
async fn a_bucket_keeps_the_contract() {
    suite::run(&Bucket::from_environment("contract")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_S3, the URL of a service; `cargo xtask catalogs` starts one"]
async fn in_a_bucket_a_sleeper_does_not_win() {
    suite::a_writer_that_sleeps_across_pruning_does_not_win(&Bucket::from_environment("sleeper")).await;
}
