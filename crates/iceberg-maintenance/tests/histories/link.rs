//! Maintenance over links that fail: nobody may lose a file that is in use, and nobody may be told what is not so.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use iceberg::spec::{DataContentType, DataFileBuilder, Operation};
use iceberg_maintenance::{compact, expire, merge_manifests};
use iceberg_table::{Catalog, CatalogCommit, MetadataChange, TableHandle};
use model::{Error, ErrorKind, Result};

use crate::committing::{Commits, Committing};
use crate::faults::{Fault, FaultyCatalog};
use crate::maintenance::{Table, commit_keys, everything_old, whole};
use crate::rows::{Row, Value};

/// Late ones land before or after the table is looked at again.
const FAULTS: [Fault; 6] = [
    Fault::RequestLost,
    Fault::AnswerLost,
    Fault::Late(1),
    Fault::Late(5),
    Fault::ConflictWithItself,
    Fault::RefusedTheSecondTime,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Compact,
    Merge,
    Expire,
}

const TASKS: [Task; 3] = [Task::Compact, Task::Merge, Task::Expire];

impl Task {
    /// Whether it says that it has done something.
    async fn run(self, table: &Table, catalog: &dyn Catalog) -> Result<bool> {
        let lake = table.lake();
        let (name, clock, ids) = (&lake.name, lake.clock.as_ref(), lake.ids.clone());
        Ok(match self {
            Self::Compact => {
                let compacted = compact(catalog, name, &whole(lake), clock, ids).await?;
                compacted.snapshot.is_some()
            }
            Self::Merge => {
                let merged = merge_manifests(catalog, name, clock, ids.as_ref()).await?;
                merged.is_some()
            }
            Self::Expire => {
                let expired = expire(catalog, name, &everything_old(), &lake.later).await?;
                !expired.snapshots.is_empty()
            }
        })
    }

    /// Whether it has been done to a table that had these snapshots.
    async fn is_done(self, table: &Table, before: &BTreeSet<i64>) -> bool {
        let now = table.lake().table().await;
        let metadata = now.metadata();
        match self {
            Self::Expire => before.iter().any(|id| metadata.snapshot_by_id(*id).is_none()),
            Self::Compact | Self::Merge => metadata.snapshots().any(|snapshot| {
                snapshot.summary().operation == Operation::Replace
                    && !before.contains(&snapshot.snapshot_id())
            }),
        }
    }
}

async fn snapshots(table: &Table) -> BTreeSet<i64> {
    let now = table.lake().table().await;
    now.metadata()
        .snapshots()
        .map(|snapshot| snapshot.snapshot_id())
        .collect()
}

/// Every snapshot that is there is whole.
async fn check(table: &mut Table) {
    let present = snapshots(table).await;
    table.history.snapshots.retain(|id, _| present.contains(id));
    table.history.check_all().await;
}

/// How a task ended whose call failed.
#[derive(Default)]
struct Ends {
    /// It was found out that the commit had happened.
    found: usize,
    /// The commit happened after nobody knew about it any more.
    late: usize,
}

/// Each call of each task fails once, in each way; somebody else may commit before a late one comes.
#[tokio::test]
async fn a_fault_at_any_call_harms_nothing() {
    for task in TASKS {
        for fault in FAULTS {
            let mut ends = Ends::default();
            for (kind, overtaken) in [(0, false), (1, true)] {
                let mut at = 0;
                while a_fault(task, kind, fault, at, overtaken, &mut ends).await {
                    at += 1;
                }
                assert!(at >= 2, "{task:?} {fault:?}: {at} calls failed");
            }
            // What is overtaken comes too late.
            let (found, late) = match fault {
                Fault::RequestLost => (0, 0),
                Fault::AnswerLost
                | Fault::ConflictWithItself
                | Fault::RefusedTheSecondTime
                | Fault::Late(1) => (2, 0),
                Fault::Late(_) => (0, 1),
            };
            assert_eq!((ends.found, ends.late), (found, late), "{task:?} {fault:?}");
        }
    }
}

/// Whether the call was reached.
async fn a_fault(task: Task, kind: usize, fault: Fault, at: usize, overtaken: bool, ends: &mut Ends) -> bool {
    let context = format!("{task:?} of kind {kind}, {fault:?} at {at}, overtaken: {overtaken}");
    let mut table = Table::new(kind, 6).await;
    let before = snapshots(&table).await;
    let faulty = FaultyCatalog::new(table.lake().catalog.clone(), fault, at);
    let ended = task.run(&table, &faulty).await;
    let has_failed = faulty.has_failed();
    let is_done = task.is_done(&table, &before).await;
    match &ended {
        Ok(done) => assert_eq!(*done, is_done, "{context}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{context}: {error}"),
    }
    let is_unknown = ended
        .as_ref()
        .is_err_and(|error| error.to_string().contains("it is not known"));
    if !is_unknown {
        assert_eq!(
            table.orphans().await,
            Vec::<String>::new(),
            "{context}: {ended:?}"
        );
    }
    if overtaken {
        table.history.change("overtaking").await;
    }
    for _ in 0..6 {
        let _ = faulty.load(&table.lake().name).await;
    }
    let lands = task.is_done(&table, &before).await;
    ends.found += usize::from(has_failed && ended.is_ok());
    ends.late += usize::from(lands && !is_done);
    check(&mut table).await;
    let again = task.run(&table, table.lake().catalog.as_ref()).await;
    assert!(again.is_ok(), "{context}: {again:?}");
    check(&mut table).await;
    has_failed
}

/// Every commit is answered as a lost race, and kept: an earlier sending of it may be on its way.
#[derive(Debug, Default)]
struct Refusing(Mutex<Vec<(TableHandle, MetadataChange)>>);

#[async_trait]
impl Commits for Refusing {
    async fn commit(
        &self,
        _: &dyn Catalog,
        base: &TableHandle,
        change: MetadataChange,
    ) -> Result<CatalogCommit> {
        self.0.lock().unwrap().push((base.clone(), change));
        Ok(CatalogCommit::Conflict {
            why: "somebody was faster".into(),
        })
    }
}

#[tokio::test]
async fn what_was_answered_as_lost_may_come_when_all_attempts_are_over() {
    for task in TASKS {
        for is_last in [false, true] {
            let mut table = Table::new(1, 6).await;
            let before = snapshots(&table).await;
            let catalog = Committing {
                inner: table.lake().catalog.clone(),
                by: Refusing::default(),
            };
            let error = task.run(&table, &catalog).await.unwrap_err();
            let kind = match task {
                Task::Expire => ErrorKind::Transient,
                Task::Compact | Task::Merge => ErrorKind::Unavailable,
            };
            assert_eq!(error.kind(), kind, "{task:?}: {error}");
            let refused = std::mem::take(&mut *catalog.by.0.lock().unwrap());
            let index = if is_last { refused.len() - 1 } else { 0 };
            let (base, change) = refused.into_iter().nth(index).unwrap();
            let comes = catalog.inner.commit(&base, change).await.unwrap();
            assert!(matches!(comes, CatalogCommit::Done(_)), "{task:?}: {comes:?}");
            assert!(task.is_done(&table, &before).await);
            check(&mut table).await;
        }
    }
}

/// The first commit wins; then somebody commits on top of it and lets its snapshot expire, and the link sends the request again and is told
/// that the race was lost, or that it is refused.
struct WonAndGone<'a> {
    table: &'a Table,
    refuses: bool,
    is_first: AtomicBool,
}

impl std::fmt::Debug for WonAndGone<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WonAndGone")
    }
}

#[async_trait]
impl Commits for WonAndGone<'_> {
    async fn commit(
        &self,
        inner: &dyn Catalog,
        base: &TableHandle,
        change: MetadataChange,
    ) -> Result<CatalogCommit> {
        let ended = inner.commit(base, change.clone()).await?;
        if !self.is_first.swap(false, Ordering::SeqCst) {
            return Ok(ended);
        }
        let lake = self.table.lake();
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data).record_count(1);
        commit_keys(lake, &[ADDED_KEY], &mut file).await;
        let ours = lake
            .table()
            .await
            .metadata()
            .current_snapshot()
            .unwrap()
            .parent_snapshot_id();
        let expired = self.table.expire(everything_old()).await?.snapshots;
        assert!(expired.contains(&ours.unwrap()), "{expired:?}");
        match self.refuses {
            true => Err(Error::new(ErrorKind::Denied, "the token has expired")),
            false => inner.commit(base, change).await,
        }
    }
}

/// No key of the model's.
const ADDED_KEY: i64 = 1_000;

#[tokio::test]
async fn what_won_and_has_expired_keeps_its_files() {
    for (task, refuses) in [
        (Task::Compact, false),
        (Task::Compact, true),
        (Task::Merge, false),
        (Task::Merge, true),
    ] {
        let mut table = Table::new(0, 6).await;
        let catalog = Committing {
            inner: table.lake().catalog.clone(),
            by: WonAndGone {
                table: &table,
                refuses,
                is_first: AtomicBool::new(true),
            },
        };
        // Manifests are merged once more; what a compaction has replaced cannot be replaced again.
        let ended = task.run(&table, &catalog).await;
        let is_unknown = ended
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Unavailable);
        assert_eq!(
            is_unknown,
            refuses || task == Task::Compact,
            "{task:?}: {ended:?}"
        );
        let added = Row::from([(0, Value::Number(ADDED_KEY))]);
        table.history.now.rows.insert(ADDED_KEY, added);
        check(&mut table).await;
    }
}
