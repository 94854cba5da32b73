//! Types that Arrow lacks: they are made again from the text or the bytes that stand for them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryArray, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use model::{ChangeSink, DeclaredType, ErrorKind, Op, Prepare, TableSchema};
use sqlserver_import::{ApplyOptions, Statement};

use crate::{Case, Place};

const FORMS: [Statement; 2] = [Statement::UpdateInsert, Statement::Merge];
/// `/1/` and `/1/1/`, and a point, as [MS-SSCLRT] has them.
const PLACES: [&[u8]; 2] = [&[0x58], &[0x5A, 0xD6]];
const POINT: [u8; 22] = [
    0, 0, 0, 0, 1, 0x0C, 0, 0, 0, 0, 0, 0, 8, 0x40, 0, 0, 0, 0, 0, 0, 0x10, 0x40,
];

const JSON: &str = r#"{"a":[1,"日"]}"#;

fn schema() -> Arc<TableSchema> {
    let columns = [
        ("id", DataType::Int32, "int"),
        ("v", DataType::Utf8, "sql_variant"),
        ("h", DataType::Binary, "hierarchyid"),
        ("g", DataType::Binary, "geography"),
        ("j", DataType::Utf8, "json"),
    ];
    let fields = columns
        .iter()
        .map(|(name, ty, _)| Field::new(*name, ty.clone(), *name != "id"));
    let declared = columns.iter().map(|(_, _, declared)| {
        Some(DeclaredType {
            declared: (*declared).to_owned(),
            collation: None,
        })
    });
    let arrow = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    TableSchema::new(arrow, vec![0], declared.collect()).unwrap()
}

/// Rows numbered from 1 with these variants; the second row has no place and no point.
fn rows(variants: &[Option<&str>]) -> RecordBatch {
    let count = variants.len();
    let ids = Int32Array::from_iter_values((1..).take(count));
    let places = (0..count).map(|row| (row != 1).then(|| PLACES[row % 2]));
    let points = (0..count).map(|row| (row != 1).then_some(&POINT[..]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(StringArray::from(variants.to_vec())),
        Arc::new(BinaryArray::from_iter(places)),
        Arc::new(BinaryArray::from_iter(points)),
        Arc::new(StringArray::from(vec![JSON; count])),
    ];
    RecordBatch::try_new(schema().arrow().clone(), columns).unwrap()
}

async fn case(statement: Statement) -> Case {
    let apply = ApplyOptions {
        statement,
        ..ApplyOptions::default()
    };
    let case = Case::new(Place::new(apply).await, schema());
    let create = Prepare {
        create: true,
        ..case.prepare(false)
    };
    case.sink.prepare(&create).await.unwrap();
    case
}

/// Variants as a capture writes them, one of each kind of text.
const VARIANTS: [Option<&str>; 12] = [
    Some(r#"{"type":"int","value":"-7"}"#),
    None,
    Some(r#"{"type":"numeric(9,2)","value":"1.50"}"#),
    Some(r#"{"type":"datetimeoffset(7)","value":"2026-01-01 00:00:00.1234567 -14:00"}"#),
    Some(r#"{"type":"datetime","value":"2026-01-01T00:00:00.003"}"#),
    Some(r#"{"type":"varbinary(9)","value":"0x00FF00"}"#),
    Some(r#"{"type":"varchar(9)","collation":"Cyrillic_General_CI_AS","value":"Ж "}"#),
    Some(r#"{"type":"nchar(3)","collation":"Latin1_General_BIN2","value":"日  "}"#),
    Some(r#"{"type":"nvarchar(40)","collation":"Latin1_General_CI_AS","value":"a\\ \/ \" \t"}"#),
    Some(r#"{"type":"varchar(1)","collation":"Latin1_General_CI_AS","value":""}"#),
    Some(r#"{"type":"nvarchar(1)","collation":"Latin1_General_CI_AS","value":""}"#),
    Some(r#"{"type":"varbinary(1)","value":"0x"}"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn values_come_back_with_their_types() {
    for statement in FORMS {
        let case = case(statement).await;
        let rows = rows(&VARIANTS);
        let receipt = case
            .apply("first", rows.clone(), &[Op::Insert; VARIANTS.len()])
            .await
            .unwrap();
        assert_eq!(receipt.inserted, 12, "{statement:?}");
        let read = case.place.rows(&case.table).await;
        let mut read: Vec<_> = read
            .iter()
            .flat_map(|batch| {
                let ids = batch.column(0).as_primitive::<arrow_array::types::Int32Type>();
                (0..batch.num_rows()).map(move |row| {
                    let text = batch.column(1).as_string::<i64>().iter().nth(row).flatten();
                    let place = batch.column(2).as_binary::<i32>().iter().nth(row).flatten();
                    let point = batch.column(3).as_binary::<i64>().iter().nth(row).flatten();
                    let document = batch.column(4).as_string::<i64>().value(row);
                    assert_eq!(document, JSON);
                    (ids.value(row), text, place, point)
                })
            })
            .collect();
        read.sort_unstable();
        for (at, (id, text, place, point)) in read.iter().enumerate() {
            assert_eq!((*id, *text), (at as i32 + 1, VARIANTS[at]), "{statement:?}");
            assert_eq!(*place, (at != 1).then(|| PLACES[at % 2]), "{statement:?}");
            assert_eq!(*point, (at != 1).then_some(&POINT[..]), "{statement:?}");
        }
        let again = case
            .apply("again", rows, &[Op::Upsert; VARIANTS.len()])
            .await
            .unwrap();
        assert_eq!((again.updated, again.unchanged), (0, 12), "{statement:?}");
    }
}

/// Values that are equal to SQL Server, and are not the same.
#[tokio::test(flavor = "multi_thread")]
async fn another_type_of_the_same_value_is_a_change() {
    let pairs = [
        (
            r#"{"type":"int","value":"1"}"#,
            r#"{"type":"bigint","value":"1"}"#,
        ),
        (
            r#"{"type":"varchar(1)","collation":"Latin1_General_CI_AS","value":"a"}"#,
            r#"{"type":"varchar(2)","collation":"Latin1_General_CI_AS","value":"a"}"#,
        ),
        (
            r#"{"type":"varchar(1)","collation":"Latin1_General_CI_AS","value":"a"}"#,
            r#"{"type":"varchar(1)","collation":"Latin1_General_CS_AS","value":"a"}"#,
        ),
        (
            r#"{"type":"varbinary(2)","value":"0x01"}"#,
            r#"{"type":"varbinary(2)","value":"0x0100"}"#,
        ),
    ];
    for statement in FORMS {
        let case = case(statement).await;
        for (number, (before, after)) in pairs.iter().enumerate() {
            let first = rows(&[Some(before)]);
            case.apply(&format!("{number} before"), first, &[Op::Upsert])
                .await
                .unwrap();
            let second = rows(&[Some(after)]);
            let receipt = case
                .apply(&format!("{number} after"), second, &[Op::Upsert])
                .await
                .unwrap();
            assert_eq!(receipt.updated, 1, "{statement:?}: {before} to {after}");
        }
    }
}

/// Its text has a digit too few to compare by, so a vector is written again when its row comes again.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_written_to_their_last_bit() {
    for statement in FORMS {
        let apply = ApplyOptions {
            statement,
            ..ApplyOptions::default()
        };
        let place = Place::new(apply).await;
        place
            .run(&["CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, e vector(2) NULL)"])
            .await;
        let fields = vec![
            Field::new("id", DataType::Int32, false),
            Field::new("e", DataType::Utf8, true),
        ];
        let arrow = Arc::new(Schema::new(fields));
        let schema = TableSchema::new(arrow.clone(), vec![0], vec![None; 2]).unwrap();
        let case = Case::new(place, schema);
        case.sink.prepare(&case.prepare(true)).await.unwrap();
        let row = |vector: &str| {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int32Array::from(vec![1])),
                Arc::new(StringArray::from(vec![vector])),
            ];
            RecordBatch::try_new(arrow.clone(), columns).unwrap()
        };
        for (batch, vector, (inserted, updated)) in [
            ("first", "[0.1,1.0]", (1, 0)),
            ("the last bit", "[0.1,1.0000001]", (0, 1)),
            ("the same", "[0.1,1.0000001]", (0, 1)),
        ] {
            let receipt = case.apply(batch, row(vector), &[Op::Upsert]).await.unwrap();
            assert_eq!(
                (receipt.inserted, receipt.updated),
                (inserted, updated),
                "{batch}"
            );
            let read = case.place.rows(&case.table).await;
            assert_eq!(
                read[0].column(1).as_string::<i64>().value(0),
                vector,
                "{statement:?}"
            );
        }
        let error = case.apply("more", row("[1.0]"), &[Op::Upsert]).await.unwrap_err();
        assert!(error.to_string().contains("42204"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_altered_is_refused() {
    for (variant, word) in [
        (r#"{"type":"int"}"#, "no object"),
        (r#"{"type":"xml","value":"<a/>"}"#, "no value of the type"),
        (r#"{"type":"decimal(9,2)","value":"1.234"}"#, "are not written"),
        (
            r#"{"type":"varchar(1)","collation":"Latin1_General_CI_AS","value":"ab"}"#,
            "are not written",
        ),
        (
            r#"{"type":"varchar(9)","collation":"Latin1_General_CI_AS","value":"Ж"}"#,
            "are not written",
        ),
    ] {
        let case = case(Statement::Merge).await;
        let error = case
            .apply("bad", rows(&[Some(variant)]), &[Op::Insert])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{variant}: {error}");
        assert!(error.message().contains(word), "{variant}: {error}");
        assert_eq!(case.place.value("SELECT COUNT(*) AS n FROM dbo.T").await, "0");
    }
}
