//! What maintenance must not do: remove what is in use, win against the ingest, or forget which row is which.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use async_trait::async_trait;
use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::spec::{SnapshotReference, SnapshotRetention};
use iceberg_maintenance::{CompactOptions, ExpireOptions, OrphanOptions, compact, expire, remove_orphans};
use iceberg_table::{
    Catalog, CatalogCommit, DataFileReader, DeletedRows, FileSystemCatalog, MetadataChange, NewTable,
    Projection, TableHandle, live_files,
};
use model::{ErrorKind, Result, TableName};
use tempfile::TempDir;

use crate::history::History;
use crate::lake::{CENTURY_MS, KINDS, Lake};

struct Table {
    directory: TempDir,
    history: History,
}

impl Table {
    /// A table of format v2, or v3, with some small commits.
    async fn new(kind: usize, commits: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::new(directory.path(), KINDS[kind], 7);
        let mut history = History::new(lake, 7).await;
        for commit in 0..commits {
            history.change(&format!("commit {commit}")).await;
        }
        Self { directory, history }
    }

    fn lake(&self) -> &Lake {
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

    async fn expire(&self, options: ExpireOptions) -> Result<iceberg_maintenance::Expired> {
        expire(
            self.lake().catalog.as_ref(),
            &self.lake().name,
            &options,
            &self.lake().later,
        )
        .await
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

fn everything_old() -> ExpireOptions {
    ExpireOptions {
        older_than_ms: Some(0),
        keep_at_least: None,
        in_use: Vec::new(),
        dry_run: false,
    }
}

fn whole(lake: &Lake) -> CompactOptions {
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
    for file in live_files(table.table(), table.head().unwrap()).await.unwrap() {
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

/// A catalog in which somebody else deletes rows between the reading and the commit of what comes next.
#[derive(Debug)]
struct Overtaken {
    inner: FileSystemCatalog,
    change: MetadataChange,
    done: AtomicBool,
}

#[async_trait]
impl Catalog for Overtaken {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        self.inner.load(table).await
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        self.inner.create(table, new).await
    }

    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit> {
        if !self.done.swap(true, Ordering::SeqCst) {
            self.inner.commit(base, self.change.clone()).await?;
        }
        self.inner.commit(base, change).await
    }

    async fn persist(&self, files: &[String]) -> Result<()> {
        self.inner.persist(files).await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        self.inner.list().await
    }

    async fn check_writable(&self) -> Result<()> {
        self.inner.check_writable().await
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
            let overtaken = table.lake().table().await;
            let newest = overtaken.head().unwrap().as_ref().clone();
            let directory = table
                .directory
                .path()
                .join("interop")
                .join(table.lake().name.name())
                .join("metadata");
            let version = std::fs::read_to_string(directory.join("version-hint.text")).unwrap();
            let version: u64 = version.trim().parse().unwrap();
            std::fs::remove_file(directory.join(format!("v{version}.metadata.json"))).unwrap();
            std::fs::write(directory.join("version-hint.text"), (version - 1).to_string()).unwrap();
            assert_eq!(table.lake().table().await.head(), base.head());
            let snapshot_id = newest.snapshot_id();
            let lake = table.lake();
            let catalog = Overtaken {
                inner: lake.catalog.as_ref().clone(),
                change: MetadataChange {
                    requirements: vec![],
                    updates: vec![
                        TableUpdate::AddSnapshot { snapshot: newest },
                        TableUpdate::SetSnapshotRef {
                            ref_name: "main".into(),
                            reference: SnapshotReference::new(
                                snapshot_id,
                                SnapshotRetention::branch(None, None, None),
                            ),
                        },
                    ],
                },
                done: AtomicBool::new(false),
            };
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
            if deletes {
                table.history.now.rows.clear();
            }
            table.history.check_all().await;
        }
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
