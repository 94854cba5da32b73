use model::Epoch;
use test_support::{SimClock, store_conformance};

use super::*;

fn store(directory: &tempfile::TempDir) -> FileStore {
    FileStore::new(directory.path().join("states"), Arc::new(SimClock::default()))
}

fn state(rows: u64) -> TableState {
    TableState {
        epoch: Epoch(1),
        rows_applied: rows,
        ..TableState::default()
    }
}

fn names(directory: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(directory.path().join("states")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_file_store_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let fresh = std::sync::atomic::AtomicUsize::new(0);
    store_conformance(|| {
        let number = fresh.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let directory = root.path().join(number.to_string());
        Arc::new(FileStore::new(directory, Arc::new(SimClock::default())))
    })
    .await;
}

#[tokio::test]
async fn another_process_sees_what_was_saved() {
    let directory = tempfile::tempdir().unwrap();
    let sync = SyncId::new("shop/dbo.Orders/export");
    store(&directory).save(&sync, None, &state(3)).await.unwrap();
    let Loaded::Found(found) = store(&directory).load(&sync).await.unwrap() else {
        panic!("nothing was found");
    };
    assert_eq!((found.version, found.state), (1, state(3)));
    assert_eq!(
        names(&directory),
        ["state-shop%2fdbo.%4frders%2fexport.json", "states.lock"]
    );
}

#[tokio::test]
async fn a_damaged_file_is_told_and_kept_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (store, sync) = (store(&directory), SyncId::new("s"));
    store.save(&sync, None, &state(1)).await.unwrap();
    let path = directory.path().join("states/state-s.json");
    for (number, damage) in [&b""[..], b"{}", b"sync-state 1 sha256 00\n{}\n", b"\xff\xfe"]
        .into_iter()
        .enumerate()
    {
        std::fs::write(&path, damage).unwrap();
        let Loaded::Damaged { why } = store.load(&sync).await.unwrap() else {
            panic!("{damage:?} was not found to be damaged");
        };
        let kept = directory
            .path()
            .join(format!("states/state-s.damaged-{}", number + 1));
        assert!(why.contains(&kept.display().to_string()), "{why}");
        assert_eq!(std::fs::read(kept).unwrap(), damage);
        assert_eq!(store.load(&sync).await.unwrap(), Loaded::Absent);
        assert_eq!(
            store.save(&sync, None, &state(2)).await.unwrap(),
            SaveOutcome::Saved(1)
        );
    }
}

#[tokio::test]
async fn what_a_killed_writer_left_is_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let (store, sync) = (store(&directory), SyncId::new("s"));
    store.save(&sync, None, &state(1)).await.unwrap();
    std::fs::write(directory.path().join("states/state-s.tmp"), "half a sta").unwrap();
    assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&sync));
    assert_eq!(
        store.save(&sync, Some(1), &state(2)).await.unwrap(),
        SaveOutcome::Saved(2)
    );
    assert_eq!(names(&directory), ["state-s.json", "states.lock"]);
}

#[tokio::test]
async fn a_file_in_the_directorys_place_is_told() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("states"), "").unwrap();
    let error = store(&directory)
        .save(&SyncId::new("s"), None, &state(1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("states"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn the_loser_of_a_lease_reads_the_holder() {
    let directory = tempfile::tempdir().unwrap();
    let LeaseOutcome::Held(held) = store(&directory).lease("shop", "process 7 on h1").await.unwrap() else {
        panic!("a free lease is busy");
    };
    match store(&directory).lease("shop", "process 8 on h1").await.unwrap() {
        LeaseOutcome::Busy { holder } => assert_eq!(holder, "process 7 on h1"),
        LeaseOutcome::Held(_) => panic!("two hold one lease"),
    }
    drop(held);
    assert_eq!(names(&directory), ["lease-shop.lock"]);
    let again = store(&directory).lease("shop", "process 8 on h1").await.unwrap();
    assert!(matches!(again, LeaseOutcome::Held(_)));
}
