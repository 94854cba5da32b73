//! The rows that the capture writes: images of captured columns, masks, times.

use std::sync::Arc;

use super::super::change_log::{Effect, RowEffect};
use super::super::lsn::Lsn;
use super::super::packed::{Form, Packed, RowBuilder, Stored, Values};
use super::super::schema::{Column, Table};
use super::super::table::Row;
use super::{CaptureInstance, CapturedColumn, Logged};
use crate::clock::Instant;
use crate::types::{Length, SqlType};
use crate::value::Value;

/// How a column of the source looks in a change table.
pub(crate) fn captured_type(column: &Column) -> crate::types::TypeInfo {
    let ty = match column.info.ty {
        SqlType::RowVersion => SqlType::Binary { len: 8 },
        other => other,
    };
    crate::types::TypeInfo {
        ty,
        nullable: true,
        ..column.info
    }
}

pub(super) fn mapping_row(lsn: Lsn, logged: Option<&Logged>, now: Instant) -> Row {
    let datetime = |at| crate::catalog::datetime(at);
    let (began, ended, tx, first) = match logged {
        // A transaction with nothing but a definition counts as none: its number is zero.
        Some(logged) if !logged.commands.is_empty() => (
            logged.began,
            logged.committed,
            Value::bytes(&logged.tx.to_be_bytes()[2..]),
            Lsn::at(logged.first).value(),
        ),
        Some(logged) => (logged.began, logged.committed, Value::bytes(&[0]), Value::Null),
        None => (now, now, Value::bytes(&[0]), Value::Null),
    };
    Arc::from([lsn.value(), datetime(began), datetime(ended), tx, first])
}

pub(super) fn instant_of(value: &Value) -> Option<Instant> {
    const DAYS_TO_1900: i32 = 693_595;
    match value {
        Value::DateTime { days, ticks } => Some(Instant {
            days: days + DAYS_TO_1900,
            ticks: u64::from(*ticks) * 100_000 / 3,
        }),
        _ => None,
    }
}

/// Where an instance's columns lie in the rows of its source, as a statement found it.
pub(super) struct Images {
    /// By captured column: its place and type; none for those that are always NULL, as computed ones and those that are gone.
    columns: Vec<Option<(usize, SqlType)>>,
    /// In which forms the change table keeps its values.
    forms: Vec<Option<Form>>,
    /// `__$update_mask` of an insert or a delete.
    all: Vec<u8>,
}

/// What is the same in the rows of one effect.
struct Head {
    commit: Lsn,
    position: Lsn,
    command_id: i32,
}

impl Images {
    /// `forms` are those of the change table.
    pub(super) fn of(instance: &CaptureInstance, source: &Table, forms: &[Option<Form>]) -> Self {
        let place = |captured: &CapturedColumn| {
            let mut columns = source.columns.iter().enumerate();
            let (at, column) = columns.find(|(_, column)| column.id == captured.id)?;
            (!captured.computed).then_some((at, column.info.ty))
        };
        let columns: Vec<_> = instance.columns.iter().map(place).collect();
        Self {
            all: mask(&vec![true; columns.len()]),
            columns,
            forms: forms.to_vec(),
        }
    }

    /// The rows of one effect: none for an update that changed no captured column.
    pub(super) fn rows(
        &self,
        effect: &RowEffect,
        commit: Lsn,
        command_id: i32,
        builder: &mut RowBuilder,
    ) -> Vec<Packed> {
        let head = Head {
            commit,
            position: Lsn::at(effect.position),
            command_id,
        };
        let mut image =
            |operation: i32, mask: &[u8], row: &Packed, is_kept: &dyn Fn(usize, SqlType) -> bool| {
                self.image(&head, operation, mask, row, is_kept, builder)
            };
        match &effect.effect {
            Effect::Delete(old) => vec![image(1, &self.all, old, &|_, ty| !is_legacy_lob(ty))],
            Effect::Insert(new) => vec![image(2, &self.all, new, &|_, _| true)],
            Effect::Update { before, after, .. } => {
                let changed = self.changed(before, after);
                if !changed.contains(&true) {
                    return Vec::new();
                }
                let is_known =
                    |at: usize, ty| !is_legacy_lob(ty) && (!is_max(ty) || changed.get(at) == Some(&true));
                let mask = mask(&changed);
                vec![
                    image(3, &mask, before, &is_known),
                    image(4, &mask, after, &|_, _| true),
                ]
            }
        }
    }

    /// Which captured columns differ.
    fn changed(&self, before: &Packed, after: &Packed) -> Vec<bool> {
        let (mut before, mut after) = (Columns::of(before), Columns::of(after));
        let differs = |column: &Option<(usize, SqlType)>| {
            column.is_some_and(|(place, _)| before.at(place) != after.at(place))
        };
        self.columns.iter().map(differs).collect()
    }

    fn image(
        &self,
        head: &Head,
        operation: i32,
        mask: &[u8],
        row: &Packed,
        is_kept: &dyn Fn(usize, SqlType) -> bool,
        builder: &mut RowBuilder,
    ) -> Packed {
        let mut forms = self.forms.iter().copied();
        let mut push = |value: Stored<'_>| builder.push_stored(value, forms.next().flatten());
        push(Stored::Bytes(&head.commit.bytes()));
        push(Stored::NULL);
        push(Stored::Bytes(&head.position.bytes()));
        push(Stored::Other(Value::Int(operation)));
        push(Stored::Bytes(mask));
        let mut values = Columns::of(row);
        for (at, column) in self.columns.iter().enumerate() {
            let kept = column.filter(|(_, ty)| is_kept(at, *ty));
            match kept.map_or(Stored::NULL, |(place, _)| values.at(place)) {
                Stored::Other(Value::RowVersion(version)) => push(Stored::Bytes(&version.to_be_bytes())),
                value => push(value),
            }
        }
        push(Stored::Other(Value::Int(head.command_id)));
        builder.finish()
    }
}

/// The values of a row by their places, which ascend as a rule.
struct Columns<'r> {
    row: &'r Packed,
    values: Values<'r>,
    next: usize,
}

impl<'r> Columns<'r> {
    fn of(row: &'r Packed) -> Self {
        Self {
            row,
            values: row.values(),
            next: 0,
        }
    }

    /// The value at a place; NULL behind the last.
    fn at(&mut self, place: usize) -> Stored<'r> {
        if place < self.next {
            *self = Self::of(self.row);
        }
        while self.next < place {
            self.values.pass();
            self.next += 1;
        }
        self.next += 1;
        self.values.next().unwrap_or(Stored::NULL)
    }
}

fn is_legacy_lob(ty: SqlType) -> bool {
    matches!(ty, SqlType::Text | SqlType::NText | SqlType::Image)
}

fn is_max(ty: SqlType) -> bool {
    matches!(
        ty,
        SqlType::VarChar { len: Length::Max }
            | SqlType::NVarChar { len: Length::Max }
            | SqlType::VarBinary { len: Length::Max }
    )
}

/// `__$update_mask`: the first column is the least bit of the last byte.
fn mask(changed: &[bool]) -> Vec<u8> {
    let mut mask = vec![0u8; changed.len().div_ceil(8)];
    let last = mask.len();
    for (at, _) in changed.iter().enumerate().filter(|(_, changed)| **changed) {
        if let Some(byte) = mask.get_mut(last - 1 - at / 8) {
            *byte |= 1 << (at % 8);
        }
    }
    mask
}
