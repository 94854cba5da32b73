//! Ordered faults, as a client meets them.

use mssql_tds::message::transaction_management::TransactionIsolationLevel;
use sqlserver_emulator::{CommitFault, Emulator, Fault};

use crate::mssql::{number, rows, source};

/// Inserts a row in a transaction whose commit meets `fault`; tells whether the client saw success.
async fn commit(emulator: &Emulator, id: i32) -> bool {
    let mut client = source(emulator).await;
    client
        .begin_transaction(TransactionIsolationLevel::ReadCommitted, None)
        .await
        .unwrap();
    rows(&mut client, &format!("INSERT dbo.t VALUES ({id})"))
        .await
        .unwrap();
    client.commit_transaction(None, None).await.is_ok()
}

#[tokio::test]
async fn a_connection_is_lost_around_a_commit() {
    for (fault, stays) in [
        (CommitFault::Before, 0),
        (CommitFault::During, 1),
        (CommitFault::After, 1),
    ] {
        let emulator = crate::emulator().await;
        let mut observer = source(&emulator).await;
        rows(&mut observer, "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)")
            .await
            .unwrap();
        emulator.faults().lose_connection_at_commit(fault, "Source", 1);
        assert!(commit(&emulator, 1).await, "{fault:?}: the skipped commit failed");
        assert!(!commit(&emulator, 2).await, "{fault:?}: the client saw success");
        let count = number(&mut observer, "SELECT COUNT(*) FROM dbo.t WHERE id = 2").await;
        assert_eq!(count, stays, "{fault:?}");
        assert!(commit(&emulator, 3).await, "{fault:?} was used twice");
    }
}

#[tokio::test]
async fn a_commit_in_a_batch_meets_the_fault_too() {
    let emulator = crate::emulator().await;
    let mut observer = source(&emulator).await;
    rows(&mut observer, "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)")
        .await
        .unwrap();
    emulator
        .faults()
        .lose_connection_at_commit(CommitFault::After, "source", 0);
    let mut client = source(&emulator).await;
    let batch = "BEGIN TRAN; INSERT dbo.t VALUES (1); COMMIT";
    assert!(rows(&mut client, batch).await.is_err());
    assert_eq!(number(&mut observer, "SELECT COUNT(*) FROM dbo.t").await, 1);
}

#[tokio::test]
async fn a_killed_session_is_gone_and_its_transaction_rolled_back() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    let mut observer = source(&emulator).await;
    rows(&mut client, "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)")
        .await
        .unwrap();
    let id = number(&mut client, "SELECT CAST(@@SPID AS int)").await;
    rows(&mut client, "BEGIN TRAN; INSERT dbo.t VALUES (1)")
        .await
        .unwrap();
    assert!(emulator.faults().kill(u16::try_from(id).unwrap()));
    assert!(rows(&mut client, "SELECT 1").await.is_err());
    assert_eq!(number(&mut observer, "SELECT COUNT(*) FROM dbo.t").await, 0);
}

#[tokio::test]
async fn a_statement_fails_once_as_ordered() {
    for (fault, in_sql, number_of) in [
        (Fault::Deadlock, "deadlock", 1205),
        (Fault::Busy, "busy", 40_501),
        (Fault::NotEnoughResources, "not enough resources", 49_918),
    ] {
        let emulator = crate::emulator().await;
        let mut client = source(&emulator).await;
        rows(&mut client, "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)")
            .await
            .unwrap();
        for by_sql in [false, true] {
            if by_sql {
                let order = format!("EXEC sp_emulator_fault N'{in_sql}', N'source', 1");
                rows(&mut client, &order).await.unwrap();
            } else {
                emulator.faults().order(fault, "Source", 1);
            }
            let mut client = source(&emulator).await;
            assert_eq!(number(&mut client, "SELECT COUNT(*) FROM dbo.t").await, 0);
            let error = rows(&mut client, "SELECT COUNT(*) FROM dbo.t").await.unwrap_err();
            assert!(
                format!("{error:?}").contains(&number_of.to_string()),
                "{fault:?}: {error:?}"
            );
            let mut client = source(&emulator).await;
            assert_eq!(number(&mut client, "SELECT COUNT(*) FROM dbo.t").await, 0);
        }
    }
}

#[tokio::test]
async fn a_deadlock_to_order_takes_the_transaction_along() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    rows(
        &mut client,
        "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY); BEGIN TRAN; INSERT dbo.t VALUES (1)",
    )
    .await
    .unwrap();
    emulator.faults().order(Fault::Deadlock, "source", 0);
    assert!(rows(&mut client, "INSERT dbo.t VALUES (2)").await.is_err());
    assert_eq!(number(&mut client, "SELECT @@TRANCOUNT").await, 0);
    assert_eq!(number(&mut client, "SELECT COUNT(*) FROM dbo.t").await, 0);
}

#[tokio::test]
async fn a_damaged_answer_is_no_answer() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    emulator.faults().order(Fault::DamagedPacket, "source", 0);
    assert!(rows(&mut client, "SELECT 1").await.is_err());
    let mut client = source(&emulator).await;
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
}
