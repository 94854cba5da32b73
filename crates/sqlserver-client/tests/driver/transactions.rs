//! Transactions, locks, and commits whose answer is lost.

use model::ErrorKind;
use sqlserver_client::{CommitEnd, ConnectOptions, Connection, Isolation, Param};
use sqlserver_emulator::CommitFault;

use crate::{connect, options, run, start};

async fn rows(connection: &mut Connection) -> i64 {
    let rows = connection
        .query("SELECT COUNT(*) AS n FROM dbo.t", &[])
        .await
        .unwrap();
    rows.one().unwrap().need_i64("n").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_kept_or_undone() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)"],
    )
    .await;
    connection.begin(Isolation::ReadCommitted).await.unwrap();
    assert!(connection.in_transaction());
    assert_eq!(
        connection
            .execute("INSERT INTO dbo.t VALUES (1), (2)", &[])
            .await
            .unwrap(),
        [2]
    );
    connection.rollback().await.unwrap();
    assert_eq!(rows(&mut connection).await, 0);
    connection.begin(Isolation::Serializable).await.unwrap();
    connection
        .execute("INSERT INTO dbo.t VALUES (@id)", &[Param::new("id", 3)])
        .await
        .unwrap();
    assert!(matches!(connection.commit().await, CommitEnd::Committed));
    assert!(!connection.in_transaction());
    assert_eq!(rows(&mut connection).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_statement_undoes_its_transaction() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)"],
    )
    .await;
    connection.begin(Isolation::ReadCommitted).await.unwrap();
    connection
        .execute("INSERT INTO dbo.t VALUES (1)", &[])
        .await
        .unwrap();
    let error = connection
        .execute("INSERT INTO dbo.t VALUES (1)", &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint);
    assert!(!connection.in_transaction(), "XACT_ABORT has rolled back");
    connection.rollback().await.unwrap();
    assert_eq!(rows(&mut connection).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_is_unknown() {
    for (fault, kept) in [(CommitFault::Before, 0), (CommitFault::After, 1)] {
        let emulator = start().await;
        let mut connection = connect(&emulator).await;
        run(
            &mut connection,
            &["CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)"],
        )
        .await;
        connection.begin(Isolation::ReadCommitted).await.unwrap();
        connection
            .execute("INSERT INTO dbo.t VALUES (1)", &[])
            .await
            .unwrap();
        emulator.faults().lose_connection_at_commit(fault, "shop", 0);
        let end = connection.commit().await;
        assert!(matches!(end, CommitEnd::Unknown(_)), "{end:?}");
        assert!(connection.is_dead());
        let again = connection.query("SELECT 1 AS n", &[]).await.unwrap_err();
        assert_eq!(
            again.kind(),
            ErrorKind::Unavailable,
            "nothing reconnects in silence"
        );
        assert_eq!(rows(&mut connect(&emulator).await).await, kept, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_lock_ends_and_says_so() {
    let emulator = start().await;
    let mut holder = connect(&emulator).await;
    run(
        &mut holder,
        &[
            "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)",
            "INSERT INTO dbo.t VALUES (1)",
        ],
    )
    .await;
    holder.begin(Isolation::ReadCommitted).await.unwrap();
    holder
        .execute("DELETE FROM dbo.t WHERE id = 1", &[])
        .await
        .unwrap();
    let hasty = ConnectOptions {
        lock_timeout_seconds: 1,
        ..options(&emulator)
    };
    let mut hasty = Connection::open(&hasty).await.unwrap();
    let error = hasty.query("SELECT * FROM dbo.t", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_given_up() {
    let emulator = start().await;
    let options = ConnectOptions {
        command_timeout_seconds: 1,
        ..options(&emulator)
    };
    let mut connection = Connection::open(&options).await.unwrap();
    let error = connection
        .execute("WAITFOR DELAY '00:01:00'", &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.advice().contains("command_timeout_seconds"));
    assert!(connection.is_dead());
}
