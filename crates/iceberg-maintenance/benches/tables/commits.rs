//! Many small commits on one table, one every ten seconds by its clock. Snapshots expire as after the runs of the program, where that is
//! due, and files are compacted every hundred commits.
//!
//! What grows with the number of commits shows in the last lines: metadata, manifests, files, and what a commit costs.

use iceberg_maintenance::{CompactOptions, ExpireOptions, compact, expire, expiry_is_due, merge_manifests};
use iceberg_table::live_files;
use model::{Clock, Op, Presence, SystemClock};

use crate::lake::Lake;
use crate::measure::{Cost, measured};
use crate::rows::{Key, batch, mixed};

const ROWS_OF_A_COMMIT: u64 = 10;
const KEYS: u64 = 50_000;
const COMPACTED_EVERY: u64 = 100;
/// Snapshots that stay at most, and how long each stays after it was followed: the program's own settings.
const KEPT: usize = 500;
const GRACE_MS: i64 = 3_600_000;
const PACE_MS: i64 = 10_000;

pub(crate) async fn run(commits: u64) {
    println!(
        "commits: {commits} of {ROWS_OF_A_COMMIT} rows among {KEYS} keys; compacted every {COMPACTED_EVERY}, at most {KEPT} snapshots stay, an hour at least"
    );
    let lake = Lake::new(Key::Number, 2).await;
    // From the real time on: no snapshot is older than that.
    lake.clock.advance(SystemClock.now().0 - lake.clock.now().0);
    let numbers: Vec<u64> = (0..KEYS).collect();
    let rows = std::iter::once(batch(Key::Number, &numbers, 0));
    lake.apply(rows, Op::Insert, Presence::Absent).await;
    let [mut committing, mut expiring] = [Cost::default(); 2];
    for number in 1..=commits {
        lake.clock.advance(PACE_MS);
        committing = sum(committing, measured(commit(&lake, number)).await.1);
        expiring = sum(expiring, measured(expire_if_due(&lake)).await.1);
        if number % COMPACTED_EVERY != 0 {
            continue;
        }
        let compacting = measured(compact_all(&lake)).await.1;
        if [100, 1_000, 10_000].contains(&number) || number == commits {
            show(&lake, number).await;
            for (what, cost) in [
                ("commits", committing),
                ("expiry", expiring),
                ("compaction", compacting),
            ] {
                cost.print(&format!("  the last {COMPACTED_EVERY}: {what}"));
            }
        }
        [committing, expiring] = [Cost::default(); 2];
    }
    println!("{} rows at the end", lake.scan().await);
}

async fn commit(lake: &Lake, number: u64) {
    let mut numbers: Vec<u64> = (0..ROWS_OF_A_COMMIT)
        .map(|index| mixed(number * ROWS_OF_A_COMMIT + index) % KEYS)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let rows = std::iter::once(batch(Key::Number, &numbers, number));
    lake.apply(rows, Op::Upsert, Presence::Unknown).await;
}

async fn expire_if_due(lake: &Lake) {
    let options = ExpireOptions {
        keep_at_most: Some(KEPT),
        grace_ms: Some(GRACE_MS),
        ..ExpireOptions::default()
    };
    let clock = lake.clock.as_ref();
    if expiry_is_due(&lake.table().await, &options, clock).unwrap() {
        expire(lake.catalog.as_ref(), &lake.name, &options, clock)
            .await
            .unwrap();
    }
}

async fn compact_all(lake: &Lake) {
    let (catalog, clock) = (lake.catalog.as_ref(), lake.clock.as_ref());
    let options = CompactOptions::default();
    compact(catalog, &lake.name, &options, clock, lake.ids.clone())
        .await
        .unwrap();
    merge_manifests(catalog, &lake.name, clock, lake.ids.as_ref())
        .await
        .unwrap();
}

async fn show(lake: &Lake, number: u64) {
    let table = lake.table().await;
    let location = table.table().metadata_location().unwrap();
    let metadata = std::fs::metadata(location.trim_start_matches("file://")).unwrap();
    let directory = table.metadata().location().trim_start_matches("file://");
    let count = |part: &str| std::fs::read_dir(format!("{directory}/{part}")).unwrap().count();
    let head = table.head().unwrap();
    let list = table.table().manifest_list_reader(head).load().await.unwrap();
    let live = live_files(&table, head).await.unwrap();
    println!(
        "{number:>6} commits: metadata {} KiB, {} snapshots, {} manifests, {} live files; on disk {} metadata and {} data files",
        metadata.len() / 1024,
        table.metadata().snapshots().len(),
        list.entries().len(),
        live.len(),
        count("metadata"),
        count("data"),
    );
}

fn sum(a: Cost, b: Cost) -> Cost {
    Cost {
        seconds: a.seconds + b.seconds,
        cpu: a.cpu + b.cpu,
        peak_mib: a.peak_mib.max(b.peak_mib),
    }
}
