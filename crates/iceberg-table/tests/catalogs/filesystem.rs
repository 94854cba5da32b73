//! The filesystem catalog on a local disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use iceberg_table::{Catalog, FileSystemCatalog, live_files};
use model::{CommitOutcome, TableName};
use tempfile::TempDir;
use test_support::SeededIds;

use crate::committing::Committing;
use crate::faulty_disk;
use crate::place::{Place, late_clock, new_table};
use crate::suite;
use crate::withheld::LostThenBroken;
use crate::writer::Writer;

struct Directory(TempDir);

#[async_trait]
impl Place for Directory {
    fn catalog(&self) -> Arc<dyn Catalog> {
        static SEEDS: AtomicU64 = AtomicU64::new(1);
        let ids = Arc::new(SeededIds::new(SEEDS.fetch_add(1, Ordering::Relaxed)));
        let warehouse = self.0.path().to_str().unwrap();
        Arc::new(FileSystemCatalog::new(warehouse, late_clock(), ids).unwrap())
    }

    fn names(&self) -> Vec<TableName> {
        [
            ("dbo", "Orders"),
            ("..", "/etc/passwd"),
            ("a b", "quote'\"[]"),
            ("𝒳", "日本.x"),
            ("dbo", "orders#?%20"),
        ]
        .map(|(schema, name)| TableName::new(schema, name))
        .into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_directory_keeps_the_contract() {
    let place = Directory(TempDir::new().unwrap());
    suite::run(&place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_local_directory_a_sleeper_does_not_win() {
    let place = Directory(TempDir::new().unwrap());
    suite::a_writer_that_sleeps_across_pruning_does_not_win(&place).await;
}

#[tokio::test]
async fn in_a_local_directory_clocks_may_differ() {
    suite::a_clock_that_is_behind_is_no_obstacle(&Directory(TempDir::new().unwrap())).await;
}

#[test]
fn in_a_local_directory_a_faulty_disk_loses_nothing() {
    faulty_disk::loses_nothing(
        "filesystem::in_a_local_directory_a_faulty_disk_loses_nothing",
        || Directory(TempDir::new().unwrap()),
    );
}

#[tokio::test]
async fn a_manifest_that_was_read_is_not_read_again_by_the_same_catalog() {
    let place = Directory(TempDir::new().unwrap());
    let name = new_table(&place).await;
    let catalog = place.catalog();
    let writer = Writer::new(catalog.clone(), &name, "reads");
    for _ in 0..2 {
        let commit = writer.one_row(&writer.load().await).await;
        writer.send_until_known(&commit).await;
        let table = catalog.load(&name).await.unwrap().unwrap();
        let head = table.head().unwrap();
        let read = live_files(&table, head).await.unwrap();
        let list = table.table().manifest_list_reader(head).load().await.unwrap();
        let newest = list
            .entries()
            .iter()
            .max_by_key(|manifest| manifest.sequence_number);
        let newest = newest
            .unwrap()
            .manifest_path
            .trim_start_matches("file://")
            .to_owned();
        let aside = format!("{newest}.aside");
        std::fs::rename(&newest, &aside).unwrap();
        let again = live_files(&catalog.load(&name).await.unwrap().unwrap(), head).await;
        assert_eq!(again.unwrap().len(), read.len());
        let other = place.catalog().load(&name).await.unwrap().unwrap();
        assert!(
            live_files(&other, head).await.is_err(),
            "the manifest is not there"
        );
        std::fs::rename(&aside, &newest).unwrap();
    }
    let table = catalog.load(&name).await.unwrap().unwrap();
    assert_eq!(live_files(&table, table.head().unwrap()).await.unwrap().len(), 2);
}

/// A race is lost to what may be our own earlier request, and the next attempt fails, or all are lost like that: the commit may still happen.
#[tokio::test]
async fn a_lost_race_leaves_the_commit_open_as_long_as_nobody_has_won() {
    for works in [1, usize::MAX] {
        let place = Directory(TempDir::new().unwrap());
        let table = new_table(&place).await;
        let losing = Arc::new(Committing {
            inner: place.catalog(),
            by: LostThenBroken::after(works),
        });
        let writer = Writer::new(losing, &table, "ours");
        let commit = writer.one_row(&writer.load().await).await;
        let outcome = writer.send(&commit).await.unwrap();
        assert!(
            matches!(outcome, CommitOutcome::Unknown { .. }),
            "{works}: {outcome:?}"
        );
    }
}
