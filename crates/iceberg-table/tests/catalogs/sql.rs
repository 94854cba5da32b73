//! The SQL catalog on SQLite, and on a PostgreSQL that the environment names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use iceberg_table::{Catalog, SqlCatalog, SqlOptions, Storage};
use model::{Secret, TableName};
use sqlx::PgPool;
use tempfile::TempDir;
use test_support::SeededIds;

use crate::faults::Fault;
use crate::faulty_disk;
use crate::foreign;
use crate::place::{Faulty, Place, definition};
use crate::proxy::{Protocol, Proxy};
use crate::suite;

struct Database {
    directory: TempDir,
    uri: String,
}

#[async_trait]
impl Place for Database {
    fn catalog(&self) -> Arc<dyn Catalog> {
        self.catalog_at(&self.uri)
    }

    async fn over_a_bad_link(&self, fault: Fault, at: usize) -> Option<Faulty> {
        let (server, rest) = self.uri.split_once('@')?.1.split_once('/').unwrap();
        let proxy = Proxy::start(Protocol::Postgres, server, fault, at).await;
        let (user, _) = self.uri.split_once('@').unwrap();
        let catalog = self.catalog_at(&format!("{user}@{}/{rest}", proxy.address));
        Some(Faulty {
            catalog,
            has_failed: Box::new(move || proxy.has_failed()),
        })
    }
}

impl Database {
    fn catalog_at(&self, uri: &str) -> Arc<dyn Catalog> {
        static SEEDS: AtomicU64 = AtomicU64::new(1);
        let ids = Arc::new(SeededIds::new(SEEDS.fetch_add(1, Ordering::Relaxed)));
        let options = SqlOptions {
            uri: Secret::new(uri),
            name: "suite".into(),
            warehouse: self.directory.path().to_str().unwrap().to_owned(),
        };
        Arc::new(SqlCatalog::new(&options, Storage::default(), ids).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    suite::run(&sqlite()).await;
}

#[tokio::test]
async fn in_sqlite_clocks_may_differ() {
    suite::a_clock_that_is_behind_is_no_obstacle(&sqlite()).await;
}

#[test]
fn in_sqlite_a_faulty_disk_loses_nothing() {
    faulty_disk::loses_nothing("sql::in_sqlite_a_faulty_disk_loses_nothing", sqlite);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_POSTGRES, the URI of an empty database; `cargo xtask catalogs` starts one"]
async fn postgres_keeps_the_contract() {
    suite::run(&postgres()).await;
}

/// PostgreSQL lets one fail of two that create the same table at once, `IF NOT EXISTS` or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_POSTGRES; `cargo xtask catalogs` has it"]
async fn in_a_fresh_postgres_many_begin_at_once() {
    let database = postgres();
    let whole = PgPool::connect(&database.uri).await.unwrap();
    for round in 0..40 {
        let create = format!("CREATE SCHEMA fresh_{round}");
        sqlx::query(&create).execute(&whole).await.unwrap();
        let fresh = format!("{}&options[search_path]=fresh_{round}", database.uri);
        let begun = (0..8).map(|number| {
            let catalog = database.catalog_at(&fresh);
            tokio::spawn(async move {
                if number % 2 == 0 {
                    return catalog.check_writable().await;
                }
                let table = TableName::new("n", format!("t{number}"));
                catalog.create(&table, definition()).await.map(drop)
            })
        });
        for begun in begun.collect::<Vec<_>>() {
            begun.await.unwrap().unwrap();
        }
        let mut tables = database.catalog_at(&fresh).list().await.unwrap();
        tables.retain(|table| table.schema() == "n");
        assert_eq!(tables.len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CATALOG_POSTGRES, and Python with PyIceberg; `cargo xtask catalogs` has them"]
async fn others_share_a_postgres() {
    let database = postgres();
    let uri = database.uri.replacen("postgres://", "postgresql+psycopg2://", 1);
    let (uri, _) = uri.split_once('?').unwrap();
    foreign::read_and_write(&database, &["--sql", uri]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Python with PyIceberg; `cargo xtask catalogs` has it"]
async fn others_share_an_sqlite() {
    let database = sqlite();
    let uri = database.uri.replacen("sqlite://", "sqlite:///", 1);
    foreign::read_and_write(&database, &["--sql", &uri]).await;
}

fn sqlite() -> Database {
    let directory = TempDir::new().unwrap();
    let uri = format!("sqlite://{}/catalog.db", directory.path().display());
    Database { directory, uri }
}

fn postgres() -> Database {
    Database {
        directory: TempDir::new().unwrap(),
        uri: std::env::var("CATALOG_POSTGRES").expect("CATALOG_POSTGRES is a URI"),
    }
}
