//! `run --follow` as a process: signals, a second process, new tables, tables that fail.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sqlserver_emulator::Value;

use crate::world::{CUSTOMERS, Ended, ONLY_CUSTOMERS, World, exit};

const EVERY_TABLE: &str = "- table: dbo.*";

/// Waits for something that another process does.
#[track_caller]
pub(crate) fn until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} has not come");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What a process has printed so far to one of its two outputs.
struct Printed {
    text: Arc<Mutex<String>>,
    printing: JoinHandle<()>,
}

impl Printed {
    fn of(output: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let lines = text.clone();
        let printing = thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let mut lines = lines.lock().unwrap();
                lines.push_str(&line.unwrap());
                lines.push('\n');
            }
        });
        Self { text, printing }
    }

    fn so_far(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap()
    }

    /// All of it, once the process has ended.
    fn all(&self) -> String {
        while !self.printing.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        self.so_far().clone()
    }
}

/// A process that goes on.
pub(crate) struct Following {
    process: Child,
    out: Printed,
    err: Printed,
}

impl Following {
    pub(crate) fn start(world: &World, arguments: &[&str]) -> Self {
        let mut all = vec!["run", "--follow"];
        all.extend(arguments);
        let mut process = world.spawn(&all);
        Self {
            out: Printed::of(process.stdout.take().unwrap()),
            err: Printed::of(process.stderr.take().unwrap()),
            process,
        }
    }

    /// Waits until it has logged something after `text`, and returns that up to the next blank.
    #[track_caller]
    pub(crate) fn logged(&self, text: &str) -> String {
        let mut logged = None;
        until(text, || {
            let err = self.err.so_far();
            let rest = err.split_once(text).map(|(_, rest)| rest);
            logged = rest.and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
            logged.is_some()
        });
        logged.unwrap()
    }

    /// Waits for the end of cycles that moved rows of a table. What they moved is there some time before.
    #[track_caller]
    pub(crate) fn until_cycles(&self, count: usize, table: &str) {
        until("the end of the cycle", || {
            let out = self.out.so_far();
            out.lines().filter(|line| line.contains(table)).count() >= count
        });
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.process.id().to_string())
            .status();
        assert!(sent.unwrap().success());
    }

    /// Asks it to stop, and returns how it ended and what it printed.
    pub(crate) fn stop(mut self, signal: &str) -> (Ended, String) {
        self.signal(signal);
        let code = self.process.wait().unwrap().code().unwrap();
        let out = self.out.all();
        let text = format!("{out}{}", self.err.all());
        (Ended { code, text }, out)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) const FOLLOW: &str =
    "run: { attempts: 1, follow: { interval: 50ms, max_interval: 200ms, new_tables: 1s } }";

fn quickly(world: &World, tables: &str) {
    world.configure_but(tables, &[("run: { attempts: 1 }", FOLLOW)]);
}

pub(crate) fn names(world: &World, table: &str) -> Vec<Vec<Value>> {
    let there = world
        .emulator
        .execute("mirror", &format!("SELECT name FROM {table} ORDER BY 1"));
    there.map_or_else(|_| Vec::new(), |results| results[0].rows.clone())
}

#[test]
fn it_goes_on_until_a_signal_and_prints_a_line_per_cycle() {
    let world = World::with(CUSTOMERS);
    quickly(&world, EVERY_TABLE);
    let following = Following::start(&world, &["--output", "json"]);
    until("the copy", || names(&world, "dbo.Customers").len() == 2);
    world.sql("shop", "INSERT dbo.Customers (id, name) VALUES (3, N'Edsger')");
    until("the new row", || names(&world, "dbo.Customers").len() == 3);

    // Beside it, `status` works and another run does not.
    world.call(&["status"]).expect(exit::SUCCESS, &["in step"]);
    let process = format!("process {}", following.process.id());
    world.call(&["run"]).expect(exit::BUSY, &[&process]);
    world.call(&["run", "--follow"]).expect(exit::BUSY, &[&process]);

    world.sql("shop", &CUSTOMERS.replace("Customers", "Later"));
    until("the new table", || names(&world, "dbo.Later").len() == 2);
    following.until_cycles(1, "dbo.Later");
    following.until_cycles(2, "dbo.Customers");

    let (ended, out) = following.stop("TERM");
    ended.expect(exit::SUCCESS, &[]);
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let (last, cycles) = lines.split_last().unwrap();
    assert!(cycles.len() >= 3, "{out}");
    for cycle in cycles {
        assert!(cycle["metadata"]["cycle"].is_u64(), "{cycle}");
        assert!(
            cycle["statistics"]["records_written"].as_u64() > Some(0),
            "{cycle}"
        );
    }
    assert!(last["metadata"]["cycle"].is_null(), "{last}");
    assert_eq!(last["metadata"]["status"], "succeeded");
    // Two tables, two directions, five rows each way.
    assert_eq!(last["statistics"]["records_written"], 10, "{last}");
    // The next run has nothing to do.
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
}

#[test]
fn a_table_that_fails_is_shown_and_decides_the_exit_code_while_the_others_go_on() {
    let world = World::with(CUSTOMERS);
    world.sql(
        "shop",
        "CREATE TABLE dbo.Keyless (name nvarchar(20) NULL); INSERT dbo.Keyless VALUES (N'x')",
    );
    quickly(&world, EVERY_TABLE);
    let following = Following::start(&world, &[]);
    until("the copy", || names(&world, "dbo.Customers").len() == 2);
    world.sql("shop", "INSERT dbo.Customers (id, name) VALUES (3, N'Edsger')");
    following.until_cycles(2, " dbo.Customers: source → iceberg ");
    assert_eq!(names(&world, "dbo.Customers").len(), 3);
    let (ended, _) = following.stop("INT");
    ended.expect(exit::FAILURE, &["dbo.Keyless", "mode: full"]);
}

#[test]
fn a_process_that_is_killed_while_it_goes_on_loses_nothing() {
    let world = World::with(CUSTOMERS);
    quickly(&world, ONLY_CUSTOMERS);
    for round in 0..3 {
        let following = Following::start(&world, &[]);
        for row in 0..5 {
            let id = 10 + round * 10 + row;
            world.sql(
                "shop",
                &format!("INSERT dbo.Customers (id, name) VALUES ({id}, N'row')"),
            );
        }
        until("the last row", || {
            names(&world, "dbo.Customers").len() > 2 + 5 * round
        });
        world.sql("shop", &format!("UPDATE dbo.Customers SET name = N'round {round}', updated_at = SYSUTCDATETIME() WHERE id < 12"));
        following.signal("KILL");
    }
    world.call(&["run"]).expect(exit::SUCCESS, &[]);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
}

/// How many files and sockets a process has open.
#[cfg(target_os = "linux")]
fn open_files(process: &Child) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.id()))
        .unwrap()
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn files_and_sockets_are_not_left_open() {
    let world = World::with(CUSTOMERS);
    world.sql(
        "shop",
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON; ALTER TABLE dbo.Customers ENABLE CHANGE_TRACKING",
    );
    quickly(
        &world,
        "- table: dbo.Customers\n  capture: { mode: change_tracking }",
    );
    let following = Following::start(&world, &[]);
    let mut early = 0;
    for id in 10..60 {
        world.sql(
            "shop",
            &format!("INSERT dbo.Customers (id, name) VALUES ({id}, N'row')"),
        );
        until("the row", || names(&world, "dbo.Customers").len() == id - 7);
        if id == 20 {
            early = open_files(&following.process);
        }
    }
    let late = open_files(&following.process);
    // A file of the cycle that may be under way.
    assert!(late <= early + 4, "{early} files were open, now {late}");
    following.stop("TERM").0.expect(exit::SUCCESS, &[]);
}

#[test]
fn deletes_that_no_column_tells_of_come_by_reconciliation() {
    let world = World::with(CUSTOMERS);
    quickly(
        &world,
        "- table: dbo.Customers\n  reconcile: { every: 1s, max_deletes_percent: 50 }",
    );
    let following = Following::start(&world, &[]);
    until("the copy", || names(&world, "dbo.Customers").len() == 2);
    world.sql("shop", "DELETE dbo.Customers WHERE id = 1");
    until("the delete", || names(&world, "dbo.Customers").len() == 1);
    let status = world.call(&["status", "--output", "json"]);
    status.expect(exit::SUCCESS, &["\"last_reconciled\": \"20"]);
    following.stop("TERM").0.expect(exit::SUCCESS, &["reconcile"]);
    world
        .call(&["verify"])
        .expect(exit::SUCCESS, &["every row matches"]);
}
