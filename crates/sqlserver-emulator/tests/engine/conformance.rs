//! Behaviours of SQL Server that imitations get wrong. Each case names the documentation page that it is from.

use crate::collect::{Collected, connect, engine, errors, query, run, show};
use sqlserver_emulator::Session;

/// A session in a database with one table `t (id int PRIMARY KEY, v varchar(10), n nvarchar(10))`.
fn session() -> Session {
    let mut session = connect(&engine());
    query(
        &mut session,
        "CREATE TABLE t (id int NOT NULL CONSTRAINT pk PRIMARY KEY, v varchar(10) NULL, n nvarchar(10) NULL)",
    );
    session
}

fn types(out: &Collected) -> Vec<String> {
    out.columns[0]
        .iter()
        .map(|column| column.ty.to_string())
        .collect()
}

/// "LIKE", "Collation and Unicode support", "GROUP BY", "EXCEPT and INTERSECT".
#[test]
fn text_compares_without_case_and_trailing_blanks_where_it_is_compared() {
    let mut session = session();
    query(
        &mut session,
        "INSERT t VALUES (1, 'a', N'a'), (2, 'A ', N'b'), (3, 'b', N'b  ')",
    );
    for (sql, expected) in [
        ("SELECT COUNT(*) FROM t WHERE v = 'a'", "2"),
        ("SELECT COUNT(*) FROM t WHERE v LIKE 'a'", "2"),
        ("SELECT COUNT(*) FROM t WHERE v LIKE N'a'", "1"),
        ("SELECT COUNT(*) FROM t WHERE v LIKE 'a '", "1"),
        ("SELECT COUNT(DISTINCT v) FROM t", "2"),
        ("SELECT COUNT(*) FROM (SELECT v FROM t GROUP BY v) g", "2"),
        ("SELECT v FROM t WHERE id = 2 EXCEPT SELECT 'a'", ""),
        ("SELECT COUNT(*) FROM t x JOIN t y ON x.v = y.v", "5"),
        ("SELECT id FROM t WHERE v = N'B'", "3"),
        ("SELECT id FROM t WHERE v COLLATE Latin1_General_BIN2 = 'A'", "2"),
        ("SELECT LEN(v), DATALENGTH(v) FROM t WHERE id = 2", "1|2"),
    ] {
        assert_eq!(query(&mut session, sql), expected, "{sql}");
    }
}

/// "int, bigint, smallint, and tinyint", "Precision, scale, and length", "char and varchar", "ISNULL", "COALESCE".
#[test]
fn results_are_described_with_the_documented_types() {
    let mut session = session();
    for (sql, expected) in [
        ("SELECT 2147483647, 2147483648", vec!["int", "numeric(10,0)"]),
        (
            "SELECT CAST(1 AS decimal(38,10)) * CAST(1 AS decimal(38,10))",
            vec!["decimal(38,6)"],
        ),
        (
            "SELECT ISNULL(v, 'longer than ten'), COALESCE(v, 'longer than ten') FROM t",
            vec!["varchar(10)", "varchar(15)"],
        ),
        ("SELECT v + n FROM t", vec!["nvarchar(20)"]),
        (
            "SELECT CAST('x' AS varchar), N'abc', 0x01, $1, 1e0",
            vec!["varchar(30)", "nvarchar(3)", "varbinary(1)", "money", "float"],
        ),
        (
            "SELECT SUM(id), AVG(id * 1.0), COUNT(*), COUNT_BIG(*), MAX(v) FROM t",
            vec!["int", "decimal(38,6)", "int", "bigint", "varchar(10)"],
        ),
        ("SELECT id FROM t UNION ALL SELECT 1.5", vec!["numeric(11,1)"]),
        ("DECLARE @v varchar = 'abc' SELECT @v", vec!["varchar(1)"]),
        (
            "SELECT GETDATE(), SYSUTCDATETIME(), SYSDATETIMEOFFSET()",
            vec!["datetime", "datetime2(7)", "datetimeoffset(7)"],
        ),
    ] {
        assert_eq!(types(&run(&mut session, sql)), expected, "{sql}");
    }
}

/// "char and varchar" (truncation), errors 2628, 515, 245, 8115, 8152.
#[test]
fn columns_refuse_what_variables_cut() {
    let mut session = session();
    assert_eq!(
        query(
            &mut session,
            "DECLARE @v varchar(3) = 'abcdef' SELECT @v, CAST('abcdef' AS varchar(2))"
        ),
        "abc|ab"
    );
    for (sql, number) in [
        ("INSERT t VALUES (1, 'longer than ten', NULL)", 2628),
        ("INSERT t VALUES (NULL, 'a', NULL)", 515),
        ("INSERT t VALUES ('x', 'a', NULL)", 245),
        ("INSERT t (id) SELECT 3000000000", 8115),
        ("SELECT 1 / 0", 8134),
        ("SELECT v + 1 FROM (SELECT 'x' AS v) d", 245),
        ("INSERT t (id) VALUES (1, 2)", 110),
        ("INSERT t (id, v) VALUES (1)", 109),
        ("SELECT nope FROM t", 207),
        ("SELECT * FROM nope", 208),
        ("SELECT x.id FROM t", 4104),
        ("SELECT id FROM t a JOIN t b ON a.id = b.id", 209),
        ("SELECT @nope", 137),
        ("SELECT id, COUNT(*) FROM t", 8120),
        ("EXEC nope", 2812),
        ("SELECT (SELECT 1 UNION ALL SELECT 2)", 512),
        ("SELECT 1 WHERE 1 IN (SELECT 1, 2)", 116),
        ("SELECT 1 UNION SELECT 1, 2", 205),
        ("CREATE TABLE t (a int)", 2714),
        ("DROP TABLE nope", 3701),
        ("USE nope", 911),
        ("DECLARE @a int DECLARE @a int", 134),
    ] {
        assert_eq!(errors(&mut session, sql).first(), Some(&number), "{sql}");
    }
    let out = run(&mut session, "INSERT t VALUES (1, 'longer than ten', NULL)");
    assert_eq!(
        out.messages[0].message,
        "String or binary data would be truncated in table 'db.dbo.t', column 'v'. Truncated value: 'longer tha'."
    );
    assert_eq!(query(&mut session, "SELECT COUNT(*) FROM t"), "0");
}

/// "datetime": rounding to increments of .000, .003 or .007 seconds; "datetime2": conversion from datetime at level 130.
#[test]
fn datetime_has_thirds_of_ten_milliseconds() {
    let mut session = session();
    let sql = "SELECT CONVERT(varchar(30), CAST('2024-01-01 23:59:59.999' AS datetime), 121),
                      CONVERT(varchar(30), CAST('2024-01-01 00:00:00.995' AS datetime), 121),
                      CONVERT(varchar(30), CAST(CAST('2024-01-01 00:00:00.003' AS datetime) AS datetime2(7)), 121)";
    assert_eq!(
        query(&mut session, sql),
        "2024-01-02 00:00:00.000|2024-01-01 00:00:00.997|2024-01-01 00:00:00.0033333"
    );
}

/// "CREATE INDEX" (NULLs in a unique index), "ORDER BY" (NULLs lowest), errors 2601 and 2627.
#[test]
fn nulls_and_keys() {
    let mut session = session();
    query(
        &mut session,
        "CREATE UNIQUE INDEX ux ON t (v); INSERT t VALUES (1, NULL, NULL), (2, 'a', NULL)",
    );
    assert_eq!(errors(&mut session, "INSERT t VALUES (3, NULL, NULL)"), [2601]);
    assert_eq!(errors(&mut session, "INSERT t VALUES (1, 'z', NULL)"), [2627]);
    assert_eq!(errors(&mut session, "INSERT t VALUES (4, 'A ', NULL)"), [2601]);
    assert_eq!(query(&mut session, "SELECT v FROM t ORDER BY v"), "NULL;a");
}

/// "UPDATE" (several matches), "MERGE" (8672, 10713).
#[test]
fn several_matches_of_one_row() {
    let mut session = session();
    query(&mut session, "INSERT t VALUES (1, 'x', NULL)");
    let source = "(VALUES (1, 'a'), (1, 'b')) AS s (id, v)";
    query(
        &mut session,
        &format!("UPDATE t SET v = s.v FROM t JOIN {source} ON s.id = t.id"),
    );
    assert_ne!(query(&mut session, "SELECT v FROM t"), "x");
    let merge = format!("MERGE t USING {source} ON s.id = t.id WHEN MATCHED THEN UPDATE SET v = s.v");
    assert_eq!(errors(&mut session, &format!("{merge};"))[0], 8672);
    assert_eq!(errors(&mut session, &merge)[0], 10_713);
}

/// "@@ROWCOUNT", "SET NOCOUNT".
#[test]
fn row_counts() {
    let mut session = session();
    let out = run(
        &mut session,
        "SET NOCOUNT ON; INSERT t (id) VALUES (1), (2); SELECT @@ROWCOUNT; SET NOCOUNT OFF; SELECT @@ROWCOUNT",
    );
    assert_eq!(out.text(), "2\n0");
    assert_eq!(
        query(
            &mut session,
            "UPDATE t SET v = 'x' WHERE id > 5; SELECT @@ROWCOUNT; BEGIN TRAN; SELECT @@ROWCOUNT; COMMIT"
        ),
        "0\n0"
    );
}

/// "XACT_STATE", "SET XACT_ABORT", "TRY...CATCH", "ROLLBACK TRANSACTION".
#[test]
fn transactions_end_as_documented() {
    let mut session = session();
    query(&mut session, "INSERT t (id) VALUES (1)");
    let out = run(
        &mut session,
        "BEGIN TRAN INSERT t (id) VALUES (2) INSERT t (id) VALUES (1) INSERT t (id) VALUES (3) COMMIT SELECT COUNT(*) FROM t",
    );
    assert_eq!((out.errors(), out.text()), (vec![2627], "3".to_owned()));
    let out = run(
        &mut session,
        "SET XACT_ABORT ON BEGIN TRAN INSERT t (id) VALUES (4) INSERT t (id) VALUES (1) SELECT 'not reached'",
    );
    assert_eq!((out.errors(), out.text()), (vec![2627], String::new()));
    assert_eq!(
        query(
            &mut session,
            "SET XACT_ABORT OFF SELECT @@TRANCOUNT, COUNT(*) FROM t"
        ),
        "0|3"
    );
    let doomed = "SET XACT_ABORT ON BEGIN TRAN BEGIN TRY INSERT t (id) VALUES (1) END TRY
                  BEGIN CATCH SELECT XACT_STATE(), ERROR_NUMBER() INSERT t (id) VALUES (9) END CATCH";
    let out = run(&mut session, doomed);
    assert_eq!(
        (out.text().as_str(), out.errors().first()),
        ("-1|2627", Some(&3930))
    );
    query(&mut session, "SET XACT_ABORT OFF IF @@TRANCOUNT > 0 ROLLBACK");
    assert_eq!(
        query(
            &mut session,
            "BEGIN TRAN BEGIN TRAN COMMIT SELECT @@TRANCOUNT ROLLBACK SELECT @@TRANCOUNT"
        ),
        "1\n0"
    );
    assert_eq!(errors(&mut session, "COMMIT"), [3902]);
    assert_eq!(errors(&mut session, "ROLLBACK"), [3903]);
    query(
        &mut session,
        "BEGIN TRAN INSERT t (id) VALUES (10) SAVE TRAN s INSERT t (id) VALUES (11) ROLLBACK TRAN s COMMIT",
    );
    assert_eq!(query(&mut session, "SELECT id FROM t WHERE id >= 10"), "10");
}

/// "rowversion", "MIN_ACTIVE_ROWVERSION", "SET IDENTITY_INSERT", "@@IDENTITY".
#[test]
fn numbers_that_the_server_gives() {
    let mut session = session();
    query(
        &mut session,
        "CREATE TABLE r (id int IDENTITY(5, 5) PRIMARY KEY, v int NULL, rv rowversion); INSERT r (v) VALUES (1), (2)",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT id FROM r ORDER BY id; SELECT SCOPE_IDENTITY(), @@IDENTITY, IDENT_CURRENT('r')"
        ),
        "5;10\n10|10|10"
    );
    let before = query(&mut session, "SELECT CAST(rv AS bigint) FROM r WHERE id = 5");
    query(&mut session, "UPDATE r SET v = v WHERE id = 5");
    assert_ne!(
        query(&mut session, "SELECT CAST(rv AS bigint) FROM r WHERE id = 5"),
        before
    );
    assert_eq!(errors(&mut session, "INSERT r (id, v) VALUES (100, 1)")[0], 544);
    query(
        &mut session,
        "SET IDENTITY_INSERT r ON INSERT r (id, v) VALUES (100, 1) SET IDENTITY_INSERT r OFF INSERT r (v) VALUES (3)",
    );
    assert_eq!(query(&mut session, "SELECT MAX(id) FROM r"), "105");
    assert_eq!(
        errors(
            &mut session,
            "SET IDENTITY_INSERT r ON; CREATE TABLE q (i int IDENTITY); SET IDENTITY_INSERT q ON"
        )[0],
        8107
    );
    assert_eq!(errors(&mut session, "INSERT r (rv) VALUES (0x01)")[0], 273);
    assert_eq!(
        query(
            &mut session,
            "SELECT IIF(MIN_ACTIVE_ROWVERSION() > (SELECT MAX(rv) FROM r), 1, 0)"
        ),
        "1"
    );
}

/// "OUTPUT clause", "CREATE TRIGGER", errors 334 and 3609.
#[test]
fn triggers_and_output() {
    let mut session = session();
    query(&mut session, "CREATE TABLE log (id int, what varchar(10))");
    query(
        &mut session,
        "CREATE TRIGGER tr ON t AFTER INSERT, UPDATE AS INSERT log SELECT id, 'fired' FROM inserted",
    );
    query(&mut session, "INSERT t (id) VALUES (1), (2)");
    assert_eq!(
        query(&mut session, "SELECT id, what FROM log ORDER BY id"),
        "1|fired;2|fired"
    );
    assert_eq!(
        errors(&mut session, "INSERT t (id) OUTPUT inserted.id VALUES (3)")[0],
        334
    );
    assert_eq!(
        query(
            &mut session,
            "DECLARE @o TABLE (id int) INSERT t (id) OUTPUT inserted.id INTO @o VALUES (3) SELECT id FROM @o"
        ),
        "3"
    );
    query(&mut session, "DROP TRIGGER tr");
    // "CREATE TRIGGER": with RECURSIVE_TRIGGERS OFF, the default, a trigger does not fire itself.
    query(
        &mut session,
        "CREATE TRIGGER touch ON t AFTER UPDATE AS UPDATE t SET v = 'touched' FROM t JOIN inserted i ON i.id = t.id",
    );
    query(&mut session, "UPDATE t SET n = N'x' WHERE id = 2");
    assert_eq!(
        query(&mut session, "SELECT v, n FROM t WHERE id = 2"),
        "touched|x"
    );
    query(&mut session, "CREATE TRIGGER tr2 ON t AFTER DELETE AS ROLLBACK");
    assert_eq!(errors(&mut session, "DELETE t WHERE id = 1")[0], 3609);
    assert_eq!(query(&mut session, "SELECT COUNT(*) FROM t"), "3");
}

/// "Collation precedence" (468), "Deferred name resolution": 102 before anything runs, 208 when reached.
#[test]
fn a_batch_parses_as_a_whole_and_binds_statement_by_statement() {
    let mut session = session();
    let out = run(&mut session, "SELECT 1\nSELECT FROM x");
    assert_eq!(
        (out.errors(), out.text(), out.messages[0].line),
        (vec![156], String::new(), 2)
    );
    let out = run(&mut session, "SELECT 1\n\nSELECT * FROM nope");
    assert_eq!(
        (out.errors(), out.text(), out.messages[0].line),
        (vec![208], "1".to_owned(), 3)
    );
    assert_eq!(
        query(&mut session, "IF 1 = 0 SELECT * FROM nope ELSE SELECT 2"),
        "2"
    );
    let collations = "SELECT 1 FROM t JOIN (SELECT v COLLATE Latin1_General_BIN2 AS v FROM t) b ON t.n = b.v";
    run(&mut session, collations);
    query(
        &mut session,
        "CREATE TABLE b (v varchar(10) COLLATE Latin1_General_BIN2)",
    );
    assert_eq!(
        errors(&mut session, "SELECT 1 FROM t JOIN b ON t.v = b.v")[0],
        468
    );
}

/// "RAISERROR", "THROW", "ERROR_NUMBER", "PRINT", "RETURN", "EXECUTE", "sp_executesql".
#[test]
fn messages_and_procedures() {
    let mut session = session();
    let out = run(
        &mut session,
        "PRINT 'hello' RAISERROR('a %s %d %%', 16, 3, 'b', 5) THROW 50001, N'x', 2 SELECT 'not reached'",
    );
    let seen: Vec<_> = out
        .messages
        .iter()
        .map(|m| (m.number, m.class, m.state, m.message.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, 0, 1, "hello"),
            (50_000, 16, 3, "a b 5 %"),
            (50_001, 16, 2, "x")
        ]
    );
    let sql = "BEGIN TRY SELECT 1 / 0 END TRY BEGIN CATCH
               SELECT ERROR_NUMBER(), ERROR_SEVERITY(), ERROR_STATE(), ERROR_LINE(), ERROR_MESSAGE(), ERROR_PROCEDURE() END CATCH";
    assert!(query(&mut session, sql).ends_with("8134|16|1|1|Divide by zero error encountered.|NULL"));
    query(
        &mut session,
        "CREATE PROCEDURE p @a int, @b int = 5, @c int OUTPUT AS SET @c = @a + @b; RETURN 7",
    );
    assert_eq!(
        query(
            &mut session,
            "DECLARE @rc int, @o int EXEC @rc = p 1, @c = @o OUTPUT SELECT @rc, @o"
        ),
        "7|6"
    );
    assert_eq!(
        query(
            &mut session,
            "DECLARE @o int EXEC sp_executesql N'SET @x = @y * 2', N'@y int, @x int OUTPUT', @y = 21, @x = @o OUTPUT SELECT @o"
        ),
        "42"
    );
    assert_eq!(
        query(
            &mut session,
            "DECLARE @i int = 0, @s varchar(10) = '' WHILE 1 = 1 BEGIN SET @i += 1 IF @i = 3 CONTINUE IF @i > 4 BREAK SET @s += CAST(@i AS varchar(2)) END SELECT @s"
        ),
        "124"
    );
    assert_eq!(
        query(
            &mut session,
            "DECLARE @n int = 2 EXEC('SELECT 1 + ' + '1') EXEC(N'SELECT 3')"
        ),
        "2\n3"
    );
    let out = run(&mut session, "SELECT 1 RETURN SELECT 2");
    assert_eq!(out.text(), "1");
}

/// "SET TEXTSIZE", "@@OPTIONS", "SESSIONPROPERTY", "DBCC USEROPTIONS".
#[test]
fn session_options_can_be_read_back() {
    let mut session = session();
    query(
        &mut session,
        "SET LOCK_TIMEOUT 1234 SET TEXTSIZE 2147483647 SET ARITHABORT ON SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT @@LOCK_TIMEOUT, @@TEXTSIZE, SESSIONPROPERTY('ARITHABORT'), @@OPTIONS & 64"
        ),
        "1234|2147483647|1|64"
    );
    let options = run(&mut session, "DBCC USEROPTIONS");
    let rows: Vec<String> = options.results[0]
        .iter()
        .map(|row| format!("{}={}", show(&row[0]), show(&row[1])))
        .collect();
    assert!(rows.contains(&"lock_timeout=1234".to_owned()), "{rows:?}");
    assert!(
        rows.contains(&"isolation level=serializable".to_owned()),
        "{rows:?}"
    );
    assert_eq!(
        query(
            &mut session,
            "SET ROWCOUNT 1 SELECT id FROM (VALUES (1), (2)) v (id) SET ROWCOUNT 0"
        ),
        "1"
    );
}

/// "ALTER TABLE", "Computed columns", "CREATE VIEW", "TRUNCATE TABLE", "SELECT INTO".
#[test]
fn definitions_change_tables() {
    let mut session = session();
    query(&mut session, "INSERT t VALUES (1, 'a', N'x')");
    query(
        &mut session,
        "ALTER TABLE t ADD c AS (id * 10), d int NOT NULL CONSTRAINT df DEFAULT 7",
    );
    assert_eq!(query(&mut session, "SELECT c, d FROM t"), "10|7");
    assert_eq!(errors(&mut session, "UPDATE t SET c = 1")[0], 271);
    query(
        &mut session,
        "ALTER TABLE t DROP CONSTRAINT df ALTER TABLE t DROP COLUMN d ALTER TABLE t ALTER COLUMN v varchar(50) NOT NULL",
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT max_length, is_nullable FROM sys.columns WHERE object_id = OBJECT_ID('t') AND name = 'v'"
        ),
        "50|0"
    );
    query(&mut session, "CREATE VIEW vw AS SELECT id, v FROM t WHERE id > 0");
    assert_eq!(query(&mut session, "SELECT * FROM vw"), "1|a");
    query(&mut session, "SELECT id, v INTO copy FROM t; TRUNCATE TABLE t");
    assert_eq!(
        query(&mut session, "SELECT COUNT(*) FROM t; SELECT * FROM copy"),
        "0\n1|a"
    );
    query(
        &mut session,
        "CREATE TABLE child (id int REFERENCES t (id), CONSTRAINT ck CHECK (id < 100))",
    );
    assert_eq!(errors(&mut session, "INSERT child VALUES (5)")[0], 547);
    assert_eq!(errors(&mut session, "INSERT child VALUES (500)")[0], 547);
    assert_eq!(errors(&mut session, "TRUNCATE TABLE t")[0], 4712);
    assert_eq!(
        query(
            &mut session,
            "IF OBJECT_ID('tempdb..#x') IS NOT NULL DROP TABLE #x CREATE TABLE #x (a int) INSERT #x VALUES (1) SELECT a FROM #x"
        ),
        "1"
    );
}
