//! One run: sessions that do something at random, and the model that knows what they must see.

mod checks;

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlserver_emulator::{Engine, EngineConfig};

use super::driver::{Answer, Driver};
use super::history::{History, Op, TABLES};
use super::random::Random;
use super::statement::Statement;
use crate::collect::{connect, query};

const STEPS: usize = 140;

/// What a run met.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Met {
    pub(crate) commits: u64,
    /// Commits of transactions that had written before another one that was committed earlier.
    pub(crate) commits_out_of_order: u64,
    pub(crate) lock_waits: u64,
    /// 3960
    pub(crate) stale: u64,
    /// 1205
    pub(crate) deadlocks: u64,
    pub(crate) reads: u64,
}

impl Met {
    pub(crate) fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.commits_out_of_order += other.commits_out_of_order;
        self.lock_waits += other.lock_waits;
        self.stale += other.stale;
        self.deadlocks += other.deadlocks;
        self.reads += other.reads;
    }
}

/// An open transaction.
#[derive(Debug, Default)]
struct Open {
    snapshot: bool,
    /// The CHANGE_TRACKING_CONTEXT of all that it writes.
    context: Option<i64>,
    /// Commits before its snapshot, once it has read or written.
    since: Option<usize>,
    ops: Vec<Op>,
    saved: Option<usize>,
    /// Rowversions that it was seen to use; it has used more after a statement that failed.
    versions: Vec<i64>,
    uncertain: bool,
    first_write: Option<usize>,
}

/// A run under way.
pub(crate) struct Run {
    random: Random,
    /// READ_COMMITTED_SNAPSHOT: reading waits for nobody.
    versioned_reads: bool,
    driver: Driver,
    history: History,
    open: Vec<Option<Open>>,
    doing: Vec<Option<Statement>>,
    /// Sessions whose statement had to wait.
    waited: Vec<bool>,
    met: Met,
    versions: BTreeSet<i64>,
    greatest_version: i64,
    /// The greatest MIN_ACTIVE_ROWVERSION() given so far.
    promised: i64,
    last_first_write: usize,
    step: usize,
    seed: u64,
}

impl Run {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let versioned_reads = random.below(2) == 0;
        let engine = engine(seed, versioned_reads);
        let sessions = 2 + random.below(7);
        Self {
            random,
            versioned_reads,
            driver: Driver::new(&engine, sessions),
            history: History::new(),
            open: (0..sessions).map(|_| None).collect(),
            doing: vec![None; sessions],
            waited: vec![false; sessions],
            met: Met::default(),
            versions: BTreeSet::new(),
            greatest_version: 0,
            promised: 0,
            last_first_write: 0,
            step: 0,
            seed,
        }
    }

    /// Plays it to its end.
    pub(crate) fn play(mut self) -> Met {
        while self.step < STEPS || self.driver.anyone_waits() {
            self.step += 1;
            let free: Vec<usize> = (0..self.open.len())
                .filter(|at| !self.driver.is_waiting(*at))
                .collect();
            assert!(!free.is_empty(), "{}: everyone waits", self.place());
            let at = free[self.random.below(free.len())];
            let statement = self.choose(at);
            self.begin_snapshot(at, &statement);
            let context = self.open[at].as_ref().and_then(|open| open.context);
            self.driver.start(at, statement.sql(context));
            self.doing[at] = Some(statement);
            self.waited[at] = false;
            self.settle(at);
            self.check_rowversions();
            if self.random.below(12) == 0 {
                self.check_tracking();
            }
            if self.random.below(40) == 0 {
                self.check_capture();
            }
        }
        self.check_tracking();
        self.check_capture();
        self.met
    }

    /// A snapshot is that of the moment when its transaction first reads or writes, even if it then has to wait.
    fn begin_snapshot(&mut self, at: usize, statement: &Statement) {
        let latest = self.history.latest();
        if let Some(open) = &mut self.open[at]
            && open.snapshot
            && statement.reads_or_writes()
        {
            open.since.get_or_insert(latest);
        }
    }

    fn place(&self) -> String {
        format!("seed {}, step {}", self.seed, self.step)
    }

    fn choose(&mut self, at: usize) -> Statement {
        match &self.open[at] {
            None => Statement::Begin {
                snapshot: self.random.below(3) == 0,
                context: [None, Some(1 + self.random.below(200) as i64)][self.random.below(2)],
            },
            Some(_) if self.step > STEPS => Statement::Commit,
            Some(open) => Statement::any(&mut self.random, open.snapshot, open.saved.is_some()),
        }
    }

    /// Takes the answers: first that of the session that did something, for what it ended may have let others go on.
    fn settle(&mut self, actor: usize) {
        let mut answers = self.driver.settle();
        answers.sort_by_key(|(at, _)| *at != actor);
        // Who closed a circle of waiters and was not its victim has waited too, but nobody saw it.
        if answers.iter().any(|(_, answer)| answer.errors == [1205]) {
            self.waited[actor] = true;
        }
        for (at, answer) in answers {
            if let Some(statement) = self.doing[at].take() {
                self.answered(at, &statement, &answer);
            }
        }
        for at in 0..self.waited.len() {
            if self.driver.is_waiting(at) && !std::mem::replace(&mut self.waited[at], true) {
                self.met.lock_waits += 1;
            }
        }
    }

    fn answered(&mut self, at: usize, statement: &Statement, answer: &Answer) {
        let what = format!("{}, session {at}: {statement:?} gave {answer:?}", self.place());
        if let Some(error) = answer.errors.first() {
            return self.failed(at, statement, *error, &what);
        }
        match statement {
            Statement::Begin { snapshot, context } => {
                self.open[at] = Some(Open {
                    snapshot: *snapshot,
                    context: *context,
                    ..Open::default()
                });
            }
            Statement::Rollback => self.open[at] = None,
            Statement::Commit => self.committed(at, &what),
            Statement::Save => {
                let open = self.open[at].as_mut().expect(&what);
                open.saved = Some(open.ops.len());
            }
            Statement::RollbackToSave => {
                let open = self.open[at].as_mut().expect(&what);
                open.ops.truncate(open.saved.expect(&what));
            }
            Statement::Read(table) => self.check_read(at, *table, answer, &what),
            Statement::Changes(table, after) => {
                self.check_snapshot_changes(at, *table, *after, answer, &what);
            }
            _ => self.written(at, statement, answer, &what),
        }
    }

    /// Whether the error had to come.
    fn failed(&mut self, at: usize, statement: &Statement, error: i32, what: &str) {
        match error {
            1205 => {
                self.met.deadlocks += 1;
                self.open[at] = None;
            }
            3960 => {
                self.met.stale += 1;
                let open = self.open[at].take().expect(what);
                let since = open.since.filter(|_| open.snapshot).expect(what);
                let seen = self.history.seen(since, &open.ops);
                let (table, mut keys) = statement.changed(&seen);
                keys.extend(statement.given(&keys));
                assert!(self.history.changed_since(since, table, &keys), "{what}");
            }
            2627 => {
                let open = self.open[at].as_mut().expect(what);
                open.uncertain = true;
                let now = self.history.seen(self.history.latest(), &open.ops);
                let (table, changed) = statement.changed(&now);
                let keys = statement.given(&changed);
                assert!(keys.iter().any(|key| now[table].contains_key(key)), "{what}");
            }
            _ => panic!("{what}: nobody expects that error"),
        }
    }

    fn committed(&mut self, at: usize, what: &str) {
        let open = self.open[at].take().expect(what);
        if let Some(least) = open.versions.iter().min() {
            assert!(
                *least >= self.promised,
                "{what}: {least} was below a bound already given"
            );
        }
        if let Some(first) = open.first_write.filter(|_| !open.ops.is_empty()) {
            self.met.commits += 1;
            if first < self.last_first_write {
                self.met.commits_out_of_order += 1;
            }
            self.last_first_write = self.last_first_write.max(first);
        }
        self.history.commit(open.ops, open.context);
    }

    /// Commits that a reader of this transaction sees now.
    fn standing(&self, open: &Open) -> usize {
        open.since
            .filter(|_| open.snapshot)
            .unwrap_or(self.history.latest())
    }

    /// Whether a statement has changed the rows that it had to, which the model then changes too.
    fn written(&mut self, at: usize, statement: &Statement, answer: &Answer, what: &str) {
        let open = self.open[at].as_ref().expect(what);
        let seen = self.history.seen(self.standing(open), &open.ops);
        let mut changed: Vec<i64> = answer.results[0].iter().filter_map(|row| row[0]).collect();
        changed.sort_unstable();
        let (table, expected) = statement.changed(&seen);
        if open.snapshot {
            let since = open.since.expect(what);
            let inserted = |key: &i64| open.ops.iter().any(|op| op.inserts(table, *key));
            let others: Vec<i64> = changed.iter().copied().filter(|key| !inserted(key)).collect();
            assert!(!self.history.changed_since(since, table, &others), "{what}");
        }
        // Under locks, what it waited for may have changed what it finds.
        if open.snapshot || !self.waited[at] {
            assert_eq!(changed, expected, "{what}");
        }
        let now = self.history.seen(self.history.latest(), &open.ops);
        let missing = changed.iter().find(|key| !now[table].contains_key(key));
        assert_eq!(missing, None, "{what}");
        let twice = |key: &&i64| now[table].contains_key(key) && !changed.contains(key);
        assert_eq!(statement.given(&changed).iter().find(twice), None, "{what}");

        let ops = statement.ops(&now[table], &changed);
        let versions = self.check_assigned(at, answer, what);
        let step = self.step;
        let open = self.open[at].as_mut().expect(what);
        if !ops.is_empty() {
            open.first_write.get_or_insert(step);
        }
        open.versions.extend(versions);
        open.ops.extend(ops);
    }

    /// The rowversions that a statement assigned: each new, and greater than all before.
    fn check_assigned(&mut self, at: usize, answer: &Answer, what: &str) -> Vec<i64> {
        let versions: Vec<i64> = answer.results[0].iter().filter_map(|row| row[2]).collect();
        for version in &versions {
            // A statement that had to wait may have got its number before.
            assert!(self.waited[at] || *version > self.greatest_version, "{what}");
            assert!(self.versions.insert(*version), "{what}: a rowversion came twice");
        }
        // A statement's own rows are numbered in no order that it shows.
        self.greatest_version = versions.iter().copied().fold(self.greatest_version, i64::max);
        versions
    }
}

/// An engine with both tables, tracked and captured.
fn engine(seed: u64, versioned_reads: bool) -> Arc<Engine> {
    let engine = Engine::new(EngineConfig {
        databases: vec!["db".to_owned()],
        seed,
        ..EngineConfig::default()
    });
    let mut session = connect(&engine);
    query(
        &mut session,
        "ALTER DATABASE db SET ALLOW_SNAPSHOT_ISOLATION ON; ALTER DATABASE db SET CHANGE_TRACKING = ON; EXEC sys.sp_cdc_enable_db",
    );
    if versioned_reads {
        query(&mut session, "ALTER DATABASE db SET READ_COMMITTED_SNAPSHOT ON");
    }
    for name in TABLES {
        let create = format!(
            "CREATE TABLE {name} (k int NOT NULL PRIMARY KEY, v int, w int, rv rowversion);
             ALTER TABLE {name} ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = ON);
             EXEC sys.sp_cdc_enable_table N'dbo', N'{name}', @role_name = NULL, @captured_column_list = N'k, v, w'"
        );
        query(&mut session, &create);
    }
    engine
}
