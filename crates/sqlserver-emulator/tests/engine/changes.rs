//! INSERT, UPDATE, DELETE, MERGE, constraints and their errors.

use crate::collect::{connect, engine, errors, query, run};

#[test]
fn changes_and_their_output() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int IDENTITY(1,1) PRIMARY KEY, name nvarchar(5) NOT NULL DEFAULT 'x', n int NULL, rv rowversion)",
    );
    for (sql, expected) in [
        (
            "INSERT INTO t (n) OUTPUT inserted.id, inserted.name VALUES (5), (6)",
            "1|x;2|x",
        ),
        (
            "UPDATE t SET n += 1, name = 'y' OUTPUT deleted.n, inserted.n, inserted.name WHERE id = 1",
            "5|6|y",
        ),
        ("DELETE FROM t OUTPUT deleted.id WHERE n = 6 AND id = 1", "1"),
        (
            "INSERT INTO t DEFAULT VALUES; SELECT SCOPE_IDENTITY(), @@ROWCOUNT, @@IDENTITY",
            "3|1|3",
        ),
        ("SELECT id, name, n FROM t ORDER BY id", "2|x|6;3|x|NULL"),
        (
            "UPDATE a SET n = b.n FROM t a JOIN t b ON b.id = a.id - 1; SELECT n FROM t ORDER BY id",
            "6;6",
        ),
        (
            "DECLARE @o TABLE (id int, act nvarchar(10)); INSERT INTO t (name) OUTPUT inserted.id, 'ins' INTO @o VALUES ('z'); SELECT * FROM @o",
            "4|ins",
        ),
        (
            "SELECT id, n INTO #c FROM t; SELECT COUNT(*) FROM #c; DROP TABLE #c",
            "3",
        ),
        ("DELETE a FROM t a WHERE a.id = 4; SELECT COUNT(*) FROM t", "2"),
        (
            "INSERT INTO t (name, n) SELECT name, n FROM t; SELECT COUNT(*), MAX(id) FROM t",
            "4|6",
        ),
        (
            "SELECT name FROM t WHERE rv > 0x00 ORDER BY rv DESC OFFSET 0 ROWS FETCH NEXT 1 ROWS ONLY",
            "x",
        ),
    ] {
        assert_eq!(query(&mut s, sql), expected, "{sql}");
    }
}

#[test]
fn merge_upserts_and_reports_its_actions() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(9)); INSERT t VALUES (1,'a'),(2,'b'),(3,'c')",
    );
    let merge = "MERGE INTO t WITH (HOLDLOCK) AS T USING (VALUES (1,'A',0),(4,'d',0),(2,'',1)) AS S(id, v, del) ON T.id = S.id
        WHEN MATCHED AND S.del = 1 THEN DELETE
        WHEN MATCHED THEN UPDATE SET v = S.v
        WHEN NOT MATCHED THEN INSERT (id, v) VALUES (S.id, S.v)";
    assert_eq!(
        query(
            &mut s,
            &format!(
                "DECLARE @a TABLE (act nvarchar(10), o int, n int); {merge} OUTPUT $action, deleted.id, inserted.id INTO @a; SELECT * FROM @a ORDER BY act"
            )
        ),
        "DELETE|2|NULL;INSERT|NULL|4;UPDATE|1|1"
    );
    assert_eq!(query(&mut s, "SELECT id, v FROM t ORDER BY id"), "1|A;3|c;4|d");
    let again =
        "MERGE t AS T USING (VALUES (1),(1)) AS S(id) ON T.id = S.id WHEN MATCHED THEN UPDATE SET v = 'z';";
    assert_eq!(errors(&mut s, again), [8672]);
    assert_eq!(errors(&mut s, merge), [10713]);
    query(
        &mut s,
        "MERGE t AS T USING (VALUES (1)) AS S(id) ON T.id = S.id WHEN NOT MATCHED BY SOURCE THEN DELETE;",
    );
    assert_eq!(query(&mut s, "SELECT id FROM t"), "1");
}

#[test]
fn constraints_answer_with_their_numbers_and_undo_only_the_statement() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (k varchar(3) NOT NULL PRIMARY KEY, u int NULL, c int NULL CHECK (c > 0), s tinyint NULL);
         CREATE UNIQUE INDEX ux ON t (u);
         CREATE TABLE child (k varchar(3) NOT NULL REFERENCES t (k));
         INSERT t (k, u) VALUES ('a', 1), ('b', NULL); INSERT child VALUES ('a')",
    );
    for (sql, expected) in [
        ("INSERT t (k, u) VALUES ('A ', 9)", 2627),
        ("INSERT t (k, u) VALUES ('c', 1)", 2601),
        ("INSERT t (k, u) VALUES ('c', NULL)", 2601),
        ("INSERT t (k) VALUES (NULL)", 515),
        ("INSERT t (k, u, c) VALUES ('c', 5, 0)", 547),
        ("INSERT t (k, u) VALUES ('long', 5)", 2628),
        ("INSERT t (k, u, s) VALUES ('c', 5, 256)", 220),
        ("INSERT child VALUES ('zz')", 547),
        ("DELETE t WHERE k = 'a'", 547),
        ("INSERT nowhere VALUES (1)", 208),
        ("SELECT nothing FROM t", 207),
        ("SELECT x.k FROM t", 4104),
        ("SELECT k FROM t a JOIN t b ON a.k = b.k", 209),
    ] {
        assert_eq!(errors(&mut s, sql), [expected], "{sql}");
    }
    assert_eq!(query(&mut s, "SELECT COUNT(*) FROM t"), "2");
    // The statement is undone as a whole, the batch goes on.
    let out = run(
        &mut s,
        "BEGIN TRAN; INSERT t (k, u) VALUES ('x', 7); INSERT t (k, u) VALUES ('y', 8), ('a', 9); SELECT @@TRANCOUNT; COMMIT",
    );
    assert_eq!((out.errors(), out.text()), (vec![2627], "1".to_owned()));
    assert_eq!(query(&mut s, "SELECT COUNT(*) FROM t"), "3");
}

#[test]
fn identity_values_are_lost_with_a_rollback() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int IDENTITY(10,5), v int); BEGIN TRAN; INSERT t VALUES (1); ROLLBACK; INSERT t VALUES (2)",
    );
    assert_eq!(query(&mut s, "SELECT id FROM t"), "15");
    assert_eq!(errors(&mut s, "INSERT t (id, v) VALUES (1, 1)"), [544]);
    query(
        &mut s,
        "SET IDENTITY_INSERT t ON; INSERT t (id, v) VALUES (100, 1); SET IDENTITY_INSERT t OFF; INSERT t VALUES (3)",
    );
    assert_eq!(query(&mut s, "SELECT id FROM t ORDER BY id"), "15;100;105");
    assert_eq!(query(&mut s, "SELECT IDENT_CURRENT('t')"), "105");
    query(&mut s, "DBCC CHECKIDENT ('t', RESEED, 300); INSERT t VALUES (4)");
    assert_eq!(query(&mut s, "SELECT MAX(id) FROM t"), "305");
}

#[test]
fn errors_and_control_flow() {
    let engine = engine();
    let mut s = connect(&engine);
    query(&mut s, "CREATE TABLE t (id int PRIMARY KEY)");
    for (sql, expected) in [
        (
            "BEGIN TRY INSERT t VALUES (1),(1) END TRY BEGIN CATCH SELECT ERROR_NUMBER(), XACT_STATE() END CATCH",
            "2627|0",
        ),
        (
            "SET XACT_ABORT ON; BEGIN TRY BEGIN TRAN; INSERT t VALUES (1),(1) END TRY BEGIN CATCH SELECT ERROR_NUMBER(), XACT_STATE(); ROLLBACK END CATCH; SET XACT_ABORT OFF",
            "2627|-1",
        ),
        (
            "DECLARE @i int = 0; WHILE @i < 5 BEGIN SET @i += 1; IF @i = 3 BREAK; END; SELECT @i",
            "3",
        ),
        (
            "BEGIN TRY THROW 50001, 'mine', 3 END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_MESSAGE(), ERROR_STATE() END CATCH",
            "50001|mine|3",
        ),
        (
            "BEGIN TRY RAISERROR('a %s %d', 16, 2, 'b', 7) END TRY BEGIN CATCH SELECT ERROR_NUMBER(), ERROR_MESSAGE(), ERROR_SEVERITY() END CATCH",
            "50000|a b 7|16",
        ),
        (
            "DECLARE @n int; EXEC sp_executesql N'SELECT @o = @a + 1', N'@a int, @o int OUTPUT', @a = 4, @o = @n OUTPUT; SELECT @n",
            "5",
        ),
        ("EXEC ('SELECT 7')", "7"),
        (
            "BEGIN TRAN; BEGIN TRAN; COMMIT; SELECT @@TRANCOUNT; ROLLBACK; SELECT @@TRANCOUNT",
            "1\n0",
        ),
        (
            "BEGIN TRAN; INSERT t VALUES (5); SAVE TRAN p; INSERT t VALUES (6); ROLLBACK TRAN p; COMMIT; SELECT id FROM t",
            "5",
        ),
        (
            "SET NOCOUNT ON; UPDATE t SET id = id; SELECT @@ROWCOUNT; SET NOCOUNT OFF",
            "1",
        ),
        ("SELECT @@OPTIONS & 512", "0"),
    ] {
        assert_eq!(query(&mut s, sql), expected, "{sql}");
    }
    // Nothing runs of a batch with a syntax error; 208 comes only when reached.
    assert_eq!(run(&mut s, "SELECT 1; SELEC 2").text(), "");
    let out = run(&mut s, "SELECT 1; SELECT * FROM nowhere; SELECT 2");
    assert_eq!((out.text(), out.errors()), ("1".to_owned(), vec![208]));
    let out = run(
        &mut s,
        "BEGIN TRY THROW 50002, 'up', 1 END TRY BEGIN CATCH THROW; END CATCH; SELECT 1",
    );
    assert_eq!((out.text(), out.errors()), (String::new(), vec![50_002]));
    let out = run(&mut s, "EXEC ('SELECT * FROM nowhere; SELECT 1'); SELECT 2");
    assert_eq!((out.text(), out.errors()), ("2".to_owned(), vec![208]));
    let doomed = "SET XACT_ABORT ON; BEGIN TRAN; BEGIN TRY INSERT t VALUES (5) END TRY BEGIN CATCH INSERT t VALUES (9) END CATCH";
    assert_eq!(errors(&mut s, doomed), [3930]);
    assert_eq!(query(&mut s, "SELECT @@TRANCOUNT"), "0");
}

#[test]
fn keys_are_compared_when_the_whole_statement_is_done() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT t VALUES (1, 1), (2, 2), (3, 3)",
    );
    query(&mut s, "UPDATE t SET id = id + 1");
    query(
        &mut s,
        "UPDATE t SET id = CASE id WHEN 2 THEN 3 WHEN 3 THEN 2 ELSE id END",
    );
    assert_eq!(query(&mut s, "SELECT id, v FROM t ORDER BY id"), "2|2;3|1;4|3");
    assert_eq!(errors(&mut s, "UPDATE t SET id = 9"), [2627]);
    assert_eq!(query(&mut s, "SELECT id, v FROM t ORDER BY id"), "2|2;3|1;4|3");
}

#[test]
fn a_filtered_index_is_unique_among_its_rows_only() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int, gone bit NOT NULL, name varchar(9) NULL); CREATE UNIQUE INDEX ux ON t (id) WHERE gone = 0 AND name IS NOT NULL",
    );
    query(
        &mut s,
        "INSERT t VALUES (1, 0, 'a'), (1, 1, 'a'), (1, 1, 'b'), (1, 0, NULL), (1, 0, NULL)",
    );
    assert_eq!(errors(&mut s, "INSERT t VALUES (1, 0, 'c')"), [2601]);
    assert_eq!(errors(&mut s, "UPDATE t SET gone = 0 WHERE name = 'b'"), [2601]);
    query(
        &mut s,
        "DELETE t WHERE gone = 0 AND name = 'a'; UPDATE t SET gone = 0 WHERE name = 'b'",
    );
    assert_eq!(query(&mut s, "SELECT COUNT(*) FROM t WHERE gone = 0"), "3");
}

/// A CHECK constraint has to see the whole row; without one only what is set is written. Both have the same outcome.
#[test]
fn updates_of_some_columns_leave_the_others_and_their_indexes() {
    let engine = engine();
    let mut s = connect(&engine);
    let columns = "id int NOT NULL PRIMARY KEY, name nvarchar(5) NOT NULL, kind char(2) NULL, code varchar(3) NULL, n int NULL";
    for (table, check) in [("alone", ""), ("whole", ", CHECK (id > 0)")] {
        query(
            &mut s,
            &format!(
                "CREATE TABLE {table} ({columns}{check}); CREATE INDEX by_kind ON {table} (kind, name); \
                 CREATE INDEX filtered ON {table} (n) WHERE code IS NOT NULL; \
                 INSERT {table} VALUES (1, N'a', 'x', NULL, 1), (2, N'b', 'x', '', 2), (3, N'Ж', NULL, 'c', NULL)"
            ),
        );
    }
    let rows = "SELECT id, name, kind, code, n FROM {} ORDER BY id; \
                SELECT id FROM {} WHERE kind = 'x' ORDER BY id; \
                SELECT id FROM {} WHERE kind = 'y' AND name > 'a' ORDER BY id; \
                SELECT id FROM {} WITH (INDEX (filtered)) WHERE n >= 0 AND code IS NOT NULL ORDER BY id";
    for (update, numbers) in [
        ("UPDATE {} SET kind = 'y' WHERE id < 3", &[] as &[i32]),
        ("UPDATE {} SET code = 'k', n = n + 10", &[]),
        ("UPDATE {} SET code = NULL, kind = NULL WHERE n > 11", &[]),
        ("UPDATE {} SET name = NULL", &[515]),
        ("UPDATE {} SET name = N'too long'", &[2628]),
        ("UPDATE {} SET code = 'ab   ', name = N'c   ' WHERE id = 3", &[]),
        (
            "BEGIN TRANSACTION; UPDATE {} SET kind = 'z', n = 0; UPDATE {} SET kind = 'x'; ROLLBACK",
            &[],
        ),
        ("UPDATE {} SET n = id, kind = code, code = kind", &[]),
    ] {
        let of = |table: &str, sql: &str| sql.replace("{}", table);
        let before = query(&mut s, &of("alone", rows));
        for table in ["alone", "whole"] {
            match numbers {
                [] => drop(query(&mut s, &of(table, update))),
                numbers => assert_eq!(errors(&mut s, &of(table, update)), *numbers, "{update}"),
            }
        }
        let after = query(&mut s, &of("alone", rows));
        assert_eq!(after, query(&mut s, &of("whole", rows)), "{update}");
        let changes = numbers.is_empty() && !update.contains("ROLLBACK");
        assert_eq!(before != after, changes, "{update}");
    }
}
