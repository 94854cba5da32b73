//! What sessions see and do to each other: locks, snapshots, deadlocks, rowversions, time.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use sqlserver_emulator::{
    Done, Engine, EnvChange, Flow, Output, ResultColumn, ReturnValue, Session, SqlError, Value,
};

use crate::collect::{Collected, connect, engine, errors, query, run};

/// Runs a batch on a thread of its own, and gives the session back with what it said.
fn spawn(mut session: Session, sql: &'static str) -> JoinHandle<(Session, Collected)> {
    thread::spawn(move || {
        let out = run(&mut session, sql);
        (session, out)
    })
}

/// Waits until `count` requests are blocked by another session.
fn wait_until_blocked(engine: &Arc<Engine>, count: &str) {
    let mut watcher = connect(engine);
    while query(
        &mut watcher,
        "SELECT COUNT(*) FROM sys.dm_exec_requests WHERE blocking_session_id > 0",
    ) != count
    {
        thread::yield_now();
    }
}

fn with_rows(engine: &Arc<Engine>) -> Session {
    let mut session = connect(engine);
    query(
        &mut session,
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY, v int NULL, at datetime2(7) NULL, rv rowversion);
         INSERT t (id, v) VALUES (1, 10), (2, 20), (3, 30)",
    );
    session
}

#[test]
fn a_reader_waits_for_an_uncommitted_row_and_for_no_other() {
    let engine = engine();
    let mut writer = with_rows(&engine);
    query(&mut writer, "BEGIN TRAN; UPDATE t SET v = 11 WHERE id = 1");
    let mut other = connect(&engine);
    assert_eq!(query(&mut other, "SELECT v FROM t WHERE id = 2"), "20");
    assert_eq!(
        query(&mut other, "SELECT v FROM t WITH (NOLOCK) WHERE id = 1"),
        "11"
    );
    assert_eq!(
        query(&mut other, "SELECT id FROM t WITH (READPAST) ORDER BY id"),
        "2;3"
    );
    assert_eq!(
        errors(&mut other, "SET LOCK_TIMEOUT 0; SELECT v FROM t WHERE id = 1"),
        [1222]
    );
    let reader = spawn(connect(&engine), "SELECT SUM(v) FROM t");
    wait_until_blocked(&engine, "1");
    query(&mut writer, "COMMIT");
    assert_eq!(reader.join().unwrap().1.text(), "61");
}

#[test]
fn row_versions_let_readers_pass() {
    let engine = engine();
    let mut writer = with_rows(&engine);
    query(&mut writer, "ALTER DATABASE db SET ALLOW_SNAPSHOT_ISOLATION ON");
    let mut snapshot = connect(&engine);
    query(
        &mut snapshot,
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN",
    );
    assert_eq!(query(&mut snapshot, "SELECT SUM(v) FROM t"), "60");
    query(
        &mut writer,
        "UPDATE t SET v = 0 WHERE id = 1; DELETE t WHERE id = 2; INSERT t (id, v) VALUES (4, 40)",
    );
    assert_eq!(query(&mut snapshot, "SELECT SUM(v), COUNT(*) FROM t"), "60|3");
    assert_eq!(
        query(&mut snapshot, "SELECT id FROM t WHERE id >= 2 ORDER BY id"),
        "2;3"
    );
    assert_eq!(errors(&mut snapshot, "UPDATE t SET v = 1 WHERE id = 1"), [3960]);
    assert_eq!(
        query(&mut snapshot, "SELECT @@TRANCOUNT; SELECT SUM(v) FROM t"),
        "0\n70"
    );
    query(
        &mut writer,
        "ALTER DATABASE db SET READ_COMMITTED_SNAPSHOT ON; BEGIN TRAN; UPDATE t SET v = 99 WHERE id = 1",
    );
    let mut reader = connect(&engine);
    assert_eq!(query(&mut reader, "SELECT v FROM t WHERE id = 1"), "0");
}

#[test]
fn an_older_snapshot_that_ends_takes_nothing_from_a_newer_one() {
    let engine = engine();
    let mut writer = with_rows(&engine);
    query(&mut writer, "ALTER DATABASE db SET ALLOW_SNAPSHOT_ISOLATION ON");
    let read = "SELECT v FROM t WHERE id <= 2 ORDER BY id";
    let mut readers = Vec::new();
    for (change, expected) in [
        ("SELECT 1", "10;20"),
        ("UPDATE t SET v = 11 WHERE id = 1; DELETE t WHERE id = 2", "11"),
        (
            "UPDATE t SET v = 12 WHERE id = 1; INSERT t (id, v) VALUES (2, 22)",
            "12;22",
        ),
    ] {
        query(&mut writer, change);
        let mut reader = connect(&engine);
        query(
            &mut reader,
            "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN",
        );
        assert_eq!(query(&mut reader, read), expected);
        readers.push((reader, expected));
    }
    query(
        &mut writer,
        "UPDATE t SET v = 13 WHERE id = 1; DELETE t WHERE id = 2",
    );
    while !readers.is_empty() {
        query(&mut readers[0].0, "COMMIT");
        readers.remove(0);
        for (reader, expected) in &mut readers {
            assert_eq!(query(reader, read), *expected);
        }
    }
    assert_eq!(query(&mut writer, read), "13");
}

#[test]
fn snapshot_isolation_has_to_be_allowed() {
    let engine = engine();
    let mut session = with_rows(&engine);
    assert_eq!(
        errors(
            &mut session,
            "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; SELECT v FROM t"
        ),
        [3952]
    );
}

#[test]
fn a_deadlock_has_a_victim_and_a_survivor() {
    let engine = engine();
    let mut first = with_rows(&engine);
    let mut second = connect(&engine);
    query(&mut first, "BEGIN TRAN; UPDATE t SET v = 1 WHERE id = 1");
    query(
        &mut second,
        "SET DEADLOCK_PRIORITY LOW; BEGIN TRAN; UPDATE t SET v = 2 WHERE id = 2",
    );
    let first = spawn(first, "UPDATE t SET v = 1 WHERE id = 2; COMMIT");
    wait_until_blocked(&engine, "1");
    let out = run(&mut second, "UPDATE t SET v = 2 WHERE id = 1");
    assert_eq!(out.errors(), [1205]);
    assert_eq!(query(&mut second, "SELECT @@TRANCOUNT"), "0");
    assert_eq!(first.join().unwrap().1.errors(), [0; 0]);
    assert_eq!(query(&mut second, "SELECT v FROM t ORDER BY id"), "1;1;30");
}

#[test]
fn two_writers_may_commit_out_of_order() {
    let engine = engine();
    let mut first = with_rows(&engine);
    let mut second = connect(&engine);
    let mut reader = connect(&engine);
    let before = query(&mut reader, "SELECT CAST(MIN_ACTIVE_ROWVERSION() AS bigint)")
        .parse::<i64>()
        .unwrap();
    query(&mut first, "BEGIN TRAN; INSERT t (id, v) VALUES (10, 1)");
    query(&mut second, "INSERT t (id, v) VALUES (11, 1)");
    // The second row is committed with a greater rowversion while the first is still open.
    let least = query(
        &mut reader,
        "SELECT CAST(MIN_ACTIVE_ROWVERSION() AS bigint), CAST(@@DBTS AS bigint)",
    );
    assert_eq!(least, format!("{before}|{}", before + 1));
    query(&mut first, "COMMIT");
    assert_eq!(
        query(&mut reader, "SELECT id FROM t WHERE id >= 10 ORDER BY rv"),
        "10;11"
    );
    let after = query(&mut reader, "SELECT CAST(MIN_ACTIVE_ROWVERSION() AS bigint)");
    assert_eq!(after, (before + 2).to_string());
}

#[test]
fn a_blocked_update_wrote_down_its_time_before_it_waited() {
    let engine = engine();
    engine.clock().freeze();
    let mut holder = with_rows(&engine);
    query(&mut holder, "BEGIN TRAN; UPDATE t SET v = 0 WHERE id = 1");
    let started = query(&mut holder, "SELECT SYSUTCDATETIME()");
    let blocked = spawn(
        connect(&engine),
        "UPDATE t SET at = SYSUTCDATETIME() WHERE id = 1",
    );
    wait_until_blocked(&engine, "1");
    engine.clock().step_ms(60_000);
    let mut watcher = connect(&engine);
    assert_eq!(
        query(
            &mut watcher,
            "SELECT DATEDIFF(second, start_time, GETDATE()) FROM sys.dm_exec_requests WHERE blocking_session_id > 0"
        ),
        "60"
    );
    query(&mut holder, "COMMIT");
    assert_eq!(blocked.join().unwrap().1.errors(), [0; 0]);
    assert_eq!(query(&mut watcher, "SELECT at FROM t WHERE id = 1"), started);
}

#[test]
fn open_transactions_are_seen_by_others() {
    let engine = engine();
    let mut writer = with_rows(&engine);
    let mut watcher = connect(&engine);
    let transactions = "SELECT COUNT(*) FROM sys.dm_tran_session_transactions st
        JOIN sys.dm_tran_active_transactions at ON at.transaction_id = st.transaction_id
        JOIN sys.dm_exec_sessions s ON s.session_id = st.session_id
        WHERE s.session_id <> @@SPID AND s.is_user_process = 1";
    assert_eq!(query(&mut watcher, transactions), "0");
    query(&mut writer, "BEGIN TRAN");
    assert_eq!(query(&mut watcher, transactions), "1");
    query(&mut writer, "UPDATE t SET v = 1 WHERE id = 1");
    assert_eq!(
        query(
            &mut watcher,
            "SELECT COUNT(*) FROM sys.dm_tran_database_transactions WHERE database_id = DB_ID() AND database_transaction_begin_time IS NOT NULL"
        ),
        "1"
    );
    drop(writer);
    assert_eq!(query(&mut watcher, transactions), "0");
    assert_eq!(query(&mut watcher, "SELECT v FROM t WHERE id = 1"), "10");
}

#[test]
fn a_range_that_is_held_admits_no_insert() {
    let engine = engine();
    let mut holder = with_rows(&engine);
    query(
        &mut holder,
        "BEGIN TRAN; SELECT id FROM t WITH (UPDLOCK, HOLDLOCK) WHERE id = 7",
    );
    let mut other = connect(&engine);
    assert_eq!(
        errors(&mut other, "SET LOCK_TIMEOUT 0; INSERT t (id) VALUES (7)"),
        [1222]
    );
    query(&mut other, "INSERT t (id) VALUES (8)");
    query(&mut holder, "COMMIT");
    query(&mut other, "INSERT t (id) VALUES (7)");
}

#[test]
fn an_update_under_read_committed_snapshot_waits_and_sees_the_newest_row() {
    let engine = engine();
    let mut first = with_rows(&engine);
    query(
        &mut first,
        "ALTER DATABASE db SET READ_COMMITTED_SNAPSHOT ON; BEGIN TRAN; UPDATE t SET v = v + 1 WHERE id = 1",
    );
    let second = spawn(connect(&engine), "UPDATE t SET v = v + 1 WHERE id = 1");
    wait_until_blocked(&engine, "1");
    query(&mut first, "COMMIT");
    assert_eq!(second.join().unwrap().1.errors(), [0; 0]);
    assert_eq!(query(&mut first, "SELECT v FROM t WHERE id = 1"), "12");
}

#[test]
fn a_writer_that_waits_has_used_no_rowversion() {
    let engine = engine();
    let mut holder = with_rows(&engine);
    query(&mut holder, "BEGIN TRAN; UPDATE t SET v = 0 WHERE id = 1");
    let before = query(&mut holder, "SELECT CAST(@@DBTS AS bigint)");
    let waiting = spawn(connect(&engine), "UPDATE t SET v = 5 WHERE id = 1");
    wait_until_blocked(&engine, "1");
    assert_eq!(query(&mut holder, "SELECT CAST(@@DBTS AS bigint)"), before);
    query(&mut holder, "ROLLBACK");
    waiting.join().unwrap();
    assert_eq!(query(&mut holder, "SELECT v FROM t WHERE id = 1"), "5");
}

#[test]
fn repeatable_reads_keep_writers_away_and_a_scan_has_no_snapshot() {
    let engine = engine();
    let mut reader = with_rows(&engine);
    let mut writer = connect(&engine);
    query(
        &mut reader,
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; BEGIN TRAN; SELECT v FROM t WHERE id = 1",
    );
    assert_eq!(
        errors(&mut writer, "SET LOCK_TIMEOUT 0; UPDATE t SET v = 1 WHERE id = 1"),
        [1222]
    );
    query(
        &mut writer,
        "UPDATE t SET v = 2 WHERE id = 2; INSERT t (id) VALUES (9)",
    );
    assert_eq!(query(&mut reader, "SELECT COUNT(*) FROM t"), "4");
    query(&mut reader, "COMMIT");
    query(&mut writer, "UPDATE t SET v = 1 WHERE id = 1");
}

#[test]
fn two_sessions_insert_the_same_key() {
    let engine = engine();
    let mut first = with_rows(&engine);
    for (end, expected) in [("COMMIT", vec![2627]), ("ROLLBACK", vec![])] {
        query(
            &mut first,
            "DELETE t WHERE id = 50; BEGIN TRAN; INSERT t (id) VALUES (50)",
        );
        let second = spawn(connect(&engine), "INSERT t (id) VALUES (50)");
        wait_until_blocked(&engine, "1");
        query(&mut first, end);
        assert_eq!(second.join().unwrap().1.errors(), expected, "{end}");
    }
}

#[test]
fn a_snapshot_begins_with_the_first_row_and_not_before() {
    let engine = engine();
    let mut writer = with_rows(&engine);
    query(&mut writer, "ALTER DATABASE db SET ALLOW_SNAPSHOT_ISOLATION ON");
    let mut reader = connect(&engine);
    query(
        &mut reader,
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; DECLARE @x int = 1; SELECT MIN_ACTIVE_ROWVERSION()",
    );
    query(&mut writer, "UPDATE t SET v = 11 WHERE id = 1");
    assert_eq!(query(&mut reader, "SELECT v FROM t WHERE id = 1"), "11");
    query(&mut writer, "UPDATE t SET v = 12 WHERE id = 1");
    assert_eq!(query(&mut reader, "SELECT v FROM t WHERE id = 1"), "11");
}

#[test]
fn a_request_is_as_old_as_its_batch() {
    let engine = engine();
    engine.clock().freeze();
    let mut holder = with_rows(&engine);
    query(
        &mut holder,
        "BEGIN TRAN; UPDATE t SET v = 0 WHERE id = 1; UPDATE t SET v = 0 WHERE id = 2",
    );
    let blocked = spawn(
        connect(&engine),
        "DECLARE @at datetime2 = SYSUTCDATETIME(); SELECT v FROM t WHERE id = 1; UPDATE t SET at = @at WHERE id = 2",
    );
    wait_until_blocked(&engine, "1");
    engine.clock().step_ms(30_000);
    let mut watcher = connect(&engine);
    let age = "SELECT DATEDIFF(second, start_time, GETDATE()) FROM sys.dm_exec_requests WHERE blocking_session_id > 0";
    assert_eq!(query(&mut watcher, age), "30");
    query(&mut holder, "COMMIT");
    blocked.join().unwrap();
}

/// Moves money between accounts from several sessions at once, and reads the total meanwhile.
fn total_stays(level: &'static str) {
    const ACCOUNTS: i32 = 6;
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "ALTER DATABASE db SET ALLOW_SNAPSHOT_ISOLATION ON; CREATE TABLE a (id int PRIMARY KEY, v int NOT NULL)",
    );
    for id in 0..ACCOUNTS {
        query(&mut s, &format!("INSERT a VALUES ({id}, 100)"));
    }
    let mover = |seed: i32| {
        let mut session = connect(&engine);
        thread::spawn(move || {
            query(&mut session, level);
            for turn in 0..30 {
                let (from, to) = ((seed + turn) % ACCOUNTS, (seed * 3 + turn * 2 + 1) % ACCOUNTS);
                let sql = format!(
                    "BEGIN TRAN; UPDATE a SET v = v - 1 WHERE id = {from}; UPDATE a SET v = v + 1 WHERE id = {to}; COMMIT"
                );
                // A victim of a deadlock or of an update conflict tries again, as its error says.
                while let [error, ..] = run(&mut session, &sql).errors()[..] {
                    assert!([1205, 3960].contains(&error), "{error}");
                }
            }
        })
    };
    let movers: Vec<_> = (0..4).map(mover).collect();
    let mut reader = connect(&engine);
    query(&mut reader, "SET TRANSACTION ISOLATION LEVEL SNAPSHOT");
    while movers.iter().any(|mover| !mover.is_finished()) {
        assert_eq!(query(&mut reader, "SELECT SUM(v) FROM a"), "600", "{level}");
    }
    assert!(movers.into_iter().all(|mover| mover.join().is_ok()), "{level}");
    assert_eq!(query(&mut s, "SELECT SUM(v) FROM a"), "600", "{level}");
}

#[test]
fn no_update_is_lost_whoever_waits_or_tries_again() {
    for level in [
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
    ] {
        total_stays(level);
    }
}

#[test]
fn a_snapshot_cannot_insert_a_key_that_it_still_sees() {
    let engine = engine();
    let mut writer = with_rows(&engine);
    query(&mut writer, "ALTER DATABASE db SET ALLOW_SNAPSHOT_ISOLATION ON");
    for statement in [
        "INSERT t (id, v) VALUES (1, 0)",
        "UPDATE t SET id = 1 WHERE id = 2",
    ] {
        let mut snapshot = connect(&engine);
        query(
            &mut snapshot,
            "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT COUNT(*) FROM t",
        );
        query(&mut writer, "DELETE t WHERE id = 1");
        assert_eq!(errors(&mut snapshot, statement), [3960], "{statement}");
        query(&mut writer, "INSERT t (id, v) VALUES (1, 10)");
    }
}

/// ROLLBACK TRANSACTION (Transact-SQL), "Locking behavior": locks acquired beyond the savepoint are released, but for those that
/// were converted.
#[test]
fn a_savepoint_gives_back_the_locks_taken_after_it_unless_they_were_converted() {
    let engine = engine();
    let mut holder = with_rows(&engine);
    query(
        &mut holder,
        "BEGIN TRAN; UPDATE t SET v = 11 WHERE id = 1; SELECT v FROM t WITH (UPDLOCK) WHERE id = 2; SAVE TRAN s;
         UPDATE t SET v = 12 WHERE id = 1; UPDATE t SET v = 21 WHERE id = 2; UPDATE t SET v = 31 WHERE id = 3; INSERT t (id) VALUES (4);
         SELECT v FROM t WITH (HOLDLOCK) WHERE id BETWEEN 10 AND 20; ROLLBACK TRAN s",
    );
    let mut other = connect(&engine);
    query(&mut other, "SET LOCK_TIMEOUT 0");
    for (sql, expected) in [
        ("UPDATE t SET v = 0 WHERE id = 1", vec![1222]),
        ("SELECT v FROM t WHERE id = 2", vec![1222]),
        ("SELECT v FROM t WITH (UPDLOCK) WHERE id = 3", vec![]),
        ("INSERT t (id, v) VALUES (4, 40)", vec![]),
        ("INSERT t (id, v) VALUES (15, 150)", vec![]),
    ] {
        assert_eq!(run(&mut other, sql).errors(), expected, "{sql}");
    }
    query(&mut holder, "COMMIT");
    assert_eq!(
        query(&mut other, "SELECT v FROM t ORDER BY id"),
        "11;20;30;40;150"
    );
}

/// ALTER TABLE, TRUNCATE and DROP need the table for themselves (Sch-M), and put no lock back that its owner has given up since.
#[test]
fn a_definition_waits_for_rows_that_are_locked_and_keeps_others_out() {
    let engine = engine();
    let mut holder = with_rows(&engine);
    query(&mut holder, "ALTER DATABASE db SET ALLOW_SNAPSHOT_ISOLATION ON");
    let mut other = connect(&engine);
    query(&mut other, "SET LOCK_TIMEOUT 0");
    query(
        &mut holder,
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; BEGIN TRAN; SELECT v FROM t WHERE id = 1",
    );
    for sql in ["ALTER TABLE t ADD x int", "TRUNCATE TABLE t", "DROP TABLE t"] {
        assert_eq!(errors(&mut other, sql), [1222], "{sql}");
    }
    query(&mut holder, "COMMIT");
    for change in ["ALTER TABLE t ADD x int", "TRUNCATE TABLE t"] {
        query(&mut holder, &format!("BEGIN TRAN; {change}"));
        for sql in [
            "DELETE t WHERE id = 1",
            "SELECT v FROM t",
            "SELECT v FROM t WITH (UPDLOCK)",
            "SELECT v FROM t WITH (NOLOCK)",
            "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; SELECT v FROM t",
            "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; SELECT v FROM t",
        ] {
            assert_eq!(errors(&mut other, sql), [1222], "{sql} beside {change}");
        }
        query(&mut holder, "ROLLBACK");
        query(
            &mut other,
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; UPDATE t SET v += 1",
        );
    }
    assert_eq!(query(&mut other, "SELECT v FROM t ORDER BY id"), "12;22;32");
}

/// Each session makes objects in transactions, some of which it undoes, while the others make theirs.
#[test]
fn what_a_transaction_has_defined_outlives_the_rollbacks_of_others() {
    let engine = engine();
    let makers: Vec<_> = (0..8)
        .map(|maker| {
            let mut session = connect(&engine);
            thread::spawn(move || {
                for round in 0..50 {
                    let end = ["COMMIT", "ROLLBACK"][round % 2];
                    let made = format!("m{maker}_{round}");
                    query(
                        &mut session,
                        &format!("BEGIN TRAN; CREATE TABLE {made} (id int PRIMARY KEY); CREATE TABLE {made}_2 (id int); {end}"),
                    );
                    let kept = if round % 2 == 0 { "2" } else { "0" };
                    let names = format!("SELECT COUNT(*) FROM sys.tables WHERE name LIKE '{made}[_]2' OR name = '{made}'");
                    assert_eq!(query(&mut session, &names), kept, "{made}");
                }
            })
        })
        .collect();
    assert!(makers.into_iter().all(|maker| maker.join().is_ok()));
    let mut session = connect(&engine);
    assert_eq!(
        query(
            &mut session,
            "SELECT COUNT(*), COUNT(DISTINCT object_id) FROM sys.tables"
        ),
        "400|400"
    );
}

/// Who waits for a name learns that it has been taken meanwhile.
#[test]
fn a_name_is_given_once() {
    for (kept, other, end, refused, columns) in [
        (
            "CREATE TABLE taken (id int)",
            "CREATE TABLE taken (other int)",
            "COMMIT",
            vec![2714],
            "id",
        ),
        (
            "CREATE TABLE taken (id int)",
            "CREATE TABLE taken (other int)",
            "ROLLBACK",
            vec![],
            "other",
        ),
        (
            "CREATE SCHEMA taken",
            "CREATE SCHEMA taken",
            "COMMIT",
            vec![2714],
            "",
        ),
        (
            "CREATE SCHEMA taken",
            "CREATE SCHEMA taken",
            "ROLLBACK",
            vec![],
            "",
        ),
    ] {
        let engine = engine();
        let mut first = connect(&engine);
        query(&mut first, "BEGIN TRAN");
        query(&mut first, kept);
        let second = spawn(connect(&engine), other);
        let blocked = "SELECT COUNT(*) FROM sys.dm_exec_requests WHERE blocking_session_id > 0";
        while query(&mut first, blocked) != "1" {
            assert!(!second.is_finished(), "{other} does not wait for the {end}");
            thread::yield_now();
        }
        query(&mut first, end);
        assert_eq!(second.join().unwrap().1.errors(), refused, "{end}");
        let names = "SELECT name FROM sys.columns WHERE object_id = OBJECT_ID('taken')";
        assert_eq!(query(&mut first, names), columns, "{end}");
    }
}

/// A constraint's number is taken while another session's table is made, which comes to nothing.
#[test]
fn a_rollback_gives_no_number_of_an_object_out_again() {
    let engine = engine();
    let mut constrained = with_rows(&engine);
    let mut undone = connect(&engine);
    query(&mut undone, "BEGIN TRAN; CREATE TABLE a (id int)");
    query(&mut constrained, "ALTER TABLE t ADD CONSTRAINT c CHECK (id > 0)");
    query(
        &mut undone,
        "ROLLBACK; CREATE TABLE a (id int); CREATE TABLE b (id int)",
    );
    let objects = "SELECT name FROM sys.objects WHERE object_id IN (SELECT object_id FROM sys.objects GROUP BY object_id HAVING COUNT(*) > 1)";
    assert_eq!(query(&mut undone, objects), "");
}

/// Inserts a row in another session whenever rows were handed over.
struct Inserting<'s> {
    other: &'s mut Session,
    next: i64,
    ids: Vec<i64>,
}

impl Output for Inserting<'_> {
    fn columns(&mut self, _: &[ResultColumn]) -> Flow {
        Flow::Continue
    }
    fn row(&mut self, row: &[Value]) -> Flow {
        self.ids.extend(row.first().and_then(Value::as_integer));
        Flow::Continue
    }
    fn hand_over(&mut self) -> Flow {
        query(self.other, &format!("INSERT t VALUES ({})", self.next));
        self.next += 1;
        Flow::Continue
    }
    fn done(&mut self, _: Done) {}
    fn message(&mut self, _: &SqlError) {}
    fn env(&mut self, _: EnvChange) {}
    fn return_value(&mut self, _: ReturnValue) {}
    fn return_status(&mut self, _: i32) {}
}

#[test]
fn a_snapshot_gives_each_row_once_while_others_insert() {
    let engine = engine();
    let (mut session, mut other) = (connect(&engine), connect(&engine));
    query(
        &mut session,
        "ALTER DATABASE db SET READ_COMMITTED_SNAPSHOT ON; CREATE TABLE t (id int NOT NULL)",
    );
    let rows: Vec<String> = (0..1000).map(|id| format!("({id})")).collect();
    for _ in 0..10 {
        query(
            &mut session,
            &format!("TRUNCATE TABLE t; INSERT t VALUES {}", rows.join(", ")),
        );
        let mut out = Inserting {
            other: &mut other,
            next: 1000,
            ids: Vec::new(),
        };
        session.batch("SELECT id FROM t", &mut out);
        assert!(out.next > 1002, "rows were inserted meanwhile");
        out.ids.sort_unstable();
        assert_eq!(out.ids, (0..1000).collect::<Vec<i64>>());
    }
}
