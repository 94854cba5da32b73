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

/// The rows of one effect in one instance: none for an update that changed no captured column.
pub(super) fn captured_rows(
    instance: &CaptureInstance,
    source: &Table,
    effect: &RowEffect,
    commit: Lsn,
    command_id: i32,
) -> Vec<Row> {
    let row = |operation: i32, mask: &[u8], values: Vec<Value>| -> Row {
        let own = [
            commit.value(),
            Value::Null,
            Lsn::at(effect.position).value(),
            Value::Int(operation),
            Value::bytes(mask),
        ];
        own.into_iter()
            .chain(values)
            .chain([Value::Int(command_id)])
            .collect()
    };
    let all = vec![true; instance.columns.len()];
    match &effect.effect {
        Effect::Delete(old) => {
            let values = images(instance, source, old, |ty| !is_legacy_lob(ty));
            vec![row(1, &mask(&all), values)]
        }
        Effect::Insert(new) => vec![row(2, &mask(&all), images(instance, source, new, |_| true))],
        Effect::Update { before, after, .. } => {
            let (old, new) = (
                images(instance, source, before, |_| true),
                images(instance, source, after, |_| true),
            );
            let changed: Vec<bool> = old.iter().zip(&new).map(|(old, new)| old != new).collect();
            if !changed.contains(&true) {
                return Vec::new();
            }
            let types = instance.columns.iter().map(|captured| place(source, captured.id));
            let types = types.map(|at| {
                at.and_then(|at| source.columns.get(at))
                    .map(|column| column.info.ty)
            });
            let known = old
                .into_iter()
                .zip(types)
                .zip(&changed)
                .map(|((value, ty), changed)| match ty {
                    Some(ty) if is_legacy_lob(ty) || (is_max(ty) && !changed) => Value::Null,
                    _ => value,
                });
            let known = known.collect();
            vec![row(3, &mask(&changed), known), row(4, &mask(&changed), new)]
        }
    }
}

fn place(source: &Table, id: i32) -> Option<usize> {
    source.columns.iter().position(|column| column.id == id)
}

/// The captured values of a row. NULL: computed columns, columns that are gone, types that `kept` leaves out.
fn images(
    instance: &CaptureInstance,
    source: &Table,
    row: &Row,
    kept: impl Fn(SqlType) -> bool,
) -> Vec<Value> {
    let value = |captured: &CapturedColumn| {
        let at = place(source, captured.id)?;
        let column = source.columns.get(at)?;
        if captured.computed || !kept(column.info.ty) {
            return None;
        }
        Some(match row.get(at)? {
            Value::RowVersion(version) => Value::bytes(&version.to_be_bytes()),
            value => value.clone(),
        })
    };
    instance
        .columns
        .iter()
        .map(|captured| value(captured).unwrap_or_default())
        .collect()
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
