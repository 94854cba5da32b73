//! CREATE, ALTER, DROP and TRUNCATE over rows, and what the catalog says afterwards.

use crate::collect::{connect, engine, errors, query};

/// Each step: a batch, and what it gives.
fn check(steps: &[(&str, &str)]) {
    let engine = engine();
    let mut session = connect(&engine);
    for (sql, expect) in steps {
        assert_eq!(query(&mut session, sql), *expect, "{sql}");
    }
}

/// Their ids step by 16,000,057 and begin anew behind the greatest int.
#[test]
fn ids_do_not_run_out() {
    check(&[
        (
            "CREATE TABLE ids (id int PRIMARY KEY); DECLARE @i int = 0;
             WHILE @i < 300 BEGIN
                 CREATE TABLE t (a int); INSERT ids VALUES (OBJECT_ID('t')); DROP TABLE t; SET @i += 1
             END",
            "",
        ),
        ("SELECT COUNT(*), MIN(SIGN(id)) FROM ids", "300|1"),
    ]);
}

/// Columns as documented: hidden, ordinal, name, nullable, type, collation. Nothing is changed, and what is wrong is told.
#[test]
fn a_query_is_described_and_not_run() {
    let engine = engine();
    let mut session = connect(&engine);
    for (sql, expect) in [
        (
            "CREATE TABLE t (id int PRIMARY KEY, d decimal(9,2) NULL, n nvarchar(max) COLLATE Latin1_General_BIN2 NULL, v rowversion)",
            "",
        ),
        (
            "EXEC sys.sp_describe_first_result_set @tsql = N'SELECT id, d, n, v FROM t WHERE id > @a; SELECT 1 AS other', \
             @params = N'@a int', @browse_information_mode = 0",
            "0|1|id|0|int|NULL;0|2|d|1|decimal(9,2)|NULL;0|3|n|1|nvarchar(max)|Latin1_General_BIN2;0|4|v|0|timestamp|NULL",
        ),
        (
            "EXEC sp_describe_first_result_set N'DELETE t; SELECT GETDATE()'",
            "0|1|NULL|0|datetime|NULL",
        ),
        (
            "INSERT t (id) VALUES (1); EXEC sp_describe_first_result_set N'DELETE t'",
            "",
        ),
        ("SELECT COUNT(*) FROM t", "1"),
    ] {
        assert_eq!(query(&mut session, sql), expect, "{sql}");
    }
    for (sql, error) in [
        ("SELECT x FROM t", 207),
        ("SELECT id FROM nobody", 208),
        ("SELECT id FROM t WHERE", 102),
        ("SELECT id FROM (SELECT id FROM t ORDER BY id) AS x", 1033),
        ("SELECT id FROM (SELECT id INTO y FROM t) AS x", 156),
    ] {
        let describe = format!("EXEC sp_describe_first_result_set N'{sql}'");
        assert_eq!(errors(&mut session, &describe), [error], "{sql}");
    }
}

#[test]
fn columns_come_and_go_with_their_rows() {
    check(&[
        (
            "CREATE TABLE t (id int PRIMARY KEY, a varchar(5) NULL); INSERT t VALUES (1, 'x'), (2, NULL)",
            "",
        ),
        (
            "ALTER TABLE t ADD b int NOT NULL DEFAULT 7, c int NULL DEFAULT 8, d AS id * 10",
            "",
        ),
        ("SELECT * FROM t ORDER BY id", "1|x|7|NULL|10;2|NULL|7|NULL|20"),
        (
            "ALTER TABLE t DROP COLUMN a; INSERT t (id) VALUES (3); SELECT * FROM t ORDER BY id",
            "1|7|NULL|10;2|7|NULL|20;3|7|8|30",
        ),
        (
            "ALTER TABLE t ALTER COLUMN c nvarchar(10) NULL; SELECT c FROM t WHERE id = 3",
            "8",
        ),
        (
            "ALTER TABLE t ADD n int IDENTITY(5,5); SELECT COUNT(DISTINCT n), MIN(n), MAX(n) FROM t",
            "3|5|15",
        ),
        ("INSERT t (id) VALUES (4); SELECT n FROM t WHERE id = 4", "20"),
        (
            "ALTER TABLE t ADD v rowversion; SELECT COUNT(DISTINCT v) FROM t",
            "4",
        ),
    ]);
}

#[test]
fn definitions_that_the_rows_contradict_are_refused() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE t (id int NOT NULL, a varchar(5) NULL); INSERT t VALUES (1, 'abc'), (1, NULL)",
    );
    for (sql, number) in [
        ("ALTER TABLE t ADD b int NOT NULL", 4901),
        ("ALTER TABLE t ADD CONSTRAINT pk PRIMARY KEY (id)", 1505),
        ("CREATE UNIQUE INDEX i ON t (id)", 1505),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (id > 1)", 547),
        ("ALTER TABLE t ALTER COLUMN a varchar(2) NULL", 2628),
        ("ALTER TABLE t ALTER COLUMN a varchar(5) NOT NULL", 515),
        ("ALTER TABLE t ALTER COLUMN a int NULL", 245),
        ("ALTER TABLE nothing ADD b int", 4902),
        ("TRUNCATE TABLE nothing", 4701),
        ("DROP TABLE nothing", 3701),
        ("DROP INDEX i ON t", 3701),
        ("CREATE TABLE t (id int)", 2714),
        ("CREATE TABLE nowhere.t (id int)", 2760),
        ("CREATE SCHEMA dbo", 2714),
        ("CREATE DATABASE db", 1801),
        ("ALTER DATABASE nothing SET RECOVERY SIMPLE", 5011),
        ("CREATE VIEW v AS SELECT x FROM t", 207),
        ("CREATE TRIGGER g ON nothing AFTER INSERT AS PRINT 1", 8197),
    ] {
        assert_eq!(errors(&mut session, sql), [number], "{sql}");
        let rows = query(&mut session, "SELECT id, a FROM t ORDER BY a");
        assert_eq!(rows, "1|NULL;1|abc", "after {sql}");
    }
}

#[test]
fn a_rollback_takes_definitions_back() {
    check(&[
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT t VALUES (1, 2)",
            "",
        ),
        (
            "BEGIN TRAN; INSERT t VALUES (5, 6); ALTER TABLE t ADD b int NULL; UPDATE t SET b = 1; CREATE TABLE u (id int); \
             CREATE INDEX i ON t (a); TRUNCATE TABLE t; INSERT t VALUES (9, 9, 9); DROP TABLE t; ROLLBACK; \
             SELECT * FROM t",
            "1|2",
        ),
        (
            "SELECT OBJECT_ID('u'), COUNT(*) FROM sys.indexes WHERE object_id = OBJECT_ID('t')",
            "NULL|1",
        ),
        (
            "BEGIN TRAN; CREATE TABLE #x (id int); ROLLBACK; CREATE TABLE #x (id int, y int); SELECT COUNT(*) FROM #x",
            "0",
        ),
        (
            "BEGIN TRAN; DROP TABLE t; CREATE TABLE t (other int); COMMIT; SELECT name FROM sys.columns WHERE object_id = OBJECT_ID('t')",
            "other",
        ),
    ]);
}

#[test]
fn foreign_keys_bind_tables() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE p (id int PRIMARY KEY, parent int NULL REFERENCES p (id)); INSERT p VALUES (1, NULL), (2, 1); \
         CREATE TABLE c (id int PRIMARY KEY, p int NULL CONSTRAINT fk REFERENCES p (id)); INSERT c VALUES (1, 2)",
    );
    for (sql, number) in [
        ("DROP TABLE p", 3726),
        ("TRUNCATE TABLE p", 4712),
        ("INSERT c VALUES (2, 9)", 547),
        ("INSERT p VALUES (3, 9)", 547),
        (
            "INSERT INTO c VALUES (7, NULL); ALTER TABLE c ADD q int NOT NULL DEFAULT 9 CONSTRAINT fq REFERENCES p (id)",
            547,
        ),
    ] {
        assert_eq!(errors(&mut session, sql), [number], "{sql}");
    }
    query(
        &mut session,
        "DELETE c WHERE id = 1; DELETE p WHERE id = 2; ALTER TABLE c DROP CONSTRAINT fk; INSERT c VALUES (3, 99)",
    );
    assert_eq!(query(&mut session, "SELECT id FROM c ORDER BY id"), "3;7");
}

#[test]
fn the_catalog_knows_what_was_defined() {
    check(&[
        (
            "CREATE SCHEMA s; CREATE TABLE s.t (id int NOT NULL CONSTRAINT pk PRIMARY KEY NONCLUSTERED, \
             n nvarchar(10) NOT NULL CONSTRAINT df DEFAULT N'x', m decimal(9,2) NULL, v rowversion, b varbinary(max) NULL); \
             CREATE UNIQUE CLUSTERED INDEX cx ON s.t (n DESC, id) ; CREATE INDEX ix ON s.t (m) INCLUDE (b) WHERE m > 0",
            "",
        ),
        (
            "SELECT c.name, t.name, c.max_length, c.precision, c.scale, c.is_nullable FROM sys.columns c \
             JOIN sys.types t ON t.user_type_id = c.user_type_id WHERE c.object_id = OBJECT_ID('s.t') ORDER BY column_id",
            "id|int|4|10|0|0;n|nvarchar|20|0|0|0;m|decimal|5|9|2|1;v|timestamp|8|0|0|0;b|varbinary|-1|0|0|1",
        ),
        (
            "SELECT i.name, i.type_desc, i.is_unique, i.is_primary_key, i.has_filter FROM sys.indexes i \
             WHERE i.object_id = OBJECT_ID('[s].[t]') ORDER BY i.name",
            "cx|CLUSTERED|1|0|0;ix|NONCLUSTERED|0|0|1;pk|NONCLUSTERED|1|1|0",
        ),
        (
            "SELECT c.name, k.is_descending_key, k.is_included_column FROM sys.index_columns k JOIN sys.columns c \
             ON c.object_id = k.object_id AND c.column_id = k.column_id JOIN sys.indexes i ON i.object_id = k.object_id \
             AND i.index_id = k.index_id WHERE i.name IN ('cx', 'ix') ORDER BY i.name, k.index_column_id",
            "n|1|0;id|0|0;m|0|0;b|0|1",
        ),
        (
            "SELECT name, definition FROM sys.default_constraints",
            "df|(N'x')",
        ),
        (
            "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, IS_NULLABLE FROM INFORMATION_SCHEMA.COLUMNS \
             WHERE TABLE_SCHEMA = 's' AND COLUMN_NAME IN ('n', 'b') ORDER BY ORDINAL_POSITION",
            "n|nvarchar|10|NO;b|varbinary|-1|YES",
        ),
        (
            "SELECT CONSTRAINT_NAME, CONSTRAINT_TYPE FROM INFORMATION_SCHEMA.TABLE_CONSTRAINTS WHERE TABLE_NAME = 't'",
            "pk|PRIMARY KEY",
        ),
        (
            "SELECT COUNT(*) FROM tempdb.sys.columns WHERE object_id = OBJECT_ID('tempdb..#none')",
            "0",
        ),
        (
            "CREATE TABLE #here (a int, b int); SELECT name FROM tempdb.sys.columns WHERE object_id = OBJECT_ID('tempdb..#here') ORDER BY column_id",
            "a;b",
        ),
        (
            "DROP TABLE s.t; DROP SCHEMA s; SELECT COUNT(*) FROM sys.objects",
            "0",
        ),
    ]);
}

#[test]
fn a_column_is_renamed_unless_something_holds_it() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE t (id int PRIMARY KEY, a int NULL, b int CHECK (b > 0), c int NULL); CREATE INDEX by_a ON t (a);
         INSERT t VALUES (1, 2, 3, 4)",
    );
    query(
        &mut session,
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON; ALTER TABLE t ENABLE CHANGE_TRACKING;
         EXEC sp_rename 'dbo.t.a', 'renamed', 'COLUMN'; EXEC sp_rename N't.[id]', N'key', N'COLUMN'",
    );
    assert_eq!(
        query(&mut session, "SELECT [key], renamed FROM t WHERE renamed = 2"),
        "1|2"
    );
    assert_eq!(
        query(
            &mut session,
            "SELECT column_id FROM sys.columns WHERE object_id = OBJECT_ID('t') AND name = 'renamed'"
        ),
        "2"
    );
    for (sql, number) in [
        ("EXEC sp_rename 'dbo.t.nothing', 'x', 'COLUMN'", 15_248),
        ("EXEC sp_rename 'dbo.nothing.a', 'x', 'COLUMN'", 15_248),
        ("EXEC sp_rename 'dbo.t.renamed', 'c', 'COLUMN'", 15_335),
        ("EXEC sp_rename 'dbo.t.b', 'x', 'COLUMN'", 15_336),
    ] {
        assert_eq!(errors(&mut session, sql), [number], "{sql}");
    }
    query(
        &mut session,
        "EXEC sys.sp_cdc_enable_db; EXEC sys.sp_cdc_enable_table @source_schema = 'dbo', @source_name = 't', @role_name = NULL;
         ALTER TABLE t ADD later int NULL",
    );
    assert_eq!(
        errors(&mut session, "EXEC sp_rename 'dbo.t.renamed', 'x', 'COLUMN'"),
        [4928]
    );
    query(&mut session, "EXEC sp_rename 'dbo.t.later', 'latest', 'COLUMN'");
}

#[test]
fn a_renamed_table_keeps_what_knows_it_by_its_number() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE before (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY REFERENCES before);
         CREATE TABLE other (id int); INSERT before VALUES (1)",
    );
    query(
        &mut session,
        "CREATE TRIGGER tells ON before AFTER INSERT AS SELECT id FROM inserted",
    );
    let count = "SELECT COUNT(*) FROM before";
    assert_eq!(query(&mut session, count), "1");
    query(
        &mut session,
        "BEGIN TRAN; EXEC sp_rename 'before', 'after'; SELECT * FROM after; ROLLBACK",
    );
    assert_eq!(query(&mut session, count), "1");
    query(&mut session, "EXEC sp_rename 'dbo.before', 'after', 'OBJECT'");
    assert_eq!(errors(&mut session, count), [208]);
    assert_eq!(query(&mut session, "INSERT after VALUES (2)"), "2");
    assert_eq!(errors(&mut session, "INSERT child VALUES (3)"), [547]);
    assert_eq!(
        query(&mut session, "SELECT OBJECT_NAME(parent_id) FROM sys.triggers"),
        "after"
    );
    for (sql, number) in [
        ("EXEC sp_rename 'before', 'x'", 15_225),
        ("EXEC sp_rename 'after', 'other'", 15_335),
    ] {
        assert_eq!(errors(&mut session, sql), [number], "{sql}");
    }
    query(&mut session, "CREATE TABLE before (id int)");
}
