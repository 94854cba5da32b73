//! What happens to rows: bytes, existing rows, identities, keys.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use model::{ChangeSink, CommitOutcome, DeclaredType, ErrorKind, Op, Replace, TableSchema};
use sqlserver_import::{ApplyOptions, Existing, Statement, Strategy};
use test_support::{SampleRow, sample_batch, sample_rows, sample_schema};

use crate::{Case, Place};

const FORMS: [Statement; 2] = [Statement::UpdateInsert, Statement::Merge];
const CREATE: &str =
    "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100) NULL, amount bigint NULL)";

async fn case(create: &str, schema: Arc<TableSchema>, apply: ApplyOptions) -> Case {
    let place = Place::new(apply).await;
    place.run(&[create]).await;
    let case = Case::new(place, schema);
    case.sink.prepare(&case.prepare(true)).await.unwrap();
    case
}

fn texts(columns: &[(&str, &[&str])], key: &[usize]) -> (Arc<TableSchema>, RecordBatch) {
    let fields: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(i, (name, _))| Field::new(*name, DataType::Utf8, !key.contains(&i)))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns
        .iter()
        .map(|(_, values)| Arc::new(StringArray::from(values.to_vec())) as ArrayRef);
    let batch = RecordBatch::try_new(schema.clone(), arrays.collect()).unwrap();
    (
        TableSchema::new(schema, key.to_vec(), vec![None; columns.len()]).unwrap(),
        batch,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_rows_keep_their_rowversion_and_changed_bytes_are_seen() {
    let create = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100) COLLATE Latin1_General_CI_AI NULL, \
                  amount bigint NULL, rv rowversion)";
    for statement in FORMS {
        let apply = ApplyOptions {
            statement,
            ..ApplyOptions::default()
        };
        let case = case(create, sample_schema(true), apply).await;
        let names = ["abc", "abc", "abc", "abc", "abc"];
        let rows: Vec<_> = (1..)
            .zip(names)
            .map(|(id, name)| SampleRow::new(id, name, 1))
            .collect();
        case.apply("first", sample_batch(&rows), &[Op::Upsert; 5])
            .await
            .unwrap();
        let versions = "SELECT COUNT(DISTINCT rv) AS n FROM dbo.T WHERE rv <= ";
        let newest = case.place.value("SELECT CONVERT(bigint, @@DBTS) AS n").await;
        let receipt = case
            .apply("same", sample_batch(&rows), &[Op::Upsert; 5])
            .await
            .unwrap();
        assert_eq!(
            (receipt.updated, receipt.inserted, receipt.unchanged),
            (0, 0, 5),
            "{statement:?}"
        );
        assert_eq!(
            case.place
                .value(&format!(
                    "{versions}CONVERT(binary(8), CONVERT(bigint, {newest}))"
                ))
                .await,
            "5"
        );

        let changed = ["abc", "ABC", "abc ", "abc\0", "àbc"];
        let rows: Vec<_> = (1..)
            .zip(changed)
            .map(|(id, name)| SampleRow::new(id, name, 1))
            .collect();
        let receipt = case
            .apply("bytes", sample_batch(&rows), &[Op::Upsert; 5])
            .await
            .unwrap();
        assert_eq!((receipt.updated, receipt.unchanged), (4, 1), "{statement:?}");
        assert_eq!(
            sample_rows(&case.place.rows(&case.table).await),
            rows,
            "{statement:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_rows_are_treated_as_configured() {
    let old = SampleRow::new(1, "old", 1);
    let rows = [SampleRow::new(1, "new", 2), SampleRow::new(2, "two", 2)];
    for statement in FORMS {
        for (strategy, existing, expect) in [
            (Strategy::Upsert, None, Some((1, 1, 0))),
            (Strategy::Upsert, Some(Existing::Skip), Some((1, 0, 1))),
            (Strategy::Upsert, Some(Existing::Error), None),
            (Strategy::AppendOnly, None, Some((1, 0, 1))),
            (Strategy::AppendOnly, Some(Existing::Error), None),
        ] {
            let apply = ApplyOptions {
                strategy,
                existing,
                statement,
            };
            let case = case(CREATE, sample_schema(true), apply.clone()).await;
            case.place.run(&["INSERT INTO dbo.T VALUES (1, N'old', 1)"]).await;
            let result = case.apply("first", sample_batch(&rows), &[Op::Insert; 2]).await;
            let now = sample_rows(&case.place.rows(&case.table).await);
            match (result, expect) {
                (Ok(receipt), Some((inserted, updated, skipped))) => {
                    assert_eq!(
                        (receipt.inserted, receipt.updated, receipt.skipped),
                        (inserted, updated, skipped),
                        "{apply:?}"
                    );
                    let first = if updated == 1 { &rows[0] } else { &old };
                    assert_eq!(now, [first.clone(), rows[1].clone()], "{apply:?}");
                }
                (Err(error), None) => {
                    assert_eq!(error.kind(), ErrorKind::Constraint, "{apply:?}: {error}");
                    assert_eq!(now, std::slice::from_ref(&old), "{apply:?}");
                }
                (result, _) => panic!("{apply:?}: {result:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_merge_is_written_to_without_it() {
    for statement in [Statement::Auto, Statement::Merge] {
        let apply = ApplyOptions {
            statement,
            ..ApplyOptions::default()
        };
        let lacks = vec!["MERGE".to_owned()];
        let place = Place::started(apply, |config| config.engine.lacks = lacks).await;
        place.run(&[CREATE]).await;
        let case = Case::new(place, sample_schema(true));
        case.sink.prepare(&case.prepare(true)).await.unwrap();
        case.place.run(&["INSERT INTO dbo.T VALUES (1, N'old', 1)"]).await;
        let rows = [SampleRow::new(1, "new", 2), SampleRow::new(2, "two", 2)];
        match case.apply("first", sample_batch(&rows), &[Op::Upsert; 2]).await {
            Ok(receipt) => {
                assert_eq!(statement, Statement::Auto);
                assert_eq!((receipt.updated, receipt.inserted), (1, 1));
                assert_eq!(case.sample_rows().await, rows);
            }
            Err(error) => {
                assert_eq!(statement, Statement::Merge, "{error}");
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_overwrite_even_where_the_copy_skips() {
    let apply = ApplyOptions {
        existing: Some(Existing::Skip),
        ..ApplyOptions::default()
    };
    let case = case(CREATE, sample_schema(true), apply).await;
    case.apply(
        "first",
        sample_batch(&[SampleRow::new(1, "one", 1)]),
        &[Op::Insert],
    )
    .await
    .unwrap();
    let changed = [SampleRow::new(1, "changed", 1)];
    let receipt = case
        .apply("second", sample_batch(&changed), &[Op::Upsert])
        .await
        .unwrap();
    assert_eq!((receipt.updated, receipt.skipped), (1, 0));
    assert_eq!(sample_rows(&case.place.rows(&case.table).await), changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn appending_passes_updates_and_deletes_over() {
    let apply = ApplyOptions {
        strategy: Strategy::AppendOnly,
        ..ApplyOptions::default()
    };
    let case = case(CREATE, sample_schema(true), apply).await;
    let rows = [SampleRow::new(1, "one", 1), SampleRow::new(2, "two", 2)];
    case.apply("first", sample_batch(&rows), &[Op::Insert; 2])
        .await
        .unwrap();
    let later = [
        SampleRow::new(1, "changed", 1),
        rows[1].clone(),
        SampleRow::new(3, "three", 3),
    ];
    let ops = [Op::Update, Op::Delete, Op::Insert];
    let receipt = case.apply("second", sample_batch(&later), &ops).await.unwrap();
    assert_eq!((receipt.inserted, receipt.updated, receipt.deleted), (1, 0, 0));
    let expect = [rows[0].clone(), rows[1].clone(), later[2].clone()];
    assert_eq!(sample_rows(&case.place.rows(&case.table).await), expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_spelled_anew_is_the_same_row() {
    let create = "CREATE TABLE dbo.T (code varchar(10) COLLATE Latin1_General_CI_AS NOT NULL PRIMARY KEY, name nvarchar(20) NULL)";
    for statement in FORMS {
        let apply = ApplyOptions {
            statement,
            ..ApplyOptions::default()
        };
        let (schema, first) = texts(&[("code", &["abc"]), ("name", &["x"])], &[0]);
        let declared = DeclaredType {
            declared: "varchar(10)".into(),
            collation: Some("Latin1_General_CI_AS".into()),
        };
        let arrow = schema.arrow().clone();
        let schema = TableSchema::new(arrow, vec![0], vec![Some(declared), None]).unwrap();
        let case = case(create, schema, apply).await;
        case.apply("first", first, &[Op::Upsert]).await.unwrap();
        let (_, anew) = texts(&[("code", &["ABC"]), ("name", &["y"])], &[0]);
        let receipt = case.apply("second", anew.clone(), &[Op::Upsert]).await.unwrap();
        assert_eq!((receipt.updated, receipt.inserted), (1, 0), "{statement:?}");
        assert_eq!(
            case.place
                .value("SELECT code COLLATE DATABASE_DEFAULT + N'/' + name AS v FROM dbo.T")
                .await,
            "ABC/y"
        );
        let (_, both) = texts(&[("code", &["d", "D"]), ("name", &["1", "2"])], &[0]);
        let error = case.stage(both, &[Op::Upsert; 2]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
        let (_, foreign) = texts(&[("code", &["日本"]), ("name", &["z"])], &[0]);
        let error = case.stage(foreign, &[Op::Upsert]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert_eq!(case.place.value("SELECT COUNT(*) AS n FROM dbo.T").await, "1");
    }
}

/// A target with the key `Strasse` of a collation to which `Straße` is the same.
async fn a_street(statement: Statement, declared: Option<&str>) -> Case {
    let create = "CREATE TABLE dbo.T (code nvarchar(10) COLLATE Latin1_General_CI_AI NOT NULL PRIMARY KEY, name nvarchar(20) NULL)";
    let apply = ApplyOptions {
        statement,
        ..ApplyOptions::default()
    };
    let (schema, first) = streets(&[("Strasse", "1")]);
    let declared = declared.map(|collation| DeclaredType {
        declared: "nvarchar(10)".into(),
        collation: Some(collation.into()),
    });
    let schema = TableSchema::new(schema.arrow().clone(), vec![0], vec![declared, None]).unwrap();
    let case = case(create, schema, apply).await;
    case.apply("first", first, &[Op::Insert]).await.unwrap();
    case
}

fn streets(rows: &[(&str, &str)]) -> (Arc<TableSchema>, RecordBatch) {
    let (codes, names): (Vec<&str>, Vec<&str>) = rows.iter().copied().unzip();
    texts(&[("code", &codes), ("name", &names)], &[0])
}

async fn held_streets(case: &Case) -> String {
    let sql =
        "SELECT ISNULL(STRING_AGG(code COLLATE DATABASE_DEFAULT + N'/' + name, N','), N'') AS v FROM dbo.T";
    case.place.value(sql).await
}

const ALIKE: Option<&str> = Some("Latin1_General_CI_AI");

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_of_an_older_spelling_leaves_the_row_that_was_brought_under_another_one() {
    for statement in FORMS {
        let case = a_street(statement, ALIKE).await;
        let anew = streets(&[("Straße", "2")]).1;
        case.apply("second", anew.clone(), &[Op::Insert]).await.unwrap();
        let older = streets(&[("Strasse", "1")]).1;
        let receipt = case.apply("third", older, &[Op::Delete]).await.unwrap();
        assert_eq!(receipt.deleted, 0, "{statement:?}");
        assert_eq!(held_streets(&case).await, "Straße/2", "{statement:?}");
        let receipt = case.apply("fourth", anew, &[Op::Delete]).await.unwrap();
        assert_eq!(receipt.deleted, 1, "{statement:?}");
        assert_eq!(held_streets(&case).await, "", "{statement:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_go_and_come_back_spelled_anew_in_one_commit() {
    let both = streets(&[("Strasse", "1"), ("Straße", "2")]).1;
    for statement in FORMS {
        // The same row to a source of the target's collation, another one to a source that tells them apart.
        for (source, expect) in [
            (ALIKE, (0, 1, 0)),
            (Some("Latin1_General_BIN2"), (1, 0, 1)),
            (None, (1, 0, 1)),
        ] {
            let case = a_street(statement, source).await;
            let ops = [Op::Delete, Op::Insert];
            let receipt = case.apply("second", both.clone(), &ops).await.unwrap();
            let counts = (receipt.deleted, receipt.updated, receipt.inserted);
            assert_eq!(counts, expect, "{statement:?} {source:?}");
            assert_eq!(held_streets(&case).await, "Straße/2", "{statement:?} {source:?}");
            let receipt = case.apply("third", both.clone(), &[Op::Delete; 2]).await.unwrap();
            assert_eq!(receipt.deleted, 1, "{statement:?} {source:?}");
            assert_eq!(held_streets(&case).await, "", "{statement:?} {source:?}");
            let error = case
                .stage(both.clone(), &[Op::Insert, Op::Update])
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_only_the_source_tells_apart_are_refused() {
    let create = "CREATE TABLE dbo.T (code varchar(10) COLLATE Latin1_General_CI_AS NOT NULL PRIMARY KEY, name nvarchar(20) NULL)";
    let rows = |code: &str, name: &str| texts(&[("code", &[code]), ("name", &[name])], &[0]);
    let held = async |case: &Case| {
        let sql = "SELECT STRING_AGG(code COLLATE DATABASE_DEFAULT + N'/' + name, N',') AS v FROM dbo.T";
        case.place.value(sql).await
    };
    for statement in FORMS {
        let apply = ApplyOptions {
            statement,
            ..ApplyOptions::default()
        };
        let (schema, lower) = rows("a", "1");
        let case = case(create, schema, apply).await;
        case.apply("first", lower.clone(), &[Op::Insert]).await.unwrap();
        let upper = rows("A", "2").1;
        for op in [Op::Insert, Op::Upsert] {
            let error = case.apply("second", upper.clone(), &[op]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "{error}");
            assert!(error.message().contains("[code]"), "{error}");
            assert_eq!(held(&case).await, "a/1", "{statement:?}");
        }
        for (batches, refused) in [(vec![&upper], false), (vec![&lower, &upper], true)] {
            let mut staged = Vec::new();
            for batch in batches {
                staged.extend(case.stage(batch.clone(), &[Op::Insert]).await.unwrap());
            }
            let mut commit = case.next("all", staged).await;
            commit.batch = model::BatchId::new(format!("all {refused}"));
            commit.replace = Replace::Table;
            let outcome = case.sink.commit(&commit).await;
            assert_eq!(outcome.is_err(), refused, "{statement:?}: {outcome:?}");
            assert_eq!(held(&case).await, "A/2", "{statement:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_keep_their_values_and_cannot_change() {
    let create = "CREATE TABLE dbo.T (id int IDENTITY(1,1) NOT NULL PRIMARY KEY, name nvarchar(100) NULL, amount bigint NULL, \
                  twice AS (id * 2))";
    for statement in FORMS {
        let apply = ApplyOptions {
            statement,
            ..ApplyOptions::default()
        };
        let case = case(create, sample_schema(true), apply).await;
        let rows = [SampleRow::new(7, "seven", 7), SampleRow::new(100, "hundred", 0)];
        case.apply("first", sample_batch(&rows), &[Op::Insert; 2])
            .await
            .unwrap();
        assert_eq!(
            sample_rows(&case.place.rows(&case.table).await),
            rows,
            "{statement:?}"
        );
    }
    let create = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, n int IDENTITY(1,1) NOT NULL)";
    let fields = vec![
        Field::new("id", DataType::Int32, false),
        Field::new("n", DataType::Int32, false),
    ];
    let schema = Arc::new(Schema::new(fields));
    let rows = |n: i32| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![1])),
            Arc::new(Int32Array::from(vec![n])),
        ];
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    };
    let shape = TableSchema::new(schema.clone(), vec![0], vec![None, None]).unwrap();
    let case = case(create, shape, ApplyOptions::default()).await;
    case.apply("first", rows(5), &[Op::Insert]).await.unwrap();
    assert_eq!(
        case.apply("same", rows(5), &[Op::Upsert])
            .await
            .unwrap()
            .unchanged,
        1
    );
    let error = case.stage(rows(6), &[Op::Upsert]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_deletes_only_what_is_not_staged() {
    for statement in FORMS {
        let apply = ApplyOptions {
            statement,
            ..ApplyOptions::default()
        };
        let case = case(CREATE, sample_schema(true), apply).await;
        case.place
            .run(&["INSERT INTO dbo.T VALUES (1, N'one', 1), (2, N'two', 2)"])
            .await;
        let rows = [SampleRow::new(2, "two", 2), SampleRow::new(3, "three", 3)];
        let staged = case.stage(sample_batch(&rows), &[Op::Insert; 2]).await.unwrap();
        let mut commit = case.next("all", staged).await;
        commit.replace = Replace::Table;
        let CommitOutcome::Committed(receipt) = case.sink.commit(&commit).await.unwrap() else {
            panic!("the commit did not happen");
        };
        let counts = (
            receipt.deleted,
            receipt.inserted,
            receipt.updated,
            receipt.unchanged,
        );
        assert_eq!(counts, (1, 1, 0, 1), "{statement:?}");
        assert_eq!(sample_rows(&case.place.rows(&case.table).await), rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deprecated_types_and_xml_are_written_and_compared() {
    let create =
        "CREATE TABLE dbo.T (k varchar(10) NOT NULL PRIMARY KEY, t text NULL, n ntext NULL, x xml NULL)";
    let columns: [(&str, &[&str]); 4] = [
        ("k", &["a", "b"]),
        ("t", &["text", ""]),
        ("n", &["日本", "n"]),
        ("x", &["<a>1</a>", "<b/>"]),
    ];
    for statement in FORMS {
        let apply = ApplyOptions {
            statement,
            ..ApplyOptions::default()
        };
        let (schema, rows) = texts(&columns, &[0]);
        let case = case(create, schema, apply).await;
        case.apply("first", rows.clone(), &[Op::Upsert; 2]).await.unwrap();
        assert_eq!(
            case.apply("same", rows, &[Op::Upsert; 2])
                .await
                .unwrap()
                .unchanged,
            2,
            "{statement:?}"
        );
        let mut changed = columns;
        changed[1].1 = &["TEXT", ""];
        let (_, rows) = texts(&changed, &[0]);
        let receipt = case.apply("case", rows, &[Op::Upsert; 2]).await.unwrap();
        assert_eq!((receipt.updated, receipt.unchanged), (1, 1), "{statement:?}");
        assert_eq!(
            case.place
                .value("SELECT CAST(t AS varchar(max)) AS v FROM dbo.T WHERE k = 'a'")
                .await,
            "TEXT"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_refused_leave_no_staging_table() {
    let create = "CREATE TABLE dbo.T (code varchar(10) COLLATE Latin1_General_CI_AS NOT NULL PRIMARY KEY, name nvarchar(20) NULL)";
    let (schema, twice) = texts(&[("code", &["a", "A"]), ("name", &["1", "2"])], &[0]);
    let case = case(create, schema, ApplyOptions::default()).await;
    let none = case.stage(twice.slice(0, 0), &[]).await.unwrap();
    assert!(none.is_empty());
    let error = case.stage(twice.clone(), &[Op::Upsert; 2]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
    let left = "SELECT COUNT(*) AS n FROM tempdb.sys.tables WHERE name LIKE N'#sync[_]stage%'";
    assert_eq!(case.place.value(left).await, "0");
    case.stage(twice.slice(0, 1), &[Op::Upsert]).await.unwrap();
    assert_eq!(case.place.value(left).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_be_longer_than_a_clustered_index_takes() {
    let create = "CREATE TABLE dbo.T (k nvarchar(850) COLLATE Latin1_General_100_BIN2 NOT NULL, \
                  CONSTRAINT long_key PRIMARY KEY NONCLUSTERED (k))";
    let long = "k".repeat(850);
    let (schema, rows) = texts(&[("k", &[&long, "short"])], &[0]);
    let case = case(create, schema, ApplyOptions::default()).await;
    case.apply("first", rows, &[Op::Upsert; 2]).await.unwrap();
    assert_eq!(
        case.place
            .value("SELECT MAX(DATALENGTH(k)) AS n FROM dbo.T")
            .await,
        "1700"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_at_rest_holds_no_connection_but_that_of_staged_rows() {
    let case = case(CREATE, sample_schema(true), ApplyOptions::default()).await;
    let held = async || {
        let sql = "SELECT COUNT(*) AS n FROM sys.dm_exec_sessions WHERE is_user_process = 1 AND session_id <> @@SPID";
        // The server notices the end of a link in its own time.
        for _ in 0..50 {
            if case.place.value(sql).await == "0" {
                return false;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        true
    };
    let rows = sample_batch(&[SampleRow::new(1, "one", 1)]);
    let staged = case.stage(rows, &[Op::Insert]).await.unwrap();
    let commit = case.next("first", staged).await;
    case.sink.rest();
    assert!(held().await, "the staged rows are gone");
    let outcome = case.sink.commit(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    case.sink.rest();
    assert!(!held().await);
    case.apply(
        "second",
        sample_batch(&[SampleRow::new(2, "two", 2)]),
        &[Op::Insert],
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_a_column_would_pad_is_refused() {
    for (column, fits, short) in [
        ("char(4) COLLATE Latin1_General_CI_AS", "ab  ", "ab"),
        ("nchar(2)", "日本", "日"),
        // These characters travel as nvarchar.
        ("char(4) COLLATE Japanese_CI_AS", "日本", "日"),
        ("char(4) COLLATE Japanese_CI_AS", "日b ", "日b"),
    ] {
        let create = format!("CREATE TABLE dbo.T (k varchar(10) NOT NULL PRIMARY KEY, c {column} NULL)");
        let (schema, rows) = texts(&[("k", &["a", "b"]), ("c", &[fits, short])], &[0]);
        let case = case(&create, schema, ApplyOptions::default()).await;
        case.apply("first", rows.slice(0, 1), &[Op::Upsert])
            .await
            .unwrap();
        let error = case.stage(rows.slice(1, 1), &[Op::Upsert]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{column}: {error}");
        assert!(error.message().contains("pad"), "{column}: {error}");
        let held = "SELECT CAST(c AS nvarchar(4)) COLLATE DATABASE_DEFAULT AS c FROM dbo.T";
        assert_eq!(case.place.value(held).await, fits, "{column}");
    }
}

/// MERGE checks references once, at its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_goes_in_the_statement_in_which_others_no_longer_refer_to_it() {
    let create = "CREATE TABLE dbo.T (id bigint NOT NULL PRIMARY KEY, name nvarchar(100) NULL, \
                  amount bigint NULL REFERENCES dbo.T (id))";
    let apply = ApplyOptions {
        statement: Statement::Merge,
        ..ApplyOptions::default()
    };
    let case = case(create, sample_schema(true), apply).await;
    let rows = [
        SampleRow::new(1, "head", 1),
        SampleRow::new(2, "head", 2),
        SampleRow::new(3, "of 1", 1),
    ];
    case.apply("first", sample_batch(&rows), &[Op::Upsert; 3])
        .await
        .unwrap();
    let rows = [SampleRow::new(1, "head", 1), SampleRow::new(3, "of 2", 2)];
    case.apply("second", sample_batch(&rows), &[Op::Delete, Op::Upsert])
        .await
        .unwrap();
    let left = "SELECT COUNT(*) AS n FROM dbo.T WHERE id IN (2, 3) AND amount = 2";
    assert_eq!(case.place.value(left).await, "2");
}
