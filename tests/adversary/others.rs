//! What others do to the Iceberg table between runs.

use iceberg::TableUpdate;
use iceberg::spec::{SnapshotReference, SnapshotRetention};
use iceberg_maintenance::{CompactOptions, compact};
use iceberg_table::{CatalogCommit, MetadataChange, TableHandle};
use model::TableName;

use crate::world::World;

/// So many snapshots are undone.
const UNDONE: usize = 3;

/// Makes an older snapshot the table's head, one that a run committed.
pub(crate) async fn roll_back(world: &World, table: &TableName) {
    let Some(handle) = load(world, table).await else {
        return;
    };
    let metadata = handle.metadata();
    let parent = |id: i64| metadata.snapshot_by_id(id)?.parent_snapshot_id();
    let mut lineage = std::iter::successors(metadata.current_snapshot_id(), |id| parent(*id));
    let Some(snapshot) = lineage.nth(UNDONE) else {
        return;
    };
    let reference = SnapshotReference::new(snapshot, SnapshotRetention::branch(None, None, None));
    let update = TableUpdate::SetSnapshotRef {
        ref_name: "main".into(),
        reference,
    };
    change(world, &handle, update).await;
}

/// Writes all rows anew, then forgets every snapshot but that one, whoever may still need them.
pub(super) async fn compact_and_expire(world: &World, table: &TableName) {
    if load(world, table).await.is_none() {
        return;
    }
    let options = CompactOptions {
        files_at_least: 2,
        ..CompactOptions::default()
    };
    compact(
        world.catalog.as_ref(),
        table,
        &options,
        world.clock.as_ref(),
        world.ids.clone(),
    )
    .await
    .expect("the table can be compacted");
    let handle = load(world, table).await.expect("it is there");
    let head = handle.metadata().current_snapshot_id();
    let all = handle
        .metadata()
        .snapshots()
        .map(|snapshot| snapshot.snapshot_id());
    let snapshot_ids: Vec<_> = all.filter(|id| Some(*id) != head).collect();
    change(world, &handle, TableUpdate::RemoveSnapshots { snapshot_ids }).await;
}

async fn load(world: &World, table: &TableName) -> Option<TableHandle> {
    world.catalog.load(table).await.expect("the catalog answers")
}

async fn change(world: &World, table: &TableHandle, update: TableUpdate) {
    let change = MetadataChange {
        requirements: vec![],
        updates: vec![update],
    };
    let outcome = world.catalog.commit(table, change).await;
    assert!(matches!(outcome, Ok(CatalogCommit::Done(_))), "{outcome:?}");
}
