//! Columns that change between two increments: what a target holds by name is what the table holds, though no file has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_cast::display::array_value_to_string;
use futures::TryStreamExt;
use iceberg::spec::{FormatVersion, Literal, NestedField, NestedFieldRef, PrimitiveType, Type};
use model::{ChangeSource, Cut, Op, Position, Selection, SourceEvent, TableSchema};
use test_support::{SampleRow, sample_batch, sample_schema};

use crate::lake::{Change, Lake};

/// A value of each column by name; `None` is NULL.
type Row = BTreeMap<String, Option<String>>;

/// A target that has columns by name, as a SQL table does: a new one is NULL in the rows that are there, and one that the source has no more
/// stays as it is.
#[derive(Default)]
struct Target {
    rows: BTreeMap<i64, Row>,
    position: Option<Position>,
    /// How many rows the last run was told.
    told: usize,
}

impl Target {
    /// Brings the target up to date, as a process of its own. `meanwhile` happens between the look at the columns and the cut.
    async fn run(&mut self, lake: &Lake, meanwhile: impl AsyncFnOnce()) {
        let (source, table) = (lake.source(), lake.table());
        let schema = source.describe(&table).await.unwrap().schema;
        for field in schema.arrow().fields() {
            for row in self.rows.values_mut() {
                row.entry(field.name().clone()).or_default();
            }
        }
        meanwhile().await;
        let Cut::Complete { upto, .. } = source.cut(&table, self.position.as_ref()).await.unwrap() else {
            panic!("the history is there");
        };
        self.told = 0;
        let Some(after) = self.position.clone() else {
            let all = source.read(&table, &schema, Selection::All, Some(&upto)).await;
            for batch in all.unwrap().try_collect::<Vec<_>>().await.unwrap() {
                self.apply(&batch.rows, |_| Op::Insert);
            }
            self.position = Some(upto);
            return;
        };
        let events = source.changes(&table, &schema, &after, &upto).await.unwrap();
        for event in events.try_collect::<Vec<_>>().await.unwrap() {
            match event {
                SourceEvent::Changes(batch) => self.apply(&batch.rows, |row| batch.op(row)),
                SourceEvent::Boundary { at } => self.position = Some(at),
                other => panic!("a difference tells {other:?}"),
            }
        }
    }

    fn apply(&mut self, rows: &RecordBatch, op: impl Fn(usize) -> Op) {
        for (index, (id, row)) in rows_of(rows).into_iter().enumerate() {
            self.told += 1;
            match op(index) {
                Op::Delete => drop(self.rows.remove(&id)),
                _ => self.rows.entry(id).or_default().extend(row),
            }
        }
    }

    /// Runs, and holds what the table holds.
    async fn follows(&mut self, lake: &Lake, what: &str) {
        self.run(lake, async || ()).await;
        self.holds(lake, what).await;
    }

    async fn holds(&self, lake: &Lake, what: &str) {
        let (source, table) = (lake.source(), lake.table());
        let schema = source.describe(&table).await.unwrap().schema;
        let all = source.read(&table, &schema, Selection::All, None).await;
        let batches: Vec<_> = all.unwrap().try_collect().await.unwrap();
        let expected: BTreeMap<_, _> = batches.iter().flat_map(|batch| rows_of(&batch.rows)).collect();
        assert_eq!(self.rows.len(), expected.len(), "{what}");
        for (id, row) in expected {
            let held: Row = row
                .keys()
                .map(|name| (name.clone(), self.rows[&id][name].clone()))
                .collect();
            assert_eq!(held, row, "{what}: row {id}");
        }
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<(i64, Row)> {
    let value = |column: usize, row: usize| {
        let column = batch.column(column);
        column
            .is_valid(row)
            .then(|| array_value_to_string(column, row).unwrap())
    };
    let schema = batch.schema();
    (0..batch.num_rows())
        .map(|row| {
            let names = schema.fields().iter().map(|field| field.name().clone());
            let row: Row = names
                .enumerate()
                .map(|(column, name)| (name, value(column, row)))
                .collect();
            (row["id"].as_ref().unwrap().parse().unwrap(), row)
        })
        .collect()
}

/// A table of format v3 with three rows, one of them without a name and an amount.
async fn lake() -> Lake {
    let lake = Lake::of_format(FormatVersion::V3, sample_schema(true), 1).await;
    let row = |id, name: Option<&str>, amount| SampleRow {
        id,
        name: name.map(str::to_owned),
        amount,
    };
    let rows = [
        row(1, Some("a"), Some(1)),
        row(2, Some("b"), Some(2)),
        row(3, None, None),
    ];
    lake.commit(Change {
        files: vec![sample_batch(&rows)],
        ..Change::default()
    })
    .await;
    lake
}

fn field(id: i32, name: &str, ty: PrimitiveType) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(ty))
}

fn renamed(fields: Vec<NestedFieldRef>, from: &str, to: &str) -> Vec<NestedFieldRef> {
    fields
        .into_iter()
        .map(|field| match field.name == from {
            true => Arc::new(NestedField::clone(&field).with_name(to)),
            false => field,
        })
        .collect()
}

trait Named {
    fn with_name(self, name: &str) -> Self;
}

impl Named for NestedField {
    fn with_name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }
}

#[tokio::test]
async fn a_target_follows_columns_that_no_file_tells_of() {
    let lake = lake().await;
    let mut target = Target::default();
    target.follows(&lake, "the copy").await;

    lake.evolve(|fields| renamed(fields, "name", "title")).await;
    target.follows(&lake, "renamed").await;
    assert_eq!(target.told, 2, "a row without a value has nothing to tell");

    lake.evolve(|mut fields| {
        fields.push(Arc::new(field(4, "note", PrimitiveType::String)));
        fields
    })
    .await;
    target.follows(&lake, "added").await;
    assert_eq!(target.told, 0);

    lake.evolve(|mut fields| {
        let colour = field(5, "colour", PrimitiveType::String).with_initial_default(Literal::string("red"));
        fields.push(Arc::new(colour));
        fields
    })
    .await;
    target.follows(&lake, "added with a default").await;
    assert_eq!(target.told, 3);

    let keep = |fields: Vec<NestedFieldRef>, gone: &str| -> Vec<NestedFieldRef> {
        fields.into_iter().filter(|field| field.name != gone).collect()
    };
    lake.evolve(|fields| keep(fields, "amount")).await;
    target.follows(&lake, "dropped").await;
    assert_eq!(target.told, 0);
    lake.evolve(|mut fields| {
        fields.push(Arc::new(field(6, "amount", PrimitiveType::Long)));
        fields
    })
    .await;
    target.follows(&lake, "added again under its old name").await;
    assert_eq!(target.rows[&1]["amount"], None);

    lake.evolve(|fields| renamed(fields, "title", "name")).await;
    target.follows(&lake, "renamed back").await;
    target.follows(&lake, "nothing happens").await;
    assert_eq!(target.told, 0);
}

/// A catalog gives an older schema's id to the same columns again; what a target was given meanwhile is not forgotten.
#[tokio::test]
async fn a_name_that_goes_and_comes_again_is_told_anew() {
    let lake = lake().await;
    let mut target = Target::default();
    target.follows(&lake, "the copy").await;
    lake.evolve(|fields| renamed(fields, "name", "title")).await;
    target.follows(&lake, "renamed").await;
    lake.evolve(|fields| renamed(fields, "title", "name")).await;
    let row = SampleRow {
        id: 1,
        name: None,
        amount: Some(1),
    };
    lake.commit(Change {
        delete: Some(sample_batch(std::slice::from_ref(&row)).project(&[0]).unwrap()),
        files: vec![sample_batch(&[row])],
        ..Change::default()
    })
    .await;
    target.follows(&lake, "renamed back, and emptied").await;
    lake.evolve(|fields| renamed(fields, "name", "title")).await;
    target.follows(&lake, "renamed again").await;
    assert_eq!(target.rows[&1]["title"], None);
}

/// Dropped and added again between two runs, and swapped: the names are the same, the columns are not.
#[tokio::test]
async fn the_name_of_another_column_is_not_taken_for_the_same() {
    let lake = lake().await;
    lake.evolve(|mut fields| {
        fields.push(Arc::new(field(4, "other", PrimitiveType::String)));
        fields
    })
    .await;
    let mut target = Target::default();
    target.follows(&lake, "the copy").await;
    lake.evolve(|fields| {
        let fields = renamed(fields, "name", "x");
        renamed(renamed(fields, "other", "name"), "x", "other")
    })
    .await;
    target.follows(&lake, "swapped").await;
    lake.evolve(|mut fields| {
        fields.retain(|field| field.name != "amount");
        fields.push(Arc::new(field(5, "amount", PrimitiveType::Long)));
        fields
    })
    .await;
    target.follows(&lake, "another amount").await;
}

/// The columns are looked at, a column comes with values, and then the cut is taken: by a copy, and by an increment.
#[tokio::test]
async fn a_column_that_comes_within_a_run_is_told_by_the_next() {
    let lake = lake().await;
    let mut target = Target::default();
    let note = async |id: i32, name: &'static str, key: i32| {
        lake.evolve(|mut fields| {
            fields.push(Arc::new(field(id, name, PrimitiveType::String)));
            fields
        })
        .await;
        let schema = lake.handle().await.schema().unwrap();
        lake.commit(Change {
            files: vec![row_with_notes(&schema, key)],
            ..Change::default()
        })
        .await;
    };
    target.run(&lake, || note(4, "first", 10)).await;
    target.follows(&lake, "after the copy").await;
    target.run(&lake, || note(5, "second", 11)).await;
    target.follows(&lake, "after the increment").await;
    assert_eq!(target.told, 1);
}

/// A row that has a text in each column but the first three.
fn row_with_notes(schema: &TableSchema, key: i32) -> RecordBatch {
    let columns = schema.arrow().fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "id" => Arc::new(Int32Array::from(vec![key])),
            "amount" => Arc::new(Int64Array::from(vec![7])),
            name => Arc::new(StringArray::from(vec![name])),
        }
    });
    RecordBatch::try_new(schema.arrow().clone(), columns.collect()).unwrap()
}
