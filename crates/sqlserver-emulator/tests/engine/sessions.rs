//! Sessions: settings, procedures, prepared statements, permissions, reset, triggers, definitions in transactions.

use std::sync::atomic::Ordering;
use std::thread;

use sqlserver_emulator::{
    Engine, EngineConfig, EnvChange, Login, LoginInfo, Param, Session, SqlType, TypeInfo, Value,
};

use crate::collect::{Collected, connect, connect_as, engine, errors, query, run, show};

fn text(name: &str, value: &str) -> Param {
    let info = TypeInfo::new(SqlType::NText);
    Param {
        name: name.to_owned(),
        ty: info.ty,
        collation: info.collation,
        value: Value::text(value),
        output: false,
        table: None,
    }
}

fn int(name: &str, value: Value, output: bool) -> Param {
    Param {
        name: name.to_owned(),
        ty: SqlType::Int,
        collation: None,
        value,
        output,
        table: None,
    }
}

fn call(session: &mut Session, procedure: &str, params: Vec<Param>) -> Collected {
    let mut out = Collected::default();
    session.call(procedure, params, &mut out);
    out
}

#[test]
fn statements_are_prepared_and_executed() {
    let engine = engine();
    let mut s = connect(&engine);
    let out = call(
        &mut s,
        "sp_prepexec",
        vec![
            int("", Value::Null, true),
            text("", "@a int"),
            text("", "SELECT @a + 1"),
            int("", Value::Int(4), false),
        ],
    );
    assert_eq!((out.text(), out.status), ("5".to_owned(), Some(0)));
    let handle = out.returned[0].value.clone();
    assert_eq!(
        call(
            &mut s,
            "sp_execute",
            vec![int("", handle.clone(), false), int("@a", Value::Int(9), false)]
        )
        .text(),
        "10"
    );
    call(&mut s, "sp_unprepare", vec![int("", handle.clone(), false)]);
    assert_eq!(
        call(
            &mut s,
            "sp_execute",
            vec![int("", handle, false), int("", Value::Int(9), false)]
        )
        .errors(),
        [8179]
    );
    let out = call(
        &mut s,
        "sp_executesql",
        vec![
            text("", "SET @o = @a * 2"),
            text("", "@a int, @o int OUTPUT"),
            int("@a", Value::Int(21), false),
            int("@o", Value::Null, true),
        ],
    );
    assert_eq!(show(&out.returned[0].value), "42");
    assert_eq!(call(&mut s, "nonsense", Vec::new()).errors(), [2812]);
}

#[test]
fn a_reset_forgets_what_the_session_had() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int); CREATE TABLE #x (id int); SET NOCOUNT ON; SET LOCK_TIMEOUT 5; USE master; BEGIN TRAN; INSERT db.dbo.t VALUES (1)",
    );
    assert_eq!(s.database(), "master");
    s.reset(false);
    assert_eq!((s.database(), s.in_transaction()), ("db", false));
    assert_eq!(
        query(
            &mut s,
            "SELECT @@TRANCOUNT, @@LOCK_TIMEOUT, @@OPTIONS & 512, OBJECT_ID('tempdb..#x')"
        ),
        "0|-1|0|NULL"
    );
    assert_eq!(query(&mut s, "SELECT COUNT(*) FROM t"), "0");
}

#[test]
fn settings_read_back() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "SET XACT_ABORT, ANSI_NULLS ON; SET TEXTSIZE 2147483647; SET LOCK_TIMEOUT 1500; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    );
    assert_eq!(
        query(
            &mut s,
            "SELECT @@OPTIONS & 16384, @@TEXTSIZE, @@LOCK_TIMEOUT, SESSIONPROPERTY('ANSI_NULLS')"
        ),
        "16384|2147483647|1500|1"
    );
    assert_eq!(
        query(
            &mut s,
            "SELECT transaction_isolation_level, lock_timeout FROM sys.dm_exec_sessions WHERE session_id = @@SPID"
        ),
        "4|1500"
    );
    query(&mut s, "SET TEXTSIZE 4");
    assert_eq!(
        query(
            &mut s,
            "SELECT CAST('abcdefgh' AS varchar(max)), CAST('abcdefgh' AS varchar(10)), CAST(N'abcdefgh' AS nvarchar(max))"
        ),
        "abcd|abcdefgh|ab"
    );
}

#[test]
fn transactions_of_the_protocol_count_like_those_of_the_language() {
    let engine = engine();
    let mut s = connect(&engine);
    query(&mut s, "CREATE TABLE t (id int)");
    let mut out = Collected::default();
    s.begin("", None, &mut out).unwrap();
    assert!(matches!(out.env.as_slice(), [EnvChange::BeginTran(_)]));
    query(&mut s, "INSERT t VALUES (1)");
    s.save("p", &mut out).unwrap();
    query(&mut s, "INSERT t VALUES (2)");
    s.rollback("p", &mut out).unwrap();
    s.commit("", &mut out).unwrap();
    assert_eq!(s.commit("", &mut out).unwrap_err().number, 3902);
    assert_eq!(query(&mut s, "SELECT id FROM t"), "1");
}

#[test]
fn implicit_transactions_begin_with_the_first_change_and_not_with_a_condition() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int); SET IMPLICIT_TRANSACTIONS ON; DECLARE @x int = 1; IF @@TRANCOUNT > 0 COMMIT",
    );
    assert!(!s.in_transaction());
    query(&mut s, "INSERT t VALUES (1)");
    assert!(s.in_transaction());
    query(&mut s, "IF @@TRANCOUNT > 0 ROLLBACK");
    assert!(!s.in_transaction());
}

#[test]
fn definitions_roll_back_with_their_transaction() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY); INSERT t VALUES (1), (2); BEGIN TRAN; CREATE TABLE u (id int); ALTER TABLE t ADD c int NULL; DROP TABLE u; TRUNCATE TABLE t; ROLLBACK",
    );
    assert_eq!(
        query(&mut s, "SELECT * FROM t ORDER BY id; SELECT OBJECT_ID('u')"),
        "1;2\nNULL"
    );
    assert_eq!(
        errors(
            &mut s,
            "CREATE UNIQUE INDEX ux ON t (id); CREATE TABLE t (id int)"
        ),
        [2714]
    );
}

#[test]
fn triggers_see_what_the_statement_did() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE log (act varchar(9), id int, v int)",
    );
    query(
        &mut s,
        "CREATE TRIGGER tr ON t AFTER INSERT, UPDATE AS INSERT log SELECT CASE WHEN EXISTS (SELECT 1 FROM deleted) THEN 'u' ELSE 'i' END, id, v FROM inserted",
    );
    query(
        &mut s,
        "INSERT t VALUES (1, 10), (2, 20); UPDATE t SET v = 11 WHERE id = 1; DELETE t WHERE id = 2",
    );
    assert_eq!(
        query(&mut s, "SELECT act, id, v FROM log ORDER BY act, id"),
        "i|1|10;i|2|20;u|1|11"
    );
    assert_eq!(errors(&mut s, "UPDATE t SET v = 1 OUTPUT inserted.v"), [334]);
}

#[test]
fn a_login_without_rights_is_told_what_it_lacks() {
    let config = EngineConfig {
        databases: vec!["db".to_owned()],
        logins: vec![
            Login::sysadmin("sa", "Emulator!2022"),
            Login::limited("reader", "secret"),
        ],
        ..EngineConfig::default()
    };
    let engine = Engine::new(config);
    let mut sa = connect(&engine);
    query(
        &mut sa,
        "CREATE TABLE t (id int); CREATE TABLE hidden (id int); CREATE USER reader FOR LOGIN reader; DENY SELECT ON hidden TO reader; DENY INSERT ON t TO reader",
    );
    let mut reader = connect_as(&engine, "reader", "secret");
    assert_eq!(query(&mut reader, "SELECT COUNT(*) FROM t"), "0");
    let out = run(&mut reader, "SELECT COUNT(*) FROM hidden");
    assert_eq!(out.errors(), [229]);
    assert!(
        out.messages[0]
            .message
            .contains("object 'hidden', database 'db', schema 'dbo'"),
        "{}",
        out.messages[0].message
    );
    assert_eq!(errors(&mut reader, "INSERT t VALUES (1)"), [229]);
    assert_eq!(
        query(
            &mut reader,
            "SELECT HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE'), COUNT(*) FROM sys.dm_exec_sessions"
        ),
        "0|1"
    );
    assert_eq!(
        errors(
            &mut reader,
            "SELECT COUNT(*) FROM sys.dm_tran_active_transactions"
        ),
        [300]
    );
    let wrong = LoginInfo {
        user: "reader".to_owned(),
        password: "wrong".to_owned(),
        ..LoginInfo::default()
    };
    assert_eq!(Session::new(&engine, wrong).unwrap_err().number, 18_456);
    let nowhere = LoginInfo {
        user: "sa".to_owned(),
        password: "Emulator!2022".to_owned(),
        database: Some("nowhere".to_owned()),
        ..LoginInfo::default()
    };
    assert_eq!(Session::new(&engine, nowhere).unwrap_err().number, 4060);
}

#[test]
fn attention_stops_a_request_and_leaves_the_transaction_open() {
    let engine = engine();
    let mut s = connect(&engine);
    query(&mut s, "CREATE TABLE t (id int); BEGIN TRAN; INSERT t VALUES (1)");
    let cancel = s.cancel_flag();
    let waiting = thread::spawn(move || {
        let out = run(&mut s, "WAITFOR DELAY '01:00:00'; SELECT 1");
        (s, out)
    });
    cancel.store(true, Ordering::Relaxed);
    let (mut s, out) = waiting.join().unwrap();
    assert_eq!(out.text(), "");
    cancel.store(false, Ordering::Relaxed);
    assert_eq!(query(&mut s, "SELECT @@TRANCOUNT"), "1");
}

#[test]
fn the_clock_can_be_set_from_sql() {
    let engine = engine();
    engine.clock().freeze();
    let mut s = connect(&engine);
    query(&mut s, "DECLARE @before datetime2 = SYSUTCDATETIME(); SELECT @before INTO #b; EXEC sp_emulator_clock @offset_ms = -600000".replace("SELECT @before", "SELECT @before AS at").as_str());
    assert_eq!(
        query(
            &mut s,
            "SELECT CASE WHEN DATEDIFF(second, at, SYSUTCDATETIME()) BETWEEN -601 AND -598 THEN 1 ELSE 0 END FROM #b"
        ),
        "1"
    );
}

#[test]
fn a_lesser_server_does_not_know_what_it_lacks() {
    let engine = Engine::new(EngineConfig {
        databases: vec!["db".to_owned()],
        lacks: vec!["MERGE".to_owned(), "MIN_ACTIVE_ROWVERSION".to_owned()],
        ..EngineConfig::default()
    });
    let mut s = connect(&engine);
    let merge =
        "MERGE t USING (SELECT 1 AS id) AS s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id);";
    assert_eq!(
        query(&mut s, "CREATE TABLE t (id int); SELECT 'merge' AS [merge]"),
        "merge"
    );
    assert_eq!(errors(&mut s, &format!("INSERT t VALUES (2); {merge}")), [102]);
    let out = call(&mut s, "sp_executesql", vec![text("stmt", merge)]);
    assert_eq!(out.errors(), [102]);
    assert_eq!(errors(&mut s, "SELECT min_active_rowversion()"), [195]);
    assert_eq!(query(&mut s, "SELECT COUNT(*) FROM t"), "0");
}

/// Columns are told, rows are not, and nothing is changed.
#[test]
fn format_only_tells_columns_and_does_nothing() {
    let engine = engine();
    let mut s = connect(&engine);
    run(&mut s, "CREATE TABLE dbo.t (a int NOT NULL, b nvarchar(5) NULL)");
    run(&mut s, "INSERT dbo.t VALUES (1, N'x')");
    let out = run(
        &mut s,
        "SET FMTONLY ON; SELECT b, a FROM dbo.t; INSERT dbo.t VALUES (2, N'y'); SET FMTONLY OFF",
    );
    assert_eq!(out.errors(), []);
    let names: Vec<_> = out.columns[0].iter().map(|column| column.name.as_str()).collect();
    assert_eq!((names, out.results[0].len()), (vec!["b", "a"], 0));
    assert_eq!(query(&mut s, "SELECT a, b FROM dbo.t"), "1|x");
}
