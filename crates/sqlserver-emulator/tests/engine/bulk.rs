//! INSERT BULK, and what large tables demand.

use sqlserver_emulator::{Decimal, Session, Value};

use crate::collect::{Collected, connect, engine, query, run};

/// Loads rows as the protocol does after an INSERT BULK statement.
fn load(session: &mut Session, statement: &str, rows: impl Iterator<Item = Vec<Value>>) -> Collected {
    let out = run(session, statement);
    assert_eq!(out.errors(), [0; 0]);
    for row in rows {
        if session.bulk_row(row).is_err() {
            break;
        }
    }
    let mut out = Collected::default();
    session.bulk_end(&mut out);
    out
}

#[test]
fn a_bulk_load_takes_defaults_and_leaves_checks_alone() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY, d int NOT NULL DEFAULT 7, c int NULL CHECK (c > 0))",
    );
    let rows = [
        vec![Value::Int(1), Value::Null, Value::Int(-1)],
        vec![Value::Int(2), Value::Int(3), Value::Null],
    ];
    let out = load(&mut s, "INSERT BULK t (id int, d int, c int)", rows.into_iter());
    assert_eq!((out.errors(), out.done.last().unwrap().rows), (vec![], Some(2)));
    assert_eq!(query(&mut s, "SELECT * FROM t ORDER BY id"), "1|7|-1;2|3|NULL");
    assert_eq!(
        query(&mut s, "SELECT is_not_trusted FROM sys.check_constraints"),
        "1"
    );
}

/// FreeTDS announces each `datetime2` with seven digits, for example.
#[test]
fn a_bulk_load_has_the_options_that_are_given() {
    for (options, expected) in [
        ("", "5|1"),
        (" WITH (KEEP_NULLS)", "NULL|1"),
        (" WITH (FIRE_TRIGGERS)", "5|0"),
        (" WITH (KEEP_NULLS, FIRE_TRIGGERS)", "NULL|0"),
        (" WITH (CHECK_CONSTRAINTS)", "547"),
        (
            " WITH (KEEP_NULLS, FIRE_TRIGGERS, CHECK_CONSTRAINTS, TABLOCK)",
            "547",
        ),
    ] {
        let engine = engine();
        let mut session = connect(&engine);
        query(
            &mut session,
            "CREATE TABLE t (id int CONSTRAINT positive CHECK (id > 0), v int NULL DEFAULT 5); CREATE TABLE seen (n int)",
        );
        query(
            &mut session,
            "CREATE TRIGGER counts ON t AFTER INSERT AS INSERT seen SELECT COUNT(*) FROM inserted",
        );
        let rows = [
            vec![Value::Int(1), Value::Null],
            vec![Value::Int(-1), Value::Null],
        ];
        let statement = format!("INSERT BULK t (id int, v int){options}");
        let out = load(&mut session, &statement, rows.into_iter());
        if let Some(error) = out.errors().first() {
            assert_eq!((error.to_string().as_str(), options), (expected, options));
            let left = "SELECT COUNT(*) FROM t; SELECT COUNT(*) FROM seen";
            assert_eq!(query(&mut session, left), "0\n0", "{options}");
            continue;
        }
        // Without CHECK_CONSTRAINTS, the constraint is not trusted any more. A trigger runs once for all rows.
        let told =
            "SELECT MIN(v), CASE WHEN EXISTS (SELECT * FROM seen WHERE n = 2) THEN 0 ELSE 1 END FROM t";
        assert_eq!(query(&mut session, told), expected, "{options}");
        let trusted = "SELECT is_not_trusted FROM sys.check_constraints; SELECT COUNT(*) FROM t";
        assert_eq!(query(&mut session, trusted), "1\n2", "{options}");
    }
}

#[test]
fn what_is_announced_as_another_type_is_converted_whichever_way_it_takes() {
    let moment = |days, ticks| Value::DateTime2 {
        days,
        ticks,
        scale: 7,
    };
    let last = 863_999_999_999;
    let decimal = |unscaled, scale| {
        Value::Decimal(Decimal {
            unscaled,
            precision: 18,
            scale,
        })
    };
    for (ty, given, kept) in [
        (
            "datetime2(3)",
            moment(700_000, 12_344_999),
            Ok((700_000, 12_340_000, 3)),
        ),
        (
            "datetime2(3)",
            moment(700_000, 12_345_000),
            Ok((700_000, 12_350_000, 3)),
        ),
        ("datetime2(0)", moment(0, 4_999_999), Ok((0, 0, 0))),
        ("datetime2(6)", moment(700_000, last), Ok((700_001, 0, 6))),
        ("datetime2(7)", moment(3_652_058, last), Ok((3_652_058, last, 7))),
        ("datetime2(3)", moment(3_652_058, last), Err(242)),
    ] {
        let kept = kept.map(|(days, ticks, scale)| Value::DateTime2 { days, ticks, scale });
        assert_eq!(
            loaded(ty, given.clone()),
            (kept.clone(), kept),
            "{given:?} as {ty}"
        );
    }
    for (ty, given, kept) in [
        (
            "datetime",
            moment(693_595, last),
            Ok(Value::DateTime { days: 1, ticks: 0 }),
        ),
        ("datetime", moment(639_904, 0), Err(242)),
        ("time(2)", moment(1, last), Ok(Value::Time { ticks: 0, scale: 2 })),
        ("tinyint", Value::BigInt(255), Ok(Value::TinyInt(255))),
        ("tinyint", Value::Int(256), Err(220)),
        ("bigint", Value::SmallInt(-1), Ok(Value::BigInt(-1))),
        ("decimal(18, 2)", decimal(12_345, 3), Ok(decimal(1_235, 2))),
        ("decimal(18, 2)", decimal(10_i128.pow(17), 1), Err(8115)),
        ("money", Value::Int(3), Ok(Value::Money(30_000))),
        ("float", Value::Real(0.5), Ok(Value::Float(0.5))),
    ] {
        assert_eq!(
            loaded(ty, given.clone()),
            (kept.clone(), kept),
            "{given:?} as {ty}"
        );
    }
}

/// What a column keeps of a value that a bulk load gives it, or the error: if the row may be kept at once, and if triggers are to be
/// asked about it.
fn loaded(ty: &str, value: Value) -> (Result<Value, i32>, Result<Value, i32>) {
    let engine = engine();
    let mut s = connect(&engine);
    query(&mut s, &format!("CREATE TABLE t (id int NOT NULL, v {ty} NULL)"));
    let mut way = |options: &str| {
        let statement = format!("INSERT BULK t (id int, v {ty}){options}");
        let rows = [
            vec![Value::Int(1), value.clone()],
            vec![Value::Int(2), Value::Null],
        ];
        let out = load(&mut s, &statement, rows.into_iter());
        let kept = run(&mut s, "SELECT v FROM t WHERE id = 1; DELETE t");
        match out.errors().first() {
            Some(error) => Err(*error),
            None => Ok(kept.results[0][0][0].clone()),
        }
    };
    (way(""), way(" WITH (FIRE_TRIGGERS)"))
}

#[test]
fn a_refused_bulk_load_takes_no_more_rows() {
    let engine = engine();
    let mut s = connect(&engine);
    query(&mut s, "CREATE TABLE t (id int NOT NULL PRIMARY KEY)");
    run(&mut s, "INSERT BULK t (id int)");
    let mut loaded = (0..10_000).map(|_| s.bulk_row(vec![Value::Int(1)]));
    let taken = loaded.by_ref().take_while(Result::is_ok).count();
    assert!(taken < 5000, "{taken}");
    assert!(loaded.all(|row| row.is_err()));
    let mut out = Collected::default();
    s.bulk_end(&mut out);
    assert_eq!(out.errors(), [2627]);
}

#[test]
fn a_constraint_that_came_after_the_statement_is_asked() {
    let engine = engine();
    let (mut s, mut other) = (connect(&engine), connect(&engine));
    query(&mut s, "CREATE TABLE t (id int NOT NULL PRIMARY KEY)");
    for (id, errors) in [(-1, vec![547]), (1, vec![])] {
        run(&mut s, "INSERT BULK t (id int) WITH (CHECK_CONSTRAINTS)");
        query(
            &mut other,
            "IF OBJECT_ID('positive') IS NULL ALTER TABLE t ADD CONSTRAINT positive CHECK (id > 0)",
        );
        let _ = s.bulk_row(vec![Value::Int(id)]);
        let mut out = Collected::default();
        s.bulk_end(&mut out);
        assert_eq!(out.errors(), errors, "{id}");
    }
}

#[test]
fn a_bulk_load_that_fails_leaves_nothing() {
    let engine = engine();
    let mut s = connect(&engine);
    query(&mut s, "CREATE TABLE t (id int NOT NULL PRIMARY KEY)");
    let out = load(
        &mut s,
        "INSERT BULK t (id int)",
        (0..5000).chain([17]).map(|id| vec![Value::Int(id)]),
    );
    assert_eq!(out.errors(), [2627]);
    assert_eq!(query(&mut s, "SELECT COUNT(*) FROM t"), "0");
    query(&mut s, "BEGIN TRAN; INSERT t VALUES (-1)");
    load(
        &mut s,
        "INSERT BULK t (id int)",
        [1, 1].into_iter().map(|id| vec![Value::Int(id)]),
    );
    query(&mut s, "COMMIT");
    assert_eq!(query(&mut s, "SELECT id FROM t"), "-1");
}

#[test]
fn large_tables_join_and_page_without_quadratic_work() {
    let engine = engine();
    let mut s = connect(&engine);
    query(
        &mut s,
        "CREATE TABLE a (id int NOT NULL PRIMARY KEY, v int NULL); CREATE TABLE b (id int NULL, v int NULL)",
    );
    let rows = || (0..60_000).map(|id| vec![Value::Int(id), Value::Int(id % 7)]);
    load(&mut s, "INSERT BULK a (id int, v int)", rows());
    load(&mut s, "INSERT BULK b (id int, v int)", rows());
    for (sql, expected) in [
        ("SELECT COUNT(*) FROM a JOIN b ON a.id = b.id", "60000"),
        (
            "SELECT COUNT(*) FROM b x JOIN b y ON x.id = y.id AND x.v = y.v",
            "60000",
        ),
        (
            "SELECT COUNT(*) FROM b WHERE NOT EXISTS (SELECT 1 FROM a WHERE a.id = b.id)",
            "0",
        ),
        (
            "SELECT COUNT(*) FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.id = a.id)",
            "0",
        ),
        (
            "SELECT TOP (2) id FROM a WHERE id > 59000 ORDER BY id",
            "59001;59002",
        ),
        (
            "SELECT COUNT(*) FROM a WHERE id IN (SELECT id FROM b WHERE v = 1)",
            "8572",
        ),
        (
            "UPDATE a SET v = b.v + 1 FROM a JOIN b ON a.id = b.id; SELECT @@ROWCOUNT",
            "60000",
        ),
        (
            "DELETE TOP (10) FROM b WHERE v = 3; SELECT COUNT(*) FROM b",
            "59990",
        ),
    ] {
        assert_eq!(query(&mut s, sql), expected, "{sql}");
    }
}
