//! Random histories: whatever two snapshots are compared, the changes lead from the one to the other.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use iceberg::spec::FormatVersion;
use iceberg_reader::IcebergSource;
use model::{Batches, ChangeBatch, ChangeSource, Cut, Op, Position, Selection, SourceEvent};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use test_support::{SampleRow, for_each_seed, sample_batch, sample_rows, sample_schema};

use crate::lake::{Change, Lake};

type Rows = BTreeMap<i32, SampleRow>;

#[test]
fn differences_lead_from_one_snapshot_to_the_other() {
    for_each_seed(0..6, |seed| async move {
        let mut rng = StdRng::seed_from_u64(seed);
        let format = if seed % 2 == 0 {
            FormatVersion::V2
        } else {
            FormatVersion::V3
        };
        let lake = Lake::of_format(format, sample_schema(true), seed).await;
        let mut rows = Rows::new();
        let mut history = vec![(cut(&lake, None).await, rows.clone())];
        for _ in 0..7 {
            let change = random_change(&mut rng, &mut rows);
            lake.commit(change).await;
            check_reads(&lake, &rows, &mut rng).await;
            history.push((cut(&lake, None).await, rows.clone()));
        }
        for _ in 0..8 {
            let (from, to) = (
                history.choose(&mut rng).unwrap(),
                history.choose(&mut rng).unwrap(),
            );
            check_difference(&lake, from, to).await;
            let (first, second) = (to, history.choose(&mut rng).unwrap());
            check_interrupted(&lake, from, first, second, &mut rng).await;
        }
    });
}

/// Draws a change and applies it to `rows`.
fn random_change(rng: &mut StdRng, rows: &mut Rows) -> Change {
    match rng.random_range(0..6) {
        0 if !rows.is_empty() => Change {
            files: in_files(rng, rows.values().cloned().collect()),
            replace: true,
            ..Change::default()
        },
        1 => {
            rows.retain(|_, _| rng.random_bool(0.7));
            rows.extend(drawn(rng, 10));
            Change {
                files: in_files(rng, rows.values().cloned().collect()),
                replace: true,
                ..Change::default()
            }
        }
        2 => {
            let gone: Vec<_> = rows.values().filter(|_| rng.random_bool(0.3)).cloned().collect();
            gone.iter().for_each(|row| drop(rows.remove(&row.id)));
            Change {
                delete: Some(keys(&gone)),
                ..Change::default()
            }
        }
        _ => {
            let upserts: Vec<_> = drawn(rng, 40).into_values().collect();
            rows.extend(upserts.iter().map(|row| (row.id, row.clone())));
            Change {
                delete: Some(keys(&upserts)),
                files: in_files(rng, upserts),
                ..Change::default()
            }
        }
    }
}

fn drawn(rng: &mut StdRng, most: usize) -> Rows {
    (0..rng.random_range(1..=most))
        .map(|_| {
            let id = rng.random_range(-60..60);
            let name = match rng.random_range(0..4) {
                0 => None,
                1 => Some(String::new()),
                n => Some(format!("name {n}")),
            };
            let amount = rng.random_bool(0.8).then(|| rng.random_range(0..3));
            (id, SampleRow { id, name, amount })
        })
        .collect()
}

/// Spreads rows over some files, in any order.
fn in_files(rng: &mut StdRng, mut rows: Vec<SampleRow>) -> Vec<RecordBatch> {
    if rng.random_bool(0.5) {
        rows.shuffle(rng);
    }
    let size = rng.random_range(8..=30);
    rows.chunks(size).map(sample_batch).collect()
}

fn keys(rows: &[SampleRow]) -> RecordBatch {
    sample_batch(rows).project(&[0]).unwrap()
}

async fn cut(lake: &Lake, after: Option<&Position>) -> Position {
    match lake.source().cut(&lake.table(), after).await.unwrap() {
        Cut::Complete { upto, .. } => upto,
        gap => panic!("a cut is {gap:?}"),
    }
}

async fn check_reads(lake: &Lake, rows: &Rows, rng: &mut StdRng) {
    let source = lake.source();
    let all = source
        .read(&lake.table(), lake.schema(), Selection::All, None)
        .await;
    assert_eq!(
        collected(all.unwrap()).await,
        rows.values().cloned().collect::<Vec<_>>()
    );

    let asked: Vec<_> = drawn(rng, 10).into_values().collect();
    let found = source
        .read(&lake.table(), lake.schema(), Selection::Keys(keys(&asked)), None)
        .await;
    let expected: Vec<_> = asked
        .iter()
        .filter_map(|row| rows.get(&row.id))
        .cloned()
        .collect();
    assert_eq!(collected(found.unwrap()).await, expected);

    let start = cut(lake, None).await;
    let mut after = None;
    let mut copied = Vec::new();
    loop {
        let chunks = source
            .chunks(&lake.table(), lake.schema(), &start, after.clone(), 20)
            .await;
        let Some(chunk) = chunks.unwrap().try_next().await.unwrap() else {
            break;
        };
        let part = source
            .read(&lake.table(), lake.schema(), chunk.selection, None)
            .await;
        copied.extend(collected(part.unwrap()).await);
        after = chunk.through;
    }
    copied.sort();
    assert_eq!(
        copied,
        rows.values().cloned().collect::<Vec<_>>(),
        "chunks hold each row once"
    );
}

async fn collected(batches: Batches) -> Vec<SampleRow> {
    let batches: Vec<_> = batches.try_collect().await.unwrap();
    let rows: Vec<_> = batches.into_iter().map(|batch| batch.rows).collect();
    sample_rows(&rows)
}

async fn check_difference(lake: &Lake, from: &(Position, Rows), to: &(Position, Rows)) {
    let source = thrifty(lake);
    let events = source.changes(&lake.table(), lake.schema(), &from.0, &to.0).await;
    let events: Vec<_> = events.unwrap().try_collect().await.unwrap();
    let mut rows = from.1.clone();
    let mut told = BTreeSet::new();
    for event in &events {
        let SourceEvent::Changes(batch) = event else {
            continue;
        };
        for index in 0..batch.len() {
            let row = sample_rows(&[batch.rows.slice(index, 1)]).remove(0);
            assert!(told.insert(row.id), "key {} is told twice", row.id);
            let before = match batch.op(index) {
                Op::Delete => {
                    assert_eq!(
                        from.1.get(&row.id),
                        Some(&row),
                        "a delete carries the row that went"
                    );
                    rows.remove(&row.id)
                }
                _ => rows.insert(row.id, row.clone()),
            };
            assert_eq!(
                before.is_some(),
                batch.op(index) != Op::Insert,
                "{:?} of {row:?}",
                batch.op(index)
            );
        }
    }
    assert_eq!(rows, to.1);
    let changed = from
        .1
        .keys()
        .chain(to.1.keys())
        .filter(|id| from.1.get(*id) != to.1.get(*id));
    assert_eq!(told, changed.copied().collect(), "only what differs is told");
    assert!(matches!(events.last(), Some(SourceEvent::Boundary { at }) if *at == to.0));
}

/// A source with so little memory that differences take several passes and are told in many parts.
fn thrifty(lake: &Lake) -> IcebergSource {
    lake.source().difference_memory(2_400)
}

/// The changes to `first` are applied in part, then the table has moved on to `second`.
async fn check_interrupted(
    lake: &Lake,
    from: &(Position, Rows),
    first: &(Position, Rows),
    second: &(Position, Rows),
    rng: &mut StdRng,
) {
    let mut rows = from.1.clone();
    let mut at = from.0.clone();
    for (upto, stops) in [(&first.0, true), (&second.0, false)] {
        let source = thrifty(lake);
        let events = source.changes(&lake.table(), lake.schema(), &at, upto).await;
        let mut untaken = Vec::new();
        for event in events.unwrap().try_collect::<Vec<_>>().await.unwrap() {
            match event {
                SourceEvent::Expected(_) | SourceEvent::LeftOut { .. } => {
                    panic!("snapshots have no times to expect")
                }
                SourceEvent::Changes(batch) => untaken.push(batch),
                SourceEvent::Boundary { at: reached } => {
                    untaken.drain(..).for_each(|batch| apply(&mut rows, &batch));
                    at = reached;
                    if stops && rng.random_bool(0.3) {
                        break;
                    }
                }
            }
        }
    }
    assert_eq!((at, rows), *second);
}

fn apply(rows: &mut Rows, batch: &ChangeBatch) {
    for index in 0..batch.len() {
        let row = sample_rows(&[batch.rows.slice(index, 1)]).remove(0);
        match batch.op(index) {
            Op::Delete => rows.remove(&row.id),
            _ => rows.insert(row.id, row),
        };
    }
}

/// The changes in order.
async fn difference(lake: &Lake, from: &Position, to: &Position) -> Vec<(Op, RecordBatch)> {
    let changes = thrifty(lake)
        .changes(&lake.table(), lake.schema(), from, to)
        .await;
    let events: Vec<_> = changes.unwrap().try_collect().await.unwrap();
    let batches = events.into_iter().filter_map(|event| match event {
        SourceEvent::Changes(batch) => Some(batch),
        _ => None,
    });
    let rows = |batch: ChangeBatch| -> Vec<_> {
        let rows = 0..batch.len();
        rows.map(|row| (batch.op(row), batch.rows.slice(row, 1)))
            .collect()
    };
    batches.flat_map(rows).collect()
}

#[tokio::test]
async fn a_key_that_lost_one_of_its_rows_is_told_with_the_one_that_it_has() {
    let lake = Lake::new(sample_schema(true), 1).await;
    let (first, second) = (
        [SampleRow::new(1, "a", 0), SampleRow::new(2, "a", 0)],
        [SampleRow::new(1, "b", 0)],
    );
    let both = Change {
        files: vec![sample_batch(&first), sample_batch(&second)],
        ..Change::default()
    };
    lake.commit(both).await;
    let twice = cut(&lake, None).await;
    let stayed = Change {
        delete_rows: Some(sample_batch(&second)),
        ..Change::default()
    };
    let written_anew = Change {
        files: vec![sample_batch(&first)],
        replace: true,
        ..Change::default()
    };
    for change in [stayed, written_anew] {
        lake.commit(change).await;
        let once = cut(&lake, None).await;
        let told = difference(&lake, &twice, &once).await;
        let told: Vec<_> = told
            .iter()
            .map(|(op, row)| (*op, sample_rows(std::slice::from_ref(row)).remove(0)))
            .collect();
        assert_eq!(told, [(Op::Upsert, first[0].clone())]);
    }
    let gone = Change {
        delete: Some(keys(&first[..1])),
        ..Change::default()
    };
    lake.commit(gone).await;
    let ops = difference(&lake, &twice, &cut(&lake, None).await).await;
    let ops: Vec<_> = ops.iter().map(|(op, _)| *op).collect();
    assert_eq!(ops, [Op::Delete; 2], "nothing of the key is left");
}
