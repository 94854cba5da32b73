//! Folding by tables: what goes in, what must come out.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use model::{TableName, TableSchema};

use super::*;
use Op::{Delete, Insert, Update, Upsert};
use Presence::{Absent, PerhapsIdentical, Unknown};

fn schema(key: Vec<usize>) -> Arc<TableSchema> {
    let fields = vec![
        Field::new("k", DataType::Utf8, false),
        Field::new("v", DataType::Int32, false),
    ];
    TableSchema::new(Arc::new(Schema::new(fields)), key, vec![None, None]).unwrap()
}

fn batch(key: Vec<usize>, rows: &[(Op, &str, i32)], presence: Presence) -> ChangeBatch {
    let schema = schema(key);
    let keys = StringArray::from_iter_values(rows.iter().map(|r| r.1));
    let values = Int32Array::from_iter_values(rows.iter().map(|r| r.2));
    let columns =
        RecordBatch::try_new(schema.arrow().clone(), vec![Arc::new(keys), Arc::new(values)]).unwrap();
    let ops = Int8Array::from_iter_values(rows.iter().map(|r| r.0 as i8));
    ChangeBatch::new(TableName::new("s", "t"), schema, columns, ops, presence).unwrap()
}

fn rows(batch: &ChangeBatch) -> Vec<(Op, String, i32)> {
    let keys = batch.rows.column(0).as_string::<i32>();
    let values = batch.rows.column(1).as_primitive::<Int32Type>();
    (0..batch.len())
        .map(|i| (batch.op(i), keys.value(i).to_owned(), values.value(i)))
        .collect()
}

fn fold(batches: Vec<ChangeBatch>) -> Vec<ChangeBatch> {
    let mut fold = Fold::new();
    for batch in batches {
        fold.push(batch).unwrap();
    }
    let expected = fold.rows();
    let folded: Vec<_> = fold.finish().collect::<Result<_>>().unwrap();
    assert_eq!(folded.iter().map(ChangeBatch::len).sum::<usize>(), expected);
    folded
}

#[test]
fn two_changes_of_a_key_amount_to_one() {
    for (before, after, remains) in [
        (Insert, Update, Insert),
        (Insert, Upsert, Insert),
        (Insert, Insert, Insert),
        (Insert, Delete, Delete),
        (Update, Update, Update),
        (Update, Insert, Upsert),
        (Update, Delete, Delete),
        (Upsert, Update, Upsert),
        (Upsert, Delete, Delete),
        (Delete, Insert, Upsert),
        (Delete, Update, Upsert),
        (Delete, Delete, Delete),
    ] {
        let want = [(remains, "a".to_owned(), 2)];
        let one_batch = fold(vec![batch(
            vec![0],
            &[(before, "a", 1), (after, "a", 2)],
            Unknown,
        )]);
        assert_eq!(
            rows(&one_batch[0]),
            want,
            "{before:?} then {after:?} in one batch"
        );
        let two_batches = fold(vec![
            batch(vec![0], &[(before, "a", 1)], Unknown),
            batch(vec![0], &[(after, "a", 2)], Unknown),
        ]);
        assert_eq!(two_batches.len(), 1);
        assert_eq!(
            rows(&two_batches[0]),
            want,
            "{before:?} then {after:?} in two batches"
        );
    }
}

#[test]
fn a_longer_history_folds_step_by_step() {
    let folded = fold(vec![
        batch(
            vec![0],
            &[(Insert, "a", 1), (Insert, "b", 1), (Update, "a", 2)],
            Unknown,
        ),
        batch(vec![0], &[(Delete, "a", 3), (Insert, "c", 1)], Unknown),
        batch(vec![0], &[(Insert, "a", 4), (Update, "c", 2)], Unknown),
    ]);
    let all: Vec<_> = folded.iter().flat_map(rows).collect();
    assert_eq!(
        all,
        [
            (Insert, "b".to_owned(), 1),
            (Upsert, "a".to_owned(), 4),
            (Insert, "c".to_owned(), 2)
        ]
    );
}

#[test]
fn keys_differ_by_every_byte() {
    let folded = fold(vec![batch(
        vec![0],
        &[
            (Upsert, "a", 1),
            (Upsert, "A", 2),
            (Upsert, "a ", 3),
            (Upsert, "a\0", 4),
            (Upsert, "", 5),
        ],
        Unknown,
    )]);
    assert_eq!(folded[0].len(), 5);
}

#[test]
fn a_batch_without_repeated_keys_is_passed_on_without_a_copy() {
    let whole = batch(vec![0], &[(Insert, "a", 1), (Insert, "b", 1)], Unknown);
    let buffer = whole.rows.column(0).to_data().buffers()[0].as_ptr();
    let folded = fold(vec![whole, batch(vec![0], &[(Insert, "c", 1)], Unknown)]);
    assert_eq!(folded[0].rows.column(0).to_data().buffers()[0].as_ptr(), buffer);
}

#[test]
fn rows_without_a_key_are_all_kept() {
    let folded = fold(vec![batch(
        vec![],
        &[(Insert, "a", 1), (Insert, "a", 1)],
        Unknown,
    )]);
    assert_eq!(folded[0].len(), 2);
}

#[test]
fn an_empty_batch_leaves_nothing() {
    assert!(fold(vec![batch(vec![0], &[], Unknown)]).is_empty());
    assert!(Fold::new().is_empty());
}

#[test]
fn presence_survives_only_where_all_changes_of_a_key_agree() {
    for (first, second, remains) in [
        (PerhapsIdentical, PerhapsIdentical, PerhapsIdentical),
        (Absent, Absent, Absent),
        (PerhapsIdentical, Unknown, Unknown),
        (Unknown, PerhapsIdentical, Unknown),
        (Absent, Presence::Present, Unknown),
    ] {
        let folded = fold(vec![
            batch(vec![0], &[(Upsert, "a", 1)], first),
            batch(vec![0], &[(Upsert, "a", 2), (Upsert, "b", 2)], second),
        ]);
        let of = |key: &str| {
            let holds = |b: &&ChangeBatch| rows(b).iter().any(|r| r.1 == key);
            folded.iter().find(holds).unwrap().presence
        };
        assert_eq!((of("a"), of("b")), (remains, second), "{first:?} then {second:?}");
    }
}

#[test]
fn many_keys_over_many_batches_keep_the_last_image() {
    let keys: Vec<String> = (0..500).map(|k| format!("key {k}")).collect();
    let batches = (0..20).map(|round| {
        let changed: Vec<_> = keys
            .iter()
            .enumerate()
            .filter(|(k, _)| k.is_multiple_of(round + 1))
            .map(|(_, key)| (Upsert, key.as_str(), round as i32))
            .collect();
        batch(vec![0], &changed, Unknown)
    });
    let folded: Vec<_> = fold(batches.collect()).iter().flat_map(rows).collect();
    assert_eq!(folded.len(), keys.len());
    for (_, key, value) in folded {
        let k: usize = key["key ".len()..].parse().unwrap();
        let last = (0..20).filter(|round| k.is_multiple_of(round + 1)).max().unwrap();
        assert_eq!(value as usize, last, "{key}");
    }
}
