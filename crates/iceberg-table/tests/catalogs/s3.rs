//! The filesystem catalog in an S3 bucket that the environment names.

use iceberg_table::{S3Options, StorageOptions};
use model::Secret;

use crate::bucket::Bucket;
use crate::suite;

/// A prefix of the bucket `suite`.
fn bucket(prefix: &str) -> Bucket {
    let options = |server: &str| StorageOptions {
        s3: S3Options {
            endpoint: Some(format!("http://{server}")),
            region: Some("us-east-1".into()),
            access_key_id: Some("suite".into()),
            secret_access_key: Some(Secret::new("suite-secret")),
            path_style: Some(true),
            ..S3Options::default()
        },
        ..StorageOptions::default()
    };
    Bucket::from_environment("CATALOG_S3", options, format!("s3://suite/{prefix}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_S3, the URL of a service; `cargo xtask catalogs` starts one"]
async fn a_bucket_keeps_the_contract() {
    suite::run(&bucket("contract")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_S3, the URL of a service; `cargo xtask catalogs` starts one"]
async fn in_a_bucket_a_sleeper_does_not_win() {
    suite::a_writer_that_sleeps_across_pruning_does_not_win(&bucket("sleeper")).await;
}
