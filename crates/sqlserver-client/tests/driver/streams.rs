//! Long results and loads, and what happens when they end early.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use futures::{StreamExt, TryStreamExt, stream};
use model::{Error, ErrorKind, TableName};
use sqlserver_client::{BulkColumn, TypePolicy};

use crate::{connect, run, start};

fn columns() -> Vec<BulkColumn> {
    [("id", "int"), ("name", "nvarchar(40)")]
        .map(|(name, ty)| BulkColumn {
            name: name.into(),
            ty: ty.parse().unwrap(),
        })
        .to_vec()
}

fn batch(from: i32, rows: i32) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(from..from + rows));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(
        (from..from + rows).map(|i| format!("row {i}")),
    ));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_loaded_and_read_in_batches() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL)"],
    )
    .await;
    let batches = stream::iter((0..10).map(|i| Ok(batch(i * 1000, 1000))));
    assert_eq!(
        connection
            .bulk_load("[dbo].[t]", &columns(), batches)
            .await
            .unwrap(),
        10_000
    );
    let info = connection.table_info(&TableName::new("dbo", "t")).await.unwrap();
    let schema = info.schema(&TypePolicy::default(), &[]).unwrap();
    let mut rows = connection.select_arrow(
        "SELECT id, name FROM dbo.t ORDER BY id",
        vec![],
        schema.arrow().clone(),
        3000,
    );
    let sizes: Vec<_> = rows
        .by_ref()
        .map_ok(|batch| batch.num_rows())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(sizes, [3000, 3000, 3000, 1000]);
    let mut connection = rows.finish().unwrap();
    assert_eq!(
        connection
            .query("SELECT COUNT(*) AS n FROM dbo.t", &[])
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_load_loads_nothing() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.t (id int NOT NULL, name nvarchar(40) NULL)"],
    )
    .await;
    let none = stream::iter(Vec::<model::Result<RecordBatch>>::new());
    assert_eq!(
        connection.bulk_load("[dbo].[t]", &columns(), none).await.unwrap(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_on_either_side_leaves_nothing() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL)"],
    )
    .await;
    let source_fails = vec![
        Ok(batch(0, 10)),
        Err(Error::new(ErrorKind::Gap, "the source is gone")),
    ];
    let error = connection
        .bulk_load("[dbo].[t]", &columns(), stream::iter(source_fails))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap);

    let mut connection = connect(&emulator).await;
    let twice = vec![Ok(batch(0, 10)), Ok(batch(5, 10))];
    let error = connection
        .bulk_load("[dbo].[t]", &columns(), stream::iter(twice))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");

    let mut connection = connect(&emulator).await;
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(41)]));
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let too_long =
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", long, true)]).unwrap();
    let error = connection
        .bulk_load("[dbo].[t]", &columns(), stream::iter([Ok(too_long)]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(error.message().contains("\"name\""), "{error}");

    let mut connection = connect(&emulator).await;
    let rows = connection
        .query("SELECT COUNT(*) AS n FROM dbo.t", &[])
        .await
        .unwrap();
    assert_eq!(rows.one().unwrap().need_i64("n").unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_another_type_is_refused_before_any_row() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.t (id bigint NOT NULL PRIMARY KEY, name nvarchar(40) NULL)"],
    )
    .await;
    let rows = stream::iter([Ok(batch(0, 1))]);
    let error = connection
        .bulk_load("[dbo].[t]", &columns(), rows)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
    assert!(error.message().contains("\"id\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_closes_its_connection() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    let mut observer = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL)"],
    )
    .await;
    let batches = stream::iter((0..20).map(|i| Ok(batch(i * 1000, 1000))));
    connection
        .bulk_load("[dbo].[t]", &columns(), batches)
        .await
        .unwrap();
    let spid = connection
        .query("SELECT @@SPID AS id", &[])
        .await
        .unwrap()
        .one()
        .unwrap()
        .need_i64("id")
        .unwrap();
    let info = connection.table_info(&TableName::new("dbo", "t")).await.unwrap();
    let schema = info.schema(&TypePolicy::default(), &[]).unwrap();
    let mut rows = connection.select_arrow("SELECT id, name FROM dbo.t", vec![], schema.arrow().clone(), 10);
    assert_eq!(rows.next().await.unwrap().unwrap().num_rows(), 10);
    drop(rows);
    let sql = format!("SELECT COUNT(*) AS n FROM sys.dm_exec_sessions WHERE session_id = {spid}");
    let gone = async {
        while observer
            .query(&sql, &[])
            .await
            .unwrap()
            .one()
            .unwrap()
            .flag("n")
            .unwrap()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone)
        .await
        .expect("the session is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn finishing_early_is_refused() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL)"],
    )
    .await;
    let info = connection.table_info(&TableName::new("dbo", "t")).await.unwrap();
    let schema = info.schema(&TypePolicy::default(), &[]).unwrap();
    let rows = connection.select_arrow("SELECT id, name FROM dbo.t", vec![], schema.arrow().clone(), 10);
    assert!(rows.finish().is_err());
}
