//! The suite of [`StateStore`].

use std::sync::Arc;

use model::{
    BatchId, Epoch, LeaseOutcome, Loaded, Position, SaveOutcome, StateStore, SyncId, TableState, Timestamp,
};

/// Asks a state store whether it keeps the contract. `make` returns a store in a fresh, empty place.
pub async fn store_conformance<S: StateStore + 'static>(make: impl Fn() -> Arc<S>) {
    what_was_saved_is_loaded(&*make()).await;
    a_save_needs_the_newest_version(&*make()).await;
    of_two_saves_one_wins(make()).await;
    history_is_newest_first(&*make()).await;
    names_are_kept_apart(&*make()).await;
    a_removed_sync_is_absent(&*make()).await;
    a_lease_has_one_holder(&*make()).await;
}

fn state(rows: u64) -> TableState {
    TableState {
        epoch: Epoch(rows),
        position: Some(Position {
            kind: "sample".into(),
            incarnation: "i".into(),
            value: rows.to_string(),
            label: format!("row {rows}"),
            late_micros: 0,
            lacks: Vec::new(),
        }),
        reference: Some(format!("snapshot-{rows}")),
        last_success: Some(Timestamp(1_767_225_600_000)),
        rows_applied: rows,
        unfinished: Some(BatchId::new(format!("batch-{rows}"))),
        reconciled: Some(Timestamp(rows as i64)),
    }
}

async fn saved(store: &dyn StateStore, sync: &SyncId, expected: Option<u64>, rows: u64) -> u64 {
    match store.save(sync, expected, &state(rows)).await {
        Ok(SaveOutcome::Saved(version)) => version,
        other => panic!("saving over {expected:?} ended as {other:?}"),
    }
}

async fn loaded(store: &dyn StateStore, sync: &SyncId) -> Loaded {
    store.load(sync).await.expect("loading works")
}

async fn what_was_saved_is_loaded(store: &dyn StateStore) {
    let sync = SyncId::new("shop/dbo.Orders/export");
    assert_eq!(loaded(store, &sync).await, Loaded::Absent);
    let version = saved(store, &sync, None, 7).await;
    match loaded(store, &sync).await {
        Loaded::Found(found) => assert_eq!((found.version, found.state), (version, state(7))),
        other => panic!("a saved state loads as {other:?}"),
    }
}

async fn a_save_needs_the_newest_version(store: &dyn StateStore) {
    let sync = SyncId::new("s");
    let stale = store.save(&sync, Some(1), &state(1)).await;
    assert_eq!(stale.expect("saving works"), SaveOutcome::Stale { newest: None });
    let first = saved(store, &sync, None, 1).await;
    let second = saved(store, &sync, Some(first), 2).await;
    assert!(second > first, "versions grow");
    for expected in [None, Some(first)] {
        let stale = store
            .save(&sync, expected, &state(9))
            .await
            .expect("saving works");
        assert_eq!(
            stale,
            SaveOutcome::Stale { newest: Some(second) },
            "expected {expected:?}"
        );
    }
    match loaded(store, &sync).await {
        Loaded::Found(found) => assert_eq!(found.state, state(2), "a stale save changed something"),
        other => panic!("the state became {other:?}"),
    }
}

async fn of_two_saves_one_wins<S: StateStore + 'static>(store: Arc<S>) {
    let sync = SyncId::new("raced");
    let racers = (0..8).map(|rows| {
        let (store, sync) = (store.clone(), sync.clone());
        tokio::spawn(async move { store.save(&sync, None, &state(rows)).await })
    });
    let racers: Vec<_> = racers.collect();
    let mut won = 0;
    for racer in racers {
        let outcome = racer.await.expect("a save does not panic").expect("saving works");
        won += usize::from(matches!(outcome, SaveOutcome::Saved(_)));
    }
    assert_eq!(won, 1, "of saves that expect the same version exactly one wins");
}

async fn history_is_newest_first(store: &dyn StateStore) {
    let sync = SyncId::new("h");
    assert!(store.history(&sync).await.expect("history works").is_empty());
    let mut version = None;
    for rows in 1..=3 {
        version = Some(saved(store, &sync, version, rows).await);
    }
    let history = store.history(&sync).await.expect("history works");
    let rows: Vec<_> = history.iter().map(|stored| stored.state.rows_applied).collect();
    assert_eq!(rows, [3, 2, 1]);
    assert!(history.is_sorted_by(|a, b| a.version > b.version));
}

async fn names_are_kept_apart(store: &dyn StateStore) {
    let names = [
        "a/b",
        "a_b",
        "a%2Fb",
        "..",
        "A/B",
        "a/b ",
        "[odd.schema].[a ]]b]",
        "日本/𝒳",
        "con",
        "",
    ];
    for (rows, name) in names.iter().enumerate() {
        saved(store, &SyncId::new(*name), None, rows as u64).await;
    }
    for (rows, name) in names.iter().enumerate() {
        match loaded(store, &SyncId::new(*name)).await {
            Loaded::Found(found) => assert_eq!(found.state, state(rows as u64), "{name:?}"),
            other => panic!("{name:?} loads as {other:?}"),
        }
    }
    let mut wanted: Vec<_> = names.into_iter().map(SyncId::new).collect();
    wanted.sort();
    assert_eq!(store.list().await.expect("listing works"), wanted);
}

async fn a_removed_sync_is_absent(store: &dyn StateStore) {
    let (gone, kept) = (SyncId::new("gone"), SyncId::new("kept"));
    saved(store, &gone, None, 1).await;
    saved(store, &kept, None, 2).await;
    for _ in 0..2 {
        store.remove(&gone).await.expect("removing twice works");
    }
    assert_eq!(loaded(store, &gone).await, Loaded::Absent);
    assert!(store.history(&gone).await.expect("history works").is_empty());
    assert_eq!(store.list().await.expect("listing works"), [kept]);
    saved(store, &gone, None, 3).await;
}

async fn a_lease_has_one_holder(store: &dyn StateStore) {
    let take = async |holder: &str| store.lease("shop", holder).await.expect("leasing works");
    let held = take("process 1").await;
    assert!(matches!(held, LeaseOutcome::Held(_)));
    match take("process 2").await {
        LeaseOutcome::Busy { holder } => assert!(holder.contains("process 1"), "{holder:?} names nobody"),
        LeaseOutcome::Held(_) => panic!("two hold one lease"),
    }
    let other = store.lease("stock", "process 2").await.expect("leasing works");
    assert!(
        matches!(other, LeaseOutcome::Held(_)),
        "leases are independent of each other"
    );
    drop(held);
    assert!(
        matches!(take("process 3").await, LeaseOutcome::Held(_)),
        "a dropped lease is free"
    );
}
