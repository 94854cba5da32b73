//! Rows from the wire into Arrow, by the CPU time of the one thread that receives and decodes them: `cargo bench --bench decode`.
//!
//! The server runs in threads of its own. What the kernel takes for receiving is counted.

#![expect(clippy::unwrap_used, reason = "a measurement that fails has nothing to show")]
#![expect(missing_docs, reason = "of what the macros of criterion make")]

#[expect(dead_code, reason = "made for the other measurements")]
#[path = "../src/bench/drain.rs"]
mod drain;
#[expect(dead_code, reason = "made for the other measurements")]
#[path = "../src/bench/tables.rs"]
mod tables;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::{TryStreamExt, stream};
use sqlserver_client::{ConnectOptions, Connection, Encrypt, Secret};
use sqlserver_emulator::{Emulator, EmulatorConfig, Encryption};
use tokio::runtime::{Builder, Runtime};

use crate::drain::{Login, drain};
use crate::tables::Table;

const ROWS: u64 = 500_000;
const BATCH_ROWS: usize = 16_384;
const DATABASE: &str = "master";

/// What a row may allocate.
const ALLOCATIONS: f64 = 0.02;

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    // Nanoseconds on a core, nanoseconds of waiting for one, turns: the kernel's `sched-stats.rst`.
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

fn options(server: &Emulator) -> ConnectOptions {
    let (host, port) = (server.address().ip().to_string(), server.address().port());
    let mut options = ConnectOptions::new(
        host,
        port,
        DATABASE,
        server.user(),
        Secret::new(server.password()),
    );
    options.encrypt = Encrypt::Optional;
    options
}

async fn fill(options: &ConnectOptions, table: Table) {
    let mut connection = Connection::open(options).await.unwrap();
    connection.execute(&table.ddl(), &[]).await.unwrap();
    let batches = (0..ROWS).step_by(BATCH_ROWS).map(|from| {
        let (batch, _) = table.batch(from, ROWS.min(from + BATCH_ROWS as u64)).unwrap();
        Ok(batch)
    });
    let batches: Vec<_> = batches.collect();
    connection
        .bulk_load(&table.quoted(), &table.bulk_columns(), stream::iter(batches))
        .await
        .unwrap();
}

async fn decode(connection: Connection, table: Table) -> Connection {
    let mut batches = connection.select_arrow(table.select(), vec![], table.schema(), BATCH_ROWS);
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await.unwrap() {
        rows += batch.num_rows() as u64;
    }
    assert_eq!(rows, ROWS);
    batches.finish().unwrap()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn wire_to_arrow(criterion: &mut Criterion) {
    let runtime = one_thread();
    let mut group = criterion.benchmark_group("wire to Arrow");
    group.sample_size(10);
    for table in [Table::Orders, Table::Lineitem] {
        let config = EmulatorConfig {
            encryption: Encryption::NotSupported,
            record: None,
            ..EmulatorConfig::default()
        };
        let server = runtime.block_on(Emulator::start(config)).unwrap();
        let connect = options(&server);
        runtime.block_on(fill(&connect, table));
        let login = Login {
            host: &connect.host,
            port: connect.port,
            user: server.user(),
            password: server.password(),
            database: DATABASE,
        };
        let bytes = drain(login, &table.select()).unwrap().bytes;
        let mut connection = Some(runtime.block_on(Connection::open(&connect)).unwrap());
        let once = |connection: &mut Option<Connection>| {
            let open = connection.take().unwrap();
            *connection = Some(runtime.block_on(decode(open, table)));
        };
        let counted = allocation_counter::measure(|| once(&mut connection));
        let each = counted.count_total as f64 / ROWS as f64;
        println!(
            "{}: {each:.4} allocations and {} bytes a row",
            table.name(),
            bytes / ROWS
        );
        assert!(each <= ALLOCATIONS, "a row allocates");
        for (unit, throughput) in [
            ("rows", Throughput::Elements(ROWS)),
            ("bytes", Throughput::Bytes(bytes)),
        ] {
            group.throughput(throughput);
            group.bench_function(format!("{} ({unit})", table.name()), |bencher| {
                bencher.iter_custom(|times| {
                    let before = cpu_time();
                    (0..times).for_each(|_| once(&mut connection));
                    cpu_time() - before
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, wire_to_arrow);
criterion_main!(benches);
