//! The REST catalog on a service that the environment names.

use std::sync::Arc;

use async_trait::async_trait;
use iceberg_table::{Catalog, RestCatalog, RestOptions, Storage};
use test_support::SimClock;

use crate::faults::Fault;
use crate::foreign;
use crate::place::{Faulty, Place};
use crate::proxy::{Protocol, Proxy};
use crate::suite;

/// A service at this URL, whose tables are local files.
struct Service(String);

impl Service {
    fn from_environment() -> Self {
        Self(std::env::var("CATALOG_REST").expect("CATALOG_REST is a URL"))
    }

    fn catalog_at(&self, uri: &str) -> Arc<dyn Catalog> {
        let options = RestOptions {
            uri: uri.to_owned(),
            ..RestOptions::default()
        };
        let clock = Arc::new(SimClock::default());
        Arc::new(RestCatalog::new(&options, Storage::default(), clock).unwrap())
    }
}

#[async_trait]
impl Place for Service {
    fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog_at(&self.0)
    }

    async fn over_a_bad_link(&self, fault: Fault, at: usize) -> Option<Faulty> {
        let server = self.0.strip_prefix("http://").unwrap().trim_end_matches('/');
        let proxy = Proxy::start(Protocol::Http, server, fault, at).await;
        let catalog = self.catalog_at(&format!("http://{}", proxy.address));
        Some(Faulty {
            catalog,
            has_failed: Box::new(move || proxy.has_failed()),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_REST, the URL of a service; `cargo xtask catalogs` starts one"]
async fn a_rest_service_keeps_the_contract() {
    suite::run(&Service::from_environment()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_REST, and Python with PyIceberg and DuckDB; `cargo xtask catalogs` has them"]
async fn others_share_a_rest_service() {
    let service = Service::from_environment();
    foreign::read_and_write(&service, &["--rest", &service.0]).await;
}
