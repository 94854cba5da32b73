//! A database that is put back to a backup: what was committed then is there, and every counter goes on from there.

use crate::collect::{connect, engine, errors, query};

const COUNTERS: &str = "SELECT CONVERT(bigint, @@DBTS), CHANGE_TRACKING_CURRENT_VERSION(), CONVERT(varchar(22), sys.fn_cdc_get_max_lsn(), 1)";
const FORK: &str = "SELECT CONVERT(varchar(36), database_guid), CONVERT(varchar(36), recovery_fork_guid)
    FROM sys.database_recovery_status WHERE database_id = DB_ID('db')";

#[test]
fn a_restored_database_is_what_was_committed_and_counts_on_from_there() {
    let engine = engine();
    engine.clock().freeze();
    let mut session = connect(&engine);
    query(
        &mut session,
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON; EXEC sys.sp_cdc_enable_db;
         CREATE TABLE t (id int PRIMARY KEY, v int, rv rowversion); ALTER TABLE t ENABLE CHANGE_TRACKING;",
    );
    query(
        &mut session,
        "EXEC sys.sp_cdc_enable_table @source_schema = 'dbo', @source_name = 't', @role_name = NULL;
         INSERT t (id, v) VALUES (1, 10), (2, 20); EXEC sys.sp_cdc_scan",
    );
    let before = query(&mut session, COUNTERS);
    let fork = query(&mut session, FORK);
    let mut other = connect(&engine);
    query(
        &mut other,
        "BEGIN TRANSACTION; UPDATE t SET v = 99 WHERE id = 1; DELETE t WHERE id = 2; INSERT t (id, v) VALUES (3, 30)",
    );
    query(
        &mut session,
        "BACKUP DATABASE db TO DISK = N'db.bak' WITH INIT, COPY_ONLY, STATS = 10",
    );
    query(&mut other, "COMMIT");
    query(&mut session, "CREATE TABLE u (a int); EXEC sys.sp_cdc_scan");
    assert_eq!(
        query(&mut session, "SELECT id, v FROM t ORDER BY id"),
        "1|99;3|30"
    );
    drop(other);
    query(
        &mut session,
        "USE master; RESTORE DATABASE db FROM DISK = N'db.bak' WITH REPLACE, RECOVERY; USE db",
    );
    assert_eq!(
        query(&mut session, "SELECT id, v FROM t ORDER BY id"),
        "1|10;2|20"
    );
    assert_eq!(query(&mut session, "SELECT OBJECT_ID('u')"), "NULL");
    assert_eq!(
        query(&mut session, COUNTERS).split('|').nth(1),
        before.split('|').nth(1)
    );
    assert_eq!(
        query(&mut session, COUNTERS).split('|').nth(2),
        before.split('|').nth(2)
    );
    let now = query(&mut session, FORK);
    let guids = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(guids(&now)[0], guids(&fork)[0]);
    assert_ne!(guids(&now)[1], guids(&fork)[1]);
    query(
        &mut session,
        "UPDATE t SET v = 11 WHERE id = 1; EXEC sys.sp_cdc_scan",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT id, SYS_CHANGE_OPERATION FROM CHANGETABLE(CHANGES t, 1) AS c"
        ),
        "1|U"
    );
}

#[test]
fn what_cannot_be_backed_up_or_restored_is_refused() {
    let engine = engine();
    let mut session = connect(&engine);
    query(&mut session, "BACKUP DATABASE db TO DISK = 'db.bak'; USE master");
    for (sql, numbers) in [
        ("BACKUP DATABASE nowhere TO DISK = 'x.bak'", &[911, 3013][..]),
        ("BACKUP DATABASE db TO DISK = 'db.bak'", &[48_999]),
        ("BEGIN TRANSACTION; BACKUP DATABASE db TO DISK = 'y.bak'", &[3021]),
        ("ROLLBACK; RESTORE DATABASE db FROM DISK = 'x.bak'", &[3201, 3013]),
        ("RESTORE DATABASE db FROM DISK = 'db.bak'", &[3159, 3013]),
        (
            "USE db; RESTORE DATABASE db FROM DISK = 'db.bak' WITH REPLACE",
            &[3102, 3013],
        ),
    ] {
        assert_eq!(errors(&mut session, sql), numbers, "{sql}");
    }
    query(&mut session, "USE master");
    let mut other = connect(&engine);
    let restore = "RESTORE DATABASE db FROM DISK = 'db.bak' WITH REPLACE";
    assert_eq!(errors(&mut session, restore), [3101, 3013]);
    query(&mut other, "USE master");
    query(&mut session, restore);
}
