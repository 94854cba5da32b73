//! Change Data Capture: the log of committed changes, and the capture that carries it into change tables.
//!
//! A transaction's changes come into the log when it commits. The capture takes whole transactions out of it, in the
//! order of their commits and never before they have fallen due, and writes them as one transaction of its own.
//! What it keeps beside the tables (the log, low-water marks, the DDL history) belongs to no user's transaction, so no
//! rollback touches it.

mod rows;

pub(crate) use rows::captured_type;
use rows::{Images, instant_of, mapping_row};

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::change_log::Command;
use super::content::Store;
use super::lsn::Lsn;
use super::packed::RowBuilder;
use super::schema::Table;
use super::table::{Check, Row};
use super::{Refusal, TableId, TxId};
use crate::clock::Instant;

/// After so long without a change the capture notes that it has seen nothing.
const IDLE_TICKS: i64 = 5 * 60 * 10_000_000;

/// What CDC has made in a database.
#[derive(Clone, Debug)]
pub(crate) struct Capturing {
    /// `cdc.lsn_time_mapping`.
    pub(crate) mapping: TableId,
    pub(crate) instances: Vec<CaptureInstance>,
}

/// One capture instance.
#[derive(Clone, Debug)]
pub(crate) struct CaptureInstance {
    pub(crate) name: String,
    pub(crate) source: TableId,
    /// `cdc.…_CT`.
    pub(crate) changes: TableId,
    pub(crate) start: Lsn,
    pub(crate) net_changes: bool,
    pub(crate) role: Option<String>,
    pub(crate) index: Option<String>,
    /// Ids of the columns that tell rows apart.
    pub(crate) key: Vec<i32>,
    pub(crate) columns: Vec<CapturedColumn>,
    pub(crate) created: Instant,
}

/// A captured column, as it was when the instance was made.
#[derive(Clone, Debug)]
pub(crate) struct CapturedColumn {
    /// In the source table.
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) computed: bool,
}

/// Columns of a change table before the captured ones: `__$start_lsn`, `__$end_lsn`, `__$seqval`, `__$operation`,
/// `__$update_mask`. `__$command_id` follows the captured ones.
pub(crate) const BEFORE_CAPTURED: usize = 5;

/// A change of a captured table's definition.
#[derive(Clone, Debug)]
pub(crate) struct DdlChange {
    pub(crate) table: TableId,
    pub(crate) command: String,
    /// The table afterwards.
    pub(crate) definition: Arc<Table>,
}

/// One row of `cdc.ddl_history`.
#[derive(Clone, Debug)]
pub(crate) struct DdlRecord {
    pub(crate) source: TableId,
    pub(crate) changes: TableId,
    pub(crate) altered: bool,
    pub(crate) command: String,
    pub(crate) lsn: Lsn,
    pub(crate) at: Instant,
}

/// The capture and clean-up jobs and their parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaptureJobs {
    /// There is a capture job.
    pub(crate) capture: bool,
    /// There is a clean-up job.
    pub(crate) cleanup: bool,
    /// The capture job runs.
    pub(crate) running: bool,
    /// When it was started or stopped last.
    pub(crate) switched: Option<Instant>,
    pub(crate) max_trans: i32,
    pub(crate) max_scans: i32,
    pub(crate) continuous: bool,
    /// In seconds; shown only, the delay is the server's.
    pub(crate) polling_interval: i64,
    /// In minutes.
    pub(crate) retention: i64,
    pub(crate) threshold: i64,
}

impl Default for CaptureJobs {
    fn default() -> Self {
        Self {
            capture: true,
            cleanup: true,
            running: true,
            switched: None,
            max_trans: 500,
            max_scans: 10,
            continuous: true,
            polling_interval: 5,
            retention: 4320,
            threshold: 5000,
        }
    }
}

/// One scan that found something: a row of `sys.dm_cdc_log_scan_sessions`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanSession {
    pub(crate) at: Instant,
    pub(crate) transactions: i64,
    pub(crate) commands: i64,
    pub(crate) schema_changes: i32,
    pub(crate) first: Lsn,
    pub(crate) last: Lsn,
    pub(crate) last_commit: Instant,
}

/// The log of one database and what the capture has made of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CaptureLog {
    /// The last position used.
    position: u64,
    waiting: VecDeque<Logged>,
    low_water: HashMap<TableId, Lsn>,
    pub(crate) ddl: Vec<DdlRecord>,
    pub(crate) jobs: CaptureJobs,
    pub(crate) sessions: Vec<ScanSession>,
    /// When the last row of `cdc.lsn_time_mapping` was written.
    mapped: i64,
}

/// A committed transaction that the capture has not seen.
#[derive(Clone, Debug)]
struct Logged {
    tx: TxId,
    first: u64,
    commit: u64,
    began: Instant,
    committed: Instant,
    /// The commit on the clock that never goes back.
    elapsed: i64,
    commands: Vec<Command>,
    ddl: Vec<DdlChange>,
}

impl CaptureJobs {
    /// Starts or stops the capture job, if there is one.
    pub(crate) fn switch(&mut self, running: bool, now: Instant) {
        self.running = running && self.capture;
        self.switched = Some(now);
    }
}

impl CaptureLog {
    /// Whether the log holds what the capture has not read.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A place in the log for a new record.
    pub(crate) fn next(&mut self) -> u64 {
        self.position += 1;
        self.position
    }
}

/// A commit, by all clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitTime {
    pub(crate) at: Instant,
    pub(crate) elapsed: i64,
}

impl Store {
    /// Puts what a transaction did to captured tables into the log.
    pub(super) fn log_commit(
        &mut self,
        tx: TxId,
        began: Instant,
        now: CommitTime,
        mut commands: Vec<Command>,
        ddl: Vec<DdlChange>,
    ) {
        let of = |table: TableId| self.tables.get(&table).map(|data| data.definition.database);
        let mut databases: Vec<i32> = commands
            .iter()
            .filter(|command| command.origin.captured)
            .filter_map(|command| of(command.origin.table))
            .chain(ddl.iter().map(|change| change.definition.database))
            .collect();
        databases.sort_unstable();
        databases.dedup();
        for database in databases {
            let own = |table: &Table| table.database == database;
            let commands: Vec<Command> = commands
                .extract_if(.., |command| {
                    command.origin.captured && own(&command.origin.definition)
                })
                .collect();
            let ddl = ddl
                .iter()
                .filter(|change| own(&change.definition))
                .cloned()
                .collect();
            let Some(log) = self.capture.get_mut(&database) else {
                continue;
            };
            let positions = commands.iter().flat_map(|command| &command.effects);
            let first = positions.map(|effect| effect.position).min();
            let commit = log.next();
            log.waiting.push_back(Logged {
                tx,
                first: first.unwrap_or(commit),
                commit,
                began,
                committed: now.at,
                elapsed: now.elapsed,
                commands,
                ddl,
            });
        }
    }

    /// Carries transactions that committed up to `due` into the change tables of every database whose job runs.
    pub(crate) fn capture_due(&mut self, due: i64, now: CommitTime) {
        let running = self.capture.iter().filter(|(_, log)| log.jobs.running);
        let databases: Vec<i32> = running.map(|(id, _)| *id).collect();
        for database in databases {
            self.scan_log(database, Some(due), now);
        }
    }

    /// One scan of the log: all of it without `due`. Stops at a transaction that it cannot write now, because a reader has
    /// locked the change table.
    pub(crate) fn scan_log(&mut self, database: i32, due: Option<i64>, now: CommitTime) {
        let capturing = self
            .databases
            .get(&database)
            .and_then(|found| found.capturing.clone());
        let (Some(capturing), Some(mut log)) = (capturing, self.capture.remove(&database)) else {
            return;
        };
        let mut session: Option<ScanSession> = None;
        while let Some(logged) = log
            .waiting
            .front()
            .filter(|logged| due.is_none_or(|due| logged.elapsed <= due))
        {
            let Ok(rows) = self.write_captured(&capturing, logged, now) else {
                break;
            };
            self.apply_ddl(&capturing, logged, &mut log.ddl);
            log.mapped = now.elapsed;
            let commit = Lsn::at(logged.commit);
            let seen = session.get_or_insert(ScanSession {
                at: now.at,
                transactions: 0,
                commands: 0,
                schema_changes: 0,
                first: commit,
                last: commit,
                last_commit: logged.committed,
            });
            seen.transactions += 1;
            seen.commands += rows;
            seen.schema_changes += logged
                .ddl
                .iter()
                .filter(|change| !change.command.is_empty())
                .count() as i32;
            seen.last = commit;
            seen.last_commit = logged.committed;
            log.waiting.pop_front();
        }
        log.sessions.extend(session);
        let idle = log.waiting.is_empty() && now.elapsed - log.mapped >= IDLE_TICKS;
        if idle && !capturing.instances.is_empty() {
            let lsn = Lsn::at(log.next());
            // A locked table is no reason to fail: the next scan tries again.
            if self.write_mapping(&capturing, lsn, None, now).is_ok() {
                log.mapped = now.elapsed;
            }
        }
        self.capture.insert(database, log);
    }

    /// Writes one transaction's rows; gives their number.
    fn write_captured(
        &mut self,
        capturing: &Capturing,
        logged: &Logged,
        now: CommitTime,
    ) -> Result<i64, Refusal> {
        let tx = self.begin_at(0, "cdc", false, now.at);
        let written = self.write_rows(tx, capturing, logged);
        let result = match written {
            Ok(0) if logged.ddl.is_empty() => Ok(0),
            Ok(rows) => {
                let row = mapping_row(Lsn::at(logged.commit), Some(logged), now.at);
                self.insert(tx, capturing.mapping, &row).map(|_| rows)
            }
            Err(refusal) => Err(refusal),
        };
        match result {
            Ok(_) => self.commit(tx, now),
            Err(_) => self.rollback(tx),
        }
        result
    }

    fn write_rows(&mut self, tx: TxId, capturing: &Capturing, logged: &Logged) -> Result<i64, Refusal> {
        let commit = Lsn::at(logged.commit);
        let (mut command_id, mut written, mut builder) = (0, 0, RowBuilder::default());
        for command in &logged.commands {
            let own = |instance: &&CaptureInstance| {
                instance.source == command.origin.table && instance.start < commit
            };
            let instances = capturing.instances.iter().filter(own);
            let instances: Vec<_> = instances
                .filter_map(|instance| {
                    let changes = self.tables.get(&instance.changes)?;
                    let images = Images::of(instance, &command.origin.definition, changes.forms());
                    Some((instance.changes, images))
                })
                .collect();
            for effect in &command.effects {
                command_id += 1;
                for (changes, images) in &instances {
                    for row in images.rows(effect, commit, command_id, &mut builder) {
                        self.insert_packed(tx, *changes, &row)?;
                        written += 1;
                    }
                }
            }
        }
        Ok(written)
    }

    fn write_mapping(
        &mut self,
        capturing: &Capturing,
        lsn: Lsn,
        logged: Option<&Logged>,
        now: CommitTime,
    ) -> Result<(), Refusal> {
        let tx = self.begin_at(0, "cdc", false, now.at);
        let result = self.insert(tx, capturing.mapping, &mapping_row(lsn, logged, now.at));
        match result {
            Ok(_) => self.commit(tx, now),
            Err(_) => self.rollback(tx),
        }
        result.map(|_| ())
    }

    /// Notes a table's new definition, and gives the change tables' columns their new types.
    fn apply_ddl(&mut self, capturing: &Capturing, logged: &Logged, history: &mut Vec<DdlRecord>) {
        for change in logged.ddl.iter().filter(|change| !change.command.is_empty()) {
            for instance in &capturing.instances {
                if instance.source != change.table || Lsn::at(logged.commit) < instance.start {
                    continue;
                }
                let altered = self.retype(instance, &change.definition);
                history.push(DdlRecord {
                    source: change.table,
                    changes: instance.changes,
                    altered,
                    command: change.command.clone(),
                    lsn: Lsn::at(logged.commit),
                    at: logged.committed,
                });
            }
        }
    }

    /// Whether a captured column has got another type.
    fn retype(&mut self, instance: &CaptureInstance, source: &Table) -> bool {
        let Some(data) = self.tables.get_mut(&instance.changes) else {
            return false;
        };
        let mut definition = (*data.definition).clone();
        let mut changed = Vec::new();
        for (at, captured) in instance.columns.iter().enumerate() {
            let new = source.columns.iter().find(|column| column.id == captured.id);
            let own = definition.columns.get_mut(BEFORE_CAPTURED + at);
            if let (Some(new), Some(own)) = (new.map(captured_type), own)
                && new.ty != own.info.ty
            {
                changed.push((BEFORE_CAPTURED + at, own.info, new));
                own.info = new;
            }
        }
        if changed.is_empty() {
            return false;
        }
        data.rewrite(Arc::new(definition), |row| {
            let mut values = row.to_vec();
            for (at, from, to) in &changed {
                if let Some(value) = values.get_mut(*at) {
                    let old = std::mem::take(value);
                    *value = crate::eval::convert_value(old, *from, *to).unwrap_or_default();
                }
            }
            values.into()
        });
        true
    }

    /// The lowest LSN for which an instance has changes.
    pub(crate) fn low_water(&self, database: i32, instance: &CaptureInstance) -> Lsn {
        let moved = self
            .capture
            .get(&database)
            .and_then(|log| log.low_water.get(&instance.changes));
        moved.copied().unwrap_or(instance.start)
    }

    /// Raises an instance's low-water mark and deletes the changes below it.
    pub(crate) fn clean_up_changes(
        &mut self,
        database: i32,
        instance: &CaptureInstance,
        low: Option<Lsn>,
        now: CommitTime,
    ) {
        let low = low.map_or(self.low_water(database, instance), |low| {
            low.max(self.low_water(database, instance))
        });
        if let Some(log) = self.capture.get_mut(&database) {
            log.low_water.insert(instance.changes, low);
        }
        self.delete_below(instance.changes, low, now);
    }

    /// The clean-up job: forgets what is older than the retention, seen from the last captured commit.
    pub(crate) fn clean_up_captured(&mut self, now: CommitTime) {
        let databases: Vec<i32> = self.capture.keys().copied().collect();
        for database in databases {
            let Some((capturing, retention)) = self.capturing(database) else {
                continue;
            };
            if self.capture.get(&database).is_some_and(|log| !log.jobs.cleanup) {
                continue;
            }
            let mapped = self.mapped(&capturing);
            let Some((_, newest)) = mapped.iter().max_by_key(|(_, at)| *at) else {
                continue;
            };
            let oldest = newest.plus_minutes(-retention);
            let expired = mapped.iter().filter(|(_, at)| *at <= oldest).map(|(lsn, _)| *lsn);
            if let Some(low) = expired.max() {
                self.forget_below(database, &capturing, low, now);
            }
        }
    }

    /// As if the log had been cut and the clean-up had run: nothing up to the last captured commit is left.
    pub(crate) fn truncate_captured(&mut self, database: i32, now: CommitTime) {
        let Some((capturing, _)) = self.capturing(database) else {
            return;
        };
        let Some(log) = self.capture.get_mut(&database) else {
            return;
        };
        log.waiting.clear();
        let lsn = Lsn::at(log.next());
        if self.write_mapping(&capturing, lsn, None, now).is_ok() {
            self.forget_below(database, &capturing, lsn, now);
        }
    }

    fn capturing(&self, database: i32) -> Option<(Capturing, i64)> {
        let capturing = self.databases.get(&database)?.capturing.clone()?;
        Some((capturing, self.capture.get(&database)?.jobs.retention))
    }

    fn forget_below(&mut self, database: i32, capturing: &Capturing, low: Lsn, now: CommitTime) {
        for instance in &capturing.instances {
            self.clean_up_changes(database, instance, Some(low), now);
        }
        let lowest = capturing
            .instances
            .iter()
            .map(|instance| self.low_water(database, instance))
            .min();
        if let Some(lowest) = lowest {
            self.delete_below(capturing.mapping, lowest, now);
        }
    }

    /// LSNs and commit times in `cdc.lsn_time_mapping`.
    fn mapped(&self, capturing: &Capturing) -> Vec<(Lsn, Instant)> {
        let rows = self
            .tables
            .get(&capturing.mapping)
            .into_iter()
            .flat_map(|data| data.newest_rows());
        rows.filter_map(|(_, row)| Some((Lsn::of(row.first()?)?, instant_of(row.get(2)?)?)))
            .collect()
    }

    /// Deletes rows whose first column is an LSN below `low`; rows that someone has locked stay.
    fn delete_below(&mut self, table: TableId, low: Lsn, now: CommitTime) {
        let below = |row: &Row| row.first().and_then(Lsn::of).is_some_and(|lsn| lsn < low);
        let rows = self
            .tables
            .get(&table)
            .into_iter()
            .flat_map(|data| data.newest_rows());
        let gone: Vec<_> = rows.filter(|(_, row)| below(row)).map(|(id, _)| id).collect();
        let tx = self.begin_at(0, "cdc", false, now.at);
        for id in gone {
            let _ = self.replace(tx, table, id, None, None, Check::Now);
        }
        self.commit(tx, now);
    }
}
