//! The model: what was committed, in which order, and what each reader is told of it.

use std::collections::BTreeMap;

/// A table's rows: key to two values.
pub(crate) type Rows = BTreeMap<i64, [i64; 2]>;

/// The two tables.
pub(crate) const TABLES: [&str; 2] = ["t", "u"];

/// One row's change. A changed key is a delete of the old row and an insert of the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Delete([i64; 2]),
    Insert([i64; 2]),
    /// Old and new values, and which of them the statement set.
    Update([i64; 2], [i64; 2], [bool; 2]),
}

/// A change with its place.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) table: usize,
    pub(crate) key: i64,
    pub(crate) change: Change,
}

impl Op {
    pub(crate) fn new(table: usize, key: i64, change: Change) -> Self {
        Self { table, key, change }
    }

    pub(crate) fn inserts(&self, table: usize, key: i64) -> bool {
        (self.table, self.key) == (table, key) && matches!(self.change, Change::Insert(_))
    }
}

/// Everything that was committed.
#[derive(Default)]
pub(crate) struct History {
    /// After so many commits.
    pub(crate) states: Vec<[Rows; 2]>,
    pub(crate) commits: Vec<Vec<Op>>,
    /// By commit, its CHANGE_TRACKING_CONTEXT.
    contexts: Vec<Option<i64>>,
}

/// A row of CHANGETABLE: key, operation, version, creation version, which columns changed (none: not known), the last change's context.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Net {
    pub(crate) key: i64,
    pub(crate) operation: char,
    pub(crate) version: i64,
    pub(crate) created: Option<i64>,
    pub(crate) columns: Option<[bool; 2]>,
    pub(crate) context: Option<i64>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            states: vec![<[Rows; 2]>::default()],
            commits: Vec::new(),
            contexts: Vec::new(),
        }
    }

    pub(crate) fn latest(&self) -> usize {
        self.commits.len()
    }

    /// What a reader sees that stands after `commits` commits and has itself done `own`.
    pub(crate) fn seen(&self, commits: usize, own: &[Op]) -> [Rows; 2] {
        let mut rows = self.states[commits].clone();
        apply(&mut rows, own);
        rows
    }

    pub(crate) fn commit(&mut self, ops: Vec<Op>, context: Option<i64>) {
        let rows = self.seen(self.latest(), &ops);
        self.states.push(rows);
        self.commits.push(ops);
        self.contexts.push(context);
    }

    /// Whether a commit after the first `since` ones changed one of `keys`.
    pub(crate) fn changed_since(&self, since: usize, table: usize, keys: &[i64]) -> bool {
        self.commits[since..]
            .iter()
            .flatten()
            .any(|op| op.table == table && keys.contains(&op.key))
    }

    /// The version after so many commits: one for each that changed a tracked table.
    pub(crate) fn version(&self, commits: usize) -> i64 {
        self.commits[..commits]
            .iter()
            .filter(|ops| !ops.is_empty())
            .count() as i64
    }

    /// `CHANGETABLE(CHANGES table, after)` for a reader that stands after `commits` commits.
    pub(crate) fn net(&self, table: usize, after: i64, commits: usize) -> Vec<Net> {
        let mut by_key: BTreeMap<i64, Vec<Tracked<'_>>> = BTreeMap::new();
        for (at, ops) in self.commits[..commits].iter().enumerate() {
            let version = self.version(at + 1);
            for op in ops.iter().filter(|op| op.table == table && version > after) {
                by_key.entry(op.key).or_default().push(Tracked {
                    version,
                    change: &op.change,
                    context: self.contexts[at],
                });
            }
        }
        by_key
            .into_iter()
            .map(|(key, changes)| net(key, &changes))
            .collect()
    }

    /// `CHANGETABLE(VERSION table, …)` of each row that is there: key, version and context of its last change.
    pub(crate) fn last_changes(&self, table: usize) -> Vec<(i64, i64, Option<i64>)> {
        let rows = &self.states[self.latest()][table];
        let changed = self.net(table, 0, self.latest()).into_iter();
        changed
            .filter(|net| rows.contains_key(&net.key))
            .map(|net| (net.key, net.version, net.context))
            .collect()
    }
}

/// One change of a row, with its version and its context.
struct Tracked<'h> {
    version: i64,
    change: &'h Change,
    context: Option<i64>,
}

fn net(key: i64, changes: &[Tracked<'_>]) -> Net {
    let created = changes
        .iter()
        .rev()
        .find(|tracked| matches!(tracked.change, Change::Insert(_)))
        .map(|tracked| tracked.version);
    let last = &changes[changes.len() - 1];
    let operation = match (changes[0].change, last.change) {
        (_, Change::Delete(_)) => 'D',
        (Change::Insert(_), _) => 'I',
        // A row that was deleted and inserted again has been updated, in all columns.
        _ => 'U',
    };
    let sets: Vec<[bool; 2]> = changes
        .iter()
        .filter_map(|tracked| match tracked.change {
            Change::Update(_, _, set) => Some(*set),
            _ => None,
        })
        .collect();
    let known = operation == 'U' && created.is_none() && !sets.contains(&[true, true]);
    let united = |at: usize| sets.iter().any(|set| set[at]);
    Net {
        key,
        operation,
        version: last.version,
        created,
        columns: known.then(|| [united(0), united(1)]),
        context: last.context,
    }
}

pub(crate) fn apply(rows: &mut [Rows; 2], ops: &[Op]) {
    for op in ops {
        match op.change {
            Change::Delete(_) => rows[op.table].remove(&op.key),
            Change::Insert(new) | Change::Update(_, new, _) => rows[op.table].insert(op.key, new),
        };
    }
}

/// The rows that CDC writes for a transaction's changes of one table: operation, key, values, and the mask of the columns that changed, which
/// for a row that comes or goes are all. An update that changes nothing is not captured.
pub(crate) fn captured(ops: &[Op], table: usize) -> Vec<(i64, i64, [i64; 2], i64)> {
    const ALL: i64 = 0b111;
    let mut rows = Vec::new();
    for op in ops.iter().filter(|op| op.table == table) {
        match op.change {
            Change::Delete(old) => rows.push((1, op.key, old, ALL)),
            Change::Insert(new) => rows.push((2, op.key, new, ALL)),
            Change::Update(old, new, _) if old != new => {
                let mask = i64::from(old[0] != new[0]) << 1 | i64::from(old[1] != new[1]) << 2;
                rows.push((3, op.key, old, mask));
                rows.push((4, op.key, new, mask));
            }
            Change::Update(..) => {}
        }
    }
    rows
}
