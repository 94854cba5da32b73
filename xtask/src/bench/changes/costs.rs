//! What an increment of a thousand changes costs, by each mode, in tables of different sizes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::arena::{Arena, SOURCE};
use super::super::directory;
use super::super::series::median;
use super::super::tables::Table;
use super::{CAPTURE_DELAY_MILLIS, written};
use crate::cargo::Programs;
use crate::server::Server;

/// Rows that change between two increments.
const CHANGES: u64 = 1_000;

/// It tells of new rows only.
const ID: &str = "id";

/// The modes, by their options.
const MODES: [(&str, &str); 6] = [
    (
        "timestamp",
        r#"{ "tracking": { "column": "updated_at", "kind": "timestamp", "clock": "utc" } }"#,
    ),
    (
        "rowversion",
        r#"{ "tracking": { "column": "Version", "kind": "rowversion" } }"#,
    ),
    ("change_tracking", r#"{ "mode": "change_tracking" }"#),
    ("cdc", r#"{ "mode": "cdc" }"#),
    (
        "trigger",
        r#"{ "mode": "trigger", "trigger": { "install": true } }"#,
    ),
    (ID, r#"{ "tracking": { "column": "OrderId", "kind": "id" } }"#),
];

/// One mode on one table.
#[derive(Debug)]
struct Cost {
    mode: &'static str,
    seconds: f64,
    client_cpu_seconds: f64,
    server_cpu_seconds: f64,
    client_peak_megabytes: f64,
}

/// All modes on one table.
#[derive(Debug)]
pub(super) struct Costs {
    rows: u64,
    modes: Vec<Cost>,
}

/// Fills a table, copies it once for each mode, and measures increments.
pub(super) fn measured(programs: &Programs, rows: u64, rounds: usize) -> Result<Costs> {
    let directory = directory("increments")?;
    let server = Server::emulator(programs, &[SOURCE], &directory, None)?;
    let arena = Arena::fill(programs, &server, None, Table::Orders, rows, directory)?;
    server.execute(
        SOURCE,
        "ALTER DATABASE [bench] SET ALLOW_SNAPSHOT_ISOLATION ON\nGO\n\
         ALTER DATABASE [bench] SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)\nGO\n\
         ALTER TABLE dbo.orders ADD Version rowversion\nGO\n\
         CREATE INDEX by_time ON dbo.orders (updated_at)\nGO\n\
         CREATE UNIQUE INDEX by_version ON dbo.orders (Version)\nGO\n\
         CREATE TABLE dbo.numbers (n bigint NOT NULL PRIMARY KEY)\nGO\n\
         WITH d (d) AS (SELECT d FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS v (d)) \
         INSERT INTO dbo.numbers SELECT a.d + 10 * b.d + 100 * c.d FROM d AS a CROSS JOIN d AS b CROSS JOIN d AS c\nGO\n\
         ALTER TABLE dbo.orders ENABLE CHANGE_TRACKING\nGO\n\
         EXEC sys.sp_cdc_enable_db\nGO\n\
         EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'orders', @role_name = NULL",
    )?;
    captured(&arena)?;
    let mut configs = Vec::new();
    for (mode, options) in MODES {
        let mut capture: Value = serde_json::from_str(options)?;
        capture["connections"] = 2.into();
        let config = arena.configure(
            &format!("{mode}.yaml"),
            &[
                arena.end("source", SOURCE),
                json!({
                    "sync": mode,
                    "iceberg": { "filesystem": { "warehouse": arena.empty(mode)? } },
                    "state": { "file": arena.empty(&format!("state-{mode}"))? },
                    "tables": [{ "table": "dbo.orders", "capture": capture }],
                }),
            ],
        )?;
        arena.run_sync(&config)?;
        configs.push(config);
    }
    let mut seen: Vec<Vec<Cost>> = MODES.iter().map(|_| Vec::new()).collect();
    for sees_updates in [true, false] {
        // The first round warms up.
        for round in 0..=rounds as u64 {
            if sees_updates {
                update(&arena, rows, round)?;
            } else {
                insert(&arena, rows, round)?;
            }
            for (((mode, _), config), costs) in MODES.iter().zip(&configs).zip(&mut seen) {
                if sees_updates == (*mode == ID) {
                    continue;
                }
                let cost = increment(&arena, mode, config)?;
                costs.extend((round > 0).then_some(cost));
            }
        }
    }
    for config in &configs {
        arena.run_sync(config)?;
    }
    if let Some(config) = configs.first() {
        arena.verified(config)?;
    }
    let modes = seen.iter().map(|rounds| middle(rounds)).collect();
    Ok(Costs { rows, modes })
}

fn increment(arena: &Arena<'_>, mode: &'static str, config: &Path) -> Result<Cost> {
    let (outcome, report) = arena.run_sync(config)?;
    let changed = written(&report, "records_written");
    ensure!(changed == CHANGES, "{mode} wrote {changed} rows: {report}");
    Ok(Cost {
        mode,
        seconds: outcome.client.seconds,
        client_cpu_seconds: outcome.client.cpu_seconds,
        server_cpu_seconds: outcome.server.cpu_seconds,
        client_peak_megabytes: outcome.client.peak_bytes as f64 / 1e6,
    })
}

fn middle(rounds: &[Cost]) -> Cost {
    let of = |value: fn(&Cost) -> f64| median(rounds.iter().map(value));
    Cost {
        mode: rounds.first().map_or("", |cost| cost.mode),
        seconds: of(|cost| cost.seconds),
        client_cpu_seconds: of(|cost| cost.client_cpu_seconds),
        server_cpu_seconds: of(|cost| cost.server_cpu_seconds),
        client_peak_megabytes: of(|cost| cost.client_peak_megabytes),
    }
}

/// Changes rows here and there, others each round.
fn update(arena: &Arena<'_>, rows: u64, round: u64) -> Result<()> {
    let step = rows / CHANGES;
    let update = format!(
        "UPDATE o SET Amount = o.Amount + 1, updated_at = SYSUTCDATETIME() FROM dbo.orders AS o \
         INNER JOIN (SELECT n * {step} + {} AS id FROM dbo.numbers) AS k ON o.OrderId = k.id",
        round * 7 % step
    );
    arena.server.execute(SOURCE, &update)?;
    captured(arena)
}

/// Adds rows behind the last one.
fn insert(arena: &Arena<'_>, rows: u64, round: u64) -> Result<()> {
    let insert = format!(
        "INSERT INTO dbo.orders (OrderId, CustomerId, OrderDate, Status, Amount, Quantity, City, Weight, Note, updated_at) \
         SELECT {} + n, 1, '2026-01-01', N'new', 1, 1, N'Istanbul', 1, N'added', SYSUTCDATETIME() FROM dbo.numbers",
        rows + round * CHANGES
    );
    arena.server.execute(SOURCE, &insert)
}

/// Waits until the capture has what was committed.
fn captured(arena: &Arena<'_>) -> Result<()> {
    std::thread::sleep(Duration::from_millis(2 * CAPTURE_DELAY_MILLIS));
    arena.server.query(SOURCE, "SELECT 1 AS n").map(|_| ())
}

/// Prints the figures side by side, the largest table in relation to the smallest.
pub(super) fn compared(costs: &[Costs]) -> Result<Value> {
    println!("\nincrements of {CHANGES} changes\n");
    println!("| mode | rows | seconds | client CPU s | server CPU s | client MB |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut figures = Vec::new();
    for (at, (mode, _)) in MODES.iter().enumerate() {
        for table in costs {
            let Some(cost) = table.modes.get(at) else { continue };
            println!(
                "| {mode} | {} | {:.2} | {:.3} | {:.3} | {:.0} |",
                table.rows,
                cost.seconds,
                cost.client_cpu_seconds,
                cost.server_cpu_seconds,
                cost.client_peak_megabytes
            );
            figures.push(json!({
                "mode": mode,
                "rows": table.rows,
                "seconds": cost.seconds,
                "client_cpu_seconds": cost.client_cpu_seconds,
                "server_cpu_seconds": cost.server_cpu_seconds,
                "client_peak_megabytes": cost.client_peak_megabytes,
            }));
        }
        let ends = costs.first().zip(costs.last()).filter(|_| costs.len() > 1);
        let ends = ends.and_then(|(small, large)| small.modes.get(at).zip(large.modes.get(at)));
        if let Some((small, large)) = ends {
            let whole = |cost: &Cost| cost.client_cpu_seconds + cost.server_cpu_seconds;
            println!(
                "| {mode} | ratio | {:.2} | {:.2} | {:.2} | |  (CPU of both: {:.2})",
                large.seconds / small.seconds,
                large.client_cpu_seconds / small.client_cpu_seconds,
                large.server_cpu_seconds / small.server_cpu_seconds,
                whole(large) / whole(small)
            );
        }
    }
    Ok(figures.into())
}
