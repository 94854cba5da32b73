//! Lost answers, lost races, second owners, and writers that are not ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use async_trait::async_trait;
use iceberg::TableUpdate;
use iceberg::spec::{
    NestedField, NullOrder, Operation, PrimitiveType, Schema, Snapshot, SnapshotReference, SnapshotRetention,
    SortDirection, SortField, SortOrder, Summary, Transform, Type, UnboundPartitionSpec,
};
use iceberg_table::{Catalog, CatalogCommit, MetadataChange, TableHandle};
use iceberg_writer::{SchemaPolicy, TableOptions};
use model::{
    ChangeSink, Commit, CommitOutcome, Epoch, ErrorKind, Op, Presence, Replace, Result, SyncId, TableName,
    TableSchema,
};
use test_support::SampleRow;

use crate::committing::{Commits, Committing};
use crate::warehouse::{Target, Warehouse, rows_of, upserts};

/// What goes wrong in the next commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The commit happens and the answer is lost.
    AnswerLost,
    /// The commit does not happen and the answer is lost.
    RequestLost,
    /// Somebody else's change of the metadata comes in between.
    Overtaken,
    /// The same on a server that, as REST servers do, carries a commit out on what is there then if its requirements hold of that.
    OvertakenOnServer,
}

#[derive(Debug)]
struct Failing {
    failure: Failure,
    left: AtomicUsize,
    /// What somebody else does in between.
    foreign: Vec<TableUpdate>,
}

#[async_trait]
impl Commits for Failing {
    async fn commit(
        &self,
        inner: &dyn Catalog,
        base: &TableHandle,
        change: MetadataChange,
    ) -> Result<CatalogCommit> {
        let fails = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        let lost = || CatalogCommit::Unknown {
            why: "the answer was lost".into(),
        };
        match self.failure {
            Failure::AnswerLost if fails => inner.commit(base, change).await.map(|_| lost()),
            Failure::RequestLost if fails => Ok(lost()),
            Failure::Overtaken if fails => {
                let other = MetadataChange {
                    updates: self.foreign.clone(),
                    ..MetadataChange::default()
                };
                inner.commit(base, other).await?;
                inner.commit(base, change).await
            }
            Failure::OvertakenOnServer if fails => {
                let other = MetadataChange {
                    updates: self.foreign.clone(),
                    ..MetadataChange::default()
                };
                let CatalogCommit::Done(now) = inner.commit(base, other).await? else {
                    panic!("nobody else commits");
                };
                inner.commit(&now, change).await
            }
            _ => inner.commit(base, change).await,
        }
    }
}

fn faulty(warehouse: &Warehouse, failure: Failure, times: usize) -> Arc<Committing<Failing>> {
    let updates = [("somebody".to_owned(), "else".to_owned())].into();
    failing(
        warehouse,
        failure,
        times,
        vec![TableUpdate::SetProperties { updates }],
    )
}

/// A catalog in which somebody else does this before the next commit.
fn overtaken_by(warehouse: &Warehouse, foreign: Vec<TableUpdate>) -> Arc<Committing<Failing>> {
    failing(warehouse, Failure::Overtaken, 1, foreign)
}

fn failing(
    warehouse: &Warehouse,
    failure: Failure,
    times: usize,
    foreign: Vec<TableUpdate>,
) -> Arc<Committing<Failing>> {
    Arc::new(Committing {
        inner: Arc::new(warehouse.catalog()),
        by: Failing {
            failure,
            left: AtomicUsize::new(times),
            foreign,
        },
    })
}

/// What a writer that is not ours does to a table's metadata.
async fn change(warehouse: &Warehouse, name: &TableName, updates: Vec<TableUpdate>) {
    let change = MetadataChange {
        updates,
        ..MetadataChange::default()
    };
    let table = warehouse.table(name).await;
    let outcome = warehouse.catalog().commit(&table, change).await.unwrap();
    assert!(matches!(outcome, CatalogCommit::Done(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_lost_answer_is_found_out_and_a_lost_request_sent_again() {
    for (failure, known_at_once) in [(Failure::AnswerLost, true), (Failure::RequestLost, false)] {
        let warehouse = Warehouse::new(3);
        let target = Target::new(&warehouse).await;
        target
            .apply("first", &upserts(1..=4, "old"), Presence::Absent)
            .await;
        let changes = upserts(3..=6, "new");
        let staged = target.stage(&changes, Presence::Unknown).await.staged;
        let commit = target.next("second", staged).await;

        let sink = warehouse.sink_over(faulty(&warehouse, failure, 1));
        let outcome = sink.commit(&commit).await.unwrap();
        assert_eq!(
            matches!(outcome, CommitOutcome::Committed(_)),
            known_at_once,
            "{failure:?}: {outcome:?}"
        );
        assert_eq!(matches!(outcome, CommitOutcome::Unknown { .. }), !known_at_once);

        let receipt = target.commit(&commit).await;
        assert_eq!((receipt.inserted, receipt.updated), (2, 2), "{failure:?}");
        let expect = [rows_of(&upserts(1..=2, "old")), rows_of(&changes)].concat();
        assert_eq!(target.rows().await, expect, "{failure:?}");
        let batches: Vec<_> = warehouse
            .table(&target.name)
            .await
            .metadata()
            .snapshots()
            .cloned()
            .collect();
        assert_eq!(batches.len(), 2, "{failure:?}");
    }
}

/// Two processes give the next ids to different columns, partition fields and sort orders: the second is refused, whatever the
/// catalog does about changes that no requirement speaks of.
#[tokio::test]
async fn of_two_changes_of_the_layout_one_is_planned_again() {
    let long = || Type::Primitive(PrimitiveType::Long);
    let other_column = |table: &TableHandle| {
        let metadata = table.metadata();
        let other = NestedField::optional(metadata.last_column_id() + 1, "theirs", long());
        let present = table.iceberg_schema();
        let fields = present.as_struct().fields().iter().cloned();
        let schema = Schema::builder()
            .with_fields(fields.chain([Arc::new(other)]))
            .with_identifier_field_ids(present.identifier_field_ids())
            .with_schema_id(present.schema_id() + 1)
            .build();
        vec![
            TableUpdate::AddSchema {
                schema: schema.unwrap(),
            },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ]
    };
    let other_spec = |_: &TableHandle| {
        let spec = UnboundPartitionSpec::builder().add_partition_field(1, "theirs", Transform::Bucket(3));
        vec![
            TableUpdate::AddSpec {
                spec: spec.unwrap().build(),
            },
            TableUpdate::SetDefaultSpec { spec_id: -1 },
        ]
    };
    let other_order = |_: &TableHandle| {
        let field = SortField::builder()
            .source_id(1)
            .transform(Transform::Identity)
            .direction(SortDirection::Descending)
            .null_order(NullOrder::Last)
            .build();
        let sort_order = SortOrder::builder().with_sort_field(field).build_unbound();
        vec![
            TableUpdate::AddSortOrder {
                sort_order: sort_order.unwrap(),
            },
            TableUpdate::SetDefaultSortOrder { sort_order_id: -1 },
        ]
    };
    let ours = TableOptions {
        schema_changes: SchemaPolicy::Evolve,
        partition: Some(vec!["bucket(5, id)".to_owned()]),
        sort: Some(vec!["id asc".to_owned()]),
        ..TableOptions::default()
    };
    type Change<'a> = &'a dyn Fn(&TableHandle) -> Vec<TableUpdate>;
    let cases: [(Change, TableOptions); 3] = [
        (
            &other_column,
            TableOptions {
                partition: None,
                sort: None,
                ..ours.clone()
            },
        ),
        (
            &other_spec,
            TableOptions {
                sort: None,
                ..ours.clone()
            },
        ),
        (
            &other_order,
            TableOptions {
                partition: None,
                ..ours.clone()
            },
        ),
    ];
    for (case, (theirs, ours)) in cases.into_iter().enumerate() {
        let warehouse = Warehouse::new(20);
        let mut target = Target::new(&warehouse).await;
        let base = warehouse.table(&target.name).await;
        let catalog = failing(&warehouse, Failure::OvertakenOnServer, 1, theirs(&base));
        if case == 0 {
            let fields = target.schema.arrow().fields().iter().cloned();
            let added = Arc::new(Field::new("ours", DataType::Utf8, true));
            let fields: Vec<_> = fields.chain([added]).collect();
            let declared = vec![None; fields.len()];
            target.schema = TableSchema::new(Arc::new(ArrowSchema::new(fields)), vec![0], declared).unwrap();
        }
        target.sink = warehouse
            .sink_over(catalog)
            .with_tables([(target.name.clone(), ours)]);
        let refused = target.prepare(|_| ()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Transient, "{case}: {refused}");
        let metadata = warehouse.table(&target.name).await.metadata().clone();
        let now = (
            metadata
                .current_schema()
                .as_struct()
                .fields()
                .last()
                .unwrap()
                .name
                .clone(),
            metadata.default_partition_spec().fields().len(),
            metadata.default_sort_order().fields.len(),
        );
        let last = base
            .iceberg_schema()
            .as_struct()
            .fields()
            .last()
            .unwrap()
            .name
            .clone();
        let expected = [("theirs".to_owned(), 0, 0), (last.clone(), 1, 0), (last, 0, 1)];
        assert_eq!(now, expected[case]);
    }
}

/// A file that was staged is gone before the commit: whoever removed it took it for an orphan.
#[tokio::test]
async fn a_staged_file_that_is_gone_is_not_committed() {
    for replace in [Replace::No, Replace::Table] {
        let warehouse = Warehouse::new(21);
        let target = Target::new(&warehouse).await;
        target
            .apply("first", &upserts(1..=2, "old"), Presence::Absent)
            .await;
        let before = warehouse.data_files(&target.name);
        let staged = target
            .stage(&upserts(3..=4, "new"), Presence::Absent)
            .await
            .staged;
        let commit = Commit {
            replace,
            ..target.next("second", staged).await
        };
        for file in warehouse.data_files(&target.name) {
            if !before.contains(&file) {
                std::fs::remove_file(warehouse.directory.path().join("dbo/T/data").join(file)).unwrap();
            }
        }
        let outcome = target.sink.commit(&commit).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
        assert_eq!(target.rows().await, rows_of(&upserts(1..=2, "old")));
    }
}

#[tokio::test]
async fn lost_races_are_run_again() {
    let warehouse = Warehouse::new(4);
    let target = Target::new(&warehouse).await;
    let staged = target.stage(&upserts(1..=3, "x"), Presence::Unknown).await.staged;
    let commit = target.next("raced", staged).await;
    let sink = warehouse.sink_over(faulty(&warehouse, Failure::Overtaken, 5));
    let outcome = sink.commit(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    assert_eq!(target.rows().await, rows_of(&upserts(1..=3, "x")));
    let metadata = warehouse.table(&target.name).await.metadata().clone();
    assert_eq!(
        (
            metadata.snapshots().len(),
            metadata.properties()["somebody"].as_str()
        ),
        (1, "else")
    );
    let left_behind = std::fs::read_dir(warehouse.directory.path().join("dbo/T/metadata")).unwrap();
    let avro = left_behind
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|e| e == "avro")
        })
        .count();
    assert_eq!(
        avro, 2,
        "one manifest and one list; the lost attempts' are removed"
    );
}

/// Many owners at once, each with what it thinks is the newest mark: the marks form one chain, and every committed row is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_owners_neither_lose_nor_double_a_commit() {
    let warehouse = Arc::new(Warehouse::new(5));
    let target = Target::new(&warehouse).await;
    let mut owners = Vec::new();
    for owner in 0..4 {
        let warehouse = warehouse.clone();
        let (sync, name, schema) = (target.sync.clone(), target.name.clone(), target.schema.clone());
        owners.push(tokio::spawn(async move {
            let target = Target {
                sink: warehouse.sink(),
                warehouse: &warehouse,
                sync,
                name,
                schema,
            };
            let mut won = Vec::new();
            for round in 0..8 {
                let changes = upserts([owner * 100 + round], "x");
                let staged = target.stage(&changes, Presence::Unknown).await.staged;
                let commit = target.next(&format!("{owner}/{round}"), staged.clone()).await;
                match target.sink.commit(&commit).await.unwrap() {
                    CommitOutcome::Committed(_) => won.extend(rows_of(&changes)),
                    CommitOutcome::Conflict { .. } => target.sink.discard(staged).await.unwrap(),
                    CommitOutcome::Unknown { why } => panic!("{why}"),
                }
            }
            won
        }));
    }
    let mut expect = Vec::new();
    for owner in owners {
        expect.extend(owner.await.unwrap());
    }
    expect.sort();
    assert!(!expect.is_empty());
    assert_eq!(target.rows().await, expect);
    let commits = warehouse.table(&target.name).await.metadata().snapshots().len();
    assert_eq!(commits, expect.len());
    assert_eq!(
        warehouse.data_files(&target.name).len(),
        expect.len(),
        "void files are removed"
    );
}

#[tokio::test]
async fn an_older_owner_is_fenced_at_every_step() {
    let warehouse = Warehouse::new(6);
    let target = Target::new(&warehouse).await;
    let staged = target
        .stage(&upserts([1], "old owner"), Presence::Unknown)
        .await
        .staged;
    let old = target.next("old", staged).await;
    let new = Commit {
        epoch: Epoch(2),
        mark: old.mark.clone(),
        ..target.next("new", vec![]).await
    };
    target.commit(&new).await;
    // Even with the mark that it expects.
    let old = Commit {
        after: Some(new.mark.clone()),
        ..old
    };
    let CommitOutcome::Conflict { newest } = target.sink.commit(&old).await.unwrap() else {
        panic!("the old owner committed");
    };
    assert_eq!(newest.epoch, Epoch(2));
    assert!(target.rows().await.is_empty());
}

#[tokio::test]
async fn a_kill_at_any_point_is_decided_by_sending_the_same_commit_again() {
    let mut built_before_the_kill = 0;
    for polls in 0..40 {
        let warehouse = Warehouse::with_small_files(7 + polls as u64);
        let target = Target::new(&warehouse).await;
        target
            .apply("first", &upserts(0..20, "old"), Presence::Absent)
            .await;
        let changes = upserts(10..30, "new");
        match target
            .killed_commit("second", &changes, Presence::Unknown, polls)
            .await
        {
            Some(commit) => {
                built_before_the_kill += 1;
                target.commit(&commit).await;
            }
            None => {
                assert_eq!(
                    target.rows().await,
                    rows_of(&upserts(0..20, "old")),
                    "killed after {polls} polls"
                );
                target.apply("again", &changes, Presence::Unknown).await;
            }
        }
        let expect = [rows_of(&upserts(0..10, "old")), rows_of(&changes)].concat();
        assert_eq!(target.rows().await, expect, "killed after {polls} polls");
        assert_eq!(
            warehouse.table(&target.name).await.metadata().snapshots().len(),
            2
        );
    }
    assert!(
        (1..40).contains(&built_before_the_kill),
        "the kills hit staging and committing"
    );
}

/// Another sync into the same table stands for any writer that is not ours.
#[tokio::test]
async fn rows_that_others_added_since_the_lookup_stop_the_commit() {
    let warehouse = Warehouse::new(8);
    let target = Target::new(&warehouse).await;
    let other = Target {
        sync: SyncId::new("another"),
        sink: warehouse.sink(),
        ..Target::new(&warehouse).await
    };
    target
        .apply("first", &upserts(1..=3, "a"), Presence::Absent)
        .await;

    let staged = target
        .stage(&upserts([3, 4], "b"), Presence::Unknown)
        .await
        .staged;
    let mut commit = target.next("second", staged).await;
    other
        .apply("foreign", &upserts([4], "foreign"), Presence::Unknown)
        .await;
    let outcome = target.sink.commit(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");

    commit.staged = target
        .stage(&upserts([3, 4], "b"), Presence::Unknown)
        .await
        .staged;
    target.commit(&commit).await;
    assert_eq!(
        target.rows().await,
        rows_of(&[upserts([1, 2], "a"), upserts([3, 4], "b")].concat())
    );
}

/// Counts in summaries are optional.
#[tokio::test]
async fn others_that_do_not_say_what_they_added_stop_the_commit() {
    for (operation, added, is_stopped) in [
        (Operation::Append, None, true),
        (Operation::Overwrite, None, true),
        (Operation::Overwrite, Some("0"), false),
        (Operation::Delete, None, false),
        (Operation::Delete, Some("1"), true),
        (Operation::Replace, None, false),
        (Operation::Replace, Some("1"), false),
    ] {
        let warehouse = Warehouse::new(13);
        let target = Target::new(&warehouse).await;
        target
            .apply("first", &upserts(1..=3, "a"), Presence::Absent)
            .await;
        let staged = target.stage(&upserts([3], "b"), Presence::Unknown).await.staged;
        let commit = target.next("second", staged).await;
        let table = warehouse.table(&target.name).await;
        let head = table.head().unwrap();
        let added = added.map(|files| ("added-data-files".to_owned(), files.to_owned()));
        let foreign = Snapshot::builder()
            .with_snapshot_id(1)
            .with_parent_snapshot_id(Some(head.snapshot_id()))
            .with_sequence_number(table.metadata().next_sequence_number())
            .with_timestamp_ms(head.timestamp_ms() + 1)
            .with_manifest_list(head.manifest_list())
            .with_summary(Summary {
                operation: operation.clone(),
                additional_properties: added.clone().into_iter().collect(),
            })
            .with_schema_id(table.metadata().current_schema_id())
            .build();
        let main = SnapshotReference::new(1, SnapshotRetention::branch(None, None, None));
        let updates = vec![
            TableUpdate::AddSnapshot { snapshot: foreign },
            TableUpdate::SetSnapshotRef {
                ref_name: "main".into(),
                reference: main,
            },
        ];
        change(&warehouse, &target.name, updates).await;
        let outcome = target.sink.commit(&commit).await.unwrap();
        assert_eq!(
            matches!(outcome, CommitOutcome::Conflict { .. }),
            is_stopped,
            "{operation:?} {added:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_file_that_others_removed_since_the_lookup_stops_the_commit() {
    let warehouse = Warehouse::new(9);
    let target = Target::new(&warehouse).await;
    let other = Target {
        sync: SyncId::new("another"),
        sink: warehouse.sink(),
        ..Target::new(&warehouse).await
    };
    target
        .apply("first", &upserts(1..=3, "a"), Presence::Absent)
        .await;
    let staged = target
        .stage(&[(Op::Delete, SampleRow::new(2, "", 0))], Presence::Unknown)
        .await
        .staged;
    let commit = target.next("second", staged).await;
    let none = other.next("emptied", vec![]).await;
    other
        .commit(&Commit {
            replace: Replace::Table,
            ..none
        })
        .await;
    let outcome = target.sink.commit(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
    assert!(
        !warehouse
            .data_files(&target.name)
            .iter()
            .any(|file| file.contains("deletes")),
        "the delete file is void"
    );
}

#[tokio::test]
async fn a_dropped_and_recreated_table_takes_nothing_that_was_staged_before() {
    let warehouse = Warehouse::new(10);
    let target = Target::new(&warehouse).await;
    let staged = target.stage(&upserts(1..=3, "a"), Presence::Absent).await.staged;
    let commit = target.next("first", staged).await;
    std::fs::remove_dir_all(warehouse.directory.path().join("dbo")).unwrap();
    assert_eq!(
        target.sink.commit(&commit).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let target = Target::new(&warehouse).await;
    let outcome = target.sink.commit(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
}

/// Files for one layout of a table do not go into another, whether it changed before the commit or under it.
#[tokio::test]
async fn a_table_that_changed_its_layout_since_staging_takes_nothing() {
    type Change = fn(&TableHandle) -> Vec<TableUpdate>;
    let add_column: Change = |table| {
        let note = NestedField::optional(9, "note", Type::Primitive(PrimitiveType::String));
        let schema = table.iceberg_schema().as_ref().clone().into_builder();
        let schema = schema.with_fields([Arc::new(note)]).build().unwrap();
        vec![
            TableUpdate::AddSchema { schema },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ]
    };
    let partition: Change = |_| {
        let spec = UnboundPartitionSpec::builder().add_partition_field(1, "id", Transform::Identity);
        vec![
            TableUpdate::AddSpec {
                spec: spec.unwrap().build(),
            },
            TableUpdate::SetDefaultSpec { spec_id: -1 },
        ]
    };
    let audit: Change = |_| {
        let updates = [("write.wap.enabled".to_owned(), "true".to_owned())].into();
        vec![TableUpdate::SetProperties { updates }]
    };
    for (foreign, refusal) in [
        (add_column, None),
        (partition, None),
        (audit, Some(ErrorKind::Unsupported)),
    ] {
        for is_raced in [false, true] {
            let warehouse = Warehouse::new(14);
            let target = Target::new(&warehouse).await;
            let staged = target.stage(&upserts([1], "a"), Presence::Unknown).await.staged;
            let commit = target.next("first", staged).await;
            let updates = foreign(&warehouse.table(&target.name).await);
            let sink = if is_raced {
                warehouse.sink_over(overtaken_by(&warehouse, updates))
            } else {
                change(&warehouse, &target.name, updates).await;
                warehouse.sink()
            };
            match (sink.commit(&commit).await, refusal) {
                (Ok(CommitOutcome::Conflict { .. }), None) => {}
                (Err(error), Some(kind)) => assert_eq!(error.kind(), kind, "{error}"),
                // The head is where it was, so an earlier sending of the request that lost may yet win.
                (Ok(CommitOutcome::Unknown { .. }), Some(kind)) if is_raced => {
                    assert_eq!(sink.commit(&commit).await.unwrap_err().kind(), kind);
                }
                (ended, _) => panic!("raced {is_raced}: {ended:?}"),
            }
            assert!(warehouse.table(&target.name).await.head().is_none());
        }
    }
}

/// Two owners with the same mark: the first commits without moving it, so the mark alone does not tell the second.
#[tokio::test]
async fn a_commit_that_kept_the_mark_stops_a_second_owner() {
    let warehouse = Warehouse::new(11);
    let target = Target::new(&warehouse).await;
    target.apply("first", &upserts([1], "a"), Presence::Absent).await;
    let stage = async |batch| {
        let staged = target.stage(&upserts([2], batch), Presence::Unknown).await.staged;
        let commit = target.next(batch, staged).await;
        Commit {
            mark: commit.after.clone().unwrap(),
            ..commit
        }
    };
    let (one, two) = (stage("one").await, stage("two").await);
    target.commit(&one).await;
    let outcome = target.sink.commit(&two).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
    assert_eq!(
        target.rows().await,
        rows_of(&[upserts([1], "a"), upserts([2], "one")].concat())
    );
}

/// Chunks of a resumed copy are staged together and committed one after the other.
#[tokio::test]
async fn chunks_that_were_staged_together_follow_each_other() {
    let warehouse = Warehouse::new(12);
    let target = Target::new(&warehouse).await;
    target
        .apply("before", &upserts(0..6, "old"), Presence::Absent)
        .await;
    let mut staged = Vec::new();
    for chunk in [0..4, 4..8] {
        staged.push(
            target
                .stage(&upserts(chunk, "new"), Presence::PerhapsIdentical)
                .await
                .staged,
        );
    }
    for (number, staged) in staged.into_iter().enumerate() {
        let commit = target.next(&format!("chunk {number}"), staged).await;
        let start = commit.mark.position().clone();
        let through = Some(model::Bound::new(number.to_string()));
        target
            .commit(&Commit {
                mark: model::Mark::Copying { start, through },
                ..commit
            })
            .await;
    }
    assert_eq!(target.rows().await, rows_of(&upserts(0..8, "new")));
}
