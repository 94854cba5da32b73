//! Creating, adopting and refusing tables.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use iceberg_table::{CREATED_BY, Catalog, NewTable, SOURCE_SCHEMA, iceberg_schema};
use iceberg_writer::TableOptions;
use model::{DeclaredType, ErrorKind, SyncId, TableName, TableSchema};
use test_support::sample_schema;

use crate::warehouse::{Target, Warehouse};

fn unprepared(warehouse: &Warehouse, schema: Arc<TableSchema>) -> Target<'_> {
    Target {
        sink: warehouse.sink(),
        warehouse,
        sync: SyncId::new("s"),
        name: TableName::new("dbo", "T"),
        schema,
    }
}

#[tokio::test]
async fn a_dry_run_creates_nothing() {
    let warehouse = Warehouse::new(1);
    let target = unprepared(&warehouse, sample_schema(true));
    let prepared = target.prepare(|prepare| prepare.dry_run = true).await.unwrap();
    assert!(
        prepared.created && prepared.actions[0].contains("dbo.T"),
        "{prepared:?}"
    );
    assert!(
        std::fs::read_dir(warehouse.directory.path())
            .unwrap()
            .next()
            .is_none()
    );
}

#[tokio::test]
async fn a_foreign_table_is_taken_over_only_when_told() {
    let warehouse = Warehouse::new(2);
    let schema = sample_schema(true);
    let new = NewTable::new(iceberg_schema(&schema).unwrap());
    let target = unprepared(&warehouse, schema);
    warehouse
        .catalog()
        .create(&target.name, new)
        .await
        .unwrap()
        .unwrap();
    let refused = target.prepare(|_| ()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.advice().contains("adopt: true"), "{}", refused.advice());

    let would = target
        .prepare(|prepare| (prepare.adopt, prepare.dry_run) = (true, true))
        .await
        .unwrap();
    assert!(
        would.actions.iter().any(|action| action.contains("adopt")),
        "{would:?}"
    );
    assert!(
        !warehouse
            .table(&target.name)
            .await
            .metadata()
            .properties()
            .contains_key(CREATED_BY)
    );

    target.prepare(|prepare| prepare.adopt = true).await.unwrap();
    let again = target.prepare(|_| ()).await.unwrap();
    assert_eq!((again.created, again.actions.len()), (false, 0));
}

#[tokio::test]
async fn columns_that_do_not_fit_are_listed() {
    let warehouse = Warehouse::new(3);
    Target::new(&warehouse).await;
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("colour", DataType::Utf8, true),
    ];
    let schema = TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None; 3]).unwrap();
    let error = unprepared(&warehouse, schema).prepare(|_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
    for part in [
        "\"id\" is int in the table and long in the source",
        "lacks column \"colour\"",
        "no longer delivers column \"amount\"",
    ] {
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_wider_declared_type_is_noted() {
    let warehouse = Warehouse::new(4);
    let target = Target::new(&warehouse).await;
    let mut declared = target.schema.declared().to_vec();
    declared[1] = Some(DeclaredType {
        declared: "nvarchar(200)".into(),
        collation: None,
    });
    let schema = TableSchema::new(target.schema.arrow().clone(), vec![0], declared).unwrap();
    let prepared = unprepared(&warehouse, schema.clone())
        .prepare(|_| ())
        .await
        .unwrap();
    assert_eq!(prepared.actions.len(), 1);
    let table = warehouse.table(&target.name).await;
    assert!(table.metadata().properties()[SOURCE_SCHEMA].contains("nvarchar(200)"));
    assert_eq!(table.schema().unwrap(), schema);
}

#[tokio::test]
async fn a_missing_table_is_not_created_behind_the_operators_back() {
    let warehouse = Warehouse::new(5);
    let target = unprepared(&warehouse, sample_schema(true));
    let error = target
        .prepare(|prepare| prepare.create = false)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_format_is_the_one_that_is_asked_for() {
    use iceberg::spec::FormatVersion::{V2, V3};
    let of = |format_version| TableOptions {
        format_version,
        ..TableOptions::default()
    };
    let warehouse = Warehouse::new(6);
    let mut target = unprepared(&warehouse, sample_schema(true));
    for (asked, format, actions) in [
        (None, V2, 1),
        (Some(2), V2, 0),
        (Some(3), V3, 1),
        (None, V3, 0),
        (Some(2), V3, 0),
    ] {
        target.sink = warehouse.sink().with_tables([(target.name.clone(), of(asked))]);
        let prepared = target.prepare(|_| ()).await.unwrap();
        assert_eq!(prepared.actions.len(), actions, "{asked:?}: {prepared:?}");
        let table = warehouse.table(&target.name).await;
        assert_eq!(table.metadata().format_version(), format, "{asked:?}");
    }
}
