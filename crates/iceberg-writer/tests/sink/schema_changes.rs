//! The source's columns are no longer the table's.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, cast::AsArray};
use arrow_schema::{DataType, Field, Schema};
use iceberg::TableUpdate;
use iceberg_writer::SchemaPolicy::{self, Evolve, Exception, Ignore, Lenient, TryEvolve};
use iceberg_writer::TableOptions;
use model::{ChangeBatch, ChangeSink, CommitOutcome, ErrorKind, Op, Presence, TableSchema};

use crate::warehouse::{Target, Warehouse};

type Column = (&'static str, DataType, bool);
/// Columns afterwards, renames, what is done about them, and the rows afterwards.
type Followed<'a> = (&'a [Column], &'a [(&'a str, &'a str)], &'a str, [&'a str; 3]);
/// Columns afterwards, the policy, and the rows afterwards unless it is refused.
type Settled<'a> = (&'a [Column], SchemaPolicy, Option<[&'a str; 3]>);

fn schema(columns: &[Column]) -> Arc<TableSchema> {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, ty, nullable)| Field::new(*name, ty.clone(), *nullable))
        .collect();
    let count = fields.len();
    TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None; count]).unwrap()
}

const ID: Column = ("id", DataType::Int32, false);
const NAME: Column = ("name", DataType::Utf8, true);
const AMOUNT: Column = ("amount", DataType::Int32, false);

/// A value of each column for one row.
fn row(schema: &TableSchema, id: i32) -> RecordBatch {
    let columns = schema.arrow().fields().iter().map(|field| -> ArrayRef {
        match field.data_type() {
            DataType::Int32 => Arc::new(Int32Array::from(vec![id])),
            DataType::Int64 => Arc::new(Int64Array::from(vec![i64::from(id) << 40])),
            _ => Arc::new(StringArray::from(vec![format!("{} {id}", field.name())])),
        }
    });
    RecordBatch::try_new(schema.relaxed(), columns.collect()).unwrap()
}

async fn upsert(target: &Target<'_>, name: &str, id: i32) -> model::Result<CommitOutcome> {
    let rows = row(&target.schema, id);
    let (table, schema) = (target.name.clone(), target.schema.clone());
    let batch = ChangeBatch::uniform(table, schema, rows, Op::Upsert, Presence::Unknown)?;
    let staged = target.stage_batches(vec![batch]).await?.staged;
    target.sink.commit(&target.next(name, staged).await).await
}

/// The rows as text, columns by name, in the order of the key.
async fn rows(target: &Target<'_>) -> Vec<String> {
    let mut shown = Vec::new();
    for batch in target.warehouse.batches(&target.name).await {
        for row in 0..batch.num_rows() {
            let columns = batch.schema_ref().fields().iter().zip(batch.columns());
            let values = columns.map(|(field, column)| {
                let value = match column.data_type() {
                    _ if column.is_null(row) => "-".to_owned(),
                    DataType::Int32 => column
                        .as_primitive::<arrow_array::types::Int32Type>()
                        .value(row)
                        .to_string(),
                    DataType::Int64 => column
                        .as_primitive::<arrow_array::types::Int64Type>()
                        .value(row)
                        .to_string(),
                    _ => column.as_string::<i32>().value(row).to_owned(),
                };
                format!("{}={value}", field.name())
            });
            shown.push(values.collect::<Vec<_>>().join(" "));
        }
    }
    shown.sort();
    shown
}

/// Prepares for other columns and upserts keys 1 and 2, of which the table has 1.
async fn evolve(
    before: &[Column],
    after: &[Column],
    policy: SchemaPolicy,
    renames: &[(&str, &str)],
) -> model::Result<(Vec<String>, Vec<String>, Vec<String>)> {
    let mut warehouse = Warehouse::new(50);
    let first = Target::with_schema(&warehouse, schema(before)).await;
    upsert(&first, "a", 0).await?;
    upsert(&first, "b", 1).await?;
    warehouse.table_options = TableOptions {
        schema_changes: policy,
        renames: renames
            .iter()
            .map(|(from, to)| ((*from).into(), (*to).into()))
            .collect(),
        ..TableOptions::default()
    };
    let target = Target {
        sink: warehouse.sink(),
        warehouse: &warehouse,
        sync: model::SyncId::new("test/dbo.T/to_iceberg"),
        name: model::TableName::new("dbo", "T"),
        schema: schema(after),
    };
    let prepared = target.prepare(|_| ()).await?;
    let again = target.prepare(|_| ()).await?;
    assert!(again.actions.is_empty(), "a second time: {again:?}");
    for (name, id) in [("c", 1), ("d", 2)] {
        let ended = upsert(&target, name, id).await?;
        assert!(matches!(ended, CommitOutcome::Committed(_)), "{ended:?}");
    }
    Ok((prepared.actions, prepared.losses, rows(&target).await))
}

#[tokio::test]
async fn a_table_follows_its_source() {
    let wide = ("amount", DataType::Int64, false);
    let relaxed = ("amount", DataType::Int32, true);
    let note = ("note", DataType::Utf8, false);
    let title = ("title", DataType::Utf8, true);
    let before = &[ID, NAME, AMOUNT][..];
    let cases: &[Followed] = &[
        (
            &[ID, NAME, AMOUNT, note.clone()],
            &[],
            "add column \"note\" (string)",
            [
                "id=0 name=name 0 amount=0 note=-",
                "id=1 name=name 1 amount=1 note=note 1",
                "id=2 name=name 2 amount=2 note=note 2",
            ],
        ),
        (
            &[ID, AMOUNT],
            &[],
            "drop column \"name\"",
            ["id=0 amount=0", "id=1 amount=1", "id=2 amount=2"],
        ),
        (
            &[ID, title.clone(), AMOUNT],
            &[("name", "title")],
            "rename column \"name\" to \"title\"",
            [
                "id=0 title=name 0 amount=0",
                "id=1 title=title 1 amount=1",
                "id=2 title=title 2 amount=2",
            ],
        ),
        (
            &[ID, NAME, wide],
            &[],
            "widen column \"amount\" from int to long",
            [
                "id=0 name=name 0 amount=0",
                "id=1 name=name 1 amount=1099511627776",
                "id=2 name=name 2 amount=2199023255552",
            ],
        ),
        (
            &[ID, NAME, relaxed],
            &[],
            "let column \"amount\" be NULL",
            [
                "id=0 name=name 0 amount=0",
                "id=1 name=name 1 amount=1",
                "id=2 name=name 2 amount=2",
            ],
        ),
        (
            &[ID, AMOUNT, NAME],
            &[],
            "put the columns in the source's order",
            [
                "id=0 amount=0 name=name 0",
                "id=1 amount=1 name=name 1",
                "id=2 amount=2 name=name 2",
            ],
        ),
    ];
    for (after, renames, action, expected) in cases {
        for policy in [Evolve, TryEvolve] {
            let (actions, losses, rows) = evolve(before, after, policy, renames).await.unwrap();
            assert_eq!(actions, [*action], "{policy:?}");
            assert!(losses.is_empty(), "{losses:?}");
            assert_eq!(rows, expected, "{action} by {policy:?}");
        }
    }
}

/// A name that one column takes may be the one that another column leaves in the same step.
#[tokio::test]
async fn columns_that_pass_their_names_on_keep_their_values() {
    let text = |name| (name, DataType::Utf8, true);
    let before = &[ID, text("a"), text("b"), text("c")][..];
    let after = &[ID, text("b"), text("c"), text("d")][..];
    let renames = [("a", "b"), ("b", "c"), ("c", "d")];
    for policy in [Exception, Evolve, Lenient] {
        let (actions, _, rows) = evolve(before, after, policy, &renames).await.unwrap();
        let expected = renames.map(|(from, to)| format!("rename column {from:?} to {to:?}"));
        assert_eq!(actions, expected, "{policy:?}");
        assert_eq!(rows[0], "id=0 b=a 0 c=b 0 d=c 0", "{policy:?}");
    }
}

/// Key 1 comes with what it has in the columns that are still written, so it stays as it is.
#[tokio::test]
async fn what_a_table_cannot_follow_is_refused_or_left_out() {
    let text = ("amount", DataType::Utf8, true);
    let optional = ("amount", DataType::Int32, true);
    let before = &[ID, NAME, optional.clone()][..];
    let cases: &[Settled] = &[
        (&[ID, NAME, text.clone()], Exception, None),
        (&[ID, NAME, text.clone()], Evolve, None),
        (
            &[ID, NAME, text.clone()],
            TryEvolve,
            Some([
                "id=0 name=name 0 amount=0",
                "id=1 name=name 1 amount=1",
                "id=2 name=name 2 amount=-",
            ]),
        ),
        (
            &[ID, NAME, text],
            Ignore,
            Some([
                "id=0 name=name 0 amount=0",
                "id=1 name=name 1 amount=1",
                "id=2 name=name 2 amount=-",
            ]),
        ),
        (&[ID, NAME], Exception, None),
        (
            &[ID, NAME],
            Lenient,
            Some([
                "id=0 name=name 0 amount=0",
                "id=1 name=name 1 amount=1",
                "id=2 name=name 2 amount=-",
            ]),
        ),
        (
            &[ID, NAME, optional, ("note", DataType::Utf8, true)],
            Ignore,
            Some([
                "id=0 name=name 0 amount=0",
                "id=1 name=name 1 amount=1",
                "id=2 name=name 2 amount=2",
            ]),
        ),
        (&[("id", DataType::Utf8, false), NAME], Ignore, None),
        (&[("id", DataType::Utf8, false), NAME], Lenient, None),
    ];
    for (after, policy, expected) in cases {
        match (evolve(before, after, *policy, &[]).await, expected) {
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{policy:?}: {error}"),
            (Ok((_, losses, rows)), Some(expected)) => {
                assert_eq!(losses.len(), 1, "{policy:?}: {losses:?}");
                assert_eq!(&rows, expected, "{policy:?}");
            }
            (ended, _) => panic!("{policy:?} for {after:?} ended as {ended:?}"),
        }
    }
}

/// A column that comes back under its old name does not bring its old values back, and older snapshots keep them.
#[tokio::test]
async fn a_column_that_comes_back_is_a_new_one() {
    let mut warehouse = Warehouse::new(51);
    warehouse.table_options.schema_changes = Evolve;
    for (batch, columns) in [("a", &[ID, NAME][..]), ("b", &[ID]), ("c", &[ID, NAME])] {
        let target = Target::with_schema(&warehouse, schema(columns)).await;
        let id = i32::from(batch.as_bytes()[0] - b'a');
        upsert(&target, batch, id).await.unwrap();
    }
    let target = Target::with_schema(&warehouse, schema(&[ID, NAME])).await;
    assert_eq!(
        rows(&target).await,
        ["id=0 name=-", "id=1 name=-", "id=2 name=name 2"]
    );
    let table = warehouse.table(&target.name).await;
    let ids: Vec<_> = table
        .iceberg_schema()
        .as_struct()
        .fields()
        .iter()
        .map(|field| field.id)
        .collect();
    assert_eq!(ids, [1, 3]);
}

/// The names of renamed and new columns are added for files that others may add without field ids.
#[tokio::test]
async fn a_name_mapping_is_kept_up() {
    let mut warehouse = Warehouse::new(52);
    let target = Target::with_schema(&warehouse, schema(&[ID, NAME])).await;
    let mapping = r#"[{"field-id":1,"names":["id"]},{"field-id":2,"names":["name"]}]"#;
    let updates = [("schema.name-mapping.default".to_owned(), mapping.to_owned())].into();
    let change = iceberg_table::MetadataChange {
        requirements: vec![],
        updates: vec![TableUpdate::SetProperties { updates }],
    };
    let table = warehouse.table(&target.name).await;
    iceberg_table::Catalog::commit(&warehouse.catalog(), &table, change)
        .await
        .unwrap();
    warehouse.table_options.schema_changes = Evolve;
    warehouse.table_options.renames = [("name".to_owned(), "title".to_owned())].into();
    let columns = [
        ID,
        ("title", DataType::Utf8, true),
        ("name", DataType::Int32, true),
        ("note", DataType::Utf8, true),
    ];
    Target::with_schema(&warehouse, schema(&columns[..2])).await;
    warehouse.table_options.renames.clear();
    let target = Target::with_schema(&warehouse, schema(&columns)).await;
    let table = warehouse.table(&target.name).await;
    assert_eq!(
        table.metadata().properties()["schema.name-mapping.default"],
        r#"[{"field-id":1,"names":["id"]},{"field-id":2,"names":["name","title"]},{"field-id":4,"names":["note"]}]"#
    );
}
