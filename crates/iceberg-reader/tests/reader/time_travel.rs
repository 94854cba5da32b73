//! Older snapshots, pinned ones, and positions that lead nowhere.

use futures::TryStreamExt;
use iceberg_reader::{IcebergSource, SnapshotChoice, SnapshotInfo, files, schema_text, snapshots};
use model::{ChangeSource, Cut, ErrorKind, Op, Position, Selection, SourceEvent, Timestamp, Tracking};
use test_support::{SampleRow, sample_batch, sample_rows, sample_schema};

use crate::lake::{Change, Lake};

async fn append(lake: &Lake, id: i32) -> i64 {
    lake.clock().advance(1_000);
    lake.commit(Change {
        files: vec![sample_batch(&[SampleRow::new(id, "x", 0)])],
        ..Change::default()
    })
    .await
}

async fn ids(lake: &Lake, source: &IcebergSource, at: Option<&Position>) -> Vec<i32> {
    let rows = source
        .read(&lake.table(), lake.schema(), Selection::All, at)
        .await
        .unwrap();
    let batches: Vec<_> = rows.map_ok(|batch| batch.rows).try_collect().await.unwrap();
    sample_rows(&batches).into_iter().map(|row| row.id).collect()
}

async fn cut(lake: &Lake, source: &IcebergSource) -> Position {
    match source.cut(&lake.table(), None).await.unwrap() {
        Cut::Complete { upto, .. } => upto,
        gap => panic!("{gap:?}"),
    }
}

#[tokio::test]
async fn any_snapshot_can_be_read_by_id_time_name_or_position() {
    let lake = Lake::new(sample_schema(true), 1).await;
    let empty = cut(&lake, &lake.source()).await;
    let first = append(&lake, 1).await;
    let position = cut(&lake, &lake.source()).await;
    append(&lake, 2).await;

    let made = snapshots(&lake.handle().await);
    let [made_first, made_second] = made.as_slice() else {
        panic!("there are two snapshots");
    };
    let just_before = |snapshot: &SnapshotInfo| Timestamp(snapshot.timestamp.0 - 1);
    let pinned = |choice| lake.source().pinned(choice);
    assert_eq!(ids(&lake, &lake.source(), None).await, [1, 2]);
    assert_eq!(ids(&lake, &lake.source(), Some(&position)).await, [1]);
    assert!(ids(&lake, &lake.source(), Some(&empty)).await.is_empty());
    let head = made_second.id.to_string();
    for tag in ["yesterday", "20240131", "007", &head] {
        let tagging = lake.source().holding(tag);
        tagging.acknowledge(&lake.table(), &position).await.unwrap();
    }
    for (choice, rows) in [
        (SnapshotChoice::parse(&first.to_string()), &[1][..]),
        (SnapshotChoice::parse("yesterday"), &[1]),
        (SnapshotChoice::parse("20240131"), &[1]),
        (SnapshotChoice::parse("007"), &[1]),
        // An id is rather that of a snapshot than the name of a tag.
        (SnapshotChoice::parse(&head), &[1, 2]),
        (SnapshotChoice::parse("main"), &[1, 2]),
    ] {
        assert_eq!(
            ids(&lake, &pinned(choice.clone()), None).await,
            rows,
            "{choice:?}"
        );
    }
    assert_eq!(
        ids(
            &lake,
            &pinned(SnapshotChoice::AsOf(just_before(made_second))),
            None
        )
        .await,
        [1]
    );
    assert_eq!(cut(&lake, &pinned(SnapshotChoice::Id(first))).await, position);
    for choice in [
        SnapshotChoice::Id(4711),
        SnapshotChoice::parse("7"),
        SnapshotChoice::AsOf(just_before(made_first)),
        SnapshotChoice::Named("tomorrow".into()),
    ] {
        let refused = pinned(choice.clone()).cut(&lake.table(), None).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{choice:?}");
    }
}

async fn copied(lake: &Lake, source: &IcebergSource, start: &Position) -> Vec<i32> {
    let chunks = source
        .chunks(&lake.table(), lake.schema(), start, None, 100)
        .await
        .unwrap();
    let mut copied = Vec::new();
    for chunk in chunks.try_collect::<Vec<_>>().await.unwrap() {
        let rows = source
            .read(&lake.table(), lake.schema(), chunk.selection, None)
            .await
            .unwrap();
        copied.extend(
            rows.map_ok(|batch| batch.rows)
                .try_collect::<Vec<_>>()
                .await
                .unwrap(),
        );
    }
    sample_rows(&copied).into_iter().map(|row| row.id).collect()
}

/// The increments that follow a copy start at its cut, or at the mark of the copy that is taken up again.
#[tokio::test]
async fn a_first_copy_reads_the_snapshot_that_increments_continue_from() {
    let lake = Lake::new(sample_schema(true), 1).await;
    append(&lake, 1).await;
    let source = lake.source();
    let start = cut(&lake, &source).await;
    append(&lake, 2).await;
    // Another copy of the table begins in between.
    let later = cut(&lake, &source).await;
    assert_eq!(copied(&lake, &source, &start).await, [1]);
    assert_eq!(copied(&lake, &lake.source(), &start).await, [1]);
    assert_eq!(copied(&lake, &source, &later).await, [1, 2]);
}

#[tokio::test]
async fn positions_of_other_tables_and_expired_snapshots_are_gaps() {
    let lake = Lake::new(sample_schema(true), 1).await;
    append(&lake, 1).await;
    let source = lake.source();
    let good = cut(&lake, &source).await;
    let id = lake.handle().await.head().unwrap().snapshot_id().to_string();
    let expired = Position {
        value: good.value.replace(&id, "4711"),
        ..good.clone()
    };
    let other = Lake::new(sample_schema(true), 2).await;
    append(&other, 1).await;
    let foreign = cut(&other, &other.source()).await;
    for lost in [expired, foreign] {
        let Cut::Gap { oldest, .. } = source.cut(&lake.table(), Some(&lost)).await.unwrap() else {
            panic!("{lost} is no gap");
        };
        assert_eq!(oldest.as_ref(), Some(&good));
        let changes = source.changes(&lake.table(), lake.schema(), &lost, &good).await;
        assert_eq!(changes.err().map(|error| error.kind()), Some(ErrorKind::Gap));
    }
    let other_kind = Position {
        kind: "timestamp".into(),
        ..good
    };
    let refused = source.cut(&lake.table(), Some(&other_kind)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn what_was_acknowledged_is_held_by_a_tag() {
    let lake = Lake::new(sample_schema(true), 1).await;
    let source = lake.source().holding("sync_shop");
    let empty = cut(&lake, &source).await;
    source.acknowledge(&lake.table(), &empty).await.unwrap();
    let held = async || {
        let table = lake.handle().await;
        let snapshot = table.metadata().snapshot_for_ref("sync_shop");
        snapshot.map(|snapshot| snapshot.snapshot_id())
    };
    assert_eq!(held().await, None, "there was nothing to hold");
    for id in [1, 2] {
        let snapshot = append(&lake, id).await;
        let applied = cut(&lake, &source).await;
        append(&lake, id + 10).await;
        source.acknowledge(&lake.table(), &applied).await.unwrap();
        assert_eq!(held().await, Some(snapshot));
    }
    let without = lake.source();
    let newest = cut(&lake, &without).await;
    let before = held().await;
    without.acknowledge(&lake.table(), &newest).await.unwrap();
    assert_eq!(held().await, before, "a source without a tag holds nothing");
}

#[tokio::test]
async fn a_table_without_a_key_is_copied_whole() {
    let lake = Lake::new(sample_schema(false), 1).await;
    append(&lake, 1).await;
    let source = lake.source();
    let before = cut(&lake, &source).await;
    append(&lake, 1).await;
    let after = cut(&lake, &source).await;
    let description = source.describe(&lake.table()).await.unwrap();
    assert!(matches!(description.tracking, Tracking::Full { .. }));
    assert_eq!(description.approximate_rows, Some(2));
    let changes = source
        .changes(&lake.table(), lake.schema(), &before, &after)
        .await;
    assert_eq!(
        changes.err().map(|error| error.kind()),
        Some(ErrorKind::Unsupported)
    );
    let chunks = source
        .chunks(&lake.table(), lake.schema(), &after, None, 1)
        .await
        .unwrap();
    let chunks: Vec<_> = chunks.try_collect().await.unwrap();
    assert_eq!(chunks.len(), 1);
    assert!(chunks[0].through.is_none());
}

/// To a target that tells the two spellings apart the old one is another row. One that does not has spelled its row anew before.
#[tokio::test]
async fn a_key_that_only_changed_its_case_is_an_update_and_then_the_end_of_its_old_spelling() {
    use std::sync::Arc;

    use arrow_array::{RecordBatch, StringArray};
    use arrow_schema::{DataType, Field, Schema};
    use model::{DeclaredType, TableSchema};

    let arrow = Arc::new(Schema::new(vec![Field::new("code", DataType::Utf8, false)]));
    let declared = DeclaredType {
        declared: "nvarchar(10)".into(),
        collation: Some("Latin1_General_CI_AS".into()),
    };
    let schema = TableSchema::new(arrow.clone(), vec![0], vec![Some(declared)]).unwrap();
    let batch = |codes: &[&str]| {
        RecordBatch::try_new(arrow.clone(), vec![Arc::new(StringArray::from(codes.to_vec()))]).unwrap()
    };
    let lake = Lake::new(schema, 1).await;
    let source = lake.source();
    lake.commit(Change {
        files: vec![batch(&["abc", "x"])],
        ..Change::default()
    })
    .await;
    let before = cut(&lake, &source).await;
    lake.commit(Change {
        delete: Some(batch(&["ABC"])),
        files: vec![batch(&["ABC"])],
        ..Change::default()
    })
    .await;
    let after = cut(&lake, &source).await;
    let events = source
        .changes(&lake.table(), lake.schema(), &before, &after)
        .await
        .unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    let told = events.iter().filter_map(|event| match event {
        SourceEvent::Changes(changes) => Some(changes),
        _ => None,
    });
    let told: Vec<_> = told
        .map(|changes| (changes.op(0), changes.rows.clone()))
        .collect();
    assert_eq!(told.first(), Some(&(Op::Update, batch(&["ABC"]))));
    assert_eq!(told.last(), Some(&(Op::Delete, batch(&["abc"]))));
    let deletes = told.iter().filter(|(op, _)| *op == Op::Delete);
    assert_eq!(deletes.count(), 1, "{told:?}");
}

#[tokio::test]
async fn a_table_can_be_inspected() {
    let lake = Lake::new(sample_schema(true), 1).await;
    let first = append(&lake, 1).await;
    let second = lake
        .commit(Change {
            delete: Some(sample_batch(&[SampleRow::new(1, "", 0)]).project(&[0]).unwrap()),
            ..Change::default()
        })
        .await;
    let handle = lake.handle().await;
    let listed: Vec<_> = snapshots(&handle)
        .into_iter()
        .map(|snapshot| {
            (
                snapshot.id,
                snapshot.parent,
                snapshot.operation,
                snapshot.is_current,
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            (first, None, "append".to_owned(), false),
            (second, Some(first), "delete".to_owned(), true)
        ]
    );
    let files = files(&handle, handle.head().unwrap()).await.unwrap();
    let kinds: Vec<_> = files.iter().map(|file| (file.is_deletes, file.records)).collect();
    assert_eq!(kinds, [(false, 1), (true, 1)]);
    assert_eq!(
        schema_text(&handle),
        "1: id int not null key\n2: name string\n3: amount long\n"
    );
}
