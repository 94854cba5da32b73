//! What is refused before any row, and what is created.

use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{DataType, Field, Schema};
use model::{ChangeSink, DeclaredType, ErrorKind, Op, Prepare, SyncId, TableName, TableSchema};
use sqlserver_client::{CommitEnd, ConnectOptions, Isolation, Secret};
use sqlserver_import::{ApplyOptions, SqlServerSink, Strategy};
use test_support::{SampleRow, kill_after, sample_batch, sample_schema};

use crate::{Case, Place};

const CREATE: &str =
    "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100) NULL, amount bigint NULL)";

async fn case(statements: &[&str], apply: ApplyOptions) -> Case {
    let place = Place::new(apply).await;
    place.run(statements).await;
    Case::new(place, sample_schema(true))
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_do_not_fit_are_refused_with_a_reason() {
    for (statements, word) in [
        (
            vec!["CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100))"],
            "\"amount\" is missing",
        ),
        (
            vec![
                "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100), amount bigint, x int NOT NULL)",
            ],
            "\"x\" is NOT NULL without a default",
        ),
        (
            vec!["CREATE TABLE dbo.T (id int NOT NULL, name nvarchar(100), amount bigint)"],
            "unique index",
        ),
        (
            vec![
                "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100), amount bigint)",
                "CREATE UNIQUE INDEX once ON dbo.T (amount) WITH (IGNORE_DUP_KEY = ON)",
            ],
            "IGNORE_DUP_KEY",
        ),
    ] {
        let case = case(&statements, ApplyOptions::default()).await;
        let error = case.sink.prepare(&case.prepare(true)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error}");
        assert!(error.message().contains(word), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strange_table_is_adopted_only_if_allowed() {
    let case = case(&[CREATE], ApplyOptions::default()).await;
    let error = case.sink.prepare(&case.prepare(false)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.advice().contains("adopt"), "{}", error.advice());
    case.sink.prepare(&case.prepare(true)).await.unwrap();
    case.apply("a", sample_batch(&[SampleRow::new(1, "a", 1)]), &[Op::Insert])
        .await
        .unwrap();
    case.sink
        .prepare(&case.prepare(false))
        .await
        .expect("it carries our marks now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_begins_with_an_empty_table() {
    let mirror = ApplyOptions {
        strategy: Strategy::Mirror,
        ..ApplyOptions::default()
    };
    let case = case(&[CREATE, "INSERT INTO dbo.T VALUES (9, N'foreign', 9)"], mirror).await;
    let error = case.sink.prepare(&case.prepare(true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.advice().contains("--full"), "{}", error.advice());
    case.place.run(&["DELETE FROM dbo.T"]).await;
    case.sink.prepare(&case.prepare(true)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_created_with_its_declared_types() {
    let fields = vec![
        Field::new("Code", DataType::Utf8, false),
        Field::new("Price", DataType::Decimal128(19, 4), true),
        Field::new(
            "At",
            DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None),
            true,
        ),
        Field::new("Plain", DataType::Utf8, true),
    ];
    let declared = |ty: &str, collation: Option<&str>| {
        Some(DeclaredType {
            declared: ty.into(),
            collation: collation.map(str::to_owned),
        })
    };
    let schema = TableSchema::new(
        Arc::new(Schema::new(fields)),
        vec![0],
        vec![
            declared("varchar(20)", Some("Latin1_General_CI_AS")),
            declared("money", None),
            declared("datetime", None),
            None,
        ],
    )
    .unwrap();
    let place = Place::new(ApplyOptions::default()).await;
    let mut case = Case::new(place, schema);
    case.table = model::TableName::new("new ]schema", "a.table");
    let prepare = Prepare {
        create: true,
        ..case.prepare(false)
    };
    let prepared = case.sink.prepare(&prepare).await.unwrap();
    assert!(
        prepared.created
            && prepared
                .actions
                .iter()
                .any(|action| action.contains("CREATE TABLE"))
    );
    let mut connection = case.place.connect().await;
    let info = connection.table_info(&case.table).await.unwrap();
    let shown: Vec<_> = info
        .columns
        .iter()
        .map(|c| c.declared().unwrap().declared)
        .collect();
    assert_eq!(shown, ["varchar(20)", "money", "datetime", "nvarchar(max)"]);
    assert_eq!(info.columns[0].collation.as_deref(), Some("Latin1_General_CI_AS"));
    assert!(info.key().unwrap().primary_key);
    assert!(!case.sink.prepare(&prepare).await.unwrap().created);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_ours_gains_the_columns_that_the_source_gained() {
    let shape = |names: &[&str]| {
        let fields = names
            .iter()
            .map(|name| Field::new(*name, DataType::Int32, *name != "id"));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        TableSchema::new(schema, vec![0], vec![None; names.len()]).unwrap()
    };
    let place = Place::new(ApplyOptions::default()).await;
    let mut case = Case::new(place, shape(&["id", "a"]));
    let create = Prepare {
        create: true,
        ..case.prepare(false)
    };
    case.sink.prepare(&create).await.unwrap();
    case.schema = shape(&["id", "a", "b"]);
    let dry = Prepare {
        dry_run: true,
        ..case.prepare(false)
    };
    for prepare in [dry, case.prepare(false)] {
        let actions = case.sink.prepare(&prepare).await.unwrap().actions;
        assert_eq!(actions[0], "ALTER TABLE [dbo].[T] ADD [b] int NULL;");
    }
    let mut connection = case.place.connect().await;
    assert_eq!(connection.table_info(&case.table).await.unwrap().columns.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_may_not_write_is_told_the_grants() {
    let case = case(
        &[CREATE, "DENY INSERT ON dbo.T TO limited"],
        ApplyOptions::default(),
    )
    .await;
    let options = ConnectOptions {
        user: "limited".into(),
        password: Secret::new("Limited!2022"),
        ..case.place.options()
    };
    let sink = SqlServerSink::new(options, ApplyOptions::default()).unwrap();
    let error = sink.prepare(&case.prepare(true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(
        error.advice().contains("GRANT INSERT ON [dbo].[T]"),
        "{}",
        error.advice()
    );
    assert!(!error.advice().contains("GRANT SELECT"), "{}", error.advice());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_while_a_table_is_created_leaves_it_ours_or_none() {
    for polls in 0.. {
        let case = case(&[], ApplyOptions::default()).await;
        let create = Prepare {
            create: true,
            ..case.prepare(false)
        };
        let ended = kill_after(polls, case.sink.prepare(&create)).await;
        let prepared = case.place.sink().prepare(&create).await;
        assert!(prepared.is_ok(), "after {polls} polls ({ended:?}): {prepared:?}");
        if ended.is_some() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tables_are_created_side_by_side_in_a_fresh_database() {
    let case = case(&[], ApplyOptions::default()).await;
    // All of them have looked for what they share, and wait to create it.
    let mut definer = case.place.connect().await;
    definer.begin(Isolation::ReadCommitted).await.unwrap();
    definer.execute("CREATE SCHEMA another", &[]).await.unwrap();
    let racing = (0..8).map(|number| {
        let create = Prepare {
            sync: SyncId::new(format!("race/{number}")),
            table: TableName::new("fresh", format!("T{number}")),
            create: true,
            ..case.prepare(false)
        };
        let sink = case.place.sink();
        tokio::spawn(async move { sink.prepare(&create).await })
    });
    let racing: Vec<_> = racing.collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(matches!(definer.commit().await, CommitEnd::Committed));
    for ended in racing {
        assert!(ended.await.unwrap().unwrap().created);
    }
}
