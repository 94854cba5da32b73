//! Statements that must parse: the language that this project sends, and what drivers send on their own.

use super::super::parse_batch;

const DRIVERS: &[&str] = &[
    // FreeTDS, pymssql
    "set textsize 4096 ",
    "SET FMTONLY ON select * from t SET FMTONLY OFF",
    "SET ARITHABORT ON; SET CONCAT_NULL_YIELDS_NULL ON; SET ANSI_NULLS ON;SET ANSI_NULL_DFLT_ON ON;",
    "use [db]",
    "BEGIN TRAN",
    "COMMIT TRAN",
    "IF @@TRANCOUNT > 0 ROLLBACK TRAN",
    // JDBC
    "set implicit_transactions on ",
    "IF @@TRANCOUNT > 0 COMMIT TRAN",
    "SELECT CAST(SERVERPROPERTY('EngineEdition') AS int)",
    "set transaction isolation level read committed  set implicit_transactions off  set quoted_identifier on set textsize 2147483647",
    // tedious
    "set ansi_nulls on\nset ansi_null_dflt_on on\nset ansi_padding on\nset ansi_warnings on\nset arithabort on\nset concat_null_yields_null on\nset cursor_close_on_commit off\nset datefirst 7\nset dateformat mdy\nset implicit_transactions off\nset language us_english\nset numeric_roundabort off\nset quoted_identifier on\nset textsize 2147483647\nset transaction isolation level read committed",
    // go-mssqldb, tiberius
    "SET FMTONLY ON",
    "select * from [t] SET FMTONLY OFF",
    "SELECT TOP 0 * FROM t",
    // mssql-tds bulk
    "DECLARE @c nvarchar(max); IF EXISTS (SELECT TOP 1 1 FROM sys.all_columns WHERE [object_id] = OBJECT_ID('sys.all_columns') AND [name] = 'is_hidden') BEGIN EXEC sp_executesql N'SELECT 1', N'@c nvarchar(max) OUTPUT', @c OUTPUT END ELSE BEGIN SELECT @c = ISNULL(@c, '*') END",
    "EXEC(N'SET FMTONLY ON SELECT ' + @c + N' FROM t SET FMTONLY OFF')",
    "EXEC [db]..sp_tablecollations_100 N'.[dbo].[t]'",
    "insert bulk [dbo].[t] ([a] int, [b] nvarchar(10) collate SQL_Latin1_General_CP1_CI_AS, [c] Decimal(10, 2)) with (TABLOCK, KEEP_NULLS, CHECK_CONSTRAINTS, FIRE_TRIGGERS, ROWS_PER_BATCH = 5, ORDER(a ASC))",
    "INSERT BULK t (a int NULL, b varbinary(max) NOT NULL)",
    // connectorx
    "SELECT MIN(CXTMPTAB_RANGE.[id]) FROM (SELECT * FROM t) AS CXTMPTAB_RANGE",
    "SELECT * FROM (SELECT * FROM t) AS CXTMPTAB_PART WHERE 0 <= CXTMPTAB_PART.id AND CXTMPTAB_PART.id < 10",
    "sp_who",
    "sp_who2 'active'",
    "exec sp_reset_connection",
];

const QUERIES: &[&str] = &[
    "SELECT 1",
    "SELECT 'a' + N'b', 0x1F, $1.5, 1e5, -3, +4, ~5, NULL",
    "SELECT @@VERSION, @@SPID AS spid",
    "SELECT a.b, c FROM s.a AS a, d WHERE a.x IN (1, 2) AND c NOT IN (SELECT y FROM z)",
    "SELECT * FROM t WHERE a LIKE '%!%%' ESCAPE '!' AND b NOT LIKE N'[a-c]%'",
    "SELECT * FROM t WHERE a BETWEEN 1 AND 2 OR NOT b NOT BETWEEN 3 AND 4",
    "SELECT * FROM t WHERE a IS NULL AND b IS NOT NULL AND c IS NOT DISTINCT FROM d",
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a) AND a > ALL (SELECT b FROM c)",
    "SELECT CASE WHEN a = 1 THEN 'x' ELSE 'y' END, CASE a WHEN 1 THEN 2 END FROM t",
    "SELECT IIF(a > b OR c = 1, a, b), COALESCE(a, b, 0), NULLIF(a, ''), ISNULL(a, b) FROM t",
    "SELECT CAST(a AS varchar(10)), TRY_CAST(a AS int), CONVERT(char(34), d, 121), TRY_CONVERT(date, 'x', 23) FROM t",
    "SELECT COUNT(*), COUNT(DISTINCT a), SUM(b), MAX(c) FROM t GROUP BY a, b + 1 HAVING COUNT(*) > 1",
    "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC, c), COUNT(*) OVER (), SUM(a) OVER (ORDER BY b ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM t",
    "SELECT STRING_AGG(a, ',') WITHIN GROUP (ORDER BY a) FROM t",
    "SELECT a COLLATE Latin1_General_BIN2 FROM t ORDER BY a COLLATE Latin1_General_CI_AS DESC",
    "SELECT a FROM t ORDER BY a OFFSET 10 ROWS FETCH NEXT 5 ROWS ONLY",
    "SELECT a FROM t ORDER BY 1 OFFSET @o ROW",
    "SELECT DISTINCT TOP 10 PERCENT a FROM t",
    "SELECT a FROM t UNION ALL SELECT b FROM u EXCEPT SELECT c FROM v INTERSECT SELECT d FROM w ORDER BY 1",
    "(SELECT 1) UNION (SELECT 2)",
    "SELECT (SELECT MAX(a) FROM t) + 1, ((SELECT 1) + 1), ((SELECT 2))",
    "WITH a (x, y) AS (SELECT 1, 2), b AS (SELECT * FROM a) SELECT * FROM b OPTION (MAXDOP 1, RECOMPILE)",
    "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (id, name)",
    "SELECT * FROM a INNER HASH JOIN b ON a.x = b.x FULL OUTER JOIN c ON c.x = a.x CROSS JOIN d",
    "SELECT * FROM a OUTER APPLY (SELECT TOP 1 * FROM b WHERE b.x = a.x ORDER BY y) z",
    "SELECT * FROM (a JOIN b ON a.x = b.x)",
    "SELECT * FROM (SELECT 1 AS x UNION ALL (SELECT 2)) d",
    "SELECT * FROM sys.fn_helpcollations() AS c WHERE name LIKE 'L%'",
    "SELECT value FROM STRING_SPLIT(@list, ',')",
    "SELECT ct.id, ct.SYS_CHANGE_OPERATION FROM CHANGETABLE(CHANGES dbo.t, @last) AS ct LEFT JOIN dbo.t AS t ON t.id = ct.id",
    "SELECT * FROM CHANGETABLE(VERSION dbo.t, (id), (@id)) AS v (a, b)",
    "SELECT * FROM cdc.fn_cdc_get_all_changes_dbo_t(@from, @to, N'all update old') ORDER BY __$start_lsn, __$seqval",
    "SELECT sys.fn_cdc_get_max_lsn(), MIN_ACTIVE_ROWVERSION(), CHANGE_TRACKING_CURRENT_VERSION()",
    "SELECT * INTO #copy FROM t WHERE 1 = 0",
    "SELECT @a = MAX(id), @b += 1 FROM t",
    "SELECT DATEADD(day, 1, a), DATEDIFF_BIG(ms, a, b), DATEPART(iso_week, a), DATENAME(dw, a) FROM t",
    "SELECT TRIM(a), TRIM('x' FROM a), LEFT(a, 1), RIGHT(a, 2) FROM t",
    "SELECT name FROM db.sys.tables WHERE object_id = OBJECT_ID(N'[s].[t]', 'U')",
    "SELECT CURRENT_TIMESTAMP, SYSTEM_USER, CURRENT_USER, USER",
    "SELECT t.$IDENTITY, IDENTITYCOL FROM t",
    "SELECT 1 AS [select], 2 'text alias', x = 3",
    "SELECT a FROM t WITH (TABLOCK) WHERE b = @p FOR XML PATH('')",
    "SELECT * FROM @t AS v JOIN t ON t.id = v.id",
    "SELECT offset, value, type FROM t",
    "SELECT {ts '2024-01-01 10:00:00'}, {d '2024-01-01'}, {fn NOW()}, {guid '00112233-4455-6677-8899-aabbccddeeff'}",
    "SELECT c.max_length, c.precision, scale, precision FROM sys.columns AS c",
];

const ROWS: &[&str] = &[
    "INSERT INTO t VALUES (1, DEFAULT), (2, NULL)",
    "INSERT t DEFAULT VALUES",
    "INSERT INTO t (a) VALUES (1) OPTION (RECOMPILE)",
    "INSERT INTO dbo.t WITH (TABLOCK) (a, b) OUTPUT inserted.id INTO @ids SELECT a, b FROM u",
    "INSERT INTO t (a) OUTPUT inserted.* VALUES (@p)",
    "INSERT INTO t (a) EXEC sp_foo 1",
    "INSERT @t EXEC('SELECT 1')",
    "INSERT INTO #t (a) (SELECT 1)",
    "INSERT TOP (5) INTO t SELECT * FROM u",
    "WITH s AS (SELECT 1 AS x) INSERT INTO t (a) SELECT x FROM s",
    "UPDATE t SET a = 1, b += 2, c = DEFAULT WHERE d = 3",
    "UPDATE TOP (10) t SET a = 1 OUTPUT deleted.a, inserted.a",
    "UPDATE T SET T.a = S.a OUTPUT inserted.id INTO #log FROM dbo.t AS T WITH (HOLDLOCK) INNER JOIN #s AS S ON S.id = T.id WHERE T.a <> S.a",
    "UPDATE t SET @old = a = a + 1, @new = a",
    "UPDATE dbo.t WITH (ROWLOCK) SET a = 1 FROM dbo.t",
    "DELETE t",
    "DELETE FROM t WHERE a = 1",
    "DELETE TOP (5) FROM t OUTPUT deleted.*",
    "DELETE T FROM dbo.t AS T JOIN s ON s.id = T.id",
    "DELETE FROM @t",
    "DELETE FROM t OUTPUT deleted.id INTO @d (id) WHERE x = 1",
    "WITH d AS (SELECT TOP (5) * FROM t ORDER BY a) DELETE FROM d",
    "WITH CHANGE_TRACKING_CONTEXT (0x1234) UPDATE t SET a = 1",
    "WITH CHANGE_TRACKING_CONTEXT (@ctx) MERGE t USING s ON t.a = s.a WHEN MATCHED THEN DELETE;",
    "MERGE t USING (VALUES (1)) AS s (a) ON t.a = s.a WHEN NOT MATCHED BY TARGET THEN INSERT DEFAULT VALUES;",
    "TRUNCATE TABLE dbo.t",
];

const FLOW: &[&str] = &[
    "DECLARE @a int = 1, @b AS nvarchar(max), @c decimal(10, 2)",
    "DECLARE @t TABLE (id int NOT NULL PRIMARY KEY, v nvarchar(10) DEFAULT 'x')",
    "SET @a = (SELECT MAX(x) FROM t); SET @a += 1",
    "IF OBJECT_ID('tempdb..#t') IS NOT NULL DROP TABLE #t",
    "IF EXISTS (SELECT 1) BEGIN SELECT 1; END; ELSE SELECT 2",
    "IF NOT EXISTS (SELECT * FROM sys.schemas WHERE name = 's') EXEC('CREATE SCHEMA s')",
    "WHILE @i < 10 BEGIN SET @i += 1 IF @i = 5 BREAK ELSE CONTINUE END",
    "BEGIN TRY SELECT 1/0 END TRY BEGIN CATCH SELECT ERROR_NUMBER() IF XACT_STATE() <> 0 ROLLBACK; THROW; END CATCH",
    "BEGIN TRY SELECT 1 END TRY BEGIN CATCH END CATCH;",
    "THROW 50001, N'message', 1",
    "RAISERROR('a %d %s', 16, 1, 5, @x) WITH NOWAIT, SETERROR",
    "RAISERROR (50001, 10, 1)",
    "PRINT 'a' + CAST(@x AS varchar(10))",
    "RETURN",
    "IF @a = 1 RETURN 5",
    "RETURN (1)",
    "EXEC sp_executesql N'SELECT @p', N'@p int', @p = 5",
    "EXECUTE dbo.p",
    "EXEC @name 1, 2",
    "EXEC (@sql)",
    "EXEC @rc = sp_getapplock @Resource = 'x', @LockMode = 'Exclusive', @LockTimeout = 0",
    "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', @role_name = NULL, @supports_net_changes = 1",
    "EXEC sp_emulator_clock @offset_ms = -5000",
    "WAITFOR DELAY '00:00:01'",
    "WAITFOR TIME @t",
    "BEGIN TRANSACTION t1 WITH MARK 'x'",
    "COMMIT",
    "COMMIT WORK",
    "COMMIT TRANSACTION t1 WITH (DELAYED_DURABILITY = ON)",
    "ROLLBACK",
    "ROLLBACK TRAN sp",
    "ROLLBACK TRANSACTION @name",
    "SAVE TRAN sp",
    "SET NOCOUNT ON",
    "SET XACT_ABORT, ANSI_NULLS, QUOTED_IDENTIFIER ON",
    "SET LOCK_TIMEOUT 5000",
    "SET LOCK_TIMEOUT -1",
    "SET DEADLOCK_PRIORITY LOW",
    "SET DEADLOCK_PRIORITY -5",
    "SET CONTEXT_INFO 0x01",
    "SET ROWCOUNT 10",
    "SET DATEFORMAT mdy",
    "SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
    "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    "SET IDENTITY_INSERT dbo.t ON",
    "SET STATISTICS IO, TIME OFF",
    "DBCC USEROPTIONS",
    "DBCC CHECKIDENT ('dbo.t', RESEED, 5) WITH NO_INFOMSGS",
    "KILL 55",
    "CHECKPOINT",
];

const DEFINITIONS: &[&str] = &[
    "CREATE TABLE #t (id int, rv ROWVERSION)",
    "CREATE TABLE t (a int NULL, b bit NOT NULL DEFAULT 0, c uniqueidentifier ROWGUIDCOL DEFAULT NEWID())",
    "CREATE TABLE t (a int, b int, CONSTRAINT pk PRIMARY KEY NONCLUSTERED (a ASC, b DESC))",
    "CREATE TABLE t (a dbo.MyType, b sysname, c xml, d sql_variant, e datetime2(3) NOT NULL CONSTRAINT df DEFAULT SYSUTCDATETIME())",
    "CREATE TABLE t (a int REFERENCES u, b int CONSTRAINT ck CHECK (b > 0), c int UNIQUE,)",
    "ALTER TABLE t ADD a int, b nvarchar(5) NOT NULL DEFAULT N'x'",
    "ALTER TABLE t ADD CONSTRAINT pk PRIMARY KEY (a)",
    "ALTER TABLE t ADD DEFAULT 5 FOR a",
    "ALTER TABLE t WITH NOCHECK ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES u (b)",
    "ALTER TABLE t ALTER COLUMN a nvarchar(20) COLLATE Latin1_General_BIN2 NOT NULL",
    "ALTER TABLE t DROP COLUMN a, b",
    "ALTER TABLE t DROP COLUMN IF EXISTS a",
    "ALTER TABLE t DROP CONSTRAINT c",
    "ALTER TABLE t DROP pk",
    "ALTER TABLE t NOCHECK CONSTRAINT ALL",
    "ALTER TABLE t WITH CHECK CHECK CONSTRAINT fk",
    "ALTER TABLE t DISABLE TRIGGER ALL",
    "ALTER TABLE t ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = ON)",
    "ALTER TABLE t REBUILD",
    "ALTER DATABASE d SET AUTO_CLOSE OFF, PAGE_VERIFY CHECKSUM, MULTI_USER WITH ROLLBACK IMMEDIATE",
    "CREATE UNIQUE CLUSTERED INDEX ix ON dbo.t (a, b DESC) WITH (FILLFACTOR = 80) ON [PRIMARY]",
    "CREATE NONCLUSTERED INDEX ix ON t (a) INCLUDE (b, c) WHERE a IS NOT NULL",
    "CREATE CLUSTERED COLUMNSTORE INDEX cci ON t",
    "ALTER INDEX ALL ON t REBUILD WITH (ONLINE = ON)",
    "DROP INDEX ix ON t",
    "DROP INDEX IF EXISTS ix ON t",
    "DROP INDEX t.ix",
    "DROP TABLE IF EXISTS a, dbo.b",
    "DROP VIEW v",
    "DROP PROCEDURE IF EXISTS p",
    "DROP SCHEMA s",
    "DROP DATABASE IF EXISTS d",
    "CREATE SCHEMA s AUTHORIZATION dbo",
    "CREATE DATABASE d COLLATE Latin1_General_CI_AS",
    "CREATE TYPE dbo.T FROM nvarchar(10) NOT NULL",
    "CREATE OR ALTER VIEW dbo.v (a) WITH SCHEMABINDING AS SELECT 1 UNION SELECT 2",
    "ALTER VIEW v AS WITH c AS (SELECT 1 a) SELECT * FROM c",
    "CREATE PROCEDURE p (@a int = 1, @b nvarchar(10) OUTPUT) WITH EXECUTE AS OWNER AS SET NOCOUNT ON; SELECT @a; RETURN 0",
    "CREATE TRIGGER tr ON t INSTEAD OF DELETE AS DELETE FROM t WHERE id IN (SELECT id FROM deleted)",
    "ENABLE TRIGGER tr ON t",
    "ALTER DATABASE d SET ALLOW_SNAPSHOT_ISOLATION ON",
    "ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE",
    "ALTER DATABASE d SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)",
    "ALTER DATABASE d SET COMPATIBILITY_LEVEL = 150",
    "ALTER DATABASE d SET RECOVERY SIMPLE, MULTI_USER",
    "ALTER DATABASE d MODIFY NAME = e",
    "CREATE LOGIN l WITH PASSWORD = 'x', DEFAULT_DATABASE = d, CHECK_POLICY = OFF",
    "CREATE USER u FOR LOGIN l",
    "CREATE USER u WITHOUT LOGIN WITH DEFAULT_SCHEMA = dbo",
    "ALTER ROLE db_owner ADD MEMBER u",
    "GRANT SELECT, INSERT ON dbo.t TO u",
    "GRANT EXECUTE ON SCHEMA::dbo TO u WITH GRANT OPTION",
    "DENY VIEW SERVER STATE TO l",
    "REVOKE SELECT ON OBJECT::dbo.t FROM u CASCADE",
    "GRANT CONTROL TO public",
    "CREATE STATISTICS s ON t (a)",
    "UPDATE STATISTICS t WITH FULLSCAN",
];

/// All of them.
pub(super) fn all() -> Vec<&'static str> {
    [DRIVERS, QUERIES, ROWS, FLOW, DEFINITIONS].concat()
}

#[test]
fn the_subset_parses() {
    let mut failures = Vec::new();
    for sql in all() {
        if let Err(error) = parse_batch(sql, true) {
            failures.push(format!("{sql}\n    {error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn statements_also_parse_one_after_another_without_semicolons() {
    let needs_own_batch = |sql: &&&str| {
        ["VIEW", "PROC", "TRIGGER tr ON t INSTEAD", "sp_who"]
            .iter()
            .any(|word| sql.contains(word))
            || sql.starts_with("MERGE")
    };
    let all = [QUERIES, ROWS, FLOW, DEFINITIONS].concat();
    for pair in all
        .iter()
        .filter(|sql| !needs_own_batch(sql))
        .collect::<Vec<_>>()
        .windows(2)
    {
        if pair[1].starts_with("WITH")
            || pair[1].starts_with('(')
            || pair[1].starts_with("THROW")
            || pair[1].starts_with("ENABLE")
        {
            continue;
        }
        let sql = format!("{}\n{}", pair[0], pair[1]);
        if let Err(error) = parse_batch(&sql, true) {
            panic!("{sql}\n    {error}");
        }
    }
}
