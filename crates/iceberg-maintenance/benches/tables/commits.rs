//! Many small commits on one table, with `maintain compact` and `maintain expire` every hundred.
//!
//! What grows with the number of commits shows in the last lines: metadata, manifests, files, and what a commit costs.

use iceberg_maintenance::{CompactOptions, ExpireOptions, compact, expire, merge_manifests};
use iceberg_table::live_files;
use model::{Op, Presence};

use crate::lake::Lake;
use crate::measure::{Cost, measured};
use crate::rows::{Key, batch, mixed};

const ROWS_OF_A_COMMIT: u64 = 10;
const KEYS: u64 = 50_000;
const MAINTAINED_EVERY: u64 = 100;
/// Snapshots that stay.
const KEPT: usize = 240;

pub(crate) async fn run(commits: u64) {
    println!(
        "commits: {commits} of {ROWS_OF_A_COMMIT} rows among {KEYS} keys; maintained every {MAINTAINED_EVERY}, {KEPT} snapshots are kept"
    );
    let lake = Lake::new(Key::Number, 2).await;
    let numbers: Vec<u64> = (0..KEYS).collect();
    let rows = std::iter::once(batch(Key::Number, &numbers, 0));
    lake.apply(rows, Op::Insert, Presence::Absent).await;
    let mut hundred = Cost::default();
    let mut maintenance = Cost::default();
    for number in 1..=commits {
        hundred = sum(hundred, measured(commit(&lake, number)).await.1);
        let is_shown = [100, 1_000, 10_000].contains(&number) || number == commits;
        if is_shown {
            show(&lake, number, hundred).await;
        }
        if number % MAINTAINED_EVERY == 0 {
            hundred = Cost::default();
            maintenance = measured(maintain(&lake)).await.1;
        }
        if is_shown {
            maintenance.print("  the maintenance after it");
        }
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

async fn maintain(lake: &Lake) {
    let (catalog, clock) = (lake.catalog.as_ref(), lake.clock.as_ref());
    let options = CompactOptions::default();
    compact(catalog, &lake.name, &options, clock, lake.ids.clone())
        .await
        .unwrap();
    merge_manifests(catalog, &lake.name, clock, lake.ids.as_ref())
        .await
        .unwrap();
    let options = ExpireOptions {
        older_than_ms: Some(0),
        keep_at_least: Some(KEPT),
        in_use: Vec::new(),
        dry_run: false,
    };
    expire(catalog, &lake.name, &options, lake.later.as_ref())
        .await
        .unwrap();
}

async fn show(lake: &Lake, number: u64, hundred: Cost) {
    let table = lake.table().await;
    let location = table.table().metadata_location().unwrap();
    let metadata = std::fs::metadata(location.trim_start_matches("file://")).unwrap();
    let directory = table.metadata().location().trim_start_matches("file://");
    let count = |part: &str| std::fs::read_dir(format!("{directory}/{part}")).unwrap().count();
    let head = table.head().unwrap();
    let list = table.table().manifest_list_reader(head).load().await.unwrap();
    let live = live_files(table.table(), head).await.unwrap();
    println!(
        "{number:>6} commits: metadata {} KiB, {} snapshots, {} manifests, {} live files; on disk {} metadata and {} data files; \
         the last hundred took {:.1} ms and {:.1} CPU ms each",
        metadata.len() / 1024,
        table.metadata().snapshots().len(),
        list.entries().len(),
        live.len(),
        count("metadata"),
        count("data"),
        hundred.seconds * 10.0,
        hundred.cpu * 10.0,
    );
}

fn sum(a: Cost, b: Cost) -> Cost {
    Cost {
        seconds: a.seconds + b.seconds,
        cpu: a.cpu + b.cpu,
        peak_mib: a.peak_mib.max(b.peak_mib),
    }
}
