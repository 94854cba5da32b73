//! Sessions on threads of their own, one statement at a time, and the knowledge of who waits for a lock.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use sqlserver_emulator::{Engine, Session, Value};

use crate::collect::{connect, query, run};

/// What a statement said: error numbers, and its rows as numbers.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) errors: Vec<i32>,
    pub(crate) results: Vec<Vec<Vec<Option<i64>>>>,
}

struct Worker {
    id: u16,
    requests: Sender<String>,
    answers: Receiver<Answer>,
    waiting: bool,
}

/// The sessions.
pub(crate) struct Driver {
    workers: Vec<Worker>,
    watcher: Session,
}

impl Driver {
    pub(crate) fn new(engine: &Arc<Engine>, sessions: usize) -> Self {
        let workers = (0..sessions).map(|_| worker(connect(engine)));
        Self {
            workers: workers.collect(),
            watcher: connect(engine),
        }
    }

    /// Runs a statement that waits for no one, in a session that is in no transaction.
    pub(crate) fn watch(&mut self, sql: &str) -> Answer {
        let answer = ask(&mut self.watcher, sql);
        assert_eq!(answer.errors, [], "{sql}");
        answer
    }

    pub(crate) fn start(&mut self, at: usize, sql: String) {
        let worker = &mut self.workers[at];
        worker.waiting = true;
        worker.requests.send(sql).unwrap();
    }

    /// Waits until every session has answered or waits for a lock; gives the answers.
    pub(crate) fn settle(&mut self) -> Vec<(usize, Answer)> {
        let mut answers = Vec::new();
        loop {
            for (at, worker) in self.workers.iter_mut().enumerate().filter(|(_, w)| w.waiting) {
                match worker.answers.try_recv() {
                    Ok(answer) => {
                        worker.waiting = false;
                        answers.push((at, answer));
                    }
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => panic!("session {at} is gone"),
                }
            }
            // Asked after the answers were taken: where all the others wait at once, nobody is left who could wake one.
            let blocked = self.blocked();
            let mut open = self.workers.iter().filter(|worker| worker.waiting);
            if open.all(|worker| blocked.contains(&i64::from(worker.id))) {
                return answers;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    pub(crate) fn is_waiting(&self, at: usize) -> bool {
        self.workers[at].waiting
    }

    pub(crate) fn anyone_waits(&self) -> bool {
        self.workers.iter().any(|worker| worker.waiting)
    }

    fn blocked(&mut self) -> Vec<i64> {
        let sql = "SELECT session_id FROM sys.dm_exec_requests WHERE blocking_session_id > 0";
        let text = query(&mut self.watcher, sql);
        text.split(';').filter_map(|id| id.parse().ok()).collect()
    }
}

fn worker(mut session: Session) -> Worker {
    let (requests, incoming) = channel::<String>();
    let (outgoing, answers) = channel();
    let id = session.id();
    thread::spawn(move || {
        for sql in incoming {
            if outgoing.send(ask(&mut session, &sql)).is_err() {
                break;
            }
        }
    });
    Worker {
        id,
        requests,
        answers,
        waiting: false,
    }
}

fn ask(session: &mut Session, sql: &str) -> Answer {
    let out = run(session, sql);
    let number = |value: &Value| match value {
        Value::RowVersion(version) => Some(*version as i64),
        // A rowversion, or the last eight of an LSN's ten bytes.
        Value::Bytes(bytes) => {
            let tail = &bytes[bytes.len().saturating_sub(8)..];
            Some(tail.iter().fold(0, |n, byte| (n << 8) | i64::from(*byte)))
        }
        Value::Str(text) => text.first().map(|unit| i64::from(*unit)),
        value => value.as_integer(),
    };
    let rows = |rows: &Vec<Vec<Value>>| rows.iter().map(|row| row.iter().map(number).collect()).collect();
    Answer {
        errors: out.errors(),
        results: out.results.iter().map(rows).collect(),
    }
}
