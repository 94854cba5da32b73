//! What a transaction did to the rows of tables that someone follows, kept with its undo steps until it commits.
//!
//! An UPDATE that sets a column of the primary key is a delete and an insert, whatever values it sets; the deletes of
//! a statement come before its inserts, so that `SET id = id + 1` leaves every row that it should.

use std::sync::Arc;

use super::TableId;
use super::packed::Packed;
use super::schema::Table;

/// The statement that changed rows of one table.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) table: TableId,
    /// The table as the statement found it.
    pub(crate) definition: Arc<Table>,
    /// WITH CHANGE_TRACKING_CONTEXT.
    pub(crate) context: Option<Arc<[u8]>>,
    /// CDC captures the table.
    pub(crate) captured: bool,
}

/// One row's change.
#[derive(Clone, Debug)]
pub(crate) struct RowChange {
    /// None for an insert.
    pub(crate) before: Option<Packed>,
    /// None for a delete.
    pub(crate) after: Option<Packed>,
    /// The columns that an UPDATE set, in its order.
    pub(crate) set: Option<Arc<[usize]>>,
    pub(crate) origin: Arc<Origin>,
    /// Its first place in the log, and the one after it is its own too; 0 without CDC.
    pub(crate) position: u64,
}

/// What a change is to those who follow the table.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Delete(Packed),
    Update {
        before: Packed,
        after: Packed,
        set: Arc<[usize]>,
    },
    Insert(Packed),
}

/// An effect with its place in the log.
#[derive(Clone, Debug)]
pub(crate) struct RowEffect {
    pub(crate) effect: Effect,
    pub(crate) position: u64,
}

/// The changes of one statement to one table.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) origin: Arc<Origin>,
    pub(crate) effects: Vec<RowEffect>,
}

/// A transaction's changes, statement by statement.
pub(crate) fn commands(changes: impl Iterator<Item = Box<RowChange>>) -> Vec<Command> {
    let mut commands: Vec<Parts> = Vec::new();
    for change in changes {
        if !commands
            .last()
            .is_some_and(|parts| Arc::ptr_eq(&parts.origin, &change.origin))
        {
            commands.push(Parts::new(&change.origin));
        }
        if let Some(parts) = commands.last_mut() {
            parts.add(*change);
        }
    }
    commands.into_iter().map(Parts::command).collect()
}

/// A statement's effects by kind.
struct Parts {
    origin: Arc<Origin>,
    deletes: Vec<Effect>,
    updates: Vec<Effect>,
    inserts: Vec<Effect>,
    positions: Vec<u64>,
}

impl Parts {
    fn new(origin: &Arc<Origin>) -> Self {
        Self {
            origin: Arc::clone(origin),
            deletes: Vec::new(),
            updates: Vec::new(),
            inserts: Vec::new(),
            positions: Vec::new(),
        }
    }

    fn add(&mut self, change: RowChange) {
        self.positions.push(change.position);
        match (change.before, change.after) {
            (Some(before), Some(after)) => {
                let set = change.set.unwrap_or_else(|| Arc::from([]));
                if sets_key(&self.origin.definition, &set) {
                    self.positions.push(change.position + 1);
                    self.deletes.push(Effect::Delete(before));
                    self.inserts.push(Effect::Insert(after));
                } else {
                    self.updates.push(Effect::Update { before, after, set });
                }
            }
            (Some(before), None) => self.deletes.push(Effect::Delete(before)),
            (None, Some(after)) => self.inserts.push(Effect::Insert(after)),
            (None, None) => {}
        }
    }

    /// Deletes, updates, inserts; the places in the log go in the same order.
    fn command(mut self) -> Command {
        self.positions.sort_unstable();
        let effects = self.deletes.into_iter().chain(self.updates).chain(self.inserts);
        let effects = effects
            .zip(self.positions)
            .map(|(effect, position)| RowEffect { effect, position });
        Command {
            origin: self.origin,
            effects: effects.collect(),
        }
    }
}

/// Whether a column of the primary key is among `set`.
fn sets_key(table: &Table, set: &[usize]) -> bool {
    let Some(key) = table.primary_key().and_then(|at| table.indexes.get(at)) else {
        return false;
    };
    key.keys.iter().any(|part| set.contains(&part.column))
}
