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

/// Which rows change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    /// Rows all over the table. To find them in Iceberg costs more the larger it is: a thousand keys lie on as many pages.
    Everywhere,
    /// The last ones, which lie on the same few pages whatever the table's size: that leaves the capture, and the opening of larger files.
    Newest,
    /// New ones.
    Added,
}

impl Changed {
    fn name(self) -> &'static str {
        match self {
            Self::Everywhere => "everywhere",
            Self::Newest => "newest",
            Self::Added => "added",
        }
    }

    /// Those that a mode can be measured by.
    fn told_by(mode: &str) -> &'static [Self] {
        match mode {
            ID => &[Self::Added],
            _ => &[Self::Everywhere, Self::Newest],
        }
    }
}

/// One mode on one table.
#[derive(Debug)]
struct Cost {
    mode: &'static str,
    changed: Changed,
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
    let mut modes = Vec::new();
    for changed in [Changed::Everywhere, Changed::Newest, Changed::Added] {
        let told = MODES.iter().zip(&configs);
        let told: Vec<_> = told
            .filter(|((mode, _), _)| Changed::told_by(mode).contains(&changed))
            .collect();
        let mut seen: Vec<Vec<Cost>> = told.iter().map(|_| Vec::new()).collect();
        // The first round warms up.
        for round in 0..=rounds as u64 {
            change(&arena, rows, changed, round)?;
            for (((mode, _), config), costs) in told.iter().zip(&mut seen) {
                let cost = increment(&arena, mode, changed, config)?;
                costs.extend((round > 0).then_some(cost));
            }
        }
        modes.extend(seen.iter().map(|rounds| middle(changed, rounds)));
        // Who was not measured goes on from here, too.
        for config in &configs {
            arena.run_sync(config)?;
        }
    }
    if let Some(config) = configs.first() {
        arena.verified(config)?;
    }
    Ok(Costs { rows, modes })
}

fn increment(arena: &Arena<'_>, mode: &'static str, changed: Changed, config: &Path) -> Result<Cost> {
    let (outcome, report) = arena.run_sync(config)?;
    let rows = written(&report, "records_written");
    ensure!(rows == CHANGES, "{mode} wrote {rows} rows: {report}");
    Ok(Cost {
        mode,
        changed,
        seconds: outcome.client.seconds,
        client_cpu_seconds: outcome.client.cpu_seconds,
        server_cpu_seconds: outcome.server.cpu_seconds,
        client_peak_megabytes: outcome.client.peak_bytes as f64 / 1e6,
    })
}

fn middle(changed: Changed, rounds: &[Cost]) -> Cost {
    let of = |value: fn(&Cost) -> f64| median(rounds.iter().map(value));
    Cost {
        mode: rounds.first().map_or("", |cost| cost.mode),
        changed,
        seconds: of(|cost| cost.seconds),
        client_cpu_seconds: of(|cost| cost.client_cpu_seconds),
        server_cpu_seconds: of(|cost| cost.server_cpu_seconds),
        client_peak_megabytes: of(|cost| cost.client_peak_megabytes),
    }
}

/// Changes a thousand rows, others each round.
fn change(arena: &Arena<'_>, rows: u64, changed: Changed, round: u64) -> Result<()> {
    let step = rows / CHANGES;
    let key = match changed {
        Changed::Everywhere => format!("n * {step} + {}", round * 7 % step),
        Changed::Newest => format!("{rows} - 1 - {} - n", round * CHANGES),
        Changed::Added => format!("{rows} + {} + n", round * CHANGES),
    };
    let change = match changed {
        Changed::Everywhere | Changed::Newest => format!(
            "UPDATE o SET Amount = o.Amount + 1, updated_at = SYSUTCDATETIME() FROM dbo.orders AS o \
             INNER JOIN (SELECT {key} AS id FROM dbo.numbers) AS k ON o.OrderId = k.id"
        ),
        Changed::Added => format!(
            "INSERT INTO dbo.orders (OrderId, CustomerId, OrderDate, Status, Amount, Quantity, City, Weight, Note, updated_at) \
             SELECT {key}, 1, '2026-01-01', N'new', 1, 1, N'Istanbul', 1, N'added', SYSUTCDATETIME() FROM dbo.numbers"
        ),
    };
    arena.server.execute(SOURCE, &change)?;
    captured(arena)
}

/// Waits until the capture has what was committed.
fn captured(arena: &Arena<'_>) -> Result<()> {
    std::thread::sleep(Duration::from_millis(2 * CAPTURE_DELAY_MILLIS));
    arena.server.query(SOURCE, "SELECT 1 AS n").map(|_| ())
}

/// Prints the figures side by side, the largest table in relation to the smallest.
pub(super) fn compared(costs: &[Costs]) -> Result<Value> {
    println!("\nincrements of {CHANGES} changes\n");
    println!("| mode | changed | rows | seconds | client CPU s | server CPU s | client MB |");
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
    let mut figures = Vec::new();
    let measured = costs.first().map_or(0, |table| table.modes.len());
    for at in 0..measured {
        let same: Vec<(u64, &Cost)> = costs
            .iter()
            .filter_map(|table| Some((table.rows, table.modes.get(at)?)))
            .collect();
        for (rows, cost) in &same {
            println!(
                "| {} | {} | {rows} | {:.2} | {:.3} | {:.3} | {:.0} |",
                cost.mode,
                cost.changed.name(),
                cost.seconds,
                cost.client_cpu_seconds,
                cost.server_cpu_seconds,
                cost.client_peak_megabytes
            );
            figures.push(json!({
                "mode": cost.mode,
                "changed": cost.changed.name(),
                "rows": rows,
                "seconds": cost.seconds,
                "client_cpu_seconds": cost.client_cpu_seconds,
                "server_cpu_seconds": cost.server_cpu_seconds,
                "client_peak_megabytes": cost.client_peak_megabytes,
            }));
        }
        if let [(_, small), .., (_, large)] = same.as_slice() {
            let whole = |cost: &Cost| cost.client_cpu_seconds + cost.server_cpu_seconds;
            println!(
                "| {} | {} | ratio | {:.2} | {:.2} | {:.2} | |  (CPU of both: {:.2})",
                small.mode,
                small.changed.name(),
                large.seconds / small.seconds,
                large.client_cpu_seconds / small.client_cpu_seconds,
                large.server_cpu_seconds / small.server_cpu_seconds,
                whole(large) / whole(small)
            );
        }
    }
    Ok(figures.into())
}
