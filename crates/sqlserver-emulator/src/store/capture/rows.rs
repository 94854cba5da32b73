//! The rows that the capture writes: images of captured columns, masks, times.

use std::sync::Arc;

use super::super::change_log::{Effect, RowEffect};
use super::super::lsn::Lsn;
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
}

impl Images {
    pub(super) fn of(instance: &CaptureInstance, source: &Table) -> Self {
        let place = |captured: &CapturedColumn| {
            let mut columns = source.columns.iter().enumerate();
            let (at, column) = columns.find(|(_, column)| column.id == captured.id)?;
            (!captured.computed).then_some((at, column.info.ty))
        };
        Self {
            columns: instance.columns.iter().map(place).collect(),
        }
    }

    /// The rows of one effect: none for an update that changed no captured column.
    pub(super) fn rows(&self, effect: &RowEffect, commit: Lsn, command_id: i32) -> Vec<Row> {
        let all = || vec![true; self.columns.len()];
        let image_of =
            |operation: i32, changed: &[bool], row: &Row, is_kept: &dyn Fn(usize, SqlType) -> bool| {
                let own = [
                    commit.value(),
                    Value::Null,
                    Lsn::at(effect.position).value(),
                    Value::Int(operation),
                    Value::bytes(&mask(changed)),
                ];
                let image = |(at, column): (usize, &Option<(usize, SqlType)>)| {
                    let kept = column.filter(|(_, ty)| is_kept(at, *ty));
                    kept.and_then(|(place, _)| row.get(place))
                        .map_or(Value::Null, captured)
                };
                own.into_iter()
                    .chain(self.columns.iter().enumerate().map(image))
                    .chain([Value::Int(command_id)])
                    .collect::<Row>()
            };
        match &effect.effect {
            Effect::Delete(old) => vec![image_of(1, &all(), old, &|_, ty| !is_legacy_lob(ty))],
            Effect::Insert(new) => vec![image_of(2, &all(), new, &|_, _| true)],
            Effect::Update { before, after, .. } => {
                let differs = |column: &Option<(usize, SqlType)>| {
                    column.is_some_and(|(place, _)| before.get(place) != after.get(place))
                };
                let changed: Vec<bool> = self.columns.iter().map(differs).collect();
                if !changed.contains(&true) {
                    return Vec::new();
                }
                let is_known = |at: usize, ty| !is_legacy_lob(ty) && (changed[at] || !is_max(ty));
                vec![
                    image_of(3, &changed, before, &is_known),
                    image_of(4, &changed, after, &|_, _| true),
                ]
            }
        }
    }
}

/// A value as a change table has it.
fn captured(value: &Value) -> Value {
    match value {
        Value::RowVersion(version) => Value::bytes(&version.to_be_bytes()),
        value => value.clone(),
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
