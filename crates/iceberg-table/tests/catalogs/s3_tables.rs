//! The REST catalog on what Amazon's S3 Tables adds to the protocol, as `tests/catalogs/s3_tables.py` has it.

use std::sync::Arc;

use async_trait::async_trait;
use iceberg_table::{Catalog, RestCatalog, RestOptions, S3Options, SigV4Options, Storage, StorageOptions};
use model::{ErrorKind, Secret, TableName};
use test_support::SimClock;

use crate::faults::Fault;
use crate::foreign;
use crate::place::{Faulty, Place};
use crate::proxy::{Protocol, Proxy};
use crate::suite;

const REGION: &str = "us-east-1";

/// A table bucket of the service at this URL.
struct TableBucket(String);

impl TableBucket {
    fn from_environment() -> Self {
        Self(std::env::var("CATALOG_S3_TABLES").expect("CATALOG_S3_TABLES is a URL"))
    }

    fn catalog_at(&self, url: &str, secret: &str) -> Arc<dyn Catalog> {
        let options = RestOptions {
            uri: format!("{url}/iceberg"),
            warehouse: Some(format!("arn:aws:s3tables:{REGION}:111122223333:bucket/suite")),
            sigv4: Some(SigV4Options {
                region: REGION.into(),
                service: "s3tables".into(),
            }),
            ..RestOptions::default()
        };
        let s3 = S3Options {
            region: Some(REGION.into()),
            access_key_id: Some("suite".into()),
            secret_access_key: Some(Secret::new(secret)),
            ..S3Options::default()
        };
        let storage = Storage::new(&StorageOptions {
            s3,
            ..StorageOptions::default()
        });
        Arc::new(RestCatalog::new(&options, storage, Arc::new(SimClock::default())).unwrap())
    }
}

#[async_trait]
impl Place for TableBucket {
    fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog_at(&self.0, "suite-secret")
    }

    async fn over_a_bad_link(&self, fault: Fault, at: usize) -> Option<Faulty> {
        let server = self.0.strip_prefix("http://").unwrap();
        let proxy = Proxy::start(Protocol::Http, server, fault, at).await;
        let catalog = self.catalog_at(&format!("http://{}", proxy.address), "suite-secret");
        Some(Faulty {
            catalog,
            has_failed: Box::new(move || proxy.has_failed()),
        })
    }

    fn names(&self) -> Vec<TableName> {
        [("dbo", "orders"), ("dbo", "order_lines"), ("a_b", "2024")]
            .map(|(schema, name)| TableName::new(schema, name))
            .into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_S3_TABLES, the URL of a service; `cargo xtask catalogs` starts one"]
async fn a_table_bucket_keeps_the_contract() {
    suite::run(&TableBucket::from_environment()).await;
}

#[tokio::test]
#[ignore = "needs CATALOG_S3_TABLES, the URL of a service; `cargo xtask catalogs` starts one"]
async fn a_request_that_is_signed_with_another_key_is_refused() {
    let bucket = TableBucket::from_environment();
    let other = bucket.catalog_at(&bucket.0, "another-secret");
    let error = other.load(&TableName::new("dbo", "orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_S3_TABLES, and Python with PyIceberg; `cargo xtask catalogs` has them"]
async fn others_share_a_table_bucket() {
    let bucket = TableBucket::from_environment();
    foreign::read_and_write(&bucket, &["--s3-tables", &bucket.0]).await;
}
