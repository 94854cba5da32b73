//! Faults that a test orders: lost connections, deadlocks, refusals, damaged answers, slow ones; killed sessions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::SqlError;
use crate::store::deadlock;
use crate::sync::lock;
use crate::tds::Link;

/// When a connection is lost, seen from the transaction that it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// The server rolls back; the client cannot know.
    Before,
    /// The connection is lost first, then the server commits.
    During,
    /// The server commits, then the connection is lost before the answer.
    After,
}

/// What happens once to a session that uses a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An explicit commit loses its connection.
    LoseConnection(CommitFault),
    /// A statement that reads or changes data is a deadlock's victim: error 1205, and its transaction is rolled back.
    Deadlock,
    /// A statement that reads or changes data is refused with error 40501, the service is busy, and the connection ends: its class is 20.
    Busy,
    /// The same with error 49918: there are not enough resources.
    NotEnoughResources,
    /// The same with error 9002: the transaction log is full.
    FullLog,
    /// An answer holds a token that does not exist.
    DamagedPacket,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    database: String,
    skip: u32,
}

/// Orders faults on a running emulator.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Mutex<Vec<Armed>>,
    latency: Mutex<Duration>,
    sessions: Mutex<HashMap<u16, Arc<Link>>>,
    pace: Mutex<Option<Pace>>,
}

/// How fast rows may leave the server, all sessions together.
#[derive(Debug)]
struct Pace {
    rows_per_second: u32,
    /// When the rows so far are paid for.
    paid: Instant,
}

/// How much time may be made up for: whoever was woken late is not late for ever.
const CREDIT: Duration = Duration::from_millis(100);

impl Pace {
    /// How long to wait at `now`, after so many more rows.
    fn pause(&mut self, rows: u32, now: Instant) -> Duration {
        let cost = Duration::from_secs(1) * rows / self.rows_per_second;
        self.paid = self.paid.max(now.checked_sub(CREDIT).unwrap_or(now)) + cost;
        self.paid.saturating_duration_since(now)
    }
}

impl Faults {
    /// The next explicit commit in `database`, after `skip` others, loses its connection. Each order is used once.
    pub fn lose_connection_at_commit(&self, fault: CommitFault, database: &str, skip: u32) {
        self.order(Fault::LoseConnection(fault), database, skip);
    }

    /// Orders a fault in `database`, after `skip` occasions for it have gone well. Each order is used once.
    pub fn order(&self, fault: Fault, database: &str, skip: u32) {
        lock(&self.armed).push(Armed {
            fault,
            database: database.to_owned(),
            skip,
        });
    }

    /// Delays every response by this much.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.latency) = latency;
    }

    /// Lets at most so many rows a second leave the server; 0 sets no limit.
    pub fn set_row_rate(&self, rows_per_second: u32) {
        *lock(&self.pace) = (rows_per_second > 0).then(|| Pace {
            rows_per_second,
            paid: Instant::now(),
        });
    }

    /// How long a session has to wait after giving `rows` rows.
    pub(crate) fn pause_after(&self, rows: u32) -> Duration {
        lock(&self.pace)
            .as_mut()
            .map_or(Duration::ZERO, |pace| pace.pause(rows, Instant::now()))
    }

    /// Drops the connection of session `id` (its `@@SPID`) and cancels what it runs. False if there is no such session.
    pub fn kill(&self, id: u16) -> bool {
        let sessions = lock(&self.sessions);
        let link = sessions.get(&id);
        if let Some(link) = link {
            link.hang_up();
            link.cancel();
        }
        link.is_some()
    }

    /// Drops every connection, as a restart or a failover does.
    pub fn kill_all(&self) {
        for link in lock(&self.sessions).values() {
            link.hang_up();
            link.cancel();
        }
    }

    pub(crate) fn latency(&self) -> Duration {
        *lock(&self.latency)
    }

    pub(crate) fn connected(&self, id: u16, link: &Arc<Link>) {
        lock(&self.sessions).insert(id, Arc::clone(link));
    }

    pub(crate) fn disconnected(&self, id: u16) {
        lock(&self.sessions).remove(&id);
    }

    /// The fault ordered for a commit that is about to happen in `database`.
    pub(crate) fn at_commit(&self, database: &str) -> Option<CommitFault> {
        let fault = self.take(database, |fault| matches!(fault, Fault::LoseConnection(_)))?;
        match fault {
            Fault::LoseConnection(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether anything is ordered.
    pub(crate) fn are_ordered(&self) -> bool {
        !lock(&self.armed).is_empty()
    }

    /// The error ordered for a statement that session `id` is about to run in `database`.
    pub(crate) fn at_statement(&self, database: &str, id: u16) -> Option<SqlError> {
        let fails = |fault| {
            matches!(
                fault,
                Fault::Deadlock | Fault::Busy | Fault::NotEnoughResources | Fault::FullLog
            )
        };
        Some(match self.take(database, fails)? {
            Fault::Deadlock => deadlock(id),
            Fault::Busy => SqlError::new(
                40_501,
                20,
                1,
                "The service is currently busy. Retry the request after 10 seconds. Incident ID: 00000000-0000-0000-0000-000000000000. Code: 0.",
            ),
            Fault::FullLog => SqlError::new(
                9_002,
                17,
                2,
                format!("The transaction log for database '{database}' is full due to 'LOG_BACKUP'."),
            ),
            _ => SqlError::user(
                49_918,
                "Cannot process request. Not enough resources to process request. The service is currently busy. Please retry the request later.",
            ),
        })
    }

    /// Whether the answer that is about to be sent to a session in `database` is to be damaged.
    pub(crate) fn at_answer(&self, database: &str) -> bool {
        self.take(database, |fault| fault == Fault::DamagedPacket)
            .is_some()
    }

    /// The first order of a kind for `database`, once its skipped occasions are over.
    fn take(&self, database: &str, kind: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut armed = lock(&self.armed);
        let at = armed
            .iter()
            .position(|order| kind(order.fault) && order.database.eq_ignore_ascii_case(database))?;
        let order = armed.get_mut(at)?;
        if order.skip > 0 {
            order.skip -= 1;
            return None;
        }
        Some(armed.remove(at).fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_paid_for_by_all_sessions_together() {
        let faults = Faults::default();
        assert_eq!(faults.pause_after(1_000_000), Duration::ZERO);
        faults.set_row_rate(1_000);
        // Time only takes away from what is owed.
        assert!(faults.pause_after(100_000) > Duration::from_secs(90));
        assert!(faults.pause_after(100_000) > Duration::from_secs(180));
        faults.set_row_rate(0);
        assert_eq!(faults.pause_after(1), Duration::ZERO);
    }

    #[test]
    fn whoever_wakes_late_catches_up_but_idle_time_is_not_saved() {
        let start = Instant::now();
        let mut pace = Pace {
            rows_per_second: 200_000,
            paid: start,
        };
        let mut now = start;
        for _ in 0..4_000 {
            let pause = pace.pause(250, now);
            if !pause.is_zero() {
                now += pause + Duration::from_millis(7);
            }
        }
        // A million rows take five seconds, give or take what is made up for at the end.
        let late = (now - start).abs_diff(Duration::from_secs(5));
        assert!(late <= CREDIT, "{late:?}");
        now += Duration::from_secs(60);
        let free = (0..1_000).take_while(|_| pace.pause(250, now).is_zero()).count();
        assert_eq!(free, 80, "only as many rows as a tenth of a second pays for");
    }

    #[test]
    fn an_order_is_used_once_in_its_database_after_the_skipped_commits() {
        let faults = Faults::default();
        faults.lose_connection_at_commit(CommitFault::After, "Target", 1);
        assert_eq!(faults.at_commit("source"), None);
        assert_eq!(faults.at_commit("target"), None);
        assert_eq!(faults.at_commit("target"), Some(CommitFault::After));
        assert_eq!(faults.at_commit("target"), None);
    }
}
