//! Change Tracking, against Microsoft's pages (CHANGETABLE, Work with Change Tracking, WITH CHANGE_TRACKING_CONTEXT) and what
//! is publicly reported of SQL Server 2025 where they say nothing.

use std::sync::Arc;

use sqlserver_emulator::{Engine, Login, Session};

use crate::collect::{connect, connect_as, engine, errors, query, run};

const TRACKED: &str = "ALTER DATABASE db SET CHANGE_TRACKING = ON;
    CREATE TABLE t (id int NOT NULL PRIMARY KEY, a int, b int, c int);
    ALTER TABLE t ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = ON)";

fn tracked() -> (Arc<Engine>, Session) {
    let engine = engine();
    let mut session = connect(&engine);
    query(&mut session, TRACKED);
    (engine, session)
}

/// Each change as `key operation version/creation version`.
fn changes(session: &mut Session, last: &str) -> String {
    let rows = query(
        session,
        &format!(
            "SELECT CONCAT(ct.id, ct.SYS_CHANGE_OPERATION, ct.SYS_CHANGE_VERSION, '/', ct.SYS_CHANGE_CREATION_VERSION)
             FROM CHANGETABLE(CHANGES t, {last}) AS ct ORDER BY ct.id"
        ),
    );
    rows.replace(';', " ")
}

#[test]
fn changes_are_net_by_key_and_relative_to_the_version_asked_from() {
    for (writes, last, expected) in [
        ("", "0", "1I1/1 2I1/1 3I1/1"),
        ("UPDATE t SET a = 9 WHERE id = 1", "0", "1I2/1 2I1/1 3I1/1"),
        ("UPDATE t SET a = 9 WHERE id = 1", "1", "1U2/"),
        ("DELETE t WHERE id = 2", "0", "1I1/1 2D2/1 3I1/1"),
        ("DELETE t WHERE id = 2", "1", "2D2/"),
        (
            "INSERT t VALUES (4, 0, 0, 0); DELETE t WHERE id = 4",
            "1",
            "4D3/2",
        ),
        (
            "DELETE t WHERE id = 1; INSERT t VALUES (1, 0, 0, 0)",
            "1",
            "1U3/3",
        ),
        // A changed key is a delete of the old row and an insert of the new.
        (
            "UPDATE t SET id = id + 10 WHERE id < 3",
            "1",
            "1D2/ 2D2/ 11I2/2 12I2/2",
        ),
        ("UPDATE t SET id = id + 1", "1", "1D2/ 2U2/2 3U2/2 4I2/2"),
        ("UPDATE t SET id = id WHERE id = 1", "1", "1U2/2"),
        // Equal values are a change; no row is none.
        ("UPDATE t SET a = a WHERE id = 1", "1", "1U2/"),
        ("UPDATE t SET a = 1 WHERE 1 = 0", "1", ""),
        ("", "NULL", "1I1/1 2I1/1 3I1/1"),
        ("", "-1", ""),
        ("UPDATE t SET a = 1", "99", ""),
        (
            "MERGE t USING (VALUES (1, 7), (9, 9)) AS s (id, a) ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = s.a WHEN NOT MATCHED THEN INSERT (id, a) VALUES (s.id, s.a);",
            "1",
            "1U2/ 9I2/2",
        ),
    ] {
        let (_engine, mut session) = tracked();
        query(
            &mut session,
            "INSERT t VALUES (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)",
        );
        query(&mut session, writes);
        assert_eq!(changes(&mut session, last), expected, "{writes} from {last}");
    }
}

#[test]
fn a_transaction_has_one_version_over_all_tables_which_it_gets_when_it_commits() {
    let (engine, mut first) = tracked();
    query(
        &mut first,
        "CREATE TABLE u (id int NOT NULL PRIMARY KEY); ALTER TABLE u ENABLE CHANGE_TRACKING",
    );
    let mut second = connect(&engine);
    query(&mut first, "BEGIN TRAN; INSERT t VALUES (1, 1, 1, 1)");
    query(&mut second, "INSERT t VALUES (2, 2, 2, 2)");
    // Nobody sees what is not committed, its own session included.
    assert_eq!(changes(&mut first, "0"), "2I1/1");
    assert_eq!(query(&mut first, "SELECT CHANGE_TRACKING_CURRENT_VERSION()"), "1");
    query(
        &mut first,
        "INSERT u VALUES (1); UPDATE t SET a = 5 WHERE id = 1; COMMIT",
    );
    assert_eq!(changes(&mut first, "0"), "1I2/2 2I1/1");
    assert_eq!(
        query(
            &mut second,
            "SELECT SYS_CHANGE_VERSION FROM CHANGETABLE(CHANGES u, 1) AS c"
        ),
        "2"
    );
}

#[test]
fn what_is_rolled_back_leaves_no_change_and_takes_no_version() {
    let (_engine, mut session) = tracked();
    query(
        &mut session,
        "BEGIN TRAN; INSERT t VALUES (1, 1, 1, 1); ROLLBACK;
         BEGIN TRAN; INSERT t VALUES (4, 4, 4, 4); SAVE TRAN s; INSERT t VALUES (5, 5, 5, 5); ROLLBACK TRAN s; COMMIT",
    );
    run(&mut session, "INSERT t VALUES (6, 6, 6, 6), (4, 0, 0, 0)");
    assert_eq!(changes(&mut session, "0"), "4I1/1");
    assert_eq!(
        query(&mut session, "SELECT CHANGE_TRACKING_CURRENT_VERSION()"),
        "1"
    );
}

#[test]
fn the_mask_lists_the_columns_that_updates_set() {
    for (writes, expected) in [
        ("UPDATE t SET b = 5", "0x0000000003000000"),
        ("UPDATE t SET c = 5, a = 3", "0x000000000400000002000000"),
        // Once all columns at once were set, nothing is told apart any more.
        ("UPDATE t SET b = 5; UPDATE t SET c = 5, a = 3, b = 1", "NULL"),
        (
            "UPDATE t SET b = 5; UPDATE t SET c = 5, a = 3",
            "0x00000000030000000400000002000000",
        ),
        ("UPDATE t SET id = id", "NULL"),
        (
            "DELETE t; INSERT t VALUES (1, 1, 1, 1); UPDATE t SET a = 2",
            "NULL",
        ),
        ("DELETE t", "NULL"),
    ] {
        let (_engine, mut session) = tracked();
        query(&mut session, "INSERT t VALUES (1, 1, 1, 1)");
        query(&mut session, writes);
        let mask = query(
            &mut session,
            "SELECT SYS_CHANGE_COLUMNS FROM CHANGETABLE(CHANGES t, 1) AS ct",
        );
        assert_eq!(mask, expected, "{writes}");
    }
    let (_engine, mut session) = tracked();
    assert_eq!(
        query(
            &mut session,
            "SELECT CHANGE_TRACKING_IS_COLUMN_IN_MASK(2, NULL), CHANGE_TRACKING_IS_COLUMN_IN_MASK(2, 0x0000000002000000),
                    CHANGE_TRACKING_IS_COLUMN_IN_MASK(COLUMNPROPERTY(OBJECT_ID('t'), 'b', 'ColumnId'), 0x0000000002000000)"
        ),
        "1|1|0"
    );
    assert_eq!(
        errors(&mut session, "SELECT CHANGE_TRACKING_IS_COLUMN_IN_MASK(1, 0x00)"),
        [22101]
    );
}

#[test]
fn a_rowversion_is_set_by_every_update_and_a_computed_column_by_none() {
    let (_engine, mut session) = tracked();
    query(
        &mut session,
        "CREATE TABLE r (id int NOT NULL PRIMARY KEY, a int, b int, rv rowversion, cc AS a + 1);
         ALTER TABLE r ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = ON);
         INSERT r (id, a, b) VALUES (1, 1, 1); UPDATE r SET a = 5",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT SYS_CHANGE_COLUMNS FROM CHANGETABLE(CHANGES r, 1) AS ct"
        ),
        "0x000000000200000004000000"
    );
}

#[test]
fn the_context_is_that_of_the_last_statement_that_touched_the_row() {
    let (_engine, mut session) = tracked();
    query(
        &mut session,
        "INSERT t VALUES (1, 1, 1, 1), (2, 2, 2, 2);
         BEGIN TRAN;
         WITH CHANGE_TRACKING_CONTEXT (0x07) UPDATE t SET a = 2 WHERE id < 3;
         WITH CHANGE_TRACKING_CONTEXT (0x08) UPDATE t SET a = 3 WHERE id = 1;
         UPDATE t SET a = 3 WHERE id = 2;
         COMMIT;
         DECLARE @c varbinary(128) = 0x0a;
         WITH CHANGE_TRACKING_CONTEXT (@c), s AS (SELECT 3 AS id)
         MERGE t USING s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id);",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT id, SYS_CHANGE_CONTEXT FROM CHANGETABLE(CHANGES t, 0) AS ct ORDER BY id"
        ),
        "1|0x08;2|NULL;3|0x0A"
    );
    for (statement, expected) in [
        (
            "DECLARE @c varbinary(200) = 0x01; WITH CHANGE_TRACKING_CONTEXT (@c) DELETE t",
            22109,
        ),
        (
            "DECLARE @c varchar(10) = 'a'; WITH CHANGE_TRACKING_CONTEXT (@c) DELETE t",
            22109,
        ),
        ("WITH CHANGE_TRACKING_CONTEXT ('abc') DELETE t", 102),
    ] {
        assert_eq!(errors(&mut session, statement), [expected], "{statement}");
    }
}

#[test]
fn version_gives_the_last_change_of_a_row_that_exists() {
    let (_engine, mut session) = tracked();
    query(
        &mut session,
        "CREATE TABLE k (id int NOT NULL, s varchar(5) NOT NULL, a int, PRIMARY KEY (s, id));
         INSERT k VALUES (1, 'x', 1);
         ALTER TABLE k ENABLE CHANGE_TRACKING;
         INSERT k VALUES (2, 'y', 2), (3, 'z', 3);
         UPDATE k SET a = 5 WHERE id = 2; DELETE k WHERE id = 3",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT k.id, v.SYS_CHANGE_VERSION FROM k CROSS APPLY CHANGETABLE(VERSION k, (id, s), (k.id, k.s)) AS v ORDER BY k.id"
        ),
        "1|NULL;2|2"
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT * FROM CHANGETABLE(VERSION k, (s, id), ('z', 3)) AS v"
        ),
        ""
    );
    // The pattern of the page about conflicts.
    query(
        &mut session,
        "DECLARE @last bigint = 1;
         UPDATE k SET a = 6 FROM k WHERE k.id = 2 AND @last >= ISNULL((SELECT v.SYS_CHANGE_VERSION FROM CHANGETABLE(VERSION k, (id, s), (k.id, k.s)) AS v), 0)",
    );
    assert_eq!(query(&mut session, "SELECT a FROM k WHERE id = 2"), "5");
    query(&mut session, "BEGIN TRAN; UPDATE k SET a = 7 WHERE id = 2");
    assert_eq!(
        query(
            &mut session,
            "SELECT SYS_CHANGE_VERSION FROM CHANGETABLE(VERSION k, (id, s), (2, 'y')) AS v"
        ),
        "NULL"
    );
}

#[test]
fn truncate_starts_the_history_anew_at_the_current_version() {
    let (_engine, mut session) = tracked();
    query(
        &mut session,
        "INSERT t VALUES (1, 1, 1, 1), (2, 2, 2, 2); BEGIN TRAN; TRUNCATE TABLE t; ROLLBACK",
    );
    assert_eq!(changes(&mut session, "0"), "1I1/1 2I1/1");
    query(&mut session, "TRUNCATE TABLE t");
    let state = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('t')), CHANGE_TRACKING_CURRENT_VERSION()";
    assert_eq!(query(&mut session, state), "1|1");
    query(&mut session, "INSERT t VALUES (3, 3, 3, 3)");
    assert_eq!(changes(&mut session, "0"), "3I2/2");
}

#[test]
fn a_snapshot_reads_the_changes_up_to_its_version() {
    let (engine, mut writer) = tracked();
    query(
        &mut writer,
        "ALTER DATABASE db SET ALLOW_SNAPSHOT_ISOLATION ON; INSERT t VALUES (1, 1, 1, 1)",
    );
    let mut reader = connect(&engine);
    query(
        &mut reader,
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN",
    );
    assert_eq!(
        query(&mut reader, "SELECT CHANGE_TRACKING_CURRENT_VERSION()"),
        "1"
    );
    query(
        &mut writer,
        "INSERT t VALUES (2, 2, 2, 2); UPDATE t SET a = 9 WHERE id = 1",
    );
    assert_eq!(changes(&mut reader, "0"), "1I1/1");
    assert_eq!(
        query(
            &mut reader,
            "SELECT ct.id, t.a FROM CHANGETABLE(CHANGES t, 0) AS ct LEFT JOIN t ON t.id = ct.id"
        ),
        "1|1"
    );
    assert_eq!(
        query(
            &mut reader,
            "SELECT CHANGE_TRACKING_CURRENT_VERSION(); COMMIT; SELECT CHANGE_TRACKING_CURRENT_VERSION()"
        ),
        "1\n3"
    );
    assert_eq!(changes(&mut reader, "1"), "1U3/ 2I2/2");
}

#[test]
fn what_is_older_than_the_retention_is_forgotten() {
    let (engine, mut session) = tracked();
    engine.clock().freeze();
    query(
        &mut session,
        "ALTER DATABASE db SET CHANGE_TRACKING (CHANGE_RETENTION = 2 HOURS); INSERT t VALUES (1, 1, 1, 1)",
    );
    engine.clock().step_ms(90 * 60_000);
    query(&mut session, "INSERT t VALUES (2, 2, 2, 2)");
    engine.clock().step_ms(40 * 60_000);
    assert_eq!(
        query(
            &mut session,
            "EXEC sys.sp_flush_CT_internal_table_on_demand 'dbo.t';
             SELECT min_valid_version, cleanup_version FROM sys.change_tracking_tables WHERE object_id = OBJECT_ID('t')"
        ),
        "1|1"
    );
    assert_eq!(changes(&mut session, "0"), "2I2/2");
    assert_eq!(
        query(
            &mut session,
            "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('t'))"
        ),
        "1"
    );
}

#[test]
fn background_clean_up_comes_every_half_hour_unless_it_is_off() {
    for (auto, expected) in [("ON", "1"), ("OFF", "0")] {
        let (engine, mut session) = tracked();
        engine.clock().freeze();
        query(
            &mut session,
            &format!(
                "ALTER DATABASE db SET CHANGE_TRACKING (CHANGE_RETENTION = 5 MINUTES, AUTO_CLEANUP = {auto}); INSERT t VALUES (1, 1, 1, 1)"
            ),
        );
        let min_valid = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('t'))";
        engine.clock().step_ms(10 * 60_000);
        assert_eq!(query(&mut session, min_valid), "0");
        engine.clock().step_ms(25 * 60_000);
        assert_eq!(query(&mut session, min_valid), expected, "AUTO_CLEANUP = {auto}");
    }
}

#[test]
fn switching_is_refused_where_sql_server_refuses_it() {
    let (_engine, mut session) = tracked();
    query(
        &mut session,
        "CREATE TABLE u (id int NOT NULL CONSTRAINT pk PRIMARY KEY); CREATE TABLE h (a int)",
    );
    for (statement, expected) in [
        ("ALTER DATABASE db SET CHANGE_TRACKING = ON", 5088),
        ("ALTER DATABASE db SET CHANGE_TRACKING = OFF", 22115),
        ("ALTER DATABASE master SET CHANGE_TRACKING = ON", 5090),
        (
            "ALTER DATABASE db SET CHANGE_TRACKING (CHANGE_RETENTION = 0 DAYS)",
            5092,
        ),
        (
            "ALTER DATABASE db SET CHANGE_TRACKING (CHANGE_RETENTION = 1 WEEKS)",
            155,
        ),
        (
            "ALTER DATABASE db SET CHANGE_TRACKING (AUTO_CLEANUP = ON, AUTO_CLEANUP = OFF)",
            5091,
        ),
        ("ALTER TABLE t ENABLE CHANGE_TRACKING", 4996),
        ("ALTER TABLE h ENABLE CHANGE_TRACKING", 4997),
        ("ALTER TABLE u DISABLE CHANGE_TRACKING", 4998),
        (
            "CREATE TABLE #x (id int PRIMARY KEY); ALTER TABLE #x ENABLE CHANGE_TRACKING",
            1718,
        ),
        ("SELECT * FROM CHANGETABLE(CHANGES t, 0)", 22104),
        ("SELECT * FROM CHANGETABLE(CHANGES u, 0) AS c", 22105),
        ("SELECT * FROM CHANGETABLE(CHANGES sys.objects, 0) AS c", 22107),
        ("SELECT * FROM CHANGETABLE(CHANGES nosuch, 0) AS c", 208),
        (
            "DECLARE @x int = 0; SELECT * FROM CHANGETABLE(CHANGES t, @x + 1) AS c",
            102,
        ),
        (
            "SELECT * FROM CHANGETABLE(VERSION t, (id, a), (1, 1)) AS v",
            22111,
        ),
        ("SELECT * FROM CHANGETABLE(VERSION t, (id), (1, 1)) AS v", 22103),
    ] {
        assert_eq!(errors(&mut session, statement), [expected], "{statement}");
    }
    query(
        &mut session,
        "ALTER TABLE u ENABLE CHANGE_TRACKING; BEGIN TRAN; ALTER TABLE u DISABLE CHANGE_TRACKING; ROLLBACK",
    );
    assert_eq!(errors(&mut session, "ALTER TABLE u DROP CONSTRAINT pk"), [3735]);
}

#[test]
fn settings_show_and_versions_outlive_a_pause() {
    let (_engine, mut session) = tracked();
    query(&mut session, "INSERT t (id) VALUES (1); INSERT t (id) VALUES (2)");
    assert_eq!(
        query(
            &mut session,
            "SELECT is_auto_cleanup_on, retention_period, retention_period_units, retention_period_units_desc
             FROM sys.change_tracking_databases WHERE database_id = DB_ID();
             SELECT is_track_columns_updated_on, min_valid_version, begin_version FROM sys.change_tracking_tables"
        ),
        "1|2|3|DAYS\n1|0|0"
    );
    assert_eq!(
        query(
            &mut session,
            "ALTER TABLE t DISABLE CHANGE_TRACKING; ALTER DATABASE db SET CHANGE_TRACKING = OFF;
             SELECT CHANGE_TRACKING_CURRENT_VERSION(), CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('t'));
             ALTER DATABASE db SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 30 MINUTES, AUTO_CLEANUP = OFF);
             ALTER TABLE t ENABLE CHANGE_TRACKING;
             SELECT CHANGE_TRACKING_CURRENT_VERSION(), CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('t'))"
        ),
        "NULL|NULL\n2|2"
    );
}

#[test]
fn reading_changes_wants_view_change_tracking() {
    let engine = Engine::new(sqlserver_emulator::EngineConfig {
        logins: vec![
            Login::sysadmin("sa", "Emulator!2022"),
            Login::limited("reader", "Reader!2022"),
        ],
        databases: vec!["db".to_owned()],
        ..sqlserver_emulator::EngineConfig::default()
    });
    let mut owner = connect(&engine);
    query(&mut owner, TRACKED);
    query(&mut owner, "DENY VIEW CHANGE TRACKING ON t TO reader");
    let mut reader = connect_as(&engine, "reader", "Reader!2022");
    let out = run(&mut reader, "SELECT * FROM CHANGETABLE(CHANGES t, 0) AS c");
    assert_eq!(
        out.messages.first().map(|message| message.message.as_str()),
        Some(
            "The VIEW CHANGE TRACKING permission was denied on the object 't', database 'db', schema 'dbo'."
        )
    );
    assert_eq!(
        query(
            &mut reader,
            "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID('t'))"
        ),
        "NULL"
    );
    query(&mut owner, "GRANT VIEW CHANGE TRACKING ON t TO reader");
    assert_eq!(
        query(&mut reader, "SELECT COUNT(*) FROM CHANGETABLE(CHANGES t, 0) AS c"),
        "0"
    );
}
