use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use iceberg::TableUpdate;
use iceberg::spec::{NestedField, PrimitiveType, SnapshotReference, SnapshotRetention, Type};
use model::{CommitOutcome, Position, Replace, TableName, TableSchema};
use tempfile::TempDir;
use test_support::{SeededIds, SimClock};

use super::*;
use crate::catalog::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
use crate::commit::{SnapshotCommit, commit_snapshot};
use crate::filesystem::FileSystemCatalog;
use crate::layout::TableLayout;
use crate::schema::iceberg_schema;

struct Table {
    _directory: TempDir,
    catalog: FileSystemCatalog,
    clock: Arc<SimClock>,
    ids: Arc<SeededIds>,
    name: TableName,
}

impl Table {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let (clock, ids) = (Arc::<SimClock>::default(), Arc::new(SeededIds::new(7)));
        let catalog =
            FileSystemCatalog::new(directory.path().to_str().unwrap(), clock.clone(), ids.clone()).unwrap();
        let arrow = Schema::new(vec![Field::new("id", DataType::Int32, false)]);
        let schema = TableSchema::new(Arc::new(arrow), vec![0], vec![None]).unwrap();
        let name = TableName::new("dbo", "T");
        let new = NewTable::new(iceberg_schema(&schema).unwrap());
        catalog.create(&name, new).await.unwrap().unwrap();
        Self {
            _directory: directory,
            catalog,
            clock,
            ids,
            name,
        }
    }

    async fn load(&self) -> TableHandle {
        self.catalog.load(&self.name).await.unwrap().unwrap()
    }

    async fn committed(&self, sync: &str) -> Result<Committed> {
        committed(self.load().await.metadata(), &SyncId::new(sync))
    }

    /// Commits a mark of the batch's name and nothing else.
    async fn commit(&self, sync: &str, batch: &str, epoch: u64) -> CommitOutcome {
        let table = self.load().await;
        let commit = SnapshotCommit {
            layout: TableLayout::of(table.metadata()),
            stamp: Stamp {
                sync: SyncId::new(sync),
                mark: at(batch),
                batch: BatchId::new(batch),
                epoch: Epoch(epoch),
                moment: None,
            },
            after: committed(table.metadata(), &SyncId::new(sync)).unwrap().mark,
            data_files: vec![],
            deletes: [].into(),
            located_at: [].into(),
            replace: Replace::No,
            rows: RowCounts::default(),
        };
        commit_snapshot(
            &self.catalog,
            &self.name,
            &commit,
            self.clock.as_ref(),
            self.ids.as_ref(),
        )
        .await
        .unwrap()
    }

    async fn change(&self, updates: Vec<TableUpdate>) {
        let change = MetadataChange {
            requirements: vec![],
            updates,
        };
        let outcome = self.catalog.commit(&self.load().await, change).await.unwrap();
        assert!(matches!(outcome, CatalogCommit::Done(_)), "{outcome:?}");
    }

    async fn roll_back(&self, snapshot_id: i64) {
        let reference = SnapshotReference::new(snapshot_id, SnapshotRetention::branch(None, None, None));
        self.change(vec![TableUpdate::SetSnapshotRef {
            ref_name: "main".into(),
            reference,
        }])
        .await;
    }

    async fn expire(&self, snapshot_ids: Vec<i64>) {
        self.change(vec![TableUpdate::RemoveSnapshots { snapshot_ids }])
            .await;
    }

    async fn snapshot_of(&self, sync: &str, batch: &str) -> i64 {
        let table = self.load().await;
        snapshot_of_batch(table.metadata(), &SyncId::new(sync), &BatchId::new(batch))
            .unwrap()
            .snapshot_id()
    }
}

fn at(value: &str) -> Mark {
    Mark::At(Position {
        kind: "t".into(),
        incarnation: "i".into(),
        value: value.into(),
        label: value.into(),
        late_micros: 0,
        lacks: Vec::new(),
    })
}

#[tokio::test]
async fn the_newest_mark_of_each_sync_is_found() {
    let table = Table::new().await;
    assert_eq!(table.committed("a").await.unwrap(), Committed::default());
    table.commit("a", "a1", 3).await;
    table.commit("b", "b1", 1).await;
    table.commit("b", "b2", 1).await;
    let (a, b) = (
        table.committed("a").await.unwrap(),
        table.committed("b").await.unwrap(),
    );
    assert_eq!(
        (a.mark, a.epoch, a.batch),
        (Some(at("a1")), Epoch(3), Some(BatchId::new("a1")))
    );
    assert_eq!(
        (b.mark, b.epoch, b.batch),
        (Some(at("b2")), Epoch(1), Some(BatchId::new("b2")))
    );
    assert_eq!((&a.reference, a.reference.is_some()), (&b.reference, true));
    assert_eq!(table.committed("c").await.unwrap().mark, None);
}

#[tokio::test]
async fn a_rollback_rewinds_the_mark_and_one_before_all_marks_is_a_gap() {
    let table = Table::new().await;
    table.commit("other", "o1", 1).await;
    table.commit("a", "a1", 1).await;
    table.commit("a", "a2", 1).await;
    table.roll_back(table.snapshot_of("a", "a1").await).await;
    assert_eq!(table.committed("a").await.unwrap().mark, Some(at("a1")));
    table.roll_back(table.snapshot_of("other", "o1").await).await;
    let error = table.committed("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gap);
    assert!(error.advice().contains("sync.a.state"), "{}", error.advice());
    assert_eq!(table.committed("other").await.unwrap().mark, Some(at("o1")));
}

#[tokio::test]
async fn the_property_survives_the_snapshot_that_expired() {
    let table = Table::new().await;
    table.commit("a", "a1", 2).await;
    let expired = table.snapshot_of("a", "a1").await;
    table.commit("other", "o1", 1).await;
    table.expire(vec![expired]).await;
    let committed = table.committed("a").await.unwrap();
    assert_eq!((committed.mark, committed.epoch), (Some(at("a1")), Epoch(2)));
    assert_eq!(table.committed("never").await.unwrap().mark, None);
}

/// The walk ends at an expired parent, and the property is of a snapshot that never was an ancestor.
#[tokio::test]
async fn the_property_of_a_branch_that_was_rolled_back_and_expired_is_a_gap() {
    let table = Table::new().await;
    table.commit("a", "a1", 1).await;
    table.commit("other", "o1", 1).await;
    table.commit("a", "a2", 1).await;
    let ours = vec![
        table.snapshot_of("a", "a1").await,
        table.snapshot_of("a", "a2").await,
    ];
    table.roll_back(table.snapshot_of("other", "o1").await).await;
    table.expire(ours).await;
    assert_eq!(table.committed("a").await.unwrap_err().kind(), ErrorKind::Gap);
}

/// A snapshot with a mark is kept and one between it and the head expires: the mark still holds.
#[tokio::test]
async fn the_mark_holds_though_the_way_to_its_snapshot_has_expired() {
    let table = Table::new().await;
    table.commit("a", "a1", 2).await;
    table.commit("other", "o1", 1).await;
    let between = table.snapshot_of("other", "o1").await;
    table.commit("other", "o2", 1).await;
    table.expire(vec![between]).await;
    assert_eq!(table.committed("a").await.unwrap().mark, Some(at("a1")));
}

/// The way from the head is broken, and what is left of it has no room for the snapshot with the mark.
#[tokio::test]
async fn a_mark_that_cannot_be_on_a_broken_way_is_a_gap() {
    let table = Table::new().await;
    table.commit("other", "o1", 1).await;
    let first = table.snapshot_of("other", "o1").await;
    table.commit("a", "a1", 1).await;
    table.roll_back(first).await;
    table.commit("other", "o2", 1).await;
    table.expire(vec![first]).await;
    assert_eq!(table.committed("a").await.unwrap_err().kind(), ErrorKind::Gap);
}

/// What shows that a mark was rolled back is in use as long as the mark is there.
#[tokio::test]
async fn the_snapshots_that_show_a_rollback_are_marked() {
    let table = Table::new().await;
    let mut ours = Vec::new();
    for batch in ["o1", "o2"] {
        table.commit("other", batch, 1).await;
        ours.push(table.snapshot_of("other", batch).await);
    }
    table.commit("a", "a1", 1).await;
    let rolled_back = table.snapshot_of("a", "a1").await;
    let marked_by_a = async || {
        let table = table.load().await;
        let marked = marked_snapshots(table.metadata()).into_iter();
        let by_a = marked.filter(|(_, sync)| *sync == SyncId::new("a"));
        by_a.map(|(snapshot, _)| snapshot)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(marked_by_a().await, [rolled_back].into());
    table.roll_back(ours[1]).await;
    for batch in ["o3", "o4"] {
        table.commit("other", batch, 1).await;
        ours.push(table.snapshot_of("other", batch).await);
    }
    let expected = ours[1..].iter().copied().chain([rolled_back]).collect();
    assert_eq!(marked_by_a().await, expected);
}

#[tokio::test]
async fn snapshots_are_dated_after_their_parents_whatever_the_clock_says() {
    let table = Table::new().await;
    table.commit("a", "a1", 1).await;
    table.clock.advance(-86_400_000);
    table.commit("a", "a2", 1).await;
    table.commit("a", "a3", 1).await;
    let loaded = table.load().await;
    let dates: Vec<_> = ancestors(loaded.metadata())
        .map(|snapshot| snapshot.timestamp_ms())
        .collect();
    assert!(dates.is_sorted_by(|newer, older| newer > older), "{dates:?}");
}

#[tokio::test]
async fn a_damaged_mark_is_not_taken_for_none() {
    let table = Table::new().await;
    table.commit("a", "a1", 1).await;
    let state = ("sync.b.state".to_owned(), "{".to_owned());
    table
        .change(vec![TableUpdate::SetProperties {
            updates: [state].into(),
        }])
        .await;
    assert_eq!(table.committed("b").await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Whatever is in a metadata file, it is read or refused.
#[tokio::test]
async fn damaged_metadata_is_no_panic() {
    let table = Table::new().await;
    for (batch, epoch) in [("a", 1), ("b", 2)] {
        table.commit("sync", batch, epoch).await;
    }
    table.commit("other", "c", 1).await;
    let metadata = serde_json::to_string(table.load().await.metadata()).unwrap();
    let (sync, batch) = (SyncId::new("sync"), BatchId::new("a"));
    test_support::damage(&[metadata], |damaged| {
        // Built for debugging, the library panics where the difference of two times overflows; that is not ours to judge.
        let read = std::panic::catch_unwind(|| serde_json::from_slice::<TableMetadata>(damaged));
        let Ok(Ok(metadata)) = read else {
            return false;
        };
        // Parents may form a circle.
        let receipts: Vec<_> = ancestors(&metadata).map(receipt).collect();
        assert!(receipts.len() <= metadata.snapshots().len());
        let found = snapshot_of_batch(&metadata, &sync, &batch).is_some();
        let schema = crate::schema::table_schema(metadata.current_schema(), metadata.properties());
        committed(&metadata, &sync).is_ok() && schema.is_ok() && found
    });
}

/// A snapshot that is its own ancestor ends the walk.
#[tokio::test]
async fn a_circle_of_parents_ends() {
    let table = Table::new().await;
    for batch in ["a", "b"] {
        table.commit("sync", batch, 1).await;
    }
    let metadata = table.load().await;
    let mut json = serde_json::to_value(metadata.metadata()).unwrap();
    let head = json["current-snapshot-id"].clone();
    for snapshot in json["snapshots"].as_array_mut().unwrap() {
        snapshot["parent-snapshot-id"] = head.clone();
    }
    let circle: TableMetadata = serde_json::from_value(json).unwrap();
    assert_eq!(ancestors(&circle).count(), 2);
    assert_eq!(committed(&circle, &SyncId::new("nobody")).unwrap().mark, None);
}

/// Changes the table's columns to these, all of them optional but the key.
async fn change_columns(table: &Table, columns: &[(i32, &str, PrimitiveType)]) {
    let fields = columns.iter().map(|(id, name, ty)| {
        let ty = Type::Primitive(ty.clone());
        Arc::new(match id {
            1 => NestedField::required(*id, *name, ty),
            _ => NestedField::optional(*id, *name, ty),
        })
    });
    let schema = iceberg::spec::Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids([1])
        .build()
        .unwrap();
    table
        .change(vec![
            TableUpdate::AddSchema { schema },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ])
        .await;
}

#[tokio::test]
async fn columns_that_came_after_the_newest_mark_are_told_until_the_next_one() {
    use PrimitiveType::{Int, Long};
    let id = (1, "id", Int);
    for (before, after, added) in [
        (vec![], vec![(2, "n", Int)], vec!["n"]),
        (vec![(2, "n", Int)], vec![], vec![]),
        // Renamed, dropped and added again, exchanged, and widened by whoever left it out before.
        (vec![(2, "n", Int)], vec![(2, "m", Int)], vec!["m"]),
        (vec![(2, "n", Int)], vec![(3, "n", Int)], vec!["n"]),
        (
            vec![(2, "n", Int), (3, "m", Int)],
            vec![(2, "m", Int), (3, "n", Int)],
            vec!["m", "n"],
        ),
        (vec![(2, "n", Int)], vec![(2, "n", Long)], vec!["n"]),
    ] {
        let table = Table::new().await;
        let with_id =
            |columns: &[(i32, &'static str, PrimitiveType)]| [std::slice::from_ref(&id), columns].concat();
        change_columns(&table, &with_id(&before)).await;
        assert!(
            table.committed("a").await.unwrap().added.is_empty(),
            "it has no mark"
        );
        table.commit("a", "one", 1).await;
        assert!(table.committed("a").await.unwrap().added.is_empty());
        change_columns(&table, &with_id(&after)).await;
        table.commit("b", "other", 1).await;
        assert_eq!(
            table.committed("a").await.unwrap().added,
            added,
            "{before:?} {after:?}"
        );
        let expired = table.snapshot_of("a", "one").await;
        table.expire(vec![expired]).await;
        assert_eq!(
            table.committed("a").await.unwrap().added,
            added,
            "by the property alone"
        );
        table.commit("a", "two", 1).await;
        assert!(table.committed("a").await.unwrap().added.is_empty());
    }
}
