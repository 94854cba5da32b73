//! What readers and watchers are told, against the model.

use super::super::driver::Answer;
use super::super::history::{Change, Net, Op, Rows, TABLES, apply, captured};
use super::super::statement::{changes, last_changes};
use super::Run;

impl Run {
    pub(super) fn check_read(&mut self, at: usize, table: usize, answer: &Answer, what: &str) {
        self.met.reads += 1;
        let row = |row: &Vec<Option<i64>>| (number(row[0]), [number(row[1]), number(row[2])]);
        let rows: Rows = answer.results[0].iter().map(row).collect();
        // A read under locks that had to wait has seen some rows before and some after.
        let open = self.open[at].as_ref().expect(what);
        let versioned = open.snapshot || self.versioned_reads;
        assert!(!(versioned && self.waited[at]), "{what}: it waited");
        if versioned || !self.waited[at] {
            let seen = self.history.seen(self.standing(open), &open.ops);
            assert_eq!(rows, seen[table], "{what}");
        }
    }

    pub(super) fn check_snapshot_changes(
        &mut self,
        at: usize,
        table: usize,
        after: i64,
        answer: &Answer,
        what: &str,
    ) {
        let standing = self.standing(self.open[at].as_ref().expect(what));
        self.check_net(table, after, standing, answer, what);
    }

    /// `MIN_ACTIVE_ROWVERSION()` is the least rowversion of an open transaction, and one more than `@@DBTS` where there is none.
    pub(super) fn check_rowversions(&mut self) {
        let place = self.place();
        let answer = self.driver.watch("SELECT MIN_ACTIVE_ROWVERSION(), @@DBTS");
        let (least, last) = (number(answer.results[0][0][0]), number(answer.results[0][0][1]));
        assert!(last >= self.greatest_version, "{place}");
        let open = self.open.iter().flatten();
        let uncertain = self.driver.anyone_waits() || open.clone().any(|open| open.uncertain);
        let held = open.flat_map(|open| &open.versions).min().copied();
        let bound = held.unwrap_or(last + 1);
        assert!(least <= bound, "{place}: {least} > {bound}");
        // A waiting or failed statement may hold a number that it has not shown.
        assert!(uncertain || least == bound, "{place}: {least} < {bound}");
        self.promised = self.promised.max(least);
    }

    /// The net changes of both tables after some version.
    pub(super) fn check_tracking(&mut self) {
        let (place, latest) = (self.place(), self.history.latest());
        let after = self.random.below(self.history.version(latest) as usize + 2) as i64;
        for (table, name) in TABLES.iter().enumerate() {
            let answer = self.driver.watch(&changes(name, after));
            self.check_net(
                table,
                after,
                latest,
                &answer,
                &format!("{place}: {name} after {after}"),
            );
            self.check_last_changes(table);
        }
    }

    fn check_last_changes(&mut self, table: usize) {
        let expected = self.history.last_changes(table);
        let keys: Vec<i64> = expected.iter().map(|(key, ..)| *key).collect();
        if keys.is_empty() {
            return;
        }
        let answer = self.driver.watch(&last_changes(TABLES[table], &keys));
        let row = |row: &Vec<Option<i64>>| (number(row[0]), number(row[1]), row[2]);
        let found: Vec<_> = answer.results[0].iter().map(row).collect();
        assert_eq!(found, expected, "{}: {}", self.place(), TABLES[table]);
    }

    fn check_net(&self, table: usize, after: i64, commits: usize, answer: &Answer, what: &str) {
        let version = self.history.version(commits);
        assert_eq!(answer.results[0][0], [Some(version)], "{what}");
        let net = |row: &Vec<Option<i64>>| Net {
            key: number(row[0]),
            operation: char::from(number(row[1]) as u8),
            version: number(row[2]),
            created: row[3],
            columns: (row[4] == Some(1)).then_some([row[5] == Some(1), row[6] == Some(1)]),
            context: row[7],
        };
        let found: Vec<Net> = answer.results[1].iter().map(net).collect();
        assert_eq!(found, self.history.net(table, after, commits), "{what}");
    }

    /// The change tables hold the transactions whole and in the order of their commits, and applying them gives the tables.
    pub(super) fn check_capture(&mut self) {
        self.driver.watch("EXEC sys.sp_cdc_scan");
        let mut lsns: Vec<Option<i64>> = vec![None; self.history.latest()];
        for table in 0..TABLES.len() {
            self.check_captured(table, &mut lsns);
        }
        let order: Vec<i64> = lsns.into_iter().flatten().collect();
        let sorted = order.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(sorted, "{}: LSNs are not in the order of commits", self.place());
    }

    /// One change table; notes each commit's LSN, which is the same for both.
    fn check_captured(&mut self, table: usize, lsns: &mut [Option<i64>]) {
        let name = TABLES[table];
        let answer = self.driver.watch(&format!(
            "SELECT __$start_lsn, __$operation, k, v, w, __$update_mask FROM cdc.dbo_{name}_CT
             ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation;
             IF EXISTS (SELECT * FROM cdc.dbo_{name}_CT)
                 SELECT __$start_lsn, __$operation, k, v, w, __$update_mask FROM cdc.fn_cdc_get_all_changes_dbo_{name}
                     (sys.fn_cdc_get_min_lsn(N'dbo_{name}'), sys.fn_cdc_get_max_lsn(), N'all update old')"
        ));
        let row = |row: &Vec<Option<i64>>| row.iter().copied().map(number).collect::<Vec<_>>();
        if let Some(all) = answer.results.get(1) {
            let sorted = |rows: &Vec<Vec<Option<i64>>>| {
                let mut rows: Vec<_> = rows.iter().map(row).collect();
                rows.sort_unstable();
                rows
            };
            assert_eq!(
                sorted(all),
                sorted(&answer.results[0]),
                "{}: {name}",
                self.place()
            );
        }
        let mut rows = answer.results[0].iter().map(row).peekable();
        let mut state = <[Rows; 2]>::default();
        for (at, ops) in self.history.commits.iter().enumerate() {
            let what = format!("{}: commit {at} of {name}", self.place());
            let mut expected = captured(ops, table);
            if expected.is_empty() {
                continue;
            }
            let lsn = rows.peek().map(|row| row[0]).expect(&what);
            let mut found = Vec::new();
            while let Some(row) = rows.next_if(|row| row[0] == lsn) {
                found.push((row[1], row[2], [row[3], row[4]], row[5]));
            }
            for (operation, key, values, _) in &found {
                let change = match operation {
                    1 => Change::Delete(*values),
                    3 => continue,
                    _ => Change::Insert(*values),
                };
                apply(&mut state, &[Op::new(table, *key, change)]);
            }
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{what}");
            assert_eq!(state[table], self.history.states[at + 1][table], "{what}");
            assert_eq!(
                *lsns[at].get_or_insert(lsn),
                lsn,
                "{what}: one LSN over all tables"
            );
        }
        assert_eq!(rows.next(), None, "{}: more than was committed", self.place());
    }
}

pub(super) fn number(value: Option<i64>) -> i64 {
    value.expect("a number")
}
