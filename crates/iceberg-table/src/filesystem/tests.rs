use std::collections::HashMap;

use arrow_schema::{DataType, Field, Schema};
use iceberg::{TableRequirement, TableUpdate};
use model::TableSchema;
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
async fn tables_with_any_name_are_created_listed_and_loaded() {
    let directory = TempDir::new().unwrap();
    let catalog = catalog(&directory.path().join("a ware house"));
    let mut names: Vec<_> = [
        ("dbo", "Orders"),
        ("..", "/etc/passwd"),
        ("a b", "quote'\"[]"),
        ("𝒳", "日本.x"),
        ("dbo", "orders#?%20"),
    ]
    .map(|(schema, name)| TableName::new(schema, name))
    .into();
    names.sort();
    assert_eq!(catalog.list().await.unwrap(), []);
    for name in &names {
        assert!(catalog.load(name).await.unwrap().is_none());
        let created = catalog.create(name, new_table()).await.unwrap().unwrap();
        assert!(
            catalog.create(name, new_table()).await.unwrap().is_none(),
            "created twice"
        );
        let loaded = catalog.load(name).await.unwrap().unwrap();
        assert_eq!(loaded.metadata(), created.metadata());
        assert_eq!(loaded.metadata().properties()["a"], "b");
    }
    assert_eq!(catalog.list().await.unwrap(), names);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
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
async fn a_requirement_that_fails_is_a_conflict() {
    let directory = TempDir::new().unwrap();
    let catalog = catalog(directory.path());
    let base = catalog
        .create(&TableName::new("dbo", "T"), new_table())
        .await
        .unwrap()
        .unwrap();
    let change = MetadataChange {
        requirements: vec![TableRequirement::UuidMatch { uuid: Uuid::nil() }],
        ..set("x", "1")
    };
    let outcome = catalog.commit(&base, change).await.unwrap();
    assert!(matches!(outcome, CatalogCommit::Conflict { .. }), "{outcome:?}");
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
fn only_local_warehouses_are_taken() {
    let make =
        |text: &str| FileSystemCatalog::new(text, Arc::<SimClock>::default(), Arc::new(SeededIds::new(1)));
    for (text, path) in [("/w", "/w"), ("file:///w", "/w"), ("file:/w", "/w")] {
        assert_eq!(make(text).unwrap().warehouse(), Path::new(path));
    }
    assert!(make("relative/w").unwrap().warehouse().is_absolute());
    for text in ["s3://bucket/w", "", "  ", "file://"] {
        assert_eq!(make(text).unwrap_err().kind(), ErrorKind::Config, "{text:?}");
    }
}

#[tokio::test]
async fn a_damaged_metadata_file_names_itself() {
    let directory = TempDir::new().unwrap();
    let catalog = catalog(directory.path());
    let name = TableName::new("dbo", "T");
    catalog.create(&name, new_table()).await.unwrap();
    std::fs::write(catalog.versions(&name).path(1), "{").unwrap();
    let error = catalog.load(&name).await.unwrap_err();
    assert!(error.to_string().contains("v1.metadata.json"), "{error}");
}
