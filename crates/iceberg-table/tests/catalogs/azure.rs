//! The filesystem catalog in a container of Azure's, or of Azurite's, which Microsoft has made to test against.

use iceberg_table::{AzureOptions, StorageOptions};
use model::Secret;

use crate::bucket::Bucket;
use crate::suite;

/// The account that every Azurite has, and its key, which Microsoft has published.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A prefix of the container `suite`.
fn container(prefix: &str) -> Bucket {
    let options = |server: &str| StorageOptions {
        azure: AzureOptions {
            endpoint: Some(format!("http://{server}/{ACCOUNT}")),
            access_key: Some(Secret::new(KEY)),
            ..AzureOptions::default()
        },
        ..StorageOptions::default()
    };
    let warehouse = format!("abfss://suite@{ACCOUNT}.dfs.core.windows.net/{prefix}");
    Bucket::from_environment("CATALOG_AZURE", options, warehouse)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_AZURE, the URL of an Azurite; `cargo xtask catalogs` starts one"]
async fn a_container_keeps_the_contract() {
    suite::run(&container("contract")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_AZURE, the URL of an Azurite; `cargo xtask catalogs` starts one"]
async fn in_a_container_a_sleeper_does_not_win() {
    suite::a_writer_that_sleeps_across_pruning_does_not_win(&container("sleeper")).await;
}
