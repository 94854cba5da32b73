//! What the README's "What it does not" says: refused with 48999, or accepted since no result depends on it.

use crate::collect::{connect, engine, errors, query};

const TABLES: &str = "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, v int NULL); INSERT dbo.t VALUES (1, 1), (2, 2);
     CREATE TABLE dbo.other (id int NOT NULL PRIMARY KEY, v int NULL); EXEC('CREATE VIEW dbo.seen AS SELECT id, v FROM dbo.t')";

const REFUSED: &[&str] = &[
    // cursors
    "DECLARE c CURSOR FOR SELECT id FROM dbo.t",
    "DECLARE c INSENSITIVE CURSOR FOR SELECT id FROM dbo.t",
    "DECLARE @c CURSOR",
    "OPEN c",
    "FETCH NEXT FROM c INTO @id",
    "CLOSE c",
    "DEALLOCATE c",
    "DELETE dbo.t WHERE CURRENT OF c",
    "EXEC sp_cursoropen NULL, N'SELECT 1'",
    // transactions and sessions
    "BEGIN DISTRIBUTED TRANSACTION",
    "KILL 55",
    "EXECUTE AS USER = 'u'",
    "REVERT",
    "DBCC OPENTRAN",
    "DBCC CHECKDB",
    "WAITFOR TIME '10:00'",
    "SET NOEXEC ON",
    "SET PARSEONLY ON",
    "SET SHOWPLAN_XML ON",
    "SET DATEFORMAT dmy",
    "SET DATEFIRST 1",
    "SET LANGUAGE French",
    // definitions
    "ALTER TABLE dbo.t SWITCH TO dbo.other",
    "ALTER TABLE dbo.t SET (LOCK_ESCALATION = DISABLE)",
    "CREATE TABLE dbo.h (id int PRIMARY KEY, a datetime2 GENERATED ALWAYS AS ROW START NOT NULL)",
    "CREATE TABLE dbo.h (id int PRIMARY KEY, PERIOD FOR SYSTEM_TIME (a, b))",
    "CREATE TABLE dbo.h (id int ENCRYPTED WITH (ENCRYPTION_TYPE = RANDOMIZED))",
    "CREATE TABLE dbo.h (id int INDEX ix)",
    "CREATE TABLE dbo.h (id int PRIMARY KEY NONCLUSTERED) WITH (MEMORY_OPTIMIZED = ON)",
    "CREATE LOGIN [d\\u] FROM WINDOWS",
    "GRANT SELECT (id) ON dbo.t TO u",
    "CREATE TYPE dbo.code FROM char(3) NOT NULL",
    "CREATE TYPE dbo.point EXTERNAL NAME geometry.[Point]",
    "CREATE FUNCTION dbo.f() RETURNS int AS BEGIN RETURN 1 END",
    "CREATE SEQUENCE dbo.s",
    "CREATE SYNONYM dbo.s FOR dbo.t",
    "CREATE ROLE r",
    "CREATE PARTITION FUNCTION pf (int) AS RANGE LEFT FOR VALUES (1)",
    "CREATE TRIGGER tr ON DATABASE FOR CREATE_TABLE AS SELECT 1",
    "ALTER LOGIN sa WITH PASSWORD = 'x'",
    "ALTER USER u WITH DEFAULT_SCHEMA = dbo",
    "ALTER AUTHORIZATION ON dbo.t TO u",
    "EXEC sp_rename 'dbo.seen', 'looked_at'",
    "EXEC sp_rename 'dbo.t.PK', 'key', 'INDEX'",
    // databases
    "ALTER DATABASE db SET SINGLE_USER WITH ROLLBACK IMMEDIATE",
    "ALTER DATABASE db SET ANSI_NULLS ON",
    "ALTER DATABASE db SET ACCELERATED_DATABASE_RECOVERY = ON",
    "ALTER DATABASE db ADD FILEGROUP f",
    "ALTER DATABASE SCOPED CONFIGURATION SET VERBOSE_TRUNCATION_WARNINGS = OFF",
    "CREATE DATABASE copy AS COPY OF db",
    // queries and changes
    "WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
    "WITH n AS (SELECT * FROM dbo.t) DELETE FROM n",
    "UPDATE dbo.seen SET v = 3",
    "MERGE TOP (1) dbo.t USING dbo.other AS o ON o.id = t.id WHEN MATCHED THEN DELETE;",
    "SELECT id FROM dbo.t WITH (NOWAIT)",
    "SELECT id FROM dbo.t FOR XML AUTO",
    "SELECT id FROM dbo.t FOR JSON AUTO",
    "SELECT v FROM dbo.t GROUP BY ROLLUP (v)",
    "SELECT v FROM dbo.t GROUP BY GROUPING SETS ((v), ())",
    "SELECT SUM(v) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM dbo.t",
    "SELECT * FROM dbo.t PIVOT (MAX(v) FOR id IN ([1])) AS p",
    "SELECT * FROM dbo.t TABLESAMPLE (10 PERCENT)",
    "SELECT * FROM OPENJSON(N'[1]')",
    "BULK INSERT dbo.t FROM 'file'",
];

#[test]
fn what_the_subset_lacks_is_refused_and_changes_nothing() {
    let engine = engine();
    let mut session = connect(&engine);
    query(&mut session, TABLES);
    for sql in REFUSED {
        assert_eq!(errors(&mut session, sql), [48_999], "{sql}");
    }
    let rest = "SELECT COUNT(*), SUM(v) FROM dbo.t; SELECT COUNT(*) FROM sys.tables; SELECT @@TRANCOUNT";
    assert_eq!(query(&mut session, rest), "2|3\n2\n0");
}

#[test]
fn triggers_of_kinds_that_do_not_run_are_refused_when_they_would() {
    let engine = engine();
    let mut session = connect(&engine);
    query(&mut session, TABLES);
    query(
        &mut session,
        "CREATE TRIGGER dbo.instead ON dbo.t INSTEAD OF DELETE AS SELECT 1",
    );
    query(
        &mut session,
        "CREATE TRIGGER dbo.which ON dbo.other AFTER INSERT AS IF UPDATE(v) PRINT 'v'",
    );
    for sql in ["DELETE dbo.t WHERE id = 1", "INSERT dbo.other VALUES (1, 1)"] {
        assert_eq!(errors(&mut session, sql), [48_999], "{sql}");
    }
    let rest = "SELECT COUNT(*) FROM dbo.t; SELECT COUNT(*) FROM dbo.other";
    assert_eq!(query(&mut session, rest), "2\n0");
}

#[test]
fn what_no_result_depends_on_is_accepted() {
    let engine = engine();
    let mut session = connect(&engine);
    query(&mut session, TABLES);
    for sql in [
        "ALTER TABLE dbo.t REBUILD",
        "ALTER INDEX ALL ON dbo.t REORGANIZE",
        "CREATE STATISTICS s ON dbo.t (v)",
        "UPDATE STATISTICS dbo.t WITH FULLSCAN",
        "CHECKPOINT",
        "ALTER DATABASE db SET AUTO_CLOSE OFF, AUTO_SHRINK OFF, MULTI_USER",
        "ALTER DATABASE db SET PAGE_VERIFY CHECKSUM",
        "CREATE DATABASE filed ON PRIMARY (NAME = a, FILENAME = 'a.mdf') LOG ON (NAME = b, FILENAME = 'b.ldf')",
        "SET DATEFIRST 7",
        "SET DATEFORMAT mdy",
        "SET LANGUAGE us_english",
        "SET SHOWPLAN_XML OFF",
        "SELECT COUNT(*) FROM dbo.t OPTION (MAXDOP 1)",
    ] {
        query(&mut session, sql);
    }
    assert_eq!(query(&mut session, "SELECT COUNT(*), SUM(v) FROM dbo.t"), "2|3");
}

#[test]
fn what_nobody_has_heard_of_ends_as_on_a_server_without_it() {
    let engine = engine();
    let mut session = connect(&engine);
    query(&mut session, TABLES);
    for (sql, number) in [
        ("SELECT JSON_VALUE(N'{}', '$.a')", 195),
        ("SELECT VECTOR_DISTANCE('cosine', id, v) FROM dbo.t", 195),
        ("SELECT id FROM dbo.t WHERE CONTAINS(v, 'x')", 156),
        ("EXEC sp_nothing", 2812),
        ("SELECT * FROM sys.nothing", 208),
        ("CREATE TABLE dbo.h (a dbo.nothing)", 2715),
        ("FROBNICATE dbo.t", 102),
    ] {
        assert_eq!(errors(&mut session, sql), [number], "{sql}");
    }
}
