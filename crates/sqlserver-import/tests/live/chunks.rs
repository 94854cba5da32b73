//! A table that is replaced by many chunks in one commit.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use model::{ChangeSink, CommitOutcome, DeclaredType, ErrorKind, Op, Receipt, Replace, Result, TableSchema};
use sqlserver_import::{ApplyOptions, Existing, Statement};
use test_support::{sample_batch, sample_schema};

use crate::{Case, Place, sample};

const FORMS: [Statement; 2] = [Statement::UpdateInsert, Statement::Merge];
const CREATE: &str =
    "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100) NULL, amount bigint NULL)";

/// So many chunks, of three rows each.
const CHUNKS: i32 = 40;

fn applied_by(statement: Statement) -> ApplyOptions {
    ApplyOptions {
        statement,
        ..ApplyOptions::default()
    }
}

async fn case(place: Place, create: &str, schema: Arc<TableSchema>) -> Case {
    place.run(&[create]).await;
    let case = Case::new(place, schema);
    case.sink.prepare(&case.prepare(true)).await.unwrap();
    case
}

impl Case {
    /// Replaces the table by these chunks, in one commit.
    async fn replace(&self, batch: &str, chunks: &[(RecordBatch, &[Op])]) -> Result<Receipt> {
        let mut staged = Vec::new();
        for (rows, ops) in chunks {
            staged.extend(self.stage(rows.clone(), ops).await?);
        }
        let mut commit = self.next(batch, staged).await;
        commit.replace = Replace::Table;
        match self.sink.commit(&commit).await? {
            CommitOutcome::Committed(receipt) => Ok(receipt),
            other => panic!("the commit ended as {other:?}"),
        }
    }
}

/// Deleted, updated, unchanged and inserted rows.
fn counts(receipt: &Receipt) -> (u64, u64, u64, u64) {
    (
        receipt.deleted,
        receipt.updated,
        receipt.unchanged,
        receipt.inserted,
    )
}

/// The batches that a recorded session sent, without those that go through a procedure.
fn batches(record: &[u8]) -> Vec<String> {
    const SQL_BATCH: u8 = 1;
    const END_OF_MESSAGE: u8 = 1;
    let (mut batches, mut message, mut rest) = (Vec::new(), Vec::new(), record);
    while let Some((&[kind, status, high, low, ..], _)) = rest.split_first_chunk::<8>() {
        let (packet, after) = rest.split_at(usize::from(u16::from_be_bytes([high, low])));
        rest = after;
        message.extend_from_slice(&packet[8..]);
        if status & END_OF_MESSAGE == 0 {
            continue;
        }
        if kind == SQL_BATCH {
            let headers = u32::from_le_bytes(*message.first_chunk().unwrap()) as usize;
            let text = message[headers..].chunks_exact(2);
            let text: Vec<_> = text.map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
            batches.push(String::from_utf16(&text).unwrap());
        }
        message.clear();
    }
    batches
}

/// The staging tables that a text names.
fn stages(sql: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '#';
    let words = sql.split(|c| !word(c));
    words.filter(|word| word.starts_with("#sync_stage_")).collect()
}

/// Everything that sessions sent to a server that records them.
fn sent(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).unwrap();
    let records = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
    records.flat_map(|record| batches(&record)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_chunks_are_the_table_afterwards_and_no_statement_grows_with_them() {
    const CREATE_LOG: &str =
        "CREATE TABLE dbo.T (id int NOT NULL, name nvarchar(100) NULL, amount bigint NULL)";
    const BEFORE: &str =
        "INSERT INTO dbo.T VALUES (-1, N'gone', 0), (2, N'row 2', 2), (60, N'old', 60), (1000, N'gone', 0)";
    for (create, statement, expect) in [
        (CREATE, Statement::UpdateInsert, (2, 1, 1, 118)),
        (CREATE, Statement::Merge, (2, 1, 1, 118)),
        (CREATE_LOG, Statement::Auto, (4, 0, 0, 120)),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let recorded = Some(directory.path().to_owned());
        let place = Place::started(applied_by(statement), |config| config.record = recorded).await;
        let case = case(place, create, sample_schema(create == CREATE)).await;
        case.place.run(&[BEFORE]).await;
        let chunks: Vec<_> = (0..CHUNKS)
            .map(|chunk| sample_batch(&sample(3 * chunk + 1..=3 * chunk + 3)))
            .map(|rows| (rows, [Op::Insert; 3].as_slice()))
            .collect();
        let receipt = case.replace("all", &chunks).await.unwrap();
        assert_eq!(counts(&receipt), expect, "{statement:?}");
        assert_eq!(case.sample_rows().await, sample(1..=3 * CHUNKS), "{statement:?}");

        let sent = sent(directory.path());
        let named: BTreeSet<_> = sent.iter().flat_map(|sql| stages(sql)).collect();
        assert_eq!(named.len(), CHUNKS as usize, "{statement:?}");
        for sql in &sent {
            assert!(stages(sql).len() <= 20, "{statement:?}: {sql}");
            for one in sql.split(";\n") {
                assert!(stages(one).len() <= 1, "{statement:?}: {one}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_to_delete_is_none_that_stays() {
    for statement in FORMS {
        let case = case(
            Place::new(applied_by(statement)).await,
            CREATE,
            sample_schema(true),
        )
        .await;
        case.apply("first", sample_batch(&sample(1..=4)), &[Op::Insert; 4])
            .await
            .unwrap();
        let chunks = [
            (sample_batch(&sample([1, 2])), [Op::Insert, Op::Delete].as_slice()),
            (sample_batch(&sample([3])), [Op::Insert].as_slice()),
        ];
        let receipt = case.replace("less", &chunks).await.unwrap();
        assert_eq!(counts(&receipt), (2, 0, 2, 0), "{statement:?}");
        assert_eq!(case.sample_rows().await, sample([1, 3]), "{statement:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_fails_leaves_nothing_behind_in_its_session() {
    for statement in FORMS {
        let apply = ApplyOptions {
            existing: Some(Existing::Error),
            ..applied_by(statement)
        };
        let case = case(Place::new(apply).await, CREATE, sample_schema(true)).await;
        case.place
            .run(&[
                "ALTER TABLE dbo.T ADD CONSTRAINT few CHECK (amount < 1000)",
                "INSERT INTO dbo.T VALUES (1, N'row 1', 1), (7, N'seven', 7)",
                "CREATE TABLE dbo.child (id int NOT NULL PRIMARY KEY REFERENCES dbo.T (id))",
                "INSERT INTO dbo.child VALUES (7)",
            ])
            .await;
        let held = case.sample_rows().await;
        let insert = [Op::Insert].as_slice();
        // The server refuses to delete a row, then to insert one; the last is refused here.
        for refused in [[3, 4], [7, 2000], [7, 1]] {
            let chunks = refused.map(|id| (sample_batch(&sample([id])), insert));
            let error = case.replace("refused", &chunks).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Constraint, "{statement:?}: {error}");
            assert_eq!(case.sample_rows().await, held, "{statement:?}");
        }
        case.place.run(&["DROP TABLE dbo.child"]).await;
        for (batch, ids) in [("second", [3, 4]), ("third", [5, 6])] {
            let chunks = ids.map(|id| (sample_batch(&sample([id])), insert));
            let receipt = case.replace(batch, &chunks).await.unwrap();
            assert_eq!(counts(&receipt), (2, 0, 0, 2), "{statement:?}");
            assert_eq!(case.sample_rows().await, sample(ids), "{statement:?}");
        }
    }
}

/// Rows of a table of codes and names.
fn codes(rows: &[(&str, &str)]) -> (Arc<Schema>, RecordBatch) {
    let fields = vec![
        Field::new("code", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, true),
    ];
    let schema = Arc::new(Schema::new(fields));
    let (codes, names): (Vec<&str>, Vec<&str>) = rows.iter().copied().unzip();
    let columns = [codes, names].map(|texts| Arc::new(StringArray::from(texts)) as ArrayRef);
    let rows = RecordBatch::try_new(schema.clone(), columns.to_vec()).unwrap();
    (schema, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_many_chunks_are_compared_as_those_of_one() {
    const CI: Option<&str> = Some("Latin1_General_CI_AS");
    for statement in FORMS {
        // `A` is the row `a` spelled anew to a source of the target's collation, another row to a source that tells them apart. The key of
        // the last one is too long for a clustered index.
        for (length, source, expect) in [
            (10, CI, (1, 1, 1, 1)),
            (10, None, (2, 0, 1, 2)),
            (500, None, (2, 0, 1, 2)),
        ] {
            let create = format!(
                "CREATE TABLE dbo.T (code nvarchar({length}) COLLATE Latin1_General_CI_AS NOT NULL PRIMARY KEY NONCLUSTERED, \
                 name nvarchar(20) NULL)"
            );
            let declared = source.map(|collation| DeclaredType {
                declared: format!("nvarchar({length})"),
                collation: Some(collation.into()),
            });
            let schema = TableSchema::new(codes(&[]).0, vec![0], vec![declared, None]).unwrap();
            let case = case(Place::new(applied_by(statement)).await, &create, schema).await;
            case.place
                .run(&["INSERT INTO dbo.T VALUES (N'a', N'1'), (N'x', N'1'), (N'y', N'1')"])
                .await;
            let chunks = [
                (codes(&[("A", "2"), ("x", "1")]).1, [Op::Insert; 2].as_slice()),
                (codes(&[("Z", "1")]).1, [Op::Insert].as_slice()),
            ];
            let receipt = case.replace("all", &chunks).await.unwrap();
            assert_eq!(counts(&receipt), expect, "{length} {statement:?} {source:?}");
            let held = "SELECT STRING_AGG(code COLLATE DATABASE_DEFAULT + N'/' + name, N',') \
                        WITHIN GROUP (ORDER BY code) AS v FROM dbo.T";
            assert_eq!(case.place.value(held).await, "A/2,x/1,Z/1", "{statement:?}");
        }
    }
}
