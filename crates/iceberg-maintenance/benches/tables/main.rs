//! What tables cost to write, read, change and maintain, against bare Parquet where that can be told.
//!
//! `cargo xtask bench iceberg` runs each case in a process of its own, so that its peak memory is its own:
//! `cargo bench --bench tables -- CASE [SIZE]`. A size counts what the case says it does.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement that fails has nothing to show"
)]

/// As in `sync-cli`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod commits;
mod compaction;
mod lake;
mod measure;
mod rows;
mod scan;
mod upsert;
mod write;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let case = arguments.next();
    let size: Option<u64> = arguments.next().map(|size| size.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(std::time::Duration::from_secs(86_400))
        .build()
        .unwrap();
    // On a worker of the runtime, as in `sync-cli`: the thread that waits for the end would have to be woken for each batch.
    let work = runtime.spawn(run(case, size));
    runtime.block_on(work).unwrap();
}

async fn run(case: Option<String>, size: Option<u64>) {
    match case.as_deref() {
        Some("write") => write::run(size.unwrap_or(5_000_000)).await,
        Some("scan") => scan::run(size.unwrap_or(10_000_000)).await,
        Some("upsert") => upsert::run(size.unwrap_or(1_000_000)).await,
        Some("compaction") => compaction::run(size.unwrap_or(1_000)).await,
        Some("commits") => commits::run(size.unwrap_or(10_000)).await,
        // `cargo test` and `cargo bench` come by without a case.
        None => {}
        Some(other) => panic!("there is no case {other}: write, scan, upsert, compaction, commits"),
    }
}
