//! What a transaction did to the rows of tables that someone follows, kept with its undo steps until it commits.
//!
//! An UPDATE that sets a column of the primary key is a delete and an insert, whatever values it sets; the deletes of
//! a statement come before its inserts, so that `SET id = id + 1` leaves every row that it should.

use std::sync::Arc;

use super::TableId;
use super::schema::Table;
use super::table::Row;

/// The statement that changed rows of one table.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) table: TableId,
    /// The table as the statement found it.
    pub(crate) definition: Arc<Table>,
    /// WITH CHANGE_TRACKING_CONTEXT.
    pub(crate) context: Option<Arc<[u8]>>,
}

/// One row's change.
#[derive(Clone, Debug)]
pub(crate) struct RowChange {
    /// None for an insert.
    pub(crate) before: Option<Row>,
    /// None for a delete.
    pub(crate) after: Option<Row>,
    /// The columns that an UPDATE set, in its order.
    pub(crate) set: Option<Arc<[usize]>>,
    pub(crate) origin: Arc<Origin>,
}

/// What a change is to those who follow the table.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Delete(Row),
    Update { after: Row, set: Arc<[usize]> },
    Insert(Row),
}

/// The changes of one statement to one table.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) origin: Arc<Origin>,
    pub(crate) effects: Vec<Effect>,
}

/// A transaction's changes, statement by statement.
pub(crate) fn commands<'c>(changes: impl Iterator<Item = &'c RowChange>) -> Vec<Command> {
    let mut commands: Vec<(Command, Vec<Effect>, Vec<Effect>)> = Vec::new();
    for change in changes {
        let same = |command: &Command| Arc::ptr_eq(&command.origin, &change.origin);
        if !commands.last().is_some_and(|(command, ..)| same(command)) {
            let command = Command {
                origin: Arc::clone(&change.origin),
                effects: Vec::new(),
            };
            commands.push((command, Vec::new(), Vec::new()));
        }
        let Some((command, updates, inserts)) = commands.last_mut() else {
            continue;
        };
        match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                let set = change.set.clone().unwrap_or_else(|| Arc::from([]));
                if sets_key(&change.origin.definition, &set) {
                    command.effects.push(Effect::Delete(before.clone()));
                    inserts.push(Effect::Insert(after.clone()));
                } else {
                    updates.push(Effect::Update {
                        after: after.clone(),
                        set,
                    });
                }
            }
            (Some(before), None) => command.effects.push(Effect::Delete(before.clone())),
            (None, Some(after)) => inserts.push(Effect::Insert(after.clone())),
            (None, None) => {}
        }
    }
    let whole = commands.into_iter().map(|(mut command, updates, inserts)| {
        command.effects.extend(updates);
        command.effects.extend(inserts);
        command
    });
    whole.collect()
}

/// Whether a column of the primary key is among `set`.
fn sets_key(table: &Table, set: &[usize]) -> bool {
    let Some(key) = table.primary_key().and_then(|at| table.indexes.get(at)) else {
        return false;
    };
    key.keys.iter().any(|part| set.contains(&part.column))
}
