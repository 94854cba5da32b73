//! SELECT and what it is made of.

use std::collections::BTreeSet;

use sqlserver_emulator::{Engine, EngineConfig};

use crate::collect::{connect, engine, query};

#[test]
fn queries_answer_as_documented() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY, grp varchar(10) NULL, amount decimal(9,2) NULL);
         INSERT INTO t (id, grp, amount) VALUES (1, 'a', 10.50), (2, 'a', 20), (3, 'b', NULL), (4, NULL, 1)",
    );
    for (sql, expected) in [
        ("SELECT id FROM t ORDER BY id", "1;2;3;4"),
        ("SELECT TOP (2) id FROM t ORDER BY id DESC", "4;3"),
        ("SELECT id FROM t WHERE id > 1 AND id <= 3 ORDER BY id", "2;3"),
        ("SELECT id FROM t WHERE id > 1 AND id > 3 ORDER BY id", "4"),
        ("SELECT id FROM t WHERE id = 3 AND id > 3 ORDER BY id", ""),
        ("SELECT id FROM t WHERE id = 3 AND id <> 3 ORDER BY id", ""),
        (
            "SELECT id FROM t WHERE id BETWEEN 2 AND 3 ORDER BY id DESC",
            "3;2",
        ),
        ("SELECT id FROM t WHERE 3 < id OR id = 1 ORDER BY id", "1;4"),
        ("SELECT id FROM t WHERE id >= CAST(NULL AS int) ORDER BY id", ""),
        ("SELECT id FROM t WHERE id > 2.5 ORDER BY id", "3;4"),
        (
            "SELECT id FROM t WHERE id > CAST(3 AS bigint) AND grp IS NULL ORDER BY id",
            "4",
        ),
        (
            "SELECT id, amount FROM t WHERE id > 2 ORDER BY id",
            "3|NULL;4|1.00",
        ),
        (
            "SELECT amount, id FROM t WHERE id > 2 ORDER BY id",
            "NULL|3;1.00|4",
        ),
        ("SELECT id FROM t WHERE grp = 'a' ORDER BY id", "1;2"),
        ("SELECT COUNT(*), COUNT(amount), SUM(amount) FROM t", "4|3|31.50"),
        (
            "SELECT grp, COUNT(*) FROM t GROUP BY grp ORDER BY grp",
            "NULL|1;a|2;b|1",
        ),
        // A page of a table's rows, from within and from around.
        (
            "SELECT id FROM t ORDER BY id OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY",
            "2;3",
        ),
        ("SELECT id FROM t ORDER BY id DESC OFFSET 3 ROWS", "1"),
        ("SELECT id FROM t ORDER BY id OFFSET 4 ROWS", ""),
        ("SELECT TOP (0) id FROM t", ""),
        (
            "SELECT id FROM (SELECT id, grp FROM t WHERE id > 1 ORDER BY id OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY) AS p",
            "3",
        ),
        (
            "SELECT grp FROM (SELECT TOP (3) id, grp FROM t ORDER BY id DESC) AS p ORDER BY grp",
            "NULL;a;b",
        ),
        (
            "SELECT id FROM (SELECT TOP (2) id FROM t WHERE id IN (1, 2, 4) OR id = 3 ORDER BY id) AS p WHERE id > 1",
            "2",
        ),
        (
            "SELECT COUNT(*) FROM (SELECT TOP (2) id FROM t ORDER BY id) AS p",
            "2",
        ),
        (
            "SELECT a.id FROM (SELECT TOP (1) id FROM t ORDER BY id DESC) AS p JOIN t AS a ON a.id <= p.id ORDER BY a.id",
            "1;2;3;4",
        ),
        (
            "SELECT grp FROM (SELECT TOP (1) WITH TIES id, grp FROM t ORDER BY id) AS p",
            "a",
        ),
        (
            "SELECT grp FROM (SELECT TOP (75) PERCENT id, grp FROM t ORDER BY id) AS p ORDER BY grp",
            "a;a;b",
        ),
        ("SELECT grp FROM t GROUP BY grp HAVING COUNT(*) > 1", "a"),
        (
            "SELECT a.id, b.id FROM t a JOIN t b ON a.id = b.id + 1 ORDER BY a.id",
            "2|1;3|2;4|3",
        ),
        (
            "SELECT a.id, b.id FROM t a LEFT JOIN t b ON b.id = a.id + 2 ORDER BY 1",
            "1|3;2|4;3|NULL;4|NULL",
        ),
        (
            "SELECT a.id, b.id FROM t a FULL JOIN (SELECT id FROM t WHERE id > 3 UNION ALL SELECT 9) b ON a.id = b.id ORDER BY a.id, b.id",
            "NULL|9;1|NULL;2|NULL;3|NULL;4|4",
        ),
        (
            "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM t x WHERE x.id = t.id + 1) ORDER BY id",
            "1;2;3",
        ),
        (
            "SELECT id FROM t WHERE id IN (SELECT id + 2 FROM t) ORDER BY id",
            "3;4",
        ),
        ("SELECT (SELECT MAX(id) FROM t)", "4"),
        ("SELECT DISTINCT grp FROM t ORDER BY grp", "NULL;a;b"),
        ("SELECT id FROM t EXCEPT SELECT 2 ORDER BY id", "1;3;4"),
        (
            "SELECT id, ROW_NUMBER() OVER (PARTITION BY grp ORDER BY id DESC) FROM t ORDER BY id",
            "1|2;2|1;3|1;4|1",
        ),
        (
            "SELECT id, SUM(amount) OVER (ORDER BY id) FROM t ORDER BY id",
            "1|10.50;2|30.50;3|30.50;4|31.50",
        ),
        (
            "SELECT id FROM t ORDER BY id OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY",
            "2;3",
        ),
        (
            "WITH c AS (SELECT id FROM t WHERE id < 3) SELECT x.id FROM c x JOIN c y ON x.id = y.id ORDER BY x.id",
            "1;2",
        ),
        (
            "SELECT t.id, v.n FROM t CROSS APPLY (SELECT t.id * 10 AS n) v WHERE t.id < 3 ORDER BY t.id",
            "1|10;2|20",
        ),
        (
            "SELECT t.id, v.id FROM t OUTER APPLY (SELECT TOP (1) x.id FROM t x WHERE x.id > t.id ORDER BY x.id) v ORDER BY t.id",
            "1|2;2|3;3|4;4|NULL",
        ),
        (
            "SELECT id FROM t WHERE (id > 1) OR (id = 1 AND amount > 10) ORDER BY id",
            "1;2;3;4",
        ),
        ("SELECT v.a FROM (VALUES (1), (2)) v(a) ORDER BY v.a DESC", "2;1"),
        (
            "SELECT TOP (1) WITH TIES grp FROM t WHERE grp IS NOT NULL ORDER BY grp",
            "a;a",
        ),
        (
            "SELECT STRING_AGG(id, ',') WITHIN GROUP (ORDER BY id DESC) FROM t",
            "4,3,2,1",
        ),
        (
            "SELECT id FROM t WHERE id NOT IN (SELECT id FROM t WHERE id > 2) ORDER BY id",
            "1;2",
        ),
        (
            "SELECT COUNT(*) FROM t WHERE id NOT IN (SELECT NULLIF(id, 4) FROM t)",
            "0",
        ),
        (
            "SELECT id FROM t WHERE amount > ALL (SELECT 1) ORDER BY id",
            "1;2",
        ),
    ] {
        assert_eq!(query(&mut session, sql), expected, "{sql}");
    }
}

/// The keys that changed with the rows that they have, as a capture asks for them; `+ 0` keeps a join from using an index.
#[test]
fn a_join_by_an_index_gives_what_a_join_by_hash_does() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE d (n int NOT NULL);
         INSERT INTO d VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
         CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, a nvarchar(10) NULL, n int NOT NULL);
         INSERT INTO t SELECT x.n * 100 + y.n * 10 + z.n, CASE WHEN z.n = 3 THEN NULL ELSE N'of ' + CAST(z.n AS nvarchar(1)) END, y.n
             FROM d AS x CROSS JOIN d AS y CROSS JOIN d AS z;
         CREATE TABLE c (id int NULL)",
    );
    let mut sorted = |sql: String| {
        let text = query(&mut session, &sql);
        let mut rows: Vec<String> = text.split(';').map(str::to_owned).collect();
        rows.sort();
        rows
    };
    // Few keys are looked up; many are hashed, and the table passes by.
    for keys in [
        "SELECT n * 7 FROM d",
        "SELECT x.n * 200 + y.n * 10 + z.n FROM d AS x CROSS JOIN d AS y CROSS JOIN d AS z",
    ] {
        sorted(format!(
            "TRUNCATE TABLE c; INSERT INTO c {keys}; INSERT INTO c VALUES (-5), (NULL), (7)"
        ));
        for kind in ["LEFT", "INNER"] {
            for list in ["k, a, n, there", "a, there", "there, k", "n, a"] {
                let [by_index, by_hash] = ["t.id", "t.id + 0"].map(|id| {
                    sorted(format!(
                        "SELECT {list} FROM (SELECT CASE WHEN t.id IS NULL THEN c.id ELSE t.id END AS k, t.a, t.n, \
                         CAST(CASE WHEN t.id IS NULL THEN 0 ELSE 1 END AS bit) AS there \
                         FROM (SELECT DISTINCT id FROM c) AS c {kind} JOIN (SELECT id, a, n FROM t) AS t ON {id} = c.id) AS x"
                    ))
                });
                assert!(by_index.len() > 5, "{list}: {by_index:?}");
                assert_eq!(by_index, by_hash, "{kind} {list} {keys}");
            }
        }
    }
}

/// An expression over the column has no index to go by, and must find the same.
#[test]
fn ranges_of_an_index_find_what_a_scan_finds() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY, up int NULL, down int NULL, empty int NULL, plain AS id % 5);
         WITH d (n) AS (SELECT n FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS v (n))
         INSERT INTO t (id, up, down)
         SELECT x.n * 10 + y.n, NULLIF((x.n * 3 + y.n) % 11, 10), NULLIF((x.n * 3 + y.n) % 11, 10) FROM d AS x CROSS JOIN d AS y;
         CREATE INDEX by_up ON t (up); CREATE INDEX by_down ON t (down DESC); CREATE INDEX by_empty ON t (empty); CREATE INDEX by_two ON t (up, id)",
    );
    let conditions = [
        "c < 5",
        "c >= 3",
        "c IS NULL",
        "c IS NOT NULL",
        "c <= 3 OR c > 7",
        "(c >= 2 AND c < 4) OR c IS NULL OR c > 8",
        "(c >= 2 AND c < 6) OR (c >= 4 AND c <= 7)",
        "c > 8 OR c < 2 OR c = 5",
        "c BETWEEN 1 AND 2 OR c BETWEEN 2 AND 3",
        "c > 6 OR c >= 3",
        "c > 6 AND c < 3 OR c > CAST(NULL AS int)",
        "(c < 2 OR c IS NULL) AND id > 40",
        "c < 2 OR id > 90",
        // Some of it is the range of an index, and the rest is looked at.
        "c >= 2 AND c < 8 AND (c <> 5 OR id = 30)",
        "c > 1 AND c > 4",
        "c = 3 AND c > 3",
        "c BETWEEN 1 AND id - 20",
        "c BETWEEN id / 20 AND 7 AND c <> 4",
        "plain = 3 AND (c > 3 OR (c = 3 AND id > 12.5))",
        "(up > 3 OR (up = 3 AND id > 12.5)) AND c < 7",
    ];
    for column in ["up", "down", "empty"] {
        for condition in conditions {
            let mut answers = ["", " + 0"].map(|hidden| {
                let c = format!("{column}{hidden}");
                let condition = condition.replace('c', &c);
                let mut rows = |list: &str, order: &str| {
                    query(
                        &mut session,
                        &format!("SELECT {list} FROM t WHERE {condition}{order}"),
                    )
                };
                let mut ids: Vec<_> = rows("id", "").split(';').map(str::to_owned).collect();
                ids.sort();
                [
                    ids.join(";"),
                    rows(&c, &format!(" ORDER BY {c}")),
                    rows(&c, &format!(" ORDER BY {c} DESC")),
                    rows(&format!("MIN({c})"), ""),
                    rows(&format!("CAST(MAX({c}) AS bigint)"), ""),
                    rows(&format!("MAX({c}), COUNT(*)"), ""),
                ]
            });
            let [by_index, by_scan] = &mut answers;
            assert_eq!(by_index, by_scan, "{column}: {condition}");
        }
        for whole in ["MIN", "MAX"] {
            let [by_index, by_scan] = ["", " + 0"]
                .map(|hidden| query(&mut session, &format!("SELECT {whole}({column}{hidden}) FROM t")));
            assert_eq!(by_index, by_scan, "{whole}({column})");
        }
    }
}

/// Who goes by an index meets no row far from the range, not even a locked one.
#[test]
fn an_index_leads_past_what_is_locked() {
    let engine = engine();
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE t (id int NOT NULL PRIMARY KEY, v int NULL); CREATE INDEX by_v ON t (v);
         WITH d (n) AS (SELECT n FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS v (n))
         INSERT t (id, v) SELECT x.n * 10 + y.n, NULLIF(x.n * 10 + y.n, 0) FROM d AS x CROSS JOIN d AS y;
         BEGIN TRAN; UPDATE t SET id = 50 WHERE id = 50",
    );
    let mut other = connect(&engine);
    query(&mut other, "SET LOCK_TIMEOUT 0");
    for (sql, expected) in [
        ("SELECT MAX(v) FROM t", "99"),
        ("SELECT MIN(v) FROM t", "1"),
        ("SELECT MAX(id) FROM t", "99"),
        (
            "SELECT v FROM t WHERE v < 3 OR v IS NULL OR v > 97 ORDER BY v",
            "NULL;1;2;98;99",
        ),
    ] {
        assert_eq!(query(&mut other, sql), expected, "{sql}");
    }
    for sql in [
        "SELECT MAX(v + 0) FROM t",
        "SELECT MAX(v), COUNT(*) FROM t",
        "SELECT v FROM t WHERE v < 3 OR v > 48",
        "SELECT TOP (1) id FROM t WITH (TABLOCKX) WHERE id = 1",
        "SELECT COUNT(*) FROM (SELECT TOP (1) 1 AS one FROM t WITH (TABLOCKX, HOLDLOCK) ORDER BY id) AS first",
    ] {
        assert_eq!(crate::collect::errors(&mut other, sql), [1222], "{sql}");
    }
}

/// What some queries without ORDER BY give, three times each.
fn unordered(seed: u64) -> Vec<String> {
    let engine = Engine::new(EngineConfig {
        databases: vec!["db".to_owned()],
        seed,
        ..EngineConfig::default()
    });
    let mut session = connect(&engine);
    query(
        &mut session,
        "CREATE TABLE t (id int PRIMARY KEY); INSERT t VALUES (1), (2), (3), (4), (5);
         ALTER DATABASE db SET CHANGE_TRACKING = ON; ALTER TABLE t ENABLE CHANGE_TRACKING; UPDATE t SET id = id",
    );
    let queries = [
        "SELECT id FROM t",
        "SELECT id FROM t WHERE id IN (1, 2, 3, 4, 5)",
        "SELECT a.id FROM t AS a JOIN t AS b ON b.id = a.id",
        "SELECT id FROM CHANGETABLE(CHANGES t, 0) AS ct",
    ];
    let thrice = queries.iter().flat_map(|sql| [sql; 3]);
    thrice.map(|sql| query(&mut session, sql)).collect()
}

#[test]
fn rows_without_order_by_come_in_any_order_that_the_seed_decides() {
    let runs: Vec<_> = (0..100).map(unordered).collect();
    for (at, rows) in runs.iter().flat_map(|run| run.iter().enumerate()) {
        let mut ids: Vec<&str> = rows.split(';').collect();
        ids.sort_unstable();
        assert_eq!(ids.join(";"), "1;2;3;4;5", "query {}", at / 3);
    }
    for query in 0..4 {
        let results = runs.iter().flat_map(|run| run.iter().skip(3 * query).take(3));
        let orders: BTreeSet<&String> = results.collect();
        // Of 120, by 300 results.
        assert!(orders.len() > 80, "query {query}: {} orders", orders.len());
    }
    assert_eq!(unordered(7), unordered(7));
}
