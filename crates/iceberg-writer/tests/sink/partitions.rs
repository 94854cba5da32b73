//! Partitioned tables: where rows lie, keys that move, and another spec from now on.

use std::collections::BTreeSet;

use iceberg::spec::{Literal, SortDirection, Struct};
use iceberg_table::live_files;
use iceberg_writer::TableOptions;
use model::{ErrorKind, Op, Presence, SyncId, TableName};
use test_support::SampleRow;

use crate::warehouse::{Target, Warehouse, rows_of, upserts};

fn by(fields: &[&str]) -> TableOptions {
    TableOptions {
        partition: Some(fields.iter().map(|field| (*field).to_owned()).collect()),
        ..TableOptions::default()
    }
}

/// The partitions that hold files, by the id of their spec.
async fn partitions(target: &Target<'_>) -> BTreeSet<(i32, String)> {
    let table = target.warehouse.table(&target.name).await;
    let files = live_files(&table, table.head().unwrap()).await.unwrap();
    let shown = |partition: &Struct| format!("{:?}", partition.fields());
    files
        .iter()
        .map(|file| (file.spec_id, shown(file.data_file.partition())))
        .collect()
}

fn shown(partitions: &[(i32, Option<Literal>)]) -> BTreeSet<(i32, String)> {
    partitions
        .iter()
        .map(|(spec, value)| (*spec, format!("{:?}", std::slice::from_ref(value))))
        .collect()
}

#[tokio::test]
async fn a_key_moves_between_partitions() {
    for format in [2, 3] {
        let mut warehouse = Warehouse::new(40);
        warehouse.table_options = TableOptions {
            format_version: Some(format),
            ..by(&["name"])
        };
        let target = Target::new(&warehouse).await;
        let text = |text: &str| Some(Literal::string(text));
        target.apply("a", &upserts(0..4, "north"), Presence::Absent).await;
        target
            .apply("b", &upserts(2..6, "south"), Presence::Unknown)
            .await;
        let receipt = target
            .apply("c", &[(Op::Delete, SampleRow::new(3, "", 0))], Presence::Present)
            .await;
        assert_eq!(receipt.deleted, 1);
        assert_eq!(
            partitions(&target).await,
            shown(&[(0, text("north")), (0, text("south"))])
        );
        let mut expected = rows_of(&upserts(0..2, "north"));
        expected.extend(rows_of(&upserts([2, 4, 5], "south")));
        assert_eq!(target.rows().await, expected);
    }
}

#[tokio::test]
async fn another_spec_holds_from_now_on_and_old_files_are_still_found() {
    let mut warehouse = Warehouse::new(41);
    warehouse.table_options = by(&["bucket(2, id)"]);
    let target = Target::new(&warehouse).await;
    target.apply("a", &upserts(0..10, "x"), Presence::Absent).await;
    assert_eq!(partitions(&target).await.len(), 2);

    warehouse.table_options = TableOptions {
        sort: Some(vec!["amount desc".into()]),
        ..by(&["truncate(5, id)", "bucket(2, id)"])
    };
    let target = Target::new(&warehouse).await;
    let table = warehouse.table(&target.name).await;
    let (spec, first) = (
        table.metadata().default_partition_spec().clone(),
        table.metadata().partition_spec_by_id(0).unwrap().clone(),
    );
    assert_eq!(
        spec.fields()[1],
        first.fields()[0],
        "a field keeps its id and name"
    );
    let sort = &table.metadata().default_sort_order().fields;
    assert_eq!(
        (sort[0].source_id, sort[0].direction),
        (3, SortDirection::Descending)
    );
    assert!(target.prepare(|_| ()).await.unwrap().actions.is_empty());

    let receipt = target.apply("b", &upserts(5..12, "y"), Presence::Unknown).await;
    assert_eq!((receipt.updated, receipt.inserted), (5, 2));
    let specs: BTreeSet<_> = partitions(&target)
        .await
        .into_iter()
        .map(|(spec, _)| spec)
        .collect();
    assert_eq!(specs, [0, spec.spec_id()].into());
    let mut expected = rows_of(&upserts(0..5, "x"));
    expected.extend(rows_of(&upserts(5..12, "y")));
    assert_eq!(target.rows().await, expected);

    warehouse.table_options = by(&["void(id)"]);
    let target = Target::new(&warehouse).await;
    target.apply("v", &upserts([0], "x"), Presence::Present).await;
    warehouse.table_options = by(&[]);
    let target = Target::new(&warehouse).await;
    target.apply("c", &upserts(4..6, "z"), Presence::Unknown).await;
    expected.splice(4..6, rows_of(&upserts(4..6, "z")));
    assert_eq!(target.rows().await, expected);
}

#[tokio::test]
async fn a_partitioning_that_does_not_fit_is_refused() {
    for fields in [
        &["colour"][..],
        &["day(name)"],
        &["id", "identity(id)"],
        &["bucket(0, id)"],
    ] {
        let mut warehouse = Warehouse::new(42);
        let schema = Target::new(&warehouse).await.schema;
        warehouse.table_options = by(fields);
        let refused = Target {
            sink: warehouse.sink(),
            warehouse: &warehouse,
            sync: SyncId::new("s"),
            name: TableName::new("dbo", "T"),
            schema,
        }
        .prepare(|_| ())
        .await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config, "{fields:?}");
    }
}
