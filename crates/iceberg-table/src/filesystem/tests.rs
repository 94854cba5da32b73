use std::collections::HashMap;

use arrow_schema::{DataType, Field, Schema};
use iceberg::TableUpdate;
use model::{ErrorKind, TableSchema};
use tempfile::TempDir;
use test_support::{SeededIds, SimClock};

use super::*;
use crate::schema::iceberg_schema;

fn catalog(warehouse: &Path) -> FileSystemCatalog {
    FileSystemCatalog::new(
        warehouse.to_str().unwrap(),
        Arc::<SimClock>::default(),
        Arc::new(SeededIds::new(1)),
    )
    .unwrap()
}

fn new_table() -> NewTable {
    let arrow = Schema::new(vec![Field::new("id", DataType::Int32, false)]);
    let schema = TableSchema::new(Arc::new(arrow), vec![0], vec![None]).unwrap();
    NewTable {
        properties: HashMap::from([("a".into(), "b".into())]),
        ..NewTable::new(iceberg_schema(&schema).unwrap())
    }
}

fn set(key: &str, value: &str) -> MetadataChange {
    let updates = HashMap::from([(key.to_owned(), value.to_owned())]);
    MetadataChange {
        requirements: vec![],
        updates: vec![TableUpdate::SetProperties { updates }],
    }
}

#[tokio::test]
async fn of_two_commits_on_one_base_one_wins() {
    let directory = TempDir::new().unwrap();
    let catalog = catalog(directory.path());
    let name = TableName::new("dbo", "T");
    let base = catalog.create(&name, new_table()).await.unwrap().unwrap();
    let CatalogCommit::Done(done) = catalog.commit(&base, set("x", "1")).await.unwrap() else {
        panic!("the first commit lost");
    };
    let second = catalog.commit(&base, set("x", "2")).await.unwrap();
    assert!(matches!(second, CatalogCommit::Conflict { .. }), "{second:?}");
    let loaded = catalog.load(&name).await.unwrap().unwrap();
    assert_eq!(loaded.metadata(), done.metadata());
    assert_eq!(loaded.metadata().properties()["x"], "1");
}

#[tokio::test]
async fn a_warehouse_that_cannot_be_written_says_so_and_leaves_no_trace() {
    let directory = TempDir::new().unwrap();
    let warehouse = directory.path().join("w/x");
    catalog(&warehouse).check_writable().await.unwrap();
    assert!(!warehouse.exists() && std::fs::read_dir(directory.path()).unwrap().next().is_none());

    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = catalog(&file.join("w")).check_writable().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(
        error.to_string().contains("cannot write to the warehouse"),
        "{error}"
    );
}

#[test]
fn a_warehouse_is_a_path_or_a_bucket() {
    let make =
        |text: &str| FileSystemCatalog::new(text, Arc::<SimClock>::default(), Arc::new(SeededIds::new(1)));
    for (text, warehouse) in [
        ("/w", "file:///w"),
        ("/w/", "file:///w"),
        ("file:///w", "file:///w"),
        ("file:/w", "file:///w"),
        ("s3://bucket/w/", "s3://bucket/w"),
        ("s3a://bucket", "s3a://bucket"),
    ] {
        assert_eq!(make(text).unwrap().warehouse(), warehouse);
    }
    assert!(make("relative/w").unwrap().warehouse().starts_with("file:///"));
    for text in ["hdfs://host/w", "s3://", "", "  ", "file://", "file://w/x"] {
        assert_eq!(make(text).unwrap_err().kind(), ErrorKind::Config, "{text:?}");
    }
}

#[tokio::test]
async fn a_damaged_metadata_file_names_itself() {
    let directory = TempDir::new().unwrap();
    let catalog = catalog(directory.path());
    let name = TableName::new("dbo", "T");
    catalog.create(&name, new_table()).await.unwrap();
    let file = catalog.versions(&name).file(1);
    std::fs::write(local_path(&file).unwrap(), "{").unwrap();
    let error = catalog.load(&name).await.unwrap_err();
    assert!(error.to_string().contains("v1.metadata.json"), "{error}");
}
