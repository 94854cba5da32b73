//! The writers, step by step. A seed is a history; the clock is the server's own and stands still between steps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use sqlserver_emulator::{Discard, Emulator, LoginInfo, Session, Value};

use super::Mode;
use crate::world::{MIRROR, SHOP, World};

const WRITERS: usize = 8;
/// Who takes the time and writes much later.
const HOLDER: usize = WRITERS - 1;
/// The longest transaction.
const LONGEST_MS: i64 = 5_000;
/// Most writes go to so many of the newest keys.
const HOT_KEYS: i32 = 12;
/// A time that will not come.
const SENTINEL: &str = "9999-12-31";
/// How far the clock steps, either way.
const CLOCK_STEP_MS: i64 = 2_000;

/// Everybody who writes to `dbo.T`.
pub(super) struct History {
    emulator: Arc<Emulator>,
    random: StdRng,
    writers: Vec<Writer>,
    mode: Mode,
    /// Keys that were ever used.
    keys: BTreeSet<i32>,
    next_key: i32,
    written: u64,
    /// How much time has passed, whatever the clock shows.
    elapsed_ms: i64,
    /// When the clock last stepped back.
    stepped_back_ms: i64,
    /// Who waits for a lock, its time already taken.
    waiting: Option<Waiting>,
    /// The newest time in the table, as long as nobody has written since all ended.
    newest: Option<String>,
    /// A transaction that is open all the time, in another database.
    elsewhere: Writer,
}

struct Writer {
    session: Option<Session>,
    open: Option<Open>,
}

/// An open transaction.
struct Open {
    ends_ms: i64,
    /// The server's time when it began, which some statements use.
    began: String,
}

struct Waiting {
    writer: usize,
    statement: JoinHandle<Session>,
}

impl History {
    /// Writers of a table that exists. Their transactions begin when steps are made.
    pub(super) fn new(emulator: Arc<Emulator>, seed: u64, mode: Mode) -> Self {
        let writers = (0..WRITERS)
            .map(|number| Writer::connect(&emulator, SHOP, number))
            .collect();
        let mut elsewhere = Writer::connect(&emulator, MIRROR, WRITERS);
        elsewhere.run("CREATE TABLE dbo.side (id int); BEGIN TRANSACTION; INSERT INTO dbo.side VALUES (1)");
        Self {
            emulator,
            random: StdRng::seed_from_u64(seed),
            writers,
            mode,
            keys: BTreeSet::new(),
            next_key: 1,
            written: 0,
            elapsed_ms: 0,
            stepped_back_ms: 0,
            waiting: None,
            newest: None,
            elsewhere,
        }
    }

    pub(super) fn steps(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// Lets a little time pass, and one writer do something.
    fn step(&mut self) {
        self.newest = None;
        let passed = self.random.random_range(5..400);
        self.elapsed_ms += passed;
        self.emulator.clock().step_ms(passed);
        if self.random.random_ratio(1, 40) && !self.mode.steady {
            self.step_clock();
        }
        if self.writers.is_empty() {
            return;
        }
        let number = self.random.random_range(0..WRITERS);
        if self.writers[number].session.is_none() {
            return;
        }
        match &self.writers[number].open {
            Some(open) if self.elapsed_ms >= open.ends_ms => self.finish(number),
            Some(_) => self.write(number),
            None if self.random.random_bool(0.6) => self.begin(number),
            None => self.write(number),
        }
        self.look_after_the_waiting();
    }

    /// Moves the clock without letting time pass. It does not step back twice before it has made good for the first step, so that
    /// it is never more than one step behind what it has shown.
    fn step_clock(&mut self) {
        let forward = self.random.random_bool(0.5);
        if forward {
            self.emulator.clock().step_ms(CLOCK_STEP_MS);
        } else if self.elapsed_ms - self.stepped_back_ms > 2 * CLOCK_STEP_MS {
            self.stepped_back_ms = self.elapsed_ms;
            self.emulator.clock().step_ms(-CLOCK_STEP_MS);
        }
    }

    /// Ends every transaction. The last rows are written a little more than a second ago, which is what a cut stays behind. If `holding`,
    /// somebody has taken the time before, and has not written anything yet.
    pub(super) fn calm_down(&mut self, holding: bool) {
        self.quiet();
        self.pass(5_000);
        if holding {
            self.open(HOLDER, LONGEST_MS);
            self.pass(LONGEST_MS / 2);
        }
        self.write(0);
        let newest = self.now();
        let batch = self.insertion(1, &format!("'{newest}'"));
        self.writers[1].run(&batch);
        self.newest = Some(newest);
        self.pass(1_050);
    }

    /// Ends every transaction in this database.
    fn quiet(&mut self) {
        while self.writers.iter().any(|writer| writer.open.is_some()) || self.waiting.is_some() {
            for number in 0..WRITERS {
                if self.writers[number].session.is_some() && self.writers[number].open.is_some() {
                    self.finish(number);
                }
            }
            self.look_after_the_waiting();
        }
    }

    /// A burst of committed writes some time after all was quiet: by who has taken the time long ago; else right after the clock has
    /// stepped back, or, where it never does, with the newest time that has been read. Whoever has written since may have deleted that
    /// row, and no time below what was read is promised: then the writes have the time of the clock.
    pub(super) fn burst(&mut self) {
        // After a killed run there were steps since: whoever holds the time may wait for a lock by now, and keeps its transaction.
        let holder = &mut self.writers[HOLDER];
        let held = holder.session.as_ref().and_then(|_| holder.open.take());
        if let Some(held) = held {
            for _ in 0..3 {
                let batch = self.insertion(HOLDER, &format!("'{}'", held.began));
                self.writers[HOLDER].run(&batch);
            }
            self.writers[HOLDER].run("COMMIT TRANSACTION");
            return;
        }
        if !self.mode.steady {
            self.stepped_back_ms = self.elapsed_ms;
            self.emulator.clock().step_ms(-CLOCK_STEP_MS);
        }
        let tie = self.newest.take().filter(|_| self.mode.steady);
        for number in 0..WRITERS {
            self.emulator.clock().step_ms(20);
            if let Some(tie) = &tie {
                let batch = self.statement_at(number, &format!("'{tie}'"));
                self.writers[number].run(&batch);
            } else {
                self.write(number);
            }
        }
    }

    /// Everybody ends, and nobody writes any more. The transaction elsewhere stays open.
    pub(super) fn end(&mut self) {
        self.quiet();
        self.pass(60_000);
        self.writers.clear();
        assert!(
            self.elsewhere
                .session
                .as_ref()
                .is_some_and(Session::in_transaction)
        );
    }

    /// Everybody ends, and a job deletes the oldest rows.
    pub(super) fn purge(&mut self) {
        self.quiet();
        let oldest = "SET LOCK_TIMEOUT 10000; DELETE FROM dbo.T WHERE id IN (SELECT TOP (4) id FROM dbo.T ORDER BY id)";
        let purged = self.emulator.execute(SHOP, oldest);
        purged.expect("nobody holds a row");
        // Before anybody asks how far the capture has got.
        let scan = "IF EXISTS (SELECT 1 FROM sys.databases WHERE database_id = DB_ID() AND is_cdc_enabled = 1) EXEC sys.sp_cdc_scan";
        self.emulator.execute(SHOP, scan).expect("the log can be scanned");
    }

    fn pass(&mut self, milliseconds: i64) {
        self.elapsed_ms += milliseconds;
        self.emulator.clock().step_ms(milliseconds);
    }

    fn begin(&mut self, number: usize) {
        let lasts = self
            .random
            .random_range(0..LONGEST_MS)
            .max(self.random.random_range(0..LONGEST_MS));
        self.open(number, lasts);
        // The others hold a time, and have logged nothing yet.
        if self.random.random_bool(0.5) {
            self.write(number);
        }
    }

    /// Begins a transaction that takes the server's time and does nothing.
    fn open(&mut self, number: usize, lasts: i64) {
        let began = self.now();
        self.writers[number].run("BEGIN TRANSACTION");
        self.writers[number].open = Some(Open {
            ends_ms: self.elapsed_ms + lasts,
            began,
        });
    }

    /// The server's time.
    fn now(&self) -> String {
        let sql = "SELECT CONVERT(nvarchar(30), SYSUTCDATETIME(), 126)";
        let found = self.emulator.execute(SHOP, sql).expect("the time can be asked");
        let Value::Str(now) = &found[0].rows[0][0] else {
            panic!("a string, and not {:?}", found[0].rows[0][0]);
        };
        String::from_utf16_lossy(now)
    }

    fn finish(&mut self, number: usize) {
        let verb = if self.random.random_ratio(1, 4) {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        self.writers[number].run(&format!("IF @@TRANCOUNT > 0 {verb} TRANSACTION"));
        self.writers[number].open = None;
    }

    /// One statement, or two. Whoever meets a lock or a duplicate goes on with something else.
    fn write(&mut self, number: usize) {
        let batch = self.statement(number);
        let may_wait =
            self.waiting.is_none() && batch.starts_with("UPDATE") && self.random.random_ratio(1, 6);
        if may_wait {
            self.write_waiting(number, batch);
        } else {
            self.writers[number].run(&batch);
        }
    }

    fn statement(&mut self, number: usize) -> String {
        let time = match self.random.random_range(0..40) {
            0 => "NULL".to_owned(),
            1 => format!("'{SENTINEL}'"),
            _ => match &self.writers[number].open {
                Some(open) if self.random.random_ratio(1, 2) => format!("'{}'", open.began),
                _ => "SYSUTCDATETIME()".to_owned(),
            },
        };
        self.statement_at(number, &time)
    }

    fn statement_at(&mut self, number: usize, time: &str) -> String {
        if self.mode.appends {
            return self.insertion(number, time);
        }
        let Some(key) = self.some_key() else {
            return self.insertion(number, time);
        };
        let value = self.value(number);
        let insert =
            |key: i32| format!("INSERT INTO dbo.T (id, v, updated_at) VALUES ({key}, {value}, {time})");
        match self.random.random_range(0..10) {
            0..4 => insert(self.fresh_key()),
            4 => insert(key),
            5..7 => format!("UPDATE dbo.T SET v = {value}, updated_at = {time} WHERE id = {key}"),
            7 => format!("DELETE FROM dbo.T WHERE id = {key}"),
            8 => {
                let other = self.fresh_key();
                format!("UPDATE dbo.T SET id = {other}, v = {value}, updated_at = {time} WHERE id = {key}")
            }
            _ => format!("DELETE FROM dbo.T WHERE id = {key}; {}", insert(key)),
        }
    }

    /// A row with a key that nobody has used.
    fn insertion(&mut self, number: usize, time: &str) -> String {
        let value = self.value(number);
        if self.mode.appends {
            return format!("INSERT INTO dbo.T (v, updated_at) VALUES ({value}, {time})");
        }
        let key = self.fresh_key();
        format!("INSERT INTO dbo.T (id, v, updated_at) VALUES ({key}, {value}, {time})")
    }

    fn value(&mut self, number: usize) -> String {
        self.written += 1;
        format!("N'w{number} v{}'", self.written)
    }

    /// Mostly a key of the newest, so that what was lost is not written again and again until it arrives after all.
    fn some_key(&mut self) -> Option<i32> {
        let newest = self.next_key - HOT_KEYS;
        let from = if self.random.random_ratio(9, 10) {
            newest
        } else {
            1
        };
        self.keys.range(from..).copied().choose(&mut self.random)
    }

    fn fresh_key(&mut self) -> i32 {
        let key = self.next_key;
        self.next_key += 1;
        self.keys.insert(key);
        key
    }

    /// Runs a statement that waits for locks as long as it takes.
    fn write_waiting(&mut self, number: usize, batch: String) {
        let Some(mut session) = self.writers[number].session.take() else {
            return;
        };
        let statement = std::thread::spawn(move || {
            for batch in ["SET LOCK_TIMEOUT -1", &batch, "SET LOCK_TIMEOUT 0"] {
                session.batch(batch, &mut Discard);
            }
            session
        });
        self.waiting = Some(Waiting {
            writer: number,
            statement,
        });
        self.look_after_the_waiting();
    }

    /// Takes a waiting writer back once its statement is through; returns only when it is, or is known to wait.
    fn look_after_the_waiting(&mut self) {
        while let Some(waiting) = self.waiting.take() {
            if waiting.statement.is_finished() {
                let session = waiting.statement.join().expect("a statement ends");
                let writer = &mut self.writers[waiting.writer];
                if !session.in_transaction() {
                    writer.open = None;
                }
                writer.session = Some(session);
                return;
            }
            self.waiting = Some(waiting);
            if self.somebody_waits() {
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn somebody_waits(&self) -> bool {
        let sql = "SELECT COUNT(*) FROM sys.dm_exec_requests WHERE blocking_session_id <> 0";
        let found = self
            .emulator
            .execute(SHOP, sql)
            .expect("requests can be looked at");
        found[0].rows[0][0] != Value::Int(0)
    }
}

impl Writer {
    fn connect(emulator: &Emulator, database: &str, number: usize) -> Self {
        let login = LoginInfo {
            user: emulator.user().to_owned(),
            password: emulator.password().to_owned(),
            database: Some(database.to_owned()),
            program_name: format!("writer {number}"),
            ..LoginInfo::default()
        };
        let session = Session::new(emulator.engine(), login).expect("a writer logs in");
        let mut writer = Self {
            session: Some(session),
            open: None,
        };
        writer.run("SET LOCK_TIMEOUT 0");
        writer
    }

    /// Runs a batch; writers shrug at whatever it says.
    fn run(&mut self, batch: &str) {
        if let Some(session) = &mut self.session {
            session.batch(batch, &mut Discard);
            if !session.in_transaction() {
                self.open = None;
            }
        }
    }
}

#[tokio::test]
async fn who_waits_for_a_lock_when_the_burst_comes_keeps_the_transaction() {
    let world = World::start().await;
    world.sql(
        "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(40) NOT NULL, updated_at datetime2(3) NULL);
         INSERT INTO dbo.T VALUES (1, N'', NULL)",
    );
    let mut history = History::new(world.emulator.clone(), 1, super::TIMESTAMP);
    let update = "UPDATE dbo.T SET v += N'x' WHERE id = 1";
    history.open(0, LONGEST_MS);
    history.writers[0].run(update);
    history.open(HOLDER, LONGEST_MS);
    history.write_waiting(HOLDER, update.to_owned());
    history.burst();
    // Ends every transaction: a forgotten one would still hold the row.
    history.purge();
}
