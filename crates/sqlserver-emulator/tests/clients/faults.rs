//! Ordered faults, as a client meets them.

use std::time::{Duration, Instant};

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
    for (fault, in_sql, stays) in [
        (CommitFault::Before, "before", 0),
        (CommitFault::During, "during", 1),
        (CommitFault::After, "after", 1),
    ] {
        let emulator = crate::emulator().await;
        let mut observer = source(&emulator).await;
        rows(&mut observer, "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)")
            .await
            .unwrap();
        for id in [1, 11] {
            if id == 1 {
                emulator.faults().lose_connection_at_commit(fault, "Source", 1);
            } else {
                let order = format!("EXEC sp_emulator_fault N'lose connection {in_sql} commit', @skip = 1");
                rows(&mut observer, &order).await.unwrap();
            }
            assert!(
                commit(&emulator, id).await,
                "{fault:?}: the skipped commit failed"
            );
            assert!(
                !commit(&emulator, id + 1).await,
                "{fault:?}: the client saw success"
            );
            let lost = format!("SELECT COUNT(*) FROM dbo.t WHERE id = {}", id + 1);
            assert_eq!(number(&mut observer, &lost).await, stays, "{fault:?}");
            assert!(commit(&emulator, id + 2).await, "{fault:?} was used twice");
        }
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
        (Fault::FullLog, "full log", 9002),
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

/// "Severity levels from 20 through 25 are considered fatal": no TRY catches them, the rest of the batch does not run, and the client
/// is told before its connection ends.
#[tokio::test]
async fn an_error_of_class_20_ends_the_connection() {
    let emulator = crate::emulator().await;
    let mut observer = source(&emulator).await;
    rows(&mut observer, "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)")
        .await
        .unwrap();
    for (order, error) in [
        ("EXEC sp_emulator_fault N'busy', @skip = 1;", "40501"),
        ("RAISERROR('the end', 20, 1) WITH LOG;", "the end"),
    ] {
        let mut client = source(&emulator).await;
        let batch = format!(
            "BEGIN TRAN; BEGIN TRY {order} INSERT dbo.t VALUES (1); INSERT dbo.t VALUES (2) END TRY BEGIN CATCH END CATCH; COMMIT"
        );
        let told = rows(&mut client, &batch).await.unwrap_err();
        assert!(format!("{told:?}").contains(error), "{told:?}");
        assert!(
            rows(&mut client, "SELECT 1").await.is_err(),
            "{error}: the connection stays"
        );
        assert_eq!(
            number(&mut observer, "SELECT COUNT(*) FROM dbo.t").await,
            0,
            "{error}"
        );
    }
}

/// The others leave it open.
#[tokio::test]
async fn an_error_of_a_lesser_class_leaves_the_connection() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    for fault in [Fault::FullLog, Fault::NotEnoughResources] {
        emulator.faults().order(fault, "source", 0);
        assert!(
            rows(&mut client, "SELECT COUNT(*) FROM sys.tables")
                .await
                .is_err()
        );
        assert_eq!(number(&mut client, "SELECT 1").await, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_damaged_answer_is_no_answer() {
    let emulator = crate::emulator().await;
    for by_sql in [false, true] {
        let mut client = source(&emulator).await;
        if by_sql {
            // The first answer after the order is the order's own.
            rows(&mut client, "EXEC sp_emulator_fault N'damaged packet', @skip = 1")
                .await
                .unwrap();
        } else {
            emulator.faults().order(Fault::DamagedPacket, "source", 0);
        }
        assert!(rows(&mut client, "SELECT 1").await.is_err(), "by SQL: {by_sql}");
        let mut client = source(&emulator).await;
        assert_eq!(number(&mut client, "SELECT 1").await, 1);
    }
}

/// Only lower bounds: a slow machine makes nothing arrive earlier.
#[tokio::test]
async fn latency_delays_every_answer() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    let latency = Duration::from_millis(150);
    for by_sql in [false, true] {
        if by_sql {
            let order = "EXEC sp_emulator_fault N'latency', @milliseconds = 150";
            rows(&mut client, order).await.unwrap();
        } else {
            emulator.faults().set_latency(latency);
        }
        for _ in 0..2 {
            let start = Instant::now();
            assert_eq!(number(&mut client, "SELECT 1").await, 1);
            let took = start.elapsed();
            assert!(took >= latency, "by SQL: {by_sql}; {took:?}");
        }
        emulator.faults().set_latency(Duration::ZERO);
    }
}

#[tokio::test]
async fn rows_arrive_no_faster_than_their_rate() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    rows(
        &mut client,
        "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY);
         WITH ten AS (SELECT * FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS v (n))
         INSERT dbo.t SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n FROM ten a, ten b, ten c, ten d WHERE d.n < 4",
    )
    .await
    .unwrap();
    emulator.faults().set_row_rate(10_000);
    for _ in 0..2 {
        let start = Instant::now();
        let read = rows(&mut client, "SELECT id FROM dbo.t").await.unwrap().len();
        let took = start.elapsed();
        assert_eq!(read, 4_000);
        // A tenth of a second may be made up for, and the last 255 rows are not waited for.
        assert!(took >= Duration::from_millis(400 - 100 - 26), "{took:?}");
    }
}

#[tokio::test]
async fn the_clock_steps_as_ordered() {
    let emulator = crate::emulator().await;
    let mut client = source(&emulator).await;
    emulator.clock().freeze();
    let now = "SELECT DATEDIFF(second, '2020-01-01', SYSUTCDATETIME())";
    let start = number(&mut client, now).await;
    for (milliseconds, later) in [(90_000, 90), (-100_000, -10)] {
        let order = format!("EXEC sp_emulator_fault N'clock step', @milliseconds = {milliseconds}");
        rows(&mut client, &order).await.unwrap();
        assert_eq!(number(&mut client, now).await, start + later);
    }
}
