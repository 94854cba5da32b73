//! Table types, their variables, and tables as arguments.

use sqlserver_emulator::{Param, Session, SqlType, TableValue, TypeInfo, Value};

use crate::collect::{Collected, connect, engine, errors, query, run};

const LINES: &str = "CREATE TYPE dbo.Lines AS TABLE (
    id int NOT NULL PRIMARY KEY, name nvarchar(10) NULL DEFAULT N'none', twice AS id * 2, CHECK (id > 0))";

fn scalar(name: &str, ty: SqlType, value: Value) -> Param {
    let info = TypeInfo::new(ty);
    Param {
        name: name.to_owned(),
        ty: info.ty,
        collation: info.collation,
        value,
        output: false,
        table: None,
    }
}

fn text(value: &str) -> Param {
    scalar("", SqlType::NText, Value::text(value))
}

fn table(name: &str, table: TableValue) -> Param {
    Param {
        table: Some(table),
        ..scalar(name, SqlType::Null, Value::Null)
    }
}

/// Of `Lines`: identities, names, and no value for the computed column.
fn lines(rows: &[(i32, Option<&str>)]) -> TableValue {
    let name = TypeInfo::new(SqlType::NText);
    let columns = vec![Some(TypeInfo::new(SqlType::Int)), Some(name), None];
    let rows: Vec<_> = rows
        .iter()
        .map(|(id, name)| vec![Value::Int(*id), name.map_or(Value::Null, Value::text)])
        .collect();
    TableValue::new(columns, &rows)
}

fn call(session: &mut Session, procedure: &str, params: Vec<Param>) -> Collected {
    let mut out = Collected::default();
    session.call(procedure, params, &mut out);
    out
}

fn select(session: &mut Session, sql: &str, rows: TableValue) -> Collected {
    let declared = text("@lines dbo.Lines READONLY");
    call(
        session,
        "sp_executesql",
        vec![text(sql), declared, table("@lines", rows)],
    )
}

#[test]
fn a_client_sends_a_table() {
    let engine = engine();
    let mut s = connect(&engine);
    run(&mut s, LINES);
    let sent = lines(&[(2, Some("b")), (1, None)]);
    let out = select(
        &mut s,
        "SELECT id, name, twice FROM @lines ORDER BY id",
        sent.clone(),
    );
    assert_eq!(out.text(), "1|NULL|2;2|b|4");
    run(&mut s, "CREATE TABLE dbo.kept (id int, name nvarchar(10))");
    run(
        &mut s,
        "CREATE PROCEDURE dbo.keep @factor int, @lines dbo.Lines READONLY AS
         INSERT INTO dbo.kept SELECT id * @factor, name FROM @lines; RETURN @@ROWCOUNT",
    );
    let factor = scalar("@factor", SqlType::Int, Value::Int(10));
    let out = call(&mut s, "dbo.keep", vec![factor.clone(), table("@lines", sent)]);
    assert_eq!((out.status, out.errors()), (Some(2), vec![]));
    assert_eq!(
        query(&mut s, "SELECT id, name FROM dbo.kept ORDER BY id"),
        "10|NULL;20|b"
    );
    // What is not given, and what is NULL, has no rows.
    let nothing = TableValue::new(vec![], &[]);
    for params in [
        vec![factor.clone()],
        vec![factor.clone(), table("@lines", nothing)],
    ] {
        assert_eq!(call(&mut s, "dbo.keep", params).status, Some(0));
    }
    // The same by a handle, twice.
    let handle = scalar("@handle", SqlType::Int, Value::Null);
    let prepared = call(
        &mut s,
        "sp_prepare",
        vec![
            handle,
            text("@lines dbo.Lines READONLY"),
            text("SELECT COUNT(*) FROM @lines"),
        ],
    );
    for rows in [&[(1, None), (2, None)][..], &[(3, None)]] {
        let handle = Param {
            value: prepared.returned[0].value.clone(),
            ..scalar("", SqlType::Int, Value::Null)
        };
        let out = call(&mut s, "sp_execute", vec![handle, table("@lines", lines(rows))]);
        assert_eq!(out.text(), rows.len().to_string());
    }
}

#[test]
fn what_a_table_must_not_hold_is_refused() {
    let engine = engine();
    let mut s = connect(&engine);
    run(&mut s, LINES);
    let int = Some(TypeInfo::new(SqlType::Int));
    let narrow = TableValue::new(vec![int], &[vec![Value::Int(1)]]);
    let mut number = |rows: TableValue| {
        let out = select(&mut s, "SELECT 1 FROM @lines", rows);
        assert_eq!(out.text(), "");
        out.errors()
    };
    assert_eq!(number(lines(&[(1, None), (1, None)])), [2627]);
    assert_eq!(number(lines(&[(0, None)])), [547]);
    assert_eq!(number(lines(&[(1, Some("longer than ten"))])), [2628]);
    assert_eq!(number(narrow), [500]);
    let wide = TypeInfo::new(SqlType::BigInt);
    let beyond = TableValue::new(vec![Some(wide), None, None], &[vec![Value::BigInt(1 << 40)]]);
    assert_eq!(number(beyond), [8115]);
    let written = select(&mut s, "DELETE FROM @lines", lines(&[(1, None)]));
    assert_eq!(written.errors(), [10700]);
    let wrong = call(
        &mut s,
        "sp_executesql",
        vec![
            text("SELECT 1"),
            text("@lines dbo.Lines READONLY"),
            text("no table"),
        ],
    );
    assert_eq!(wrong.errors(), [206]);
    let wrong = call(
        &mut s,
        "sp_executesql",
        vec![text("SELECT 1"), text("@number int"), table("", lines(&[]))],
    );
    assert_eq!(wrong.errors(), [206]);
}

#[test]
fn variables_of_a_type_go_from_one_procedure_to_another() {
    let engine = engine();
    let mut s = connect(&engine);
    run(&mut s, LINES);
    run(&mut s, "CREATE TYPE dbo.Others AS TABLE (id int)");
    run(
        &mut s,
        "CREATE PROCEDURE dbo.inner_one @lines dbo.Lines READONLY AS SELECT SUM(twice) FROM @lines",
    );
    run(
        &mut s,
        "CREATE PROCEDURE dbo.outer_one @lines Lines READONLY AS EXEC dbo.inner_one @lines; EXEC dbo.inner_one @lines = @lines",
    );
    let declared = "DECLARE @l dbo.Lines; INSERT INTO @l (id) VALUES (1), (2); ";
    assert_eq!(
        query(&mut s, &format!("{declared} SELECT name FROM @l WHERE id = 1")),
        "none"
    );
    let out = query(
        &mut s,
        &format!("{declared} EXEC dbo.outer_one @l; SELECT COUNT(*) FROM @l"),
    );
    assert_eq!(out, "6\n6\n2");
    let dynamic = "EXEC sp_executesql N'SELECT MAX(id) FROM @x', N'@x dbo.Lines READONLY', @x = @l";
    assert_eq!(query(&mut s, &format!("{declared} {dynamic}")), "2");
    for (sql, number) in [
        ("DECLARE @o dbo.Others; EXEC dbo.inner_one @o", 206),
        ("DECLARE @o TABLE (id int); EXEC dbo.inner_one @o", 206),
        ("EXEC dbo.inner_one 1", 206),
        ("DECLARE @o dbo.Nothing", 2715),
        ("CREATE PROCEDURE dbo.p @l dbo.Lines AS SELECT 1", 352),
        ("CREATE PROCEDURE dbo.p @l dbo.Nothing READONLY AS SELECT 1", 2715),
        ("CREATE PROCEDURE dbo.p @l int READONLY AS SELECT 1", 346),
        ("CREATE TYPE dbo.Lines AS TABLE (id int)", 219),
        ("CREATE TYPE dbo.Twice AS TABLE (id int, id int)", 2705),
        ("DROP TYPE dbo.Nothing", 218),
        ("DROP TYPE dbo.Lines", 3732),
    ] {
        assert_eq!(errors(&mut s, sql), [number], "{sql}");
    }
    for change in [
        "INSERT INTO @l (id) VALUES (9)",
        "UPDATE @l SET name = N''x''",
        "DELETE FROM @l",
        "MERGE @l AS t USING (SELECT 1 AS id) AS s ON s.id = t.id WHEN MATCHED THEN DELETE;",
    ] {
        let sql = format!("{declared} EXEC sp_executesql N'{change}', N'@l dbo.Lines READONLY', @l");
        assert_eq!(errors(&mut s, &sql), [10700], "{change}");
    }
    assert_eq!(
        query(
            &mut s,
            "SELECT t.name, t.user_type_id, s.name, t.is_table_type, y.is_user_defined, y.system_type_id
             FROM sys.table_types AS t JOIN sys.schemas AS s ON s.schema_id = t.schema_id
             JOIN sys.types AS y ON y.user_type_id = t.user_type_id ORDER BY t.name"
        ),
        "Lines|257|dbo|1|1|243;Others|258|dbo|1|1|243"
    );
    run(&mut s, "DROP TYPE IF EXISTS dbo.Nothing; DROP TYPE dbo.Others");
    assert_eq!(query(&mut s, "SELECT COUNT(*) FROM sys.table_types"), "1");
    let undone = "BEGIN TRAN; CREATE TYPE dbo.Undone AS TABLE (id int); ROLLBACK; SELECT COUNT(*) FROM sys.table_types";
    assert_eq!(query(&mut s, undone), "1");
}

#[test]
fn an_identity_numbers_the_rows_that_a_client_sends() {
    let engine = engine();
    let mut s = connect(&engine);
    run(
        &mut s,
        "CREATE TYPE dbo.Numbered AS TABLE (n int IDENTITY (10, 5), v int)",
    );
    let int = Some(TypeInfo::new(SqlType::Int));
    let mut sent = |columns, rows: &[Vec<Value>]| {
        let rows = table("@rows", TableValue::new(columns, rows));
        let declared = text("@rows dbo.Numbered READONLY");
        let sql = text("SELECT n, v FROM @rows ORDER BY n");
        call(&mut s, "sp_executesql", vec![sql, declared, rows])
    };
    let values = [vec![Value::Int(1)], vec![Value::Int(2)]];
    assert_eq!(sent(vec![None, int], &values).text(), "10|1;15|2");
    let given = [vec![Value::Int(1), Value::Int(1)]];
    assert_eq!(sent(vec![int, int], &given).errors(), [1077]);
}

#[test]
fn types_of_one_name_in_two_schemas_are_two() {
    let engine = engine();
    let mut s = connect(&engine);
    run(&mut s, LINES);
    query(&mut s, "CREATE SCHEMA other");
    query(
        &mut s,
        "CREATE TYPE other.Lines AS TABLE (id int, name nvarchar(10), twice int)",
    );
    query(
        &mut s,
        "CREATE PROCEDURE dbo.counts @lines dbo.Lines READONLY AS SELECT COUNT(*) FROM @lines",
    );
    let wrong = "DECLARE @o other.Lines; EXEC dbo.counts @o";
    assert_eq!(errors(&mut s, wrong), [206]);
    query(&mut s, "DROP TYPE other.Lines");
    assert_eq!(errors(&mut s, "DROP TYPE dbo.Lines"), [3732]);
}

#[test]
fn a_declaration_in_a_loop_makes_one_table() {
    let engine = engine();
    let mut s = connect(&engine);
    run(&mut s, LINES);
    let sql = "DECLARE @i int = 0;
         WHILE @i < 3 BEGIN DECLARE @l dbo.Lines; SET @i += 1; INSERT @l (id) VALUES (@i) END;
         SELECT COUNT(*) FROM @l";
    assert_eq!(query(&mut s, sql), "3");
}
