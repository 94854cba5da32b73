//! What maintenance must not do: remove what is in use, win against the ingest, or forget which row is which.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Int32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use async_trait::async_trait;
use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Literal, ManifestListWriter, ManifestWriterBuilder,
    Operation, Snapshot, SnapshotReference, SnapshotRetention, Struct, Summary,
};
use iceberg_maintenance::{
    CompactOptions, ExpireOptions, OrphanOptions, compact, expire, expiry_is_due, merge_manifests,
    remove_orphans,
};
use iceberg_table::{
    Catalog, CatalogCommit, DataFileReader, DeletedRows, MetadataChange, Projection, TableHandle, live_files,
};
use model::{ChangeSink, Clock, ErrorKind, Result};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use tempfile::TempDir;
use test_support::SimClock;

use crate::committing::{Commits, Committing};
use crate::history::History;
use crate::lake::{CENTURY_MS, KINDS, Lake};
use crate::rows::{Column, Kind};

pub(crate) struct Table {
    directory: TempDir,
    pub(crate) history: History,
}

impl Table {
    /// A table of format v2, or v3, with some small commits.
    pub(crate) async fn new(kind: usize, commits: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::new(directory.path(), KINDS[kind], 7);
        let mut history = History::new(lake, 7).await;
        for commit in 0..commits {
            history.change(&format!("commit {commit}")).await;
        }
        Self { directory, history }
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.history.lake
    }

    async fn update(&self, updates: Vec<TableUpdate>) {
        let change = MetadataChange {
            requirements: vec![],
            updates,
        };
        let ended = self
            .lake()
            .catalog
            .commit(&self.lake().table().await, change)
            .await
            .unwrap();
        assert!(matches!(ended, CatalogCommit::Done(_)), "{ended:?}");
    }

    async fn set(&self, property: &str, value: &str) {
        let updates = [(property.to_owned(), value.to_owned())].into();
        self.update(vec![TableUpdate::SetProperties { updates }]).await;
    }

    pub(crate) async fn expire(&self, options: ExpireOptions) -> Result<iceberg_maintenance::Expired> {
        expire(
            self.lake().catalog.as_ref(),
            &self.lake().name,
            &options,
            &self.lake().later,
        )
        .await
    }

    /// Files of which nothing in the table speaks.
    pub(crate) async fn orphans(&self) -> Vec<String> {
        let lake = self.lake();
        let (catalog, options) = (lake.catalog.as_ref(), OrphanOptions::default());
        let found = remove_orphans(catalog, &lake.name, options, &lake.later).await;
        found.unwrap().files
    }

    /// Takes the newest commit back, as if it had not been: its snapshot.
    async fn undone(&self, base: &TableHandle) -> Snapshot {
        let newest = self.lake().table().await.head().unwrap().as_ref().clone();
        let name = self.lake().name.name();
        let directory = self.directory.path().join("interop").join(name).join("metadata");
        let hint = directory.join("version-hint.text");
        let version: u64 = std::fs::read_to_string(&hint).unwrap().trim().parse().unwrap();
        std::fs::remove_file(directory.join(format!("v{version}.metadata.json"))).unwrap();
        std::fs::write(hint, (version - 1).to_string()).unwrap();
        assert_eq!(self.lake().table().await.head(), base.head());
        newest
    }

    fn files(&self) -> usize {
        let data = self
            .directory
            .path()
            .join("interop")
            .join(self.lake().name.name())
            .join("data");
        std::fs::read_dir(data).unwrap().count()
    }
}

pub(crate) fn everything_old() -> ExpireOptions {
    ExpireOptions {
        older_than_ms: Some(0),
        ..ExpireOptions::default()
    }
}

pub(crate) fn whole(lake: &Lake) -> CompactOptions {
    CompactOptions {
        write: lake.options.clone(),
        files_at_least: 2,
        ..CompactOptions::default()
    }
}

#[tokio::test]
async fn expiry_keeps_what_is_in_use_and_says_so() {
    for kind in [0, 1] {
        let mut table = Table::new(kind, 8).await;
        let ids: Vec<i64> = {
            let loaded = table.lake().table().await;
            let mut snapshots: Vec<_> = loaded.metadata().snapshots().collect();
            snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
            snapshots.iter().map(|snapshot| snapshot.snapshot_id()).collect()
        };
        let tag = SnapshotReference::new(ids[2], SnapshotRetention::Tag { max_ref_age_ms: None });
        table
            .update(vec![TableUpdate::SetSnapshotRef {
                ref_name: "release".into(),
                reference: tag,
            }])
            .await;
        let options = ExpireOptions {
            in_use: vec![(ids[4], "a reader".into())],
            dry_run: true,
            ..everything_old()
        };
        let files = table.files();
        let would = table.expire(options.clone()).await.unwrap();
        assert_eq!(table.files(), files, "a dry run removes nothing");
        let options = ExpireOptions {
            dry_run: false,
            ..options
        };
        let done = table.expire(options.clone()).await.unwrap();
        assert_eq!(done, would);
        assert_eq!(done.snapshots, [ids[0], ids[1], ids[3], ids[5], ids[6]]);
        let kept: BTreeMap<_, _> = done
            .kept
            .iter()
            .map(|kept| (kept.snapshot, kept.held_by.as_str()))
            .collect();
        assert_eq!(kept[&ids[2]], "tag release");
        assert_eq!(kept[&ids[4]], "a reader");
        assert!(
            kept[&ids[7]].contains("branch main") && kept[&ids[7]].contains("mark of sync interop"),
            "{kept:?}"
        );
        table
            .history
            .snapshots
            .retain(|id, _| !done.snapshots.contains(id));
        table.history.check_all().await;
        assert!(table.expire(options).await.unwrap().snapshots.is_empty());
    }
}

/// A program that does other things meanwhile gives maintenance a task of its own.
#[tokio::test]
async fn maintenance_runs_in_tasks() {
    let table = Table::new(0, 8).await;
    let lake = table.lake();
    let (catalog, name, clock) = (lake.catalog.clone(), lake.name.clone(), lake.clock.clone());
    let (options, ids) = (whole(lake), lake.ids.clone());
    let compacting = async move { compact(catalog.as_ref(), &name, &options, clock.as_ref(), ids).await };
    let compacted = tokio::spawn(compacting).await.unwrap().unwrap();
    assert!(compacted.snapshot.is_some());
    let later = || {
        let clock = SimClock::default();
        clock.advance(CENTURY_MS);
        clock
    };
    let (catalog, name, clock) = (lake.catalog.clone(), lake.name.clone(), later());
    let expiring = async move { expire(catalog.as_ref(), &name, &everything_old(), &clock).await };
    // The compaction and the newest commit stay: the head and the mark.
    assert_eq!(tokio::spawn(expiring).await.unwrap().unwrap().snapshots.len(), 7);
    let (catalog, name, clock) = (lake.catalog.clone(), lake.name.clone(), later());
    let removing =
        async move { remove_orphans(catalog.as_ref(), &name, OrphanOptions::default(), &clock).await };
    tokio::spawn(removing).await.unwrap().unwrap();
}

/// The newest stay, although all are young; but not against what the table or its branch says.
#[tokio::test]
async fn at_most_so_many_snapshots_stay() {
    const AGE: &str = "history.expire.max-snapshot-age-ms";
    let of_branch = |snapshot| TableUpdate::SetSnapshotRef {
        ref_name: "main".to_owned(),
        reference: SnapshotReference::new(
            snapshot,
            SnapshotRetention::branch(None, Some(2 * CENTURY_MS), None),
        ),
    };
    for (at_most, age, branch, expired) in [
        (4, None, false, 4),
        (7, None, false, 1),
        (8, None, false, 0),
        (4, Some(2 * CENTURY_MS), false, 0),
        (4, Some(1), false, 7),
        (4, None, true, 0),
    ] {
        let mut table = Table::new(0, 8).await;
        let ids = snapshot_ids(table.lake()).await;
        if let Some(age) = age {
            table.set(AGE, &age.to_string()).await;
        }
        if branch {
            table.update(vec![of_branch(ids[7])]).await;
        }
        // All are a century old; what nothing else speaks of stays two.
        let options = ExpireOptions {
            older_than_ms: age.is_none().then_some(2 * CENTURY_MS),
            keep_at_most: Some(at_most),
            ..ExpireOptions::default()
        };
        let lake = table.lake();
        let due = expiry_is_due(&lake.table().await, &options, &lake.later).unwrap();
        assert_eq!(due, expired > 0, "{at_most} {age:?} {branch}");
        let done = table.expire(options).await.unwrap();
        assert_eq!(done.snapshots, ids[..expired], "{at_most} {age:?} {branch}");
        table
            .history
            .snapshots
            .retain(|id, _| !done.snapshots.contains(id));
        table.history.check_all().await;
    }
}

/// However old it is itself: what counts is when the next one came.
#[tokio::test]
async fn a_snapshot_stays_for_a_while_after_another_one_has_followed_it() {
    let table = Table::new(0, 8).await;
    let lake = table.lake();
    let ids = snapshot_ids(lake).await;
    let head = lake.table().await.head().unwrap().timestamp_ms();
    let age_of_head = lake.later.now().0 - head;
    // Just as old as the head, or one millisecond less: then all but the head have been followed for longer.
    for (grace, expired) in [(age_of_head, 6), (age_of_head - 1, 7)] {
        let options = ExpireOptions {
            grace_ms: Some(grace),
            dry_run: true,
            ..everything_old()
        };
        let done = table.expire(options).await.unwrap();
        assert_eq!(done.snapshots, ids[..expired], "{grace}");
    }
}

/// One of eleven is not worth it, two are; and a table that forbids it is never due.
#[tokio::test]
async fn expiry_is_due_when_a_tenth_can_go() {
    let table = Table::new(0, 11).await;
    let lake = table.lake();
    for (at_most, gc, due) in [
        (11, "true", false),
        (10, "true", false),
        (9, "true", true),
        (9, "false", false),
    ] {
        table.set("gc.enabled", gc).await;
        let options = ExpireOptions {
            older_than_ms: Some(2 * CENTURY_MS),
            keep_at_most: Some(at_most),
            ..ExpireOptions::default()
        };
        let is_due = expiry_is_due(&lake.table().await, &options, &lake.later).unwrap();
        assert_eq!(is_due, due, "{at_most} {gc}");
    }
}

/// Compactions follow the last rows of a table, and those between them and the newest expire.
#[tokio::test]
async fn the_mark_of_a_quiet_table_outlives_expiry() {
    let table = Table::new(0, 4).await;
    let lake = table.lake();
    let committed = async || lake.sink().committed(&lake.sync, &lake.name).await;
    let before = committed().await.unwrap();
    let all_files = CompactOptions {
        deleted_part: -1.0,
        ..whole(lake)
    };
    for _ in 0..3 {
        let (catalog, ids) = (lake.catalog.as_ref(), lake.ids.clone());
        let compacted = compact(catalog, &lake.name, &all_files, lake.clock.as_ref(), ids).await;
        assert!(compacted.unwrap().snapshot.is_some());
    }
    assert_eq!(table.expire(everything_old()).await.unwrap().snapshots.len(), 5);
    assert_eq!(committed().await.unwrap().mark, before.mark);
}

#[tokio::test]
async fn a_table_that_forbids_it_keeps_all_files() {
    let table = Table::new(0, 4).await;
    table.set("gc.enabled", "false").await;
    let refused = table.expire(everything_old()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let lake = table.lake();
    let refused = remove_orphans(
        lake.catalog.as_ref(),
        &lake.name,
        OrphanOptions::default(),
        lake.clock.as_ref(),
    )
    .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
}

/// The id and the last change of each row, by key.
async fn row_ids(table: &TableHandle) -> BTreeMap<i64, (i64, i64)> {
    let schema = table.schema().unwrap();
    let projection = Projection::of_table(table.metadata(), &schema)
        .unwrap()
        .with_row_ids();
    let deletes = DeletedRows::new(table.table());
    let mut found = BTreeMap::new();
    for file in live_files(table, table.head().unwrap()).await.unwrap() {
        let rows = deletes.live_rows(&file).await.unwrap();
        let size = file.data_file.file_size_in_bytes();
        let reader = DataFileReader::open(table.table().file_io(), &file.path, size)
            .await
            .unwrap();
        let mut batches = reader.read(&projection, rows).await.unwrap();
        while let Some(batch) = batches.try_next().await.unwrap() {
            let count = batch.rows.num_columns();
            let keys = batch.rows.column(0).as_primitive::<Int32Type>().values();
            let own = |index: usize| batch.rows.column(index).as_primitive::<Int64Type>().iter();
            let rows = keys
                .iter()
                .zip(&batch.positions)
                .zip(own(count - 2).zip(own(count - 1)));
            for ((key, position), (id, changed)) in rows {
                let inherited = file.data_file.first_row_id().unwrap() + *position as i64;
                found.insert(
                    i64::from(*key),
                    (id.unwrap_or(inherited), changed.unwrap_or(file.sequence_number)),
                );
            }
        }
    }
    found
}

#[tokio::test]
async fn compaction_keeps_the_ids_of_rows() {
    let table = Table::new(1, 10).await;
    let lake = table.lake();
    let before = row_ids(&lake.table().await).await;
    let distinct: std::collections::BTreeSet<_> = before.values().map(|(id, _)| id).collect();
    assert_eq!(distinct.len(), before.len(), "every row has an id of its own");
    let next = lake.table().await.metadata().next_row_id();
    assert!(before.values().all(|(id, _)| *id < next as i64));
    for _ in 0..2 {
        let options = CompactOptions {
            deleted_part: -1.0,
            ..whole(lake)
        };
        let done = compact(
            lake.catalog.as_ref(),
            &lake.name,
            &options,
            lake.clock.as_ref(),
            lake.ids.clone(),
        )
        .await;
        assert!(done.unwrap().snapshot.is_some());
        assert_eq!(row_ids(&lake.table().await).await, before);
    }
    table.history.check_all().await;
}

/// Manifests speak of their files in the types that the table has now, of a column that it has not, or under another name, and of a
/// field that may have the name of another column.
#[tokio::test]
async fn files_of_a_partition_spec_whose_column_is_gone_or_renamed_are_rewritten() {
    for (kind, field) in [
        (6, "truncate(1, name)"),
        (7, "truncate(1, name)"),
        (6, "name"),
        (7, "name"),
    ] {
        for renamed in [false, true] {
            let mut table = Table::new(kind, 0).await;
            let history = &mut table.history;
            history.partition(field).await;
            for commit in 0..4 {
                history.change(&format!("commit {commit}")).await;
            }
            history.partition("").await;
            if renamed {
                history.rename("name", "title").await;
            } else {
                history.now.columns.retain(|column| column.name != "name");
            }
            history.now.columns[0].kind = Kind::Long;
            history.follow_columns().await;
            // Another column of the name.
            history.now.columns.push(Column {
                identity: 9,
                name: "name".into(),
                kind: Kind::Int,
                nullable: true,
            });
            history.follow_columns().await;
            for round in 0..2 {
                table.history.change(&format!("round {round}")).await;
                table.history.check_all().await;
                let lake = table.lake();
                let (catalog, clock) = (lake.catalog.as_ref(), lake.clock.as_ref());
                merge_manifests(catalog, &lake.name, clock, lake.ids.as_ref())
                    .await
                    .unwrap();
                let done = compact(catalog, &lake.name, &whole(lake), clock, lake.ids.clone()).await;
                assert!(done.unwrap().snapshot.is_some());
                table.history.check_all().await;
                let expired = table.expire(everything_old()).await.unwrap().snapshots;
                table.history.snapshots.retain(|id, _| !expired.contains(id));
                table.history.check_all().await;
            }
        }
    }
}

/// It would miss rows that move to another spec.
#[tokio::test]
async fn a_delete_by_value_meanwhile_keeps_files_in_their_partition_spec() {
    let mut table = Table::new(4, 0).await;
    table.history.partition("bucket(1, id)").await;
    for commit in 0..6 {
        table.history.change(&format!("commit {commit}")).await;
    }
    let base = table.lake().table().await;
    let keys: Vec<i64> = table.history.now.rows.keys().copied().collect();
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::EqualityDeletes)
        .equality_ids(Some(vec![1]))
        .partition(Struct::from_iter([Some(Literal::int(0))]))
        .record_count(keys.len() as u64);
    commit_keys(table.lake(), &keys, &mut file).await;
    let newest = table.undone(&base).await;
    table.history.partition("").await;
    let lake = table.lake();
    let snapshot_id = newest.snapshot_id();
    let updates = vec![
        TableUpdate::AddSnapshot { snapshot: newest },
        branch("main", snapshot_id),
    ];
    let catalog = overtaken(lake, updates, false);
    let (clock, ids) = (lake.clock.as_ref(), lake.ids.clone());
    let done = compact(&catalog, &lake.name, &whole(lake), clock, ids)
        .await
        .unwrap();
    assert!(done.snapshot.is_none() && done.groups_left > 0, "{done:?}");
    table.history.now.rows.clear();
    table.history.check_all().await;
}

/// Else files of a size that a table asks for would be rewritten each time.
#[tokio::test]
async fn what_a_small_file_is_goes_by_the_tables_own_target() {
    let table = Table::new(1, 10).await;
    let lake = table.lake();
    let options = CompactOptions {
        deleted_part: 1.0,
        ..CompactOptions::default()
    };
    for (target, compacts) in [("1", false), ("1000000", true)] {
        table.set("write.target-file-size-bytes", target).await;
        let (catalog, clock) = (lake.catalog.as_ref(), lake.clock.as_ref());
        let done = compact(catalog, &lake.name, &options, clock, lake.ids.clone()).await;
        assert_eq!(done.unwrap().snapshot.is_some(), compacts, "{target}");
    }
}

/// Somebody else does something between the reading and the commit of what comes next.
#[derive(Debug)]
struct Overtaken {
    change: MetadataChange,
    done: AtomicBool,
    /// Whether a commit is carried out on what is there then if its requirements hold of that, as REST servers do.
    on_server: bool,
}

fn overtaken(lake: &Lake, updates: Vec<TableUpdate>, on_server: bool) -> Committing<Overtaken> {
    Committing {
        inner: lake.catalog.clone(),
        by: Overtaken {
            change: MetadataChange {
                requirements: vec![],
                updates,
            },
            done: AtomicBool::new(false),
            on_server,
        },
    }
}

#[async_trait]
impl Commits for Overtaken {
    async fn commit(
        &self,
        inner: &dyn Catalog,
        base: &TableHandle,
        change: MetadataChange,
    ) -> Result<CatalogCommit> {
        if !self.done.swap(true, Ordering::SeqCst) {
            match inner.commit(base, self.change.clone()).await? {
                CatalogCommit::Done(now) if self.on_server => return inner.commit(&now, change).await,
                _ => {}
            }
        }
        inner.commit(base, change).await
    }
}

/// A commit that adds nothing but a snapshot leaves the groups as they were; one that deletes rows of a group makes it drop out.
#[tokio::test]
async fn what_changed_meanwhile_drops_out_of_a_compaction() {
    for kind in [0, 1] {
        for deletes in [false, true] {
            let mut table = Table::new(kind, 8).await;
            let base = table.lake().table().await;
            // What somebody else commits is made by doing it, taking note of it, and rolling it back.
            if deletes {
                let all: Vec<i64> = table.history.now.rows.keys().copied().collect();
                table.history.delete("overtaking", &all).await;
            } else {
                table.history.delete("overtaking", &[]).await;
            }
            let newest = table.undone(&base).await;
            let snapshot_id = newest.snapshot_id();
            let lake = table.lake();
            let updates = vec![
                TableUpdate::AddSnapshot { snapshot: newest },
                branch("main", snapshot_id),
            ];
            let catalog = overtaken(lake, updates, false);
            let done = compact(
                &catalog,
                &lake.name,
                &whole(lake),
                lake.clock.as_ref(),
                lake.ids.clone(),
            )
            .await
            .unwrap();
            assert_eq!(done.snapshot.is_some(), !deletes, "{done:?}");
            assert_eq!(done.groups_left > 0, deletes, "{done:?}");
            assert_eq!(table.orphans().await, Vec::<String>::new(), "{done:?}");
            if deletes {
                table.history.now.rows.clear();
            }
            table.history.check_all().await;
        }
    }
}

/// What a delete by value hides from a compaction is back after a rollback below the delete, and stays.
#[tokio::test]
async fn a_rollback_meanwhile_ends_a_compaction() {
    let table = Table::new(0, 8).await;
    let lake = table.lake();
    let before = lake.table().await.head().unwrap().snapshot_id();
    delete_by_value(lake, &table.history.now.rows.keys().copied().collect::<Vec<_>>()).await;
    let catalog = overtaken(lake, vec![branch("main", before)], false);
    let (clock, ids) = (lake.clock.as_ref(), lake.ids.clone());
    // The old head may come back, and with it a late repetition of the commit.
    let error = compact(&catalog, &lake.name, &whole(lake), clock, ids)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    table.history.check_all().await;
}

/// Commits an equality delete file of these keys.
async fn delete_by_value(lake: &Lake, keys: &[i64]) {
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::EqualityDeletes)
        .equality_ids(Some(vec![1]))
        .record_count(keys.len() as u64);
    commit_keys(lake, keys, &mut file).await;
}

/// Commits a file of these keys, as other engines write them; its manifest entry is completed.
pub(crate) async fn commit_keys(lake: &Lake, keys: &[i64], file: &mut DataFileBuilder) {
    let path = format!(
        "{}/data/foreign.parquet",
        lake.table().await.metadata().location()
    );
    commit_located_keys(lake, keys, file, &path, &path).await;
}

/// The same for a file that is at `path`, and `located` elsewhere by its manifest.
async fn commit_located_keys(
    lake: &Lake,
    keys: &[i64],
    file: &mut DataFileBuilder,
    path: &str,
    located: &str,
) {
    let table = lake.table().await;
    let field = Field::new("id", DataType::Int32, false)
        .with_metadata([(PARQUET_FIELD_ID_META_KEY.to_owned(), "1".to_owned())].into());
    let keys: Int32Array = keys.iter().map(|key| *key as i32).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(keys)]).unwrap();
    let mut parquet = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut parquet, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let file_io = table.table().file_io();
    let output = |path: &str| file_io.new_output(path).unwrap();
    output(path).write(parquet.clone().into()).await.unwrap();
    let file = file
        .file_path(located.to_owned())
        .file_format(DataFileFormat::Parquet)
        .file_size_in_bytes(parquet.len() as u64)
        .build()
        .unwrap();
    let head = table.head().unwrap();
    let (snapshot_id, sequence) = (head.snapshot_id() + 1, head.sequence_number() + 1);
    let metadata = |name: &str| format!("{}/metadata/{name}.avro", table.metadata().location());
    let spec = table.metadata().default_partition_spec().as_ref().clone();
    let manifest = ManifestWriterBuilder::new(
        output(&metadata("foreign-m0")),
        Some(snapshot_id),
        table.iceberg_schema().clone(),
        spec,
    );
    let mut manifest = match file.content_type() {
        DataContentType::Data => manifest.build_v2_data(),
        _ => manifest.build_v2_deletes(),
    };
    manifest.add_file(file, sequence).unwrap();
    let mut manifests = vec![manifest.write_manifest_file().await.unwrap()];
    let list = table.table().manifest_list_reader(head).load().await.unwrap();
    manifests.extend(list.consume_entries());
    let list = metadata("foreign-list");
    let writer = output(&list).writer().await.unwrap();
    let parent = Some(head.snapshot_id());
    let mut writer = ManifestListWriter::v2(writer, snapshot_id, parent, sequence);
    writer.add_manifests(manifests.into_iter()).unwrap();
    writer.close().await.unwrap();
    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(sequence)
        .with_timestamp_ms(table.metadata().last_updated_ms().max(head.timestamp_ms() + 1))
        .with_manifest_list(list)
        .with_summary(Summary {
            operation: Operation::Overwrite,
            additional_properties: [].into(),
        })
        .with_schema_id(table.metadata().current_schema_id())
        .build();
    let change = MetadataChange {
        requirements: vec![],
        updates: vec![TableUpdate::AddSnapshot { snapshot }, branch("main", snapshot_id)],
    };
    let ended = lake.catalog.commit(&table, change).await.unwrap();
    assert!(matches!(ended, CatalogCommit::Done(_)), "{ended:?}");
}

fn branch(name: &str, snapshot: i64) -> TableUpdate {
    let retention = SnapshotRetention::branch(None, None, None);
    TableUpdate::SetSnapshotRef {
        ref_name: name.to_owned(),
        reference: SnapshotReference::new(snapshot, retention),
    }
}

/// A manifest that tells of fewer rows than its file has: who believes it drops the others.
#[tokio::test]
async fn a_file_with_more_rows_than_its_manifest_tells_is_not_rewritten() {
    let table = Table::new(0, 4).await;
    let lake = table.lake();
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::Data).record_count(1);
    commit_keys(lake, &[1_001, 1_002, 1_003], &mut file).await;
    let head = lake.table().await.head().unwrap().snapshot_id();
    let (clock, ids) = (lake.clock.as_ref(), lake.ids.clone());
    let ended = compact(lake.catalog.as_ref(), &lake.name, &whole(lake), clock, ids).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(lake.table().await.head().unwrap().snapshot_id(), head);
}

/// The ids of a table's snapshots, oldest first.
async fn snapshot_ids(lake: &Lake) -> Vec<i64> {
    let loaded = lake.table().await;
    let mut snapshots: Vec<_> = loaded.metadata().snapshots().collect();
    snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
    snapshots.iter().map(|snapshot| snapshot.snapshot_id()).collect()
}

#[tokio::test]
async fn each_branch_keeps_its_snapshots_as_long_as_it_says() {
    let retention = |name: &str, snapshot, age| TableUpdate::SetSnapshotRef {
        ref_name: name.to_owned(),
        reference: SnapshotReference::new(snapshot, SnapshotRetention::branch(None, Some(age), None)),
    };
    let table = Table::new(0, 6).await;
    let ids = snapshot_ids(table.lake()).await;
    table
        .update(vec![retention("audit", ids[2], 2 * CENTURY_MS)])
        .await;
    let done = table.expire(everything_old()).await.unwrap();
    assert_eq!(done.snapshots, [ids[3], ids[4]]);

    let table = Table::new(0, 6).await;
    let ids = snapshot_ids(table.lake()).await;
    table.update(vec![retention("main", ids[5], 1)]).await;
    let options = ExpireOptions {
        older_than_ms: Some(2 * CENTURY_MS),
        ..everything_old()
    };
    assert_eq!(table.expire(options).await.unwrap().snapshots, ids[..5]);
}

/// On a server that looks at nothing but the requirements, a tag moves to a snapshot that is about to expire.
#[tokio::test]
async fn a_tag_that_moves_meanwhile_holds_its_snapshot() {
    let tag = |snapshot| TableUpdate::SetSnapshotRef {
        ref_name: "release".to_owned(),
        reference: SnapshotReference::new(snapshot, SnapshotRetention::Tag { max_ref_age_ms: None }),
    };
    let mut table = Table::new(0, 6).await;
    let ids = snapshot_ids(table.lake()).await;
    table.update(vec![tag(ids[1])]).await;
    let lake = table.lake();
    let catalog = overtaken(lake, vec![tag(ids[3])], true);
    let done = expire(&catalog, &lake.name, &everything_old(), &lake.later)
        .await
        .unwrap();
    assert_eq!(done.snapshots, [ids[0], ids[1], ids[2], ids[4]]);
    table
        .history
        .snapshots
        .retain(|id, _| !done.snapshots.contains(id));
    table.history.check_all().await;
}

/// On such a server, a snapshot is added that takes over the files of one that is about to expire.
#[tokio::test]
async fn files_that_a_new_snapshot_refers_to_stay() {
    let table = Table::new(0, 6).await;
    let lake = table.lake();
    let loaded = lake.table().await;
    let ids = snapshot_ids(lake).await;
    let old = loaded.metadata().snapshot_by_id(ids[2]).unwrap();
    let head = loaded.head().unwrap();
    let snapshot = Snapshot::builder()
        .with_snapshot_id(1)
        .with_parent_snapshot_id(Some(ids[2]))
        .with_sequence_number(head.sequence_number() + 1)
        .with_timestamp_ms(loaded.metadata().last_updated_ms().max(head.timestamp_ms() + 1))
        .with_manifest_list(old.manifest_list())
        .with_summary(old.summary().clone())
        .with_schema_id(loaded.metadata().current_schema_id())
        .build();
    let updates = vec![TableUpdate::AddSnapshot { snapshot }, branch("audit", 1)];
    let catalog = overtaken(lake, updates, true);
    let done = expire(&catalog, &lake.name, &everything_old(), &lake.later)
        .await
        .unwrap();
    assert_eq!(done.snapshots, ids[..5]);
    let after = lake.table().await;
    let kept = after.metadata().snapshot_by_id(1).unwrap();
    let files = live_files(&after, kept).await.unwrap();
    assert!(!files.is_empty());
    for file in files {
        assert!(
            after.table().file_io().exists(&file.path).await.unwrap(),
            "{}",
            file.path
        );
    }
    table.history.check(None).await;
}

/// Catalogs of others put a table `a.b` into the directory of a table `a`, or of a namespace `a` beside whose tables it is.
#[tokio::test]
async fn files_of_tables_within_a_tables_directory_are_no_orphans() {
    let table = Table::new(0, 3).await;
    let lake = table.lake();
    let directory = table.directory.path().join("interop").join(lake.name.name());
    let write = |path: &str| {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"x").unwrap();
        format!("file://{}", path.display())
    };
    for nested in ["nested", "data/nested", "files/nested"] {
        for file in [
            "metadata/00000-x.metadata.json",
            "metadata/m0.avro",
            "data/rows.parquet",
        ] {
            write(&format!("{nested}/{file}"));
        }
    }
    table
        .set(
            "write.data.path",
            &format!("{}/files", lake.table().await.metadata().location()),
        )
        .await;
    let orphans = ["data/day=1/a.parquet", "files/b.parquet", "metadata/c.avro"].map(write);
    lake.clock.advance(CENTURY_MS);
    let catalog = lake.catalog.as_ref();
    let found = remove_orphans(catalog, &lake.name, OrphanOptions::default(), lake.clock.as_ref()).await;
    assert_eq!(found.unwrap().files, orphans);
}

/// As clients that decode names leave them, or programs that have files of others added by another URL.
#[tokio::test]
async fn a_file_that_is_located_otherwise_is_no_orphan() {
    for (path, located) in [
        ("data/p=50%20x/live.parquet", "data/p=50%2520x/live.parquet"),
        ("data/p=10:00/live.parquet", "data/p=10%3A00/live.parquet"),
        ("data/50%20x.parquet", "data/50%2520x.parquet"),
        ("data/live.parquet", "abfss://c/t/data/live.parquet"),
        (
            "data/live.parquet",
            "https://acc.blob.core.windows.net/c/t/data/live.parquet",
        ),
    ] {
        let table = Table::new(0, 2).await;
        let lake = table.lake();
        let root = lake.table().await.metadata().location().to_owned();
        let in_table = |path: &str| format!("{root}/{path}");
        let located = if located.contains("://") {
            located.to_owned()
        } else {
            in_table(located)
        };
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data).record_count(1);
        commit_located_keys(lake, &[1_001], &mut file, &in_table(path), &located).await;
        lake.clock.advance(CENTURY_MS);
        let (catalog, clock) = (lake.catalog.as_ref(), lake.clock.as_ref());
        let found = remove_orphans(catalog, &lake.name, OrphanOptions::default(), clock).await;
        assert_eq!(found.unwrap().files, Vec::<String>::new(), "{path} as {located}");
    }
}

#[tokio::test]
async fn orphans_are_old_and_nothing_refers_to_them() {
    let table = Table::new(1, 6).await;
    let lake = table.lake();
    let directory = table.directory.path().join("interop").join(lake.name.name());
    let orphan = directory.join("data/left-behind.parquet");
    std::fs::write(&orphan, b"12345").unwrap();
    let before = table.files();
    let find = async |dry_run| {
        let options = OrphanOptions {
            dry_run,
            ..OrphanOptions::default()
        };
        remove_orphans(lake.catalog.as_ref(), &lake.name, options, lake.clock.as_ref()).await
    };
    lake.clock.advance(-CENTURY_MS);
    let found = find(false).await.unwrap();
    assert_eq!((found.files.len(), found.too_young), (0, 1));
    lake.clock.advance(2 * CENTURY_MS);
    let found = find(true).await.unwrap();
    assert_eq!(found.files, [format!("file://{}", orphan.display())]);
    assert_eq!((found.bytes, found.removed, table.files()), (5, false, before));

    let unreadable = directory.join(OsStr::from_bytes(b"data/\xff"));
    std::fs::write(&unreadable, b"").unwrap();
    assert_eq!(find(false).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(orphan.exists(), "nothing is removed on a partial view");
    std::fs::remove_file(unreadable).unwrap();

    assert!(find(false).await.unwrap().removed);
    assert_eq!(table.files(), before - 1);
    table.history.check_all().await;
}
