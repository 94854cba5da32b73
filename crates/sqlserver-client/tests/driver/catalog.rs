//! What the catalog says, with names that want to be quoted.

use model::{ErrorKind, TableName};
use sqlserver_client::{ColumnType, ConnectOptions, Connection, Permission, Secret, SqlType, TypePolicy};
use sqlserver_emulator::Fault;

use crate::{connect, options, run, start, start_without};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_described_with_all_that_matters() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &[
            "CREATE TABLE dbo.parent (id int NOT NULL PRIMARY KEY)",
            "CREATE TABLE dbo.child (\
             a int NOT NULL, b nvarchar(20) COLLATE Latin1_General_CS_AS NOT NULL, \
             n bigint IDENTITY(1,1) NOT NULL, rv rowversion NOT NULL, c AS (a + 1), \
             d decimal(18,4) NOT NULL DEFAULT (0), p int NULL REFERENCES dbo.parent(id), \
             CONSTRAINT pk_child PRIMARY KEY CLUSTERED (b, a))",
            "CREATE UNIQUE NONCLUSTERED INDEX ux_n ON dbo.child (n)",
        ],
    )
    .await;
    let info = connection
        .table_info(&TableName::new("dbo", "child"))
        .await
        .unwrap();
    let names: Vec<_> = info.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "n", "rv", "c", "d", "p"]);
    let column = |name: &str| info.column(name).unwrap();
    assert_eq!(column("b").collation.as_deref(), Some("Latin1_General_CS_AS"));
    assert_eq!(column("b").code_page, Some(1252));
    assert!(column("n").identity && !column("n").nullable);
    assert_eq!(column("rv").ty, ColumnType::Mapped(SqlType::RowVersion));
    assert!(column("c").computed && !column("c").is_writable());
    assert!(column("d").default.is_some() && column("p").nullable);
    let key = info.key().unwrap();
    assert_eq!(key.name, "pk_child");
    assert_eq!(key.columns, [("b".to_owned(), false), ("a".to_owned(), false)]);
    assert!(
        info.indexes
            .iter()
            .any(|index| index.name == "ux_n" && index.unique && !index.primary_key)
    );
    assert_eq!(info.foreign_keys.len(), 1);
    assert_eq!(info.foreign_keys[0].to, TableName::new("dbo", "parent"));
    let schema = info.schema(&TypePolicy::default(), &["c".into()]).unwrap();
    assert_eq!(schema.key_names(), ["b", "a"]);
    assert_eq!(schema.declared()[3].as_ref().unwrap().declared, "rowversion");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_just_names() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    for name in ["a]b", "a.b", "a b", "it's", "\"q\"", "𝒳", "größe", "[x]"] {
        let table = TableName::new("dbo", name);
        let quoted = sqlserver_client::quote::table(&table);
        let column = sqlserver_client::quote::identifier(name);
        run(
            &mut connection,
            &[
                &format!("CREATE TABLE {quoted} ({column} int NOT NULL PRIMARY KEY)"),
                &format!("INSERT INTO {quoted} ({column}) VALUES (1)"),
            ],
        )
        .await;
        let info = connection.table_info(&table).await.unwrap();
        assert_eq!(info.columns[0].name, name);
        let listed = connection.tables(None).await.unwrap();
        assert!(listed.iter().any(|summary| summary.name == table), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    let error = connection
        .table_info(&TableName::new("dbo", "nothing"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = connection
        .query("SELECT * FROM dbo.nothing", &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(!connection.is_dead());
    assert_eq!(connection.query("SELECT 1 AS n", &[]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_and_the_server_are_described() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    let info = connection.database_info().await.unwrap();
    assert_eq!(info.name, "shop");
    assert!(info.writable && !info.incarnation.is_empty() && !info.collation.is_empty());
    let capabilities = connection.capabilities().await.unwrap();
    assert!(capabilities.merge && capabilities.min_active_rowversion);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lesser_server_does_not_know_it_cannot_do() {
    const CAPABILITIES: [&str; 3] = [
        "MERGE",
        "MIN_ACTIVE_ROWVERSION",
        "CHANGE_TRACKING_CURRENT_VERSION",
    ];
    for lacking in CAPABILITIES {
        let emulator = start_without(&[lacking]).await;
        let mut connection = connect(&emulator).await;
        let can = connection.capabilities().await.unwrap();
        let can = [can.merge, can.min_active_rowversion, can.change_tracking];
        assert_eq!(can, CAPABILITIES.map(|name| name != lacking), "{lacking}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_another_reason_is_not_taken_for_missing() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    for (fault, kind) in [
        (Fault::Deadlock, ErrorKind::Transient),
        (Fault::FullLog, ErrorKind::Exhausted),
    ] {
        emulator.faults().order(fault, "shop", 0);
        let error = connection.capabilities().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert!(connection.capabilities().await.unwrap().merge);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_asked_for() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)"],
    )
    .await;
    let table = TableName::new("dbo", "t");
    assert!(
        connection
            .has_permission(&Permission::Insert(table))
            .await
            .unwrap()
    );
    assert!(
        connection
            .has_permission(&Permission::ViewServerState)
            .await
            .unwrap()
    );
    let limited = ConnectOptions {
        user: "reader".into(),
        password: Secret::new("Reader!2022"),
        ..options(&emulator)
    };
    let mut limited = Connection::open(&limited).await.unwrap();
    assert!(
        !limited
            .has_permission(&Permission::ViewServerState)
            .await
            .unwrap()
    );
}
