//! Change Data Capture, against Microsoft's pages (cdc.*_CT, sp_cdc_enable_table, fn_cdc_get_all_changes, fn_cdc_get_net_changes)
//! and what is publicly measured of SQL Server 2025 where they say nothing.

use std::sync::Arc;
use std::time::Duration;

use sqlserver_emulator::{Engine, EngineConfig, Session};

use crate::collect::{connect, engine, errors, query, run};

/// An engine whose clock stands still, with a captured table.
fn captured() -> (Arc<Engine>, Session) {
    let engine = engine();
    engine.clock().freeze();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY, a int, s nvarchar(max));
         EXEC sys.sp_cdc_enable_db;
         EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', @role_name = NULL, @supports_net_changes = 1",
    );
    (engine, session)
}

/// What was captured, in order: operation, mask, key, values.
fn changes(session: &mut Session) -> String {
    query(
        session,
        "EXEC sys.sp_cdc_scan;
         SELECT __$operation, __$update_mask, id, a, s FROM cdc.dbo_t_CT
         ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation",
    )
}

#[test]
fn each_kind_of_change_has_its_rows() {
    for (writes, expected) in [
        ("INSERT t VALUES (3, 30, N'x')", "2|0x07|3|30|x"),
        ("DELETE t WHERE id = 1", "1|0x07|1|10|first"),
        // What an update left alone of a MAX column is not known before it, and known after it.
        (
            "UPDATE t SET a = 11 WHERE id = 1",
            "3|0x02|1|10|NULL;4|0x02|1|11|first",
        ),
        (
            "UPDATE t SET s = N'y' WHERE id = 1",
            "3|0x04|1|10|first;4|0x04|1|10|y",
        ),
        // A new key is a delete and an insert; of a statement, the deletes come first.
        (
            "UPDATE t SET id = id + 1",
            "1|0x07|1|10|first;1|0x07|2|20|NULL;2|0x07|2|10|first;2|0x07|3|20|NULL",
        ),
        // An update that changes nothing leaves no trace.
        ("UPDATE t SET a = a", ""),
        ("BEGIN TRAN; DELETE t; ROLLBACK", ""),
        (
            "MERGE t USING (VALUES (1, 5), (7, 70)) AS v (id, a) ON t.id = v.id WHEN MATCHED THEN UPDATE SET a = v.a WHEN NOT MATCHED THEN INSERT (id, a) VALUES (v.id, v.a);",
            "3|0x02|1|10|NULL;4|0x02|1|5|first;2|0x07|7|70|NULL",
        ),
    ] {
        let (_engine, mut session) = captured();
        query(
            &mut session,
            "INSERT t VALUES (1, 10, N'first'); INSERT t VALUES (2, 20, NULL)",
        );
        assert_eq!(changes(&mut session), "2|0x07|1|10|first;2|0x07|2|20|NULL");
        query(
            &mut session,
            "DECLARE @to binary(10) = sys.fn_cdc_increment_lsn(sys.fn_cdc_get_max_lsn()); DELETE cdc.dbo_t_CT",
        );
        query(&mut session, writes);
        // The rows of a statement have no order among themselves here; the table's order is the log's.
        let mut rows: Vec<_> = changes(&mut session).split(';').map(str::to_owned).collect();
        let mut wanted: Vec<_> = expected.split(';').map(str::to_owned).collect();
        rows.sort();
        wanted.sort();
        assert_eq!(rows, wanted, "{writes}");
    }
}

#[test]
fn transactions_are_captured_whole_in_the_order_of_their_commits() {
    let (engine, mut first) = captured();
    let mut second = connect(&engine);
    query(&mut first, "BEGIN TRAN; INSERT t VALUES (1, 1, NULL)");
    query(&mut second, "INSERT t VALUES (2, 2, NULL)");
    query(
        &mut first,
        "INSERT t VALUES (3, 3, NULL); UPDATE t SET a = 4 WHERE id = 1; COMMIT",
    );
    query(&mut first, "EXEC sys.sp_cdc_scan");
    assert_eq!(
        query(
            &mut first,
            "SELECT DENSE_RANK() OVER (ORDER BY __$start_lsn), __$command_id, __$operation, id FROM cdc.dbo_t_CT
             ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation"
        ),
        "1|1|2|2;2|1|2|1;2|2|2|3;2|3|3|1;2|3|4|1"
    );
    // The places in the log were taken at the write: the first transaction's lowest is below the second's.
    assert_eq!(
        query(
            &mut first,
            "SELECT TOP (1) id FROM cdc.dbo_t_CT ORDER BY __$seqval;
             SELECT COUNT(*) FROM cdc.lsn_time_mapping AS m WHERE m.tran_id <> 0x00 AND EXISTS (SELECT 1 FROM cdc.dbo_t_CT AS c WHERE c.__$start_lsn = m.start_lsn);
             SELECT COUNT(*) FROM cdc.dbo_t_CT WHERE __$seqval >= __$start_lsn"
        ),
        "1\n2\n0"
    );
}

#[test]
fn the_capture_follows_after_its_delay_and_can_be_stopped() {
    let (engine, mut session) = captured();
    engine.set_capture_delay(Duration::from_secs(5));
    query(&mut session, "INSERT t VALUES (1, 1, NULL)");
    let count = "SELECT COUNT(*) FROM cdc.dbo_t_CT";
    assert_eq!(query(&mut session, count), "0");
    assert_eq!(query(&mut session, "SELECT sys.fn_cdc_get_max_lsn()"), "NULL");
    engine.clock().step_ms(4_999);
    assert_eq!(query(&mut session, count), "0");
    // A clock that is set back delays nothing.
    engine.clock().step_ms(-3_600_000);
    engine.clock().step_ms(1);
    assert_eq!(query(&mut session, count), "1");
    query(
        &mut session,
        "EXEC sys.sp_cdc_stop_job @job_type = N'capture'; INSERT t VALUES (2, 2, NULL)",
    );
    engine.clock().step_ms(60_000);
    assert_eq!(query(&mut session, count), "1");
    query(&mut session, "EXEC sys.sp_cdc_start_job");
    assert_eq!(query(&mut session, count), "2");
}

#[test]
fn functions_take_a_range_within_the_timeline_and_give_313_otherwise() {
    let (_engine, mut session) = captured();
    query(
        &mut session,
        "INSERT t VALUES (1, 1, NULL); UPDATE t SET a = 2; EXEC sys.sp_cdc_scan",
    );
    let declare = "DECLARE @from binary(10) = sys.fn_cdc_get_min_lsn('dbo_t'), @to binary(10) = sys.fn_cdc_get_max_lsn();";
    for (call, expected) in [
        ("all_changes_dbo_t(@from, @to, N'all')", "2|1;4|2"),
        ("all_changes_dbo_t(@from, @to, 'all update old')", "2|1;3|1;4|2"),
        ("net_changes_dbo_t(@from, @to, N'all')", "2|2"),
        ("net_changes_dbo_t(@from, @to, N'all with merge')", "5|2"),
        ("net_changes_dbo_t(@to, @to, N'all with mask')", "4|2"),
    ] {
        let sql = format!(
            "{declare} SELECT __$operation, a FROM cdc.fn_cdc_get_{call} ORDER BY __$start_lsn, __$operation"
        );
        assert_eq!(query(&mut session, &sql), expected, "{call}");
    }
    for call in [
        "all_changes_dbo_t(NULL, @to, N'all')",
        "all_changes_dbo_t(sys.fn_cdc_decrement_lsn(@from), @to, N'all')",
        "all_changes_dbo_t(@from, sys.fn_cdc_increment_lsn(@to), N'all')",
        "all_changes_dbo_t(@to, @from, N'all')",
        "all_changes_dbo_t(@from, @to, N'everything')",
        "net_changes_dbo_t(0x00, @to, N'all')",
    ] {
        let sql = format!("{declare} SELECT * FROM cdc.fn_cdc_get_{call}");
        assert_eq!(errors(&mut session, &sql), [313], "{call}");
    }
    assert_eq!(
        errors(
            &mut session,
            "SELECT * FROM cdc.fn_cdc_get_all_changes_nosuch(0x00, 0x00, N'all')"
        ),
        [208]
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT sys.fn_cdc_get_min_lsn('nosuch'),
                    sys.fn_cdc_is_bit_set(sys.fn_cdc_get_column_ordinal('dbo_t', 'a'), 0x02), sys.fn_cdc_has_column_changed('dbo_t', 's', 0x02),
                    sys.fn_cdc_increment_lsn(0x0000002C000000FFFFFF)"
        ),
        "0x00000000000000000000|1|0|0x0000002C000001000000"
    );
}

#[test]
fn net_changes_are_by_key_over_the_whole_range() {
    // Ten histories of one row each, by key: which rows there are before the range, and what happens within it.
    let (_engine, mut session) = captured();
    query(
        &mut session,
        "INSERT t VALUES (4, 0, NULL), (5, 0, NULL), (6, 0, NULL), (7, 0, NULL); EXEC sys.sp_cdc_scan",
    );
    let from = query(
        &mut session,
        "SELECT sys.fn_cdc_increment_lsn(sys.fn_cdc_get_max_lsn())",
    );
    query(
        &mut session,
        "INSERT t VALUES (1, 1, NULL);
         INSERT t VALUES (2, 1, NULL); UPDATE t SET a = 2 WHERE id = 2;
         INSERT t VALUES (3, 1, NULL); DELETE t WHERE id = 3;
         UPDATE t SET a = 1 WHERE id = 4;
         DELETE t WHERE id = 5;
         DELETE t WHERE id = 6; INSERT t VALUES (6, 1, NULL);
         UPDATE t SET a = 1 WHERE id = 7; DELETE t WHERE id = 7;
         INSERT t VALUES (8, 1, NULL); DELETE t WHERE id = 8; INSERT t VALUES (8, 2, NULL);
         BEGIN TRAN; INSERT t VALUES (9, 1, NULL); DELETE t WHERE id = 9; COMMIT;
         EXEC sys.sp_cdc_scan",
    );
    let net = |option: &str| {
        format!(
            "SELECT id, __$operation, a FROM cdc.fn_cdc_get_net_changes_dbo_t({from}, sys.fn_cdc_get_max_lsn(), '{option}') ORDER BY id"
        )
    };
    assert_eq!(
        query(&mut session, &net("all")),
        "1|2|1;2|2|2;4|4|1;5|1|0;6|4|1;7|1|1;8|2|2"
    );
    assert_eq!(
        query(&mut session, &net("all with merge")),
        "1|5|1;2|5|2;4|5|1;5|1|0;6|5|1;7|1|1;8|5|2"
    );
}

#[test]
fn a_second_instance_sees_the_same_changes_and_a_third_is_refused() {
    let (_engine, mut session) = captured();
    query(
        &mut session,
        "INSERT t VALUES (1, 1, NULL);
         ALTER TABLE t ADD b int NULL;
         EXEC sys.sp_cdc_enable_table N'dbo', N't', N'dbo_t_v2', @role_name = NULL;
         INSERT t VALUES (2, 2, NULL, 22);
         EXEC sys.sp_cdc_scan",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT id FROM cdc.dbo_t_CT ORDER BY id; SELECT id, b FROM cdc.dbo_t_v2_CT;
             SELECT ddl_command, required_column_update FROM cdc.ddl_history;
             SELECT capture_instance, end_lsn FROM cdc.change_tables ORDER BY start_lsn"
        ),
        "1;2\n2|22\nALTER TABLE t ADD b int NULL|0\ndbo_t|NULL;dbo_t_v2|NULL"
    );
    assert_eq!(
        errors(
            &mut session,
            "EXEC sys.sp_cdc_enable_table N'dbo', N't', N'third', @role_name = NULL"
        ),
        [22962]
    );
    query(
        &mut session,
        "ALTER TABLE t DROP COLUMN s; ALTER TABLE t ALTER COLUMN a bigint; INSERT t VALUES (3, 3, 33); EXEC sys.sp_cdc_scan",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT a, s FROM cdc.dbo_t_CT WHERE id = 3;
             SELECT TYPE_NAME(system_type_id) FROM sys.columns WHERE object_id = OBJECT_ID('cdc.dbo_t_CT') AND name = 'a';
             SELECT COUNT(*) FROM cdc.ddl_history WHERE required_column_update = 1;
             EXEC sys.sp_cdc_disable_table N'dbo', N't', N'dbo_t';
             SELECT capture_instance FROM cdc.change_tables; SELECT is_tracked_by_cdc FROM sys.tables WHERE name = 't';
             EXEC sys.sp_cdc_disable_table N'dbo', N't', N'all'; SELECT is_tracked_by_cdc FROM sys.tables WHERE name = 't'"
        ),
        "3|NULL\nbigint\n2\ndbo_t_v2\n1\n0"
    );
}

#[test]
fn catalog_and_procedures_describe_the_instance() {
    let (_engine, mut session) = captured();
    assert_eq!(
        query(
            &mut session,
            "SELECT is_cdc_enabled FROM sys.databases WHERE name = 'db';
             SELECT name, is_ms_shipped FROM sys.tables WHERE schema_id = SCHEMA_ID('cdc') ORDER BY name;
             SELECT column_name, column_type, column_ordinal, is_computed FROM cdc.captured_columns ORDER BY column_ordinal;
             SELECT column_name, index_ordinal FROM cdc.index_columns;
             SELECT name, is_nullable FROM sys.columns WHERE object_id = OBJECT_ID('cdc.dbo_t_CT') ORDER BY column_id;
             SELECT c.source_object_id - OBJECT_ID('dbo.t'), c.object_id - OBJECT_ID('cdc.dbo_t_CT'), supports_net_changes, role_name FROM cdc.change_tables AS c;
             SELECT job_type, pollinginterval, retention FROM msdb.dbo.cdc_jobs ORDER BY job_type"
        ),
        "1\ndbo_t_CT|1;lsn_time_mapping|1\nid|int|1|0;a|int|2|0;s|nvarchar|3|0\nid|1\n\
         __$start_lsn|0;__$end_lsn|1;__$seqval|0;__$operation|0;__$update_mask|1;id|1;a|1;s|1;__$command_id|1\n\
         0|0|1|NULL\ncapture|5|0;cleanup|0|4320"
    );
    let help = run(
        &mut session,
        "EXEC sys.sp_cdc_help_change_data_capture N'dbo', N't'; EXEC sys.sp_cdc_get_captured_columns N'dbo_t'; EXEC sys.sp_cdc_help_jobs",
    );
    let sizes: Vec<_> = help.results.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 3, 2]);
}

#[test]
fn what_is_refused() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE h (a int, b int); CREATE TABLE t (id int NOT NULL PRIMARY KEY, a int)",
    );
    let enable = "EXEC sys.sp_cdc_enable_table N'dbo', N";
    assert_eq!(
        errors(&mut session, &format!("{enable}'t', @role_name = NULL")),
        [22901]
    );
    assert_eq!(errors(&mut session, "SELECT sys.fn_cdc_get_max_lsn()"), [208]);
    query(&mut session, "EXEC sys.sp_cdc_enable_db");
    for (rest, expected) in [
        ("'nosuch', @role_name = NULL", 22931),
        ("'h', @role_name = NULL, @supports_net_changes = 1", 22939),
        (
            "'t', @role_name = NULL, @captured_column_list = N'id, zzz'",
            22942,
        ),
        ("'t', @role_name = NULL, @captured_column_list = N'[a]'", 22943),
        ("'t', @role_name = NULL, @index_name = N'nosuch'", 22928),
    ] {
        let sql = format!("{enable}{rest}");
        assert_eq!(errors(&mut session, &sql), [expected], "{sql}");
    }
    query(&mut session, &format!("{enable}'t', @role_name = NULL"));
    assert_eq!(
        errors(
            &mut session,
            "EXEC sys.sp_cdc_enable_table N'dbo', N'h', N'dbo_t', @role_name = NULL"
        ),
        [22926]
    );
    assert_eq!(errors(&mut session, "TRUNCATE TABLE t"), [4711]);
    assert_eq!(
        errors(&mut session, "EXEC sys.sp_cdc_disable_table N'dbo', N't', N'x'"),
        [22960]
    );
    // Dropping the table takes its instance along; leaving CDC takes everything.
    query(&mut session, "DROP TABLE t");
    assert_eq!(query(&mut session, "SELECT COUNT(*) FROM cdc.change_tables"), "0");
    query(&mut session, "EXEC sys.sp_cdc_disable_db");
    assert_eq!(
        query(
            &mut session,
            "SELECT SCHEMA_ID('cdc'), is_cdc_enabled FROM sys.databases WHERE name = 'db'"
        ),
        "NULL|0"
    );
}

#[test]
fn enabling_is_undone_by_a_rollback() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY); EXEC sys.sp_cdc_enable_db;
         BEGIN TRAN; EXEC sys.sp_cdc_enable_table N'dbo', N't', @role_name = NULL; ROLLBACK;
         INSERT t VALUES (1)",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT COUNT(*) FROM cdc.change_tables; SELECT is_tracked_by_cdc FROM sys.tables WHERE name = 't'"
        ),
        "0\n0"
    );
}

#[test]
fn clean_up_raises_the_low_end() {
    let (engine, mut session) = captured();
    query(&mut session, "INSERT t VALUES (1, 1, NULL)");
    engine.clock().step_ms(2 * 86_400_000);
    query(
        &mut session,
        "INSERT t VALUES (2, 2, NULL); EXEC sys.sp_cdc_scan; EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = 1440",
    );
    // The job runs at two in the morning.
    engine.clock().step_ms(86_400_000);
    assert_eq!(query(&mut session, "SELECT id FROM cdc.dbo_t_CT"), "2");
    let low = "SELECT CASE WHEN sys.fn_cdc_get_min_lsn('dbo_t') = (SELECT MIN(start_lsn) FROM cdc.lsn_time_mapping) THEN 1 ELSE 0 END";
    assert_eq!(query(&mut session, low), "1");
    query(
        &mut session,
        "INSERT t VALUES (3, 3, NULL); EXEC sys.sp_cdc_scan;
         DECLARE @max binary(10) = sys.fn_cdc_get_max_lsn();
         EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_t', @low_water_mark = @max",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT id FROM cdc.dbo_t_CT; SELECT CASE WHEN sys.fn_cdc_get_min_lsn('dbo_t') = sys.fn_cdc_get_max_lsn() THEN 1 ELSE 0 END"
        ),
        "3\n1"
    );
}

#[test]
fn a_snapshot_reads_change_tables_and_the_highest_lsn_as_they_were() {
    let (engine, mut writer) = captured();
    query(
        &mut writer,
        "ALTER DATABASE db SET ALLOW_SNAPSHOT_ISOLATION ON; INSERT t VALUES (1, 1, NULL); EXEC sys.sp_cdc_scan",
    );
    let mut reader = connect(&engine);
    let state = "SELECT COUNT(*) FROM cdc.dbo_t_CT; SELECT sys.fn_cdc_get_max_lsn()";
    query(
        &mut reader,
        "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN",
    );
    let before = query(&mut reader, state);
    query(&mut writer, "INSERT t VALUES (2, 2, NULL); EXEC sys.sp_cdc_scan");
    assert_eq!(query(&mut reader, state), before);
    assert_ne!(query(&mut writer, state), before);
}

#[test]
fn idle_time_moves_the_highest_lsn() {
    let (engine, mut session) = captured();
    query(&mut session, "INSERT t VALUES (1, 1, NULL); EXEC sys.sp_cdc_scan");
    let last = "SELECT tran_id FROM cdc.lsn_time_mapping WHERE start_lsn = sys.fn_cdc_get_max_lsn()";
    assert_ne!(query(&mut session, last), "0x00");
    engine.clock().step_ms(6 * 60_000);
    assert_eq!(query(&mut session, last), "0x00");
}

#[test]
fn times_map_to_numbers_and_back() {
    let (engine, mut session) = captured();
    query(&mut session, "INSERT t VALUES (1, 1, NULL)");
    engine.clock().step_ms(60_000);
    query(&mut session, "INSERT t VALUES (2, 2, NULL); EXEC sys.sp_cdc_scan");
    assert_eq!(
        query(
            &mut session,
            "DECLARE @second binary(10) = sys.fn_cdc_get_max_lsn(), @t datetime = GETDATE();
             SELECT CASE WHEN sys.fn_cdc_map_time_to_lsn('smallest greater than or equal', @t) = @second THEN 1 END,
                    CASE WHEN sys.fn_cdc_map_time_to_lsn('largest less than', @t) < @second THEN 1 END,
                    sys.fn_cdc_map_time_to_lsn('smallest greater than', @t),
                    DATEDIFF(second, sys.fn_cdc_map_lsn_to_time(@second), @t)"
        ),
        "1|1|NULL|0"
    );
}

#[test]
fn computed_columns_and_rowversions_look_as_the_page_says() {
    let engine = Engine::new(EngineConfig {
        databases: vec!["db".to_owned()],
        capture_delay: Duration::ZERO,
        ..EngineConfig::default()
    });
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE c (id int IDENTITY NOT NULL PRIMARY KEY, a int, b AS a + 1 PERSISTED, rv rowversion, old text);
         EXEC sys.sp_cdc_enable_db; EXEC sys.sp_cdc_enable_table N'dbo', N'c', @role_name = NULL;
         INSERT c (a, old) VALUES (1, 'x'); DELETE c",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT __$operation, id, a, b, DATALENGTH(rv), CAST(old AS varchar(9)) FROM cdc.dbo_c_CT ORDER BY __$start_lsn;
             SELECT TYPE_NAME(system_type_id), max_length, is_identity FROM sys.columns WHERE object_id = OBJECT_ID('cdc.dbo_c_CT') AND name IN ('rv', 'id') ORDER BY name"
        ),
        "2|1|1|NULL|8|x;1|1|1|NULL|8|NULL\nint|4|0;binary|8|0"
    );
}

#[test]
fn a_log_that_was_cut_leaves_no_change_before_the_low_end() {
    let (engine, mut session) = captured();
    query(
        &mut session,
        "INSERT t VALUES (1, 1, NULL); EXEC sys.sp_cdc_scan; EXEC sp_emulator_fault N'capture stopped'",
    );
    let before = query(&mut session, "SELECT sys.fn_cdc_get_max_lsn()");
    query(&mut session, "INSERT t VALUES (2, 2, NULL)");
    engine.clock().step_ms(60_000);
    assert_eq!(query(&mut session, "SELECT sys.fn_cdc_get_max_lsn()"), before);
    query(&mut session, "EXEC sp_emulator_fault N'log truncated'");
    query(
        &mut session,
        "EXEC sys.sp_cdc_start_job; INSERT t VALUES (3, 3, NULL); EXEC sys.sp_cdc_scan",
    );
    assert_eq!(
        query(
            &mut session,
            &format!(
                "SELECT id FROM cdc.dbo_t_CT; SELECT CASE WHEN sys.fn_cdc_increment_lsn({before}) < sys.fn_cdc_get_min_lsn('dbo_t') THEN 1 END"
            )
        ),
        "3\n1"
    );
    assert_eq!(errors(&mut session, "EXEC sp_emulator_fault N'fire'"), [48999]);
}

#[test]
fn scans_of_the_log_are_told() {
    let (engine, mut session) = captured();
    let sessions = "SELECT tran_count, command_count, latency, scan_phase, error_count
        FROM sys.dm_cdc_log_scan_sessions WHERE command_count > 0 ORDER BY session_id";
    query(&mut session, "EXEC sys.sp_cdc_scan");
    assert_eq!(query(&mut session, sessions), "");
    query(
        &mut session,
        "BEGIN TRAN; INSERT t VALUES (1, 10, NULL); INSERT t VALUES (2, 20, NULL); COMMIT; DELETE t WHERE id = 2",
    );
    engine.clock().step_ms(3_000);
    query(&mut session, "EXEC sys.sp_cdc_scan");
    assert_eq!(query(&mut session, sessions), "2|3|3|Done|0");
    query(
        &mut session,
        "INSERT t VALUES (3, 30, NULL); EXEC sys.sp_cdc_scan",
    );
    assert_eq!(query(&mut session, sessions), "2|3|3|Done|0;1|1|0|Done|0");
}
