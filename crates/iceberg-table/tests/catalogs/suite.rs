//! What a catalog has to keep, whatever it is.
//!
//! Acknowledged commits are counted by their files: at the end the table consists of exactly those, and everything that its
//! snapshots refer to is still there.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::{join_all, ready};
use futures::stream;
use iceberg::{TableRequirement, TableUpdate};
use iceberg_table::{Catalog, CatalogCommit, MetadataChange, TableHandle, set_tag};
use model::{CommitOutcome, ErrorKind, TableName};
use uuid::Uuid;

use crate::faults::{Fault, FaultyCatalog};
use crate::place::{Place, definition, late_clock, new_table};
use crate::withheld::intercepting;
use crate::writer::{Task, Writer, assert_files, assert_rows, path};

/// Asks a catalog everything.
pub(crate) async fn run(place: &dyn Place) {
    tables_are_created_once(place).await;
    a_requirement_that_fails_changes_nothing(place).await;
    one_sees_what_the_other_committed(place).await;
    of_racers_on_one_head_one_wins(place).await;
    writers_do_not_lose_each_other(place).await;
    of_two_owners_with_one_epoch_one_wins(place).await;
    tags_are_set_beside_writers(place).await;
    the_files_of_a_table_are_listed(place).await;
    a_fault_at_any_call_loses_nothing(place).await;
    a_fault_at_any_request_loses_nothing(place).await;
}

async fn tables_are_created_once(place: &dyn Place) {
    let catalog = place.catalog();
    catalog.check_writable().await.unwrap();
    assert!(
        catalog
            .load(&TableName::new("nowhere", "x"))
            .await
            .unwrap()
            .is_none()
    );
    let names = place.names();
    for name in &names {
        assert!(catalog.load(name).await.unwrap().is_none(), "{name}");
        let created = catalog.create(name, definition()).await.unwrap().unwrap();
        assert!(
            catalog.create(name, definition()).await.unwrap().is_none(),
            "{name} was created twice"
        );
        let loaded = place.catalog().load(name).await.unwrap().unwrap();
        assert_eq!(loaded.metadata(), created.metadata());
        assert_eq!(loaded.metadata().properties()["made-by"], "the suite");
        let ids: Vec<_> = loaded
            .iceberg_schema()
            .as_struct()
            .fields()
            .iter()
            .map(|f| f.id)
            .collect();
        assert_eq!(ids, [1, 2]);
    }
    let listed = place.catalog().list().await.unwrap();
    assert!(listed.is_sorted());
    let missing: Vec<_> = names.iter().filter(|name| !listed.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {listed:?}");

    let racers = (0..4).map(|_| {
        let catalog = place.catalog();
        tokio::spawn(async move {
            catalog
                .create(&TableName::new("dbo", "raced"), definition())
                .await
        })
    });
    let created = join_all(racers)
        .await
        .into_iter()
        .map(|ended| ended.unwrap().unwrap());
    assert_eq!(
        created.flatten().count(),
        1,
        "one of the racers creates the table"
    );
}

async fn a_requirement_that_fails_changes_nothing(place: &dyn Place) {
    let catalog = place.catalog();
    let name = new_table(place).await;
    let base = catalog.load(&name).await.unwrap().unwrap();
    let uuid = base.metadata().uuid();
    for requirement in [
        TableRequirement::UuidMatch { uuid: Uuid::nil() },
        TableRequirement::CurrentSchemaIdMatch { current_schema_id: 7 },
        TableRequirement::DefaultSpecIdMatch { default_spec_id: 7 },
        TableRequirement::RefSnapshotIdMatch {
            r#ref: "main".into(),
            snapshot_id: Some(7),
        },
    ] {
        let change = MetadataChange {
            requirements: vec![TableRequirement::UuidMatch { uuid }, requirement.clone()],
            ..set("x", "1")
        };
        let outcome = catalog.commit(&base, change).await.unwrap();
        assert!(
            matches!(outcome, CatalogCommit::Conflict { .. }),
            "{requirement:?}: {outcome:?}"
        );
    }
    let loaded = catalog.load(&name).await.unwrap().unwrap();
    assert_eq!(loaded.metadata(), base.metadata());
}

async fn one_sees_what_the_other_committed(place: &dyn Place) {
    let name = new_table(place).await;
    let (ours, others) = (place.catalog(), place.catalog());
    for value in ["1", "2", "3"] {
        let base = ours.load(&name).await.unwrap().unwrap();
        let CatalogCommit::Done(done) = ours.commit(&base, set("x", value)).await.unwrap() else {
            panic!("there was nobody else");
        };
        let seen = others.load(&name).await.unwrap().unwrap();
        assert_eq!(seen.metadata(), done.metadata());
        assert_eq!(seen.metadata().properties()["x"], value);
    }
}

async fn of_racers_on_one_head_one_wins(place: &dyn Place) {
    let name = new_table(place).await;
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let racers: Vec<_> = join_all((0..8).map(|racer| prepared(place, &name, racer))).await;
        let started = racers.into_iter().map(|(catalog, base, change, file)| {
            tokio::spawn(async move { (catalog.commit(&base, change).await.unwrap(), file) })
        });
        let ended: Vec<_> = join_all(started).await.into_iter().map(Result::unwrap).collect();
        let (won, lost): (Vec<_>, Vec<_>) = ended
            .iter()
            .partition(|(outcome, _)| matches!(outcome, CatalogCommit::Done(_)));
        assert_eq!(won.len(), 1, "round {round}: {ended:?}");
        let all_know = lost
            .iter()
            .all(|(outcome, _)| matches!(outcome, CatalogCommit::Conflict { .. }));
        assert!(all_know, "round {round}: {lost:?}");
        acknowledged.push(won[0].1.clone());
    }
    assert_files(place.catalog().as_ref(), &name, &acknowledged).await;
}

/// A racer with everything written but the commit.
async fn prepared(
    place: &dyn Place,
    name: &TableName,
    racer: usize,
) -> (Arc<dyn Catalog>, TableHandle, MetadataChange, String) {
    let catalog = place.catalog();
    let interceptor = Arc::new(intercepting(&catalog));
    let writer = Writer::new(interceptor.clone(), name, &format!("racer/{racer}"));
    let commit = writer.one_row(&writer.load().await).await;
    let outcome = writer.send(&commit).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Unknown { .. }), "{outcome:?}");
    let (base, change) = interceptor.by.take();
    (catalog, base, change, path(&commit))
}

async fn writers_do_not_lose_each_other(place: &dyn Place) {
    let name = new_table(place).await;
    let writers = (0..4).map(|writer| {
        let writer = Writer::new(place.catalog(), &name, &format!("writer/{writer}"));
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for _ in 0..6 {
                let commit = writer.one_row(&writer.load().await).await;
                acknowledged.push(writer.send_until_known(&commit).await);
            }
            acknowledged
        })
    });
    let acknowledged: Vec<_> = join_all(writers)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    assert_eq!(acknowledged.len(), 24);
    assert_files(place.catalog().as_ref(), &name, &acknowledged).await;
}

/// Two owners, as a lease store that lies would make them: same sync, same epoch, same mark to build on.
async fn of_two_owners_with_one_epoch_one_wins(place: &dyn Place) {
    let name = new_table(place).await;
    let owners = [(); 2].map(|()| Arc::new(Writer::new(place.catalog(), &name, "owned")));
    let mut acknowledged = Vec::new();
    for round in 0..10 {
        let mut commits = Vec::new();
        for owner in &owners {
            commits.push((owner.clone(), owner.one_row(&owner.load().await).await));
        }
        let started = commits.into_iter().map(|(owner, commit)| {
            tokio::spawn(async move { (owner.send(&commit).await.unwrap(), path(&commit)) })
        });
        let ended: Vec<_> = join_all(started).await.into_iter().map(Result::unwrap).collect();
        let won: Vec<_> = ended
            .iter()
            .filter(|(outcome, _)| matches!(outcome, CommitOutcome::Committed(_)))
            .collect();
        assert_eq!(won.len(), 1, "round {round}: {ended:?}");
        let knows = ended
            .iter()
            .any(|(outcome, _)| matches!(outcome, CommitOutcome::Conflict { .. }));
        assert!(knows, "round {round}: {ended:?}");
        acknowledged.push(won[0].1.clone());
    }
    assert_files(place.catalog().as_ref(), &name, &acknowledged).await;
}

async fn tags_are_set_beside_writers(place: &dyn Place) {
    let name = new_table(place).await;
    let writer = Writer::new(place.catalog(), &name, "writer");
    let tagger = place.catalog();
    let mut acknowledged = Vec::new();
    for _ in 0..5 {
        let table = writer.load().await;
        let commit = writer.one_row(&table).await;
        // Each time the snapshot before the one that is being written; the first time there is none.
        let tagging = async {
            match table.head() {
                Some(head) => set_tag(tagger.as_ref(), &name, "held", head.snapshot_id()).await,
                None => Ok(()),
            }
        };
        let (path, tagged) = futures::join!(writer.send_until_known(&commit), tagging);
        tagged.unwrap();
        acknowledged.push(path);
    }
    let table = place.catalog().load(&name).await.unwrap().unwrap();
    let metadata = table.metadata();
    let held = metadata
        .snapshot_for_ref("held")
        .map(|snapshot| snapshot.snapshot_id());
    assert_eq!(held, table.head().unwrap().parent_snapshot_id());
    let file = table.table().metadata_location();
    set_tag(tagger.as_ref(), &name, "held", held.unwrap())
        .await
        .unwrap();
    let again = place.catalog().load(&name).await.unwrap().unwrap();
    assert_eq!(again.table().metadata_location(), file, "nothing was to be done");
    let gone = set_tag(tagger.as_ref(), &name, "held", 4711).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_files(place.catalog().as_ref(), &name, &acknowledged).await;
}

const FAULTS: [Fault; 7] = [
    Fault::RequestLost,
    Fault::AnswerLost,
    Fault::Late(1),
    Fault::Late(2),
    Fault::Late(3),
    Fault::ConflictWithItself,
    Fault::RefusedTheSecondTime,
];

async fn the_files_of_a_table_are_listed(place: &dyn Place) {
    let name = new_table(place).await;
    let writer = Writer::new(place.catalog(), &name, "lister");
    let commit = writer.one_row(&writer.load().await).await;
    let written = writer.send_until_known(&commit).await;
    let table = writer.load().await;
    let list = table.head().unwrap().manifest_list();
    let found: Vec<_> = table
        .files_below(table.metadata().location())
        .await
        .unwrap()
        .into_iter()
        .map(|file| (without_scheme(&file.location).to_owned(), file.bytes))
        .collect();
    let size = commit.data_files[0].file_size_in_bytes();
    assert!(
        found.contains(&(without_scheme(&written).to_owned(), size)),
        "{written}: {found:?}"
    );
    assert!(
        found.iter().any(|(path, _)| path == without_scheme(list)),
        "{list}: {found:?}"
    );
    let elsewhere = format!("{}/dat", table.metadata().location());
    assert_eq!(table.files_below(&elsewhere).await.unwrap(), []);
}

/// Services write the location of a local file in different ways.
fn without_scheme(location: &str) -> &str {
    location.trim_start_matches("file:").trim_start_matches("//")
}

/// Every call of a short history fails once, in every way; what is lost is done again until its end is known.
async fn a_fault_at_any_call_loses_nothing(place: &dyn Place) {
    const MORE_THAN_THERE_ARE: usize = 40;
    // A server takes only so many connections.
    const AT_ONCE: usize = 15;
    for fault in FAULTS {
        let histories = (0..MORE_THAN_THERE_ARE).map(async |call| {
            let faulty = Arc::new(FaultyCatalog::new(place.catalog(), fault, call));
            a_history(place, faulty.clone()).await;
            faulty.has_failed()
        });
        let failed = stream::iter(histories)
            .buffer_unordered(AT_ONCE)
            .filter(|failed| ready(*failed))
            .count()
            .await;
        assert!(
            (15..MORE_THAN_THERE_ARE).contains(&failed),
            "{fault:?}: {failed} calls failed"
        );
    }
}

/// The same with every request to the server.
async fn a_fault_at_any_request_loses_nothing(place: &dyn Place) {
    // What a service says to a repeated request is its own affair.
    let of_links = FAULTS
        .into_iter()
        .filter(|fault| *fault != Fault::RefusedTheSecondTime);
    for fault in of_links {
        let mut failed = 0;
        while let Some(faulty) = place.over_a_bad_link(fault, failed).await {
            a_history(place, faulty.catalog).await;
            if !(faulty.has_failed)() {
                break;
            }
            failed += 1;
        }
        if failed == 0 {
            return;
        }
        println!("{fault:?}: {failed} requests failed");
        assert!(failed >= 5, "{fault:?}: {failed} requests failed");
    }
}

/// Two commits by a catalog that fails, and maintenance, with somebody else's commits in between.
async fn a_history(place: &dyn Place, faulty: Arc<dyn Catalog>) {
    let name = new_table(place).await;
    let foreign = Writer::new(place.catalog(), &name, "foreign");
    let writer = Writer::new(faulty, &name, "ours");
    let mut acknowledged = Vec::new();
    for _ in 0..2 {
        let table = foreign.load().await;
        let commit = writer.one_row(&table).await;
        acknowledged.push(writer.send_until_known(&commit).await);
        let between = foreign.one_row(&table).await;
        acknowledged.push(foreign.send_until_known(&between).await);
    }
    assert_files(place.catalog().as_ref(), &name, &acknowledged).await;
    for task in [Task::Merge, Task::Compact, Task::Expire] {
        writer.maintain_until_known(task).await;
        let between = foreign.one_row(&foreign.load().await).await;
        acknowledged.push(foreign.send_until_known(&between).await);
        assert_rows(place.catalog().as_ref(), &name, acknowledged.len()).await;
    }
}

/// For catalogs that prune metadata themselves, and whose clock calls everything old.
pub(crate) async fn a_writer_that_sleeps_across_pruning_does_not_win(place: &dyn Place) {
    const FOREIGN: usize = 200;
    const KEPT: &str = "20";
    let name = new_table(place).await;
    let catalog = place.catalog();
    let base = catalog.load(&name).await.unwrap().unwrap();
    let keep = set("write.metadata.previous-versions-max", KEPT);
    assert!(matches!(
        catalog.commit(&base, keep).await.unwrap(),
        CatalogCommit::Done(_)
    ));

    let interceptor = Arc::new(intercepting(&place.catalog()));
    let intercepted = Writer::new(interceptor.clone(), &name, "sleeper");
    let commit = intercepted.one_row(&intercepted.load().await).await;
    intercepted.send(&commit).await.unwrap();
    let (base, change) = interceptor.by.take();

    let foreign = Writer::new(place.catalog(), &name, "foreign");
    let mut acknowledged = Vec::new();
    for _ in 0..FOREIGN {
        let between = foreign.one_row(&foreign.load().await).await;
        acknowledged.push(foreign.send_until_known(&between).await);
    }
    let file = base.table().metadata_location().unwrap();
    let kept = base.table().file_io().exists(file).await.unwrap();
    assert!(!kept, "the metadata that the sleeper built on was not pruned");
    let outcome = catalog.commit(&base, change).await.unwrap();
    assert!(
        !matches!(outcome, CatalogCommit::Done(_)),
        "the sleeper won: {outcome:?}"
    );
    assert_files(catalog.as_ref(), &name, &acknowledged).await;

    let awake = Writer::new(place.catalog(), &name, "sleeper");
    acknowledged.push(awake.send_until_known(&commit).await);
    assert_files(catalog.as_ref(), &name, &acknowledged).await;
}

/// For catalogs that date metadata themselves: somebody's clock is a century ahead.
pub(crate) async fn a_clock_that_is_behind_is_no_obstacle(place: &dyn Place) {
    let name = new_table(place).await;
    let catalog = place.catalog();
    let ahead = Writer::new(place.catalog(), &name, "ahead").with_clock(late_clock());
    let behind = Writer::new(place.catalog(), &name, "behind");
    let mut acknowledged = Vec::new();
    for writer in [&ahead, &behind] {
        let commit = writer.one_row(&writer.load().await).await;
        acknowledged.push(writer.send_until_known(&commit).await);
    }
    let first = ahead.load().await.head().unwrap().parent_snapshot_id().unwrap();
    set_tag(catalog.as_ref(), &name, "first", first).await.unwrap();
    let tagged = behind.load().await;
    for change in [
        set("x", "1"),
        update(TableUpdate::RemoveSnapshotRef {
            ref_name: "first".into(),
        }),
        update(TableUpdate::RemoveSnapshots {
            snapshot_ids: vec![first],
        }),
    ] {
        let ended = catalog.commit(&behind.load().await, change).await.unwrap();
        assert!(matches!(ended, CatalogCommit::Done(_)), "{ended:?}");
    }
    let table = behind.load().await;
    assert_eq!(table.metadata().snapshots().count(), 1);
    assert_eq!(table.metadata().history(), &tagged.metadata().history()[1..]);
    assert_eq!(
        table.metadata().next_sequence_number(),
        tagged.metadata().next_sequence_number()
    );
    assert!(table.metadata().last_updated_ms() >= tagged.metadata().last_updated_ms());
    assert_files(catalog.as_ref(), &name, &acknowledged).await;
}

fn set(name: &str, value: &str) -> MetadataChange {
    let updates = [(name.to_owned(), value.to_owned())].into();
    update(TableUpdate::SetProperties { updates })
}

fn update(update: TableUpdate) -> MetadataChange {
    MetadataChange {
        updates: vec![update],
        ..MetadataChange::default()
    }
}
