//! Orphans in the buckets of services.

use iceberg_maintenance::{OrphanOptions, remove_orphans};
use iceberg_table::{Storage, StorageOptions};

use crate::history::History;
use crate::lake::{KINDS, Lake};

/// What is left behind is removed, and nothing else, from tables in this warehouse.
async fn only_orphans_are_removed(options: &StorageOptions, warehouse: &str) {
    for (seed, kind) in KINDS.iter().enumerate() {
        let storage = Storage::new(options);
        let mut history = History::new(Lake::on(storage, warehouse, *kind, seed as u64), 7).await;
        for commit in 0..3 {
            history.change(&format!("commit {commit}")).await;
        }
        let lake = &history.lake;
        let table = lake.table().await;
        let location = table.metadata().location();
        let orphan = format!("{location}/data/p=50%20x/left behind%20.parquet");
        let output = table.table().file_io().new_output(&orphan).unwrap();
        output.write("12345".into()).await.unwrap();
        let options = OrphanOptions {
            dry_run: false,
            ..OrphanOptions::default()
        };
        let remove = || remove_orphans(lake.catalog.as_ref(), &lake.name, options, &lake.later);
        let found = remove().await.unwrap();
        assert_eq!((found.files, found.bytes, found.removed), (vec![orphan], 5, true));
        let found = remove().await.unwrap();
        assert_eq!((found.files, found.bytes), (vec![], 0));
        history.check_all().await;
    }
}

/// The host and the port of the service whose URL is in this variable of the environment.
fn server(variable: &str) -> String {
    let url = std::env::var(variable).unwrap();
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

mod s3 {
    use iceberg_table::{S3Options, StorageOptions};
    use model::Secret;

    #[tokio::test]
    #[ignore = "needs CATALOG_S3, the URL of a service; `cargo xtask catalogs` starts one"]
    async fn only_orphans_are_removed() {
        let options = StorageOptions {
            s3: S3Options {
                endpoint: Some(format!("http://{}", super::server("CATALOG_S3"))),
                region: Some("us-east-1".into()),
                access_key_id: Some("suite".into()),
                secret_access_key: Some(Secret::new("suite-secret")),
                path_style: Some(true),
                ..S3Options::default()
            },
            ..StorageOptions::default()
        };
        super::only_orphans_are_removed(&options, "s3://suite/orphans").await;
    }
}

mod azure {
    use iceberg_table::{AzureOptions, StorageOptions};
    use model::Secret;

    /// The account that every Azurite has, and its key, which Microsoft has published.
    const ACCOUNT: &str = "devstoreaccount1";
    const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    #[tokio::test]
    #[ignore = "needs CATALOG_AZURE, the URL of an Azurite; `cargo xtask catalogs` starts one"]
    async fn only_orphans_are_removed() {
        let options = StorageOptions {
            azure: AzureOptions {
                endpoint: Some(format!("http://{}/{ACCOUNT}", super::server("CATALOG_AZURE"))),
                access_key: Some(Secret::new(KEY)),
                ..AzureOptions::default()
            },
            ..StorageOptions::default()
        };
        let warehouse = format!("abfss://suite@{ACCOUNT}.dfs.core.windows.net/orphans");
        super::only_orphans_are_removed(&options, &warehouse).await;
    }
}
