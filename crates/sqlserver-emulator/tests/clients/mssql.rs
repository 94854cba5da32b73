//! mssql-tds: results, parameters, transactions, bulk copy, cancellation, reset.

use async_trait::async_trait;
use mssql_tds::connection::bulk_copy::{BulkCopy, BulkLoadRow};
use mssql_tds::connection::client_context::ClientContext;
use mssql_tds::connection::tds_client::{ExecuteOptions, ResultSet, StatementResult, TdsClient};
use mssql_tds::connection_provider::tds_connection_provider::TdsConnectionProvider;
use mssql_tds::core::{EncryptionOptions, EncryptionSetting, TdsResult};
use mssql_tds::datatypes::column_values::ColumnValues;
use mssql_tds::datatypes::sql_string::SqlString;
use mssql_tds::datatypes::sqltypes::SqlType;
use mssql_tds::message::bulk_load::StreamingBulkLoadWriter;
use mssql_tds::message::parameters::rpc_parameters::{RpcParameter, StatusFlags};
use mssql_tds::message::transaction_management::TransactionIsolationLevel;
use sqlserver_emulator::Emulator;

/// Opens a connection to `database`, whatever the server's certificate.
pub(crate) async fn open(
    emulator: &Emulator,
    database: &str,
    mode: EncryptionSetting,
) -> TdsResult<TdsClient> {
    let encryption = EncryptionOptions {
        mode,
        trust_server_certificate: true,
        ..EncryptionOptions::new()
    };
    open_with(emulator, database, encryption).await
}

async fn open_with(
    emulator: &Emulator,
    database: &str,
    encryption: EncryptionOptions,
) -> TdsResult<TdsClient> {
    let source = format!("tcp:127.0.0.1,{}", emulator.address().port());
    let mut context = ClientContext::with_data_source(&source);
    context.user_name = emulator.user().to_owned();
    context.password = emulator.password().to_owned();
    context.database = database.to_owned();
    context.connect_retry_count = 0;
    context.packet_size = 32_000;
    context.encryption_options = encryption;
    TdsConnectionProvider::new()
        .create_client(context, &source, None)
        .await
}

/// A connection to `Source`, with TLS for the login only.
pub(crate) async fn source(emulator: &Emulator) -> TdsClient {
    open(emulator, "Source", EncryptionSetting::PreferOff)
        .await
        .unwrap()
}

/// Runs a batch and gives the rows of all its results.
pub(crate) async fn rows(client: &mut TdsClient, sql: &str) -> TdsResult<Vec<Vec<ColumnValues>>> {
    let mut rows = Vec::new();
    let mut result = client.execute(sql.to_owned(), ()).await?;
    loop {
        match result {
            StatementResult::Rows => {
                while let Some(row) = client.next_row().await? {
                    rows.push(row);
                }
            }
            StatementResult::NoRows { .. } => {}
            StatementResult::End => break,
        }
        result = client.advance().await?;
    }
    client.close_query().await?;
    Ok(rows)
}

/// The one integer that `sql` selects.
pub(crate) async fn number(client: &mut TdsClient, sql: &str) -> i32 {
    match rows(client, sql).await.unwrap()[..] {
        [ref row] => match row[..] {
            [ColumnValues::Int(number)] => number,
            ref other => panic!("{sql}: {other:?}"),
        },
        ref other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test]
async fn connections_work_with_and_without_tls() {
    let emulator = crate::emulator().await;
    for mode in [
        EncryptionSetting::PreferOff,
        EncryptionSetting::On,
        EncryptionSetting::Required,
    ] {
        let label = format!("{mode:?}");
        let mut client = open(&emulator, "Target", mode).await.unwrap();
        assert_eq!(client.database(), "Target", "{label}");
        assert_eq!(client.packet_size(), 32_000, "{label}");
        assert_eq!(number(&mut client, "SELECT 7").await, 7, "{label}");
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_recognised_also_in_strict_mode() {
    let (emulator, other) = (crate::emulator().await, crate::emulator().await);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.pem");
    for mode in [EncryptionSetting::Required, EncryptionSetting::Strict] {
        for (pinned, works) in [(&emulator, true), (&other, false)] {
            std::fs::write(&path, pinned.certificate_pem()).unwrap();
            let encryption = EncryptionOptions {
                mode,
                server_certificate: Some(path.clone()),
                ..EncryptionOptions::new()
            };
            let client = open_with(&emulator, "Source", encryption).await;
            assert_eq!(client.is_ok(), works, "{mode:?}: {:?}", client.err());
        }
    }
}

#[tokio::test]
async fn many_rows_cross_many_packets() {
    let emulator = crate::emulator().await;
    for mode in [EncryptionSetting::PreferOff, EncryptionSetting::Required] {
        let mut client = open(&emulator, "Source", mode).await.unwrap();
        let sql = "DECLARE @i int = 0; CREATE TABLE #n (id int, pad nvarchar(300) NULL, a int NULL, b int NULL); \
                   WHILE @i < 2000 BEGIN INSERT #n VALUES (@i, NULLIF(REPLICATE(N'é', @i % 300), N''), NULL, NULL); SET @i += 1 END; \
                   SELECT id, pad, a, b FROM #n ORDER BY id";
        let rows = rows(&mut client, sql).await.unwrap();
        assert_eq!(rows.len(), 2000);
        for (id, row) in rows.iter().enumerate() {
            assert_eq!(row[0], ColumnValues::Int(id as i32));
            let pad = (id % 300 != 0).then(|| "é".repeat(id % 300));
            match (&row[1], pad) {
                (ColumnValues::Null, None) => {}
                (ColumnValues::String(text), Some(pad)) => assert_eq!(text.to_utf8_string(), pad),
                other => panic!("row {id}: {other:?}"),
            }
            assert_eq!(row[2..], [ColumnValues::Null, ColumnValues::Null]);
        }
    }
}

#[tokio::test]
async fn parameters_go_in_and_output_comes_back() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    let parameter = |name: &str, flags, value| RpcParameter::new(Some(name.to_owned()), flags, value);
    let text = SqlString::from_utf8_string("ünïcode".to_owned());
    client
        .execute_sp_executesql(
            "SET @out = @a + LEN(@s); SELECT @a, @s".to_owned(),
            vec![
                parameter("@a", StatusFlags::NONE, SqlType::Int(Some(5))),
                parameter("@s", StatusFlags::NONE, SqlType::NVarchar(Some(text), 20)),
                parameter("@out", StatusFlags::BY_REF_VALUE, SqlType::Int(None)),
            ],
            (),
        )
        .await
        .unwrap();
    let row = client.next_row().await.unwrap().unwrap();
    assert_eq!(row[0], ColumnValues::Int(5));
    assert!(!client.advance_to_rows().await.unwrap());
    let output = client.get_return_values();
    assert_eq!(output.len(), 1);
    assert_eq!(output[0].value, ColumnValues::Int(12));
    assert_eq!(client.get_return_status(), Some(0));
}

#[tokio::test]
async fn transactions_commit_and_roll_back() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    rows(&mut client, "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)")
        .await
        .unwrap();
    for (commit, id, expect) in [(true, 1, 1), (false, 2, 1), (true, 3, 2)] {
        client
            .begin_transaction(TransactionIsolationLevel::ReadCommitted, None)
            .await
            .unwrap();
        assert!(client.has_active_transaction());
        rows(&mut client, &format!("INSERT dbo.t VALUES ({id})"))
            .await
            .unwrap();
        if commit {
            client.commit_transaction(None, None).await.unwrap();
        } else {
            client.rollback_transaction(None, None).await.unwrap();
        }
        assert!(!client.has_active_transaction());
        assert_eq!(number(&mut client, "SELECT COUNT(*) FROM dbo.t").await, expect);
    }
    rows(&mut client, "BEGIN TRAN; INSERT dbo.t VALUES (9)")
        .await
        .unwrap();
    assert!(client.has_active_transaction());
    rows(&mut client, "ROLLBACK").await.unwrap();
    assert!(!client.has_active_transaction());
}

#[tokio::test]
async fn a_savepoint_undoes_a_part() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    rows(&mut client, "CREATE TABLE dbo.t (id int NOT NULL)")
        .await
        .unwrap();
    client
        .begin_transaction(TransactionIsolationLevel::ReadCommitted, None)
        .await
        .unwrap();
    rows(&mut client, "INSERT dbo.t VALUES (1)").await.unwrap();
    client.save_transaction("half".to_owned()).await.unwrap();
    rows(&mut client, "INSERT dbo.t VALUES (2)").await.unwrap();
    client
        .rollback_transaction(Some("half".to_owned()), None)
        .await
        .unwrap();
    client.commit_transaction(None, None).await.unwrap();
    assert_eq!(number(&mut client, "SELECT SUM(id) FROM dbo.t").await, 1);
}

struct Person(i32, Option<&'static str>);

#[async_trait]
impl BulkLoadRow for Person {
    async fn write_to_packet(
        &self,
        writer: &mut StreamingBulkLoadWriter<'_>,
        column: &mut usize,
    ) -> TdsResult<()> {
        let name = self.1.map_or(ColumnValues::Null, |name| {
            ColumnValues::String(SqlString::from_utf8_string(name.to_owned()))
        });
        for value in [ColumnValues::Int(self.0), name] {
            writer.write_column_value(*column, &value).await?;
            *column += 1;
        }
        Ok(())
    }
}

#[tokio::test]
async fn bulk_copy_reads_its_metadata_and_loads() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    for table in ["dbo.people", "#people"] {
        rows(
            &mut client,
            &format!("CREATE TABLE {table} (id int NOT NULL PRIMARY KEY, name nvarchar(max) NULL)"),
        )
        .await
        .unwrap();
        let people = (0..5000).map(|id| Person(id, (id % 2 == 0).then_some("ñandú")));
        let loaded = BulkCopy::new(&mut client, table)
            .table_lock(true)
            .keep_nulls(true)
            .write_to_server_zerocopy(people)
            .await
            .unwrap();
        assert_eq!(loaded.rows_affected, 5000, "{table}");
        let count = format!("SELECT COUNT(*) FROM {table} WHERE name = N'ñandú'");
        assert_eq!(number(&mut client, &count).await, 2500, "{table}");
    }
    let again = BulkCopy::new(&mut client, "dbo.people")
        .write_to_server_zerocopy([Person(10_000, None), Person(0, None)])
        .await;
    assert!(again.is_err(), "a duplicate key was loaded");
    assert_eq!(number(&mut client, "SELECT COUNT(*) FROM dbo.people").await, 5000);
}

#[tokio::test]
async fn attention_stops_a_result_in_mid_stream_and_the_connection_lives_on() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    let endless = "SET NOCOUNT ON; DECLARE @i int = 0; WHILE @i >= 0 BEGIN SELECT @i, REPLICATE('x', 1000); SET @i += 1; IF @i > 1000000 SET @i = 0 END";
    client.execute(endless.to_owned(), ()).await.unwrap();
    assert!(client.next_row().await.unwrap().is_some());
    client.cancel_query(30).await.unwrap();
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
    // Nothing of a short response is sent before its end, so only the client's time limit ends this one.
    let waiting = "SELECT 1; WAITFOR DELAY '01:00:00'".to_owned();
    let limit = ExecuteOptions::new().timeout_secs(1);
    assert!(client.execute(waiting, limit).await.is_err());
    assert_eq!(number(&mut client, "SELECT 2").await, 2);
}

#[tokio::test]
async fn a_reset_connection_is_as_new() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    rows(&mut client, "CREATE TABLE #left (id int); BEGIN TRAN")
        .await
        .unwrap();
    client.prepare_reset_connection(false);
    assert_eq!(number(&mut client, "SELECT @@TRANCOUNT").await, 0);
    assert_eq!(
        number(&mut client, "SELECT ISNULL(OBJECT_ID('tempdb..#left'), -1)").await,
        -1
    );
}
